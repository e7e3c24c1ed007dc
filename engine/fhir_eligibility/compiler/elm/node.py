"""What all nodes of the typed tree are, and those of registered operators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, TypeGuard

from msgspec import Struct, structs

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.algebra.operators.registry import OPERATORS, OperatorTraits, Overload
from fhir_eligibility.compiler.elm.shapes import ANY_NAME, NOTHING, names_of
from fhir_eligibility.compiler.elm.traits import LOOKS, UNKNOWN, Traits
from fhir_eligibility.compiler.elm.types import ListType


class Node(Struct):
    """One expression: its operands, the author's text, and its static type.

    Sub-expressions that are no plain operands are fields of their own; `children` has them all.
    """

    operands: tuple[Node, ...] = ()
    span: Span | None = None
    result: Any = NOTHING

    about: ClassVar[Traits] = UNKNOWN
    elm: ClassVar[str] = ""

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
            values = structs.astuple(node)[1:]
            rows.append((node.__class__, operands, values))
        return _joined, (rows,)

    @property
    def kind(self) -> str:
        """The name of the expression: ELM's (`elm`) where its class has another one, and of an operator its own."""
        return self.elm or self.__class__.__name__

    @property
    def many(self) -> bool:
        """Whether the value is a list, and not a single value or none."""
        return isinstance(self.result, ListType)

    @property
    def types(self) -> tuple[str, ...]:
        """The names of the types that the value, or the items of the list, may have; `*` for any, none where there is nothing."""
        return names_of(self.result)

    @property
    def type(self) -> str | None:
        """The one static type, or None where there are several, any, or none."""
        names = names_of(self.result)
        return names[0] if len(names) == 1 and names[0] != ANY_NAME else None

    @property
    def is_null(self) -> bool:
        """Whether this is null, or the empty collection, known at compile time."""
        return False

    @property
    def children(self) -> tuple[Node, ...]:
        """All nodes right below this one."""
        return self.operands

    def walk(self) -> Iterator[Node]:
        """This node and all below it, depth first."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def given(self) -> Iterator[tuple[str, Any]]:
        """The names and values of the fields that tell a node from others of its class, but for its sub-expressions."""
        yield from list(structs.asdict(self).items())[3:]


def _joined(rows: list[tuple[Any, ...]]) -> Node:
    """The last of some nodes, each with the numbers of its operands among those before it."""
    nodes: list[Node] = []
    for kind, numbers, values in rows:
        fields = dict(zip(kind.__struct_fields__[1:], values, strict=True))
        nodes.append(kind(tuple(nodes[number] for number in numbers), **fields))
    return nodes[-1]


class Operation(Node, kw_only=True):
    """A registered operator in one of its overloads; `precision` where it is asked for one (`year`, ...)."""

    name: str
    overload: Overload
    precision: str | None = None

    about: ClassVar[Traits] = LOOKS

    @property
    def kind(self) -> str:
        return self.name

    @property
    def traits(self) -> OperatorTraits:
        """What the table of operators tells of it."""
        return OPERATORS[self.name].traits


def overload_of(node: Node) -> Overload | None:
    """The overload of a registered operator, None of any other expression."""
    return node.overload if isinstance(node, Operation) else None


def traits_of(node: Node) -> OperatorTraits:
    """What the table of operators tells of a registered operator; of any other expression it tells nothing."""
    return node.traits if isinstance(node, Operation) else _NOTHING


_NOTHING = OperatorTraits()


def is_operation(node: Node, *names: str) -> TypeGuard[Operation]:
    """Whether a node is one of some registered operators."""
    return isinstance(node, Operation) and node.name in names
