"""The intermediate form between the languages and Python: ELM nodes with static types.

A node's `kind` is the ELM node name where ELM has one (`Retrieve`, `Property`, `Filter`, `ForEach`, `Exists`, `Literal`, `Add`, ...).
FHIRPath needs a few more, named here and nowhere else: `Context` (the input), `Let` (defineVariable), `OfType`, `Box` (a value with its
type), `ToSystem` (implicit conversion of a FHIR primitive), `Condition` (singleton evaluation as Boolean), `Dynamic` (an operator
whose overload is chosen at run time), and the tree and utility functions by their FHIRPath names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct, field

from fhir_eligibility.algebra.diagnostic import Span

ANY = "*"
_CLOCKS = frozenset(("Clock", "Now", "Today", "TimeOfDay"))
# Operators that ask the environment for terminology, or for the offset of the request from UTC, which does not go with the time of day.
_NO_CLOCK = frozenset(
    "InValueSet AnyInValueSet InCodeSystem AnyInCodeSystem ExpandValueSet Subsumes SubsumedBy ToDateTime".split()
)


class Node(Struct):
    """One node: operands (sub-expressions), attributes, and its static type.

    `types` are qualified names (`System.Integer`, `FHIR.code`); several mean one of them, `*` any, none at all the null literal.
    `many` tells a collection from a single value (or none). `span` is the author's text. Nodes of CQL have their type in `result`
    (`compiler.cql.types`), and sub-expressions that are no plain operands in attributes; `children` has them all.
    """

    kind: str
    operands: tuple[Node, ...] = ()
    attrs: dict[str, Any] = field(default_factory=dict)
    types: tuple[str, ...] = ()
    many: bool = False
    span: Span | None = None
    result: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles without recursion, however deep the operands are: a list of nodes, each behind its operands."""
        rows: list[tuple[Any, ...]] = []
        numbers: dict[int, int] = {}
        stack: list[tuple[Node, bool]] = [(self, False)]
        while stack:
            node, ready = stack.pop()
            if id(node) in numbers:
                continue
            if not ready:
                stack.append((node, True))
                stack.extend((operand, False) for operand in node.operands)
                continue
            operands = tuple(numbers[id(operand)] for operand in node.operands)
            numbers[id(node)] = len(rows)
            rows.append((node.kind, operands, node.attrs, node.types, node.many, node.span, node.result))
        return _joined, (rows,)

    @property
    def type(self) -> str | None:
        """The one static type, or None where there are several, any, or none."""
        return self.types[0] if len(self.types) == 1 and self.types[0] != ANY else None

    @property
    def is_null(self) -> bool:
        """Whether this is the empty collection, known at compile time."""
        return self.kind == "Null"

    def walk(self) -> Iterator[Node]:
        """This node and all below it, depth first."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    @property
    def children(self) -> tuple[Node, ...]:
        """All nodes right below this one."""
        return self.operands + tuple(self.attrs.get("_children", ()))


def _joined(rows: list[tuple[Any, ...]]) -> Node:
    """The last of some nodes, each with the numbers of its operands among those before it."""
    nodes: list[Node] = []
    for kind, operands, *rest in rows:
        nodes.append(Node(kind, tuple(nodes[number] for number in operands), *rest))
    return nodes[-1]


def reads_clock(root: Node) -> bool:
    """Whether a tree reads the time of evaluation; an operator that is given the environment counts as reading it unless it is known not to."""
    for node in root.walk():
        if node.kind in _CLOCKS:
            return True
        overload = node.attrs.get("_overload")
        if overload is not None and overload.context and overload.operator not in _NO_CLOCK:
            return True
    return False


def to_json(node: Node) -> dict[str, Any]:
    """A node as a JSON object, in the manner of ELM JSON: `type`, result type, operands and attributes."""
    out: dict[str, Any] = {"type": node.kind}
    result = " | ".join(node.types) or "System.Any"
    out["resultTypeName"] = f"List<{result}>" if node.many else result
    if node.span is not None:
        out["locator"] = f"{node.span.start}-{node.span.end}"
    for key, value in node.attrs.items():
        if key.startswith("_") or value is None:
            continue
        out[key] = value if isinstance(value, (str, int, bool, list)) else str(value)
    if node.operands:
        operands = [to_json(operand) for operand in node.operands]
        out["operand"] = operands[0] if len(operands) == 1 else operands
    return out
