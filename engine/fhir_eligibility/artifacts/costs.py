"""What a published definition may cost: real ones are a tenth as deep, and refer to a handful of others."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

DEEPEST = 300
"""Levels of objects and arrays in a resource that defines criteria."""
LONGEST_CHAIN = 50
MOST_REFERRED = 1_000


class TooMany(Struct, frozen=True):
    """That an artifact refers to too many others, in words; `first` tells that it was not said before."""

    detail: str
    first: bool


class ReferenceCount:
    """Counts the artifacts that one artifact refers to, directly and through others, each as often as it is referred to."""

    def __init__(self) -> None:
        self.count = 0
        self.said = False

    def too_many(self, chain: int) -> TooMany | None:
        """One more reference, through a chain of so many artifacts; None where it may be followed."""
        self.count += 1
        if chain <= LONGEST_CHAIN and self.count <= MOST_REFERRED:
            return None
        first, self.said = not self.said, True
        detail = (
            f"the artifact refers to more than {MOST_REFERRED:,} others, or in a chain of more than {LONGEST_CHAIN}"
        )
        return TooMany(detail, first)


def deeper_than(data: Any, levels: int) -> bool:
    """Whether objects and arrays of JSON stand in each other more than so many levels deep."""
    layer = [data]
    for _ in range(levels):
        layer = [
            below
            for value in layer
            for below in (value.values() if value.__class__ is dict else value)
            if below.__class__ is dict or below.__class__ is list
        ]
        if not layer:
            return False
    return True
