"""JSON Schema of everything that is written, for `eligibility schema`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.evaluation.verdict import Holding, Verdict
from fhir_eligibility.output.criteria_record import CriteriaRecord
from fhir_eligibility.output.run_record import RunRecord
from fhir_eligibility.output.transfers import FileTransfer, SeriesTransfer

SCHEMAS: dict[str, type[BaseModel]] = {
    "verdict": Verdict,
    "criteria": CriteriaRecord,
    "problem": Problem,
    "run": RunRecord,
    "holding": Holding,
    "transfer": SeriesTransfer,
    "upload": FileTransfer,
}


def json_schema(name: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of one record, by a name in `SCHEMAS`. Raises KeyError for another name."""
    schema = SCHEMAS[name].model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
