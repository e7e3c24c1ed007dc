"""A folder of outputs: one run at a time, all of its outputs or none, nothing of an earlier run left, and nothing of the user's touched."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from fhir_eligibility.artifacts.own_outputs import LOCK, MARKER, NEW, PLAN, recorded_outputs
from fhir_eligibility.output import folder as folders
from fhir_eligibility.output import lock
from fhir_eligibility.output.folder import About, OutputFolder, owner_only
from fhir_eligibility.output.lock import FolderInUse
from fhir_eligibility.ui.commands.cli import main
from tests.outputs import seen, visible
from tests.spec.model import ROOT


def write(out: Path, texts: dict[str, str], command: str = "screen", about: About | None = None) -> None:
    with OutputFolder(out, command) as folder:
        for name, text in texts.items():
            folder.write_text(name, text)
        folder.publish(about=about)


def texts(out: Path) -> dict[str, str]:
    return {name: (out / name).read_text("utf-8") for name in visible(out)}


FIRST = {"a.txt": "1", "b.txt": "1", "run.json": "{1}"}
SECOND = {"a.txt": "2", "c.txt": "2", "run.json": "{2}"}


def test_outputs_of_an_earlier_run_are_replaced_and_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    write(tmp_path, FIRST)
    write(tmp_path, {"pictures.csv": "1"}, "imaging manifest")
    write(tmp_path, SECOND)
    assert texts(tmp_path) == {**SECOND, "mine.txt": "mine", "pictures.csv": "1"}
    assert recorded_outputs(tmp_path) == {"imaging manifest": ["pictures.csv"], "screen": list(SECOND)}
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == [MARKER]


def test_what_is_about_earlier_outputs_goes_with_them_or_is_kept_aside(tmp_path: Path) -> None:
    about = About("check", {"answers.txt": "earlier.txt"})
    write(tmp_path, FIRST)
    write(tmp_path, {"answers.txt": "yes", "table.txt": "yes"}, "check")
    write(tmp_path, SECOND, about=about)
    assert texts(tmp_path) == {**SECOND, "earlier.txt": "yes"}
    write(tmp_path, FIRST, about=about)
    assert texts(tmp_path) == {**FIRST, "earlier.txt": "yes"}
    assert recorded_outputs(tmp_path)["check"] == ["earlier.txt"]


def test_a_run_that_fails_leaves_the_earlier_outputs(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    with pytest.raises(RuntimeError), OutputFolder(tmp_path, "screen") as folder:
        folder.write_text("a.txt", "2")
        raise RuntimeError
    with OutputFolder(tmp_path, "screen") as folder:
        folder.write_text("a.txt", "3")  # not published
    assert texts(tmp_path) == FIRST
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == [MARKER]


@pytest.mark.parametrize("steps", range(12))
def test_a_run_that_is_killed_while_outputs_appear_leaves_no_mixture(
    tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever change of the folder is the last one: what the next command finds is one run, whole."""
    write(tmp_path, FIRST)
    left = steps

    class Killed(BaseException):
        pass

    def counted(function: object) -> object:
        def call(*arguments: object, **named: object) -> object:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return function(*arguments, **named)  # type: ignore[operator]

        return call

    with monkeypatch.context() as patch:
        patch.setattr(folders.os, "replace", counted(os.replace))
        patch.setattr(folders.Path, "unlink", counted(Path.unlink))
        patch.setattr(folders.shutil, "rmtree", lambda path: None)
        try:
            write(tmp_path, SECOND)
        except Killed:
            pass
    planned = (tmp_path / PLAN).exists()
    if planned and (tmp_path / "run.json").exists():
        assert texts(tmp_path) in (FIRST, SECOND), "run.json stands beside the outputs of its own run"
    with OutputFolder(tmp_path, "imaging"):
        assert texts(tmp_path) in (FIRST, SECOND)
        assert (texts(tmp_path) == SECOND) or not planned
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == [MARKER]


