"""How the value of a definition moves when rows in doubt are kept: up, down, not at all, or no one knows.

A list moves up where it only gains elements, a Boolean where it only goes from false over null to true, a count where it only rises. A criterion that
moves one way has its extremes with none and with all of the doubtful rows kept, so that two runs settle it. Derived from the typed nodes alone; what is
not understood is `MIXED`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from engine.compiler.elm import Node

CONSTANT, GROWS, FALLS, MIXED = "constant", "grows", "falls", "mixed"
# Growth of a definition: that of its value where the operands of a function are constant, and where they grow.
Growth = tuple[str, str]
Known = Callable[[str, str], Growth]
UNKNOWN: Growth = (MIXED, MIXED)

# Kinds whose value moves as their operands do, where all of these move the same way.
_SAME_WAY = frozenset("And Or Exists Union Distinct Flatten IsTrue Count AnyTrue Intersect".split())
_OPPOSITE = {GROWS: FALLS, FALLS: GROWS, CONSTANT: CONSTANT, MIXED: MIXED}
_REFERENCES = frozenset(("ExpressionRef", "FunctionRef", "ParameterRef"))


def together(growths: Iterable[str]) -> str:
    """The growth of what moves as all of its parts do."""
    found = {growth for growth in growths if growth != CONSTANT}
    return CONSTANT if not found else found.pop() if len(found) == 1 else MIXED


class GrowthFinder:
    """Growth of nodes; `known` tells that of the definitions that they refer to, `operand` that of a function's operands.

    `nullable` tells whether a node may have no value: a condition that always has one leaves no row in doubt.
    """

    def __init__(self, known: Known, nullable: Callable[[Node], bool], operand: str = CONSTANT) -> None:
        self.known = known
        self.nullable = nullable
        self.operand = operand

    def of(self, node: Node) -> str:
        """The growth of a node's value."""
        kind = node.kind
        if kind == "OperandRef":
            return self.operand
        if kind in _REFERENCES:
            return self.reference(node)
        if kind == "Query":
            return self.query(node.attrs)
        parts = [self.of(child) for child in node.children]
        if kind == "Retrieve":
            return GROWS if parts and together(parts) == CONSTANT else CONSTANT if not parts else MIXED
        if kind in ("If", "Case"):
            return self.choice(node)
        if together(parts) == CONSTANT:
            return CONSTANT
        if kind in _SAME_WAY:
            return together(parts)
        if kind == "Not":
            return _OPPOSITE[parts[0]]
        if len(parts) != 2:
            return MIXED
        left, right = parts
        if kind in ("Greater", "GreaterOrEqual", "Except"):
            return together((left, _OPPOSITE[right]))
        if kind in ("Less", "LessOrEqual", "Implies"):
            return together((_OPPOSITE[left], right))
        if kind in ("In", "Contains"):
            item, items = parts if kind == "In" else (right, left)
            return items if item == CONSTANT else MIXED
        return MIXED

    def choice(self, node: Node) -> str:
        """A condition without an answer is a doubt, and either branch may be the greater."""
        conditions = [*node.operands[:-1:2], *node.attrs.get("_children", ())]
        if any(self.of(c) != CONSTANT or self.nullable(c) for c in node.operands[:-1:2]):
            return MIXED
        if together(self.of(c) for c in conditions) != CONSTANT:
            return MIXED
        return together(self.of(branch) for branch in (*node.operands[1:-1:2], node.operands[-1]))

    def condition(self, node: Node) -> str:
        """The growth of a filter by a condition: one that may have no answer keeps more rows where it is a doubt."""
        return together((self.of(node), GROWS if self.nullable(node) else CONSTANT))

    def reference(self, node: Node) -> str:
        exported = node.attrs["exported"]
        if node.kind == "ParameterRef" or not exported.python:
            return CONSTANT
        plain, growing = self.known(exported.owner, exported.python)
        given = together(self.of(operand) for operand in node.operands)
        return plain if given == CONSTANT else growing if given == GROWS else MIXED

    def query(self, attrs: dict[str, Any]) -> str:
        sources = together(self.of(source["node"]) for source in attrs["sources"])
        lets = together(self.of(let["node"]) for let in attrs.get("lets") or ())
        shaping = [attrs.get("ret"), *(item["key"] for item in attrs.get("sort") or ())]
        fixed = together(self.of(node) for node in shaping if node is not None)
        where, relations = attrs.get("where"), attrs.get("relations") or ()
        if attrs.get("aggregate") is not None:
            folded = together(self.of(n) for n in attrs["aggregate"].values() if isinstance(n, Node))
            free = where is None and not relations
            return CONSTANT if free and together((sources, lets, fixed, folded)) == CONSTANT else MIXED
        if together((lets, fixed)) != CONSTANT:
            return MIXED
        if where is None and not relations:
            return sources if attrs["many"] or sources == CONSTANT else MIXED
        tests = [sources] + ([self.condition(where)] if where is not None else [])
        for relation in relations:
            related = together((self.of(relation["node"]), self.condition(relation["condition"])))
            tests.append(related if relation["kind"] == "with" else _OPPOSITE[related])
        found = together(tests)
        return found if attrs["many"] or found == CONSTANT else MIXED


def growths_of(
    nodes: dict[str, Node], owner: str, included: Known, nullable: Callable[[Node], bool]
) -> dict[str, Growth]:
    """The growth of all definitions of a library, by Python name. `included` tells that of other libraries' definitions."""
    found: dict[str, Growth] = {}

    def known(of: str, python: str) -> Growth:
        if of != owner:
            return included(of, python)
        if python not in found:
            node = nodes.get(python)
            found[python] = UNKNOWN  # while it is looked at
            if node is not None:
                found[python] = (
                    GrowthFinder(known, nullable).of(node),
                    GrowthFinder(known, nullable, GROWS).of(node),
                )
        return found[python]

    for python in nodes:
        known(owner, python)
    return found
