"""The commands as a person types them: files written, exit statuses, messages."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.evaluation.verdict import Verdict
from fhir_eligibility.output.atomic import AtomicFile
from fhir_eligibility.output.run_record import RunRecord
from fhir_eligibility.output.summary import row_of, safe
from fhir_eligibility.ui.commands.cli import COMMANDS, main, parser
from tests.outputs import groups, visible

FLUTE = Path(__file__).parents[2] / "criteria" / "flute"
COHORT = FLUTE / "cohort"


def test_screen_writes_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["screen", str(FLUTE / "mr"), "--data", str(COHORT), "--out", str(out), "--now", "2026-06-01"]
    assert main(arguments) == 0
    assert visible(out) == [
        "criteria.json",
        "included-flute-mr-1.0.0-5913ecca.json",
        "problems.ndjson",
        "run.json",
        "summary.csv",
        "verdicts.ndjson",
    ]
    verdicts = [Verdict.model_validate_json(line) for line in (out / "verdicts.ndjson").read_text().splitlines()]
    counts = {kind: sum(v.verdict == kind for v in verdicts) for kind in ("included", "excluded", "undetermined")}
    assert counts == {"included": 4, "excluded": 5, "undetermined": 3}
    (group,) = groups(out)
    members = [member["entity"]["reference"] for member in group["member"]]
    assert members == [v.patient for v in verdicts if v.verdict == "included"]
    rows = list(csv.DictReader((out / "summary.csv").open(newline="")))
    assert [row["verdict"] for row in rows] == [v.verdict for v in verdicts]
    run = RunRecord.model_validate_json((out / "run.json").read_text())
    assert (run.patients, run.problems, run.now, len(run.data)) == (12, 0, "2026-06-01T00:00:00+00:00", 12)
    assert sum(run.artifacts[0].removed.values()) == counts["excluded"]
    table = capsys.readouterr().out
    assert "undetermined" in table and "removed by images" in table


def test_images_carry_urls_of_the_archive(tmp_path: Path) -> None:
    main(["screen", str(FLUTE / "mr"), "--data", str(COHORT), "--out", str(tmp_path), "--now", "2026-06-01", "--quiet"])
    verdict = Verdict.model_validate_json((tmp_path / "verdicts.ndjson").read_text().splitlines()[0])
    (link,) = [link for link in verdict.imaging if link.criterion == "images"]
    assert link.url == f"https://archive.example/dicom-web/studies/{link.study}"
    assert [len(series.instances) for series in link.series] == [2, 2]
    assert link.accession == "A00001"


def test_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(COHORT / "example-01.json")
    assert main(["screen", str(FLUTE / "mr"), "--data", data, "--out", "-", "--now", "2026-06-01"]) == 0
    assert Verdict.model_validate_json(capsys.readouterr().out).verdict == "included"


def test_broken_data_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.json").write_text('{"resourceType": "Bundle", "entry": [')
    (data / "b.json").write_text('{"resourceType": "Patient", "id": "b"}')
    (data / "c.json").write_text('{"no": "resource"}')
    out = tmp_path / "out"
    arguments = ["screen", str(FLUTE / "mr"), "--data", str(data), "--out", str(out), "--quiet"]
    assert main(arguments) == 1
    problems = [json.loads(line) for line in (out / "problems.ndjson").read_text().splitlines()]
    assert [(Path(p["file"]).name, p["code"]) for p in problems] == [
        ("a.json", "invalid-json"),
        ("c.json", "not-a-resource"),
    ]
    assert len((out / "verdicts.ndjson").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["screen", "nowhere", "--data", str(COHORT), "--out", "x"], "nowhere does not exist"),
        (["screen", str(FLUTE / "mr"), "--data", str(COHORT), "--out", "x", "--fhir", "dstu1"], "unknown FHIR version"),
        (["screen", str(FLUTE / "mr"), "--data", str(COHORT), "--out", "x", "--now", "soon"], "'soon' is not a date"),
        (["screen", str(FLUTE / "mr"), "--data", str(COHORT), "--out", "x", "--timezone", "Mars"], "unknown time zone"),
    ],
)
def test_bad_options(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_check_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expression = {"language": "text/fhirpath", "expression": "Procedure.date > @2020"}
    artifact = {
        "resourceType": "EvidenceVariable",
        "id": "ev",
        "characteristic": [{"definitionExpression": expression}],
    }
    path = tmp_path / "ev.json"
    path.write_text(json.dumps(artifact))
    assert main(["check", str(path)]) == 3
    shown = capsys.readouterr().out
    assert "unknown element 'date' on Procedure (R4)" in shown
    assert "did you mean `performed`?" in shown
    assert "^^^^" in shown
    assert main(["check", str(FLUTE / "mr"), "--strict"]) == 0


def test_check_shows_the_python_of_fhirpath_and_of_cql(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = {
        "resourceType": "Library",
        "url": "https://example.org/Library/Old",
        "status": "active",
        "name": "Old",
        "type": {"coding": [{"code": "logic-library"}]},
        "content": [{"contentType": "text/cql", "url": "old.cql"}],
    }
    (tmp_path / "library.json").write_text(json.dumps(library))
    (tmp_path / "old.cql").write_text(
        "library Old\nusing FHIR version '4.0.1'\ncontext Patient\n"
        "define \"is a 'woman'\": Patient.gender = 'female'\ndefine Other: 1\n"
    )
    definitions = [
        {"language": "text/fhirpath", "expression": "Patient.gender = 'male'"},
        {"language": "text/cql-identifier", "expression": "is a 'woman'", "reference": library["url"]},
    ]
    artifact = {
        "resourceType": "EvidenceVariable",
        "status": "active",
        "characteristic": [{"linkId": f"{n}", "definitionExpression": one} for n, one in enumerate(definitions)],
    }
    (tmp_path / "ev.json").write_text(json.dumps(artifact))
    assert main(["check", str(tmp_path), "--show", "python"]) == 0
    shown = capsys.readouterr().out
    functions = [line.strip() for line in shown.splitlines() if line.strip().startswith("| def ")]
    assert len(functions) == 2 and functions[0] == "| def criterion(ev, ctx):"
    assert "'male'" in shown and "'female'" in shown
    assert """| is a 'woman'""" not in shown and "is a 'woman'" in shown
    assert main(["check", str(tmp_path), "--show", "python", "--json"]) == 0
    fhirpath, cql = json.loads(capsys.readouterr().out)["artifacts"][0]["characteristics"]
    assert fhirpath["python"].startswith("def criterion(ev, ctx):\n") and "'male'" in fhirpath["python"]
    assert cql["python"].count("def ") == 1 and "'female'" in cql["python"]
    assert main(["check", str(tmp_path), "--json"]) == 0
    assert all("python" not in one for one in json.loads(capsys.readouterr().out)["artifacts"][0]["characteristics"])


def test_fhirpath(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.json"
    path.write_text('{"resourceType": "Patient", "id": "p", "birthDate": "1980-02"}')
    assert main(["fhirpath", "birthDate + 1 month", str(path)]) == 0
    assert capsys.readouterr().out == "1980-03  (System.Date)\n"
    assert main(["fhirpath", "birthDat", str(path)]) == 2
    assert main(["fhirpath", "1 + 1", "--show", "python"]) == 0
    assert "def expression(ev, ctx):" in capsys.readouterr().out


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["required"]) == {"patient", "artifact", "verdict", "deciding", "criteria"}


def test_nothing_half_written(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), AtomicFile(tmp_path / "x.txt") as file:
        stream = file.stream
        stream.write("half")  # type: ignore[arg-type]
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_no_cell_is_a_formula() -> None:
    assert [safe(text) for text in ("=1+1", "@x", "-3", "plain", "")] == ["'=1+1", "'@x", "'-3", "plain", ""]


@pytest.mark.parametrize(("option", "value"), [("--jobs", "-1"), ("--memory", "much")])
def test_a_bad_amount_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    arguments = ["screen", str(FLUTE / "mr"), "--data", str(COHORT), "--out", str(tmp_path / "out"), option, value]
    assert main(arguments) == 2
    assert value in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_has_its_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    own = capsys.readouterr().out
    assert f"eligibility {name}" in own and len(own.splitlines()) > 5
    # what is said of it does not depend on which other commands are loaded
    with pytest.raises(SystemExit):
        parser().parse_args([name, "--help"])
    assert capsys.readouterr().out == own


def test_a_command_loads_only_what_it_needs() -> None:
    program = "import sys; from fhir_eligibility.ui.commands.cli import parser; parser(''); print(*sorted(m for m in sys.modules if m.startswith('fhir_eligibility.')))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [
        "fhir_eligibility.algebra",
        "fhir_eligibility.algebra.visible_text",
        "fhir_eligibility.ui",
        "fhir_eligibility.ui.commands",
        "fhir_eligibility.ui.commands.cli",
        "fhir_eligibility.ui.options",
        "fhir_eligibility.ui.options.actions",
        "fhir_eligibility.ui.options.command_parser",
        "fhir_eligibility.ui.options.statuses",
        "fhir_eligibility.ui.terminal",
        "fhir_eligibility.ui.terminal.visible",
        "fhir_eligibility.version",
    ]


def test_rows_of_the_summary_are_those_of_the_csv_module(tmp_path: Path) -> None:
    for cells in (["a", "b"], ["a,b", "c"], ['say "x"', ""], ["two\nlines", "c"], ["a\r", "b"], ["", ""], [" a ", "é"]):
        path = tmp_path / "table.csv"
        with path.open("w", newline="") as stream:
            csv.writer(stream, lineterminator="\r\n").writerow(cells)
        assert row_of(cells).encode() == path.read_bytes()


@pytest.mark.parametrize("data", [None, 7, [{"resourceType": "Patient", "id": "p"}]])
def test_data_that_is_none_is_told(data: Any) -> None:
    criteria = fhir_eligibility.load_criteria("criteria/flute/mr")
    with pytest.raises(TypeError, match="data: expected a path"):
        list(fhir_eligibility.screen(criteria, data, now="2026-01-01"))
