"""Operators on intervals (CQL reference: "Interval Operators"). What they mean stands in `engine.algebra.interval`."""

from __future__ import annotations

from decimal import Decimal
from functools import cmp_to_key
from typing import Any

from engine.algebra import interval as iv
from engine.algebra import points as p
from engine.algebra import quantity as q
from engine.algebra import temporal as t
from engine.algebra.diagnostic import EvaluationError
from engine.algebra.interval import Interval
from engine.algebra.operators.registry import operator
from engine.algebra.quantity import CALENDAR_WORDS, UCUM_OF_CALENDAR, Quantity

_I = "(Interval<T>, Interval<T>) Boolean?"
_POINTS = ("(Date, Date) Boolean?", "(DateTime, DateTime) Boolean?", "(Time, Time) Boolean?")
_MIXED = ("(T, Interval<T>) Boolean?", "(Interval<T>, T) Boolean?")

operator("Start", "(Interval<T>) T?", cql="start_of", section="Interval: Start", language="cql")(iv.start)
operator("End", "(Interval<T>) T?", cql="end_of", section="Interval: End", language="cql")(iv.end)
operator("PointFrom", "(Interval<T>) T?", cql="point_from", section="Interval: Point From", language="cql")(
    iv.point_from
)
_NUMERIC = (
    "(Interval<Integer>) Integer?",
    "(Interval<Long>) Long?",
    "(Interval<Decimal>) Decimal?",
    "(Interval<Quantity>) Quantity?",
)
operator("Width", *_NUMERIC, cql="width_of", section="Interval: Width", language="cql")(iv.width)
operator("Size", *_NUMERIC, cql="Size", section="Interval: Size", language="cql")(iv.size)


def _relation(name: str, surface: str, section: str, function: Any, *extra: str) -> None:
    operator(name, _I, *extra, cql=surface, section=section, language="cql", precise=True)(function)


_relation("Before", "before", "Interval: Before", iv.before, *_MIXED, *_POINTS)
_relation("After", "after", "Interval: After", iv.after, *_MIXED, *_POINTS)
_relation(
    "SameOrBefore",
    "same_or_before on_or_before before_or_on",
    "Interval: Same Or Before",
    iv.same_or_before,
    *_MIXED,
    *_POINTS,
)
_relation(
    "SameOrAfter",
    "same_or_after on_or_after after_or_on",
    "Interval: Same Or After",
    iv.same_or_after,
    *_MIXED,
    *_POINTS,
)
_relation("SameAs", "same_as", "Interval: Same As", iv.same_as)
_relation("IncludedIn", "included_in during", "Interval: Included In", lambda a, b, x=None: iv.includes(b, a, x))
_relation("Includes", "includes", "Interval: Includes", iv.includes)
_relation(
    "ProperIncludedIn",
    "properly_included_in properly_during",
    "Interval: Properly Included In",
    lambda a, b, x=None: iv.properly_includes(b, a, x),
)
_relation("ProperIncludes", "properly_includes", "Interval: Properly Includes", iv.properly_includes)
_relation("Overlaps", "overlaps", "Interval: Overlaps", iv.overlaps)
_relation("OverlapsBefore", "overlaps_before", "Interval: Overlaps", iv.overlaps_before)
_relation("OverlapsAfter", "overlaps_after", "Interval: Overlaps", iv.overlaps_after)
_relation("Meets", "meets", "Interval: Meets", iv.meets)
_relation("MeetsBefore", "meets_before", "Interval: Meets", iv.meets_before)
_relation("MeetsAfter", "meets_after", "Interval: Meets", iv.meets_after)
_relation("Starts", "starts", "Interval: Starts", iv.starts)
_relation("Ends", "ends", "Interval: Ends", iv.ends)


@operator("SameAs", *_POINTS, language="cql", precise=True)
def same_point(a: Any, b: Any, precision: str | None = None) -> bool | None:
    return p.equal(a, b, precision)


@operator(
    "In", "(T, Interval<T>) Boolean?", cql="in", section="Interval: In", nulls="handled", language="cql", precise=True
)
def point_in(point: Any, i: Interval | None, precision: str | None = None) -> bool | None:
    if point is None:
        return None
    return False if i is None else iv.contains(i, point, precision)


@operator(
    "Contains",
    "(Interval<T>, T) Boolean?",
    cql="contains",
    section="Interval: Contains",
    nulls="handled",
    language="cql",
    precise=True,
)
def interval_contains(i: Interval | None, point: Any, precision: str | None = None) -> bool | None:
    return point_in(point, i, precision)


