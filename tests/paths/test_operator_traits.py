"""What operators say of missing values holds for their functions: the emitters leave out the test for null where a value is said never to be."""

from __future__ import annotations

import itertools
import random
from decimal import Decimal
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.operators.registry import Overload
from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values.clinical import Code, Concept, Ratio, Tuple
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.points import Long
from fhir_eligibility.algebra.values.quantity import Quantity
from fhir_eligibility.compiler.runtime.cql import Patient, Run

POOLS: dict[str, tuple[Any, ...]] = {
    "Boolean": (True, False),
    "Integer": (0, 1, -3, 7, 2147483647, -2147483648),
    "Long": (Long(0), Long(5), Long(-2), Long(9223372036854775807), Long(-9223372036854775808)),
    "Decimal": (Decimal(0), Decimal("1.5"), Decimal("-7.125"), Decimal("99999999999999999999.99999999"), Decimal("-1e-8")),
    "String": ("", "a", "bc", "12", "2024-05", "1 'mg'", "[", "true"),
    "Date": tuple(map(Date.parse, ("2024-02-29", "2024-03", "2023", "9999-12-31", "0001-01-01"))),
    "DateTime": tuple(
        map(
            DateTime.parse,
            ("2024-02-29T12:00:00.000", "2024-03", "2024-01-01T00:00:00.000+02:00", "2024", "9999-12-31T23:59:59.999", "0001-01-01T00:00:00.000"),
        )
    ),
    "Time": tuple(map(Time.parse, ("12:00", "23:59:59.999", "00", "10:30:15", "00:00:00.000"))),
    "Quantity": (
        Quantity(Decimal(1), "mg", False), Quantity(Decimal("2.5"), "g", False), Quantity(Decimal(3), "cm", False), Quantity(Decimal(2), "month", True),
        Quantity(Decimal(0), "1", False), Quantity(Decimal(1), "no unit", False), Quantity(Decimal(10000), "year", True),
    ),
    "Code": (Code("a", "s"), Code("a", None), Code("b", "t")),
    "Concept": (Concept((Code("a", "s"),)), Concept(())),
    "Ratio": (Ratio(Quantity(Decimal(1), "mg", False), Quantity(Decimal(2), "mL", False)),),
    "Tuple": (Tuple({"x": 1}), Tuple({"x": None})),
}  # fmt: skip
ANY: tuple[Any, ...] = (
    1,
    Decimal("1.0"),
    "a",
    True,
    Date.parse("2024"),
    Quantity(Decimal(1), "mg", False),
    Code("a", "s"),
    None,
)


def pool(parameter: str) -> tuple[Any, ...] | None:
    """Values of a type of a signature; None for one that none are kept for here."""
    if parameter in POOLS:
        return POOLS[parameter]
    if parameter == "Any":
        return tuple(value for value in ANY if value is not None)
    if parameter == "T":
        return POOLS["Integer"]
    name, _, inner = parameter.partition("<")
    element = pool(inner[:-1]) if inner else None
    if element is None:
        return None
    if name == "List":
        return [], [element[0]], [element[0], None], [None], list(element[:3]), [element[-1], element[0], element[0]]  # type: ignore[return-value]
    if name == "Interval":
        ends = element[0], element[-1]
        found = []
        for low, high, low_closed, high_closed in itertools.product(
            (*ends, None), (*ends, None), (True, False), (True, False)
        ):
            try:
                found.append(Interval(low, high, low_closed, high_closed))
            except EvaluationError:
                continue
        return tuple(found)
    return None


OVERLOADS = [overload for operator in OPERATORS.values() for overload in operator.overloads]
CHECKED = [x for x in OVERLOADS if not x.nullable and all(pool(p) is not None for p in x.parameters)]


def name_of(overload: Overload) -> str:
    return f"{overload.operator}{overload.signature}{overload.language}"


@pytest.mark.parametrize("overload", CHECKED, ids=name_of)
def test_a_value_that_is_said_never_to_be_null_never_is(overload: Overload) -> None:
    chance = random.Random(name_of(overload))
    pools = [pool(parameter) or () for parameter in overload.parameters]
    if overload.nulls == "handled" and not overload.result.startswith("List"):
        pools = [(*values, None) for values in pools]
    combinations = list(itertools.product(*pools))
    for values in chance.sample(combinations, min(len(combinations), 400)):
        arguments = [Patient(Run()), *values] if overload.context else list(values)
        try:
            found = overload.function(*arguments)
        except (EvaluationError, NotImplementedError):
            continue
        assert found is not None, values
        if overload.inline is not None and overload.nulls == "propagate":
            inlined = eval(overload.inline.format(*(f"v[{index}]" for index in range(len(values)))), {"v": values})
            assert inlined == found and inlined.__class__ is found.__class__, values


def test_no_overload_is_left_out_but_those_that_ask_for_terminology() -> None:
    assert len(CHECKED) > 120
    assert {x.operator for x in OVERLOADS if not x.nullable} - {x.operator for x in CHECKED} == {"ExpandValueSet"}
