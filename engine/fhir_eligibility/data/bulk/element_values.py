"""The values that stand at a path of elements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def values_at(owner: Any, path: list[str]) -> Iterator[Any]:
    """The values at a path below an element, lists opened."""
    if owner.__class__ is list:
        for item in owner:
            yield from values_at(item, path)
    elif not path:
        if owner is not None:
            yield owner
    elif owner.__class__ is dict and path[0] in owner:
        yield from values_at(owner[path[0]], path[1:])
