"""Boundaries, precision and components of points in time and numbers (FHIRPath: "Utility Functions", "Boundaries")."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal
from typing import Any

from fhir_eligibility.algebra import temporal as t
from fhir_eligibility.algebra.operators.registry import operator
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.ucum import UnitError, convert
from fhir_eligibility.algebra.values.quantity import Quantity

_WIDE = Context(prec=60)
MAX_DIGITS = 28


def _digits(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def decimal_boundary(value: Decimal, digits: int | None, low: bool) -> Decimal | None:
    """Lowest or highest number that the written digits of `value` may stand for, at `digits` decimals (8 unless told).

    A boundary that rounds to zero at the wanted precision is zero with the sign of the value: the official suites demand it.
    None for a precision below 0 or above 28.
    """
    wanted = 8 if digits is None else digits
    if wanted < 0 or wanted > MAX_DIGITS:
        return None
    half = Decimal(5).scaleb(-_digits(value) - 1)
    edge = _WIDE.subtract(value, half) if low else _WIDE.add(value, half)
    step = Decimal(1).scaleb(-wanted)
    nearest = edge.quantize(step, ROUND_HALF_UP, _WIDE)
    if nearest == 0 and value != 0:
        return nearest.copy_sign(value)
    return edge.quantize(step, ROUND_FLOOR if low else ROUND_CEILING, _WIDE)


@operator(
    "LowBoundary",
    "(Decimal) Decimal?",
    "(Decimal, Integer) Decimal?",
    fhirpath="lowBoundary",
    section="FHIRPath: lowBoundary",
    language="fhirpath",
)
def low_decimal(value: Any, digits: int | None = None) -> Decimal | None:
    return decimal_boundary(Decimal(value), digits, True)


@operator(
    "HighBoundary",
    "(Decimal) Decimal?",
    "(Decimal, Integer) Decimal?",
    fhirpath="highBoundary",
    section="FHIRPath: highBoundary",
    language="fhirpath",
)
def high_decimal(value: Any, digits: int | None = None) -> Decimal | None:
    return decimal_boundary(Decimal(value), digits, False)


@operator(
    "LowBoundary",
    "(Quantity) Quantity?",
    "(Quantity, Integer) Quantity?",
    language="fhirpath",
)
def low_quantity(value: Quantity, digits: int | None = None) -> Quantity | None:
    edge = decimal_boundary(value.value, digits, True)
    return None if edge is None else Quantity(edge, value.unit, value.calendar)


@operator(
    "HighBoundary",
    "(Quantity) Quantity?",
    "(Quantity, Integer) Quantity?",
    language="fhirpath",
)
def high_quantity(value: Quantity, digits: int | None = None) -> Quantity | None:
    edge = decimal_boundary(value.value, digits, False)
    return None if edge is None else Quantity(edge, value.unit, value.calendar)


@operator(
    "LowBoundary",
    "(Date) Date?",
    "(Date, Integer) Date?",
    "(DateTime) DateTime?",
    "(DateTime, Integer) DateTime?",
    "(Time) Time?",
    "(Time, Integer) Time?",
    language="fhirpath",
)
def low_temporal(value: Any, digits: int | None = None) -> Any:
    return t.low_boundary(value, digits)


@operator(
    "HighBoundary",
    "(Date) Date?",
    "(Date, Integer) Date?",
    "(DateTime) DateTime?",
    "(DateTime, Integer) DateTime?",
    "(Time) Time?",
    "(Time, Integer) Time?",
    language="fhirpath",
)
def high_temporal(value: Any, digits: int | None = None) -> Any:
    return t.high_boundary(value, digits)


@operator("Precision", "(Decimal) Integer", fhirpath="precision", cql="Precision", section="FHIRPath: precision")
def precision_of_decimal(value: Decimal) -> int:
    return _digits(value)


@operator("Precision", "(Date) Integer", "(DateTime) Integer", "(Time) Integer")
def precision_of_temporal(value: Any) -> int:
    return int(value.digits)


@operator("Comparable", "(Quantity, Quantity) Boolean", fhirpath="comparable", section="FHIRPath: comparable")
def comparable(a: Quantity, b: Quantity) -> bool:
    if a.calendar or b.calendar:
        return a.calendar == b.calendar or _of_time(a) and _of_time(b)
    try:
        return convert(Decimal(1), a.unit, b.unit) is not None
    except UnitError:
        return False


def _of_time(value: Quantity) -> bool:
    if value.calendar:
        return True
    try:
        return convert(Decimal(1), value.unit, "s") is not None
    except UnitError:
        return False


# The components of points in time, by the names of precisions.
COMPONENTS: dict[str, Callable[[Any], Any]] = {
    "year": lambda value: value.year,
    "month": lambda value: value.month,
    "day": lambda value: value.day,
    "hour": lambda value: value.hour,
    "minute": lambda value: value.minute,
    "second": lambda value: value.second,
    "millisecond": lambda value: value.millisecond,
}


def _component(name: str, *kinds: str) -> None:
    signatures = [f"({kind}) Integer?" for kind in kinds]
    operator(f"ComponentFrom{name.title()}", *signatures, fhirpath=f"{name}Of", section=f"FHIRPath: {name}Of")(
        COMPONENTS[name]
    )


for _name in ("year", "month", "day"):
    _component(_name, "Date", "DateTime")
for _name in ("hour", "minute", "second", "millisecond"):
    _component(_name, "DateTime", "Time")


@operator(
    "TimezoneOffsetFrom",
    "(DateTime) Decimal?",
    fhirpath="timezoneOffsetOf",
    section="FHIRPath: timezoneOffsetOf",
    language="fhirpath",
)
def timezone_offset(value: DateTime) -> Decimal | None:
    return None if value.offset_minutes is None else Decimal(value.offset_minutes) / 60


@operator(
    "DateFrom",
    "(DateTime) Date",
    "(Date) Date",
    fhirpath="dateOf",
    section="FHIRPath: dateOf",
    language="fhirpath",
)
def date_of(value: Any) -> Date:
    return Date(value.year, value.month, value.day)


@operator("TimeFrom", "(DateTime) Time?", fhirpath="timeOf", section="FHIRPath: timeOf", language="fhirpath")
def time_of(value: DateTime) -> Time | None:
    return None if value.hour is None else Time(value.hour, value.minute, value.second, value.millisecond)
