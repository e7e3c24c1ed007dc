"""Names of resource types as they stand in data: one that no version of FHIR has is a problem, for nobody can tell what was lost with it."""

from __future__ import annotations

from functools import lru_cache

from fhir_eligibility.artifacts.elements import all_resource_types
from fhir_eligibility.artifacts.shape import near_names

CODE = "unknown-resource-type"


@lru_cache(maxsize=1024)
def unknown_type(kind: str) -> tuple[str, str | None] | None:
    """The message about a type that no version of FHIR has, and what to do; None for any other type."""
    types = all_resource_types()
    if kind in types:
        return None
    near = near_names(kind, tuple(sorted(types)))
    shown = kind if len(kind) <= 64 else f"{kind[:64]}..."
    return f"FHIR has no resource {shown!r}; it is not used", f"did you mean {near[0]}?" if near else None
