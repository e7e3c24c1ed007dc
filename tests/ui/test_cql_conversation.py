"""The conversation of `eligibility cql`: what can be typed, over nothing, over data, over a library, and over both."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from fhir_eligibility.ui.commands import cql as cql_module
from fhir_eligibility.ui.commands.cli import main
from fhir_eligibility.ui.commands.cql_repl import converse, reply
from fhir_eligibility.ui.commands.cql_session import Session

LIBRARY = """library L version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
parameter Least Integer default 18
context Patient
define "Adult": AgeInYears() >= Least
define "Measured": exists [Observation]
"""
PATIENT = {"resourceType": "Patient", "id": "p", "gender": "female", "birthDate": "1960-01-01"}
OBSERVATION = {
    "resourceType": "Observation",
    "id": "o",
    "status": "final",
    "subject": {"reference": "Patient/p"},
    "code": {"coding": [{"system": "http://loinc.org", "code": "2857-1"}]},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "L.cql").write_text(LIBRARY)
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": PATIENT}, {"resource": OBSERVATION}],
    }
    (tmp_path / "p.json").write_text(json.dumps(bundle))
    return tmp_path


def answers(session: Session, *lines: str) -> list[str]:
    return [reply(session, line)[0] for line in lines]


def test_resources_without_a_library_and_without_data() -> None:
    session = Session()
    assert answers(session, "define X: exists [Observation]", "define N: 1", "define M: N + 1", "M") == [
        "defined 'X'",
        "defined 'N'",
        "defined 'M'",
        "2  (Integer)",
    ]
    (shown,) = answers(session, "X")
    assert (
        "[Observation] asks for the data of a patient, and there is none: give the record of one patient with --data"
        in shown
    )
    assert answers(session, "define N: 5", "M") == ["defined 'N'", "6  (Integer)"]


def test_what_stands_at_the_beginning_of_a_library() -> None:
    session = Session()
    assert answers(
        session,
        "using FHIR version '4.0.1'",
        "codesystem \"LOINC\": 'http://loinc.org'",
        'code "PSA": \'2857-1\' from "LOINC"',
        '"PSA".code',
        "valueset \"VS\": 'http://x.org/ValueSet/a'",
        "parameter P Integer default 7",
        "P + 1",
        "define function F(x Integer): x + 1",
        "F(P)",
        "include FHIRHelpers version '4.0.1' called FH",
        "define public Q: 3",
        "Q",
    ) == [
        "defined 'FHIR R4'",
        "defined 'LOINC'",
        "defined 'PSA'",
        "'2857-1'  (String)",
        "defined 'VS'",
        "defined 'P'",
        "8  (Integer)",
        "defined 'F'",
        "8  (Integer)",
        "defined 'FH'",
        "defined 'Q'",
        "3  (Integer)",
    ]


def test_a_hint_can_be_typed_in() -> None:
    """What the compiler says to write is accepted."""
    session = Session(with_model=False)
    shown, failed = reply(session, "using FHIR version '4.0.1'")
    assert not failed
    shown, failed = reply(session, "using FHIR version '9'")
    assert failed and "unknown FHIR version '9'" in shown


def test_mistakes_are_shown_in_what_was_typed_and_not_kept() -> None:
    session = Session()
    (shown,) = answers(session, "define Bad: Nothing + 1")
    assert shown.splitlines() == [
        "definition:1:13: error[unknown-name]: there is nothing called 'Nothing' here",
        "  1 | define Bad: Nothing + 1",
        "    |             ^^^^^^^",
    ]
    (shown,) = answers(session, "[Observatin]")
    assert "expression:1:2" in shown and "did you mean 'Observation'?" in shown
    assert answers(session, "define A: 1", "define A: 1 + true", "A")[::2] == ["defined 'A'", "1  (Integer)"]
    assert "syntax" in answers(session, "define Broken: (1")[0]


@pytest.mark.parametrize("elm", [False, True])
def test_over_a_library_and_data(
    elm: bool, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = folder / "L.cql"
    if elm:
        (folder / "elm").mkdir()
        assert main(["compile", str(library), "--elm", str(folder / "elm" / "L.json")]) == 0
        library = folder / "elm" / "L.json"
    lines = (
        "Adult\ndefine Both: Adult and Measured\nBoth\n"
        'codesystem "LOINC": \'http://loinc.org\'\ncode "PSA": \'2857-1\' from "LOINC"\nexists \\\n  [Observation: "PSA"]\n'
        "Patient.gender = 'female'\nNothing\n"
    )
    monkeypatch.setattr(cql_module.sys, "stdin", io.StringIO(lines))
    assert main(["cql", "--interactive", "--library", str(library), "--data", str(folder / "p.json")]) == 2
    shown = capsys.readouterr().out.splitlines()
    assert shown[:7] == [
        "true  (Boolean)",
        "defined 'Both'",
        "true  (Boolean)",
        "defined 'LOINC'",
        "defined 'PSA'",
        "true  (Boolean)",
        "true  (Boolean)",
    ]
    assert shown[7] == "expression:1:1: error[unknown-name]: there is nothing called 'Nothing' here"


def test_parameters_reach_a_conversation(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cql_module.sys, "stdin", io.StringIO("Adult\n"))
    words = [
        "cql",
        "-i",
        "--library",
        str(folder / "L.cql"),
        "--data",
        str(folder / "p.json"),
        "--parameter",
        "Least=200",
    ]
    assert main(words) == 0
    assert capsys.readouterr().out == "false  (Boolean)\n"


def test_no_expression_goes_with_a_conversation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cql", "-i", "1 + 1"]) == 2
    assert "--interactive is a conversation: give no expression with it" in capsys.readouterr().err


def test_data_in_another_version(folder: Path) -> None:
    from fhir_eligibility.ui.commands.cql_session import read_subject

    session = Session(subject=read_subject([folder / "p.json"], "r4"))
    (shown,) = answers(session, "using FHIR version '5.0.0'")
    assert "the data is in FHIR R4, not in R5" in shown
    assert answers(session, "using FHIR version '4.0.1'", "exists [Observation]") == [
        "defined 'FHIR R4'",
        "true  (Boolean)",
    ]


def test_lines_that_go_on() -> None:
    out = io.StringIO()
    assert converse(Session(), io.StringIO("1 + \\\n 2\n"), out) == 0
    assert out.getvalue() == "3  (Integer)\n"
