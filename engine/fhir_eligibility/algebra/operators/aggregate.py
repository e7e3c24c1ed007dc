"""Aggregates over lists; nulls are left out (CQL reference: "Aggregate Functions")."""

from __future__ import annotations

from decimal import Context, Decimal
from functools import reduce
from typing import Any

from fhir_eligibility.algebra import limits
from fhir_eligibility.algebra.operators.arithmetic import in_decimal, in_integer, in_long
from fhir_eligibility.algebra.operators.comparison import words
from fhir_eligibility.algebra.operators.equality import equivalent, sign, sort_values
from fhir_eligibility.algebra.operators.lookup import keyed
from fhir_eligibility.algebra.operators.registry import OperatorTraits, operator
from fhir_eligibility.algebra.values import quantity as q
from fhir_eligibility.algebra.values.clinical import Code
from fhir_eligibility.algebra.values.points import certain
from fhir_eligibility.algebra.values.quantity import Quantity

_WIDE = Context(prec=46)
_BEYOND = 2**64
List = list[Any]


def present(values: List | None) -> List:
    """The elements that are not null."""
    return [value for value in values or () if value is not None]


@operator(
    "AllTrue",
    "(List<Boolean>) Boolean",
    cql="AllTrue",
    section="Aggregate: AllTrue",
    nulls="handled",
    language="cql",
    traits=OperatorTraits(elm="source"),
)
def all_true(values: List | None) -> bool:
    return all(present(values))


@operator(
    "AnyTrue",
    "(List<Boolean>) Boolean",
    cql="AnyTrue",
    section="Aggregate: AnyTrue",
    nulls="handled",
    language="cql",
    traits=OperatorTraits(moves="up", elm="source"),
)
def any_true(values: List | None) -> bool:
    return any(present(values))


@operator(
    "Count",
    "(List<T>) Integer",
    cql="Count",
    section="Aggregate: Count",
    nulls="handled",
    language="cql",
    traits=OperatorTraits(certain="always", looks="counts", moves="up", elm="source"),
)
def count(values: List | None) -> int:
    return len(present(values))


_ORDERED = ("Integer", "Long", "Decimal", "Quantity", "Date", "DateTime", "Time", "String")


def _extreme(values: List, largest: bool) -> Any:
    best = None
    for value in present(values):
        if best is None or (sign(value, best) > 0 if largest else sign(value, best) < 0):
            best = value
    return best


@operator(
    "Max",
    *(f"(List<{x}>) {x}?" for x in _ORDERED),
    cql="Max",
    section="Aggregate: Max",
    language="cql",
    traits=OperatorTraits(elm="source"),
)
def maximum_of(values: List) -> Any:
    return _extreme(values, True)


@operator(
    "Min",
    *(f"(List<{x}>) {x}?" for x in _ORDERED),
    cql="Min",
    section="Aggregate: Min",
    language="cql",
    traits=OperatorTraits(elm="source"),
)
def minimum_of(values: List) -> Any:
    return _extreme(values, False)


