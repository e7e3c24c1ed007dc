"""Defines outside of a patient's context, and what Message says: computed, or refused in words that tell what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fhir_eligibility.runners.screening.criteria import load_criteria
from fhir_eligibility.runners.screening.screening import screen
from fhir_eligibility.ui.commands.cli import main

LIBRARY = """library U version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
context Unfiltered
define Least: First(({ 40, 18 }) X where X > 20)
define Everyone: Count([Patient])
context Patient
define Adult: AgeInYears() >= Least
define Many: AgeInYears() >= Everyone
define Said: Message(true, true, 'W1', 'Warning', 'look here')
"""
PATIENT = {"resourceType": "Patient", "id": "p", "birthDate": "1950-01-01"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "U.cql").write_text(LIBRARY)
    (tmp_path / "p.json").write_text(json.dumps(PATIENT))
    expression = {"language": "text/cql-identifier", "expression": "Adult"}
    items = [{"definitionExpression": {**expression, "expression": name}} for name in ("Adult", "Many")]
    variable = {"resourceType": "EvidenceVariable", "id": "e", "status": "active", "characteristic": items}
    (tmp_path / "e.json").write_text(json.dumps(variable))
    return tmp_path


def test_a_define_without_a_context_is_computed_once_and_one_that_asks_for_all_patients_is_refused(
    folder: Path,
) -> None:
    criteria = load_criteria(folder / "e.json", libraries=[folder / "U.cql"])
    (verdict,) = screen(criteria, folder / "p.json", now="2026-01-01")
    adult, many = verdict.criteria
    assert adult.outcome == "met"
    assert (many.outcome, many.reason) == ("unknown", "error")
    assert many.detail is not None
    assert many.detail.startswith("Patient/p: [Patient] stands in no patient's context")
    assert "put the define below 'context Patient' in `Count([Patient])`, line 6 of 'Everyone'" in many.detail


def test_messages_are_shown_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["cql", "Said and Said", "--library", str(folder / "U.cql"), "--data", str(folder / "p.json")]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("true ") and shown.err.count("warning: W1: look here (true)") == 1
