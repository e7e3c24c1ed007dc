"""Time constraints of a characteristic (timeFromEvent, timeFromStart, participantEffective, relativeTime) as FHIRPath on a row.

The event is a code (records of it in the patient's data), a date, or another characteristic; the row's date must lie in the window
around it. Comparisons keep their precision: a date known only to the month on the edge of the window is unknown, not false.

Events of the study itself (its start, enrolment, the assessment of eligibility) stand in no record before there is a study: they are the
time of evaluation, or the date that is given for them. Any other event that a patient has no record of leaves the criterion unknown.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field
from msgspec.structs import replace

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.artifacts.records import QuantityValue, RangeValue, TimeConstraint
from fhir_eligibility.compiler.forms.base import (
    NotComputable,
    Selection,
    TextCause,
    calendar_duration,
    calendar_unit,
    has_unit,
    label,
    shifted,
)
from fhir_eligibility.compiler.forms.kinds import SNOMED, concept_selections, date_paths
from fhir_eligibility.compiler.forms.spans import TimeSpan, first_of, span_of, whole_day

EVENT_KINDS = ("procedure", "condition", "encounter", "medication", "observation", "immunization")
FindSelections = Callable[[str], "list[Selection] | str | None"]

# Events of a study that are the time of evaluation, by code and by text.
_STUDY_EVENTS = {
    ("http://hl7.org/fhir/evidence-variable-event", "study-start"),
    ("http://terminology.hl7.org/CodeSystem/evidence-variable-event", "study-start"),
    (SNOMED, "709491003"),  # Enrollment in clinical trial
    (SNOMED, "450332002"),  # Assessment of eligibility for clinical trial
}
_STUDY_EVENT_SYSTEMS = {system for system, _ in _STUDY_EVENTS} - {SNOMED}
_STUDY_EVENT_WORDS = {"start", "initiation", "enrollment", "enrolment", "screening", "assessment", "visit", "entry"}
_STUDY_WORDS = {"study", "trial", "clinical", "research", "eligibility", "of", "the", "in", "into", "for", "at", "to"}


class Timeline(Struct):
    """What time constraints are compared with: other characteristics by linkId, and the date of the study's start.

    `study_start` is an ISO 8601 date, None for the time of evaluation. Making tests adds `causes` of unknown answers, `notes`, and
    `limits`: FHIRPath that is true where a window ends after the evaluation, so that absence of a record is no answer yet.
    """

    linked: FindSelections
    study_start: str | None = None
    causes: list[TextCause] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Tell readers something, once."""
        if text not in self.notes:
            self.notes.append(text)

    def cause(self, cause: TextCause) -> None:
        """Add a cause of unknown answers, once."""
        if cause not in self.causes:
            self.causes.append(cause)

    def until(self, open_still: str, detail: str) -> None:
        """Note that a window is open where a condition (FHIRPath) holds."""
        if open_still not in self.limits:
            self.limits.append(open_still)
        self.cause(TextCause(open_still, Reason.NO_DATA, detail))

    def day(self, name: str) -> str:
        """FHIRPath for the day of an event of the study."""
        if self.study_start is not None:
            self.note(f"{name} is {self.study_start}, as given")
            return f"@{self.study_start}"
        self.note(f"{name} is the time of evaluation")
        return "today()"


def study_event(constraint: TimeConstraint) -> str | None:
    """Name of the event of the study that a constraint is relative to, None for any other event."""
    event = constraint.event
    if event is None:
        return "the start of the study" if constraint.origin == "timeFromStart" else None
    if event.kind != "concept" or event.concept is None:
        return None
    concept = event.concept
    if any((coding.system, coding.code) in _STUDY_EVENTS for coding in concept.codings):
        return label(concept)
    if any(coding.code for coding in concept.codings):
        return None
    words = set((concept.text or "").lower().replace("-", " ").split())
    return label(concept) if words & _STUDY_EVENT_WORDS and words <= _STUDY_EVENT_WORDS | _STUDY_WORDS else None


