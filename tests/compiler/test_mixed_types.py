"""Functions that answer with one of several values, or with all of them, keep the type of each: what is asked of the value afterwards is the same as without the function."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fhir_eligibility.compiler.criteria.fhirpath import compile_fhirpath

DATA = {
    "resourceType": "Observation",
    "status": "final",
    "code": {"coding": [{"system": "s", "code": "A"}, {"system": "s", "code": "B"}], "text": "t"},
    "valueCodeableConcept": {"coding": [{"system": "s", "code": "V"}]},
    "category": [{"coding": [{"code": "C"}]}],
    "component": [{"code": {"coding": [{"code": "K"}]}, "valueQuantity": {"value": 1, "unit": "g"}}],
}
# one value each that has codings: of a known type, of a choice, of any type, an element of a list
CODED = (
    "code",
    "value",
    "value.ofType(CodeableConcept)",
    "component.code.aggregate($this)",
    "children().where(coding.exists(code = 'A'))",
    "category.first()",
    "category.repeat($this)",
)
OTHERS = (
    *CODED,
    "{}",
    "'text'",
    "status",
    "5 'mg'",
    "component",
    "component.value",
    "component.aggregate($total | $this, {})",
    "%context",
    "code.type()",
)
ASKED = (
    "coding.code",
    "coding.exists(code = 'A' or code = 'C' or code = 'K' or code = 'V')",
    "children().count()",
    "ofType(CodeableConcept).coding.code",
    "type().name",
)


def result(text: str) -> Any:
    return json.loads(json.dumps(compile_fhirpath(text, root="Observation", lenient=True).evaluate(DATA), default=str))


@pytest.mark.parametrize("coded", CODED)
@pytest.mark.parametrize("other", OTHERS)
def test_one_of_two(coded: str, other: str) -> None:
    for asked in ASKED:
        expected = result(f"({coded}).{asked}")
        assert expected, (coded, asked)
        for chosen in (
            f"iif(true, {coded}, {other})",
            f"iif(false, {other}, {coded})",
            f"iif(status = 'final', {coded}, {other})",
            f"coalesce({{}}, {coded}, {other})",
            f"coalesce(({other}).where(false), {coded})",
            f"iif(false, {other}, iif(true, {coded}, {other}))",
            f"(({coded}).union(({other}).where(false)))",
            f"(({other}).where(false).combine({coded}))",
            f"(({other}).where(false) | ({coded}))",
            f"({coded}).exclude(({other}).where(false))",
            f"({coded}).exclude(component.value)",
            f"({coded}).exclude('text')",
            f"({coded}).intersect(({other}).combine({coded}))",
            f"defineVariable('x', iif(true, {coded}, {other})).select(%x)",
            f"({coded}).aggregate(iif(true, $this, {other}))",
            f"({coded}).select(iif($this.exists(), $this, {other}))",
        ):
            assert result(f"({chosen}).{asked}") == expected, (chosen, asked)


TIMED: dict[str, Any] = {
    "resourceType": "Observation",
    "status": "final",
    "issued": "2024-05-06T10:00:00Z",
    "code": {"text": "x"},
    "component": [
        {"code": {"text": "x"}, "valueDateTime": "2024-05-06T12:00:00+02:00"},
        {"code": {"text": "x"}, "valueDateTime": "2024-05-07"},
    ],
    "note": [
        {"time": "2024-05-06T10:00:00.000Z", "_time": {"extension": [{"url": "u", "valueString": "x"}]}, "text": "a"},
        {"time": "2024-05-06T08:00:00-02:00", "text": "b"},
        {"time": "2024-05-08", "text": "c"},
    ],
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("note.time.distinct().count()", 2),
        ("note.time.isDistinct()", False),
        ("(note.time | issued).count()", 2),
        ("note.time.union(component.value).count()", 3),
        ("note.time.exclude(issued).count()", 1),
        ("issued.exclude(note.time).count()", 0),
        ("note.time.intersect(issued).count()", 1),
        ("component.value.intersect(note.time).count()", 1),
        ("component.value.exclude(note.time).count()", 1),
        ("note.time.exclude(component.value) = @2024-05-08", True),
        ("(note.time | issued).where($this > @2024-05-07).count()", 1),
        ("note.time.combine(issued).distinct().count()", 2),
        ("note.select(time).distinct().first() = issued", True),
        ("issued.subsetOf(note.time)", True),
        ("issued in note.time.skip(1)", True),
    ],
)
def test_moments_are_compared_as_moments(expression: str, expected: Any) -> None:
    (found,) = compile_fhirpath(expression, root="Observation").evaluate(TIMED)
    assert found.value == expected
