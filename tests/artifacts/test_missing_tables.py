"""Versions of FHIR that are named without their tables, or with those of other versions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

LACKING = """
import sys
from fhir_eligibility.artifacts import models
models.VERSIONS["r9"] = models.Version("9.0.0", "R5")
if sys.argv[1] != "none":
    plain = models._bytes
    text = plain("r5").replace(b'"version":"r5"', b'"version":"' + sys.argv[1].encode() + b'"', 1)
    models._bytes = lambda name: text if name == "r9" else plain(name)
    named = models._version_of_table
    models._version_of_table = lambda name: sys.argv[1] if name == "r9" else named(name)
from fhir_eligibility.ui.commands.cli import main
sys.exit(main(sys.argv[2:]))
"""


def ran(tmp_path: Path, table: str, *more: str) -> tuple[int, str, list[str]]:
    """A run where R9 is named, with no table or one that says so: status, what is said, and the verdicts."""
    expression = {"language": "text/fhirpath", "expression": "Patient.gender = 'male'"}
    artifact = {"resourceType": "EvidenceVariable", "id": "e", "status": "active"}
    (tmp_path / "e.json").write_text(json.dumps({**artifact, "characteristic": [{"definitionExpression": expression}]}))
    (tmp_path / "p.json").write_text('{"resourceType": "Patient", "id": "p", "gender": "male"}')
    out = tmp_path / "out"
    command = ["screen", str(tmp_path / "e.json"), "--data", str(tmp_path / "p.json"), "--out", str(out), "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", LACKING, table, *command, *more], capture_output=True, text=True, check=False
    )
    lines = (out / "verdicts.ndjson").read_text().splitlines() if out.is_dir() else []
    return done.returncode, done.stderr, [json.loads(line)["verdict"] for line in lines]


@pytest.mark.parametrize("table", ["none", "r5"])
def test_a_version_without_its_table_is_in_nobodys_way(tmp_path: Path, table: str) -> None:
    assert ran(tmp_path, table) == (0, "", ["included"])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("none", "FHIR R9 (9.0.0) has no table of types, r9.json in artifacts/models; make it: "),
        ("r5", "r9.json in artifacts/models: expected the table of r9, found that of r5; make it: "),
    ],
)
def test_a_version_without_its_table_is_refused(tmp_path: Path, table: str, message: str) -> None:
    status, said, verdicts = ran(tmp_path, table, "--fhir", "r9")
    assert (status, verdicts) == (2, []) and message in said and len(said.splitlines()) == 1


def test_a_version_with_its_table_is_read(tmp_path: Path) -> None:
    assert ran(tmp_path, "r9", "--fhir", "r9") == (0, "", ["included"])
