"""Static types: names, subtypes, implicit conversions, and the choice of an overload.

The rules are the specifications' (FHIRPath: "Types", "Conversion"; CQL: "Implicit Conversions"): an exact match beats a subtype,
which beats a conversion.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from fhir_eligibility.algebra.operators.registry import Operator, Overload
from fhir_eligibility.algebra.values.element import SYSTEM_TYPE
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.shapes import ANY_NAME

SYSTEM_NAMES = (
    "Any",
    "Boolean",
    "Integer",
    "Long",
    "Decimal",
    "String",
    "Date",
    "DateTime",
    "Time",
    "Quantity",
)

# Implicit conversions between System types and their cost.
_WIDENING: dict[tuple[str, str], int] = {
    ("Integer", "Long"): 2,
    ("Integer", "Decimal"): 3,
    ("Long", "Decimal"): 3,
    ("Integer", "Quantity"): 4,
    ("Long", "Quantity"): 4,
    ("Decimal", "Quantity"): 4,
    ("Date", "DateTime"): 2,
}


def system_of(type_name: str) -> str | None:
    """The System type (short name) that operators see of a qualified type, or None for complex FHIR types."""
    namespace, _, name = type_name.partition(".")
    if namespace == "System":
        return name
    return SYSTEM_TYPE.get(name)


def conversion_cost(source: str, target: str) -> int | None:
    """Cost of converting System type `source` to `target` implicitly (0: same), None where it cannot be."""
    if source == target or target in ("Any", "T"):
        return 0
    return _WIDENING.get((source, target))


def argument_cost(source: str, parameter: str, overload: Overload) -> int | None:
    """As `conversion_cost`, for one operand of an overload: a bare number is no duration that could move a date."""
    if parameter == "Quantity" and source != "Quantity" and _TEMPORAL & set(overload.parameters):
        return None
    return conversion_cost(source, parameter)


_TEMPORAL = {"Date", "DateTime", "Time"}


def is_static(node: Node) -> bool:
    """Whether the System type of a node's value is known at compile time."""
    return node.type is not None and system_of(node.type) is not None


class ChosenOverload(Struct, frozen=True):
    """The overload chosen for a call and the System type of each operand before conversion."""

    overload: Overload
    sources: tuple[str, ...]


def resolve(operator: Operator, operands: list[Node]) -> ChosenOverload | None:
    """The cheapest overload for statically typed operands; null literals fit anything. None where nothing fits."""
    best: tuple[int, ChosenOverload] | None = None
    sources = tuple((system_of(o.type) or "?") if o.type is not None else "?" for o in operands)
    for overload in operator.of("fhirpath"):
        if len(overload.parameters) != len(operands):
            continue
        cost = 0
        for operand, source, parameter in zip(operands, sources, overload.parameters, strict=True):
            if operand.is_null or not operand.types:
                continue
            step = argument_cost(source, parameter, overload)
            if step is None:
                break
            cost += step
        else:
            if best is None or cost < best[0]:
                best = (cost, ChosenOverload(overload, sources))
    return best[1] if best else None


def arity(operator: Operator) -> tuple[int, int]:
    """Fewest and most operands that an operator takes."""
    counts = [len(overload.parameters) for overload in operator.of("fhirpath")]
    return min(counts), max(counts)


def describe(node: Node) -> str:
    """The static type of a node in words, for messages."""
    if not node.types:
        return "empty"
    if ANY_NAME in node.types:
        name = "any type"
    else:
        name = " or ".join(t.removeprefix("FHIR.") for t in node.types[:4]) + (" or ..." if len(node.types) > 4 else "")
    return f"a collection of {name}" if node.many else name


def merge(*groups: tuple[str, ...]) -> tuple[str, ...]:
    """The types of a mixed collection."""
    merged: dict[str, Any] = {}
    for group in groups:
        for name in group:
            if name == ANY_NAME:
                return (ANY_NAME,)
            merged[name] = None
    return tuple(merged) if len(merged) <= 60 else (ANY_NAME,)
