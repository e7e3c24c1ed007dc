"""Quantities: a number with a UCUM unit or a calendar unit, with exact arithmetic (FHIRPath: "Quantity"; CQL: "Quantity").

Calendar years and months are no UCUM `a` and `mo`: they compare with each other, and are only equivalent to the definite ones.
From weeks down, calendar and UCUM units mean the same.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from functools import lru_cache

from fhir_eligibility.algebra.limits import exact, shown
from fhir_eligibility.algebra.ucum import UnitError, exact_convert, is_arbitrary, parse_unit, product, quotient

_CONTEXT = Context(prec=34)
UCUM_OF_CALENDAR = {
    "year": "a",
    "month": "mo",
    "week": "wk",
    "day": "d",
    "hour": "h",
    "minute": "min",
    "second": "s",
    "millisecond": "ms",
}
# Calendar words as written, singular and plural, and the singular.
CALENDAR_WORDS = {word + ending: word for word in UCUM_OF_CALENDAR for ending in ("", "s")}
_MONTHS = {"year": 12, "month": 1}


class NoUnit(str):
    """The unit of a FHIR Quantity that records none: a number of whatever its author had in mind.

    It reads as `1`, and compares with `1` and with what is equal to it (`{score}`). With a unit that counts something else (`%`, `10*3`)
    nobody can tell what the number means: 30 may be 30 % or 3000 %.
    """

    __slots__ = ()


NO_UNIT = NoUnit("1")


class Quantity:
    """A value with a unit: a UCUM code, or with `calendar` a singular calendar word (`year` ... `millisecond`)."""

    __slots__ = ("calendar", "unit", "value")

    def __init__(self, value: Decimal, unit: str = "1", calendar: bool = False) -> None:
        self.value = value
        self.unit = unit
        self.calendar = calendar

    def __str__(self) -> str:
        number = shown(self.value)
        if self.calendar:
            return f"{number} {self.unit}{'' if abs(self.value) == 1 else 's'}"
        return f"{number} '{self.unit}'"

    def __repr__(self) -> str:
        return f"Quantity({self})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Quantity):
            return NotImplemented
        return (self.value, self.unit, self.calendar) == (other.value, other.unit, other.calendar)

    def __hash__(self) -> int:
        return hash((self.value, self.unit, self.calendar))

    def to_unit(self, unit: str) -> Quantity | None:
        """The same quantity in another unit, UCUM or a word of the calendar (`day`, `days`); None where it cannot be."""
        word = CALENDAR_WORDS.get(unit)
        one = Quantity(Decimal(1), unit) if word is None else Quantity(Decimal(1), word, True)
        pair = _pair(self, one)
        return None if pair is None else Quantity(_decimal(pair[0] / pair[1]), one.unit, one.calendar)

    @property
    def indefinite(self) -> bool:
        """Whether this is a calendar duration of no definite length (years, months)."""
        return self.calendar and self.unit in _MONTHS

    @property
    def ucum(self) -> str:
        """The UCUM code of the unit (of a calendar word, that of the definite duration)."""
        return UCUM_OF_CALENDAR[self.unit] if self.calendar else self.unit


def make(value: Decimal, unit: str | None, calendar: bool = False) -> Quantity:
    """A quantity; no unit means the unit `1`."""
    return Quantity(value, unit or "1", calendar)


def _decimal(value: Fraction) -> Decimal:
    return _CONTEXT.divide(Decimal(value.numerator), Decimal(value.denominator))


_LITRE = re.compile(r"(?<![A-Za-z\[{])([munpfdck]?)l(?![A-Za-z_\]}])")


def _one_code(unit: str) -> str:
    """A unit in which the two codes of the international unit are one, and those of the litre."""
    return _LITRE.sub(r"\1L", unit.replace("[IU]", "[iU]"))


def _convert(a: Quantity, b: Quantity) -> Fraction | None:
    """Value of `a` in the unit of `b` by UCUM, None where they are not comparable, a unit is not valid, or one was not recorded.

    An arbitrary unit (`[iU]/L`) compares with itself as written alone (CQL 2.0: "Arbitrary Units"); `[IU]` is UCUM's other code for `[iU]`, `l` for `L`.
    """
    try:
        if _one_code(a.ucum) != _one_code(b.ucum) and (is_arbitrary(a.ucum) or is_arbitrary(b.ucum)):
            return None
        if (a.unit.__class__ is NoUnit or b.unit.__class__ is NoUnit) and _ratio(a.ucum, b.ucum) != (1, 1):
            return None
        return exact_convert(exact(a.value), a.ucum, b.ucum)
    except UnitError:
        return None


def _pair(a: Quantity, b: Quantity) -> tuple[Fraction, Fraction] | None:
    """Values of two quantities in a common unit, None where there is none."""
    if a.unit == b.unit and a.calendar == b.calendar:
        return exact(a.value), exact(b.value)
    if a.indefinite and b.indefinite:
        return exact(a.value) * _MONTHS[a.unit], exact(b.value) * _MONTHS[b.unit]
    if a.indefinite or b.indefinite:
        return None
    found = _convert(a, b)
    return None if found is None else (found, exact(b.value))


@lru_cache(maxsize=1024)
def _ratio(source: str, target: str) -> tuple[int, int] | None:
    """What a value is multiplied with and divided by in another unit, None where that is not all there is to it."""
    try:
        a, b = parse_unit(source), parse_unit(target)
        if a.special or b.special or is_arbitrary(source) or is_arbitrary(target):
            return None
        found = exact_convert(Fraction(1), source, target)
    except UnitError:
        return None
    return None if found is None else found.as_integer_ratio()


def compare(a: Quantity, b: Quantity) -> int | None:
    """Order of two quantities: -1, 0, 1, or None where their units are not comparable."""
    if a.unit == b.unit and a.calendar is b.calendar:
        x, y = a.value, b.value
        return -1 if x < y else 1 if x > y else 0
    if not a.calendar and not b.calendar:
        ratio = _ratio(a.unit, b.unit)
        if ratio == (1, 1):
            x, y = a.value, b.value
            return -1 if x < y else 1 if x > y else 0
        if ratio is not None and a.unit.__class__ is not NoUnit and b.unit.__class__ is not NoUnit:
            n, d = exact(a.value).as_integer_ratio()
            m, e = exact(b.value).as_integer_ratio()
            left, right = n * ratio[0] * e, m * d * ratio[1]
            return (left > right) - (left < right)
    pair = _pair(a, b)
    if pair is None:
        return None
    return -1 if pair[0] < pair[1] else 1 if pair[0] > pair[1] else 0


def equal(a: Quantity, b: Quantity) -> bool | None:
    """Equality (`=`) after conversion to a common unit; None where there is none."""
    if a.unit == b.unit and a.calendar is b.calendar:
        return a.value == b.value
    pair = _pair(a, b)
    return None if pair is None else pair[0] == pair[1]


def equivalent(a: Quantity, b: Quantity) -> bool:
    """Equivalence (`~`): equal at the precision of the least precise operand; calendar units are those of UCUM."""
    found = _convert(a, b)
    if found is None:
        return False
    if a.indefinite and b.indefinite:
        pair = _pair(a, b)
        return pair is not None and pair[0] == pair[1]
    if found == exact(b.value):
        return True
    if _finer(a, b) is a:  # compared in the coarser of the two units
        x, y = _decimal(found), b.value
    else:
        back = _convert(b, a)
        if back is None:
            return False
        x, y = a.value, _decimal(back)
    step = Decimal(1).scaleb(-min(_places(x), _places(y)))
    return x.quantize(step, ROUND_HALF_UP) == y.quantize(step, ROUND_HALF_UP)


def _places(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _sum(a: Quantity, b: Quantity, sign: int) -> Quantity | None:
    if a.unit == b.unit and a.calendar == b.calendar:
        return Quantity(a.value + sign * b.value, a.unit, a.calendar)
    if a.indefinite != b.indefinite:
        return None
    if a.indefinite:
        months = a.value * _MONTHS[a.unit] + sign * b.value * _MONTHS[b.unit]
        return Quantity(months, "month", True)
    finer = _finer(a, b)
    if finer is None:
        return None
    x, y = _convert(a, finer), _convert(b, finer)
    if x is None or y is None:
        return None
    return Quantity(_decimal(x + sign * y), finer.unit, finer.calendar)


def _finer(a: Quantity, b: Quantity) -> Quantity | None:
    """The operand whose unit is the smaller; a sum is given in it."""
    try:
        own, other = parse_unit(a.ucum), parse_unit(b.ucum)
    except UnitError:
        return None
    if own.dimension != other.dimension or own.special or other.special:
        return None
    return a if own.factor <= other.factor else b


def add(a: Quantity, b: Quantity) -> Quantity | None:
    """Sum in the finer of the two units, None where they are not comparable."""
    return _sum(a, b, 1)


def subtract(a: Quantity, b: Quantity) -> Quantity | None:
    """Difference in the finer of the two units, None where they are not comparable."""
    return _sum(a, b, -1)


def _combined(a: Quantity, b: Quantity, divide_by: bool) -> Quantity | None:
    try:
        found = quotient(a.ucum, b.ucum) if divide_by else product(a.ucum, b.ucum)
    except UnitError:
        return None
    if found is None or (divide_by and b.value == 0):
        return None
    unit, factor = found
    value = exact(a.value) / exact(b.value) if divide_by else exact(a.value) * exact(b.value)
    if unit == a.ucum and a.calendar:
        return Quantity(_decimal(value * factor), a.unit, True)
    return Quantity(_decimal(value * factor), unit)


def multiply(a: Quantity, b: Quantity) -> Quantity | None:
    """Product with the product of the units, units of one dimension merged."""
    return _combined(a, b, False)


def divide(a: Quantity, b: Quantity) -> Quantity | None:
    """Quotient with the quotient of the units; None for division by zero."""
    return _combined(a, b, True)


def negate(a: Quantity) -> Quantity:
    """The quantity with the opposite sign."""
    return Quantity(-a.value, a.unit, a.calendar)


def absolute(a: Quantity) -> Quantity:
    """The quantity without its sign."""
    return Quantity(abs(a.value), a.unit, a.calendar)
