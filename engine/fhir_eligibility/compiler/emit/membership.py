"""What `in` and `contains` turn into where the bounds of the interval, or the texts of the list, stand in the library: no call."""

from __future__ import annotations

from typing import Any

from fhir_eligibility.algebra.temporal import Date, DateTime
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.types import DATE, DATETIME, DECIMAL, INTEGER, LONG
from fhir_eligibility.compiler.emit.certainty import texts_of
from fhir_eligibility.compiler.emit.emitter import Emitter, emits_inline
from fhir_eligibility.compiler.emit.python import NONE, Emitted, called, fast_path, py, template
from fhir_eligibility.compiler.emit.values import in_order

E = Emitter
# The class that a value of a point type has where it is one whole value; `moment` is what points in time are compared by.
_CLASSES = {INTEGER: py("int"), LONG: py("int"), DECIMAL: py("Decimal"), DATE: py("Date"), DATETIME: py("DateTime")}
# A value between two others, by whether each of these belongs to it.
_BETWEEN = {
    (True, True): template("{0} <= {1} <= {2}"),
    (True, False): template("{0} <= {1} < {2}"),
    (False, True): template("{0} < {1} <= {2}"),
    (False, False): template("{0} < {1} < {2}"),
}


@emits_inline("In")
def _in(e: E, node: n.Operation, operands: list[Emitted]) -> Emitted | None:
    return _member(e, node, 0, operands)


@emits_inline("Contains")
def _contains(e: E, node: n.Operation, operands: list[Emitted]) -> Emitted | None:
    return _member(e, node, 1, operands)


def _member(e: E, node: n.Operation, index: int, operands: list[Emitted]) -> Emitted | None:
    """Two comparisons where the point is one whole value, else the call; None where the bounds are not known beforehand."""
    texts = texts_of(node)
    if texts is not None:
        return _text_among(e, node, texts, index, operands)
    point, interval = node.operands[index], node.operands[1 - index]
    name = _CLASSES.get(point.result)
    if name is None or not isinstance(interval, n.NewInterval) or node.precision is not None:
        return None
    bounds = interval.operands[:2]
    limited = [bound for bound in bounds if isinstance(bound, n.Literal) and bound.result == point.result]
    if len(limited) != 2 or not in_order(limited[0].value, limited[1].value):
        return None
    low, high = (_compared(e, bound) for bound in limited)
    if low is None or high is None:
        return None
    value = operands[index] = e.temp(operands[index])
    between = _BETWEEN[interval.low_closed, interval.high_closed]
    call = called(e.overload(node.overload), operands)
    if value == NONE:
        return call
    if point.result in (DATE, DATETIME):
        moment = py("{0}.moment", value)
        whole = py("{0}.__class__ is {1} and {2} is not None", value, name, moment)
    else:
        moment, whole = value, py("{0}.__class__ is {1}", value, name)
    return py("({0} if {1} else {2})", between(low, moment, high), whole, call)


def _text_among(e: E, node: n.Operation, texts: tuple[str, ...], index: int, operands: list[Emitted]) -> Emitted | None:
    """A lookup where the item is a text, else the call."""
    if e.traced:
        operands[index] = e.temp(operands[index])
    value = operands[index]
    if not value.is_plain:
        return None
    call = called(e.overload(node.overload), operands)
    if value == NONE:
        return call
    return fast_path(py("({0} in {1} if {0}.__class__ is str else {2})", value, e.constant(texts), call), call)


def _compared(e: E, bound: n.Literal) -> Emitted | None:
    """A bound in the form that is compared; None for a point in time that is not known to its last component."""
    value: Any = bound.value
    if value.__class__ is Date:
        return e.constant(value.moment) if value.moment is not None else None
    if value.__class__ is DateTime:
        return e.once_a_call(py("{0}.moment", e.value(bound))) if value.millisecond is not None else None
    return e.value(bound)
