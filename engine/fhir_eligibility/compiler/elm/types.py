"""The types of CQL and how they relate: subtypes, implicit conversions, type variables (CQL: "Type System", "Conversion Precedence").

A type is named (`System.Integer`, `FHIR.Patient`), or a list, interval, choice or tuple of types. `Var` stands for the `T` of a signature.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from msgspec import Struct

from fhir_eligibility.algebra.values.element import SYSTEM_TYPE

MAX_PARTS = 10_000
"""How many types one type may be made of, itself included: each of a definition's types can hold that of another twice."""
MAX_LEVELS = 200
"""How deeply types may stand in each other."""
SMALLER = "give only the elements that are needed, or an element in place of a tuple in a tuple"


class TypeTooLarge(Exception):
    """A type of more parts or levels than a type may have."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """A type made of others. Raises TypeTooLarge where it is made of too many."""

    parts: int = field(init=False, repr=False, compare=False)
    levels: int = field(init=False, repr=False, compare=False)

    def measure(self, inside: Iterable[Any]) -> None:
        """Count the types that this one is made of, in a time that does not depend on how large they are."""
        parts, levels = 1, 1
        for kind in inside:
            measured = isinstance(kind, _Measured)
            parts += kind.parts if measured else 1
            levels = max(levels, kind.levels + 1 if measured else 1)
        if parts > MAX_PARTS:
            raise TypeTooLarge(f"its type is made of more than {MAX_PARTS:,} types")
        if levels > MAX_LEVELS:
            raise TypeTooLarge(f"its type is nested more than {MAX_LEVELS} levels deep")
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "levels", levels)


class Named(Struct, frozen=True):
    """A simple or class type by its qualified name."""

    name: str

    def __str__(self) -> str:
        return self.name.removeprefix("System.")


@dataclass(frozen=True, slots=True)
class ListType(_Measured):
    """`List<element>`."""

    element: Type

    def __post_init__(self) -> None:
        self.measure((self.element,))

    def __str__(self) -> str:
        return f"List<{self.element}>"


@dataclass(frozen=True, slots=True)
class IntervalType(_Measured):
    """`Interval<point>`."""

    point: Type

    def __post_init__(self) -> None:
        self.measure((self.point,))

    def __str__(self) -> str:
        return f"Interval<{self.point}>"


@dataclass(frozen=True, slots=True)
class ChoiceType(_Measured):
    """`Choice<A, B>`; options are never choices themselves."""

    options: tuple[Type, ...]

    def __post_init__(self) -> None:
        self.measure(self.options)

    def __str__(self) -> str:
        return f"Choice<{', '.join(map(str, self.options))}>"


@dataclass(frozen=True, slots=True)
class TupleType(_Measured):
    """`Tuple { name T }`, elements in the author's order."""

    elements: tuple[tuple[str, Type], ...]

    def __post_init__(self) -> None:
        self.measure([kind for _, kind in self.elements])

    def __str__(self) -> str:
        return f"Tuple {{ {', '.join(f'{name} {kind}' for name, kind in self.elements)} }}"

    def element(self, name: str) -> Type | None:
        """The type of one element."""
        return next((kind for key, kind in self.elements if key == name), None)


class Var(Struct, frozen=True):
    """A type variable of a signature."""

    name: str

    def __str__(self) -> str:
        return self.name


Type = Named | ListType | IntervalType | ChoiceType | TupleType | Var


def system(name: str) -> Named:
    """A System type by its short name."""
    return Named(f"System.{name}")


ANY, BOOLEAN, INTEGER, LONG, DECIMAL, STRING = map(system, ("Any", "Boolean", "Integer", "Long", "Decimal", "String"))
DATE, DATETIME, TIME, QUANTITY, RATIO = map(system, ("Date", "DateTime", "Time", "Quantity", "Ratio"))
CODE, CONCEPT, VALUESET, CODESYSTEM, VOCABULARY = map(
    system, ("Code", "Concept", "ValueSet", "CodeSystem", "Vocabulary")
)
SYSTEM_TYPES = {
    t.name.removeprefix("System."): t
    for t in (
        ANY, BOOLEAN, INTEGER, LONG, DECIMAL, STRING, DATE, DATETIME, TIME, QUANTITY, RATIO,
        CODE, CONCEPT, VALUESET, CODESYSTEM, VOCABULARY,
    )
}  # fmt: skip
TEMPORAL = (DATE, DATETIME, TIME)

