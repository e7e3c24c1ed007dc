"""Points in time moved by durations, and the earliest and latest value that one may stand for.

FHIRPath: "Date/Time Arithmetic", "Boundaries". Results keep the precision and the offset that were written.
"""

from __future__ import annotations

import calendar
import datetime as dt
from decimal import Decimal
from typing import Any, TypeVar

from fhir_eligibility.algebra.temporal.values import WIDEST_EAST, WIDEST_WEST, Date, DateTime, Time

T = TypeVar("T", Date, DateTime, Time)

_PER_DAY = {
    "week": Decimal(7),
    "day": Decimal(1),
    "hour": Decimal(1) / 24,
    "minute": Decimal(1) / 1440,
    "second": Decimal(1) / 86400,
    "millisecond": Decimal(1) / 86400000,
}
_MILLISECONDS = {"hour": 3600000, "minute": 60000, "second": 1000, "millisecond": 1}


_MOVED: dict[Any, Any] = {}
_MOST = 16384


def add(value: T, amount: Decimal, unit: str) -> T | None:
    """As `moved`; results are remembered, because the dates of many records are few."""
    if value.__class__ is not DateTime:
        return moved(value, amount, unit)
    key = value._text, value.offset_minutes, value.implied, amount, unit
    found = _MOVED.get(key, _MOVED)
    if found is _MOVED:
        found = moved(value, amount, unit)
        if len(_MOVED) >= _MOST:
            _MOVED.clear()
        _MOVED[key] = found
    return found  # type: ignore[no-any-return]


def moved(value: T, amount: Decimal, unit: str) -> T | None:
    """A point in time moved by an amount of a calendar unit, at its own precision and offset.

    Decimals of units above seconds are dropped. A unit finer than the value is first turned into the value's own (a year
    has 12 months or 365 days, a month 30 days). None beyond the years 1 to 9999; times of day wrap around.
    """
    amount = Decimal(amount)
    if unit not in ("second", "millisecond"):
        amount = Decimal(int(amount))
    if isinstance(value, Time):
        return _add_to_time(value, amount, unit)
    parts = value._parts
    precision = value.precision
    if unit in ("year", "month"):
        months = int(amount) * (12 if unit == "year" else 1)
        if precision == "year":
            months = int(Decimal(months) / 12) * 12
        found = _add_months(parts, months)
    else:
        found = _add_duration(parts, amount, unit, precision)
    if found is None:
        return None
    if isinstance(value, Date):
        return Date(*found[:3])  # type: ignore[arg-type]
    year, month, day, hour, minute, second, millisecond = found
    zulu = str(value).endswith("Z")
    assert year is not None
    return DateTime(year, month, day, hour, minute, second, millisecond, value.offset_minutes, zulu, value.implied)


def _add_months(parts: tuple[int | None, ...], months: int) -> tuple[int | None, ...] | None:
    year, month, day = parts[:3]
    assert year is not None
    index = year * 12 + (month or 1) - 1 + months
    new_year, new_month = divmod(index, 12)
    if not 1 <= new_year <= 9999:
        return None
    if month is None:
        return (new_year, *parts[1:])
    if day is not None:
        day = min(day, calendar.monthrange(new_year, new_month + 1)[1])
    return (new_year, new_month + 1, day, *parts[3:])


def _add_duration(
    parts: tuple[int | None, ...], amount: Decimal, unit: str, precision: str
) -> tuple[int | None, ...] | None:
    if precision in ("year", "month"):
        days = amount * _PER_DAY[unit]
        return _add_months(parts, int(days / 365) * 12 if precision == "year" else int(days / 30))
    year, month, day, hour, minute, second, millisecond = (*parts, None, None, None, None)[:7]
    assert year is not None and month is not None and day is not None
    if precision == "day":
        shift = dt.timedelta(days=int(amount * _PER_DAY[unit]))
    elif unit in ("week", "day"):
        shift = dt.timedelta(days=int(amount * _PER_DAY[unit]))
    else:
        count = amount * _MILLISECONDS[unit]
        coarse = _MILLISECONDS.get(precision, 1) if precision != "second" or millisecond is None else 1
        if precision in ("hour", "minute", "second"):
            count = Decimal(int(count / coarse)) * coarse
        shift = dt.timedelta(milliseconds=int(count))
    start = dt.datetime(year, month, day, hour or 0, minute or 0, second or 0, (millisecond or 0) * 1000)
    try:
        moved = start + shift
    except OverflowError:
        return None
    return (
        moved.year,
        moved.month,
        moved.day,
        moved.hour if hour is not None else None,
        moved.minute if minute is not None else None,
        moved.second if second is not None else None,
        moved.microsecond // 1000 if millisecond is not None else None,
    )