def time_test(model: Model, row_type: str, constraint: TimeConstraint, timeline: Timeline) -> str:
    """FHIRPath condition on a row (`$this`): that its date satisfies the constraint. Raises NotComputable."""
    dates = date_paths(model, row_type)
    if not dates:
        return "{}"
    spans = span_of(model, row_type), span_of(model, row_type, "%row.")
    return date_test(model, *spans, constraint, timeline, row_type)


def date_test(
    model: Model, date: TimeSpan, outer: TimeSpan, constraint: TimeConstraint, timeline: Timeline, row_type: str = ""
) -> str:
    """FHIRPath condition that something was when the constraint says; `outer` is its time seen from within rows of an event."""
    if constraint.period is not None:
        return _in_period(date, constraint)
    name = study_event(constraint)
    if name is not None:
        return _from_study(model, date, row_type, name, constraint, timeline)
    event = constraint.event
    if event is None:
        text = f" ({constraint.description})" if constraint.description else ""
        raise NotComputable(
            f"{constraint.origin} names no event that can be found in the data{text}", Reason.NEEDS_REVIEW
        )
    if event.kind == "date" and event.date:
        return _window(date, f"@{event.date}", constraint)
    tests, present = [], []
    selections, name = _event_rows(model, constraint, timeline)
    for chosen in selections:
        event_dates = date_paths(model, chosen.type)
        if event_dates:
            window = _window(outer, first_of(event_dates), constraint)
            tests.append(f"{chosen.rows}.exists({window})")
            present.append(f"{chosen.rows}.exists()")
    if not tests:
        raise NotComputable(f"{constraint.origin}: the event has no date")
    absent = f"({' or '.join(present)}).not()"
    timeline.cause(
        TextCause(absent, Reason.NO_DATA, f"there is no record of the event {name!r} that the time is counted from")
    )
    return f"defineVariable('row').select({' or '.join(tests)} or ({absent} and {{}}))"


def _event_rows(model: Model, constraint: TimeConstraint, timeline: Timeline) -> tuple[list[Selection], str]:
    """Rows that record the event of a constraint, and its name. Raises NotComputable."""
    event = constraint.event
    assert event is not None
    if event.kind == "concept" and event.concept is not None:
        name = label(event.concept)
        coded = [coding for coding in event.concept.codings if coding.code]
        if coded and all(coding.system in _STUDY_EVENT_SYSTEMS for coding in coded):
            raise NotComputable(
                f"{constraint.origin}: the event {name!r} is a kind of event, and no record", Reason.NEEDS_REVIEW
            )
        return concept_selections(model, event.concept, EVENT_KINDS), name
    if event.kind == "id" and event.id:
        found = timeline.linked(event.id)
        if found is None:
            raise NotComputable(
                f"{constraint.origin}: no characteristic has the linkId {event.id!r}", Reason.UNRESOLVED_REFERENCE
            )
        if isinstance(found, str):
            raise NotComputable(
                f"{constraint.origin}: the event is the characteristic {event.id!r}, which needs a person: {found}",
                Reason.NEEDS_REVIEW,
            )
        return found, event.id
    raise NotComputable(f"{constraint.origin}: an event given as {event.kind} cannot be found in the data")


# -- relative to the study


def _from_study(
    model: Model, date: TimeSpan, row_type: str, name: str, constraint: TimeConstraint, timeline: Timeline
) -> str:
    """A window around an event of the study, by days where its limits are days or longer."""
    by_day = all(_of_days(limit) for limit in _limits(constraint))
    day = timeline.day(name)
    event = day if by_day or timeline.study_start is not None else "now()"
    if constraint.quantity is None and constraint.range is None:
        raise NotComputable(f"{constraint.origin} gives neither a quantity nor a range", Reason.NEEDS_REVIEW)
    if at_once(constraint):
        return _holds_at(model, row_type, date, event)
    _check_future(name, event, constraint, timeline)
    moment = constraint.quantity
    if moment is not None and moment.comparator is None and by_day:
        return _holds_at(model, row_type, date, shifted(event, moment))
    return _window(replace(date, by_day=by_day), event, constraint)


