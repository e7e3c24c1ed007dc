"""A module of emitted code while it is built: statements at the author's places, constants, names."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from fhir_eligibility.algebra.diagnostic import Source, Span
from fhir_eligibility.algebra.operators.registry import Overload
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.emit.program import placed, too_deep
from fhir_eligibility.compiler.emit.python import (
    ASKS,
    Emitted,
    Place,
    Template,
    any_of,
    bound_name,
    head,
    name_of,
    py,
    statement,
    template,
)
from fhir_eligibility.compiler.emit.reuse import Reuse

_INDENTED = 100  # blocks in each other, as many as Python's own parser takes


class Captured(NamedTuple):
    """What was emitted apart: statements, and the code that was given."""

    statements: list[ast.stmt]
    code: Emitted


def inlined(overload: Overload, operands: list[Emitted]) -> Emitted:
    """The inline form of an operator."""
    assert overload.inline is not None
    return template(overload.inline)(*operands)


def missing(operands: list[Emitted]) -> Emitted:
    """Whether one of some values is null."""
    return any_of([py("{0} is None", operand) for operand in operands])


class ModuleBuilder:
    """Builds one module. What nodes turn into is the business of the emitters of the languages."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.body: list[ast.stmt] = []
        self.constants: dict[str, Any] = {}
        self.reuse = Reuse()
        # how many statements were emitted that ask the environment for more than what can be asked twice
        self.asked = 0
        self._known: dict[Any, Emitted] = {}
        self._level = 0
        self._names = 0
        self._span: Span | None = None
        self._places: dict[Span | None, Place] = {}
        # the `if` that an `else` would belong to
        self._open: ast.If | None = None

    @property
    def module(self) -> ast.Module:
        """What was built."""
        return ast.Module(self.body, [])

    def functions(self) -> list[ast.FunctionDef]:
        """The functions of the module."""
        return [one for one in self.body if isinstance(one, ast.FunctionDef)]

    # -- statements

    def emit(self, text: str, *operands: Emitted) -> None:
        """A statement without a body."""
        self.body.append(self.made(text, *operands))
        self._open = None

    def do(self, code: Emitted) -> None:
        """An expression as a statement."""
        self.emit("{0}", code)

    def made(self, text: str, *operands: Emitted) -> ast.stmt:
        """A statement that is not emitted here."""
        found: ast.stmt = self._made(statement(text), operands)
        return found

    def _made(self, made: Template, operands: tuple[Emitted, ...]) -> Any:
        traits = made.traits
        for operand in operands:
            traits |= operand.traits
        if traits & ASKS:
            self.asked += 1
        node = made.build(operands, self._place())
        for number in made.binds:
            self.reuse.bound(bound_name(operands[number]))
        return node

    def _place(self) -> Place:
        place = self._places.get(self._span)
        if place is None:
            place = self._places[self._span] = placed(self.source, self._span)
        return place

    @contextmanager
    def block(self, text: str, *operands: Emitted) -> Iterator[None]:
        """A statement with a body: `if`, `elif`, `else` or `for`; inside, statements go into the body."""
        body: list[ast.stmt]
        node: ast.If | ast.For | None = None
        if text == "else:":
            assert self._open is not None
            body = self._open.orelse
        else:
            node = self._made(head(text), operands)
            assert node is not None
            if text.startswith("elif "):
                assert self._open is not None
                self._open.orelse.append(node)
            else:
                self.body.append(node)
            body = node.body
        with self._inside(body):
            yield
        self._open = node if isinstance(node, ast.If) else None

    @contextmanager
    def function(self, name: Emitted, parameters: tuple[Emitted, ...] = ()) -> Iterator[list[ast.stmt]]:
        """A function; gives its body."""
        place = self._place()
        names = [bound_name(parameter) for parameter in parameters]
        arguments = ast.arguments([], [ast.arg(one, None, None, **place) for one in names], None, [], [], None, [])
        node = ast.FunctionDef(bound_name(name), arguments, [], [], None, None, **place)
        for one in names:
            self.reuse.bound(one)
        self.body.append(node)
        with self._inside(node.body):
            yield node.body
        self._open = None

    @contextmanager
    def _inside(self, body: list[ast.stmt]) -> Iterator[None]:
        outer, self.body, self._open = self.body, body, None
        self._level += 1
        if self._level > _INDENTED:
            raise RecursionError("too many levels of indentation")
        self.reuse.enter()
        yield
        if not body:
            self.emit("pass")
        self.reuse.leave()
        self._level -= 1
        self.body = outer

    @contextmanager
    def closure(self, stem: str = "f") -> Iterator[Emitted]:
        """A local function, for early exit out of nested loops; call it by the name given."""
        name = self.name(stem)
        with self.function(name):
            yield name

    def captured(self, produce: Callable[[], Emitted]) -> Captured:
        """What `produce` emits and gives, without emitting it."""
        outer, opened = self.body, self._open
        self.body = []
        self.reuse.enter()
        try:
            code = produce()
            return Captured(self.body, code)
        finally:
            self.reuse.leave()
            self.body, self._open = outer, opened

    def release(self, captured: Captured) -> Emitted:
        """Emit what was captured; gives its code."""
        self.body.extend(captured.statements)
        return captured.code

    @contextmanager
    def at(self, node: Node) -> Iterator[None]:
        """Statements emitted inside belong to the author's text of this node."""
        outer = self._span
        if node.span is not None:
            self._span = node.span
        yield
        self._span = outer

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Raises DiagnosticError `too-deep` for what is nested too deeply."""
        try:
            yield
        except RecursionError as error:
            raise too_deep(error, self.source) from None

    # -- names

    def name(self, stem: str = "t") -> Emitted:
        """A name that nothing else has."""
        self._names += 1
        return name_of(stem, self._names)

    def constant(self, value: Any, stem: str = "K") -> Emitted:
        """A module-level name for a value that has no literal."""
        key: Any
        try:
            key = (value.__class__, value, str(value))
            hash(key)
        except TypeError:
            key = id(value)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = name_of(stem, len(self.constants))
            self.constants[bound_name(known)] = value
        return known

    def temp(self, code: Emitted, stem: str = "t") -> Emitted:
        """A local name for an expression: that of the same expression where it is at hand already."""
        if code.is_plain:
            return code
        known = self.reuse.get(code)
        if known is not None:
            return known
        name = self.name(stem)
        self.emit("{0} = {1}", name, code)
        if code.is_reusable:
            self.reuse.put(code, name)
        return name

    def again(self, key: Any, produce: Callable[[], Emitted]) -> Emitted:
        """What `produce` emits and gives, or the name of what it gave before for the same key."""
        known = self.reuse.get(key)
        if known is not None:
            return known
        before = self.asked
        found = produce()
        if found.is_plain and self.asked == before:
            self.reuse.put(key, found)
        return found

    def overload(self, overload: Overload) -> Emitted:
        """A module-level name for the function of an overload."""
        name = overload.function.__name__
        if not name.isidentifier():
            name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", overload.operator).lower()
        return self.constant(overload.reference, name + "_")
