"""Where the values of a comparison come from: the elements, and the expressions for the records that hold them.

Where a comparison has no answer, the reason names the record and the element that is missing (`ImagingStudy/x has no started`). What cannot be
followed to an element has no origin, and nothing is said of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from msgspec import Struct

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.types import ListType

# Elements of records; the elements of intervals, quantities and tuples are parts of a value, not of a record.
_ELEMENTS = (n.Property, n.DynamicProperty, n.ModelProperty)
_MOST = 8
_LONGEST = 80
_NONE: Mapping[int, Node] = MappingProxyType({})


class Origin(Struct, frozen=True):
    """One element that an operand is computed from.

    `operand` is the number of the operand, `path` the element below the record (`performed`, empty where the value itself is at hand), `type`
    the type of the record (`Procedure`), where it is known. `at_hand` tells that the record is handed over with what had no answer (None where
    there is no such record), `computed` that the operand is computed from the element and others. `span` is the author's text of the element.
    """

    operand: int
    path: str
    type: str | None
    at_hand: bool
    computed: bool
    span: Span | None


Bound = Mapping[int, Node]


def origins(
    operands: Sequence[Node], type_of: Callable[[Node], str | None], bound: Bound = _NONE, absent: Sequence[Node] = ()
) -> list[tuple[Node, Origin]]:
    """The origins of the operands of a comparison, each with the node of the record that holds it.

    `bound` are the expressions that values at hand (`Current`) stand for, by scope; `absent` those that are known to have no value where the
    comparison stands, so that null stands for them.
    """
    found: list[tuple[Node, Origin]] = []
    for number, operand in enumerate(operands):
        places = _of(operand, False, bound)
        if not places and any(below.is_null for below in operand.walk()):
            places = [one for source in absent for one in _of(source, False, bound)]
        for owner, path, span, computed in places:
            one = Origin(number, path, type_of(owner), is_at_hand(owner), computed, span)
            if len(found) < _MOST and all(one != other for _, other in found):
                found.append((owner, one))
    return found


def excerpt(text: str, span: Span) -> str:
    """The author's text at a place, in one line, shortened where it is long."""
    found = " ".join(text[span.start : span.end].split())
    return found if len(found) <= _LONGEST else f"{found[: _LONGEST - 3]}..."


def is_at_hand(owner: Node) -> bool:
    """Whether a record is at hand where a comparison of it stands: emitting it once more runs nothing again."""
    return _is_name(owner) and not (isinstance(owner, n.Reference) and owner.many)


def _is_name(node: Node) -> bool:
    return isinstance(
        node, (n.Current, n.Chosen, n.Context, n.Reference, n.AliasRef, n.QueryLetRef, n.OperandRef, n.ExpressionRef)
    )


def _has_same_value(node: Node) -> bool:
    """Whether a node gives the value of its operand in another type, or a part or a bound of it."""
    if isinstance(node, n.Operation):
        return node.traits.same_value
    conversions = (
        n.ToSystem,
        n.ModelConversion,
        n.OfType,
        n.As,
        n.Box,
        n.Unbox,
        n.ConvertInterval,
        n.Members,
        n.ToList,
        n.Condition,
    )
    return isinstance(node, (*conversions, *_ONE_ITEM))


def _is_one_of_its_items(node: Node) -> bool:
    return isinstance(node, _ONE_ITEM) or (n.traits_of(node).looks == "counts" and _has_same_value(node))


_ONE_ITEM = (n.First, n.Last, n.SingletonFrom)


def _has_a_scope(node: Node) -> bool:
    """Whether what stands below a node is no value at hand: it has rows of its own, or is only asked how many items there are."""
    if isinstance(node, n.Operation):
        counts = node.traits.looks == "counts" and not node.traits.same_value
        return counts and isinstance(node.operands[0].result, ListType) and not isinstance(node.result, ListType)
    rows = (n.ItemStep, n.Query, n.Retrieve, n.ModelRetrieve, n.Let, n.Bind)
    return isinstance(node, (*rows, n.Exists, n.Count, n.Coalesce, n.FirstCollection))


def elements_of(condition: Node, scope: int) -> tuple[str, ...]:
    """The elements of a row that a condition on it reads, in its order: `scope` is that of the row."""
    found: dict[str, None] = {}
    for node in condition.walk():
        if isinstance(node, (*_ELEMENTS, n.ElementOf)):
            for owner, path, _, _ in _of(node, False, _NONE):
                if path and isinstance(owner, (n.Current, n.AliasRef)) and owner.scope == scope:
                    found[path] = None
    # of `a` and `a.b` only the longer one: it lacks whatever the shorter one lacks
    return tuple(one for one in found if not any(other.startswith(f"{one}.") for other in found))


def _of(node: Node, computed: bool, bound: Bound) -> list[tuple[Node, str, Span | None, bool]]:
    path: list[str] = []
    at = node
    while at.operands and (isinstance(at, _ELEMENTS) or len(at.operands) == 1 and not _has_a_scope(at)):
        if isinstance(at, _ELEMENTS):
            path.insert(0, at.path)
        elif path and _is_one_of_its_items(at):
            break
        elif not isinstance(at, n.ElementOf) and not _has_same_value(at):
            computed = True
        at = at.operands[0]
    if isinstance(at, n.Chosen) and at.scope in bound and not path:
        return _of(bound[at.scope], computed, bound)
    if path or _is_name(at):
        return [(at, ".".join(path), node.span, computed)]
    if _has_a_scope(at):
        return []
    return [one for operand in at.operands for one in _of(operand, True, bound)]
