"""What a definition uses: retrieves with their codes, elements of resources, value sets, parameters, other definitions.

Derived from the typed nodes of each definition, so that the data requirements of a criterion are those of what it reaches, and no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from engine.algebra.clinical import Code, Concept, ValueSet, codes_of
from engine.algebra.diagnostic import Span
from engine.compiler.cql.retrieving import RetrieveSpec, codes_and_context
from engine.compiler.cql.types import ChoiceType, ListType, Named, Type, TypeSystem
from engine.compiler.dates import Restriction, restricted_retrieves
from engine.compiler.elm import Node


@dataclass(frozen=True, slots=True)
class Retrieval:
    """One retrieve: what it asks for, and the value set, codes and dates it is filtered by, where they are known before it runs.

    `related` tells that it asks for the data of another patient.
    """

    spec: RetrieveSpec
    value_set: ValueSet | None
    codes: tuple[Code, ...]
    span: Span | None
    related: bool = False
    dates: tuple[Restriction, ...] = ()


@dataclass(slots=True)
class Uses:
    """What one definition uses itself. `calls` are definitions as (library key, Python name)."""

    name: str
    retrievals: list[Retrieval] = field(default_factory=list)
    elements: set[tuple[str, str]] = field(default_factory=set)
    value_sets: list[tuple[ValueSet, Span | None]] = field(default_factory=list)
    calls: set[tuple[str, str]] = field(default_factory=set)
    whole: set[str] = field(default_factory=set)


def uses_of(name: str, node: Node | None, types: TypeSystem) -> Uses:
    """What the node of a definition uses."""
    found = Uses(name)
    dates = restricted_retrieves(node) if node is not None else {}
    for below in node.walk() if node is not None else ():
        kind = below.kind
        if kind == "Retrieve":
            found.retrievals.append(_retrieval(below, dates.get(id(below), ())))
        elif kind == "ModelProperty":
            for owner in _resource_types(below.operands[0].result, types):
                found.elements.add((owner, below.attrs["path"]))
        elif kind == "ValueSetRef":
            found.value_sets.append((below.attrs["exported"].value, below.span))
        elif kind in ("ExpressionRef", "ParameterRef", "FunctionRef"):
            exported = below.attrs["exported"]
            if exported.python:
                found.calls.add((exported.owner, exported.python))
        elif kind == "Descendents" or (kind == "Property" and below.attrs.get("dynamic")):
            found.whole.update(_resource_types(below.operands[0].result, types) or ("*",))
    return found


def _retrieval(node: Node, dates: tuple[Restriction, ...]) -> Retrieval:
    value_set: ValueSet | None = None
    codes: list[Code] = []
    operand, context = codes_and_context(node)
    for value in _values(operand) if operand is not None else ():
        if isinstance(value, ValueSet):
            value_set = value
        elif isinstance(value, (Code, Concept)):
            codes.extend(c for c in codes_of(value) if c is not None)
    return Retrieval(node.attrs["spec"], value_set, tuple(codes), node.span, context is not None, dates)


def _values(node: Node) -> Iterable[Any]:
    """Terminology that an operand stands for, as far as it is known at compile time."""
    if node.kind in ("CodeRef", "ConceptRef", "ValueSetRef"):
        yield node.attrs["exported"].value
    elif node.kind == "Literal":
        yield node.attrs["value"]
    else:
        for operand in node.operands:
            yield from _values(operand)


def _resource_types(kind: Type, types: TypeSystem) -> set[str]:
    if isinstance(kind, ChoiceType):
        return {name for option in kind.options for name in _resource_types(option, types)}
    if isinstance(kind, ListType):
        return _resource_types(kind.element, types)
    if isinstance(kind, Named):
        namespace, _, short = kind.name.partition(".")
        model = types.models.get(namespace)
        if model is not None and not model.is_raw(short):
            found = model.fhir_type(short)
            return {found} if found else set()
    return set()
