"""Elements of values whose type is known only at run time: those of the System types, and nothing of Python."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.algebra.temporal import DateTime
from fhir_eligibility.algebra.values.clinical import Code, Tuple
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.quantity import Quantity
from fhir_eligibility.compiler.criteria.library import compile_expression
from fhir_eligibility.compiler.elm.elements import ELEMENTS, descendents, element_of
from fhir_eligibility.compiler.elm.types import ELEMENTS as STATIC
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.ui.commands.cli import main

PRELUDE = "codesystem \"CS\": 'http://example.org/cs' version '3'\nvalueset \"VS\": 'http://example.org/vs' version '2'"
VALUES = {
    "Boolean": "true",
    "Integer": "5",
    "Long": "5L",
    "Decimal": "5.5",
    "String": "'text'",
    "Date": "@2024-02-29",
    "DateTime": "@2024-02-29T12:00:00.000+01:00",
    "Time": "@T12:00",
    "Quantity": "5 'mg'",
    "Ratio": "1 'mg' : 2 'mL'",
    "Code": "Code { code: 'a', system: 'http://example.org/cs' }",
    "Concept": "Concept { codes: { Code { code: 'a' } }, display: 'd' }",
    "Interval": "Interval[1, 5)",
    "Tuple": "Tuple { a: 1 }",
    "List": "{ 1, 2 }",
    "Null": "null",
    "Uncertainty": "(months between @2024 and @2025)",
    "ValueSet": '"VS"',
    "CodeSystem": '"CS"',
}
PYTHON = (
    "__class__", "__init__", "__globals__", "__dict__", "__slots__", "__doc__", "__module__", "__reduce__", "__subclasshook__",
    "_parts", "_text", "_key", "_span", "_utc", "moment", "offset_minutes", "low_closed", "point", "calendar", "ucum", "to_unit",
    "real", "imag", "numerator_", "as_tuple", "format", "upper", "append", "keys", "items", "get", "values", "pop", "year", "parse",
)  # fmt: skip


def value_of(expression: str) -> Any:
    return compile_expression(expression, prelude=PRELUDE).evaluate("expression", Run())


@pytest.mark.parametrize("kind", VALUES)
def test_no_value_shows_a_python_attribute(kind: str) -> None:
    fields = ", ".join(f'e{i}: ({VALUES[kind]} as Any)."{name}"' for i, name in enumerate(PYTHON))
    found = value_of(f"Tuple {{ {fields} }}")
    assert {name: value for name, value in zip(PYTHON, found.values(), strict=True) if value is not None} == {}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("(5 'mg' as Any).value", Decimal(5)),
        ("(5 'mg' as Any).unit", "mg"),
        ("(1 'mg' : 2 'mL' as Any).numerator", Quantity(Decimal(1), "mg")),
        ("(1 'mg' : 2 'mL' as Any).denominator", Quantity(Decimal(2), "mL")),
        ("(Code { code: 'a', system: 's', version: 'v', display: 'd' } as Any).code", "a"),
        ("(Code { code: 'a', system: 's', version: 'v', display: 'd' } as Any).system", "s"),
        ("(Code { code: 'a', system: 's', version: 'v', display: 'd' } as Any).version", "v"),
        ("(Code { code: 'a', system: 's', version: 'v', display: 'd' } as Any).display", "d"),
        ("(Concept { codes: { Code { code: 'a' } }, display: 'd' } as Any).display", "d"),
        ("(Concept { codes: { Code { code: 'a' } }, display: 'd' } as Any).codes", [Code("a")]),
        ("(Interval[1, 5) as Any).low", 1),
        ("(Interval[1, 5) as Any).high", 5),
        ("(Interval[1, 5) as Any).lowClosed", True),
        ("(Interval[1, 5) as Any).highClosed", False),
        ("(Tuple { a: 1 } as Any).a", 1),
        ("(Tuple { a: 1 } as Any).b", None),
        ('(("VS") as Any).id', "http://example.org/vs"),
        ('(("VS") as Any).version', "2"),
        ('(("CS") as Any).name', "CS"),
        ('(@2024-02-29 as Any)."year"', None),  # components are no elements (CQL: "Date and Time Operators")
    ],
)
def test_an_element_of_a_value_of_any_type(expression: str, expected: Any) -> None:
    assert value_of(expression) == expected


def test_the_elements_are_those_of_the_static_types() -> None:
    found = {f"System.{kind.__name__}": set(names) for kind, names in ELEMENTS.items()}
    assert found.pop("System.Interval") == {"low", "high", "lowClosed", "highClosed"}
    assert found == {name: set(elements) for name, elements in STATIC.items() if name != "System.Vocabulary"}


def test_a_name_of_the_data_is_read_from_the_data_alone() -> None:
    assert element_of({"keys": "a", "get": "b"}, "keys") == "a"
    assert element_of({}, "keys") is None
    assert element_of({}, "__class__") is None


def test_descendents_are_elements() -> None:
    amount, span = Quantity(Decimal(5), "mg"), Interval(1, 2)
    whole = Tuple({"a": amount, "b": [span, None], "c": DateTime(2024)})
    assert descendents(whole, True) == [amount, Decimal(5), "mg", span, 1, 2, DateTime(2024)]
    assert descendents(whole, False) == [amount, span, DateTime(2024)]
    assert descendents(None, True) == []


ATTACK = """library Leak version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
context Patient
define E: (Now() as Any)."__class__"."__init__"."__globals__"."__builtins__"."exit"."__class__"."__init__"."__globals__"."sys"."argv"
define F: Message(true, E is not null, 'c', 'Error', Combine(E as List<String>, ' '))
"""


def test_a_criterion_does_not_see_the_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    criteria = tmp_path / "criteria"
    criteria.mkdir()
    (criteria / "leak.cql").write_text(ATTACK)
    definition = {
        "resourceType": "EvidenceVariable",
        "url": "http://example.org/leak",
        "status": "active",
        "characteristic": [
            {
                "definitionExpression": {
                    "language": "text/cql-identifier",
                    "expression": "F",
                    "reference": "Library/Leak",
                }
            }
        ],
    }
    (criteria / "leak.json").write_text(json.dumps(definition))
    (tmp_path / "patient.json").write_text(json.dumps({"resourceType": "Patient", "id": "p", "birthDate": "1950"}))
    out = tmp_path / "out"
    assert main(["screen", str(criteria), "--data", str(tmp_path / "patient.json"), "--out", str(out)]) in (0, 1)
    verdict = json.loads((out / "verdicts.ndjson").read_text())
    assert verdict["criteria"][0]["outcome"] == "met"  # the message passes its source on, since nothing was to be seen
    assert "patient.json" not in json.dumps(verdict["criteria"][0].get("detail"))
