"""All modules that register what classes of nodes turn into: importing this one registers everything, whatever else a process has imported."""

from __future__ import annotations

from fhir_eligibility.compiler.emit import (
    fast_paths,
    filters,
    logic,
    membership,
    models,
    queries,
    steps,
    utilities,
    values,
)
from fhir_eligibility.compiler.emit.emitter import EACH, VALUES

HANDLERS = (fast_paths, filters, logic, membership, models, queries, steps, utilities, values)
__all__ = ["EACH", "HANDLERS", "VALUES"]
