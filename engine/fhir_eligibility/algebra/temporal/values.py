"""Date, DateTime and Time with the precision they were written in, and three-valued comparison between them.

FHIRPath: "Date/Time Equality", "Comparison", "Date/Time Arithmetic", "Boundaries". A value knows the components that were written
and nothing more; what cannot be told at the precision recorded is None. No function here looks at a clock or a local time zone.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?")
_TIME = r"(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d+))?)?)?"
_DATETIME = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?(?:T(?:" + _TIME + r")?(Z|[+-]\d\d:\d\d)?)?")
_TIME_ONLY = re.compile("T?" + _TIME)

PRECISIONS = ("year", "month", "day", "hour", "minute", "second", "millisecond")
_DIGITS = {"year": 4, "month": 6, "day": 8, "hour": 10, "minute": 12, "second": 14, "millisecond": 17}
_TIME_DIGITS = {"hour": 2, "minute": 4, "second": 6, "millisecond": 9}
# An unzoned time is somewhere between UTC+14 and UTC-12.
WIDEST_EAST = 14 * 60
WIDEST_WEST = -12 * 60


def _check_date(year: int, month: int | None, day: int | None) -> None:
    if not 1 <= year <= 9999:
        raise ValueError(f"the year {year} is not between 1 and 9999")
    if month is not None and not 1 <= month <= 12:
        raise ValueError(f"there is no month {month:02}")
    if month is not None and day is not None and not 1 <= day <= calendar.monthrange(year, month)[1]:
        raise ValueError(f"{year:04}-{month:02} has no day {day:02}")


def _check_time(hour: int | None, minute: int | None, second: int | None, millisecond: int | None) -> None:
    if hour is not None and not 0 <= hour <= 23:
        raise ValueError(f"there is no hour {hour}")
    if minute is not None and not 0 <= minute <= 59:
        raise ValueError(f"there is no minute {minute}")
    if second is not None and not 0 <= second <= 59:
        raise ValueError(f"there is no second {second}")
    if millisecond is not None and not 0 <= millisecond <= 999:
        raise ValueError(f"there is no millisecond {millisecond}")


def _number(text: str | None) -> int | None:
    return int(text) if text is not None else None


def _milliseconds(digits: str | None) -> int | None:
    return int((digits + "00")[:3]) if digits is not None else None


class _Temporal:
    """What the three kinds share: identity by components, and order by `compare`."""

    __slots__ = ("_parts", "_text")
    _parts: tuple[int | None, ...]
    _text: str

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self._text})"

    def __eq__(self, other: object) -> bool:
        return self.__class__ is other.__class__ and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return self._parts

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__.parse, (self._text,)  # type: ignore[attr-defined]


class Date(_Temporal):
    """A date of year, month or day precision (System.Date). `moment` are its components where all are known, else None."""

    __slots__ = ("moment",)

    def __init__(self, year: int, month: int | None = None, day: int | None = None) -> None:
        _check_date(year, month, day)
        self._parts = (year, month, day)
        self.moment: tuple[int | None, ...] | None = self._parts if day is not None else None
        self._text = f"{year:04}" + (f"-{month:02}" if month else "") + (f"-{day:02}" if month and day else "")

    @staticmethod
    @lru_cache(maxsize=4096)
    def parse(text: str) -> Date:
        """Read `2015`, `2015-02` or `2015-02-04`. Raises ValueError."""
        match = _DATE.fullmatch(text)
        if match is None:
            raise ValueError("a date is written YYYY, YYYY-MM or YYYY-MM-DD")
        return Date(int(match[1]), _number(match[2]), _number(match[3]))

    @property
    def year(self) -> int:
        return self._parts[0]  # type: ignore[return-value]

    @property
    def month(self) -> int | None:
        return self._parts[1]

    @property
    def day(self) -> int | None:
        return self._parts[2]

    @property
    def precision(self) -> str:
        """Name of the finest component written."""
        return "year" if self._parts[1] is None else "month" if self._parts[2] is None else "day"

    @property
    def digits(self) -> int:
        """Precision as FHIRPath counts it: 4, 6 or 8."""
        return _DIGITS[self.precision]


class DateTime(_Temporal):
    """A date and time of any precision from year to millisecond, with or without an offset from UTC (System.DateTime).

    `moment` are its components at UTC where all are known and the offset is, else None.
    """

    __slots__ = ("_utc", "implied", "moment", "offset_minutes")

    def __init__(
        self,
        year: int,
        month: int | None = None,
        day: int | None = None,
        hour: int | None = None,
        minute: int | None = None,
        second: int | None = None,
        millisecond: int | None = None,
        offset_minutes: int | None = None,
        zulu: bool = False,
        implied: bool = False,
    ) -> None:
        """`implied` marks an offset that was not written: it counts in comparisons, and is not shown."""
        _check_date(year, month, day)
        _check_time(hour, minute, second, millisecond)
        if offset_minutes is not None and abs(offset_minutes) > WIDEST_EAST:
            raise ValueError("an offset from UTC is at most 14 hours")
        self._parts = (year, month, day, hour, minute, second, millisecond)
        self.offset_minutes = offset_minutes
        self.implied = implied
        self._text = self._write(zulu)
        self._utc: tuple[int | None, ...] | None = None
        self.moment: tuple[int | None, ...] | None = None
        if millisecond is not None and offset_minutes is not None:
            self.moment = self._parts if offset_minutes == 0 else self.utc()

    def _write(self, zulu: bool) -> str:
        year, month, day, hour, minute, second, millisecond = self._parts
        text = f"{year:04}"
        for value in (month, day):
            if value is None:
                return text + "T" if hour is None else text
            text += f"-{value:02}"
        text += "T"
        if hour is not None:
            text += f"{hour:02}"
        if minute is not None:
            text += f":{minute:02}"
        if second is not None:
            text += f":{second:02}"
        if millisecond is not None:
            text += f".{millisecond:03}"
        if self.offset_minutes is not None and hour is not None and not self.implied:
            if zulu and self.offset_minutes == 0:
                return text + "Z"
            hours, minutes = divmod(abs(self.offset_minutes), 60)
            text += f"{'-' if self.offset_minutes < 0 else '+'}{hours:02}:{minutes:02}"
        return text

    @staticmethod
    @lru_cache(maxsize=16384)
    def parse(text: str) -> DateTime:
        """Read `2015`, `2015-02T`, `2015-02-04T14:34:28.123+10:00` and what lies between. Raises ValueError."""
        match = _DATETIME.fullmatch(text)
        if match is None:
            raise ValueError("a date and time is written YYYY-MM-DDThh:mm:ss.fff+hh:mm, shortened from the right")
        year, month, day, hour, minute, second, fraction, zone = match.groups()
        if hour is not None and day is None:
            raise ValueError("a time needs a whole date before it")
        offset = None
        if zone is not None:
            if hour is None:
                raise ValueError("an offset from UTC needs a time before it")
            offset = 0 if zone == "Z" else (int(zone[1:3]) * 60 + int(zone[4:])) * (-1 if zone[0] == "-" else 1)
            if zone != "Z" and int(zone[4:]) > 59:
                raise ValueError(f"expected an offset from UTC with minutes from 00 to 59, found {zone}")
        return DateTime(
            int(year),
            _number(month),
            _number(day),
            _number(hour),
            _number(minute),
            _number(second),
            _milliseconds(fraction),
            offset,
            zone == "Z",
        )

    @property
    def year(self) -> int:
        return self._parts[0]  # type: ignore[return-value]

    @property
    def month(self) -> int | None:
        return self._parts[1]

    @property
    def day(self) -> int | None:
        return self._parts[2]

    @property
    def hour(self) -> int | None:
        return self._parts[3]

    @property
    def minute(self) -> int | None:
        return self._parts[4]

    @property
    def second(self) -> int | None:
        return self._parts[5]

    @property
    def millisecond(self) -> int | None:
        return self._parts[6]

    @property
    def precision(self) -> str:
        """Name of the finest component written."""
        return PRECISIONS[sum(part is not None for part in self._parts) - 1]

    @property
    def digits(self) -> int:
        """Precision as FHIRPath counts it: 4 (year) to 17 (millisecond)."""
        return _DIGITS[self.precision]

    def _key(self) -> tuple[Any, ...]:
        return (*self._parts, self.offset_minutes)

    def __reduce__(self) -> tuple[Any, ...]:
        return DateTime, (*self._parts, self.offset_minutes, self._text.endswith("Z"), self.implied)

    @staticmethod
    def of(parts: Sequence[Any], offset_minutes: int | None, implied: bool) -> DateTime:
        """A DateTime from its components, as many as there are. Raises ValueError."""
        filled = (*parts, *(None,) * (7 - len(parts)))
        year, month, day, hour, minute, second, millisecond = filled
        return DateTime(year, month, day, hour, minute, second, millisecond, offset_minutes, False, implied)

    def at_offset(self, minutes: int) -> DateTime:
        """The same moment, or one without a known offset read there, with an offset that is not shown if it was not written."""
        if self.offset_minutes is not None:
            return self
        return DateTime.of(self._parts, minutes, True)

    def utc(self) -> tuple[int | None, ...]:
        """The components at UTC, as far as they are known; as written where there is no offset."""
        if self._utc is None:
            self._utc = _moved(self._parts, -(self.offset_minutes or 0))
        return self._utc


class Time(_Temporal):
    """A time of day of any precision from hour to millisecond (System.Time)."""

    __slots__ = ()

    def __init__(
        self, hour: int, minute: int | None = None, second: int | None = None, millisecond: int | None = None
    ) -> None:
        _check_time(hour, minute, second, millisecond)
        self._parts = (hour, minute, second, millisecond)
        text = f"{hour:02}"
        if minute is not None:
            text += f":{minute:02}"
        if second is not None:
            text += f":{second:02}"
        if millisecond is not None:
            text += f".{millisecond:03}"
        self._text = text

    @staticmethod
    @lru_cache(maxsize=1024)
    def parse(text: str) -> Time:
        """Read `14`, `14:34`, `14:34:28` or `14:34:28.123`, with or without a `T` before it. Raises ValueError."""
        match = _TIME_ONLY.fullmatch(text)
        if match is None:
            raise ValueError("a time is written hh:mm:ss.fff, shortened from the right, without an offset")
        hour, minute, second, fraction = match.groups()
        return Time(int(hour), _number(minute), _number(second), _milliseconds(fraction))

    @property
    def hour(self) -> int:
        return self._parts[0]  # type: ignore[return-value]

    @property
    def minute(self) -> int | None:
        return self._parts[1]

    @property
    def second(self) -> int | None:
        return self._parts[2]

    @property
    def millisecond(self) -> int | None:
        return self._parts[3]

    @property
    def precision(self) -> str:
        """Name of the finest component written."""
        return PRECISIONS[sum(part is not None for part in self._parts) + 2]

    @property
    def digits(self) -> int:
        """Precision as FHIRPath counts it: 2, 4, 6 or 9."""
        return _TIME_DIGITS[self.precision]


Temporal = Date | DateTime | Time


def _moved(parts: tuple[int | None, ...], minutes: int) -> tuple[int | None, ...]:
    """Components shifted by minutes; components that are not known stay unknown."""
    if minutes == 0 or parts[3] is None:
        return parts
    year, month, day, hour, minute, second, millisecond = parts
    assert month is not None and day is not None
    assert year is not None
    away = -400 if year > 800 else 400  # the calendar repeats: the first and the last year need no special case
    moved = dt.datetime(year + away, month, day, hour or 0, minute or 0) + dt.timedelta(minutes=minutes)
    return (
        moved.year - away,
        moved.month,
        moved.day,
        moved.hour,
        moved.minute if minute is not None or minutes % 60 else None,
        second,
        millisecond,
    )


def _seconds(parts: tuple[int | None, ...], at: int) -> tuple[int | None, ...]:
    """Components with second and millisecond made one (`at` is the index of the second): they are one precision."""
    second, millisecond = parts[at], parts[at + 1]
    joined = None if second is None else second * 1000 + (millisecond or 0)
    return (*parts[:at], joined)


def _compare(a: tuple[int | None, ...], b: tuple[int | None, ...]) -> int | None:
    for x, y in zip(a, b, strict=True):
        if x is None or y is None:
            return 0 if x is None and y is None else None
        if x != y:
            return -1 if x < y else 1
    return 0


def _aligned(
    a: Temporal, b: Temporal, tz: dt.tzinfo | None
) -> tuple[tuple[int | None, ...], tuple[int | None, ...]] | None:
    """Components of two values made comparable; None where an offset is missing on one side and decides."""
    if isinstance(a, Date) and isinstance(b, Date):
        return a._parts, b._parts
    if isinstance(a, Time) and isinstance(b, Time):
        return _seconds(a._parts, 2), _seconds(b._parts, 2)
    left = a._parts if isinstance(a, DateTime) else (*a._parts, None, None, None, None)
    right = b._parts if isinstance(b, DateTime) else (*b._parts, None, None, None, None)
    offset_a = a.offset_minutes if isinstance(a, DateTime) else None
    offset_b = b.offset_minutes if isinstance(b, DateTime) else None
    timed = left[3] is not None and right[3] is not None
    if timed and (offset_a is None) != (offset_b is None):
        if tz is None:
            return None
        if offset_a is None:
            offset_a = _offset_at(left, tz)
        else:
            offset_b = _offset_at(right, tz)
    if timed and offset_a is not None and offset_b is not None:
        left = a.utc() if isinstance(a, DateTime) and a.offset_minutes == offset_a else _moved(left, -offset_a)
        right = b.utc() if isinstance(b, DateTime) and b.offset_minutes == offset_b else _moved(right, -offset_b)
    return _seconds(left, 5), _seconds(right, 5)


def _offset_at(parts: tuple[int | None, ...], tz: dt.tzinfo) -> int:
    moment = dt.datetime(parts[0] or 1, parts[1] or 1, parts[2] or 1, parts[3] or 0, parts[4] or 0, tzinfo=tz)
    offset = moment.utcoffset()
    return int(offset.total_seconds() // 60) if offset is not None else 0


def _far_apart(a: Temporal, b: Temporal) -> int | None:
    """Order of two values of which one has no offset: decided where they differ by more than any offset can make up."""
    assert isinstance(a, DateTime) and isinstance(b, DateTime)
    low_a, high_a = bounds(a)
    low_b, high_b = bounds(b)
    if high_a < low_b:
        return -1
    return 1 if low_a > high_b else None


def compare(a: Temporal, b: Temporal, tz: dt.tzinfo | None = None) -> int | None:
    """Order of two points in time: -1, 0, 1, or None where the precision recorded does not decide.

    Where one side has an offset from UTC and the other has none, `tz` says where the other is; without it the answer is None
    unless no offset could change it. Raises TypeError for a Time against a Date or DateTime.
    """
    if a.__class__ is DateTime and b.__class__ is DateTime:
        left, right = a._parts, b._parts
        if left[3] is None or right[3] is None:
            days, others = left[:3], right[:3]
            if days[2] is not None and others[2] is not None:
                # whole days, and no hour on one side: as they are written
                if days != others:
                    return -1 if days < others else 1
                return 0 if left[3] is right[3] else None
        elif left[5] is not None and right[5] is not None and a.offset_minutes is not None:
            if b.offset_minutes is not None:
                # both known to the second at least
                left, right = a._utc or a.utc(), b._utc or b.utc()
                whole, other = left[:6], right[:6]
                if whole != other:
                    return -1 if whole < other else 1
                first, second = left[6] or 0, right[6] or 0
                return (first > second) - (first < second)
    if isinstance(a, Time) is not isinstance(b, Time):
        raise TypeError("a time of day cannot be ordered against a date")
    pair = _aligned(a, b, tz)
    if pair is None:
        return _far_apart(a, b)
    return _compare(*pair)


def equal(a: Temporal, b: Temporal, tz: dt.tzinfo | None = None) -> bool | None:
    """Equality (`=`): None where the shared components agree and one value is more precise."""
    if isinstance(a, Time) is not isinstance(b, Time):
        return False
    pair = _aligned(a, b, tz)
    if pair is None:
        return None if _far_apart(a, b) is None else False
    order = _compare(*pair)
    return None if order is None else order == 0


def equivalent(a: Temporal, b: Temporal, tz: dt.tzinfo | None = None) -> bool:
    """Equivalence (`~`): as equality, with unlike precisions different."""
    return equal(a, b, tz) is True


def bounds(value: DateTime) -> tuple[dt.datetime, dt.datetime]:
    """Earliest and latest moment (naive, at UTC) that a DateTime may stand for."""
    parts = value._parts
    first = dt.datetime(
        parts[0] or 1, parts[1] or 1, parts[2] or 1, parts[3] or 0, parts[4] or 0, parts[5] or 0, (parts[6] or 0) * 1000
    )
    month = parts[1] or 12
    day = parts[2] or calendar.monthrange(parts[0] or 1, month)[1]
    last = dt.datetime(
        parts[0] or 1,
        month,
        day,
        23 if parts[3] is None else parts[3],
        59 if parts[4] is None else parts[4],
        59 if parts[5] is None else parts[5],
        999000 if parts[6] is None else parts[6] * 1000,
    )
    if value.offset_minutes is not None:
        shift = dt.timedelta(minutes=value.offset_minutes)
        return _shift(first, -shift), _shift(last, -shift)
    return _shift(first, -dt.timedelta(minutes=WIDEST_EAST)), _shift(last, -dt.timedelta(minutes=WIDEST_WEST))


def _shift(moment: dt.datetime, by: dt.timedelta) -> dt.datetime:
    try:
        return moment + by
    except OverflowError:
        return moment
