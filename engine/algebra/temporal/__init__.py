"""Date, DateTime and Time: values (`values`) and what moves them (`arithmetic`)."""

from __future__ import annotations

from engine.algebra.temporal.arithmetic import add, high_boundary, low_boundary
from engine.algebra.temporal.values import Date, DateTime, Time, bounds, compare, equal, equivalent

__all__ = [
    "Date",
    "DateTime",
    "Time",
    "add",
    "bounds",
    "compare",
    "equal",
    "equivalent",
    "high_boundary",
    "low_boundary",
]
