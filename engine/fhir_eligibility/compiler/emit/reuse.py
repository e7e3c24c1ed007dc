"""Values that emitted code has computed already on every way to where it stands, so that they need not be computed again.

An expression is known by itself, or by the shape of its node where it takes several statements. It is used again only inside the block in
which it was first computed, as long as no name in it is bound anew, and only where computing it twice would tell the environment nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.emit.python import Emitted


class Reuse:
    """The values at hand at one place of the module."""

    def __init__(self) -> None:
        self._found: dict[Any, Emitted] = {}
        self._added: list[list[Any]] = [[]]
        self._mentions: dict[str, set[Any]] = {}

    def enter(self) -> None:
        """A block begins."""
        self._added.append([])

    def leave(self) -> None:
        """A block ends: what was computed in it is at hand no longer."""
        for key in self._added.pop():
            self._found.pop(key, None)

    def bound(self, name: str) -> None:
        """A statement binds a name: what was computed of it no longer holds."""
        for key in self._mentions.pop(name, ()):
            self._found.pop(key, None)

    def get(self, key: Any) -> Emitted | None:
        """The name of a value, None where it is not at hand."""
        return self._found.get(key)

    def put(self, key: Any, name: Emitted) -> None:
        """A value has been computed; `key` holds the code of all that it depends on."""
        if key not in self._found:
            self._found[key] = name
            self._added[-1].append(key)
            for mentioned in {*_names(key), *name.names()}:
                self._mentions.setdefault(mentioned, set()).add(key)


def _names(key: Any) -> Iterator[str]:
    """The names in the code that a key holds."""
    stack = [key]
    while stack:
        part = stack.pop()
        if part.__class__ is Emitted:
            yield from part.names()
        elif part.__class__ is tuple:
            stack.extend(part)


def shape(node: Node, named: Callable[[Node], Emitted | None]) -> Any:
    """What tells nodes apart that may have different values: kinds, attributes and operands; names in place of what refers to them."""
    name = named(node)
    if name is not None:
        return name
    parts = []
    for key, value in node.given():
        parts.append((key, shape(value, named) if isinstance(value, Node) else _known_by(value)))
    return node.kind, tuple(parts), tuple(shape(operand, named) for operand in node.children)


def _known_by(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value.__class__, value, str(value)  # 1.0 and 1.00 are equal, and not the same
