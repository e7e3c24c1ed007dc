"""`criteria.json` holds once what is the same for all patients; verdicts and it together are what `screen` gives in Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from pydantic import TypeAdapter

import fhir_eligibility
from fhir_eligibility.output.criteria_record import CriteriaRecord, read_criteria, read_verdicts
from fhir_eligibility.ui.commands.cli import main
from tests.spec.model import ROOT

FLUTE = ROOT / "criteria" / "flute"
NOW = "2026-06-01"
CQL = "library L version '1' using FHIR version '4.0.1' context Patient define X: Patient.active"


@pytest.fixture(scope="module")
def crit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example criteria in FHIRPath, and a trial in CQL with members that are unknown for everyone."""
    folder = tmp_path_factory.mktemp("crit")
    (folder / "L.cql").write_text(CQL)
    (folder / "mr.json").write_bytes((FLUTE / "mr" / "EvidenceVariable.json").read_bytes())
    expression = {"language": "text/cql-identifier", "expression": "X"}
    members = [
        {"linkId": "in-cql", "description": "a title of its own", "definitionExpression": expression},
        {"linkId": "a nurse reads it", "exclude": True, "definitionCodeableConcept": {"text": "only words"}},
    ]
    combined = {
        "linkId": "both",
        "definitionByCombination": {"code": "at-least", "threshold": 1, "characteristic": members},
    }
    head = {
        "resourceType": "EvidenceVariable",
        "id": "b",
        "version": "2",
        "title": "The trial's title",
        "status": "draft",
    }
    (folder / "b.json").write_text(json.dumps({**head, "characteristic": [combined]}))
    return folder


@pytest.fixture(scope="module", params=["small", "large"])
def out(request: pytest.FixtureRequest, crit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "large":
            patch.setattr("fhir_eligibility.runners.screening.run.SMALL", 0)
        words = ["screen", str(crit), "--data", str(FLUTE / "cohort"), "--out", str(folder), "--now", NOW]
        assert main([*words, "--quiet", "--parquet", "--jobs", "1"]) == 0
    return folder


def test_lines_and_criteria_together_are_the_verdicts_of_python(crit: Path, out: Path) -> None:
    expected = list(fhir_eligibility.screen(fhir_eligibility.load_criteria(crit), FLUTE / "cohort", now=NOW))
    assert len(expected) == 24
    assert list(read_verdicts(out)) == expected
    assert all(one.artifact_title and one.evaluated and one.criteria[0].title for one in expected)


def criteria_below(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [below for one in listed for below in (one, *criteria_below(one["members"]))]


def test_what_is_the_same_for_all_is_in_no_line(out: Path) -> None:
    record = json.loads((out / "criteria.json").read_text())
    lines = (out / "verdicts.ndjson").read_text()
    criteria = [one for artifact in record["artifacts"] for one in criteria_below(artifact["criteria"])]
    assert len(criteria) == 8
    once = [one["title"] for one in criteria if one["title"] != one["id"]]
    once += [one["expression"] for one in criteria if "expression" in one and one["expression"] != "X"]
    once += [artifact["title"] for artifact in record["artifacts"]]
    assert len(once) == 12
    assert [text for text in once if json.dumps(text)[1:-1] in lines] == []
    for line in map(json.loads, lines.splitlines()):
        assert not line.keys() & {"artifact_title", "evaluated"}
        assert not any(one.keys() & {"title", "kind", "expression"} for one in criteria_below(line["criteria"]))
        assert line.keys() >= {"patient", "artifact", "verdict", "deciding", "criteria", "imaging"}


def test_the_record_tells_what_was_asked(out: Path) -> None:
    record = read_criteria(out)
    assert (record.now, record.timezone, record.fhir_version) == (f"{NOW}T00:00:00+00:00", "UTC", "r4")
    assert [(one.artifact, one.version, one.title) for one in record.artifacts][0] == (
        "EvidenceVariable/b",
        "2",
        "The trial's title",
    )
    (both,) = record.artifacts[0].criteria
    assert (both.id, both.kind, both.combination, both.threshold) == ("both", "inclusion", "at-least", 1)
    in_cql, words = both.members
    assert (in_cql.language, in_cql.expression, in_cql.title) == ("text/cql", "X", "a title of its own")
    assert (words.kind, words.reason, words.expression) == ("exclusion", "needs-review", None)
    for one in record.artifacts:
        assert (out / f"included-{one.name}.json").is_file()
    run = json.loads((out / "run.json").read_text())
    assert [one["name"] for one in run["artifacts"]] == [one.name for one in record.artifacts]
    assert set(run["digests"]) == {"engine", "parameters", "criteria", "value sets", "data"}


def test_tables_have_titles_and_kinds(out: Path) -> None:
    criteria = parquet.read_table(out / "criteria.parquet").to_pylist()
    verdicts = parquet.read_table(out / "verdicts.parquet").to_pylist()
    assert {one["artifact_title"] for one in verdicts} == {one.title for one in read_criteria(out).artifacts}
    assert all(one["title"] and one["kind"] in ("inclusion", "exclusion") for one in criteria)
    assert {one["combination"] for one in criteria if one["criterion"] == "in-cql"} == {"both"}


def test_the_schema_of_the_record(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "criteria"]) == 0
    schema = json.loads(capsys.readouterr().out)
    record = json.loads((out / "criteria.json").read_text())
    assert set(record) == set(schema["required"]) == set(schema["properties"])
    TypeAdapter(CriteriaRecord).validate_python(record)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("criteria.json", "{}", "criteria.json: not the criteria of a run: now: Field required"),
        ("criteria.json", "{", "criteria.json: not the criteria of a run: JSON"),
        ("verdicts.ndjson", "{}\n", "verdicts.ndjson, line 1: not a verdict of this run"),
        ("verdicts.ndjson", '{"artifact": "another"}\n', "verdicts.ndjson, line 1: not a verdict of this run"),
        ("verdicts.ndjson", "[]\n", "verdicts.ndjson, line 1: not a verdict of this run"),
        ("verdicts.ndjson", "x\n", "verdicts.ndjson, line 1: not a verdict of this run"),
    ],
)
def test_what_is_none_is_told(out: Path, tmp_path: Path, name: str, text: str, says: str) -> None:
    for file in ("criteria.json", "verdicts.ndjson"):
        (tmp_path / file).write_bytes((out / file).read_bytes())
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=says):
        list(read_verdicts(tmp_path))
    (tmp_path / "criteria.json").unlink()
    with pytest.raises(FileNotFoundError, match="holds no criteria.json: give the folder"):
        list(read_verdicts(tmp_path))


def test_the_files_of_the_user_are_not_written_over(
    crit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "criteria.json").write_bytes((crit / "b.json").read_bytes())
    words = ["screen", str(tmp_path), "--libraries", str(crit / "L.cql"), "--data", str(FLUTE / "cohort")]
    assert main([*words, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'criteria.json'} is there already, and is not an output of this program" in said
    assert (tmp_path / "criteria.json").read_bytes() == (crit / "b.json").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["criteria.json"]
