"""Intervals, ranges of uncertainty, durations: values from the specification's examples and the official cases."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_eligibility.algebra import temporal as t
from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.temporal import Date, DateTime
from fhir_eligibility.algebra.values import interval as iv
from fhir_eligibility.algebra.values import points as p
from fhir_eligibility.algebra.values.interval import Interval


def ints(low: int | None, high: int | None, low_closed: bool = True, high_closed: bool = True) -> Interval:
    return Interval(low, high, low_closed, high_closed, "Integer")


@pytest.mark.parametrize(
    ("relation", "a", "b", "expected"),
    [
        (iv.overlaps, ints(1, 10), ints(4, 10), True),
        (iv.overlaps, ints(4, 10, True, False), ints(10, 20), False),
        (iv.overlaps_before, ints(4, 10), ints(4, 10, False), True),
        (iv.meets, ints(1, 10), ints(11, 20), True),
        (iv.meets_after, ints(None, 5, False), ints(11, None, True, False), False),
        (iv.starts, ints(4, 10), ints(4, 15), True),
        (iv.ends, ints(4, 10), ints(1, 10), True),
        (iv.includes, ints(1, 10), ints(44, 50), False),
        (iv.properly_includes, ints(None, None), ints(1, 10), True),
        (iv.before, ints(1, 10), ints(11, None, True, False), True),
        (iv.same_as, ints(1, 10), ints(1, None, True, False), None),
        (iv.after, ints(5, None, True, False), ints(1, 7), False),
        (iv.after, ints(5, 9), ints(1, None, True, False), None),
    ],
)
def test_relations_are_three_valued(relation: Any, a: Interval, b: Interval, expected: bool | None) -> None:
    assert relation(a, b) is expected


def test_a_boundary_that_is_not_known_is_a_range() -> None:
    first = iv.start(ints(None, 5, False))
    assert (first.low, first.high) == (-2147483648, 5)
    assert iv.end(ints(1, 5, True, False)) == 4
    assert iv.contains(ints(None, 5), 10) is False
    assert str(iv.intersect(ints(1, 10), ints(5, None, True, False))) == "Interval[5, null)"
    assert iv.union(ints(1, 10), ints(44, 50)) is None
    assert str(iv.except_(ints(1, 4), ints(3, 6))) == "Interval[1, 2]"
    with pytest.raises(EvaluationError) as raised:
        ints(5, 3)
    assert raised.value.code == "invalid-interval"


@pytest.mark.parametrize(
    ("a", "b", "unit", "expected"),
    [
        (DateTime.parse("2005"), DateTime.parse("2010"), "year", (4, 5)),
        (DateTime.parse("2014-01-15"), DateTime.parse("2014-02"), "day", (16, 44)),
        (DateTime.parse("2005"), DateTime.parse("2006-05"), "month", (4, 16)),
        (Date.parse("2014-01-31"), Date.parse("2014-02-01"), "month", (0, 0)),
        (Date.parse("1996-02-29"), Date.parse("1997-02-28"), "year", (1, 1)),
        (DateTime.parse("2018"), DateTime.parse("2019-05"), "month", (4, 16)),
    ],
)
def test_durations_of_incomplete_dates_are_ranges(a: Any, b: Any, unit: str, expected: tuple[int, int]) -> None:
    assert t.duration(a, b, unit) == expected


def test_uncertainty_compares_three_valued() -> None:
    months = p.Uncertainty(4, 16)
    assert (months > 3, months > 10, months > 16) == (True, None, False)
    doubled = months + months
    assert (doubled.low, doubled.high) == (8, 32)
