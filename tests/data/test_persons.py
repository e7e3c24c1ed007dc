"""Which Patients are one person: linked to each other, created under one condition, or of one id in two sources - the same on every way of reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.reader import compartments_of
from tests.data.every_way import Outcomes, criteria, screened
from tests.runners.ways import criteria_of
from tests.shared import shared

Resource = dict[str, Any]
CODES = ("a", "b", "c")
MRN = "http://h.example/mrn"
MET, NOT, OPEN = ("included", "met"), ("excluded", "not met"), ("undetermined", "unknown")


def reference(text: str) -> Resource:
    return {"reference": text}


def link(kind: str, to: Any) -> Resource:
    return {"type": kind, "other": reference(to) if isinstance(to, str) else to}


def patient(name: str | None, *links: Resource, **more: Any) -> Resource:
    found: Resource = {"resourceType": "Patient", **({} if name is None else {"id": name}), **more}
    return {**found, "link": list(links)} if links else found


def condition(name: str, about: Any) -> Resource:
    subject = reference(about) if isinstance(about, str) else about
    coded = {"coding": [{"system": "http://example.org/cs", "code": "WD1"}]}
    return {"resourceType": "Condition", "id": name, "code": coded, "subject": subject}


FORMS = ("lines", "bundle", "a file each")


def write(folder: Path, form: str, *resources: Resource) -> Path:
    folder.mkdir()
    if form == "lines":
        (folder / "all.ndjson").write_text("".join(json.dumps(one) + "\n" for one in resources), "utf-8")
    elif form == "bundle":
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]}
        (folder / "b.json").write_text(json.dumps(bundle), "utf-8")
    else:
        for number, one in enumerate(resources):
            bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one}]}
            (folder / f"{number:02}.json").write_text(json.dumps(bundle), "utf-8")
    return folder


Told = set[tuple[str, str, str | None, str | None]]


def told(problems: list[Problem]) -> Told:
    """Code, severity, resource and patient of each."""
    return {(p.code, p.severity, p.resource, p.patient) for p in problems}


def check(
    tmp_path: Path, form: str, resources: list[Resource], expected: Outcomes, problems: Told, *, merge: bool = False
) -> None:
    rules = criteria(tmp_path / "criteria", "Condition.where(code.coding.exists(code = 'WD1')).exists()")
    folder = write(tmp_path / "data", form, *resources)
    for way, found, listed in screened(rules, folder, tmp_path / "out", merge_linked=merge):
        assert (way, found) == (way, expected)
        assert (way, told(listed)) == (way, problems)


# -- replaced

OLD, NEW = "Patient/old", "Patient/new"
REPLACED = [
    [patient("old", link("replaced-by", NEW), active=False), patient("new", link("replaces", OLD), active=True)],
    [patient("old", link("replaced-by", NEW)), patient("new")],
    [patient("old"), patient("new", link("replaces", OLD))],
    [patient("new", link("replaces", "http://h.example/fhir/Patient/old/_history/2")), patient("old")],
    [patient("new"), patient("old", link("replaced-by", {"identifier": {"system": MRN, "value": "1"}}))],
]
REPLACED[4][0]["identifier"] = [{"system": MRN, "value": "1"}]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("people", REPLACED, ids=["both", "replaced-by", "replaces", "address", "identifier"])
def test_who_was_replaced_is_no_candidate(tmp_path: Path, form: str, people: list[Resource]) -> None:
    listed = [*people, condition("c", OLD), patient("else")]
    problems = {("patient-replaced", "error", OLD, NEW)}
    # what stands with the old one is missing of the new one
    check(tmp_path, form, listed, {NEW: OPEN, "Patient/else": NOT}, problems)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("people", REPLACED, ids=["both", "replaced-by", "replaces", "address", "identifier"])
def test_records_of_who_was_replaced_count_for_the_other(tmp_path: Path, form: str, people: list[Resource]) -> None:
    listed = [*people, condition("c", OLD), patient("else")]
    problems = {("same-patient", "warning", OLD, NEW)}
    check(tmp_path, form, listed, {NEW: MET, "Patient/else": NOT}, problems, merge=True)


@pytest.mark.parametrize("merge", [False, True])
def test_what_the_new_one_has_counts_either_way(tmp_path: Path, merge: bool) -> None:
    problems = {("same-patient", "warning", OLD, NEW)} if merge else {("patient-replaced", "error", OLD, NEW)}
    listed = [*REPLACED[0], condition("c", NEW)]
    check(tmp_path, "lines", listed, {NEW: MET}, problems, merge=merge)


CHAIN = [
    patient("a", link("replaced-by", "Patient/b")),
    patient("b", link("replaced-by", "Patient/c"), link("replaces", "Patient/a")),
    patient("c", link("replaces", "Patient/b")),
]


@pytest.mark.parametrize("form", FORMS)
def test_chains_lead_to_their_end(tmp_path: Path, form: str) -> None:
    listed = [*CHAIN, condition("x", "Patient/a")]
    problems = {("patient-replaced", "error", f"Patient/{name}", "Patient/c") for name in "ab"}
    check(tmp_path / "apart", form, listed, {"Patient/c": OPEN}, problems)
    problems = {("same-patient", "warning", f"Patient/{name}", "Patient/c") for name in "ab"}
    check(tmp_path / "merged", form, listed, {"Patient/c": MET}, problems, merge=True)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    for name in ("apart", "merged"):
        (tmp_path / name).mkdir()


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_in_a_circle_nobody_can_tell_who_is_in_use(tmp_path: Path, form: str, merge: bool) -> None:
    people = [patient("a", link("replaced-by", "Patient/b")), patient("b", link("replaced-by", "Patient/a"))]
    problems = {("patient-replaced", "error", f"Patient/{name}", f"Patient/{name}") for name in "ab"}
    listed = [*people, condition("x", "Patient/a")]
    check(tmp_path, form, listed, {"Patient/a": OPEN, "Patient/b": OPEN}, problems, merge=merge)


@pytest.mark.parametrize("merge", [False, True])
def test_who_was_replaced_by_several_is_not_merged(tmp_path: Path, merge: bool) -> None:
    people = [
        patient("a", link("replaced-by", "Patient/b"), link("replaced-by", "Patient/c")),
        patient("b"),
        patient("c"),
    ]
    problems = {("patient-replaced", "error", "Patient/a", f"Patient/{name}") for name in "bc"}
    listed = [*people, condition("x", "Patient/a"), condition("y", "Patient/c")]
    check(tmp_path, "lines", listed, {"Patient/b": OPEN, "Patient/c": MET}, problems, merge=merge)


def test_a_link_to_oneself_means_nothing(tmp_path: Path) -> None:
    listed = [patient("a", link("replaced-by", "Patient/a"), link("seealso", "Patient/a")), condition("x", "Patient/a")]
    check(tmp_path, "lines", listed, {"Patient/a": MET}, set())


@pytest.mark.parametrize("form", FORMS)
def test_who_replaced_a_patient_may_be_missing(tmp_path: Path, form: str) -> None:
    listed = [patient("a", link("replaced-by", "Patient/gone")), condition("x", "Patient/a"), patient("else")]
    problems: Told = {("patient-replaced", "error", "Patient/a", "Patient/gone")}
    check(tmp_path / "apart", form, listed, {"Patient/else": NOT}, problems)
    problems = {
        ("same-patient", "warning", "Patient/a", "Patient/gone"),
        ("patient-not-described", "error", "Patient/gone", "Patient/gone"),
    }
    check(tmp_path / "merged", form, listed, {"Patient/gone": MET, "Patient/else": NOT}, problems, merge=True)


@pytest.mark.parametrize("merge", [False, True])
def test_who_replaced_a_patient_may_be_unknown(tmp_path: Path, merge: bool) -> None:
    listed = [patient("a", link("replaced-by", "urn:uuid:1")), condition("x", "Patient/a"), patient("else")]
    problems: Told = {("patient-linked", "error", "Patient/a", "Patient/a")}
    check(tmp_path, "lines", listed, {"Patient/else": NOT}, problems, merge=merge)


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_an_identifier_means_who_is_in_use(tmp_path: Path, form: str, merge: bool) -> None:
    has = {"identifier": [{"system": MRN, "value": "7"}]}
    people = [patient("old", link("replaced-by", NEW), **has), patient("new", **has)]
    listed = [*people, condition("x", {"identifier": {"system": MRN, "value": "7"}})]
    problems = {("same-patient", "warning", OLD, NEW)} if merge else {("patient-replaced", "error", OLD, NEW)}
    check(tmp_path, form, listed, {NEW: MET}, problems, merge=merge)


# -- linked, and in use


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["refer", "seealso"])
def test_linked_patients_lack_what_the_other_has(tmp_path: Path, form: str, kind: str) -> None:
    listed = [patient("a", link(kind, "Patient/b")), patient("b"), condition("x", "Patient/a"), patient("else")]
    expected = {"Patient/a": MET, "Patient/b": OPEN, "Patient/else": NOT}
    problems = {("patient-linked", "error", f"Patient/{name}", f"Patient/{name}") for name in "ab"}
    check(tmp_path, form, listed, expected, problems)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("kind", "first"), [("refer", "b"), ("seealso", "a")])
def test_linked_patients_are_merged(tmp_path: Path, form: str, kind: str, first: str) -> None:
    # `refer` leads to the main source of information; of `seealso` none is
    other = "b" if first == "a" else "a"
    listed = [patient("a", link(kind, "Patient/b")), patient("b"), condition("x", f"Patient/{other}"), patient("else")]
    problems = {("same-patient", "warning", f"Patient/{other}", f"Patient/{first}")}
    check(tmp_path, form, listed, {f"Patient/{first}": MET, "Patient/else": NOT}, problems, merge=True)


def test_many_linked_patients_are_merged_into_the_main_source(tmp_path: Path) -> None:
    listed = [
        patient("a", link("seealso", "Patient/b"), link("refer", "Patient/d")),
        patient("b", link("seealso", "Patient/a")),
        patient("old", link("replaced-by", "Patient/b")),
        patient("d"),
        condition("x", "Patient/old"),
    ]
    problems = {("same-patient", "warning", f"Patient/{name}", "Patient/b") for name in ("old", "a", "d")}
    check(tmp_path, "lines", listed, {"Patient/b": MET}, problems, merge=True)


@pytest.mark.parametrize("merge", [False, True])
def test_who_cannot_be_one_person_is_not_merged(tmp_path: Path, merge: bool) -> None:
    people = [patient("a", link("seealso", "Patient/b"), birthDate="1950-01-01"), patient("b", birthDate="1980-01-01")]
    problems = {("patient-linked", "error", f"Patient/{name}", f"Patient/{name}") for name in "ab"}
    listed = [*people, condition("x", "Patient/a")]
    check(tmp_path, "lines", listed, {"Patient/a": MET, "Patient/b": OPEN}, problems, merge=merge)


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("to", ["Patient/elsewhere", "urn:uuid:1"])
def test_links_that_lead_out_of_the_data(tmp_path: Path, merge: bool, to: str) -> None:
    listed = [patient("a", link("seealso", to)), condition("x", "Patient/a"), patient("b")]
    problems: Told = {("patient-linked", "warning", "Patient/a", "Patient/a")}
    check(tmp_path, "lines", listed, {"Patient/a": MET, "Patient/b": NOT}, problems, merge=merge)


def test_relatives_are_no_patients(tmp_path: Path) -> None:
    relative = {"resourceType": "RelatedPerson", "id": "r", "patient": reference("Patient/b")}
    listed = [patient("a", link("seealso", "RelatedPerson/r")), patient("b"), relative]
    check(tmp_path, "lines", listed, {"Patient/a": NOT, "Patient/b": NOT}, set())


def test_what_is_about_nobody_stays_with_the_bundle_of_who_was_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    place: Resource = {"resourceType": "Location", "id": "l", "name": "Ward"}
    other = {**place, "name": "Hall"}
    for name, one, where in (("1", REPLACED[0][0], place), ("2", REPLACED[0][1], None), ("3", patient("else"), other)):
        entries = [{"resource": one}, *([{"resource": where}] if where is not None else [])]
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        (folder / f"{name}.json").write_text(json.dumps(bundle), "utf-8")
    rules = criteria_of(tmp_path / "criteria", "exists ([Location] L where L.name = 'Ward')", "Count([Location]) = 1")
    for way, found, _ in screened(rules, folder, tmp_path / "out", merge_linked=True):
        assert found[NEW][1:] == ("met", "met"), way


def test_the_option_in_python() -> None:
    resources = [*REPLACED[0], condition("c", OLD)]
    names = [(one.reference, len(one.of_type("Condition"))) for one in compartments_of(resources, merge_linked=True)]
    assert names == [(NEW, 1)]
    assert [(one.reference, len(one.of_type("Condition"))) for one in compartments_of(resources)] == [(NEW, 0)]
    with pytest.raises(TypeError, match="merge_linked"):
        compartments_of(resources, merge_linked=1)  # type: ignore[arg-type]


# -- created under a condition


def created(url: str, condition: str | None, *, method: str = "POST", **more: Any) -> Resource:
    request = {"method": method, "url": "Patient"} | ({"ifNoneExist": condition} if method == "POST" else {})
    if method != "POST":
        request["url"] = f"Patient?{condition}"
    resource = {"resourceType": "Patient", "identifier": [{"system": MRN, "value": "77"}], **more}
    return {"fullUrl": url, "resource": resource, "request": request if condition is not None else {"method": "POST"}}


def transaction(*entries: Resource) -> Resource:
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


def entry(url: str, resource: Resource) -> Resource:
    return {"fullUrl": url, "resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}


ASKED = f"identifier={MRN}|77"
CONDITIONS: list[tuple[str | None, str | None, str]] = [
    (ASKED, ASKED, "POST"),
    (ASKED, "identifier=http%3A%2F%2Fh.example%2Fmrn%7C77", "POST"),
    (f"?{ASKED}", f"Patient?{ASKED}", "POST"),
    (ASKED, ASKED, "PUT"),
    ("name=x&birthdate=1950", "birthdate=1950&name=x", "POST"),
]


@pytest.mark.parametrize("apart", [False, True], ids=["one bundle", "two files"])
@pytest.mark.parametrize(("one", "other", "method"), CONDITIONS)
def test_patients_created_under_one_condition_are_one(
    tmp_path: Path, one: str, other: str, method: str, apart: bool
) -> None:
    first, second = created("urn:uuid:1", one, method=method), created("urn:uuid:2", other, method=method)
    about = [entry("urn:uuid:3", condition("a", "urn:uuid:1")), entry("urn:uuid:4", condition("b", "urn:uuid:2"))]
    folder = tmp_path / "data"
    folder.mkdir()
    bundles = [[first, about[0]], [second, about[1]]] if apart else [[first, second, *about]]
    for number, entries in enumerate(bundles):
        (folder / f"{number}.json").write_text(json.dumps(transaction(*entries)), "utf-8")
    rules = criteria(tmp_path / "criteria", "Condition.count() = 2")
    for way, found, problems in screened(rules, folder, tmp_path / "out"):
        assert found == {"urn:uuid:1": MET}, way
        assert told(problems) == {("same-patient", "warning", "urn:uuid:2", "urn:uuid:1")}, way


def test_a_condition_finds_a_patient_of_the_data(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    entries = [created("urn:uuid:1", ASKED), entry("urn:uuid:3", condition("a", "urn:uuid:1"))]
    (folder / "1.json").write_text(json.dumps(transaction(*entries)), "utf-8")
    known = patient("p", identifier=[{"system": MRN, "value": "77"}])
    (folder / "2.ndjson").write_text(
        "".join(json.dumps(x) + "\n" for x in (known, condition("b", "Patient/p"))), "utf-8"
    )
    rules = criteria(tmp_path / "criteria", "Condition.count() = 2")
    for way, found, problems in screened(rules, folder, tmp_path / "out"):
        assert found == {"Patient/p": MET}, way
        assert told(problems) == {("same-patient", "warning", "urn:uuid:1", "Patient/p")}, way


def test_other_conditions_are_other_patients(tmp_path: Path) -> None:
    one, other = created("urn:uuid:1", f"identifier={MRN}|1"), created("urn:uuid:2", f"identifier={MRN}|2")
    for number, item in enumerate((one, other), 1):
        item["resource"]["identifier"][0]["value"] = str(number)
    folder = tmp_path / "data"
    folder.mkdir()
    text = json.dumps(transaction(one, other, entry("urn:uuid:3", condition("a", "urn:uuid:2"))))
    (folder / "1.json").write_text(text, "utf-8")
    rules = criteria(tmp_path / "criteria", "Condition.exists()")
    for way, found, problems in screened(rules, folder, tmp_path / "out"):
        assert found == {"urn:uuid:1": NOT, "urn:uuid:2": MET}, way
        assert not problems, way


# -- one id in two sources


@pytest.mark.parametrize("updated", [False, True])
@pytest.mark.parametrize("differ", ["birthDate", "gender", "identifier"])
def test_one_id_of_two_persons_is_a_conflict(tmp_path: Path, differ: str, updated: bool) -> None:
    values: dict[str, tuple[Any, Any]] = {
        "birthDate": ("1950-01-01", "1990-05-05"),
        "gender": ("male", "female"),
        "identifier": ([{"system": MRN, "value": "1"}], [{"system": MRN, "value": "2"}]),
    }
    folder = tmp_path / "data"
    for number, name in enumerate("ab"):
        (folder / name).mkdir(parents=True)
        meta = {"meta": {"lastUpdated": f"2026-0{number + 1}-01T00:00:00Z"}} if updated else {}
        one = patient("1", **{differ: values[differ][number]}, **meta)
        (folder / name / "Patient.ndjson").write_text(json.dumps(one) + "\n", "utf-8")
    (folder / "a" / "Condition.ndjson").write_text(json.dumps(condition("c", "Patient/1")) + "\n", "utf-8")
    rules = criteria(tmp_path / "criteria", "Condition.exists()")
    for way, found, problems in screened(rules, folder, tmp_path / "out"):
        assert found == {"Patient/1": OPEN}, way
        errors = [p for p in problems if p.severity == "error"]
        assert {p.code for p in errors} == {"same-id" if updated else "conflicting-versions"}, way
        assert all(p.resource == "Patient/1" for p in errors), way
        assert "a/Patient.ndjson and b/Patient.ndjson" in errors[0].message, way


def test_versions_of_one_person_are_no_conflict(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for number in (1, 2):
        meta = {"lastUpdated": f"2026-0{number}-01T00:00:00Z"}
        identifier = [{"system": MRN, "value": "1"}]
        one = patient("1", birthDate=f"195{number}-01-01", identifier=identifier, meta=meta)
        (folder / f"{number}.ndjson").write_text(json.dumps(one) + "\n", "utf-8")
    rules = criteria(tmp_path / "criteria", "birthDate = @1952-01-01")
    for way, found, problems in screened(rules, folder, tmp_path / "out"):
        assert found == {"Patient/1": MET}, way
        assert {p.code for p in problems} == {"duplicate"}, way


# -- the inputs beside the checkout


def test_shared_cases(tmp_path: Path) -> None:
    rules = fhir_eligibility.load_criteria(shared("faults", "data", "crit", "basic"))
    for way, found, problems in screened(rules, shared("faults", "data", "t", "merge"), tmp_path / "1"):
        assert {name: row[0] for name, row in found.items()} == {NEW: "undetermined"}, way
        assert told(problems) == {("patient-replaced", "error", OLD, NEW)}, way
    data = shared("faults", "data", "t", "merge")
    for way, found, _ in screened(rules, data, tmp_path / "2", merge_linked=True):
        assert {name: row[0] for name, row in found.items()} == {NEW: "included"}, way
    for way, found, problems in screened(rules, shared("faults", "data", "t", "dupcond"), tmp_path / "3"):
        assert [row[0] for row in found.values()] == ["included"], way
        assert {p.code for p in problems} == {"same-patient"}, way
    for way, found, problems in screened(rules, shared("faults", "data", "t", "twosrv"), tmp_path / "4"):
        assert {name: row[0] for name, row in found.items()} == {"Patient/1": "undetermined"}, way
        assert all(p.severity == "error" and "b/Patient.ndjson" in p.message for p in problems) and problems, way
