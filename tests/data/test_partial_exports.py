"""What manifests say of an export - since when it holds changes, how many resources a file has -, wherever in the data they stand."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from tests.data.every_way import criteria, screened

ABSENT = "Condition.where(code.coding.exists(code = 'WD1')).exists().not()"
SINCE = "2026-01-01T00:00:00Z"
PEOPLE = {"resourceType": "Patient", "id": "a"}
OTHER = {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/a"}, "code": {"text": "x"}}


def export(
    folder: Path, made: str, query: str = "", count: int | None = None, address: str = "http://s/$export"
) -> Path:
    """An export of two files with its manifest."""
    folder.mkdir(parents=True)
    (folder / "Patient.ndjson").write_text(json.dumps(PEOPLE) + "\n", "utf-8")
    (folder / "Condition.ndjson").write_text(json.dumps(OTHER) + "\n", "utf-8")
    listed: list[dict[str, Any]] = [{"type": kind, "url": f"{kind}.ndjson"} for kind in ("Patient", "Condition")]
    if count is not None:
        listed[1]["count"] = count
    manifest = {"transactionTime": made, "request": f"{address}{query}", "output": listed, "error": []}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return folder


CHANGES = f"?_type=Patient,Condition&_since={SINCE}"


@pytest.mark.parametrize("query", [CHANGES, f"?_since={SINCE}"])
def test_changes_alone_are_not_all_there_is(tmp_path: Path, query: str) -> None:
    data = export(tmp_path / "data", "2026-05-01T00:00:00Z", query)
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert found == {"Patient/a": ("undetermined", "unknown")}, way
        told = {(one.code, one.severity, Path(one.file or "").name) for one in problems}
        assert told == {("partial-export", "error", "manifest.json")}, way
        assert all(SINCE in one.message for one in problems), way


@pytest.mark.parametrize(
    ("made", "query", "address", "complete"),
    [
        (SINCE, "", "http://s/$export", True),
        ("2026-02-01T00:00:00+01:00", "?_type=Condition,Patient,Observation", "http://s/$export", True),
        ("2025-12-31T23:59:59Z", "", "http://s/$export", False),
        (SINCE, "?_type=Patient", "http://s/$export", False),
        (SINCE, "", "http://other/$export", False),
    ],
    ids=["at once", "later, of more", "with days between", "of other types", "of another server"],
)
def test_changes_that_follow_an_earlier_export_complete_it(
    tmp_path: Path, made: str, query: str, address: str, complete: bool
) -> None:
    data = tmp_path / "data"
    export(data / "whole", made, query, address=address)
    export(data / "changes", "2026-05-01T00:00:00Z", CHANGES)
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        met = any(one.code == "partial-export" for one in problems)
        assert (found["Patient/a"][1] == "unknown", met) == (not complete, not complete), way


def test_changes_upon_changes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    export(data / "3", "2026-05-01T00:00:00Z", "?_since=2026-03-01T00:00:00Z")
    export(data / "2", "2026-03-01T00:00:00Z", CHANGES.replace("_type=Patient,Condition&", ""))
    export(data / "1", SINCE)
    for way, _, problems in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert "partial-export" not in {one.code for one in problems}, way


@pytest.mark.parametrize("depth", ["", "night", "hospital/night"])
def test_a_manifest_counts_wherever_it_stands(tmp_path: Path, depth: str) -> None:
    export(tmp_path / "data" / depth, "2026-05-01T00:00:00Z", count=2)
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT), tmp_path / "data", tmp_path):
        assert found == {"Patient/a": ("undetermined", "unknown")}, way
        assert [one.code for one in problems] == ["count-differs"], way


def test_links_in_a_circle_are_walked_once(tmp_path: Path) -> None:
    folder = export(tmp_path / "data" / "night", "2026-05-01T00:00:00Z", count=2)
    (folder / "again").symlink_to(tmp_path / "data", target_is_directory=True)
    for way, _, problems in screened(criteria(tmp_path / "criteria", ABSENT), tmp_path / "data", tmp_path):
        assert [one.code for one in problems if one.severity == "error"] == ["count-differs"], way


def narrowed(folder: Path, query: str) -> Path:
    """An export of one Condition that was asked for by a query."""
    return export(folder, "2026-05-01T00:00:00Z", f"?_type=Patient,Condition&{query}")


@pytest.mark.parametrize(
    "query",
    [
        "_typeFilter=Condition%3Fcategory%3Dproblem-list-item",
        "_typeFilter=Condition?category=problem-list-item",
        "_typeFilter=Patient?gender=male,Condition?code=WD2",
        "_typeFilter=Condition?code=WD1&_typeFilter=Condition?code=WD2",
    ],
)
def test_what_a_search_leaves_out_of_an_export_is_not_proved_to_be_absent(tmp_path: Path, query: str) -> None:
    data = narrowed(tmp_path / "data", query)
    rules = criteria(tmp_path / "criteria", ABSENT, "Condition.exists()", "Patient.gender.exists().not()")
    for way, found, problems in screened(rules, data, tmp_path):
        assert found == {"Patient/a": ("undetermined", "unknown", "met", "met")}, way
        assert {(one.code, one.severity, one.type) for one in problems} == {
            ("filtered-export", "warning", kind)
            for kind in ("Patient", "Condition")
            if f"{kind}%3F" in query or f"{kind}?" in query
        }, way


def test_a_search_that_leads_to_all_of_a_type_leaves_nothing_out(tmp_path: Path) -> None:
    data = narrowed(tmp_path / "data", "_typeFilter=Observation?code=x")
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert found == {"Patient/a": ("included", "met")}, way
        assert {one.type for one in problems} == {"Observation"}, way


CQL = """library Asks version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
codesystem S: 'http://example.org/cs'
code WD1: 'WD1' from S
context Patient
define None: not exists [Condition: WD1]
"""


@pytest.mark.parametrize(
    ("query", "outcome"),
    [
        ("_typeFilter=Condition?code=WD1", "met"),
        ("_typeFilter=Condition?code=WD1&_typeFilter=Condition?code=WD2", "met"),
        ("_typeFilter=Condition?code=WD2,WD1", "met"),
        ("_typeFilter=Condition?code=http://example.org/cs%7CWD1", "met"),
        ("_typeFilter=Condition?code=http://example.org/other%7CWD1", "unknown"),
        ("_typeFilter=Condition?code=WD2", "unknown"),
        ("_typeFilter=Condition?code=WD1%26clinical-status%3Dactive", "unknown"),
        ("_typeFilter=Condition?code:text=WD1", "unknown"),
        ("_typeFilter=Condition?category=WD1", "unknown"),
    ],
)
def test_an_export_that_was_asked_for_what_a_criterion_reads_is_whole_for_it(
    tmp_path: Path, query: str, outcome: str
) -> None:
    """As `eligibility requirements --bulk` writes the searches."""
    data = narrowed(tmp_path / "data", query)
    folder = tmp_path / "criteria"
    folder.mkdir()
    (folder / "Asks.cql").write_text(CQL, "utf-8")
    expression = {
        "language": "text/cql-identifier",
        "expression": "None",
        "reference": "http://example.org/Library/Asks",
    }
    artifact = {
        "resourceType": "EvidenceVariable",
        "id": "ev",
        "status": "active",
        "characteristic": [{"linkId": "c", "definitionExpression": expression}],
    }
    (folder / "ev.json").write_text(json.dumps(artifact), "utf-8")
    rules = fhir_eligibility.load_criteria(folder / "ev.json", libraries=[folder])
    for way, found, _ in screened(rules, data, tmp_path):
        assert found["Patient/a"][1] == outcome, way


@pytest.mark.parametrize("form", ["lines", "bundle", "array"])
@pytest.mark.parametrize(
    ("elements", "outcome"),
    [
        ("code", "unknown"),
        ("Condition.code", "unknown"),
        ("Condition.code,Patient.name", "unknown"),
        ("Patient.name", "met"),
    ],
)
def test_an_element_that_was_not_asked_for_is_not_proved_to_be_absent(
    tmp_path: Path, elements: str, outcome: str, form: str
) -> None:
    data = narrowed(tmp_path / "data", f"_elements={elements}")
    if form != "lines":
        held: Any = (
            [OTHER]
            if form == "array"
            else {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": OTHER}]}
        )
        (data / "Condition.ndjson").write_text(json.dumps(held) + "\n", "utf-8")
    rules = criteria(
        tmp_path / "criteria", "Condition.where(abatement.exists()).exists().not()", "Condition.code.exists()"
    )
    for way, found, problems in screened(rules, data, tmp_path):
        assert found["Patient/a"][1:] == (outcome, "met"), way
        codes = {one.code for one in problems}
        assert codes == {"filtered-export", "partial-record"}, way


def renamed(data: Path, name: str) -> Path:
    """The same export with its manifest under another name, in a zip, or given itself."""
    manifest = data / "manifest.json"
    if name == "zip":
        packed = data.parent / "data.zip"
        with zipfile.ZipFile(packed, "w") as out:
            for file in sorted(data.iterdir()):
                out.write(file, f"night/{file.name}")
        return packed
    text = manifest.read_bytes()
    manifest.unlink()
    path = data / name.removeprefix("given: ")
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path if name.startswith("given") else data


@pytest.mark.parametrize(
    "name", ["export.json", "Manifest.json", "response", "manifest.json.gz", "given: x.json", "zip"]
)
@pytest.mark.parametrize(
    ("query", "code", "present"),
    [
        ("_elements=code", "filtered-export", "unknown"),
        ("_typeFilter=Condition?code=X", "filtered-export", "met"),
        (f"_since={SINCE}", "partial-export", "met"),
    ],
)
def test_a_manifest_counts_whatever_it_is_called(
    tmp_path: Path, name: str, query: str, code: str, present: str
) -> None:
    data = renamed(narrowed(tmp_path / "data", query), name)
    absent = "Condition.where(abatement.exists()).exists().not()"
    for way, found, problems in screened(
        criteria(tmp_path / "criteria", absent, "Condition.exists(abatement.empty())"), data, tmp_path
    ):
        assert found == {"Patient/a": ("undetermined", "unknown", present)}, way
        assert code in {one.code for one in problems}, way
        assert {one.code for one in problems} <= {code, "partial-record"}, way


def test_of_several_manifests_each_counts_for_the_files_that_it_lists(tmp_path: Path) -> None:
    """Conditions were exported in part, by the one, and Observations whole, by the other."""
    data = narrowed(tmp_path / "data", "_elements=code")
    held = {"resourceType": "Observation", "id": "o", "status": "final", "subject": {"reference": "Patient/a"}}
    (data / "Observation.ndjson").write_text(json.dumps({**held, "code": {"text": "x"}}) + "\n", "utf-8")
    more = {"transactionTime": "2026-05-01T00:00:00Z", "request": "http://s/$export?_type=Observation"}
    more |= {"output": [{"type": "Observation", "url": "Observation.ndjson"}]}
    (data / "labs.json").write_text(json.dumps(more), "utf-8")
    rules = criteria(tmp_path / "criteria", "Condition.exists(abatement.empty())", "Observation.exists(value.empty())")
    for way, found, _ in screened(rules, data, tmp_path):
        assert found == {"Patient/a": ("undetermined", "unknown", "met")}, way
