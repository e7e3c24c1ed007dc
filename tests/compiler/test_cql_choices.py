"""A choice of moment and period gives, in every timing phrase and operator, what the same value gives where its type is known."""

from __future__ import annotations

import datetime as dt
import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, EvaluationError, Source
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.elm_json.writer import elm_text
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from fhir_eligibility.runners.screening.criteria import load_criteria
from fhir_eligibility.runners.screening.screening import screen

HEAD = """library Choices version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1' called FHIRHelpers
context Patient
"""
NOW = dt.datetime(2025, 6, 15, 12, tzinfo=dt.UTC)
PATIENT = {"resourceType": "Patient", "id": "p"}
VALUES: dict[str, dict[str, Any]] = {
    "moment": {"effectiveDateTime": "2024-02-01T08:00:00.000Z"},
    "instant": {"effectiveInstant": "2024-02-01T08:00:00.000Z"},
    "later": {"effectiveDateTime": "2024-12-31T08:00:00.000Z"},
    "partial": {"effectiveDateTime": "2024"},
    "day": {"effectiveDateTime": "2024-06-01"},
    "period": {"effectivePeriod": {"start": "2024-02-01T08:00:00.000Z", "end": "2024-03-02T08:00:00.000Z"}},
    "partial-period": {"effectivePeriod": {"start": "2023-12", "end": "2024-06"}},
    "no-end": {"effectivePeriod": {"start": "2024-03-01T08:00:00.000Z"}},
    "no-start": {"effectivePeriod": {"end": "2024-03-01T08:00:00.000Z"}},
    "timing": {"effectiveTiming": {"event": ["2024-01-01"]}},
    "absent": {},
}
TYPES = {"effectiveDateTime": "FHIR.dateTime", "effectiveInstant": "FHIR.instant", "effectivePeriod": "FHIR.Period"}
RIGHT = {
    "date": "@2024-06-01",
    "moment": "@2024-02-01T08:00:00.000Z",
    "dates": "Interval[@2024-01-01, @2024-12-31]",
    "moments": "Interval[@2024-01-01T00:00:00.000Z, @2024-06-30T23:59:59.999Z]",
    "clock": "Now()",
}
PHRASES = [
    "{0} before {1}",
    "{0} after {1}",
    "{1} after {0}",
    "{0} on or before {1}",
    "{0} on or after {1}",
    "{0} same or before {1}",
    "{0} same day or after {1}",
    "{0} before day of {1}",
    "{0} before or on day of {1}",
    "{0} occurs before {1}",
    "{0} more than 1 year before {1}",
    "{0} 2 years or less before {1}",
    "{0} 30 days or more after {1}",
    "{0} less than 60 days after {1}",
    "{0} 1 month before {1}",
    "{0} same day as {1}",
    "{0} during {1}",
    "{0} during day of {1}",
    "{0} properly during {1}",
    "{0} included in {1}",
    "{1} includes {0}",
    "{1} properly includes month of {0}",
    "{0} includes {1}",
    "{0} within 60 days of {1}",
    "{0} properly within 90 days of {1}",
    "{1} within 90 days of {0}",
    "{0} starts before {1}",
    "{0} ends on or before {1}",
    "{0} starts {1}",
    "{0} ends {1}",
    "{0} overlaps {1}",
    "{1} overlaps before {0}",
    "{0} meets {1}",
    "{0} = {1}",
    "{0} != {1}",
    "{0} ~ {1}",
    "{0} < {1}",
    "{1} >= {0}",
    "{0} in {1}",
    "{0} between @2024-01-01 and @2024-12-31",
    "{0} + 30 days before {1}",
    "{0} - 1 month after {1}",
    "years between {0} and {1}",
    "end of Interval[{0}, {1}]",
    "Interval[{1}, {0}] overlaps Interval[@2024-01-01, @2024-06-01]",
    "year from {0}",
    "date from {0}",
    "start of {0}",
    "end of {0}",
    "{0} is null",
]
CHOICE = "O.effective"
STATIC = tuple(f"({CHOICE} as {kind})" for kind in TYPES.values())


