"""Coded forms find codes of a code system in whatever known way the data spells its address.

A pass over the ELM of a coded form: the text that people read names the canonical address. What authors write themselves is not touched.
"""

from __future__ import annotations

from msgspec.structs import replace

from fhir_eligibility.algebra.values.code_systems import spellings
from fhir_eligibility.compiler.elm.nodes import Node


def with_spellings(node: Node) -> Node:
    """Retrieves and comparisons with the address of a known code system are met by its other spellings, too."""
    operands = tuple(with_spellings(operand) for operand in node.operands)
    if any(new is not old for new, old in zip(operands, node.operands, strict=True)):
        node = replace(node, operands=operands)
    if node.kind == "Retrieve" and node.attrs.get("codes"):
        ways = [[way, code] for system, code in node.attrs["codes"] for way in spellings(system)[1:]]
        return replace(node, attrs={**node.attrs, "spellings": ways}) if ways else node
    if node.kind != "Equal" or not _is_system(node.operands[0]) or node.operands[1].kind != "Literal":
        return node
    element, literal = node.operands
    others = [
        replace(literal, attrs={**literal.attrs, "value": way}) for way in spellings(str(literal.attrs["value"]))[1:]
    ]
    if not others:
        return node
    listed = others[0]
    for other in others[1:]:
        listed = Node("Union", (listed, other), types=literal.types, many=True, span=node.span)
    also = Node("In", (element, listed), types=node.types, span=node.span)
    return Node("Or", (node, also), types=node.types, span=node.span)


def _is_system(node: Node) -> bool:
    """Whether a node is the element `system` of a Coding."""
    while node.kind == "ToSystem":
        node = node.operands[0]
    return node.kind == "Property" and node.attrs.get("path") == "system" and node.operands[0].type == "FHIR.Coding"
