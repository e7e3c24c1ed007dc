"""A disk that is full while images are fetched, shown or stored: the command says so and where, what is there is whole, and the same command again ends as one that had room."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from tests.disks import SmallDisk, small_disk
from tests.imaging.stub import Answerer, Asked, Reply, Stub
from tests.imaging.test_fetch import dicom
from tests.imaging.test_store import answer, item
from tests.spec.model import ROOT

pytestmark = pytest.mark.slow
disk = small_disk
MakeStub = Callable[[Answerer], Stub]
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 30


@pytest.fixture
def archive(files: dict[str, list[Path]], stub: MakeStub) -> Stub:
    """An archive that gives the example cohort's images by series, pictures of them, and takes any file."""
    held: dict[str, dict[str, bytes]] = {}
    for path in (path for found in files.values() for path in found):
        held.setdefault(_series_of(path), {})[path.stem] = path.read_bytes()

    def answered(asked: Asked) -> Reply:
        if asked.method == "POST":
            return answer(200, [item(path) for found in files.values() for path in found], [])
        if asked.path.endswith("/rendered"):
            return Reply(200, PICTURE, "image/png")
        uid, _, instance = asked.path.partition("/series/")[2].partition("/instances/")
        return dicom([held[uid][instance]] if instance else list(held[uid].values()))

    return stub(answered)


def _series_of(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).SeriesInstanceUID)


def done(*words: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from fhir_eligibility.ui.commands.cli import console; sys.exit(console())"
    return subprocess.run(
        [sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True, timeout=240
    )


OF_RECORDS = (
    "fetch.ndjson",
    "fetch.csv",
    "thumbnails.ndjson",
    "thumbnails.csv",
    "index.html",
    "store.ndjson",
    "store.csv",
)


def held(folder: Path) -> dict[str, bytes]:
    """Every file in a folder, hidden ones included, but for the marker of outputs and the lock."""
    listed = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".eligibility-"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in listed}


def images(folder: Path) -> dict[str, bytes]:
    """The same but for the records of what came."""
    return {name: text for name, text in held(folder).items() if name not in OF_RECORDS}


def words_of(verb: str, run: Path, files: dict[str, list[Path]], out: Path, url: str) -> list[str]:
    about = [str(run)] if verb != "store" else [str(path) for found in files.values() for path in found]
    words = ["imaging", verb, *about, "--dicomweb", url, "--out", str(out)]
    return words if verb == "store" else [*words, "--ignore-endpoints", "--all"]


@pytest.mark.parametrize(
    ("verb", "rooms"),
    [("fetch", (4, 8, 12, 16, 32, 64, 128)), ("thumbnails", (4, 8, 16, 32, 64, 160)), ("store", (4, 8, 16, 32))],
)
def test_a_full_disk(
    run: Path,
    files: dict[str, list[Path]],
    archive: Stub,
    tmp_path: Path,
    disk: SmallDisk,
    verb: str,
    rooms: tuple[int, ...],
) -> None:
    """As the disk grows from 4 kB on, and one command after the other goes on where the last one ended."""
    whole, out = tmp_path / "whole", disk.place / "out"
    assert done(*words_of(verb, run, files, whole, archive.url)).returncode == 0
    came = 0
    for room in rooms:
        disk.resize(room)
        short = done(*words_of(verb, run, files, out, archive.url))
        assert short.returncode == 2 and "Traceback" not in short.stderr, short.stderr
        assert f"there is no room for {out}" in short.stderr and "No space left on device" in short.stderr, room
        here = held(out)
        assert here.items() <= images(whole).items(), "all that is there is whole, and nothing else is"
        assert len(here) >= came, "what was there stays"
        came = len(here)
    assert came > 4 or verb == "store"
    disk.resize(64 << 10)
    assert done(*words_of(verb, run, files, out, archive.url)).returncode == 0
    assert images(out) == images(whole)
    assert held(out).keys() == held(whole).keys()


@pytest.mark.parametrize("room", [4, 8])
def test_a_full_disk_leaves_the_records_of_an_earlier_command(
    run: Path, files: dict[str, list[Path]], archive: Stub, disk: SmallDisk, room: int
) -> None:
    words = words_of("fetch", run, files, disk.place / "out", archive.url)
    assert done(*words).returncode == 0
    before = held(disk.place / "out")
    used = sum(-(-len(text) // 4096) * 4 for text in before.values()) + room
    disk.resize(used)
    short = done(*words)
    assert (short.returncode, held(disk.place / "out")) in ((2, before), (0, before)), short.stderr
    assert short.returncode == 2, "there is no room for a second record of all series beside the first"
