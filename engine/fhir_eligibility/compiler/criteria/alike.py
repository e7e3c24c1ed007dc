"""FHIRPath of coded forms that differs in its codes alone is compiled once: with placeholders, which then give way to the codes.

Codes are compared and looked up, nothing of what is emitted depends on how they are spelt; a placeholder is as long as the code that it stands for, so that
all places in the text stay where they are. Where that cannot be held, `alike` gives None and the text is compiled as it stands.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any

from msgspec import Struct, structs

from fhir_eligibility.compiler.elm.nodes import Node

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_MOST = 40  # codes of one text
_LONGEST = 20_000  # characters of a text
_LETTERS = "ZQXJKVWYBG"


def with_quoted(text: str, values: dict[str, str]) -> str:
    """A text with other values between single quotation marks; all at once, so that none is replaced twice."""
    return _quoted(tuple(values)).sub(lambda found: f"'{values[found[1]]}'", text) if values else text


@lru_cache(maxsize=64)
def _quoted(values: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("'(" + "|".join(map(re.escape, values)) + ")'")


class Alike(Struct, frozen=True):
    """A text whose codes are placeholders, and what they stand for: pairs of a placeholder and a code."""

    text: str
    codes: tuple[tuple[str, str], ...] = ()


def alike(text: str, codes: Collection[str]) -> Alike | None:
    """The text with placeholders for those of the codes that it compares, None where it has to be compiled as it stands."""
    if len(text) > _LONGEST:
        return None
    pairs: list[tuple[str, str]] = []
    for code in dict.fromkeys(codes):
        if f"'{code}'" not in text:
            continue
        placeholder = _placeholder(len(pairs), len(code))
        if placeholder is None or len(pairs) == _MOST or _PLAIN.fullmatch(code) is None or f"'{placeholder}'" in text:
            return None
        pairs.append((placeholder, code))
    return Alike(with_quoted(text, {code: placeholder for placeholder, code in pairs}), tuple(pairs))


def _placeholder(number: int, length: int) -> str | None:
    """A text of a length that no other number has; None where so short a text cannot tell them apart."""
    name = f"{_LETTERS[number // 10]}{_LETTERS[number % 10]}"
    return None if length < 3 else "ZQ" * (length // 2 - 1) + "Z" * (length % 2) + name


def with_codes(value: Any, codes: dict[str, str], still: dict[int, Any]) -> Any:
    """A value as it is with other codes: what holds none of them is the same object, and noted in `still` by its `id()`.

    `still` is only good for codes of the same places: with it, what holds none is not gone through again.
    """
    return _Codes(codes, still).of(value)


class _Codes:
    def __init__(self, codes: dict[str, str], still: dict[int, Any]) -> None:
        self.codes = codes
        self.still = still
        self.known: dict[int, tuple[Any, Any]] = {}

    def of(self, value: Any) -> Any:
        kind = value.__class__
        if kind is str:
            return self.codes.get(value, value)
        act = _PARTS.get(kind) or (_Codes.node if isinstance(value, Node) else None)
        if act is None or id(value) in self.still:
            return value
        known = self.known.get(id(value))
        if known is None:
            known = self.known[id(value)] = value, act(self, value)
            if known[1] is value:
                self.still[id(value)] = value
        return known[1]

    def node(self, node: Node) -> Node:
        fields = structs.asdict(node)
        found = {name: self.of(value) for name, value in fields.items()}
        changed = {name: value for name, value in found.items() if value is not fields[name]}
        return structs.replace(node, **changed) if changed else node

    def row(self, values: Any) -> Any:
        found = [self.of(value) for value in values]
        same = all(one is other for one, other in zip(found, values, strict=True))
        return values if same else values.__class__(found)

    def table(self, values: dict[Any, Any]) -> dict[Any, Any]:
        found = {key: self.of(value) for key, value in values.items()}
        return values if all(found[key] is value for key, value in values.items()) else found


_PARTS: dict[type, Callable[[_Codes, Any], Any]] = {
    tuple: _Codes.row,
    list: _Codes.row,
    frozenset: _Codes.row,
    dict: _Codes.table,
}


def holds(value: Any, codes: Collection[str]) -> bool:
    """Whether one of the codes stands anywhere in a value, or may stand there."""
    try:
        data = pickle.dumps(value)
    except Exception:
        return True
    return any(code.encode() in data for code in codes)
