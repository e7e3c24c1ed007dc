"""Criteria of your own in FHIRPath, written as a Python dictionary, on patients that are dictionaries too.

Shows that criteria are FHIR (an EvidenceVariable), that one which must not hold has `exclude`, and that patients need no files
(`compartments_of`). A patient whose birth date is not known is undetermined, and not quietly left out.

    python examples/criteria_of_your_own.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import fhir_eligibility

CRITERIA = {
    "resourceType": "EvidenceVariable",
    "id": "adults-with-anaemia",
    "status": "active",
    "characteristic": [
        {
            "linkId": "adult",
            "description": "18 years or older",
            "definitionExpression": {
                "language": "text/fhirpath",
                "expression": "Patient.birthDate <= today() - 18 years",
            },
        },
        {
            "linkId": "anaemia",
            "description": "haemoglobin below 10 g/dL",
            "definitionExpression": {
                "language": "text/fhirpath",
                "expression": "Observation.where(code.coding.exists(code = '718-7')).exists(value < 10 'g/dL')",
            },
        },
        {
            "linkId": "dialysis",
            "description": "on dialysis",
            "exclude": True,
            "definitionExpression": {
                "language": "text/fhirpath",
                "expression": "Procedure.where(code.coding.exists(code = '265764009')).exists()",
            },
        },
    ],
}


def patient(name: str, born: str | None, haemoglobin: float, unit: str) -> list[dict[str, Any]]:
    """A Patient and an Observation."""
    person: dict[str, Any] = {"resourceType": "Patient", "id": name, **({"birthDate": born} if born else {})}
    value = {"value": haemoglobin, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}
    code = {"coding": [{"system": "http://loinc.org", "code": "718-7"}]}
    subject = {"reference": f"Patient/{name}"}
    measured = {"resourceType": "Observation", "id": f"hb-{name}", "status": "final", "code": code, "subject": subject}
    return [person, {**measured, "valueQuantity": value}]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "criteria.json"
        path.write_text(json.dumps(CRITERIA), "utf-8")
        criteria = fhir_eligibility.load_criteria(path)
    resources = [
        *patient("anna", "1980-05-01", 9.1, "g/dL"),
        *patient("boris", "1975-02-03", 91, "g/L"),
        *patient("clara", None, 8.7, "g/dL"),
        *patient("dora", "1990-01-01", 13.2, "g/dL"),
    ]
    patients = fhir_eligibility.compartments_of(resources)
    for verdict in fhir_eligibility.screen(criteria, patients, now="2026-06-01"):
        print(verdict.patient, verdict.verdict, "by", ", ".join(verdict.deciding) or "all criteria")


if __name__ == "__main__":
    main()
