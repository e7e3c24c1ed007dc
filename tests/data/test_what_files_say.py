"""What is wrong with a file is told once, in words, with what to do; what is missing by what a server says is told too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.data.files.other_lines import HELD, OtherLines
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.records.sources import unpack
from tests.data.every_way import criteria, screened
from tests.shared import shared

PATIENT = b'{"resourceType":"Patient","id":"p1"}\n'
CONDITION = {
    "resourceType": "Condition",
    "id": "c1",
    "subject": {"reference": "Patient/p1"},
    "code": {"coding": [{"code": "WD1"}]},
}
EXPRESSION = "Condition.where(code.coding.exists(code = 'WD1')).exists()"
Told = tuple[str, str, str, int | None]


def problems_of(tmp_path: Path, files: Mapping[str, bytes]) -> list[Problem]:
    """The problems of a folder, which are the same on every way."""
    data = tmp_path / "data"
    data.mkdir()
    for name, text in {"Patient.ndjson": PATIENT, **files}.items():
        (data / name).write_bytes(text)
    return told_alike(tmp_path, data)


def told_alike(tmp_path: Path, data: Path) -> list[Problem]:
    rules = criteria(tmp_path / "criteria", EXPRESSION)
    ways = {way: problems for way, _, problems in screened(rules, data, tmp_path)}
    seen = {
        way: sorted(
            (Path(p.file or "").name, p.line or 0, p.entry or 0, p.code, p.severity, p.message) for p in problems
        )
        for way, problems in ways.items()
    }
    assert all(found == seen["memory"] for found in seen.values()), seen
    return ways["by plan"]


def told(problems: list[Problem]) -> list[Told]:
    return [(one.code, one.severity, Path(one.file or "").name, one.line) for one in problems]


LOG = b'{"exportId": "e", "timestamp": "2024-08-06T14:11:57Z", "eventId": "download_complete", "eventDetail": {}}\n'
WHOLE_FILES = {
    "a log": ("log.ndjson", LOG * 30, "not-a-resource", "warning", "none of the 30 lines"),
    "a log named json": ("log.json", LOG * 30, "not-a-resource", "warning", "none of the 30 lines"),
    "a table": ("Condition.ndjson", b"id,code\n" + b"1,WD1\n" * 30, "invalid-json", "error", "a table (CSV)"),
    "a table of numbers": ("Condition.ndjson", b"1\t2\n" * 30, "invalid-json", "error", "a table (CSV)"),
    "text": ("Condition.ndjson", b"started\n" * 30, "invalid-json", "error", "text, and not FHIR's JSON"),
    "FHIR in XML": ("Condition.json", b'<Bundle xmlns="http://hl7.org/fhir">\n</Bundle>', "invalid-json", "error", "FHIR in XML"),
    "lines of half JSON": ("Condition.ndjson", b"{a: 1}\n" * 30, "invalid-json", "error", "none of the 30 lines"),
    "an empty file": ("Condition.ndjson", b"", "empty-file", "error", "the file is empty"),
    "blank lines": ("Condition.ndjson", b" \n\n", "empty-file", "error", "the file is empty"),
    "an empty document": ("Condition.json", b"\xef\xbb\xbf", "empty-file", "error", "the file is empty"),
    "binary data": ("Condition.ndjson", bytes(range(1, 200)) * 9, "invalid-json", "error", "not FHIR's JSON"),
    "a scalar": ("Condition.json", b'"x"', "invalid-json", "error", "not FHIR's JSON"),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(WHOLE_FILES))
def test_a_file_that_is_something_else_is_one_problem(tmp_path: Path, kind: str) -> None:
    name, text, code, severity, words = WHOLE_FILES[kind]
    problems = problems_of(tmp_path, {name: text})
    assert told(problems) == [(code, severity, name, None)]
    assert words in problems[0].message and problems[0].hint


def test_lines_that_are_no_resources_among_others_are_told_each(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, {"Condition.ndjson": LOG * 3 + json.dumps(CONDITION).encode() + b"\n{x\n"})
    assert told(problems) == [
        ("not-a-resource", "error", "Condition.ndjson", 1),
        ("not-a-resource", "error", "Condition.ndjson", 2),
        ("not-a-resource", "error", "Condition.ndjson", 3),
        ("invalid-json", "error", "Condition.ndjson", 5),
    ]


def test_lines_that_name_a_resource_are_told_each(tmp_path: Path) -> None:
    line = json.dumps(CONDITION).encode()
    problems = problems_of(tmp_path, {"Condition.ndjson": line[:-20] + b"\n" + line[:-30] + b"\n"})
    assert [one.line for one in problems] == [1, 2] and {one.resource for one in problems} == {"Condition/c1"}


def test_no_more_problems_are_held_back_than_fit() -> None:
    found: list[Problem] = []
    lines = 0
    others = OtherLines("x", found.append, lambda: lines)
    for number in range(HELD + 50):
        lines += 1
        others.add(Problem(file="x", line=number + 1, offset=number * 10, code="invalid-json", message="bad"))
    assert found == []
    lines += 1  # a resource
    lines += 1
    others.add(Problem(file="x", line=lines, offset=9999, code="invalid-json", message="bad"))
    others.finish()
    assert len(found) == HELD + 2
    assert found[HELD].line == HELD + 50 and found[HELD].message.startswith("50 more lines up to this one")


def outcome(severity: str, code: str = "exception", **more: Any) -> dict[str, Any]:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": severity, "code": code, **more}]}


def entry(resource: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {**({"resource": resource} if resource is not None else {}), **more}


def bundle(kind: str, *entries: dict[str, Any]) -> bytes:
    return json.dumps({"resourceType": "Bundle", "type": kind, "entry": entries}).encode()


EXPIRED = outcome("error", "expired", diagnostics="the export has expired")
SERVERS = {
    "a file of errors": ("Condition.ndjson", json.dumps(EXPIRED).encode() + b"\n", "error", 1, None),
    "one document": ("Condition.json", json.dumps(EXPIRED, indent=1).encode(), "error", None, None),
    "an entry for an error": (
        "b.json",
        bundle("searchset", entry(CONDITION), entry(EXPIRED, search={"mode": "outcome"})),
        "error",
        None,
        1,
    ),
    "the outcome of an answer": (
        "b.json",
        bundle("batch-response", entry(CONDITION, response={"status": "200", "outcome": EXPIRED})),
        "error",
        None,
        0,
    ),
    "an answer without data": ("b.json", bundle("batch-response", entry(response={"status": "404 Not Found"})), "error", None, 0),
    "results that are left out": ("b.json", bundle("searchset", entry(outcome("warning", "too-costly"))), "error", None, 0),
    "a warning": ("b.json", bundle("searchset", entry(CONDITION), entry(outcome("warning", "code-invalid"))), "warning", None, 1),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(SERVERS))
def test_what_a_server_says_in_the_place_of_data_is_told(tmp_path: Path, kind: str) -> None:
    name, text, severity, line, index = SERVERS[kind]
    (found,) = problems_of(tmp_path, {name: text})
    assert (found.code, found.severity, found.line, found.entry) == ("server-error", severity, line, index)
    assert Path(found.file or "").name == name
    if "expired" in text.decode():
        assert found.message == "the server reports an error in the place of data: the export has expired"


def test_what_a_server_merely_informs_of_is_no_problem(tmp_path: Path) -> None:
    text = bundle(
        "batch-response",
        entry(outcome("information")),
        entry(response={"status": "204", "outcome": outcome("success")}),
    )
    assert problems_of(tmp_path, {"b.json": text}) == []


def test_bundles_within_bundles_may_be_deep(tmp_path: Path) -> None:
    text = json.dumps(CONDITION)
    deep = '{"resourceType":"Bundle","type":"collection","entry":[{"resource":' * 60 + text + "}]}" * 60
    assert problems_of(tmp_path, {"b.json": deep.encode()}) == []


def test_parameters_within_parameters_may_be_as_deep_as_json_is_read() -> None:
    deep: dict[str, Any] = {"name": "x", "resource": CONDITION}
    for _ in range(5000):
        deep = {"name": "x", "part": [deep]}
    problems: list[Problem] = []
    (found,) = unpack({"resourceType": "Parameters", "parameter": [deep]}, "x", problems.append, None)
    assert found.resource == CONDITION and problems == []


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("lfs", "invalid-json", "Git LFS"),
        ("utf16", "invalid-json", "UTF-16"),
        ("html", "invalid-json", "a web page"),
        ("oo", "server-error", "the export has expired"),
        ("log", "not-a-resource", "none of the 30 lines"),
        ("comma", "commas", "commas stand between"),
    ],
)
def test_the_reported_files_are_one_problem_each(tmp_path: Path, case: str, code: str, words: str) -> None:
    data = shutil.copytree(shared("faults", "data", "t", case), tmp_path / "data")
    (data / "more.ndjson").write_bytes(PATIENT.replace(b"p1", b"p9"))
    found = [one for one in told_alike(tmp_path, data) if one.code not in LINKS]
    assert [one.code for one in found] == [code] and words in found[0].message


LINKS = {"no-patient", "patient-not-described"}


def test_what_a_server_says_in_a_file_of_its_own_may_be_of_any_type(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "Patient.ndjson").write_text('{"resourceType":"Patient","id":"p"}\n')
    told = '{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"exception","diagnostics":"disk full"}]}'
    (folder / "OperationOutcome.ndjson").write_text(f"{told}\n")
    for way, found, _ in screened(criteria(tmp_path / "c", "Condition.exists()"), folder, tmp_path):
        assert found == {"Patient/p": ("undetermined", "unknown")}, way