# The elements of the System class types.
ELEMENTS: dict[str, dict[str, Type]] = {
    "System.Quantity": {"value": DECIMAL, "unit": STRING},
    "System.Ratio": {"numerator": QUANTITY, "denominator": QUANTITY},
    "System.Code": {"code": STRING, "system": STRING, "version": STRING, "display": STRING},
    "System.Concept": {"codes": ListType(CODE), "display": STRING},
    "System.ValueSet": {"id": STRING, "version": STRING, "name": STRING, "codesystems": ListType(CODESYSTEM)},
    "System.CodeSystem": {"id": STRING, "version": STRING, "name": STRING},
    "System.Vocabulary": {"id": STRING, "version": STRING, "name": STRING},
}

_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9.]*|[<>,]")


@lru_cache(maxsize=4096)
def signature_type(text: str) -> Type:
    """A type in the notation of operator signatures: `List<Interval<T>>`, `Integer`."""
    tokens = _TOKEN.findall(text)
    position = 0

    def one() -> Type:
        nonlocal position
        name = tokens[position]
        position += 1
        if name in ("List", "Interval"):
            position += 1
            inner = one()
            position += 1
            return ListType(inner) if name == "List" else IntervalType(inner)
        return Var(name) if len(name) == 1 else system(name)

    return one()


def choice(*options: Type) -> Type:
    """The choice of several types, flattened; the type itself where it is only one; Any swallows all."""
    found: dict[Type, None] = {}
    for option in options:
        for one in option.options if isinstance(option, ChoiceType) else (option,):
            if one == ANY:
                continue
            found[one] = None
    if not found:
        return ANY
    return next(iter(found)) if len(found) == 1 else ChoiceType(tuple(found))


_CLASS_TYPES = (QUANTITY, RATIO, CODE, CONCEPT, VALUESET, CODESYSTEM, VOCABULARY)


def precedence(kind: Type) -> int:
    """The rank of a type where several fit equally well, the lowest first (CQL: "Conversion Precedence")."""
    if isinstance(kind, Named):
        return 2 if kind in _CLASS_TYPES or not kind.name.startswith("System.") else 0
    return {TupleType: 1, IntervalType: 3, ListType: 4, ChoiceType: 5}.get(kind.__class__, 0)


def has_any(kind: Type) -> bool:
    """Whether a type holds Any somewhere: the type of a null, or of an empty list."""
    if isinstance(kind, ListType):
        return has_any(kind.element)
    if isinstance(kind, IntervalType):
        return has_any(kind.point)
    if isinstance(kind, TupleType):
        return any(has_any(part) for _, part in kind.elements)
    return kind == ANY


def substitute(kind: Type, bindings: dict[str, Type]) -> Type:
    """A type with its variables replaced; unbound ones become Any."""
    if isinstance(kind, Var):
        return bindings.get(kind.name, ANY)
    if isinstance(kind, ListType):
        return ListType(substitute(kind.element, bindings))
    if isinstance(kind, IntervalType):
        return IntervalType(substitute(kind.point, bindings))
    return kind


class ModelTypes(Protocol):
    """What is asked of a model (`compiler.cql.models`)."""

    fhir: Any

    def base(self, name: str) -> Type | None: ...
    def has_type(self, name: str) -> bool: ...
    def labelled(self, label: str) -> str | None: ...
    def is_raw(self, name: str) -> bool: ...
    def is_primitive(self, name: str) -> bool: ...
    def fhir_type(self, name: str) -> str | None: ...
    def element(self, name: str, element: str) -> Any: ...
    def element_names(self, name: str) -> list[str]: ...
    def type_names(self) -> list[str]: ...
    def retrievable(self, name: str) -> Any: ...


class Conversion(Struct, frozen=True):
    """How a value of one type becomes one of another, and what it costs.

    `kind`: same, upcast, as (a cast that may give null), operator (`operator` names it), model (FHIR to System), list, interval,
    demote (singleton from), promote (a list of one), members (of a choice, each converted).
    """

    cost: int
    kind: str
    target: Type
    operator: str = ""
    inner: Conversion | None = None
    source: Type | None = None


_IMPLICIT: dict[tuple[Type, Type], tuple[int, str]] = {
    (INTEGER, LONG): (4, "ToLong"),
    (INTEGER, DECIMAL): (5, "ToDecimal"),
    (LONG, DECIMAL): (5, "ToDecimal"),
    (INTEGER, QUANTITY): (8, "ToQuantity"),
    (LONG, QUANTITY): (8, "ToQuantity"),
    (DECIMAL, QUANTITY): (7, "ToQuantity"),
    (DATE, DATETIME): (5, "ToDateTime"),
    (CODE, CONCEPT): (5, "ToConcept"),
    (VALUESET, ListType(CODE)): (6, "ExpandValueSet"),
}
# FHIR types and the System types that they convert to (what FHIRHelpers does).
MODEL_CONVERSIONS: dict[str, Type] = {
    **{name: system(to) for name, to in SYSTEM_TYPE.items()},
    "Coding": CODE,
    "CodeableConcept": CONCEPT,
    "Period": IntervalType(DATETIME),
    "Range": IntervalType(QUANTITY),
    "Ratio": RATIO,
}