def test_leftovers_of_earlier_versions_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".verdicts.ndjson.a1b2c3_d.part").write_text("{}", "utf-8")
    kept = [".mine.part", ".x.ABCDEFGH.part", "verdicts.part"]
    for name in kept:
        (tmp_path / name).write_text("kept", "utf-8")
    (tmp_path / "run.json").write_text(json.dumps({"engine": "0", "artifacts": [{}, {}]}))
    for name in ("included-1.json", "included-2.json", "included-3.json", "verdicts.ndjson", "mine.json"):
        (tmp_path / name).write_text("{}")
    write(tmp_path, {"run.json": "{}"})
    assert visible(tmp_path) == ["included-3.json", "mine.json", "run.json", "verdicts.part"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.endswith(".part")) == kept


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("measure", ["results.ndjson", "reports.ndjson", "summary.json", "problems.ndjson"]),
        ("imaging fetch", ["fetch.ndjson", "fetch.csv"]),
        ("imaging verify", ["archive.ndjson"]),
        ("imaging manifest", ["images.csv", "studies.txt", "series.txt", "lists.ndjson"]),
    ],
)
def test_outputs_of_earlier_versions_are_known_by_standing_together(
    tmp_path: Path, command: str, names: list[str]
) -> None:
    for name in names:
        (tmp_path / name).write_text("old")
    write(tmp_path, {names[0]: "new"}, command)
    assert texts(tmp_path) == {names[0]: "new"}
    if len(names) > 1:
        (tmp_path / "apart").mkdir()
        (tmp_path / "apart" / names[-1]).write_text("mine")
        with pytest.raises(ValueError, match="is there already, and is not an output of this program"):
            write(tmp_path / "apart", {names[-1]: "new"}, command)
        assert texts(tmp_path / "apart") == {names[-1]: "mine"}


