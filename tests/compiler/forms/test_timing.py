"""Time counted from an event: of the study, which is the evaluation, and of the patient, which may not be recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.ui.commands.cli import main
from tests.compiler.forms.judging import (
    LOINC,
    PATIENT,
    amount,
    concept,
    group,
    loaded,
    outcome_of,
    record,
    result_of,
    reviewed,
    variable,
    verdict_on,
)

Json = dict[str, Any]
MI = "22298006"
STUDY_START = {"coding": [{"system": "http://hl7.org/fhir/evidence-variable-event", "code": "study-start"}]}
LAST_SIX_MONTHS = {"low": amount(-6, "mo"), "high": amount(0, "mo")}
STUDY_EVENTS = [
    STUDY_START,
    concept("709491003"),
    concept("450332002"),
    {"text": "Study enrollment"},
    {"text": "screening"},
    {"text": "start of trial"},
]


def infarction(*constraints: Json, exclude: bool = False) -> Json:
    return variable({"definitionCodeableConcept": concept(MI), "exclude": exclude, "timeFromEvent": list(constraints)})


def infarction_of(date: str, **more: Any) -> Json:
    return record("Condition", code=concept(MI), onsetDateTime=date, **more)


@pytest.mark.parametrize("event", STUDY_EVENTS, ids=str)
def test_events_of_the_study_are_the_time_of_evaluation(event: Json, tmp_path: Path) -> None:
    definition = infarction({"eventCodeableConcept": event, "range": LAST_SIX_MONTHS}, exclude=True)
    for date, verdict in (
        ("2026-01-01", "excluded"),
        ("2026-03-01", "excluded"),
        ("2025-09-01", "excluded"),
        ("2025-08-31", "included"),
        ("2025", "undetermined"),
    ):
        assert verdict_on(definition, [infarction_of(date)], tmp_path).verdict == verdict
    assert verdict_on(definition, [], tmp_path).verdict == "included"


def test_that_an_event_is_the_evaluation_is_said(tmp_path: Path) -> None:
    definition = infarction({"eventCodeableConcept": concept("709491003", text="enrolment"), "range": LAST_SIX_MONTHS})
    result = result_of(definition, [infarction_of("2026-01-01")], tmp_path)
    assert (result.outcome, result.detail) == ("met", "enrolment is the time of evaluation")


def test_the_start_of_the_study_can_be_given(tmp_path: Path) -> None:
    definition = infarction({"eventCodeableConcept": STUDY_START, "range": LAST_SIX_MONTHS})
    recent, older = [infarction_of("2026-01-01")], [infarction_of("2025-02-01")]
    assert outcome_of(definition, recent, tmp_path, study_start="2025-06-01") == "not met"
    assert outcome_of(definition, older, tmp_path, study_start="2025-06-01") == "met"
    with pytest.raises(ValueError, match="2025-13"):
        loaded(definition, tmp_path, study_start="2025-13")


def test_a_window_after_the_start_is_open_until_it_has_passed(tmp_path: Path) -> None:
    week = {"low": amount(0, "d"), "high": amount(7, "d")}
    definition = infarction({"eventCodeableConcept": STUDY_START, "range": week})
    assert "--study-start" in reviewed(definition, tmp_path)
    assert outcome_of(definition, [], tmp_path, study_start="2026-01-01") == "not met"
    assert outcome_of(definition, [], tmp_path, study_start="2026-02-27") == "unknown: no-data"
    assert outcome_of(definition, [infarction_of("2026-02-28")], tmp_path, study_start="2026-02-27") == "met"
    later = infarction({"eventCodeableConcept": STUDY_START, "quantity": amount(0, "d", ">")})
    assert "--study-start" in reviewed(later, tmp_path)


@pytest.mark.parametrize("exclude", [False, True])
def test_an_event_without_a_record_is_no_answer(exclude: bool, tmp_path: Path) -> None:
    window = {"low": amount(-1, "a"), "high": amount(0, "a")}
    definition = infarction(
        {"eventCodeableConcept": concept("86273004", text="biopsy"), "range": window}, exclude=exclude
    )
    biopsy = record("Procedure", status="completed", code=concept("86273004"), performedDateTime="2026-01-10")
    result = result_of(definition, [infarction_of("2025-06-01")], tmp_path)
    assert (result.outcome, result.reason) == ("unknown", "no-data")
    assert result.detail is not None and "'biopsy'" in result.detail
    assert outcome_of(definition, [infarction_of("2025-06-01"), biopsy], tmp_path) == "met"
    assert outcome_of(definition, [infarction_of("2024-06-01"), biopsy], tmp_path) == "not met"
    assert outcome_of(definition, [], tmp_path) == "not met", "who never had an infarction had none before a biopsy"
    planned = biopsy | {"status": "not-done"}
    assert outcome_of(definition, [infarction_of("2025-06-01"), planned], tmp_path) == "unknown: no-data"
    undated = {key: value for key, value in biopsy.items() if key != "performedDateTime"}
    assert outcome_of(definition, [infarction_of("2025-06-01"), undated], tmp_path) == "unknown: missing-value"


def test_a_characteristic_that_is_text_is_an_event_for_a_person(tmp_path: Path) -> None:
    definition = variable(
        {"linkId": "visit", "description": "Written informed consent."},
        {"definitionCodeableConcept": concept(MI), "timeFromEvent": [{"eventId": "visit", "range": LAST_SIX_MONTHS}]},
    )
    (rules,) = loaded(definition, tmp_path).rules
    assert (rules.rules[1].reason, "informed consent" in (rules.rules[1].detail or "")) == ("needs-review", True)
    unknown = infarction({"eventId": "nobody", "range": LAST_SIX_MONTHS})
    (rules,) = loaded(unknown, tmp_path).rules
    assert rules.rules[0].reason == "unresolved-reference"


@pytest.mark.parametrize("place", ["relativeTime", "timing", "extension"])
@pytest.mark.parametrize("unit_on", ["low", "high", "both"])
def test_relative_time_of_r6_groups(place: str, unit_on: str, tmp_path: Path) -> None:
    low = amount(-6, "mo") if unit_on != "high" else {"value": -6}
    high = amount(0, "mo") if unit_on != "low" else {"value": 0}
    window = {"low": low, "high": high}
    context = concept("450332002")
    item: Json = {"code": concept("64572001"), "valueCodeableConcept": concept(MI)}
    if place == "extension":
        parts = [{"url": "contextCode", "valueCodeableConcept": context}, {"url": "offset", "valueRange": window}]
        url = "http://hl7.org/fhir/uv/ebm/StructureDefinition/characteristic-timing"
        item["extension"] = [{"url": url, "extension": parts}]
    else:
        item[place] = [{"contextCode": context, "offsetRange": window}]
    definition = group(item)
    assert outcome_of(definition, [infarction_of("2026-01-01")], tmp_path) == "met"
    assert outcome_of(definition, [infarction_of("2025-01-01")], tmp_path) == "not met"
    assert outcome_of(definition, [infarction_of("2025")], tmp_path) == "unknown: imprecise-date"


def test_an_offset_counts_from_the_event(tmp_path: Path) -> None:
    for quantity, answers in (
        (amount(-6, "mo", "<="), ("met", "not met")),
        (amount(-6, "mo", ">="), ("not met", "met")),
    ):
        definition = infarction({"eventCodeableConcept": STUDY_START, "quantity": quantity})
        found = [outcome_of(definition, [infarction_of(date)], tmp_path) for date in ("2025-06-01", "2026-01-01")]
        assert tuple(found) == answers, "at least six months before, and less than six months before"


def at_enrolment(item: Json) -> Json:
    return group(item | {"relativeTime": [{"contextCode": concept("709491003"), "offsetDuration": {"value": 0}}]})


def test_a_state_at_the_time_of_evaluation_is_one_that_lasts(tmp_path: Path) -> None:
    definition = at_enrolment({"code": concept("64572001"), "valueCodeableConcept": concept(MI)})
    assert outcome_of(definition, [infarction_of("2020-01-01")], tmp_path) == "met"
    assert outcome_of(definition, [infarction_of("2020-01-01", abatementDateTime="2021-01-01")], tmp_path) == "not met"
    resolved = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "resolved"}]}
    assert outcome_of(definition, [infarction_of("2020-01-01", clinicalStatus=resolved)], tmp_path).startswith(
        "unknown"
    )


def test_a_state_at_another_moment_is_one_that_lasted_then(tmp_path: Path) -> None:
    before = variable({"definitionCodeableConcept": concept(MI), "timeFromStart": amount(-6, "mo")})
    event = infarction({"eventCodeableConcept": STUDY_START, "quantity": amount(-6, "mo")})
    ended = "abatementDateTime"
    for definition in (before, event):
        for found, expected in (
            (infarction_of("2020-01-01"), "met"),
            (infarction_of("2025-09-01"), "met"),
            (infarction_of("2025-09-02"), "not met"),
            (infarction_of("2020-01-01", **{ended: "2025-08-31"}), "not met"),
            (infarction_of("2020-01-01", **{ended: "2025-09-01"}), "met"),
            (infarction_of("2025"), "unknown: imprecise-date"),
        ):
            assert outcome_of(definition, [found], tmp_path) == expected


def test_a_measurement_at_the_time_of_evaluation_was_made_then(tmp_path: Path) -> None:
    item = {"code": concept("59261-8", system=LOINC), "valueQuantity": amount(8, "%", ">=")}
    value = {"status": "final", "code": concept("59261-8", system=LOINC), "valueQuantity": amount(9, "%")}
    older = record("Observation", effectiveDateTime="2025-02-01", **value)
    today = record("Observation", effectiveDateTime="2026-03-01T10:00:00Z", **value)
    low = today | {"valueQuantity": amount(7, "%")}
    assert outcome_of(at_enrolment(item), [today], tmp_path) == "met"
    assert outcome_of(at_enrolment(item), [low], tmp_path) == "not met"
    assert outcome_of(at_enrolment(item), [older], tmp_path) == "unknown: no-data"


def test_age_at_the_eligibility_visit(tmp_path: Path) -> None:
    age = {"low": amount(30, "a"), "high": amount(55, "a")}
    definition = at_enrolment({"code": concept("397669002"), "valueRange": age})
    assert outcome_of(definition, [], tmp_path) == "met"
    assert outcome_of(definition, [], tmp_path, study_start="2026-05-05") == "not met"
    unborn = {key: value for key, value in PATIENT.items() if key != "birthDate"}
    assert outcome_of(definition, [], tmp_path, patient=unborn) == "unknown: missing-value"
    elsewhere = group(
        {
            "code": concept("397669002"),
            "valueRange": age,
            "relativeTime": [{"contextCode": concept(MI), "offsetDuration": {"value": 0}}],
        }
    )
    assert "another event" in reviewed(elsewhere, tmp_path)


@pytest.mark.parametrize("version", ["r4", "r5"])
def test_death_in_a_window(version: str, tmp_path: Path) -> None:
    definition = variable(
        {
            "definitionCodeableConcept": concept("419099009"),
            "timeFromEvent": [{"eventCodeableConcept": STUDY_START, "range": LAST_SIX_MONTHS}],
        }
    )
    for more, outcome in (
        ({"deceasedDateTime": "2026-01-05"}, "met"),
        ({"deceasedDateTime": "2020-01-05"}, "not met"),
        ({"deceasedBoolean": False}, "not met"),
        ({"deceasedBoolean": True}, "unknown: missing-value"),
        ({}, "unknown: missing-value"),
    ):
        assert outcome_of(definition, [], tmp_path, version, patient=PATIENT | more) == outcome


def test_time_from_start_of_r4_counts_from_the_start_of_the_study(tmp_path: Path) -> None:
    definition = variable({"definitionCodeableConcept": concept(MI), "timeFromStart": amount(90, "d")})
    assert "--study-start" in reviewed(definition, tmp_path)
    assert outcome_of(definition, [infarction_of("2025-04-01")], tmp_path, study_start="2025-01-01") == "met"
    assert outcome_of(definition, [infarction_of("2025-04-02")], tmp_path, study_start="2025-01-01") == "not met"


def test_a_kind_of_event_is_not_sought_as_a_record(tmp_path: Path) -> None:
    kind = {"coding": [{"system": "http://hl7.org/fhir/evidence-variable-event", "code": "treatment-start"}]}
    assert "kind of event" in reviewed(infarction({"eventCodeableConcept": kind, "range": LAST_SIX_MONTHS}), tmp_path)


def test_the_option_is_known_to_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    definition = infarction({"eventCodeableConcept": STUDY_START, "range": LAST_SIX_MONTHS})
    loaded(definition, tmp_path)
    path = str(tmp_path / "definition.json")
    assert main(["check", path]) == 0
    assert "is the time of evaluation" in capsys.readouterr().out
    assert main(["check", path, "--study-start", "2025-01-01", "--verbose"]) == 0
    assert "@2025-01-01" in capsys.readouterr().out
