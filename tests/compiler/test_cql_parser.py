"""CQL text to syntax trees: bracketing, queries, phrases, and mistakes with their places."""

from __future__ import annotations

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, Source
from fhir_eligibility.compiler.syntax import cql_nodes as c
from fhir_eligibility.compiler.syntax import nodes as s
from fhir_eligibility.compiler.syntax.cql import parse_expression, parse_library


def parsed(text: str) -> object:
    return parse_expression(Source("test", text))


def text_of(tree: object, text: str) -> str:
    span = tree.span  # type: ignore[attr-defined]
    return text[span.start : span.end]


@pytest.mark.parametrize(
    ("text", "left", "right"),
    [
        ("1 + 2 * 3", "1", "2 * 3"),
        ("1 - 2 - 3", "1 - 2", "3"),
        ("not A = B", "not A", "B"),
        ("exists A union B", "exists A", "B"),
        ("A or B and C", "A", "B and C"),
        ("start of A + 1 day", "start of A", "1 day"),
        ("-2 ^ 3", "-2", "3"),
        ("A and B implies C or D", "A and B", "C or D"),
    ],
)
def test_operators_bind_as_in_the_grammar(text: str, left: str, right: str) -> None:
    tree = parsed(text)
    assert isinstance(tree, s.Binary)
    assert (text_of(tree.left, text), text_of(tree.right, text)) == (left, right)


def test_a_query_keeps_its_clauses() -> None:
    tree = parsed(
        "[Observation: PSA] O let v: O.value with [Procedure] P such that P.x = O.y where v > 3 return v sort desc"
    )
    assert isinstance(tree, c.QueryExpression)
    assert [source.alias for source in tree.sources] == ["O"]
    assert [let.name for let in tree.lets] == ["v"]
    assert [(relation.kind, relation.source.alias) for relation in tree.relations] == [("with", "P")]
    assert tree.where is not None and tree.returned is not None and tree.sort[0].direction == "desc"


def test_a_timing_phrase_says_what_it_says() -> None:
    tree = parsed("A starts 3 days or less on or before day of start of B")
    assert isinstance(tree, c.Timing)
    phrase = tree.phrase
    assert (phrase.relation, phrase.left, phrase.bound, phrase.inclusive, phrase.precision) == (
        "before", "start", "or less", True, "day",
    )  # fmt: skip
    assert isinstance(tree.right, c.Prefix) and tree.right.operator == "start of"


@pytest.mark.parametrize(
    ("text", "place"),
    [("1 +", 3), ("hours between @T06Z and @T07", 18), ("Interval[1, 2", 13), ("if a then b", 11), ("(1", 2)],
)
def test_a_mistake_has_a_code_and_a_place(text: str, place: int) -> None:
    with pytest.raises(DiagnosticError) as raised:
        parsed(text)
    diagnostic = raised.value.diagnostics[0]
    assert diagnostic.code == "syntax-expected"
    assert diagnostic.span is not None and diagnostic.span.start == place


def test_all_mistakes_of_a_library_are_told_and_the_rest_is_read() -> None:
    text = "library A version '1'\ndefine B: 1 +\ndefine C: 2\ndefine D: )\ndefine E: 3\n"
    with pytest.raises(DiagnosticError) as raised:
        parse_library(Source("A.cql", text))
    assert [text[: d.span.start].count("\n") + 1 for d in raised.value.diagnostics if d.span] == [3, 4]


@pytest.mark.parametrize("text", ["(" * 10_000, "not " * 10_000 + "true", "-" * 10_000 + "1", "{" * 10_000])
def test_deep_nesting_is_a_diagnostic(text: str) -> None:
    with pytest.raises(DiagnosticError) as raised:
        parsed(text)
    assert raised.value.diagnostics[0].code == "syntax-depth"
