"""Fluent functions of several libraries: the best overload of all of them, and an error where two fit equally well."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, Source
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Run

LIBRARIES = {
    "Foo": "library Foo version '1'\ndefine fluent function same(x Integer): 'foo'\n"
    "define fluent function grade(x Decimal): 'decimal'\ndefine fluent function only(x Integer): 'only'\n"
    "define private fluent function hidden(x Integer): 'private'\ndefine fluent function pair(x Decimal, y Integer): 'left'\n",
    "Bar": "library Bar version '1'\ndefine fluent function same(x Integer): 'bar'\n"
    "define fluent function grade(x Integer): 'integer'\ndefine fluent function hidden(x Integer): 'public'\n"
    "define function only(x Integer): 'not fluent'\ndefine fluent function pair(x Integer, y Decimal): 'right'\n",
}
HEAD = "library Baz\ninclude Foo version '1'\ninclude Bar version '1'\n"


def value(expression: str, *, more: str = "", head: str = HEAD) -> Any:
    sources = {name: Source(f"{name}.cql", text) for name, text in LIBRARIES.items()}
    compiler = Compiler(lambda name, version: sources.get(name))
    compiled = compiler.compile(Source("Baz.cql", f"{head}{more}define X: {expression}\n"))
    return LoadedLibrary(compiled).evaluate("X", Run())


def problem(expression: str, *, more: str = "", head: str = HEAD) -> tuple[str, str, str | None]:
    with pytest.raises(DiagnosticError) as error:
        value(expression, more=more, head=head)
    (found,) = error.value.diagnostics
    return found.code, found.message, found.hint


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1.grade()", "integer"),
        ("1.5.grade()", "decimal"),
        ("(1).only()", "only"),
        ("1.hidden()", "public"),
        ("Bar.same(1)", "bar"),
        ("1.pair(1.0)", "right"),
        ("(1.0).pair(1)", "left"),
    ],
)
def test_the_best_of_all_libraries(expression: str, expected: str) -> None:
    assert value(expression) == expected


def test_the_order_of_includes_does_not_matter() -> None:
    head = "library Baz\ninclude Bar version '1'\ninclude Foo version '1'\n"
    assert value("1.grade() + 1.5.grade()", head=head) == "integerdecimal"
    assert problem("1.same()", head=head)[0] == "ambiguous"


def test_two_that_fit_equally_well_are_an_error() -> None:
    assert problem("1.same()") == (
        "ambiguous",
        "same is meant by several functions that fit equally well, of Foo and Bar",
        "name the library: Foo.same(x)",
    )
    assert problem("1.pair(1)")[0] == "ambiguous"


def test_a_function_of_this_library_stands_before_one_that_fits_as_well() -> None:
    own = "define fluent function grade(x Any): 'any'\ndefine fluent function only(x Integer): 'mine'\n"
    assert value("1.grade()", more=own) == "integer"
    assert value("'x'.grade()", more=own) == "any"
    assert value("1.only()", more=own) == "mine"


def test_a_library_under_two_names_is_one() -> None:
    assert (
        value("1.only()", head="library Baz\ninclude Foo version '1'\ninclude Foo version '1' called Again\n") == "only"
    )
