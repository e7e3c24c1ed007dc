"""Operators on points in time that CQL has and FHIRPath has not, or defines otherwise (CQL: "Date and Time Operators").

A DateTime without an offset from UTC has that of the evaluation request: functions with `context` ask the environment for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Protocol

from fhir_eligibility.algebra import temporal as t
from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.operators.registry import OperatorTraits, operator
from fhir_eligibility.algebra.operators.temporal import COMPONENTS
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.temporal.between import extent
from fhir_eligibility.algebra.values import points as p

_PLACES = Decimal("1E-8")


class Request(Protocol):
    """What these operators ask of the environment: the evaluation request's time, date and offset from UTC in minutes."""

    @property
    def now(self) -> DateTime: ...
    @property
    def today(self) -> Date: ...
    @property
    def offset_minutes(self) -> int: ...


def make_datetime(request: Request, *parts: Any) -> DateTime | None:
    """DateTime(year, month, day, hour, minute, second, millisecond, offset); None without a year (CQL: DateTime).

    Raises EvaluationError `invalid-date`.
    """
    kept, offset = _known(parts[:7]), parts[7] if len(parts) > 7 else None
    if not kept:
        return None
    minutes = request.offset_minutes if offset is None else int(Decimal(offset) * 60)
    try:
        return DateTime.of(kept, minutes, offset is None)
    except ValueError as error:
        raise EvaluationError("invalid-date", f"expected the components of a DateTime: {error}") from None


def make_date(*parts: Any) -> Date | None:
    """Date(year, month, day); None without a year (CQL: Date). Raises EvaluationError `invalid-date`."""
    kept = _known(parts)
    try:
        return Date(*kept) if kept else None
    except ValueError as error:
        raise EvaluationError("invalid-date", f"expected the components of a Date: {error}") from None


def _known(parts: Sequence[Any]) -> list[Any]:
    """The components before the first that is null. Raises EvaluationError `uncertain` for a range."""
    kept: list[Any] = []
    for part in parts:
        if part is None:
            break
        kept.append(p.certain(part, "a component of a point in time"))
    return kept


def make_time(*parts: Any) -> Time | None:
    """Time(hour, minute, second, millisecond); None without an hour (CQL: Time). Raises EvaluationError `invalid-date`."""
    kept = _known(parts)
    try:
        return Time(*kept) if kept else None
    except ValueError as error:
        raise EvaluationError("invalid-date", f"expected the components of a Time: {error}") from None


# -- components


def component(value: Any, name: str) -> int | None:
    """One component, None where it is not known, or not the same all over a range (CQL: DateTimeComponentFrom)."""
    low, high = (COMPONENTS[name](end) for end in p.ends(value))
    return low if low == high else None


@operator(
    "DateFrom", "(DateTime) Date", "(Date) Date", cql="date_from", section="DateTime: Component From", language="cql"
)
def date_from(value: Any) -> Date:
    parts: Any = value._parts[:3]
    return Date(*parts)


@operator("TimeFrom", "(DateTime) Time?", cql="time_from", section="DateTime: Component From", language="cql")
def time_from(value: DateTime) -> Time | None:
    return make_time(*value._parts[3:])


@operator(
    "TimezoneOffsetFrom",
    "(DateTime) Decimal?",
    cql="timezoneoffset_from",
    section="DateTime: Component From",
    language="cql",
)
def timezone_offset_from(value: DateTime) -> Decimal | None:
    minutes = value.offset_minutes
    return None if minutes is None else (Decimal(minutes) / 60).quantize(_PLACES, ROUND_HALF_UP)


# -- durations


def duration_between(a: Any, b: Any, precision: str) -> Any:
    """Whole periods from `a` to `b`; an Uncertainty where what is recorded leaves several (CQL: Duration)."""
    return _range(a, b, precision, t.duration)


def difference_between(a: Any, b: Any, precision: str) -> Any:
    """Boundaries crossed from `a` to `b`; an Uncertainty where what is recorded leaves several (CQL: Difference)."""
    return _range(a, b, precision, t.difference)


def _range(a: Any, b: Any, precision: str, count: Any) -> Any:
    if a.__class__ is p.Uncertainty or b.__class__ is p.Uncertainty:
        (low_a, high_a), (low_b, high_b) = p.ends(a), p.ends(b)
        return p.uncertain(count(high_a, low_b, precision)[0], count(low_a, high_b, precision)[1])
    low, high = count(a, b, precision)
    return low if low == high else p.Uncertainty(low, high)


_PAIRS = ("(Date, Date) Integer?", "(DateTime, DateTime) Integer?", "(Time, Time) Integer?")
operator(
    "DurationBetween",
    *_PAIRS,
    cql="duration_between",
    section="DateTime: Duration",
    language="cql",
    precise=True,
    traits=OperatorTraits(ranges=True),
)(duration_between)
operator(
    "DifferenceBetween",
    *_PAIRS,
    cql="difference_between",
    section="DateTime: Difference",
    language="cql",
    precise=True,
    traits=OperatorTraits(ranges=True),
)(difference_between)


