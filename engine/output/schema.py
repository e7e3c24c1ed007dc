"""JSON Schema of everything that is written, for `eligibility schema`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from engine.data.problems import Problem
from engine.evaluation.verdict import Verdict
from engine.output.run_record import RunRecord

SCHEMAS: dict[str, type[BaseModel]] = {"verdict": Verdict, "problem": Problem, "run": RunRecord}


def json_schema(name: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of one record: `verdict`, `problem` or `run`. Raises KeyError for another name."""
    schema = SCHEMAS[name].model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
