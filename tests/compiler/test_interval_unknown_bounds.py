"""Intervals with boundaries that are null: each answer is the one that all values of the unknown boundaries give, else null.

The model puts every value of a sample in place of a boundary that is an open null, the end of the type in place of a closed one, and
applies the definitions of the CQL reference to what are then two whole numbers.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.algebra.diagnostic import EvaluationError, Source
from fhir_eligibility.algebra.values import points as p
from fhir_eligibility.algebra.values.interval import Interval, end, start
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Run

NOW = dt.datetime(2024, 5, 6, tzinfo=dt.UTC)
MIN, MAX = -(2**31), 2**31 - 1
SAMPLE = (MIN, MIN + 1, *range(-2, 14), MAX - 1, MAX)
Pair = tuple[int, int]


def reached(e: int, s: int) -> bool:
    return s <= e or s == e + 1


def overlap(a: Pair, b: Pair) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]


def included(a: Pair, b: Pair) -> bool:
    return a[0] >= b[0] and a[1] <= b[1]


RELATIONS: dict[str, Callable[[Pair, Pair], bool]] = {
    "A before B": lambda a, b: a[1] < b[0],
    "A after B": lambda a, b: a[0] > b[1],
    "A same or before B": lambda a, b: a[1] <= b[0],
    "A on or after B": lambda a, b: a[0] >= b[1],
    "A meets B": lambda a, b: a[1] + 1 == b[0] or b[1] + 1 == a[0],
    "A meets before B": lambda a, b: a[1] + 1 == b[0],
    "A meets after B": lambda a, b: b[1] + 1 == a[0],
    "A overlaps B": overlap,
    "A overlaps before B": lambda a, b: a[0] < b[0] and overlap(a, b),
    "A overlaps after B": lambda a, b: a[1] > b[1] and overlap(a, b),
    "A includes B": lambda a, b: included(b, a),
    "A included in B": included,
    "A during B": included,
    "A properly includes B": lambda a, b: included(b, a) and a != b,
    "A properly included in B": lambda a, b: included(a, b) and a != b,
    "A starts B": lambda a, b: a[0] == b[0] and a[1] <= b[1],
    "A ends B": lambda a, b: a[1] == b[1] and a[0] >= b[0],
    "A same as B": lambda a, b: a == b,
    "A = B": lambda a, b: a == b,
    "A != B": lambda a, b: a != b,
}
OF_A_POINT: dict[str, Callable[[Pair, int], bool]] = {
    "P in A": lambda a, x: a[0] <= x <= a[1],
    "A contains P": lambda a, x: a[0] <= x <= a[1],
    "P properly included in A": lambda a, x: a[0] < x < a[1],
    "A before P": lambda a, x: a[1] < x,
    "A after P": lambda a, x: a[0] > x,
    "P before A": lambda a, x: x < a[0],
    "P on or after A": lambda a, x: x >= a[1],
    "start of A <= P": lambda a, x: a[0] <= x,
    "end of A < P": lambda a, x: a[1] < x,
}
SETS: dict[str, Callable[[Pair, Pair], Pair | None]] = {
    "A intersect B": lambda a, b: (max(a[0], b[0]), min(a[1], b[1])) if overlap(a, b) else None,
    "A union B": lambda a, b: (
        (min(a[0], b[0]), max(a[1], b[1])) if reached(a[1], b[0]) and reached(b[1], a[0]) else None
    ),
    "A except B": lambda a, b: (
        a
        if not overlap(a, b)
        else (a[0], b[0] - 1)
        if a[0] < b[0] and b[1] >= a[1]
        else (b[1] + 1, a[1])
        if b[1] < a[1] and a[0] >= b[0]
        else None
    ),
}
NUMBERS: dict[str, Callable[[Pair], int]] = {
    "start of A": lambda a: a[0],
    "end of A": lambda a: a[1],
    "width of A": lambda a: a[1] - a[0],
    "Size(A)": lambda a: a[1] - a[0] + 1,
}
DERIVED = {
    "P in (A intersect B)": ("A intersect B", lambda c, x: c[0] <= x <= c[1]),
    "end of (A intersect B) <= P": ("A intersect B", lambda c, x: c[1] <= x),
    "(A union B) before P": ("A union B", lambda c, x: c[1] < x),
    "width of (A intersect B) <= P": ("A intersect B", lambda c, x: c[1] - c[0] <= x),
    "start of (A except B) >= P": ("A except B", lambda c, x: c[0] >= x),
}
COLLAPSE = "collapse { A, B, C }"
EXPRESSIONS = [*RELATIONS, *OF_A_POINT, *SETS, *NUMBERS, *DERIVED, COLLAPSE, "point from A"]
LIBRARY = "library L\n" + "".join(f"parameter {x} Interval<Integer>\n" for x in "ABC") + "parameter P Integer\n"
LOADED = LoadedLibrary(
    Compiler().compile(Source("L.cql", LIBRARY + "".join(f"define X{i}: {x}\n" for i, x in enumerate(EXPRESSIONS))))
)


class Values:
    """The values of all expressions for some operands."""

    def __init__(self, **operands: Any) -> None:
        self.run = Run(NOW).with_parameters({("L", name): value for name, value in operands.items()})

    def __getitem__(self, expression: str) -> Any:
        return LOADED.evaluate(f"X{EXPRESSIONS.index(expression)}", self.run)


def possible(i: Interval) -> list[Pair]:
    """All that an interval may be."""
    firsts = [i.low + (not i.low_closed)] if i.low is not None else [MIN] if i.low_closed else SAMPLE
    lasts = [i.high - (not i.high_closed)] if i.high is not None else [MAX] if i.high_closed else SAMPLE
    return [pair for pair in product(firsts, lasts) if pair[0] <= pair[1]]


def common(answers: Iterable[Any]) -> Any:
    """The answer that all give, else None."""
    found = set(answers)
    return found.pop() if len(found) == 1 else None


def holds(value: Any, number: int) -> bool:
    """Whether a value may be a number."""
    low, high = p.ends(value)
    return bool(low <= number <= high)


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    bound = st.one_of(st.none(), st.integers(1, 9))
    while True:
        low, high, low_closed, high_closed = draw(bound), draw(bound), draw(st.booleans()), draw(st.booleans())
        try:
            found = Interval(low, high, low_closed, high_closed, "Integer")
        except EvaluationError:
            continue
        if possible(found):
            return found


PER_EXAMPLE = settings(max_examples=300, deadline=None)


@PER_EXAMPLE
@given(intervals(), intervals(), st.integers(0, 11))
def test_relations_have_the_answer_that_all_values_give(a: Interval, b: Interval, x: int) -> None:
    values = Values(A=a, B=b, P=x)
    pairs = list(product(possible(a), possible(b)))
    for text, relation in RELATIONS.items():
        assert values[text] is common(relation(m, n) for m, n in pairs), text
    for text, of_point in OF_A_POINT.items():
        expected = common(of_point(m, x) for m in possible(a))
        found = values[text]
        if text.startswith(("start of", "end of")):  # what is not known at all of a start is null, not a range
            assert found is None or found is expected, text
        else:
            assert found is expected, text


@PER_EXAMPLE
@given(intervals(), intervals(), st.integers(0, 11))
def test_intervals_of_intervals_hold_all_that_may_be(a: Interval, b: Interval, x: int) -> None:
    values = Values(A=a, B=b, P=x)
    pairs = list(product(possible(a), possible(b)))
    for text, operation in SETS.items():
        results = [operation(m, n) for m, n in pairs]
        found = values[text]
        if found is None:
            assert None in results, text
            continue
        assert None not in results, text
        for first, last in filter(None, results):
            assert holds(start(found), first) and holds(end(found), last), (text, first, last)
        firsts, lasts = ({pair[k] for pair in results if pair is not None} for k in (0, 1))
        for edge, numbers in ((start(found), firsts), (end(found), lasts)):  # and no more than that
            assert p.ends(edge) == (min(numbers), max(numbers)), text
    for text, (inner, test) in DERIVED.items():
        if values[inner] is not None:
            answers = {test(SETS[inner](m, n), x) for m, n in pairs}  # type: ignore[no-untyped-call]
            assert values[text] is None or answers == {values[text]}, text


@PER_EXAMPLE
@given(intervals())
def test_numbers_of_an_interval(a: Interval) -> None:
    values = Values(A=a, B=a, P=1)
    for text, number in NUMBERS.items():
        found = values[text]
        answers = {number(m) for m in possible(a)}
        if len(answers) == 1:
            assert found == answers.pop(), text
        else:
            assert found is None, text
    units = {m[0] == m[1] for m in possible(a)}
    if units == {False}:
        with pytest.raises(EvaluationError):
            values["point from A"]
    else:
        assert values["point from A"] == common(m[0] if m[0] == m[1] else None for m in possible(a))


@settings(max_examples=120, deadline=None)
@given(intervals(), intervals(), intervals())
def test_collapse(a: Interval, b: Interval, c: Interval) -> None:
    found = Values(A=a, B=b, C=c)[COLLAPSE]
    all_of = [possible(i) for i in (a, b, c)]
    few = [pairs if len(pairs) < 25 else pairs[::5] for pairs in all_of]
    results = {collapsed(pairs) for pairs in product(*few)}
    if found is None:
        assert len(results) > 1 or few != all_of
        return
    for result in results:
        assert len(found) == len(result)
        for interval, (first, last) in zip(found, result, strict=True):
            assert holds(start(interval), first) and holds(end(interval), last)


def collapsed(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    out: list[Pair] = []
    for first, last in sorted(pairs):
        if out and reached(out[-1][1], first):
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return tuple(out)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Interval[1, 10] intersect Interval[5, null)", "Interval[5, null)"),
        ("21 in (Interval[1, 10] intersect Interval[5, null))", "False"),
        ("7 in (Interval[1, 10] intersect Interval[5, null))", "None"),
        ("5 in (Interval[1, 10] intersect Interval[5, null))", "True"),
        ("end of (Interval[1, 10] intersect Interval[5, null)) <= 20", "True"),
        ("(Interval[1, 10] intersect Interval[5, null)) before Interval[11, 12]", "True"),
        ("(Interval[1, 10] intersect Interval[5, null)) overlaps Interval[11, 12]", "False"),
        ("width of (Interval[1, 10] intersect Interval[5, null)) <= 5", "True"),
        ("(Interval[1, 10] intersect Interval[5, null)).high", "None"),
        ("collapse { Interval[5, null) }", "['Interval[5, null)']"),
        ("collapse { Interval[1, 9], Interval[5, null) }", "['Interval[1, null)']"),
        ("First(collapse { Interval[1, 9], Interval[5, null) }) contains 9", "True"),
        ("First(collapse { Interval[1, 9], Interval[5, null) }) contains 10", "None"),
        ("collapse { Interval[1, 3], Interval(null, 20] }", "None"),
        ("collapse { Interval[1, 3], Interval[7, null) }", "['Interval[1, 3]', 'Interval[7, null)']"),
        (
            "collapse { Interval(null, @2024-03-01], Interval[@2024-02-28, @2024-06-01] } per day",
            "['Interval(null, 2024-06-01]']",
        ),
        ("collapse { Interval(null, @2024-03-01], Interval[@2024-01-01, @2024-02-01] } per day", "None"),
        ("expand { Interval[0, null) }", "[]"),  # the reference: such an interval contributes nothing
        ("start of Interval(null, 5]", "None"),
        ("start of Interval(null, 5] is null", "True"),
        ("start of Interval[null, 5]", str(MIN)),
        ("start of (Interval[1, 10] intersect Interval(null, 8]) is null", "False"),
        ("width of Interval[0, null)", "None"),
        ("point from Interval[4, null)", "None"),
    ],
)
def test_examples(text: str, expected: str) -> None:
    loaded = LoadedLibrary(Compiler().compile(Source("x.cql", f"define X: {text}")))
    found = loaded.evaluate("X", Run(NOW))
    assert str([str(x) for x in found] if isinstance(found, list) else found) == expected
