"""Objects and arrays of JSON data, wherever something else may stand in their place."""

from __future__ import annotations

from typing import Any


def dict_of(value: Any) -> dict[str, Any]:
    """An object of JSON data; an empty one where something else, or nothing, stands in its place."""
    return value if value.__class__ is dict else {}


def dicts_in(value: Any) -> list[dict[str, Any]]:
    """The objects in an array of JSON data; none where something else stands in its place."""
    return [item for item in value if item.__class__ is dict] if value.__class__ is list else []
