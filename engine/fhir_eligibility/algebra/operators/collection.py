"""Collections (FHIRPath: "Existence", "Subsetting", "Combining"; CQL reference: "List Operators").

These work on lists of dynamically typed values; the emitter inlines what it can and calls these for the rest. An answer of several
items where one is allowed is an error, never a choice.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import cmp_to_key
from typing import Any

from fhir_eligibility.algebra import limits
from fhir_eligibility.algebra import temporal as t
from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.operators.comparison import equal_any
from fhir_eligibility.algebra.operators.lookup import asked, without_repeats
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values import quantity as q
from fhir_eligibility.algebra.values.element import Element, to_system
from fhir_eligibility.algebra.values.quantity import Quantity


def singleton(values: list[Any]) -> Any:
    """The only item of a collection, None where it is empty (FHIRPath: "Singleton Evaluation of Collections").

    Raises EvaluationError `not-a-singleton` where there are several.
    """
    if not values:
        return None
    if len(values) > 1:
        raise EvaluationError("not-a-singleton", f"a single item is needed here, but there are {len(values)}")
    return values[0]


def as_boolean(value: Any) -> bool | None:
    """A single value used as a condition: true where there is one that is no Boolean, if only one with extensions alone."""
    if value.__class__ is Element and value.value is None and value.type != "boolean":
        return True
    value = to_system(value)
    if value is None or value is True or value is False:
        return value
    return True


def same(a: Any, b: Any) -> bool:
    """Equality as collections use it to tell items apart: unknown counts as different."""
    return equal_any(a, b) is True


def distinct(values: list[Any]) -> list[Any]:
    """The values without repeats, in order of first appearance."""
    return without_repeats(values, same, "distinct()")


def is_distinct(values: list[Any]) -> bool:
    """Whether no two items are equal."""
    return len(distinct(values)) == len(values)


def contains_item(values: list[Any], item: Any) -> bool:
    """Whether an item is in a collection."""
    return any(same(value, item) for value in values)


def union(a: list[Any], b: list[Any]) -> list[Any]:
    """Both collections, without repeats."""
    limits.room_for_items(len(a) + len(b), "union()")
    return distinct(a + b)


def intersect(a: list[Any], b: list[Any]) -> list[Any]:
    """Items of `a` that are in `b`, without repeats."""
    has = asked(b, len(a), same, "intersect()")
    return distinct([value for value in a if has(value)])


def exclude(a: list[Any], b: list[Any]) -> list[Any]:
    """Items of `a` that are not in `b`; order and repeats are kept."""
    has = asked(b, len(a), same, "exclude()")
    return [value for value in a if not has(value)]


def subset_of(a: list[Any], b: list[Any]) -> bool | None:
    """Whether every item of `a` is in `b`; None where that may be: a value is missing, or a date is only partly known."""
    has = asked(b, len(a), equal_any, "subsetOf()")
    result: bool | None = True
    for value in a:
        answer = has(value)
        if answer is False:
            return False
        if answer is None:
            result = None
    return result


def member(item: list[Any], values: list[Any]) -> bool | None:
    """`item in values`: None for no item, an error for several; None where it may be."""
    one = singleton(item)
    return None if to_system(one) is None else asked(values, 1, equal_any, "in")(one)


def booleans(values: list[Any], function: str) -> list[bool]:
    """The items as Booleans. Raises EvaluationError `not-boolean` where one is not."""
    out = []
    for value in values:
        value = to_system(value)
        if value is not True and value is not False:
            raise EvaluationError("not-boolean", f"{function}() takes a collection of Booleans, but there is {value!r}")
        out.append(value)
    return out


def compare_values(a: Any, b: Any) -> int:
    """Sign of the order of two System values, for sorting; unknown order counts as equal. Raises `not-comparable`."""
    kind_a, kind_b = a.__class__, b.__class__
    numbers = (int, Decimal)
    if (kind_a in numbers and kind_b in numbers) or (kind_a is str and kind_b is str):
        return int(a > b) - int(a < b)
    if isinstance(a, (Date, DateTime, Time)) and isinstance(b, (Date, DateTime, Time)):
        return t.compare(a, b) or 0
    if kind_a is Quantity and kind_b is Quantity:
        return q.compare(a, b) or 0
    if kind_a is bool and kind_b is bool:
        return int(a) - int(b)
    raise EvaluationError("not-comparable", f"cannot order {a!r} and {b!r}")


def sort(values: list[Any], keys: list[tuple[Callable[[Any], Any], str]]) -> list[Any]:
    """Values in order of the keys, each a function with `asc`, `desc` or `negated` (FHIRPath: sort).

    A missing key is lower than any other: first with `asc`, last with `desc`. `negated` (`-key`) reverses the values alone.
    """
    rows = [(value, [to_system(key(value)) for key, _ in keys]) for value in values]

    def order(a: tuple[Any, list[Any]], b: tuple[Any, list[Any]]) -> int:
        for index, (_, direction) in enumerate(keys):
            x, y = a[1][index], b[1][index]
            missing = x is None or y is None
            sign = (x is not None) - (y is not None) if missing else compare_values(x, y)
            if sign:
                return -sign if direction == "desc" or (direction == "negated" and not missing) else sign
        return 0

    rows.sort(key=cmp_to_key(order))
    return [row[0] for row in rows]


def extreme(values: list[Any], largest: bool) -> Any:
    """Smallest or largest System value, None for an empty collection (FHIRPath: min, max)."""
    best = None
    for value in values:
        value = to_system(value)
        if value is None:
            return None  # one with extensions alone: it may be the one
        if best is None:
            best = value
        else:
            sign = compare_values(value, best)
            if sign > 0 if largest else sign < 0:
                best = value
    return best


def total(values: list[Any]) -> Any:
    """Sum of numbers or quantities, None for an empty collection (FHIRPath: sum)."""
    result: Any = None
    for value in values:
        value = to_system(value)
        if value is None:
            return None  # one with extensions alone
        if value.__class__ not in (int, Decimal, Quantity) or value.__class__ is bool:
            raise EvaluationError("not-a-number", f"sum() and avg() take numbers or quantities, but there is {value!r}")
        if result is None:
            result = value
        elif value.__class__ is Quantity:
            result = q.add(result, value) if result.__class__ is Quantity else None
            if result is None:
                return None
        else:
            result = result + value
    return result


def mean(values: list[Any]) -> Any:
    """Average of numbers or quantities, None for an empty collection (FHIRPath: avg)."""
    result = total(values)
    if result is None:
        return None
    if result.__class__ is Quantity:
        return Quantity(result.value / len(values), result.unit, result.calendar)
    return Decimal(result) / len(values)


def check_index(index: Any) -> int:
    """An index as a number of 0 or more; -1 (no item) for a negative one or none."""
    index = to_system(index)
    if index is None or index.__class__ is Element:
        return -1
    return index if index >= 0 else -1
