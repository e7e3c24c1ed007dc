"""Intervals and the relations between them (CQL reference: "Interval Operators"; appendix H for uncertain boundaries).

A boundary that is null is the least or greatest value where it is closed, and unknown where it is open: its start or end is then an
`Uncertainty`, of which an operation that made the interval may know more than that it lies within the type. All relations are three-valued.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from fhir_eligibility.algebra import temporal as t
from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.temporal import Date, DateTime
from fhir_eligibility.algebra.values import points as p
from fhir_eligibility.algebra.values import quantity as q
from fhir_eligibility.algebra.values.quantity import Quantity


class Interval:
    """A range of points; `point` is the point type. Raises EvaluationError `invalid-interval` where it ends before it starts.

    `first` and `last` are where a start or end lies whose boundary is an open null, where more is known of it than its type.
    """

    __slots__ = ("_span", "first", "high", "high_closed", "last", "low", "low_closed", "point")

    def __init__(
        self,
        low: Any,
        high: Any,
        low_closed: bool = True,
        high_closed: bool = True,
        point: str | None = None,
        first: p.Uncertainty | None = None,
        last: p.Uncertainty | None = None,
    ) -> None:
        self.low = low
        self.high = high
        self.low_closed = low_closed
        self.high_closed = high_closed
        if point is None or point == "Any":
            point = p.point_type(low if low is not None else high)
        self.point = point
        self.first, self.last = first, last
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
        ranges = (p.ends(value) if value is not None else None for value in (self.first, self.last))
        return self.low, self.high, self.low_closed, self.high_closed, *ranges

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Interval) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


def start(i: Interval) -> Any:
    """The first point: a value, an Uncertainty, or None where the point type is not known."""
    if i.low is not None:
        return i.low if i.low_closed else p.successor(i.low, i.point)
    if i.first is not None:
        return i.first
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
    """The last point: a value, an Uncertainty, or None where the point type is not known."""
    if i.high is not None:
        return i.high if i.high_closed else p.predecessor(i.high, i.point)
    if i.last is not None:
        return i.last
    greatest = p.maximum(i.point)
    if greatest is None:
        return None
    if i.point == "Quantity" and isinstance(i.low, Quantity):
        greatest = Quantity(greatest.value, i.low.unit, i.low.calendar)
    if i.high_closed:
        return greatest
    first = p.ends(start(i) if i.low is not None or i.low_closed else p.minimum(i.point))[0]
    return p.uncertain(first, greatest)


def start_of(i: Interval) -> Any:
    """The first point as a value (CQL 1.5.3: Start): null where nothing is known of it, since the boundary is an open null."""
    return None if i.low is None and not i.low_closed and i.first is None else start(i)


def end_of(i: Interval) -> Any:
    """The last point as a value (CQL 1.5.3: End): null where nothing is known of it, since the boundary is an open null."""
    return None if i.high is None and not i.high_closed and i.last is None else end(i)


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
    if p.equal(start(a), end(a), precision):
        return False  # nothing is smaller than one point, whatever is not known of `b`
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
    if p.equal(start(a), end(a), precision):
        return False  # a single point starts before nothing that it lies in
    return both(p.less(start(a), start(b), precision), overlaps(a, b, precision))


def overlaps_after(a: Interval, b: Interval, precision: str | None = None) -> bool | None:
    """Whether `a` overlaps `b` and ends after it."""
    if p.equal(start(a), end(a), precision):
        return False  # a single point ends after nothing that it lies in
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


def touches(a: Interval, b: Interval) -> bool | None:
    """Whether two intervals overlap or meet."""
    if either(overlaps(a, b), meets(a, b)):
        return True
    return both(
        p.less_or_equal(start(a), _reach(end(b), a.point)),
        p.less_or_equal(start(b), _reach(end(a), a.point)),
    )


def _reach(last: Any, point: str) -> Any:
    """The point after the last one; the last of the type reaches no further."""
    return None if last is None else p.spread(lambda value: p.saturated(value, point, 1), last)


def union(a: Interval, b: Interval) -> Interval | None:
    """The interval over both, None where they neither overlap nor meet, or that is not known."""
    return hull(a, b) if touches(a, b) is True else None


def hull(a: Interval, b: Interval) -> Interval:
    """The interval from the earlier start to the later end."""
    return between(p.lesser(start(a), start(b)), p.greater(end(a), end(b)), a.point)


def intersect(a: Interval, b: Interval) -> Interval | None:
    """The points that both have, None where there are none, or it is not known whether there are."""
    if overlaps(a, b) is not True:
        return None
    return between(p.greater(start(a), start(b)), p.lesser(end(a), end(b)), a.point)


def between(first: Any, last: Any, point: str) -> Interval:
    """An interval from one start to one end; either may be a range, or None where nothing is known of it."""
    if first is not None and last is not None:
        # it does not end before it starts
        first = p.uncertain(p.ends(first)[0], _lower(p.ends(first)[1], p.ends(last)[1]))
        last = p.uncertain(_lower(p.ends(first)[0], p.ends(last)[0], -1), p.ends(last)[1])
    low, high = (None if is_unknown(x) else x for x in (first, last))
    found = Interval(low, high, low is not None, high is not None, point)
    if low is None and first is not None and not _same_range(first, start(found)):
        found.first = first
    if high is None and last is not None and not _same_range(last, end(found)):
        found.last = last
    return found


def _lower(a: Any, b: Any, direction: int = 1) -> Any:
    """The lesser of two points, the greater where `direction` is -1; the first where their order is not known."""
    order = p.sign(a, b)
    return b if order is not None and order * direction > 0 else a


def _same_range(a: Any, b: Any) -> bool:
    return b is not None and all(p.sign(x, y) == 0 for x, y in zip(p.ends(a), p.ends(b), strict=True))


def except_(a: Interval, b: Interval) -> Interval | None:
    """The points of `a` that `b` has not; None where they are not one interval, or that is not known (CQL: Except)."""
    if overlaps(a, b) is False:
        return a
    # whether they overlap may be unknown: what stands before or behind is the rest, or all of it
    before_b = p.less(start(a), start(b))
    after_b = p.less(end(b), end(a))
    if before_b and after_b is False:
        return between(start(a), p.lesser(end(a), p.spread(lambda x: p.saturated(x, a.point, -1), start(b))), a.point)
    if after_b and before_b is False:
        return between(p.greater(start(a), _reach(end(b), a.point)), end(a), a.point)
    return None


def width(i: Interval) -> Any:
    """Last less first point (CQL: Width): a value, an Uncertainty, or None where nothing is known of either."""
    first, last = start_of(i), end_of(i)
    if first is None or last is None:
        return None
    low, high = _difference(p.ends(last)[0], p.ends(first)[1]), _difference(p.ends(last)[1], p.ends(first)[0])
    if low is None or high is None:
        return None
    nothing = Quantity(Decimal(0), low.unit, low.calendar) if low.__class__ is Quantity else 0
    return p.uncertain(_lower(low, nothing, -1), high)


def _difference(last: Any, first: Any) -> Any:
    return q.subtract(last, first) if first.__class__ is Quantity else last - first


def size(i: Interval) -> Any:
    """The number of points, in units of the point type's step (CQL: Size); as `width`."""
    found = width(i)
    if found is None:
        return None
    step = p.STEP if i.point in ("Decimal", "Quantity") else 1

    def counted(value: Any) -> Any:
        if value.__class__ is Quantity:
            return Quantity(value.value + step, value.unit, value.calendar)
        return value + step

    return p.spread(counted, found)


def point_from(i: Interval) -> Any:
    """The only point of a unit interval, null where it is not known to be one (CQL: PointFrom). Raises EvaluationError `not-a-unit-interval`."""
    first, last = start(i), end(i)
    if first is None or last is None:
        return None
    unit = p.equal(first, last)
    if unit is None:
        return None
    if not unit:
        raise EvaluationError("not-a-unit-interval", f"point from takes an interval of one point, not {i}")
    return first
