"""Data without a patient: a status of its own, why, and the earlier result in the output folder stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from fhir_eligibility.ui.commands.cli import main

CRITERIA = {
    "resourceType": "EvidenceVariable",
    "id": "e",
    "status": "active",
    "characteristic": [
        {"definitionExpression": {"language": "text/fhirpath", "expression": "Patient.gender = 'female'"}}
    ],
}
LIBRARY = (
    "library L version '1'\nusing FHIR version '4.0.1'\ncontext Patient\ndefine \"A\": Patient.gender = 'female'\n"
)
PATIENT = {"resourceType": "Patient", "id": "p", "gender": "female"}


def zipped(folder: Path) -> None:
    with ZipFile(folder / "p.zip", "w") as file:
        file.writestr("p.csv", "id\n1\n")


# How the data is, and what is said of it.
EMPTY: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (lambda folder: None, "no file in this folder"),
    "a file of 0 bytes": (lambda folder: (folder / "p.json").write_bytes(b""), "p.json"),
    "a table": (lambda folder: (folder / "p.csv").write_text("id,gender\n1,female\n"), "table (CSV): p.csv"),
    "a packed table": (zipped, "p.zip"),
    "XML": (lambda folder: (folder / "p.xml").write_text("<Patient xmlns='http://hl7.org/fhir'/>"), "p.xml"),
    "UTF-16": (lambda folder: (folder / "p.json").write_bytes(json.dumps(PATIENT).encode("utf-16")), "text in UTF-16"),
    "Latin-1": (
        lambda folder: (folder / "p.json").write_bytes('{"resourceType": "Patient", "id": "p", "name": [{"family": "Müller"}]}'.encode("latin-1")),
        "is not UTF-8 (0xFC)",
    ),
    "broken JSON": (
        lambda folder: (folder / "p.json").write_text('{"resourceType": "Patient",\n "id": "p",\n "name": [,]}'),
        "p.json Patient/p: not valid JSON: JSON is malformed: invalid character (line 3, column 11)",
    ),
    "no patients": (
        lambda folder: (folder / "o.json").write_text('{"resourceType": "Organization", "id": "o"}'),
        "there is no patient in the data",
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", ["screen", "measure"])
@pytest.mark.parametrize("kind", EMPTY)
def test_nothing_is_overwritten(kind: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "criteria").mkdir()
    first = tmp_path / "criteria" / ("e.json" if command == "screen" else "l.cql")
    first.write_text(json.dumps(CRITERIA) if command == "screen" else LIBRARY)
    good, data, out = tmp_path / "good", tmp_path / "data", tmp_path / "out"
    good.mkdir()
    (good / "p.json").write_text(json.dumps(PATIENT))
    data.mkdir()
    EMPTY[kind][0](data)
    assert main([command, str(first), "--data", str(good), "--out", str(out)]) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    capsys.readouterr()
    assert main([command, str(first), "--data", str(data), "--out", str(out)]) == 4
    shown = capsys.readouterr().err
    assert EMPTY[kind][1] in shown
    assert "there is no patient in the data (" in shown and f"; what {out} holds stays as it is" in shown
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_nothing_appears_in_a_new_folder(tmp_path: Path) -> None:
    (tmp_path / "e.json").write_text(json.dumps(CRITERIA))
    (tmp_path / "data").mkdir()
    words = ["screen", str(tmp_path / "e.json"), "--data", str(tmp_path / "data"), "--out"]
    assert main([*words, str(tmp_path / "out")]) == 4
    assert [path for path in (tmp_path / "out").glob("*") if not path.name.startswith(".")] == []
    assert main([*words, "-"]) == 4


def test_thresholds_do_not_hide_it(tmp_path: Path) -> None:
    (tmp_path / "e.json").write_text(json.dumps(CRITERIA))
    (tmp_path / "data").mkdir()
    words = ["screen", str(tmp_path / "e.json"), "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    assert main([*words, "--min-patients", "5", "--max-problems", "0"]) == 4
