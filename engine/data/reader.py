"""The door to patient data: paths in, compartments out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from engine.artifacts.models import Model, load_model
from engine.data.cohort import cohort_of
from engine.data.compartment import Compartment
from engine.data.sources import Loaded, OnProblem, read_resources, unpack

__all__ = ["compartments_of", "read_patients"]


def read_patients(paths: Iterable[str | Path], *, model: Model, on_problem: OnProblem) -> Iterator[Compartment]:
    """Patients of bundles, arrays, single resources, NDJSON, and folders of these (`.gz` too), in order of appearance.

    A patient's resources may be spread over files, and a file may hold several patients. What cannot be read is handed to
    `on_problem`, and the rest goes on.
    """
    yield from cohort_of(read_resources(paths, on_problem), model, on_problem).compartments()


def compartments_of(
    resources: Iterable[dict[str, Any]], *, model: Model | None = None, on_problem: OnProblem | None = None
) -> Iterator[Compartment]:
    """Patients of resources already decoded (decimals as Decimal); bundles among them are unpacked."""
    from_memory: list[Loaded] = []
    report = on_problem if on_problem is not None else _ignore
    for index, resource in enumerate(resources):
        if resource.get("resourceType") == "Bundle":
            for loaded in unpack(resource, "(memory)", report, None):
                loaded.offset = index
                from_memory.append(loaded)
        else:
            from_memory.append(Loaded(resource, "(memory)", index))
    yield from cohort_of(from_memory, model or load_model("r4"), report).compartments()


def _ignore(problem: object) -> None:
    return None
