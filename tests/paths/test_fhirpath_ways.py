"""FHIRPath criteria over patients with holes come to the same by every way, and to what the reference interpreter says.

The ways: the interpreter (three values, every world of the rows in doubt), the traced code from memory, from a bundle, from NDJSON of which no more is read
than the plan asks for, the same code untraced, and the same criterion put inside others. `FUZZ_SECONDS` makes it go on for so long.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, EvaluationError, Source
from fhir_eligibility.compiler.criteria.fhirpath_code import FhirPathCriterion, compile_code
from fhir_eligibility.compiler.syntax.fhirpath import parse
from fhir_eligibility.evaluation.evaluator import truth
from tests.paths.fhirpath_generator import expression
from tests.paths.fhirpath_reference import TooMany, answer
from tests.paths.patients import patients
from tests.paths.ways import NOW, R4, Cohort, Told, environment, from_files, from_memory, rule_set, untraced

PATIENTS = 8
CRITERIA = 300
WORDS = {True: "met", False: "not met", None: "unknown"}


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> list[Cohort]:
    folder = tmp_path_factory.mktemp("cohorts")
    return [Cohort(patients(seed, PATIENTS), folder / str(seed)) for seed in range(4)]


@pytest.fixture(scope="module")
def odd_cohorts(tmp_path_factory: pytest.TempPathFactory) -> list[Cohort]:
    folder = tmp_path_factory.mktemp("odd")
    return [Cohort(patients(seed, PATIENTS, odd=True), folder / str(seed)) for seed in range(100, 104)]


def seeds(first: int, count: int, share: float) -> Iterator[int]:
    """The seeds of the suite, or of as many seconds as there are to spend, of which this test has a share."""
    seconds = float(os.environ.get("FUZZ_SECONDS", "0")) * share
    if not seconds:
        yield from range(first, first + count)
        return
    seed, end = int(os.environ.get("FUZZ_SEED", "1000000")) + first, time.monotonic() + seconds
    while time.monotonic() < end:
        yield seed
        seed += 1


def compiled(text: str) -> FhirPathCriterion | None:
    """A criterion; None for one that the translator refuses."""
    try:
        return compile_code(text, R4, name="x")[0]
    except DiagnosticError:
        return None


def test_the_interpreter_and_every_shelf_agree(cohorts: list[Cohort]) -> None:
    seen: Counter[str] = Counter()
    for seed in seeds(0, CRITERIA, 0.25):
        text, cohort = expression(seed), cohorts[seed % len(cohorts)]
        code = compiled(text)
        if code is None:
            seen["refused"] += 1
            continue
        rules, tree = rule_set(code), parse(Source("x", text))
        found = from_memory(rules, cohort)
        assert from_files(rules, cohort.bundle) == found, (seed, text)
        assert from_files(rules, cohort.lines) == found, (seed, text)
        for (outcome, reason), resources in zip(found, cohort.resources, strict=True):
            seen[outcome] += 1
            try:
                expected = answer(tree, R4, resources, NOW, False if code.records and not code.boolean else None)
            except TooMany:
                seen["too many worlds"] += 1
                continue
            shown = seed, text, resources[0]["id"]
            assert (outcome, reason == "error") == (WORDS[expected.value], expected.failed), shown
    everything = seen.total()
    assert all(seen[outcome] > everything / 8 for outcome in WORDS.values()), seen
    assert seen["refused"] + seen["too many worlds"] < everything / 50, seen


def test_data_of_the_wrong_type_is_the_same_from_every_shelf(odd_cohorts: list[Cohort]) -> None:
    for seed in seeds(10_000, CRITERIA // 3, 0.1):
        text, cohort = expression(seed), odd_cohorts[seed % len(odd_cohorts)]
        code = compiled(text)
        if code is not None:
            found = from_memory(rule_set(code), cohort)
            assert from_files(rule_set(code), cohort.bundle) == found, (seed, text)
            assert from_files(rule_set(code), cohort.lines) == found, (seed, text)


@pytest.mark.parametrize("explained", [False, True], ids=["plain", "explained"])
def test_untraced_code_answers_what_traced_code_does(explained: bool, cohorts: list[Cohort]) -> None:
    """As far as both have an answer: code that is not traced stops at the first item that decides, and so before an error further on."""
    compared = 0
    for seed in seeds(20_000, CRITERIA // 2, 0.1):
        text, cohort = expression(seed), cohorts[seed % len(cohorts)]
        traced = compiled(text)
        if traced is None:
            continue
        plain = untraced(traced.node, traced, explained=explained)
        for compartment in cohort.compartments:
            one = environment(compartment)
            one.begin()
            try:
                expected = truth(traced, traced.run(one, compartment.patient))
            except EvaluationError:
                continue
            assert truth(plain, plain.run(one, compartment.patient)) is expected, (seed, text, compartment.reference)
            compared += 1
    assert compared > CRITERIA * 2


NEGATED: dict[Told, str] = {("met", None): "not met", ("not met", None): "met"}
# The same question asked in other words. `{0}` stands for the criterion.
SAME = (
    "({0})",
    "({0}).not().not()",
    "({0}) and true",
    "false or ({0})",
    "true implies ({0})",
    "({0}) xor false",
    "({0}).select($this)",
    "coalesce({0}, {{}})",
    "({0}).combine({{}}).first()",
    "({0}).trace('x')",
    "({0}).defineVariable('whole').select(%whole)",
)  # fmt: skip
# Put where a row is kept by it: the row is there or not, in doubt where the criterion is unknown.
AS_CONDITION = (
    "Patient.where({0}).exists()",
    "Patient.exists({0})",
    "Patient.all({0})",
    "iif({0}, true, false)",
    "Patient.where({0}).count() = 1",
    "Patient.where(({0}).not()).empty()",
    "Patient.select(iif({0}, 'yes', 'no')).first() = 'yes'",
)


def test_a_criterion_inside_of_others(cohorts: list[Cohort]) -> None:
    """Words that mean the same have the same outcome. As a condition of a row, unknown may only turn into unknown, and so may answers with doubts."""
    compared = 0
    for seed in seeds(30_000, CRITERIA // 3, 0.15):
        text, cohort = expression(seed), cohorts[seed % len(cohorts)]
        code = compiled(text)
        if code is None or not code.boolean or "%v" in text or "defineVariable" in text:
            continue
        found = from_memory(rule_set(code), cohort)
        for form in (SAME[seed % len(SAME)], SAME[(seed * 7 + 3) % len(SAME)], AS_CONDITION[seed % len(AS_CONDITION)]):
            wrapped = compiled(form.format(text))
            assert wrapped is not None, (seed, form, text)
            same = from_memory(rule_set(wrapped), cohort)
            assert [outcome for outcome, _ in same] == [outcome for outcome, _ in found], (seed, form.format(text))
            compared += len(same)
    assert compared > 5 * CRITERIA
