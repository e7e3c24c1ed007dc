"""Criteria in CQL over patients with holes come to the same by every way, and to what the reference interpreter says (see `test_fhirpath_ways`)."""

from __future__ import annotations

from collections import Counter

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, EvaluationError, Source
from fhir_eligibility.artifacts.libraries import LibraryStore
from fhir_eligibility.artifacts.records import ExpressionSource
from fhir_eligibility.compiler.criteria.cql import CqlCode, CqlCriteria
from fhir_eligibility.compiler.criteria.explained import explain_define
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from fhir_eligibility.evaluation.evaluator import truth
from tests.paths.cql_generator import HEAD, expression
from tests.paths.cql_reference import answer
from tests.paths.fhirpath_reference import TooMany, Unsupported
from tests.paths.patients import patients
from tests.paths.test_fhirpath_ways import CRITERIA, PATIENTS, WORDS, seeds
from tests.paths.ways import NOW, Cohort, environment, from_files, from_memory, rule_set


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> list[Cohort]:
    folder = tmp_path_factory.mktemp("cohorts")
    return [Cohort(patients(seed, PATIENTS), folder / str(seed)) for seed in range(4)]


def compiled(text: str) -> CqlCode:
    """A criterion: the define X of a library."""
    store = LibraryStore()
    library = store.add_text(Source("Random", f"{HEAD}define X: {text}\n"))
    source = ExpressionSource(language="text/cql-identifier", text="X", libraries=(library.name or "",))
    return CqlCriteria(store).code(source, "x")[0]


def typed(text: str) -> Node:
    """The typed tree of the same."""
    (define,) = (
        d for d in Compiler().typed(Source("Random", f"{HEAD}define X: {text}\n")).defines if d.exported.name == "X"
    )
    assert define.node is not None
    return define.node


def test_the_interpreter_and_every_shelf_agree(cohorts: list[Cohort]) -> None:
    seen: Counter[str] = Counter()
    for seed in seeds(0, CRITERIA // 2, 0.3):
        text, cohort = expression(seed), cohorts[seed % len(cohorts)]
        try:
            code = compiled(text)
        except DiagnosticError:
            seen["refused"] += 1
            continue
        rules, node = rule_set(code), typed(text)
        found = from_memory(rules, cohort)
        assert from_files(rules, cohort.bundle) == found, (seed, text)
        assert from_files(rules, cohort.lines) == found, (seed, text)
        for (outcome, reason), resources in zip(found, cohort.resources, strict=True):
            seen[outcome] += 1
            try:
                expected = answer(node, resources, NOW)
            except (TooMany, Unsupported) as error:
                seen["too many worlds" if isinstance(error, TooMany) else "unsupported"] += 1
                continue
            assert (outcome, reason == "error") == (WORDS[expected.value], expected.failed), (
                seed,
                text,
                resources[0]["id"],
            )
    everything = seen.total()
    assert all(seen[outcome] > everything / 10 for outcome in WORDS.values()), seen
    assert seen["refused"] + seen["too many worlds"] + seen["unsupported"] < everything / 20, seen


def test_untraced_code_answers_what_traced_code_does(cohorts: list[Cohort]) -> None:
    """But for rows by a code without its system, which only criteria take for doubts, and errors behind the first item that decides."""
    compared = 0
    for seed in seeds(20_000, CRITERIA // 3, 0.1):
        text, cohort = expression(seed), cohorts[seed % len(cohorts)]
        try:
            traced = compiled(text)
        except DiagnosticError:
            continue
        source = Source("Random", f"{HEAD}define X: {text}\n")
        plain = LoadedLibrary(Compiler().compile(source))
        explained = LoadedLibrary(Compiler(explained=True).compile(source))
        run = Run(NOW)
        for compartment, resources in zip(cohort.compartments, cohort.resources, strict=True):
            one = environment(compartment)
            one.begin()
            try:
                expected = truth(traced, traced.run(one, compartment.patient))
            except EvaluationError:
                continue
            found = truth(traced, plain.evaluate("X", Patient(run, resources[0], resources)))
            assert found is expected, (
                seed,
                text,
                compartment.reference,
            )
            value, parts = explain_define(explained, "X", Patient(Run(NOW), resources[0], resources))
            assert truth(traced, value) is expected, (seed, text, compartment.reference)
            assert parts, (seed, text)
            compared += 1
    assert compared > CRITERIA