def record(name: str) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": "Patient/p"},
        **VALUES[name],
    }


def define(name: str, expression: str) -> str:
    return f"define {name}: First([Observation] O return all {expression})\n"


def compiled(phrase: str, left: str, right: str) -> LoadedLibrary | None:
    """A phrase over the only Observation, None where it does not compile."""
    text = HEAD + define("X", phrase.format(left, right))
    try:
        return LoadedLibrary(Compiler().compile(Source("choices.cql", text)))
    except DiagnosticError:
        return None


def value(loaded: LoadedLibrary, name: str) -> str:
    try:
        found = loaded.evaluate("X", Patient(Run(NOW), PATIENT, [PATIENT, record(name)]))
    except EvaluationError as error:
        return f"error {error.code}"
    return str(found).replace("+00:00", "Z")


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_choice_is_converted_by_what_its_value_is(phrase: str) -> None:
    compared = 0
    for right in RIGHT.values() if "{1}" in phrase else [""]:
        static = {kind: compiled(phrase, left, right) for kind, left in zip(TYPES.values(), STATIC, strict=True)}
        choice = compiled(phrase, CHOICE, right)
        assert (choice is None) == (not any(static.values())), right
        if choice is None:
            continue
        nothing = next(loaded for loaded in static.values() if loaded is not None)
        for name, given in VALUES.items():
            kind = next((TYPES[key] for key in given if key in TYPES), None)
            plain = static[kind] if kind is not None else nothing
            if plain is not None:
                expected = value(plain, name)
            else:  # what has no meaning for this type of value is null, or false where there always is an answer
                expected = "False" if phrase == "{0} ~ {1}" else "None"
            if name == "timing":
                expected = {"{0} is null": "False", "{0} ~ {1}": "False"}.get(phrase, "None")
            assert value(choice, name) == expected, (right, name)
            compared += 1
    assert compared >= len(VALUES)


@pytest.mark.parametrize("phrase", [p for p in PHRASES if p not in ("{0} in {1}", "start of {0}", "end of {0}")])
def test_a_choice_has_the_same_value_when_written_as_elm_and_read_again(phrase: str) -> None:
    right = RIGHT["moments"]
    if compiled(phrase, CHOICE, right) is None:
        right = RIGHT["moment"]
    source = Source("choices.cql", HEAD + define("X", phrase.format(CHOICE, right)))
    compiler = Compiler()
    loaded = LoadedLibrary(compiler.compile(source))
    again = LoadedLibrary(compiler.compile(Source("choices.json", elm_text(compiler.typed(source)))))
    for name in VALUES:
        assert value(again, name) == value(loaded, name), name


def test_both_sides_may_be_choices() -> None:
    resources = [PATIENT, record("moment"), {**record("period"), "id": "period"}, record("later"), record("absent")]
    text = HEAD + (
        "define X: from [Observation] A, [Observation] B where A.effective before B.effective "
        "return A.id.value + '<' + B.id.value\n"
    )
    loaded = LoadedLibrary(Compiler().compile(Source("pairs.cql", text)))
    found = loaded.evaluate("X", Patient(Run(NOW), PATIENT, resources))
    assert sorted(found) == ["moment<later", "period<later"]


def test_sums_keep_each_alternative() -> None:
    """Procedure.performed may be an age: that plus 30 days is an age, a moment plus 30 days a moment."""
    text = HEAD + "define X: [Procedure] P return all P.performed + 30 days\n"
    loaded = LoadedLibrary(Compiler().compile(Source("sums.cql", text)))
    age = {"value": 40, "unit": "d", "code": "d", "system": "http://unitsofmeasure.org"}
    procedures = [
        {"resourceType": "Procedure", "id": str(i), "status": "completed", "subject": {"reference": "Patient/p"}, **x}
        for i, x in enumerate([{"performedDateTime": "2024-01-01"}, {"performedAge": age}, {"performedString": "then"}])
    ]
    found = loaded.evaluate("X", Patient(Run(NOW), PATIENT, [PATIENT, *procedures]))
    assert [str(x) for x in found] == ["2024-01-31T", "70 days", "None"]


