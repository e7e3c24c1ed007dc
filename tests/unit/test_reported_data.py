"""Cases from public bug reports about reading patients: references, duplicates, broken lines, deletions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import engine
from engine.artifacts.models import load_model
from engine.data.compartment import Compartment
from engine.data.problems import Problem
from engine.data.reader import compartments_of, read_patients
from tests.shared import reported


def read_files(files: dict[str, str], folder: Path) -> tuple[dict[str, Compartment], list[Problem]]:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    problems: list[Problem] = []
    found = read_patients([folder], model=load_model("r4"), on_problem=problems.append)
    return {compartment.id: compartment for compartment in found}, problems


@pytest.mark.parametrize("swapped", [False, True])
def test_duplicate_id(tmp_path: Path, swapped: bool) -> None:
    case = reported("DATA-DUPLICATE-ID")
    files = dict(case["input"]["files"])
    if swapped:
        files["Observation.ndjson"] = "\n".join(reversed(files["Observation.ndjson"].splitlines())) + "\n"
    patients, problems = read_files(files, tmp_path)
    observations = patients["a"].of_type("Observation")
    assert len(observations) == case["expected"]["observations_of_a"]
    assert observations[0]["valueInteger"] == case["expected"]["o1_value"]
    assert [problem.code for problem in problems] == ["duplicate"]


def test_truncated_line(tmp_path: Path) -> None:
    case = reported("DATA-NDJSON-TRUNCATED-LINE")
    patients, problems = read_files(case["input"]["files"], tmp_path)
    loaded = [c["id"] for p in patients.values() for c in p.of_type("Condition")]
    assert sorted(loaded) == case["expected"]["conditions_loaded"]
    assert [f"{Path(p.file or '').name} line {p.line}" for p in problems] == case["expected"]["errors"]
    assert sorted(patients) == ["a", "b"]


def test_deleted_bundle(tmp_path: Path) -> None:
    case = reported("DATA-DELETED-BUNDLE")
    patients, problems = read_files(case["input"]["files"], tmp_path)
    verdicts = {name: "included" if p.of_type("Condition") else "excluded" for name, p in patients.items()}
    assert verdicts == case["expected"]
    assert [problem.code for problem in problems] == ["deleted"]


def test_versioned_reference() -> None:
    case = reported("DATA-VERSIONED-REF")
    problems: list[Problem] = []
    (patient,) = compartments_of([case["input"]["bundle"]], on_problem=problems.append)
    first, second = patient.of_type("Observation")
    assert [first["id"], second["id"]] == case["expected"]["grouping"]
    assert patient.resolve(first["subject"]["reference"], first) is None
    assert [problem.code for problem in problems] == ["version-not-found"]
    found = patient.resolve(second["subject"]["reference"], second)
    assert found is not None and [found["gender"]] == case["expected"]["resolve_o2"]


def test_relative_references_keep_their_server() -> None:
    case = reported("FP-RESOLVE-BUNDLE-ROOT")
    bundle = case["input"]["resource"]
    found = {c.reference: c for c in compartments_of([bundle])}
    alpha, beta = "http://alpha.example/fhir/Patient/7", "http://beta.example/r4/Patient/7"
    assert {alpha, beta} <= set(found)
    assert [o["id"] for o in found[beta].of_type("Observation")] == ["o1", "o3"]
    assert found[alpha].of_type("Observation") == []


def test_subject_by_identifier() -> None:
    case = reported("DCM-SUBJECT-BY-IDENTIFIER")
    problems: list[Problem] = []
    patients = {c.id: c for c in compartments_of(case["input"]["resources"], on_problem=problems.append)}
    assert [s["id"] for s in patients["p1"].of_type("ImagingStudy")] == ["is1"]
    assert patients["p2"].of_type("ImagingStudy") == []
    assert ("subject-by-identifier", "ImagingStudy/is2") in {(p.code, p.resource) for p in problems}


def test_one_bad_patient_stops_nobody(tmp_path: Path) -> None:
    case = reported("DATA-ONE-BAD-PATIENT")
    # the case's CQL, AgeInYearsAt(@2025-01-01) >= 40, in FHIRPath
    verdicts = screen_expression("Patient.birthDate <= @2025-01-01 - 40 years", case["input"]["bundle"], tmp_path)
    assert {name: verdict.verdict for name, verdict in verdicts.items()} == {
        "Patient/a": "included",
        "Patient/b": "undetermined",
        "Patient/c": "excluded",
    }
    (criterion,) = verdicts["Patient/b"].criteria
    assert criterion.reason == "error"
    assert criterion.detail is not None and "Patient/b" in criterion.detail and "1980-13-45" in criterion.detail


def screen_expression(expression: str, bundle: dict[str, Any], folder: Path) -> dict[str, engine.Verdict]:
    artifact = {
        "resourceType": "EvidenceVariable",
        "id": "ev",
        "characteristic": [{"definitionExpression": {"language": "text/fhirpath", "expression": expression}}],
    }
    path = folder / "ev.json"
    path.write_text(json.dumps(artifact), encoding="utf-8")
    criteria = engine.load_criteria(path)
    return {v.patient: v for v in engine.screen(criteria, list(engine.compartments_of([bundle])), now="2026-01-01")}


def test_evaluation_touches_one_patient_only() -> None:
    patients = [{"resourceType": "Patient", "id": f"p{i}"} for i in range(50)]
    medications = [{"resourceType": "Medication", "id": f"m{i}"} for i in range(10)]
    given = [
        {
            "resourceType": "MedicationAdministration",
            "id": f"a{i}",
            "subject": {"reference": f"Patient/p{i % 50}"},
            "medicationReference": {"reference": f"Medication/m{i % 10}"},
        }
        for i in range(1000)
    ]
    found = list(compartments_of([*patients, *medications, *given]))
    assert [len(c.of_type("MedicationAdministration")) for c in found] == [20] * 50
    assert all(len(c.resources) == 1 for c in found)
