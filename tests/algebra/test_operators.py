"""The operators of CQL by their functions: values of the official tests and the specification's examples."""

from __future__ import annotations

import pickle
import subprocess
import sys
from decimal import Decimal as D
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.operators.equality import equal, equivalent
from fhir_eligibility.algebra.operators.registry import Language, operator
from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values.clinical import Code, Concept, Ratio, Tuple
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.quantity import Quantity


def call(name: str, signature: str, *operands: Any, language: Language = "cql") -> Any:
    """Apply the overload of a language with these parameters; null operands as its policy says."""
    parameters = tuple(p.strip() for p in signature.split(",")) if signature else ()
    overload = next(o for o in OPERATORS[name].of(language) if o.parameters == parameters)
    if overload.nulls == "propagate" and None in operands:
        return None
    return overload.function(*operands)


def text(value: Any) -> Any:
    return [text(item) for item in value] if isinstance(value, list) else None if value is None else str(value)


def days(first: str, last: str) -> Interval:
    return Interval(Date.parse(first), Date.parse(last))


def times(first: str, last: str, closed: bool = True) -> Interval:
    return Interval(Time.parse(first), Time.parse(last), True, closed)


CM = Quantity(D("3.5"), "cm")


@pytest.mark.parametrize(
    ("name", "signature", "operands", "expected"),
    [
        ("Successor", "Long", (3_000_000_000,), 3_000_000_001),
        ("Successor", "Decimal", (D("1.01"),), D("1.01000001")),
        ("Predecessor", "Date", (Date.parse("2000-01-01"),), Date.parse("1999-12-31")),
        ("Negate", "Integer", (-2147483648,), None),
        ("Abs", "Integer", (-2147483648,), None),
        ("Abs", "Long", (-2147483648,), 2147483648),
        ("Power", "Integer, Integer", (2, -2), None),
        ("Power", "Integer, Integer", (10, 10), None),
        ("Power", "Long, Long", (10, 10), 10_000_000_000),
        ("Multiply", "Decimal, Decimal", (D("0.00000001"), D("0.1")), D("0E-8")),
        ("Subtract", "Decimal, Decimal", (D("1E28"), D("0.00000001")), D("9999999999999999999999999999.99999999")),
        ("Add", "Decimal, Decimal", (D("9999999999999999999999999999"), D(2)), None),
        ("TruncatedDivide", "Decimal, Decimal", (D("10.1"), D("-3.1")), D(-3)),
        ("TruncatedDivide", "Quantity, Quantity", (Quantity(D("4.14"), "m"), Quantity(D("2.06"), "m")), Quantity(D(2), "m")),
        ("Modulo", "Quantity, Quantity", (CM, Quantity(D(3), "cm")), Quantity(D("0.5"), "cm")),
        ("Modulo", "Quantity, Quantity", (CM, Quantity(D(0), "cm")), None),
        ("LowBoundary", "Decimal, Integer", (D("1.587"), 8), D("1.587")),
        ("HighBoundary", "Decimal, Integer", (D("1.587"), 8), D("1.58799999")),
        ("HighBoundary", "Date, Integer", (Date.parse("2014"), 6), Date.parse("2014-12")),
        ("HighBoundary", "Time, Integer", (Time.parse("10:30"), 9), Time.parse("10:30:59.999")),
        ("Substring", "String, Integer", ("", 0), ""),
        ("Substring", "String, Integer", ("ab", 2), None),
        ("PositionOf", "String, String", ("b", "ab"), 1),
        ("LastPositionOf", "String, String", ("hi", "Say hi to Ohio!"), 11),
        ("Matches", "String, String", ("Not all who wander are lost", ".*\\d+"), False),
        ("Split", "String, String", ("a,b", None), ["a,b"]),
        ("Combine", "List<String>, String", (["a", None, "b"], "-"), "a-b"),
        ("Combine", "List<String>", ([],), None),
        ("Exists", "List<T>", ([None],), False),
        ("Contains", "List<T>, T", ([None, "b"], "a"), False),
        ("Contains", "List<T>, T", (["a", None], None), True),
        ("In", "T, List<T>", (1, None), False),
        ("ProperContains", "List<T>, T", (["a", "a"], "a"), False),
        ("ProperContains", "List<T>, T", (["a", None], "a"), None),
        ("ProperContains", "List<T>, T", (["a", "b", None], "a"), True),
        ("ProperContains", "List<T>, T", (["s", None], None), True),
        ("ProperContains", "List<T>, T", ([Time.parse("15:59:59.999"), Time.parse("20:59")], Time.parse("15:59:59")), None),
        ("Includes", "List<T>, List<T>", ([1, 2], [3]), False),
        ("ProperIncludes", "List<T>, List<T>", ([1, 2], [2]), True),
        ("Union", "List<T>, List<T>", ([None, 1], [1, None, 2]), [None, 1, 2]),
        ("Except", "List<T>, List<T>", ([1, 4], None), [1, 4]),
        ("Distinct", "List<T>", ([1, D("1.0"), "a", None, None, True],), [1, "a", None, True]),
        ("Slice", "List<T>, Integer, Integer", ([1, 2, 3, 4, 5], 1, -1), [2, 3, 4]),
        ("Take", "List<T>, Integer", ([1, 2], None), []),
        ("IndexOf", "List<T>, T", ([1, 2], 3), -1),
        ("Indexer", "List<T>, Integer", ([1, 2], -1), None),
        ("Flatten", "List<List<T>>", ([[1], None, [2, None]],), [1, 2, None]),
        ("AllTrue", "List<Boolean>", (None,), True),
        ("AnyTrue", "List<Boolean>", ([None, False],), False),
        ("Sum", "List<Integer>", ([None, 1, None],), 1),
        ("Sum", "List<Integer>", ([2147483647, 1],), None),
        ("Median", "List<Decimal>", ([D(6), D(5), D(4), D(3), D(2), D(1)],), D("3.5")),
        ("Mode", "List<T>", ([2, 1, 8, 2, 9, 1, 9, 9],), 9),
        ("StdDev", "List<Decimal>", ([D(n) for n in range(1, 6)],), D("1.58113883")),
        ("PopulationVariance", "List<Quantity>", ([None, None],), None),
        ("GeometricMean", "List<Decimal>", ([D(2), D(8)],), D(4)),
        ("Max", "List<DateTime>", ([DateTime.parse("2012-10-05"), DateTime.parse("2012-10-06")],), DateTime.parse("2012-10-06")),
        ("In", "T, Interval<T>", (Date.parse("2012-01-07"), days("2012-01-05", "2012-01-15")), True),
        ("ProperContains", "Interval<T>, T", (times("12:00:00.001", "21:59"), Time.parse("12:00:00")), None),
        ("IncludedIn", "Interval<T>, Interval<T>", (days("2012-01-07", "2012-01-08"), days("2012-01-05", "2012-01-15")), True),
        ("Width", "Interval<Decimal>", (Interval(D(4), D(15)),), D(11)),
        ("Size", "Interval<Integer>", (Interval(3, 8, True, False),), 5),
        ("ConvertQuantity", "Quantity, String", (Quantity(D(1), "m"), "cm"), Quantity(D(100), "cm")),
    ],
)  # fmt: skip
def test_value(name: str, signature: str, operands: tuple[Any, ...], expected: Any) -> None:
    result = call(name, signature, *operands)
    assert result == expected and result.__class__ is expected.__class__


