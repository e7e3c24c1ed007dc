"""Writes the FLUTE artifacts and the example cohort beside this file: `python criteria/flute/make.py`.

The rule is the written one: abnormal digital rectal examination or PSA of at least 3 ng/mL, and an MR study within the year before
the biopsy. The expressions read R4 patients. Nothing in the cohort is about a real person.
"""

from __future__ import annotations

import base64
import json
import uuid
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SCT = "http://snomed.info/sct"
LOINC = "http://loinc.org"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
UCUM = "http://unitsofmeasure.org"
BASE = "https://fhir-eligibility.example/EvidenceVariable/"
LIBRARY = "https://fhir-eligibility.example/Library/FluteCriteria"
LIBRARY_TYPE = "http://terminology.hl7.org/CodeSystem/library-type"
CQF_LIBRARY = "http://hl7.org/fhir/StructureDefinition/cqf-library"

BIOPSY_DATE = "(performed.ofType(dateTime) | performed.ofType(Period).start).first()"
BIOPSY = f"Procedure.where(status = 'completed' and code.coding.exists(system = '{SCT}' and code = '86273004'))"
IS_MR = f"(series.modality | modality).exists(system = '{DCM}' and code = 'MR')"
DRE = (
    f"Procedure.where(code.coding.exists(system = '{SCT}' and code = '410006001') and status = 'completed')"
    f".exists(outcome.coding.exists(system = '{SCT}' and code = '131196009'))"
)
PSA = (
    f"Observation.where(code.coding.exists(system = '{LOINC}' and code = '2857-1') and "
    "status in ('final' | 'amended' | 'corrected')).exists(value.ofType(Quantity) >= 3 'ng/mL')"
)


def window(modality: str | None) -> str:
    """FHIRPath: images within the year before a biopsy."""
    tests = "status = 'available'" + (f" and {modality}" if modality else "")
    return (
        f"ImagingStudy.where({tests}).exists(defineVariable('images').select({BIOPSY}.exists("
        f"%images.started <= {BIOPSY_DATE} and %images.started >= {BIOPSY_DATE} - 1 year)))"
    )


def expression(text: str, description: str) -> dict[str, Any]:
    return {"description": description, "language": "text/fhirpath", "expression": text}


def head(name: str, title: str) -> dict[str, Any]:
    return {
        "resourceType": "EvidenceVariable",
        "id": name,
        "url": BASE + name,
        "version": "1.0.0",
        "name": name.replace("-", " ").title().replace(" ", ""),
        "title": title,
        "status": "draft",
    }


