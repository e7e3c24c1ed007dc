"""What data criteria read, as FHIR and as parameters of a bulk export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fhir_eligibility.compiler.analysis.requirements import DataRequirement
from fhir_eligibility.output.requirements import data_requirements, type_filters
from fhir_eligibility.ui.commands.cli import main

CRITERIA = Path(__file__).parents[2] / "criteria" / "flute"
SCT = "http://snomed.info/sct"


def test_the_rule_in_cql(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["requirements", str(CRITERIA / "cql" / "mr"), "--libraries", str(CRITERIA / "cql"), "--bulk"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "_type=ImagingStudy,Observation,Patient,Procedure",
        "_typeFilter=Observation?code=2857-1",
        "_typeFilter=Procedure?code=410006001,86273004",
    ]
    assert main(["requirements", str(CRITERIA / "cql" / "FluteCriteria.cql")]) == 0
    library = json.loads(capsys.readouterr().out)
    found = {entry["type"]: entry for entry in library["dataRequirement"]}
    assert found["ImagingStudy"] == {"type": "ImagingStudy", "mustSupport": ["modality", "series", "started", "status"]}
    assert found["Observation"]["codeFilter"] == [
        {"path": "code", "code": [{"system": "http://loinc.org", "code": "2857-1"}]}
    ]


def test_a_type_that_is_read_whole_has_no_filter() -> None:
    whole = DataRequirement("Condition", {"code"}, {("code", SCT, "1")}, set(), True)
    assert data_requirements(whole) == [{"type": "Condition", "mustSupport": ["code"]}]
    assert type_filters({"Condition": whole}) == []


def test_value_sets_and_codes_are_filters_of_their_own() -> None:
    found = DataRequirement(
        "Immunization", {"vaccineCode"}, {("vaccineCode", SCT, "1")}, {("vaccineCode", "http://vs")}
    )
    assert [entry["codeFilter"][0] for entry in data_requirements(found)] == [
        {"path": "vaccineCode", "valueSet": "http://vs"},
        {"path": "vaccineCode", "code": [{"system": SCT, "code": "1"}]},
    ]
    assert type_filters({"Immunization": found}) == [
        "Immunization?vaccine-code=1",
        "Immunization?vaccine-code:in=http://vs",
    ]
    for kind, path in (("MedicationRequest", "medication"), ("ImagingStudy", "modality")):
        assert type_filters({kind: DataRequirement(kind, {path}, {(path, SCT, "1")})}) == []
    odd = DataRequirement("Claim", {"type"}, {("type", SCT, "1")})
    assert type_filters({"Claim": odd}) == []


def test_a_code_with_characters_of_the_search_syntax_is_escaped() -> None:
    found = DataRequirement("Condition", {"code"}, {("code", "http://local", "a,b|c$d")})
    assert type_filters({"Condition": found}) == ["Condition?code=a\\,b\\|c\\$d"]