def test_an_overload_of_fhirpath_alone() -> None:
    assert call("Power", "Integer, Integer", 2, 10, language="fhirpath") == 1024
    assert call("Power", "Integer, Integer", 2, -2, language="fhirpath") is None
    assert call("Power", "Integer, Integer", -1, -3, language="fhirpath") == -1


@pytest.mark.parametrize(
    ("interval", "per", "expected"),
    [
        (days("2018-01-01", "2018-01-04"), Quantity(D(2), "day", True), ["2018-01-01", "2018-01-03"]),
        (times("10:00", "12:30", False), Quantity(D(1), "hour", True), ["10", "11", "12"]),
        (times("22", "23"), Quantity(D(1), "hour", True), ["22", "23"]),
        (times("10", "10"), Quantity(D(1), "minute", True), []),
        (Interval(D("10.0"), D("12.5"), True, False), Quantity(D(1)), ["10", "11", "12"]),
        (Interval(10, 10), Quantity(D("0.5")), ["10.0", "10.5"]),
        (Interval(1, 10, True, False), Quantity(D(2)), ["1", "3", "5", "7"]),
        (Interval(1, 3), None, ["1", "2", "3"]),
        (Interval(1, None, True, False), None, []),
        (Interval(Quantity(D(1), "g"), Quantity(D(3), "g")), Quantity(D(1), "g"), ["1 'g'", "2 'g'", "3 'g'"]),
        (days("9999-12-30", "9999-12-31"), Quantity(D(1), "day", True), ["9999-12-30", "9999-12-31"]),
    ],
)
def test_expand(interval: Interval, per: Quantity | None, expected: list[str]) -> None:
    assert text(call("Expand", "Interval<T>, Quantity", interval, per)) == expected


