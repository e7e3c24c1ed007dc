"""The output folders of the commands: locked, private, never read as criteria or data, and named by trial."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.artifacts.own_outputs import MARKER
from fhir_eligibility.output.folder import OutputFolder
from fhir_eligibility.output.trial_names import trial_names
from fhir_eligibility.ui.commands.cli import main
from tests.outputs import by_patient, group_files, seen, visible
from tests.spec.model import ROOT

NOW = ("--now", "2026-06-01")


def trial(name: str, expression: str, version: str | None = None) -> dict[str, Any]:
    head = {"resourceType": "EvidenceVariable", "id": name, "url": f"http://example.org/{name}", "status": "active"}
    definition = {"language": "text/fhirpath", "expression": expression}
    characteristic = [{"linkId": "c", "definitionExpression": definition}]
    return {**head, **({"version": version} if version else {}), "characteristic": characteristic}


def patient(name: str, gender: str = "female") -> dict[str, Any]:
    return {"resourceType": "Patient", "id": name, "gender": gender}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with criteria in `crit` and patients in `data`."""
    (tmp_path / "crit").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "crit" / "a.json").write_text(json.dumps(trial("a", "Patient.gender = 'female'", "1")))
    (tmp_path / "data" / "Patient.ndjson").write_text(
        "".join(json.dumps(patient(f"p{n}", "male" if n % 3 else "female")) + "\n" for n in range(9))
    )
    return tmp_path


def screen(place: Path, out: Path, *more: str, data: Path | None = None) -> int:
    given = ["screen", str(place / "crit"), "--data", str(data or place / "data"), "--out", str(out)]
    return main([*given, *NOW, "--quiet", *more])


def problems(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "problems.ndjson").read_text().splitlines()]


def everything(out: Path) -> dict[str, bytes]:
    found = by_patient(out)
    del found["problems.ndjson"]
    return found


# -- never read


@pytest.mark.parametrize("where", ["data", "data/deep/out", "crit", "crit/out"])
@pytest.mark.parametrize("form", ["--validate", "--parquet"])
def test_an_output_folder_among_the_input_is_left_out_and_said(
    place: Path, where: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert screen(place, place / "apart") == 0
    expected = everything(place / "apart")
    out = place / where
    for times in range(3):
        capsys.readouterr()
        assert main(["screen", str(place / "crit"), "--data", str(place / "data"), "--out", str(out), *NOW, form]) == 0
        assert everything(out) == expected
        record = json.loads((out / "run.json").read_text())
        assert [Path(one["path"]).name for one in record["criteria"]] == ["a.json"]
        assert [Path(one["path"]).name for one in record["data"]] == ["Patient.ndjson"]
        told = [(one["code"], one["severity"], one["file"]) for one in problems(out)]
        again = times > 0
        assert told == ([("own-outputs", "warning", str(out))] if again and where.startswith("data") else [])
        shown = capsys.readouterr().err
        assert ("holds outputs of an earlier run" in shown) == (again and where.startswith("crit"))


def test_outputs_of_every_command_are_left_out(place: Path) -> None:
    out = place / "data" / "out"
    names = ["measured.ndjson", "archive.ndjson", "archive.earlier.ndjson", "lists.ndjson", "x.json"]
    for number, name in enumerate(names):
        with OutputFolder(out, f"command {number}") as folder:
            folder.write_text(name, json.dumps(patient("phantom")) + "\n")
            folder.publish()
    (out / "mine.ndjson").write_text(json.dumps(patient("mine")) + "\n")
    for interrupted in (".eligibility-new", ".work"):
        (out / interrupted).mkdir()
        (out / interrupted / "verdicts.ndjson").write_text(json.dumps(patient("phantom")) + "\n")
    assert screen(place, place / "apart") == 0
    patients = [json.loads(line)["patient"] for line in (place / "apart" / "verdicts.ndjson").read_text().splitlines()]
    assert patients == [*(f"Patient/p{n}" for n in range(9)), "Patient/mine"]


def test_what_the_user_puts_into_an_output_folder_is_read(place: Path) -> None:
    assert screen(place, place / "data") == 0
    (place / "data" / "late.ndjson").write_text(json.dumps(patient("late")) + "\n")
    assert screen(place, place / "data") == 0
    assert json.loads((place / "data" / "run.json").read_text())["patients"] == 10


def test_a_marker_that_is_damaged_sinks_nothing(place: Path) -> None:
    assert screen(place, place / "out") == 0
    for text in (b"", b"{", b"[]", b'{"outputs": 5}', b'{"outputs": {"screen": {}}}', b"\xff\xfe"):
        (place / "out" / MARKER).write_bytes(text)
        assert screen(place, place / "out") == 0


# -- named by trial


def test_a_trial_keeps_its_name_whatever_else_is_screened(place: Path) -> None:
    out = place / "out"
    assert screen(place, out) == 0
    (alone,) = group_files(out)
    content = alone.read_bytes()
    (place / "crit" / "0.json").write_text(json.dumps(trial("other", "Patient.gender = 'male'")))
    (place / "crit" / "1.json").write_text(json.dumps(trial("a", "Patient.gender = 'male'", "2")))
    assert screen(place, out) == 0
    assert len(group_files(out)) == 3 and alone.read_bytes() == content
    for name in ("0.json", "1.json"):
        (place / "crit" / name).unlink()
    assert screen(place, out) == 0
    assert group_files(out) == [alone]


ODD = [
    "http://example.org/T|1",
    "http://example.org/t|1",
    "http://example.com/T|1",
    "http://example.org/T|2",
    "http://example.org/T",
    "EvidenceVariable (crit/../a.json#3)",
    "urn:oid:1.2.3|CON",
    "http://example.org/" + "long" * 100,
    "http://example.org/" + "long" * 100 + "er",
    "http://example.org/试验|α/β:*?<>",
    "///|..",
    "|",
    "a\ud800|1",
]


def test_names_are_apart_and_safe_on_every_file_system() -> None:
    found = trial_names(ODD)
    assert len({name.lower() for name in found}) == len(ODD)
    for name in found:
        assert len(name) <= 80 and name.isascii() and name.replace("-", "").replace(".", "").isalnum()
    for some in ([one] for one in ODD):
        assert trial_names(some) == [found[ODD.index(some[0])]]


def test_names_that_would_be_the_same_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fhir_eligibility.output.trial_names._DIGITS", 0)
    first, second, third = trial_names(["x/a|1", "y/a|1", "x/b|1"])
    assert first != second and len(first) == len(second) > 64 and third == "b-1-"


# -- private


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}


