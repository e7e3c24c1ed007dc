"""What a stranger's definition is made of is bounded when it is compiled: its types, and the texts that its patterns look for."""

from __future__ import annotations

import pickle
import time
from pathlib import Path

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, Source
from fhir_eligibility.algebra.operators import matching
from fhir_eligibility.compiler.criteria.library import Compiled, Compiler, LoadedLibrary
from fhir_eligibility.compiler.elm import types as t
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.data.terminology.files import load_terminology


def library(first: str, following: str, count: int, last: str = "true") -> str:
    """Definitions `D0`, `D1`, ... of which each is made of the one before."""
    defines = [f"define D0: {first}"]
    defines += [f"define D{number}: {following.replace('D', f'D{number - 1}')}" for number in range(1, count + 1)]
    return "\n".join([*defines, f"define X: {last}"])


def compiled(text: str) -> Compiled:
    return Compiler().compile(Source("T", text))


def codes(text: str) -> set[str]:
    with pytest.raises(DiagnosticError) as error:
        compiled(text)
    return {found.code for found in error.value.diagnostics if found.severity == "error"}


@pytest.mark.parametrize(
    "following",
    [
        "Tuple { a: D, b: D }",
        "{ Tuple { a: D, b: D } }",
        "if 1 = 1 then Tuple { a: D } else (Tuple { b: D } as Any as Choice<Tuple { a Integer }, Integer>)",
        "({ D }) A return all Tuple { x: A, y: A }",
        "{ D }",
        "Interval[null as Integer, 1] is null or D is null",
    ],
)
def test_types_that_double_end_soon(following: str) -> None:
    started = time.monotonic()
    try:
        compiled(library("1", following, 100, "D100 is null"))
    except DiagnosticError as error:
        assert {found.code for found in error.diagnostics if found.severity == "error"} <= {"type-size", "type"}
    assert time.monotonic() - started < 10


def test_a_type_of_too_many_types_is_refused_where_it_is_made() -> None:
    text = library("1", "Tuple { a: D, b: D }", 40, "D40 = D40")
    with pytest.raises(DiagnosticError) as error:
        compiled(text)
    found = next(found for found in error.value.diagnostics if found.severity == "error")
    assert found.code == "type-size"
    assert "more than 10,000 types" in found.message
    assert found.span is not None
    assert text[found.span.start : found.span.end] == "Tuple { a: D12, b: D12 }"


def test_a_type_of_many_types_is_not() -> None:
    loaded = LoadedLibrary(compiled(library("1", "Tuple { a: D, b: D }", 10, "D10.a.b.a.b.a.b.a.b.a.b = 1")))
    assert loaded.evaluate("X", Run()) is True


@pytest.mark.parametrize(
    "before, after", [("List<", ">"), ("Interval<", ">"), ("Choice<Integer, ", ">"), ("Tuple { a ", " }")]
)
@pytest.mark.parametrize("depth", [160, 10_000])
@pytest.mark.parametrize(
    "use",
    [
        "define X: null is {}",
        "define X: null as {}",
        "parameter P {}",
        "define function F(a {}): 1",
        "define X: convert 1 to {}",
    ],
)
def test_a_type_that_is_nested_too_deeply_is_refused(before: str, after: str, depth: int, use: str) -> None:
    assert "syntax-depth" in codes(use.format(before * depth + "Integer" + after * depth))


def test_measured_types_travel() -> None:
    kind = t.TupleType((("a", t.ListType(t.INTEGER)), ("b", t.ChoiceType((t.STRING, t.IntervalType(t.DATE))))))
    copied = pickle.loads(pickle.dumps(kind))
    assert copied == kind
    assert hash(copied) == hash(kind)
    assert (copied.parts, copied.levels) == (kind.parts, kind.levels) == (7, 3)


LONG = [
    "a" * 9_000,
    "ab" * 4_500,
    "b" + "a" * 8_999,
    "a" * 4_500 + "." + "a" * 4_500,
    "[a]" * 3_000,
    "(?:a)" * 1_900,
    "(a)" * 3_000,
    "a{1}" * 2_400,
    "(?:a|a)" * 1_400,
    "(?=a)a" * 1_600,
    "(?>a)" * 1_900,
    r"\x61" * 2_400,
    r"\x{61}" * 1_600,
    r"\141" * 2_400,
    "(?i)" + "a" * 9_000,
    "(?i:a)" * 1_600,
    r"\Q" + "a" * 9_000,
    r"\Qa\E" * 1_900,
    "(?x)" + "a " * 4_500,
    "^" + "a" * 9_000,
]


@pytest.mark.parametrize("pattern", LONG, ids=[pattern[:8] for pattern in LONG])
def test_a_long_text_in_a_pattern_takes_no_longer_than_the_limit(pattern: str) -> None:
    started = time.monotonic()
    for text in ("a" * 12_000, "ab" * 6_000, "c" * 12_000):
        try:
            matching.found(pattern, text)
        except matching.EvaluationError as error:
            assert error.code in ("limit-exceeded", "invalid-regex")
    assert time.monotonic() - started < 12


@pytest.mark.parametrize("count", [1, 199, 201, 1_000])
@pytest.mark.parametrize(
    "unit, text",
    [
        ("a", "a"), ("[a-c]", "b"), ("(?:a)", "a"), ("(?P<{}>b)", "b"), (r"\x61", "a"), (r"\u0061", "a"), (r"\141", "a"),
        ("a{1}", "a"), ("ab?", "ab"), (r"\.", "."), (r"\Qa.\E", "a."), ("(?#note)a", "a"), ("(?:a|b)", "b"), ("(?i:A)", "a"),
        ("(?=a)a", "a"), ("(?<!x)a", "a"), ("(?<=a|^)a", "a"), ("(?>a)", "a"), (r"\{", "{"), ("é", "é"),
    ],
)  # fmt: skip
def test_a_pattern_in_pieces_matches_what_it_did(unit: str, text: str, count: int) -> None:
    pattern = "".join(unit.format(f"n{number}") if "{}" in unit else unit for number in range(count))
    if len(pattern) > 10_000:
        pytest.skip("longer than a pattern may be")
    assert matching.found_whole(pattern, text * count)
    assert not matching.found_whole(pattern, text * count + "~")
    assert not matching.found_whole(pattern, text * (count - 1))


def test_names_and_comments_of_any_length_stay_whole() -> None:
    name = "n" * 900
    assert matching.replaced(f"(?<{name}>a)(?#{'c' * 900})b", "ab", f"${{{name}}}") == "a"
    assert matching.found_whole(f"{'x' * 198}(?P<{name}>a)(?P={name})(?({name})b|c)", "x" * 198 + "aab")
    assert matching.found_whole(f"{'x' * 198}(?P<{name}>a)\\g<{name}>", "x" * 198 + "aa")


def test_value_sets_that_are_nested_too_deeply_are_a_problem_of_their_file(tmp_path: Path) -> None:
    text = '{"resourceType":"ValueSet","url":"x","expansion":{"contains":'
    (tmp_path / "deep.json").write_text(text + '[{"contains":' * 3_000 + "[]" + "}]" * 3_000 + "}}")
    found = load_terminology([tmp_path])
    assert [(one.code, one.location) for one in found.diagnostics] == [("invalid-json", str(tmp_path / "deep.json"))]
