"""A criterion that takes too long for a patient is unknown, names itself and the limit, and nothing that comes after is touched by it."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import getcontext
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.evaluation.time_limit import Overdue, TimeLimit, limited
from fhir_eligibility.runners.screening.criteria import load_criteria
from fhir_eligibility.runners.screening.screening import screen
from fhir_eligibility.ui.commands.cli import main

SLOW = "from (expand Interval[1, 3000]) A, (expand Interval[1, 3000]) B, (expand Interval[1, 3000]) C where A + B + C < 0 return A"
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def forever() -> None:
    while True:
        sum(range(100))


def test_what_takes_too_long_is_ended() -> None:
    begun = time.monotonic()
    with pytest.raises(EvaluationError, match=r"longer than 0\.2 seconds") as error:
        TimeLimit(0.2).run(forever)
    assert error.value.code == "limit-exceeded"
    assert 0.15 < time.monotonic() - begun < 10


def test_values_and_errors_pass() -> None:
    limit = TimeLimit(5)
    assert limit.run(lambda a, b: a + b, 1, b=2) == 3
    with pytest.raises(ZeroDivisionError):
        limit.run(lambda: 1 / 0)
    with pytest.raises(KeyboardInterrupt):
        limit.run(_interrupted)
    assert TimeLimit(0).run(lambda: time.sleep(0.05) or 7) == 7


def _interrupted() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_limit_is_a_number_of_seconds(seconds: float) -> None:
    with pytest.raises(ValueError, match="number of seconds"):
        TimeLimit(seconds)


def test_it_cannot_be_swallowed_by_what_catches_every_error() -> None:
    def stubborn() -> None:
        while True:
            try:
                sum(range(100))
            except Exception:
                pass

    with pytest.raises(EvaluationError):
        TimeLimit(0.1).run(stubborn)


def test_it_comes_again_where_it_was_swallowed() -> None:
    caught = 0

    def deaf() -> None:
        nonlocal caught
        while True:
            try:
                while True:
                    sum(range(100))
            except Overdue:
                caught += 1
                if caught > 1:
                    raise

    with pytest.raises(EvaluationError):
        TimeLimit(0.1).run(deaf)
    assert caught == 2


def test_the_precision_of_numbers_is_as_before() -> None:
    before = getcontext().prec

    def changed() -> None:
        getcontext().prec = 50
        forever()

    with pytest.raises(EvaluationError):
        TimeLimit(0.1).run(changed)
    assert getcontext().prec == before


def test_an_inner_limit_does_not_end_the_outer_one() -> None:
    with pytest.raises(EvaluationError, match=r"0\.2 seconds"):
        TimeLimit(0.2).run(lambda: TimeLimit(60).run(forever))


def test_nothing_reaches_what_comes_next() -> None:
    """Evaluations that end about when their limit does, again and again: each has its value or its error, and nothing else is raised."""
    limit = TimeLimit(0.05)
    ended = 0
    for number in range(120):
        until = time.monotonic() + 0.03 + (number % 40) * 0.002
        try:
            assert limit.run(_busy, until) == "done"
        except EvaluationError as error:
            assert error.code == "limit-exceeded"
            ended += 1
        for _ in range(200):  # what comes next
            assert sum(range(20)) == 190
    assert 0 < ended < 120


def _busy(until: float) -> str:
    while time.monotonic() < until:
        sum(range(50))
    return "done"


def test_threads_have_their_own_limits() -> None:
    def one(number: int) -> str:
        try:
            return TimeLimit(0.2 if number % 2 else 30).run(_busy, time.monotonic() + 1.5)
        except EvaluationError as error:
            return error.code

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(4))) == ["done", "limit-exceeded", "done", "limit-exceeded"]


def test_nobody_watches_where_nothing_is_evaluated() -> None:
    TimeLimit(5).run(lambda: None)
    deadline = time.monotonic() + 30
    while any(thread.name == "time limits" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with pytest.raises(EvaluationError):
        TimeLimit(0.1).run(forever)  # and it is watched again


def test_a_process_that_was_forked_watches_for_itself(tmp_path: Path) -> None:
    text = """
import multiprocessing, os
from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.evaluation.time_limit import TimeLimit

def forever():
    while True:
        sum(range(100))

def work():
    try:
        TimeLimit(0.2).run(forever)
    except EvaluationError as error:
        print(error.code, flush=True)

work()
if "fork" in multiprocessing.get_all_start_methods():
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
else:
    work()
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", text], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["limit-exceeded", "limit-exceeded"], done.stderr


def test_the_message_says_what_took_too_long() -> None:
    with pytest.raises(EvaluationError, match=r"the define 'X' takes longer than 0\.1 seconds"):
        limited(0.1, "the define 'X'", forever)


# -- screening


def criterion(number: int, language: str, expression: str) -> dict[str, Any]:
    return {"linkId": f"c{number}", "definitionExpression": {"language": language, "expression": expression}}


