"""What may not be registered as an operator is refused where it is registered, with what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import fhir_eligibility.compiler.translate.cql_methods
import fhir_eligibility.compiler.translate.fhirpath_functions  # noqa: F401
from fhir_eligibility.algebra.operators.registry import FORMS, language_form, operator
from fhir_eligibility.algebra.operators.table import OPERATORS


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    operators, forms = set(OPERATORS), set(FORMS)
    yield
    assert (set(OPERATORS), set(FORMS)) == (operators, forms)


def register(*signatures: str, **names: str) -> None:
    def nothing(*_: Any) -> None:
        return None

    operator("Invented", *signatures, section="none", **names)(nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("signature", "kind"),
    [
        ("(Decimal) Decimall", "Decimall"),
        ("(Decimal, Integr) Decimal", "Integr"),
        ("(List<Interval<Datum>>) Boolean?", "Datum"),
        ("(Interval) Boolean", "Interval"),
    ],
)
def test_an_unknown_type(signature: str, kind: str) -> None:
    with pytest.raises(ValueError, match=f"operator Invented: unknown type '{kind}' in the signature") as error:
        register("(Integer) Integer", signature)
    assert "known are Any, Boolean, Code," in str(error.value)


def test_a_signature_that_cannot_be_read() -> None:
    with pytest.raises(ValueError, match=r"operator Invented: cannot read the signature 'Decimal'"):
        register("Decimal")


@pytest.mark.parametrize(
    ("language", "name", "other"),
    [("cql", "Abs", "Abs"), ("fhirpath", "abs", "Abs"), ("fhirpath", "div", "TruncatedDivide")],
)
def test_a_name_of_another_operator(language: str, name: str, other: str) -> None:
    with pytest.raises(
        ValueError, match=f"operator Invented: {language} has '{name}' already, as the operator {other}"
    ):
        register("(Decimal) Decimal", **{language: name})


@pytest.mark.parametrize("name", ["where", "select", "ofType"])
def test_a_name_that_the_language_has(name: str) -> None:
    with pytest.raises(
        ValueError, match=f"operator Invented: fhirpath has '{name}' already, as a function of the language"
    ):
        register("(Decimal) Decimal", fhirpath=name)


def test_a_form_with_the_name_of_an_operator() -> None:
    with pytest.raises(ValueError, match="abs of fhirpath is registered already, as the operator Abs"):
        language_form("abs", "fhirpath", "none")
