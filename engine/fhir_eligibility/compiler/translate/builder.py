"""Typed ELM nodes are made here, and nowhere else: overloads chosen, operands converted, problems reported.

Both front ends, CQL text and ELM JSON, build their nodes with this, so that the types of either are checked the same way.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import Diagnostic, Source, Span
from fhir_eligibility.algebra.operators.registry import Operator, Overload
from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.algebra.temporal import DateTime
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm import types as t
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.types import (
    ANY,
    BOOLEAN,
    QUANTITY,
    ChoiceType,
    Conversion,
    IntervalType,
    ListType,
    Named,
    TupleType,
    Type,
    TypeSystem,
)
from fhir_eligibility.compiler.translate.abort import Abort
from fhir_eligibility.compiler.translate.overloads import dividing_choice, resolve

_TEMPORAL_NAMES = {"Date", "DateTime", "Time"}
NOWHERE = Span(0, 0)
_LOGICAL: dict[str, type[Node]] = {kind.__name__: kind for kind in (n.And, n.Or, n.Xor, n.Implies, n.Not)}


class Builder:
    """Nodes with types, and the diagnostics found on the way."""

    def __init__(self, source: Source, types: TypeSystem) -> None:
        self.source = source
        self.types = types
        self.diagnostics: list[Diagnostic] = []
        self._ids = 0

    # -- diagnostics

    def report(self, code: str, message: str, span: Span, hint: str | None = None, *, warning: bool = False) -> None:
        severity: Any = "warning" if warning else "error"
        self.diagnostics.append(Diagnostic(code, message, severity, self.source, span, hint))

    def fail(self, code: str, message: str, span: Span | None, hint: str | None = None) -> Abort:
        self.report(code, message, span or NOWHERE, hint)
        return Abort()

    def new_id(self) -> int:
        self._ids += 1
        return self._ids

    # -- leaves

    def null(self, span: Span | None = None, kind: Type = ANY) -> Node:
        return n.Null(span=span, result=kind)

    def literal(self, value: Any, kind: Type, span: Span | None = None) -> Node:
        local = value.__class__ is DateTime and value.offset_minutes is None
        made = n.LocalDateTime if local else n.Literal
        return made(value=value, span=span, result=kind)

    # -- conversions

    def to(self, node: Node, target: Type, what: str | None = None) -> Node:
        """A node converted implicitly. Reports `type` where it cannot be."""
        step = self.types.conversion(node.result, target)
        if step is None:
            message = f"{what or 'this'} must be {target}, but is {node.result}"
            raise self.fail("type", message, node.span, self.conversion_hint(node.result, target))
        return self.convert(node, step)

    def conversion_hint(self, source: Type, target: Type) -> str | None:
        if isinstance(source, ListType) and self.types.conversion(source.element, target) is not None:
            return "it is a list: take one element with First(...) or singleton from, or ask exists"
        if target == BOOLEAN and not isinstance(source, Named):
            return "a condition is a comparison, or exists ..."
        return None

    def convert(self, node: Node, step: Conversion) -> Node:
        """A node with a conversion applied."""
        kind, target = step.kind, step.target
        if kind == "same":
            return node
        if isinstance(node, n.Null):
            return replace(node, result=target)
        if kind == "upcast":
            return self._upcast(node, target)
        if kind == "retype":
            return self.retype(node, target)
        if kind == "as":
            return self.cast_node(node, target, node.span)
        if kind == "operator":
            return self.op(step.operator, [node], node.span)
        if kind == "model":
            assert step.source is not None
            middle = target if step.inner is None else self.types.unwrapped(step.source)
            assert middle is not None
            converted = n.ModelConversion((node,), source=step.source, target=middle, span=node.span, result=middle)
            return converted if step.inner is None else self.convert(converted, step.inner)
        if kind == "to_choice":
            assert step.inner is not None
            return self._upcast(self.convert(node, step.inner), target)
        if kind == "demote":
            assert step.inner is not None
            return self.convert(self.op("SingletonFrom", [node], node.span), step.inner)
        if kind == "promote":
            assert step.inner is not None
            return n.List((self.convert(node, step.inner),), span=node.span, result=target)
        if kind == "list":
            assert step.inner is not None
            return self.mapped(node, step.inner, target)
        return self._inside(node, step)

    def _upcast(self, node: Node, target: Type) -> Node:
        """The same value seen as a more general type; a value whose Python form does not tell its type gets it named."""
        general = target == ANY or isinstance(target, ChoiceType)
        source = node.result
        if general and isinstance(source, Named) and self.boxed(source):
            return n.Box((node,), target=source, span=node.span, result=target)
        item = source.element if isinstance(source, ListType) else None
        named = item if isinstance(item, Named) and self.boxed(item) else None
        if general and named is not None:
            return n.Box((node,), target=named, each_item=True, span=node.span, result=target)
        if isinstance(source, ListType) and isinstance(target, ListType) and source != target:
            if named is not None and (target.element == ANY or isinstance(target.element, ChoiceType)):
                return n.Box((node,), target=named, each_item=True, span=node.span, result=target)
        return node if general or node.result == target else self.seen_as(node, target)

    def seen_as(self, node: Node, target: Type) -> Node:
        """The same value under another static type; what a node of some kinds makes depends on its own, so that it stays."""
        if isinstance(node, (n.NewInterval, n.ConvertInterval, n.ElementOf)) and node.result != target:
            return n.As((node,), target=target, strict=False, retype=True, span=node.span, result=target)
        return replace(node, result=target)

    def boxed(self, kind: Type) -> bool:
        """Whether the Python form of a type's values does not tell the type: they are named where the static type does not either."""
        return isinstance(kind, Named) and (kind == t.LONG or self.raw(kind))

    def raw(self, kind: Named) -> bool:
        """Whether values of a type are plain JSON that does not name its type."""
        namespace, _, name = kind.name.partition(".")
        model = self.types.models.get(namespace)
        return model is not None and model.is_raw(name)

    def retype(self, node: Node, target: Type) -> Node:
        """The same value under a more special type: what is null or empty in it fits any."""
        if isinstance(target, IntervalType):
            if isinstance(node, n.NewInterval):
                low, high, *rest = node.operands
                bounds = (self.to(low, target.point), self.to(high, target.point), *rest)
                return replace(node, operands=bounds, result=target)
            return n.As((node,), target=target, strict=False, retype=True, span=node.span, result=target)
        if isinstance(target, ListType) and isinstance(node, n.List) and not self.hides(node, target):
            return replace(node, operands=tuple(self.to(o, target.element) for o in node.operands), result=target)
        if isinstance(target, ListType):
            step = self.types.conversion(node.result.element, target.element)
            assert step is not None
            trial = n.AliasRef(span=node.span, result=node.result.element)
            if not isinstance(
                self.convert(trial, step), n.AliasRef
            ):  # the elements are not the same values: they are looked at, one by one
                return self.mapped(node, step, target)
        return self.seen_as(node, target)

    def mapped(self, node: Node, step: Conversion, target: Type) -> Node:
        """A list with each element converted: a query."""
        scope = self.new_id()
        alias = n.AliasRef(name="X", scope=scope, span=node.span, result=node.result.element)
        value = self.convert(alias, step)
        source = n.QuerySource(alias="X", scope=scope, node=node)
        return n.Query(sources=(source,), returned=value, span=node.span, result=target)

    def _inside(self, node: Node, step: Conversion) -> Node:
        """Conversions that look into a value: the bounds of an interval, or the possible types of a choice."""
        scope = self.new_id()

        def current(kind: Type) -> Node:
            return n.Chosen(scope=scope, span=node.span, result=kind)

        if step.kind == "interval":
            assert step.inner is not None
            inner = self.convert(current(node.result.point), step.inner)
            return n.ConvertInterval((node,), scope=scope, inner=inner, span=node.span, result=step.target)
        options: list[tuple[Type, Node]] = []
        assert isinstance(step.source, ChoiceType)
        for option in step.source.options:
            found = self.types.conversion(option, step.target)
            if found is not None:
                value = current(option)
                if isinstance(option, Named) and self.raw(option):
                    value = n.Unbox((value,), span=node.span, result=option)
                options.append((option, self.convert(value, found)))
        return n.Members((node,), scope=scope, options=tuple(options), span=node.span, result=step.target)

    # -- operators

    def op(
        self,
        name: str,
        operands: Sequence[Node],
        span: Span | None,
        *,
        precision: str | None = None,
        shown: str | None = None,
    ) -> Node:
        """An operator on operands. Reports `no-overload` where it cannot take them.

        A choice whose alternatives are meant by different overloads is told apart when it is evaluated.
        """
        operator = OPERATORS[name]
        index = dividing_choice(self.types, operator, operands)
        if index is not None:

            def build(others: Sequence[Node]) -> Node:
                return self.op(name, others, span, precision=precision, shown=shown)

            divided = self.by_alternative(operands, index, build, span)
            if divided is not None:
                # a value of a type that nothing on the other side can be is not equivalent
                return self.op("IsTrue", [divided], span) if name == "Equivalent" else divided
        found = self.resolve(operator, operands)
        if found is None:
            raise self.no_overload(shown or self.shown(operator), operator, operands, span)
        overload, bindings, steps = found
        if precision is not None and not overload.precise:
            raise self.fail("precision", f"{self.shown(operator)} takes a precision only for dates and times", span)
        if precision is not None:
            self.check_precision(operands, precision, span)
        if _TEMPORAL_NAMES & set(overload.parameters):
            self.check_units(operands, steps)
        converted = tuple(self.convert(o, s) for o, s in zip(operands, steps, strict=True))
        result = t.substitute(t.signature_type(overload.result), bindings)
        return n.Operation(converted, name=name, overload=overload, precision=precision, span=span, result=result)

    def by_alternative(
        self, operands: Sequence[Node], index: int, build: Callable[[Sequence[Node]], Node], span: Span | None
    ) -> Node | None:
        """What `build` makes of operands of which one is a choice, for whichever of its types the value has.

        A value of an alternative that cannot be built on gives what null gives; None where none can be built on.
        """
        choice = operands[index]
        assert isinstance(choice.result, ChoiceType)
        scope = self.new_id()
        bound: list[tuple[int, Node]] = []
        shared: list[Node] = []
        for operand in operands:
            if operand is choice or _is_small(operand):
                shared.append(operand)
                continue
            number = self.new_id()
            bound.append((number, operand))
            shared.append(n.Chosen(scope=number, span=operand.span, result=operand.result))
        options: list[tuple[Type, Node]] = []
        mark = len(self.diagnostics)
        for option in choice.result.options:
            value: Node = n.Chosen(scope=scope, span=choice.span, result=option)
            if isinstance(option, Named) and self.raw(option):
                value = n.Unbox((value,), span=choice.span, result=option)
            before = len(self.diagnostics)
            try:
                options.append((option, build([*shared[:index], value, *shared[index + 1 :]])))
            except Abort:
                del self.diagnostics[before:]
        self.diagnostics[mark:] = dict.fromkeys(self.diagnostics[mark:])
        if not options:
            return None
        missing = build([*shared[:index], self.null(choice.span, options[0][0]), *shared[index + 1 :]])
        result = self.types.common([node.result for _, node in options])
        options = [(option, self.to(node, result)) for option, node in options]
        if any(isinstance(o, n.Null) for o in missing.operands) and _propagates_null(missing):
            missing = self.null(span, result)
        compared = None
        if len(operands) == 2 and result == BOOLEAN:
            compared = (index, shared[1 - index], tuple(operand.span for operand in operands))
        return n.Members(
            (choice, *(node for _, node in bound)),
            scope=scope,
            options=tuple(options),
            otherwise=self.to(missing, result),
            bound=tuple(number for number, _ in bound),
            compared=compared,
            span=span,
            result=result,
        )

    def check_units(self, operands: Sequence[Node], steps: Sequence[Conversion]) -> None:
        """Warn of a bare number that is added to a point in time."""
        for operand, step in zip(operands, steps, strict=True):
            if step.kind == "operator" and step.target == QUANTITY:
                message = "a number without a unit of time cannot be added to a date; this fails when it is evaluated"
                self.report("unit", message, operand.span or NOWHERE, "write 1 day, 3 months, ...", warning=True)

    def check_precision(self, operands: Sequence[Node], precision: str, span: Span | None) -> None:
        for operand in operands:
            kind = operand.result
            while isinstance(kind, (IntervalType, ListType)):
                kind = kind.point if isinstance(kind, IntervalType) else kind.element
            kind = self.types.unwrapped(kind) or kind
            if isinstance(kind, IntervalType):
                kind = kind.point
            if isinstance(kind, Named) and kind.name.startswith("System.") and kind not in (*t.TEMPORAL, ANY):
                raise self.fail("precision", f"{kind} has no precision; leave out '{precision} of'", span)
            if kind == t.TIME and precision in ("year", "month", "week", "day"):
                raise self.fail("precision", f"a Time has no {precision}", span)
            if kind == t.DATE and precision in ("hour", "minute", "second", "millisecond"):
                other = [o for o in operands if o.result != operand.result]
                if not other:
                    raise self.fail("precision", f"a Date has no {precision}", span)

    def shown(self, operator: Operator) -> str:
        return operator.cql[0].replace("_", " ") if operator.cql else operator.name

    def resolve(
        self, operator: Operator, operands: Sequence[Node]
    ) -> tuple[Overload, dict[str, Type], list[Conversion]] | None:
        """The overload that takes some operands at the least cost, None where none does."""
        return resolve(self.types, operator, [operand.result for operand in operands])

    def no_overload(self, shown: str, operator: Operator, operands: Sequence[Node], span: Span | None) -> Abort:
        given = ", ".join(str(o.result) for o in operands)
        takes = "; ".join(dict.fromkeys(f"({', '.join(o.parameters)})" for o in operator.of("cql")))
        hint = f"it takes {takes}"
        for operand in operands:
            if (
                isinstance(operand.result, ListType)
                and len(operands) == 2
                and not any(p.startswith("List") for o in operator.of("cql") for p in o.parameters)
            ):
                hint = f"{operand.result} is a list: take one element, or use a query"
        for operand in operands:
            element = self.telling_element(operand.result)
            if element is not None:
                text = self.source.text[operand.span.start : operand.span.end] if operand.span else "..."
                text = text if text.isidentifier() else "(...)"
                name, _, cast = element.partition(" ")
                shown_text = f"({text}.{name} {cast})" if cast else f"{text}.{name}"
                hint = f"{operand.result} is a whole record: take one of its elements, such as {shown_text}"
        if operator.name == "Exists" and operands and not isinstance(operands[0].result, ListType):
            hint = f"{operands[0].result} is one value, not a list: write ... is not null"
        return self.fail("no-overload", f"{shown} cannot take ({given})", span, hint)

    def telling_element(self, kind: Type) -> str | None:
        """The element of a record that comparisons are mostly about, with the cast that it needs; None for what is no record."""
        namespace, _, short = kind.name.partition(".") if isinstance(kind, Named) else ("", "", "")
        model = self.types.models.get(namespace)
        if model is None or model.is_raw(short):
            return None
        for name in ("value", "effective", "onset", "performed", "period", "birthDate", "status"):
            element = model.element(short, name)
            if element is not None:
                quantity = isinstance(element.type, t.ChoiceType) and name == "value"
                return f"{name} as Quantity" if quantity else name
        return None

    def condition(self, node: Node, what: str) -> Node:
        """A node as a Boolean."""
        return self.to(node, BOOLEAN, what)

    def logical(self, kind: str, operands: Sequence[Node], span: Span | None) -> Node:
        """And, Or, Xor, Implies or Not."""
        what = {"Not": "the operand of not"}.get(kind, f"an operand of {kind.lower()}")
        return _LOGICAL[kind](tuple(self.condition(o, what) for o in operands), span=span, result=BOOLEAN)

    def is_type(self, node: Node, target: Type, span: Span | None) -> Node:
        return n.Is((node,), target=target, span=span, result=BOOLEAN)

    def as_type(self, node: Node, target: Type, span: Span | None, *, strict: bool = False) -> Node:
        """`as`: the value where it is of the type, else null (an error where `strict`)."""
        if isinstance(node, n.Null):
            return self.null(span, target)
        if node.result == target:
            return replace(node, span=span)
        step = self.types.conversion(node.result, target)
        if step is not None and step.kind == "retype" and not self.hides(node, target):
            return replace(self.retype(node, target), span=span)
        if step is not None and step.kind == "upcast" and not isinstance(node.result, ChoiceType):
            return replace(self.seen_as(self._upcast(node, target), target), span=span)
        back = self.types.conversion(target, node.result)
        possible = step is not None or (back is not None and back.kind in ("upcast", "retype", "same"))
        if not possible:
            self.report(
                "impossible-cast",
                f"{node.result} is never {target}; the result is always null",
                span or NOWHERE,
                "use convert ... to, if a conversion is meant",
                warning=True,
            )
        if step is not None and step.kind == "model":
            return self.convert(node, step)
        return self.cast_node(node, target, span, strict=strict)

    def hides(self, node: Node, target: Type) -> bool:
        """Whether a list of Any may hold what the type of a cast does not allow: it is looked at when it is there."""
        if not isinstance(target, ListType) or isinstance(target.element, IntervalType):
            return False
        if isinstance(node, n.List):
            steps = [self.types.conversion(o.result, target.element) for o in node.operands]
            return any(step is None or step.kind not in ("same", "upcast", "as", "retype") for step in steps)
        return t.has_any(node.result)

    def cast_node(self, node: Node, target: Type, span: Span | None, *, strict: bool = False) -> Node:
        """A cast that is checked at run time; a value that carried its type for that is raw JSON again."""
        unbox = isinstance(target, Named) and self.raw(target)
        return n.As((node,), target=target, strict=strict, unbox=unbox, span=span, result=target)

    def nearest(self, name: str, known: Iterable[str]) -> str | None:
        close = difflib.get_close_matches(name, list(known), n=2, cutoff=0.7)
        return f"did you mean {' or '.join(repr(x) for x in close)}?" if close else None


def _propagates_null(node: Node) -> bool:
    return isinstance(node, n.Operation) and node.overload.nulls == "propagate"


def _is_small(node: Node) -> bool:
    """Whether a node may stand in several places: a value at hand, or a constant."""
    return sum(1 for _ in node.walk()) <= 3 and not any(
        isinstance(below, (n.Query, n.ModelRetrieve)) for below in node.walk()
    )


__all__ = ["Abort", "Builder", "Named", "TupleType"]