@pytest.fixture
def criteria(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "criteria"
    folder.mkdir()
    library = {
        "resourceType": "Library",
        "url": "http://example.org/Library/Slow",
        "name": "Slow",
        "status": "active",
        "type": {"coding": [{"code": "logic-library"}]},
    }
    (folder / "slow.cql").write_text(
        "library Slow version '1'\nusing FHIR version '4.0.1'\ncontext Patient\n"
        f"define Costly: Patient.gender.value = 'female' or exists ({SLOW})\n"
        "define Cheap: exists [Observation]\n"
    )
    assert library
    definition = {
        "resourceType": "EvidenceVariable",
        "url": "http://example.org/slow",
        "status": "active",
        "characteristic": [
            {"linkId": "cheap", "definitionExpression": {"language": "text/fhirpath", "expression": "Observation.exists()"}},
            {
                "linkId": "costly",
                "definitionExpression": {"language": "text/cql-identifier", "expression": "Costly", "reference": "Library/Slow"},
            },
            {
                "linkId": "after",
                "definitionExpression": {"language": "text/cql-identifier", "expression": "Cheap", "reference": "Library/Slow"},
            },
            {
                "linkId": "match",
                "definitionExpression": {"language": "text/fhirpath", "expression": "Patient.name.family.matches('^(a|aa)+$')"},
            },
        ],
    }  # fmt: skip
    (folder / "slow.json").write_text(json.dumps(definition))
    yield folder


def patients(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    names = {"p1": ("male", "aa"), "p2": ("female", "a" * 60 + "!"), "p3": ("male", "aaa"), "p4": ("female", "b")}
    rows = [
        {"resourceType": "Patient", "id": key, "gender": gender, "name": [{"family": family}]}
        for key, (gender, family) in names.items()
    ]
    observations = [
        {"resourceType": "Observation", "id": f"o-{key}", "status": "final", "code": {"text": "x"}, "subject": {"reference": f"Patient/{key}"}}
        for key in names
    ]  # fmt: skip
    (data / "Patient.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (data / "Observation.ndjson").write_text("".join(json.dumps(row) + "\n" for row in observations))
    return data


EXPECTED = {
    "Patient/p1": ["met", "unknown", "met", "met"],
    "Patient/p2": ["met", "met", "met", "unknown"],
    "Patient/p3": ["met", "unknown", "met", "met"],
    "Patient/p4": ["met", "met", "met", "not met"],
}


def outcomes(verdict: Any) -> list[str]:
    return [criterion["outcome"] for criterion in verdict["criteria"]]


@pytest.mark.parametrize("more", [[], ["--jobs", "2", "--memory", "1MB"]], ids=["memory", "workers"])
def test_the_run_goes_on(criteria: Path, tmp_path: Path, more: list[str]) -> None:
    out = tmp_path / "out"
    command = [
        "screen",
        str(criteria),
        "--data",
        str(patients(tmp_path)),
        "--out",
        str(out),
        "--quiet",
        "--criterion-seconds",
        "0.5",
    ]
    assert main([*command, *more]) == 3
    errors = json.loads((out / "run.json").read_text())["artifacts"][0]["errors"]
    assert [(one["criterion"], one["patients"]) for one in errors] == [("costly", 2), ("match", 1)]
    verdicts = [json.loads(line) for line in (out / "verdicts.ndjson").read_text().splitlines()]
    assert {verdict["patient"]: outcomes(verdict) for verdict in verdicts} == EXPECTED
    costly = verdicts[0]["criteria"][1]
    assert costly["reason"] == "error"
    for part in ("Patient/p1", "costly", "longer than 0.5 seconds", "limit-exceeded"):
        assert part in costly["detail"]
    match = verdicts[1]["criteria"][3]
    assert match["reason"] == "error" and "limit-exceeded" in match["detail"] and "Patient/p2" in match["detail"]
    assert json.loads((out / "run.json").read_text())["options"]["criterion_seconds"] == 0.5


def test_in_a_thread_of_an_application(criteria: Path, tmp_path: Path) -> None:
    loaded, data = load_criteria(criteria), patients(tmp_path)

    def work(_: int) -> dict[str, list[str]]:
        found = screen(loaded, data, now=NOW, criterion_seconds=0.5)
        return {verdict.patient: [str(one.outcome) for one in verdict.criteria] for verdict in found}

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, range(2))) == [EXPECTED, EXPECTED]


@pytest.mark.parametrize("command", ["cql", "fhirpath", "library", "measure"])
def test_the_other_commands_say_it(
    command: str, criteria: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ten = "(1|2|3|4|5|6|7|8|9|10)"
    slow = ten + f".select({ten})" * 3 + f".where({ten}.select({ten}.select({ten}.select({ten}))).count() < 0).exists()"
    arguments = {
        "cql": ["cql", f"exists ({SLOW})"],
        "fhirpath": ["fhirpath", slow],
        "library": [
            "cql",
            "--library",
            str(criteria / "slow.cql"),
            "--data",
            str(tmp_path / "data" / "Patient.ndjson"),
            "--patient",
            "p1",
        ],
        "measure": ["measure", str(criteria / "slow.cql"), "--data", str(tmp_path / "data"), "--out", "-"],
    }[command]
    patients(tmp_path)
    begun = time.monotonic()
    status = main([*arguments, "--criterion-seconds", "0.5"])
    shown = capsys.readouterr()
    assert time.monotonic() - begun < 60
    assert status == {"measure": 0, "library": 3}.get(command, 2)
    said = shown.out if command == "measure" else shown.err
    assert "longer than 0.5 seconds" in said and "Traceback" not in said
