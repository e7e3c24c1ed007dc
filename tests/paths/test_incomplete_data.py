"""Answers over incomplete data: whatever is said of a patient of whom records are missing is what is said with them, or unknown.

Generated criteria in both languages over generated patients: some records of some types are taken away, and the types are known to be incomplete.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import DiagnosticError
from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.patients.reader import compartments_of
from fhir_eligibility.data.records.gaps import EVERY, Gap
from fhir_eligibility.evaluation.evaluator import Evaluator, Options
from tests.paths import cql_generator, fhirpath_generator
from tests.paths import test_cql_ways as cql
from tests.paths import test_fhirpath_ways as fhirpath
from tests.paths.patients import patients
from tests.paths.ways import NOW, rule_set

SAMPLES = 150


def compartment(resources: list[dict[str, Any]]) -> Compartment:
    (found,) = compartments_of(resources)
    return found


def lacking(resources: list[dict[str, Any]], chance: random.Random) -> tuple[Compartment, set[str]]:
    """A patient some of whose records are missing, and the types of these."""
    kinds = sorted({one["resourceType"] for one in resources} - {"Patient"})
    taken = set(chance.sample(kinds, min(len(kinds), chance.choice((1, 1, 2)))))
    left = [one for one in resources if one["resourceType"] not in taken or chance.random() < 0.5]
    return compartment(left), taken


@pytest.mark.parametrize("language", [fhirpath, cql])
def test_an_answer_that_is_given_is_that_of_the_whole_record(language: Any) -> None:
    generator = fhirpath_generator if language is fhirpath else cql_generator
    seen: Counter[str] = Counter()
    for seed in language.seeds(5000, SAMPLES, 0.2):
        try:
            code = language.compiled(generator.expression(seed))
        except DiagnosticError:
            code = None
        if code is None:
            continue
        evaluate = Evaluator(rule_set(code), Options(now=NOW))
        chance = random.Random(seed)
        for resources in patients(seed % 7, 6):
            (whole,) = evaluate(compartment(resources)).criteria
            part, taken = lacking(resources, chance)
            (plain,) = evaluate(part).criteria
            for gaps in (tuple(Gap(kind, "x") for kind in sorted(taken)), (Gap(EVERY, "x"),)):
                verdict = evaluate(replace(part, gaps=gaps))
                (found,) = verdict.criteria
                if found.outcome != "unknown" and whole.reason is not Reason.ERROR:
                    assert found.outcome == whole.outcome, (seed, found, whole, taken)
                assert (found.reason is Reason.DATA_INCOMPLETE) <= (verdict.incomplete is not None)
                if found.reason is not Reason.DATA_INCOMPLETE:
                    assert found.outcome == plain.outcome, (seed, found, plain)
                seen[f"{plain.outcome}, {found.reason or 'kept'}"] += 1
    assert seen["met, kept"] > 100 and seen["met, data-incomplete"] > 50, seen
    assert seen["not met, kept"] > 10 and seen["not met, data-incomplete"] > 50, seen
