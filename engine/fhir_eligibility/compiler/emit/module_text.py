"""The text of a Python module while it is written: lines with the author's spans, constants, names."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.algebra.operators.registry import Overload
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.emit.reuse import Reuse


def literal(value: Any) -> str:
    """The Python text of a text, an integer, true, false or null: the only way on which a constant's own text gets into a module.

    Raises TypeError for a value of any other class, whose `repr` nobody answers for: such a value is a `constant` with a name.
    """
    kind = value.__class__
    if value is None or kind is bool or kind is str:
        return repr(value)
    if kind is int:
        return repr(value) if value >= 0 else f"({value!r})"
    raise TypeError(f"a {kind.__name__} has no literal")


def local(stem: str, number: int) -> str:
    """The name of the variable of a scope that the translator has numbered."""
    return f"{stem}_{number:d}"


def filled(template: str, *operands: str) -> str:
    """A fixed template of ours, such as the inline form of an operator, with emitted expressions at `{0}`, `{1}`, ..."""
    return template.format(*operands)


class ModuleText:
    """Builds the text of one module. What nodes turn into is the business of the emitters of the languages."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.spans: list[Span | None] = []
        self.constants: dict[str, Any] = {}
        self._known: dict[Any, str] = {}
        self.reuse = Reuse()
        self._level = 0
        self._names = 0
        self._span: Span | None = None

    # -- text

    def emit(self, text: str) -> None:
        self.lines.append("    " * self._level + text)
        self.spans.append(self._span)
        self.reuse.bound(text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.emit(head)
        self._level += 1
        self.reuse.enter()
        before = len(self.lines)
        yield
        if len(self.lines) == before:
            self.emit("pass")
        self.reuse.leave()
        self._level -= 1

    @contextmanager
    def at(self, node: Node) -> Iterator[None]:
        """Lines emitted inside belong to the author's text of this node."""
        outer = self._span
        if node.span is not None:
            self._span = node.span
        yield
        self._span = outer

    def name(self, stem: str = "t") -> str:
        self._names += 1
        return f"{stem}{self._names}"

    def constant(self, value: Any, stem: str = "K") -> str:
        """A module-level name for a value that has no literal."""
        key: Any
        try:
            key = (value.__class__, value, str(value))
            hash(key)
        except TypeError:
            key = id(value)
        if key not in self._known:
            name = f"{stem}{len(self.constants)}"
            self.constants[name] = value
            self._known[key] = name
        return self._known[key]

    def temp(self, expression: str, stem: str = "t") -> str:
        """A local name for an expression: that of the same expression where it is at hand already."""
        if expression.isidentifier() and not keyword.iskeyword(expression):
            return expression
        if expression in ("None", "True", "False"):
            return expression
        known = self.reuse.get(expression)
        if known is not None:
            return known
        name = self.name(stem)
        self.emit(f"{name} = {expression}")
        if self.reuse.reusable(expression):
            self.reuse.put(expression, name, expression)
        return name

    def again(self, key: Any, produce: Callable[[], str]) -> str:
        """What `produce` emits and gives, or the name of what it gave before for the same key."""
        known = self.reuse.get(key)
        if known is not None:
            return known
        start = len(self.lines)
        found = produce()
        if found.isidentifier() and all(map(self.reuse.tells_nothing, self.lines[start:])):
            self.reuse.put(key, found, str(key))
        return found

    @contextmanager
    def closure(self, stem: str = "f") -> Iterator[str]:
        """A local function, for early exit out of nested loops; call it by the name given."""
        name = self.name(stem)
        with self.block(f"def {name}():"):
            yield name

    def overload(self, overload: Overload) -> str:
        """A module-level name for the function of an overload."""
        name = overload.function.__name__
        if not name.isidentifier():
            name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", overload.operator).lower()
        return self.constant(overload.reference, name + "_")
