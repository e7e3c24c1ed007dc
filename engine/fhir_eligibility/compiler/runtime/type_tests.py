"""Types of CQL asked of values at run time (CQL: Is, As)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values import points as p
from fhir_eligibility.algebra.values.clinical import Code, CodeSystem, Concept, Ratio, Tuple, ValueSet
from fhir_eligibility.algebra.values.element import Element
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.points import Long
from fhir_eligibility.algebra.values.quantity import Quantity
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.elm.types import ChoiceType, IntervalType, ListType, Named, TupleType, Type

_CLASSES: dict[str, tuple[type, ...]] = {
    "Boolean": (bool,), "Integer": (int, p.Uncertainty), "Long": (Long,), "Decimal": (Decimal,), "String": (str,),
    "Date": (Date,), "DateTime": (DateTime,), "Time": (Time,), "Quantity": (Quantity,), "Ratio": (Ratio,),
    "Code": (Code,), "Concept": (Concept,), "ValueSet": (ValueSet,), "CodeSystem": (CodeSystem,),
    "Vocabulary": (ValueSet, CodeSystem),
}  # fmt: skip


class TypeOfValue:
    """Whether a value is of a type; null is of none (CQL: Is).

    `fhir` gives the FHIR type of each type of a model that is named, `version` the FHIR version.
    """

    def __init__(self, kind: Type, fhir_types: tuple[tuple[str, str], ...] = (), version: str = "r4") -> None:
        self.kind = kind
        self.fhir_types = fhir_types
        self.version = version
        self._fhir = dict(fhir_types)
        self._test = self._made(kind)

    def _key(self) -> tuple[Any, ...]:
        return self.kind, self.fhir_types, self.version

    def __reduce__(self) -> tuple[Any, ...]:
        return TypeOfValue, self._key()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeOfValue) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self.kind)

    def __str__(self) -> str:
        return str(self.kind)

    def __call__(self, value: Any) -> bool:
        return value is not None and self._test(value)

    def _made(self, kind: Type) -> Callable[[Any], bool]:
        if isinstance(kind, Named):
            return self._named(kind.name)
        if isinstance(kind, ListType):
            element = self._made(kind.element)
            return lambda value: value.__class__ is list and all(x is None or element(x) for x in value)
        if isinstance(kind, IntervalType):
            point = kind.point.name.removeprefix("System.") if isinstance(kind.point, Named) else ""
            return lambda value: value.__class__ is Interval and value.point in (point, "Any")
        if isinstance(kind, TupleType):
            names = {name for name, _ in kind.elements}
            return lambda value: value.__class__ is Tuple and names == set(value)
        assert isinstance(kind, ChoiceType)
        options = [self._made(option) for option in kind.options]
        return lambda value: any(option(value) for option in options)

    def _named(self, name: str) -> Callable[[Any], bool]:
        namespace, _, short = name.partition(".")
        if namespace == "System":
            if short == "Any":
                return lambda value: True
            classes = _CLASSES[short]
            return lambda value: value.__class__ in classes
        wanted = self._fhir.get(name, short)
        model = load_model(self.version)

        def test(value: Any) -> bool:
            if value.__class__ is Element:
                found = value.type
            elif value.__class__ is dict:
                found = value.get("resourceType", "")
            else:
                return False
            return found == wanted or model.is_subtype(found, wanted)

        return test


def as_type(value: Any, test: TypeOfValue) -> Any:
    """`value as T`: null where it is not of the type."""
    return value if test(value) else None


def cast_to(value: Any, test: TypeOfValue) -> Any:
    """`cast value as T`. Raises EvaluationError `cast` where it is not of the type."""
    if value is None or test(value):
        return value
    raise EvaluationError("cast", f"cast as {test}: the value is of another type: {value!r}")
