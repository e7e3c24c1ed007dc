"""One criterion, one cohort, all ways to screen it: from memory, from files by plan, and by processes with little memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria.reading import ReadPlan, reading_plan
from fhir_eligibility.data.bulk.reading import ExportReader
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.reader import read_patients
from fhir_eligibility.runners.screening import run as running
from fhir_eligibility.runners.screening.criteria import Criteria
from fhir_eligibility.runners.screening.run import RunOptions, run

NOW = "2026-06-01"
Files = dict[str, list[dict[str, Any]]]
"""Resources by file: one in a `.json`, any number in an `.ndjson`."""
HEAD = "using FHIR version '4.0.1'\ninclude FHIRHelpers version '4.0.1' called FHIRHelpers\ncontext Patient\n"


def criteria_of(folder: Path, *expressions: str, language: str = "text/cql") -> Criteria:
    """Criteria with one characteristic an expression; in CQL each is a define of a library."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    library = f"library Asked version '1'\n{HEAD}"
    for number, expression in enumerate(expressions):
        name = f"Criterion {number}"
        library += f'define "{name}": {expression}\n'
        cql = {"language": "text/cql-identifier", "expression": name, "reference": "http://example.org/Library/Asked"}
        path = {"language": "text/fhirpath", "expression": expression}
        listed.append({"linkId": f"c{number}", "definitionExpression": cql if language == "text/cql" else path})
    (folder / "Asked.cql").write_text(library, "utf-8")
    artifact = {"resourceType": "EvidenceVariable", "id": "ev", "status": "active", "characteristic": listed}
    (folder / "ev.json").write_text(json.dumps(artifact), "utf-8")
    return fhir_eligibility.load_criteria(folder / "ev.json", libraries=[folder / "Asked.cql"])


def write(files: Files, folder: Path) -> Path:
    """The files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, resources in files.items():
        if name.endswith(".ndjson"):
            text = "".join(json.dumps(resource, separators=(",", ":")) + "\n" for resource in resources)
        else:
            (resource,) = resources
            text = json.dumps(resource)
        (folder / name).write_text(text, "utf-8")
    return folder


Outcomes = dict[str, list[str]]
"""The outcome of each criterion by patient."""


def outcomes_of(verdicts: Any) -> Outcomes:
    """The outcomes of some verdicts."""
    return {v.patient: [c.outcome + (f" ({c.reason})" if c.reason else "") for c in v.criteria] for v in verdicts}


def every_way(criteria: Criteria, data: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Outcomes]:
    """The outcomes by each way."""
    model = load_model(criteria.fhir_version)
    memory = list(read_patients([data], model=model, on_problem=lambda problem: None))
    found = {
        "memory": outcomes_of(fhir_eligibility.screen(criteria, memory, now=NOW)),
        "files": outcomes_of(fhir_eligibility.screen(criteria, data, now=NOW)),
    }
    ways: Sequence[tuple[str, int, dict[str, Any]]] = (
        ("run", running.SMALL, {}),
        ("one process", 0, {"jobs": 1}),
        ("two processes", 0, {"jobs": 2, "memory": 1 << 20}),
    )
    for name, small, options in ways:
        with monkeypatch.context() as patch:
            patch.setattr(running, "SMALL", small)
            folder = out / name.replace(" ", "-")
            run(criteria, [], [data], folder, RunOptions(now=NOW, **options))
        lines = (folder / "verdicts.ndjson").read_text("utf-8").splitlines()
        found[name] = outcomes_of(fhir_eligibility.Verdict.model_validate_json(line) for line in lines)
    return found


def the_outcomes(criteria: Criteria, data: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Outcomes:
    """The outcomes, the same by every way."""
    found = every_way(criteria, data, out, monkeypatch)
    expected = found["memory"]
    assert found == dict.fromkeys(found, expected)
    return expected


def problems_of(criteria: Criteria, data: Path) -> dict[str, set[tuple[str, str | None]]]:
    """Code and resource of the problems, by the ways of reading."""
    return {name: {(p.code, p.resource) for p in found} for name, found in every_problem(criteria, data).items()}


def every_problem(criteria: Criteria, data: Path) -> dict[str, list[Problem]]:
    """The problems, by the ways of reading."""
    memory: list[Problem] = []
    list(read_patients([data], model=load_model(criteria.fhir_version), on_problem=memory.append))
    plan: list[Problem] = []
    read = ExportReader([data], reading_plan(criteria.rules, criteria.terminology), plan.append)
    list(read.patients())
    whole: list[Problem] = []
    list(ExportReader([data], ReadPlan(criteria.fhir_version, everything=True), whole.append).patients())
    return {"memory": memory, "plan": plan, "whole": whole}
