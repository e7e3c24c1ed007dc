"""What emitters are registered by: the class of a node, or the name of a registered operator."""

from __future__ import annotations

from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node

Key = type[Node] | str


def key(node: Node) -> Key:
    """What the emitter of a node is registered by."""
    return node.name if node.__class__ is n.Operation else node.__class__
