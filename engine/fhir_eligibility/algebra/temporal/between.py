"""Order at a precision, and the durations and differences between two points in time (CQL: "Date and Time Operators").

Unlike FHIRPath, CQL takes a second without milliseconds as a second somewhere within it, compares at a precision that the author
names, and counts durations of incomplete values as a range.
"""

from __future__ import annotations

import calendar
import datetime as dt
from typing import Any

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.temporal.values import PRECISIONS, Date, DateTime, Time, _moved

_INDEX = {name: index for index, name in enumerate(PRECISIONS)}
_MILLISECONDS = {"hour": 3_600_000, "minute": 60_000, "second": 1000, "millisecond": 1}


def _parts(a: Any, b: Any, precision: str | None) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
    """Components of two values, at one offset from UTC where hours count."""
    if a.__class__ is not DateTime or b.__class__ is not DateTime:
        return a._parts, b._parts
    offset_a, offset_b = a.offset_minutes, b.offset_minutes
    if offset_a == offset_b or precision in ("year", "month", "day"):
        return a._parts, b._parts
    if a._parts[3] is not None and b._parts[3] is not None:
        return a.utc(), b.utc()
    if offset_a is None or offset_b is None:
        return a._parts, b._parts
    if a._parts[3] is not None:
        return _moved(a._parts, offset_b - offset_a), b._parts
    return a._parts, _moved(b._parts, offset_a - offset_b)


def order(a: Any, b: Any, precision: str | None = None) -> int | None:
    """Order of two values of one kind (CQL: Before, After, Same As): -1, 0, 1, None where what is recorded does not decide.

    With a precision no finer component counts; it must then be known on both sides unless a coarser one decides.
    """
    if precision is None and a.__class__ is DateTime and b.__class__ is DateTime:
        first: Any = a._parts
        second: Any = b._parts
        if first[1] is not None and second[1] is not None:
            months = (first[0] - second[0]) * 12 + first[1] - second[1]
            if months > 1 or months < -1:  # further than offsets from UTC can bring them together
                return 1 if months > 0 else -1
    left, right = _parts(a, b, precision)
    if precision is not None:
        last = _INDEX[precision] + 1 - (3 if a.__class__ is Time else 0)
        left, right = left[:last], right[:last]
    for x, y in zip(left, right, strict=False):
        if x == y:
            if x is None:
                return 0 if precision is None else None
        elif x is None or y is None:
            return None
        else:
            return -1 if x < y else 1
    return 0


def truncated(value: Any, precision: str) -> Any:
    """A point in time without what is finer than a precision."""
    kind: Any = value.__class__
    kept = value._parts[: _INDEX[precision] + 1 - (3 if kind is Time else 0)]
    return DateTime.of(kept, value.offset_minutes, value.implied) if kind is DateTime else kind(*kept)


def sort_key(value: Any) -> tuple[int, ...]:
    """A total order for sorting: by time, and an incomplete value before the complete ones that it may be."""
    parts = value.utc() if value.__class__ is DateTime else value._parts
    return tuple(-1 if part is None else part for part in parts)


# -- durations


def _first(value: Any) -> dt.datetime:
    year, month, day, hour, minute, second, millisecond = (*value._parts, None, None, None, None)[:7]
    return dt.datetime(year, month or 1, day or 1, hour or 0, minute or 0, second or 0, (millisecond or 0) * 1000)


def _last(value: Any) -> dt.datetime:
    year, month, day, hour, minute, second, millisecond = (*value._parts, None, None, None, None)[:7]
    month = month or 12
    if value.__class__ is Date:
        return dt.datetime(year, month, day or calendar.monthrange(year, month)[1])
    return dt.datetime(
        year,
        month,
        day or calendar.monthrange(year, month)[1],
        23 if hour is None else hour,
        59 if minute is None else minute,
        59 if second is None else second,
        999000 if millisecond is None else millisecond * 1000,
    )


def extent(value: Any) -> tuple[dt.datetime, dt.datetime]:
    """Earliest and latest moment that a value may stand for; times of day fall on one day."""
    if isinstance(value, Time):
        hour, minute, second, millisecond = value._parts
        assert hour is not None
        low = dt.datetime(2000, 1, 1, hour, minute or 0, second or 0, (millisecond or 0) * 1000)
        high = dt.datetime(
            2000,
            1,
            1,
            hour,
            59 if minute is None else minute,
            59 if second is None else second,
            999000 if millisecond is None else millisecond * 1000,
        )
        return low, high
    return _first(value), _last(value)


