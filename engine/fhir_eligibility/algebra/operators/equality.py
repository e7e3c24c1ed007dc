"""Equality, equivalence and order of values of any type, as CQL defines them (CQL reference: "Comparison Operators").

The compiler picks an overload for simple types; these functions serve structured values and those whose type is known only at run
time. `equal` is three-valued, `equivalent` is not.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cmp_to_key
from typing import Any

from fhir_eligibility.algebra import temporal as t
from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.operators.comparison import equal_any, equivalent_any, equivalent_decimals
from fhir_eligibility.algebra.operators.registry import OperatorTraits, operator
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values import clinical as c
from fhir_eligibility.algebra.values import interval as iv
from fhir_eligibility.algebra.values import points as p
from fhir_eligibility.algebra.values import quantity as q
from fhir_eligibility.algebra.values.clinical import Code, Concept, Ratio, Tuple
from fhir_eligibility.algebra.values.element import Element, to_system
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.points import Uncertainty
from fhir_eligibility.algebra.values.quantity import Quantity

_NUMBERS = (int, Decimal)
_TEMPORAL = (Date, DateTime, Time)


def equal(a: Any, b: Any) -> bool | None:
    """`=` of two values: None where either is null or what is recorded does not decide (CQL: Equal)."""
    if a is None or b is None:
        return None
    kind, other = a.__class__, b.__class__
    if kind is str and other is str:
        return bool(a == b)
    if kind is Uncertainty or other is Uncertainty:
        return p.equal(a, b) if _comparable(p.ends(a)[0], p.ends(b)[0]) else False
    if kind is bool or other is bool:
        return a is b
    if isinstance(a, _NUMBERS):
        if isinstance(b, _NUMBERS):
            return bool(a == b)
        return q.equal(Quantity(Decimal(a)), b) if other is Quantity else False
    if kind in _TEMPORAL:
        if kind is other:
            return None if (sign := t.order(a, b)) is None else sign == 0
        if Time in (kind, other) or other not in _TEMPORAL:
            return False
        return None if (sign := t.order(*_as_datetimes(a, b))) is None else sign == 0
    if kind is Quantity and other is Quantity:
        return q.equal(a, b)
    if kind is list and other is list:
        return equal_lists(a, b)
    if kind is Interval and other is Interval:
        if a.point != b.point:  # as values of a choice; their points may be of kinds that have no order
            return iv.both(equal(iv.start(a), iv.start(b)), equal(iv.end(a), iv.end(b)))
        return iv.same_as(a, b)
    if kind is Tuple and other is Tuple:
        return equal_tuples(a, b)
    if kind is Code and other is Code:
        return equal_tuples(_fields(a), _fields(b))
    if kind is Concept and other is Concept:
        return equal_tuples(_fields(a), _fields(b))
    if kind is Ratio and other is Ratio:
        return c.equal_ratios(a, b)
    if kind in (dict, Element) or other in (dict, Element):
        return equal_any(a, b)
    return kind is other and bool(a == b)


def _comparable(a: Any, b: Any) -> bool:
    """Whether two points are of kinds that are ordered with each other."""
    return a.__class__ is b.__class__ or (isinstance(a, _NUMBERS) and isinstance(b, _NUMBERS))


def _as_datetimes(a: Any, b: Any) -> tuple[Any, Any]:
    def one(value: Any, other: Any) -> Any:
        if value.__class__ is DateTime:
            return value
        offset = other.offset_minutes if other.__class__ is DateTime else None
        return DateTime.of(value._parts, offset, True)

    return one(a, b), one(b, a)


def _fields(value: Code | Concept) -> dict[str, Any]:
    if isinstance(value, Code):
        return {"code": value.code, "system": value.system, "version": value.version, "display": value.display}
    return {"codes": list(value.codes), "display": value.display}


def equal_lists(a: list[Any], b: list[Any]) -> bool | None:
    """`=` of two lists: same length, equal in order; two nulls are equal to each other."""
    if len(a) != len(b):
        return False
    result: bool | None = True
    for x, y in zip(a, b, strict=True):
        if x is None and y is None:
            continue
        same = equal(x, y)
        if same is False:
            return False
        if same is None:
            result = None
    return result


def equal_tuples(a: dict[str, Any], b: dict[str, Any]) -> bool | None:
    """`=` of two tuples of one type: equal by name, two nulls equal to each other.

    The first element that is not equal decides, as the official tests have it: unknown there is unknown, whatever follows.
    """
    if a.keys() != b.keys():
        return False
    for key, x in a.items():
        y = b[key]
        if x is None and y is None:
            continue
        same = equal(x, y)
        if same is not True:
            return same
    return True


def equivalent(a: Any, b: Any) -> bool:
    """`~` of two values: never null, two nulls are equivalent (CQL: Equivalent)."""
    if a is None or b is None:
        return a is b
    kind, other = a.__class__, b.__class__
    if kind is Uncertainty or other is Uncertainty:
        return p.equal(a, b) is True
    if kind is bool or other is bool:
        return a is b
    if isinstance(a, _NUMBERS) and isinstance(b, _NUMBERS):
        return equivalent_decimals(Decimal(a), Decimal(b))
    if kind in _TEMPORAL:
        return equal(a, b) is True
    if kind is list and other is list:
        return equivalent_lists(a, b)
    if kind is Interval and other is Interval:
        return equivalent_intervals(a, b)
    if kind is Tuple and other is Tuple:
        return a.keys() == b.keys() and all(equivalent(x, b[key]) for key, x in a.items())
    if kind in (Code, Concept) and other in (Code, Concept):
        return c.equivalent_concepts(a, b)
    if kind is Ratio and other is Ratio:
        return c.equivalent_ratios(a, b)
    return equivalent_any(a, b)


def equivalent_lists(a: list[Any], b: list[Any]) -> bool:
    """`~` of two lists: same length, equivalent in order."""
    return len(a) == len(b) and all(equivalent(x, y) for x, y in zip(a, b, strict=True))


def equivalent_intervals(a: Interval, b: Interval) -> bool:
    """`~` of two intervals: equivalent start and end."""

    def same(x: Any, y: Any) -> bool:
        if x.__class__ is Uncertainty and y.__class__ is Uncertainty:
            return equivalent(x.low, y.low) and equivalent(x.high, y.high)
        return equivalent(x, y)

    return same(iv.start(a), iv.start(b)) and same(iv.end(a), iv.end(b))


def sign(a: Any, b: Any) -> int:
    """Order of two values for sorting; nulls come first. Raises EvaluationError `not-comparable`, or `uncertain` for ranges that overlap."""
    if a is None or b is None:
        return (a is not None) - (b is not None)
    if a.__class__ in (Element, dict):
        a = to_system(a)
    if b.__class__ in (Element, dict):
        b = to_system(b)
    kinds: Any = (a.__class__, b.__class__)
    if kinds == (str, str) or (kinds[0] in _NUMBERS and kinds[1] in _NUMBERS):
        x, y = a, b
        return int(x > y) - int(x < y)
    if isinstance(a, _TEMPORAL) and isinstance(b, _TEMPORAL) and (a.__class__ is Time) is (b.__class__ is Time):
        if a.__class__ is not b.__class__:
            a, b = _as_datetimes(a, b)
        found = t.order(a, b)
        if found is not None:
            return found
        x, y = t.sort_key(a), t.sort_key(b)
        return (x > y) - (x < y)
    if a.__class__ is Quantity and b.__class__ is Quantity:
        found = q.compare(a, b)
        if found is None:
            raise EvaluationError("not-comparable", f"{a} and {b} have units that cannot be ordered")
        return found
    if a.__class__ is Uncertainty or b.__class__ is Uncertainty:
        if p.less(a, b) or p.less(b, a):
            return -1 if p.less(a, b) else 1
        raise EvaluationError(
            "uncertain", f"{a} and {b} cannot be ordered: at least one is only known to lie in a range"
        )
    raise EvaluationError("not-comparable", f"cannot order {a!r} and {b!r}")


def sort_values(values: list[Any], descending: bool = False) -> list[Any]:
    """Values in ascending or descending order, nulls first or last."""
    return sorted(values, key=cmp_to_key(sign), reverse=descending)


# -- the overloads on types without one of their own

operator("Equal", "(T, T) Boolean?", language="cql")(equal)
operator(
    "NotEqual",
    "(T, T) Boolean?",
    cql="!=",
    section="Comparison: Not Equal",
    language="cql",
    traits=OperatorTraits(symbol="!=", ranges=True, reports=True, looks="compares"),
)(lambda a, b: None if (same := equal(a, b)) is None else not same)
operator(
    "Equivalent",
    "(T, T) Boolean",
    "(Concept, Code) Boolean",
    cql="~",
    section="Comparison: Equivalent",
    nulls="handled",
    language="cql",
    traits=OperatorTraits(ranges=True, tells_codes=True),
)(equivalent)
