"""Operators on intervals (CQL reference: "Interval Operators"). What they mean stands in `fhir_eligibility.algebra.values.interval`."""

from __future__ import annotations

from typing import Any

from fhir_eligibility.algebra.operators.registry import OperatorTraits, operator
from fhir_eligibility.algebra.values import interval as iv
from fhir_eligibility.algebra.values import points as p
from fhir_eligibility.algebra.values.interval import Interval

_I = "(Interval<T>, Interval<T>) Boolean?"
_POINTS = ("(Date, Date) Boolean?", "(DateTime, DateTime) Boolean?", "(Time, Time) Boolean?")
_MIXED = ("(T, Interval<T>) Boolean?", "(Interval<T>, T) Boolean?")

operator(
    "Start",
    "(Interval<T>) T?",
    cql="start_of",
    section="Interval: Start",
    language="cql",
    traits=OperatorTraits(same_value=True),
)(iv.start_of)
operator(
    "End",
    "(Interval<T>) T?",
    cql="end_of",
    section="Interval: End",
    language="cql",
    traits=OperatorTraits(same_value=True),
)(iv.end_of)
operator(
    "PointFrom",
    "(Interval<T>) T?",
    cql="point_from",
    section="Interval: Point From",
    language="cql",
    traits=OperatorTraits(fails=True),
)(iv.point_from)
_NUMERIC = (
    "(Interval<Integer>) Integer?",
    "(Interval<Long>) Long?",
    "(Interval<Decimal>) Decimal?",
    "(Interval<Quantity>) Quantity?",
)
operator("Width", *_NUMERIC, cql="width_of", section="Interval: Width", language="cql")(iv.width)
operator("Size", *_NUMERIC, cql="Size", section="Interval: Size", language="cql")(iv.size)


_REPORTS = OperatorTraits(reports=True)


def _relation(
    name: str,
    surface: str,
    section: str,
    function: Any,
    *extra: str,
    traits: OperatorTraits | None = _REPORTS,
) -> None:
    operator(name, _I, *extra, cql=surface, section=section, language="cql", precise=True, traits=traits)(function)


def _order(dates: Any, turned: str) -> OperatorTraits:
    return OperatorTraits(ranges=True, reports=True, dates=dates, turned=turned)


_relation("Before", "before", "Interval: Before", iv.before, *_MIXED, *_POINTS, traits=_order("earlier", "After"))
_relation("After", "after", "Interval: After", iv.after, *_MIXED, *_POINTS, traits=_order("later", "Before"))
_relation(
    "SameOrBefore",
    "same_or_before on_or_before before_or_on",
    "Interval: Same Or Before",
    iv.same_or_before,
    *_MIXED,
    *_POINTS,
    traits=_order("earlier", "SameOrAfter"),
)
_relation(
    "SameOrAfter",
    "same_or_after on_or_after after_or_on",
    "Interval: Same Or After",
    iv.same_or_after,
    *_MIXED,
    *_POINTS,
    traits=_order("later", "SameOrBefore"),
)
_relation("SameAs", "same_as", "Interval: Same As", iv.same_as, traits=_order("same", "SameAs"))
_relation(
    "IncludedIn", "included_in during", "Interval: Included In", lambda a, b, x=None: iv.includes(b, a, x), traits=None
)
_relation("Includes", "includes", "Interval: Includes", iv.includes, traits=None)
_relation(
    "ProperIncludedIn",
    "properly_included_in properly_during",
    "Interval: Properly Included In",
    lambda a, b, x=None: iv.properly_includes(b, a, x),
    traits=OperatorTraits(reports=True, looks="compares", dates="within"),
)
_relation("ProperIncludes", "properly_includes", "Interval: Properly Includes", iv.properly_includes, traits=None)
_relation("Overlaps", "overlaps", "Interval: Overlaps", iv.overlaps)
_relation("OverlapsBefore", "overlaps_before", "Interval: Overlaps", iv.overlaps_before)
_relation("OverlapsAfter", "overlaps_after", "Interval: Overlaps", iv.overlaps_after)
_relation("Meets", "meets", "Interval: Meets", iv.meets)
_relation("MeetsBefore", "meets_before", "Interval: Meets", iv.meets_before)
_relation("MeetsAfter", "meets_after", "Interval: Meets", iv.meets_after)
_relation("Starts", "starts", "Interval: Starts", iv.starts)
_relation("Ends", "ends", "Interval: Ends", iv.ends)


@operator("SameAs", *_POINTS, language="cql", precise=True)
def same_point(a: Any, b: Any, precision: str | None = None) -> bool | None:
    return p.equal(a, b, precision)


@operator(
    "In",
    "(T, Interval<T>) Boolean?",
    cql="in",
    section="Interval: In",
    nulls="handled",
    language="cql",
    precise=True,
    traits=OperatorTraits(
        ranges=True, reports=True, looks="compares", moves="mixed up", dates="within", tells_codes=True
    ),
)
def point_in(point: Any, i: Interval | None, precision: str | None = None) -> bool | None:
    if point is None:
        return None
    return False if i is None else iv.contains(i, point, precision)


@operator(
    "Contains",
    "(Interval<T>, T) Boolean?",
    cql="contains",
    section="Interval: Contains",
    nulls="handled",
    language="cql",
    precise=True,
    traits=OperatorTraits(
        ranges=True, reports=True, looks="compares", moves="up mixed", dates="around", turned="In", tells_codes=True
    ),
)
def interval_contains(i: Interval | None, point: Any, precision: str | None = None) -> bool | None:
    return point_in(point, i, precision)


@operator(
    "ProperIn",
    "(T, Interval<T>) Boolean?",
    section="Interval: Properly Included In",
    nulls="handled",
    language="cql",
    precise=True,
    traits=OperatorTraits(ranges=True, reports=True, looks="compares", dates="within"),
)
def point_properly_in(point: Any, i: Interval | None, precision: str | None = None) -> bool | None:
    if point is None:
        return None
    return False if i is None else iv.properly_contains(i, point, precision)


@operator(
    "ProperContains",
    "(Interval<T>, T) Boolean?",
    section="Interval: Properly Includes",
    nulls="handled",
    language="cql",
    precise=True,
    traits=OperatorTraits(ranges=True, reports=True, looks="compares", dates="around", turned="ProperIn"),
)
def interval_properly_contains(i: Interval | None, point: Any, precision: str | None = None) -> bool | None:
    return point_properly_in(point, i, precision)


_SET = "(Interval<T>, Interval<T>) Interval<T>?"
operator(
    "Union",
    _SET,
    cql="union |",
    section="Interval: Union",
    language="cql",
    traits=OperatorTraits(looks="compares", moves="up up"),
)(iv.union)
operator(
    "Intersect",
    _SET,
    cql="intersect",
    section="Interval: Intersect",
    language="cql",
    traits=OperatorTraits(looks="compares", moves="up up"),
)(iv.intersect)
operator(
    "Except",
    _SET,
    cql="except",
    section="Interval: Except",
    language="cql",
    traits=OperatorTraits(looks="compares", moves="up down"),
)(iv.except_)
