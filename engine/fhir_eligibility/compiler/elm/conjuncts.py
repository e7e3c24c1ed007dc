"""The parts of a condition, and which of them tell what a record is about."""

from __future__ import annotations

from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node


def conjuncts(node: Node) -> list[Node]:
    """The parts of a condition joined by `and`."""
    if isinstance(node, n.And):
        return conjuncts(node.operands[0]) + conjuncts(node.operands[1])
    return [node]


# Elements that say what a record is about: a row that fails there is of another kind, not a near miss.
CODE_PATHS = frozenset(("code", "medication", "concept", "vaccineCode", "type"))


def tests_code(node: Node) -> bool:
    """Whether a clause tests what a record is about (its code), rather than something recorded about it."""
    return any(
        (isinstance(below, n.MemberOf) or (isinstance(below, n.Property) and below.path == "coding"))
        and _about(below.operands[0])
        for below in node.walk()
    )


def _about(node: Node) -> bool:
    if isinstance(node, (n.Property, n.DynamicProperty)):
        return node.path in CODE_PATHS
    return bool(node.operands) and any(_about(operand) for operand in node.operands)
