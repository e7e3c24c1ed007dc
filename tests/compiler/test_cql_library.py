"""CQL libraries from their text: includes, functions, parameters, terminology, queries; what is wrong, and where."""

from __future__ import annotations

import datetime as dt
import traceback
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, EvaluationError, Source
from fhir_eligibility.algebra.values.clinical import Code, CodeSystem, Concept, ValueSet
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from fhir_eligibility.compiler.translate.cql_library import TranslationOptions

NOW = dt.datetime(2025, 6, 15, 12, 0, tzinfo=dt.UTC)
SHARED = """library Shared version '1'
parameter Limit Integer default 5
define private Hidden: 1
define Shown: Hidden + 1
define "Over Limit": 6 > Limit
define Faulty: singleton from { 1, 2 }
define function Twice(x Integer): x * 2
define private function Secret(x Integer): x
define fluent function plus(x Integer, y Integer): x + y
define private fluent function minus(x Integer, y Integer): x - y
"""


def find(name: str, version: str | None) -> Source | None:
    """The one library that can be included."""
    return Source(name, SHARED) if name == "Shared" and version in (None, "1") else None


def load(
    text: str, options: TranslationOptions | None = None, finder: Callable[[str, str | None], Source | None] = find
) -> LoadedLibrary:
    return LoadedLibrary(Compiler(finder, options).compile(Source("Test", text)))


def values(text: str, run: Run | None = None, options: TranslationOptions | None = None) -> dict[str, Any]:
    """The value of every define of a library that does not begin with an underscore."""
    loaded, environment = load(text, options), run or Run(NOW)
    return {name: loaded.evaluate(name, environment) for name in loaded.compiled.defines if name[0] != "_"}


def problems(text: str, finder: Callable[[str, str | None], Source | None] = find) -> list[tuple[str, int, str]]:
    """What is wrong with a library: the code, the line, and the text that the span covers."""
    with pytest.raises(DiagnosticError) as raised:
        load(text, finder=finder)
    found = []
    for problem in raised.value.diagnostics:
        assert problem.source is not None and problem.span is not None
        line, _ = problem.source.line_column(problem.span.start)
        found.append((problem.code, line, problem.source.text[problem.span.start : problem.span.end]))
    return found


def hints(text: str) -> list[str | None]:
    with pytest.raises(DiagnosticError) as raised:
        load(text)
    return [problem.hint for problem in raised.value.diagnostics]


def error_of(loaded: LoadedLibrary, name: str, environment: Run) -> EvaluationError:
    with pytest.raises(EvaluationError) as raised:
        loaded.evaluate(name, environment)
    return raised.value


def covered(error: EvaluationError) -> str:
    assert error.source is not None and error.span is not None
    return error.source.text[error.span.start : error.span.end]


# -- includes


def test_definitions_and_functions_of_an_included_library() -> None:
    text = """library Test
include Shared version '1' called S
define A: S.Shown
define B: S.Twice(4)
define C: 3.plus(4)
define D: S."Over Limit"
define E: S.Limit
"""
    assert values(text) == {"A": 2, "B": 8, "C": 7, "D": True, "E": 5}
    assert values(text, Run(NOW, parameters={("Shared", "Limit"): 6}))["D"] is False


def test_private_definitions_are_for_their_own_library() -> None:
    text = """include Shared
define A: Shared.Hidden
define B: Shared.Secret(1)
define C: 3.minus(1)
define D: Shared.Twice('a')
"""
    assert problems(text) == [
        ("private", 2, "Hidden"),
        ("private", 3, "Secret"),
        ("unknown-function", 4, "minus"),
        ("no-overload", 5, "Shared.Twice('a')"),
    ]
    assert hints(text)[2] is None


def test_an_include_that_is_not_there_or_not_right() -> None:
    assert problems("include Nowhere\ndefine A: 1") == [("include", 1, "include Nowhere")]
    assert problems("include Shared version '2'\ndefine A: 1") == [("include", 1, "include Shared version '2'")]
    twice = "include Shared\ninclude Shared called Shared\ndefine A: 1"
    assert problems(twice) == [("duplicate", 2, "include Shared called Shared")]


