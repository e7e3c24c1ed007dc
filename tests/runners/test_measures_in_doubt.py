"""Populations of measures over records in doubt: what another form of a record would change has no answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.ui.cli import main

Resource = dict[str, Any]
LIBRARY = """library Doubts version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1' called FHIRHelpers
context Patient
define "Has X": exists ([Condition] C where exists (C.code.coding K where K.code = 'x'))
define "Has Any": exists [Condition]
define "Adult": AgeInYearsAt(@2026-01-01) >= 18
"""
NEVER = [{"url": "http://example.org/never-had", "valueBoolean": True}]


def condition(code: str, **more: Any) -> Resource:
    coded = {"coding": [{"system": "http://example.org", "code": code}]}
    return {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p"}, "code": coded, **more}


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([condition("x")], {"Has X": (1, None), "Has Any": (1, None), "Adult": (1, None)}),
        ([condition("x"), condition("y")], {"Has X": (0, "conflicting-records"), "Has Any": (1, None), "Adult": (1, None)}),
        ([condition("x", modifierExtension=NEVER)], {"Has X": (0, "unknown-modifier"), "Has Any": (0, "unknown-modifier"), "Adult": (1, None)}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", ["small", "large"])
def test_populations(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    records: list[Resource],
    expected: dict[str, tuple[int, str | None]],
) -> None:
    if way == "large":
        monkeypatch.setattr("engine.runners.run.SMALL", 0)
    (tmp_path / "Doubts.cql").write_text(LIBRARY, "utf-8")
    patient = {"resourceType": "Patient", "id": "p", "birthDate": "1980-01-01"}
    data = tmp_path / "data"
    data.mkdir()
    (data / "all.ndjson").write_text("".join(json.dumps(one) + "\n" for one in [patient, *records]), "utf-8")
    words = [
        "measure",
        str(tmp_path / "Doubts.cql"),
        "--data",
        str(data),
        "--out",
        str(tmp_path / "out"),
        "--jobs",
        "1",
    ]
    assert main([*words, "--now", "2026-06-01", "--quiet"]) in (0, 1)
    (line,) = (tmp_path / "out" / "results.ndjson").read_text("utf-8").splitlines()
    found = {}
    for group in json.loads(line)["groups"]:
        (population,) = group["populations"]
        found[group["id"]] = population["count"], (population.get("unknown") or "").partition(":")[0] or None
    assert found == expected
