"""Arithmetic on numbers, quantities and points in time (CQL reference: "Arithmetic Operators"; FHIRPath: "Math")."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal, InvalidOperation, localcontext
from typing import Any

from fhir_eligibility.algebra import temporal as t
from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.limits import text
from fhir_eligibility.algebra.operators.registry import OperatorTraits, operator
from fhir_eligibility.algebra.values import quantity as q
from fhir_eligibility.algebra.values.points import Uncertainty, certain
from fhir_eligibility.algebra.values.quantity import CALENDAR_WORDS, UCUM_OF_CALENDAR, Quantity

_WIDE = Context(prec=46)
_WIDEST = Context(prec=80)  # 28 digits before the point and as many decimals as can be asked for
_PLACES = Decimal("1E-8")
MAX_INTEGER = 2147483647
MIN_INTEGER = -2147483648
MAX_LONG = 9223372036854775807
MIN_LONG = -9223372036854775808


# What 28 digits before the point hold; the official tests step from 10^28 itself to the greatest value below.
LIMIT_DECIMAL = Decimal(10) ** 28


def in_decimal(value: Decimal) -> Decimal | None:
    """The value at no more than eight decimals, or None beyond 28 digits before them (overflow yields null)."""
    exponent = value.as_tuple().exponent
    if exponent.__class__ is int and exponent < -8:
        value = value.quantize(_PLACES, rounding=ROUND_HALF_UP, context=_WIDE)
    return value if -LIMIT_DECIMAL <= value <= LIMIT_DECIMAL else None


def in_integer(value: int) -> int | None:
    """The value, or None beyond 32 bits (overflow yields null)."""
    kind: Any = value.__class__
    if kind is Uncertainty:
        return value
    return value if MIN_INTEGER <= value <= MAX_INTEGER else None


def in_long(value: int) -> int | None:
    """The value, or None beyond 64 bits."""
    kind: Any = value.__class__
    if kind is Uncertainty:
        return value
    return value if MIN_LONG <= value <= MAX_LONG else None


@operator(
    "Add",
    "(Integer, Integer) Integer?",
    fhirpath="+",
    cql="+",
    section="Arithmetic: Add",
    traits=OperatorTraits(ranges=True, certain="as operands"),
)
def add_integer(a: int, b: int) -> int | None:
    return in_integer(a + b)


@operator("Add", "(Long, Long) Long?")
def add_long(a: int, b: int) -> int | None:
    return in_long(a + b)


@operator("Add", "(Decimal, Decimal) Decimal", inline="({0} + {1})", language="fhirpath")
def add_decimal(a: Decimal, b: Decimal) -> Decimal:
    return a + b


@operator("Add", "(Decimal, Decimal) Decimal?", language="cql")
def add_decimal_within(a: Any, b: Any) -> Any:
    if a.__class__ is Uncertainty or b.__class__ is Uncertainty:
        return a + b
    return in_decimal(_WIDE.add(a, b))


@operator("Add", "(String, String) String", language="fhirpath")
def add_string(a: str, b: str) -> str:
    return text(a + b, "+")


@operator("Add", "(Quantity, Quantity) Quantity?")
def add_quantity(a: Quantity, b: Quantity) -> Quantity | None:
    return q.add(a, b)


@operator(
    "Subtract",
    "(Integer, Integer) Integer?",
    fhirpath="-",
    cql="-",
    section="Arithmetic: Subtract",
    traits=OperatorTraits(ranges=True, certain="as operands"),
)
def subtract_integer(a: int, b: int) -> int | None:
    return in_integer(a - b)


@operator("Subtract", "(Long, Long) Long?")
def subtract_long(a: int, b: int) -> int | None:
    return in_long(a - b)


@operator("Subtract", "(Decimal, Decimal) Decimal?", language="cql")
def subtract_decimal_within(a: Any, b: Any) -> Any:
    if a.__class__ is Uncertainty or b.__class__ is Uncertainty:
        return a - b
    return in_decimal(_WIDE.subtract(a, b))


@operator("Subtract", "(Decimal, Decimal) Decimal", inline="({0} - {1})", language="fhirpath")
def subtract_decimal(a: Decimal, b: Decimal) -> Decimal:
    return a - b


@operator("Subtract", "(Quantity, Quantity) Quantity?")
def subtract_quantity(a: Quantity, b: Quantity) -> Quantity | None:
    return q.subtract(a, b)


# UCUM units of definite duration that FHIRPath takes in date arithmetic, and the calendar words they stand for.
_DEFINITE = {code: word for word, code in UCUM_OF_CALENDAR.items() if word not in ("year", "month")}


def duration_unit(quantity: Quantity) -> str:
    """The calendar word of a quantity used in date arithmetic.

    Raises EvaluationError `time-unit` for UCUM `a` and `mo` (not calendar durations) and for anything that is no duration
    (FHIRPath: "Date/Time Arithmetic").
    """
    if quantity.calendar:
        return quantity.unit
    word = _DEFINITE.get(quantity.unit) or CALENDAR_WORDS.get(quantity.unit)
    if word is not None:
        return word
    if quantity.unit in ("a", "mo"):
        word = "years" if quantity.unit == "a" else "months"
        raise EvaluationError(
            "time-unit",
            f"the UCUM unit '{quantity.unit}' is a number of seconds, not a calendar duration; write {quantity.value} {word}",
        )
    raise EvaluationError("time-unit", f"'{quantity.unit}' is not a unit of time; it cannot be added to a date or time")


_MOVED = ("(Date, Quantity) Date?", "(DateTime, Quantity) DateTime?", "(Time, Quantity) Time?")


@operator("Add", *_MOVED, language="fhirpath")
def add_duration(a: Any, b: Quantity) -> Any:
    return t.add(a, b.value, duration_unit(b))


@operator("Subtract", *_MOVED, language="fhirpath")
def subtract_duration(a: Any, b: Quantity) -> Any:
    return t.add(a, -b.value, duration_unit(b))


def _moved(a: Any, amount: Decimal, unit: str) -> Any:
    """CQL has an error where FHIRPath has nothing. Raises EvaluationError `overflow` beyond the years 1 to 9999."""
    if a.__class__ is Uncertainty:
        low, high = _moved(a.low, amount, unit), _moved(a.high, amount, unit)
        return Uncertainty(low, high)
    found = t.add(a, amount, unit)
    if found is None:
        raise EvaluationError("overflow", f"{a} moved by {amount} {unit}s is beyond the years 1 to 9999")
    return found


@operator("Add", *_MOVED, language="cql")
def add_duration_within(a: Any, b: Quantity) -> Any:
    return _moved(a, b.value, duration_unit(b))


@operator("Subtract", *_MOVED, language="cql")
def subtract_duration_within(a: Any, b: Quantity) -> Any:
    return _moved(a, -b.value, duration_unit(b))


def _whole_seconds(b: Quantity) -> Decimal:
    """FHIRPath 2.0.0 drops the decimals of definite seconds; later versions keep them."""
    return Decimal(int(b.value)) if not b.calendar and b.unit == "s" else b.value


@operator(
    "AddWholeSeconds",
    "(Date, Quantity) Date?",
    "(DateTime, Quantity) DateTime?",
    "(Time, Quantity) Time?",
    section="FHIRPath 2.0.0: Date/Time Arithmetic",
)
def add_whole_seconds(a: Any, b: Quantity) -> Any:
    return t.add(a, _whole_seconds(b), duration_unit(b))


@operator(
    "SubtractWholeSeconds",
    "(Date, Quantity) Date?",
    "(DateTime, Quantity) DateTime?",
    "(Time, Quantity) Time?",
    section="FHIRPath 2.0.0: Date/Time Arithmetic",
)
def subtract_whole_seconds(a: Any, b: Quantity) -> Any:
    return t.add(a, -_whole_seconds(b), duration_unit(b))


@operator(
    "Multiply",
    "(Integer, Integer) Integer?",
    fhirpath="*",
    cql="*",
    section="Arithmetic: Multiply",
    traits=OperatorTraits(ranges=True, certain="as operands"),
)
def multiply_integer(a: int, b: int) -> int | None:
    return in_integer(a * b)


@operator("Multiply", "(Long, Long) Long?")
def multiply_long(a: int, b: int) -> int | None:
    return in_long(a * b)


@operator("Multiply", "(Decimal, Decimal) Decimal?", language="cql")
def multiply_decimal_within(a: Any, b: Any) -> Any:
    if a.__class__ is Uncertainty or b.__class__ is Uncertainty:
        return a * b
    return in_decimal(_WIDE.multiply(a, b))


@operator("Multiply", "(Decimal, Decimal) Decimal", inline="({0} * {1})", language="fhirpath")
def multiply_decimal(a: Decimal, b: Decimal) -> Decimal:
    return a * b


@operator("Multiply", "(Quantity, Quantity) Quantity?")
def multiply_quantity(a: Quantity, b: Quantity) -> Quantity | None:
    return q.multiply(a, b)


@operator("Divide", "(Decimal, Decimal) Decimal?", fhirpath="/", cql="/", section="Arithmetic: Divide")
def divide_decimal(a: Decimal, b: Decimal) -> Decimal | None:
    if b == 0:
        return None
    exact = _WIDE.divide(a, b)
    if not -LIMIT_DECIMAL <= exact <= LIMIT_DECIMAL:
        return None
    exponent = exact.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -8:
        exact = exact.quantize(_PLACES, rounding=ROUND_HALF_UP, context=_WIDE)
        exact = exact.normalize(_WIDE)
    return exact


@operator("Divide", "(Quantity, Quantity) Quantity?")
def divide_quantity(a: Quantity, b: Quantity) -> Quantity | None:
    return q.divide(a, b)


@operator(
    "TruncatedDivide", "(Integer, Integer) Integer?", fhirpath="div", cql="div", section="Arithmetic: TruncatedDivide"
)
def div_integer(a: int, b: int) -> int | None:
    a, b = certain(a, "div"), certain(b, "div")
    if b == 0:
        return None
    result = abs(a) // abs(b)
    return in_integer(result if (a < 0) == (b < 0) else -result)


@operator("TruncatedDivide", "(Long, Long) Long?")
def div_long(a: int, b: int) -> int | None:
    if b == 0:
        return None
    result = abs(a) // abs(b)
    return in_long(result if (a < 0) == (b < 0) else -result)


@operator("TruncatedDivide", "(Decimal, Decimal) Decimal?", language="cql")
def div_decimal_to_decimal(a: Decimal, b: Decimal) -> Decimal | None:
    return in_decimal(_WIDE.divide_int(a, b)) if b != 0 else None


def _quotient(a: Quantity, b: Quantity, remainder: bool) -> Quantity | None:
    """`div` or `mod` of quantities of one dimension, in the unit of the first."""
    other = b if a.unit == b.unit and a.calendar == b.calendar else b.to_unit(a.ucum)
    if other is None or other.value == 0:
        return None
    value = _WIDE.remainder(a.value, other.value) if remainder else _WIDE.divide_int(a.value, other.value)
    return Quantity(value, a.unit, a.calendar)


@operator("TruncatedDivide", "(Quantity, Quantity) Quantity?", language="cql")
def div_quantity(a: Quantity, b: Quantity) -> Quantity | None:
    return _quotient(a, b, False)


@operator("Modulo", "(Quantity, Quantity) Quantity?", language="cql")
def mod_quantity(a: Quantity, b: Quantity) -> Quantity | None:
    return _quotient(a, b, True)


@operator("TruncatedDivide", "(Decimal, Decimal) Integer?", language="fhirpath")
def div_decimal(a: Decimal, b: Decimal) -> int | None:
    return in_integer(int(_WIDE.divide_int(a, b))) if b != 0 else None


@operator("Modulo", "(Integer, Integer) Integer?", "(Long, Long) Long?", fhirpath="mod", cql="mod", section="Modulo")
def mod_integer(a: int, b: int) -> int | None:
    a, b = certain(a, "mod"), certain(b, "mod")
    if b == 0:
        return None
    rest = abs(a) % abs(b)
    return -rest if a < 0 else rest


@operator("Modulo", "(Decimal, Decimal) Decimal?")
def mod_decimal(a: Decimal, b: Decimal) -> Decimal | None:
    return _WIDE.remainder(a, b) if b != 0 else None


@operator(
    "Negate",
    "(Integer) Integer?",
    cql="-",
    section="Arithmetic: Negate",
    traits=OperatorTraits(ranges=True, certain="as operands"),
)
def negate_integer(a: int) -> int | None:
    return in_integer(-a)


@operator("Negate", "(Long) Long?")
def negate_long(a: int) -> int | None:
    return in_long(-a)


@operator("Negate", "(Decimal) Decimal", inline="(-{0})")
def negate_decimal(a: Decimal) -> Decimal:
    return -a


@operator("Negate", "(Quantity) Quantity")
def negate_quantity(a: Quantity) -> Quantity:
    return q.negate(a)


@operator(
    "Abs",
    "(Integer) Integer?",
    fhirpath="abs",
    cql="Abs",
    section="Arithmetic: Abs",
    traits=OperatorTraits(certain="as operands"),
)
def abs_integer(a: int) -> int | None:
    return in_integer(abs(certain(a, "Abs")))


@operator("Abs", "(Long) Long?")
def abs_long(a: int) -> int | None:
    return in_long(abs(a))


@operator("Abs", "(Decimal) Decimal")
def abs_decimal(a: Decimal) -> Decimal:
    return abs(a)


@operator("Abs", "(Quantity) Quantity")
def abs_quantity(a: Quantity) -> Quantity:
    return q.absolute(a)


@operator("Ceiling", "(Decimal) Integer?", fhirpath="ceiling", cql="Ceiling", section="Arithmetic: Ceiling")
def ceiling(a: Decimal) -> int | None:
    return in_integer(int(a.to_integral_value(ROUND_CEILING))) if -LIMIT_DECIMAL <= a <= LIMIT_DECIMAL else None


@operator("Floor", "(Decimal) Integer?", fhirpath="floor", cql="Floor", section="Arithmetic: Floor")
def floor(a: Decimal) -> int | None:
    return in_integer(int(a.to_integral_value(ROUND_FLOOR))) if -LIMIT_DECIMAL <= a <= LIMIT_DECIMAL else None


@operator("Truncate", "(Decimal) Integer?", fhirpath="truncate", cql="Truncate", section="Arithmetic: Truncate")
def truncate(a: Decimal) -> int | None:
    return in_integer(int(a)) if -LIMIT_DECIMAL <= a <= LIMIT_DECIMAL else None


def _rounded(value: Decimal) -> Decimal | None:
    """The value at no more than eight decimals; None beyond what a Decimal holds."""
    if not value.is_finite() or not -LIMIT_DECIMAL <= value <= LIMIT_DECIMAL:
        return None
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -8:
        with localcontext(_WIDE):
            try:
                value = value.quantize(_PLACES, rounding=ROUND_HALF_UP).normalize()
            except InvalidOperation:
                return None
    return value


@operator("Exp", "(Decimal) Decimal?", fhirpath="exp", cql="Exp", section="Arithmetic: Exp")
def exp(a: Decimal) -> Decimal | None:
    try:
        found = _rounded(_WIDE.exp(a))
        return None if found is None else in_decimal(found)
    except (InvalidOperation, OverflowError, ArithmeticError):
        return None


@operator("Ln", "(Decimal) Decimal?", fhirpath="ln", cql="Ln", section="Arithmetic: Ln")
def ln(a: Decimal) -> Decimal | None:
    return _rounded(_WIDE.ln(a)) if a > 0 else None


@operator("Log", "(Decimal, Decimal) Decimal?", fhirpath="log", cql="Log", section="Arithmetic: Log")
def log(a: Decimal, base: Decimal) -> Decimal | None:
    if a <= 0 or base <= 0 or base == 1:
        return None
    return _rounded(_WIDE.divide(_WIDE.ln(a), _WIDE.ln(base)))


def _whole_power(a: int, b: int) -> int | None:
    """None where the power is no whole number; a negative exponent in the text makes it one of Decimals (`2^-2` is 0.25)."""
    if b < 0:
        return None if abs(a) != 1 else a if b % 2 else 1
    return None if abs(a) > 1 and b > 64 else int(a**b)


@operator("Power", "(Integer, Integer) Integer?", cql="^ Power", section="Arithmetic: Power", language="cql")
def power_of_integers(a: int, b: int) -> int | None:
    found = _whole_power(a, b)
    return None if found is None else in_integer(found)


@operator("Power", "(Long, Long) Long?", language="cql")
def power_of_longs(a: int, b: int) -> int | None:
    found = _whole_power(a, b)
    return None if found is None else in_long(found)


@operator("Power", "(Integer, Integer) Integer?", fhirpath="power ^", section="Arithmetic: Power", language="fhirpath")
def power_integer(a: int, b: int) -> int | None:
    if b < 0:
        return None if a == 0 else int(Decimal(a) ** b) if abs(a) == 1 else None
    if abs(a) > 1 and b > 64:
        return None
    return in_integer(a**b)


@operator("Power", "(Decimal, Decimal) Decimal?")
def power_decimal(a: Decimal, b: Decimal) -> Decimal | None:
    try:
        return _rounded(_WIDE.power(a, b))
    except (InvalidOperation, ArithmeticError):
        return None


@operator("Sqrt", "(Decimal) Decimal?", fhirpath="sqrt", section="FHIRPath: sqrt")
def sqrt(a: Decimal) -> Decimal | None:
    return _rounded(_WIDE.sqrt(a)) if a >= 0 else None


@operator(
    "Round",
    "(Decimal) Decimal",
    "(Decimal, Integer) Decimal",
    fhirpath="round",
    cql="Round",
    section="Round",
    traits=OperatorTraits(elm="operand precision"),
)
def round_decimal(a: Decimal, precision: int = 0) -> Decimal:
    if precision < 0:
        raise EvaluationError("negative-precision", f"round() takes a precision of 0 or more, not {precision}")
    if precision > 28:
        return a
    return a.quantize(Decimal(1).scaleb(-precision), rounding=ROUND_HALF_UP, context=_WIDEST)