def _plus(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return None
    return q.add(a, b) if a.__class__ is Quantity else _WIDE.add(a, b) if a.__class__ is Decimal else a + b


@operator(
    "Sum",
    "(List<Integer>) Integer?",
    cql="Sum",
    section="Aggregate: Sum",
    language="cql",
    traits=OperatorTraits(elm="source"),
)
def sum_integers(values: List) -> int | None:
    items = present(values)
    return in_integer(sum(items)) if items else None


@operator("Sum", "(List<Long>) Long?", language="cql")
def sum_longs(values: List) -> int | None:
    items = present(values)
    return in_long(sum(items)) if items else None


@operator("Sum", "(List<Decimal>) Decimal?", "(List<Quantity>) Quantity?", language="cql")
def sum_of(values: List) -> Any:
    items = present(values)
    return _within(reduce(_plus, items)) if items else None


def _within(value: Any) -> Any:
    if value.__class__ is Quantity:
        number = in_decimal(value.value)
        return None if number is None else Quantity(number, value.unit, value.calendar)
    return None if value is None else in_decimal(value)


@operator(
    "Product",
    "(List<Integer>) Integer?",
    cql="Product",
    section="Aggregate: Product",
    language="cql",
    traits=OperatorTraits(elm="source"),
)
def product_of_integers(values: List) -> int | None:
    items = present(values)
    return in_integer(_product(items)) if items else None


@operator("Product", "(List<Long>) Long?", language="cql")
def product_of_longs(values: List) -> int | None:
    items = present(values)
    return in_long(_product(items)) if items else None


def _product(items: List) -> Any:
    """The product of whole numbers, which is computed no further where it can come back into no type."""
    found = items[0]
    for item in items[1:]:
        found = found * item
        if isinstance(found, int) and abs(found) > _BEYOND:
            return 0 if 0 in items else found
    return found


@operator("Product", "(List<Decimal>) Decimal?", language="cql")
def product_of_decimals(values: List) -> Decimal | None:
    items = present(values)
    return in_decimal(reduce(_WIDE.multiply, items)) if items else None


@operator("Product", "(List<Quantity>) Quantity?", language="cql")
def product_of_quantities(values: List) -> Quantity | None:
    items = present(values)
    return reduce(lambda a, b: None if a is None else q.multiply(a, b), items) if items else None


def _numbers(values: List) -> tuple[list[Decimal], Quantity | None] | None:
    """The numbers of a list of decimals or of quantities, these in the unit of the first; None where there is none."""
    items = [certain(item, "an aggregate") for item in present(values)]
    if not items:
        return None
    if items[0].__class__ is not Quantity:
        return items, None
    unit = items[0]
    out = []
    for item in items:
        alike = item if item.unit == unit.unit and item.calendar == unit.calendar else item.to_unit(unit.ucum)
        if alike is None:
            return None
        out.append(alike.value)
    return out, unit


def _given(number: Decimal, unit: Quantity | None) -> Any:
    within = in_decimal(number)
    if within is None or unit is None:
        return within
    return Quantity(within, unit.unit, unit.calendar)


_BOTH = ("(List<Decimal>) Decimal?", "(List<Quantity>) Quantity?")


@operator("Avg", *_BOTH, cql="Avg", section="Aggregate: Avg", language="cql", traits=OperatorTraits(elm="source"))
def average(values: List) -> Any:
    found = _numbers(values)
    return None if found is None else _given(_mean(found[0]), found[1])


def _mean(numbers: list[Decimal]) -> Decimal:
    return _WIDE.divide(reduce(_WIDE.add, numbers), Decimal(len(numbers)))


@operator(
    "Median", *_BOTH, cql="Median", section="Aggregate: Median", language="cql", traits=OperatorTraits(elm="source")
)
def median(values: List) -> Any:
    found = _numbers(values)
    if found is None:
        return None
    numbers = sorted(found[0])
    middle = len(numbers) // 2
    if len(numbers) % 2:
        return _given(numbers[middle], found[1])
    return _given(_WIDE.divide(_WIDE.add(numbers[middle - 1], numbers[middle]), Decimal(2)), found[1])


@operator(
    "Mode", "(List<T>) T?", cql="Mode", section="Aggregate: Mode", language="cql", traits=OperatorTraits(elm="source")
)
def mode(values: List) -> Any:
    ordered = sort_values(present(values))
    groups = _by_key(ordered) or _by_pairs(ordered)
    return max(groups, key=len)[0] if groups else None


def _by_key(values: List) -> list[List] | None:
    """Values in groups of equivalent ones, where equal keys are all that makes two equivalent."""
    groups: dict[Any, List] = {}
    kinds = {value.__class__ for value in values}
    if kinds == {str}:
        for value in values:
            groups.setdefault(words(value), []).append(value)
        return list(groups.values())
    if len(kinds) != 1 or kinds & {Decimal, Quantity, Code}:  # decimals are equivalent where they round to the same
        return None
    for value in values:
        found = keyed(value)
        if found is None or not found[2]:
            return None
        groups.setdefault(found[1], []).append(value)
    return list(groups.values())


def _by_pairs(values: List) -> list[List]:
    groups: list[List] = []
    pairs = 0
    for value in values:
        pairs += len(groups)
        limits.compared(pairs, "Mode")
        for group in groups:
            if equivalent(group[0], value):
                group.append(value)
                break
        else:
            groups.append([value])
    return groups


def _variance(numbers: list[Decimal], fewer: int) -> Decimal | None:
    if len(numbers) <= fewer:
        return None
    mean = _mean(numbers)
    squares = [_WIDE.power(_WIDE.subtract(number, mean), 2) for number in numbers]
    return _WIDE.divide(reduce(_WIDE.add, squares), Decimal(len(numbers) - fewer))


def _spread(values: List, fewer: int, root: bool) -> Any:
    found = _numbers(values)
    variance = None if found is None else _variance(found[0], fewer)
    if variance is None or found is None:
        return None
    return _given(_WIDE.sqrt(variance) if root else variance, found[1])


@operator(
    "Variance",
    *_BOTH,
    cql="Variance",
    section="Aggregate: Variance",
    language="cql",
    traits=OperatorTraits(elm="source"),
)
def variance(values: List) -> Any:
    return _spread(values, 1, False)


@operator(
    "StdDev", *_BOTH, cql="StdDev", section="Aggregate: StdDev", language="cql", traits=OperatorTraits(elm="source")
)
def standard_deviation(values: List) -> Any:
    return _spread(values, 1, True)


@operator(
    "PopulationVariance",
    *_BOTH,
    cql="PopulationVariance",
    section="Aggregate: Population Variance",
    language="cql",
    traits=OperatorTraits(elm="source"),
)
def population_variance(values: List) -> Any:
    return _spread(values, 0, False)


@operator(
    "PopulationStdDev",
    *_BOTH,
    cql="PopulationStdDev",
    section="Aggregate: Population StdDev",
    language="cql",
    traits=OperatorTraits(elm="source"),
)
def population_standard_deviation(values: List) -> Any:
    return _spread(values, 0, True)


@operator(
    "GeometricMean",
    "(List<Decimal>) Decimal?",
    cql="GeometricMean",
    section="Aggregate: GeometricMean",
    language="cql",
    traits=OperatorTraits(elm="source"),
)
def geometric_mean(values: List) -> Decimal | None:
    numbers = present(values)
    if not numbers or any(number <= 0 for number in numbers):
        return None
    logarithm = _WIDE.divide(reduce(_WIDE.add, [_WIDE.ln(number) for number in numbers]), Decimal(len(numbers)))
    return in_decimal(_WIDE.exp(logarithm))
