"""Intervals and the relations between them (CQL reference: "Interval Operators"; appendix H for uncertain boundaries).

A boundary that is null is the least or greatest value where it is closed, and unknown where it is open: its start or end is then an
`Uncertainty`. All relations are three-valued.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from engine.algebra import points as p
from engine.algebra import quantity as q
from engine.algebra import temporal as t
from engine.algebra.diagnostic import EvaluationError
from engine.algebra.quantity import Quantity
from engine.algebra.temporal import Date, DateTime


class Interval:
    """A range of points; `point` is the point type. Raises EvaluationError `invalid-interval` where it ends before it starts."""

    __slots__ = ("_span", "high", "high_closed", "low", "low_closed", "point")

    def __init__(
        self, low: Any, high: Any, low_closed: bool = True, high_closed: bool = True, point: str | None = None
    ) -> None:
        self.low = low
        self.high = high
        self.low_closed = low_closed
        self.high_closed = high_closed
        if point is None or point == "Any":
            point = p.point_type(low if low is not None else high)
        self.point = point
        self._span: tuple[Any, Any, Any] | None = None
        if low is not None and high is not None:
            if p.less(high, low) is True or (p.equal(low, high) is True and not (low_closed and high_closed)):
                raise EvaluationError(
                    "invalid-interval",
                    f"{self} is not an interval: it ends before it starts",
                )

    def __str__(self) -> str:
        low, high = ("null" if x is None else str(x) for x in (self.low, self.high))
        return f"Interval{'[' if self.low_closed else '('}{low}, {high}{']' if self.high_closed else ')'}"

    def __repr__(self) -> str:
        return str(self)

    def _key(self) -> tuple[Any, ...]:
        return self.low, self.high, self.low_closed, self.high_closed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Interval) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


def start(i: Interval) -> Any:
    """The first point (CQL: Start): a value, an Uncertainty, or None where the point type is not known."""
    if i.low is not None:
        return i.low if i.low_closed else p.successor(i.low, i.point)
    least = p.minimum(i.point)
    if least is None:
        return None
    if i.point == "Quantity" and isinstance(i.high, Quantity):
        least = Quantity(least.value, i.high.unit, i.high.calendar)
    if i.low_closed:
        return least
    last = p.ends(end(i) if i.high is not None or i.high_closed else p.maximum(i.point))[1]
    return p.uncertain(least, last)


def end(i: Interval) -> Any:
    """The last point (CQL: End): a value, an Uncertainty, or None where the point type is not known."""
    if i.high is not None:
        return i.high if i.high_closed else p.predecessor(i.high, i.point)
    greatest = p.maximum(i.point)
    if greatest is None:
        return None
    if i.point == "Quantity" and isinstance(i.low, Quantity):
        greatest = Quantity(greatest.value, i.low.unit, i.low.calendar)
    if i.high_closed:
        return greatest
    first = p.ends(start(i) if i.low is not None or i.low_closed else p.minimum(i.point))[0]
    return p.uncertain(first, greatest)


# -- three-valued logic


def both(a: bool | None, b: bool | None) -> bool | None:
    """Kleene `and`."""
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def either(a: bool | None, b: bool | None) -> bool | None:
    """Kleene `or`."""
    if a is True or b is True:
        return True
    return None if a is None or b is None else False


def negated(a: bool | None) -> bool | None:
    """Kleene `not`."""
    return None if a is None else not a


# -- relations of a point and an interval


def _span(i: Interval) -> tuple[Any, Any, Any]:
    """The boundaries as moments, where both are points in time known to their last component; else a class that no point has."""
    kind = i.low.__class__
    found: tuple[Any, Any, Any] = (None, None, None)
    if kind in (Date, DateTime) and i.high.__class__ is kind:
        first, last = i.low.moment, i.high.moment
        if first is not None and last is not None:
            found = (kind, first, last)
    i._span = found
    return found


def contains(i: Interval, point: Any, precision: str | None = None) -> bool | None:
    """Whether a point lies in an interval (CQL: Contains, In)."""
    if precision is None:
        kind, first, last = i._span or _span(i)
        if point.__class__ is kind:
            moment = point.moment
            if moment is not None:
                return bool(
                    (first <= moment if i.low_closed else first < moment)
                    and (moment <= last if i.high_closed else moment < last)
                )
    low: bool | None
    high: bool | None
    if i.low is None:
        low = True if i.low_closed else p.less_or_equal(start(i), point, precision)
    elif i.low_closed:
        low = p.less_or_equal(i.low, point, precision)
    else:
        low = p.less(i.low, point, precision)
    if low is False:
        return False
    if i.high is None:
        high = True if i.high_closed else p.less_or_equal(point, end(i), precision)
    elif i.high_closed:
        high = p.less_or_equal(point, i.high, precision)
    else:
        high = p.less(point, i.high, precision)
    return both(low, high)


def properly_contains(i: Interval, point: Any, precision: str | None = None) -> bool | None:
    """Whether a point lies in an interval and is not all of it: neither its start nor its end."""
    inside = both(p.less(start(i), point, precision), p.less(point, end(i), precision))
    return both(contains(i, point, precision), inside)


# -- relations of two intervals


def before(a: Any, b: Any, precision: str | None = None) -> bool | None:
    """Whether `a`, an interval or a point, ends before `b` starts."""
    return p.less(_end(a), _start(b), precision)


def after(a: Any, b: Any, precision: str | None = None) -> bool | None:
    """Whether `a`, an interval or a point, starts after `b` ends."""
    return p.less(_end(b), _start(a), precision)


def same_or_before(a: Any, b: Any, precision: str | None = None) -> bool | None:
    """Whether `a` ends on or before the start of `b`."""
    return p.less_or_equal(_end(a), _start(b), precision)


def same_or_after(a: Any, b: Any, precision: str | None = None) -> bool | None:
    """Whether `a` starts on or after the end of `b`."""
    return p.less_or_equal(_end(b), _start(a), precision)


def _start(value: Any) -> Any:
    return start(value) if value.__class__ is Interval else value


def _end(value: Any) -> Any:
    return end(value) if value.__class__ is Interval else value


def same_as(a: Interval, b: Interval, precision: str | None = None) -> bool | None:
    """Whether two intervals start and end on the same points (CQL: Same As, Equal)."""
    return both(p.equal(start(a), start(b), precision), p.equal(end(a), end(b), precision))


def includes(a: Interval, b: Interval, precision: str | None = None) -> bool | None:
    """Whether every point of `b` lies in `a`."""
    return both(
        p.less_or_equal(start(a), start(b), precision),
        p.less_or_equal(end(b), end(a), precision),
    )


def properly_includes(a: Interval, b: Interval, precision: str | None = None) -> bool | None:
    """Whether `a` includes `b` and is larger."""
    larger = either(p.less(start(a), start(b), precision), p.less(end(b), end(a), precision))
    return both(includes(a, b, precision), larger)


def overlaps(a: Interval, b: Interval, precision: str | None = None) -> bool | None:
    """Whether two intervals share a point."""
    return both(
        p.less_or_equal(start(a), end(b), precision),
        p.less_or_equal(start(b), end(a), precision),
    )


def overlaps_before(a: Interval, b: Interval, precision: str | None = None) -> bool | None:
    """Whether `a` overlaps `b` and starts before it."""
    return both(p.less(start(a), start(b), precision), overlaps(a, b, precision))


def overlaps_after(a: Interval, b: Interval, precision: str | None = None) -> bool | None:
    """Whether `a` overlaps `b` and ends after it."""
    return both(p.less(end(b), end(a), precision), overlaps(a, b, precision))


def meets_before(a: Interval, b: Interval, precision: str | None = None) -> bool | None:
    """Whether `a` ends right before `b` starts."""
    last, first = end(a), start(b)
    if last is None or first is None:
        return None
    if p.ends(last)[0] == p.maximum(a.point):
        return False
    return p.equal(_step(last, a.point, precision), first, precision)


def meets_after(a: Interval, b: Interval, precision: str | None = None) -> bool | None:
    """Whether `a` starts right after `b` ends."""
    return meets_before(b, a, precision)


def meets(a: Interval, b: Interval, precision: str | None = None) -> bool | None:
    """Whether one interval ends right before the other starts."""
    return either(meets_before(a, b, precision), meets_before(b, a, precision))


def _step(value: Any, point: str, precision: str | None) -> Any:
    """The point after, one unit of the precision later where one is named."""
    if precision is None or value.__class__ is p.Uncertainty:
        return p.saturated(value, point, 1)
    return t.add(value, Decimal(1), precision)


def starts(a: Interval, b: Interval, precision: str | None = None) -> bool | None:
    """Whether `a` starts with `b` and ends no later."""
    return both(p.equal(start(a), start(b), precision), p.less_or_equal(end(a), end(b), precision))


def ends(a: Interval, b: Interval, precision: str | None = None) -> bool | None:
    """Whether `a` ends with `b` and starts no earlier."""
    return both(p.less_or_equal(start(b), start(a), precision), p.equal(end(a), end(b), precision))


# -- intervals from intervals


def is_unknown(value: Any) -> bool:
    """Whether a start or end is no single value."""
    return value is None or value.__class__ is p.Uncertainty


def union(a: Interval, b: Interval) -> Interval | None:
    """The interval over both, None where they neither overlap nor meet."""
    if either(overlaps(a, b), meets(a, b)) is not True:
        return None
    low_first = p.less_or_equal(start(a), start(b))
    high_last = p.less_or_equal(end(b), end(a))
    low = a if low_first is not False else b
    high = a if high_last is not False else b
    return _assembled(low, low_first, high, high_last, a.point)


def intersect(a: Interval, b: Interval) -> Interval | None:
    """The points that both have, None where there are none."""
    if overlaps(a, b) is False:
        return None
    low_first = p.less_or_equal(start(b), start(a))
    high_last = p.less_or_equal(end(a), end(b))
    low = a if low_first is not False else b
    high = a if high_last is not False else b
    if overlaps(a, b) is None and low_first is not None and high_last is not None:
        return None
    return _assembled(low, low_first, high, high_last, a.point)


def _assembled(low: Interval, low_known: bool | None, high: Interval, high_known: bool | None, point: str) -> Interval:
    """An interval from the low boundary of one and the high boundary of another; boundaries that are not known stay open."""
    first = None if low_known is None else _boundary(start(low))
    last = None if high_known is None else _boundary(end(high))
    return Interval(
        first,
        last,
        first is not None or (low_known is not None and low.low is None and low.low_closed),
        last is not None or (high_known is not None and high.high is None and high.high_closed),
        point,
    )


def _boundary(value: Any) -> Any:
    return None if is_unknown(value) else value


def except_(a: Interval, b: Interval) -> Interval | None:
    """The points of `a` that `b` has not; None where they are not one interval (CQL: Except)."""
    shared = overlaps(a, b)
    if shared is False:
        return a
    if shared is None or is_unknown(start(a)) or is_unknown(end(a)) or is_unknown(start(b)) or is_unknown(end(b)):
        return None
    before_b = p.less(start(a), start(b))
    after_b = p.less(end(b), end(a))
    if before_b and after_b is False:
        return Interval(start(a), p.predecessor(start(b), a.point), point=a.point)
    if after_b and before_b is False:
        return Interval(p.successor(end(b), a.point), end(a), point=a.point)
    return None


def width(i: Interval) -> Any:
    """Last less first point (CQL: Width); None where one is not known."""
    first, last = start(i), end(i)
    if is_unknown(first) or is_unknown(last):
        return None
    if first.__class__ is Quantity:
        return q.subtract(last, first)
    return last - first


def size(i: Interval) -> Any:
    """The number of points, in units of the point type's step (CQL: Size)."""
    found = width(i)
    if found is None:
        return None
    step = p.STEP if i.point in ("Decimal", "Quantity") else 1
    if found.__class__ is Quantity:
        return Quantity(found.value + step, found.unit, found.calendar)
    return found + step


def point_from(i: Interval) -> Any:
    """The only point of a unit interval (CQL: PointFrom). Raises EvaluationError `not-a-unit-interval`."""
    first, last = start(i), end(i)
    if first is None or last is None:
        return None
    if p.equal(first, last) is not True:
        raise EvaluationError("not-a-unit-interval", f"point from takes an interval of one point, not {i}")
    return first
