"""Data screened by every way of reading, with the problems of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.reader import read_patients
from fhir_eligibility.runners.screening import run as running
from fhir_eligibility.runners.screening.criteria import Criteria
from fhir_eligibility.runners.screening.run import RunOptions, run

NOW = "2026-06-01"


def criteria(folder: Path, *expressions: str) -> Criteria:
    """Criteria with one characteristic a FHIRPath expression."""
    folder.mkdir()
    listed = [
        {"linkId": f"c{number}", "definitionExpression": {"language": "text/fhirpath", "expression": text}}
        for number, text in enumerate(expressions)
    ]
    artifact = {"resourceType": "EvidenceVariable", "id": "ev", "status": "active", "characteristic": listed}
    (folder / "ev.json").write_text(json.dumps(artifact), "utf-8")
    return fhir_eligibility.load_criteria(folder / "ev.json")


Outcomes = dict[str, tuple[str, ...]]
"""The verdict and the outcome of each criterion by patient."""


def outcomes(verdicts: Any) -> Outcomes:
    return {v.patient: (v.verdict, *(c.outcome for c in v.criteria)) for v in verdicts}


def screened(
    rules: Criteria, data: Path, out: Path, tolerate: int = 0, merge_linked: bool = False
) -> Iterator[tuple[str, Outcomes, list[Problem]]]:
    """Outcomes and problems by each way of reading: from memory, from files by plan, by one process and by two with little memory."""
    problems: list[Problem] = []
    given: Any = {"tolerate": tolerate, "merge_linked": merge_linked}
    compartments = list(read_patients([data], model=load_model("r4"), on_problem=problems.append, **given))
    yield "memory", outcomes(fhir_eligibility.screen(rules, compartments, now=NOW)), problems
    for name, small, options in (
        ("by plan", running.SMALL, {}),
        ("one process", 0, {"jobs": 1}),
        ("two processes", 0, {"jobs": 2, "memory": 1 << 20}),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(running, "SMALL", small)
            folder = out / name.replace(" ", "-")
            run(rules, [], [data], folder, RunOptions(now=NOW, **given, **options))
        lines = (folder / "verdicts.ndjson").read_text("utf-8").splitlines()
        listed = (folder / "problems.ndjson").read_text("utf-8").splitlines()
        yield (
            name,
            outcomes(fhir_eligibility.Verdict.model_validate_json(line) for line in lines),
            [Problem.model_validate_json(line) for line in listed],
        )
