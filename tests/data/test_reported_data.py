"""Cases from public bug reports about reading patients: references, duplicates, broken lines, deletions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria.reading import ReadPlan
from fhir_eligibility.data.bulk.line_numbers import with_lines
from fhir_eligibility.data.bulk.reading import ExportReader
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.patients.reader import read_patients
from fhir_eligibility.runners.large.bulk import in_place
from tests.shared import reported


@pytest.fixture(params=["in memory", "as an export"])
def reader(request: pytest.FixtureRequest) -> str:
    """The two ways in which files are read."""
    return str(request.param)


def compartments_in(
    paths: list[Path], reader: str, resources: list[dict[str, Any]] | None = None
) -> tuple[list[Compartment], Iterable[Problem]]:
    """The patients in files, or of resources written to a file (an NDJSON export, or the one bundle that they are)."""
    if resources is not None:
        (folder,) = paths
        single = len(resources) == 1
        text = json.dumps(resources[0]) if single else "".join(json.dumps(r) + "\n" for r in resources)
        (folder / ("data.json" if single else "data.ndjson")).write_text(text, "utf-8")
    problems: list[Problem] = []
    if reader == "in memory":
        return list(read_patients(paths, model=load_model("r4"), on_problem=problems.append)), problems
    export = ExportReader(paths, ReadPlan("r4", everything=True), problems.append)
    found = [compartment for _, compartment in export.patients()]
    return found, _Late(lambda: list(with_lines(in_place(problems, export.files))))


class _Late(Iterable[Problem]):
    """Problems as they are when they are looked at: references are followed late."""

    def __init__(self, problems: Callable[[], list[Problem]]) -> None:
        self._problems = problems

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._problems())


def read_files(files: dict[str, str], folder: Path, reader: str) -> tuple[dict[str, Compartment], Iterable[Problem]]:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    found, problems = compartments_in([folder], reader)
    return {compartment.id: compartment for compartment in found}, problems


@pytest.mark.parametrize("swapped", [False, True])
def test_duplicate_id(tmp_path: Path, swapped: bool, reader: str) -> None:
    case = reported("DATA-DUPLICATE-ID")
    files = dict(case["input"]["files"])
    if swapped:
        files["Observation.ndjson"] = "\n".join(reversed(files["Observation.ndjson"].splitlines())) + "\n"
    patients, problems = read_files(files, tmp_path, reader)
    observations = patients["a"].of_type("Observation")
    assert len(observations) == case["expected"]["observations_of_a"]
    assert observations[0]["valueInteger"] == case["expected"]["o1_value"]
    assert [problem.code for problem in problems] == ["duplicate"]


def test_truncated_line(tmp_path: Path, reader: str) -> None:
    case = reported("DATA-NDJSON-TRUNCATED-LINE")
    patients, problems = read_files(case["input"]["files"], tmp_path, reader)
    loaded = [c["id"] for p in patients.values() for c in p.of_type("Condition")]
    assert sorted(loaded) == case["expected"]["conditions_loaded"]
    assert [f"{Path(p.file or '').name} line {p.line}" for p in problems] == case["expected"]["errors"]
    assert sorted(patients) == ["a", "b"]


def test_deleted_bundle(tmp_path: Path, reader: str) -> None:
    case = reported("DATA-DELETED-BUNDLE")
    patients, problems = read_files(case["input"]["files"], tmp_path, reader)
    verdicts = {name: "included" if p.of_type("Condition") else "excluded" for name, p in patients.items()}
    assert verdicts == case["expected"]
    assert [problem.code for problem in problems] == ["deleted"]


def test_versioned_reference(tmp_path: Path, reader: str) -> None:
    case = reported("DATA-VERSIONED-REF")
    (patient,), problems = compartments_in([tmp_path], reader, [case["input"]["bundle"]])
    first, second = patient.of_type("Observation")
    assert [first["id"], second["id"]] == case["expected"]["grouping"]
    assert patient.resolve(first["subject"]["reference"], first) is None
    assert [problem.code for problem in problems] == ["version-not-found"]
    found = patient.resolve(second["subject"]["reference"], second)
    assert found is not None and [found["gender"]] == case["expected"]["resolve_o2"]


def test_relative_references_keep_their_server(tmp_path: Path, reader: str) -> None:
    case = reported("FP-RESOLVE-BUNDLE-ROOT")
    bundle = case["input"]["resource"]
    found = {c.reference: c for c in compartments_in([tmp_path], reader, [bundle])[0]}
    alpha, beta = "http://alpha.example/fhir/Patient/7", "http://beta.example/r4/Patient/7"
    assert {alpha, beta} <= set(found)
    assert [o["id"] for o in found[beta].of_type("Observation")] == ["o1", "o3"]
    assert found[alpha].of_type("Observation") == []


def test_subject_by_identifier(tmp_path: Path, reader: str) -> None:
    case = reported("DCM-SUBJECT-BY-IDENTIFIER")
    found, problems = compartments_in([tmp_path], reader, case["input"]["resources"])
    patients = {c.id: c for c in found}
    assert [s["id"] for s in patients["p1"].of_type("ImagingStudy")] == ["is1"]
    assert patients["p2"].of_type("ImagingStudy") == []
    assert ("no-patient", "ImagingStudy/is2") in {(p.code, p.resource) for p in problems}


@pytest.mark.parametrize("as_file", [False, True])
def test_one_bad_patient_stops_nobody(tmp_path: Path, as_file: bool) -> None:
    case = reported("DATA-ONE-BAD-PATIENT")
    # the case's CQL, AgeInYearsAt(@2025-01-01) >= 40, in FHIRPath
    verdicts = screen_expression(
        "Patient.birthDate <= @2025-01-01 - 40 years", case["input"]["bundle"], tmp_path, as_file
    )
    assert {name: verdict.verdict for name, verdict in verdicts.items()} == {
        "Patient/a": "included",
        "Patient/b": "undetermined",
        "Patient/c": "excluded",
    }
    (criterion,) = verdicts["Patient/b"].criteria
    assert criterion.reason == "error"
    assert criterion.detail is not None and "Patient/b" in criterion.detail and "1980-13-45" in criterion.detail


def screen_expression(
    expression: str, bundle: dict[str, Any], folder: Path, as_file: bool
) -> dict[str, fhir_eligibility.Verdict]:
    artifact = {
        "resourceType": "EvidenceVariable",
        "id": "ev",
        "characteristic": [{"definitionExpression": {"language": "text/fhirpath", "expression": expression}}],
    }
    path = folder / "ev.json"
    path.write_text(json.dumps(artifact), encoding="utf-8")
    criteria = fhir_eligibility.load_criteria(path)
    data: Any = list(fhir_eligibility.compartments_of([bundle]))
    if as_file:
        data = folder / "data.ndjson"
        data.write_text("".join(json.dumps(entry["resource"]) + "\n" for entry in bundle["entry"]), "utf-8")
    return {v.patient: v for v in fhir_eligibility.screen(criteria, data, now="2026-01-01")}


def test_evaluation_touches_one_patient_only(tmp_path: Path, reader: str) -> None:
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
    found, _ = compartments_in([tmp_path], reader, [*patients, *medications, *given])
    assert [len(c.of_type("MedicationAdministration")) for c in found] == [20] * 50
    assert all(len(c.resources) == 1 for c in found)
