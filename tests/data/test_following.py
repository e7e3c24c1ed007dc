"""References that lead anywhere in the data mean the same whether all of it is at hand, is looked up by name in memory, or on disk."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria.reading import ReadPlan
from fhir_eligibility.data.bulk.pieces import pieces_of
from fhir_eligibility.data.bulk.reading import by_patient, files_to_read, read_export
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.patients.reader import read_patients
from fhir_eligibility.evaluation.evaluator import Options
from fhir_eligibility.runners.large.bulk import BulkRun
from fhir_eligibility.runners.large.bulk_worker import start_worker
from fhir_eligibility.runners.large.workspace import RunState, Workspace
from fhir_eligibility.runners.screening.screening import evaluation_time
from fhir_eligibility.runners.screening.screening_work import ScreeningWork

PLAN = ReadPlan("r4", everything=True, together=True, linked=True)
SERVERS = ("http://one.example/fhir/", "https://two.example/r4/")
KINDS = {
    "Patient": ("a", "b", "c"),
    "RelatedPerson": ("r", "s"),
    "Observation": ("x", "y"),
    "Encounter": ("x", "e"),
    "Practitioner": ("d", "e"),
    "Device": ("d", "m"),
}
NAMES = tuple(f"{kind}/{name}" for kind, names in KINDS.items() for name in names)
URNS = {name: f"urn:uuid:00000000-0000-0000-0000-0000000000{number:02}" for number, name in enumerate(NAMES)}
PATTERN = "urn:uuid:00000000-0000-0000-0000-000000000099"
REFERENCES = (PATTERN, *NAMES, *(server + name for server in SERVERS for name in NAMES[:7]), *URNS.values())
REFERENCES += (
    "Patient/a/_history/1",
    "Observation/x/_history/2",
    "Patient/nobody",
    "#",
    "#in",
    "http://elsewhere/Patient/a",
    "odd",
)
Resource = dict[str, Any]

references = st.sampled_from(REFERENCES).map(lambda text: {"reference": text})
some = st.lists(references, max_size=2)
# whom a resource is about is not the question here
subjects = st.sampled_from(("Patient/a", "Patient/a", "Patient/b", "Patient/c")).map(lambda text: {"reference": text})


@st.composite
def resources(draw: Any) -> Resource:
    kind = draw(st.sampled_from(("Patient", *KINDS)))
    found: Resource = {"resourceType": kind, "id": draw(st.sampled_from(KINDS[kind])), "note": draw(st.integers(0, 2))}
    if draw(st.booleans()):
        version, day = draw(st.sampled_from((("1", "2026-01-01"), ("2", "2026-02-01"))))
        found["meta"] = {"versionId": version, "lastUpdated": f"{day}T00:00:00Z"}
    if kind == "Patient":
        found["link"] = [{"other": other, "type": "seealso"} for other in draw(some)]
        found["birthDate"] = draw(st.sampled_from(("1950-01-01", "1980-01-01")))
    elif kind in ("Observation", "Encounter"):
        found["subject"] = draw(subjects)
        found["status"] = draw(st.sampled_from(("final", "final", "entered-in-error")))
        found["hasMember"] = draw(some)
        found["contained"] = [{"resourceType": "Device", "id": "in"}]
    elif kind == "RelatedPerson" or kind == "Device" and draw(st.booleans()):
        found["patient"] = draw(subjects)
    return found


@st.composite
def files(draw: Any) -> list[tuple[str, bytes]]:
    """Names and texts of files: NDJSON, and bundles with addresses of every sort."""
    found = []
    for number in range(draw(st.integers(1, 3))):
        several = draw(st.lists(resources(), min_size=1, max_size=6))
        if draw(st.booleans()):
            text = "".join(json.dumps(one) + "\n" for one in several)
            found.append((f"f{number}.ndjson", text.encode()))
            continue
        entries: list[Resource] = []
        for one in several:
            address = draw(st.sampled_from(("none", "urn", "pattern", *SERVERS)))
            entry: Resource = {"resource": one}
            if address == "urn":
                entry["fullUrl"] = URNS[f"{one['resourceType']}/{one['id']}"]
            elif address == "pattern":
                entry["fullUrl"] = PATTERN  # which resources of several ids and types bear
            elif address != "none":
                entry["fullUrl"] = f"{address}{one['resourceType']}/{one['id']}"
            entries.append(entry)
        kind = draw(st.sampled_from(("collection", "searchset", "transaction")))
        found.append(
            (f"f{number}.json", json.dumps({"resourceType": "Bundle", "type": kind, "entry": entries}).encode())
        )
    return found


def by_buckets(folder: Path, out: Path, buckets: int) -> Iterator[Compartment]:
    """The patients as the workers of a large run put them together."""
    paths = files_to_read([folder], lambda problem: None)
    workspace, state = Workspace(out), RunState("2026-06-01T00:00:00Z", {}, paths, buckets, 200)
    out.mkdir()
    workspace.create(state)
    with BulkRun(
        workspace,
        state,
        PLAN,
        ScreeningWork((), Options(now=evaluation_time("2026-06-01", "UTC"))),
        pieces_of(paths, 200),
        memory=1 << 24,
    ) as bulk:
        bulk.prepare()
        worker, joint = start_worker(bulk.job), workspace.joint()
        grouping = worker.grouping(joint)
        for number in range(buckets):
            apart, together = worker.shelves.records(number), worker.shelves.together(number, joint)
            yield from (one for _, one in by_patient(apart, together, joint.joined, grouping))


def seen(resource: Resource | None) -> str | None:
    return None if resource is None else json.dumps(resource, sort_keys=True, default=str)


def person(compartment: Compartment, asked: Resource | str) -> Any:
    """The other patient whom something means, as named and with all that is about them; or why there is none."""
    assert compartment.others is not None
    try:
        other = compartment.others(asked)
    except EvaluationError as error:
        return error.code
    if other is None:
        return None
    listed = [seen(one) for kind in sorted(other.resources) for one in other.resources[kind]]
    return other.reference, seen(other.patient), listed


def answers(patients: list[Compartment]) -> dict[Any, Any]:
    """What every reference means, by patient, holder, and reference; and whom every reference to a person means."""
    found: dict[Any, Any] = {}
    for patient in patients:
        holders = [patient.patient, *(one for kind in sorted(patient.resources) for one in patient.resources[kind])]
        where = patient.reference, seen(patient.patient)
        for holder in filter(None, holders):
            for reference in REFERENCES:
                target = patient.resolve(reference, holder)
                found[(*where, seen(holder), reference)] = seen(target)
                if target is not None and target.get("hasMember"):
                    # from what was found it goes on
                    further = target["hasMember"][0]["reference"]
                    found[(*where, seen(holder), reference, further)] = seen(patient.resolve(further, target))
                if target is not None and target["resourceType"] in ("Patient", "RelatedPerson"):
                    found[(*where, seen(holder), reference, "person")] = person(patient, target)
        for reference in REFERENCES:
            if not reference.startswith("#"):
                found[(*where, reference, "person")] = person(patient, reference)
    return found


def all_ways(listed: list[tuple[str, bytes]], buckets: int) -> tuple[dict[Any, Any], dict[Any, Any], dict[Any, Any]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        folder.mkdir()
        for path, text in listed:
            (folder / path).write_bytes(text)
        model = load_model("r4")
        at_once = answers(list(read_patients([folder], model=model, on_problem=lambda problem: None)))
        in_memory = answers(list(read_export([folder], PLAN, lambda problem: None)))
        on_disk = answers(list(by_buckets(folder, Path(name) / "out", buckets)))
    return at_once, in_memory, on_disk


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(files(), st.integers(1, 3))
def test_references_mean_the_same_wherever_records_are_kept(listed: list[tuple[str, bytes]], buckets: int) -> None:
    at_once, in_memory, on_disk = all_ways(listed, buckets)
    assert in_memory == on_disk
    assert at_once == in_memory
