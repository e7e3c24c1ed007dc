"""What operators say of missing values holds for their functions: the emitters leave out the test for null where a value is said never to be."""

from __future__ import annotations

import itertools
import random
from decimal import Decimal
from operator import eq, ge, gt, le, lt, ne
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


# -- what is said of operators beside their overloads

_PYTHON = {"<": lt, "<=": le, ">": gt, ">=": ge, "=": eq, "!=": ne}


@pytest.mark.parametrize("name", sorted(name for name, found in OPERATORS.items() if found.traits.symbol))
def test_a_symbol_is_that_of_the_comparison(name: str) -> None:
    symbol = _PYTHON[OPERATORS[name].traits.symbol]
    overload = next(one for one in OPERATORS[name].of("cql") if one.parameters in (("Integer", "Integer"), ("T", "T")))
    for a, b in itertools.product(POOLS["Integer"], repeat=2):
        assert overload.function(a, b) is symbol(a, b)


@pytest.mark.parametrize("name", sorted(name for name, found in OPERATORS.items() if found.traits.turned))
def test_a_turned_operator_is_the_same_with_its_operands_exchanged(name: str) -> None:
    turned = OPERATORS[OPERATORS[name].traits.turned]
    tried = 0
    for overload in OPERATORS[name].of("cql"):
        others = [one for one in turned.of("cql") if one.parameters == overload.parameters[::-1]]
        pools = [pool(parameter) for parameter in overload.parameters]
        if not others or None in pools:
            continue
        for a, b in itertools.product(*(found or () for found in pools)):
            answers = []
            for function, operands in ((overload.function, (a, b)), (others[0].function, (b, a))):
                try:
                    answers.append(function(*operands))
                except EvaluationError:
                    answers.append("error")
            assert answers[0] == answers[1], (overload.signature, a, b)
            tried += 1
    assert tried > 20


def _rises(low: Any, high: Any) -> bool:
    """Whether a value does not fall: null stands between false and true, and lists gain elements."""
    if isinstance(low, list) or isinstance(high, list):
        return all(item in (high or []) for item in low or [])
    if isinstance(low, bool) or isinstance(high, bool) or low is None or high is None:
        order = {False: 0, None: 1, True: 2}
        return low not in order or high not in order or order[low] <= order[high]
    return bool(low <= high)


_STEPS: dict[str, list[tuple[Any, Any]]] = {
    "Integer": [(1, 2), (2, 5)],
    "Boolean": [(False, None), (None, True), (False, True)],
    "List<T>": [([], [1]), ([1], [1, 2]), ([2], [2, 1, 2])],
    "List<Boolean>": [([], [True]), ([False], [False, True])],
    "List<List<T>>": [([], [[1]]), ([[1]], [[1], [2]])],
}
_OTHERS: dict[str, tuple[Any, ...]] = {"Integer": (0, 1, 2, 3), "List<T>": ([], [1], [1, 2], [3]), "T": (1, 2, 9)}


@pytest.mark.parametrize("name", sorted(name for name, found in OPERATORS.items() if found.traits.moves))
def test_an_operator_moves_with_its_operands_as_it_says(name: str) -> None:
    words = OPERATORS[name].traits.moves.split()
    tried = 0
    for overload in OPERATORS[name].of("cql"):
        if not {*overload.parameters} <= {*_STEPS, "T"}:
            continue
        for index, word in enumerate(words):
            steps = _STEPS.get(overload.parameters[index])
            if word == "mixed" or steps is None:
                continue
            rest = [_OTHERS[parameter] for place, parameter in enumerate(overload.parameters) if place != index]
            for (low, high), others in itertools.product(steps, itertools.product(*rest)):
                answers = []
                for moved in (low, high):
                    operands = [*others[:index], moved, *others[index:]]
                    missing = overload.nulls == "propagate" and None in operands
                    answers.append(None if missing else overload.function(*operands))
                assert _rises(*(answers if word == "up" else answers[::-1])), (overload.signature, low, high, others)
                tried += 1
    assert tried