def test_a_fault_in_an_included_library_is_told_at_both_places() -> None:
    broken = Source("Broken", "library Broken\ndefine A: Nothing")
    found = problems("include Broken\ndefine B: 1", lambda name, version: broken)
    assert sorted(found) == [("include", 1, "include Broken"), ("unknown-name", 2, "Nothing")]


def test_libraries_that_include_each_other_are_refused() -> None:
    texts = {"A": "library A\ninclude B\ndefine X: 1", "B": "library B\ninclude A\ndefine X: 1"}
    found = problems("include A\ndefine X: 1", lambda name, version: Source(name, texts[name]))
    assert {code for code, _, _ in found} == {"include", "circular"}
    assert ("circular", 2, "include A") in found


# -- functions


def test_the_overload_is_that_of_the_argument_types() -> None:
    text = """define function f(x Integer): x + 1
define function f(x Decimal): x * 2
define function f(x String): x & '!'
define function f(x List<Integer>): Count(x)
define function f(x Interval<Integer>): 99
define function f(x Integer, y Integer): x * y
define A: f(1)
define B: f(1.5)
define C: f('a')
define D: f({ 1, 2, 3 })
define E: f(Interval[1, 2])
define F: f(6, 7)
"""
    assert values(text) == {"A": 2, "B": Decimal("3.0"), "C": "a!", "D": 3, "E": 99, "F": 42}
    assert problems(text + "define G: f(true)") == [("no-overload", 13, "f(true)")]


def test_an_argument_is_converted_to_what_the_function_takes() -> None:
    assert values("define function half(x Decimal): x / 2\ndefine A: half(3)") == {"A": Decimal("1.5")}


def test_fluent_functions_are_called_on_their_input() -> None:
    text = """define fluent function half(x Decimal): x / 2
define fluent function join(x String, y String): x & '-' & y
define A: 3.half()
define B: (5.0).half().half()
define C: 'a'.join('b')
"""
    assert values(text) == {"A": Decimal("1.5"), "B": Decimal("1.25"), "C": "a-b"}
    assert problems("define function half(x Decimal): x / 2\ndefine A: 3.half()") == [("unknown-function", 2, "half")]


def test_what_a_function_says_that_it_returns() -> None:
    assert values("define function f(x Integer) returns Decimal: x\ndefine A: f(1)") == {"A": Decimal(1)}
    assert problems("define function f(x Integer) returns String: x") == [("type", 1, "x")]


def test_definitions_stand_in_any_order() -> None:
    text = """define A: f(2)
define function f(x Integer): g(x) + C
define function g(x Integer): x * 2
define C: 10
"""
    assert values(text) == {"A": 14, "C": 10}


@pytest.mark.parametrize(
    ("text", "line", "covered"),
    [
        ("define A: A + 1", 1, "A"),
        ("define A: B\ndefine B: C\ndefine C: A", 3, "A"),
        ("define function f(x Integer): f(x - 1)", 1, "f(x - 1)"),
        ("define function f(x Integer): g(x)\ndefine function g(x Integer): f(x)", 2, "f(x)"),
        ("define function f(x Integer) returns Integer: f(x - 1)", 1, "f(x - 1)"),
        ("define A: f(2)\ndefine function f(x Integer): A", 2, "A"),
    ],
)
def test_what_needs_itself_is_refused(text: str, line: int, covered: str) -> None:
    assert problems(text) == [("circular", line, covered)]


# -- parameters


PARAMETERS = """library Params
parameter Number Integer default 3
parameter Range Interval<Integer> default Interval[1, 2]
parameter Typed default 4.5
parameter Empty String
define A: Number + 1
define B: Range
define C: Typed
define D: Empty
"""


def test_parameters_have_defaults() -> None:
    assert values(PARAMETERS) == {"A": 4, "B": Interval(1, 2), "C": Decimal("4.5"), "D": None}


