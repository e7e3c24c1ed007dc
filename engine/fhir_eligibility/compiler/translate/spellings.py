"""Coded forms find codes of a code system in whatever known way the data spells its address.

A pass over the ELM of a coded form: the text that people read names the canonical address. What authors write themselves is not touched.
"""

from __future__ import annotations

from msgspec.structs import replace

from fhir_eligibility.algebra.values.code_systems import spellings
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.shapes import shaped


def with_spellings(node: Node) -> Node:
    """Retrieves and comparisons with the address of a known code system are met by its other spellings, too."""
    operands = tuple(with_spellings(operand) for operand in node.operands)
    if any(new is not old for new, old in zip(operands, node.operands, strict=True)):
        node = replace(node, operands=operands)
    if isinstance(node, n.Retrieve) and node.codes:
        ways = tuple((way, code) for system, code in node.codes for way in spellings(system)[1:])
        return replace(node, spellings=ways) if ways else node
    if (
        not n.is_operation(node, "Equal")
        or not _is_system(node.operands[0])
        or not isinstance(node.operands[1], n.Literal)
    ):
        return node
    element, literal = node.operands
    assert isinstance(literal, n.Literal)
    others = [replace(literal, value=way) for way in spellings(str(literal.value))[1:]]
    if not others:
        return node
    listed: Node = others[0]
    for other in others[1:]:
        listed = n.Union((listed, other), span=node.span, result=shaped(literal.types, True))
    also = n.In((element, listed), span=node.span, result=shaped(node.types))
    return n.Or((node, also), span=node.span, result=shaped(node.types))


def _is_system(node: Node) -> bool:
    """Whether a node is the element `system` of a Coding."""
    while isinstance(node, n.ToSystem):
        node = node.operands[0]
    return isinstance(node, n.Property) and node.path == "system" and node.operands[0].type == "FHIR.Coding"