def _add_to_time(value: Time, amount: Decimal, unit: str) -> Time | None:
    if unit not in _MILLISECONDS:
        return None
    hour, minute, second, millisecond = value._parts
    count = amount * _MILLISECONDS[unit]
    step = {"hour": 3600000, "minute": 60000, "second": 1000, "millisecond": 1}[value.precision]
    count = Decimal(int(count / step)) * step
    total = (((hour or 0) * 60 + (minute or 0)) * 60 + (second or 0)) * 1000 + (millisecond or 0)
    total = (total + int(count)) % 86400000
    seconds, thousandths = divmod(total, 1000)
    return Time(
        seconds // 3600,
        seconds // 60 % 60 if minute is not None else None,
        seconds % 60 if second is not None else None,
        thousandths if millisecond is not None else None,
    )


# -- boundaries

_COUNT_OF_DIGITS = {4: 1, 6: 2, 8: 3, 10: 4, 12: 5, 14: 6, 17: 7}
_COUNT_OF_TIME_DIGITS = {2: 1, 4: 2, 6: 3, 9: 4}


def low_boundary(value: T, digits: int | None = None) -> T | None:
    """Earliest value of a precision (in digits) that a value may stand for; None for a precision that does not exist."""
    return _boundary(value, digits, True)


def high_boundary(value: T, digits: int | None = None) -> T | None:
    """Latest value of a precision (in digits) that a value may stand for; None for a precision that does not exist."""
    return _boundary(value, digits, False)


def _boundary(value: T, digits: int | None, low: bool) -> T | None:
    if isinstance(value, Time):
        count = _COUNT_OF_TIME_DIGITS.get(9 if digits is None else digits)
        if count is None:
            return None
        filled = [part if part is not None else edge for part, edge in zip(value._parts, _edges(low)[3:], strict=True)]
        return Time(*filled[:count])
    default = 8 if isinstance(value, Date) else 17
    count = _COUNT_OF_DIGITS.get(default if digits is None else digits)
    if count is None or (isinstance(value, Date) and count > 3):
        return None
    parts = list((*value._parts, None, None, None, None)[:7])
    edges: list[int] = list(_edges(low))
    if isinstance(value, DateTime) and parts[3] is not None and parts[4] is None:
        edges[4] = 0  # the official suites read an hour without minutes as its first minute
    for index in range(7):
        if parts[index] is None:
            if index == 2 and not low:
                assert parts[0] is not None and parts[1] is not None
                parts[2] = calendar.monthrange(parts[0], parts[1])[1]
            else:
                parts[index] = edges[index]
    if isinstance(value, Date):
        return Date(*parts[:count])  # type: ignore[arg-type]
    kept = [part if index < count else None for index, part in enumerate(parts)]
    offset = value.offset_minutes
    zulu = str(value).endswith("Z")
    if count > 3 and offset is None:
        offset = WIDEST_EAST if low else WIDEST_WEST
    if count <= 3:
        offset = None
    year = kept[0]
    assert year is not None
    month, day, hour, minute, second, millisecond = kept[1:]
    return DateTime(year, month, day, hour, minute, second, millisecond, offset, zulu)


def _edges(low: bool) -> tuple[int, ...]:
    return (1, 1, 1, 0, 0, 0, 0) if low else (9999, 12, 31, 23, 59, 59, 999)
