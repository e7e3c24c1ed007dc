"""Points that intervals are made of: order, successor, predecessor, least and greatest value, by point type.

CQL: "Interval Operators", "Uncertainty". A point type is the short name of a System type (`Integer`, `Long`, `Decimal`, `Quantity`,
`Date`, `DateTime`, `Time`, `String`); `Any` where it is not known. An `Uncertainty` is a point that is only known to lie in a range.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from fhir_eligibility.algebra import temporal as t
from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values import quantity as q
from fhir_eligibility.algebra.values.quantity import Quantity

STEP = Decimal("0.00000001")
MAX_DECIMAL = Decimal("99999999999999999999.99999999")
MAX_INTEGER, MAX_LONG = 2147483647, 9223372036854775807
TEMPORAL = (Date, DateTime, Time)

_MINIMUM: dict[str, Any] = {
    "Integer": -MAX_INTEGER - 1,
    "Long": -MAX_LONG - 1,
    "Decimal": -MAX_DECIMAL,
    "Quantity": Quantity(-MAX_DECIMAL, "1"),
    "Date": Date(1, 1, 1),
    "DateTime": DateTime(1, 1, 1, 0, 0, 0, 0, 0, False, True),
    "Time": Time(0, 0, 0, 0),
}
_MAXIMUM: dict[str, Any] = {
    "Integer": MAX_INTEGER,
    "Long": MAX_LONG,
    "Decimal": MAX_DECIMAL,
    "Quantity": Quantity(MAX_DECIMAL, "1"),
    "Date": Date(9999, 12, 31),
    "DateTime": DateTime(9999, 12, 31, 23, 59, 59, 999, 0, False, True),
    "Time": Time(23, 59, 59, 999),
}
_UNIT = ("year", "month", "day", "hour", "minute", "second", "millisecond")


class Uncertainty:
    """A value that is only known to lie from `low` to `high`, both included (CQL: "Uncertainty").

    Comparisons are three-valued: True and False where every value in the range agrees, None otherwise.
    """

    __slots__ = ("high", "low")
    moment = None  # as of a point in time that is not known to its last component

    def __init__(self, low: Any, high: Any) -> None:
        self.low = low
        self.high = high

    def __repr__(self) -> str:
        return f"Uncertainty({self.low!r}, {self.high!r})"

    def __str__(self) -> str:
        return f"between {self.low} and {self.high}"

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> Any:
        return equal(self, other)

    def __ne__(self, other: object) -> Any:
        same = equal(self, other)
        return None if same is None else not same

    def __lt__(self, other: Any) -> Any:
        return less(self, other)

    def __le__(self, other: Any) -> Any:
        return less_or_equal(self, other)

    def __gt__(self, other: Any) -> Any:
        return less(other, self)

    def __ge__(self, other: Any) -> Any:
        return less_or_equal(other, self)

    def __add__(self, other: Any) -> Any:
        low, high = ends(other)
        return uncertain(self.low + low, self.high + high)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        low, high = ends(other)
        return uncertain(self.low - high, self.high - low)

    def __rsub__(self, other: Any) -> Any:
        return uncertain(other - self.high, other - self.low)

    def __mul__(self, other: Any) -> Any:
        low, high = ends(other)
        products = [self.low * low, self.low * high, self.high * low, self.high * high]
        return uncertain(min(products), max(products))

    __rmul__ = __mul__

    def __neg__(self) -> Any:
        return uncertain(-self.high, -self.low)


class Long(int):
    """A Long where its static type does not tell: as an element of a list of several types."""

    __slots__ = ()


def uncertain(low: Any, high: Any) -> Any:
    """A value known to lie in a range; the value itself where the range is one value."""
    return low if sign(low, high) == 0 else Uncertainty(low, high)


def spread(convert: Callable[[Any], Any], value: Any) -> Any:
    """A rising function of a value, or of both ends of a range."""
    if value.__class__ is Uncertainty:
        return Uncertainty(convert(value.low), convert(value.high))
    return convert(value)


def ends(value: Any) -> tuple[Any, Any]:
    """Least and greatest value that a value may stand for."""
    return (value.low, value.high) if value.__class__ is Uncertainty else (value, value)


def certain(value: Any, what: str) -> Any:
    """The value itself. Raises EvaluationError `uncertain` where only a range is known."""
    if value.__class__ is Uncertainty:
        raise EvaluationError("uncertain", f"{what} needs one value, but it is only known to be {value}")
    return value


def sign(a: Any, b: Any, precision: str | None = None) -> int | None:
    """Order of two points of one type that are no ranges: -1, 0, 1, None where it cannot be told."""
    kind = a.__class__
    if kind is Quantity:
        return q.compare(a, b)
    if kind is DateTime or kind is Date:
        if precision is None and b.__class__ is kind:
            x, y = a.moment, b.moment
            if x is not None and y is not None:
                return -1 if x < y else 1 if x > y else 0
        return t.order(a, b, precision)
    if kind is Time:
        return t.order(a, b, precision)
    return -1 if a < b else 1 if a > b else 0


def less(a: Any, b: Any, precision: str | None = None) -> bool | None:
    """`a < b`, three-valued."""
    if a is None or b is None:
        return None
    if a.__class__ is not Uncertainty and b.__class__ is not Uncertainty:
        order = sign(a, b, precision)
        return None if order is None else order < 0
    low_a, high_a = ends(a)
    low_b, high_b = ends(b)
    if sign(high_a, low_b, precision) == -1:
        return True
    return False if sign(low_a, high_b, precision) in (0, 1) else None


def less_or_equal(a: Any, b: Any, precision: str | None = None) -> bool | None:
    """`a <= b`, three-valued."""
    if a is None or b is None:
        return None
    if a.__class__ is not Uncertainty and b.__class__ is not Uncertainty:
        order = sign(a, b, precision)
        return None if order is None else order <= 0
    low_a, high_a = ends(a)
    low_b, high_b = ends(b)
    if sign(high_a, low_b, precision) in (-1, 0):
        return True
    return False if sign(low_a, high_b, precision) == 1 else None


def equal(a: Any, b: Any, precision: str | None = None) -> bool | None:
    """`a = b`, three-valued."""
    if a is None or b is None:
        return None
    if a.__class__ is not Uncertainty and b.__class__ is not Uncertainty:
        order = sign(a, b, precision)
        return None if order is None else order == 0
    low_a, high_a = ends(a)
    low_b, high_b = ends(b)
    if sign(high_a, low_b, precision) == -1 or sign(low_a, high_b, precision) == 1:
        return False
    return None


def lesser(a: Any, b: Any) -> Any:
    """The lesser of two points, of which either may be a range; None where it cannot be told."""
    return _extreme(a, b, 1)


def greater(a: Any, b: Any) -> Any:
    """The greater of two points, of which either may be a range; None where it cannot be told."""
    return _extreme(a, b, -1)


def _extreme(a: Any, b: Any, direction: int) -> Any:
    if a is None or b is None:
        return None
    found = []
    for x, y in zip(ends(a), ends(b), strict=True):
        order = sign(x, y)
        if order is None:
            return None
        found.append(y if order * direction > 0 else x)
    return uncertain(*found)


def minimum(point: str) -> Any:
    """The least value of a type (CQL: MinValue), None where the type has none."""
    return _MINIMUM.get(point)


def maximum(point: str) -> Any:
    """The greatest value of a type (CQL: MaxValue), None where the type has none."""
    return _MAXIMUM.get(point)


def successor(value: Any, point: str) -> Any:
    """The next value (CQL: Successor). Raises EvaluationError `overflow` at the greatest."""
    return _next(value, point, 1)


def predecessor(value: Any, point: str) -> Any:
    """The value before (CQL: Predecessor). Raises EvaluationError `overflow` at the least."""
    return _next(value, point, -1)


def _next(value: Any, point: str, step: int) -> Any:
    if value is None:
        return None
    kind: Any = value.__class__
    if kind is Uncertainty:
        return uncertain(saturated(value.low, point, step), saturated(value.high, point, step))
    found: Any
    if kind is Quantity:
        found = Quantity(value.value + step * STEP, value.unit, value.calendar)
    elif kind in TEMPORAL:
        edge = _MAXIMUM if step > 0 else _MINIMUM
        if kind is Time and value == edge["Time"]:
            found = None
        else:
            moved: Any = t.add(value, Decimal(step), value.precision)
            found = None if kind is Time and _wrapped(value, moved, step) else moved
    elif kind is Decimal or point == "Decimal":
        found = Decimal(value) + step * STEP
        found = None if abs(found) > MAX_DECIMAL else found
    elif kind is int:
        found = value + step
        limit = MAX_LONG if point == "Long" else MAX_INTEGER
        found = None if not -limit - 1 <= found <= limit else found
    else:
        raise EvaluationError("no-overload", f"a {point} has no successor or predecessor")
    if found is None:
        word = "successor" if step > 0 else "predecessor"
        raise EvaluationError("overflow", f"{value} has no {word}: it is the last value of its type")
    return found


def _wrapped(before: Any, after: Any, step: int) -> bool:
    order = t.order(before, after)
    return order is not None and order != -step


def saturated(value: Any, point: str, step: int) -> Any:
    """The next value in a direction; the last value of a type is its own next."""
    try:
        return _next(value, point, step)
    except EvaluationError:
        return value


def point_type(value: Any) -> str:
    """The point type of a value, as far as it can be told from the value."""
    if value.__class__ is Uncertainty:
        return point_type(value.low)
    return {
        int: "Integer",
        Long: "Long",
        Decimal: "Decimal",
        Quantity: "Quantity",
        Date: "Date",
        DateTime: "DateTime",
        Time: "Time",
        str: "String",
    }.get(value.__class__, "Any")
