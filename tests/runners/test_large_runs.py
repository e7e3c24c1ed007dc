"""Large runs: several processes, runs that are killed and resumed, workers that are killed, folders that are full."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from array import array
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.data.bulk.resolving import twice
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.evaluation.verdict import Verdict
from fhir_eligibility.output.fhir_group import frame_of, group_of, member_of
from fhir_eligibility.runners.large import bulk, problem_runs
from fhir_eligibility.runners.large.bulk import in_place
from fhir_eligibility.runners.large.judged_file import JudgedFile
from fhir_eligibility.runners.large.kept_buckets import KeptBuckets
from fhir_eligibility.runners.large.problem_runs import ProblemShelf, in_order, run_path
from fhir_eligibility.runners.large.whole_files import WholeFiles
from fhir_eligibility.runners.large.workers import WorkerLost, Workers
from fhir_eligibility.runners.large.workspace import RunState, Workspace
from fhir_eligibility.runners.screening import run as running
from fhir_eligibility.runners.screening.criteria import Criteria
from fhir_eligibility.runners.screening.run import RunOptions, run
from tests.benchmarks.cohorts import Options as CohortOptions
from tests.benchmarks.cohorts import write
from tests.outputs import by_patient
from tests.spec.model import ROOT

FLUTE = ROOT / "criteria" / "flute" / "mr"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patients as an export, with two broken lines and a resource that occurs twice."""
    folder = tmp_path_factory.mktemp("cohort")
    write(folder, CohortOptions(patients=80, seed=5, form="ndjson"))
    lines = (folder / "Observation.ndjson").read_bytes().splitlines(keepends=True)
    lines[10:10] = [b'{"resourceType":"Observation","id":"broken","code":{"coding":[{"code":"2857-1"}\n', b"nonsense\n"]
    psa = next(line for line in lines if b'"2857-1"' in line and line.endswith(b"}\n"))
    (folder / "Observation.ndjson").write_bytes(b"".join([*lines, psa]))
    return folder


@pytest.fixture(scope="module")
def criteria() -> Criteria:
    return fhir_eligibility.load_criteria(FLUTE)


def screened(criteria: Criteria, cohort: Path, out: Path, **options: Any) -> dict[str, bytes]:
    run(criteria, [FLUTE], [cohort], out, RunOptions(now="2026-06-01", **options))
    assert not Workspace(out).folder.exists()
    return by_patient(out)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files of any size take the way of large ones."""
    monkeypatch.setattr(running, "SMALL", 0)


@pytest.fixture(scope="module")
def expected(criteria: Criteria, cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a small run in one process gives."""
    return screened(criteria, cohort, tmp_path_factory.mktemp("small"))


def test_what_is_expected_is_worth_comparing_with(expected: dict[str, bytes]) -> None:
    verdicts = [Verdict.model_validate_json(line) for line in expected["verdicts.ndjson"].splitlines()]
    assert len(verdicts) == 80
    assert {v.verdict for v in verdicts} == {"included", "excluded", "undetermined"}
    problems = [json.loads(line) for line in expected["problems.ndjson"].splitlines()]
    assert [(p["code"], p.get("line")) for p in problems][:2] == [("invalid-json", 11), ("invalid-json", 12)]
    assert [p["code"] for p in problems][2:] == ["duplicate"]


@pytest.mark.parametrize("jobs", [1, 2, 3])
@pytest.mark.parametrize("memory", [None, 1 << 20])
def test_processes_and_memory_make_no_difference(
    criteria: Criteria, cohort: Path, tmp_path: Path, expected: dict[str, bytes], large: None, jobs: int, memory: int
) -> None:
    assert screened(criteria, cohort, tmp_path, jobs=jobs, memory=memory) == expected


