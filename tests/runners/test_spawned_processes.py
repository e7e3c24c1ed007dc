"""Compiled criteria travel to processes that share nothing with their parent (Windows, macOS): they pickle, and give the same verdicts there."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.algebra.operators import OPERATORS
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria.rules import compile_code
from tests.benchmarks.cohorts import Options, write
from tests.outputs import by_patient
from tests.spec.model import ROOT

FLUTE = ROOT / "criteria" / "flute"
NOW = "2026-06-01"


def verdicts(criteria: fhir_eligibility.Criteria) -> list[str]:
    return [verdict.model_dump_json() for verdict in fhir_eligibility.screen(criteria, FLUTE / "cohort", now=NOW)]


def verdicts_of(pickled: bytes) -> list[str]:
    return verdicts(pickle.loads(pickled))


def in_spawned_process(pickled: bytes) -> list[str]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(verdicts_of, (pickled,))


def criteria_of(tmp_path: Path, *expressions: tuple[str, str]) -> fhir_eligibility.Criteria:
    characteristics = [{"definitionExpression": {"language": name, "expression": text}} for name, text in expressions]
    resource = {"resourceType": "EvidenceVariable", "id": "ev", "status": "active", "characteristic": characteristics}
    (tmp_path / "ev.json").write_text(json.dumps(resource))
    return fhir_eligibility.load_criteria(tmp_path)


def test_every_overload_of_every_operator_pickles_by_its_signature() -> None:
    overloads = [overload for operator in OPERATORS.values() for overload in operator.overloads]
    assert len(overloads) > 400
    for overload in overloads:
        assert pickle.loads(pickle.dumps(overload)) is overload


EXPRESSIONS = [
    *[f"Observation.value.ofType(Quantity) {symbol} 3 'ng/mL'" for symbol in ("<", "<=", ">", ">=", "=", "!=", "~")],
    *[f"Patient.birthDate {symbol} today()" for symbol in ("<", "<=", ">", ">=", "=", "!=")],
    "Patient.birthDate + 18 years <= now()",
    "Observation.where(effective.ofType(dateTime) > now() - 1 year).exists()",
    "Patient.name.given.first().lower() in ('anna' | 'berta')",
    "Observation.value.ofType(Quantity).value.sum() / 2 > 3.5",
    "Patient.name.exists(family.matches('^M')) implies Patient.active",
    "iif(Patient.gender = 'male', Condition.exists(), Procedure.count() > 1)",
    "Encounter.period.all(start < end)",
]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_compiled_expressions_pickle(text: str) -> None:
    code, _ = compile_code(text, load_model("r4"), name="test")
    again = pickle.loads(pickle.dumps(code))
    assert (again.text, again.program.code) == (code.text, code.program.code)
    assert again.python == code.python
    assert again.program.load().keys() == code.program.load().keys()


@pytest.mark.parametrize("folder", ["mr", "cql"])
def test_criteria_give_the_same_verdicts_after_a_round_trip(folder: str) -> None:
    criteria = fhir_eligibility.load_criteria(FLUTE / folder)
    wanted = verdicts(criteria)
    assert len(wanted) >= 12
    assert verdicts_of(pickle.dumps(criteria)) == wanted


def test_a_spawned_process_gives_the_same_verdicts(tmp_path: Path) -> None:
    cql = "exists ([Observation] O where O.value as Quantity >= 3 'ng/mL')"
    criteria = criteria_of(tmp_path, ("text/fhirpath", EXPRESSIONS[3]), ("text/cql", cql))
    wanted = verdicts(criteria)
    assert {'"met"' in line for line in wanted} and len(wanted) == 12
    assert in_spawned_process(pickle.dumps(criteria)) == wanted


SCRIPT = """
import multiprocessing, sys
from fhir_eligibility.ui.commands.cli import main
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("folder", ["mr"])
def test_the_command_with_two_spawned_workers_writes_the_same_files(folder: str, tmp_path: Path) -> None:
    write(tmp_path / "data", Options(patients=60, seed=7, form="ndjson"))
    (tmp_path / "run.py").write_text(SCRIPT)
    found: dict[str, dict[str, bytes]] = {}
    for method, jobs in (("spawn", "2"), ("fork", "2"), ("spawn", "1")):
        if method not in multiprocessing.get_all_start_methods():
            continue
        out = tmp_path / f"{method}-{jobs}"
        words: list[Any] = [sys.executable, tmp_path / "run.py", method, "screen", FLUTE / folder]
        words += ["--data", tmp_path / "data", "--out", out, "--now", NOW, "--jobs", jobs, "--memory", "1MB", "--quiet"]
        done = subprocess.run(list(map(str, words)), cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert (done.returncode, done.stderr) == (0, "")
        found[f"{method}-{jobs}"] = by_patient(out)
    first, *others = found.values()
    assert first["verdicts.ndjson"].count(b"\n") == 60
    assert all(other == first for other in others)
