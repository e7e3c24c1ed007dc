"""Codes, concepts, terminologies, ratios and tuples (CQL: "Clinical Types", "Structured Types")."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from fhir_eligibility.algebra.values import quantity as q
from fhir_eligibility.algebra.values.code_systems import same_system
from fhir_eligibility.algebra.values.quantity import Quantity


class Code(Struct, frozen=True):
    """A code of a code system (System.Code)."""

    code: str | None
    system: str | None = None
    version: str | None = None
    display: str | None = None

    def __str__(self) -> str:
        return f"Code {self.code!r} from {self.system!r}"


class Concept(Struct, frozen=True):
    """Codes that mean the same (System.Concept)."""

    codes: tuple[Code | None, ...]
    display: str | None = None

    def __str__(self) -> str:
        return f"Concept {{ {', '.join(map(str, self.codes))} }}"


class CodeSystem(Struct, frozen=True):
    """A code system by its url (System.CodeSystem)."""

    id: str | None
    version: str | None = None
    name: str | None = None


class ValueSet(Struct, frozen=True):
    """A value set by its url, and the versions of code systems that it is to be read with (System.ValueSet)."""

    id: str | None
    version: str | None = None
    name: str | None = None
    codesystems: tuple[CodeSystem, ...] = ()

    def __hash__(self) -> int:  # value sets are looked up for every code that is tested: by their url alone, fast
        return hash(self.id)


class Ratio(Struct, frozen=True):
    """A quantity for another (System.Ratio)."""

    numerator: Quantity | None
    denominator: Quantity | None

    def __str__(self) -> str:
        return f"{self.numerator}:{self.denominator}"


class Tuple(dict[str, Any]):
    """A value of named elements (CQL: Tuple); all elements of its type are there, null ones as None."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Tuple {{ {', '.join(f'{key}: {value!r}' for key, value in self.items())} }}"

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))


def equal_ratios(a: Ratio, b: Ratio) -> bool | None:
    """Same numerator and same denominator, as quantities."""
    if a.numerator is None or b.numerator is None or a.denominator is None or b.denominator is None:
        return None
    top, bottom = q.equal(a.numerator, b.numerator), q.equal(a.denominator, b.denominator)
    if top is False or bottom is False:
        return False
    return None if top is None or bottom is None else True


def equivalent_ratios(a: Ratio, b: Ratio) -> bool:
    """The same proportion: `1:8 ~ 2:16`."""
    if a.numerator is None or b.numerator is None or a.denominator is None or b.denominator is None:
        return a == b
    left, right = q.divide(a.numerator, a.denominator), q.divide(b.numerator, b.denominator)
    return left is not None and right is not None and q.equivalent(left, right)


def equivalent_codes(a: Code | None, b: Code | None) -> bool:
    """Same code of the same system, however its address is spelt, whatever the version and display (CQL: Equivalent on Code)."""
    if a is None or b is None:
        return a is b
    return a.code == b.code and same_system(a.system, b.system)


def codes_of(value: Any) -> tuple[Code | None, ...]:
    """The codes of a Code or Concept."""
    return value.codes if value.__class__ is Concept else (value,)


def equivalent_concepts(a: Any, b: Any) -> bool:
    """A code in common (CQL: Equivalent on Concept); either side may be a Code."""
    return any(x is not None and equivalent_codes(x, y) for x in codes_of(a) for y in codes_of(b))
