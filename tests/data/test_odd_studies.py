"""ImagingStudies in which something else stands where an element should: never an error of the program, whatever stands where."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.data.patients.reader import compartments_of
from tests.data.every_way import NOW, criteria

CONCEPT = {"coding": [{"system": "http://snomed.info/sct", "code": "51185008", "display": "Chest"}], "text": "chest"}
STUDY = {
    "resourceType": "ImagingStudy",
    "id": "s",
    "status": "available",
    "subject": {"reference": "Patient/a"},
    "started": "2026-01-01",
    "identifier": [
        {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"},
        {"type": {"coding": [{"code": "ACSN"}]}, "value": "A1"},
    ],
    "endpoint": [{"reference": "Endpoint/e"}],
    "modality": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "MR"}],
    "numberOfSeries": 1,
    "numberOfInstances": 1,
    "series": [
        {
            "uid": "1.2.3.4",
            "modality": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "MR"},
            "description": "T1",
            "bodySite": CONCEPT,
            "endpoint": [{"reference": "Endpoint/e"}],
            "instance": [{"uid": "1.2.3.4.5"}],
        }
    ],
}
ENDPOINT = {
    "resourceType": "Endpoint",
    "id": "e",
    "status": "active",
    "connectionType": {"coding": [{"code": "dicom-wado-rs"}]},
    "address": "https://x.example/dicom",
}
PATIENT = {"resourceType": "Patient", "id": "a", "identifier": [{"system": "s", "value": "1"}]}
OTHERS: list[Any] = [[], {}, [[]], [{}], [["x"]], ["x", 1], 7, "x", True, {"x": {"y": []}}, None]
Path_ = tuple[str | int, ...]


def paths(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """The places of all values in a resource but its type and whose it is."""
    if path and path[0] not in ("resourceType", "subject"):
        yield path
    for name, below in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from paths(below, (*path, name))


def with_other(resource: Any, path: Path_, other: Any) -> Any:
    found = copy.deepcopy(resource)
    owner = found
    for name in path[:-1]:
        owner = owner[name]
    owner[path[-1]] = other
    return found


@pytest.mark.parametrize("resource", [STUDY, ENDPOINT, PATIENT], ids=lambda one: str(one["resourceType"]))
def test_whatever_stands_where_is_no_error_of_the_program(tmp_path: Path, resource: dict[str, Any]) -> None:
    rules = criteria(tmp_path / "criteria", "ImagingStudy.where(series.exists()).exists()", "ImagingStudy.exists()")
    for path in paths(resource):
        for other in OTHERS:
            odd = with_other(resource, path, other)
            held = [odd if one is resource else one for one in (PATIENT, ENDPOINT, STUDY)]
            for verdict in fhir_eligibility.screen(rules, compartments_of(held), now=NOW):
                assert verdict.verdict in ("included", "excluded", "undetermined"), (path, other)
                assert not any("Error" in (one.detail or "") for one in verdict.criteria), (path, other)