class TypeSystem:
    """Subtypes and conversions, with the models that a library uses."""

    def __init__(
        self, models: dict[str, ModelTypes] | None = None, *, list_demotion: bool = False, list_promotion: bool = False
    ) -> None:
        self.models = models or {}
        self.list_demotion = list_demotion
        self.list_promotion = list_promotion
        self._cache: dict[tuple[Type, Type], Conversion | None] = {}

    def base(self, kind: Named) -> Type:
        """The type that a named type descends from directly."""
        namespace, _, name = kind.name.partition(".")
        if kind in (VALUESET, CODESYSTEM):
            return VOCABULARY
        model = self.models.get(namespace)
        return (model.base(name) if model is not None else None) or ANY

    def is_subtype(self, kind: Type, ancestor: Type) -> bool:
        """Whether a value of a type is one of another as it is."""
        if kind == ancestor or ancestor == ANY:
            return True
        if isinstance(kind, Named):
            while isinstance(kind, Named) and kind != ANY:
                if kind == ancestor:
                    return True
                kind = self.base(kind)
            return False
        if isinstance(kind, ListType) and isinstance(ancestor, ListType):
            return self.is_subtype(kind.element, ancestor.element)
        if isinstance(kind, IntervalType) and isinstance(ancestor, IntervalType):
            return self.is_subtype(kind.point, ancestor.point)
        if isinstance(kind, TupleType) and isinstance(ancestor, TupleType):
            return len(kind.elements) == len(ancestor.elements) and all(
                (other := ancestor.element(name)) is not None and self.is_subtype(part, other)
                for name, part in kind.elements
            )
        if isinstance(kind, ChoiceType) and isinstance(ancestor, ChoiceType):
            return all(any(self.is_subtype(o, a) for a in ancestor.options) for o in kind.options)
        return False

    def conversion(self, source: Type, target: Type) -> Conversion | None:
        """The cheapest way from one type to another, None where there is no implicit one."""
        key = (source, target)
        if key not in self._cache:
            self._cache[key] = self._find(source, target)
        return self._cache[key]

    def _find(self, source: Type, target: Type) -> Conversion | None:
        if source == target:
            return Conversion(0, "same", target)
        if source == ANY:
            return Conversion(2, "as", target)
        if target == ANY:
            return Conversion(1, "upcast", target, source=source)
        if isinstance(source, ChoiceType):
            return self._from_choice(source, target)
        if isinstance(target, ChoiceType):
            return self._to_choice(source, target)
        if self.is_subtype(source, target):
            return Conversion(1, "upcast", target, source=source)
        implicit = _IMPLICIT.get((source, target))
        if implicit is not None:
            return Conversion(implicit[0], "operator", target, implicit[1])
        if isinstance(source, ListType) and isinstance(target, ListType):
            return self._inside("list", source.element, target.element, target)
        if isinstance(source, IntervalType) and isinstance(target, IntervalType):
            return self._inside("interval", source.point, target.point, target)
        if isinstance(source, TupleType) and isinstance(target, TupleType):
            return self._tuples(source, target)
        found = self._from_model(source, target)
        if found is None and self.list_demotion and isinstance(source, ListType):
            inner = self.conversion(source.element, target)
            found = Conversion(20 + inner.cost, "demote", target, inner=inner) if inner else None
        if found is None and self.list_promotion and isinstance(target, ListType):
            inner = self.conversion(source, target.element)
            found = Conversion(20 + inner.cost, "promote", target, inner=inner) if inner else None
        return found

    def _inside(self, kind: str, source: Type, target: Type, whole: Type) -> Conversion | None:
        inner = self.conversion(source, target)
        if inner is None:
            return None
        if inner.kind in ("same", "upcast") or (inner.kind == "as" and source == ANY):
            return Conversion(inner.cost, "retype", whole, inner=inner)
        return Conversion(inner.cost + 1, kind, whole, inner=inner)

    def _tuples(self, source: TupleType, target: TupleType) -> Conversion | None:
        if {name for name, _ in source.elements} != {name for name, _ in target.elements}:
            return None
        cost = 0
        for name, part in source.elements:
            other = target.element(name)
            inner = self.conversion(part, other) if other is not None else None
            if inner is None or inner.kind not in ("same", "upcast", "as", "retype"):
                return None
            cost = max(cost, inner.cost)
        return Conversion(cost, "retype", target)

    def _from_choice(self, source: ChoiceType, target: Type) -> Conversion | None:
        if isinstance(target, ChoiceType):
            if self.is_subtype(source, target):
                return Conversion(1, "upcast", target, source=source)
            reachable = [o for o in source.options if self.conversion(o, target) is not None]
            return Conversion(3, "upcast", target, source=source) if reachable else None
        found = [(option, step) for option in source.options if (step := self.conversion(option, target)) is not None]
        if not found:
            return None
        plain = all(step.kind in ("same", "upcast") for _, step in found)
        return Conversion(3 + min(step.cost for _, step in found), "as" if plain else "members", target, source=source)

    def _to_choice(self, source: Type, target: ChoiceType) -> Conversion | None:
        best: Conversion | None = None
        for option in target.options:
            step = self.conversion(source, option)
            if step is not None and (best is None or step.cost < best.cost):
                best = Conversion(step.cost, "to_choice", target, inner=step, source=source)
        if best is None or best.inner is None:
            return None
        if best.inner.kind in ("same", "upcast"):
            return Conversion(1 + best.cost, "upcast", target, source=source)
        return Conversion(1 + best.cost, "to_choice", target, inner=best.inner, source=source)

    def _from_model(self, source: Type, target: Type) -> Conversion | None:
        step = self.unwrapped(source)
        if step is None:
            return None
        if step == target:
            return Conversion(5, "model", target, source=source)
        further = self.conversion(step, target) if step != source else None
        if further is None or further.kind == "model":
            return None
        return Conversion(5 + further.cost, "model", target, inner=further, source=source)

    def unwrapped(self, kind: Type) -> Type | None:
        """The System type that a model's type converts to."""
        while isinstance(kind, Named) and not kind.name.startswith("System."):
            found = MODEL_CONVERSIONS.get(kind.name.partition(".")[2])
            if found is not None:
                return found
            kind = self.base(kind)
        return None

    # -- type variables

    def candidates(self, formal: Type, actual: Type, found: dict[str, list[Type]]) -> None:
        """Types that a variable of `formal` may stand for, given an operand's type."""
        if isinstance(formal, Var):
            if actual != ANY:
                wanted = found.setdefault(formal.name, [])
                unwrapped = self.unwrapped(actual)
                wanted.extend(t for t in (actual, unwrapped) if t is not None and t not in wanted)
                if isinstance(actual, ChoiceType):
                    options = [x for o in actual.options for x in (o, self.unwrapped(o)) if x is not None]
                    wanted.extend(o for o in dict.fromkeys(options) if o not in wanted)
            return
        if isinstance(actual, ChoiceType):
            for option in actual.options:
                self.candidates(formal, option, found)
            return
        if isinstance(formal, ListType):
            if isinstance(actual, ListType):
                self.candidates(formal.element, actual.element, found)
            elif self.list_promotion:
                self.candidates(formal.element, actual, found)
        elif isinstance(formal, IntervalType):
            if isinstance(actual, IntervalType):
                if actual.point == ANY and isinstance(formal.point, Var):
                    # an interval of nulls that stands first says that nothing is known of the points
                    found.setdefault(formal.point.name, []).append(ANY)
                self.candidates(formal.point, actual.point, found)
            else:
                unwrapped = self.unwrapped(actual)
                if isinstance(unwrapped, IntervalType):
                    self.candidates(formal.point, unwrapped.point, found)

    def common(self, kinds: list[Type]) -> Type:
        """The type of values of several types side by side: one that all convert to without loss, else a choice."""
        found: Type = ANY
        for kind in kinds:
            if kind in (ANY, found):
                continue
            if found == ANY:
                found = kind
                continue
            # a list or interval of nulls, or an empty list, says nothing of the type: the other side tells
            first, second = (kind, found) if has_any(kind) and not has_any(found) else (found, kind)
            if self._widens(first, second):
                found = second
            elif self._widens(second, first):
                found = first
            else:
                found = choice(found, kind)
        return found

    def _widens(self, source: Type, target: Type) -> bool:
        if isinstance(source, ChoiceType) != isinstance(target, ChoiceType):
            if not isinstance(target, ChoiceType):
                return False
            fitting = has_any(source) and any(self._widens(source, option) for option in target.options)
            return fitting or self.is_subtype(ChoiceType((source,)), target)
        if isinstance(source, ChoiceType):
            return self.is_subtype(source, target)  # a choice that is only reached in part is not what all values are
        step = self.conversion(source, target)
        return step is not None and not _lossy(step)


def _lossy(step: Conversion) -> bool:
    if step.kind in ("demote", "promote", "model", "members"):
        return True
    if step.kind == "operator":
        return step.operator in ("ToQuantity", "ToConcept", "ExpandValueSet")
    return step.inner is not None and _lossy(step.inner)


def runtime_type(value: Any) -> str:
    """A word for the type of a value, for messages."""
    return type(value).__name__
