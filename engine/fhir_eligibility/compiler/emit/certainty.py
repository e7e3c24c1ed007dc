"""What the emitter knows of the values of nodes before they run: whether one can be null, and whether it is one point.

Derived from the classes of nodes and the table of operators; of what neither tells anything, the value may be null, and may be a range.
"""

from __future__ import annotations

from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.traits import Missing
from fhir_eligibility.compiler.elm.types import (
    ANY,
    BOOLEAN,
    DATE,
    DATETIME,
    DECIMAL,
    INTEGER,
    LONG,
    QUANTITY,
    STRING,
    TIME,
    ListType,
)

_POINTS = (INTEGER, LONG, DECIMAL, QUANTITY, DATE, DATETIME, TIME, ANY)
# What always has a value.
_NEVER_NULL = (
    n.List,
    n.NewInterval,
    n.NewTuple,
    n.Is,
    n.MinValue,
    n.MaxValue,
    n.ModelRetrieve,
    n.CodeRef,
    n.ConceptRef,
    n.ValueSetRef,
    n.CodeSystemRef,
)
# What is one point, never a range of possible ones (CQL: "Uncertainty").
_CERTAIN = (
    n.Literal,
    n.Null,
    n.ModelConversion,
    n.ModelProperty,
    n.DateTimeComponentFrom,
    n.Now,
    n.Today,
    n.TimeOfDay,
    n.NewDate,
    n.NewDateTime,
    n.NewTime,
    n.MinValue,
    n.MaxValue,
)
# What can fail on good data, beside the operators of which the table tells it.
_FAILING = (n.Message, n.FunctionRef, n.NewDateTime, n.NewDate, n.NewTime)


def can_fail(node: Node) -> bool:
    """Whether a node can fail on good data: it stands in a line of its own, so that an error tells its place."""
    return isinstance(node, _FAILING) or n.traits_of(node).fails


def texts_of(node: n.Operation) -> tuple[str, ...] | None:
    """The texts that `in` and `contains` look for a text among, where all of them stand in the library."""
    item, items = node.operands if node.name == "In" else reversed(node.operands)
    if not isinstance(items, n.List) or item.result != STRING or not items.operands:
        return None
    texts = [text.value for text in items.operands if isinstance(text, n.Literal) and text.result == STRING]
    return tuple(texts) if len(texts) == len(items.operands) else None


class KnownValues:
    """What is known of nodes in one module. `never_null` are the scopes whose rows are never null where code is emitted.

    `ranges` tells that values may be ranges of possible ones; in `traced` code a guard is a condition of its own.
    """

    def __init__(self, *, traced: bool, ranges: bool) -> None:
        self.traced = traced
        self.ranges = ranges
        self.never_null: set[int] = set()
        # by `id()`: the node, so that it stays
        self._nullable: dict[tuple[int, int], tuple[Node, bool]] = {}
        self._certain: dict[int, tuple[Node, bool]] = {}

    def nullable(self, node: Node) -> bool:
        """Whether the value of a node can be null, or missing."""
        key = (id(node), len(self.never_null))
        known = self._nullable.get(key)
        if known is None:
            known = self._nullable[key] = node, self._is_nullable(node)
        return known[1]

    def _is_nullable(self, node: Node) -> bool:
        if isinstance(node, n.Operation):
            return self._operation_nullable(node)
        if isinstance(node, _NEVER_NULL):
            return False
        if isinstance(node, n.Not) and node.guard and self.traced:
            return self.nullable(node.operands[0].operands[0])
        if isinstance(node, (n.ConvertInterval, n.ToList)):
            return any(map(self.nullable, node.operands))
        if isinstance(node, n.AliasRef):
            return node.scope not in self.never_null
        if isinstance(node, (n.If, n.Case)):
            return any(map(self.nullable, _branches(node)))
        if isinstance(node, n.Coalesce):
            return node.over_list or all(map(self.nullable, node.operands))
        if isinstance(node, n.Instance):  # a Quantity without a value is null
            return node.target == QUANTITY
        if isinstance(node, n.As) and node.retype:
            return self.nullable(node.operands[0])
        if isinstance(node, n.Query):
            one = node.over_lists and node.aggregate is None
            return not one or (len(node.sources) == 1 and self.nullable(node.sources[0].node))
        if isinstance(node, n.ElementOf) and node.owner == "interval" and node.result == BOOLEAN:
            return self.nullable(node.operands[0])
        missing = node.about.missing
        if missing is Missing.AS_FIRST:
            return self.nullable(node.operands[0])
        return missing is Missing.MAYBE or (missing is Missing.AS_ANY and any(map(self.nullable, node.operands)))

    def _operation_nullable(self, node: n.Operation) -> bool:
        if node.name in ("In", "Contains") and texts_of(node) is not None:
            return False
        if node.traits.symbol and not all(map(self.certain, node.operands)):
            return True
        overload = node.overload
        if overload.nulls == "handled":
            return overload.nullable or (isinstance(node.result, ListType) and any(map(self.nullable, node.operands)))
        return overload.nullable or any(map(self.nullable, node.operands))

    def certain(self, node: Node) -> bool:
        """Whether the value of a node is never an Uncertainty."""
        if not self.ranges:
            return True
        known = self._certain.get(id(node))
        if known is None:
            known = self._certain[id(node)] = node, self._is_certain(node)
        return known[1]

    def _is_certain(self, node: Node) -> bool:
        if isinstance(node, _CERTAIN) or node.result not in _POINTS:
            return True
        if isinstance(node, (n.If, n.Case)):
            return all(map(self.certain, _branches(node)))
        if isinstance(node, n.Coalesce) and not node.over_list:
            return all(map(self.certain, node.operands))
        certain = n.traits_of(node).certain
        return certain == "always" or (certain == "as operands" and all(map(self.certain, node.operands)))

    def has_no_null(self, node: Node) -> bool:
        """Whether no element of a list can be null."""
        if isinstance(node, n.ModelRetrieve):
            return True
        if isinstance(node, n.List):
            return not any(map(self.nullable, node.operands))
        if isinstance(node, n.Query) and node.over_lists and node.aggregate is None:
            if node.returned is not None:
                return not self.nullable(node.returned)
            return len(node.sources) == 1 and self.has_no_null(node.sources[0].node)
        return False


def _branches(node: n.If | n.Case) -> tuple[Node, ...]:
    return (*node.operands[1:-1:2], node.operands[-1])