@operator(
    "ProperIn",
    "(T, Interval<T>) Boolean?",
    section="Interval: Properly Included In",
    nulls="handled",
    language="cql",
    precise=True,
)
def point_properly_in(point: Any, i: Interval | None, precision: str | None = None) -> bool | None:
    if point is None:
        return None
    return False if i is None else iv.properly_contains(i, point, precision)


@operator(
    "ProperContains",
    "(Interval<T>, T) Boolean?",
    section="Interval: Properly Includes",
    nulls="handled",
    language="cql",
    precise=True,
)
def interval_properly_contains(i: Interval | None, point: Any, precision: str | None = None) -> bool | None:
    return point_properly_in(point, i, precision)


_SET = "(Interval<T>, Interval<T>) Interval<T>?"
operator("Union", _SET, cql="union |", section="Interval: Union", language="cql")(iv.union)
operator("Intersect", _SET, cql="intersect", section="Interval: Intersect", language="cql")(iv.intersect)
operator("Except", _SET, cql="except", section="Interval: Except", language="cql")(iv.except_)

# -- collapse and expand

_CALENDAR_OF = {code: word for word, code in UCUM_OF_CALENDAR.items()}


def _unit(per: Quantity) -> str:
    """The calendar unit of a quantity of time. Raises EvaluationError `time-unit`."""
    word = per.unit if per.calendar else CALENDAR_WORDS.get(per.unit) or _CALENDAR_OF.get(per.unit)
    if word is None:
        raise EvaluationError("time-unit", f"'{per.unit}' is not a unit of time; intervals of dates need one")
    return word


def _bounded(intervals: list[Interval | None]) -> list[tuple[Any, Any, str]]:
    """Start and end of the intervals that have both, in order."""
    found = []
    for i in intervals:
        if i is not None:
            first, last = iv.start(i), iv.end(i)
            if first is None or last is None or p.Uncertainty in (first.__class__, last.__class__):
                continue
            found.append((first, last, i.point))

    def order(a: tuple[Any, Any, str], b: tuple[Any, Any, str]) -> int:
        return p.sign(a[0], b[0]) or p.sign(a[1], b[1]) or 0

    found.sort(key=cmp_to_key(order))
    return found


_COARSE = t.PRECISIONS


def _truncated(value: Any, precision: str) -> Any:
    """A point in time without what is finer than a precision."""
    kind = value.__class__
    count = _COARSE.index(precision) + 1
    if kind is t.Time:
        return t.Time(*value._parts[: count - 3])
    if kind is t.Date:
        return t.Date(*value._parts[:count])
    parts = [part if i < count else None for i, part in enumerate(value._parts)]
    return t.DateTime.of(parts, value.offset_minutes, value.implied)


def _add(value: Any, per: Quantity) -> Any:
    if isinstance(value, p.TEMPORAL):
        return t.add(value, per.value, _unit(per))
    if value.__class__ is Quantity:
        return q.add(value, Quantity(per.value, value.unit, value.calendar) if per.unit == "1" else per)
    whole = per.value == per.value.to_integral_value()
    return value + (int(per.value) if value.__class__ is int and whole else per.value)


@operator(
    "Collapse",
    "(List<Interval<T>>, Quantity) List<Interval<T>>?",
    "(List<Interval<T>>) List<Interval<T>>?",
    cql="collapse",
    section="Interval: Collapse",
    nulls="handled",
    language="cql",
)
def collapse(intervals: list[Interval | None] | None, per: Quantity | None = None) -> list[Interval] | None:
    if intervals is None:
        return None
    out: list[Interval] = []
    for first, last, point in _bounded(intervals):
        if out:
            low, high = out[-1].low, out[-1].high
            if per is None:
                reach: Any = p._saturated(high, point, 1)
            elif isinstance(high, p.TEMPORAL):
                precision = _unit(per)
                precision = "day" if precision == "week" else precision
                if per.value == 1 and t.order(high, high, precision) is not None:
                    first_at, reach = _truncated(first, precision), _add(_truncated(high, precision), per)
                    if p.less_or_equal(first_at, reach) is True:
                        out[-1] = Interval(low, high if p.less_or_equal(last, high) is True else last, point=point)
                        continue
                reach = _add(high, per)
            else:
                reach = _add(high, per)
            if reach is None or p.less_or_equal(first, reach) is True:
                out[-1] = Interval(low, high if p.less_or_equal(last, high) is True else last, point=point)
                continue
        out.append(Interval(first, last, point=point))
    return out


