"""Expressions that ask something (`value > 3`): where they have no answer, they give no item, and a collection of them lacks one.

What an author makes of such a collection (`rows.select(value > 3).count() = 2`) hangs on what the answer would have been: the item that is not
there is in doubt, as a row is that a condition without an answer drops. Elements of the data (`active`) ask nothing: one that is not there is not there.
"""

from __future__ import annotations

from collections.abc import Mapping

from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.types import BOOLEAN

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
    if isinstance(node, (n.First, n.Last, n.SingletonFrom, n.Distinct, n.Box, n.TraceStep, n.Let, n.Condition)):
        return is_question(node.operands[0], bound)
    if isinstance(node, n.Reference):
        value = bound.get(node.number)
        return value is not None and is_question(value, bound)
    if isinstance(node, (n.Iif, n.Bind)):
        return any(is_question(operand, bound) for operand in node.operands[1:])
    if isinstance(node, n.FirstCollection):
        return all(is_question(operand, bound) for operand in node.operands)
    if node.result != BOOLEAN or not node.operands or isinstance(node, n.Present):
        return False
    if isinstance(node, n.Operation):
        return not node.traits.same_value
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
