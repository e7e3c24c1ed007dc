"""Records as NDJSON: one JSON object a line (`verdicts.ndjson`, `problems.ndjson`)."""

from __future__ import annotations

from pydantic import BaseModel

from fhir_eligibility.evaluation.records import in_one_line


def line_of(record: BaseModel) -> str:
    """One record as a line; fields without a value are left out where they default to None."""
    return in_one_line(record.model_dump_json(exclude_none=True)) + "\n"