def test_a_plan_that_is_damaged_or_names_files_outside_is_refused(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    (tmp_path / PLAN).write_text('{"format": 1, "appear": [], "remove": ["../x"], "aside": {}, "outputs": {}}')
    with pytest.raises(ValueError, match="written by another version"), OutputFolder(tmp_path, "screen"):
        pass
    (tmp_path / PLAN).write_text("{")
    with pytest.raises(ValueError, match="is damaged"), OutputFolder(tmp_path, "screen"):
        pass
    assert texts(tmp_path) == FIRST


def test_a_marker_names_nothing_outside_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    names = ["../mine.txt", "/etc/passwd", "..", ".", "", "a\0b"]
    (tmp_path / "out" / MARKER).write_text(json.dumps({"outputs": {"screen": [*names, "old.txt", 5], "x": 1}}))
    (tmp_path / "out" / "old.txt").write_text("old")
    write(tmp_path / "out", SECOND)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert texts(tmp_path / "out") == SECOND


# -- locks


def test_a_second_run_is_told_who_is_at_work_and_touches_nothing(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    with OutputFolder(tmp_path, "screen") as folder:
        folder.write_text("a.txt", "new")
        before = seen(tmp_path)
        with pytest.raises(FolderInUse) as told, OutputFolder(tmp_path, "measure"):
            pass
        assert seen(tmp_path) == before
        text = str(told.value)
        assert (
            f"{tmp_path} is in use: `eligibility screen` (process {os.getpid()} on {socket.gethostname()}, since 20"
            in text
        )
        assert text.endswith("is writing into it; wait until it has ended, or name another folder")
        folder.publish()
    assert texts(tmp_path) == {"a.txt": "new"}
    assert not (tmp_path / LOCK).exists()


HOLD = """
import os, sys, time
from pathlib import Path
from types import SimpleNamespace
from fhir_eligibility.output.folder import OutputFolder
with OutputFolder(Path(sys.argv[1]), "screen") as folder:
    folder.write_text("a.txt", "half")
    if sys.argv[2] == "fork" and os.fork() == 0:
        os.write(1, bytes([99, 10]))
        time.sleep(1)  # as a worker does that has not noticed yet
        os._exit(0)
    os.write(1, bytes([104, 10]))
    time.sleep(60)
"""


@pytest.mark.parametrize("way", ["alone", "fork"])
def test_the_lock_of_a_run_that_is_killed_is_free_when_all_its_processes_have_ended(tmp_path: Path, way: str) -> None:
    write(tmp_path, FIRST)
    command = [sys.executable, "-c", HOLD, str(tmp_path), way]
    held = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert held.stdout is not None
        lines = {held.stdout.readline() for _ in range(2 if way == "fork" else 1)}
        assert "h\n" in lines
        with pytest.raises(FolderInUse), OutputFolder(tmp_path, "screen"):
            pass
        held.send_signal(signal.SIGKILL)
        held.wait()
        begun = time.monotonic()
        with OutputFolder(tmp_path, "screen"):
            waited = time.monotonic() - begun
            assert not (tmp_path / NEW).exists()
        assert (waited > 0.1) == (way == "fork")
    finally:
        held.kill()
        held.wait()
        if held.stdout is not None:
            held.stdout.close()
    assert texts(tmp_path) == FIRST


# -- modes


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_outputs_are_their_owners_alone_unless_they_are_shared(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        private, shared, mine = tmp_path / "a" / "private", tmp_path / "shared", tmp_path / "mine"
        mine.mkdir(mode=0o755)
        mine.chmod(0o755)
        for out, open_to_others in ((private, False), (shared, True), (mine, False)):
            with OutputFolder(out, "screen", shared=open_to_others) as folder:
                folder.write_text("run.json", "{}")
                (out / "below").mkdir()
                (out / "below" / "x").write_text("")
                folder.publish()
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert [mode(path) for path in (private.parent, private, private / "below")] == [0o700] * 3
    assert [mode(path) for path in (private / "run.json", private / MARKER, private / "below" / "x")] == [0o600] * 3
    assert (mode(mine), mode(mine / "run.json")) == (0o755, 0o600)
    assert (mode(shared), mode(shared / "run.json")) == (0o777 & ~umask, 0o666 & ~umask)


def test_the_umask_is_put_back_after_an_error() -> None:
    before = os.umask(0o027)
    try:
        with pytest.raises(RuntimeError), owner_only(False):
            raise RuntimeError
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_the_lock_where_files_are_locked_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows: the byte that is locked stands behind what others have to read, and an open file is not removed."""
    held: dict[tuple[int, int], int] = {}

    def locking(handle: int, mode: int, count: int) -> None:
        place = os.fstat(handle).st_ino, os.lseek(handle, 0, os.SEEK_CUR)
        if mode == 0:
            assert held.pop(place) == handle
        elif place in held:
            raise OSError(errno.EACCES, "locked")
        else:
            held[place] = handle

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_UNLCK=0, LK_NBLCK=2, locking=locking))
    monkeypatch.setattr(sys, "platform", "win32")
    assert lock.__spec__ is not None and lock.__spec__.loader is not None
    other = importlib.util.module_from_spec(lock.__spec__)
    lock.__spec__.loader.exec_module(other)
    first, second = other.FolderLock(tmp_path, "screen"), other.FolderLock(tmp_path, "measure")
    first.acquire()
    with pytest.raises(other.FolderInUse, match=rf"`eligibility screen` \(process {os.getpid()} on "):
        second.acquire()
    assert all(place > 4096 for _, place in held)
    first.release()
    assert held == {} and (tmp_path / LOCK).exists()
    second.acquire()
    second.release()


def test_a_file_in_the_place_of_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = tmp_path / "results"
    there.write_text("mine", "utf-8")
    flute = Path(__file__).resolve().parents[2] / "criteria" / "flute"
    words = ["screen", str(flute / "mr"), "--data", str(flute / "cohort"), "--out", str(there)]
    assert main(words) == 2
    assert f"{there} is a file, and outputs need a folder; name another place with --out" in capsys.readouterr().err
    assert there.read_text("utf-8") == "mine"