def _coarsest(bounds: list[tuple[Any, Any, str]]) -> Quantity:
    """The unit of an expansion without `per`: the coarsest precision of all boundaries."""
    first = bounds[0][0]
    if isinstance(first, p.TEMPORAL):
        names = [value.precision for bound in bounds for value in bound[:2]]
        return Quantity(Decimal(1), min(names, key=_COARSE.index), True)
    if isinstance(first, int):
        return Quantity(Decimal(1))
    values = [v.value if v.__class__ is Quantity else v for bound in bounds for v in bound[:2]]
    places = min(max(0, -int(v.as_tuple().exponent)) for v in values)
    return Quantity(Decimal(1).scaleb(-places))


MAX_EXPANDED = 1_000_000


def _partitions(first: Any, last: Any, point: str, per: Quantity) -> list[tuple[Any, Any]]:
    """The units of size `per` that lie from `first` to `last` (CQL: Expand)."""
    if per.value <= 0:
        return []
    if isinstance(first, p.TEMPORAL):
        unit = _unit(per)
        precision = "day" if unit == "week" else unit
        if first.__class__ is t.Date and _COARSE.index(precision) > 2:
            return []
        if _COARSE.index(first.precision) < _COARSE.index(precision):
            return []
        if _COARSE.index(last.precision) < _COARSE.index(precision):
            return []
        first, last = _truncated(first, precision), _truncated(last, precision)
        back: Any = (Decimal(-1), precision)
    else:
        back = None
        number, other = (v.value if v.__class__ is Quantity else v for v in (first, last))
        places = max(0, -int(per.value.as_tuple().exponent))
        step = Decimal(1).scaleb(-places)
        if isinstance(number, int) and places:
            other = Decimal(other) + 1 - step
            number = Decimal(number)
        elif isinstance(number, Decimal):
            number, other = (Decimal(int(v / step)) * step for v in (number, other))
            if not places and per.value == per.value.to_integral_value():
                number, other = number.to_integral_value(), other.to_integral_value()
        if first.__class__ is Quantity:
            unit_of, calendar = first.unit, first.calendar
            first, last = Quantity(number, unit_of, calendar), Quantity(other, unit_of, calendar)
        else:
            first, last = number, other
    out: list[tuple[Any, Any]] = []
    low = first
    while low is not None and p.less_or_equal(low, last) is True:
        following = _add(low, per)
        if following is None or (low.__class__ is t.Time and p.less(low, following) is not True):
            if back is not None and per.value == 1 and p.equal(low, last) is True:
                out.append((low, low))
            break
        if back is not None:
            high = t.add(following, *back)
        elif following.__class__ is int:
            high = following - 1
        else:
            places = max(0, -int(per.value.as_tuple().exponent))
            high = _add(following, Quantity(-Decimal(1).scaleb(-places)))
        if high is None or p.less_or_equal(high, last) is not True:
            break
        out.append((low, high))
        if len(out) > MAX_EXPANDED:
            raise EvaluationError("expand-limit", f"expand gives more than {MAX_EXPANDED} results")
        low = following
    return out


@operator(
    "Expand",
    "(List<Interval<T>>, Quantity) List<Interval<T>>?",
    "(List<Interval<T>>) List<Interval<T>>?",
    cql="expand",
    section="Interval: Expand",
    nulls="handled",
    language="cql",
)
def expand(intervals: list[Interval | None] | None, per: Quantity | None = None) -> list[Interval] | None:
    if intervals is None:
        return None
    bounds = _bounded(intervals)
    if not bounds:
        return []
    unit = per or _coarsest(bounds)
    out: dict[tuple[Any, Any], Interval] = {}
    for first, last, point in bounds:
        for low, high in _partitions(first, last, point, unit):
            out.setdefault((low, high), Interval(low, high, point=point if low.__class__ is first.__class__ else None))
    return list(out.values())


@operator("Expand", "(Interval<T>, Quantity) List<T>?", "(Interval<T>) List<T>?", nulls="handled", language="cql")
def expand_to_points(i: Interval | None, per: Quantity | None = None) -> list[Any] | None:
    if i is None:
        return None
    bounds = _bounded([i])
    if not bounds:
        return []
    first, last, point = bounds[0]
    return [low for low, _ in _partitions(first, last, point, per or _coarsest(bounds))]
