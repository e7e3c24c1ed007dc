"""Files are read as what they hold, in bounded memory; what cannot be read is a problem, on every way."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from fhir_eligibility.data.bulk import scanning
from fhir_eligibility.data.files import opening
from fhir_eligibility.data.files.files import walk
from fhir_eligibility.data.files.opening import document_in, lines_in, open_file
from fhir_eligibility.data.records import values
from tests.data.every_way import criteria, screened

LINES = b"".join(
    json.dumps(one).encode() + b"\n"
    for number in range(50)
    for one in (
        {"resourceType": "Patient", "id": f"p{number}", "birthDate": "1950-01-01"},
        {"resourceType": "Condition", "id": f"c{number}", "subject": {"reference": f"Patient/p{number}"}},
    )
)


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as found:
        found.writestr("data.ndjson", data)
    return out.getvalue()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstd,
    ".bz2": bz2.compress,
    ".zip": zipped,
}
MEMBERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]) + b"\0" * 600,
    "zstd": lambda data: zstd(data[:700]) + zstd(data[700:]),
    "bzip2": lambda data: bz2.compress(data[:700]) + bz2.compress(data[700:]),
}


@pytest.mark.parametrize("named", sorted(PACK))
@pytest.mark.parametrize("packed", sorted(PACK))
def test_what_a_file_holds_counts_and_not_its_name(tmp_path: Path, packed: str, named: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / f"all.ndjson{named}").write_bytes(PACK[packed](LINES))
    rules = criteria(tmp_path / "criteria", "Condition.exists()")
    for way, found, problems in screened(rules, data, tmp_path):
        assert len(found) == 50, way
        assert {row[1] for row in found.values()} == {"met"}, way
        assert problems == [], way


@pytest.mark.parametrize("kind", sorted(MEMBERS))
def test_members_one_behind_the_other_are_one_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x").write_bytes(MEMBERS[kind](LINES))
    with open_file(str(tmp_path / "x")) as stream:
        assert stream.read() == LINES
    with open_file(str(tmp_path / "x")) as stream:
        assert b"".join(line + b"\n" for _, line in lines_in(stream) if line is not None) == LINES


@pytest.mark.parametrize("kind", [".gz", ".zst", ".bz2"])
def test_what_is_cut_short_is_a_problem_and_the_rest_is_used(tmp_path: Path, kind: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    packed = PACK[kind](LINES[:2000]) + PACK[kind](LINES[2000:])
    (data / f"all.ndjson{kind}").write_bytes(packed[:-20])
    rules = criteria(tmp_path / "criteria", "Condition.exists()")
    ways = list(screened(rules, data, tmp_path))
    assert 10 < len(ways[0][1]) < 51
    for way, found, problems in ways:
        assert found == ways[0][1], way
        assert "unreadable" in {p.code for p in problems}, way


@pytest.mark.parametrize("kind", [".gz", ".zst", ".bz2"])
def test_little_that_holds_much_is_unpacked_in_little_memory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(PACK[kind](b"\n" * (200 << 20)))
    tracemalloc.start()
    try:
        with open_file(str(path)) as stream:
            size = 0
            while part := stream.read(1 << 16):
                size += len(part)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 200 << 20
    assert peak < 48 << 20


@pytest.mark.parametrize("kind", ["", ".gz", ".zst"])
def test_a_line_that_is_too_long_is_a_problem_and_all_others_are_read(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 2 << 20
    for module in (opening, scanning, values):
        monkeypatch.setattr(module, "MOST_LINE", most)
    data = tmp_path / "data"
    data.mkdir()
    long = b'{"resourceType":"Condition","id":"' + b"x" * (3 * most) + b'"}\n'
    lines = LINES.splitlines(keepends=True)
    (data / f"all.ndjson{kind}").write_bytes(PACK[kind](b"".join([*lines[:40], long, *lines[40:], long[:-3]])))
    rules = criteria(tmp_path / "criteria", "Condition.exists()")
    for way, found, problems in screened(rules, data, tmp_path):
        if way != "two processes":  # they are started anew, and know nothing of the bound of this test
            assert [row[1] for row in found.values()] == ["met"] * 50, way
            assert [(p.code, p.line) for p in problems] == [("too-large", 41), ("too-large", 102)], way


def test_a_document_that_is_too_large_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (opening, values):
        monkeypatch.setattr(module, "MOST_DOCUMENT", 1 << 20)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "large.json").write_bytes(b"[" + b" " * (2 << 20) + b"]")
    (tmp_path / "data" / "small.json").write_text('{"resourceType":"Patient","id":"p"}', "utf-8")
    rules = criteria(tmp_path / "criteria", "Condition.exists()")
    for way, found, problems in screened(rules, tmp_path / "data", tmp_path):
        if way != "two processes":
            assert list(found) == ["Patient/p"], way
            assert [(p.code, Path(p.file or "").name) for p in problems] == [("too-large", "large.json")], way
    with open_file(str(tmp_path / "data" / "large.json")) as stream:
        assert document_in(stream) is None


def test_a_folder_that_may_not_be_read_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "closed").mkdir(parents=True)
    (tmp_path / "data" / "all.ndjson").write_bytes(LINES)
    scandir = os.scandir

    def denied(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    rules = criteria(tmp_path / "criteria", "Condition.exists()")
    for way, found, problems in screened(rules, tmp_path / "data", tmp_path):
        assert len(found) == 50, way
        assert [(p.code, Path(p.file or "").name) for p in problems] == [("unreadable", "closed")], way


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "all.ndjson").write_bytes(LINES)
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "more", target_is_directory=True)
    (tmp_path / "data" / "a" / "up").symlink_to(tmp_path / "data", target_is_directory=True)
    found = [Path(one.path).relative_to(tmp_path) for one in walk(str(tmp_path / "data"))]
    assert found == [Path("data/linked/all.ndjson")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["all.ndjson", "one.json"])
def test_another_encoding_is_told_once_by_its_name(tmp_path: Path, encoding: str, name: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / name).write_bytes((LINES if name == "all.ndjson" else LINES.splitlines()[0]).decode().encode(encoding))
    (data / "other.ndjson").write_bytes(b"\xef\xbb\xbf" + LINES)
    rules = criteria(tmp_path / "criteria", "Condition.exists()")
    for way, found, problems in screened(rules, data, tmp_path):
        assert len(found) == 50, way
        told = [(p.code, Path(p.file or "").name, encoding[:6].upper() in p.message) for p in problems]
        assert told == [("invalid-json", name, True)], way


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 100\n", "Git LFS"),
        ("\n<!DOCTYPE html>\n<html>\n<body>502</body>\n</html>\n", "web page"),
        ("<html>\n<body>502</body>\n</html>\n", "web page"),
    ],
)
@pytest.mark.parametrize("name", ["Patient.ndjson", "one.json"])
def test_what_is_no_json_at_all_is_told_once(tmp_path: Path, text: str, expected: str, name: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / name).write_text(text if name == "one.json" else text.lstrip(), "utf-8")
    (data / "other.ndjson").write_bytes(LINES)
    rules = criteria(tmp_path / "criteria", "Condition.exists()")
    for way, found, problems in screened(rules, data, tmp_path):
        assert len(found) == 50, way
        assert [(p.code, expected in p.message) for p in problems] == [("invalid-json", True)], way