def test_parameters_are_given_for_a_run() -> None:
    given = {("Params", "Number"): 10, ("Params", "Range"): Interval(5, 6), ("Params", "Empty"): "x"}
    assert values(PARAMETERS, Run(NOW, parameters=given)) == {
        "A": 11,
        "B": Interval(5, 6),
        "C": Decimal("4.5"),
        "D": "x",
    }
    other = {("Other", "Number"): 10, ("", "Empty"): "y"}
    found = values(PARAMETERS, Run(NOW, parameters=other))
    assert (found["A"], found["D"]) == (4, "y")


def test_a_parameter_that_is_given_as_null_is_null() -> None:
    assert values(PARAMETERS, Run(NOW, parameters={("Params", "Number"): None}))["A"] is None


def test_a_default_is_of_the_type_of_its_parameter() -> None:
    assert problems("parameter P Integer default 'a'\ndefine A: 1") == [("type", 1, "'a'")]
    assert problems("parameter P Nothing\ndefine A: 1") == [("unknown-type", 1, "Nothing")]


# -- terminology


TERMS = """codesystem CS: 'http://cs' version '2'
valueset VS: 'http://vs' version '3' codesystems { CS }
code One: 'a' from CS display 'An A'
code Two: 'b' from CS
concept Both: { One, Two } display 'Either'
"""


def test_code_systems_value_sets_codes_and_concepts_are_values() -> None:
    one, two = Code("a", "http://cs", "2", "An A"), Code("b", "http://cs", "2")
    system = CodeSystem("http://cs", "2", "CS")
    text = TERMS + "define A: One\ndefine B: Both\ndefine C: VS\ndefine D: CS\ndefine E: One.code\ndefine F: Both.codes"
    assert values(text) == {
        "A": one,
        "B": Concept((one, two), "Either"),
        "C": ValueSet("http://vs", "3", "VS", (system,)),
        "D": system,
        "E": "a",
        "F": [one, two],
    }
    assert values(TERMS + "define A: One ~ Two\ndefine B: Both ~ One") == {"A": False, "B": True}


def test_terminology_that_is_not_defined() -> None:
    text = (
        "codesystem CS: 'http://cs'\ncode A: 'a' from SC\nconcept C: { B }\nvalueset V: 'http://v' codesystems { CX }\n"
    )
    assert problems(text + "define X: 1") == [
        ("unknown-name", 2, "SC"),
        ("unknown-name", 3, "B"),
        ("unknown-name", 4, "CX"),
    ]


def test_a_code_system_that_was_not_given_is_an_error_of_its_define_alone() -> None:
    loaded = load(TERMS + "define A: One in CS\ndefine B: 1")
    error = error_of(loaded, "A", Run(NOW))
    assert (error.code, error.define, covered(error)) == ("no-terminology", "A", "One in CS")
    assert loaded.evaluate("B", Run(NOW)) == 1


# -- what is wrong, and where


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("define A: 1\ndefine A: 2", [("duplicate", 2, "A")]),
        ("codesystem A: 'x'\nparameter A Integer default 1", [("duplicate", 2, "A")]),
        ("parameter A Integer default 1\ndefine A: 1", [("duplicate", 2, "A")]),
        ("define function f(x Integer): 1\ndefine function f(y Integer): 2", [("duplicate", 2, "f")]),
        ("define function f(x Integer, x Integer): 1", [("duplicate", 1, "x Integer")]),
    ],
)
def test_names_that_are_given_twice(text: str, expected: list[tuple[str, int, str]]) -> None:
    assert problems(text) == expected


def test_every_error_is_told_once() -> None:
    text = """define A: Nothing
define B: A + 1
define C: B and
  Missing(1)
define D: 'a' * 2
"""
    assert problems(text) == [
        ("unknown-name", 1, "Nothing"),
        ("unknown-function", 4, "Missing"),
        ("no-overload", 5, "'a' * 2"),
    ]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("define Adult: true\ndefine A: Adalt", "did you mean 'Adult'?"),
        ('define "In Age Range": true\ndefine A: "In Age Rang"', "did you mean 'In Age Range'?"),
        ("define A: Cont({ 1 })", "did you mean 'Count'?"),
        ("include Shared\ndefine A: Shared.Shwn", "did you mean 'Shown'?"),
        ("include Shared\ndefine A: Shared.Twic(1)", "did you mean 'Twice'?"),
        ("define function f(x Integer): x\ndefine A: f", "f is a function: write f(...)"),
    ],
)
def test_a_name_that_is_not_known_brings_a_hint(text: str, hint: str) -> None:
    assert hints(text) == [hint]


