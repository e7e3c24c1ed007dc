"""What the compiler takes for granted holds: static types, what is never null, what is one value, what is not evaluated."""

from __future__ import annotations

import datetime as dt
import warnings
from decimal import Decimal
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, EvaluationError, Source
from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.compiler.criteria.fhirpath import compile_fhirpath
from fhir_eligibility.compiler.criteria.library import Compiled, Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.compiler.syntax.fhirpath import parse as parse_fhirpath

NOW = dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)
RANGE = "months between @2024 and @2024-03"  # from -9 to 2


def compiled(text: str) -> Compiled:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return Compiler().compile(Source("sound.cql", f"define expression: {text}"))


def value(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return LoadedLibrary(compiled(text)).evaluate("expression", Run(NOW))


def type_of(text: str) -> str:
    return str(compiled(text).defines["expression"].type)


def failure(text: str) -> str:
    with pytest.raises(EvaluationError) as raised:
        value(text)
    return raised.value.code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # a Coalesce has a variable of its own
        ("({ 1, 2, 3 }) X aggregate T starting (null as Integer): Coalesce(T, X, 9) + Coalesce(T, 0)", 4),
        ("({ null as Integer, 2 }) X let y: X return all Coalesce(y, null, 5) + Coalesce(y, 100)", [105, 4]),
        # what may be null after all
        ("Coalesce({ null as Integer }) + 1", None),
        ("Quantity { value: null } + 1 'mg'", None),
        ("Quantity { value: null } > 5 'mg'", None),
        ("(({ 1, 2 }) X aggregate T starting (null as List<Integer>): { null, X }) Y where Y > 1", [2]),
        ("exists (({ 1 }) X aggregate T starting ({ 0 }): { null as Integer })", False),
        # rows that cannot be
        ("(({ 1 }) A where null) X aggregate distinct T starting 5: T + X", 5),
        ("({ 1 }) X let y: X where null aggregate distinct T starting 5: T + y", 5),
        # the right side is not needed
        ("false and (singleton from { true, false })", False),
        ("(null as Boolean) and (First({ true }) is true) and false", False),
        ("(1 = 1) or (singleton from { true, null, false })", True),
        ("(First({ true }) or (singleton from { true, false }))", True),
        ("First({ false }) and (singleton from { true, false })", False),
        ("First({ false }) implies (singleton from { true, false })", True),
        ("First({ true }) or (Length(singleton from { 'a', 'b' }) = 1)", True),
        # Kleene's tables, with a left side that can be null
        ("{ First({ null as Boolean }) and false, First({ null as Boolean }) and true }", [False, None]),
        ("{ First({ null as Boolean }) or false, First({ null as Boolean }) or true }", [None, True]),
        ("{ First({ false }) or First({ null as Boolean }), First({ true }) and First({ null as Boolean }) }", [None, None]),
        # a null where something is looked up
        ("(null as Tuple { a Integer }).a", None),
        ("(null as Interval<Integer>).low", None),
        ("(null as List<Integer>)[0]", None),
        ("month from (null as DateTime)", None),
    ],
)  # fmt: skip
def test_values(text: str, expected: object) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("if true then { 1 } else { }", "List<Integer>"),
        ("if true then { } else { 1 }", "List<Integer>"),
        ("{ { 1 }, { } }", "List<List<Integer>>"),
        ("Coalesce({ }, { 'a' })", "List<String>"),
        ("if true then Tuple { a: { 1 } } else Tuple { a: { } }", "Tuple { a List<Integer> }"),
        ("({ 1, 2 }) X aggregate T starting (null as Choice<Integer, String>): X", "Choice<Integer, String>"),
        ("({ 1, 'a' }) X aggregate T: X", "Choice<Integer, String>"),
        ("({ 1L, 2L }) X aggregate T starting 'a': X", "Choice<String, Long>"),
        (
            "if true then Interval[null, null] else (@2024 as Choice<Date, Interval<Date>>)",
            "Choice<Date, Interval<Date>>",
        ),
        ("if true then ('a' as Choice<List<Integer>, String>) else { }", "Choice<List<Integer>, String>"),
        ("Power(2, 0 - 2)", "Integer"),
        ("Power(2, -2)", "Decimal"),
    ],
)
def test_types(text: str, expected: str) -> None:
    assert type_of(text) == expected


