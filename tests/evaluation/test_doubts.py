"""Rows in doubt in CQL criteria: the verdict is that of trying every combination, and where that is too many, undetermined."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_eligibility.algebra.diagnostic import Source
from fhir_eligibility.artifacts.libraries import LibraryStore
from fhir_eligibility.artifacts.records import ExpressionSource
from fhir_eligibility.compiler.criteria.cql import CqlCode, CqlCriteria
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from fhir_eligibility.runners.screening.criteria import load_criteria
from fhir_eligibility.runners.screening.screening import screen

HEAD = """using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
codesystem "C": 'http://c'
code "a": 'a' from "C"
code "b": 'b' from "C"
context Patient
"""
PATIENT = {"resourceType": "Patient", "id": "p"}


def rows(code: str) -> str:
    """Observations of a code above 3: one without a value is in doubt."""
    return f"([Observation: \"{code}\"] O where (O.value as FHIR.Quantity) > 3 'mg')"


def observation(name: str, code: str, value: int | None) -> dict[str, Any]:
    quantity = (
        {}
        if value is None
        else {"valueQuantity": {"value": value, "code": "mg", "system": "http://unitsofmeasure.org"}}
    )
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "subject": {"reference": "Patient/p"},
        "code": {"coding": [{"system": "http://c", "code": code}]},
        **quantity,
    }


def compiled(expression: str) -> CqlCode:
    store = LibraryStore()
    library = store.add_text(Source("L", f"library L\n{HEAD}define X: {expression}"))
    source = ExpressionSource(language="text/cql-identifier", text="X", libraries=(library.name or "",))
    return CqlCriteria(store).code(source, "here")[0]


@pytest.mark.parametrize(
    ("expression", "settled"),
    [
        (f"exists {rows('a')}", True),
        (f"not exists {rows('a')}", True),
        (f"exists {rows('a')} and exists {rows('b')}", True),
        (f"Count({rows('a')}) >= 2", True),
        (f"Count({rows('a')}) < 2 and not exists {rows('b')}", True),
        (f"exists {rows('a')} and not exists {rows('b')}", False),
        (f"Count({rows('a')}) = 2", False),
        (f"First({rows('a')}).status = 'final'", False),
        (f"exists ({rows('a')} except {rows('b')})", False),
        (f"exists ({rows('a')} union {rows('b')})", True),
        ("AgeInYears() >= 18", True),
        ("if AgeInYears() >= 18 then true else false", False),
        (f"exists ({rows('a')} A with {rows('b')} B such that A.status = B.status)", True),
        (f'exists ([Observation: "a"] A without {rows("b")} B such that A.status = B.status)', False),
    ],
)
def test_which_criteria_move_one_way(expression: str, settled: bool) -> None:
    assert compiled(expression).monotone is settled


ATOMS = [f"exists {rows('a')}", f"exists {rows('b')}", f"Count({rows('a')}) >= 2", f"Count({rows('b')}) = 1"]
EXPRESSIONS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["and", "or", "implies", "xor"]), inner, inner).map(
            lambda x: f"({x[1]} {x[0]} {x[2]})"
        ),
        inner.map(lambda x: f"(not ({x}))"),
    ),
    max_leaves=4,
)
VALUES = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([1, 5, None])), max_size=9)


def verdict(expression: str, resources: list[dict[str, Any]], folder: Path) -> tuple[str, str | None]:
    (folder / "L.cql").write_text(f"library L\n{HEAD}define X: {expression}")
    source = {"language": "text/cql-identifier", "expression": "X"}
    variable = {"resourceType": "EvidenceVariable", "id": "e", "status": "active"}
    (folder / "e.json").write_text(json.dumps({**variable, "characteristic": [{"definitionExpression": source}]}))
    data = folder / "data.json"
    entries = [{"resource": resource} for resource in resources]
    data.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    (found,) = screen(load_criteria(folder / "e.json", libraries=[folder / "L.cql"]), data)
    return found.criteria[0].outcome, found.criteria[0].detail


def in_every_world(expression: str, values: list[tuple[str, int | None]]) -> set[bool]:
    """The answers with each missing value once below and once above the bound."""
    loaded = LoadedLibrary(Compiler().compile(Source("L", f"library L\n{HEAD}define X: {expression}")))
    doubtful = [index for index, (_, value) in enumerate(values) if value is None]
    answers = set()
    for chosen in product((1, 5), repeat=len(doubtful)):
        filled = dict(zip(doubtful, chosen, strict=True))
        records = [observation(f"o{i}", code, filled.get(i, value)) for i, (code, value) in enumerate(values)]
        answers.add(loaded.evaluate("X", Patient(Run(), PATIENT, [PATIENT, *records])))
    return answers


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(expression=EXPRESSIONS, values=VALUES)
def test_the_verdict_is_that_of_every_combination(
    expression: str, values: list[tuple[str, int | None]], tmp_path: Path
) -> None:
    records = [observation(f"o{i}", code, value) for i, (code, value) in enumerate(values)]
    outcome, detail = verdict(expression, [PATIENT, *records], tmp_path)
    answers = in_every_world(expression, values)
    if len(answers) > 1:
        assert outcome == "unknown"
    elif (
        outcome == "unknown"
    ):  # never a guess: too many combinations, or one row tried by two clauses, which are taken to be independent
        repeated = any(expression.count(f'"{code}"') > 1 for code in "ab")
        many = sum(value is None for _, value in values) > 6 and "too many to try every way" in (detail or "")
        assert repeated or many
    else:
        assert outcome == ("met" if answers == {True} else "not met")


def test_more_rows_than_can_be_tried(tmp_path: Path) -> None:
    records = [observation(f"o{i}", "a", None) for i in range(9)]
    outcome, detail = verdict(f"Count({rows('a')}) = 12", [PATIENT, *records], tmp_path)
    assert outcome == "unknown" and detail is not None
    assert detail.startswith("9 rows cannot be decided, too many to try every way: Observation/o0: ")


def test_many_rows_of_a_criterion_that_moves_one_way(tmp_path: Path) -> None:
    records = [observation(f"o{i}", "a", None) for i in range(200)]
    assert verdict(f"Count({rows('a')}) >= 201", [PATIENT, *records], tmp_path)[0] == "not met"
    assert verdict(f"Count({rows('a')}) >= 200", [PATIENT, *records], tmp_path)[0] == "unknown"
    assert verdict(f"Count({rows('a')}) >= 0", [PATIENT, *records], tmp_path)[0] == "met"