def test_counts_add_up(criteria: Criteria, cohort: Path, tmp_path: Path, large: None) -> None:
    record = run(criteria, [FLUTE], [cohort], tmp_path, RunOptions(now="2026-06-01", jobs=2)).record
    assert record.resources is not None
    lines = sum(path.read_bytes().count(b"\n") for path in cohort.glob("*.ndjson"))
    used, passed = sum(record.resources.used.values()), sum(record.resources.passed.values())
    assert record.resources.lines == lines
    assert used + passed + record.resources.blank + 2 == lines  # two lines are no JSON
    assert record.patients == 80 and record.problems == 3


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(
    cohort: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    chance = random.Random(11)
    command = [
        sys.executable,
        "-c",
        "import sys; from fhir_eligibility.runners.screening import run; run.SMALL = 0; from fhir_eligibility.ui.commands.cli import main; sys.exit(main(sys.argv[1:]))",
        *("screen", str(FLUTE), "--data", str(cohort), "--out", str(tmp_path), "--now", "2026-06-01"),
        *("--jobs", "2", "--memory", "1MB", "--quiet", "--resume"),
    ]
    for step in range(6):
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        # first as soon as there is something to resume, then at any moment
        began = time.monotonic()
        while process.poll() is None and not (tmp_path / ".work" / "piece-0").exists():
            assert time.monotonic() - began < 120
            time.sleep(0.005)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.001 if step == 0 else chance.random() * 1.5)
        if step == 0:
            assert process.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, cwd=ROOT, timeout=300).returncode == 1
    assert by_patient(tmp_path) == expected


def test_each_step_can_be_resumed_from(
    criteria: Criteria, cohort: Path, tmp_path: Path, expected: dict[str, bytes], large: None, monkeypatch: Any
) -> None:
    """The run is stopped after every file that it writes into its workspace, one later each time."""
    write = WholeFiles.write
    for allowed in range(1, 200):
        left = allowed

        def stopped(self: WholeFiles, name: str, data: Any) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            write(self, name, data)

        monkeypatch.setattr(WholeFiles, "write", stopped)
        try:
            run(criteria, [FLUTE], [cohort], tmp_path, RunOptions(now="2026-06-01", memory=1 << 20, resume=allowed > 1))
        except KeyboardInterrupt:
            assert not (tmp_path / "verdicts.ndjson").exists()
            continue
        break
    assert 1 < allowed < 199
    assert by_patient(tmp_path) == expected


def test_only_the_same_run_is_resumed(
    criteria: Criteria, cohort: Path, tmp_path: Path, large: None, monkeypatch: Any
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "put_joint", fail)
        with pytest.raises(OSError, match="No space left"):
            run(criteria, [FLUTE], [cohort], tmp_path, RunOptions(now="2026-06-01"))
    assert Workspace(tmp_path).exists() and not (tmp_path / "verdicts.ndjson").exists()
    with pytest.raises(ValueError, match=r"other --now \(2026-06-01, now 2026-07-01\); give the same again"):
        run(criteria, [FLUTE], [cohort], tmp_path, RunOptions(now="2026-07-01", resume=True))
    with pytest.raises(
        ValueError, match=r"other --absent \(default, now unknown\) and --timezone \(UTC, now Asia/Tokyo\)"
    ):
        other = RunOptions(now="2026-06-01", timezone="Asia/Tokyo", absent="unknown", resume=True)
        run(criteria, [FLUTE], [cohort], tmp_path, other)
    with pytest.raises(ValueError, match="other criteria"):
        more = [FLUTE, FLUTE.parent / "cql"]
        run(criteria, more, [cohort], tmp_path, RunOptions(now="2026-06-01", resume=True))
    run(criteria, [FLUTE], [cohort], tmp_path, RunOptions(now="2026-06-01", resume=True))
    assert not Workspace(tmp_path).exists()


# -- workers


