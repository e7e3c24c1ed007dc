"""Whether an answer can be another one at another time of evaluation, with the same data: whether anything that a criterion runs reads the clock.

Derived from the typed nodes. What asks the environment for something, and is not known to ask for something else, counts as reading the clock.
"""

from __future__ import annotations

from collections.abc import Iterable

from fhir_eligibility.compiler.analysis.clock import reads_clock
from fhir_eligibility.compiler.criteria.cql import CqlCode
from fhir_eligibility.compiler.criteria.rules import FhirPathCriterion, RuleSet


def rules_read_clock(rule_sets: Iterable[RuleSet]) -> bool:
    """Whether some criterion of some rule sets reads the clock, with all that is run to tell what its answer means."""
    return any(
        code_reads_clock(code)
        for rules in rule_sets
        for rule in rules.walk()
        for code in (rule.code, *rule.besides())
        if code is not None
    )


def code_reads_clock(code: FhirPathCriterion | CqlCode) -> bool:
    """Whether an expression reads the clock, with the definitions, functions and defaults of parameters that it refers to."""
    if isinstance(code, CqlCode):
        return any(uses.clock for _, uses in code.compiled.reached([code.define]))
    return reads_clock(code.node)
