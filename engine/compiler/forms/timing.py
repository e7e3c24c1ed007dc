"""Time constraints of a characteristic (timeFromEvent, timeFromStart, participantEffective, relativeTime) as FHIRPath on a row.

The event is a code (records of it in the patient's data), a date, or another characteristic; the row's date must lie in the window
around it. Comparisons keep their precision: a date known only to the month on the edge of the window is unknown, not false.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.algebra.reasons import Reason
from engine.artifacts.models import Model
from engine.artifacts.records import QuantityValue, RangeValue, TimeConstraint
from engine.compiler.forms.base import NotComputable, Selection, calendar_duration, shifted
from engine.compiler.forms.kinds import concept_selections, date_paths

EVENT_KINDS = ("procedure", "condition", "encounter", "medication", "observation", "immunization")
FindSelections = Callable[[str], "list[Selection] | None"]


def first_of(paths: tuple[str, ...], prefix: str = "") -> str:
    """FHIRPath for the first of some paths that has a value."""
    full = [f"{prefix}{path}" for path in paths]
    return full[0] if len(full) == 1 else f"({' | '.join(full)}).first()"


def time_test(model: Model, row_type: str, constraint: TimeConstraint, linked: FindSelections) -> str:
    """FHIRPath condition on a row (`$this`): that its date satisfies the constraint.

    `linked` finds the rows of another characteristic by its linkId. Raises NotComputable.
    """
    dates = date_paths(model, row_type)
    if not dates:
        raise NotComputable(f"{constraint.origin}: {row_type} has no date to compare")
    if constraint.period is not None:
        return _in_period(first_of(dates), constraint)
    event = constraint.event
    if event is None:
        text = f" ({constraint.description})" if constraint.description else ""
        raise NotComputable(
            f"{constraint.origin} names no event that can be found in the data{text}", Reason.NEEDS_REVIEW
        )
    if event.kind == "date" and event.date:
        literal = f"@{event.date}"
        return _window(first_of(dates), literal, constraint)
    if event.kind == "concept" and event.concept is not None:
        selections = concept_selections(model, event.concept, EVENT_KINDS)
    elif event.kind == "id" and event.id:
        found = linked(event.id)
        if found is None:
            raise NotComputable(
                f"{constraint.origin}: no coded characteristic has the id {event.id!r}", Reason.UNRESOLVED_REFERENCE
            )
        selections = found
    else:
        raise NotComputable(f"{constraint.origin}: an event given as {event.kind} cannot be found in the data")
    tests = []
    for chosen in selections:
        event_dates = date_paths(model, chosen.type)
        if event_dates:
            window = _window(first_of(dates, "%row."), first_of(event_dates), constraint)
            tests.append(f"{chosen.rows}.exists({window})")
    if not tests:
        raise NotComputable(f"{constraint.origin}: the event has no date")
    return f"defineVariable('row').select({' or '.join(tests)})"


def _window(date: str, event: str, constraint: TimeConstraint) -> str:
    if constraint.range is not None:
        low, high = constraint.range.low, constraint.range.high
        parts = []
        if low is not None:
            parts.append(f"{date} >= {shifted(event, low)}")
        if high is not None:
            parts.append(f"{date} <= {shifted(event, high)}")
        if not parts:
            raise NotComputable(f"{constraint.origin}: the range has no limits")
        return " and ".join(parts)
    if constraint.quantity is not None:
        return _at(date, event, constraint.quantity)
    raise NotComputable(f"{constraint.origin} gives neither a quantity nor a range", Reason.NEEDS_REVIEW)


def _at(date: str, event: str, quantity: QuantityValue) -> str:
    """A quantity is one point in time; with a comparator it is one side of it."""
    point = shifted(event, quantity)
    if quantity.comparator in ("<", "<=", ">", ">="):
        # less than one year before: between a year before and the event
        before = quantity.value is not None and quantity.value < 0
        near = quantity.comparator in ("<", "<=")
        if near:
            return f"{date} >= {point} and {date} <= {event}" if before else f"{date} <= {point} and {date} >= {event}"
        return f"{date} <= {point}" if before else f"{date} >= {point}"
    return f"{date}.toDate() = {point}.toDate()"


def _in_period(date: str, constraint: TimeConstraint) -> str:
    period = constraint.period
    assert period is not None
    parts = []
    if period.start:
        parts.append(f"{date} >= @{period.start}")
    if period.end:
        parts.append(f"{date} <= @{period.end}")
    if not parts:
        raise NotComputable(f"{constraint.origin}: the period has neither start nor end")
    return " and ".join(parts)


_SPANS = {
    "Condition": ("onset.ofType(dateTime)", "(abatement.ofType(dateTime) | now()).first()"),
    "Encounter": ("period.start", "(period.end | now()).first()"),
    "MedicationStatement": ("effective.ofType(Period).start", "(effective.ofType(Period).end | now()).first()"),
    "MedicationAdministration": ("effective.ofType(Period).start", "(effective.ofType(Period).end | now()).first()"),
}


def duration_test(row_type: str, duration: QuantityValue | RangeValue) -> str:
    """FHIRPath condition on a row: that it lasted (or has lasted until now) as long as a duration says."""
    if row_type not in _SPANS:
        raise NotComputable(f"duration: {row_type} records no span of time")
    start, end = _SPANS[row_type]
    if isinstance(duration, RangeValue):
        parts = []
        if duration.low is not None and calendar_duration(duration.low) is not None:
            parts.append(f"{shifted(start, duration.low)} <= {end}")
        if duration.high is not None and calendar_duration(duration.high) is not None:
            parts.append(f"{shifted(start, duration.high)} >= {end}")
        if not parts:
            raise NotComputable("duration: the range has no limits")
        return " and ".join(parts)
    sign = duration.comparator or ">="
    flipped = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(sign)
    if flipped is None:
        raise NotComputable(f"duration: the comparator {sign!r} has no truth value")
    return f"{shifted(start, duration)} {flipped} {end}"