def artifacts(modality: str | None, name: str, words: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rule as an R5 and as an R4 EvidenceVariable."""
    within = window(modality)
    suspicion = "Suspicion of prostate cancer: abnormal digital rectal examination, or PSA of at least 3 ng/mL"
    images = f"{words} within the year before the biopsy"
    none = f"No {words} before the biopsy, or images from more than a year before it"
    psa_concept = {
        "coding": [{"system": LOINC, "code": "2857-1", "display": "Prostate specific Ag in Serum or Plasma"}]
    }
    r5 = {
        **head(f"flute-{name}", f"FLUTE: prostate cancer suspected, {images}"),
        "actual": True,
        "characteristic": [
            {
                "linkId": "suspicion",
                "description": suspicion,
                "definitionByCombination": {
                    "code": "any-of",
                    "characteristic": [
                        {
                            "linkId": "dre",
                            "description": "Abnormal digital rectal examination",
                            "definitionExpression": expression(DRE, "a completed examination with an abnormal outcome"),
                        },
                        {
                            "linkId": "psa",
                            "description": "PSA of at least 3 ng/mL",
                            "definitionByTypeAndValue": {
                                "type": psa_concept,
                                "valueRange": {"low": {"value": 3, "unit": "ng/mL", "system": UCUM, "code": "ng/mL"}},
                            },
                        },
                    ],
                },
            },
            {
                "linkId": "images",
                "description": images,
                "definitionExpression": expression(within, "available images, started in the year before a biopsy"),
            },
            {
                "linkId": "no-recent-images",
                "description": none,
                "exclude": True,
                "definitionExpression": expression(f"{within}.not()", "the exclusion as the protocol words it"),
            },
        ],
    }
    r4 = {
        **head(f"flute-{name}-r4", f"FLUTE: prostate cancer suspected, {images}"),
        "characteristic": [
            {"description": suspicion, "definitionExpression": expression(f"{DRE} or {PSA}", suspicion)},
            {"description": images, "definitionExpression": expression(within, images)},
            {"description": none, "exclude": True, "definitionExpression": expression(f"{within}.not()", none)},
        ],
    }
    return r5, r4


def in_cql(name: str, words: str) -> dict[str, Any]:
    """The rule as an R5 EvidenceVariable whose criteria are defines of `cql/FluteCriteria.cql`."""
    kind = "MR Images" if name == "mr" else "Images"
    images = f"{words} within the year before the biopsy"
    criteria = (
        ("suspicion", "Suspicion of prostate cancer", "Suspicion of Prostate Cancer", False),
        ("images", images, f"{kind} Within the Year Before the Biopsy", False),
        (
            "no-recent-images",
            f"No {words} before the biopsy, or images from more than a year before it",
            f"No {kind} Before the Biopsy, or Older Than a Year",
            True,
        ),
    )
    return {
        **head(f"flute-{name}-cql", f"FLUTE: prostate cancer suspected, {images}"),
        "extension": [{"url": CQF_LIBRARY, "valueCanonical": f"{LIBRARY}|1.0.0"}],
        "actual": True,
        "characteristic": [
            {
                "linkId": link,
                "description": description,
                **({"exclude": True} if exclude else {}),
                "definitionExpression": {"language": "text/cql-identifier", "expression": f'"{define}"'},
            }
            for link, description, define, exclude in criteria
        ],
    }


def library() -> dict[str, Any]:
    """The CQL library as a FHIR Library, for servers and for EvidenceVariables that name it."""
    text = (HERE / "cql" / "FluteCriteria.cql").read_text("utf-8")
    return {
        "resourceType": "Library",
        "id": "FluteCriteria",
        "url": LIBRARY,
        "version": "1.0.0",
        "name": "FluteCriteria",
        "status": "draft",
        "type": {"coding": [{"system": LIBRARY_TYPE, "code": "logic-library"}]},
        "content": [{"contentType": "text/cql", "data": base64.b64encode(text.encode()).decode()}],
    }


def uid(text: str) -> str:
    """A DICOM UID derived from a UUID (PS3.5 annex B.2)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, 'https://fhir-eligibility.example/' + text).int}"


