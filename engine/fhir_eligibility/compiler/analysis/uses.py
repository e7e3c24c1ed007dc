"""What a definition uses: retrieves with their codes, elements of resources, value sets, parameters, other definitions.

Derived from the typed nodes of each definition, so that the data requirements of a criterion are those of what it reaches, and no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct, field

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.algebra.values.clinical import Code, Concept, ValueSet, codes_of
from fhir_eligibility.compiler.analysis.clock import reads_clock
from fhir_eligibility.compiler.analysis.dates import Restriction, restricted_retrieves
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.types import ANY, ChoiceType, ListType, Named, TupleType, Type, TypeSystem
from fhir_eligibility.compiler.runtime.retrieving import RetrieveSpec, codes_and_context


class Retrieval(Struct, frozen=True):
    """One retrieve: what it asks for, and the value set, codes and dates it is filtered by, where they are known before it runs.

    `related` tells that it asks for the data of another patient.
    """

    spec: RetrieveSpec
    value_set: ValueSet | None
    codes: tuple[Code, ...]
    span: Span | None
    related: bool = False
    dates: tuple[Restriction, ...] = ()


class Uses(Struct):
    """What one definition uses itself. `calls` are definitions as (library key, Python name), `whole` resource types that are looked at as a whole, `*`
    for all. `clock` tells that it reads the time of evaluation.
    """

    name: str
    retrievals: list[Retrieval] = field(default_factory=list)
    elements: set[tuple[str, str]] = field(default_factory=set)
    value_sets: list[tuple[ValueSet, Span | None]] = field(default_factory=list)
    calls: set[tuple[str, str]] = field(default_factory=set)
    whole: set[str] = field(default_factory=set)
    clock: bool = False


def uses_of(name: str, node: Node | None, types: TypeSystem) -> Uses:
    """What the node of a definition uses."""
    found = Uses(name, clock=node is not None and reads_clock(node))
    dates = restricted_retrieves(node) if node is not None else {}
    for below in node.walk() if node is not None else ():
        if isinstance(below, n.ModelRetrieve):
            found.retrievals.append(_retrieval(below, dates.get(id(below), ())))
        elif isinstance(below, n.ModelProperty):
            for owner in _resource_types(below.operands[0].result, types):
                found.elements.add((owner, below.path))
        elif isinstance(below, n.ValueSetRef):
            found.value_sets.append((below.exported.value, below.span))
        elif isinstance(below, (n.ExpressionRef, n.ParameterRef, n.FunctionRef)):
            exported = below.exported
            if exported.python:
                found.calls.add((exported.owner, exported.python))
        found.whole.update(_looked_at(below, types))
    return found


def _retrieval(node: n.ModelRetrieve, dates: tuple[Restriction, ...]) -> Retrieval:
    value_set: ValueSet | None = None
    codes: list[Code] = []
    operand, context = codes_and_context(node)
    for value in _values(operand) if operand is not None else ():
        if isinstance(value, ValueSet):
            value_set = value
        elif isinstance(value, (Code, Concept)):
            codes.extend(c for c in codes_of(value) if c is not None)
    return Retrieval(node.spec, value_set, tuple(codes), node.span, context is not None, dates)


def _values(node: Node) -> Iterable[Any]:
    """Terminology that an operand stands for, as far as it is known at compile time."""
    if isinstance(node, (n.CodeRef, n.ConceptRef, n.ValueSetRef)):
        yield node.exported.value
    elif isinstance(node, n.Literal):
        yield node.value
    else:
        for operand in node.operands:
            yield from _values(operand)


def _looked_at(node: Node, types: TypeSystem) -> set[str]:
    """The resource types of operands that a node may look at as a whole: all, of a kind that is not known to do less.

    The instances of imaging studies are read only for those that look at them, so a series that is compared counts as a look at the study.
    """
    if isinstance(node, n.Query):
        returned = node.returned.result if node.returned is not None else node.result
        return {"ImagingStudy"} if node.distinct and _in_study(returned) else set()
    looks = n.traits_of(node).looks
    if looks == "counts" or not node.about.whole or (isinstance(node, n.ElementOf) and node.owner != "any"):
        return set()
    found: set[str] = set()
    for operand in node.children:
        if isinstance(operand, (n.Null, n.Literal)):
            continue
        if _in_study(operand.result):
            found.add("ImagingStudy")
        if looks != "compares":  # two resources are never equal unless type and id are, which are always read
            found |= {"*"} if _holds_any(operand.result) else _resource_types(operand.result, types)
    return found


def _in_study(kind: Type) -> bool:
    """Whether values of a type may be, or hold, parts of imaging studies."""
    return any(isinstance(x, Named) and ".ImagingStudy." in x.name for x in _within(kind))


def _within(kind: Type) -> Iterable[Type]:
    """A type and all that it is made of, but for intervals, which hold points alone."""
    yield kind
    parts: Iterable[Type] = ()
    if isinstance(kind, ChoiceType):
        parts = kind.options
    elif isinstance(kind, ListType):
        parts = (kind.element,)
    elif isinstance(kind, TupleType):
        parts = (element for _, element in kind.elements)
    for part in parts:
        yield from _within(part)


def _holds_any(kind: Type) -> bool:
    """Whether values of a type may be, or hold, values of any type."""
    return ANY in _within(kind)


def _resource_types(kind: Type, types: TypeSystem) -> set[str]:
    """The types of the resources that values of a type may be, or hold."""
    found: set[str] = set()
    for part in _within(kind):
        if isinstance(part, Named):
            namespace, _, short = part.name.partition(".")
            model = types.models.get(namespace)
            if model is not None and not model.is_raw(short):
                name = model.fhir_type(short)
                found |= {name} if name else set()
    return found
