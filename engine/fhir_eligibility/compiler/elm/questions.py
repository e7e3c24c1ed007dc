"""Expressions that ask something (`value > 3`): where they have no answer, they give no item, and a collection of them lacks one.

What an author makes of such a collection (`rows.select(value > 3).count() = 2`) hangs on what the answer would have been: the item that is not
there is in doubt, as a row is that a condition without an answer drops. Elements of the data (`active`) ask nothing: one that is not there is not there.
"""

from __future__ import annotations

from collections.abc import Mapping

from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node

# Single values that are those of an operand, whatever it is.
_HANDED_ON = frozenset("First Last SingletonFrom Distinct Box TraceStep Let Condition".split())
_OF_THE_DATA = frozenset(
    "Literal Null Context Current Iteration Total Parameter Retrieve Resolve ElementId Present".split()
)
_CONVERSIONS = frozenset(("ToBoolean",))
_NAMES = (n.Current, n.Iteration, n.Total)
Bound = Mapping[int, Node]


def bound_in(root: Node) -> dict[int, Node]:
    """The expressions that the variables of a tree stand for, by their number."""
    found = {}
    for node in root.walk():
        if isinstance(node, n.Let):
            found[node.source], found[node.number] = node.operands
        elif isinstance(node, n.Bind):
            found[node.number] = node.operands[0]
    return found


def is_question(node: Node, bound: Bound) -> bool:
    """Whether a node asks something that is true or false; `bound` are the expressions that variables stand for."""
    if node.many:
        return False
    if node.kind in _HANDED_ON:
        return is_question(node.operands[0], bound)
    if isinstance(node, n.Reference):
        value = bound.get(node.number)
        return value is not None and is_question(value, bound)
    if isinstance(node, (n.If, n.Bind)):
        return any(is_question(operand, bound) for operand in node.operands[1:])
    if isinstance(node, n.Coalesce):
        return all(is_question(operand, bound) for operand in node.operands)
    if node.types != ("System.Boolean",) or node.kind in _OF_THE_DATA:
        return False
    overload = n.overload_of(node)
    if overload is not None:
        return overload.operator not in _CONVERSIONS
    return not node.about.hands_on and node.about.step is None


def rows_of(node: Node, bound: Bound) -> dict[int, Node]:
    """The rows of enclosing scopes that the value of a node hangs on, by the number of the scope."""
    inner = {below.scope for below in node.walk() if isinstance(below, (n.ItemStep, n.TraceStep))}
    found: dict[int, Node] = {}
    for below in node.walk():
        if isinstance(below, _NAMES) and below.scope not in inner:
            found.setdefault(below.scope, below)
        elif isinstance(below, n.Reference) and below.number in bound:
            for scope, row in rows_of(bound[below.number], bound).items():
                if scope not in inner:
                    found.setdefault(scope, row)
    return found
