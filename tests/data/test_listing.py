"""Every file in a data folder is read, or named once as one that is not, with the reason; manifests and zips tell which files there are."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import zstandard

from fhir_eligibility.data.files.export_manifest import MANY
from fhir_eligibility.data.files.files import FoundFile, walk
from fhir_eligibility.data.files.listing import list_data
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.records.sources import read_resources
from fhir_eligibility.runners.screening.large import Inputs
from tests.data.every_way import criteria, screened
from tests.shared import shared

PATIENT = b'{"resourceType":"Patient","id":"p1"}\n'
CONDITION = b'{"resourceType":"Condition","id":"c1","subject":{"reference":"Patient/p1"}}\n'
Told = tuple[str, str, str]
"""Code and severity of a problem, and the name of its file."""


def written(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def zipped(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as found:
        for name, data in files.items():
            found.writestr(name, data)
    return out.getvalue()


def listed(*paths: Path | str) -> tuple[list[str], list[Problem]]:
    """The names of the files that are read, below the first path, and the problems."""
    problems: list[Problem] = []
    files = list_data(paths, problems.append)
    return [os.path.relpath(one.found.path, paths[0]).replace(os.sep, "/") for one in files.files], problems


def told(problems: list[Problem]) -> list[Told]:
    return [(one.code, one.severity, Path(one.file or "").name) for one in problems]


NOT_READ = {
    "a.csv": (b"id;name\n1;x\n", "a table (CSV)"),
    "b": (b"id,name\n1,x\n", "a table (CSV)"),
    "c.xml": (b'<?xml version="1.0"?><Bundle xmlns="http://hl7.org/fhir"/>', "FHIR in XML"),
    "d": (b"<Bundle xmlns='http://hl7.org/fhir'/>", "FHIR in XML"),
    "e.xml": (b"<a/>", "XML"),
    "f.xlsx": (
        zipped({"[Content_Types].xml": b"<Types/>", "xl/workbook.xml": b"<x/>"}),
        "an Excel, Word or similar file",
    ),
    "g.xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 50, "an Excel or Word file (of an older version)"),
    "h.pdf": (b"%PDF-1.7\n", "a PDF file"),
    "i.parquet": (b"PAR1" + b"\0" * 20, "a Parquet file"),
    "j.txt": (b"hello", "text, and not FHIR's JSON"),
    "k.bin": (b"\x01\x02\0\x03", "binary data"),
    "l.txt": (b'{"a": 1}', "JSON without a FHIR resource"),
    "m.dcm": (b"\0" * 128 + b"DICM", "a DICOM file"),
    "n.tar": (b"a.ndjson".ljust(257, b"\0") + b"ustar", "an archive (tar)"),
    "o.ndjson.xz": (b"\xfd7zXZ\0\0", "packed as xz"),
    "p.7z": (b"7z\xbc\xaf\x27\x1c", "an archive (7z)"),
    "q.ndjson.bak": (PATIENT, "a copy that a program put aside"),
    "r.json~": (PATIENT, "a copy that a program put aside"),
    ".s.ndjson": (PATIENT, "hidden"),
    "t.html": (b"<!DOCTYPE html>\n<html/>", "a web page"),
    "u.tgz": (gzip.compress(b"a.ndjson".ljust(257, b"\0") + b"ustar"), "an archive (tar)"),
    "v": (PATIENT.decode().encode("utf-16"), "text in UTF-16"),
    "w.txt": (b"2026-01-01 12:00 started\n", "text, and not FHIR's JSON"),
    "x.log": (b"2026-01-01 12:00 started\n", "a log"),
    "empty.zip": (zipped({}), "empty"),
    ".hidden/y.ndjson": (PATIENT, "hidden"),
}


@pytest.mark.parametrize("name", sorted(NOT_READ))
def test_what_is_not_read_is_named_with_what_it_is(tmp_path: Path, name: str) -> None:
    data, what = NOT_READ[name]
    written(tmp_path, {"Patient.ndjson": PATIENT.replace(b"p1", b"p2"), name: data})
    files, problems = listed(tmp_path)
    assert files == ["Patient.ndjson"]
    assert told(problems) == [("not-data", "warning", tmp_path.name)]
    assert problems[0].message.startswith(f"1 file here is not read, being {what}") and problems[0].hint
    assert problems[0].message.endswith(f": {name}")


def test_one_problem_a_kind_names_the_first_of_many(tmp_path: Path) -> None:
    written(tmp_path, {"a.ndjson": PATIENT, **{f"t{n}.csv": b"a,b\n1,2\n" for n in range(5)}, "sub/x.xml": b"<a/>"})
    _, problems = listed(tmp_path)
    assert [one.message for one in problems] == [
        "1 file here is not read, being XML: sub/x.xml",
        "5 files here are not read, being a table (CSV): t0.csv, t1.csv, t2.csv and 2 more",
    ]


READ = {
    "Condition_000": CONDITION,
    "Condition-0.ndjson.txt": CONDITION,
    "part-00000": CONDITION,
    "Condition.gz": gzip.compress(CONDITION),
    "Condition.bz2": bz2.compress(CONDITION),
    "Condition.zip": zipped({"x": CONDITION}),
    "Condition.json.zip": zipped({"__MACOSX/._x.ndjson": b"\0\x05\x16\x07", "x.ndjson": CONDITION}),
    "Condition.FHIR": b"\xef\xbb\xbf\n [" + CONDITION + b"]",
    "sequence": b"\x1e" + CONDITION,
}


@pytest.mark.parametrize("name", sorted(READ))
def test_what_holds_resources_is_read_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    written(tmp_path, {"Patient.ndjson": PATIENT, name: READ[name]})
    files, problems = listed(tmp_path)
    assert sorted(files) == sorted([name, "Patient.ndjson"]) and problems == []


@pytest.mark.parametrize("name", ["._Patient.ndjson", ".DS_Store", "Thumbs.db", "_SUCCESS", ".gitignore", "__MACOSX/x"])
def test_what_systems_leave_behind_is_no_matter(tmp_path: Path, name: str) -> None:
    written(tmp_path, {"Patient.ndjson": PATIENT, name: b"" if name == "_SUCCESS" else b"\0\x05\x16\x07"})
    assert listed(tmp_path) == (["Patient.ndjson"], [])


@pytest.mark.parametrize("name", ["Condition.ndjson.part", "Condition.part", "Condition.ndjson.crdownload"])
def test_an_unfinished_download_is_an_error(tmp_path: Path, name: str) -> None:
    written(tmp_path, {"Patient.ndjson": PATIENT, name: CONDITION})
    files, problems = listed(tmp_path)
    assert files == ["Patient.ndjson"]
    assert told(problems) == [("unfinished-file", "error", name)]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no file in this folder"),
        ({"a.csv": b"a,b\n1,2\n"}, "no JSON or NDJSON file in this folder"),
    ],
)
def test_a_folder_without_data(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    written(tmp_path, files)
    found, problems = listed(tmp_path)
    assert found == [] and problems[-1].code == "no-data-files" and problems[-1].message == message
    assert len(problems) == 1 + len(files)


def test_a_file_is_read_once_however_it_is_reached(tmp_path: Path) -> None:
    written(tmp_path, {"a/x.ndjson": PATIENT, "y.ndjson": CONDITION, "same.ndjson": CONDITION})
    (tmp_path / "b").symlink_to(tmp_path / "a", target_is_directory=True)
    files, problems = listed(tmp_path, tmp_path / "y.ndjson", tmp_path / "a")
    assert files == ["a/x.ndjson", "same.ndjson", "y.ndjson"]
    assert told(problems) == [("same-file", "warning", tmp_path.name), ("same-file", "warning", "a")]
    assert problems[0].message == "1 file here is read under another name already: b/x.ndjson"


def test_a_link_that_leads_nowhere_is_listed_so_that_reading_it_tells(tmp_path: Path) -> None:
    written(tmp_path, {"a.ndjson": PATIENT})
    (tmp_path / "b.ndjson").symlink_to(tmp_path / "gone.ndjson")
    assert listed(tmp_path)[0] == ["a.ndjson", "b.ndjson"]
    rules = criteria(tmp_path / "criteria", "Patient.exists()")
    (tmp_path / "criteria" / "ev.json").unlink()
    for way, found, problems in screened(rules, tmp_path, tmp_path.parent / f"{tmp_path.name}-out"):
        assert list(found) == ["Patient/p1"], way
        assert ("unreadable", "error", "b.ndjson") in told(problems), way


def test_a_link_to_itself_is_a_problem_like_any_file_that_cannot_be_read(tmp_path: Path) -> None:
    data = written(tmp_path / "data", {"Patient.ndjson": PATIENT})
    (data / "Condition.ndjson").symlink_to("Condition.ndjson")
    for way, found, problems in screened(criteria(tmp_path / "c", "Condition.exists()"), data, tmp_path):
        assert [(p.code, Path(p.file or "").name) for p in problems] == [("unreadable", "Condition.ndjson")], way
        assert found == {"Patient/p1": ("undetermined", "unknown")}, way


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ndjson")
    files, problems = listed(tmp_path / "pipe.ndjson")
    assert files == [] and told(problems) == [("unreadable", "error", "pipe.ndjson")]


# -- zips


def test_every_file_in_a_zip_is_read_under_its_name_there(tmp_path: Path) -> None:
    data = tmp_path / "data"
    inner = {
        "export/Patient.ndjson": PATIENT,
        "export/Condition.ndjson.gz": gzip.compress(CONDITION),
        "export/more": CONDITION.replace(b"c1", b"c2") + b"{broken\n",
        "export/notes.pdf": b"%PDF-1.7",
        "__MACOSX/export/._Patient.ndjson": b"\0\x05\x16\x07",
    }
    written(data, {"all.zip": zipped(inner)})
    files, problems = listed(data)
    assert files == [f"all.zip!/export/{name}" for name in ("Condition.ndjson.gz", "Patient.ndjson", "more")]
    assert [one.message for one in problems] == ["1 file here is not read, being a PDF file: all.zip!/export/notes.pdf"]
    assert listed(data / "all.zip")[0] == [
        f"../all.zip!/export/{n}" for n in ("Condition.ndjson.gz", "Patient.ndjson", "more")
    ]
    rules = criteria(tmp_path / "criteria", "Condition.count() = 2")
    for path in (data, data / "all.zip", data / "misnamed.json"):
        (data / "all.zip").rename(path) if path.suffix == ".json" else None
        for way, found, problems in screened(rules, path, tmp_path, tolerate=1):
            assert found == {"Patient/p1": ("included", "met")}, way
            (broken,) = [one for one in problems if one.code == "invalid-json"]
            assert (broken.file or "").endswith("!/export/more") and broken.line == 2, way


def test_a_zipped_export_goes_by_its_manifest(tmp_path: Path) -> None:
    manifest = {"transactionTime": "2026-01-01", "output": [{"type": "Patient", "url": "https://h/x/Patient.ndjson"}]}
    inner = {"e/manifest.json": json.dumps(manifest).encode(), "e/Patient.ndjson": PATIENT, "e/old.ndjson": CONDITION}
    written(tmp_path, {"all.zip": zipped(inner)})
    files, problems = listed(tmp_path / "all.zip")
    assert files == ["../all.zip!/e/Patient.ndjson"]
    assert [(one.code, one.message) for one in problems] == [
        ("not-listed", "manifest.json does not list this file, and it is not read")
    ]


def test_what_of_a_zip_cannot_be_read_is_told(tmp_path: Path) -> None:
    encrypted = bytearray(zipped({"a.ndjson": PATIENT, "b.ndjson": CONDITION}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(mark) + at] |= 1
    nested = zipped({"inner.zip": zipped({"x.ndjson": PATIENT, "y.ndjson": PATIENT}), "z.ndjson": CONDITION})
    cut = zipped({"a.ndjson": PATIENT * 200, "b.ndjson": CONDITION})[:-30]
    broken = bytearray(zipped({"a.ndjson": os.urandom(3000), "b.ndjson": CONDITION}))
    broken[100] ^= 1
    written(tmp_path / "data", {"1.zip": bytes(encrypted), "2.zip": nested, "3.zip": cut, "4.zip": bytes(broken)})
    written(tmp_path / "data", {"p.ndjson": PATIENT})
    expected = {
        "1.zip!/a.ndjson": "encrypted",
        "2.zip!/inner.zip": "a zip in a zip",
        "3.zip": "zip",
        "4.zip!/a.ndjson": "CRC",
    }
    rules = criteria(tmp_path / "criteria", "Condition.exists()")
    for way, found, problems in screened(rules, tmp_path / "data", tmp_path):
        assert found == {"Patient/p1": ("included", "met")}, way
        shown = {(one.file or "").partition("/data/")[2]: one.message for one in problems if one.code == "unreadable"}
        assert shown.keys() == expected.keys(), way
        assert {name: expected[name] in shown[name] for name in expected} == dict.fromkeys(expected, True), (way, shown)


# -- manifests


def manifest_of(folder: Path, files: Mapping[str, bytes], **more: Any) -> tuple[list[str], list[Problem]]:
    record = {"transactionTime": "2026-01-01T00:00:00Z", "output": [], "error": [], **more}
    written(folder, {**files, "manifest.json": json.dumps(record).encode()})
    return listed(folder)


def item(name: str, **more: Any) -> dict[str, Any]:
    return {"type": name.partition(".")[0], "url": f"https://h.example/out/{name}?sig=x", **more}


def test_files_beside_a_manifest_that_it_does_not_list_are_named(tmp_path: Path) -> None:
    files = {"Patient.ndjson": PATIENT, "Condition.ndjson": CONDITION, "more/x.json": CONDITION, "readme.md": b"# x\n"}
    found, problems = manifest_of(tmp_path, files, output=[item("Patient.ndjson")])
    assert found == ["Patient.ndjson"]
    assert told(problems) == [
        ("not-listed", "error", "Condition.ndjson"),
        ("not-listed", "error", "x.json"),
        ("not-data", "warning", tmp_path.name),
    ]
    given, problems = listed(tmp_path, tmp_path / "Condition.ndjson")
    assert given == ["Patient.ndjson", "Condition.ndjson"], "what is given by name is read"


def test_a_manifest_that_goes_on_elsewhere(tmp_path: Path) -> None:
    link = [{"relation": "next", "url": "https://h.example/out/page2"}]
    files = {"Patient.ndjson": PATIENT, "Condition.ndjson": CONDITION}
    _, problems = manifest_of(tmp_path / "a", files, output=[item("Patient.ndjson")], link=link)
    assert told(problems) == [
        ("incomplete-export", "error", "manifest.json"),
        ("not-listed", "error", "Condition.ndjson"),
    ]
    assert "https://h.example/out/page2" in problems[0].message
    page = {"transactionTime": "2026-01-01T00:00:00Z", "output": [item("Condition.ndjson")], "link": link}
    files["page2.json"] = json.dumps({**page, "link": []}).encode()
    found, problems = manifest_of(tmp_path / "b", files, output=[item("Patient.ndjson")], link=link)
    assert (found, problems) == (["Patient.ndjson", "Condition.ndjson"], [])
    files["page2.json"] = json.dumps(page).encode()
    found, problems = manifest_of(tmp_path / "c", files, output=[item("Patient.ndjson")], link=link)
    assert found == ["Patient.ndjson", "Condition.ndjson"], "a page that leads back to itself ends"
    assert told(problems) == [("incomplete-export", "error", "page2.json")]


@pytest.mark.parametrize("name", ["export.json", "Manifest.JSON", "status", "manifest.json.gz", "_export-1.json.zst"])
def test_a_manifest_is_known_by_what_it_holds(tmp_path: Path, name: str) -> None:
    record = {"transactionTime": "2026-01-01T00:00:00Z", "request": "https://h/$export", "output": [item("a.ndjson")]}
    text = b"\xef\xbb\xbf" + json.dumps(record, indent=2).encode()
    packed = {".gz": gzip.compress, ".zst": zstandard.compress}.get(Path(name).suffix)
    files = {"a.ndjson": PATIENT, "b.ndjson": CONDITION, name: packed(text) if packed is not None else text}
    for folder in (written(tmp_path / "data", files), tmp_path / "data.zip"):
        if folder.suffix == ".zip":
            folder.write_bytes(zipped(files))
        found, problems = listed(folder)
        assert [Path(one).name for one in found] == ["a.ndjson"], folder
        assert told(problems) == [("not-listed", "error", "b.ndjson")], folder
        assert problems[0].message == f"{name} does not list this file, and it is not read"
    given, problems = listed(tmp_path / "data" / name)
    assert (given, problems) == (["../a.ndjson"], [])


def test_several_manifests_in_a_folder(tmp_path: Path) -> None:
    files = {"a.ndjson": PATIENT, "b.ndjson": CONDITION, "c.ndjson": CONDITION}
    for name in "ab":
        record = {"transactionTime": "2026-01-01T00:00:00Z", "output": [item(f"{name}.ndjson")]}
        files[f"{name}.json"] = json.dumps(record).encode()
    found, problems = listed(written(tmp_path, files))
    assert found == ["a.ndjson", "b.ndjson"]
    assert [one.message for one in problems] == ["neither a.json nor b.json lists this file, and it is not read"]


def test_a_manifest_among_many_bundles_is_looked_for_by_its_name(tmp_path: Path) -> None:
    record = {"transactionTime": "2026-01-01T00:00:00Z", "output": [item("p0.json")]}
    files = {f"p{number}.json": PATIENT for number in range(MANY + 1)}
    found, problems = listed(written(tmp_path / "a", {**files, "an-export-manifest.json": json.dumps(record).encode()}))
    assert found == ["p0.json"] and {one.code for one in problems} == {"not-listed"}
    found, _ = listed(
        written(tmp_path / "b", {**files, "x.ndjson": PATIENT, "export.json": json.dumps(record).encode()})
    )
    assert found == ["p0.json"], "beside NDJSON every other file is looked into"
    data = written(tmp_path / "c", {**files, "export.json": json.dumps(record).encode()})
    found, problems = listed(data)
    assert len(found) == MANY + 2 and problems == []
    told_by: list[Problem] = []
    assert len(list(read_resources([data], told_by.append))) == MANY + 1
    assert told(told_by) == [("incomplete-export", "error", "export.json")], "it is told when it is read"


def test_a_file_of_a_manifest_may_have_been_packed_since(tmp_path: Path) -> None:
    files = {"Patient.ndjson.gz": gzip.compress(PATIENT)}
    assert manifest_of(tmp_path, files, output=[item("Patient.ndjson")]) == (["Patient.ndjson.gz"], [])


def test_files_with_other_names_than_in_the_manifest_are_read_all_the_same(tmp_path: Path) -> None:
    output = [item("Patient.000.ndjson"), item("Condition.000.ndjson")]
    found, problems = manifest_of(tmp_path, {"1.ndjson": PATIENT, "2.ndjson": CONDITION}, output=output)
    assert found == ["1.ndjson", "2.ndjson"]
    assert told(problems) == [("incomplete-export", "error", "manifest.json")]
    found, problems = manifest_of(tmp_path / "none", {}, output=output)
    assert found == [] and [one.code for one in problems] == ["not-found", "not-found"]


def test_each_folder_goes_by_its_own_manifest(tmp_path: Path) -> None:
    for name in ("jan", "feb"):
        manifest_of(tmp_path / name, {"Patient.ndjson": PATIENT}, output=[item("Patient.ndjson")])
    written(tmp_path, {"more.ndjson": CONDITION})
    files, problems = listed(tmp_path)
    assert (files, problems) == (["feb/Patient.ndjson", "jan/Patient.ndjson", "more.ndjson"], [])


def test_a_manifest_under_any_name_may_be_given(tmp_path: Path) -> None:
    record = {"transactionTime": "2026-01-01", "output": [item("Patient.ndjson"), item("Condition.ndjson")]}
    written(tmp_path, {"status.json": json.dumps(record).encode(), "Patient.ndjson": PATIENT})
    files, problems = listed(tmp_path / "status.json")
    assert files == ["../Patient.ndjson"]
    assert told(problems) == [("not-found", "error", "Condition.ndjson")]


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    def locked(folder: str) -> list[FoundFile]:
        return [*walk(folder), FoundFile(f"{folder}/locked", 0, None, "Permission denied")]

    written(tmp_path, {"Patient.ndjson": PATIENT})
    problems: list[Problem] = []
    assert len(list_data([tmp_path], problems.append, locked).files) == 1
    assert told(problems) == [("unreadable", "error", "locked")]


def test_the_reported_folder_with_packed_and_odd_files(tmp_path: Path) -> None:
    cases = shared("faults", "data")
    files, problems = listed(cases / "t" / "exts")
    names = ["Condition-0-1.ndjson.txt", "Condition.ndjson.bz2", "Condition_000", "More.ndjson.zip", "Patient.ndjson"]
    assert files == names and [one.message for one in problems] == [
        "1 file here is not read, being FHIR in XML: bundle.xml"
    ]
    files, problems = listed(cases / "t" / "manpages")
    assert files == ["Patient.ndjson"] and [one.code for one in problems] == ["incomplete-export", "not-listed"]


def test_the_record_of_a_run_names_the_files_that_were_read(tmp_path: Path) -> None:
    inner = {"Patient.ndjson": PATIENT, "Condition.ndjson": CONDITION}
    written(tmp_path / "data", {"all.zip": zipped(inner), "more.json": CONDITION, "notes.pdf": b"%PDF-1.7"})
    rules = criteria(tmp_path / "criteria", "Condition.exists()")
    for way, _, _ in screened(rules, tmp_path / "data", tmp_path):
        if way != "memory":
            record = json.loads((tmp_path / way.replace(" ", "-") / "run.json").read_text())
            read = [(Path(one["path"]).name, one["bytes"]) for one in record["data"]]
            assert read == [(n, (tmp_path / "data" / n).stat().st_size) for n in ("all.zip", "more.json")], way
            assert all(one["sha256"] for one in record["data"]), way


def test_what_is_packed_counts_as_more_than_it_takes(tmp_path: Path) -> None:
    data = gzip.compress(PATIENT * 100)
    written(tmp_path / "a", {"all": data})
    written(tmp_path / "b", {"all.ndjson.gz": PATIENT * 100})
    assert Inputs.of([tmp_path / "a"]).size == 8 * len(data)
    assert Inputs.of([tmp_path / "b"]).size == 100 * len(PATIENT)