def test_a_choice_keeps_the_types_of_its_values() -> None:
    assert value("((if true then Interval[null as Integer, null] else 'a') as Interval<Integer>) is null") is False
    assert (
        value("(if true then Interval[null as Integer, null] else Interval[null as Date, null]) is Interval<Date>")
        is False
    )
    assert value("Interval[null, null as Date] as Choice<Interval<Date>, String>").point == "Date"
    assert value("(Concept { codes: { Code { code: 'a' } } }).codes as Choice<List<Code>, String>") is not None
    mixed = value("{ Interval[null as Integer, 5], 'a' }")
    assert isinstance(mixed[0], Interval) and mixed[0].point == "Integer"
    assert value("(({ 1L, 2L }) X aggregate T starting 'a': X) is Long") is True
    assert value("(if true then { 1L } else { 'a' }) is List<Long>") is True


def test_an_element_of_another_type_is_none_of_the_list() -> None:
    assert value("((if true then List<Any>{ 1, 'a' } else null) as List<Integer>) is null") is True
    assert value("List<Any>{ 1, 'a' } as List<Integer>") is None
    assert value("List<Any>{ 1, null } as List<Integer>") == [1, None]
    assert value("if true then List<Any>{ 1, 'a' } else { 2 }") == [1, None]


@pytest.mark.parametrize(
    "text",
    [
        f"Substring('abcdef', {RANGE})",
        f"ToString({RANGE})",
        f"Abs({RANGE})",
        f"Power({RANGE}, 2)",
        f"Round(ToDecimal({RANGE}))",
        f"{{ 1, 2, 3 }}[{RANGE}]",
        f"({RANGE}) mod 3",
        f"Date(2024, {RANGE})",
        f"Max({{ {RANGE}, 1 }})",
        f"({{ {RANGE}, 1 }}) X sort desc",
        f"Median({{ ToDecimal({RANGE}), 1.0 }})",
        f"Take({{ 1, 2 }}, {RANGE})",
    ],
)
def test_a_range_where_one_value_is_needed(text: str) -> None:
    assert failure(text) == "uncertain"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"({RANGE}) < 3", True),
        (f"({RANGE}) > 2", False),
        (f"({RANGE}) = 2", None),
        (f"({RANGE}) in Interval[-10, 5]", True),
        (f"ToDecimal({RANGE}) + 1 <= 3.0", True),
        (f"Max({{ {RANGE}, 3 }})", 3),
        ("Interval(null as Quantity, 5 'mg'] before 6 'mg'", True),
        ("Interval(null as Quantity, 5 'mg'] after 6 'mg'", False),
        ("Interval[5 'mg', null as Quantity) on or after 5 'mg'", True),
        ("Interval(null as Date, @2024-03-01] on or before @2024-03-01T00:00:00.000", None),
        ("Interval(null as Date, @2024-03-01] on or before @2024-03-02T00:00:00.000", True),
    ],
)
def test_what_holds_for_every_value_of_a_range(text: str, expected: object) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("points", "interval", "expected"),
    [
        (
            "@2024-03-01, @2024-03, @2024, @2024-12-31, null",
            "Interval[@2024-02-01, @2024-12-31)",
            [True, True, None, False, None],
        ),
        ("@2024-02-01, @2024-01-31", "Interval[@2024-02-01, @2024-12-31)", [True, False]),
        (
            "@2024-02-01T00:00:00.0+01:00, @2024-02-01T00:00:00.0, @2024-02, @2025",
            "Interval(@2024-01-31T23:00:00.0, @2024-12-31T00:00:00.0]",
            [False, True, True, False],
        ),
        ("@2024-03-01, @2024-02", "Interval[@2024-02, @2024-12]", [True, True]),
        (f"1, 5, 10, {RANGE}, null", "Interval(1, 10]", [False, True, True, None, None]),
        (f"{RANGE}, -9", "Interval[-9, 2]", [True, True]),
        ("7L, 8L", "Interval[1L, 8L)", [True, False]),
        ("1.5, 9.9, 10.0", "Interval[1.5, 9.9]", [True, True, False]),
    ],
)
def test_membership_in_an_interval_of_literals(points: str, interval: str, expected: list[object]) -> None:
    assert value(f"({{ {points} }}) X return all X in {interval}") == expected
    assert value(f"({{ {points} }}) X return all {interval} contains X") == expected
    assert value(f"({{ {interval} }}) I return ({{ {points} }}) X return all X in I") == [expected]  # not inline


