"""Tests on the value of an Observation or one of its components, as FHIRPath: quantities, ranges, coded values, truth values.

A value that is missing, or of another type than is asked for, decides nothing: the test is unknown.
"""

from __future__ import annotations

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.artifacts.records import CodedConcept, QuantityValue, Value
from fhir_eligibility.compiler.forms.base import (
    NotComputable,
    comparator,
    has_unit,
    in_concept,
    label,
    quantity_literal,
    quoted,
)
from fhir_eligibility.compiler.forms.statuses import UNKNOWN_CODING

CODED = "value.ofType(CodeableConcept)"


def value_test(value: Value, offset: CodedConcept | None, *, in_component: bool = False) -> str:
    """FHIRPath condition on an Observation or component: that its value satisfies a value. Raises NotComputable."""
    if value.quantity is not None:
        return _quantity_test(value.quantity, comparator(value.quantity), offset)
    if value.range is not None:
        parts = []
        if value.range.low is not None:
            parts.append(_quantity_test(value.range.low, ">=", offset))
        if value.range.high is not None:
            parts.append(_quantity_test(value.range.high, "<=", offset))
        if not parts:
            raise NotComputable("the range has no limits")
        return " and ".join(parts)
    if offset is not None:
        raise NotComputable("an offset from the limits of normal needs a quantity or a range")
    if value.concept is not None:
        return _coded_test(value.concept, in_component)
    if value.boolean is not None:
        return f"value.ofType(boolean) = {'true' if value.boolean else 'false'}"
    raise NotComputable(f"a value of kind {value.kind} cannot be compared with an observation", Reason.NEEDS_REVIEW)


def undecided_value(value: Value, offset: CodedConcept | None) -> str | None:
    """What a record does not tell where `value_test` has no answer; None where the comparison itself says it."""
    if offset is not None:
        return None
    if value.concept is not None:
        return f"it has no coded value that could be compared with {label(value.concept)!r}"
    limits = [value.quantity] if value.range is None else [value.range.low, value.range.high]
    if value.kind in ("quantity", "range") and not any(
        limit is not None and (limit.code or limit.unit) for limit in limits
    ):
        return "its value is not recorded as a number, or is a bound that decides nothing"
    return None


# Limits of normal that stand in the place of a unit (`2 UNL`): a number of times the limit.
_LIMITS = {
    "unl": "UNL",
    "uln": "UNL",
    "xuln": "UNL",
    "xunl": "UNL",
    "lnl": "LNL",
    "lln": "LNL",
    "xlln": "LNL",
    "xlnl": "LNL",
}


def _quantity_test(quantity: QuantityValue, sign: str, offset: CodedConcept | None) -> str:
    unit = (quantity.code or quantity.unit or "").lower().replace(" ", "").replace("\u00d7", "x").strip("[]{}*")
    if unit in _LIMITS and offset is None:
        offset = CodedConcept(text=_LIMITS[unit])
        quantity = quantity.changed(code=None, unit=None, system=None)
    literal = quantity_literal(quantity)
    if offset is not None:
        limit = _limit(offset)
        if quantity.value == 0:
            return f"value.ofType(Quantity) {sign} {limit}"
        if not has_unit(quantity):
            # a bare number counts multiples of the limit itself
            return f"value.ofType(Quantity) {sign} {limit} * {literal}"
        return f"(value.ofType(Quantity) - {limit}) {sign} {literal}"
    if has_unit(quantity):
        return f"value.ofType(Quantity) {sign} {literal}"
    if quantity.code or quantity.unit:  # the unit 1: a share in percent is converted, any other unit cannot be compared
        whole = "value.ofType(integer)"
        return f"iif({whole}.exists(), {whole} {sign} {literal}, value.ofType(Quantity) {sign} {literal} '1')"
    return _number_test(sign, literal)


# The limit of the range of normal values; which of several limits is meant nobody can tell. A range without a type is normal (FHIR).
_NORMAL_RANGES = "referenceRange.where(type.coding.empty() or type.coding.exists(code = 'normal'))"
_NORMAL = f"iif({_NORMAL_RANGES}.{{0}}.count() = 1, {_NORMAL_RANGES}.{{0}}.first(), {{{{}}}})"


def _limit(offset: CodedConcept) -> str:
    codes = {coding.code for coding in offset.codings} | {offset.text}
    if "UNL" in codes:
        return _NORMAL.format("high")
    if "LNL" in codes:
        return _NORMAL.format("low")
    raise NotComputable(
        f"the offset {label(offset)!r} is neither the upper nor the lower limit of normal", Reason.NEEDS_REVIEW
    )


def _coded_test(concept: CodedConcept, in_component: bool) -> str:
    """That a coded value is one of the concept's codings; unknown where there is none, or one that says that nobody knows.

    Of a whole Observation, a value in words or of other code systems is looked at by `coded_otherwise`, which names it.
    """
    test = in_concept(CODED, concept)
    systems = {coding.system for coding in concept.codings if coding.code}
    unknown = [f"{CODED}.coding.exists({UNKNOWN_CODING})"]
    if in_component and None not in systems:
        of_system = " or ".join(f"system = {quoted(system)}" for system in sorted(map(str, systems)))
        unknown.insert(0, f"{CODED}.coding.exists({of_system}).not()")
    elif in_component:
        unknown.insert(0, f"{CODED}.coding.empty()")
    else:
        unknown.insert(0, f"{CODED}.empty()")
    return f"({test} or (({' or '.join(unknown)}) and {{}}))"


# Comparators in data with which a bound decides a comparison with a number, at the number itself and beyond it: by the sign of the comparison,
# those that make it true and those that make it false.
_BELOW, _ABOVE = ("<", "<="), (">", ">=")
_DECIDING = {
    ">": ((">",), (">=",), _BELOW, ()),
    ">=": (_ABOVE, (), ("<",), ("<=",)),
    "<": (("<",), ("<=",), _ABOVE, ()),
    "<=": (_BELOW, (), (">",), (">=",)),
}
_BOUND = "value.ofType(Quantity).comparator"


def _number_test(sign: str, number: str) -> str:
    """A value without regard to its unit, which may be only a bound (`<5`)."""
    plain = f"(value.ofType(Quantity).value | value.ofType(integer)).first() {sign} {number}"
    if sign == "=":
        outside = f"{_beyond(('<',), ('<=',), number)} or {_beyond(('>',), ('>=',), number)}"
        return f"iif({_BOUND}.exists(), ({outside}).not() and {{}}, {plain})"
    at, past, not_at, not_past = _DECIDING[sign]
    true, false = _beyond(at, past, number), _beyond(not_at, not_past, number)
    return f"iif({_BOUND}.exists(), {true} or (({false}).not() and {{}}), {plain})"


def _beyond(at: tuple[str, ...], past: tuple[str, ...], number: str) -> str:
    """That the value is a bound with one of some comparators that lies at a number or on its own side of it, or with others strictly beyond."""
    tests = []
    for comparators, strict in ((at, False), (past, True)):
        for one in comparators:
            beyond = "<" if one.startswith("<") else ">"
            sign = beyond if strict else f"{beyond}="
            tests.append(f"{_BOUND} = {quoted(one)} and value.ofType(Quantity).value {sign} {number}")
    return "(" + " or ".join(tests) + ")"
