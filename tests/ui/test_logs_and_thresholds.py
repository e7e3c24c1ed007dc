"""What an unattended run says: records with time, level, step and counts; thresholds that end it with a status of its own."""

from __future__ import annotations

import datetime as dt
import io
import json
import logging
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.ui.commands.cli import main
from fhir_eligibility.ui.terminal import progress as progress_module
from fhir_eligibility.ui.terminal.logs import STEPS, JsonFormat, TextFormat
from fhir_eligibility.ui.terminal.progress import ProgressLine

FLUTE = Path(__file__).parents[2] / "criteria" / "flute"
BROKEN = {
    "resourceType": "EvidenceVariable",
    "id": "two",
    "title": "Two criteria",
    "status": "active",
    "characteristic": [
        {
            "linkId": "a",
            "definitionExpression": {"language": "text/fhirpath", "expression": "Patient.gender = 'female'"},
        }
    ],
}


def cohort(folder: Path, patients: int, undetermined: int = 0, problems: int = 0) -> Path:
    folder.mkdir()
    for number in range(patients):
        resource = {"resourceType": "Patient", "id": f"p{number}"}
        if number >= undetermined:
            resource["gender"] = "female"
        (folder / f"{number}.json").write_text(json.dumps(resource))
    for number in range(problems):
        (folder / f"broken-{number}.json").write_text('{"resourceType": "Patient", "id"')
    return folder


@pytest.fixture
def criteria(tmp_path: Path) -> Path:
    path = tmp_path / "criteria.json"
    path.write_text(json.dumps(BROKEN))
    return path


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_lines(criteria: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = cohort(tmp_path / "data", 3, undetermined=1, problems=1)
    words = ["screen", str(criteria), "--data", str(data), "--out", str(tmp_path / "out"), "--log-format", "json"]
    status = main(words)
    found = records(capsys.readouterr().err)
    for record in found:
        assert dt.datetime.fromisoformat(record["time"]).tzinfo is not None
        assert record["level"] in ("info", "warning", "error") and record["step"] in STEPS and record["message"]
    last = found[-1]
    assert (last["step"], last["status"], last["patients"], last["problems"]) == ("done", status, 3, 1)
    assert last["undetermined"] == {"Two criteria": 1}


def test_an_error_is_a_record_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            ["screen", "nowhere", "--data", str(FLUTE / "cohort"), "--out", str(tmp_path / "o"), "--log-format", "json"]
        )
        == 2
    )
    (record,) = records(capsys.readouterr().err)
    assert record["level"] == "error" and "nowhere does not exist" in record["message"]


def test_problems_and_diagnostics_have_their_places(
    criteria: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {
        **BROKEN,
        "id": "three",
        "characteristic": [
            {"definitionExpression": {"language": "text/fhirpath", "expression": "Patient.gendr = 'x'"}}
        ],
    }
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    data = cohort(tmp_path / "data", 1, problems=1)
    main(
        [
            "screen",
            str(criteria),
            str(tmp_path / "wrong.json"),
            "--data",
            str(data),
            "--out",
            "-",
            "--log-format",
            "json",
        ]
    )
    found = records(capsys.readouterr().err)
    (problem,) = [record for record in found if record["step"] == "data"]
    assert (Path(problem["file"]).name, problem["code"], problem["level"]) == ("broken-0.json", "invalid-json", "error")
    said = [record for record in found if record["step"] == "criteria" and record["level"] == "error"]
    assert any(record["code"] == "unknown-element" and "gendr" in record["message"] for record in said)


def test_text_lines(criteria: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = cohort(tmp_path / "data", 2)
    words = ["screen", str(criteria), "--data", str(data), "--out", str(tmp_path / "out"), "--log-format", "text"]
    assert main(words) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d info    done: screened 2 patients; 0 problems; exit status 0",
        last,
    )


def test_without_an_option_messages_stand_alone(
    criteria: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["screen", str(criteria), "--data", str(cohort(tmp_path / "data", 1)), "--out", str(tmp_path / "out")])
        == 0
    )
    assert capsys.readouterr().err == ""


