"""Data that changes while it is read is noticed on every way, and what rests on its absence is unknown; a run over other data is not resumed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.bulk import pieces
from fhir_eligibility.data.files.listing import list_data
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.reader import read_patients
from fhir_eligibility.data.records import sources
from fhir_eligibility.runners.large import bulk
from fhir_eligibility.runners.screening import run as running
from fhir_eligibility.runners.screening.run import RunOptions, run
from tests.data.every_way import criteria, outcomes
from tests.data.forms import zipped

EXPRESSION = "Condition.where(code.coding.exists(code = 'WD1')).exists()"
NOW = "2026-06-01"


def line(number: int, code: str = "WD2") -> str:
    about = f'"subject":{{"reference":"Patient/p{number}"}}'
    return f'{{"resourceType":"Condition","id":"c{number}",{about},"code":{{"coding":[{{"code":"{code}"}}]}}}}\n'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "Condition.ndjson").write_text("".join(map(line, range(20))))
    (folder / "Patient.ndjson").write_text("".join(f'{{"resourceType":"Patient","id":"p{n}"}}\n' for n in range(20)))
    return folder


def cut(file: Path) -> None:
    file.write_text(file.read_text()[:200])


def appended(file: Path) -> None:
    with file.open("a") as stream:
        stream.write(line(3, "WD1"))


def rewritten_alike(file: Path) -> None:
    """The same size and the same time of the change."""
    told = file.stat()
    file.write_text(file.read_text().replace("WD2", "WD1"))
    os.utime(file, ns=(told.st_atime_ns, told.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (told.st_size, told.st_mtime_ns)


def replaced(file: Path) -> None:
    told = file.stat()
    other = file.with_name("other.tmp")
    other.write_text(file.read_text().replace("WD2", "WD1"))
    os.utime(other, ns=(told.st_atime_ns, told.st_mtime_ns))
    other.replace(file)


def removed(file: Path) -> None:
    file.unlink()


CHANGES: dict[str, Callable[[Path], None]] = {
    "cut": cut,
    "appended": appended,
    "rewritten alike": rewritten_alike,
    "replaced": replaced,
    "removed": removed,
}


def every_way(
    rules: Any, data: Path, out: Path, change: Callable[[], None]
) -> Iterator[tuple[str, Any, list[Problem]]]:
    """Verdicts and problems by each way, when the data is changed as soon as a file of it was read."""
    for way in ("memory", "Python", "by plan", "one process"):
        yield way, *read_by(way, rules, data, out, change)


def read_by(way: str, rules: Any, data: Path, out: Path, change: Callable[[], None]) -> tuple[Any, list[Problem]]:
    problems: list[Problem] = []
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((pieces, "_read_file"), (sources, "resources_in")):
            patch.setattr(module, name, changing(getattr(module, name), change))
        if way == "memory":
            found = list(read_patients([data], model=load_model("r4"), on_problem=problems.append))
            return outcomes(fhir_eligibility.screen(rules, found, now=NOW)), problems
        if way == "Python":
            return outcomes(fhir_eligibility.screen(rules, data, now=NOW, on_problem=problems.append)), problems
        patch.setattr(running, "SMALL", running.SMALL if way == "by plan" else 0)
        folder = out / way.replace(" ", "-")
        run(rules, [], [data], folder, RunOptions(now=NOW, jobs=1))
    listed = (folder / "problems.ndjson").read_text("utf-8").splitlines()
    lines = (folder / "verdicts.ndjson").read_text("utf-8").splitlines()
    rows = outcomes(fhir_eligibility.Verdict.model_validate_json(text) for text in lines)
    return rows, [Problem.model_validate_json(text) for text in listed]


def changing(read: Callable[..., Any], change: Callable[[], None]) -> Callable[..., Any]:
    """Reads a file and, when it is the first one, changes the data then."""
    done: list[bool] = []

    def reading_then(*arguments: Any) -> Any:
        found = read(*arguments)
        found = list(found) if hasattr(found, "__next__") else found
        if not done:
            done.append(True)
            change()
        return found

    return reading_then


@pytest.mark.parametrize("kind", sorted(CHANGES))
def test_a_file_that_changes_while_it_is_read_is_an_error(data: Path, tmp_path: Path, kind: str) -> None:
    rules = criteria(tmp_path / "criteria", EXPRESSION)
    text = (data / "Condition.ndjson").read_text()
    for way, found, problems in every_way(rules, data, tmp_path, lambda: CHANGES[kind](data / "Condition.ndjson")):
        told = [(p.code, p.severity, Path(p.file or "").name) for p in problems]
        assert told == [("changed-while-read", "error", "Condition.ndjson")], way
        assert {row[1] for row in found.values()} == {"unknown"}, way
        (data / "Condition.ndjson").write_text(text)


def test_a_file_that_comes_while_others_are_read_is_an_error(data: Path, tmp_path: Path) -> None:
    rules = criteria(tmp_path / "criteria", EXPRESSION)
    late = data / "more" / "Condition.2.ndjson"
    for way, found, problems in every_way(
        rules, data, tmp_path, lambda: (late.parent.mkdir(), late.write_text(line(1, "WD1")), None)[2]
    ):
        told = [(p.code, p.severity, Path(p.file or "").name) for p in problems]
        assert told == [("changed-while-read", "error", "Condition.2.ndjson")], way
        assert {row[1] for row in found.values()} == {"unknown"}, way
        late.unlink()
        late.parent.rmdir()


def test_what_does_not_matter_may_come(data: Path, tmp_path: Path) -> None:
    rules = criteria(tmp_path / "criteria", EXPRESSION)
    for way, found, problems in every_way(rules, data, tmp_path, lambda: (data / ".note").write_text("x") and None):
        assert problems == [] and {row[1] for row in found.values()} == {"not met"}, way


def test_outputs_may_stand_among_the_data(data: Path) -> None:
    rules = criteria(data.parent / "criteria", EXPRESSION)
    for way, found, problems in every_way(rules, data, data / "results", lambda: None):
        assert {p.code for p in problems} <= {"own-outputs"} and len(found) == 20, way


def test_a_zip_that_changes_is_told_once(data: Path, tmp_path: Path) -> None:
    files = {name: (data / name).read_bytes() for name in ("Patient.ndjson", "Condition.ndjson")}
    (data / "all.zip").write_bytes(zipped(files))
    for name in files:
        (data / name).unlink()
    listing = list_data([data], lambda problem: None)
    assert list(listing.changes()) == []
    (data / "all.zip").write_bytes(zipped({**files, "x.ndjson": b""}))
    assert [(p.code, Path(p.file or "").name) for p in listing.changes()] == [("changed-while-read", "all.zip")]


@pytest.mark.parametrize("kind", sorted(CHANGES))
def test_a_run_is_not_resumed_over_other_data(data: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    rules = criteria(tmp_path / "criteria", EXPRESSION)
    monkeypatch.setattr(running, "SMALL", 0)

    def stopped(self: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bulk.BulkRun, "_resolve", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(rules, [], [data], tmp_path / "out", RunOptions(now=NOW, jobs=1))
    CHANGES[kind](data / "Condition.ndjson")
    with pytest.raises(ValueError, match="holds a run with other data"):
        run(rules, [], [data], tmp_path / "out", RunOptions(now=NOW, jobs=1, resume=True))