def _limits(constraint: TimeConstraint) -> list[QuantityValue]:
    found = [constraint.quantity]
    if constraint.range is not None:
        found += [constraint.range.low, constraint.range.high]
    return [limit for limit in found if limit is not None and limit.value is not None]


def _of_days(limit: QuantityValue) -> bool:
    if not limit.value and not has_unit(limit):
        return True
    return calendar_unit(limit) in ("years", "months", "weeks", "days")


def at_once(constraint: TimeConstraint) -> bool:
    """Whether the constraint means the moment of the event itself."""
    quantity = constraint.quantity
    return quantity is not None and quantity.value == 0 and quantity.comparator is None


def _later(limit: QuantityValue | None) -> bool:
    """Whether a limit lets dates after the event pass."""
    if limit is None or limit.value is None:
        return False
    return limit.value > 0 or (limit.value == 0 and limit.comparator in (">", ">="))


def _check_future(name: str, event: str, constraint: TimeConstraint, timeline: Timeline) -> None:
    """A window that reaches beyond the evaluation can still be met: until then nobody knows that it is not."""
    last, without_end = _last(constraint)
    if last is None or not _later(last):
        return
    if timeline.study_start is None:
        raise NotComputable(
            f"{constraint.origin}: the time lies after {name}, which is the time of evaluation; "
            "give the date of the study's start (--study-start) to evaluate it later",
            Reason.NEEDS_REVIEW,
        )
    if without_end:
        timeline.until("true", f"the time counted from {name} has no end before the evaluation")
        return
    end = shifted(event, last)
    timeline.until(f"{end} > today()", f"the time counted from {name} ends after the evaluation ({end})")


def _last(constraint: TimeConstraint) -> tuple[QuantityValue | None, bool]:
    """The limit that a window ends with, and whether it has no end: it begins at that limit."""
    if constraint.quantity is not None:
        return constraint.quantity, constraint.quantity.comparator in (">", ">=")
    if constraint.range is None:
        return None, False
    return (constraint.range.high, False) if constraint.range.high is not None else (constraint.range.low, True)


# When a state holds: its start, its end, and a test that it has ended although no end is recorded.
_STATES = {
    "Condition": (
        "(onset.ofType(dateTime) | onset.ofType(Period).start | where(onset.empty()).recordedDate).first()",
        "(abatement.ofType(dateTime) | abatement.ofType(Period).end).first()",
        "abatement.exists() or clinicalStatus.coding.exists(code in ('inactive' | 'resolved' | 'remission'))",
    ),
    "Encounter": (
        "{period}.start",
        "{period}.end",
        "status in ('finished' | 'completed' | 'discharged')",
    ),
    "EpisodeOfCare": ("period.start", "period.end", "status = 'finished'"),
    "MedicationStatement": (
        "(effective.ofType(dateTime) | effective.ofType(Period).start).first()",
        "effective.ofType(Period).end",
        "status in ('completed' | 'stopped')",
    ),
    "MedicationAdministration": (
        "({administered}.ofType(dateTime) | {administered}.ofType(Period).start).first()",
        "{administered}.ofType(Period).end",
        "status in ('completed' | 'stopped')",
    ),
    "MedicationRequest": ("authoredOn", "{{}}", "status in ('completed' | 'stopped' | 'ended')"),
    "MedicationDispense": ("(whenHandedOver | whenPrepared).first()", "{{}}", "true"),
    "AllergyIntolerance": (
        "(onset.ofType(dateTime) | onset.ofType(Period).start | where(onset.empty()).recordedDate).first()",
        "{{}}",
        "clinicalStatus.coding.exists(code in ('inactive' | 'resolved'))",
    ),
    "DeviceUseStatement": (
        "(timing.ofType(dateTime) | timing.ofType(Period).start).first()",
        "timing.ofType(Period).end",
        "status = 'completed'",
    ),
    "DeviceUsage": (
        "(timing.ofType(dateTime) | timing.ofType(Period).start).first()",
        "timing.ofType(Period).end",
        "status = 'completed'",
    ),
}


