"""What a large run keeps in `.work` is known by sums: whatever byte of it is another, a run that goes on does it again or says so, and ends with the same outputs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.runners.large.bulk import BulkRun
from fhir_eligibility.runners.large.whole_files import HEAD
from fhir_eligibility.runners.large.workspace import Workspace
from fhir_eligibility.ui.commands.cli import main
from tests.outputs import by_patient, visible
from tests.spec.model import ROOT

NOW = "2026-06-01"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped before its outputs were written, in `out`, and the same undisturbed, in `expected`."""
    place = tmp_path_factory.mktemp("stopped")
    (place / "crit").mkdir()
    definition = {"language": "text/fhirpath", "expression": "Observation.exists(subject.exists()) or Patient.active"}
    characteristic = [{"linkId": "c", "definitionExpression": definition}]
    trial = {"resourceType": "EvidenceVariable", "id": "t", "status": "draft", "characteristic": characteristic}
    (place / "crit" / "t.json").write_text(json.dumps(trial))
    (place / "data").mkdir()
    lines = [json.dumps({"resourceType": "Patient", "id": f"p{n}", "active": n % 2 == 0}) for n in range(12)]
    (place / "data" / "Patient.ndjson").write_text("\n".join([*lines, lines[0], '{"resourceType":"Patient"', ""]))
    observed = [
        {"resourceType": "Observation", "id": f"o{n}", "subject": {"reference": f"Patient/p{n}"}}
        for n in range(0, 12, 3)
    ]
    (place / "data" / "Observation.ndjson").write_text("".join(json.dumps(one) + "\n" for one in observed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fhir_eligibility.runners.screening.run.SMALL", 0)
        patch.setattr("fhir_eligibility.runners.screening.large.ROUNDS", 2)
        assert screen(place, "expected") in (0, 1)

        def stop(self: Any, outputs: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(BulkRun, "write", stop)
        assert screen(place, "out") == 130
    assert visible(place / "out") == []
    return place


def screen(place: Path, out: str, *more: str) -> int:
    words = ["screen", str(place / "crit"), "--data", str(place / "data"), "--out", str(place / out), "--now", NOW]
    return main([*words, "--quiet", "--jobs", "1", *more])


def files(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "out" / ".work").iterdir())


def test_all_kinds_of_files_are_there(stopped: Path) -> None:
    kinds = {name.rstrip("-0123456789") for name in files(stopped)}
    assert kinds == {
        "bucket",
        "gaps",
        "joint",
        "judged",
        "piece",
        "placed",
        "problems-bucket",
        "problems-piece",
        "records",
        "state",
        "twice",
    }


def test_every_byte_of_every_file_counts(stopped: Path, tmp_path: Path) -> None:
    """After `check` nothing is left that another byte made different; what all others are told by is refused."""
    work = stopped / "out" / ".work"
    shutil.copytree(work, tmp_path / ".work")
    workspace = Workspace(tmp_path)
    pieces = len(list(work.glob("piece-*")))
    buckets = len(list(work.glob("bucket-*")))
    dropped: dict[str, Callable[[], bool]] = dict.fromkeys(("joint", "placed"), lambda: not workspace.has_joint())
    for number in range(pieces):
        for name in (f"piece-{number}", f"records-{number}", f"problems-piece-{number}-0"):
            dropped[name] = lambda number=number: not workspace.has_piece(number)  # type: ignore[misc]
    for number in range(buckets):
        for name in (f"bucket-{number}", f"judged-{number}", f"problems-bucket-{number}-0"):
            dropped[name] = lambda number=number: not workspace.buckets.has(number)  # type: ignore[misc]
    unchecked = set(files(stopped)) - dropped.keys() - {"state"}
    again = {name.rstrip("-0123456789") for name in unchecked}
    assert again == {"gaps", "twice"}, "made again by each run, or by each that has no joint"
    for name in files(stopped):
        whole = (work / name).read_bytes()
        for place in range(len(whole)):
            damaged = whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :]
            (tmp_path / ".work" / name).write_bytes(damaged)
            if name == "state":
                with pytest.raises(ValueError, match=r"state is (damaged|of another version)"):
                    workspace.state()
            elif name in unchecked:
                with pytest.raises(ValueError, match="is damaged"):
                    workspace.gaps() if name == "gaps" else workspace.twice(name.removeprefix("twice-"))
            else:
                workspace.check(pieces, buckets)
                assert dropped[name](), (name, place)
        for path in work.iterdir():
            shutil.copy(path, tmp_path / ".work")


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(place: float) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        at = min(int(place * len(data)), len(data) - 1)
        return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]

    return change


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "begin": flipped(0),
    "middle": flipped(0.5),
    "end": flipped(1),
    "cut": cut,
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "more": lambda data: data + b"\0",
    "head": lambda data: data[: HEAD.size],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_that_goes_on_ends_with_the_same_outputs_or_refuses(
    stopped: Path, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fhir_eligibility.runners.screening.run.SMALL", 0)
    monkeypatch.setattr("fhir_eligibility.runners.screening.large.ROUNDS", 2)
    for name in files(stopped):
        out = stopped / "again"
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(stopped / "out", out)
        file = out / ".work" / name
        file.write_bytes(DAMAGES[damage](file.read_bytes()))
        status = screen(stopped, "again", "--resume")
        if name == "state":
            assert status == 2 and visible(out) == []
            assert "run again without --resume" in capsys.readouterr().err
        else:
            assert status in (0, 1), name
            assert by_patient(out) == by_patient(stopped / "expected"), name


def test_files_of_another_version_are_refused(stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(stopped / "out" / ".work", tmp_path / ".work")
    monkeypatch.setattr("fhir_eligibility.runners.large.whole_files.VERSION", 2)
    with pytest.raises(ValueError, match="state is of another version of the program; run again without --resume"):
        Workspace(tmp_path).state()


ORPHAN = """
import multiprocessing, os, sys, time
from pathlib import Path
from fhir_eligibility.runners.large.workers import Workers
from fhir_eligibility.runners.large.workspace import Workspace

def start(folder):
    def work(task):
        work = Workspace(Path(folder))
        work.put_twice("before", {})
        Path(folder, "started").touch()
        while os.getppid() == PARENT:
            time.sleep(0.001)
        try:
            work.put_twice("after", {})
            Path(folder, "written").touch()
        except OSError as error:
            Path(folder, "refused").write_text(str(error))
    return work

PARENT = os.getpid()
if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    (Path(sys.argv[1]) / ".work").mkdir()
    list(Workers(2, start, sys.argv[1]).run(["task"]))
"""


def test_a_process_of_a_run_that_was_killed_puts_nothing_into_the_folder(tmp_path: Path) -> None:
    """Where processes do not share the lock of their run, another one may have begun."""
    run = subprocess.Popen([sys.executable, "-c", ORPHAN, str(tmp_path)], cwd=ROOT)
    end = time.monotonic() + 60
    while not (tmp_path / "started").exists():
        assert time.monotonic() < end and run.poll() is None
        time.sleep(0.01)
    run.kill()
    run.wait()
    ended = time.monotonic() + 3  # it may have been ended before it came to this
    while time.monotonic() < ended and not ((tmp_path / "refused").exists() or (tmp_path / "written").exists()):
        time.sleep(0.01)
    assert not (tmp_path / "written").exists()
    assert [path.name for path in (tmp_path / ".work").iterdir()] == ["twice-before"]
