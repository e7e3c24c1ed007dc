"""PATCH entries of bundles: they are not applied, and the record that they change is in doubt, on every way of reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.records.histories import superseded
from tests.data.every_way import Outcomes, criteria, screened

Resource = dict[str, Any]
JSON_PATCH = {"resourceType": "Binary", "contentType": "application/json-patch+json", "data": "W10="}
FHIRPATH_PATCH = {"resourceType": "Parameters", "parameter": [{"name": "operation"}]}
RULES = ("Observation.exists()", "Observation.where(code.coding.code = 'x').exists()", "Condition.exists()", "Patient.gender = 'male'")  # fmt: skip


def observation(name: str, patient: str, code: str = "x", **more: Any) -> Resource:
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": {"coding": [{"system": "http://s", "code": code}]},
        "subject": {"reference": f"Patient/{patient}"},
        **more,
    }


def patch(url: str, body: Resource | None = JSON_PATCH, **response: str) -> Resource:
    return {
        **({"resource": body} if body is not None else {}),
        "request": {"method": "PATCH", "url": url},
        **({"response": {"status": "200", **response}} if response else {}),
    }


def bundle(*entries: Resource, kind: str = "transaction") -> Resource:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def told(tmp_path: Path, *more: Resource, lines: bool = False) -> tuple[Outcomes, list[Problem]]:
    """Outcomes and problems of two men with an Observation each, and `more`, the same by each way of reading."""
    data = tmp_path / "data"
    data.mkdir(parents=True)
    people = [{"resourceType": "Patient", "id": name, "gender": "male"} for name in ("a", "b")]
    records = [*people, observation("o", "a"), observation("p", "b")]
    (data / "all.ndjson").write_text("".join(json.dumps(one) + "\n" for one in records))
    for number, one in enumerate(more):
        name = f"more{number}.ndjson" if lines else f"more{number}.json"
        (data / name).write_text(json.dumps(one) + "\n")
    found = list(screened(criteria(tmp_path / "criteria", *RULES), data, tmp_path))
    assert [outcomes for _, outcomes, _ in found] == [found[0][1]] * 4
    shown = [
        sorted((p.code, p.severity, p.file or "", p.entry, p.resource, p.patient, p.message) for p in problems)
        for _, _, problems in found
    ]
    assert shown == [shown[0]] * 4
    return found[0][1], found[0][2]


MET = ("excluded", "met", "met", "not met", "met")
OPEN = ("excluded", "unknown", "unknown", "not met", "met")
A, B = "Patient/a", "Patient/b"


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("url", ["Observation/o", "http://h/fhir/Observation/o", "/Observation/o", "Observation?_id=o"])
@pytest.mark.parametrize("body", [JSON_PATCH, FHIRPATH_PATCH, None, observation("o", "a")])
def test_a_record_that_is_patched_is_in_doubt(tmp_path: Path, url: str, body: Resource | None, lines: bool) -> None:
    outcomes, (problem,) = told(tmp_path, bundle(patch(url, body)), lines=lines)
    assert outcomes[A] == OPEN
    assert outcomes[B] == MET
    assert (problem.code, problem.severity, problem.entry) == ("patch-not-applied", "error", 0)
    assert (problem.resource, problem.patient) == ("Observation/o", A)
    assert url in problem.message and problem.hint


def test_a_record_that_no_criterion_asks_for_may_be_one_now(tmp_path: Path) -> None:
    """The patch may have changed its code."""
    records = [{"resourceType": "Patient", "id": "c"}, observation("q", "c", code="y")]
    first = bundle(*({"resource": one} for one in records), kind="collection")
    second = bundle({"resource": observation("r", "b", code="y")}, kind="collection")
    outcomes, problems = told(tmp_path, first, second, bundle(patch("Observation/q"), patch("Observation/r")))
    assert [problem.patient for problem in problems] == ["Patient/c", B]
    assert outcomes["Patient/c"][1:4] == ("unknown", "unknown", "not met")
    assert outcomes[B] == outcomes[A] == MET


def test_a_patient_who_is_patched(tmp_path: Path) -> None:
    outcomes, (problem,) = told(tmp_path, bundle(patch("Patient/a")))
    assert (problem.resource, problem.patient) == (A, A)
    assert outcomes[A][4] == "unknown" and outcomes[B] == MET


def test_a_record_that_is_not_there_may_be_anybodys(tmp_path: Path) -> None:
    outcomes, (problem,) = told(tmp_path, bundle(patch("Condition/z")))
    assert (problem.code, problem.resource, problem.patient) == ("patch-not-applied", "Condition/z", None)
    assert "not among the data" in problem.message
    assert {each[3] for each in outcomes.values()} == {"unknown"}


@pytest.mark.parametrize("url", ["", "Observation", "nonsense", "Observation?code=x"])
def test_a_patch_that_names_no_record_is_told(tmp_path: Path, url: str) -> None:
    _, (problem,) = told(tmp_path, bundle(patch(url)))
    assert (problem.code, problem.severity) == ("patch-not-applied", "error") and "which record" in problem.message


@pytest.mark.parametrize(
    ("moment", "certain"), [("2026-01-01T00:00:00Z", True), ("2026-03-01T00:00:00Z", False), (None, False)]
)
def test_a_record_that_was_written_after_the_patch_counts(tmp_path: Path, moment: str | None, certain: bool) -> None:
    response = {"lastModified": moment} if moment is not None else {}
    later = observation("n", "c", meta={"lastUpdated": "2026-02-01T00:00:00Z"})
    woman = {"resourceType": "Patient", "id": "c"}
    entries = [{"resource": woman}, {"resource": later}, patch("Observation/n", **response)]
    outcomes, (problem,) = told(tmp_path, bundle(*entries, kind="collection"))
    assert problem.code == "patch-not-applied" and outcomes[A] == MET
    assert set(outcomes["Patient/c"][1:3]) == {"met" if certain else "unknown"}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("moment", ["2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z", None])
def test_what_comes_after_a_patch_in_a_history_is_what_counts(first: bool, moment: str | None) -> None:
    """By its time, else by its place: the newest stands first."""
    later = {"resource": observation("n", "c", meta={"lastUpdated": "2026-02-01T00:00:00Z"})}
    patched = patch("Observation/n", **({"lastModified": moment} if moment is not None else {}))
    entries = [patched, later] if first else [later, patched]
    is_old = moment is not None and moment < "2026-02" or (moment is None and not first)
    assert superseded(entries) == ({entries.index(patched)} if is_old else set())


def test_what_a_history_holds_of_a_patch_counts(tmp_path: Path) -> None:
    made = observation("o", "a", code="y", meta={"lastUpdated": "2026-02-01T00:00:00Z"})
    (tmp_path / "data").parent.mkdir(exist_ok=True)
    outcomes, problems = told(tmp_path, bundle(patch("Observation/n", {**made, "id": "n"}), kind="history"))
    assert problems == [] and outcomes[A] == MET


def test_a_patch_in_a_history_does_not_hide_what_was_there_before(tmp_path: Path) -> None:
    before = {"fullUrl": "http://h/Observation/n", "resource": observation("n", "b")}
    history = bundle(patch("Observation/n", FHIRPATH_PATCH), before, kind="history")
    assert superseded(history["entry"]) == frozenset()
    _, problems = told(tmp_path, history)
    assert [(one.code, one.resource, one.patient) for one in problems] == [("patch-not-applied", "Observation/n", B)]
