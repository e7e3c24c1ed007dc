"""Hints that fit what the author wrote, and numbers of things in the singular where there is one."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, EvaluationError
from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.algebra.temporal import Date
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.quantity import Quantity
from fhir_eligibility.compiler.criteria.fhirpath import compile_fhirpath
from fhir_eligibility.ui.commands.cli import main

MISSING = "a linkId is that of a characteristic of the same artifact: correct it, or give the characteristic that is meant this linkId"
FILES = "give the file or folder that holds what it refers to"


def checked(tmp_path: Path, capsys: pytest.CaptureFixture[str], *characteristics: dict[str, Any]) -> str:
    artifact = {"resourceType": "EvidenceVariable", "id": "e", "status": "active"}
    path = tmp_path / "e.json"
    path.write_text(json.dumps({**artifact, "characteristic": characteristics}), "utf-8")
    main(["check", str(path), "--fhir", "r4"])
    return capsys.readouterr().out


def test_a_link_id_that_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = checked(tmp_path, capsys, {"linkId": "a", "definitionId": "other"})
    assert "no characteristic has the linkId 'other'" in said
    assert f"= hint: {MISSING}" in said and FILES not in said


def test_an_artifact_that_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = checked(tmp_path, capsys, {"definitionCanonical": "http://example.org/Group/g"})
    assert "give the file or folder that holds" in said and MISSING not in said


def test_one_of_each_is_singular(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = {"definitionExpression": {"language": "text/fhirpath", "expression": "Patient.active = true"}}
    assert checked(tmp_path, capsys, one).splitlines()[-1] == (
        "1 artifact, 1 characteristic, 1 computable; 0 errors, 0 warnings"
    )
    assert checked(tmp_path, capsys, one, one).splitlines()[-1] == (
        "1 artifact, 2 characteristics, 2 computable; 0 errors, 0 warnings"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Patient.name.where()", "where() takes 1 argument, not 0"),
        ("Patient.name.skip(1, 2)", "skip() takes 1 argument, not 2"),
        ("Patient.id.startsWith()", "startsWith() takes 1 argument, not 0"),
        ("Patient.id.substring()", "substring() takes 1 to 2 arguments, not 0"),
        ("Patient.name.empty(1)", "empty() takes 0 arguments, not 1"),
    ],
)
def test_arguments_are_counted_in_english(text: str, message: str) -> None:
    with pytest.raises(DiagnosticError) as error:
        compile_fhirpath(text, root="Patient")
    assert error.value.diagnostics[0].message == message


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        ("entry.resource.where(resourceType='Patient')", "resources of a type are `entry.resource.ofType(Patient)`"),
        (
            "Bundle.entry.resource.where(resourceType = 'Patient').birthDate",
            "resources of a type are `entry.resource.ofType(Patient).birthDate`",
        ),
        ("Patient.gender", "its resources stand under `entry.resource.ofType(Patient).gender`; or give one resource"),
        ("entry.resource.foo", None),
    ],
)
def test_expressions_on_a_bundle(
    expression: str, hint: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "b.json"
    path.write_text('{"resourceType": "Bundle", "type": "collection", "entry": []}', "utf-8")
    assert main(["fhirpath", expression, str(path)]) == 2
    said = capsys.readouterr().err
    if hint is None:
        assert "is a Bundle" not in said
    else:
        assert f"  = hint: {path} is a Bundle: {hint}" in said.splitlines()


CENTURIES = Interval(Date.parse("1000-01-01"), Date.parse("2000-01-01"), point="Date")
NUMBERS = Interval(1, 100_000, point="Integer")


@pytest.mark.parametrize(
    ("interval", "per", "advice"),
    [
        (NUMBERS, None, "name a step: expand ... per 100"),
        (NUMBERS, Quantity(Decimal(1), "1"), "name a larger step than `per 1`"),
        (CENTURIES, None, "name a unit: expand ... per month"),
        (CENTURIES, Quantity(Decimal(1), "day", True), "name a larger unit than `per 1 day`"),
    ],
)
def test_what_expand_asks_for(interval: Interval, per: Quantity | None, advice: str) -> None:
    kinds = ("Interval<T>",) if per is None else ("Interval<T>", "Quantity")
    function = OPERATORS["Expand"].overload(*kinds, language="cql").function
    with pytest.raises(EvaluationError) as error:
        function(interval, *(() if per is None else (per,)))
    assert error.value.message == f"expand gives more than 50000 results; {advice}"


def test_arguments_of_cql(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cql", "ConvertsToInteger(1, 2)"]) != 0
    captured = capsys.readouterr()
    assert "takes 1 argument, not 2" in captured.err + captured.out
