"""What the name of a file tells of what is in it: a resource type."""

from __future__ import annotations

import re
from pathlib import PurePath

from fhir_eligibility.artifacts.elements import all_resource_types
from fhir_eligibility.data.files.opening import without_packing

_PARTS = re.compile(r"[^A-Za-z]+")


def type_named(path: str) -> str | None:
    """The one resource type that the name of a file itself tells."""
    types = types_named(without_packing(PurePath(path).name.lower()) and PurePath(path).name)
    return types[0] if len(types) == 1 else None


def types_named(name: str) -> list[str]:
    """The resource types that the name of a file tells."""
    parts = [part for part in _PARTS.split(name) if part]
    known = all_resource_types()
    exact = [part for part in parts if part in known]
    if not exact:
        lowered = {kind.lower(): kind for kind in known}
        exact = [lowered[part.lower()] for part in parts if part.lower() in lowered]
    return list(dict.fromkeys(exact))