def _shift(a: Any, b: Any) -> dt.timedelta:
    """What brings the second value to the offset from UTC of the first."""
    if a.__class__ is DateTime and b.__class__ is DateTime and a.offset_minutes != b.offset_minutes:
        if a.offset_minutes is not None and b.offset_minutes is not None:
            return dt.timedelta(minutes=a.offset_minutes - b.offset_minutes)
    return dt.timedelta(0)


_CYCLE = 400  # years after which the calendar repeats, day of the week included


def _together(
    a: tuple[dt.datetime, dt.datetime], b: tuple[dt.datetime, dt.datetime], shift: dt.timedelta
) -> tuple[tuple[dt.datetime, dt.datetime], tuple[dt.datetime, dt.datetime]]:
    """Two pairs of moments, the second shifted; both are a cycle of the calendar away where the shift leaves the years 1 to 9999."""
    if not shift:
        return a, b
    try:
        return a, (b[0] + shift, b[1] + shift)
    except OverflowError:
        away = -_CYCLE if shift > dt.timedelta(0) else _CYCLE
        if not all(
            1 <= moment.year + away <= 9999 for moment in (*a, *b)
        ):  # the other lies at the other end of the years
            raise EvaluationError(
                "overflow", "a moment at the offset of another is beyond the years 1 to 9999"
            ) from None
        (low_a, high_a), (low_b, high_b) = (
            (low.replace(year=low.year + away), high.replace(year=high.year + away)) for low, high in (a, b)
        )
        return (low_a, high_a), (low_b + shift, high_b + shift)


def _whole(a: dt.datetime, b: dt.datetime, unit: str) -> int:
    """Whole periods from `a` to `b`, negative where `b` is earlier."""
    if b < a:
        return -_whole(b, a, unit)
    if unit in ("year", "month"):
        months = (b.year - a.year) * 12 + b.month - a.month
        rest_a = (a.day, a.time())
        rest_b = (b.day, b.time())
        if rest_b < rest_a:
            last = calendar.monthrange(b.year, b.month)[1]
            # the last day of a shorter month closes a period that began on a later day
            if not (b.day == last and a.day > last and b.time() >= a.time()):
                months -= 1
        return months // 12 if unit == "year" else months
    delta = b - a
    if unit in ("week", "day"):
        return delta.days // 7 if unit == "week" else delta.days
    return (delta // dt.timedelta(milliseconds=1)) // _MILLISECONDS[unit]


def _counted(value: Any, unit: str) -> tuple[dt.datetime, dt.datetime]:
    """Earliest and latest moment for counting whole periods.

    Seconds and milliseconds are one precision with decimals, so a second without milliseconds is the second itself. A time of day
    that tells the unit is taken at the start of what it does not tell: the official tests count one hour from 6 to 7:00:00.
    """
    low, high = extent(value)
    parts = value._parts
    if value.__class__ is Time:
        return (low, low) if parts[_INDEX[unit] - 3] is not None else (low, high)
    if value.__class__ is DateTime and parts[5] is not None:
        return low, low
    return low, high


def duration(a: Any, b: Any, unit: str) -> tuple[int, int]:
    """Fewest and most whole periods of a unit from `a` to `b` (CQL: Duration)."""
    (low_a, high_a), (low_b, high_b) = _together(_counted(a, unit), _counted(b, unit), _shift(a, b))
    return _whole(high_a, low_b, unit), _whole(low_a, high_b, unit)


def _boundary(moment: dt.datetime, unit: str) -> int:
    """The number of a period of a unit on the time line."""
    if unit == "year":
        return moment.year
    if unit == "month":
        return moment.year * 12 + moment.month
    day = moment.toordinal()
    if unit == "day":
        return day
    if unit == "week":
        return day // 7  # ordinal 0 is a Sunday
    return (
        day * 86_400_000 + ((moment.hour * 60 + moment.minute) * 60 + moment.second) * 1000 + moment.microsecond // 1000
    ) // _MILLISECONDS[unit]


def difference(a: Any, b: Any, unit: str) -> tuple[int, int]:
    """Fewest and most boundaries of a unit crossed from `a` to `b` (CQL: Difference)."""
    shift = _shift(a, b) if unit in _MILLISECONDS else dt.timedelta(0)
    (low_a, high_a), (low_b, high_b) = _together(extent(a), extent(b), shift)
    return (
        _boundary(low_b, unit) - _boundary(high_a, unit),
        _boundary(high_b, unit) - _boundary(low_a, unit),
    )
