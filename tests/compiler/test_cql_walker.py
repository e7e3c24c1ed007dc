"""Random well-typed libraries: the emitted Python gives what the plain meaning of the typed nodes is.

CQL_WALKER_EXAMPLES sets how many libraries are tried, CQL_WALKER_SEED the first; a failure tells its seed and the define.
"""

from __future__ import annotations

import ast
import datetime as dt
import os
import warnings
from collections.abc import Callable
from decimal import localcontext
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, EvaluationError, Source
from fhir_eligibility.algebra.values.clinical import Code, Concept, Tuple
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.points import Long, Uncertainty
from fhir_eligibility.compiler.criteria.library import PRECISION, Compiler, LoadedLibrary, emit_library
from fhir_eligibility.compiler.elm.types import LONG, ChoiceType, IntervalType, ListType, TupleType, Type
from fhir_eligibility.compiler.emit.library import build_module
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.compiler.runtime.type_tests import TypeOfValue
from fhir_eligibility.compiler.translate.cql_library import TypedLibrary
from tests.compiler.cql_generator import Generator
from tests.compiler.elm_walker import Walker
from tests.spec.cql_suite import SUITES, read_cases

NOW = dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)
EXAMPLES = int(os.environ.get("CQL_WALKER_EXAMPLES", "200"))
FIRST = int(os.environ.get("CQL_WALKER_SEED", "0"))
# Errors that tell of a fault of the compiler, not of the data.
FAULTS = ("malformed-data", "evaluation")


class Traced(Run):
    """An environment for traced code that records nothing and leaves no row in doubt standing."""

    def ignored(self, *arguments: Any) -> bool:
        return False

    failed = passed = doubt = unknown = series = ignored


def environment(kind: type[Run] = Run) -> Run:
    return kind(NOW, parameters={("", "Limit"): 4})


def python(typed: TypedLibrary, traced: bool) -> str:
    return ast.unparse(build_module(typed, traced).module)


def compared(text: str, seed: int | None = None) -> bool:
    """Hold the emitted code of every define of a library against the walker; False where it does not compile."""
    source = Source("random.cql", text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            typed = Compiler().typed(source)
        except DiagnosticError:
            return False
        if any(problem.severity == "error" for problem in typed.diagnostics):
            return False
        loaded, traced = (LoadedLibrary(emit_library(typed, {}, [], mark)) for mark in (False, True))
    runs = environment(), environment(Traced)
    strict, lenient = Walker(typed, environment()), Walker(typed, environment(), lenient=True)
    for name, definition in loaded.compiled.defines.items():
        emitted = outcome(lambda name=name: loaded.evaluate(name, runs[0]), definition.type)  # type: ignore[misc]
        marked = outcome(lambda name=name: traced.evaluate(name, runs[1]), definition.type)  # type: ignore[misc]
        plain = outcome(lambda name=name: strict.define(name), definition.type)  # type: ignore[misc]
        place = (seed, name, text, emitted, plain)
        assert emitted[1] not in FAULTS, (place, python(typed, False))
        assert marked[1] not in FAULTS, (place, marked, python(typed, True))
        if plain[0] == "value":
            assert emitted == plain, (place, python(typed, False))
            assert marked[0] == "error" or marked == plain, (place, marked, python(typed, True))
        elif emitted[0] == "value" or marked[0] == "value":
            allowed = outcome(lambda name=name: lenient.define(name), definition.type)  # type: ignore[misc]
            assert emitted[0] == "error" or emitted == allowed, (place, allowed, python(typed, False))
            assert marked[0] == "error" or marked == allowed, (place, allowed, marked, python(typed, True))
    return True


def outcome(evaluate: Callable[[], Any], kind: Type) -> tuple[str, str]:
    """A value by its text, which is of the type declared, or the code of an error."""
    with localcontext() as context:
        context.prec = PRECISION
        try:
            value = evaluate()
        except EvaluationError as error:
            return "error", error.code
        except (AttributeError, TypeError) as error:
            if "Uncertainty" not in str(error):
                raise
            return "error", "uncertain"
    assert conforms(value, kind), f"{value!r} is no {kind}"
    return "value", described(value)


def conforms(value: Any, kind: Type) -> bool:
    """Whether a value is of a static type, all through."""
    if value is None or value.__class__ is Uncertainty:
        return True
    if isinstance(kind, ListType):
        return isinstance(value, list) and all(conforms(x, kind.element) for x in value)
    if isinstance(kind, IntervalType) and isinstance(value, Interval):
        return value.point == str(kind.point) and conforms(value.low, kind.point) and conforms(value.high, kind.point)
    if isinstance(kind, TupleType):
        return isinstance(value, Tuple) and all(conforms(value[name], part) for name, part in kind.elements)
    if isinstance(kind, ChoiceType):
        return any(value.__class__ is Long if option == LONG else conforms(value, option) for option in kind.options)
    return isinstance(value, int) if kind == LONG else TypeOfValue(kind)(value)


def described(value: Any) -> str:
    """A value with the types in it: intervals with their points, numbers with their kind."""
    if isinstance(value, list):
        return f"[{', '.join(map(described, value))}]"
    if isinstance(value, Tuple):
        return f"{{{', '.join(f'{name}: {described(part)}' for name, part in value.items())}}}"
    if isinstance(value, Interval):
        return f"{value.point}{'[' if value.low_closed else '('}{described(value.low)}, {described(value.high)}{value.high_closed}"
    if isinstance(value, Code):
        return f"Code{(value.code, value.system, value.version, value.display)}"
    if isinstance(value, Concept):
        return f"Concept({[*map(described, value.codes)]}, {value.display})"
    return f"{value.__class__.__name__} {value!r}"


def test_random_libraries() -> None:
    compiling = 0
    for seed in range(FIRST, FIRST + EXAMPLES):
        try:
            compiling += compared(Generator(seed).library(), seed)
        except Exception as error:
            error.add_note(f"the library of seed {seed}")
            raise
    assert compiling > 0.95 * EXAMPLES


def test_a_seed_gives_one_library() -> None:
    assert Generator(7).library() == Generator(7).library() != Generator(8).library()


def test_the_official_expressions() -> None:
    suite = SUITES[0]
    if reason := suite.missing():
        pytest.skip(reason)
    assert sum(compared(f"define expression: {case.expression}") for case in read_cases(suite.path())) == 1798
