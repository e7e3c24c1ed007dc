"""Criteria as checks of data, in pytest: what has to hold for every record, and what is missing.

Shows `compile_fhirpath` for one expression on one resource, and a criterion as a check of a whole cohort: a patient for whom it is *unknown* is a finding of
its own kind, with the reason. One record of the example cohort has a month in the place of a day, and the last check finds it.

    python -m pytest examples/test_data_quality.py
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fhir_eligibility

COHORT = Path("criteria/flute/cohort")
RESOURCES = [
    entry["resource"]
    for path in sorted(COHORT.glob("*.json"))
    for entry in json.loads(path.read_text("utf-8"))["entry"]
]
CHECKS = {
    "patients have a birth date": ("Patient", "birthDate.exists()"),
    "measured values have a unit": ("Observation", "value.ofType(Quantity).all(unit.exists() or code.exists())"),
    "studies have a Study Instance UID": ("ImagingStudy", "identifier.exists(system = 'urn:dicom:uid')"),
    "studies name their patient": ("ImagingStudy", "subject.reference.exists()"),
}


@pytest.mark.parametrize("check", CHECKS)
def test_every_record(check: str) -> None:
    kind, expression = CHECKS[check]
    compiled = fhir_eligibility.compile_fhirpath(expression, root=kind)
    faulty = [
        r["id"] for r in RESOURCES if r["resourceType"] == kind and compiled.evaluate(r) != [(True, "System.Boolean")]
    ]
    assert not faulty, f"{check}: not so in {', '.join(faulty)}"


def test_only_these_patients_are_undetermined() -> None:
    criteria = fhir_eligibility.load_criteria("criteria/flute/mr")
    verdicts = fhir_eligibility.screen(criteria, COHORT, now="2026-06-01")
    unclear = {v.patient: {c.reason for c in v.criteria if c.reason} for v in verdicts if v.verdict == "undetermined"}
    assert unclear == {
        "Patient/example-05": {"imprecise-date"},
        "Patient/example-07": {"missing-value"},
        "Patient/example-12": {"no-data"},
    }
