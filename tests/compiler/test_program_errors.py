"""An error of the program while a characteristic is compiled: named, and the others go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.compiler.criteria import rules
from fhir_eligibility.compiler.forms.registry import forms
from fhir_eligibility.ui.commands.cli import main

CODED = {"definitionCodeableConcept": {"coding": [{"system": "http://snomed.info/sct", "code": "254837009"}]}}
MALE = {"definitionExpression": {"language": "text/fhirpath", "expression": "Patient.gender = 'male'"}}


@pytest.fixture
def screened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command over criteria of which the coded one fails."""

    def broken(*_: object) -> Any:
        raise KeyError("what nobody foresaw")

    monkeypatch.setattr(rules, "forms", lambda: {**forms(), "codeable-concept": broken})
    listed = [{"linkId": "cancer", **CODED}, {"linkId": "male", **MALE}]
    artifact = {"resourceType": "EvidenceVariable", "id": "e", "url": "http://example.org/e", "status": "active"}
    (tmp_path / "e.json").write_text(json.dumps({**artifact, "characteristic": listed}), "utf-8")
    (tmp_path / "p.json").write_text('{"resourceType": "Patient", "id": "p", "gender": "male"}', "utf-8")
    out = str(tmp_path / "out")
    return ["screen", str(tmp_path / "e.json"), "--data", str(tmp_path / "p.json"), "--out", out, "--quiet"]


def test_the_characteristic_is_named_and_the_others_go_on(
    screened: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(screened) == 3
    said = capsys.readouterr().err
    message = "http://example.org/e: cancer (codeable-concept) could not be compiled because of an error of this program (KeyError: 'what nobody foresaw')"
    assert f"error[program-error]: {message}" in said
    assert "EvidenceVariable/e EvidenceVariable.characteristic[0]" in said
    (line,) = (tmp_path / "out" / "verdicts.ndjson").read_text("utf-8").splitlines()
    verdict = json.loads(line)
    found = [(one["id"], one["outcome"], one.get("reason")) for one in verdict["criteria"]]
    assert found == [("cancer", "unknown", "not-computable"), ("male", "met", None)]
    assert verdict["verdict"] == "undetermined"


def test_with_a_variable_the_command_stops_there(screened: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FHIR_ELIGIBILITY_TRACEBACK", "1")
    with pytest.raises(KeyError, match="what nobody foresaw"):
        main(screened)
