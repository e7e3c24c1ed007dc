"""What is twice as large takes no more than about twice as many steps to compile. Steps are calls of functions: the same on every machine."""

from __future__ import annotations

import json
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.algebra import limits
from fhir_eligibility.algebra.diagnostic import DiagnosticError, Source
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria import fhirpath_code
from fhir_eligibility.compiler.criteria.fhirpath_code import compile_code
from fhir_eligibility.compiler.criteria.library import Compiler
from fhir_eligibility.compiler.elm_json.outline import to_json
from fhir_eligibility.runners.screening.criteria import load_criteria

R4 = load_model("r4")
HEAD = "library X version '1'\nusing FHIR version '4.0.1'\ncodesystem \"L\": 'http://loinc.org'\ncontext Patient\n"


def steps(act: Callable[[], Any]) -> int:
    """How many functions are called, those that are written in C among them."""
    count = 0

    def called(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(called)
    try:
        act()
    finally:
        sys.setprofile(None)
    return count


def cql(text: str) -> Callable[[], Any]:
    return lambda: Compiler().compile(Source("x", HEAD + text)).code


def many(count: int, template: str, separator: str) -> str:
    return separator.join(template.replace("#", str(number)) for number in range(count))


CQL: dict[str, tuple[int, Callable[[int], str]]] = {
    "a list": (400, lambda n: f"define A: {{{many(n, '#', ', ')}}}"),
    "a list of lists": (200, lambda n: f"define A: {{{many(n, '{#}', ', ')}}}"),
    "a list of several types": (200, lambda n: "define A: {" + many(n, "#, 's#'", ", ") + "}"),
    "and": (200, lambda n: f"define A: {many(n, '# = 1', ' and ')}"),
    "or": (200, lambda n: f"define A: {many(n, '# = 1', ' or ')}"),
    "a sum": (200, lambda n: f"define A: {many(n, '#', ' + ')}"),
    "a union": (100, lambda n: f"define A: {many(n, '[Observation]', ' union ')}"),
    "definitions": (100, lambda n: many(n, "define A#: exists ([Observation] O where O.status = 's#')", "\n")),
    "definitions of definitions": (100, lambda n: "define A0: 1\n" + many(n - 1, "define B#: A0 + #", "\n")),
    "functions": (100, lambda n: many(n, "define function F#(a Integer): a + #", "\n")),
    "functions of one name": (100, lambda n: many(n, "define function F(a Tuple{x# Integer}): #", "\n")),
    "codes": (100, lambda n: many(n, 'code "c#": \'#\' from "L"', "\n")),
    "cases": (100, lambda n: "define A: case " + many(n, "when # = 2 then #", " ") + " else 0 end"),
    "a tuple": (200, lambda n: "define A: Tuple {" + many(n, "a#: #", ", ") + "}"),
    "lets": (100, lambda n: "define A: ({1}) X let " + many(n, "l#: X + #", ", ") + " return l1"),
    "nested parentheses": (20, lambda n: "define A: " + "(" * n + "1" + ")" * n),
}
FHIRPATH: dict[str, tuple[int, Callable[[int], str]]] = {
    "and": (200, lambda n: many(n, "Patient.active", " and ")),
    "or of records": (
        50,
        lambda n: many(n, "Observation.where(code.coding.exists(system = 'x' and code = '#')).exists()", " or "),
    ),
    "or of codes": (50, lambda n: "Observation.exists(code.coding.exists(" + many(n, "code = 'c#'", " or ") + "))"),
    "a union": (200, lambda n: "Patient.gender in (" + many(n, "'#'", " | ") + ")"),
    "coalesce": (60, lambda n: "coalesce(" + many(n, "Patient.name.where(use = 'u#').family", ", ") + ")"),
    "wheres": (25, lambda n: "Patient.name" + many(n, ".where(use = 'u#')", "") + ".exists()"),
    "nested wheres": (10, lambda n: many(n, "Observation.where(", "") + "status = 'x'" + ").exists()" * n),
    "nested iif": (20, lambda n: many(n, "iif(Patient.active, #, ", "") + "1" + ")" * n + " = 1"),
    "answers of rows": (25, lambda n: many(n, "Observation.select(status = 's#').first()", " and ")),
}  # fmt: skip


@pytest.mark.parametrize("kind", CQL)
def test_libraries(kind: str) -> None:
    count, text = CQL[kind]
    cql(text(3))()  # what is loaded once
    small, large = steps(cql(text(count))), steps(cql(text(2 * count)))
    assert large < 2.3 * small, (small, large, large / small)


@pytest.mark.parametrize("kind", FHIRPATH)
def test_expressions(kind: str) -> None:
    count, text = FHIRPATH[kind]
    act = lambda n: lambda: compile_code(text(n), R4, name="x")  # noqa: E731
    act(3)()
    small, large = steps(act(count)), steps(act(2 * count))
    assert large < 2.3 * small, (small, large, large / small)


def test_characteristics(tmp_path: Path) -> None:
    def act(count: int) -> Callable[[], Any]:
        path = tmp_path / f"{count}.json"
        expressions = [f"Observation.exists(value.ofType(Quantity) > {number} 'mg')" for number in range(count)]
        members = [{"definitionExpression": {"language": "text/fhirpath", "expression": one}} for one in expressions]
        path.write_text(json.dumps({"resourceType": "EvidenceVariable", "status": "active", "characteristic": members}))
        return lambda: load_criteria(path)

    act(3)()
    small, large = steps(act(50)), steps(act(100))
    assert large < 2.3 * small, (small, large, large / small)


def test_what_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_TOKENS", 100)
    for act in (
        cql("define A: {" + many(100, "#", ", ") + "}"),
        lambda: compile_code("1 in (" + many(100, "#", " | ") + ")", R4, name="x"),
        lambda: Compiler().compile(
            Source(
                "x",
                json.dumps(
                    {
                        "library": {
                            "identifier": {"id": "X"},
                            "statements": {
                                "def": [
                                    {"name": "A", "expression": {"type": "List", "element": [{"type": "Null"}] * 200}}
                                ]
                            },
                        }
                    }
                ),
            )
        ),
    ):
        with pytest.raises(DiagnosticError) as error:
            act()
        (found,) = error.value.diagnostics
        assert found.code == "limit-exceeded" and "more than 100" in found.message


def coded(tmp_path: Path, codes: list[str], name: str = "coded.json") -> Path:
    path = tmp_path / name
    concepts = [{"coding": [{"system": "http://snomed.info/sct", "code": code}]} for code in codes]
    members = [{"definitionCodeableConcept": concept} for concept in concepts]
    path.write_text(json.dumps({"resourceType": "EvidenceVariable", "status": "active", "characteristic": members}))
    return path


def test_coded_characteristics_that_differ_in_their_codes_share_what_is_compiled(tmp_path: Path) -> None:
    few, many_of_them = [str(254837009 + number) for number in range(2)], [str(300000000 + n) for n in range(40)]
    load_criteria(coded(tmp_path, ["100000000"]))  # what is loaded once
    fhirpath_code._SHARED.clear()
    first = steps(lambda: load_criteria(coded(tmp_path, few[:1], "one.json")))
    more = steps(lambda: load_criteria(coded(tmp_path, many_of_them, "more.json")))
    assert more / 40 < first / 8, (first, more / 40)


@pytest.mark.parametrize(
    "code", ["254837009", "LA32-8", "I21", "C50.9", "373067005", "1", "N", "not'plain", "criterion", "ZQZQZQZZZ"]
)
def test_what_is_shared_is_what_is_compiled_alone(code: str) -> None:
    literal = code.replace("'", "\\'")
    text = (
        f"Condition.where(code.coding.exists(system = 'http://snomed.info/sct' and code = '{literal}')).exists() or "
        f"Observation.where(code.coding.exists(code = '{literal}' or code = '424144002') and value.ofType(CodeableConcept)"
        f".coding.exists(code in ('373067005' | 'N' | '{literal}'))).exists() or Patient.gender = 'male'"
    )
    for _ in range(2):
        shared, found = compile_code(text, R4, name="x", spelt=True, codes=[code, "424144002"])
        alone, other = compile_code(text, R4, name="x", spelt=True)
        assert (shared.text, shared.python, shared.program.constants) == (
            alone.text,
            alone.python,
            alone.program.constants,
        )
        assert shared.program.sites == alone.program.sites
        assert to_json(shared.node) == to_json(alone.node) and found == other
        assert repr(shared.reads()) == repr(alone.reads()) and shared.monotonicity == alone.monotonicity
        same_code(shared.program.load()["criterion"].__code__, alone.program.load()["criterion"].__code__)
        same_code(pickle.loads(pickle.dumps(shared)).prepare().__code__, alone.prepare().__code__)


def same_code(one: Any, other: Any) -> None:
    """Python code that is the same, constants and places included."""
    assert (one.co_code, one.co_names, one.co_varnames, one.co_filename, one.co_exceptiontable) == (
        other.co_code,
        other.co_names,
        other.co_varnames,
        other.co_filename,
        other.co_exceptiontable,
    )
    assert list(one.co_positions()) == list(other.co_positions())
    for mine, its in zip(one.co_consts, other.co_consts, strict=True):
        if isinstance(mine, types.CodeType):
            same_code(mine, its)
        else:
            assert mine == its
