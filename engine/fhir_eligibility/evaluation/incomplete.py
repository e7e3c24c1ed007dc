"""Answers that rest on incomplete data: those that one more record could change.

How an answer moves with more records is proved by the compiler (`fhir_eligibility.compiler.analysis.monotonicity`): an `exists` that is met stays met, a `not exists` that is not
met stays so, and what cannot be proved to move one way may change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.compiler.analysis.monotonicity import (
    ANYTHING,
    CONSTANT,
    DECREASES,
    DOUBTS,
    INCREASES,
    OPERANDS,
    REACHED,
    UNKNOWN,
    Monotonicity,
    direction_in,
)
from fhir_eligibility.compiler.criteria.library import Compiled
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.records.gaps import EVERY, Gap

_NO_RECORDS = (DOUBTS, OPERANDS)
NO_PATIENT = Gap("Patient", "the Patient resource is not among the data")


def open_gaps(value: bool | None, monotonicity: Monotonicity, compartment: Compartment) -> Iterator[Gap]:
    """The gaps in a patient's data that could change an answer; all that the criterion reads where it has none."""
    known = compartment.gaps
    if compartment.patient is None:
        known = (*known, NO_PATIENT)
    for gap in known:
        if gap.type == "Patient" and compartment.patient is not None and not (gap.replaced or gap.others):
            continue  # there is one a patient
        direction = direction_in(monotonicity, moving(gap, monotonicity))
        if direction == CONSTANT:
            continue
        stays = (direction == INCREASES and value is True) or (direction == DECREASES and value is False)
        if gap.replaced or not stays:
            yield gap


def with_gaps(compiled: Compiled, define: str, value: Any, compartment: Compartment) -> tuple[Any, str | None]:
    """The value of a define of a library as far as it is certain, and why it may be another one with the whole data (None where it may not).

    Of a list that only gains items, those that are there are certain.
    """
    if not compartment.gaps and compartment.patient is not None:
        return value, None
    monotonicity = compiled.monotonicity.get(compiled.defines[define].python, UNKNOWN)
    truth = value if value is True or value is False else None
    found = [gap for gap in open_gaps(truth, monotonicity, compartment) if not gap.tolerated]
    if not found or (found[0] is NO_PATIENT and value is None):
        return value, None
    gains = value.__class__ is list and all(
        direction_in(monotonicity, moving(gap, monotonicity)) == INCREASES and not gap.replaced for gap in found
    )
    return value if gains else None, ": ".join(why_open(found[0]))


def why_open(gap: Gap) -> tuple[Reason, str]:
    """Why an answer that a gap could change is unknown."""
    if gap is NO_PATIENT:
        return Reason.NO_DATA, gap.why
    return Reason.DATA_INCOMPLETE, gap.sentence


def moving(gap: Gap, monotonicity: Monotonicity) -> list[str]:
    """What moves where the records of a gap are found, as monotonicity name it."""
    if gap.type != EVERY:
        return [f"{REACHED}{gap.type}" if gap.others else gap.type]
    return [
        name
        for name in monotonicity
        if name not in _NO_RECORDS and (not gap.others or name.startswith(REACHED) or name == ANYTHING)
    ]
