"""The parts of an expression with their values, as `--explain` shows them."""

from __future__ import annotations

from collections.abc import Iterable

from fhir_eligibility.compiler.runtime.explaining import ExplainedPart
from fhir_eligibility.compiler.runtime.printing import text_of

_LONGEST = 100  # characters of a value


def lines_of_parts(parts: Iterable[ExplainedPart]) -> list[str]:
    """A line for each part: its text, and its value in CQL's spelling, cut short where it is long."""
    lines = []
    for part in parts:
        value = text_of(part.value)
        lines.append(f"  {part.text}: {value if len(value) <= _LONGEST else value[: _LONGEST - 3] + '...'}")
    return lines