class _Peculiar(Exception):
    """An error that cannot be put together again."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} of {other}")


def _start(state: Path) -> Any:
    def work(task: int) -> int:
        mark = state / f"killed-{task}"
        if task == 3 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if task == 100:
            os.kill(os.getpid(), signal.SIGKILL)
        if task == 200:
            raise ValueError("task 200 is not to be had")
        if task == 300:
            raise _Peculiar(1, 2)
        return task * task

    return work


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    with Workers(2, _start, tmp_path) as workers:
        assert dict(workers.run(range(10))) == {n: n * n for n in range(10)}
    assert (tmp_path / "killed-3").exists()


def test_work_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    with Workers(2, _start, tmp_path) as workers, pytest.raises(WorkerLost, match="killed 3 times"):
        list(workers.run([1, 100]))


def test_an_error_of_a_task_is_the_parents(tmp_path: Path) -> None:
    with Workers(2, _start, tmp_path) as workers, pytest.raises(ValueError, match="task 200"):
        list(workers.run([1, 200]))


def test_an_error_that_does_not_travel_is_told_in_words(tmp_path: Path) -> None:
    with Workers(2, _start, tmp_path) as workers, pytest.raises(RuntimeError, match="_Peculiar: 1 of 2"):
        list(workers.run([1, 300]))


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\nfrom fhir_eligibility.runners.large.workers import Workers\n"
        "def start(state):\n    def work(task):\n        os.write(1, b'%d\\n' % os.getpid())\n        time.sleep(60)\n    return work\n"
        "with Workers(2, start, None) as workers:\n    list(workers.run([1, 2]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    workers = [int(process.stdout.readline()) for _ in range(2)]
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in workers):
        time.sleep(0.1)
    assert not any(_alive(pid) for pid in workers)


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
    except OSError:
        return False


@pytest.mark.parametrize("version", ["r4", "r5"])
@pytest.mark.parametrize("patients", [[], ["Patient/1"], ["Patient/1", 'urn:"ü\\\n', "Patient/3"]])
def test_a_group_written_around_its_members_is_the_group(version: str, patients: list[str]) -> None:
    group = group_of("http://x.org/a", "Ä title", len(patients), [], version, "2026-06-01T00:00:00Z")
    head, tail = frame_of(group)
    if patients:
        group["member"] = [{"entity": {"reference": patient}} for patient in patients]
    written = head + b"".join(map(member_of, patients))[1:] + tail
    assert written == (json.dumps(group, indent=2, ensure_ascii=False) + "\n").encode()


def test_a_group_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="valueDateTime"):
        group_of("http://x.org/a", "t", 1, ["Patient/1"], "r4", "no time")


def test_little_data_is_held_only_where_memory_allows(
    criteria: Criteria, cohort: Path, tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    create = Workspace.create

    def noted(self: Workspace, state: RunState) -> None:
        begun.append(state.buckets)
        create(self, state)

    monkeypatch.setattr(Workspace, "create", noted)
    assert screened(criteria, cohort, tmp_path, memory=100 << 20) == expected
    assert begun == []
    assert screened(criteria, cohort, tmp_path, memory=4 << 20) == expected
    assert len(begun) == 1


# -- what is kept on disk


@pytest.mark.parametrize("held", [1, 3, 1000])
@pytest.mark.parametrize("together", [2, 200])
def test_problems_on_disk_are_as_those_in_memory(tmp_path: Path, held: int, together: int) -> None:
    chance = random.Random(3)
    files = ["a", "b", "c"]
    problems = [
        Problem(
            file=chance.choice([*files, "other", None]),
            offset=chance.choice([None, 0, 5]),
            entry=chance.choice([None, 1]),
            resource=chance.choice([None, "Patient/1"]),
            code=chance.choice(["x", "y"]),
            severity=chance.choice(["error", "warning"]),
            message="m",
        )
        for _ in range(400)
    ]
    runs = []
    for number in range(5):
        shelf = ProblemShelf(tmp_path / f"problems-{number}", files, held)
        for problem in problems[80 * number : 80 * number + 80]:
            shelf.append(problem)
        shelf.spill()
        runs += [run_path(tmp_path / f"problems-{number}", run) for run in range(len(shelf.runs))]
    assert len(runs) == 5 * -(-80 // held)
    assert list(in_order(runs, tmp_path / "merged", together)) == in_place(problems, files)


def test_ids_that_occur_several_times_are_the_same_in_any_number_of_turns() -> None:
    chance = random.Random(4)
    kept = [array("Q", (chance.randrange(300) for _ in range(60))) for _ in range(3)]
    seen = [array("Q", [*one, *(chance.randrange(300) for _ in range(40))]) for one in kept]
    every = [number for one in kept for number in one], [number for one in seen for number in one]
    expected = {
        number: (every[0].count(number), every[1].count(number))
        for number in set(every[0])
        if every[1].count(number) > 1
    }
    assert len(expected) > 50
    for batches in (1, 2, 7):
        found: dict[int, tuple[int, int]] = {}
        for batch in range(batches):
            found |= twice(lambda: kept, lambda: seen, batch, batches)
        assert found == expected


@pytest.fixture(scope="module")
def doubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patients as an export, much of it twice: as it is, of another patient, and in a form that no criterion needs."""
    folder = tmp_path_factory.mktemp("doubled")
    write(folder, CohortOptions(patients=60, seed=6, form="ndjson"))
    for name in ("Patient", "Observation", "Procedure", "ImagingStudy"):
        lines = (folder / f"{name}.ndjson").read_bytes().splitlines(keepends=True)
        more = list(lines)
        if name == "Procedure":
            owners = [json.loads(line)["subject"]["reference"] for line in lines]
            more[:20] = [
                line.replace(owner.encode(), b"Patient/p0000007")
                for line, owner in zip(lines[:20], owners, strict=False)
            ]
            more[20:40] = [line.replace(b'"86273004"', b'"1"') for line in lines[20:40]]
        (folder / f"{name}.more.ndjson").write_bytes(b"".join([*more, b"no JSON\n" * 9]))
    return folder


