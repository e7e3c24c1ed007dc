"""Line and column of an element in a JSON text, found when a message needs it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def position_of(text: str, path: Sequence[str | int]) -> tuple[int, int] | None:
    """One-based line and column of the value at `path` (names and indexes), None where it is not there."""
    at = _skip(text, 1 if text.startswith("\ufeff") else 0)
    for step in path:
        found = _member(text, at, step) if isinstance(step, str) else _item(text, at, step)
        if found is None:
            return None
        at = found
    return text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match is not None else at


def _after(text: str, at: int) -> int:
    return _skip(text, _DECODER.raw_decode(text, at)[1])


def _member(text: str, at: int, name: str) -> int | None:
    if text[at : at + 1] != "{":
        return None
    at = _skip(text, at + 1)
    while text[at : at + 1] == '"':
        key, end = _DECODER.raw_decode(text, at)
        value = _skip(text, _skip(text, end) + 1)
        if key == name:
            return value
        at = _skip(text, _after(text, value) + 1)
    return None


def _item(text: str, at: int, index: int) -> int | None:
    if text[at : at + 1] != "[":
        return None
    at = _skip(text, at + 1)
    for _ in range(index):
        if text[at : at + 1] == "]":
            return None
        end = _after(text, at)
        if text[end : end + 1] != ",":
            return None
        at = _skip(text, end + 1)
    return None if text[at : at + 1] == "]" else at