@pytest.mark.parametrize("command", ["screen", "measure", "large"])
def test_outputs_are_private_whatever_the_umask(place: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = place / "new" / "out"
    before = os.umask(0)
    try:
        if command == "measure":
            (place / "m.cql").write_text(
                "library M version '1'\nusing FHIR version '4.0.1'\ncontext Patient\ndefine X: true"
            )
            given = ["measure", str(place / "m.cql"), "--data", str(place / "data"), "--out"]
            assert main([*given, str(out), "--quiet"]) == 0
            assert main([*given, str(place / "shared"), "--quiet", "--shared-outputs"]) == 0
        else:
            if command == "large":
                monkeypatch.setattr("fhir_eligibility.runners.screening.run.SMALL", 0)
            assert screen(place, out, "--parquet", "--jobs", "2") == 0
            assert screen(place, place / "shared", "--shared-outputs") == 0
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    found = modes(place / "new")
    assert len(found) > 5
    assert {name: value for name, value in found.items() if value != (0o700 if name in (".", "out") else 0o600)} == {}
    assert set(modes(place / "shared").values()) == {0o777, 0o666}


def test_what_a_large_run_keeps_meanwhile_is_private(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fhir_eligibility.runners.screening.run.SMALL", 0)
    seen: dict[str, int] = {}

    def stop(self: object, outputs: object) -> None:
        seen.update(modes(place / "out"))
        raise KeyboardInterrupt

    monkeypatch.setattr("fhir_eligibility.runners.large.bulk.BulkRun.write", stop)
    before = os.umask(0)
    try:
        assert screen(place, place / "out", "--jobs", "2") == 130
    finally:
        os.umask(before)
    files = {name for name in seen if name.startswith(".work/")}
    assert {".work/state", ".work/records-0", ".work/joint"} <= files
    assert {seen[name] for name in files} == {0o600}
    assert {seen[name] for name in (".", ".work", ".eligibility-new")} == {0o700}


# -- one run at a time


@pytest.mark.parametrize("command", ["screen", "measure", "screen --resume"])
def test_a_second_run_says_so_and_changes_nothing(
    place: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = place / "out"
    assert screen(place, out) == 0
    (place / "m.cql").write_text("library M version '1'\nusing FHIR version '4.0.1'\ncontext Patient\ndefine X: true")
    with OutputFolder(out, "screen"):
        before = seen(out)
        if command == "measure":
            status = main(["measure", str(place / "m.cql"), "--data", str(place / "data"), "--out", str(out)])
        else:
            status = screen(place, out, *command.split()[1:])
        assert status == 2
        assert seen(out) == before
    told = capsys.readouterr().err
    assert f"eligibility: {out} is in use: `eligibility screen` (process {os.getpid()} on " in told
    assert "--resume" not in told


SLOW = """
import sys, time
from fhir_eligibility.runners.large import bulk_worker
from fhir_eligibility.runners.screening import run
from fhir_eligibility.ui.commands.cli import main
run.SMALL = 0
judged = bulk_worker.Worker.judged
bulk_worker.Worker.judged = lambda self, number: (time.sleep(0.2), judged(self, number))[1]
sys.exit(main(sys.argv[1:]))
"""


def test_a_run_beside_another_one_never_mixes_with_it(place: Path) -> None:
    """Two trials screened into one folder at once, again and again: what is there is one of them, and the other said so."""
    words = [sys.executable, "-c", SLOW, "screen"]
    rest = ["--data", str(place / "data"), "--out", str(place / "out"), *NOW, "--quiet", "--jobs", "2"]
    (place / "other").mkdir()
    (place / "other" / "b.json").write_text(json.dumps(trial("b", "Patient.gender = 'male'")))
    expected = {}
    for name in ("crit", "other"):
        out = place / f"only-{name}"
        assert (
            main(["screen", str(place / name), "--data", str(place / "data"), "--out", str(out), *NOW, "--quiet"]) == 0
        )
        expected[name] = by_patient(out)
    for _ in range(3):
        runs = {
            name: subprocess.Popen([*words, str(place / name), *rest], cwd=ROOT, stderr=subprocess.PIPE, text=True)
            for name in ("crit", "other")
        }
        said = {name: (one.communicate()[1], one.returncode) for name, one in runs.items()}
        done = [name for name, (_, status) in said.items() if status == 0]
        for text, status in said.values():
            assert (status, text) == (0, "") or (status == 2 and "is in use: `eligibility screen` (process" in text)
        assert done
        assert by_patient(place / "out") in [expected[name] for name in done]


def test_a_run_that_is_killed_can_be_resumed_at_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert screen(place, place / "apart") == 0
    out = place / "out"
    words = [sys.executable, "-c", SLOW, "screen", str(place / "crit"), "--data", str(place / "data")]
    words += ["--out", str(out), *NOW, "--quiet", "--jobs", "2"]
    killed = subprocess.Popen(words, cwd=ROOT)
    end = time.monotonic() + 60
    while not list(out.glob(".work/bucket-*")):
        assert time.monotonic() < end and killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert visible(out) == []
    monkeypatch.setattr("fhir_eligibility.runners.screening.run.SMALL", 0)
    assert screen(place, out, "--resume") == 0
    assert by_patient(out) == by_patient(place / "apart")


LARGE = """
import resource, sys
from fhir_eligibility.runners.screening import run
from fhir_eligibility.ui.commands.cli import main
run.SMALL = 0
if sys.argv[1] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("room", [100, 1_000, 3_000, 8_000, 20_000])
def test_a_run_without_room_says_so_and_goes_on_when_there_is_some(place: Path, room: int) -> None:
    """No file may be larger than so many bytes, which is told as a full disk is."""
    some = [json.dumps(patient(f"q{n:03}", "female" if n % 2 else "male")) + "\n" for n in range(150)]
    (place / "data" / "more.ndjson").write_text("".join(some))
    out, earlier = place / "out", place / "apart"
    assert screen(place, earlier) == 0
    expected = by_patient(earlier)
    assert len(expected["verdicts.ndjson"]) > 20_000
    assert screen(place, out, data=place / "crit") in (0, 1, 4)  # nobody is there
    before = {name: (out / name).read_bytes() for name in visible(out)}
    words = ["screen", str(place / "crit"), "--data", str(place / "data"), "--out", str(out), *NOW, "--jobs", "2"]
    full = [sys.executable, "-c", LARGE, str(room), *words]
    done = subprocess.run(full, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert f"eligibility: there is no room for {out}" in done.stderr and "Traceback" not in done.stderr
    assert {name: (out / name).read_bytes() for name in visible(out)} == before
    if (out / ".work" / "state").exists():
        assert "what is done is kept, and the same command with --resume goes on" in done.stderr
    again = subprocess.run([sys.executable, "-c", LARGE, "0", *words, "--resume"], cwd=ROOT, timeout=120)
    assert again.returncode == 0
    assert by_patient(out) == expected
