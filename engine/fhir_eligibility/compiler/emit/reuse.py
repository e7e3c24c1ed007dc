"""Values that emitted code has computed already on every way to where it stands, so that they need not be computed again.

An expression is known by its text, or by the shape of its node where it takes several statements. It is used again only inside the block in
which it was first computed, as long as no name in it is bound anew, and only where computing it twice would tell the environment nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fhir_eligibility.compiler.elm.nodes import Node

# What emitted code may ask of the environment without telling it anything.
_SILENT = re.compile(r"\bev\.(?:recorded|now|today|time_of_day)\b|\b(?:to_period|to_interval|to_value|once)\(ev\b")
_ENVIRONMENT = re.compile(r"\bev\b")
_NAMES = re.compile(r"[A-Za-z_]\w*")
# Names that stand for something else in each round of a loop, and lists, which are filled later.
_CHANGING = re.compile(r"\b(?:i_|s_|n|l|total|rows)\d+\b|\[")
_BINDING = re.compile(r"(?:for (\w+) in|def \w+\((.*)\)|(\w+) \+?= )")


class Reuse:
    """The values at hand at one place of the text."""

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self._found: dict[Any, str] = {}
        self._added: list[list[Any]] = [[]]
        self._mentions: dict[str, set[Any]] = {}

    def enter(self) -> None:
        """A block begins."""
        self._added.append([])

    def leave(self) -> None:
        """A block ends: what was computed in it is at hand no longer."""
        for key in self._added.pop():
            self._found.pop(key, None)

    def bound(self, line: str) -> None:
        """A line is written: what was computed of a name that it binds no longer holds."""
        match = _BINDING.match(line)
        if match is None:
            return
        for name in _NAMES.findall(match[2]) if match[2] else [match[1] or match[3]]:
            for key in self._mentions.pop(name, ()):
                self._found.pop(key, None)

    def get(self, key: Any) -> str | None:
        """The name of a value, None where it is not at hand."""
        return self._found.get(key)

    def put(self, key: Any, name: str, text: str) -> None:
        """A value has been computed; `text` mentions all that it depends on."""
        if key not in self._found:
            self._found[key] = name
            self._added[-1].append(key)
            for mentioned in {*_NAMES.findall(text), name}:
                self._mentions.setdefault(mentioned, set()).add(key)

    def tells_nothing(self, text: str) -> bool:
        """Whether code asks the environment for no more than what can be asked twice."""
        if "ev" not in text:
            return True
        left = _SILENT.sub("", text)
        for name in self.silent:
            if name in left:
                left = re.sub(rf"\b{name}\(ev\b", "", left)
        return _ENVIRONMENT.search(left) is None

    def reusable(self, text: str) -> bool:
        """Whether an expression may be used again."""
        return _CHANGING.search(text) is None and self.tells_nothing(text)


def shape(node: Node, name_of: Callable[[Node], str | None]) -> Any:
    """What tells nodes apart that may have different values: kinds, attributes and operands; names in place of what refers to them."""
    name = name_of(node)
    if name is not None:
        return name
    parts = []
    for key, value in node.given():
        parts.append((key, shape(value, name_of) if isinstance(value, Node) else _known_by(value)))
    return node.kind, tuple(parts), tuple(shape(operand, name_of) for operand in node.children)


def _known_by(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value.__class__, value, str(value)  # 1.0 and 1.00 are equal, and not the same
