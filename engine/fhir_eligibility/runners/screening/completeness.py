"""How complete the data of a run was: the resource types that criteria read, and how many verdicts hang on what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fhir_eligibility.compiler.analysis.monotonicity import ANYTHING, types_in
from fhir_eligibility.compiler.criteria.rules import RuleSet
from fhir_eligibility.data.patients.completeness import Completeness, TypeState
from fhir_eligibility.data.records.gaps import EVERY
from fhir_eligibility.output.run_record import TypeRecord
from fhir_eligibility.runners.screening.screening import Tally


def completeness_of(rule_sets: Sequence[RuleSet], known: Completeness, tally: Tally) -> list[TypeRecord]:
    """The types that some criterion reads, those on which most verdicts hang first."""
    known.finish()
    monotonicity = [rule.code.monotonicity for rules in rule_sets for rule in rules.walk() if rule.code is not None]
    kinds = {kind for one in monotonicity for kind in types_in(one)}
    if any(ANYTHING in one for one in monotonicity):
        kinds |= {*known.found, *known.lost}
    if EVERY in known.lost:
        kinds.add(EVERY)
    found = [_record(known.state(kind), tally) for kind in kinds]
    return sorted(found, key=lambda one: (-one.undetermined, -one.resting, one.type))


def _record(state: TypeState, tally: Tally) -> TypeRecord:
    kind = state.type
    how_complete: Literal["complete", "incomplete", "tolerated", "absent"] = "complete"
    if not state.complete:
        how_complete = "tolerated" if state.tolerated and not state.lost.of_patients else "incomplete"
    elif not state.found and kind != EVERY and not state.narrowed:
        how_complete = "absent"
    return TypeRecord(
        type=kind,
        state=how_complete,
        found=state.found,
        why=state.lost.why() or None,
        of_patients=state.lost.of_patients,
        undetermined=tally.lacking[kind],
        resting=tally.resting[kind],
    )
