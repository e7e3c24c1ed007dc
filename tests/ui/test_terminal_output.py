"""Text of strangers on the terminal: whatever command prints it, nothing in it steers the terminal, and nothing of it is lost."""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.output.summary import safe
from fhir_eligibility.ui.commands.cli import COMMANDS, main
from fhir_eligibility.ui.commands.export import _ExportProgress
from fhir_eligibility.ui.terminal.logs import logging_as
from fhir_eligibility.ui.terminal.progress import ProgressLine
from fhir_eligibility.ui.terminal.visible import VisibleStream, plain, visible, visible_output

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\u2066\u2028\r\x08\x00\x7f"
ALLOWED = {"\n", "\t"}


def steering(text: str) -> set[str]:
    """The characters of a text that would steer a terminal."""
    bidi = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029, 0x200E, 0x200F, 0x061C}
    return {c for c in text if (ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or ord(c) in bidi) and c not in ALLOWED}


@pytest.fixture
def criteria(tmp_path: Path) -> Path:
    folder = tmp_path / "criteria"
    folder.mkdir()
    name = "Bad" + HOSTILE.replace("\x00", "")
    quoted = name.replace("\r", "").replace("\x08", "")
    (folder / "lib.cql").write_text(
        f"library Strange version '1'\nusing FHIR version '4.0.1'\ninclude FHIRHelpers version '4.0.1'\ncontext Patient\n"
        f"define \"{quoted}\": exists [Observation]\n"
        f"define \"Text\": Patient.name.family contains '{quoted}'\n"
        f"define \"Says\": Message(true, true, '{quoted}', 'Warning', '{quoted}')\n",
        "utf-8",
    )  # fmt: skip
    (folder / "broken.cql").write_text(f'library Broken\ndefine "{quoted}": "{quoted}x" + 1\n', "utf-8")
    definition: dict[str, Any] = {
        "resourceType": "EvidenceVariable",
        "id": "strange",
        "url": "http://example.org/strange",
        "name": name,
        "title": name,
        "description": name,
        "status": "active",
        "characteristic": [
            {"linkId": "a", "description": name, "definitionExpression": {"language": "text/fhirpath", "expression": f"Patient.name.family = '{quoted}'"}},
            {"linkId": "b", "description": name, "definitionExpression": {"language": "text/cql-identifier", "expression": quoted, "reference": "Library/Strange"}},
            {"linkId": "c", "description": name, "definitionExpression": {"language": "text/fhirpath", "expression": f"Patient.`{quoted}`.exists()"}},
            {"linkId": "d", "description": name, "definitionExpression": {"language": quoted, "expression": "x"}},
            {"linkId": "e", "description": name, "definitionCodeableConcept": {"text": name}},
        ],
    }  # fmt: skip
    (folder / "ev.json").write_text(json.dumps(definition))
    (tmp_path / "patient.json").write_text(
        json.dumps({"resourceType": "Patient", "id": "p", "gender": "female", "name": [{"family": name}]})
    )
    return folder


RUNS = {
    "screen": [["screen", "C", "--data", "P", "--out", "O"], ["screen", "C", "--data", "P", "--out", "-"]],
    "check": [["check", "C"], ["check", "C", "--json"], ["check", "C", "--show", "python"]],
    "fhirpath": [["fhirpath", "name.family", "P"], ["fhirpath", "name", "P"], ["fhirpath", f"`a{HOSTILE}`", "P"]],
    "compile": [["compile", "C/lib.cql"], ["compile", "C/broken.cql"], ["compile", "C/lib.cql", "--show", "python"], ["compile", "C/lib.cql", "--elm"]],
    "cql": [["cql", "--library", "C/lib.cql", "--data", "P"], ["cql", f"'{HOSTILE}' + 1"], ["cql", "--json", "--library", "C/lib.cql", "--data", "P"]],
    "measure": [["measure", "C/lib.cql", "--data", "P", "--out", "O2"], ["measure", "C/lib.cql", "--data", "P", "--out", "-"]],
    "requirements": [["requirements", "C"]],
    "imaging": [["imaging", "list", "O"], ["imaging", "list", f"no{HOSTILE.replace(chr(0), '')}"]],
    "export": [["export", f"https://127.0.0.1:1/{HOSTILE}", "--out", "O3"]],
    "show": [["show", "O"], ["show", "O", "--patient", f"x{HOSTILE.replace(chr(0), '')}"]],
    "completion": [["completion", "bash"], ["completion", f"x{HOSTILE}"]],
    "schema": [["schema", "verdict"], ["schema", f"x{HOSTILE}"]],
}  # fmt: skip


