"""`eligibility cql` and `measure` give CQL's own answers, and say where a screening by the same library would leave a patient undetermined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.ui.commands.cli import main
from fhir_eligibility.ui.commands.cql_repl import reply
from fhir_eligibility.ui.commands.cql_session import Session, read_subject

LIBRARY = """library L version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
context Patient
define "Recent": exists ([Observation] O where O.effective on or after @2026-01-01T00:00:00.0Z)
define "Never": not "Recent"
define "Any": exists [Observation]
define "List": [Observation] O where O.effective on or after @2026-01-01T00:00:00.0Z
"""


def patient(name: str, **observation: Any) -> dict[str, Any]:
    entry = [
        {"resource": {"resourceType": "Patient", "id": name}},
        {"resource": {"resourceType": "Observation", "id": f"{name}-o", "status": "final", "subject": {"reference": f"Patient/{name}"}, "code": {"text": "x"}, **observation}},
    ]  # fmt: skip
    return {"resourceType": "Bundle", "type": "collection", "entry": entry}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "L.cql").write_text(LIBRARY)
    for name in ("open", "old"):
        (tmp_path / name).mkdir()
    (tmp_path / "open" / "p.json").write_text(json.dumps(patient("p")))
    (tmp_path / "old" / "q.json").write_text(json.dumps(patient("q", effectiveDateTime="2020-01-01")))
    return tmp_path


def verdicts(folder: Path, data: Path, define: str, capsys: pytest.CaptureFixture[str]) -> list[Any]:
    """What a screening by a define says."""
    criteria = {
        "resourceType": "EvidenceVariable",
        "id": "e",
        "status": "active",
        "characteristic": [{"definitionExpression": {"language": "text/cql-identifier", "expression": define}}],
    }
    (folder / "criteria.json").write_text(json.dumps(criteria))
    main(
        [
            "screen",
            str(folder / "criteria.json"),
            "--libraries",
            str(folder / "L.cql"),
            "--data",
            str(data),
            "--out",
            "-",
        ]
    )
    return [json.loads(line)["verdict"] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(("define", "answer"), [("Recent", "false"), ("Never", "true"), ("Any", "true")])
@pytest.mark.parametrize("data", ["open", "old"])
def test_one_define(define: str, answer: str, data: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cql", define, "--library", str(folder / "L.cql"), "--data", str(folder / data)]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{answer}  (Boolean)\n"
    screened = verdicts(folder, folder / data, define, capsys)
    hint = (
        f"note: the expression: CQL's own answer is {answer}, but a screening leaves it undetermined: Observation/p-o:"
    )
    assert (hint in shown.err) is (screened == ["undetermined"]) is (data == "open" and define != "Any")
    assert data == "open" or shown.err == ""


def test_every_define(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cql", "--library", str(folder / "L.cql"), "--data", str(folder / "open"), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["Recent"] is False
    assert [line.partition(":")[2].partition(":")[0].strip() for line in shown.err.splitlines()] == ["Recent", "Never"]


def test_in_a_conversation(folder: Path) -> None:
    session = Session(subject=read_subject([folder / "open"], "r4"))
    lines = reply(session, "exists ([Observation] O where O.effective on or after @2026-01-01T00:00:00.0Z)")[
        0
    ].splitlines()
    assert lines[0].startswith("note: the expression: CQL's own answer is false") and lines[1] == "false  (Boolean)"


def test_a_measure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "measure",
        str(folder / "L.cql"),
        "--data",
        str(folder / "open"),
        str(folder / "old"),
        "--out",
        str(folder / "out"),
    ]
    assert main(words) == 0
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in said] == ["Recent", "Never"]
    assert said[0] == (
        "Recent: of 1 of 2 patients a screening would say undetermined, where CQL's own answer counts here; the first is Patient/p: "
        "Observation/p-o: `O.effective on or after @2026-01-01T00:00:00.0Z` cannot be decided: Observation/p-o has no `effective`"
    )
    assert main([*words, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
