"""Whose a record is: ids and references as they come in the wild, the same on every way of reading; nobody appears whom no record describes and no reference names."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.reader import compartments_of, read_patients
from tests.data.every_way import criteria, outcomes, screened
from tests.shared import shared

Resource = dict[str, Any]
CODE = "Condition.where(code.coding.exists(code = 'WD1')).exists()"
MRN = "http://h.example/mrn"
UUID = "0f5e1a3c-5d0b-4c1e-9a52-7d1c0f3b2a11"


def patient(name: Any, **more: Any) -> Resource:
    return {"resourceType": "Patient", "id": name, **more}


def condition(name: str, subject: Any = None) -> Resource:
    coded = {"coding": [{"system": "http://example.org/cs", "code": "WD1"}]}
    found: Resource = {"resourceType": "Condition", "id": name, "code": coded}
    return found if subject is None else {**found, "subject": subject}


def reference(text: Any) -> Resource:
    return {"reference": text}


def write(folder: Path, form: str, *resources: Resource) -> Path:
    """The resources as lines, as one bundle, or as bundles in lines."""
    folder.mkdir()
    if form == "lines":
        text = "".join(json.dumps(one) + "\n" for one in resources)
        (folder / "all.ndjson").write_text(text, "utf-8")
        return folder
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]}
    name = "b.json" if form == "bundle" else "b.ndjson"
    (folder / name).write_text(json.dumps(bundle) + "\n", "utf-8")
    return folder


FORMS = ("lines", "bundle", "bundle in a line")
# ids as they stand in JSON, and what refers to them by type and id
IDS: list[Any] = [
    "pat_1",
    "e" + "a1B.-" * 20,
    "CV:11:SECT:22",
    "a%20b",
    "100%",
    "x~y",
    "p@h",
    "a+b=c",
    "urn:uuid:" + UUID,
    7,
    70000000000000000000000000,
    "plain",
    "0",
    "ä-1",
    "two words",
    "a,b",
    "a/b",
]


@pytest.mark.parametrize("form", FORMS)
def test_ids_in_the_wild(tmp_path: Path, form: str) -> None:
    listed = [patient(one) for one in IDS] + [condition(f"c{n}", reference(f"Patient/{i}")) for n, i in enumerate(IDS)]
    rules = criteria(tmp_path / "criteria", CODE)
    for way, found, problems in screened(rules, write(tmp_path / "data", form, *listed, patient("else")), tmp_path):
        expected = {f"Patient/{one}": ("included", "met") for one in IDS} | {"Patient/else": ("excluded", "not met")}
        assert found == expected, way
        told = {(p.code, p.severity, p.resource) for p in problems if p.code == "odd-id"}
        # once a file and kind, with the first of its kind
        assert told == {("odd-id", "warning", f"Patient/{one}") for one in (IDS[0], IDS[1], 7)}, way
        (characters,) = [p.message for p in problems if p.code == "odd-id" and "characters that" in p.message]
        assert (
            characters
            == "12 Patients of this file have an id with characters that FHIR does not allow: 'pat_1', the first of them"
        )
        assert not [p for p in problems if p.severity == "error"], way


def test_ids_are_counted_once_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in "ab":
        lines = [json.dumps(patient(f"{name}_{number}")) for number in range(3)]
        (folder / f"{name}.ndjson").write_text("\n".join(lines), "utf-8")
    for way, found, problems in screened(criteria(tmp_path / "criteria", CODE), folder, tmp_path):
        assert len(found) == 6
        told = [(Path(p.file or "").name, p.line, p.resource, p.message[:12]) for p in problems]
        expected = [(f"{name}.ndjson", 1, f"Patient/{name}_0", "3 Patients o") for name in "ab"]
        assert told == expected, way


# what stands for the id in `{}` means the patient by one reading, and what is told of it
SPELLINGS: list[tuple[Any, str | None]] = [
    ("Patient/{}", None),
    ("Patient/{}/_history/3", None),
    ("http://h.example/fhir/Patient/{}", None),
    ("http://other.example/r4/Patient/{}/_history/1", None),
    ("/Patient/{}", "slashes"),
    ("Patient/{}/", "slashes"),
    ("Patient//{}", "slashes"),
    ("Patient\\{}", "slashes"),
    ("Patient/{}/_history/", "slashes"),
    ("http://h.example/fhir/Patient/{}/", "slashes"),
    ("patient/{}", "letters"),
    ("PATIENT/{}", "letters"),
    (" Patient/{} ", "spaces"),
    ("Patient/{}\n", "spaces"),
    ("\u00a0Patient/{}", "spaces"),
    ("{}", "without a type"),
    ("Patient/{}?_format=json", "behind the id"),
    ("Patient/{}#name", "behind the id"),
    ("fhir/Patient/{}", "path"),
    ("../Patient/{}", "path"),
    ("Patient?_id={}", "search"),
    ("Patient%2F{}", "percent"),
    ({"type": "Patient", "reference": "{}"}, "without a type"),
    ("as a text", "in place of a Reference"),
]


def spelled(spelling: Any, identifier: str) -> Any:
    """The value of a subject."""
    if spelling == "as a text":
        return f"Patient/{identifier}"
    if isinstance(spelling, dict):
        return {name: text.replace("{}", identifier) for name, text in spelling.items()}
    return reference(spelling.replace("{}", identifier))


@pytest.mark.parametrize("form", FORMS)
def test_odd_references_are_read_as_what_they_can_only_mean(tmp_path: Path, form: str) -> None:
    names = [f"p{number}" for number in range(len(SPELLINGS))]
    records = [condition(f"c{n}", spelled(one, names[n])) for n, (one, _) in enumerate(SPELLINGS)]
    listed = [*map(patient, names), *records, patient("else")]
    rules = criteria(tmp_path / "criteria", CODE)
    for way, found, problems in screened(rules, write(tmp_path / "data", form, *listed), tmp_path):
        expected = {f"Patient/{name}": ("included", "met") for name in names}
        assert found == expected | {"Patient/else": ("excluded", "not met")}, way
        assert {(p.code, p.severity) for p in problems} == {("odd-reference", "warning")}, way
        kinds = Counter(kind for _, kind in SPELLINGS if kind is not None)
        for kind, count in kinds.items():
            (message,) = [p.message for p in problems if kind in p.message.partition(":")[0]]
            assert message.startswith(f"{count} references" if count > 1 else "a reference "), (way, kind, message)


NOBODY: list[tuple[Any, str]] = [
    (reference("p1"), "'p1'"),  # no patient has that id
    (reference("/Patient/p1"), "'/Patient/p1'"),
    (reference("patient/p1"), "'patient/p1'"),
    (reference("Patient?identifier=s|9"), "'Patient?identifier=s|9'"),
    (reference("Patient?name=Chalmers"), "'Patient?name=Chalmers'"),
    (reference("Patient?identifier=a|1,b|2"), "'Patient?identifier=a|1,b|2'"),
    (reference("Patient"), "'Patient'"),
    (reference("Patient/"), "'Patient/'"),
    (reference("Patient/p,Patient/q"), "'Patient/p,Patient/q'"),
    (reference("urn:uuid:" + UUID), "urn:uuid:"),
    (reference("urn:oid:1.2.3"), "urn:oid:1.2.3"),
    (reference("http://example.org/people/7"), "people/7"),
    (reference("#p"), "'#p'"),
    (reference(["Patient/else"]), "Patient/else"),
    ({"identifier": {"system": MRN, "value": "9"}}, f"{MRN}|9"),
    ({"identifier": {"value": "9"}}, "'9' without a system"),
    ({"identifier": {"system": MRN}}, MRN),
    ("nobody", "'nobody'"),
]


@pytest.mark.parametrize("form", FORMS)
def test_a_reference_that_means_nobody_makes_no_patient(tmp_path: Path, form: str) -> None:
    records = [condition(f"c{number}", subject) for number, (subject, _) in enumerate(NOBODY)]
    folder = write(tmp_path / "data", form, patient("else"), *records)
    for way, found, problems in screened(criteria(tmp_path / "criteria", CODE), folder, tmp_path, tolerate=100):
        assert found == {"Patient/else": ("excluded", "not met")}, way
        errors = {p.resource: p for p in problems if p.severity == "error"}
        assert len(errors) == len([p for p in problems if p.severity == "error"]) == len(NOBODY), way
        for number, (_, shown) in enumerate(NOBODY):
            problem = errors[f"Condition/c{number}"]
            assert problem.code == "no-patient" and shown in problem.message, (way, problem.message)


def test_who_is_known_by_references_only_is_told(tmp_path: Path) -> None:
    records = [condition("a", reference("Patient/x")), condition("b", reference("/Patient/x"))]
    odd = condition("c", reference("http://h.example/fhir/Patient/y_1"))
    folder = write(tmp_path / "data", "lines", patient("else"), *records, odd)
    for way, found, problems in screened(criteria(tmp_path / "criteria", CODE), folder, tmp_path):
        assert found == {
            "Patient/else": ("excluded", "not met"),
            "Patient/x": ("included", "met"),
            "Patient/y_1": ("included", "met"),
        }, way
        told = {(p.code, p.patient, p.line) for p in problems if p.severity == "error"}
        assert told == {("patient-not-described", "Patient/x", 2), ("patient-not-described", "Patient/y_1", 4)}, way


def test_urns_are_compared_in_any_case(tmp_path: Path) -> None:
    urn = f"urn:uuid:{UUID}"
    entries = [
        {"fullUrl": urn.upper(), "resource": {"resourceType": "Patient", "birthDate": "1950-01-01"}},
        {"fullUrl": "urn:uuid:1", "resource": condition("a", reference(urn))},
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "b.json").write_text(json.dumps(bundle), "utf-8")
    (folder / "c.ndjson").write_text(json.dumps(condition("b", reference(f"URN:uuid:{UUID}"))) + "\n", "utf-8")
    rules = criteria(tmp_path / "criteria", CODE, "Condition.count() = 2")
    for way, found, problems in screened(rules, folder, tmp_path):
        assert found == {urn.upper(): ("included", "met", "met")}, way
        assert {(p.code, Path(p.file or "").name) for p in problems} == {("odd-reference", "c.ndjson")}, way


def test_the_urn_of_an_id_means_the_patient_with_the_id(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", "lines", patient(UUID), condition("a", reference(f"urn:uuid:{UUID.upper()}")))
    for way, found, problems in screened(criteria(tmp_path / "criteria", CODE), folder, tmp_path):
        assert found == {f"Patient/{UUID}": ("included", "met")}, way
        assert [(p.code, p.resource) for p in problems] == [("odd-reference", "Condition/a")], way


def test_an_address_means_a_patient_that_only_a_urn_and_an_id_name(tmp_path: Path) -> None:
    entries = [{"fullUrl": f"urn:uuid:{UUID}", "resource": patient("p1")}]
    folder = tmp_path / "data"
    folder.mkdir()
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    (folder / "b.json").write_text(json.dumps(bundle), "utf-8")
    text = json.dumps(condition("a", reference("http://h.example/fhir/Patient/p1")))
    (folder / "c.ndjson").write_text(text + "\n", "utf-8")
    for way, found, _ in screened(criteria(tmp_path / "criteria", CODE), folder, tmp_path):
        assert found == {"Patient/p1": ("included", "met")}, way


# -- identifiers

BY_IDENTIFIER: list[tuple[Any, bool]] = [
    (reference(f"Patient?identifier={MRN}|77"), True),
    (reference(f"/Patient?identifier={MRN}|77"), True),
    (reference(f"http://h.example/fhir/Patient?identifier={MRN}|77"), True),
    (reference("Patient?identifier=http%3A%2F%2Fh.example%2Fmrn%7C77"), True),
    (reference("Patient?identifier=77"), True),
    (reference("Patient?identifier=|78"), True),
    (reference("Patient?identifier=|77"), False),
    (reference("Patient?identifier=both"), False),
    (reference(f"Patient?identifier={MRN}|"), False),
    (reference(f"Patient?identifier={MRN}|77&gender=male"), False),
    (reference(f"Patient?identifier={MRN}|twice"), False),
    (reference("Patient?identifier=s|a\\|b"), True),
    ({"identifier": {"system": MRN, "value": "77"}}, True),
    ({"identifier": {"system": MRN, "value": 77}}, True),
    ({"identifier": {"value": "78"}}, True),
    ({"identifier": {"value": "77"}}, False),
    ({"type": "Patient", "identifier": {"system": MRN, "value": "twice"}}, False),
    ({"type": "Group", "identifier": {"system": MRN, "value": "77"}}, False),
    ({"reference": "Patient", "identifier": {"system": MRN, "value": "77"}}, True),
    ({"reference": "nobody", "identifier": {"system": MRN, "value": "77"}}, True),
]


@pytest.mark.parametrize("form", FORMS)
def test_identifiers_mean_the_one_patient_who_has_them(tmp_path: Path, form: str) -> None:
    def identifier(value: Any, system: str | None = MRN) -> Resource:
        return {"value": value} if system is None else {"system": system, "value": value}

    people = [
        patient("p", identifier=[identifier("77"), identifier("78", None), identifier("a|b", "s")]),
        patient("q", identifier=[identifier("both"), identifier("twice")]),
        patient("r", identifier=[identifier("both", "http://other.example/mrn"), identifier("twice")]),
    ]
    records = [condition(f"c{number}", subject) for number, (subject, _) in enumerate(BY_IDENTIFIER)]
    linked = [f"Condition/c{number}" for number, (_, known) in enumerate(BY_IDENTIFIER) if known]
    rules = criteria(tmp_path / "criteria", CODE, f"Condition.count() = {len(linked)}")
    folder = write(tmp_path / "data", form, *people, *records)
    for way, found, problems in screened(rules, folder, tmp_path, tolerate=100):
        assert found == {
            "Patient/p": ("included", "met", "met"),
            "Patient/q": ("excluded", "not met", "not met"),
            "Patient/r": ("excluded", "not met", "not met"),
        }, way
        errors = {p.resource: p.message for p in problems if p.severity == "error"}
        # what is about a Group is no patient's
        lost = {f"Condition/c{n}" for n, (_, known) in enumerate(BY_IDENTIFIER) if not known}
        assert errors.keys() == lost - {"Condition/c17"}, way
        assert [p.resource for p in problems if p.code == "no-patient" and p.severity == "warning"] == ["Condition/c17"]
        assert "several patients of the data are called so" in errors["Condition/c10"], way
        assert "several patients of the data are called so" in errors["Condition/c7"], way


def test_a_device_that_means_a_patient_is_not_everybodys(tmp_path: Path) -> None:
    devices = [
        {"resourceType": "Device", "id": "mine", "patient": reference("patient/a")},
        {"resourceType": "Device", "id": "lost", "patient": reference("Patient?identifier=s|9")},
        {"resourceType": "Device", "id": "all", "owner": reference("Organization/o")},
    ]
    folder = write(tmp_path / "data", "lines", patient("a"), patient("b"), *devices)
    rules = criteria(tmp_path / "criteria", "Device.count() = 2", "Device.count() = 1")
    for way, found, problems in screened(rules, folder, tmp_path, tolerate=100):
        assert found == {
            "Patient/a": ("excluded", "met", "not met"),
            "Patient/b": ("excluded", "not met", "met"),
        }, way
        assert [p.resource for p in problems if p.severity == "error"] == ["Device/lost"], way


def test_resources_at_hand_with_odd_ids_stay_as_they_are() -> None:
    given = patient(7)
    problems: list[Problem] = []
    (found,) = compartments_of([given, condition("c", reference("Patient/7"))], on_problem=problems.append)
    assert found.reference == "Patient/7" and [one["id"] for one in found.of_type("Condition")] == ["c"]
    assert found.patient == {"resourceType": "Patient", "id": "7"} and given["id"] == 7
    assert [p.code for p in problems] == ["odd-id"]


# -- the inputs beside the checkout

INCLUDED = (
    "idunder",
    "idunderb",
    "idlong",
    "idcolon",
    "condref",
    "refslash",
    "reflower",
    "refspace",
    "refbare",
    "nofull",
)


@pytest.mark.parametrize("name", INCLUDED)
def test_shared_cases(tmp_path: Path, name: str) -> None:
    rules = fhir_eligibility.load_criteria(shared("faults", "data", "crit", "basic"))
    for way, found, problems in screened(rules, shared("faults", "data", "t", name), tmp_path):
        assert [row[0] for row in found.values()] == ["included"], way
        assert all(p.severity == "warning" for p in problems), way
        assert bool(problems) is (name not in ("condref", "nofull")), way


@pytest.mark.parametrize("name", ["anon1.json", "paramtwo"])
def test_shared_patients_without_an_id(tmp_path: Path, name: str) -> None:
    rules = fhir_eligibility.load_criteria(shared("faults", "data", "crit", "basic"))
    data = shared("faults", "data", "t", name)
    again = list(read_patients([data], model=load_model("r4"), on_problem=lambda problem: None))
    expected = outcomes(fhir_eligibility.screen(rules, again, now="2026-06-01"))
    assert len(expected) == (1 if name == "anon1.json" else 2)
    for way, found, problems in screened(rules, data, tmp_path):
        assert found == expected, way
        assert {p.resource for p in problems if p.code == "patient-without-id"} == set(found), way


def test_shared_odd_ids(tmp_path: Path) -> None:
    folder = shared("faults", "data", "odd", "noid")
    rules = fhir_eligibility.load_criteria(folder / "ev.json")
    for part, count in (("d", 8), ("e", 1), ("f", 1)):
        for way, found, problems in screened(rules, folder / part, tmp_path / part):
            assert len(found) == count, (way, part)
            unnamed = [name for name in found if name.startswith("Patient/no-id-")]
            assert sorted(p.resource or "" for p in problems if p.code == "patient-without-id") == sorted(unnamed), way
            assert len(unnamed) == {"d": 5, "e": 1, "f": 1}[part], way


def test_shared_odd_identifier(tmp_path: Path) -> None:
    folder = shared("faults", "data", "odd", "idsys")
    rules = fhir_eligibility.load_criteria(folder / "ev.json")
    for way, found, _ in screened(rules, folder / "d", tmp_path):
        assert list(found) == ["Patient/p1"], way


def test_a_record_that_names_several_whom_nobody_knows_is_one_record(tmp_path: Path) -> None:
    audit = {
        "resourceType": "AuditEvent",
        "id": "a",
        "agent": [{"who": {"identifier": {"value": str(number)}}, "requestor": True} for number in range(3)],
        "source": {"observer": {"display": "x"}},
    }
    data = write(tmp_path / "data", "lines", patient("p"), audit)
    rules = criteria(tmp_path / "c", "AuditEvent.exists() or Patient.managingOrganization.resolve().exists()")
    for way, found, problems in screened(rules, data, tmp_path):
        assert [p.code for p in problems if p.code == "duplicate"] == [], way
        assert found["Patient/p"] == ("excluded", "not met") or found["Patient/p"] == ("undetermined", "unknown"), way