def test_a_sort_by_what_may_be_a_period_is_warned_of() -> None:
    text = HEAD + "define X: First([Observation] O sort by effective).id.value\n"
    compiled_library = Compiler().compile(Source("sorted.cql", text))
    (found,) = compiled_library.diagnostics
    assert (found.severity, found.code) == ("warning", "not-sortable")
    assert found.message == "the values may be FHIR.Period, which has no order: this fails where one is"
    loaded = LoadedLibrary(compiled_library)
    moments = [PATIENT, record("later"), record("moment")]
    assert loaded.evaluate("X", Patient(Run(NOW), PATIENT, moments)) == "moment"
    with pytest.raises(EvaluationError):
        loaded.evaluate("X", Patient(Run(NOW), PATIENT, [*moments, record("period")]))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("({ Tuple { n: { 1 } }, Tuple { n: { 1.5 } } }) B return all First(B.n)", "[Decimal('1'), Decimal('1.5')]"),
        ("({ Tuple { n: { 1 } }, Tuple { n: { 'a' } } }) B return all B.n", "[[1], ['a']]"),
        ("Count({ 'a', true, 'x' as Choice<String, Quantity> })", "3"),
        (
            "({ 'a', true, 3 'mg' as Choice<String, Quantity> }) X where X is Quantity return all (X as Quantity).value",
            "[Decimal('3')]",
        ),
    ],
)
def test_lists_of_several_types(expression: str, expected: str) -> None:
    loaded = LoadedLibrary(Compiler().compile(Source("lists.cql", f"define X: {expression}\n")))
    assert str(loaded.evaluate("X", Run(NOW))) == expected


def outcome(folder: Path, condition: str, name: str) -> tuple[str, str | None]:
    """Outcome and detail of a criterion that asks for an Observation, over a file with one of them."""
    (folder / "Choices.cql").write_text(f"{HEAD}define X: exists ([Observation] O where {condition})\n")
    source = {"language": "text/cql-identifier", "expression": "X"}
    variable = {"resourceType": "EvidenceVariable", "id": "e", "status": "active"}
    (folder / "e.json").write_text(json.dumps({**variable, "characteristic": [{"definitionExpression": source}]}))
    data = folder / "data.json"
    entries = [{"resource": resource} for resource in (PATIENT, record(name))]
    data.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    (found,) = screen(load_criteria(folder / "e.json", libraries=[folder / "Choices.cql"]), data)
    return found.criteria[0].outcome, found.criteria[0].detail


@pytest.mark.parametrize(
    ("phrase", "right"),
    list(product(["{0} before {1}", "{0} during day of {1}", "{0} more than 1 year before {1}"], ["dates", "moments"])),
)
def test_screening_tells_what_the_value_tells(tmp_path: Path, phrase: str, right: str) -> None:
    words = {"True": "met", "False": "not met", "None": "unknown"}
    loaded = compiled(phrase, CHOICE, RIGHT[right])
    assert loaded is not None
    for name in VALUES:
        found, _ = outcome(tmp_path, phrase.format(CHOICE, RIGHT[right]), name)
        assert found == words[value(loaded, name)], name


def test_an_unknown_says_what_the_value_is(tmp_path: Path) -> None:
    found, detail = outcome(tmp_path, "O.effective before @2024-06-01", "timing")
    assert found == "unknown"
    assert detail is not None and detail.endswith(
        ": the Timing of Observation/timing cannot be compared with 2024-06-01"
    )
