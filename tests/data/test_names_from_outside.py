"""Names of files that a manifest, a run folder or the state of an export gives lead nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fhir_eligibility.data.files.export_manifest import export_manifest
from fhir_eligibility.data.server.client import ServerError
from fhir_eligibility.data.server.folder import STATE, clear, read_state
from fhir_eligibility.runners.imaging.images import verdicts_of

OUTSIDE = (
    "%2Ftmp%2Fprivate%2Fp.ndjson",
    "..%2F..%2Fx.ndjson",
    "https://h/export/..%2f..%2Fx.ndjson",
    "..%5C..%5Cx.ndjson",
    "/etc/passwd",
    "..",
    "%2e%2e",
    "a/%2E%2E",
    "https://h/",
    "",
    "%00.ndjson",
    "C%3A%5Cx.ndjson",
    "c:x.ndjson",
    "[::1",
    "http://[bad/x.ndjson",
    "x" * 400,
)


@pytest.mark.parametrize("url", OUTSIDE, ids=lambda url: url[:30])
@pytest.mark.parametrize("section", ["output", "deleted"])
def test_every_listed_file_is_beside_its_manifest(section: str, url: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    manifest = folder / "manifest.json"
    manifest.write_text(
        json.dumps({"transactionTime": "2026-01-01", "output": [], section: [{"type": "Patient", "url": url}]})
    )
    found = export_manifest(manifest)
    assert found is not None
    (path,) = [folder / one.name for one in found.files]
    assert path.parent == folder and path.name not in ("", ".", "..") and "\x00" not in path.name
    assert path.resolve().parent == folder.resolve()


@pytest.mark.parametrize("odd", [5, "x", {"url": "a"}, [5], ["x"], [{"url": 5}], None])
def test_manifests_of_another_shape(odd: object, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"transactionTime": "2026-01-01", "output": [{"url": "a.ndjson"}], "deleted": odd}))
    found = export_manifest(manifest)
    assert found is not None and [one.name for one in found.files] == ["a.ndjson"]


@pytest.mark.parametrize(
    "name", ["../../x", "/tmp/x", "..", "Observation", "Observation.001/../../x", "deleted.Bundle.001\n"]
)
def test_a_strange_state_of_an_export_removes_nothing(name: str, tmp_path: Path) -> None:
    precious = tmp_path / "x.ndjson"
    precious.write_text("mine")
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    state = {
        "version": 1,
        "base": "https://h",
        "request": {},
        "status_url": "https://h/s",
        "names": [name],
        "complete": True,
    }
    (folder / STATE).write_text(json.dumps(state))
    with pytest.raises(ServerError, match="is not the name of a file of an export; start again with --restart"):
        read_state(folder)
    clear(folder, None)
    assert precious.read_text() == "mine"


@pytest.mark.parametrize(
    "raw",
    [
        "[]",
        "5",
        '{"version": 1}',
        '{"version": 1, "base": 5, "request": {}, "status_url": ""}',
        '{"version": 1, "x": 1}',
    ],
)
def test_a_state_of_another_shape_is_refused(raw: str, tmp_path: Path) -> None:
    (tmp_path / STATE).write_text(raw)
    with pytest.raises(ServerError, match="start again with --restart"):
        read_state(tmp_path)


UID = "1.2.840.99.1"


@pytest.mark.parametrize("uid", ["../../../x", "..", "1/2", "1.2.840.99.01", "x", "1.2\n", "", "1" * 65, "1.2\\3"])
@pytest.mark.parametrize("place", ["study", "series", "instance"])
def test_a_run_folder_whose_uids_are_none_is_refused(place: str, uid: str, tmp_path: Path) -> None:
    series = {"uid": uid if place == "series" else UID, "instances": [uid if place == "instance" else UID]}
    link = {
        "criterion": "c",
        "role": "met",
        "resource": "ImagingStudy/i",
        "study": uid if place == "study" else UID,
        "series": [series],
    }
    verdict = {
        "patient": "Patient/p",
        "artifact": "a",
        "verdict": "included",
        "deciding": [],
        "criteria": [],
        "imaging": [link],
    }
    verdict["evaluated"] = {"now": "n", "timezone": "UTC", "engine": "1", "fhir_version": "r4"}
    (tmp_path / "verdicts.ndjson").write_text(json.dumps(verdict) + "\n")
    with pytest.raises(ValueError, match="verdicts.ndjson, line 1: .* is not a DICOM UID"):
        list(verdicts_of(tmp_path))
