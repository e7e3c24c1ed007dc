"""Anything at all, given to the compiler: a library or diagnostics, never another exception; FUZZ_EXAMPLES sets how much is tried."""

from __future__ import annotations

import os
import random
from functools import lru_cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_eligibility.algebra.diagnostic import DiagnosticError, EvaluationError, Source
from fhir_eligibility.algebra.operators.registry import cql_functions
from fhir_eligibility.compiler.criteria.fhirpath import compile_fhirpath
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.compiler.syntax.cql import parse_library
from fhir_eligibility.compiler.syntax.cql_words import KEYWORDS
from fhir_eligibility.compiler.translate.cql_methods import METHODS
from tests.shared import shared
from tests.spec.cql_suite import read_cases

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
SETTINGS = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
PIECES = [
    *sorted(KEYWORDS),
    *sorted(cql_functions()),
    *sorted(METHODS),
    *"( ) [ ] { } < > <= >= = != ~ !~ + - * / ^ & | , : . ; % $this $index $total X Y Z 'text' \"Name\" `tick` 1 2.5 3L @2024 @2024-02-30".split(),
    "@T12:00", "@2024-01-01T00:00:00Z", "5 'mg'", "3 days", "1:2", "//", "/*", "*/", "\\", "\n", "'", '"', "\x00", "é", "System.", "define A:",
]  # fmt: skip


def tried(text: str) -> None:
    """Compile a text as a library; a diagnostic's place lies within it."""
    source = Source("fuzz.cql", text)
    for attempt in (parse_library, Compiler().compile):
        try:
            attempt(source)  # type: ignore[operator]
        except DiagnosticError as error:
            assert error.diagnostics
            for found in error.diagnostics:
                assert found.span is None or 0 <= found.span.start <= found.span.end <= len(text)
                assert found.message and found.render()


@SETTINGS
@given(st.text(max_size=200))
def test_any_characters(text: str) -> None:
    tried(text)
    tried(f"define A: {text}")


@SETTINGS
@given(st.lists(st.sampled_from(PIECES), max_size=25))
def test_any_words_of_the_language(pieces: list[str]) -> None:
    tried("define A: " + " ".join(pieces))


@SETTINGS
@given(st.lists(st.sampled_from(PIECES), max_size=15))
def test_fhirpath_of_any_words(pieces: list[str]) -> None:
    try:
        compile_fhirpath(" ".join(pieces))
    except DiagnosticError as error:
        assert error.diagnostics


@SETTINGS
@given(st.randoms(use_true_random=False))
def test_mutations_of_the_official_expressions(chance: random.Random) -> None:
    text = chance.choice(_cases())
    words = text.split(" ")
    for _ in range(chance.randint(1, 4)):
        position = chance.randrange(len(words))
        kind = chance.randrange(4)
        if kind == 0:
            words[position] = chance.choice(PIECES)
        elif kind == 1:
            words.insert(position, chance.choice(PIECES))
        elif kind == 2 and len(words) > 1:
            del words[position]
        else:
            other = chance.randrange(len(words))
            words[position], words[other] = words[other], words[position]
    mutant = " ".join(words)
    tried(f"define expression: {mutant}")
    try:
        LoadedLibrary(Compiler().compile(Source("x", f"define expression: {mutant}"))).evaluate("expression", Run())
    except (DiagnosticError, EvaluationError):
        return


@lru_cache(maxsize=1)
def _cases() -> list[str]:
    return [case.expression for case in read_cases(shared("conformance", "cql"))]


DEEP = 10_000
NESTED = {
    "parentheses": "(" * DEEP + "1" + ")" * DEEP,
    "lists": "{" * DEEP + "1" + "}" * DEEP,
    "tuples": "Tuple { a: " * DEEP + "1" + " }" * DEEP,
    "intervals": "Interval[" * DEEP + "1",
    "minus": "-" * DEEP + "1",
    "not": "not " * DEEP + "true",
    "if": "if true then " * DEEP + "1" + " else 2" * DEEP,
    "else": "if true then 1 else (" * DEEP + "2" + ")" * DEEP,
    "case": "case when true then " * DEEP + "1",
    "calls": "Abs(" * DEEP + "1" + ")" * DEEP,
    "queries": "(" * DEEP + "{1}" + " X return X)" * DEEP,
    "sums": "+".join(["1"] * DEEP),
    "conjunctions": " and ".join(["true"] * DEEP),
    "unions": " union ".join(["{1}"] * DEEP),
    "members": "a" + ".b" * DEEP,
    "indexes": "{1}" + "[0]" * DEEP,
}


@pytest.mark.parametrize("kind", sorted(NESTED))
def test_ten_thousand_levels_are_refused(kind: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        Compiler().compile(Source("deep.cql", f"define A: {NESTED[kind]}"))
    assert caught.value.diagnostics[0].code in ("syntax-depth", "too-deep", "syntax-expected")


@pytest.mark.parametrize(("asked", "value"), [(0, 0), (99, 198), (100, 200), (2999, 5998), (3000, -1)])
def test_a_chain_of_thousands_of_ifs_has_a_value(asked: int, value: int) -> None:
    chain = " ".join(f"if X = {i} then {2 * i} else" for i in range(3000))
    source = Source("long.cql", f"define function f(X Integer): {chain} -1\ndefine A: f({asked})")
    assert LoadedLibrary(Compiler().compile(source)).evaluate("A", Run()) == value


@pytest.mark.parametrize(
    ("word", "part", "value"),
    [
        (" and ", "true", True),
        (" or ", "false", False),
        (" + ", "1", 1000),
        (" & ", "'a'", "a" * 1000),
        (" union ", "{1}", [1]),
    ],
)
def test_chains_of_a_thousand_have_a_value(word: str, part: str, value: object) -> None:
    loaded = LoadedLibrary(Compiler().compile(Source("long.cql", f"define A: {word.join([part] * 1000)}")))
    assert loaded.evaluate("A", Run()) == value