def test_a_log_file_is_appended_to_and_private(
    criteria: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, data = tmp_path / "log", cohort(tmp_path / "data", 1)
    words = [
        "screen",
        str(criteria),
        "--data",
        str(data),
        "--out",
        str(tmp_path / "out"),
        "--quiet",
        "--log-file",
        str(log),
    ]
    assert (main(words), main(words)) == (0, 0)
    assert capsys.readouterr().err == ""
    assert log.read_text().count("done: screened 1 patient;") == 2
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert main([*words[:-1], str(tmp_path / "none" / "log")]) == 2
    assert "none/log" in capsys.readouterr().err


def test_a_program_can_route_what_is_said(criteria: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Kept(logging.Handler):
        def __init__(self) -> None:
            super().__init__()
            self.records: list[logging.LogRecord] = []

        def emit(self, record: logging.LogRecord) -> None:
            self.records.append(record)

    kept, logger = Kept(), logging.getLogger("fhir_eligibility")
    logger.addHandler(kept)
    before = list(logger.handlers)
    try:
        main(["screen", str(criteria), "--data", str(cohort(tmp_path / "data", 2)), "--out", str(tmp_path / "out")])
    finally:
        logger.removeHandler(kept)
    assert [vars(record)["step"] for record in kept.records][-1] == "done"
    assert vars(kept.records[-1])["facts"]["patients"] == 2
    assert before == [*logger.handlers, kept], "the command's own handlers are gone"


@pytest.mark.parametrize("form", [TextFormat(), JsonFormat()])
def test_no_message_looks_like_two_records(form: logging.Formatter) -> None:
    text = "a\n2026-01-01T00:00:00.000+00:00 error   done: forged\x1b[2J\u202e"
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s", (text,), None)
    lines = form.format(record).split("\n")
    assert [line for line in lines if re.match(r"\d{4}|\{", line)] == lines[:1]
    assert "\x1b" not in "".join(lines) and "\u202e" not in "".join(lines)


def test_progress_goes_to_the_log_with_counts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter([0.0, 1.0, 31.0, 62.0, 63.0])
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: next(clock))
    caplog.set_level(logging.INFO, "fhir_eligibility")
    line = ProgressLine(io.StringIO())
    for done in (0, 10_000_000, 20_000_000):
        line("read", done, 40_000_000)
    line("judge", 7, 0)
    said = [(vars(r)["step"], r.getMessage(), vars(r)["facts"]) for r in caplog.records]
    assert said == [
        ("reading", "reading begins", {"bytes": 0, "bytes_total": 40_000_000}),
        ("reading", "reading: 10 of 40 MB, 0 MB/s, 1:30 left", {"bytes": 10_000_000, "bytes_total": 40_000_000}),
        ("reading", "reading: 20 of 40 MB, 0 MB/s, 1:01 left", {"bytes": 20_000_000, "bytes_total": 40_000_000}),
        ("judging", "judging begins", {"patients": 7}),
    ]


@pytest.mark.parametrize("out", ["out", "-"])
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--max-undetermined", "1"], "--max-undetermined 1: 2 of 8 patients (25%) are undetermined in"),
        (["--max-undetermined", "20%"], "--max-undetermined 20%: 2 of 8 patients (25%) are undetermined in"),
        (["--max-undetermined", "2"], None),
        (["--max-undetermined", "25%"], None),
        (["--min-patients", "9"], "--min-patients 9: there are 8 patients"),
        (["--min-patients", "8"], None),
        (["--max-problems", "0"], "--max-problems 0: the data has 1 problem"),
        (["--max-problems", "1"], None),
    ],
)
def test_a_threshold_ends_with_5_and_says_which(
    out: str,
    options: list[str],
    sentence: str | None,
    criteria: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = cohort(tmp_path / "data", 8, undetermined=2, problems=1)
    place = "-" if out == "-" else str(tmp_path / "out")
    status = main(["screen", str(criteria), "--data", str(data), "--out", place, "--quiet", *options])
    shown = capsys.readouterr()
    assert (status == 5) is (sentence is not None)
    assert sentence is None or f"eligibility: {sentence}" in shown.err
    written = shown.out if out == "-" else (tmp_path / "out" / "verdicts.ndjson").read_text()
    assert len(written.splitlines()) == 8, "what is written does not depend on thresholds"


def test_thresholds_of_a_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = tmp_path / "m.cql"
    library.write_text(
        "library M version '1'\nusing FHIR version '4.0.1'\ninclude FHIRHelpers version '4.0.1'\ncontext Patient\n"
        "define \"Female\": Patient.gender = 'female'\n"
    )
    data = cohort(tmp_path / "data", 3, problems=1)
    words = ["measure", str(library), "--data", str(data), "--quiet", "--out"]
    assert main([*words, str(tmp_path / "a"), "--min-patients", "4"]) == 5
    assert "--min-patients 4: there are 3 patients" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "b"), "--max-problems", "0"]) == 5
    assert "--max-problems 0: the data has 1 problem" in capsys.readouterr().err
    assert len((tmp_path / "b" / "results.ndjson").read_text().splitlines()) == 3


def test_commands_about_images_end_with_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "run")
    main(["screen", str(FLUTE / "mr"), "--data", str(FLUTE / "cohort"), "--out", out, "--now", "2026-06-01", "--quiet"])
    capsys.readouterr()
    assert main(["imaging", "manifest", out, "--out", str(tmp_path / "m"), "--log-format", "json"]) == 0
    last = records(capsys.readouterr().err)[-1]
    assert (last["step"], last["status"], last["studies"], last["series"]) == ("done", 0, 4, 8)
    assert last["message"].startswith("listed 4 studies, 8 series, 16 instances")
