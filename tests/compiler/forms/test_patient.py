"""Properties of the patient: age with fractions and in groups, gender, and death."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.compiler.forms.judging import PATIENT, amount, concept, group, loaded, outcome_of, reviewed, variable

Json = dict[str, Any]
AGE = concept("397669002")
MESH = "https://meshb.nlm.nih.gov/"


def aged(birth_date: str) -> Json:
    return PATIENT | {"birthDate": birth_date}


def age(value: float, sign: str | None, unit: str = "a") -> Json:
    return group({"code": AGE, "valueQuantity": amount(value, unit, sign)})


# evaluated on 2026-03-01
@pytest.mark.parametrize(
    ("value", "sign", "unit", "answers"),
    [
        (17.5, "<=", "a", {"2008-03-01": "not met", "2008-08-01": "not met", "2008-08-02": "met", "2008-09-01": "met"}),
        (17.5, "<", "a", {"2008-09-01": "not met", "2008-09-02": "met"}),
        (17.5, ">=", "a", {"2008-09-01": "met", "2008-09-02": "not met"}),
        (17.5, ">", "a", {"2008-08-01": "met", "2008-08-02": "not met"}),
        (0.5, "<=", "a", {"2025-08-01": "not met", "2025-08-02": "met", "2025-09-01": "met", "2025-06-01": "not met"}),
        (6, "<=", "mo", {"2025-08-01": "not met", "2025-08-02": "met"}),
        (18, "<=", "a", {"2007-03-01": "not met", "2007-03-02": "met"}),
        (18, ">", "a", {"2007-03-01": "met", "2007-03-02": "not met"}),
        (18, None, "a", {"2008-03-01": "met", "2007-03-02": "met", "2007-03-01": "not met", "2008-03-02": "not met"}),
        (2.5, "<=", "wk", {"2026-02-11": "not met", "2026-02-12": "met"}),
        (72, "<", "h", {"2026-02-26": "not met", "2026-02-27": "met"}),
    ],
)
def test_limits_of_age(value: float, sign: str | None, unit: str, answers: dict[str, str], tmp_path: Path) -> None:
    for birth_date, outcome in answers.items():
        assert outcome_of(age(value, sign, unit), [], tmp_path, patient=aged(birth_date)) == outcome, birth_date
    unborn = {key: value for key, value in PATIENT.items() if key != "birthDate"}
    assert outcome_of(age(value, sign, unit), [], tmp_path, patient=unborn) == "unknown: missing-value"


def test_ranges_of_age(tmp_path: Path) -> None:
    half_a_year = group({"code": AGE, "valueRange": {"low": amount(0, "a"), "high": amount(0.5, "a")}})
    for birth_date, outcome in (("2026-01-01", "met"), ("2025-08-02", "met"), ("2025-08-01", "not met")):
        assert outcome_of(half_a_year, [], tmp_path, patient=aged(birth_date)) == outcome
    vague = outcome_of(age(18, ">="), [], tmp_path, patient=aged("2008"))
    assert vague == "unknown: imprecise-date"


def test_groups_of_age(tmp_path: Path) -> None:
    adult = concept("133936004", text="Adult")
    for definition in (
        group({"code": AGE, "valueCodeableConcept": adult}),
        variable({"definitionCodeableConcept": adult}),
        group({"code": {"text": "Defined by CodeableConcept"}, "valueCodeableConcept": adult}),
    ):
        assert outcome_of(definition, [], tmp_path, patient=aged("2008-03-01")) == "met"
        assert outcome_of(definition, [], tmp_path, patient=aged("2008-03-02")) == "not met"
        (rules,) = loaded(definition, tmp_path).rules
        assert rules.rules[0].notes == ("the age group '133936004' is read as 18 years and older",)
    mesh = group({"code": AGE, "valueCodeableConcept": concept("D000328", system=MESH)})
    for birth_date, outcome in (("2000-01-01", "met"), ("1980-01-01", "not met"), ("2008-01-01", "not met")):
        assert outcome_of(mesh, [], tmp_path, patient=aged(birth_date)) == outcome
    either = concept("D000328", "D008875", system=MESH)
    assert (
        outcome_of(group({"code": AGE, "valueCodeableConcept": either}), [], tmp_path, patient=aged("1975-01-01"))
        == "met"
    )
    adolescent = group({"code": AGE, "valueCodeableConcept": concept("133937008")})
    assert "age group" in reviewed(adolescent, tmp_path)
    assert "age group" in reviewed(variable({"definitionCodeableConcept": concept("133937008")}), tmp_path)


@pytest.mark.parametrize("code", ["419099009", "419620001"])
def test_death(code: str, tmp_path: Path) -> None:
    for definition in (
        variable({"definitionCodeableConcept": concept(code)}),
        group({"code": concept("260905004"), "valueCodeableConcept": concept(code)}),
    ):
        for more, outcome in (
            ({"deceasedBoolean": True}, "met"),
            ({"deceasedDateTime": "2020"}, "met"),
            ({"deceasedBoolean": False}, "not met"),
            ({}, "unknown: missing-value"),
        ):
            assert outcome_of(definition, [], tmp_path, patient=PATIENT | more) == outcome
    assert (
        outcome_of(variable({"definitionCodeableConcept": concept("438949009")}), [], tmp_path)
        == "unknown: missing-value"
    )


def test_gender_as_a_concept(tmp_path: Path) -> None:
    system = "http://hl7.org/fhir/administrative-gender"
    for female in (concept("248152002"), concept("female", system=system)):
        definition = variable({"definitionCodeableConcept": female})
        for gender, outcome in (("female", "met"), ("male", "not met"), ("unknown", "unknown: missing-value")):
            assert outcome_of(definition, [], tmp_path, patient=PATIENT | {"gender": gender}) == outcome
    nothing = {key: value for key, value in PATIENT.items() if key != "gender"}
    assert outcome_of(definition, [], tmp_path, patient=nothing) == "unknown: missing-value"
