"""Filters by date as FHIR writes them: DataRequirement.dateFilter, and the date parameters of a search (FHIR: "date" search parameters)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from fhir_eligibility.algebra.temporal import Date, DateTime
from fhir_eligibility.algebra.temporal.between import extent
from fhir_eligibility.compiler.analysis.dates import DateBounds, Moment

Json = dict[str, Any]
_DAY = dt.timedelta(days=1)
# The search parameters of the specification that find a resource by the dates of an element. An element that may also hold an age has one only
# where that is of no use to a comparison of dates.
_SEARCH = {
    ("AllergyIntolerance", "recordedDate"): "date",
    ("CarePlan", "period"): "date",
    ("CareTeam", "period"): "date",
    ("ClinicalImpression", "date"): "date",
    ("Communication", "sent"): "sent",
    ("Communication", "received"): "received",
    ("Composition", "date"): "date",
    ("Condition", "abatement"): "abatement-date",
    ("Condition", "onset"): "onset-date",
    ("Condition", "recordedDate"): "recorded-date",
    ("DeviceRequest", "authoredOn"): "authored-on",
    ("DiagnosticReport", "effective"): "date",
    ("DiagnosticReport", "issued"): "issued",
    ("DocumentReference", "date"): "date",
    ("Encounter", "period"): "date",
    ("Encounter", "actualPeriod"): "date",
    ("EpisodeOfCare", "period"): "date",
    ("FamilyMemberHistory", "date"): "date",
    ("ImagingStudy", "started"): "started",
    ("Immunization", "occurrence"): "date",
    ("MedicationAdministration", "effective"): "effective-time",
    ("MedicationDispense", "whenHandedOver"): "whenhandedover",
    ("MedicationDispense", "whenPrepared"): "whenprepared",
    ("MedicationRequest", "authoredOn"): "authoredon",
    ("MedicationStatement", "effective"): "effective",
    ("Observation", "effective"): "date",
    ("Procedure", "occurrence"): "date",
    ("Procedure", "performed"): "date",
    ("QuestionnaireResponse", "authored"): "authored",
    ("RiskAssessment", "occurrence"): "date",
    ("ServiceRequest", "authoredOn"): "authored",
    ("ServiceRequest", "occurrence"): "occurrence",
    ("Task", "authoredOn"): "authored-on",
}


def date_filter(found: DateBounds) -> Json:
    """A DataRequirement.dateFilter: the path, and the period where a bound of it is known."""
    period = {key: _text(x) for key, x in (("start", found.low), ("end", found.high)) if x is not None}
    return {"path": found.path, "valuePeriod": period} if period else {"path": found.path}


def _text(value: Moment) -> str:
    """A moment as a FHIR dateTime. One without seconds or offset is written as its day, which holds it."""
    text = str(value)
    if not isinstance(value, DateTime):
        return text
    if value.second is None or value.offset_minutes is None:
        return text.partition("T")[0]
    if value.implied:
        hours, minutes = divmod(abs(value.offset_minutes), 60)
        text += f"{'-' if value.offset_minutes < 0 else '+'}{hours:02}:{minutes:02}"
    return text


def date_search(resource_type: str, found: Iterable[DateBounds]) -> str:
    """The parameters of a search that keep every resource with dates in all of the filters, and perhaps some more.

    A search takes a period that overlaps, and a date that is not whole, for one in range. It reads a day in the server's time zone: so the bounds
    are moved by a day. An end that moves with the clock is left out. Empty where no parameter finds by an element.
    """
    texts: list[str] = []
    for x in found:
        parameter = _SEARCH.get((resource_type, x.element))
        if parameter is None:
            continue
        if x.low is not None:
            texts.append(f"{parameter}=ge{_day(x.low, late=False) - _DAY}")
        if x.high is not None and not x.moving:
            texts.append(f"{parameter}=le{_day(x.high, late=True) + _DAY}")
    return "&".join(dict.fromkeys(texts))


def _day(value: Date | DateTime, *, late: bool) -> dt.date:
    """The first or last day that a moment may lie in, as written."""
    return extent(value)[late].date()
