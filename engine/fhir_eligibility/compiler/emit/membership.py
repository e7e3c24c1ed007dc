"""What `in` and `contains` turn into where the bounds of the interval, or the texts of the list, stand in the library: no call."""

from __future__ import annotations

from typing import Any

from fhir_eligibility.algebra.temporal import Date, DateTime
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.types import DATE, DATETIME, DECIMAL, INTEGER, LONG
from fhir_eligibility.compiler.emit.cql_emitter import INLINE, CqlEmitter
from fhir_eligibility.compiler.emit.cql_nodes import in_order
from fhir_eligibility.compiler.emit.fast_path import FastPath, texts_of

E = CqlEmitter
# The class that a value of a point type has where it is one whole value; `moment` is what points in time are compared by.
_CLASSES = {INTEGER: "int", LONG: "int", DECIMAL: "Decimal", DATE: "Date", DATETIME: "DateTime"}


def _in(e: E, node: n.Operation, operands: list[str]) -> str | None:
    return _member(e, node, 0, operands)


def _contains(e: E, node: n.Operation, operands: list[str]) -> str | None:
    return _member(e, node, 1, operands)


def _member(e: E, node: n.Operation, index: int, operands: list[str]) -> str | None:
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
    limits = [_compared(e, bound) for bound in limited]
    if None in limits:
        return None
    value = operands[index] = e.temp(operands[index])
    low, high = ("<=" if closed else "<" for closed in (interval.low_closed, interval.high_closed))
    overload = node.overload
    call = f"{e.overload(overload)}({', '.join(operands)})"
    if value == "None":
        return call
    if name in ("Date", "DateTime"):
        moment = f"{value}.moment"
        whole = f"{value}.__class__ is {name} and {moment} is not None"
    else:
        moment, whole = value, f"{value}.__class__ is {name}"
    return f"({limits[0]} {low} {moment} {high} {limits[1]} if {whole} else {call})"


def _text_among(e: E, node: n.Operation, texts: tuple[str, ...], index: int, operands: list[str]) -> str | None:
    """A lookup where the item is a text, else the call."""
    if e.traced:
        operands[index] = e.temp(operands[index])
    value = operands[index]
    if not value.isidentifier():
        return None
    call = f"{e.overload(node.overload)}({', '.join(operands)})"
    if value == "None":
        return call
    return FastPath(f"({value} in {e.constant(texts)} if {value}.__class__ is str else {call})", call)


def _compared(e: E, bound: n.Literal) -> str | None:
    """A bound in the form that is compared; None for a point in time that is not known to its last component."""
    value: Any = bound.value
    if value.__class__ is Date:
        return e.constant(value.moment) if value.moment is not None else None
    if value.__class__ is DateTime:
        return e.once_a_call(f"{e.value(bound)}.moment") if value.millisecond is not None else None
    return e.value(bound)


INLINE["In"] = _in
INLINE["Contains"] = _contains
