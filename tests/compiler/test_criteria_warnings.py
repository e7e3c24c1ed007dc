"""`eligibility check` speaks up: about criteria that are unknown for everyone, that nobody can meet, that mean something else, and that the data does not have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.compiler.syntax.languages import looks_like
from fhir_eligibility.runners.screening.criteria import warnings_of
from fhir_eligibility.ui.commands.cli import main

SNOMED, LOINC, ICD = "http://snomed.info/sct", "http://loinc.org", "http://hl7.org/fhir/sid/icd-10"


def concept(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def measured(**value: Any) -> dict[str, Any]:
    return {"definitionByTypeAndValue": {"type": concept(LOINC, "2857-1"), **value}}


def fhirpath(text: str, language: str | None = "text/fhirpath") -> dict[str, Any]:
    return {"definitionExpression": {"expression": text, **({"language": language} if language else {})}}


def written(folder: Path, *characteristics: dict[str, Any], name: str = "criteria.json") -> Path:
    variable = {
        "resourceType": "EvidenceVariable",
        "id": "ev",
        "url": "http://example.org/ev",
        "status": "active",
        "characteristic": [{"linkId": f"c{n}", **one} for n, one in enumerate(characteristics)],
    }
    path = folder / name
    path.write_text(json.dumps(variable))
    return path


def said(folder: Path, characteristic: dict[str, Any], *given: dict[str, Any]) -> dict[str, str]:
    """All findings about one characteristic: code to message and hint."""
    path = written(folder, characteristic)
    for number, resource in enumerate(given):
        (folder / f"given-{number}.json").write_text(json.dumps(resource))
    criteria = fhir_eligibility.load_criteria(
        path, valuesets=[folder / f"given-{n}.json" for n in range(len(given))], fhir_version="r4", on_error="keep"
    )
    found = [*criteria.diagnostics, *warnings_of(criteria)]
    for one in found:
        assert "criteria.json" in str(one.location or (one.source and one.source.name))
        assert one.hint or one.severity == "error", one
    return {one.code: f"{one.message} | {one.hint}" for one in found}


@pytest.mark.parametrize(
    ("characteristic", "code", "words"),
    [
        ({"description": "Life expectancy of 3 months"}, "unknown-for-everyone", "Life expectancy"),
        ({"definitionCodeableConcept": {"text": "gout"}}, "unknown-for-everyone", "gout"),
        ({"definitionCanonical": "http://example.org/none"}, "unknown-for-everyone", "http://example.org/none"),
        (fhirpath("Patient.exists()", "text/foo"), "unknown-language", "'text/foo'"),
        (fhirpath("Patient.exists()", "text/foo"), "unknown-language", "write the language text/fhirpath"),
        (fhirpath("exists [Condition]", None), "unknown-language", "text/cql-expression"),
        (fhirpath("exists [Condition]"), "other-language", "it looks like CQL"),
        (fhirpath("Condition.where(code.exists()).exists()", "text/cql-expression"), "other-language", "FHIRPath"),
        (fhirpath("false"), "never-met", "always false"),
        (fhirpath("Patient.gender = 'F'"), "never-met", "did you mean 'female'?"),
        (measured(valueQuantity={"value": 3, "unit": "ng/mL", "code": "ng/mL"}), "no-comparator", "equal"),
        (measured(valueQuantity={"value": 3, "comparator": ">="}), "no-unit", "UCUM"),
        (
            measured(valueQuantity={"value": 3, "comparator": ">=", "unit": "NG/ML", "code": "NG/ML"}),
            "unknown-unit",
            "did you mean 'ng/mL'?",
        ),
        (fhirpath("Observation.exists(value.ofType(Quantity) > 3 'MG/DL')"), "unknown-unit", "did you mean 'mg/dL'?"),
        (
            fhirpath("exists [Observation] O where O.value > 3 'MMOL/L'", "text/cql-expression"),
            "unknown-unit",
            "did you mean 'mmol/L'?",
        ),
        (
            measured(valueRange={"low": {"value": 9, "code": "ng/mL"}, "high": {"value": 3, "code": "ng/mL"}}),
            "never-met",
            "exchange low and high",
        ),
        ({"definitionCodeableConcept": concept("http://snomed.info/stc", "399068003")}, "unknown-system", SNOMED),
        ({"definitionCodeableConcept": concept("SNOMED-CT", "399068003")}, "unknown-system", f"did you mean {SNOMED}"),
        ({"definitionCodeableConcept": concept(SNOMED, "399068004")}, "wrong-code", "check digit"),
        (
            {"definitionByTypeAndValue": {"type": concept(LOINC, "2857-2"), "valueBoolean": True}},
            "wrong-code",
            "LOINC 2857-2",
        ),
        ({"definitionCodeableConcept": concept(ICD, "121.4")}, "wrong-code", "ICD-10 121.4"),
        ({"definitionCodeableConcept": concept(SNOMED, "363346000")}, "exact-code", "363346000"),
        (
            fhirpath("Condition.exists(code.coding.exists(system = 'https://snomed.info/sct' and code = '399068003'))"),
            "system-spelling",
            SNOMED,
        ),
        (
            {
                "definitionByCombination": {
                    "code": "at-least",
                    "threshold": 3,
                    "characteristic": [fhirpath("Patient.exists()"), fhirpath("Condition.exists()")],
                }
            },
            "never-met",
            "at least 3 of 2",
        ),
    ],
)
def test_what_is_wrong_with_a_criterion_is_said_with_its_place_and_what_to_do(
    tmp_path: Path, characteristic: dict[str, Any], code: str, words: str
) -> None:
    found = said(tmp_path, characteristic)
    assert code in found, found
    assert words in found[code]


@pytest.mark.parametrize(
    "characteristic",
    [
        measured(valueQuantity={"value": 3, "comparator": ">=", "unit": "ng/mL", "code": "ng/mL"}),
        measured(valueRange={"low": {"value": 3, "code": "ng/mL"}, "high": {"value": 9, "code": "ng/mL"}}),
        {"definitionCodeableConcept": concept(ICD, "I21.4")},
        {"definitionCodeableConcept": concept("http://www.whocc.no/atc", "C09AA05")},
        fhirpath("Patient.gender = 'male'"),
        fhirpath("Condition.exists(code.coding.exists(system = 'http://loinc.org' and code = '2857-1'))"),
        fhirpath("AgeInYears() >= 18", "text/cql-expression"),
        {"definitionByTypeAndValue": {"type": {"text": "age"}, "valueQuantity": {"value": 18, "unit": "a"}}},
    ],
)
def test_what_is_right_is_passed_over(tmp_path: Path, characteristic: dict[str, Any]) -> None:
    assert said(tmp_path, characteristic) == {}


def test_a_code_that_a_given_code_system_does_not_have(tmp_path: Path) -> None:
    wanted = {"definitionCodeableConcept": concept("http://example.org/grades", "G4")}
    grades = {
        "resourceType": "CodeSystem",
        "url": "http://example.org/grades",
        "status": "active",
        "content": "complete",
        "concept": [{"code": "G1"}, {"code": "G2"}],
    }
    assert "is not in the CodeSystem" in said(tmp_path, wanted, grades)["unknown-code"]
    known = {"definitionCodeableConcept": concept("http://example.org/grades", "G2")}
    assert said(tmp_path, known, grades) == {}
    assert "unknown-code" not in said(tmp_path, wanted, {**grades, "content": "fragment"})


def test_languages_are_told_apart_by_what_only_one_has() -> None:
    assert [looks_like(text) for text in ("exists [Condition]", "X.where(a).exists()", "Patient.gender = 'male'")] == [
        "CQL",
        "FHIRPath",
        None,
    ]


def test_warnings_are_errors_with_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(written(tmp_path, {"definitionCodeableConcept": concept(SNOMED, "399068003")}))
    assert main(["check", path]) == 0
    assert "warning[exact-code]" in capsys.readouterr().out
    assert main(["check", path, "--strict"]) == 3
    out = capsys.readouterr().out
    assert "error[exact-code]" in out and "1 error, 0 warnings" in out


def test_long_expressions_are_shortened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "Patient.exists()" + " and Patient.exists()" * 100
    path = str(written(tmp_path, fhirpath(text)))
    assert main(["check", path]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) < 300 and f"({len(text)} characters; --verbose" in out
    assert main(["check", path, "--verbose"]) == 0
    assert text in capsys.readouterr().out


# -- with data


def patients(folder: Path, count: int) -> Path:
    lines = []
    for number in range(count):
        subject = {"subject": {"reference": f"Patient/{number}"}}
        lines.append({"resourceType": "Patient", "id": str(number)})
        if number % 2:
            psa = {"resourceType": "Observation", "status": "final", "code": concept(LOINC, "2857-1")}
            lines.append({**psa, "id": f"o{number}", **subject})
        infarction = {"resourceType": "Condition", "id": f"c{number}", "code": concept(ICD, "I21.4"), **subject}
        lines.append(infarction)
    path = folder / "patients.ndjson"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


CODED = [
    measured(valueQuantity={"value": 3, "comparator": ">=", "unit": "ng/mL", "code": "ng/mL"}),
    {"definitionByTypeAndValue": {"type": concept(LOINC, "2951-2"), "valueBoolean": True}},
    {"definitionCodeableConcept": concept(ICD, "I21")},
    {"definitionCodeableConcept": concept(SNOMED, "22298006")},
    fhirpath("Procedure.exists()"),
    fhirpath(f"Observation.where(code.coding.exists(system = '{LOINC}' and code = '2857-1')).exists()"),
]


def test_patients_with_a_record_of_each_kind_and_code_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, data = written(tmp_path, *CODED), patients(tmp_path, 200)
    assert main(["check", str(path), "--data", str(data), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    counts = {(one["type"], one["code"]): one["patients"] for one in found["data"]["codes"]}
    assert found["data"]["patients"] == 200
    assert counts["Observation", "2857-1"] == 100 and counts["Observation", "2951-2"] == 0
    assert counts["Condition", "I21"] == 200 and counts["Condition", "22298006"] == 0
    assert found["data"]["types"]["Procedure"] == 0 and found["data"]["types"]["Condition"] == 200
    messages = {(one["code"], one["message"]): one["hint"] for one in found["diagnostics"]}
    key = ("no-record-with-code", "c1: 0 of 200 patients have a record of type Observation with LOINC 2951-2")
    assert "Its system is in use" in messages[key]
    key = ("no-record-with-code", "c3: 0 of 200 patients have a record of type Condition with SNOMED CT 22298006")
    assert "ICD-10 (200)" in messages[key]
    assert any(code == "no-records" and "type Procedure" in message for code, message in messages)
    assert main(["check", str(path), "--data", str(data), "--strict"]) == 3
    assert "200  Condition" in capsys.readouterr().out


# -- files that are no criteria


@pytest.mark.parametrize(
    ("name", "raw", "words"),
    [
        ("criteria.xlsx", b"PK\x03\x04\x14\x00\xe2\xff", "Excel"),
        ("criteria.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Word"),
        ("criteria.pdf", b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        ("criteria.csv", b"criterion,code\nPSA,2857-1\n", "CSV"),
        ("criteria.txt", b"criterion;code\nPSA;2857-1\n", "CSV"),
        ("criteria.xml", b"<EvidenceVariable xmlns='http://hl7.org/fhir'/>", "XML"),
        ("criteria.json", "\ufeff{}".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_file_of_another_kind_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, raw: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(raw)
    assert main(["check", str(path)]) == 2
    out = capsys.readouterr().out
    assert words in out and name in out and "hint" in out and "codec" not in out


def test_criteria_and_data_that_were_exchanged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "patients.json"
    entry = [{"resource": {"resourceType": "Patient", "id": "p"}}]
    bundle.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entry}))
    path = written(tmp_path, fhirpath("Patient.exists()"))
    assert main(["screen", str(bundle), "--data", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "it holds patients: give it with --data" in capsys.readouterr().err


def test_no_character_in_an_output_line_ends_it(tmp_path: Path) -> None:
    words = "one\u2028two\u2029three\u0085four"
    data = patients(tmp_path, 2)
    code = {"coding": [{"system": ICD, "code": "I21", "display": words}]}
    condition = {"resourceType": "Condition", "id": "x", "code": code, "subject": {"reference": "Patient/0"}}
    with data.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(condition, ensure_ascii=False) + "\n")
    path = written(tmp_path, fhirpath("Condition.exists()"))
    assert main(["screen", str(path), "--data", str(data), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    text = (tmp_path / "out" / "verdicts.ndjson").read_text("utf-8")
    assert len(text.splitlines()) == 2
    evidence = [one for line in text.splitlines() for one in json.loads(line)["criteria"][0]["evidence"]]
    assert [one["display"] for one in evidence if one["resource"] == "Condition/x"] == [words]
