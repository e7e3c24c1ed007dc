"""Comparisons of quantities that are only bounds (FHIR: Quantity.comparator): `<0.1 ng/mL` is less than 4 ng/mL, whatever it is; whether `<5` is, nobody can tell.

A bound stands for all values on one side of it. A comparison is decided where it comes out the same for every value.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from fhir_eligibility.algebra.values import quantity as q
from fhir_eligibility.algebra.values.element import Element, to_quantity
from fhir_eligibility.algebra.values.quantity import Quantity

_UP, _DOWN = (">", ">="), ("<", "<=")


class _Range(Struct, frozen=True):
    """The values that a quantity may have: None is without limit."""

    low: Quantity | None
    high: Quantity | None
    low_closed: bool = True
    high_closed: bool = True


def compare_bounds(kind: str, left: Any, right: Any) -> bool | None:
    """Whether one quantity is `Less`, `LessOrEqual`, `Greater`, `GreaterOrEqual` or `Equal` than another; either may be a bound. None where it cannot be told.

    Takes quantities of FHIR (objects) and of System; units are converted as for any comparison.
    """
    a, b = _range(left), _range(right)
    if a is None or b is None:
        return None
    if kind == "Less":
        return _less(a, b)
    if kind == "Greater":
        return _less(b, a)
    if kind == "LessOrEqual":
        above = _less(b, a)
        return None if above is None else not above
    if kind == "GreaterOrEqual":
        below = _less(a, b)
        return None if below is None else not below
    return False if _less(a, b) is True or _less(b, a) is True else None


def _range(value: Any) -> _Range | None:
    if value.__class__ is Element:
        value = value.value
    if value.__class__ is not dict:
        exact = value if value.__class__ is Quantity else None
        return None if exact is None else _Range(exact, exact)
    comparator = value.get("comparator")
    found = to_quantity({name: item for name, item in value.items() if name not in ("comparator", "_comparator")})
    if found is None or "_comparator" in value:
        return None
    if comparator is None:
        return _Range(found, found)
    if comparator in _DOWN:
        return _Range(None, found, high_closed=comparator == "<=")
    return _Range(found, None, low_closed=comparator == ">=") if comparator in _UP else None


def _less(a: _Range, b: _Range) -> bool | None:
    """Whether every value of one is less than every value of another (True), none is (False), or some."""
    if a.high is not None and b.low is not None:
        order = q.compare(a.high, b.low)
        if order is not None and (order < 0 or order == 0 and not (a.high_closed and b.low_closed)):
            return True
    if a.low is not None and b.high is not None:
        order = q.compare(a.low, b.high)
        if order is not None and order >= 0:
            return False
    return None
