"""The typed tree to Python: one function a definition, statements, loops fused, early exit, null checks only where a value can be null.

Three ways to emit a node: `value` gives an expression for it after emitting what it needs; `each` runs a body for every item of it, and so fuses a whole
path or query into nested loops without lists in between; `when` runs a body where a condition is true. What each class of nodes turns into is registered
by `emits`, `emits_each` and `emits_inline`: in `values`, `logic`, `queries`, `models`, and, for FHIRPath's steps over collections, in the modules
`fhirpath_*`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from fhir_eligibility.algebra.diagnostic import Source, Span
from fhir_eligibility.compiler.analysis.origins import Origin, elements_of, is_at_hand
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.questions import Bound, bound_in, is_question, rows_of
from fhir_eligibility.compiler.elm.scope import Exported, ExportedFunction
from fhir_eligibility.compiler.elm.types import (
    QUANTITY,
    ListType,
    Named,
    Type,
    TypeSystem,
)
from fhir_eligibility.compiler.emit.certainty import KnownValues, can_fail
from fhir_eligibility.compiler.emit.keys import Key, key
from fhir_eligibility.compiler.emit.module_builder import ModuleBuilder, inlined, missing
from fhir_eligibility.compiler.emit.python import (
    CONTEXT,
    EV,
    FALSE,
    NONE,
    TRUE,
    Emitted,
    all_of,
    bound_name,
    called,
    defined,
    literal,
    local,
    name_of,
    py,
    tupled,
)
from fhir_eligibility.compiler.emit.sites import Site, Sites
from fhir_eligibility.compiler.emit.type_tests import TypesOfModels
from fhir_eligibility.compiler.syntax.depth import deep_recursion

Body = Callable[[Emitted], None]
_LONGEST = 160  # characters of an expression that stands in a line with others
_DEEPEST = 12  # loops in each other


class Emitter(ModuleBuilder):
    """Builds one module: of a library, with its type system, or of one expression, without.

    `traced` code reports rows, and comparisons without an answer; `explained` code reports the value of every part of the author's text.
    """

    def __init__(
        self, source: Source, types: TypeSystem | None = None, *, traced: bool = False, explained: bool = False
    ) -> None:
        super().__init__(source)
        self.explained = explained
        self.types = types or TypeSystem()
        models = TypesOfModels(self.types)
        self.fhir_type, self.is_resource, self.tested = models.fhir_type, models.is_resource, models.tested
        self.traced = traced
        self.sites = Sites(named=types is not None)
        self.known = KnownValues(traced=traced, ranges=types is not None)
        self.nullable, self.certain = self.known.nullable, self.known.certain
        # what names of scopes stand for, and what nodes are known as where they are emitted again
        self.names: dict[int, Emitted] = {}
        self.preset: dict[int, Emitted] = {}
        # of traced code: the resources at hand, the retrieves whose rows a query tries, variables, the loops whose rounds are counted
        self.rows: list[Emitted] = []
        self.filtered: set[int] = set()
        self.bound: Bound = {}
        self.counted: set[int] = set()
        self.imports: dict[tuple[str, str], str] = {}
        # definitions that ask the environment for no more than what can be asked twice
        self.silent: set[Emitted] = set()
        self._prologue: list[ast.stmt] = []
        self._once_a_call: dict[Emitted, Emitted] = {}
        self.loop_depth = 0

    # -- functions

    def define(self, name: Emitted, operands: Sequence[Emitted], node: Node, span: Span | None, title: str) -> None:
        """A module-level function whose value is that of a node, with a title for readers."""
        self._span = span
        before = self.asked
        self._prologue, self._once_a_call, self.loop_depth = [], {}, 0
        with self.function(name, (EV, *operands)) as body:
            if title:
                self.do(literal(title))
            start = len(body)
            result = self.value(node)
            with self.at(node):
                self.emit("return {0}", result)
            body[start:start] = self._prologue
        self._span = None
        if self.asked == before and not any(code.asks for code in self._once_a_call):
            self.silent.add(name)

    def define_expression(self, name: str, node: Node) -> None:
        """A module-level function of the environment and the input. Raises DiagnosticError `too-deep`."""
        self.bound = bound_in(node) if self.traced else {}
        with self.bounded(), deep_recursion():
            self.define(defined(name), (CONTEXT,), node, node.span, "")

    def parameter(self, name: Emitted, given: Emitted, default: Node | None, span: Span | None, title: str) -> None:
        """A function for a parameter: the value given, else its default."""
        self._span = span
        value, otherwise = name_of("given", 0), defined(f"default_{bound_name(name)}")
        with self.function(name, (EV,)):
            self.do(literal(title))
            self.emit("{0} = {1}", value, given)
            with self.block("if {0} is not MISSING:", value):
                self.emit("return {0}", value)
            self.emit("return {0}", NONE if default is None else called(otherwise, [EV]))
        if default is not None:
            self.define(otherwise, (), default, span, f"default of {title}")

    def once_a_call(self, code: Emitted, stem: str = "c") -> Emitted:
        """A local name for what depends on nothing in the function, made at its start."""
        found = self._once_a_call.get(code)
        if found is None:
            found = self._once_a_call[code] = self.name(stem)
            before = self.asked
            self._prologue.append(self.made("{0} = {1}", found, code))
            self.asked = before
        return found

    def definition_name(self, exported: Exported | ExportedFunction, library: str | None) -> Emitted:
        """The name, in this module, of the function of a definition."""
        if library is None:
            return defined(exported.python)
        key = (exported.owner, exported.python)
        if key not in self.imports:
            self.imports[key] = bound_name(name_of("of_", len(self.imports)))
        return defined(self.imports[key])

    @property
    def row(self) -> Emitted:
        """The innermost resource at hand, for what is reported; the patient where there is none."""
        return self.rows[-1] if self.rows else py("ev.subject")

    def type_test(self, kind: Type) -> Emitted:
        """A module-level name for the test of a type."""
        return self.constant(self.tested(kind))

    # -- nodes

    def value(self, node: Node) -> Emitted:
        """An expression for the value of a node: a list where it is one, else a value or None."""
        known = self.preset.get(id(node))
        if known is not None:
            return known
        with self.at(node):
            handler = VALUES.get(key(node))
            if handler is not None:
                code = handler(self, node)
            elif isinstance(node, n.Operation):
                code = self.operator(node)
            elif key(node) not in EACH:
                raise NotImplementedError(f"the node {node.kind} cannot be emitted")
            else:
                code = collected(self, node) if node.many else only(self, node)
            if self.explained and node.span is not None and not isinstance(node, (n.Literal, n.Null)):
                code = self.temp(code)
                site = self.sites.add(Site("part", node.span, ()))
                self.emit("ev.explained({0}, {1})", site, code)
            return self.temp(code) if code.size > _LONGEST or can_fail(node) else code

    def each(self, node: Node, body: Body) -> None:
        """Emit code that runs `body` for every item of a list, none where it is null; of a single value, for that."""
        with self.at(node):
            handler = EACH.get(key(node))
            if handler is not None and id(node) not in self.preset and handler(self, node, body) is not False:
                return
            if not node.many:
                once(self, node, body)
            elif isinstance(node, n.List) and len(node.operands) == 1:
                body(self.temp(self.value(node.operands[0])))
            else:
                values = self.value(node)
                with self.loop(py("{0} or ()", values) if self.nullable(node) else values) as item:
                    body(item)

    @contextmanager
    def loop(self, values: Emitted) -> Iterator[Emitted]:
        """A loop over an expression; gives the name of the item."""
        item = self.name("x")
        self.loop_depth += 1
        with self.block("for {0} in {1}:", item, values):
            yield item
        self.loop_depth -= 1

    @contextmanager
    def closure(self, stem: str = "f") -> Iterator[Emitted]:
        loops, self.loop_depth = self.loop_depth, 0
        with super().closure(stem) as name:
            yield name
        self.loop_depth = loops

    def loops(self, node: Node) -> int:
        """How many Python loops `each` emits around its body; 99 where that is not told."""
        counter = LOOPS.get(key(node))
        if counter is not None and id(node) not in self.preset:
            return counter(self, node)
        if key(node) in EACH or isinstance(node, (n.Let, n.Bind)):
            return 99
        return 1 if node.many and not (isinstance(node, n.List) and len(node.operands) == 1) else 0

    def first_of(
        self,
        node: Node,
        start: Emitted,
        found: Callable[[Emitted], Emitted | None],
        each: Callable[[Body], None] | None = None,
        *,
        every: bool,
    ) -> Emitted:
        """A name that holds `start`, or `found(item)` of the first element for which that is not None; stops there, unless it is to look at `every` one.

        `found` emits what it needs; `each(body)` runs the loop, `self.each(node, ...)` where it is not given.
        """
        run = each if each is not None else lambda body: self.each(node, body)
        depth = 0 if every else self.loops(node)
        if depth <= 1 and self.loop_depth < _DEEPEST:
            out = self.name()
            self.emit("{0} = {1}", out, start)

            def body(item: Emitted) -> None:
                result = found(item)
                if result is not None:
                    self.emit("{0} = {1}", out, result)
                    if depth == 1:
                        self.emit("break")

            run(body)
            return out
        with self.closure() as name:

            def leave(item: Emitted) -> None:
                result = found(item)
                if result is not None:
                    self.emit("return {0}", result)

            run(leave)
            self.emit("return {0}", start)
        return py("{0}()", name)

    # -- operators

    def operator(self, node: n.Operation) -> Emitted:
        """A registered operator; null operands give null unless it handles them."""
        overload = node.overload
        operands = [self.value(operand) for operand in node.operands]
        optional = [] if overload.nulls == "handled" else [i for i, o in enumerate(node.operands) if self.nullable(o)]
        for index in optional:
            operands[index] = self.temp(operands[index])
        if any(operands[index] == NONE for index in optional):
            return NONE
        reported = self.traced and node.traits.reports and self.nullable(node)
        if reported:
            operands = [self.temp(operand) for operand in operands]
        given = operands
        if not node.traits.ranges:
            given = [
                code if self.certain(o) or code == NONE else py("certain({0}, {1})", code, literal(node.kind))
                for code, o in zip(operands, node.operands, strict=True)
            ]
        inline = INLINE.get(node.name)
        short = inline(self, node, given) if inline is not None else None
        if short is not None:
            call = short
        elif overload.inline is not None:
            call = inlined(overload, given)
        else:
            arguments = [EV, *given] if overload.context else list(given)
            if overload.precise and node.precision is not None:
                arguments.append(literal(node.precision))
            call = called(self.overload(overload), arguments)
        if optional:
            call = py("(None if {0} else {1})", missing([operands[index] for index in optional]), call)
        return self.reported(node, operands, call) if reported else call

    def reported(self, node: Node, operands: Sequence[Emitted], call: Emitted) -> Emitted:
        """In traced code a comparison without an answer tells its operands: quantities of the data as they are written, since a bound may decide."""
        out = self.name()
        self.emit("{0} = {1}", out, call)
        written = [_written(operand) for operand in node.operands]

        def shown() -> list[Emitted]:
            return [code if node is None else self.value(node) for node, code in zip(written, operands, strict=True)]

        if any(one is not None for one in written):
            with self.block("if {0} is None:", out):
                self.emit("{0} = {1}", out, called(py("ev.bounded"), [literal(node.kind), *shown()]))
        with self.block("if {0} is None:", out):
            self.tell_unknown(node, shown())
        return out

    def tell_unknown(
        self,
        node: Node,
        operands: Sequence[Emitted],
        spans: tuple[Span | None, ...] | None = None,
        found: list[tuple[Node, Origin]] | None = None,
    ) -> None:
        """Tell the environment that a comparison had no answer, its operands and the records that they come from."""
        if spans is None:
            spans = tuple(operand.span for operand in node.operands)
        if found is None:
            found = self.sites.origins(node.operands, self.record_type)
        site = self.sites.add(Site("comparison", node.span, spans, tuple(origin for _, origin in found)))
        owners = [self.value(owner) if is_at_hand(owner) else NONE for owner, _ in found]
        self.do(called(py("ev.unknown"), [site, operands[0], operands[1], *owners]))

    def record_type(self, node: Node) -> str | None:
        """The FHIR type of a record, None where it is not one type."""
        kind = node.result.element if isinstance(node.result, ListType) else node.result
        return self.fhir_type(kind.name) if isinstance(kind, Named) else None

    # -- conditions

    def when(self, node: Node, body: Callable[[], None]) -> None:
        """Emit code that runs `body` where a condition is true (not false, not null)."""
        with self.at(node):
            if isinstance(node, n.And) and not self.explained:
                left, right = node.operands
                self.when(left, lambda: self.when(right, body))
                return
            if isinstance(node, n.Null):
                return
            head = self.test(node)
            if head == TRUE:
                body()
            if head in (TRUE, FALSE):
                return
            with self.block("if {0}:", head):
                body()

    def test(self, node: Node) -> Emitted:
        """An expression that is truthy exactly where a condition is true."""
        if self.explained:
            return self.value(node)
        if isinstance(node, n.Not):
            inner = self.value(node.operands[0])
            return py("{0} is False", inner) if self.nullable(node.operands[0]) else py("not {0}", inner)
        overload = n.overload_of(node)
        if overload is None or overload.inline is None or overload.nulls != "propagate":
            return self.value(node)
        operands = [self.value(operand) for operand in node.operands]
        for index, operand in enumerate(node.operands):
            if self.nullable(operand):
                operands[index] = self.temp(operands[index])
        present = [
            py("{0} is not None", code) for code, o in zip(operands, node.operands, strict=True) if self.nullable(o)
        ]
        if n.is_operation(node, "Equal") and all(map(self.certain, node.operands)) and len(present) < 2:
            present = []
        return all_of([*present, inlined(overload, operands)])


def _written(operand: Node) -> Node | None:
    """The quantity of the data that an operand is made of, None where it is made of anything else."""
    if not isinstance(operand, n.ToSystem) or operand.target != QUANTITY:
        return None
    (inner,) = operand.operands
    return inner if isinstance(inner, (n.Current, n.Property, n.Reference)) else None


# -- items


def once(e: Emitter, node: Node, body: Body) -> None:
    """`each` of a single value."""
    if node.is_null:
        return
    value = single(e, node)
    if not e.nullable(node):
        body(value)
        return
    with e.block("if {0} is not None:", value):
        body(value)


def single(e: Emitter, node: Node) -> Emitted:
    """The value of a single node that becomes an item of a collection. What has no answer is no item: in traced code, one in doubt."""
    if not e.traced or not e.nullable(node) or not is_question(node, e.bound):
        return e.temp(e.value(node))
    if isinstance(node, n.Box):
        return e.temp(py("box({0}, {1})", single(e, node.operands[0]), literal(e.fhir_type(node.target.name))))
    rows = rows_of(node, e.bound)
    elements = tuple(elements_of(node, scope) for scope in list(rows)[:1])
    site = e.sites.add(Site("answer", node.span, (node.span,), elements=elements))
    value = e.temp(e.value(node))
    out = e.name()
    e.emit("{0} = {1}", out, value)
    with e.block("if {0} is None:", out):
        row, about = rows_at(e, rows)
        e.emit("{0} = ev.answered({1}, {2}, {3})", out, site, row, tupled(about))
    return out


def rows_at(e: Emitter, rows: dict[int, Node], own: Emitted | None = None) -> tuple[Emitted, list[Emitted]]:
    """The row that a doubt is about, and all rows that it hangs on: `own`, and those of enclosing scopes."""
    names = [own] if own is not None else []
    for scope in rows:
        names.append(local("x", scope))
        if scope in e.counted:
            names.append(local("i", scope))
    return names[0] if names else CONTEXT, names


def only(e: Emitter, node: Node) -> Emitted:
    """The value of a single node that only has an `each`."""
    out = e.name()
    e.emit("{0} = None", out)
    e.each(node, lambda item: e.emit("{0} = {1}", out, item))
    return out


def collected(e: Emitter, node: Node) -> Emitted:
    """A list of all items of a node, built with `each`."""
    out = e.name("l")
    e.emit("{0} = []", out)
    grows = not _of_the_data(node)

    def body(item: Emitted) -> None:
        e.emit("{0}.append({1})", out, item)
        if grows:
            with e.block("if len({0}) > MAX_ITEMS:", out):
                e.emit("too_many_items()")

    e.each(node, body)
    return out


# Steps that give no more items than the data has below one item.
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


H = TypeVar("H", bound=Callable[..., Any])
VALUES: dict[Key, Callable[[Emitter, Any], Emitted]] = {}
EACH: dict[Key, Callable[[Emitter, Any, Body], bool | None]] = {}
LOOPS: dict[Key, Callable[[Emitter, Any], int]] = {}
INLINE: dict[Key, Callable[[Emitter, n.Operation, list[Emitted]], Emitted | None]] = {}


def emits(*kinds: Key) -> Callable[[H], H]:
    """Register how the value of nodes of some classes, or of some operators, is emitted."""
    return lambda handler: _registered(VALUES, kinds, handler)


def emits_each(*kinds: Key) -> Callable[[H], H]:
    """Register how a loop over nodes of some classes is emitted: False where it is emitted as that over any list."""
    return lambda handler: _registered(EACH, kinds, handler)


def emits_inline(*kinds: Key) -> Callable[[H], H]:
    """Register what does in place of the call of some operators; None where that is to be made."""
    return lambda handler: _registered(INLINE, kinds, handler)


def counts_loops(*kinds: Key) -> Callable[[H], H]:
    """Register how many loops `each` emits for nodes of some classes."""
    return lambda handler: _registered(LOOPS, kinds, handler)


def _registered(table: dict[Key, Any], kinds: tuple[Key, ...], handler: H) -> H:
    for kind in kinds:
        if kind in table:
            raise ValueError(f"{kind} is registered twice")
        table[kind] = handler
    return handler