def patient(
    number: int, *, psa: dict[str, Any] | None, biopsy: str | None, images: dict[str, Any] | None
) -> dict[str, Any]:
    """A bundle with one patient."""
    name = f"example-{number:02}"
    subject = {"reference": f"Patient/{name}"}
    resources: list[dict[str, Any]] = [
        {
            "resourceType": "Patient",
            "id": name,
            "identifier": [{"system": "https://hospital.example/patients", "value": f"EX{number:04}"}],
            "gender": "male",
            "birthDate": f"{1950 + number}",
        }
    ]
    if psa is not None:
        resources.append(
            {
                "resourceType": "Observation",
                "id": f"{name}-psa",
                "status": psa.pop("status", "final"),
                "code": {"coding": [{"system": LOINC, "code": "2857-1"}], "text": "PSA"},
                "subject": subject,
                "effectiveDateTime": "2026-02-10",
                "valueQuantity": psa,
            }
        )
    if biopsy is not None:
        resources.append(
            {
                "resourceType": "Procedure",
                "id": f"{name}-biopsy",
                "status": "completed",
                "code": {"coding": [{"system": SCT, "code": "86273004", "display": "Biopsy"}]},
                "subject": subject,
                **({"performedDateTime": biopsy} if biopsy else {}),
            }
        )
    if images is not None:
        study = uid(f"{name}/study")
        modality = {"system": DCM, "code": images["modality"]}
        resources.append(
            {
                "resourceType": "ImagingStudy",
                "id": f"{name}-images",
                "identifier": [
                    {"system": "urn:dicom:uid", "value": f"urn:oid:{study}"},
                    {
                        "type": {
                            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]
                        },
                        "value": f"A{number:05}",
                    },
                ],
                "status": "available",
                "modality": [modality],
                "subject": subject,
                **({"started": images["started"]} if images["started"] else {}),
                "endpoint": [{"reference": "Endpoint/archive"}],
                "series": [
                    {
                        "uid": uid(f"{name}/series/{index}"),
                        "modality": modality,
                        "description": description,
                        "instance": [
                            {
                                "uid": uid(f"{name}/series/{index}/{slice_}"),
                                "sopClass": {
                                    "system": "urn:ietf:rfc:3986",
                                    "code": "urn:oid:1.2.840.10008.5.1.4.1.1.4",
                                },
                            }
                            for slice_ in range(2)
                        ],
                    }
                    for index, description in enumerate(("T2 axial", "DWI"))
                ],
            }
        )
        resources.append(
            {
                "resourceType": "Endpoint",
                "id": "archive",
                "status": "active",
                "connectionType": {
                    "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
                    "code": "dicom-wado-rs",
                },
                "payloadType": [{"text": "DICOM"}],
                "address": "https://archive.example/dicom-web",
            }
        )
    entries = [
        {"fullUrl": f"https://hospital.example/fhir/{r['resourceType']}/{r['id']}", "resource": r} for r in resources
    ]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def cohort() -> list[dict[str, Any]]:
    """Twelve patients, each for one way in which the rule can turn out."""

    def ng(value: float, unit: str = "ng/mL", **more: Any) -> dict[str, Any]:
        return {"value": value, "unit": unit, "system": UCUM, "code": unit, **more}

    def mr(started: str, modality: str = "MR") -> dict[str, Any]:
        return {"started": started, "modality": modality}

    biopsy = "2026-03-01"
    return [
        patient(1, psa=ng(5.2), biopsy=biopsy, images=mr("2026-01-20T09:00:00Z")),
        patient(2, psa=ng(5.2), biopsy=biopsy, images=mr("2024-11-02T09:00:00Z")),
        patient(3, psa=ng(5.2), biopsy=biopsy, images=mr("2026-03-09T09:00:00Z")),
        patient(4, psa=ng(5.2), biopsy=biopsy, images=mr("2026-01-20T09:00:00Z", "CT")),
        patient(5, psa=ng(5.2), biopsy=biopsy, images=mr("2025-03")),
        patient(6, psa=ng(5.2), biopsy=biopsy, images=mr("2025-04")),
        patient(7, psa=ng(5.2), biopsy=biopsy, images=mr("")),
        patient(8, psa=ng(5.2), biopsy=None, images=mr("2026-01-20T09:00:00Z")),
        patient(9, psa=ng(4800, "pg/mL"), biopsy=biopsy, images=mr("2025-06-20T09:00:00Z")),
        patient(10, psa={"value": 6.1, "unit": "ng/mL"}, biopsy=biopsy, images=mr("2025-12-20T09:00:00Z")),
        patient(11, psa=ng(7.9, status="preliminary"), biopsy=biopsy, images=mr("2025-12-20T09:00:00Z")),
        patient(12, psa=None, biopsy=biopsy, images=mr("2025-12-20T09:00:00Z")),
    ]


def write(path: Path, resource: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(resource, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    for modality, name, words in ((IS_MR, "mr", "MR images"), (None, "any-modality", "images of any modality")):
        r5, r4 = artifacts(modality, name, words)
        write(HERE / name / "EvidenceVariable.json", r5)
        write(HERE / "r4" / name / "EvidenceVariable.json", r4)
        write(HERE / "cql" / name / "EvidenceVariable.json", in_cql(name, words))
    write(HERE / "cql" / "Library-FluteCriteria.json", library())
    for bundle in cohort():
        write(HERE / "cohort" / f"{bundle['entry'][0]['resource']['id']}.json", bundle)


if __name__ == "__main__":
    main()
