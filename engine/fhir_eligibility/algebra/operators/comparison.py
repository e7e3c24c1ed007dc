"""Order and equality (FHIRPath: "Equality", "Comparison"; CQL reference: "Comparison Operators").

The scalar overloads are what the compiler picks by static type; `equal_any` and the list functions serve dynamically typed and
complex values. Answers are three-valued: None is unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from operator import ge, gt, le, lt
from typing import Any

from fhir_eligibility.algebra import temporal as t
from fhir_eligibility.algebra.operators.registry import OperatorTraits, operator
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values import quantity as q
from fhir_eligibility.algebra.values.element import Element, to_system
from fhir_eligibility.algebra.values.points import Uncertainty, equal, less, less_or_equal
from fhir_eligibility.algebra.values.quantity import Quantity

_TEMPORAL = (Date, DateTime, Time)
_MOMENTS = (Date, DateTime)


_PLAIN: dict[str, Callable[[Any, Any], Any]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
_Decide = Callable[[int], bool]


def _ordered(name: str, symbol: str, decide: _Decide, turned: str) -> None:
    """Register one of the four order operators; `decide` turns the sign of a comparison into the answer, `turned` names the one with operands exchanged."""

    plain = _PLAIN[symbol]
    answers = decide(0), decide(1), decide(-1)  # by sign

    def temporal(a: Any, b: Any) -> bool | None:
        sign = t.compare(a, b)
        return None if sign is None else answers[sign]

    def recorded(a: Any, b: Any) -> bool | None:
        if a.__class__ is b.__class__ and a.__class__ in _MOMENTS:
            x, y = a.moment, b.moment
            if x is not None and y is not None:
                return plain(x, y)  # type: ignore[no-any-return]
        if a.__class__ is Uncertainty or b.__class__ is Uncertainty:
            return ranges(a, b)
        sign = t.order(a, b)
        return None if sign is None else answers[sign]

    def ranges(a: Any, b: Any) -> bool | None:
        first, second = (a, b) if symbol[0] == "<" else (b, a)
        return less(first, second) if len(symbol) == 1 else less_or_equal(first, second)

    def quantities(a: Any, b: Any) -> bool | None:
        if a.__class__ is Uncertainty or b.__class__ is Uncertainty:
            return ranges(a, b)
        sign = q.compare(a, b)
        return None if sign is None else answers[sign]

    numbers = ("(Integer, Integer) Boolean", "(Long, Long) Boolean", "(Decimal, Decimal) Boolean")
    texts = "(String, String) Boolean"
    rises = symbol[0] == ">"
    traits = OperatorTraits(
        symbol=symbol,
        ranges=True,
        reports=True,
        moves="up down" if rises else "down up",
        dates="later" if rises else "earlier",
        turned=turned,
    )
    operator(
        name,
        *numbers,
        texts,
        fhirpath=symbol,
        cql=symbol,
        section=f"Comparison: {name}",
        inline="({0} " + symbol + " {1})",
        traits=traits,
    )(plain)
    points = ("(Date, Date) Boolean?", "(DateTime, DateTime) Boolean?", "(Time, Time) Boolean?")
    operator(name, *points, language="fhirpath")(temporal)
    operator(name, *points, language="cql")(recorded)
    operator(name, "(Quantity, Quantity) Boolean?")(quantities)


_ordered("Less", "<", lambda sign: sign < 0, "Greater")
_ordered("LessOrEqual", "<=", lambda sign: sign <= 0, "GreaterOrEqual")
_ordered("Greater", ">", lambda sign: sign > 0, "Less")
_ordered("GreaterOrEqual", ">=", lambda sign: sign >= 0, "LessOrEqual")


@operator(
    "Equal",
    "(Boolean, Boolean) Boolean",
    "(Integer, Integer) Boolean",
    "(Long, Long) Boolean",
    "(Decimal, Decimal) Boolean",
    "(String, String) Boolean",
    fhirpath="=",
    cql="=",
    section="Comparison: Equal",
    inline="({0} == {1})",
    traits=OperatorTraits(symbol="=", ranges=True, reports=True, looks="compares", tells_codes=True),
)
def equal_plain(a: Any, b: Any) -> bool:
    return a == b  # type: ignore[no-any-return]  # an Uncertainty answers None where it may be equal


@operator(
    "Equal",
    "(Date, Date) Boolean?",
    "(DateTime, DateTime) Boolean?",
    "(Time, Time) Boolean?",
    language="fhirpath",
)
def equal_temporal(a: Any, b: Any) -> bool | None:
    return t.equal(a, b)


@operator("Equal", "(Quantity, Quantity) Boolean?")
def equal_quantity(a: Any, b: Any) -> bool | None:
    if a.__class__ is Uncertainty or b.__class__ is Uncertainty:
        return equal(a, b)
    return q.equal(a, b)


def equal_any(a: Any, b: Any) -> bool | None:
    """Equality of two single values of any type; different kinds are unequal, complex values compare child by child.

    None where one of them is an element with extensions alone.
    """
    if a is b and a.__class__ is dict:
        return True
    a, b = to_system(a), to_system(b)
    if a is None or b is None:
        return None
    kind_a, kind_b = a.__class__, b.__class__
    if kind_a is Element or kind_b is Element:
        a, b = _content(a), _content(b)
        if a.__class__ is not dict or b.__class__ is not dict:
            return bool(a == b) if a.__class__ is b.__class__ else False
        return _equal_objects(a, b)
    if kind_a is bool or kind_b is bool:
        return a is b
    if isinstance(a, _TEMPORAL):
        return t.equal(a, b) if isinstance(b, _TEMPORAL) else False
    if kind_a is Quantity and kind_b is Quantity:
        return q.equal(a, b)
    if kind_a is dict and kind_b is dict:
        return _equal_objects(a, b)
    if kind_a is kind_b or (kind_a in (int, Decimal) and kind_b in (int, Decimal)):
        return bool(a == b)
    if kind_a is Quantity and kind_b in (int, Decimal):
        return q.equal(a, Quantity(Decimal(b), "1", False))
    if kind_b is Quantity and kind_a in (int, Decimal):
        return q.equal(Quantity(Decimal(a), "1", False), b)
    return False


def _content(value: Any) -> Any:
    return value.value if value.__class__ is Element else value


def _equal_objects(a: Any, b: Any) -> bool | None:
    """Raw JSON values compared child by child, without recursion: data may be nested deeper than the stack."""
    stack = [(a, b)]
    while stack:
        x, y = stack.pop()
        if x is y:
            continue
        kind_x, kind_y = x.__class__, y.__class__
        if kind_x is dict and kind_y is dict:
            if x.keys() != y.keys():
                return False
            stack.extend((value, y[key]) for key, value in x.items())
        elif kind_x is list and kind_y is list:
            if len(x) != len(y):
                return False
            stack.extend(zip(x, y, strict=True))
        elif kind_x is bool or kind_y is bool:
            return False
        elif x != y:
            return False
    return True


def equal_lists(a: list[Any], b: list[Any]) -> bool | None:
    """`=` of two collections: null where either is empty, else same length and equal pairwise, in order."""
    if not a or not b:
        return None
    if len(a) != len(b):
        return False
    result: bool | None = True
    for x, y in zip(a, b, strict=True):
        same = equal_any(x, y)
        if same is False:
            return False
        if same is None:
            result = None
    return result


def words(text: str) -> str:
    """What of a text counts for equivalence: not its case and not its white space."""
    return " ".join(text.casefold().split())


def equivalent_decimals(a: Decimal, b: Decimal) -> bool:
    """Equal after rounding to the precision of the least precise operand, trailing zeros ignored (FHIRPath: `~`)."""
    if a == b:
        return True
    exponent_a, exponent_b = a.normalize().as_tuple().exponent, b.normalize().as_tuple().exponent
    places = min(max(0, -int(exponent_a)), max(0, -int(exponent_b)))
    step = Decimal(1).scaleb(-places)
    return a.quantize(step, ROUND_HALF_UP) == b.quantize(step, ROUND_HALF_UP)


def equivalent_any(a: Any, b: Any) -> bool:
    """`~` of two single values: never null; strings ignore case and white space, decimals the surplus digits."""
    a, b = to_system(a), to_system(b)
    a, b = _content(a), _content(b)
    kind_a, kind_b = a.__class__, b.__class__
    if kind_a is bool or kind_b is bool:
        return a is b
    if kind_a is str and kind_b is str:
        return a == b or words(a) == words(b)
    if kind_a in (int, Decimal) and kind_b in (int, Decimal):
        return equivalent_decimals(Decimal(a), Decimal(b))
    if isinstance(a, _TEMPORAL) and isinstance(b, _TEMPORAL):
        return t.equivalent(a, b)
    if kind_a is Quantity and kind_b is Quantity:
        return q.equivalent(a, b)
    if kind_a is dict and kind_b is dict:
        if a == b:
            return True
        keys = {key for key in (*a, *b) if key != "id"}
        return all(key in a and key in b and equivalent_json(a[key], b[key]) for key in keys)
    return kind_a is kind_b and bool(a == b)


def equivalent_json(a: Any, b: Any) -> bool:
    """`~` of raw JSON values; lists in any order."""
    if a.__class__ is list and b.__class__ is list:
        return equivalent_lists(a, b)
    return equivalent_any(a, b)


def equivalent_lists(a: list[Any], b: list[Any]) -> bool:
    """`~` of two collections: both empty, or the same number of items that can be paired in any order."""
    if len(a) != len(b):
        return False
    rest = list(b)
    for x in a:
        for index, y in enumerate(rest):
            if equivalent_any(x, y):
                del rest[index]
                break
        else:
            return False
    return True
