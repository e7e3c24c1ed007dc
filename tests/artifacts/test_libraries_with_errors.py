"""A CQL library with an error reports that error, with its place, and no other library's define is taken in its stead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.libraries import version_key
from fhir_eligibility.ui.commands.cli import main

URL = "http://example.org/Library/Trial"
GOOD = "library Other\nusing FHIR version '4.0.1'\ncontext Patient\ndefine Old: true\n"
BROKEN = "library Trial\nusing FHIR version '4.0.1'\ncontext Patient\ndefine Old:\n  Patient.brthDate < @2000\n"


def folder(tmp_path: Path, expression: dict[str, str], **libraries: str) -> Path:
    source = {"language": "text/cql-identifier", "expression": "Old", **expression}
    characteristic = [{"definitionExpression": source}]
    resource = {"resourceType": "EvidenceVariable", "id": "ev", "status": "active", "characteristic": characteristic}
    (tmp_path / "ev.json").write_text(json.dumps(resource))
    for name, text in libraries.items():
        (tmp_path / f"{name}.cql").write_text(text)
    return tmp_path


@pytest.mark.parametrize("expression", [{}, {"reference": URL}, {"reference": f"{URL}|1"}, {"expression": "Trial.Old"}])
def test_the_error_of_the_library_is_told(expression: dict[str, str], tmp_path: Path) -> None:
    found = fhir_eligibility.load_criteria(folder(tmp_path, expression, Trial=BROKEN, Other=GOOD), on_error="keep")
    (error,) = found.errors
    assert error.source is not None and error.span is not None
    assert error.source.name == str(tmp_path / "Trial.cql")
    assert error.source.line_column(error.span.start)[0] == 5 and "brthDate" in error.message
    (rule,) = found.rules[0].rules
    assert (rule.code, rule.reason) == (None, "not-computable")


def test_a_library_that_cannot_even_be_parsed(tmp_path: Path) -> None:
    text = "library Trial\ncontext Patient\ndefine Old: exists (\n"
    found = fhir_eligibility.load_criteria(
        folder(tmp_path, {"reference": URL}, Trial=text, Other=GOOD), on_error="keep"
    )
    assert found.errors and all(d.source is not None and d.source.name.endswith("Trial.cql") for d in found.errors)


def test_an_error_elsewhere_does_not_matter(tmp_path: Path) -> None:
    unrelated = BROKEN.replace("Old", "Unrelated").replace("Trial", "Unrelated")
    found = fhir_eligibility.load_criteria(folder(tmp_path, {}, Unrelated=unrelated, Other=GOOD))
    assert [d.code for d in found.diagnostics] == ["library-guessed"]


def test_the_status_is_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(folder(tmp_path, {"reference": URL}, Trial=BROKEN))]) == 3
    assert f"{tmp_path / 'Trial.cql'}:5:11" in capsys.readouterr().out


def test_versions_are_compared_by_their_numbers_whatever_their_characters() -> None:
    given = ["1.10", "²", None, "1.9", "1.0.0-beta", "1.9.1", "0010"]
    assert sorted(given, key=version_key) == [None, "1.0.0-beta", "1.9", "1.9.1", "1.10", "0010", "²"]
