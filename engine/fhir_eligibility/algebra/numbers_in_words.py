"""Numbers of things in sentences."""

from __future__ import annotations


def so_many(number: int, thing: str) -> str:
    """A number of things, which stands in the singular where it is one: `1 argument`, `1,200 arguments`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def so_many_arguments(number: str) -> str:
    """The arguments that something takes: `1 argument`, `at least 1 argument`, `0 to 1 arguments`."""
    return f"{number} argument" if number in ("1", "at least 1") else f"{number} arguments"
