"""UCUM units and quantities: exact factors, arbitrary units, annotations, special scales, calendar durations."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from fhir_eligibility.algebra.ucum import UnitError, alias, convert, parse_unit
from fhir_eligibility.algebra.values import quantity as q
from fhir_eligibility.algebra.values.quantity import Quantity
from fhir_eligibility.compiler.criteria.library import compile_expression
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.compiler.runtime.fhir_values import to_quantity


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        ("5000", "pg/mL", "ng/mL", "5"),
        ("5", "ug/L", "ng/mL", "5"),
        ("100.4", "[degF]", "Cel", "38"),
        ("0.1", "g", "mg", "100"),
        ("1", "m[iU]/mL", "[iU]/L", "1"),
        ("1", "{cells}/uL", "/uL", "1"),
        ("1", "[IU]", "[iU]", "1"),
    ],
)
def test_conversion_is_exact(value: str, source: str, target: str, expected: str) -> None:
    assert convert(D(value), source, target) == D(expected)


@pytest.mark.parametrize(("source", "target"), [("[iU]", "mg"), ("[iU]", "[arb'U]"), ("ng/mL", "mm[Hg]"), ("1", "mg")])
def test_no_common_dimension(source: str, target: str) -> None:
    assert convert(D(1), source, target) is None


@pytest.mark.parametrize("text", ["mmHg", "mm Hg", "m/", "m..s", "{a", "10**3", "m1000", "((((((((((((((((((((((m))"])
def test_not_ucum(text: str) -> None:
    with pytest.raises(UnitError, match="not a UCUM unit"):
        parse_unit(text)


def test_aliases_are_ucum() -> None:
    assert (alias("mmHg"), alias("IU/L"), alias("cells/uL"), alias("nonsense")) == ("mm[Hg]", "[iU]/L", "/uL", None)
    for text in ("mmHg", "IU/L", "mEq/L", "cc", "ng/ml", "mcg", "°F"):
        found = alias(text)
        assert found is not None
        parse_unit(found)


def test_calendar_durations_are_not_ucum_years() -> None:
    year, a = Quantity(D(1), "year", True), Quantity(D(1), "a")
    assert q.equal(year, a) is None
    assert q.compare(year, a) is None
    assert q.equivalent(year, a) is True
    assert q.compare(Quantity(D(23), "month", True), Quantity(D(2), "year", True)) == -1
    assert q.equal(Quantity(D(7), "day", True), Quantity(D(1), "wk")) is True
    assert q.compare(year, Quantity(D(365), "day", True)) is None


def test_arithmetic() -> None:
    assert q.multiply(Quantity(D("2.0"), "cm"), Quantity(D("2.0"), "m")) == Quantity(D("0.04"), "m2")
    assert q.divide(Quantity(D("4.0"), "g"), Quantity(D("2.0"), "m")) == Quantity(D("2"), "g/m")
    assert q.divide(Quantity(D(1), "m"), Quantity(D(1), "m")) == Quantity(D(1), "1")
    assert q.divide(Quantity(D(1), "m"), Quantity(D(0), "m")) is None
    assert q.add(Quantity(D(1), "g"), Quantity(D(500), "mg")) == Quantity(D(1500), "mg")
    assert q.add(Quantity(D(1), "g"), Quantity(D(1), "m")) is None


def test_equivalence_takes_the_coarser_precision() -> None:
    assert q.equivalent(Quantity(D(4), "g"), Quantity(D(4040), "mg"))
    assert not q.equivalent(Quantity(D("4.00"), "g"), Quantity(D(4540), "mg"))
    assert q.equal(Quantity(D(4), "g"), Quantity(D(4040), "mg")) is False


def test_text() -> None:
    texts = [str(Quantity(D(1), "wk")), str(Quantity(D(1), "week", True)), str(Quantity(D(2), "week", True))]
    assert texts == ["1 'wk'", "1 week", "2 weeks"]


@pytest.mark.parametrize(
    ("a", "b", "order"),
    [
        (Quantity(D(6), "[IU]/mL"), Quantity(D(5), "[IU]/mL"), 1),
        (Quantity(D(6), "[IU]/uL"), Quantity(D(5), "[IU]/mL"), None),
        (Quantity(D(6), "[iU]/L"), Quantity(D(5), "[IU]/L"), 1),
        (Quantity(D(5), "m[IU]/mL"), Quantity(D(5), "m[iU]/mL"), 0),
        (Quantity(D(5), "[iU]"), Quantity(D(5), "[IU]"), 0),
        (Quantity(D(5), "[iU]/ml"), Quantity(D(5), "[IU]/mL"), 0),
        (Quantity(D(5), "[iU]/l"), Quantity(D(4), "[IU]/mL"), None),
        (Quantity(D(5), "[iU]/L"), Quantity(D(5), "[IU]/mL"), None),
        (Quantity(D(5), "[iU]/L"), Quantity(D(5), "U/L"), None),
        (Quantity(D(6), "/uL"), Quantity(D(5), "/mL"), 1),
    ],
)
def test_an_arbitrary_unit_compares_with_itself_as_written(a: Quantity, b: Quantity, order: int | None) -> None:
    assert q.compare(a, b) == order


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("convert 90 days to days", "90 days"),
        ("convert 90 'd' to days", "90 days"),
        ("convert 2 weeks to days", "14 days"),
        ("convert 1 year to months", "12 months"),
        ("convert 18 months to years", "1.5 years"),
        ("convert 1 year to days", "None"),
        ("convert 3 days to 'h'", "72 'h'"),
        ("System.Quantity { value: 3, unit: 'days' } = 3 days", "True"),
        ("@2024-02-28 + System.Quantity { value: 2, unit: 'day' }", "2024-03-01"),
    ],
)
def test_conversion_to_units_of_the_calendar(expression: str, expected: str) -> None:
    assert str(compile_expression(expression).evaluate("expression", Run())) == expected


def test_a_fhir_quantity_in_words_of_the_calendar() -> None:
    days = {"value": 90, "system": "http://unitsofmeasure.org", "code": "days"}
    assert str(to_quantity(days)) == "90 days"