def test_little_memory_makes_no_difference_where_much_occurs_twice(
    criteria: Criteria, doubled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = screened(criteria, doubled, tmp_path / "small")
    problems = [json.loads(line) for line in expected["problems.ndjson"].splitlines()]
    assert {"duplicate", "invalid-json"} <= {one["code"] for one in problems}
    monkeypatch.setattr(running, "SMALL", 0)
    monkeypatch.setattr(problem_runs, "HELD", 4)
    monkeypatch.setattr(problem_runs, "MERGED", 3)
    monkeypatch.setattr(bulk, "LEAST_IDS", 10)
    batches: list[tuple[int, int]] = []
    put = KeptBuckets.put_batch

    def noted(self: KeptBuckets, number: int, batch: int, *more: Any) -> JudgedFile:
        batches.append((number, batch))
        return put(self, number, batch, *more)

    monkeypatch.setattr(KeptBuckets, "put_batch", noted)
    assert screened(criteria, doubled, tmp_path / "plenty") == expected
    assert batches == []
    assert screened(criteria, doubled, tmp_path / "little", memory=3000) == expected
    assert max(batch for _, batch in batches) > 2
    assert screened(criteria, doubled, tmp_path / "both", memory=3000, jobs=2) == expected


def test_data_that_goes_away_meanwhile_has_no_sum(tmp_path: Path, criteria: Criteria) -> None:
    write(tmp_path / "data", CohortOptions(patients=3, seed=5, form="ndjson"))
    gone = tmp_path / "data" / "Claim.ndjson"
    result = run(
        criteria,
        [FLUTE],
        [tmp_path / "data"],
        tmp_path / "out",
        RunOptions(now="2026-06-01"),
        progress=lambda *_: gone.unlink(missing_ok=True),
    )
    sums = {Path(one.path).name: one.sha256 for one in result.record.data}
    assert sums.pop(gone.name) is None and all(sums.values())
    assert len((tmp_path / "out" / "verdicts.ndjson").read_bytes().splitlines()) == 3
