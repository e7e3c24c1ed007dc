"""Criteria whose evaluation fails for patients: counted, said in one line, and status 3, however the data is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.runners.screening import run as runs
from fhir_eligibility.ui.commands.cli import main

LIMIT = "Count(expand { Interval[1, 100000] }) > 0"
NAMES = ("a", "b", "c", "d", "e")


def expression(name: str, text: str, language: str = "text/cql") -> dict[str, Any]:
    return {"linkId": name, "definitionExpression": {"language": language, "expression": text}}


@pytest.fixture
def criteria(tmp_path: Path) -> Path:
    born = "Patient.birthDate < @1980-01-01"
    listed = [expression("born", born, "text/fhirpath"), expression("many", f"Patient.active and {LIMIT}")]
    artifact = {"resourceType": "EvidenceVariable", "id": "e", "status": "active", "characteristic": listed}
    path = tmp_path / "criteria.json"
    path.write_text(json.dumps(artifact), "utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [{"resourceType": "Patient", "id": name, "birthDate": "1970-01-01", "active": True} for name in NAMES]
    rows[0]["active"] = False  # and the rest is not asked
    rows[3]["birthDate"] = "1970-13-45"
    (folder / "Patient.ndjson").write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    return folder


def screened(criteria: Path, data: Path, out: Path, *more: str) -> int:
    return main(["screen", str(criteria), "--data", str(data), "--out", str(out), "--now", "2026-01-01", *more])


def errors_of(out: Path) -> list[tuple[str, int, str]]:
    record = json.loads((out / "run.json").read_text("utf-8"))
    (artifact,) = record["artifacts"]
    return [(one["criterion"], one["patients"], one["message"]) for one in artifact["errors"]]


def check(out: Path, said: str) -> None:
    born, many = errors_of(out)
    assert born[:2] == ("born", 1) and "Patient/d" in born[2] and "1970-13-45" in born[2]
    assert many[0] == "many" and many[1] == 4 and "Patient/b: expand gives more than 50000 results" in many[2]
    lines = [line for line in said.splitlines() if line.startswith("The evaluation of ")]
    assert [line.partition(":")[0] for line in lines] == [
        "The evaluation of born failed for 1 patient, for whom it is unknown",
        "The evaluation of many failed for 4 patients, for whom it is unknown",
    ]
    assert all(f": {message[:100]}" in line for line, (_, _, message) in zip(lines, (born, many), strict=True))


WAYS: dict[str, list[str]] = {"memory": [], "workers": ["--jobs", "2", "--memory", "1MB"], "fingerprints": ["--keep-fingerprints"]}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_failures_are_counted_on_every_way(
    way: str, criteria: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert screened(criteria, data, tmp_path / "out", *WAYS[way]) == 3
    check(tmp_path / "out", capsys.readouterr().out)
    first = errors_of(tmp_path / "out")
    assert screened(criteria, data, tmp_path / "memory", "--quiet") == 3
    assert errors_of(tmp_path / "memory") == first


@pytest.mark.parametrize("small", [True, False])
def test_a_run_that_takes_patients_over_counts_them_again(
    small: bool,
    criteria: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not small:
        monkeypatch.setattr(runs, "SMALL", 0)
    assert screened(criteria, data, tmp_path / "first", "--keep-fingerprints", "--jobs", "1", "--quiet") == 3
    capsys.readouterr()
    assert screened(criteria, data, tmp_path / "next", "--since", str(tmp_path / "first"), "--jobs", "1") == 3
    check(tmp_path / "next", capsys.readouterr().out)
    assert errors_of(tmp_path / "next") == errors_of(tmp_path / "first")


def test_verdicts_on_standard_output(criteria: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["screen", str(criteria), "--data", str(data), "--out", "-", "--now", "2026-01-01"]) == 3
    captured = capsys.readouterr()
    assert "The evaluation of born failed for 1 patient, for whom it is unknown: " in captured.err
    assert "The evaluation of many failed for " in captured.err
    assert len(captured.out.splitlines()) == len(NAMES)


def test_without_failures_there_are_none(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fine.json"
    artifact = {"resourceType": "EvidenceVariable", "id": "f", "status": "active"}
    path.write_text(json.dumps({**artifact, "characteristic": [expression("on", "Patient.active = true")]}), "utf-8")
    assert screened(path, data, tmp_path / "out") == 0
    assert errors_of(tmp_path / "out") == [] and "evaluation" not in capsys.readouterr().out
