"""Fast paths in the Python that CQL turns into give what the calls give that they stand in for, for data of any shape."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fhir_eligibility.algebra.diagnostic import EvaluationError, Source
from fhir_eligibility.algebra.operators.equality import equivalent
from fhir_eligibility.algebra.operators.lists import exists, item_in
from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.algebra.temporal import DateTime
from fhir_eligibility.algebra.temporal.between import _parts, order
from fhir_eligibility.algebra.values.clinical import Code
from fhir_eligibility.algebra.values.element import Element, to_quantity, unbox
from fhir_eligibility.algebra.values.quantity import Quantity
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.elm.types import Named
from fhir_eligibility.compiler.runtime import fhir_values as fhir
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from fhir_eligibility.compiler.runtime.type_tests import TypeOfValue, as_type

LIBRARY = """
library Short
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1' called FHIRHelpers
codesystem "DICOM": 'http://dicom.nema.org/resources/ontology/DCM'
code "MR": 'MR' from "DICOM"
context Patient
define function coding(x FHIR.Coding): x ~ "MR"
define function concept(x FHIR.CodeableConcept): "MR" ~ x
define function among(x FHIR.code): x in { 'final', 'amended' }
define function period(x FHIR.Procedure): x.performed as FHIR.Period
define function moment(x FHIR.Procedure): x.performed as FHIR.dateTime
define function age(x FHIR.Procedure): x.performed as FHIR.Age
define function isPeriod(x FHIR.Procedure): x.performed is FHIR.Period
define function isAge(x FHIR.Procedure): x.performed is FHIR.Age
define function typed(x Choice<FHIR.dateTime, FHIR.Period>): x is FHIR.dateTime
define function before(a DateTime, b DateTime): a < b
define function notAfter(a DateTime, b DateTime): a <= b
define function some(x List<System.Integer>): exists x
define function enough(x System.Quantity): x >= 3 'ng/mL'
define function least(x System.Quantity): 3 years > x
"""
MR = Code("MR", "http://dicom.nema.org/resources/ontology/DCM")
KEYS = ["code", "system", "coding", "value", "unit", "performedDateTime", "performedPeriod", "performedString"]
KEYS += ["performedAge", "performedRange", "start", "comparator"]
TEXTS = ["MR", "CT", MR.system, "final", "2021-02-09", "ng/mL", "ug/L", "a", "http://unitsofmeasure.org", ""]
PLAIN = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([Decimal("3.0"), Decimal("0.003"), *TEXTS])
JSON = st.recursive(
    PLAIN, lambda below: st.lists(below, max_size=2) | st.dictionaries(st.sampled_from(KEYS), below), max_leaves=8
)
CODINGS = st.fixed_dictionaries({}, optional={"code": st.sampled_from(TEXTS[:2]) | JSON, "system": st.just(MR.system)})
CONCEPTS = st.fixed_dictionaries({"coding": st.lists(CODINGS | JSON, max_size=3)})
PROCEDURES = st.fixed_dictionaries(
    {"resourceType": st.just("Procedure")}, optional={key: JSON for key in KEYS if key.startswith("performed")}
)


@pytest.fixture(scope="module", params=[True, False], ids=["traced", "plain"])
def library(request: pytest.FixtureRequest) -> LoadedLibrary:
    return LoadedLibrary(Compiler(traced=request.param).compile(Source("Short", LIBRARY)))


def _told(call: Callable[[], Any]) -> Any:
    """What a call answers, or what its error says."""
    try:
        return call()
    except EvaluationError as error:
        return error.code, error.message
    except (AttributeError, TypeError) as error:
        return "malformed-data", f"the data does not have the shape its type demands: {error}"


def _same(library: LoadedLibrary, name: str, long: Callable[..., Any], *values: Any) -> None:
    found = _told(lambda: library.call(name, Patient(Run()), *values))
    expected = _told(lambda: long(*values))
    assert found == expected and found.__class__ is expected.__class__


@example(value={"code": "MR", "system": []})
@example(value={"code": "MR"})
@given(CODINGS | JSON)
def test_codings(library: LoadedLibrary, value: Any) -> None:
    _same(library, "coding", lambda x: equivalent(None if x is None else fhir.to_code(x), MR), value)


@given(CONCEPTS | JSON)
@example({"coding": [{"code": "MR", "system": MR.system}, "MR"]})
@example({"coding": {"code": "MR"}})
def test_concepts(library: LoadedLibrary, value: Any) -> None:
    _same(library, "concept", lambda x: equivalent(MR, None if x is None else fhir.to_concept(x)), value)


@given(JSON)
def test_texts_of_a_list(library: LoadedLibrary, value: Any) -> None:
    def long(x: Any) -> Any:
        return item_in(None if x is None else fhir.to_text(x), ["final", "amended"])

    _same(library, "among", long, value)


NAMES = tuple((f"performed{kind[0].upper()}{kind[1:]}", kind) for kind in "dateTime Period string Age Range".split())


@given(PROCEDURES | JSON.filter(lambda value: value is not None))
@example({"performedDateTime": "2021", "performedPeriod": {}})
@example({"performedRange": {}, "performedAge": {}})
def test_alternatives(library: LoadedLibrary, value: Any) -> None:
    for name, kind in (("period", "Period"), ("age", "Age")):
        test = TypeOfValue(Named(f"FHIR.{kind}"))
        _same(library, name, lambda x, test=test: unbox(as_type(fhir.choice_of(x, NAMES), test)), value)
    for name, kind in (("isPeriod", "Period"), ("isAge", "Age")):
        test = TypeOfValue(Named(f"FHIR.{kind}"))
        _same(library, name, lambda x, test=test: test(fhir.choice_of(x, NAMES)), value)


@given(JSON, st.sampled_from(["dateTime", "Period", "instant", "string"]))
def test_types(library: LoadedLibrary, value: Any, kind: str) -> None:
    test = TypeOfValue(Named("FHIR.dateTime"))
    _same(library, "typed", test, value)
    _same(library, "typed", test, Element(value, kind))


MOMENTS = st.sampled_from(
    "2021 2021-02 2021-02-09 2021-02-09T10 2021-02-09T10:00:00.000 2021-02-09T10:00:00.000Z 2021-02-09T23:30:00.000-05:00 "
    "2021-02-10T04:30:00.000Z 2021-04-01 2021-04-01T00:30:00+14:00 2021-03-31T23:30:00-12:00 2022-01-01T00:00:00Z".split()
).map(DateTime.parse)


@given(st.none() | MOMENTS, st.none() | MOMENTS)
def test_order_of_moments(library: LoadedLibrary, a: DateTime | None, b: DateTime | None) -> None:
    for name, operator in (("before", "Less"), ("notAfter", "LessOrEqual")):
        long = OPERATORS[operator].overload("DateTime", "DateTime", language="cql").function
        _same(library, name, lambda x, y, long=long: None if x is None or y is None else long(x, y), a, b)


@given(MOMENTS, MOMENTS)
def test_moments_that_are_months_apart(a: DateTime, b: DateTime) -> None:
    expected: int | None = 0
    for x, y in zip(*_parts(a, b, None), strict=True):
        if x != y or x is None:
            expected = 0 if x == y else None if x is None or y is None else -1 if x < y else 1
            break
    assert order(a, b) == expected


@given(
    st.sampled_from([Decimal(3), Decimal("2.9"), Decimal("3.00"), Decimal(3000)]),
    st.sampled_from(["ng/mL", "ug/L", "year", "a", "x"]),
)
def test_order_of_quantities(library: LoadedLibrary, number: Decimal, unit: str) -> None:
    value = Quantity(number, unit, unit == "year")
    long = OPERATORS["GreaterOrEqual"].overload("Quantity", "Quantity").function
    _same(library, "enough", lambda x: long(x, Quantity(Decimal(3), "ng/mL")), value)
    long_ = OPERATORS["Greater"].overload("Quantity", "Quantity").function
    _same(library, "least", lambda x: long_(Quantity(Decimal(3), "year", True), x), value)


@given(st.none() | st.lists(st.none() | st.integers(), max_size=3))
def test_existence(library: LoadedLibrary, values: list[int | None] | None) -> None:
    _same(library, "some", exists, values)


@given(st.fixed_dictionaries({}, optional={"code": CONCEPTS | st.lists(CONCEPTS, max_size=2) | JSON}))
@example({"code": {"coding": [{"code": "MR", "system": ""}]}})
def test_ordinary_codings(resource: dict[str, Any]) -> None:
    found = fhir.plainly_coded([resource], "code", frozenset([("", "MR"), (MR.system, "MR")]))
    if found is not None:
        pairs = fhir.codes_at(resource, ("code",))
        assert found == ([resource] if (MR.system, "MR") in pairs else [])
        assert all(system and system.__class__ is str and code.__class__ is str for system, code in pairs)


def test_units_are_remembered_as_they_are_written() -> None:
    for _ in range(2):
        assert fhir.to_quantity({"value": 1, "unit": "1"}) == Quantity(Decimal(1), "1")
        assert fhir.to_quantity({"value": 1, "system": "urn:x", "unit": 1}).unit is not True  # type: ignore[union-attr]
        assert fhir.to_quantity({"value": 1, "system": "urn:x", "unit": True}).unit is True  # type: ignore[union-attr]
        assert fhir.to_quantity({"value": 1, "code": "a"}) == Quantity(Decimal(1), "year", True)
        assert to_quantity({"value": 1, "code": "a"}) == Quantity(Decimal(1), "year", True)
        assert to_quantity({"value": 1, "system": "urn:x", "code": "a"}) is None
        with pytest.raises(TypeError):
            to_quantity({"value": 1, "unit": ["mg"]})
