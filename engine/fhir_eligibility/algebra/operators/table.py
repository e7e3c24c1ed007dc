"""The whole table of operators: importing this module registers every chapter, whatever else a process has imported."""

from __future__ import annotations

from fhir_eligibility.algebra.operators import (
    aggregate,
    arithmetic,
    clinical,
    comparison,
    conversion,
    datetimes,
    equality,
    intervals,
    lists,
    neighbours,
    nullological,
    partition,
    string,
    temporal,
)
from fhir_eligibility.algebra.operators.registry import OPERATORS

CHAPTERS = (
    aggregate,
    arithmetic,
    clinical,
    comparison,
    conversion,
    datetimes,
    equality,
    intervals,
    lists,
    neighbours,
    nullological,
    partition,
    string,
    temporal,
)
__all__ = ["CHAPTERS", "OPERATORS"]
