"""Bundles written from one pattern, whose entries bear the urns of other bundles' entries: resources of several ids are several things, and a urn means the one of its own bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.every_way import criteria, screened
from tests.data.test_lost_records import ABSENT, Resource, condition, lines, patient, write

ONE, OTHER = "urn:uuid:aaaaaaaa-5d0b-4c1e-9a52-7d1c0f3b2a12", "urn:uuid:bbbbbbbb-5d0b-4c1e-9a52-7d1c0f3b2a12"
URN = "urn:uuid:0f5e1a3c-5d0b-4c1e-9a52-7d1c0f3b2a12"
FOLLOWED = "Condition.where(encounter.resolve().status = 'finished').exists()"
HERE, THERE, UNKNOWN = ("included", "met"), ("excluded", "not met"), ("undetermined", "unknown")


def without_id(resource: Resource) -> Resource:
    return {name: value for name, value in resource.items() if name != "id"}


def encounter(name: str, subject: str, status: str) -> Resource:
    about = {"subject": {"reference": subject}, "class": {"code": "AMB"}}
    found = {"resourceType": "Encounter", "id": name, "status": status, **about}
    return found if name else without_id(found)


def at_encounter(name: str, subject: str, urn: str = URN) -> Resource:
    return {**condition(name, subject, "X"), "encounter": {"reference": urn}}


def bundle(kind: str, *entries: tuple[str | None, Resource]) -> str:
    listed = [{"resource": one} if url is None else {"fullUrl": url, "resource": one} for url, one in entries]
    return json.dumps({"resourceType": "Bundle", "type": kind, "entry": listed})


@pytest.mark.parametrize("kind", ["document", "collection", "transaction", "searchset"])
@pytest.mark.parametrize("second", [ONE, OTHER], ids=["patients of one urn", "patients of two"])
@pytest.mark.parametrize("ids", [True, False], ids=["with ids", "without"])
def test_records_of_different_patients_at_one_urn_are_several(
    tmp_path: Path, kind: str, second: str, ids: bool
) -> None:
    one, other = condition("c1", ONE), condition("c2", second, "X")
    if not ids:
        one, other = without_id(one), without_id(other)
    files = {
        "a.json": bundle(kind, (ONE, patient("a")), (URN, one)),
        "b.json": bundle(kind, (second, patient("b")), (URN, other)),
    }
    data = write(tmp_path / "data", files)
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert found == {"Patient/a": THERE, "Patient/b": HERE}, way
        assert problems == [], way


@pytest.mark.parametrize("ids", [("e1", "e2"), ("", "")], ids=["with ids", "without"])
@pytest.mark.parametrize("second", [ONE, OTHER], ids=["patients of one urn", "patients of two"])
def test_a_urn_means_the_entry_of_its_own_bundle(tmp_path: Path, ids: tuple[str, str], second: str) -> None:
    files = {
        "a.json": bundle(
            "collection",
            (ONE, patient("a")),
            (URN, encounter(ids[0], ONE, "finished")),
            (None, at_encounter("c1", ONE)),
        ),
        "b.json": bundle(
            "collection",
            (second, patient("b")),
            (URN, encounter(ids[1], second, "planned")),
            (None, at_encounter("c2", second)),
        ),
    }
    data = write(tmp_path / "data", files)
    for way, found, problems in screened(criteria(tmp_path / "criteria", FOLLOWED), data, tmp_path):
        assert found == {"Patient/a": HERE, "Patient/b": THERE}, way
        assert problems == [], way


def test_a_urn_of_several_things_means_none_of_them_elsewhere(tmp_path: Path) -> None:
    files = {
        "a.json": bundle("collection", (ONE, patient("a")), (URN, encounter("e1", ONE, "finished"))),
        "b.json": bundle("collection", (OTHER, patient("b")), (URN, encounter("e2", OTHER, "planned"))),
        "c.ndjson": lines(at_encounter("c", "Patient/a")),
    }
    data = write(tmp_path / "data", files)
    for way, found, _ in screened(criteria(tmp_path / "criteria", FOLLOWED), data, tmp_path):
        assert found == {"Patient/a": UNKNOWN, "Patient/b": THERE}, way


@pytest.mark.parametrize("second", [patient("b"), without_id(patient("b"))], ids=["with an id", "without"])
def test_one_record_in_bundles_of_patients_of_one_urn_is_in_doubt_for_both_and_nothing_else_is_lost(
    tmp_path: Path, second: Resource
) -> None:
    files = {
        "a.json": bundle(
            "collection", (ONE, patient("a")), (URN, condition("c1", ONE)), (None, condition("k", ONE, "Q"))
        ),
        "b.json": bundle("collection", (ONE, second), (URN, condition("c1", ONE, "X"))),
    }
    data = write(tmp_path / "data", files)
    other = "Condition.where(code.coding.code = 'Q').exists()"
    name = f"Patient/{second['id']}" if "id" in second else ONE
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT, other), data, tmp_path):
        assert found == {
            "Patient/a": ("undetermined", "unknown", "met"),
            name: ("excluded", "met", "not met"),
        }, way
        assert {one.code for one in problems} == {"conflicting-versions"}, way


def test_a_bundle_that_was_sent_twice_counts_once(tmp_path: Path) -> None:
    text = bundle("document", (ONE, patient("a")), (URN, without_id(condition("c", ONE))))
    data = write(tmp_path / "data", {"a.json": text, "b.json": text})
    for way, found, _ in screened(criteria(tmp_path / "criteria", "Condition.count() = 1"), data, tmp_path):
        assert found == {"Patient/a": HERE}, way


@pytest.mark.parametrize("subject", ["Patient/b", "Patient/a"])
@pytest.mark.parametrize("second", [ONE, OTHER], ids=["patients of one urn", "patients of two"])
@pytest.mark.parametrize("kind", ["searchset", "batch"])
def test_patients_at_urns_whose_ids_others_bear_are_called_by_urn_and_id(
    tmp_path: Path, kind: str, second: str, subject: str
) -> None:
    """Which of those that bear a urn is read first changes nothing of what they are called."""
    files = {
        "a.json": bundle(kind, (None, patient("a")), (ONE, patient("b"))),
        "b.json": bundle(kind, (second, patient("a")), (None, condition("c1", subject))),
        "c.json": bundle(kind, (None, patient("b")), (None, patient("c"))),
    }
    expected = {"Patient/a", "Patient/b", "Patient/c", f"{ONE}#b", f"{second}#a"}
    rules = criteria(tmp_path / "criteria", ABSENT)
    for number, order in enumerate(("abc", "bca", "cba", "on lines")):
        listed = {f"{place}.json": files[f"{name}.json"] for place, name in enumerate(order) if order != "on lines"}
        listed = listed or {"all.ndjson": "".join(f"{text}\n" for text in files.values())}
        data = write(tmp_path / f"data{number}", listed)
        seen = []
        for way, found, _ in screened(rules, data, tmp_path / f"out{number}"):
            assert set(found) == expected, (way, order)
            seen.append(found)
        assert all(found == seen[0] for found in seen), order


ACCOUNT = {"resourceType": "Account", "id": "x", "status": "active", "subject": [{"reference": "Patient/zz"}]}
PROCEDURE = {"resourceType": "Procedure", "id": "x", "status": "completed", "subject": {"reference": "Patient/zz"}}


@pytest.mark.parametrize("unread", [ACCOUNT, PROCEDURE], ids=["Account", "Procedure"])
def test_who_is_named_only_by_records_that_no_criterion_reads_has_no_row(tmp_path: Path, unread: Resource) -> None:
    data = write(tmp_path / "data", {"all.ndjson": lines(patient("a"), unread)})
    for way, found, _ in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert found == {"Patient/a": HERE}, way


def test_who_is_named_by_a_record_that_a_criterion_reads_has_a_row(tmp_path: Path) -> None:
    data = write(tmp_path / "data", {"all.ndjson": lines(patient("a"), ACCOUNT, condition("c", "Patient/zz"))})
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert found == {"Patient/a": HERE, "Patient/zz": THERE}, way
        assert [one.code for one in problems] == ["patient-not-described"], way


def test_an_entry_that_gives_a_patient_the_address_of_another_id_is_told(tmp_path: Path) -> None:
    """One byte of an id is another one: the Patient has the id of somebody else, at an address of its own."""
    server = "http://one.example/Patient"
    texts = [
        bundle("collection", (f"{server}/a", patient("a")), (None, condition("c1", "Patient/a"))),
        bundle("collection", (f"{server}/b", patient("a")), (None, condition("c2", "Patient/a", "X"))),
        bundle("collection", (f"{server}/c/_history/2", patient("c"))),
    ]
    for number, files in enumerate(
        ({"all.ndjson": "\n".join(texts)}, dict(zip(("a.json", "b.json", "c.json"), texts, strict=True)))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        data = write(folder / "data", files)
        for way, found, problems in screened(criteria(folder / "criteria", ABSENT), data, folder):
            assert found == {f"{server}/a": THERE, f"{server}/b": HERE, "Patient/c": HERE}, way
            (told,) = (one for one in problems if one.code == "odd-id")
            assert (told.resource, told.severity, told.element) == ("Patient/a", "warning", "Patient.id"), way
            assert (
                told.message
                == "a Patient of this file has another id than the address that its entry gives it (fullUrl): 'a'"
            )
