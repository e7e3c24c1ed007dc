"""FHIRPath cases that users of other engines reported, as collected in `reported-cases.json`: ours give the stated values.

Where the file leaves the choice to the reader:

- FP-IS-EMPTY: `is` on an empty input is empty, as FHIRPath 2.0.0 (N1) says and the official test testPolymorphismIsA3 wants.
- FP-DEEP-RECURSION C: the count, or an error about depth that is bound to this patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, EvaluationError
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values.quantity import Quantity
from fhir_eligibility.compiler.criteria.fhirpath import compile_fhirpath
from tests.inputs import input_path

FILE = input_path("bugs", "reported-cases.json")
DEEP = 1200
OVERRIDES: dict[tuple[str, str], Any] = {("FP-IS-EMPTY", "A"): [], ("FP-IS-EMPTY", "B"): []}
ONE_OR_ERROR = ("FP-DEEP-RECURSION", "C")
PARSERS = {"Date": Date.parse, "DateTime": DateTime.parse, "Time": Time.parse, "String": str}


@dataclass(frozen=True, slots=True)
class Reported:
    """One expression of a reported case."""

    case: str
    label: str
    model: str
    resource: dict[str, Any]
    expression: str
    variables: dict[str, dict[str, str]]
    expected: Any


def deep_questionnaire() -> dict[str, Any]:
    """What the `$generator` of FP-DEEP-RECURSION describes in words."""
    item: dict[str, Any] = {"linkId": "n0", "text": "leaf"}
    for number in range(1, DEEP + 1):
        item = {"linkId": f"n{number}", "item": [item]}
    return {"resourceType": "Questionnaire", "status": "active", "item": [item]}


def read_reported() -> list[Reported]:
    cases = msgspec.json.Decoder(float_hook=Decimal).decode(FILE.read_bytes())
    found = []
    for case in cases:
        if case["language"] != "fhirpath":
            continue
        given = case["input"]
        resource = given["resource"]
        for label, expression in given["expressions"].items():
            found.append(
                Reported(
                    case["id"],
                    label,
                    given["fhir_version"],
                    deep_questionnaire() if "$generator" in resource else resource,
                    expression,
                    given.get("variables", {}),
                    OVERRIDES.get((case["id"], label), case["expected"][label]),
                )
            )
    return found


REPORTED = read_reported()


def evaluate(reported: Reported, types: dict[str, str] | None = None) -> list[Any]:
    """The values of the result as the file writes them: JSON values, dates as their text."""
    declared = {name: (types or {}).get(name, variable["type"]) for name, variable in reported.variables.items()}
    compiled = compile_fhirpath(
        reported.expression,
        model=reported.model,
        root=reported.resource["resourceType"],
        variables={name: f"System.{type_name}" for name, type_name in declared.items()},
    )
    values = {name: PARSERS[declared[name]](variable["value"]) for name, variable in reported.variables.items()}
    items = compiled.evaluate(reported.resource, variables=values)
    return [
        str(item.value) if isinstance(item.value, (Date, DateTime, Time, Quantity)) else item.value for item in items
    ]


def exactly(values: list[Any]) -> list[tuple[str, Any]]:
    """Values with their kind, so that `true` is not `1`; whole numbers and decimals are one kind."""
    return [
        ("boolean" if isinstance(v, bool) else "number" if isinstance(v, (int, Decimal)) else type(v).__name__, v)
        for v in values
    ]


@pytest.mark.parametrize("reported", REPORTED, ids=lambda r: f"{r.case}-{r.label}")
def test_reported_case(reported: Reported) -> None:
    if (reported.case, reported.label) == ONE_OR_ERROR:
        try:
            assert evaluate(reported) == [1]
        except EvaluationError as error:
            assert "deep" in error.message
    elif reported.expected == {"error": True}:
        with pytest.raises((DiagnosticError, EvaluationError)):
            evaluate(reported)
    else:
        assert isinstance(reported.expected, list), "the file leaves a choice that this module does not make"
        assert exactly(evaluate(reported)) == exactly(reported.expected)


@pytest.mark.parametrize("label", ["A", "B"])
def test_a_date_bound_as_a_string_is_an_error(label: str) -> None:
    (reported,) = [r for r in REPORTED if (r.case, r.label) == ("FP-ENV-VARIABLE-DATE", label)]
    with pytest.raises((DiagnosticError, EvaluationError)):
        evaluate(reported, {"start": "String", "trial-start": "String"})


def test_the_cases_are_there() -> None:
    assert len({reported.case for reported in REPORTED}) == 16
