"""A Period without a start: its start is null, and no record of that kind takes a define down (CQL 1.5.3, appendix B: Start)."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import Source
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from fhir_eligibility.runners.screening.criteria import load_criteria
from fhir_eligibility.runners.screening.screening import screen

HEAD = """library Periods version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1' called FHIRHelpers
context Patient
"""
NOW = dt.datetime(2025, 6, 15, 12, tzinfo=dt.UTC)
PERIODS: dict[str, dict[str, str]] = {
    "e1": {"start": "2024-02-01T08:00:00Z", "end": "2024-02-01T09:00:00Z"},
    "e2": {"end": "2024-03-01T09:00:00Z"},
    "e3": {"start": "2024-04-01T08:00:00Z"},
}


def encounters() -> list[dict[str, Any]]:
    return [{"resourceType": "Patient", "id": "p"}] + [
        {
            "resourceType": "Encounter",
            "id": name,
            "status": "finished",
            "class": {"code": "AMB"},
            "subject": {"reference": "Patient/p"},
            "period": period,
        }
        for name, period in PERIODS.items()
    ]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("[Encounter] E where start of E.period is null return E.id.value", ["e2"]),
        ("[Encounter] E where start of E.period is not null return E.id.value", ["e1", "e3"]),
        ("[Encounter] E where end of E.period is null return E.id.value", []),
        ("Count([Encounter] E return all start of E.period)", 2),
        ("First([Encounter] E sort by start of FHIRHelpers.ToInterval(period)).id.value", "e2"),
        ("Last([Encounter] E sort by start of FHIRHelpers.ToInterval(period)).id.value", "e3"),
        ("First([Encounter] E sort by start of period desc).id.value", "e3"),
        ("Last([Encounter] E sort by start of period desc).id.value", "e2"),
        ("year from Max([Encounter] E return all start of E.period)", 2024),
        ("month from Min([Encounter] E return all start of E.period)", 2),
        ("[Encounter] E where E.id.value = 'e2' return all year from Coalesce(start of E.period, Today())", [2025]),
        ("[Encounter] E where E.period starts before @2024-03-15 return E.id.value", ["e1"]),
        ("[Encounter] E where E.period before @2024-03-15 return E.id.value", ["e1", "e2"]),
        ("Count(collapse ([Encounter] E where E.id.value = 'e2' return all E.period))", 1),
        # it is not known whether the second reaches back into the first
        ("(collapse ([Encounter] E where E.id.value != 'e3' return all E.period)) is null", True),
        ("Count(collapse ([Encounter] E where E.id.value != 'e2' return all E.period))", 2),
    ],
)
def test_values(expression: str, expected: Any) -> None:
    resources = encounters()
    loaded = LoadedLibrary(Compiler().compile(Source("Periods.cql", f"{HEAD}define X: {expression}\n")))
    assert loaded.evaluate("X", Patient(Run(NOW), resources[0], resources)) == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("exists ([Encounter] E where start of E.period is null)", "met"),
        ("exists ([Encounter] E where E.period starts before @2024-02-15)", "met"),
        ("exists ([Encounter] E where E.period starts before @2024-01-15)", "unknown"),
        ("exists ([Encounter] E where E.period overlaps Interval[@2024-02-10, @2024-02-20])", "unknown"),
        ("exists ([Encounter] E where E.period overlaps Interval[@2024-03-02, @2024-03-05])", "not met"),
        ("First([Encounter] E sort by start of period).id.value = 'e2'", "met"),
    ],
)
def test_screening(tmp_path: Path, condition: str, expected: str) -> None:
    (tmp_path / "Periods.cql").write_text(f"{HEAD}define X: {condition}\n")
    source = {"language": "text/cql-identifier", "expression": "X"}
    variable = {"resourceType": "EvidenceVariable", "id": "e", "status": "active"}
    (tmp_path / "e.json").write_text(json.dumps({**variable, "characteristic": [{"definitionExpression": source}]}))
    data = tmp_path / "data.json"
    entries = [{"resource": resource} for resource in encounters()]
    data.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    (found,) = screen(load_criteria(tmp_path / "e.json", libraries=[tmp_path / "Periods.cql"]), data)
    assert found.criteria[0].outcome == expected