@operator(
    "CalculateAgeAt",
    "(Date, Date) Integer?",
    "(DateTime, DateTime) Integer?",
    cql="CalculateAgeAt",
    section="Clinical: CalculateAgeAt",
    language="cql",
    precise=True,
    traits=OperatorTraits(ranges=True),
)
def calculate_age_at(birth: Any, at: Any, precision: str) -> Any:
    return duration_between(birth, at, precision)


@operator(
    "CalculateAge",
    "(Date) Integer?",
    "(DateTime) Integer?",
    cql="CalculateAge",
    section="Clinical: CalculateAge",
    language="cql",
    precise=True,
    context=True,
    traits=OperatorTraits(ranges=True),
)
def calculate_age(request: Request, birth: Any, precision: str) -> Any:
    return duration_between(birth, request.today if birth.__class__ is Date else request.now, precision)


# -- boundaries and precision, which CQL fills up without a time zone

_COUNTS = {4: 1, 6: 2, 8: 3, 10: 4, 12: 5, 14: 6, 17: 7}
_TIME_COUNTS = {2: 1, 4: 2, 6: 3, 9: 4}


def _boundary(value: Any, digits: int | None, low: bool) -> Any:
    if isinstance(value, Time):
        count = _TIME_COUNTS.get(9 if digits is None else digits)
    else:
        count = _COUNTS.get((8 if isinstance(value, Date) else 17) if digits is None else digits)
    if count is None or (isinstance(value, Date) and count > 3):
        return None
    first, last = extent(value)
    moment = first if low else last
    parts = (
        moment.year,
        moment.month,
        moment.day,
        moment.hour,
        moment.minute,
        moment.second,
        moment.microsecond // 1000,
    )
    if isinstance(value, Time):
        return Time(*parts[3 : 3 + count])
    if isinstance(value, Date):
        return Date(*parts[:count])
    kept = [part if index < count else None for index, part in enumerate(parts)]
    return DateTime.of(kept, value.offset_minutes, value.implied)


_EDGE = tuple(f"({x}, Integer) {x}?" for x in ("Date", "DateTime", "Time"))
_EDGE_ONLY = tuple(f"({x}) {x}?" for x in ("Date", "DateTime", "Time"))


@operator(
    "LowBoundary",
    *_EDGE,
    *_EDGE_ONLY,
    cql="LowBoundary",
    section="Arithmetic: Low Boundary",
    nulls="handled",
    language="cql",
)
def low_boundary(value: Any, digits: int | None = None) -> Any:
    return None if value is None else _boundary(value, digits, True)


@operator(
    "HighBoundary",
    *_EDGE,
    *_EDGE_ONLY,
    cql="HighBoundary",
    section="Arithmetic: High Boundary",
    nulls="handled",
    language="cql",
)
def high_boundary(value: Any, digits: int | None = None) -> Any:
    return None if value is None else _boundary(value, digits, False)


def _decimal_boundary(value: Decimal | None, digits: int | None, low: bool) -> Decimal | None:
    """The written digits followed by zeros or nines, at `digits` decimals (8 unless told)."""
    places = 8 if digits is None else digits
    if value is None or not 0 <= places <= 8:
        return None
    written = max(0, -int(value.as_tuple().exponent))
    if places <= written:
        return value.quantize(Decimal(1).scaleb(-places), rounding="ROUND_DOWN")
    edge = value.quantize(Decimal(1).scaleb(-places))
    room = Decimal(1).scaleb(-written) - Decimal(1).scaleb(-places)
    return edge if low is (value >= 0) else edge + (room if value >= 0 else -room)


@operator("LowBoundary", "(Decimal, Integer) Decimal?", "(Decimal) Decimal?", nulls="handled", language="cql")
def low_decimal_boundary(value: Decimal | None, digits: int | None = None) -> Decimal | None:
    return _decimal_boundary(value, digits, True)


@operator("HighBoundary", "(Decimal, Integer) Decimal?", "(Decimal) Decimal?", nulls="handled", language="cql")
def high_decimal_boundary(value: Decimal | None, digits: int | None = None) -> Decimal | None:
    return _decimal_boundary(value, digits, False)


# -- conversions that need the offset of the request

_ZONE = re.compile(r"(Z|[+-]\d\d:\d\d)$")


@operator("ToDateTime", "(Date) DateTime", language="cql", context=True)
def datetime_of_date(request: Request, value: Date) -> DateTime:
    return p.spread(lambda date: DateTime.of(date._parts, request.offset_minutes, True), value)  # type: ignore[no-any-return]


@operator("ToDateTime", "(String) DateTime?", language="cql", context=True)
def datetime_of_string(request: Request, text: str) -> DateTime | None:
    try:
        return DateTime.parse(text).at_offset(request.offset_minutes)
    except ValueError:
        return None


@operator("ToTime", "(String) Time?", language="cql")
def time_of_string(text: str) -> Time | None:
    try:
        return Time.parse(_ZONE.sub("", text))
    except ValueError:
        return None


@operator("ToTime", "(DateTime) Time?", language="cql")
def time_of_datetime(value: DateTime) -> Time | None:
    return time_from(value)