def test_every_command_is_tried() -> None:
    assert RUNS.keys() == COMMANDS.keys()


@pytest.mark.parametrize("command", RUNS)
def test_no_command_prints_what_steers_the_terminal(
    command: str, criteria: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FHIR_ELIGIBILITY_CACHE", "off")
    places = {"C": str(criteria), "P": str(tmp_path / "patient.json"), "O": str(tmp_path / "out")}
    printed = ""
    for arguments in [RUNS["screen"][0], *RUNS[command]] if command in ("imaging", "show") else RUNS[command]:
        given = [text.replace("C/", f"{criteria}/") if text.startswith("C/") else text for text in arguments]
        given = [places.get(text, str(tmp_path / text) if text[:1] == "O" else text) for text in given]
        main(given)
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        printed += shown.out + shown.err
    assert steering(printed) == set()
    assert "\\u001b" in printed or command in ("schema", "imaging", "completion"), printed


def test_json_on_standard_output_has_the_same_value(
    criteria: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["screen", str(criteria), "--data", str(tmp_path / "patient.json"), "--out", "-"])
    line = next(line for line in capsys.readouterr().out.split("\n") if line.startswith("{"))
    assert r"\u001b]0;owned\u0007\u001b[2J\u009b31m\u202eevil\u2066" in line
    assert "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\u2066" in json.loads(line)["criteria"][0]["title"]


def test_all_else_is_as_it_was() -> None:
    text = "Grüße, 日本語 \U0001f525 'x' \"y\"\n\t\\ done é"
    assert visible(text) == text
    assert visible("\ud83d") == "\\ud83d"


def test_what_a_server_says_of_its_progress_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with visible_output(), logging_as(argparse.Namespace()):
        _ExportProgress(False).say("50% \x1b]0;owned\x07\x1b[2J done")
    assert capsys.readouterr().err == "50% \\u001b]0;owned\\u0007\\u001b[2J done\n"


def test_a_line_of_progress_still_moves_the_cursor() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    line = ProgressLine(VisibleStream(terminal))  # type: ignore[arg-type]
    line._last = 0.0
    line("write", 1, 2)
    line.done()
    assert terminal.getvalue().startswith("\r\x1b[K") and terminal.getvalue().endswith("\r\x1b[K")


def test_the_streams_are_put_back() -> None:
    before = sys.stdout, sys.stderr
    with visible_output():
        assert plain(sys.stdout) is before[0]
        with visible_output():
            assert plain(sys.stdout) is before[0]
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("=cmd", "'=cmd"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@x", "'@x"),
        ("\tx", "'\tx"),
        ("\rx", "'\\u000dx"),
        ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
        ("=\x1b[2J", "'=\\u001b[2J"),
        ("a\u202eb\x9bc", "a\\u202eb\\u009bc"),
        ("x;=cmd", "x;'=cmd"),
        (";;@x", ";;'@x"),
        ("x\n=cmd", "x\n'=cmd"),
        ("\uff1dcmd", "'\uff1dcmd"),
        ("\uff0b1", "'\uff0b1"),
        ("\uff0d1", "'\uff0d1"),
        ("x;\uff20y", "x;'\uff20y"),
        ("a = b", "a = b"),
        ("a-b; c=d", "a-b; c=d"),
        ("", ""),
        ("10; -5", "10; -5"),
    ],
)
def test_no_cell_is_a_formula(cell: str, expected: str) -> None:
    assert safe(cell) == expected