def test_an_interval_that_is_none_fails_where_it_is_evaluated() -> None:
    assert value("if false then 3 in Interval[5, 2] else true") is True
    assert failure("3 in Interval[5, 2]") == "invalid-interval"


@pytest.mark.parametrize("text", ["Time(-1, 5)", "Time(23, -5)", "Time(23, 5, -1)", "Time(23, 5, 1, 1000)", "Time(24)"])
def test_times_that_are_none(text: str) -> None:
    assert failure(text) == "invalid-date"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Power(10.0, 40.0)", None),
        ("Power(10.0, 20.0)", Decimal(10) ** 20),
        ("9999999999999999999999999999.0 / 0.00001", None),
        ("Exp(1000.0)", None),
        ("Round(99999999999999999999.99999999, 28) = 99999999999999999999.99999999", True),
        ("Round(1234567890123456789012345678.0, 20) = 1234567890123456789012345678.0", True),
        ("Power(2, 0 - 2)", None),
        ("Power(0 - 1, 0 - 3)", -1),
        ("2 ^ -2", Decimal("0.25")),
        ("days between @9999-12-31T23:59:59.999+12:00 and @9999-12-31T23:59:59.999-12:00", 1),
        ("difference in hours between @9999-12-31T23:00:00.000+12:00 and @9999-12-31T23:00:00.000-12:00", 24),
        ("days between @0001-01-01T00:00:00.000-12:00 and @0001-01-01T00:00:00.000+12:00", -1),
        ("@9999-12-31T23:00:00.000-12:00 > @9999-12-31T23:30:00.000+12:00", True),
        ("@0001-01-01T00:00:00.000+12:00 < @0001-01-01T00:00:00.000-12:00", True),
    ],
)
def test_at_the_limits(text: str, expected: object) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "expand { Interval[@0001-01-01, @9999-12-31] } per day",
        "expand { Interval[1, 2000000000] }",
        "expand Interval[@T00:00:00.000, @T23:59:59.999] per millisecond",
        "expand Interval[1.0, 2000000000.0] per 0.00001",
    ],
)
def test_an_expansion_without_end(text: str) -> None:
    assert failure(text) == "expand-limit"


@pytest.mark.parametrize("name", ["DateFrom", "TimeFrom", "TimezoneOffsetFrom"])
def test_each_language_has_its_own_parts_of_a_datetime(name: str) -> None:
    languages = {overload.language for overload in OPERATORS[name].overloads}
    assert languages == {"cql", "fhirpath"}


def test_parts_of_a_datetime_in_both_languages() -> None:
    assert str(value("time from @2024-01-01T10:30")) == "10:30"
    assert str(value("date from @2024-01")) == "2024-01"
    assert [str(x.value) for x in compile_fhirpath("@2024-01-01T10:30.timeOf()").evaluate({})] == ["10:30"]


@pytest.mark.parametrize("text", ["a or or b", "@T01:00 + hours", "'1 day'.toQuantity() = day", "mod", "1 + div"])
def test_a_keyword_begins_no_fhirpath_expression(text: str) -> None:
    with pytest.raises(DiagnosticError) as raised:
        compile_fhirpath(text)
    assert raised.value.diagnostics[0].code == "syntax-operand"


@pytest.mark.parametrize("text", ["text.div", "`day` = 1", "a.mod.contains", "is(Patient)", "5 days"])
def test_a_keyword_is_a_path_element_behind_a_dot(text: str) -> None:
    assert parse_fhirpath(Source("path", text)) is not None
