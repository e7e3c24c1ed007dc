"""A tree of FHIRPath as JSON, in the manner of ELM JSON, for people to read."""

from __future__ import annotations

from typing import Any

from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node


def to_json(node: Node) -> dict[str, Any]:
    """A node as a JSON object: `type`, result type, operands and what else it has."""
    out: dict[str, Any] = {"type": node.kind}
    result = " | ".join(node.types) or "System.Any"
    out["resultTypeName"] = f"List<{result}>" if node.many else result
    if node.span is not None:
        out["locator"] = f"{node.span.start}-{node.span.end}"
    for key, value in () if isinstance(node, n.Operation) else node.given():
        if value in (None, (), False, "") or isinstance(value, Node):
            continue
        out[key] = (
            value
            if isinstance(value, (str, int, bool, dict))
            else list(value)
            if isinstance(value, tuple)
            else str(value)
        )
    if node.operands:
        operands = [to_json(operand) for operand in node.operands]
        out["operand"] = operands[0] if len(operands) == 1 else operands
    return out
