"""UCUM: unit codes as exact factors over base dimensions, and conversion between them.

Case-sensitive codes only. An arbitrary unit (`[iU]`, `[arb'U]`) is a dimension of its own, so that it compares with itself alone.
Annotations (`{cells}`) mean nothing and are dropped. The table beside this file is loaded when the first unit is read.

May not know: quantities and their comparison (`algebra/values/quantity.py`).
Start with this file; `generate.py` writes the table, `suggestions.py` says what was probably meant.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from importlib import resources
from typing import Any

from msgspec import Struct

__all__ = ["Unit", "UnitError", "alias", "convert", "parse_unit", "product", "quotient"]

Dimension = tuple[tuple[str, int], ...]
_CONTEXT = Context(prec=34)
MAX_LENGTH = 200
MAX_EXPONENT = 100


class UnitError(ValueError):
    """A text that is not a valid UCUM unit; the message says why and where."""


class Unit(Struct, frozen=True):
    """A unit as a factor over base dimensions; `function` names the conversion of a special unit (its argument is scaled)."""

    dimension: Dimension
    factor: Fraction
    function: str | None = None
    scale: Fraction = Fraction(1)

    @property
    def special(self) -> bool:
        """Whether the unit is on no ratio scale (Celsius, pH, bel, ...)."""
        return self.function is not None


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(resources.files(__name__).joinpath("table.json").read_bytes())
    return table


_ATOM = re.compile(r"(?:\[[^\[\]]*\]|10[*^]|%(?:\[[^\[\]]*\])?|[A-Za-z\"'_]|\*|\^)+")
_NUMBER = re.compile(r"\d+")
_EXPONENT = re.compile(r"[+-]?\d+")
_TEN = re.compile(r"10[*^]")
# "not ASCII" is said by a small class: a large one takes long to compile
_ANNOTATION = re.compile(r"\{(?:[ -~]|[^\x00-\x7f])*?\}")


@lru_cache(maxsize=4096)
def parse_unit(code: str) -> Unit:
    """Read a UCUM code. Raises UnitError."""
    if len(code) > MAX_LENGTH:
        raise UnitError(f"a unit of {len(code)} characters is too long")
    if code in ("", "1"):
        return Unit((), Fraction(1))
    if any(character.isspace() for character in _ANNOTATION.sub("", code)):
        raise UnitError(f"{code!r} is not a UCUM unit: it contains a blank")
    parser = _UnitParser(code)
    unit = parser.term(0)
    if parser.position != len(code):
        raise UnitError(f"{code!r} is not a UCUM unit: unexpected {code[parser.position]!r} at {parser.position + 1}")
    return unit


class _UnitParser:
    def __init__(self, code: str) -> None:
        self.code = code
        self.position = 0

    def peek(self) -> str:
        return self.code[self.position] if self.position < len(self.code) else ""

    def error(self, why: str) -> UnitError:
        return UnitError(f"{self.code!r} is not a UCUM unit: {why}")

    def term(self, depth: int) -> Unit:
        if depth > 20:
            raise self.error("too many parentheses")
        if self.peek() == "/":
            self.position += 1
            unit = _power(self.component(depth), -1, self)
        else:
            unit = self.component(depth)
        while self.peek() in (".", "/") and self.peek():
            sign = 1 if self.peek() == "." else -1
            self.position += 1
            unit = _times(unit, _power(self.component(depth), sign, self), self)
        return unit

    def component(self, depth: int) -> Unit:
        character = self.peek()
        if character == "(":
            self.position += 1
            unit = self.term(depth + 1)
            if self.peek() != ")":
                raise self.error("a parenthesis is not closed")
            self.position += 1
            return unit
        if character == "{":
            self.annotation()
            return Unit((), Fraction(1))
        ten = _TEN.match(self.code, self.position)
        number = _NUMBER.match(self.code, self.position)
        if number is not None and ten is None:
            self.position = number.end()
            unit = Unit((), Fraction(int(number.group())))
            if unit.factor == 0:
                raise self.error("a factor of 0")
        else:
            unit = self.annotatable()
        if self.peek() == "{":
            self.annotation()
        return unit

    def annotatable(self) -> Unit:
        match = _ATOM.match(self.code, self.position)
        if match is None:
            where = self.peek() or "the end"
            raise self.error(f"a unit is missing before {where!r}")
        text = match.group()
        # An exponent may follow directly: digits never belong to an atom but those of 10* and in brackets.
        unit = None
        ten = _TEN.match(text)
        if ten is not None:
            text = ten.group()
        unit = _atom(text)
        if unit is None and text.endswith(("*", "^")) and text not in ("10*", "10^"):
            raise self.error(f"unknown unit {text!r}")
        if unit is None:
            raise self.error(f"unknown unit {text!r}")
        self.position += len(text)
        exponent = _EXPONENT.match(self.code, self.position)
        if exponent is not None:
            self.position = exponent.end()
            power = int(exponent.group())
            if abs(power) > MAX_EXPONENT:
                raise self.error(f"the exponent {power} is too large")
            unit = _power(unit, power, self)
        return unit

    def annotation(self) -> None:
        match = _ANNOTATION.match(self.code, self.position)
        if match is None:
            raise self.error("an annotation is not closed")
        self.position = match.end()


def _power(unit: Unit, exponent: int, parser: _UnitParser) -> Unit:
    if exponent == 1:
        return unit
    if unit.special:
        raise parser.error("a unit that is on no ratio scale cannot stand in a power or below a fraction line")
    dimension = tuple((base, power * exponent) for base, power in unit.dimension if power * exponent)
    return Unit(dimension, unit.factor**exponent)


def _times(a: Unit, b: Unit, parser: _UnitParser) -> Unit:
    if (a.special and b != Unit((), Fraction(1))) or (b.special and a != Unit((), Fraction(1))):
        raise parser.error("a unit that is on no ratio scale cannot be multiplied")
    if a.special:
        return a
    if b.special:
        return b
    powers = dict(a.dimension)
    for base, power in b.dimension:
        powers[base] = powers.get(base, 0) + power
    return Unit(tuple(sorted((base, power) for base, power in powers.items() if power)), a.factor * b.factor)


@lru_cache(maxsize=2048)
def _atom(text: str) -> Unit | None:
    """A unit atom with or without a prefix, None where there is none."""
    units, prefixes = _table()["units"], _table()["prefixes"]
    row = units.get(text)
    if row is not None:
        return _unit_of(text, row)
    for length in (2, 1):
        prefix, rest = text[:length], text[length:]
        if prefix in prefixes and rest in units and units[rest][0]:
            unit = _unit_of(rest, units[rest])
            scale = Fraction(prefixes[prefix])
            if unit.special:
                return Unit(unit.dimension, unit.factor, unit.function, unit.scale * scale)
            return Unit(unit.dimension, unit.factor * scale)
    return None


def _unit_of(code: str, row: list[Any]) -> Unit:
    if len(row) == 1:
        return Unit(((code, 1),), Fraction(1))
    _, number, definition, function, arbitrary = row
    if arbitrary:
        target = _table()["units"].get(definition)
        if target is not None and len(target) > 1 and target[4]:
            return _unit_of(definition, target)
        return Unit(((code, 1),), Fraction(1))
    inner = parse_unit(definition)
    value = Fraction(number)
    if function is not None:
        return Unit(inner.dimension, inner.factor * value, function)
    return Unit(inner.dimension, inner.factor * value)


# -- special units: value on the unit's own scale <-> multiple of the unit that it is defined over


def _decimal(value: Fraction) -> Decimal:
    return _CONTEXT.divide(Decimal(value.numerator), Decimal(value.denominator))


def _exact(value: float) -> Fraction:
    return Fraction(repr(value)) if math.isfinite(value) else Fraction(0)


_KELVIN = Fraction("273.15")
_RANKINE = Fraction("459.67")
Scale = Callable[[Fraction], Fraction]
_TO: dict[str, Scale] = {
    "Cel": lambda x: x + _KELVIN,
    "degF": lambda x: x + _RANKINE,
    "degRe": lambda x: x + _KELVIN * 4 / 5,
    "pH": lambda x: Fraction(_CONTEXT.power(Decimal(10), -_decimal(x))),
    "lg": lambda x: Fraction(_CONTEXT.power(Decimal(10), _decimal(x))),
    "lgTimes2": lambda x: Fraction(_CONTEXT.power(Decimal(10), _decimal(x) / 2)),
    "ln": lambda x: Fraction(_CONTEXT.exp(_decimal(x))),
    "ld": lambda x: Fraction(_CONTEXT.power(Decimal(2), _decimal(x))),
    "hpX": lambda x: Fraction(_CONTEXT.power(Decimal(10), -_decimal(x))),
    "hpC": lambda x: Fraction(_CONTEXT.power(Decimal(100), -_decimal(x))),
    "hpM": lambda x: Fraction(_CONTEXT.power(Decimal(1000), -_decimal(x))),
    "hpQ": lambda x: Fraction(_CONTEXT.power(Decimal(50000), -_decimal(x))),
    "tanTimes100": lambda x: _exact(math.tan(float(x)) * 100),
    "100tan": lambda x: _exact(math.atan(float(x) / 100)),
    "sqrt": lambda x: x * x,
}
_FROM: dict[str, Scale] = {
    "Cel": lambda x: x - _KELVIN,
    "degF": lambda x: x - _RANKINE,
    "degRe": lambda x: x - _KELVIN * 4 / 5,
    "pH": lambda x: Fraction(-_CONTEXT.log10(_decimal(x))),
    "lg": lambda x: Fraction(_CONTEXT.log10(_decimal(x))),
    "lgTimes2": lambda x: Fraction(_CONTEXT.log10(_decimal(x)) * 2),
    "ln": lambda x: Fraction(_CONTEXT.ln(_decimal(x))),
    "ld": lambda x: Fraction(_CONTEXT.ln(_decimal(x)) / _CONTEXT.ln(Decimal(2))),
    "hpX": lambda x: Fraction(-_CONTEXT.log10(_decimal(x))),
    "hpC": lambda x: Fraction(-_CONTEXT.log10(_decimal(x)) / 2),
    "hpM": lambda x: Fraction(-_CONTEXT.log10(_decimal(x)) / 3),
    "hpQ": lambda x: Fraction(-_CONTEXT.ln(_decimal(x)) / _CONTEXT.ln(Decimal(50000))),
    "tanTimes100": lambda x: _exact(math.atan(float(x) / 100)),
    "100tan": lambda x: _exact(math.tan(float(x)) * 100),
    "sqrt": lambda x: _exact(math.sqrt(float(x))),
}


def _base_value(value: Fraction, unit: Unit) -> Fraction | None:
    if unit.function is None:
        return value * unit.factor
    scale = _TO.get(unit.function)
    return None if scale is None else scale(value * unit.scale) * unit.factor


def _unit_value(value: Fraction, unit: Unit) -> Fraction | None:
    if unit.function is None:
        return value / unit.factor
    scale = _FROM.get(unit.function)
    if scale is None:
        return None
    try:
        return scale(value / unit.factor) / unit.scale
    except (ArithmeticError, ValueError):
        return None


def is_arbitrary(code: str) -> bool:
    """Whether a unit is, or is made of, one whose meaning depends on the assay. Raises UnitError."""
    units = _table()["units"]
    return any(len(units[atom]) > 1 for atom, _ in parse_unit(code).dimension)


def exact_convert(value: Fraction, source: str, target: str) -> Fraction | None:
    """A value in another unit, exactly where the factor is rational; None where the units are not comparable."""
    if source == target:
        return value
    a, b = parse_unit(source), parse_unit(target)
    if a.dimension != b.dimension:
        return None
    base = _base_value(value, a)
    return None if base is None else _unit_value(base, b)


def convert(value: Decimal, source: str, target: str) -> Decimal | None:
    """A value in another unit (34 digits), None where the units are not comparable. Raises UnitError."""
    if source == target:
        return value
    found = exact_convert(Fraction(value), source, target)
    return None if found is None else _decimal(found)


# -- units of products


@lru_cache(maxsize=1024)
def _as_terms(code: str) -> tuple[tuple[str, int], ...] | None:
    """A unit as powers of plain atoms, None where it has parentheses or numbers."""
    if code in ("", "1"):
        return ()
    powers: dict[str, int] = {}
    sign = 1
    for part in re.split(r"([./])", _ANNOTATION.sub("", code)):
        if part == ".":
            sign = 1
        elif part == "/":
            sign = -1
        elif part and part != "1":
            match = re.fullmatch(r"(.*?[^\d+-]|10[*^])([+-]?\d+)?", part)
            if match is None or "(" in part:
                return None
            powers[match[1]] = powers.get(match[1], 0) + sign * int(match[2] or 1)
    return tuple((atom, power) for atom, power in powers.items() if power)


def _written(powers: dict[str, int]) -> str:
    above = [atom + (str(power) if power != 1 else "") for atom, power in powers.items() if power > 0]
    below = [atom + (str(-power) if power != -1 else "") for atom, power in powers.items() if power < 0]
    text = ".".join(above)
    return (text + "".join("/" + term for term in below)) or "1"


def _combined(a: str, b: str, sign: int) -> tuple[str, Fraction] | None:
    """Unit of a product (or quotient) and the factor that its value takes up; units of one dimension are merged."""
    left, right = _as_terms(a), _as_terms(b)
    if left is None or right is None:
        unit = f"({a}).({b})" if sign > 0 else f"({a})/({b})"
        return unit, Fraction(1)
    factor = Fraction(1)
    powers = dict(left)
    for atom, power in right:
        power *= sign
        if atom not in powers:
            own = parse_unit(atom)
            for other in powers:
                there = parse_unit(other)
                if own.dimension and own.dimension == there.dimension and not own.special and not there.special:
                    # the coarser of the two stays
                    if own.factor > there.factor:
                        factor *= (there.factor / own.factor) ** powers[other]
                        powers[atom] = powers.pop(other)
                    else:
                        factor *= (own.factor / there.factor) ** power
                        atom = other
                    break
        powers[atom] = powers.get(atom, 0) + power
    return _written({atom: power for atom, power in powers.items() if power}), factor


def product(a: str, b: str) -> tuple[str, Fraction] | None:
    """Unit of a product and the factor for its value: `cm` times `m` is `m2` with 1/100."""
    return _combined(a, b, 1)


def quotient(a: str, b: str) -> tuple[str, Fraction] | None:
    """Unit of a quotient and the factor for its value."""
    return _combined(a, b, -1)


# Usual spellings in real data that are not UCUM, and what they mean.
_ALIASES = {
    "mmHg": "mm[Hg]",
    "mm Hg": "mm[Hg]",
    "cmH2O": "cm[H2O]",
    "IU": "[iU]",
    "IU/L": "[iU]/L",
    "IU/mL": "[iU]/mL",
    "mIU/L": "m[iU]/L",
    "mIU/mL": "m[iU]/mL",
    "uIU/mL": "u[iU]/mL",
    "µIU/mL": "u[iU]/mL",
    "U/l": "U/L",
    "mEq/L": "meq/L",
    "mEq/l": "meq/L",
    "mEq": "meq",
    "cells/uL": "/uL",
    "cells/µL": "/uL",
    "cells/mm3": "/mm3",
    "/cmm": "/mm3",
    "x10^9/L": "10*9/L",
    "10^9/L": "10*9/L",
    "10e9/L": "10*9/L",
    "10E9/L": "10*9/L",
    "x10E9/L": "10*9/L",
    "K/uL": "10*3/uL",
    "k/uL": "10*3/uL",
    "M/uL": "10*6/uL",
    "cc": "cm3",
    "cm^3": "cm3",
    "cm³": "cm3",
    "m^2": "m2",
    "m²": "m2",
    "kg/m^2": "kg/m2",
    "kg/m²": "kg/m2",
    "ng/ml": "ng/mL",
    "mcg": "ug",
    "mcg/L": "ug/L",
    "mcg/mL": "ug/mL",
    "µg": "ug",
    "µg/L": "ug/L",
    "µmol/L": "umol/L",
    "μmol/L": "umol/L",
    "μg/L": "ug/L",
    "°C": "Cel",
    "C": "Cel",
    "degC": "Cel",
    "°F": "[degF]",
    "F": "[degF]",
    "lb": "[lb_av]",
    "lbs": "[lb_av]",
    "in": "[in_i]",
    "inch": "[in_i]",
    "years": "a",
    "year": "a",
    "yr": "a",
    "yrs": "a",
    "months": "mo",
    "month": "mo",
    "weeks": "wk",
    "week": "wk",
    "days": "d",
    "day": "d",
    "hours": "h",
    "hour": "h",
    "hr": "h",
    "minutes": "min",
    "bpm": "/min",
    "beats/min": "/min",
    "breaths/min": "/min",
    "beats/minute": "/min",
    "percent": "%",
    "mL/min/1.73m2": "mL/min/{1.73_m2}",
    "mL/min/1.73 m2": "mL/min/{1.73_m2}",
    "mL/min/1.73m^2": "mL/min/{1.73_m2}",
    "sec": "s",
    "seconds": "s",
}


def alias(text: str) -> str | None:
    """The UCUM code that a usual misspelling means, None where the text is none of them."""
    return _ALIASES.get(text.strip())
