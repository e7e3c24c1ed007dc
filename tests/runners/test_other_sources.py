"""Runs over patients who do not come from files: what is recorded of them is as true as of files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.patients.reader import compartments_of
from fhir_eligibility.data.server.client import Server
from fhir_eligibility.data.server.patients import SearchPlan, ServerPatients
from fhir_eligibility.output.run_record import RunRecord
from fhir_eligibility.runners.screening.criteria import load_criteria
from fhir_eligibility.runners.screening.run import RunOptions, run
from fhir_eligibility.ui.commands.cli import main
from tests.servers.fhir_stub import FhirStub
from tests.servers.stub import running_stub

SCT = "http://snomed.info/sct"
Resource = dict[str, Any]


def patient(name: str, **more: Any) -> Resource:
    return {"resourceType": "Patient", "id": name, **more}


def observation(name: str, owner: str, code: str = "1") -> Resource:
    coding = {"coding": [{"system": SCT, "code": code}]}
    subject = {"reference": f"Patient/{owner}"}
    return {"resourceType": "Observation", "id": name, "status": "final", "subject": subject, "code": coding}


COHORT = [patient("a"), patient("b"), patient("c"), observation("o1", "a"), observation("o2", "a", "2")]
COHORT += [observation("o3", "b", "2")]


class SomePatients:
    """A source that is made here: so many of its patients at a time."""

    def __init__(self, resources: Sequence[Resource], name: str = "some", together: int = 1) -> None:
        self.name = name
        self.resources = resources
        self.together = together
        self.narrowed: tuple[str, ...] = ()

    def compartments(self, on_problem: Callable[[Problem], None]) -> Iterator[Compartment]:
        names = [one["id"] for one in self.resources if one["resourceType"] == "Patient"]
        for start in range(0, len(names), self.together):
            here = {f"Patient/{name}" for name in names[start : start + self.together]}
            about = [
                one
                for one in self.resources
                if f"{one['resourceType']}/{one['id']}" in here or one.get("subject", {}).get("reference") in here
            ]
            yield from compartments_of(about, on_problem=on_problem)


def criteria(tmp_path: Path, *expressions: str) -> Path:
    path = tmp_path / "criteria.json"
    listed = [
        {"linkId": f"c{n}", "definitionExpression": {"language": "text/fhirpath", "expression": text}}
        for n, text in enumerate(expressions)
    ]
    artifact = {"resourceType": "EvidenceVariable", "id": "e", "status": "active", "characteristic": listed}
    path.write_text(json.dumps(artifact), "utf-8")
    return path


def recorded(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text("utf-8"))
    return found


def run_over(tmp_path: Path, path: Path, data: Sequence[Any], name: str = "out", **options: Any) -> RunRecord:
    return run(load_criteria(path), [path], data, tmp_path / name, RunOptions(now="2026-01-01", **options)).record


def written(tmp_path: Path, resources: Sequence[Resource] = COHORT) -> Path:
    path = tmp_path / "cohort.ndjson"
    path.write_text("".join(json.dumps(one) + "\n" for one in resources), "utf-8")
    return path


ANY = "Observation.exists() or Procedure.exists()"


def test_the_completeness_of_a_source_is_that_of_files(tmp_path: Path) -> None:
    path = criteria(tmp_path, ANY)
    of_files = run_over(tmp_path, path, [written(tmp_path)], "files").completeness
    assert {(one.type, one.state, one.found) for one in of_files} >= {
        ("Observation", "complete", 3),
        ("Procedure", "absent", 0),
    }
    for together in (1, 2, 3):
        assert run_over(tmp_path, path, [SomePatients(COHORT, together=together)], "some").completeness == of_files


def test_the_completeness_of_a_server_is_that_of_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = criteria(tmp_path, ANY)
    assert main(["screen", str(path), "--data", str(written(tmp_path)), "--out", str(tmp_path / "files")]) == 0
    of_files = capsys.readouterr().out
    with running_stub() as stub:
        FhirStub(stub, COHORT)
        assert main(["screen", str(path), "--data", stub.base, "--out", str(tmp_path / "server")]) == 0
    said = capsys.readouterr().out
    assert recorded(tmp_path / "server")["completeness"] == recorded(tmp_path / "files")["completeness"]
    sentence = "There is no Procedure in the data at all; criteria that read it found none."
    assert sentence in said.splitlines() and sentence in of_files.splitlines()
    assert recorded(tmp_path / "server")["resources"]["used"] == {"Observation": 3, "Patient": 3}


def test_a_type_of_which_only_some_codes_are_asked_for_is_not_called_absent(tmp_path: Path) -> None:
    source = SomePatients(COHORT)
    source.narrowed = ("Procedure",)
    found = run_over(tmp_path, criteria(tmp_path, ANY), [source]).completeness
    assert {(one.type, one.state, one.found) for one in found} >= {
        ("Observation", "complete", 3),
        ("Procedure", "complete", 0),
    }
    plan = SearchPlan(("Observation", "Procedure"), {"Procedure": ("code", "c")})
    with Server("http://127.0.0.1:1/fhir") as server:
        assert list(ServerPatients(server, load_model("r4"), plan).narrowed) == ["Procedure"]


def test_a_record_of_two_patients_is_counted_once(tmp_path: Path) -> None:
    actors = [{"actor": {"reference": f"Patient/{name}"}, "status": "accepted"} for name in "ab"]
    shared = {"resourceType": "Appointment", "id": "x", "status": "booked", "participant": actors}
    path, resources = criteria(tmp_path, "Appointment.exists()"), [*COHORT, shared]
    of_files = run_over(tmp_path, path, [written(tmp_path, resources)], "files").completeness
    found = run_over(tmp_path, path, list(compartments_of(resources)), "memory").completeness
    assert found == of_files and [(one.type, one.found) for one in found if one.type == "Appointment"] == [
        ("Appointment", 1)
    ]


def digest(tmp_path: Path, resources: Sequence[Resource], together: int = 1, **options: Any) -> str:
    path = criteria(tmp_path, ANY)
    return run_over(tmp_path, path, [SomePatients(resources, together=together)], **options).digests["data"]


def test_the_digest_of_patients_tells_their_data_apart(tmp_path: Path) -> None:
    ward = {"resourceType": "Location", "id": "w", "name": "Ward"}
    whole = [*COHORT, ward]
    first = digest(tmp_path, whole)
    assert len(first) == 64 and {digest(tmp_path, whole, together) for together in (1, 2, 3)} == {first}
    reordered = [*COHORT[:3], *reversed(COHORT[3:]), ward]
    assert digest(tmp_path, reordered) == first
    turned = [dict(reversed(one.items())) for one in whole]
    assert digest(tmp_path, turned) == first
    changed = [{**one, "status": "amended"} if one["id"] == "o3" else one for one in whole]
    fewer = [one for one in whole if one["id"] != "o3"]
    odd = [{**one, "x": 2**70} if one["id"] == "o3" else one for one in whole]
    other = [digest(tmp_path, found) for found in (changed, fewer, odd, COHORT[1:], [])[:4]]
    assert len({first, *other}) == 5
    nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert nothing not in {first, *other}


def test_the_digest_of_a_server_does_not_hang_on_its_pages(tmp_path: Path) -> None:
    path, found = criteria(tmp_path, ANY), []
    for page in (1, 2, 50):
        with running_stub() as stub:
            FhirStub(stub, COHORT, page=page)
            assert main(["screen", str(path), "--data", stub.base, "--out", str(tmp_path / "out"), "--quiet"]) == 0
        found.append(recorded(tmp_path / "out")["digests"]["data"])
    assert len(set(found)) == 1


def lines(tmp_path: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "out" / name).read_text("utf-8").splitlines()]


def test_the_same_source_twice_gives_every_patient_once(tmp_path: Path) -> None:
    path = criteria(tmp_path, ANY)
    once = run_over(tmp_path, path, [SomePatients(COHORT)], "once")
    twice = run_over(tmp_path, path, [SomePatients(COHORT), SomePatients(COHORT)])
    assert [one["patient"] for one in lines(tmp_path, "verdicts.ndjson")] == [f"Patient/{name}" for name in "abc"]
    assert (twice.patients, twice.errors) == (3, 0)
    assert twice.artifacts == once.artifacts
    problems = lines(tmp_path, "problems.ndjson")
    assert {(one["code"], one["severity"]) for one in problems} == {("duplicate", "warning")}
    told = {one["resource"] for one in problems}
    assert told == {"Patient/a", "Patient/b", "Patient/c", "Observation/o1", "Observation/o2", "Observation/o3"}


def test_what_two_sources_say_of_a_patient_is_put_together_as_of_two_files(tmp_path: Path) -> None:
    one = [patient("a", gender="male"), patient("b"), observation("o1", "a")]
    other = [patient("c"), patient("a", gender="female"), {**observation("o2", "a"), "status": "amended"}]
    path = criteria(tmp_path, "Patient.gender = 'male'", "Observation.where(status = 'amended').exists()")
    run_over(tmp_path, path, [SomePatients(one, "one"), SomePatients(other, "other")])
    verdicts = {
        line["patient"]: [c["outcome"] for c in line["criteria"]] for line in lines(tmp_path, "verdicts.ndjson")
    }
    reasons = {c.get("reason") for line in lines(tmp_path, "verdicts.ndjson")[:1] for c in line["criteria"]}
    problems = {(found["file"], found["resource"], found["code"]) for found in lines(tmp_path, "problems.ndjson")}
    assert problems == {(name, "Patient/a", "conflicting-versions") for name in ("one", "other")}
    assert verdicts["Patient/a"][0] == "unknown" and "conflicting-records" in reasons
    files = []
    for name, resources in (("one", one), ("other", other)):
        files.append(tmp_path / f"{name}.ndjson")
        files[-1].write_text("".join(json.dumps(found) + "\n" for found in resources), "utf-8")
    run_over(tmp_path, path, files)
    of_files = {
        line["patient"]: [c["outcome"] for c in line["criteria"]] for line in lines(tmp_path, "verdicts.ndjson")
    }
    assert verdicts == of_files and list(verdicts) == ["Patient/a", "Patient/b", "Patient/c"]


class Repeating(SomePatients):
    """A source that gives its second patient once more."""

    def compartments(self, on_problem: Callable[[Problem], None]) -> Iterator[Compartment]:
        found = list(super().compartments(on_problem))
        yield from [*found, found[1]]


def test_a_source_that_gives_a_patient_twice(tmp_path: Path) -> None:
    path = criteria(tmp_path, ANY)
    record = run_over(tmp_path, path, [Repeating(COHORT)])
    assert [one["patient"] for one in lines(tmp_path, "verdicts.ndjson")] == [f"Patient/{name}" for name in "abc"]
    (problem,) = lines(tmp_path, "problems.ndjson")
    assert (problem["code"], problem["patient"], problem["severity"]) == ("repeated-patient", "Patient/b", "error")
    assert problem["message"].startswith("some gives Patient/b more than once; only the first counts")
    assert (record.patients, record.errors) == (3, 1)
