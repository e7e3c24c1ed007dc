"""Answers that rest on incomplete data: those that one more record could change.

How an answer moves with more records is proved by the compiler (`engine.compiler.growth`): an `exists` that is met stays met, a `not exists` that is not
met stays so, and what cannot be proved to move one way may change.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.algebra.reasons import Reason
from engine.compiler.growth import ANYTHING, CONSTANT, DOUBTS, FALLS, GROWS, OPERANDS, REACHED, Growths, growth_in
from engine.data.compartment import Compartment
from engine.data.gaps import EVERY, Gap

_NO_RECORDS = (DOUBTS, OPERANDS)
NO_PATIENT = Gap("Patient", "the Patient resource is not among the data")


def open_gaps(value: bool | None, growths: Growths, compartment: Compartment) -> Iterator[Gap]:
    """The gaps in a patient's data that could change an answer; all that the criterion reads where it has none."""
    known = compartment.gaps
    if compartment.patient is None:
        known = (*known, NO_PATIENT)
    for gap in known:
        if gap.type == "Patient" and compartment.patient is not None and not (gap.replaced or gap.others):
            continue  # there is one a patient
        growth = growth_in(growths, _moving(gap, growths))
        if growth == CONSTANT:
            continue
        stays = (growth == GROWS and value is True) or (growth == FALLS and value is False)
        if gap.replaced or not stays:
            yield gap


def why_open(gap: Gap) -> tuple[Reason, str]:
    """Why an answer that a gap could change is unknown."""
    if gap is NO_PATIENT:
        return Reason.NO_DATA, gap.why
    return Reason.DATA_INCOMPLETE, gap.sentence


def _moving(gap: Gap, growths: Growths) -> list[str]:
    """What moves where the records of a gap are found, as growths name it."""
    if gap.type != EVERY:
        return [f"{REACHED}{gap.type}" if gap.others else gap.type]
    return [
        name
        for name in growths
        if name not in _NO_RECORDS and (not gap.others or name.startswith(REACHED) or name == ANYTHING)
    ]
