"""Collapse and expand: intervals merged, or cut into units of one size (CQL reference: "Interval Operators")."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import cmp_to_key
from itertools import combinations, islice
from typing import Any

from fhir_eligibility.algebra import temporal as t
from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.limits import exact
from fhir_eligibility.algebra.operators.registry import operator
from fhir_eligibility.algebra.temporal import PRECISIONS
from fhir_eligibility.algebra.values import interval as iv
from fhir_eligibility.algebra.values import points as p
from fhir_eligibility.algebra.values import quantity as q
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.quantity import CALENDAR_WORDS, UCUM_OF_CALENDAR, Quantity

# A hundred years of days are 36,525 results; what gives more than this is an error, not a wait.
MAX_EXPANDED = 50_000
_CALENDAR_OF = {code: word for word, code in UCUM_OF_CALENDAR.items()}
Bounds = tuple[Any, Any, str]


def _unit(per: Quantity) -> str:
    """The calendar unit of a quantity of time. Raises EvaluationError `time-unit`."""
    word = per.unit if per.calendar else CALENDAR_WORDS.get(per.unit) or _CALENDAR_OF.get(per.unit)
    if word is None:
        raise EvaluationError("time-unit", f"'{per.unit}' is not a unit of time; intervals of dates need one")
    return word


def _precision(per: Quantity) -> str:
    """The precision of points that a unit of time counts; a week counts days."""
    unit = _unit(per)
    return "day" if unit == "week" else unit


def _bounded(intervals: list[Interval | None]) -> list[Bounds]:
    """Start, end and point type of the intervals whose start and end are known, in order."""
    found = []
    for i in intervals:
        first, last = (None, None) if i is None else (iv.start(i), iv.end(i))
        if i is not None and not iv.is_unknown(first) and not iv.is_unknown(last):
            found.append((first, last, i.point))

    def order(a: Bounds, b: Bounds) -> int:
        return p.sign(a[0], b[0]) or p.sign(a[1], b[1]) or 0

    return sorted(found, key=cmp_to_key(order))


# -- collapse


def _reaches(high: Any, first: Any, point: str, per: Quantity | None) -> bool | None:
    """Whether what starts at `first` overlaps or meets what ends at `high`, in units of `per`."""
    if per is not None and isinstance(p.ends(high)[0], p.TEMPORAL):
        precision = _precision(per)
        first = p.spread(lambda value: t.truncated(value, precision), first)

    def reach(value: Any) -> Any:
        if per is None:
            return p.saturated(value, point, 1)
        if isinstance(value, p.TEMPORAL):
            return t.add(t.truncated(value, _precision(per)), per.value, _unit(per)) or value
        if isinstance(value, Quantity):
            return q.add(value, Quantity(per.value, value.unit, value.calendar) if per.unit == "1" else per) or value
        return value + per.value

    return p.less_or_equal(first, p.spread(reach, high))


def _touch(a: Interval, b: Interval, per: Quantity | None) -> bool | None:
    """Whether two intervals overlap or meet, in units of `per`."""
    return iv.both(
        _reaches(iv.end(a), iv.start(b), a.point, per),
        _reaches(iv.end(b), iv.start(a), a.point, per),
    )


def _merged(intervals: list[Interval], per: Quantity | None) -> list[Interval] | None:
    """Intervals of which some have an unknown start or end, merged; None where it is not known which of them overlap or meet."""
    apart: list[Interval] = []
    waiting = list(intervals)
    while waiting:
        one = waiting.pop()
        other = next((x for x in apart if _touch(x, one, per)), None)
        if other is None:
            apart.append(one)
        else:
            apart.remove(other)
            waiting.append(iv.hull(other, one))
    if any(_touch(a, b, per) is not False for a, b in combinations(apart, 2)):
        return None
    return sorted(apart, key=cmp_to_key(lambda a, b: -1 if iv.before(a, b) else 1))


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
    given = [i for i in intervals if i is not None and iv.start(i) is not None and iv.end(i) is not None]
    if any(iv.is_unknown(edge(i)) for i in given for edge in (iv.start, iv.end)):
        return _merged(given, per)
    out: list[Interval] = []
    for first, last, point in _bounded(intervals):
        if not out or _reaches(out[-1].high, first, point, per) is not True:
            out.append(Interval(first, last, point=point))
        elif p.less_or_equal(last, out[-1].high) is not True:
            out[-1] = Interval(out[-1].low, last, point=point)
    return out


# -- expand


def _places(number: Any) -> int:
    return max(0, -int(Decimal(number).as_tuple().exponent))


def _number(value: Any) -> Any:
    return value.value if isinstance(value, Quantity) else value


def _coarsest(bounds: list[Bounds]) -> Quantity:
    """The unit of an expansion without `per`: the coarsest precision of all boundaries."""
    values = [value for first, last, _ in bounds for value in (first, last)]
    if isinstance(values[0], p.TEMPORAL):
        return Quantity(Decimal(1), min((v.precision for v in values), key=PRECISIONS.index), True)
    return Quantity(Decimal(1).scaleb(-min(_places(_number(v)) for v in values)))


def _periods(first: Any, last: Any, per: Quantity) -> Iterator[tuple[Any, Any]]:
    """Units of time from `first` to `last`; none where either is less precise than the unit."""
    unit, precision = _unit(per), _precision(per)
    fineness = PRECISIONS.index(precision)
    if min(PRECISIONS.index(first.precision), PRECISIONS.index(last.precision)) < fineness:
        return
    low, last = t.truncated(first, precision), t.truncated(last, precision)
    _check(t.difference(low, last, precision)[0] // (per.value * (7 if unit == "week" else 1)))
    while low is not None:
        following = t.add(low, per.value, unit)
        high = low if following is None else t.add(following, Decimal(-1), precision)
        if p.less_or_equal(low, high) is not True or p.less_or_equal(high, last) is not True:
            return
        yield low, high
        low = following if following is not None and p.less(low, following) is True else None


def _steps(first: Any, last: Any, per: Quantity) -> Iterator[tuple[Any, Any]]:
    """Numbers or quantities from `first` to `last`, cut off behind the decimals of `per`."""
    size = per.value
    if isinstance(first, Quantity) and per.unit not in ("1", first.unit):
        alike = per.to_unit(first.ucum)
        if alike is None:
            return
        size = alike.value
    step = Decimal(1).scaleb(-_places(size))
    low, high = _number(first), _number(last)
    if isinstance(low, int):
        high = high + 1 - step  # a whole number stands for all that begins with it

    def dressed(number: Decimal) -> Any:
        if isinstance(first, Quantity):
            return Quantity(number, first.unit, first.calendar)
        return int(number) if isinstance(first, int) and step == 1 else number

    low, high = (int(exact(Decimal(x)) / exact(step)) * step for x in (low, high))
    _check((high - low) // size)
    while low + size - step <= high:
        yield dressed(low), dressed(low + size - step)
        low += size


def _parts(bounds: list[Bounds], per: Quantity | None) -> Iterator[tuple[Any, Any]]:
    """The units that lie in intervals. Raises EvaluationError `expand-limit`."""
    try:
        yield from _units(bounds, per or _coarsest(bounds))
    except _TooMany:
        raise _limit(bounds, per) from None


def _units(bounds: list[Bounds], unit: Quantity) -> Iterator[tuple[Any, Any]]:
    if unit.value <= 0:
        raise EvaluationError("expand-unit", f"expand takes a unit greater than zero, not {unit}")
    count = 0
    for first, last, _ in bounds:
        cut = _periods if isinstance(first, p.TEMPORAL) else _steps
        for part in islice(cut(first, last, unit), MAX_EXPANDED + 1):
            count += 1
            _check(count)
            yield part


def _point(value: Any, bounds: list[Bounds]) -> str:
    """The point type of a part: that of the intervals, except for decimals out of whole numbers."""
    return p.point_type(value) if value.__class__ is Decimal else bounds[0][2]


class _TooMany(Exception):
    """There are more parts than `expand` gives."""


def _check(count: Any) -> None:
    if count > MAX_EXPANDED:
        raise _TooMany


def _limit(bounds: list[Bounds], per: Quantity | None) -> EvaluationError:
    """The error `expand-limit`, which says what to write instead."""
    what, example = ("unit", "month") if isinstance(bounds[0][0], p.TEMPORAL) else ("step", "100")
    shown = per.value if per is not None and per.unit == "1" else per
    advice = f"name a {what}: expand ... per {example}" if per is None else f"name a larger {what} than `per {shown}`"
    return EvaluationError("expand-limit", f"expand gives more than {MAX_EXPANDED} results; {advice}")


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
    return (
        [Interval(*part, point=_point(part[0], bounds)) for part in dict.fromkeys(_parts(bounds, per))]
        if bounds
        else []
    )


@operator("Expand", "(Interval<T>, Quantity) List<T>?", "(Interval<T>) List<T>?", nulls="handled", language="cql")
def expand_to_points(i: Interval | None, per: Quantity | None = None) -> list[Any] | None:
    if i is None:
        return None
    bounds = _bounded([i])
    return [low for low, _ in _parts(bounds, per)] if bounds else []
