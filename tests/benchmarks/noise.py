"""What else stands in a record: visits with their diagnoses, measurements, drugs, reports and bills, as Synthea's records have them.

No code of the benchmark's criteria occurs here.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator

from tests.benchmarks.patients import LOINC, SCT, WORDS, Resource, concept, narrative, quantity

CONDITIONS = (
    ("38341003", "Hypertensive disorder"),
    ("44054006", "Diabetes mellitus type 2"),
    ("195662009", "Acute viral pharyngitis"),
    ("444814009", "Viral sinusitis"),
    ("10509002", "Acute bronchitis"),
    ("55822004", "Hyperlipidemia"),
    ("271737000", "Anemia"),
    ("162864005", "Body mass index 30+ - obesity"),
)
LABORATORY = (
    ("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma", "mg/dL", 120, 280),
    ("2571-8", "Triglyceride [Mass/volume] in Serum or Plasma", "mg/dL", 60, 300),
    ("2339-0", "Glucose [Mass/volume] in Blood", "mg/dL", 65, 180),
    ("38483-4", "Creatinine [Mass/volume] in Blood", "mg/dL", 0.5, 2.5),
    ("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 9, 18),
    ("6690-2", "Leukocytes [#/volume] in Blood by Automated count", "10*3/uL", 3, 12),
    ("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "%", 4, 10),
    ("6299-2", "Urea nitrogen [Mass/volume] in Blood", "mg/dL", 6, 25),
)
VITAL_SIGNS = (
    ("8302-2", "Body height", "cm", 150, 200),
    ("29463-7", "Body weight", "kg", 50, 130),
    ("39156-5", "Body mass index (BMI) [Ratio]", "kg/m2", 18, 40),
    ("8867-4", "Heart rate", "/min", 50, 110),
    ("9279-1", "Respiratory rate", "/min", 10, 24),
)
DRUGS = (
    ("314076", "lisinopril 10 MG Oral Tablet"),
    ("860975", "24 HR metformin hydrochloride 500 MG Extended Release Oral Tablet"),
    ("617312", "atorvastatin 10 MG Oral Tablet"),
    ("313782", "acetaminophen 325 MG Oral Tablet"),
)
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"


def noise(chance: random.Random, name: str) -> Iterator[Resource]:
    """Visits of a patient without end; the caller takes as many resources as it wants."""
    number = 0
    while True:
        number += 1
        yield from _visit(chance, name, f"{name}-v{number}")


def _visit(chance: random.Random, name: str, visit: str) -> Iterator[Resource]:
    day = dt.date(2016, 1, 4) + dt.timedelta(days=chance.randrange(3600))
    start, end = f"{day}T09:{chance.randrange(10, 60)}:00+01:00", f"{day}T10:{chance.randrange(10, 60)}:00+01:00"
    subject = {"reference": f"Patient/{name}"}
    encounter = {"reference": f"Encounter/{visit}"}
    doctor = f"Dr. {chance.choice(WORDS)}"
    yield {
        "resourceType": "Encounter",
        "id": visit,
        "text": narrative(f"Visit of {day} to {doctor}"),
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "type": [concept(SCT, "185345009", "Encounter for symptom")],
        "subject": subject,
        "participant": [{"individual": {"reference": "Practitioner/d1", "display": doctor}}],
        "period": {"start": start, "end": end},
        "serviceProvider": {"reference": "Organization/hospital", "display": "General hospital"},
    }
    code, display = chance.choice(CONDITIONS)
    condition = f"{visit}-condition"
    yield {
        "resourceType": "Condition",
        "id": condition,
        "text": narrative(f"{display}, first seen on {day}"),
        "clinicalStatus": concept(CLINICAL, "active", "Active"),
        "verificationStatus": concept(CLINICAL.replace("clinical", "ver-status"), "confirmed", "Confirmed"),
        "code": concept(SCT, code, display),
        "subject": subject,
        "encounter": encounter,
        "onsetDateTime": start,
        "recordedDate": start,
    }
    results = []
    for index in range(chance.randrange(3, 8)):
        laboratory = index % 2 == 0
        loinc, title, unit, low, high = chance.choice(LABORATORY if laboratory else VITAL_SIGNS)
        category = ("laboratory", "Laboratory") if laboratory else ("vital-signs", "Vital signs")
        results.append({"reference": f"Observation/{visit}-o{index}", "display": title})
        yield {
            "resourceType": "Observation",
            "id": f"{visit}-o{index}",
            "status": "final",
            "category": [concept(CATEGORY, *category)],
            "code": concept(LOINC, loinc, title),
            "subject": subject,
            "encounter": encounter,
            "effectiveDateTime": start,
            "issued": f"{day}T12:00:00.000+01:00",
            "valueQuantity": quantity(round(low + chance.random() * (high - low), 2), unit),
        }
    code, display = chance.choice(DRUGS)
    yield {
        "resourceType": "MedicationRequest",
        "id": f"{visit}-drug",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": concept(RXNORM, code, display),
        "subject": subject,
        "encounter": encounter,
        "authoredOn": start,
        "requester": {"reference": "Practitioner/d1", "display": doctor},
        "dosageInstruction": [{"sequence": 1, "text": "One tablet a day", "asNeededBoolean": False}],
    }
    yield {
        "resourceType": "DiagnosticReport",
        "id": f"{visit}-report",
        "text": narrative(f"Results of {day}: " + "; ".join(result["display"] for result in results)),
        "status": "final",
        "category": [concept("http://terminology.hl7.org/CodeSystem/v2-0074", "LAB", "Laboratory")],
        "code": concept(LOINC, "51990-0", "Basic metabolic panel - Blood"),
        "subject": subject,
        "encounter": encounter,
        "effectiveDateTime": start,
        "result": results,
    }
    yield from _bill(chance, visit, subject, encounter, {"start": start, "end": end}, condition)


def _bill(
    chance: random.Random, visit: str, subject: Resource, encounter: Resource, period: Resource, condition: str
) -> Iterator[Resource]:
    total: Resource = {"value": round(80 + chance.random() * 900, 2), "currency": "XXX"}
    service = concept(SCT, "185345009", "Encounter for symptom")
    claim = {
        "resourceType": "Claim",
        "id": f"{visit}-claim",
        "status": "active",
        "type": concept("http://terminology.hl7.org/CodeSystem/claim-type", "professional", "Professional"),
        "use": "claim",
        "patient": subject,
        "billablePeriod": period,
        "created": period["end"],
        "provider": {"reference": "Organization/hospital", "display": "General hospital"},
        "priority": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/processpriority", "code": "normal"}]},
        "diagnosis": [{"sequence": 1, "diagnosisReference": {"reference": f"Condition/{condition}"}}],
        "insurance": [{"sequence": 1, "focal": True, "coverage": {"display": "Public insurance"}}],
        "item": [{"sequence": 1, "productOrService": service, "encounter": [encounter]}],
        "total": total,
    }
    yield claim
    paid = {"value": round(total["value"] * 0.8, 2), "currency": "XXX"}
    category = "http://terminology.hl7.org/CodeSystem/adjudication"
    yield {
        **claim,
        "resourceType": "ExplanationOfBenefit",
        "id": f"{visit}-benefit",
        "claim": {"reference": f"Claim/{visit}-claim"},
        "outcome": "complete",
        "item": [
            {
                "sequence": 1,
                "productOrService": service,
                "servicedPeriod": period,
                "locationCodeableConcept": concept(
                    "http://terminology.hl7.org/CodeSystem/ex-serviceplace", "19", "Off Campus-Outpatient Hospital"
                ),
                "encounter": [encounter],
                "net": total,
                "adjudication": [
                    {"category": concept(category, "submitted", "Submitted Amount"), "amount": total},
                    {"category": concept(category, "benefit", "Benefit Amount"), "amount": paid},
                ],
            }
        ],
        "total": [{"category": concept(category, "submitted", "Submitted Amount"), "amount": total}],
        "payment": {"amount": paid},
    }
