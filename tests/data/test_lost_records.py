"""Records that are lost: whose they may have been, and of which type, so that nobody's answer rests on data that did not arrive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.every_way import criteria, screened

Resource = dict[str, Any]
ABSENT = "Condition.where(code.coding.exists(code = 'WD1')).exists().not()"
BORN = "birthDate < @1970-01-01"


def patient(name: str, **more: Any) -> Resource:
    return {"resourceType": "Patient", "id": name, "birthDate": "1950-01-01", **more}


def condition(name: str, subject: str, code: str = "WD1") -> Resource:
    coded = {"coding": [{"system": "http://example.org/cs", "code": code}]}
    return {"resourceType": "Condition", "id": name, "subject": {"reference": subject}, "code": coded}


def bundle(kind: str, *resources: Resource, urls: tuple[str, ...] = ()) -> Resource:
    entries: list[Resource] = [{"resource": one} for one in resources]
    for entry, url in zip(entries, urls, strict=False):
        entry["fullUrl"] = url
    return {"resourceType": "Bundle", "type": kind, "entry": entries}


def lines(*listed: Resource | str) -> str:
    return "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in listed)


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    return folder


CUT = json.dumps(condition("c", "Patient/a"))[:20]
LOST_LINES = {
    "cut before its type": CUT,
    "without a type": json.dumps({"id": "c", "subject": {"reference": "Patient/a"}}),
    "of no type that FHIR has": json.dumps({**condition("c", "Patient/a"), "resourceType": "Foo"}),
    "of a type in other letters": json.dumps({**condition("c", "Patient/a"), "resourceType": "condition"}),
    "in an array": json.dumps([None]),
}


@pytest.mark.parametrize("text", LOST_LINES.values(), ids=LOST_LINES.keys())
def test_the_file_of_one_patient_does_not_tell_of_which_type_a_lost_record_was(tmp_path: Path, text: str) -> None:
    data = write(tmp_path / "data", {"1.ndjson": lines(patient("a"), text), "2.ndjson": lines(patient("b"))})
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert found["Patient/a"] == ("undetermined", "unknown"), way
        assert "error" in {one.severity for one in problems}, way


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("x.ndjson", 12, ("included", "not unknown")),
        ("x.ndjson", 3, ("undetermined", "unknown")),
        ("Patient.ndjson", 3, ("included", "not unknown")),
        ("Condition.ndjson", 12, ("undetermined", "unknown")),
    ],
)
def test_a_type_is_told_by_the_name_of_a_file_or_by_many_lines(
    tmp_path: Path, name: str, number: int, expected: tuple[str, str]
) -> None:
    listed = [patient(f"p{n}") for n in range(number)]
    data = write(tmp_path / "data", {name: lines(*listed, CUT)})
    for way, found, _ in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        verdict, outcome = found["Patient/p0"]
        assert (verdict, outcome if outcome == "unknown" else "not unknown") == expected, way


@pytest.mark.parametrize("kind", ["searchset", "history", "batch", "batch-response"])
@pytest.mark.parametrize("with_patient", [True, False])
def test_a_bundle_that_is_cut_short_may_go_on_with_other_patients(
    tmp_path: Path, kind: str, with_patient: bool
) -> None:
    first = [patient("a"), condition("c1", "Patient/a")] if with_patient else [condition("c1", "Patient/a")]
    text = json.dumps(bundle(kind, *first, condition("c2", "Patient/b")))
    cut = text[: text.index('"id": "c2"') - 40]
    data = write(tmp_path / "data", {"all.ndjson": lines(patient("a"), patient("b")), "x.json": cut})
    for way, found, _ in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert found == dict.fromkeys(("Patient/a", "Patient/b"), ("undetermined", "unknown")), way


def test_a_document_of_one_patient_that_is_cut_short_is_that_patients(tmp_path: Path) -> None:
    text = json.dumps(bundle("document", patient("a"), condition("c1", "Patient/a")))
    data = write(tmp_path / "data", {"all.ndjson": lines(patient("a"), patient("b")), "x.json": text[:-90]})
    for way, found, _ in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert found == {"Patient/a": ("undetermined", "unknown"), "Patient/b": ("included", "met")}, way


@pytest.mark.parametrize("damage", ["cut", "flipped", "long"])
@pytest.mark.parametrize("kind", ["collection", "transaction", "document"])
def test_a_damaged_bundle_with_its_patient_leaves_others_alone(tmp_path: Path, kind: str, damage: str) -> None:
    """As in a folder of one bundle a patient: nobody else is in doubt, and there is no verdict on whom nothing describes."""
    texts = [json.dumps(bundle(kind, patient(name), condition(f"c{name}", f"Patient/{name}"))) for name in "ab"]
    damaged = texts[0][:-90] if damage != "flipped" else texts[0].replace('"Condition", "id"', '"Condition"; "id"')
    damaged = damaged.replace('"ca"', f'"ca", "language": "{70_000 * "x"}"') if damage == "long" else damaged
    data = write(tmp_path / "data", {"a.json": damaged, "b.json": texts[1], "c.ndjson": lines(patient("c"))})
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert found == {"Patient/b": ("excluded", "not met"), "Patient/c": ("included", "met")}, way
        assert [(one.code, one.patient) for one in problems] == [("invalid-json", "Patient/a")], way


def test_a_damaged_bundle_without_its_patient_may_be_anybodys(tmp_path: Path) -> None:
    text = json.dumps(bundle("collection", condition("ca", "Patient/a"))).replace(
        '"Condition", "id"', '"Condition"; "id"'
    )
    data = write(tmp_path / "data", {"a.json": text, "c.ndjson": lines(patient("c"))})
    for way, found, _ in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert found == {"Patient/c": ("undetermined", "unknown")}, way


@pytest.mark.parametrize("kept", ["Pat", "Patient", 'Patient", "id', 'Patient", "meta": {}, "id": "b"'])
def test_a_bundle_that_is_cut_in_another_patient_is_not_of_one_patient(tmp_path: Path, kept: str) -> None:
    text = json.dumps(bundle("collection", patient("a"), condition("ca", "Patient/a")))[:-2]
    cut = text + ', {"resource": {"resourceType": "' + kept
    data = write(tmp_path / "data", {"a.json": cut, "b.ndjson": lines(patient("b"))})
    for way, found, _ in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert found == {"Patient/b": ("undetermined", "unknown")}, way


URN = "urn:uuid:0f5e1a3c-5d0b-4c1e-9a52-7d1c0f3b2a11"


@pytest.mark.parametrize("kind", ["collection", "searchset", "transaction"])
def test_bundles_that_name_their_patients_by_one_urn_stay_apart(tmp_path: Path, kind: str) -> None:
    files = {
        "a.json": json.dumps(bundle(kind, patient("a"), condition("c1", URN), urls=(URN, "urn:x:1"))),
        "b.json": json.dumps(bundle(kind, patient("b"), condition("c2", URN, "X"), urls=(URN, "urn:x:2"))),
    }
    data = write(tmp_path / "data", files)
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT, BORN), data, tmp_path):
        expected = {"Patient/a": ("excluded", "not met", "met"), "Patient/b": ("included", "met", "met")}
        assert found == expected, way
        assert not [one for one in problems if one.severity == "error"], way


def test_what_refers_to_a_urn_of_several_patients_from_elsewhere_is_nobodys(tmp_path: Path) -> None:
    files = {
        "a.json": json.dumps(bundle("collection", patient("a"), urls=(URN,))),
        "b.json": json.dumps(bundle("collection", patient("b"), urls=(URN,))),
        "Condition.ndjson": lines(condition("c", URN)),
    }
    data = write(tmp_path / "data", files)
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT, BORN), data, tmp_path):
        assert found == dict.fromkeys(("Patient/a", "Patient/b"), ("undetermined", "unknown", "met")), way
        assert [one.code for one in problems if one.severity == "error"] == ["no-patient"], way


def test_a_patient_without_id_is_not_lost_with_records_whose_patient_is_in_doubt(tmp_path: Path) -> None:
    nameless = {"resourceType": "Patient", "birthDate": "1950-01-01", "identifier": [{"value": "M1"}]}
    about = {**condition("c", ""), "subject": {"identifier": {"value": "M1"}}}
    nobodys = {key: value for key, value in about.items() if key != "subject"}
    data = write(tmp_path / "data", {"all.ndjson": lines(nameless, patient("b"), nobodys, about)})
    for way, found, _ in screened(criteria(tmp_path / "criteria", ABSENT, BORN), data, tmp_path):
        assert sorted(found.values()) == [("undetermined", "unknown", "met")] * 2, way


@pytest.mark.parametrize("kind", ["collection", "searchset"])
def test_a_resource_in_the_place_of_its_entry_is_an_error(tmp_path: Path, kind: str) -> None:
    unwrapped = {"resourceType": "Bundle", "type": kind, "entry": [condition("c", "Patient/a")]}
    people = lines(patient("a"), patient("b"))
    data = write(tmp_path / "data", {"x.json": json.dumps(unwrapped), "Patient.ndjson": people})
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert found == {"Patient/a": ("undetermined", "unknown"), "Patient/b": ("included", "met")}, way
        (told,) = problems
        assert (told.code, told.severity, told.resource, told.patient) == (
            "malformed-bundle",
            "error",
            "Condition/c",
            "Patient/a",
        ), way


def batch(*found: Resource) -> Resource:
    return bundle("batch-response", *(bundle("searchset", one) for one in found))


def parameters(*found: Resource) -> Resource:
    return {"resourceType": "Parameters", "parameter": [{"name": "return", "resource": one} for one in found]}


def deep(*found: Resource) -> Resource:
    return bundle("collection", *(parameters(bundle("collection", one)) for one in found))


@pytest.mark.parametrize("inside", [batch, parameters, deep, lambda *found: list(found)])
@pytest.mark.parametrize("name", ["x.json", "x.ndjson"])
def test_versions_in_bundles_and_parameters_within_others_are_told_apart(
    tmp_path: Path, inside: Any, name: str
) -> None:
    text = json.dumps(inside(condition("c", "Patient/a"), condition("c", "Patient/a", "X")))
    data = write(tmp_path / "data", {"Patient.ndjson": lines(patient("a")), name: text})
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert found == {"Patient/a": ("undetermined", "unknown")}, way
        assert {one.code for one in problems} == {"conflicting-versions"}, way


@pytest.mark.parametrize("reference", ["patient/a", "a", "Patient/a/"])
def test_an_odd_reference_that_means_patients_of_two_servers_leaves_both_open(tmp_path: Path, reference: str) -> None:
    files = {
        f"{server}.json": json.dumps(bundle("searchset", patient("a"), urls=(f"http://{server}/fhir/Patient/a",)))
        for server in ("s1", "s2")
    }
    data = write(tmp_path / "data", {**files, "x.ndjson": lines(patient("b"), condition("c", reference))})
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        others = {"Patient/b": ("included", "met")}
        assert found == {
            **{f"http://{one}/fhir/Patient/a": ("undetermined", "unknown") for one in ("s1", "s2")},
            **others,
        }, way
        assert [one.code for one in problems if one.severity == "error"] == ["no-patient"], way


@pytest.mark.parametrize("described", [True, False])
def test_a_lost_record_of_a_patient_whom_only_references_name_may_be_anybodys(tmp_path: Path, described: bool) -> None:
    listed = [condition("c1", "Patient/a", "X"), {**condition("c2", "Patient/a"), "resourceType": "Foo"}]
    data = write(tmp_path / "data", {"x.ndjson": lines(*listed, *([patient("b")] if described else []))})
    expected = {"Patient/a": ("undetermined", "unknown")}
    for way, found, _ in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert found == ({**expected, "Patient/b": ("undetermined", "unknown")} if described else expected), way


OLD, NEW = ({"identifier": [{"system": "http://h.example/mrn", "value": value}]} for value in ("M1", "M2"))


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("subject", [{"identifier": OLD["identifier"][0]}, {"reference": "Patient?identifier=M1"}])
def test_records_that_go_by_an_identifier_of_an_earlier_version_are_not_lost(
    tmp_path: Path, told: bool, subject: Resource
) -> None:
    times = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")
    versions = [
        patient("a", **known, **({"meta": {"lastUpdated": time}} if told else {}))
        for known, time in zip((OLD, NEW), times, strict=True)
    ]
    listed = [*versions, patient("b"), {**condition("c", ""), "subject": subject}]
    data = write(tmp_path / "data", {"x.ndjson": lines(*listed)})
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert found["Patient/b"] == ("included", "met"), way
        assert found["Patient/a"][1] == ("not met" if told else "unknown"), way
        assert {one.code for one in problems if one.severity == "error"} == (
            set() if told else {"conflicting-versions"}
        ), way


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("Condition.xml", "<Condition xmlns='http://hl7.org/fhir'/>"),
        ("Condition.csv", "id,subject\n1,a\n"),
        ("2026 Condition export.txt", "see the other server"),
    ],
)
@pytest.mark.parametrize("others", [False, True])
def test_a_type_that_stands_in_a_file_alone_which_is_not_read_is_incomplete(
    tmp_path: Path, name: str, what: str, others: bool
) -> None:
    read = [condition("c", "Patient/a", "X")] if others else []
    data = write(tmp_path / "data", {"x.ndjson": lines(patient("a"), *read), name: what})
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT, BORN), data, tmp_path):
        expected = ("included", "met", "met") if others else ("undetermined", "unknown", "met")
        assert found == {"Patient/a": expected}, way
        told = [(one.code, one.type, Path(one.file or "").name) for one in problems if one.severity == "error"]
        assert told == ([] if others else [("type-not-read", "Condition", name)]), way