# -- evaluation


FAULTY = """define Good: 1
define Bad:
  singleton from { 1, 2 }
define Uses: Bad + 1
define Other: Good + 1
"""


def test_an_error_is_bound_to_library_define_and_span_and_kept() -> None:
    loaded, run = load(FAULTY), Run(NOW)
    error = error_of(loaded, "Uses", run)
    assert (error.code, error.define, covered(error)) == ("not-a-singleton", "Bad", "singleton from { 1, 2 }")
    assert error.source == Source("Test", FAULTY)
    assert error_of(loaded, "Bad", run) is error
    assert (loaded.evaluate("Good", run), loaded.evaluate("Other", run)) == (1, 2)


def test_an_error_of_an_included_library_is_bound_there() -> None:
    loaded = load("include Shared\ndefine A: Shared.Faulty + 1\ndefine B: Shared.Shown")
    error = error_of(loaded, "A", Run(NOW))
    assert error.source is not None
    assert (error.source.name, error.define, covered(error)) == ("Shared", "Faulty", "singleton from { 1, 2 }")
    assert loaded.evaluate("B", Run(NOW)) == 2


def test_a_traceback_points_at_the_line_of_the_author() -> None:
    error = error_of(load(FAULTY), "Bad", Run(NOW))
    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    assert [line for name, line in frames if name == "Test"] == [3]


def test_message_error_stops_its_define_alone() -> None:
    heard: list[tuple[Any, ...]] = []
    run = Run(NOW, messages=lambda *message: heard.append(message))
    loaded = load("""define A: Message(1, true, '400', 'Error', 'out of range')
define B: Message(2, false, '400', 'Error', 'not said')
define C: Message(3, true, '200', 'Warning', 'take care')
define D: Message(4, true, '200', null, 'said')
""")
    error = error_of(loaded, "A", run)
    assert (error.code, error.message, error.define) == ("message", "400: out of range", "A")
    assert [loaded.evaluate(name, run) for name in "BCD"] == [2, 3, 4]
    assert heard == [("Warning", "200", "take care", 3), ("Message", "200", "said", 4)]


CONTEXTS = """using FHIR version '4.0.1'
define Shared: Message(1, true, 'c', 'Trace', 'for the run')
define Faulty: singleton from { 1, 2 }
context Patient
define Each: Message(2, true, 'c', 'Trace', 'for a patient')
define Both: Shared + Each + Each
define Id: Patient.id.value
"""


def test_what_is_about_no_patient_is_evaluated_once_a_run() -> None:
    heard: list[str] = []
    run = Run(NOW, messages=lambda level, code, text, source: heard.append(text))
    loaded = load(CONTEXTS)
    patients = [Patient(run, {"resourceType": "Patient", "id": name}) for name in ("p1", "p2")]
    assert [loaded.evaluate("Both", patient) for patient in patients] == [5, 5]
    assert [loaded.evaluate("Id", patient) for patient in patients] == ["p1", "p2"]
    assert heard == ["for the run", "for a patient", "for a patient"]
    first, second = (error_of(loaded, "Faulty", patient) for patient in patients)
    assert first is second


def test_a_define_about_no_patient_cannot_use_one_about_a_patient() -> None:
    text = CONTEXTS + "context Unfiltered\ndefine Wrong: Each + 1"
    assert problems(text) == [("context", 9, "Each")]