def _state(model: Model, row_type: str) -> tuple[str, str, str]:
    period = model.first_of("Encounter", "period", "actualPeriod")
    administered = model.first_of("MedicationAdministration", "effective", "occurence")
    start, end, ended = (part.format(period=period, administered=administered) for part in _STATES[row_type])
    return start, end, ended


def _holds_at(model: Model, row_type: str, date: TimeSpan, day: str) -> str:
    """That a row holds on a day: a state that began by then and has not ended, an event of that day; what runs in the family always does."""
    if row_type == "FamilyMemberHistory":
        return "true"
    if row_type not in _STATES:
        return date.on(day)
    start, end, ended = _state(model, row_type)
    if end == "{}":
        return f"{start}.toDate() <= {day} and (({ended}).not() or {{}})"
    lasts = f"iif({end}.exists(), {end}.toDate() >= {day}, ({ended}).not() or {{}})"
    return f"{start}.toDate() <= {day} and {lasts}"


def study_day(constraint: TimeConstraint, timeline: Timeline) -> str | None:
    """FHIRPath for the day that a property of the patient is asked for, None where it is not the day of an event of the study."""
    name = study_event(constraint)
    nothing = constraint.quantity is None and constraint.range is None and constraint.period is None
    if name is None or not (nothing or at_once(constraint)):
        return None
    return timeline.day(name)


# -- windows


def _window(date: TimeSpan, event: str, constraint: TimeConstraint) -> str:
    if constraint.range is not None:
        low, high = constraint.range.low, constraint.range.high
        parts = []
        if low is not None:
            parts.append(date.since(">=", shifted(event, low)))
        if high is not None:
            parts.append(date.until("<=", shifted(event, high)))
        if not parts:
            raise NotComputable(f"{constraint.origin}: the range has no limits")
        return " and ".join(parts)
    if constraint.quantity is not None:
        return _at(date, event, constraint.quantity)
    raise NotComputable(f"{constraint.origin} gives neither a quantity nor a range", Reason.NEEDS_REVIEW)


def _at(date: TimeSpan, event: str, quantity: QuantityValue) -> str:
    """A quantity is one point in time; with a comparator it is one side of it."""
    point, sign = shifted(event, quantity), quantity.comparator
    if sign in ("<", "<="):
        # an offset counts from the event: less than a year after it lies between the two
        after = quantity.value is not None and quantity.value > 0
        return f"{date.since('>=', event)} and {date.until(sign, point)}" if after else date.until(sign, point)
    if sign in (">", ">="):
        # ... and so does later than a year before it
        before = quantity.value is not None and quantity.value < 0
        return f"{date.since(sign, point)} and {date.until('<=', event)}" if before else date.since(sign, point)
    return date.on(f"{point}.toDate()")


def _in_period(date: TimeSpan, constraint: TimeConstraint) -> str:
    """Within a Period, both of whose bounds belong to it with all that they match: an end of `2026-02` is its last day."""
    period = constraint.period
    assert period is not None
    parts = []
    for sign, bound in ((">=", period.start), ("<=", period.end)):
        if not bound:
            continue
        days = replace(date, by_day="T" not in bound)
        point = f"@{whole_day(bound, last=sign == '<=')}"
        parts.append(days.since(sign, point) if sign == ">=" else days.until(sign, point))
    if not parts:
        raise NotComputable(f"{constraint.origin}: the period has neither start nor end")
    return " and ".join(parts)


def duration_test(model: Model, row_type: str, duration: QuantityValue | RangeValue) -> str:
    """FHIRPath condition on a row: that it lasted (or has lasted until now) as long as a duration says. Raises NotComputable."""
    if row_type == "Observation":
        start, end = "effective.ofType(Period).start", "effective.ofType(Period).end"
    elif row_type in _STATES and row_type not in ("MedicationRequest", "MedicationDispense"):
        start, end, ended = _state(model, row_type)
        end = f"({end} | iif({ended}, {{}}, now())).first()"
    else:
        raise NotComputable(f"duration: {row_type} records no span of time")
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
