"""ELM to Python: statements, loops inlined, early exit, null checks only where a value can be missing.

Two ways to emit a node: `value` gives a Python expression for it, `each` runs a body for every item of it and so fuses a whole path
into nested loops without lists in between. What the single nodes turn into stands in `fhirpath_nodes`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fhir_eligibility.algebra.diagnostic import Source
from fhir_eligibility.compiler.analysis.origins import elements_of
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.questions import Bound, bound_in, is_question, rows_of
from fhir_eligibility.compiler.elm.shapes import short_name
from fhir_eligibility.compiler.elm.traits import Missing
from fhir_eligibility.compiler.emit.keys import Key, key
from fhir_eligibility.compiler.emit.module_builder import ModuleBuilder, inlined, missing
from fhir_eligibility.compiler.emit.python import (
    CONTEXT,
    EV,
    Emitted,
    called,
    defined,
    literal,
    local,
    py,
    tupled,
)
from fhir_eligibility.compiler.syntax.depth import deep_recursion

Body = Callable[[Emitted], None]
SERIES = "FHIR.ImagingStudy.series"


# Steps that give no more items than the data has below one item, and where such a path begins.
_STEPS = (
    n.Property,
    n.Filter,
    n.ToSystem,
    n.Box,
    n.OfType,
    n.DynamicProperty,
    n.PrimitiveExtensions,
    n.Extension,
    n.ElementId,
)


def _of_the_data(node: Node) -> bool:
    """Whether the items of a node are a part of one record or of the records of a patient, so that their number has its limit there."""
    while isinstance(node, _STEPS):
        node = node.operands[0]
    return isinstance(node, (n.Retrieve, n.Context, n.Current))


def _is_object(type_name: str) -> bool:
    """Whether the values of a type are objects of the data; a System value, or a primitive, is made of them anew in each run."""
    namespace, _, name = type_name.partition(".")
    return namespace == "FHIR" and name[:1].isupper()


class Emitter(ModuleBuilder):
    """Builds the module of one expression."""

    def __init__(self, source: Source, *, traced: bool = False) -> None:
        super().__init__(source)
        self.traced = traced
        self.sites: list[dict[str, Any]] = []
        self.bound: Bound = {}
        self.counted: set[int] = set()
        # by `id()`: the node, so that it stays, and whether its value can be missing
        self._nullable: dict[int, tuple[Node, bool]] = {}

    def define(self, name: str, node: Node) -> None:
        """A module-level function of the environment and the input whose value is that of a node. Raises DiagnosticError `too-deep`."""
        self.bound = bound_in(node) if self.traced else {}
        with self.bounded(), deep_recursion(), self.function(defined(name), (EV, CONTEXT)), self.at(node):
            result = self.value(node)
            self.emit("return {0}", result)

    # -- nodes

    def nullable(self, node: Node) -> bool:
        """Whether the value of a single node can be missing."""
        known_before = self._nullable.get(id(node))
        if known_before is None:
            known_before = self._nullable[id(node)] = node, self._may_be_missing(node)
        return known_before[1]

    def _may_be_missing(self, node: Node) -> bool:
        overload = n.overload_of(node)
        if overload is not None:
            return bool(overload.nullable) or (overload.nulls == "propagate" and any(map(self.nullable, node.operands)))
        missing = node.about.missing
        if missing is Missing.AS_FIRST:
            return self.nullable(node.operands[0])
        return missing is Missing.MAYBE or (missing is Missing.AS_ANY and any(map(self.nullable, node.operands)))

    def value(self, node: Node) -> Emitted:
        """A Python expression for the value of a node: a list where it is a collection, else a value or None."""
        with self.at(node):
            handler = VALUES.get(key(node))
            if handler is not None:
                return handler(self, node)
            if isinstance(node, n.Operation):
                return self.operator(node)
            if node.many:
                return self.collect(node)
            return self.only(node)

    def each(self, node: Node, body: Body) -> None:
        """Emit code that runs `body` for every item of a node, given a Python expression for the item."""
        with self.at(node):
            handler = EACH.get(key(node))
            if handler is not None:
                handler(self, node, body)
            elif not node.many:
                self.once(node, body)
            else:
                item = self.name("x")
                with self.block("for {0} in {1}:", item, self.value(node)):
                    body(item)

    def once(self, node: Node, body: Body) -> None:
        """`each` of a single value."""
        if node.is_null:
            return
        value = self.single(node)
        if self.nullable(node):
            with self.block("if {0} is not None:", value):
                body(value)
        else:
            body(value)

    def collect(self, node: Node) -> Emitted:
        """A list of all items of a node, built with `each`."""
        out = self.name("l")
        self.emit("{0} = []", out)
        grows = not _of_the_data(node)

        def body(item: Emitted) -> None:
            self.emit("{0}.append({1})", out, item)
            if grows:
                with self.block("if len({0}) > MAX_ITEMS:", out):
                    self.emit("too_many_items()")

        self.each(node, body)
        return out

    def listing(self, node: Node, *, asked_for: bool = False) -> Emitted:
        """A list of the items of any node; `asked_for` where the author asks whether there is an item, so that what has no answer is none."""
        if node.is_null:
            return py("[]")
        if node.many:
            return self.value(node)
        value = self.temp(self.value(node)) if asked_for else self.single(node)
        return py("([] if {0} is None else [{0}])", value) if self.nullable(node) else py("[{0}]", value)

    def single(self, node: Node) -> Emitted:
        """The value of a single node that becomes an item of a collection. What has no answer is no item: in traced code, one in doubt."""
        if not self.traced or not self.nullable(node) or not is_question(node, self.bound):
            return self.temp(self.value(node))
        if isinstance(node, n.Box):
            return self.temp(py("box({0}, {1})", self.single(node.operands[0]), literal(short_name(node.target))))
        rows = rows_of(node, self.bound)
        elements = tuple(elements_of(node, scope) for scope in list(rows)[:1])
        kind = {"kind": "answer", "span": node.span, "resource": False, "clauses": [node.span], "elements": elements}
        self.sites.append(kind)
        site = len(self.sites) - 1
        value = self.temp(self.value(node))
        out = self.name()
        self.emit("{0} = {1}", out, value)
        with self.block("if {0} is None:", out):
            row, about = self.row(rows)
            self.emit("{0} = ev.answered({1}, {2}, {3})", out, literal(site), row, tupled(about))
        return out

    def row(self, rows: dict[int, Node], own: Emitted | None = None) -> tuple[Emitted, list[Emitted]]:
        """The row that a doubt is about, and all rows that it hangs on: `own`, and those of enclosing scopes."""
        names = [own] if own is not None else []
        for scope in rows:
            names.append(local("x", scope))
            if scope in self.counted:
                names.append(local("i", scope))
        return names[0] if names else CONTEXT, names

    def only(self, node: Node) -> Emitted:
        """The value of a single node that only has an `each`."""
        out = self.name()
        self.emit("{0} = None", out)
        self.each(node, lambda item: self.emit("{0} = {1}", out, item))
        return out

    def loops(self, node: Node) -> int:
        """How many nested Python loops `each` emits for a node; 99 where a plain `break` would not do."""
        if isinstance(
            node, (n.Property, n.Filter, n.ToSystem, n.Box, n.OfType, n.DynamicProperty, n.PrimitiveExtensions)
        ):
            below = self.loops(node.operands[0])
            own = 0
            if isinstance(node, n.Property):
                own = 1 if node.repeats else 0
            elif isinstance(node, (n.DynamicProperty, n.PrimitiveExtensions)):
                own = 1
            return below + own
        if isinstance(node, n.ForEach):
            return self.loops(node.operands[0]) + self.loops(node.operands[1])
        if key(node) in EACH or isinstance(node, (n.Let, n.Bind, n.If, n.Coalesce)):
            return 99  # as many loops as `each` of that kind makes of it, which is not told here
        return 1 if node.many else 0

    def leave_at_first(self, node: Node, start: Emitted, found: Callable[[Emitted], Emitted]) -> Emitted:
        """A name that holds `start`, or `found(item)` of the first item of a node; stops at that item."""
        if self.traced and any(isinstance(below, n.Retrieve) or below.type == SERIES for below in node.walk()):
            # every record and every series that matches is evidence, so none may be skipped
            items = self.temp(self.listing(node))
            return py("({0} if {1} else {2})", found(py("{0}[0]", items)), items, start)
        depth = self.loops(node)
        if depth <= 1:
            out = self.name()
            self.emit("{0} = {1}", out, start)

            def body(item: Emitted) -> None:
                self.emit("{0} = {1}", out, found(item))
                if depth == 1:
                    self.emit("break")

            self.each(node, body)
            return out
        if any(isinstance(below, (n.Let, n.Bind)) for below in node.walk()):
            items = self.temp(self.collect(node) if not node.many else self.value(node))
            return py("({0} if {1} else {2})", found(py("{0}[0]", items)), items, start)
        with self.closure() as name:
            self.each(node, lambda item: self.emit("return {0}", found(item)))
            self.emit("return {0}", start)
        return py("{0}()", name)

    def operator(self, node: n.Operation) -> Emitted:
        """A registered operator on single values; null operands give null unless it handles them."""
        overload = node.overload
        operands = [self.value(operand) for operand in node.operands]
        handled = overload.nulls == "handled"
        optional = [] if handled else [i for i, operand in enumerate(node.operands) if self.nullable(operand)]
        for index in optional:
            operands[index] = self.temp(operands[index])
        if overload.inline is not None:
            call = inlined(overload, operands)
        else:
            call = called(self.overload(overload), operands)
        if not optional:
            return call
        return py("(None if {0} else {1})", missing([operands[index] for index in optional]), call)

    def when(self, node: Node, body: Callable[[], None]) -> None:
        """Emit code that runs `body` where a condition is true (not false, not unknown)."""
        with self.at(node):
            if isinstance(node, n.And):
                left, right = node.operands
                self.when(left, lambda: self.when(right, body))
                return
            if n.is_operation(node, "Equal") and node.overload.inline is not None:
                left, right = node.operands
                a, b = self.value(left), self.value(right)
                if self.nullable(left) and self.nullable(right):
                    block = self.block("if {0} is not None and {0} == {1}:", self.temp(a), b)
                else:
                    block = self.block("if {0} == {1}:", a, b)
                with block:
                    body()
                return
            if node.is_null:
                return
            with self.block("if {0}:", self.value(node)):
                body()

    def counts(self, node: n.ItemStep) -> bool:
        """Whether the rounds of a loop are counted: where the number is asked for, and in traced code where the items are not objects that can be told apart."""
        scope, source = node.scope, node.operands[0]
        objects = source.types and all(map(_is_object, source.types))
        counted = any(self.uses(body, scope) for body in node.operands[1:]) or (self.traced and not objects)
        if counted:
            self.counted.add(scope)
        return counted

    def uses(self, node: Node, scope: int) -> bool:
        """Whether a node asks for the number of the item of a scope."""
        return any(isinstance(below, n.Iteration) and below.scope == scope for below in node.walk())


H = TypeVar("H", bound=Callable[..., Any])
VALUES: dict[Key, Callable[[Emitter, Any], Emitted]] = {}
EACH: dict[Key, Callable[[Emitter, Any, Body], None]] = {}


def emits_value(*kinds: Key) -> Callable[[H], H]:
    """Register how the value of nodes of some kinds is emitted."""

    def register(handler: H) -> H:
        for kind in kinds:
            VALUES[kind] = handler
        return handler

    return register


def emits_each(*kinds: Key) -> Callable[[H], H]:
    """Register how a loop over nodes of some kinds is emitted."""

    def register(handler: H) -> H:
        for kind in kinds:
            EACH[kind] = handler
        return handler

    return register
