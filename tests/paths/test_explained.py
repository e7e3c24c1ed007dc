"""Explained code gives the answers of plain code, and tells the value of every part of the text on the way."""

from __future__ import annotations

import datetime as dt
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, EvaluationError, Source
from fhir_eligibility.algebra.values.quantity import Quantity
from fhir_eligibility.compiler.criteria.explained import explain_define
from fhir_eligibility.compiler.criteria.fhirpath import compile_fhirpath
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from fhir_eligibility.compiler.runtime.printing import text_of
from fhir_eligibility.ui.commands.cli import main
from tests.spec import cql_suite, fhirpath_suite
from tests.spec.fhirpath_cases import read_input
from tests.spec.model import Suite

NOW = dt.datetime(2026, 1, 15, 12, 0, tzinfo=dt.UTC)
FLUTE = Path(__file__).parents[2] / "criteria" / "flute"
DEFINES = {
    "Elevated PSA": "true",
    "Suspicion of Prostate Cancer": "true",
    "Biopsies": "{ Procedure/example-01-biopsy }",
}
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "birthDate": "1951-02-03",
    "name": [{"use": "usual", "family": "A"}, {"use": "official", "family": "B"}],
}


def told(call: Any) -> str:
    """What a call gives, or what its error says."""
    try:
        return repr(call())
    except EvaluationError as error:
        return f"{error.code} {error.message}"


@pytest.mark.parametrize(("suite", "version"), [*zip(fhirpath_suite.SUITES, ("r4", "r5"), strict=True)])
def test_the_official_cases_of_fhirpath(suite: Suite, version: str) -> None:
    compared = 0
    for case in fhirpath_suite.read_cases(suite.path()):
        resource = None if case.input is None else read_input(suite.path().parent / "inputs" / version, case.input)
        root = None if resource is None else resource["resourceType"]
        try:
            compiled = compile_fhirpath(case.expression, model=version, root=root, lenient=case.lenient)
        except DiagnosticError:
            continue
        plain = told(partial(compiled.evaluate, resource, now=NOW))
        explained = told(lambda: compiled.explain(resource, now=NOW)[0])  # noqa: B023
        assert explained == plain, case.expression
        compared += 1
    assert compared > 700


def test_the_official_cases_of_cql() -> None:
    (suite,) = cql_suite.SUITES
    plain, explained = Compiler(), Compiler(explained=True)
    compared = 0
    for case in cql_suite.read_cases(suite.path()):
        source = Source(case.name, f"define expression: {case.expression}")
        try:
            libraries = [LoadedLibrary(compiler.compile(source)) for compiler in (plain, explained)]
        except DiagnosticError:
            continue
        first, second = (told(partial(library.evaluate, "expression", Run(NOW))) for library in libraries)
        assert first == second, case.expression
        compared += 1
    assert compared > 1500


def test_the_parts_of_an_expression() -> None:
    compiled = compile_fhirpath("name.where(use = 'official').exists() and birthDate < @1950", root="Patient")
    found = [(part.text, part.value) for part in compiled.explain(PATIENT, now=NOW)[1]]
    assert found == [
        ("use", "usual"),
        ("use = 'official'", False),
        ("use", "official"),
        ("use = 'official'", True),
        ("name.where(use = 'official').exists()", True),
        ("birthDate", found[5][1]),
        ("birthDate < @1950", False),
        ("name.where(use = 'official').exists() and birthDate < @1950", False),
    ]
    assert str(found[5][1]) == "1951-02-03"


def test_the_parts_of_a_define() -> None:
    text = """
library Explained
using FHIR version '4.0.1'
context Patient
define PSA: 2.9 'ng/mL'
define Young: Patient.birthDate.value > @1960-01-01
define Enough: PSA >= 3 'ng/mL' or Young
"""
    library = LoadedLibrary(Compiler(explained=True).compile(Source("Explained", text)))
    value, parts = explain_define(library, "Enough", Patient(Run(NOW), PATIENT, [PATIENT]))
    found = {part.text: part.value for part in parts}
    assert value is False
    assert found["PSA >= 3 'ng/mL'"] is False and found["PSA >= 3 'ng/mL' or Young"] is False
    assert isinstance(found["PSA"], Quantity) and text_of(found["PSA"]) == "2.9 'ng/mL'"
    assert found["Patient.birthDate.value > @1960-01-01"] is False


def test_the_command_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fhirpath", "5 > 3 + 1 and {} = 1", "--explain"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "  3 + 1: 4",
        "  5 > 3 + 1: true",
        "  5 > 3 + 1 and {} = 1: null",
    ]


def test_the_command_for_cql_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cql", "5 > 3 + 1 and 2 > null", "--explain"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "null  (Boolean)",
        "  3 + 1: 4",
        "  5 > 3 + 1: true",
        "  2 > null: null",
        "  5 > 3 + 1 and 2 > null: null",
    ]
    assert main(["cql", "1", "--explain", "--json"]) == 2
    assert "--explain shows text: give it without --json" in capsys.readouterr().err


def test_the_command_shows_the_parts_of_every_define_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    data = str(FLUTE / "cohort" / "example-01.json")
    assert main(["cql", "--library", str(FLUTE / "cql" / "FluteCriteria.cql"), "--data", data, "--explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    defines = [index for index, line in enumerate(lines) if not line.startswith("  ")]
    elevated, suspicion, biopsies = (lines.index(f"{name}: {value}") for name, value in DEFINES.items())
    assert lines[suspicion - 1].endswith("else null: true") and elevated in defines
    # the parts of a define stand below it, and below each one that refers to it
    assert lines[elevated + 1 : suspicion] == [
        line for line in lines[suspicion + 1 : biopsies - 2] if line in lines[elevated + 1 : suspicion]
    ]
    assert lines[biopsies - 2 : biopsies] == [
        '  "Elevated PSA": true',
        '  "Abnormal Digital Rectal Examination" or "Elevated PSA": true',
    ]


def test_names_that_are_only_compared_are_not_reported() -> None:
    text = "(Patient.name.aggregate($total | $this, {}).empty().combine(true)).first().not()"
    values = [
        (part.text, part.value) for part in compile_fhirpath(text).explain({"resourceType": "Patient"}, now=NOW)[1]
    ]
    assert values[0] == ("Patient.name.aggregate($total | $this, {})", [])
    assert values[-1] == (text, False)
