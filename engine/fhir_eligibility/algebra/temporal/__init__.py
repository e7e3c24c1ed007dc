"""Date, DateTime and Time: values (`values`), what moves them (`arithmetic`), what lies between them (`between`).

May not know: the clock and the time zone of a run: they are handed in.
Start with `values.py`.
"""

from __future__ import annotations

from fhir_eligibility.algebra.temporal.arithmetic import add, high_boundary, low_boundary
from fhir_eligibility.algebra.temporal.between import difference, duration, extent, order, sort_key, truncated
from fhir_eligibility.algebra.temporal.values import (
    PRECISIONS,
    Date,
    DateTime,
    Time,
    bounds,
    compare,
    equal,
    equivalent,
)

__all__ = [
    "PRECISIONS",
    "Date",
    "DateTime",
    "Time",
    "add",
    "bounds",
    "compare",
    "difference",
    "duration",
    "equal",
    "equivalent",
    "extent",
    "high_boundary",
    "low_boundary",
    "order",
    "sort_key",
    "truncated",
]
