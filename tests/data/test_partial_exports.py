"""What manifests say of an export - since when it holds changes, how many resources a file has -, wherever in the data they stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

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
