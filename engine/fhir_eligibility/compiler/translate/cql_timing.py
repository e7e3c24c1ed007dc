"""Timing phrases to typed ELM (CQL: "Timing and Interval Operators"; translation in appendix "Timing Phrases")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.scope import Scope
from fhir_eligibility.compiler.elm.types import ANY, BOOLEAN, ChoiceType, IntervalType, ListType, Type
from fhir_eligibility.compiler.syntax import cql_nodes as c
from fhir_eligibility.compiler.translate.cql_queries import QueryTranslator


class TimingTranslator(QueryTranslator):
    """`left phrase right`."""

    def interval_of(self, low: Node, high: Node, low_closed: bool, high_closed: bool, span: Span) -> Node:
        raise NotImplementedError

    def timing(self, tree: c.Timing, scope: Scope) -> Node:
        left, right = self.expressions((tree.left, tree.right), scope)
        phrase = tree.phrase
        left = self.side(left, phrase.left, tree.left.span)
        right = self.side(right, phrase.right, tree.right.span)
        return self.related(phrase, (left, right), tree.span)

    def related(self, phrase: c.Phrase, operands: Sequence[Node], span: Span) -> Node:
        """A phrase between two operands; one that may be a moment or a period is told apart when it is evaluated."""
        for index, operand in enumerate(operands):
            if self.differs_in_shape(operand):
                divided = self.by_alternative(operands, index, lambda x: self.related(phrase, x, span), span)
                if divided is not None:
                    return divided
        return _RELATIONS[phrase.relation](self, phrase, operands[0], operands[1], span)

    def differs_in_shape(self, node: Node) -> bool:
        """Whether a node is a choice of points and intervals, or of either and lists."""
        if not isinstance(node.result, ChoiceType) or isinstance(node, n.Null):
            return False
        shapes = [self.types.unwrapped(option) or option for option in node.result.options]
        return len({x.__class__ if isinstance(x, (IntervalType, ListType)) else Type for x in shapes}) > 1

    def side(self, node: Node, which: str | None, span: Span) -> Node:
        """The start or end of an operand, where the phrase says so."""
        if which is None:
            return node
        return self.op("Start" if which == "start" else "End", [node], span, shown=f"{which} of")

    def shape(self, node: Node) -> Type:
        """The type of an operand, FHIR's Period and Range seen as intervals."""
        kind = node.result
        unwrapped = self.types.unwrapped(kind)
        return unwrapped if isinstance(unwrapped, IntervalType) else kind

    def is_interval(self, node: Node) -> bool:
        return isinstance(self.shape(node), IntervalType)

    def edge(self, node: Node, which: str) -> Node:
        """The start or end of an interval; a point as it is."""
        return self.op(which, [node], node.span) if self.is_interval(node) else node

    def same(self, p: c.Phrase, left: Node, right: Node, span: Span) -> Node:
        name = {None: "SameAs", "before": "SameOrBefore", "after": "SameOrAfter"}[p.direction]
        shown = "same as" if p.direction is None else f"same or {p.direction}"
        return self.op(name, [left, right], span, precision=p.precision, shown=shown)

    def order(self, p: c.Phrase, left: Node, right: Node, span: Span) -> Node:
        """`before` and `after`, with or without an offset."""
        earlier = p.relation == "before"
        if p.offset is None:
            if p.inclusive:
                name = "SameOrBefore" if earlier else "SameOrAfter"
            else:
                name = "Before" if earlier else "After"
            shown = f"on or {p.relation}" if p.inclusive else p.relation
            return self.op(name, [left, right], span, precision=p.precision, shown=shown)
        left = self.edge(left, "End" if earlier else "Start")
        right = self.edge(right, "Start" if earlier else "End")
        offset = self.expression(p.offset, Scope())
        moved = self.op("Subtract" if earlier else "Add", [right, offset], span, shown=p.relation)
        if p.bound in ("or less", "less than"):
            far = p.bound == "or less"
            if earlier:
                window = self.interval_of(moved, right, far, p.inclusive, span)
            else:
                window = self.interval_of(right, moved, p.inclusive, far, span)
            inside = self.op("In", [left, window], span, precision=p.precision, shown=p.relation)
            return self.with_known(inside, right, span)
        if p.bound == "or more":
            name = "SameOrBefore" if earlier else "SameOrAfter"
        elif p.bound == "more than":
            name = "Before" if earlier else "After"
        else:
            name = "SameAs"
            if p.inclusive:
                name = "SameOrBefore" if earlier else "SameOrAfter"
        return self.op(name, [left, moved], span, precision=p.precision, shown=p.relation)

    def with_known(self, node: Node, bound: Node, span: Span) -> Node:
        """A membership and a test that the bound is not null, without which an interval would reach to the end of time (CQL: "Before and After",
        "Within"). The author did not ask whether the bound is recorded: where a verdict depends on it, the test is a `guard` and unknown.
        """
        known = n.Not((self.op("IsNull", [bound], span),), guard=True, span=span, result=BOOLEAN)
        return n.And((node, known), span=span, result=BOOLEAN)

    def includes(self, p: c.Phrase, left: Node, right: Node, span: Span) -> Node:
        return self.inclusion("ProperIncludes" if p.proper else "Includes", p, left, right, span)

    def included_in(self, p: c.Phrase, left: Node, right: Node, span: Span) -> Node:
        return self.inclusion("ProperIncludedIn" if p.proper else "IncludedIn", p, left, right, span)

    def inclusion(self, name: str, p: c.Phrase, left: Node, right: Node, span: Span) -> Node:
        """Of a whole in a whole, or of a point or element in one."""
        within = name.endswith("IncludedIn")
        part, whole = (left, right) if within else (right, left)
        shape = self.shape(part)
        container = self.shape(whole)
        nested = isinstance(container, ListType) and container.element == shape
        if isinstance(shape, (IntervalType, ListType)) and not nested:
            return self.op(name, [left, right], span, precision=p.precision, shown=_shown(p))
        untyped = isinstance(part, n.Null) and part.result == ANY
        if untyped and (isinstance(container, IntervalType) or (isinstance(container, ListType) and not p.proper)):
            return self.op(name, [left, right], span, precision=p.precision, shown=_shown(p))
        member = {"IncludedIn": "In", "Includes": "Contains", "ProperIncludedIn": "ProperIn"}.get(
            name, "ProperContains"
        )
        return self.op(member, [left, right], span, precision=p.precision, shown=_shown(p))

    def within(self, p: c.Phrase, left: Node, right: Node, span: Span) -> Node:
        """`within 3 days of x`."""
        assert p.offset is not None
        offset = self.expression(p.offset, Scope())
        first, last = self.edge(right, "Start"), self.edge(right, "End")
        low = self.op("Subtract", [first, offset], span, shown="within")
        high = self.op("Add", [last, offset], span, shown="within")
        window = self.interval_of(low, high, not p.proper, not p.proper, span)
        name = "IncludedIn" if self.is_interval(left) else "In"
        inside = self.op(name, [left, window], span, precision=p.precision, shown="within")
        return self.with_known(inside, right, span)

    def touching(self, p: c.Phrase, left: Node, right: Node, span: Span) -> Node:
        """`meets` and `overlaps`."""
        name = p.relation.capitalize() + (p.direction or "").capitalize()
        return self.op(name, [left, right], span, precision=p.precision, shown=_shown(p))

    def sharing(self, p: c.Phrase, left: Node, right: Node, span: Span) -> Node:
        """`starts` and `ends`."""
        return self.op(p.relation.capitalize(), [left, right], span, precision=p.precision, shown=p.relation)


def _shown(p: c.Phrase) -> str:
    return " ".join(word for word in ("properly" if p.proper else "", p.relation, p.direction or "") if word)


_Handler = Callable[[Any, c.Phrase, Node, Node, Span], Node]
_RELATIONS: dict[str, _Handler] = {
    "same": TimingTranslator.same,
    "before": TimingTranslator.order,
    "after": TimingTranslator.order,
    "includes": TimingTranslator.includes,
    "included in": TimingTranslator.included_in,
    "within": TimingTranslator.within,
    "meets": TimingTranslator.touching,
    "overlaps": TimingTranslator.touching,
    "starts": TimingTranslator.sharing,
    "ends": TimingTranslator.sharing,
}
