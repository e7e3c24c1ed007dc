"""Defines of a CQL library whose answer hangs on rows that cannot be decided: CQL drops such rows and answers; a screening leaves the patient undetermined.

`eligibility cql` and `eligibility measure` give CQL's own answers, and say with this where a screening by the same defines would not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from fhir_eligibility.compiler.criteria.cql import criterion_code
from fhir_eligibility.compiler.criteria.library import Compiled
from fhir_eligibility.compiler.criteria.rules import Rule, RuleSet
from fhir_eligibility.compiler.elm.types import BOOLEAN
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.evaluation.evaluator import Evaluator, Options


class Undecided(NamedTuple):
    """A define, CQL's own answer, and why a screening does not give it."""

    define: str
    plain: bool
    detail: str

    def __str__(self) -> str:
        answer = "true" if self.plain else "false"
        return f"{self.define}: CQL's own answer is {answer}, but a screening leaves it undetermined: {self.detail}"


class UndecidedDefines:
    """Finds them for one patient after the other. `compiled` must be compiled with traces; defines that are not Boolean are passed over."""

    def __init__(self, compiled: Compiled, defines: Iterable[str], version: str, options: Options) -> None:
        rules = tuple(
            Rule(id=name, title=name, form="expression", code=criterion_code(compiled, name, name))
            for name in dict.fromkeys(defines)
            if name in compiled.defines and compiled.defines[name].type == BOOLEAN
        )
        rule_set = RuleSet(compiled.name or "", "", compiled.version, version, "all-of", None, rules)
        self._evaluator = Evaluator(rule_set, options) if rules else None

    def __call__(self, compartment: Compartment) -> list[Undecided]:
        """Those of the defines whose answer for this patient would not stand."""
        if self._evaluator is None:
            return []
        return [
            Undecided(found.id, found.plain_cql == "met", found.detail or "a row cannot be decided")
            for found in self._evaluator(compartment).criteria
            if found.plain_cql is not None
        ]
