"""ELM out and in: every official expression, written as ELM and read again, has the value that its text has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, EvaluationError, Source
from fhir_eligibility.compiler.criteria.library import Compiled, Compiler, LoadedLibrary
from fhir_eligibility.compiler.elm_json.writer import elm_text, to_elm
from fhir_eligibility.compiler.runtime.cql import Run
from tests.spec.cql_suite import NOW, SUITES, CqlCase, read_cases, same


def cases() -> list[CqlCase]:
    suite = SUITES[0]
    if reason := suite.missing():
        pytest.skip(reason)
    return read_cases(suite.path())


def outcome(compiled: Compiled) -> Any:
    """The value of the define `expression`, or the code of the error."""
    try:
        return LoadedLibrary(compiled).evaluate("expression", Run(NOW))
    except EvaluationError as error:
        return f"error {error.code}"


def test_every_official_expression_keeps_its_value() -> None:
    compiler = Compiler()
    compared, different = 0, []
    for case in cases():
        source = Source(case.name, f"define expression: {case.expression}")
        try:
            compiled = compiler.compile(source)
        except DiagnosticError:
            continue
        elm = elm_text(compiler.typed(source))
        again = compiler.compile(Source(f"{case.name}.json", elm))
        compared += 1
        before, after = outcome(compiled), outcome(again)
        if not (repr(before) == repr(after) or same(after, before)):
            different.append((case.name, case.expression, before, after))
    assert different == []
    assert compared == 1798


def test_a_malformed_node_is_named_with_its_definition_and_place() -> None:
    elm = {
        "library": {
            "identifier": {"id": "Broken", "version": "1"},
            "usings": {"def": [{"localIdentifier": "System", "uri": "urn:hl7-org:elm-types:r1"}]},
            "statements": {
                "def": [
                    {
                        "name": "A",
                        "context": "Patient",
                        "expression": {"type": "Frobnicate", "localId": "7", "locator": "3:1-3:9"},
                    },
                    {"name": "B", "expression": {"type": "Add", "operand": [boolean("true"), number(1)]}},
                    {"name": "C", "expression": {"type": "ExpressionRef", "name": "Nothing", "localId": "12"}},
                ]
            },
        }
    }
    with pytest.raises(DiagnosticError) as caught:
        Compiler().compile(Source("broken.json", json.dumps(elm)))
    (found,) = caught.value.diagnostics
    assert (found.code, found.message) == ("elm", "there is no ELM node 'Frobnicate' that is understood")
    assert "A: Frobnicate  (local id 7, CQL 3:1-3:9)" in found.render()
    del elm["library"]["statements"]["def"][0]  # type: ignore[index]
    with pytest.raises(DiagnosticError) as caught:
        Compiler().compile(Source("broken.json", json.dumps(elm)))
    assert [d.code for d in caught.value.diagnostics] == ["no-overload", "unknown-name"]
    assert "C: ExpressionRef  (local id 12)" in caught.value.diagnostics[1].render()


def boolean(value: str) -> dict[str, Any]:
    return {"type": "Literal", "valueType": "{urn:hl7-org:elm-types:r1}Boolean", "value": value}


def number(value: int) -> dict[str, Any]:
    return {"type": "Literal", "valueType": "{urn:hl7-org:elm-types:r1}Integer", "value": str(value)}


def test_elm_of_a_library_names_what_it_defines() -> None:
    path = Path(__file__).parents[2] / "criteria" / "flute" / "cql" / "FluteCriteria.cql"
    elm = to_elm(Compiler().typed(Source(str(path), path.read_text("utf-8"))))["library"]
    assert elm["identifier"] == {"id": "FluteCriteria", "version": "1.0.0"}
    assert [x["localIdentifier"] for x in elm["usings"]["def"]] == ["System", "FHIR"]
    assert [x["name"] for x in elm["codes"]["def"]][-2:] == ["PSA", "Magnetic resonance"]
    define = next(x for x in elm["statements"]["def"] if x["name"] == "Biopsies")
    assert define["locator"] == "41:1-43:37"
    assert define["expression"]["type"] == "Query"
    retrieve = define["expression"]["source"][0]["expression"]
    assert (retrieve["dataType"], retrieve["codeProperty"]) == ("{http://hl7.org/fhir}Procedure", "code")
