"""Names in bundles: one fullUrl for resources of two types, and the ids under which entries write resources that have none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.every_way import criteria, screened
from tests.data.test_lost_records import ABSENT, BORN, URN, condition, lines, patient, write

Resource = dict[str, Any]
MEASURED = "Observation.exists()"
OBSERVATION = {
    "resourceType": "Observation",
    "id": "o",
    "status": "final",
    "code": {"text": "x"},
    "subject": {"reference": "Patient/a"},
}
KINDS = ("collection", "searchset", "transaction", "batch")


def entries(kind: str, *listed: Resource) -> str:
    return json.dumps({"resourceType": "Bundle", "type": kind, "entry": list(listed)})


def nameless(resource: Resource) -> Resource:
    return {name: value for name, value in resource.items() if name != "id"}


@pytest.mark.parametrize("url", [URN, "urn:x:1", "http://s/fhir/Condition/c"])
@pytest.mark.parametrize("without_id", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_resources_of_two_types_that_one_name_is_given_are_two(
    tmp_path: Path, kind: str, without_id: bool, url: str
) -> None:
    both = [condition("c", "Patient/a"), OBSERVATION]
    listed = [{"fullUrl": url, "resource": nameless(one) if without_id else one} for one in both]
    text = entries(kind, {"fullUrl": "urn:x:p", "resource": patient("a")}, *listed)
    data = write(tmp_path / "data", {"x.json": text, "Patient.ndjson": lines(patient("b"))})
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT, MEASURED), data, tmp_path):
        assert found["Patient/a"] == ("excluded", "not met", "met"), way
        assert found["Patient/b"] == ("excluded", "met", "not met"), way
        told = [(one.code, one.severity, one.entry) for one in problems]
        assert told == [("malformed-bundle", "warning", 2)], way


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_a_patient_bears_is_the_patients(tmp_path: Path, kind: str, first: bool) -> None:
    listed = [{"fullUrl": URN, "resource": condition("c", URN)}, {"fullUrl": URN, "resource": patient("a")}]
    data = write(tmp_path / "data", {"x.json": entries(kind, *(listed[::-1] if first else listed))})
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT, BORN), data, tmp_path):
        assert found == {"Patient/a": ("excluded", "not met", "met")}, way
        assert [(one.code, one.severity) for one in problems] == [("malformed-bundle", "warning")], way


def test_bundles_that_give_one_name_to_resources_of_two_types_are_told_apart(tmp_path: Path) -> None:
    files = {
        "a.json": entries(
            "searchset", {"resource": patient("a")}, {"fullUrl": URN, "resource": condition("c", "Patient/a")}
        ),
        "b.json": entries("searchset", {"fullUrl": URN, "resource": OBSERVATION}),
    }
    data = write(tmp_path / "data", files)
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT, MEASURED), data, tmp_path):
        assert found == {"Patient/a": ("excluded", "not met", "met")}, way
        assert problems == [], way


@pytest.mark.parametrize("url", ["Patient/1", "/Patient/1", "http://s/fhir/Patient/1", "Patient/1/"])
@pytest.mark.parametrize("kind", ["transaction", "batch", "history"])
@pytest.mark.parametrize("full_url", [None, URN])
def test_a_resource_without_an_id_has_the_one_that_it_is_written_to(
    tmp_path: Path, kind: str, url: str, full_url: str | None
) -> None:
    named: Resource = {} if full_url is None else {"fullUrl": full_url}
    listed = [
        {**named, "resource": nameless(patient("1")), "request": {"method": "PUT", "url": url}},
        {
            "resource": nameless(condition("9", full_url or "Patient/1")),
            "request": {"method": "PUT", "url": "Condition/9"},
        },
    ]
    files = {"x.json": entries(kind, *listed), "Condition.ndjson": lines(condition("10", "Patient/1", "X"))}
    data = write(tmp_path / "data", files)
    rules = criteria(tmp_path / "criteria", ABSENT, BORN, "Condition.count() = 2")
    for way, found, problems in screened(rules, data, tmp_path):
        assert found == {"Patient/1": ("excluded", "not met", "met", "met")}, way
        assert [(one.code, one.severity) for one in problems] == [("id-of-entry", "warning")], way


@pytest.mark.parametrize(
    ("method", "url"), [("POST", "Patient/1"), ("PUT", "Patient?identifier=x|1"), ("PUT", "Group/1")]
)
def test_other_requests_give_no_id(tmp_path: Path, method: str, url: str) -> None:
    text = entries("transaction", {"resource": nameless(patient("1")), "request": {"method": method, "url": url}})
    data = write(tmp_path / "data", {"x.json": text})
    for way, found, problems in screened(criteria(tmp_path / "criteria", BORN), data, tmp_path):
        (name,) = found
        assert name.startswith("Patient/no-id-"), way
        assert [one.code for one in problems] == ["patient-without-id"], way
