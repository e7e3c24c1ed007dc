"""Typed ELM of CQL to Python: one function a definition, statements, loops fused, null checks only where a value can be null.

`value` gives a Python expression for a node after emitting what it needs; `each` runs a body for every element of a list; `when` runs
a body where a condition is true. What the kinds of nodes turn into stands in `cql_nodes`, `logic` and `queries`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from fhir_eligibility.algebra.diagnostic import Source, Span
from fhir_eligibility.compiler.analysis.origins import Origin, is_at_hand
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.scope import Exported, ExportedFunction
from fhir_eligibility.compiler.elm.types import (
    ANY,
    BOOLEAN,
    DATE,
    DATETIME,
    DECIMAL,
    INTEGER,
    LONG,
    QUANTITY,
    TIME,
    ChoiceType,
    IntervalType,
    ListType,
    Named,
    Type,
    TypeSystem,
)
from fhir_eligibility.compiler.emit.certainty import CERTAIN, FAILING, NEVER_NULL
from fhir_eligibility.compiler.emit.fast_path import texts_of
from fhir_eligibility.compiler.emit.keys import Key, key
from fhir_eligibility.compiler.emit.module_builder import ModuleBuilder, inlined, missing
from fhir_eligibility.compiler.emit.python import (
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
    name_of,
    py,
)
from fhir_eligibility.compiler.emit.sites import Site, Sites
from fhir_eligibility.compiler.runtime.type_tests import TypeOfValue

Body = Callable[[Emitted], None]

_POINTS = (INTEGER, LONG, DECIMAL, QUANTITY, DATE, DATETIME, TIME, ANY)
_LONGEST = 160


class CqlEmitter(ModuleBuilder):
    """Builds the module of one library."""

    def __init__(self, types: TypeSystem, source: Source, *, traced: bool = False) -> None:
        super().__init__(source)
        self.types = types
        self.traced = traced
        self.sites = Sites()
        self.rows: list[Emitted] = []
        self.filtered: set[int] = set()
        self.names: dict[int, Emitted] = {}
        self.solid: set[int] = set()
        self.preset: dict[int, Emitted] = {}
        self.imports: dict[tuple[str, str], str] = {}
        # definitions that ask the environment for no more than what can be asked twice
        self.silent: set[Emitted] = set()
        self._prologue: list[ast.stmt] = []
        self._once_a_call: dict[Emitted, Emitted] = {}
        self.loop_depth = 0
        self._nullable: dict[tuple[int, int], bool] = {}
        self._certain: dict[int, bool] = {}

    # -- functions

    def define(self, name: Emitted, operands: Sequence[Emitted], node: Node, span: Span | None, title: str) -> None:
        """A module-level function whose value is that of a node."""
        self._span = span
        before = self.asked
        self._prologue, self._once_a_call, self.loop_depth = [], {}, 0
        with self.function(name, (EV, *operands)) as body:
            self.do(literal(title))
            result = self.value(node)
            with self.at(node):
                self.emit("return {0}", result)
            body[1:1] = self._prologue
        self._span = None
        if self.asked == before and not any(code.asks for code in self._once_a_call):
            self.silent.add(name)

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

    def fhir_type(self, name: str) -> str:
        """The FHIR type that values of a model's type have."""
        namespace, _, short = name.partition(".")
        model = self.types.models.get(namespace)
        return (model.fhir_type(short) if model is not None else None) or short

    # -- traced code

    def is_resource(self, kind: Type) -> bool:
        """Whether values of a type are resources, or may be."""
        if isinstance(kind, ChoiceType):
            return any(self.is_resource(option) for option in kind.options)
        if not isinstance(kind, Named):
            return False
        namespace, _, short = kind.name.partition(".")
        model = self.types.models.get(namespace)
        return model is not None and not model.is_raw(short)

    @property
    def row(self) -> Emitted:
        """The innermost resource at hand, for what is reported; the patient where there is none."""
        return self.rows[-1] if self.rows else py("ev.subject")

    def type_test(self, kind: Type) -> Emitted:
        """A module-level name for the test of a type."""
        return self.constant(self.tested(kind))

    def tested(self, kind: Type) -> TypeOfValue:
        """The test of a type."""
        names: dict[str, str] = {}
        version = "r4"
        stack: list[Any] = [kind]
        while stack:
            found = stack.pop()
            if isinstance(found, Named) and not found.name.startswith("System."):
                names[found.name] = self.fhir_type(found.name)
                model = self.types.models.get(found.name.partition(".")[0])
                version = model.fhir.version if model is not None else version
            elif isinstance(found, ListType):
                stack.append(found.element)
            elif isinstance(found, IntervalType):
                stack.append(found.point)
            elif isinstance(found, ChoiceType):
                stack.extend(found.options)
        return TypeOfValue(kind, tuple(sorted(names.items())), version)

    # -- nodes

    def value(self, node: Node) -> Emitted:
        """A Python expression for the value of a node."""
        known = self.preset.get(id(node))
        if known is not None:
            return known
        with self.at(node):
            handler = VALUES.get(key(node))
            if handler is not None:
                code = handler(self, node)
            elif isinstance(node, n.Operation):
                code = self.operator(node)
            else:
                raise NotImplementedError(f"the node {node.kind} cannot be emitted")
            fails = isinstance(node, FAILING) or n.traits_of(node).fails
            return self.temp(code) if code.size > _LONGEST or fails else code

    def each(self, node: Node, body: Body) -> None:
        """Emit code that runs `body` for every element of a list, none where the list is null."""
        with self.at(node):
            handler = EACH.get(key(node))
            if handler is not None and id(node) not in self.preset and handler(self, node, body):
                return
            if isinstance(node, n.List) and len(node.operands) == 1:
                body(self.temp(self.value(node.operands[0])))
                return
            values = self.value(node)
            with self.loop(py("{0} or ()", values) if self.nullable(node) else values) as item:
                body(item)

    @contextmanager
    def loop(self, values: Emitted) -> Iterator[Emitted]:
        """A loop over a Python expression; gives the name of the item."""
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
        """How many Python loops `each` emits around its body."""
        counter = LOOPS.get(key(node))
        if counter is not None and id(node) not in self.preset:
            return counter(self, node)
        return 0 if isinstance(node, n.List) and len(node.operands) == 1 else 1

    def first_of(
        self, node: Node, start: Emitted, found: Callable[[Emitted], Emitted | None], each: Any = None
    ) -> Emitted:
        """A name that holds `start`, or `found(item)` of the first element for which that is not None; stops there.

        `found` emits what it needs; `each(body)` runs the loop, `self.each(node, ...)` where it is not given.
        """
        run = each if each is not None else lambda body: self.each(node, body)
        depth = 0 if self.traced else self.loops(node)  # traced code looks at every row: all that match are evidence
        if depth <= 1 and self.loop_depth < 12:
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

    def reported(self, node: n.Operation, operands: list[Emitted], call: Emitted) -> Emitted:
        """In traced code a comparison without an answer tells its operands."""
        out = self.name()
        self.emit("{0} = {1}", out, call)
        spans = tuple(operand.span for operand in node.operands)
        with self.block("if {0} is None:", out):
            self.tell_unknown(node.span, operands, spans, self.sites.origins(node.operands, self.record_type))
        return out

    def tell_unknown(
        self,
        span: Span | None,
        operands: list[Emitted],
        spans: tuple[Span | None, ...],
        found: list[tuple[Node, Origin]],
    ) -> None:
        """Tell the environment that a comparison had no answer, its operands and the records that they come from."""
        site = self.sites.add(Site("comparison", span, spans, tuple(origin for _, origin in found)))
        owners = [self.value(owner) if is_at_hand(owner) else NONE for owner, _ in found]
        self.do(called(py("ev.unknown"), [site, operands[0], operands[1], *owners]))

    def record_type(self, node: Node) -> str | None:
        """The FHIR type of a record, None where it is not one type."""
        kind = node.result.element if isinstance(node.result, ListType) else node.result
        return self.fhir_type(kind.name) if isinstance(kind, Named) else None

    # -- what is known of a node before it runs

    def nullable(self, node: Node) -> bool:
        """Whether the value of a node can be null."""
        key = (id(node), len(self.solid))
        known = self._nullable.get(key)
        if known is None:
            known = self._nullable[key] = self._is_nullable(node)
        return known

    def _is_nullable(self, node: Node) -> bool:
        if isinstance(node, NEVER_NULL):
            return False
        if isinstance(node, n.Not) and node.guard and self.traced:
            return self.nullable(node.operands[0].operands[0])
        if isinstance(node, (n.And, n.Or, n.Xor, n.Implies, n.Not, n.ConvertInterval, n.ToList)):
            return any(self.nullable(o) for o in node.operands)
        if isinstance(node, n.AliasRef):
            return node.scope not in self.solid
        if isinstance(node, (n.If, n.Case)):
            return any(self.nullable(o) for o in (*node.operands[1:-1:2], node.operands[-1]))
        if isinstance(node, n.Coalesce):
            return node.over_list or all(self.nullable(o) for o in node.operands)
        if isinstance(node, n.Instance):  # a Quantity without a value is null
            return node.target == QUANTITY
        if isinstance(node, n.Box) or (isinstance(node, n.As) and node.retype):
            return self.nullable(node.operands[0])
        if isinstance(node, n.Query):
            return self.query_nullable(node)
        if isinstance(node, n.ElementOf) and node.owner == "interval" and node.result == BOOLEAN:
            return self.nullable(node.operands[0])
        if not isinstance(node, n.Operation):
            return True
        if node.name in ("In", "Contains") and texts_of(node) is not None:
            return False
        overload = node.overload
        if node.traits.symbol and not all(self.certain(o) for o in node.operands):
            return True
        if overload.nulls == "handled":
            return overload.nullable or (isinstance(node.result, ListType) and any(map(self.nullable, node.operands)))
        return overload.nullable or any(self.nullable(o) for o in node.operands)

    def query_nullable(self, node: n.Query) -> bool:
        if node.aggregate is not None:
            return True
        sources = [source.node for source in node.sources]
        if node.over_lists:
            return len(sources) == 1 and self.nullable(sources[0])
        return True

    def certain(self, node: Node) -> bool:
        """Whether the value of a node is never an Uncertainty."""
        if id(node) not in self._certain:
            self._certain[id(node)] = self._is_certain(node)
        return self._certain[id(node)]

    def _is_certain(self, node: Node) -> bool:
        if isinstance(node, CERTAIN) or node.result not in _POINTS:
            return True
        if isinstance(node, (n.If, n.Case)):
            return all(self.certain(o) for o in (*node.operands[1:-1:2], node.operands[-1]))
        if isinstance(node, n.Coalesce) and not node.over_list:
            return all(self.certain(o) for o in node.operands)
        certain = n.traits_of(node).certain
        return certain == "always" or (certain == "as operands" and all(self.certain(o) for o in node.operands))

    def solid_elements(self, node: Node) -> bool:
        """Whether no element of a list can be null."""
        if isinstance(node, n.ModelRetrieve):
            return True
        if isinstance(node, n.List):
            return not any(self.nullable(o) for o in node.operands)
        if isinstance(node, n.Query) and node.over_lists and node.aggregate is None:
            ret = node.returned
            if ret is not None:
                return not self.nullable(ret)
            return len(node.sources) == 1 and self.solid_elements(node.sources[0].node)
        return False

    # -- conditions

    def when(self, node: Node, body: Callable[[], None]) -> None:
        """Emit code that runs `body` where a condition is true (not false, not null)."""
        with self.at(node):
            if isinstance(node, n.And):
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
        """A Python expression that is truthy exactly where a condition is true."""
        if isinstance(node, n.Not):
            inner = self.value(node.operands[0])
            return py("{0} is False", inner) if self.nullable(node.operands[0]) else py("not {0}", inner)
        overload = n.overload_of(node)
        if overload is not None and overload.inline is not None and overload.nulls == "propagate":
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
        return self.value(node)


H = TypeVar("H", bound=Callable[..., Any])
VALUES: dict[Key, Callable[[CqlEmitter, Any], Emitted]] = {}
INLINE: dict[str, Callable[[CqlEmitter, n.Operation, list[Emitted]], Emitted | None]] = {}
EACH: dict[Key, Callable[[CqlEmitter, Any, Body], bool]] = {}
LOOPS: dict[Key, Callable[[CqlEmitter, Any], int]] = {}


def emits(*kinds: Key) -> Callable[[H], H]:
    """Register how the value of nodes of some kinds is emitted."""

    def register(handler: H) -> H:
        for kind in kinds:
            VALUES[kind] = handler
        return handler

    return register
