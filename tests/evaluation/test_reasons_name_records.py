"""What is said of an unknown criterion is true: the record that is named lacks the element that is named, in every form of the same criteria."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.evaluation.unknowns import found_in
from fhir_eligibility.evaluation.verdict import CriterionResult, Verdict

FLUTE = Path(__file__).parents[2] / "criteria" / "flute"
SUBJECT = {"reference": "Patient/p"}
PATIENT = {"resourceType": "Patient", "id": "p", "birthDate": "1950"}
CODE = {"coding": [{"system": "http://snomed.info/sct", "code": "86273004"}]}
BIOPSY = {
    "resourceType": "Procedure",
    "id": "b",
    "status": "completed",
    "code": CODE,
    "subject": SUBJECT,
    "performedDateTime": "2026-03-01",
}
STUDY = {
    "resourceType": "ImagingStudy",
    "id": "i",
    "status": "available",
    "started": "2025-06-01T10:00:00Z",
    "subject": SUBJECT,
}
PSA = {
    "resourceType": "Observation",
    "id": "o",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "2857-1"}]},
    "subject": SUBJECT,
    "effectiveDateTime": "2026-01-01",
    "valueQuantity": {"value": 4, "unit": "ng/mL", "system": "http://unitsofmeasure.org", "code": "ng/mL"},
}


def without(resource: dict[str, Any], *names: str, **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**resource, **changes}.items() if name not in names}


def judged(folder: Path, language: str, expression: str, *resources: dict[str, Any]) -> CriterionResult:
    definition = {"definitionExpression": {"language": language, "expression": expression}}
    artifact = {"resourceType": "EvidenceVariable", "id": "e", "status": "active", "characteristic": [definition]}
    (folder / "ev.json").write_text(json.dumps(artifact))
    data = folder / "data"
    data.mkdir()
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in (PATIENT, *resources)]}
    (data / "b.json").write_text(json.dumps(bundle))
    (verdict,) = fhir_eligibility.screen(fhir_eligibility.load_criteria(folder / "ev.json"), data, now="2026-06-01")
    (criterion,) = verdict.criteria
    return criterion


BEFORE_PATH = "ImagingStudy.where(started <= Procedure.where(code.coding.where(code = '86273004').exists()).first().performed.ofType(dateTime) - 1 year).exists()"
BEFORE_CQL = "exists ([Procedure] P with [ImagingStudy] I such that I.started 1 year or less before P.performed)"
PERIOD = {"start": "2026-01-01T00:00:00Z"}
TIED = without(BIOPSY, performedDateTime="2025-06")


@pytest.mark.parametrize(
    ("language", "expression", "resources", "reason", "sentence"),
    [
        ("text/fhirpath", BEFORE_PATH, (BIOPSY, without(STUDY, "started")), Reason.MISSING_VALUE, "ImagingStudy/i has no `started`"),
        ("text/fhirpath", BEFORE_PATH, (without(BIOPSY, "performedDateTime"), STUDY), Reason.MISSING_VALUE, "Procedure/b has no `performed`"),
        ("text/fhirpath", BEFORE_PATH, (STUDY,), Reason.NO_DATA, "there is no Procedure for"),
        ("text/cql", BEFORE_CQL, (BIOPSY, without(STUDY, "started")), Reason.MISSING_VALUE, "ImagingStudy/i has no `started`"),
        ("text/cql", BEFORE_CQL, (without(BIOPSY, "performedDateTime"), STUDY), Reason.MISSING_VALUE, "Procedure/b has no `performed`"),
        ("text/cql", "exists ([Procedure] P where P.performed >= @2020-01-01)", (without(BIOPSY, "performedDateTime"),), Reason.MISSING_VALUE, "Procedure/b has no `performed`"),
        ("text/fhirpath", "Procedure.all(performed.ofType(dateTime) > @2020)", (without(BIOPSY, "performedDateTime"),), Reason.MISSING_VALUE, "Procedure/b has no `performed`"),
        ("text/fhirpath", "Procedure.where(performed.ofType(dateTime) > @2020).exists()", (without(BIOPSY, "performedDateTime", performedAge={"value": 3}),), Reason.MISSING_VALUE, "`performed` of Procedure/b has no value that can be compared"),
        ("text/fhirpath", "Observation.where(status in ('final' | 'amended')).exists()", (without(PSA, "status"),), Reason.MISSING_VALUE, "Observation/o has no `status`"),
        ("text/fhirpath", "Observation.where(value.ofType(Quantity) >= 3 'ng/mL').exists()", (without(PSA, "valueQuantity"),), Reason.MISSING_VALUE, "Observation/o has no `value`"),
        ("text/cql", "exists ([Observation] O where O.value >= 3 'ng/mL')", (without(PSA, "valueQuantity"),), Reason.MISSING_VALUE, "Observation/o has no `value`"),
        ("text/cql", "First([Observation] O).value >= 3 'ng/mL'", (without(PSA, "valueQuantity"),), Reason.MISSING_VALUE, "Observation/o has no `value`"),
        ("text/cql", "exists ([Observation] O where O.value >= 3 'ng/mL')", (without(PSA, valueQuantity={"value": 5, "comparator": "<", "code": "ng/mL", "system": "http://unitsofmeasure.org"}),), Reason.NOT_COMPUTABLE, "`value` of Observation/o is only a bound: < 5 ng/mL"),
        ("text/cql", "First([Observation] O).value >= 3 'ng/mL'", (), Reason.NO_DATA, "there is no Observation for `First([Observation] O).value`"),
        ("text/fhirpath", "Observation.where(value.ofType(Quantity) >= 3 'ng/mL').exists()", (without(PSA, valueQuantity={"value": 4}),), Reason.MISSING_UNIT, "the quantity 4 of Observation/o has no unit"),
        ("text/fhirpath", "Observation.where(value.ofType(Quantity) >= 3 'ng/mL').exists()", (without(PSA, valueQuantity={"unit": "ng/mL"}),), Reason.MISSING_VALUE, "the quantity of Observation/o has no value"),
        ("text/fhirpath", BEFORE_PATH, (without(BIOPSY, performedDateTime="2026-06"), without(STUDY, started="2025-06-14T00:00:00Z")), Reason.IMPRECISE_DATE, "`started` of ImagingStudy/i (2025-06-14T00:00:00Z) and 2025-06 (computed: `"),
        ("text/cql", "AgeInYears() >= 76", (), Reason.IMPRECISE_DATE, "between 75 and 76 (computed: `AgeInYears()`, from Patient/p) and 76 cannot be told apart"),
        ("text/fhirpath", "Patient.birthDate <= @1950-06-01", (), Reason.IMPRECISE_DATE, "`birthDate` of Patient/p (1950) and 1950-06-01 cannot be told apart"),
        ("text/fhirpath", "Patient.deceased.ofType(dateTime) <= @1950-06-01", (), Reason.MISSING_VALUE, "Patient/p has no `deceased`"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)  # fmt: skip
def test_the_reason_names_what_is_missing(
    language: str, expression: str, resources: tuple[dict[str, Any], ...], reason: Reason, sentence: str, tmp_path: Path
) -> None:
    found = judged(tmp_path, language, expression, *resources)
    assert (found.outcome, found.reason) == ("unknown", reason)
    assert sentence in (found.detail or "")


def with_holes(folder: Path, seed: int) -> dict[str, dict[str, Any]]:
    """The example cohort with elements of its records left out at random, written to a folder; its records by type and id."""
    chance = random.Random(seed)
    records: dict[str, dict[str, Any]] = {}
    for path in sorted((FLUTE / "cohort").glob("*.json")):
        bundle = json.loads(path.read_text())
        for entry in bundle["entry"]:
            resource = entry["resource"]
            for name in list(resource):
                if (
                    name in ("started", "status", "performedDateTime", "effectiveDateTime", "valueQuantity", "outcome")
                    and chance.random() < 0.35
                ):
                    del resource[name]
                elif name in ("started", "performedDateTime") and chance.random() < 0.3:
                    resource[name] = resource[name][: chance.choice((4, 7))]
            if "id" in resource:
                records[f"{resource['resourceType']}/{resource['id']}"] = resource
        (folder / path.name).write_text(json.dumps(bundle))
    return records


def unknowns(criteria: list[CriterionResult]) -> list[CriterionResult]:
    """The criteria without members that are unknown."""
    out = []
    for criterion in criteria:
        out += (
            unknowns(criterion.members) if criterion.members else [criterion] if criterion.outcome == "unknown" else []
        )
    return out


def screened(criteria: fhir_eligibility.Criteria, data: Path) -> list[Verdict]:
    return list(fhir_eligibility.screen(criteria, data, now="2026-06-01"))


GENERIC = ("a value that is compared is not recorded", "a value that is needed is not recorded")


def test_no_record_is_said_to_lack_what_it_has(tmp_path: Path) -> None:
    forms = [
        fhir_eligibility.load_criteria(FLUTE / "mr"),
        fhir_eligibility.load_criteria(FLUTE / "cql" / "mr", libraries=[FLUTE / "cql"]),
    ]
    said = 0
    for seed in range(12):
        data = tmp_path / str(seed)
        data.mkdir()
        records = with_holes(data, seed)
        for criteria in forms:
            for verdict in screened(criteria, data):
                for criterion in unknowns(verdict.criteria):
                    detail = criterion.detail or ""
                    assert not any(text in detail for text in GENERIC), detail
                    for name, element in re.findall(r"(\w+/[\w.-]+) has no `([\w.]+)`", detail):
                        said += 1
                        assert not found_in(records[name], element), detail
    assert said > 100


BIOPSIES = "Procedure.where(code.coding.where(code = '86273004').exists())"
BIOPSIES_CQL = "[Procedure] P where exists (P.code.coding C where C.code = '86273004')"
PAIRS = [
    ("Observation.where(value.ofType(Quantity) >= 3 'ng/mL').exists()", "exists ([Observation] O where O.value >= 3 'ng/mL')"),
    ("Observation.where(status = 'final').exists()", "exists ([Observation] O where O.status = 'final')"),
    ("ImagingStudy.where(started <= @2025-06-01).exists()", "exists ([ImagingStudy] I where I.started on or before @2025-06-01)"),
    (f"{BIOPSIES}.where(performed.ofType(dateTime) > @2025-06-01).exists()", f"exists ({BIOPSIES_CQL} and P.performed after @2025-06-01)"),
    (f"{BIOPSIES}.where(status = 'completed' and performed.ofType(dateTime) > @2025-06-01).empty()", f"not exists ({BIOPSIES_CQL} and P.status = 'completed' and P.performed after @2025-06-01)"),
    ("Patient.birthDate <= @1950-06-01", "Patient.birthDate <= @1950-06-01"),
]  # fmt: skip


def test_two_forms_of_one_rule_give_the_same_reasons(tmp_path: Path) -> None:
    """The same criterion in FHIRPath and in CQL: the same outcome, and where it is unknown the same reason."""
    compared = 0
    forms = []
    for number, pair in enumerate(PAIRS):
        for language, expression in zip(("text/fhirpath", "text/cql"), pair, strict=True):
            definition = {"definitionExpression": {"language": language, "expression": expression}}
            artifact = {
                "resourceType": "EvidenceVariable",
                "id": "e",
                "status": "active",
                "characteristic": [definition],
            }
            path = tmp_path / f"{number}-{language.partition('/')[2]}.json"
            path.write_text(json.dumps(artifact))
            forms.append(fhir_eligibility.load_criteria(path))
    for seed in range(6):
        data = tmp_path / str(seed)
        data.mkdir()
        with_holes(data, seed)
        for path, cql in zip(forms[::2], forms[1::2], strict=True):
            for one, other in zip(screened(path, data), screened(cql, data), strict=True):
                (mine,), (theirs,) = one.criteria, other.criteria
                assert (mine.outcome, mine.reason) == (theirs.outcome, theirs.reason), (mine.detail, theirs.detail)
                compared += mine.outcome == "unknown"
    assert compared > 50
