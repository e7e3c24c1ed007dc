"""Values of which nobody can tell which holds, and codes that are none: told, and never a quiet answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.records.record_shape import oddness_of
from fhir_eligibility.data.records.status_codes import CODES
from tests.data.every_way import criteria, screened
from tests.data.test_lost_records import lines, patient, write

Resource = dict[str, Any]
LOW = "Observation.where(value.ofType(Quantity).value < 4).exists()"
QUANTITY = {"value": 9, "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"}


def observation(**more: Any) -> Resource:
    about = {"reference": "Patient/a"}
    return {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "code": {"text": "x"},
        "subject": about,
        **more,
    }


def written(form: str, one: Resource) -> dict[str, str]:
    people = lines(patient("a"), patient("b"))
    if form == "bundle":
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one}]}
        return {"Patient.ndjson": people, "x.json": json.dumps(bundle)}
    spaced = json.dumps(one) if form == "lines" else json.dumps(one, separators=(",", ":"))
    return {"Patient.ndjson": people, "Observation.ndjson": spaced + "\n"}


FORMS = ("lines", "compact lines", "bundle")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("more", "element"),
    [
        ({"valueQuantity": QUANTITY, "valueString": "3"}, "Observation.value"),
        ({"valueBoolean": False, "valueInteger": 0}, "Observation.value"),
        ({"effectiveDateTime": "2026", "effectivePeriod": {"start": "2025"}}, "Observation.effective"),
        (
            {
                "component": [
                    {"code": {"text": "y"}},
                    {"code": {"text": "x"}, "valueQuantity": QUANTITY, "valueString": "3"},
                ]
            },
            "Observation.component.value",
        ),
    ],
)
def test_two_values_where_one_may_stand_leave_open_which_holds(
    tmp_path: Path, more: Resource, element: str, form: str
) -> None:
    data = write(tmp_path / "data", written(form, observation(**more)))
    for way, found, problems in screened(criteria(tmp_path / "criteria", LOW), data, tmp_path):
        assert found == {"Patient/a": ("undetermined", "unknown"), "Patient/b": ("excluded", "not met")}, way
        (told,) = problems
        assert (told.code, told.severity, told.resource) == ("damaged-record", "error", "Observation/o"), way
        assert element.rpartition(".")[0] in told.message, way


def test_an_order_with_two_choices_in_its_dosage_is_damaged() -> None:
    order = {
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {"text": "x"},
        "dosageInstruction": [{"asNeededBoolean": True, "asNeededCodeableConcept": {"text": "pain"}}],
    }
    (found,) = oddness_of("MedicationRequest", json.dumps(order).encode())
    assert found.is_damage and "asNeededBoolean and asNeededCodeableConcept" in found.message
    del order["dosageInstruction"]
    assert oddness_of("MedicationRequest", json.dumps(order).encode()) == ()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", ["Final", " final ", "final ", " final", "FINAL", "done", ""])
def test_a_status_that_is_no_code_is_told(tmp_path: Path, status: str, form: str) -> None:
    data = write(tmp_path / "data", written(form, observation(status=status, valueQuantity=QUANTITY)))
    rules = criteria(tmp_path / "criteria", "Observation.where(status = 'final').exists()")
    for way, found, problems in screened(rules, data, tmp_path):
        assert found["Patient/a"] == ("excluded", "not met"), way
        (told,) = problems
        assert (told.code, told.severity, told.resource) == ("odd-element", "warning", "Observation/o"), way
        assert f"Observation.status is {status!r}" in told.message, way


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("code", [" x", "x ", " x "])
def test_blanks_around_a_code_are_told(tmp_path: Path, code: str, form: str) -> None:
    coded = {"coding": [{"system": "http://loinc.org", "code": code, "display": "ends with a blank "}]}
    data = write(tmp_path / "data", written(form, observation(code=coded)))
    rules = criteria(tmp_path / "criteria", "Observation.code.coding.where(code = 'x').exists()")
    for way, found, problems in screened(rules, data, tmp_path):
        assert found["Patient/a"] == ("excluded", "not met"), way
        assert [(one.code, one.severity) for one in problems] == [("odd-element", "warning")], way
        assert repr(code) in problems[0].message, way


def test_blanks_around_other_texts_are_no_matter(tmp_path: Path) -> None:
    coded = {"coding": [{"system": "http://loinc.org", "code": "x", "display": " y "}], "text": " x "}
    data = write(tmp_path / "data", written("lines", observation(code=coded)))
    for way, _, problems in screened(criteria(tmp_path / "criteria", LOW), data, tmp_path):
        assert problems == [], way


@pytest.mark.parametrize("path", sorted(CODES))
def test_elements_with_codes_are_elements_of_type_code(path: str) -> None:
    kind, name = path.split(".")
    found = [
        load_model(version).element(kind, name) for version in ("r4", "r4b", "r5") if load_model(version).has_type(kind)
    ]
    assert found and all(one is not None and one.types == ("code",) for one in found)
