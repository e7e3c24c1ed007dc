"""Whether a tree reads the time of evaluation."""

from __future__ import annotations

from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node


def reads_clock(root: Node) -> bool:
    """Whether a tree reads the time of evaluation; an operator that is given the environment counts as reading it unless it is known not to."""
    for node in root.walk():
        if isinstance(node, (n.Now, n.Today, n.TimeOfDay)):
            return True
        if isinstance(node, n.Operation) and node.overload.context and node.traits.clock:
            return True
    return False
