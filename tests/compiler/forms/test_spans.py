"""When a record was: periods lie in a window that they overlap, an onset that is not a date is not a date, states last at a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.compiler.forms.judging import (
    SUBJECT,
    Json,
    amount,
    concept,
    group,
    outcome_of,
    record,
    result_of,
    reviewed,
    variable,
    verdict_on,
)

START = {"eventCodeableConcept": concept("study-start", system="http://hl7.org/fhir/evidence-variable-event")}
WINDOW = [{**START, "range": {"low": amount(-30, "d"), "high": amount(0, "d")}}]
MOMENT = [{**START, "quantity": amount(0, "d")}]
THING = concept("254837009")
KINDS = {
    "Condition": "404684003",
    "Procedure": "71388002",
    "MedicationStatement": "410942007",
    "MedicationDispense": "410942007",
    "AllergyIntolerance": "609328004",
    "FamilyMemberHistory": "416471007",
    "DeviceUseStatement": "49062001",
}


def timed(kind: str, when: list[Json], **more: Any) -> Json:
    """The thing, as a record of a kind, at a time."""
    value = {"type": concept(KINDS[kind]), "valueCodeableConcept": THING}
    return variable({"definitionByTypeAndValue": value, "timeFromEvent": when, **more})


def taken(version: str, status: str = "active", **period: str) -> Json:
    """A drug that was taken over a period."""
    drug: Json = {"medication": {"concept": THING}} if version == "r5" else {"medicationCodeableConcept": THING}
    return record("MedicationStatement", status=status, effectivePeriod=period, **drug)


@pytest.mark.parametrize("version", ["r4", "r4b", "r5"])
@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize(
    ("status", "period", "outcome"),
    [
        ("active", {"start": "2020-01-01"}, "met"),
        ("active", {"start": "2020-01-01", "end": "2026-02-20"}, "met"),
        ("completed", {"start": "2020-01-01", "end": "2025-02-20"}, "not met"),
        ("completed", {"start": "2020-01-01"}, "unknown"),
        ("completed", {"start": "2026-02-20"}, "met"),
        ("completed", {"end": "2025-02-20"}, "not met"),
        ("completed", {"end": "2026-02-20"}, "unknown"),
        ("active", {"start": "2026-04-01"}, "not met"),
        ("active", {"start": "2020-01-01", "end": "2026"}, "unknown"),
    ],
)
def test_a_period_lies_in_a_window_that_it_overlaps(
    status: str, period: dict[str, str], outcome: str, exclude: bool, version: str, tmp_path: Path
) -> None:
    definition = timed("MedicationStatement", WINDOW, exclude=exclude)
    if version == "r5" and status == "completed":
        period = period | ({} if "end" in period or outcome != "unknown" else {"end": "2026"})
        status = "recorded"
    found = verdict_on(definition, [taken(version, status, **period)], tmp_path, version)
    assert found.criteria[0].outcome == outcome
    wanted = {"unknown": "undetermined", "met": "excluded" if exclude else "included"}
    assert found.verdict == wanted.get(outcome, "included" if exclude else "excluded")


@pytest.mark.parametrize(
    ("status", "performed", "outcome"),
    [
        ("in-progress", {"start": "2025-12-01"}, "met"),
        ("completed", {"start": "2025-12-01"}, "unknown"),
        ("completed", {"start": "2025-12-01", "end": "2026-02-02"}, "met"),
        ("completed", {"start": "2025-12-01", "end": "2026-01-02"}, "not met"),
    ],
)
def test_a_procedure_that_lasted_into_a_window(status: str, performed: Json, outcome: str, tmp_path: Path) -> None:
    found = record("Procedure", status=status, code=THING, performedPeriod=performed)
    assert result_of(timed("Procedure", WINDOW), [found], tmp_path).outcome == outcome


@pytest.mark.parametrize(
    ("onset", "outcome"),
    [
        ({}, "met"),
        ({"onsetAge": amount(30, "a")}, "unknown"),
        ({"onsetString": "in childhood"}, "unknown"),
        ({"onsetPeriod": {"end": "2010"}}, "unknown"),
        ({"onsetPeriod": {"start": "2010-01-01"}}, "not met"),
        ({"onsetDateTime": "2026-02-10"}, "met"),
    ],
)
@pytest.mark.parametrize("kind", ["Condition", "AllergyIntolerance"])
def test_the_recording_is_the_onset_only_where_none_is_told(
    kind: str, onset: Json, outcome: str, tmp_path: Path
) -> None:
    found = record(kind, code=THING, patient=SUBJECT, recordedDate="2026-02-20", **onset)
    if kind == "AllergyIntolerance":
        del found["subject"]
    assert result_of(timed(kind, WINDOW), [found], tmp_path).outcome == outcome


def test_a_measurement_at_an_instant(tmp_path: Path) -> None:
    value = {"type": concept("2857-1", system="http://loinc.org"), "valueQuantity": amount(3, "ng/mL", ">=")}
    definition = variable({"definitionByTypeAndValue": value, "timeFromEvent": WINDOW})
    found = record("Observation", status="final", code=value["type"], valueQuantity=amount(4, "ng/mL"))
    assert outcome_of(definition, [found | {"effectiveInstant": "2026-02-20T10:00:00Z"}], tmp_path) == "met"


@pytest.mark.parametrize(
    ("kind", "content", "outcome"),
    [
        ("AllergyIntolerance", {"code": THING, "onsetDateTime": "2010"}, "met"),
        ("FamilyMemberHistory", {"status": "completed", "condition": [{"code": THING}], "date": "2010"}, "met"),
        ("Procedure", {"status": "in-progress", "code": THING, "performedPeriod": {"start": "2026-02-01"}}, "met"),
        ("Procedure", {"status": "completed", "code": THING, "performedDateTime": "2026-02-01"}, "not met"),
        (
            "MedicationDispense",
            {"status": "completed", "medicationCodeableConcept": THING, "whenHandedOver": "2026-02-20"},
            "unknown",
        ),
    ],
)
def test_states_last_at_a_moment(kind: str, content: Json, outcome: str, tmp_path: Path) -> None:
    found = {"resourceType": kind, "id": "x", **content}
    found["patient" if kind in ("AllergyIntolerance", "FamilyMemberHistory") else "subject"] = SUBJECT
    assert result_of(timed(kind, MOMENT), [found], tmp_path).outcome == outcome


def test_an_event_that_is_a_characteristic_is_bounded_as_that_is(tmp_path: Path) -> None:
    infarction = timed("Condition", WINDOW)["characteristic"][0] | {"linkId": "mi", "exclude": True}
    value = {"type": concept("2857-1", system="http://loinc.org")}
    after = [{"eventId": "mi", "range": {"low": amount(0, "d"), "high": amount(9, "d")}}]
    definition = variable(infarction, {"definitionByTypeAndValue": value, "timeFromEvent": after})
    records = [record("Condition", code=THING, onsetDateTime="2010-01-01")]
    records.append(record("Observation", status="final", code=value["type"], effectiveDateTime="2010-01-05"))
    _, measured = verdict_on(definition, records, tmp_path).criteria
    assert (measured.outcome, measured.reason) == ("unknown", "no-data")


@pytest.mark.parametrize("end", ["2026-02-20", "2026-02", "2026"])
def test_the_end_of_a_period_holds_all_that_it_matches(end: str, tmp_path: Path) -> None:
    period = {"start": "2026", "end": end}
    definition = {"exclude": False, "code": concept("404684003"), "valueCodeableConcept": THING, "period": period}
    found = record("Condition", code=THING, onsetDateTime="2026-02-20T10:00:00Z")
    assert outcome_of(group(definition), [found], tmp_path) == "met"


@pytest.mark.parametrize(
    "amounts",
    [
        {"instancesQuantity": {"value": 2}},
        {"durationQuantity": amount(2, "a")},
        {"instancesRange": {"low": {"value": 2}}},
    ],
)
@pytest.mark.parametrize("form", ["expression", "combination", "link"])
def test_a_number_of_something_that_names_no_records_needs_a_person(form: str, amounts: Json, tmp_path: Path) -> None:
    of_form: Json = {
        "expression": {"definitionExpression": {"language": "text/fhirpath", "expression": "Condition.exists()"}},
        "combination": {
            "definitionByCombination": {"code": "any-of", "characteristic": [{"definitionCodeableConcept": THING}]}
        },
        "link": {"definitionId": "x"},
    }[form]
    definition = variable({**of_form, **amounts}, {"linkId": "x", "definitionCodeableConcept": THING})
    first = verdict_on(definition, [], tmp_path).criteria[0]
    assert (first.outcome, first.reason) == ("unknown", "needs-review")


def test_the_mean_of_a_group_is_of_no_patient(tmp_path: Path) -> None:
    assert "mean" in reviewed(variable({"definitionCodeableConcept": THING, "groupMeasure": "mean"}), tmp_path)


@pytest.mark.parametrize(
    ("method", "verdict"),
    [
        ({"valueCode": "any-of"}, "included"),
        ({"valueCodeableConcept": {"coding": [{"code": "any-of"}]}}, "included"),
        ({"valueCodeableConcept": {"text": "any-of"}}, "included"),
        ({}, "undetermined"),
        ({"valueCodeableConcept": {"text": "whichever"}}, "undetermined"),
    ],
)
def test_how_a_group_combines_is_read_in_every_form(method: Json, verdict: str, tmp_path: Path) -> None:
    url = "http://hl7.org/fhir/uv/ebm/StructureDefinition/combination-method"
    sexes = [
        {"code": concept("263495000"), "valueCodeableConcept": concept(code)} for code in ("248153007", "248152002")
    ]
    assert verdict_on(group(*sexes, extension=[{"url": url, **method}]), [], tmp_path).verdict == verdict
