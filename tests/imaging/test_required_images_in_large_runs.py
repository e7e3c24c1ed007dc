"""`screen --require-images` over large data: by processes with little memory, stopped at any moment and gone on with; nothing is asked that was answered."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.data.archives.access import Access
from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.evaluation.verdict import Verdict
from fhir_eligibility.runners.imaging import confirming
from fhir_eligibility.runners.imaging.confirming import RequiredImages
from fhir_eligibility.runners.imaging.images import Places
from fhir_eligibility.runners.large.kept_buckets import KeptBuckets
from fhir_eligibility.runners.large.questions import HeldStudies, add_answers, drop_unfinished, read_answers
from fhir_eligibility.runners.large.workspace import Workspace
from fhir_eligibility.runners.screening import run as running
from fhir_eligibility.runners.screening.criteria import Criteria
from fhir_eligibility.runners.screening.run import RunOptions, run
from tests.benchmarks.cohorts import Options, write
from tests.imaging.stub import Asked, Reply, Stub, rows
from tests.spec.model import ROOT

CRITERIA = ROOT / "tests" / "benchmarks" / "criteria" / "fhirpath"
NOW = "2026-06-01"
PATIENTS = 120
STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"


class Archive:
    """Holds nine of ten studies of a cohort, of some of these not all series. `down` has it answer nothing."""

    def __init__(self, data: Path) -> None:
        self.studies: dict[str, dict[str, list[str]]] = {}
        self.down = False
        lines = (data / "ImagingStudy.ndjson").read_bytes().splitlines()
        for number, study in enumerate(map(json.loads, lines)):
            uid = study["identifier"][0]["value"].removeprefix("urn:oid:")
            series = {one["uid"]: [x["uid"] for x in one["instance"]] for one in study["series"]}
            if number % 10 != 7:
                self.studies[uid] = dict(list(series.items())[number % 4 == 2 :])

    def __call__(self, asked: Asked) -> Reply:
        if self.down:
            return Reply(status=503, body=b"")
        path = asked.path.removeprefix("/dicom-web/").split("/")
        uids = self.asked_for(asked)
        found: list[dict[str, Any]] = []
        for uid in uids:
            held = self.studies.get(uid, {})
            if path[-1] == "studies":
                found += [{STUDY: uid, "00201206": len(held)}] if uid in self.studies else []
            elif path[-1] == "series":
                found += [{STUDY: uid, SERIES: one} for one in held]
            else:
                only = path[3] if len(path) > 4 else None
                found += [
                    {STUDY: uid, SERIES: one, INSTANCE: instance}
                    for one, instances in held.items()
                    if only in (None, one)
                    for instance in instances
                ]
        return rows(*found)

    @staticmethod
    def asked_for(asked: Asked) -> list[str]:
        """The studies that a request is about."""
        path = asked.path.removeprefix("/dicom-web/").split("/")
        listed = ",".join(asked.query.get("StudyInstanceUID", asked.query.get(STUDY, [])))
        return [path[1]] if len(path) > 1 else listed.split(",")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "data"
    write(folder, Options(patients=PATIENTS, seed=3, form="ndjson"))
    return folder


@pytest.fixture(scope="module")
def archive(data: Path) -> Archive:
    return Archive(data)


@pytest.fixture
def stub(archive: Archive) -> Iterator[Stub]:
    archive.down = False
    stub = Stub(archive)
    yield stub
    stub.close()


@pytest.fixture(scope="module")
def criteria() -> Criteria:
    return fhir_eligibility.load_criteria(CRITERIA)


def screened(
    criteria: Criteria, data: Path, out: Path, url: str, *, resume: bool = False, jobs: int = 1
) -> dict[str, bytes]:
    with Client(Access(retries=0)) as client:
        images = RequiredImages(client, Places(url, True))
        options = RunOptions(now=NOW, jobs=jobs, memory=1 << 20, images=images, resume=resume)
        run(criteria, [CRITERIA], [data], out, options)
    assert not Workspace(out).folder.exists()
    return outputs(out, url)


def outputs(out: Path, url: str) -> dict[str, bytes]:
    """What was written, but for the address of the archive."""
    found = {path.name: path.read_bytes() for path in out.glob("[!.]*") if path.name != "run.json"}
    return {name: text.replace(url.encode(), b"URL") for name, text in found.items()}


@pytest.fixture(scope="module")
def expected(
    criteria: Criteria, data: Path, archive: Archive, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    stub = Stub(archive)
    found = screened(criteria, data, tmp_path_factory.mktemp("expected"), stub.url)
    stub.close()
    return found


def test_verdicts_are_those_of_patients_from_memory(
    criteria: Criteria, data: Path, stub: Stub, expected: dict[str, bytes]
) -> None:
    verdicts = [Verdict.model_validate_json(line) for line in expected["verdicts.ndjson"].splitlines()]
    assert len(verdicts) == PATIENTS
    states = [holding.state for one in verdicts for holding in one.holdings]
    assert min(states.count("present"), states.count("absent"), states.count("partial")) > 5
    with Client(Access(retries=0)) as client:
        images = RequiredImages(client, Places(stub.url, True))
        memory = list(fhir_eligibility.screen(criteria, data, now=NOW, images=images))

    def told(verdict: Verdict) -> Any:
        outcomes = [(one.id, one.outcome, one.reason, one.detail) for one in verdict.criteria]
        holdings = [holding.model_dump(exclude={"archive"}) for holding in verdict.holdings]
        return verdict.patient, verdict.verdict, outcomes, holdings

    assert list(map(told, verdicts)) == list(map(told, memory))


@pytest.mark.parametrize("jobs", [1, 2])
def test_processes_make_no_difference(
    criteria: Criteria, data: Path, stub: Stub, tmp_path: Path, expected: dict[str, bytes], jobs: int, monkeypatch: Any
) -> None:
    monkeypatch.setattr(running, "SMALL", 0)
    assert screened(criteria, data, tmp_path, stub.url, jobs=jobs) == expected


def test_what_was_answered_is_not_asked_again(
    criteria: Criteria, data: Path, stub: Stub, tmp_path: Path, expected: dict[str, bytes], monkeypatch: Any
) -> None:
    """The run is stopped after some answers, more of them each time."""
    monkeypatch.setattr(confirming, "BATCH", 7)
    answered: set[str] = set()

    for allowed in range(1, 100):
        left = allowed

        def stopped(path: Path, answers: list[HeldStudies]) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            add_answers(path, answers)
            answered.update(holding["study"] for one in answers for holding in one.holdings if "study" in holding)

        monkeypatch.setattr(confirming, "add_answers", stopped)
        stub.asked.clear()
        before = set(answered)
        try:
            found = screened(criteria, data, tmp_path, stub.url, resume=allowed > 1)
        except KeyboardInterrupt:
            found = None
        again = {uid for asked in stub.asked for uid in Archive.asked_for(asked)}
        assert again.isdisjoint(before)
        if found is not None:
            break
    assert 3 < allowed < 99
    assert found == expected


def test_an_archive_that_was_not_reached_is_asked_again(
    criteria: Criteria,
    data: Path,
    archive: Archive,
    stub: Stub,
    tmp_path: Path,
    expected: dict[str, bytes],
    monkeypatch: Any,
) -> None:
    def stopped(*arguments: Any) -> int:
        raise KeyboardInterrupt

    archive.down = True
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(KeptBuckets, "put", stopped)
        screened(criteria, data, tmp_path, stub.url)
    archive.down = False
    assert screened(criteria, data, tmp_path, stub.url, resume=True) == expected


@pytest.mark.parametrize("jobs", [1, 2])
def test_problems_are_told_as_without_asking_and_once(
    criteria: Criteria, data: Path, stub: Stub, tmp_path: Path, jobs: int, monkeypatch: Any
) -> None:
    """The records of each patient are put together twice: once to ask about, once to judge."""
    monkeypatch.setattr(running, "SMALL", 0)
    odd = tmp_path / "odd"
    shutil.copytree(data, odd)
    lines = {name: (odd / f"{name}.ndjson").read_bytes().splitlines() for name in ("ImagingStudy", "Observation")}
    studies = [json.loads(line) for line in lines["ImagingStudy"][:3]]
    again = [{**studies[0], "status": "cancelled"}, {**studies[1], "subject": {"reference": "Patient/nobody"}}]
    with (odd / "ImagingStudy.ndjson").open("ab") as out:
        out.writelines(json.dumps(one).encode() + b"\n" for one in again)
        out.write(lines["ImagingStudy"][2][:-40] + b"\n")
    with (odd / "Observation.ndjson").open("ab") as out:
        out.write(lines["Observation"][0] + b"\n")
    plain, asking = tmp_path / "plain", tmp_path / "asking"
    run(criteria, [CRITERIA], [odd], plain, RunOptions(now=NOW, jobs=jobs, memory=1 << 20))
    screened(criteria, odd, asking, stub.url, jobs=jobs)
    problems = [(folder / "problems.ndjson").read_bytes() for folder in (plain, asking)]
    codes = {json.loads(line)["code"] for line in problems[0].splitlines()}
    assert codes >= {"invalid-json", "conflicting-versions", "patient-not-described"}
    assert problems[0] == problems[1]


def test_answers_are_read_up_to_where_they_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    assert list(read_answers(path)) == []
    drop_unfinished(path)
    first = HeldStudies(
        (0, 1, -1), "Patient/a", [{"state": "present", "patient": "Patient/a", "resource": "ImagingStudy/s"}]
    )
    second = HeldStudies((0, 2, -1), "Patient/b", [])
    add_answers(path, [first])
    whole = path.stat().st_size
    add_answers(path, [second, first])
    text = path.read_bytes()
    for end in range(whole, len(text)):
        path.write_bytes(text[:end])
        assert list(read_answers(path)) == [first]
        drop_unfinished(path)
        assert path.stat().st_size == whole
        add_answers(path, [second])
        assert list(read_answers(path)) == [first, second]
    for place in range(whole, len(text)):
        path.write_bytes(text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :])
        assert list(read_answers(path)) == [first]


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(
    data: Path, archive: Archive, stub: Stub, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    answered = kills = 0
    held, go_on = threading.Event(), threading.Event()

    def some(asked: Asked) -> Reply:
        """Answers, and then none until the run is killed; some more each time."""
        nonlocal answered
        answered += 1
        if answered > 20 * (kills + 1):
            held.set()
            go_on.wait()
        return archive(asked)

    stub.answer = some
    command = [
        sys.executable,
        "-c",
        "import sys; from fhir_eligibility.runners.imaging import confirming; from fhir_eligibility.runners.screening import run; run.SMALL = 0; confirming.BATCH = 7; from fhir_eligibility.ui.commands.cli import main; sys.exit(main(sys.argv[1:]))",
        *("screen", str(CRITERIA), "--data", str(data), "--out", str(tmp_path), "--now", NOW, "--jobs", "2"),
        *("--memory", "1MB", "--quiet", "--resume", "--require-images", "--dicomweb", stub.url, "--ignore-endpoints"),
    ]
    for _ in range(20):
        answered = 0
        held.clear()
        go_on.clear()
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        while process.poll() is None and not held.wait(0.05):
            pass
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        go_on.set()
        kills += 1
    assert process.wait() == 0 and kills > 2
    assert outputs(tmp_path, stub.url) == expected
