"""Runs over data whose records lead to each other: the same bytes by every way, and from whatever step a run that was stopped goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.patients.reader import read_patients
from fhir_eligibility.runners.large.kept_buckets import KeptBuckets
from fhir_eligibility.runners.large.whole_files import WholeFiles
from fhir_eligibility.runners.large.workspace import Workspace
from fhir_eligibility.runners.screening import run as running
from fhir_eligibility.runners.screening.criteria import Criteria
from fhir_eligibility.runners.screening.run import RunOptions, run
from tests.runners.ways import criteria_of, outcomes_of

NOW = "2026-06-01"
PATIENTS = 30
EXPRESSIONS = (
    "Observation.exists(focus.resolve().ofType(Patient).birthDate < @1960-01-01)",
    "Observation.exists(derivedFrom.resolve().ofType(Observation).value.ofType(integer) > 3)",
    "Observation.exists(performer.resolve().ofType(Practitioner).active = true)",
    "Observation.exists(derivedFrom.resolve().ofType(Observation).performer.resolve().ofType(Practitioner).active = true)",
    "Patient.generalPractitioner.resolve().ofType(Practitioner).exists(active = true)",
    "Patient.managingOrganization.resolve().ofType(Organization).exists(name = 'within')",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patients in a ring: each observation is about one patient, taken of the next, and derived from that of another."""
    folder = tmp_path_factory.mktemp("data")
    patients, observations, practitioners = [], [], []
    for number in range(PATIENTS):
        year = 1940 + 2 * number
        patients.append(
            {
                "resourceType": "Patient",
                "id": f"p{number}",
                "birthDate": f"{year}-05-01",
                "contained": [{"resourceType": "Organization", "id": "o", "name": "within" if number % 3 else "else"}],
                "managingOrganization": {"reference": "#o"},
                "generalPractitioner": [{"reference": f"Practitioner/d{number % 7}"}],
            }
        )
        observations.append(
            {
                "resourceType": "Observation",
                "id": f"o{number}",
                "status": "final",
                "code": {"text": "ring"},
                "subject": {"reference": f"Patient/p{number}"},
                "focus": [{"reference": f"Patient/p{(number + 1) % PATIENTS}"}],
                "derivedFrom": [{"reference": f"Observation/o{(number + 11) % PATIENTS}"}],
                "performer": [{"reference": f"Practitioner/d{number % 5}"}],
                "valueInteger": number % 8,
            }
        )
    for number in range(7):
        practitioners.append({"resourceType": "Practitioner", "id": f"d{number}", "active": number % 2 == 0})
    # one that leads nowhere, and one that occurs twice
    observations[3]["derivedFrom"] = [{"reference": "Observation/nowhere"}]
    observations[9]["meta"] = {"lastUpdated": "2025-01-01T00:00:00Z"}
    observations.append({**observations[9], "meta": {"lastUpdated": "2026-01-01T00:00:00Z"}, "valueInteger": 7})
    for name, found in (("Patient", patients), ("Observation", observations), ("Practitioner", practitioners)):
        (folder / f"{name}.ndjson").write_text("".join(json.dumps(one) + "\n" for one in found), "utf-8")
    return folder


@pytest.fixture(scope="module")
def criteria(tmp_path_factory: pytest.TempPathFactory) -> Criteria:
    return criteria_of(tmp_path_factory.mktemp("criteria"), *EXPRESSIONS, language="text/fhirpath")


def outputs(criteria: Criteria, data: Path, out: Path, **options: Any) -> dict[str, bytes]:
    run(criteria, [], [data], out, RunOptions(now=NOW, **options))
    assert not Workspace(out).folder.exists()
    return {path.name: path.read_bytes() for path in out.glob("[!.]*") if path.name != "run.json"}


@pytest.fixture(scope="module")
def expected(criteria: Criteria, data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return outputs(criteria, data, tmp_path_factory.mktemp("small"))


def test_the_references_lead_where_they_should(criteria: Criteria, data: Path, expected: dict[str, bytes]) -> None:
    found = outcomes_of(
        fhir_eligibility.Verdict.model_validate_json(line) for line in expected["verdicts.ndjson"].splitlines()
    )
    assert len(found) == PATIENTS
    for number in range(PATIENTS):
        following, source = (number + 1) % PATIENTS, (number + 11) % PATIENTS
        value = 7 if source == 9 else source % 8
        wanted = [
            "met" if 1940 + 2 * following < 1960 else "not met",
            "met" if value > 3 else "not met",
            "met" if number % 5 % 2 == 0 else "not met",
            "met" if source % 5 % 2 == 0 else "not met",
            "met" if number % 7 % 2 == 0 else "not met",
            "met" if number % 3 else "not met",
        ]
        if number == 3:
            wanted[1] = wanted[3] = "unknown (unresolved-reference)"
        assert found[f"Patient/p{number}"] == wanted, number
    memory = list(read_patients([data], model=load_model("r4"), on_problem=lambda problem: None))
    assert outcomes_of(fhir_eligibility.screen(criteria, memory, now=NOW)) == found
    assert outcomes_of(fhir_eligibility.screen(criteria, data, now=NOW)) == found


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("memory", [None, 1 << 20])
def test_processes_and_memory_make_no_difference(
    criteria: Criteria, data: Path, tmp_path: Path, expected: dict[str, bytes], monkeypatch: Any, jobs: int, memory: int
) -> None:
    monkeypatch.setattr(running, "SMALL", 0)
    assert outputs(criteria, data, tmp_path, jobs=jobs, memory=memory) == expected


def test_a_run_goes_on_from_every_step(
    criteria: Criteria, data: Path, tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is stopped after every file that it writes into its workspace, one later each time."""
    monkeypatch.setattr(running, "SMALL", 0)
    write = WholeFiles.write
    for allowed in range(1, 400):
        left = allowed

        def stopped(self: WholeFiles, name: str, text: Any) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            write(self, name, text)

        monkeypatch.setattr(WholeFiles, "write", stopped)
        try:
            options = {"memory": 1 << 20, "resume": allowed > 1}
            assert outputs(criteria, data, tmp_path, **options) == expected
        except KeyboardInterrupt:
            continue
        break
    assert 5 < allowed < 399


def test_a_part_of_the_index_that_lost_bytes_is_made_again(
    criteria: Criteria, data: Path, tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "SMALL", 0)
    put = KeptBuckets.put

    def stopped(*arguments: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(KeptBuckets, "put", stopped)
    with pytest.raises(KeyboardInterrupt):
        outputs(criteria, data, tmp_path)
    parts = sorted(Workspace(tmp_path).folder.glob("names-*"))
    assert len(parts) > 3
    for part in parts:
        part.write_bytes(part.read_bytes()[:-1])
    monkeypatch.setattr(KeptBuckets, "put", put)
    assert outputs(criteria, data, tmp_path, resume=True) == expected
