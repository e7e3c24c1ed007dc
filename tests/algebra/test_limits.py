"""What a criterion may cost: every expression that grows without end is refused, in little time and memory, and ordinary ones are not."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.algebra import limits
from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.operators import collection, lists
from fhir_eligibility.algebra.operators.equality import equal
from fhir_eligibility.algebra.operators.lookup import Lookup, without_repeats
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values.clinical import Code, Tuple
from fhir_eligibility.algebra.values.element import Element, to_system
from fhir_eligibility.algebra.values.quantity import Quantity
from fhir_eligibility.compiler.criteria.fhirpath import compile_fhirpath
from fhir_eligibility.compiler.criteria.library import compile_expression
from fhir_eligibility.compiler.runtime.cql import Run

SECONDS = 20  # far more than any of these takes, and far less than they would take without a limit


def fhirpath(expression: str) -> list[Any]:
    limits.restart()
    return [item.value for item in compile_fhirpath(expression).evaluate(None)]


def cql(expression: str) -> Any:
    limits.restart()
    return compile_expression(expression).evaluate("expression", Run())


def refused(language: str, expression: str) -> str:
    """What is said of an expression that exceeds a limit."""
    begun = time.monotonic()
    with pytest.raises(EvaluationError) as error:
        (fhirpath if language == "fhirpath" else cql)(expression)
    assert time.monotonic() - begun < SECONDS
    assert error.value.code == "limit-exceeded"
    return error.value.message


# Each applied to its own result grows; the text says how the next is made of the one before.
GROWING = {
    ("fhirpath", "replace"): "{0}.replace('a', 'aa')",
    ("fhirpath", "replace nothing"): "{0}.replace('', 'aa')",
    ("fhirpath", "replaceMatches"): "{0}.replaceMatches('.', '$0$0')",
    ("fhirpath", "&"): "({0}).select($this & $this)",
    ("fhirpath", "+"): "({0}).select($this + $this)",
    ("fhirpath", "encode"): "{0}.encode('base64')",
    ("fhirpath", "encode hex"): "{0}.encode('hex')",
    ("fhirpath", "encode url"): "{0}.encode('urlbase64')",
    ("fhirpath", "escape json"): "('\"' & {0}).escape('json').replace('a', '\"')",
    ("fhirpath", "escape html"): "{0}.replace('a', '<').escape('html').replace('&', 'a').replace('l', 'a')",
    ("fhirpath", "join"): "({0} | 'b').select($this & $this).join('a')",
    ("fhirpath", "split"): "{0}.replace('a', 'aba').split('b').join('aa')",
    ("fhirpath", "toChars"): "('b' & {0}).toChars().join('aa')",
    ("fhirpath", "aggregate"): "(1 | 2 | 3).aggregate($total & $total, {0})",
    ("fhirpath", "combine"): "({0}).select($this.combine($this).combine($this).combine($this))",
    ("fhirpath", "select"): "({0}).select('a'.combine('a').combine('a').combine('a'))",
    ("cql", "+"): "singleton from (({{ {0} }}) X return X + X)",
    ("cql", "&"): "singleton from (({{ {0} }}) X return X & X)",
    ("cql", "Combine"): "Combine(({{ {0} }}) X return all Combine({{X, X, X}}))",
    ("cql", "ReplaceMatches"): "ReplaceMatches({0}, 'a', 'aa')",
    ("cql", "ReplaceMatches groups"): "ReplaceMatches({0}, '(a)', '$1$1')",
    ("cql", "Split"): "Combine(Split(ReplaceMatches({0}, 'a', 'aba'), 'b'), 'aa')",
    ("cql", "SplitOnMatches"): "Combine(SplitOnMatches({0}, 'a'), 'aa')",
    ("cql", "aggregate"): "(({{1, 2, 3}}) L aggregate R starting {0}: R + R)",
}


@pytest.mark.parametrize(("language", "name"), GROWING)
def test_what_grows_with_each_step_is_refused(language: str, name: str) -> None:
    step, expression = GROWING[language, name], "'a'"
    for _ in range(12 if name in ("combine", "select") else 24 if "{{" in step or "Split" in step else 60):
        expression = step.format(expression)
    said = refused(language, expression)
    assert "the limit is" in said or "more than" in said


@pytest.mark.parametrize(
    ("language", "expression", "says"),
    [
        ("fhirpath", "(1|2|3|4|5|6|7|8|9|10)" + ".select(1.combine(2).combine(3).combine(4).combine(5))" * 12, "items"),
        ("cql", "from (expand Interval[1, 2000]) A, (expand Interval[1, 2000]) B return all A + B", "items"),
        ("cql", "from (expand Interval[1, 300]) A, (expand Interval[1, 300]) B, (expand Interval[1, 300]) C return all A", "items"),
        ("cql", "Length(flatten (from ({ expand Interval[1, 2000] }) L, (expand Interval[1, 2000]) A return all L))", "items"),
        ("cql", "expand Interval[1, 1000000]", "expand"),
        ("fhirpath", "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!'.matches('(a|aa)+$')", "2 seconds"),
        ("fhirpath", "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!'.matchesFull('(a|aa)+')", "2 seconds"),
        ("fhirpath", "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!'.replaceMatches('(a|aa)+$', 'b')", "2 seconds"),
        ("cql", "Matches('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!', '(a|aa)+$')", "2 seconds"),
        ("cql", "SplitOnMatches('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!', '(a|aa)+$')", "2 seconds"),
        ("fhirpath", "'a'.matches('(a{1000}){1000}')", "written out"),
        ("fhirpath", "'a'.matches('((((a{10}){10}){10}){10}){10}')", "written out"),
        ("fhirpath", "'a'.matches('" + "a" * 10_001 + "')", "longer than"),
    ],
)  # fmt: skip
def test_the_limit_that_is_exceeded_is_named(language: str, expression: str, says: str) -> None:
    if says == "expand":
        with pytest.raises(EvaluationError, match="more than 50000"):
            cql(expression)
    else:
        assert says in refused(language, expression)


@pytest.mark.parametrize(
    ("text", "regex"),
    [
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", "(a+)+$"),
        ("Wolfeschlegelsteinhausenbergerdorff-", r"^(\\w+\\s?)*$"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "(a*)*b"),
        ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "(x+x+)+y"),
    ],
)
def test_repetitions_in_repetitions_have_an_answer(text: str, regex: str) -> None:
    begun = time.monotonic()
    assert fhirpath(f"'{text}'.matches('{regex}')") == [False]
    assert cql(f"Matches('{text}', '{regex}')") is False
    assert time.monotonic() - begun < SECONDS


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (r"replaceMatches('11/30/1972', '\\b(?<month>\\d{1,2})/(?<day>\\d{1,2})/(?<year>\\d{2,4})\\b', '${day}-${month}-${year}')", "30-11-1972"),
        (r"replaceMatches('abc', '(b)', '[$1]')", "a[b]c"),
        (r"replaceMatches('abc', 'b', '[$5]')", "a[$5]c"),
        (r"replaceMatches('abc', '(b)', '[$12]')", "a[b2]c"),
        (r"replaceMatches('abc', 'b', '\\$1')", "a$1c"),
        (r"replaceMatches('abc', '(x)?b', '[$1]')", "a[]c"),
        (r"matches('\u00C9t\u00E9', '^\\p{Lu}')", True),
        (r"matches('abc', 'A(?i)BC')", False),
        (r"matches('aBC', 'a(?i)bc')", True),
        (r"matches('a1', '^[[:alpha:]][[:digit:]]$')", True),
        (r"matches('[', '^[[]$')", True),
        (r"matches('a]', '^a[]]$')", True),
        (r"matches('&', '^[a&&b]$')", True),
        (r"matches('-', '^[a--]$')", True),
        (r"matches('{x}', '^{x}$')", True),
        (r"matches('a{,2}', '^a{,2}$')", True),
        (r"matches('aaa', '^a{2,}$')", True),
        (r"matches('ab', 'b\\z')", True),
        (r"matches('ab\n', 'b\\z')", False),
        (r"matches('ab\n', 'b\\Z')", True),
        (r"matches('a.b', '^\\Qa.b\\E$')", True),
        (r"matches('axb', '^\\Qa.b\\E$')", False),
        (r"matches('A', '^\\x{41}$')", True),
        (r"matches('a\nb', 'a.b')", True),
        (r"matches('foobar', 'foo(?=bar)')", True),
        (r"matches('foobar', '(?<!foo)bar')", False),
        (r"matches('abab', '^(ab)\\1$')", True),
        (r"matches('xABCx', 'ABC')", True),
        (r"matchesFull('xABCx', 'ABC')", False),
    ],
)  # fmt: skip
def test_the_dialect_of_regular_expressions(expression: str, expected: Any) -> None:
    function, _, rest = expression.partition("(")
    text, _, arguments = rest.partition(", ")
    assert fhirpath(f"{text}.{function}({arguments}") == [expected]
    if function != "matchesFull":
        assert cql(f"{function[0].upper()}{function[1:]}({text}, {arguments}".replace("\\x{41}", "\\x{41}")) == expected


@pytest.mark.parametrize(
    "regex",
    ["(", "[a", "a{2,1}", "*a", "(?<n>a)(?<n>", r"\\x{zz}", r"\\x{fffffff}", "(" * 3000 + ")" * 3000, "(?P<1>a)"],
)
def test_what_is_no_regular_expression_is_said(regex: str) -> None:
    with pytest.raises(EvaluationError) as error:
        fhirpath(f"'a'.matches('{regex}')")
    assert error.value.code == "invalid-regex"


def test_a_group_that_is_not_there_is_named() -> None:
    with pytest.raises(EvaluationError, match="no group 'day'.*month"):
        fhirpath("'11'.replaceMatches('(?<month>1)', '${day}')")


def test_the_parts_between_matches_are_no_groups() -> None:
    assert cql(r"SplitOnMatches('a1b2c', '(\\d)')") == ["a", "b", "c"]
    assert cql(r"SplitOnMatches('a1b2', '\\d')") == ["a", "b", ""]


# -- numbers

HUGE = Decimal("1e999999999")
TINY = Decimal("1e-999999999")


@pytest.mark.parametrize("number", [HUGE, TINY, HUGE.copy_negate()])
def test_a_huge_number_of_the_data_ends_in_an_error_or_an_answer(number: Decimal) -> None:
    resource = {
        "resourceType": "Observation",
        "status": "final",
        "valueQuantity": {"value": number, "code": "ng/mL", "system": "http://unitsofmeasure.org"},
    }
    begun = time.monotonic()
    for expression in (
        "value >= 3 'ng/mL'", "value >= 3 'g/L'", "value = 3 'g/L'", "value ~ 3 'g/L'", "value * value", "value + 1 'g/L'",
        "value.value.toString()", "value.toString()", "value.value.truncate()", "value.value.floor()", "value.value.ceiling()",
        "value.value.round(2)", "value.value.power(2)", "value.value.sqrt()", "value.value * 2",
        "value.value + 0.1", "value.value / 3", "value.value mod 3", "value.value div 3", "value.value.abs()", "value.value.ln()",
        "value.value in (1 | 2 | value.value)", "value.value ~ 1.0", "value.value.exp()", "value.toQuantity('g/L')",
        "value.value.precision()", "value.value.lowBoundary()", "value.value.highBoundary()", "'a' & value.value.toString()",
    ):  # fmt: skip
        try:
            compile_fhirpath(expression, root="Observation").evaluate(resource)
        except EvaluationError as error:
            assert len(error.message) < 2_000, expression
    assert time.monotonic() - begun < SECONDS
    assert len(str(Quantity(number, "g"))) < 50


def test_a_comparison_with_a_huge_number_is_right() -> None:
    resource = {
        "resourceType": "Observation",
        "valueQuantity": {"value": HUGE, "code": "g", "system": "http://unitsofmeasure.org"},
    }
    assert [i.value for i in compile_fhirpath("value >= 3 'g'", root="Observation").evaluate(resource)] == [True]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("Product({2, 3, 4})", 24),
        ("Product((expand Interval[1, 49000]) X return all 2147483647)", None),
        ("Product(flatten {(expand Interval[1, 49000]) X return all 2147483647, {0}})", 0),
        ("ToInteger('" + "9" * 6000 + "')", None),
        ("ToInteger('" + "0" * 6000 + "7')", 7),
        ("ToInteger('\u0663')", None),
    ],
)
def test_whole_numbers(expression: str, expected: int | None) -> None:
    begun = time.monotonic()
    assert cql(expression) == expected
    assert time.monotonic() - begun < SECONDS


# -- lists


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("Length((expand Interval[1, 49000]) except (expand Interval[20001, 49000]))", 20000),
        ("Length((expand Interval[1, 49000]) intersect (expand Interval[20001, 49000]))", 29000),
        ("(expand Interval[1, 49000]) includes (expand Interval[20001, 49000])", True),
        ("(expand Interval[2, 49000]) includes (expand Interval[1, 49000])", False),
        ("Mode(expand Interval[1, 49000])", 1),
        ("Mode((expand Interval[1, 40000]) X return all ToString(X))", "1"),
        ("Length(distinct ((expand Interval[1, 30000]) X return all X mod 100))", 100),
        ("Length((expand Interval[1, 20000]) X return Tuple { x: X, y: 'a' })", 20000),
        ("Length((expand Interval[1, 20000]) X return Quantity { value: ToDecimal(X), unit: 'mg' })", 20000),
        ("Length((expand Interval[@2000-01-01, @2049-12-31]) except { @2000-01-01 })", 18262),
        ("Length((expand Interval[1, 20000]) X return { X, X + 1 })", 20000),
    ],
)
def test_long_lists_are_asked_by_hash(expression: str, expected: Any) -> None:
    begun = time.monotonic()
    assert cql(expression) == expected
    assert time.monotonic() - begun < SECONDS


def test_lists_that_can_only_be_compared_pair_by_pair_have_a_limit() -> None:
    months = "(expand Interval[1, 20000]) X return all Interval[X, X + 1]"
    assert "pairs" in refused("cql", f"Length(({months}) except ({months}))")


def test_what_one_criterion_makes_in_all_has_a_limit() -> None:
    text = "'a'" + ".replace('a', 'aaaaaaaaaa')" * 5
    ten = "(1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10)"
    assert "in all" in refused("fhirpath", f"{ten}.select({ten}.select({ten}.select({text} & $this.toString())))")
    limits.restart()
    assert len(fhirpath(f"(1 | 2).select({text} & $this.toString())")) == 2


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from([Decimal("1"), Decimal("1.0"), Decimal("2.5")]),
    st.sampled_from(["a", "b", "1"]),
    st.sampled_from([Date(2024), Date(2024, 1), Date(2024, 1, 1), Date(2024, 1, 2)]),
    st.sampled_from(
        [DateTime.parse(x) for x in ("2024-01-01T00:00:00.000Z", "2024-01-01T01:00:00.000+01:00", "2024-01-01T", "2024-01-01T00:00:00.000")]
    ),
    st.sampled_from([Time(1, 2), Time(1, 2, 3, 4), Time(1, 2, 3)]),
    st.sampled_from([Quantity(Decimal(1), "g"), Quantity(Decimal(1000), "mg"), Quantity(Decimal(1), "1"), Quantity(Decimal(1), "cm")]),
    st.sampled_from([Code("a", "s"), Code("a", "s", None, "d"), Code("a", "s", "v"), Code("b", "s")]),
    st.sampled_from([{"resourceType": "Basic", "id": "1"}, {"resourceType": "Basic", "id": "1", "n": 2}, {"a": [1]}, {"a": [2]}]),
    st.sampled_from([Element("a", "code"), Element({"a": [1]}, "Coding"), Element(Decimal(1), "decimal")]),
    st.sampled_from([Tuple({"a": 1, "b": None}), Tuple({"a": 1, "b": 2}), Tuple({"a": None, "b": 2}), Tuple({"a": 1})]),
    st.sampled_from([[1, 2], [1, None], [1], []]),
)  # fmt: skip


def alike(a: Any, b: Any) -> bool | None:
    """Equality of CQL, of values as the language sees them."""
    return lists.same(to_system(a), to_system(b))


@settings(deadline=None, max_examples=600)
@given(st.lists(values, max_size=14), values)
def test_a_lookup_answers_as_pair_by_pair(items: list[Any], item: Any) -> None:
    answers = [alike(other, item) for other in items]
    expected = True if True in answers else None if None in answers else False
    assert Lookup.of(items, alike, "test").has(item) is expected
    present = [x for x in items if x is not None]
    if item is not None:
        assert Lookup.of(present, collection.same, "test").has(item) is collection.contains_item(present, item)


@settings(deadline=None, max_examples=300)
@given(st.lists(values, max_size=14))
def test_repeats_go_as_pair_by_pair(items: list[Any]) -> None:
    kept: list[Any] = []
    for item in items:
        if not any(alike(other, item) is True for other in kept):
            kept.append(item)
    found = without_repeats(items, alike, "test")
    assert [id(x) for x in found] == [id(x) for x in kept]


def test_equality_that_cannot_be_told_is_not_taken_for_a_difference() -> None:
    assert equal(Code("a", "s"), Code("a", "s", "v")) is None
    many = [Code(str(number), "s") for number in range(100)]
    assert Lookup.of(many, lists.same, "test").has(Code("5", "s", "v")) is None
    assert Lookup.of(many, lists.same, "test").has(Code("5", "s")) is True
    assert Lookup.of(many, lists.same, "test").has(Code("x", "s", "v")) is False
