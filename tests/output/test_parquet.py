"""Parquet tables hold what verdicts.ndjson says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

import fhir_eligibility
from fhir_eligibility.runners.screening.run import RunOptions, run
from tests.spec.model import ROOT

parquet: Any = pytest.importorskip("pyarrow.parquet")
FLUTE = ROOT / "criteria" / "flute"


def test_tables_hold_the_verdicts(tmp_path: Path) -> None:
    criteria = fhir_eligibility.load_criteria(FLUTE / "mr")
    run(criteria, [FLUTE / "mr"], [FLUTE / "cohort"], tmp_path, RunOptions(now="2026-06-01", formats=["parquet"]))
    verdicts = [msgspec.json.decode(line) for line in (tmp_path / "verdicts.ndjson").read_bytes().splitlines()]
    tables = {name: parquet.read_table(tmp_path / f"{name}.parquet").to_pylist() for name in engine_tables()}
    assert [(r["patient"], r["verdict"], r["deciding"]) for r in tables["verdicts"]] == [
        (v["patient"], v["verdict"], v["deciding"]) for v in verdicts
    ]
    found = {(r["patient"], r["criterion"]): r for r in tables["criteria"]}
    assert len(found) == 12 * 5  # two of the five are members of a combination
    assert found["Patient/example-01", "psa"]["combination"] == "suspicion"
    assert found["Patient/example-01", "psa"]["outcome"] == "met"
    psa = [r for r in tables["evidence"] if r["patient"] == "Patient/example-01" and r["criterion"] == "psa"]
    assert [(r["resource"], r["value"], r["unit"]) for r in psa] == [("Observation/example-01-psa", "5.2", "ng/mL")]
    instances = {uid for r in tables["images"] for uid in r["instances"]}
    assert instances == {u for v in verdicts for link in v["imaging"] for s in link["series"] for u in s["instances"]}
    assert instances


def engine_tables() -> tuple[str, ...]:
    return ("verdicts", "criteria", "evidence", "images")
