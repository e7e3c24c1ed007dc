"""A disk that is full while a command writes: the command says so, leaves what was there, and the same command again ends with the bytes of one that had room."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.output.checks import JOURNAL, NAME
from tests.benchmarks.cohorts import Options, write
from tests.disks import SmallDisk, small_disk
from tests.imaging.stub import Stub
from tests.imaging.test_required_images_in_large_runs import CRITERIA, NOW, Archive
from tests.spec.model import ROOT

disk = small_disk
FULL = """
import resource, sys
from fhir_eligibility.runners.screening import run
from fhir_eligibility.ui.commands.cli import main
run.SMALL = 0
if sys.argv[1] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""
MEASURE = """library Counted version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
context Patient
define Imaged: exists [ImagingStudy]
define Observed: exists [Observation]
"""


def done(room: int, *words: str) -> subprocess.CompletedProcess[str]:
    """A command, none of whose files may be larger than so many bytes (0: any size), which is told as a full disk is."""
    full = [sys.executable, "-c", FULL, str(room), *words]
    return subprocess.run(full, cwd=ROOT, capture_output=True, text=True, timeout=240)


def held(folder: Path, url: str = "-") -> dict[str, bytes]:
    """The outputs in a folder, but for what a run says of itself, and the address of an archive."""
    listed = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(url.encode(), b"URL").replace(bytes(folder), b"OUT")
        for path in listed
        if path.name != "run.json" and ".work" not in path.parts
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "data"
    write(folder, Options(patients=80, seed=3, form="ndjson"))
    return folder


@pytest.fixture(scope="module")
def stub(data: Path) -> Iterator[Stub]:
    found = Stub(Archive(data))
    yield found
    found.close()


def check(room: int, out: Path, expected: dict[str, bytes], url: str, words: list[str], again: list[str]) -> None:
    out.mkdir()
    (out / "mine.txt").write_text("stays")
    short = done(room, *words)
    assert short.returncode == 2 and "Traceback" not in short.stderr, short.stderr
    assert "File too large" in short.stderr
    assert held(out, url) == {"mine.txt": b"stays"}
    whole = done(0, *words, *again)
    assert whole.returncode in (0, 1), whole.stderr
    assert held(out, url) == {**expected, "mine.txt": b"stays"}


def screening(data: Path, out: Path, stub: Stub) -> list[str]:
    words = ["screen", str(CRITERIA), "--data", str(data), "--out", str(out), "--now", NOW, "--jobs", "2", "--quiet"]
    return [*words, "--require-images", "--dicomweb", stub.url, "--ignore-endpoints"]


@pytest.mark.parametrize("room", [200, 2_000, 10_000, 40_000])
def test_screening_with_images_from_an_archive(data: Path, stub: Stub, tmp_path: Path, room: int) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert done(0, *screening(data, whole, stub)).returncode in (0, 1)
    check(room, out, held(whole, stub.url), stub.url, screening(data, out, stub), ["--resume"])


@pytest.mark.parametrize("room", [200, 1_000, 4_000])
def test_measures(data: Path, tmp_path: Path, room: int) -> None:
    (tmp_path / "Counted.cql").write_text(MEASURE)

    def words(out: Path) -> list[str]:
        return ["measure", str(tmp_path / "Counted.cql"), "--data", str(data), "--out", str(out), "--now", NOW]

    whole, out = tmp_path / "whole", tmp_path / "out"
    assert done(0, *words(whole)).returncode in (0, 1)
    check(room, out, held(whole), "-", words(out), [])


@pytest.mark.parametrize("verb", ["screen", "measure"])
def test_a_disk_that_is_full(data: Path, stub: Stub, tmp_path: Path, disk: SmallDisk, verb: str) -> None:
    """As the disk grows, what the last command did is gone on with; its last outputs are not touched before the new ones are whole."""
    (tmp_path / "Counted.cql").write_text(MEASURE)

    def words(out: Path) -> list[str]:
        if verb == "screen":
            return screening(data, out, stub)
        return ["measure", str(tmp_path / "Counted.cql"), "--data", str(data), "--out", str(out), "--now", NOW]

    whole, out = tmp_path / "whole", disk.place / "out"
    assert done(0, *words(whole)).returncode in (0, 1)
    expected = held(whole, stub.url)
    room, again, tries = 4, False, 0
    while True:
        disk.resize(room)
        tried = done(0, *words(out), *(["--resume"] if again else []))
        if tried.returncode != 2:
            break
        assert "there is no room" in tried.stderr and "Traceback" not in tried.stderr, tried.stderr
        assert held(out, stub.url) == {}, room
        again, room, tries = "--resume" in tried.stderr, room * 2, tries + 1
    assert tried.returncode in (0, 1), tried.stderr
    assert tries > 1 and held(out, stub.url) == expected


@pytest.mark.parametrize("room", [200, 3_000])
@pytest.mark.parametrize("verb", ["manifest", "verify"])
def test_outputs_about_images(data: Path, stub: Stub, tmp_path: Path, verb: str, room: int) -> None:
    run: Any = tmp_path / "run"
    asked = screening(data, run, stub)
    assert done(0, *asked[: asked.index("--require-images")]).returncode in (0, 1)
    if verb == "manifest":
        words = ["imaging", "manifest", str(run), "--all", "--out"]
        assert done(0, *words, str(tmp_path / "whole")).returncode in (0, 1)
        out = tmp_path / "out"
        check(room, out, held(tmp_path / "whole"), "-", [*words, str(out)], [])
        return
    before, other = held(run), tmp_path / "other"
    shutil.copytree(run, other)
    words = ["imaging", "verify", str(run), "--ignore-endpoints", "--dicomweb", stub.url]
    short = done(room, *words)
    assert short.returncode == 2 and "Traceback" not in short.stderr, short.stderr
    # what archives answered is kept for the next time
    assert {name: text for name, text in held(run).items() if name != JOURNAL} == before
    assert done(0, *words).returncode in (0, 1)
    assert done(0, *words[:2], str(other), *words[3:]).returncode in (0, 1)
    assert states(run) == states(other) != []


def states(run: Path) -> list[tuple[str, str]]:
    """What archives hold of each study, by the check of a run."""
    lines = map(json.loads, (run / NAME).read_text("utf-8").splitlines())
    return sorted((one.get("study", ""), one["state"]) for one in lines)
