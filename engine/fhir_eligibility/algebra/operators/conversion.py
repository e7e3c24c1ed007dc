"""Conversions between System types (FHIRPath: "Conversion"; CQL reference: "Type Operators").

`toX` answers null where there is no conversion; `convertsToX` is derived from it by the compiler.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from fhir_eligibility.algebra.limits import written
from fhir_eligibility.algebra.operators.arithmetic import in_integer, in_long
from fhir_eligibility.algebra.operators.registry import OperatorTraits, operator
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.ucum import UnitError, parse_unit
from fhir_eligibility.algebra.values.points import spread
from fhir_eligibility.algebra.values.quantity import CALENDAR_WORDS, Quantity, make

_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_QUANTITY = re.compile(r"(?P<number>[+-]?[0-9]+(?:\.[0-9]+)?)\s*(?:'(?P<unit>[^']+)'|(?P<word>[a-zA-Z]+))?")
_TRUE = frozenset(("true", "t", "yes", "y", "1", "1.0"))
_FALSE = frozenset(("false", "f", "no", "n", "0", "0.0"))


@operator(
    "ToBoolean",
    "(Boolean) Boolean",
    fhirpath="toBoolean",
    cql="ToBoolean",
    section="Conversion: toBoolean",
    traits=OperatorTraits(same_value=True),
)
def boolean_of_boolean(a: bool) -> bool:
    return a


@operator("ToBoolean", "(Integer) Boolean?", "(Long) Boolean?", "(Decimal) Boolean?")
def boolean_of_number(a: Any) -> bool | None:
    return True if a == 1 else False if a == 0 else None


@operator("ToBoolean", "(String) Boolean?")
def boolean_of_string(a: str) -> bool | None:
    text = a.lower()
    return True if text in _TRUE else False if text in _FALSE else None


@operator(
    "ToInteger",
    "(Integer) Integer",
    "(Boolean) Integer",
    fhirpath="toInteger",
    cql="ToInteger",
    section="Conversion: toInteger",
    traits=OperatorTraits(ranges=True, same_value=True),
)
def integer_of_integer(a: int) -> int:
    return spread(int, a)  # type: ignore[no-any-return]


@operator("ToInteger", "(Long) Integer?")
def integer_of_long(a: int) -> int | None:
    return in_integer(a)


def _whole(a: str) -> int | None:
    """The whole number that a text is; None also for one with more digits than any type holds."""
    if not _INTEGER.fullmatch(a):
        return None
    digits = a.lstrip("+-0") or "0"
    if len(digits) > 30:
        return None
    return -int(digits) if a[0] == "-" else int(digits)


@operator("ToInteger", "(String) Integer?")
def integer_of_string(a: str) -> int | None:
    found = _whole(a)
    return None if found is None else in_integer(found)


@operator(
    "ToLong",
    "(Long) Long",
    "(Integer) Long",
    "(Boolean) Long",
    fhirpath="toLong",
    cql="ToLong",
    section="Conversion: toLong",
    traits=OperatorTraits(ranges=True, certain="as operands", same_value=True),
)
def long_of_integer(a: int) -> int:
    return spread(int, a)  # type: ignore[no-any-return]


@operator("ToLong", "(String) Long?")
def long_of_string(a: str) -> int | None:
    found = _whole(a)
    return None if found is None else in_long(found)


@operator(
    "ToDecimal",
    "(Decimal) Decimal",
    "(Integer) Decimal",
    "(Long) Decimal",
    "(Boolean) Decimal",
    fhirpath="toDecimal",
    cql="ToDecimal",
    section="Conversion: toDecimal",
    traits=OperatorTraits(ranges=True, certain="as operands", same_value=True),
)
def decimal_of_number(a: Any) -> Decimal:
    return spread(Decimal, a)  # type: ignore[no-any-return]


@operator("ToDecimal", "(String) Decimal?")
def decimal_of_string(a: str) -> Decimal | None:
    return Decimal(a) if _DECIMAL.fullmatch(a) else None


@operator(
    "ToString",
    "(String) String",
    fhirpath="toString",
    cql="ToString",
    section="Conversion: toString",
    traits=OperatorTraits(same_value=True),
)
def string_of_string(a: str) -> str:
    return a


@operator("ToString", "(Boolean) String")
def string_of_boolean(a: bool) -> str:
    return "true" if a else "false"


@operator("ToString", "(Integer) String", "(Long) String", "(Decimal) String")
def string_of_number(a: Any) -> str:
    return written(a) if isinstance(a, Decimal) else str(a)


@operator("ToString", "(Date) String", "(Time) String")
def string_of_value(a: Any) -> str:
    return str(a)


@operator("ToString", "(Quantity) String")
def string_of_quantity(a: Quantity) -> str:
    written(a.value)  # a number that is too long is not a text
    return str(a)


@operator("ToString", "(DateTime) String", language="fhirpath")
def string_of_datetime(a: Any) -> str:
    return str(a)


@operator("ToString", "(DateTime) String", language="cql")
def string_of_datetime_plain(a: Any) -> str:
    return str(a).removesuffix("T")


@operator(
    "ToDate",
    "(Date) Date",
    fhirpath="toDate",
    cql="ToDate",
    section="Conversion: toDate",
    traits=OperatorTraits(same_value=True),
)
def date_of_date(a: Date) -> Date:
    return a


@operator("ToDate", "(DateTime) Date")
def date_of_datetime(a: DateTime) -> Date:
    return Date(a.year, a.month, a.day)


@operator("ToDate", "(String) Date?")
def date_of_string(a: str) -> Date | None:
    try:
        value = DateTime.parse(a)
        return Date(value.year, value.month, value.day)
    except ValueError:
        return None


@operator(
    "ToDateTime",
    "(DateTime) DateTime",
    fhirpath="toDateTime",
    cql="ToDateTime",
    section="Conversion: toDateTime",
    traits=OperatorTraits(ranges=True, same_value=True, clock=False),
)
def datetime_of_datetime(a: DateTime) -> DateTime:
    return a


@operator("ToDateTime", "(Date) DateTime", language="fhirpath")
def datetime_of_date(a: Date) -> DateTime:
    return DateTime.parse(str(a))


@operator("ToDateTime", "(String) DateTime?", language="fhirpath")
def datetime_of_string(a: str) -> DateTime | None:
    try:
        return DateTime.parse(a)
    except ValueError:
        return None


@operator(
    "ToTime",
    "(Time) Time",
    fhirpath="toTime",
    cql="ToTime",
    section="Conversion: toTime",
    traits=OperatorTraits(same_value=True),
)
def time_of_time(a: Time) -> Time:
    return a


@operator("ToTime", "(String) Time?", language="fhirpath")
def time_of_string(a: str) -> Time | None:
    try:
        return Time.parse(a)
    except ValueError:
        return None


def read_quantity(text: str) -> Quantity | None:
    """A quantity written as `1.5 'mg'`, `4 days` or a bare number; None where it is not one (FHIRPath: toQuantity)."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    number = Decimal(match["number"])
    if match["word"] is not None:
        word = CALENDAR_WORDS.get(match["word"])
        return make(number, word, True) if word else None
    unit = match["unit"] or "1"
    try:
        parse_unit(unit)
    except UnitError:
        return None
    return make(number, unit, False)


@operator(
    "ToQuantity",
    "(Quantity) Quantity",
    fhirpath="toQuantity",
    cql="ToQuantity",
    section="Conversion: toQuantity",
    traits=OperatorTraits(ranges=True, certain="as operands", same_value=True),
)
def quantity_of_quantity(a: Quantity) -> Quantity:
    return a


@operator("ToQuantity", "(Integer) Quantity", "(Long) Quantity", "(Decimal) Quantity", "(Boolean) Quantity")
def quantity_of_number(a: Any) -> Quantity:
    return spread(lambda number: make(Decimal(number), "1", False), a)  # type: ignore[no-any-return]


@operator("ToQuantity", "(String) Quantity?")
def quantity_of_string(a: str) -> Quantity | None:
    return read_quantity(a)


@operator("ToQuantity", "(Quantity, String) Quantity?", "(String, String) Quantity?")
def quantity_in_unit(a: Any, unit: str) -> Quantity | None:
    from_value = read_quantity(a) if isinstance(a, str) else a
    return from_value.to_unit(unit) if from_value is not None else None