def test_expand_refuses_what_never_ends() -> None:
    for per, code in ((Quantity(D(0)), "expand-unit"), (Quantity(D("0.00000001")), "expand-limit")):
        with pytest.raises(EvaluationError) as raised:
            call("Expand", "Interval<T>, Quantity", Interval(1, 10), per)
        assert raised.value.code == code


@pytest.mark.parametrize(
    ("intervals", "per", "expected"),
    [
        ([Interval(1, 2), None, Interval(10, 19), Interval(3, 7), Interval(7, 10)], None, ["Interval[1, 19]"]),
        ([Interval(4, 6), Interval(8, 9)], None, ["Interval[4, 6]", "Interval[8, 9]"]),
        ([Interval(4, 6), Interval(8, 9)], Quantity(D(2)), ["Interval[4, 9]"]),
        ([Interval(None, None, False, False)], None, []),
        ([days("2012-01-01", "2012-01-15"), days("2012-01-16", "2012-05-25")], None, ["Interval[2012-01-01, 2012-05-25]"]),
        ([days("2012-01-01", "2012-01-15"), days("2012-02-20", "2012-02-25")], Quantity(D(1), "month", True),
         ["Interval[2012-01-01, 2012-02-25]"]),
    ],
)  # fmt: skip
def test_collapse(intervals: list[Interval | None], per: Quantity | None, expected: list[str]) -> None:
    assert text(call("Collapse", "List<Interval<T>>, Quantity", intervals, per)) == expected


ONE = Code("K7", "http://codes.example/onc", "2021-01", "Widget lesion")
OTHER = Code("K7", "http://codes.example/onc", "2022-07", "another word")


@pytest.mark.parametrize(
    ("a", "b", "same", "alike"),
    [
        (ONE, OTHER, False, True),
        (Concept((ONE,)), OTHER, False, True),
        (Tuple(Id=None, Name="John"), Tuple(Id=1, Name="James"), None, False),
        (Tuple(Id=1, Name="John"), Tuple(Id=2, Name=None), False, False),
        (Tuple(Id=1, Name=None), Tuple(Id=1, Name=None), True, True),
        ([1, None], [1, None], True, True),
        ([1], ["1"], False, False),
        (Ratio(Quantity(D(1)), Quantity(D(8))), Ratio(Quantity(D(2)), Quantity(D(16))), False, True),
        (Interval(1, 10), Interval(1, 11, True, False), True, True),
        (DateTime.parse("2012-01-01"), DateTime.parse("2012-01-01T12"), None, False),
        (None, None, None, True),
        (D("1.50"), D("1.55"), False, False),
    ],
)
def test_equality_and_equivalence(a: Any, b: Any, same: bool | None, alike: bool) -> None:
    assert equal(a, b) is same
    assert equivalent(a, b) is alike


def test_a_reference_finds_its_function_in_a_fresh_process() -> None:
    """Whatever has been imported, and in whatever order: the signature tells the overload."""
    overload = next(o for o in OPERATORS["ToDateTime"].of("cql") if o.parameters == ("String",))
    assert overload.reference.resolve() is overload.function
    code = (
        "import pickle, sys, fhir_eligibility.compiler.runtime.runtime;"
        "print(pickle.loads(sys.stdin.buffer.read()).resolve().__qualname__)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(overload.reference), capture_output=True, check=True
    )
    assert run.stdout.decode().strip() == overload.function.__qualname__


def test_a_signature_is_registered_once() -> None:
    with pytest.raises(ValueError, match="registered twice"):
        operator("Abs", "(Integer) Integer")(abs)