# -- queries


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("({ 1, null, 3 }) X where X > 1", [3]),
        ("({ 1, null, 3 }) X return X + 1", [2, None, 4]),
        ("({ 1, 1, null, null }) X return X", [1, None]),
        ("({ 1, 1, 2 }) X return all X", [1, 1, 2]),
        ("(null as List<Integer>) X return X", None),
        ("(5) X return X + 1", 6),
        ("(null as Integer) X return X + 1", None),
        ("from ({ 1, 2 }) X, ({ 10, 20 }) Y return X + Y", [11, 21, 12, 22]),
        ("from ({ 1, 2 }) X, ({ 1, 2 }) Y where X < Y return Y", [2]),
        ("({ 1, 2, 3 }) X let y: X * 2, z: y + 1 where z > 4 return z", [5, 7]),
        ("({ 1, 2, 3 }) X with ({ 2, 3, 4 }) Y such that X = Y", [2, 3]),
        ("({ 1, 2, 3 }) X without ({ 2, 3, 4 }) Y such that X = Y", [1]),
        ("({ null, 1 }) X with ({ null, 1 }) Y such that X = Y", [1]),
        ("({ 1, 2 }) X with (null as List<Integer>) Y such that X = Y", []),
        ("({ 1, 2 }) X without (null as List<Integer>) Y such that X = Y", [1, 2]),
        ("({ 1, 2, 3 }) X aggregate R starting 1: R * X", 6),
        ("({ 1, 2, 2 }) X aggregate distinct R starting 0: R + X", 3),
        ("({ 1, 2, 3 }) X aggregate R: Coalesce(R, 0) + X", 6),
        ("from ({ 1, 2 }) X, ({ 3, 4 }) Y aggregate R starting 0: R + X * Y", 21),
        ("({ 3, null, 1 }) X sort asc", [None, 1, 3]),
        ("({ 3, null, 1 }) X sort desc", [3, 1, None]),
    ],
)
def test_query(query: str, expected: Any) -> None:
    assert values(f"define A: {query}") == {"A": expected}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("n, s desc", ["null y", "1 y", "1 x", "2 x"]),
        ("s desc, n", ["null y", "1 y", "1 x", "2 x"]),
        ("s, n desc", ["2 x", "1 x", "1 y", "null y"]),
        ("n + 1 desc, s desc", ["2 x", "1 y", "1 x", "null y"]),
    ],
)
def test_sort_by_several_keys(keys: str, expected: list[str]) -> None:
    text = f"""define _Rows: {{
  Tuple {{ n: 1, s: 'x' }}, Tuple {{ n: null as Integer, s: 'y' }}, Tuple {{ n: 2, s: 'x' }}, Tuple {{ n: 1, s: 'y' }}
}}
define _Sorted: _Rows R sort by {keys}
define A: _Sorted S return all Coalesce(ToString(S.n), 'null') & ' ' & S.s
"""
    assert values(text) == {"A": expected}


def test_sort_knows_the_elements_of_the_result_only() -> None:
    text = "define A: ({ Tuple { n: 1 } }) R sort by R.n\ndefine B: ({ Tuple { n: 1 } }) R sort by m"
    assert problems(text) == [("unknown-name", 1, "R"), ("unknown-name", 2, "m")]


# -- lists for elements, and elements for lists


def test_a_list_stands_for_its_element_where_that_is_asked_for() -> None:
    text = "define A: { 5 } + 1\ndefine B: { 1, 2 } + 1"
    assert problems(text) == [("no-overload", 1, "{ 5 } + 1"), ("no-overload", 2, "{ 1, 2 } + 1")]
    loaded = load(text, TranslationOptions(list_demotion=True))
    assert loaded.evaluate("A", Run(NOW)) == 6
    error = error_of(loaded, "B", Run(NOW))
    assert (error.code, error.define) == ("not-a-singleton", "B")


def test_an_element_stands_for_a_list_where_that_is_asked_for() -> None:
    text = "define A: Count(5)\ndefine B: exists 5\ndefine C: 3 in 3"
    assert [code for code, _, _ in problems(text)] == ["no-overload"] * 3
    assert values(text, options=TranslationOptions(list_promotion=True)) == {"A": 1, "B": True, "C": True}
