"""Bundles that stand for themselves: equal ids in several of them, Patients of one id, resources that name no patient - by every way of reading."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.patients.reader import read_patients
from fhir_eligibility.data.records.identity import contradiction
from fhir_eligibility.runners.screening.criteria import Criteria
from tests.runners.ways import NOW, Files, criteria_of, outcomes_of, problems_of, the_outcomes, write

Resource = dict[str, Any]
SYSTEM = "http://example.org/codes"


def patient(name: str, **more: Any) -> Resource:
    return {"resourceType": "Patient", "id": name, **more}


def observation(name: str, code: str, about: str | None = None, **more: Any) -> Resource:
    subject = {} if about is None else {"subject": {"reference": f"Patient/{about}"}}
    coded = {"coding": [{"system": SYSTEM, "code": code}]}
    return {"resourceType": "Observation", "id": name, "status": "final", "code": coded, **subject, **more}


def bundle(*resources: Resource, kind: str | None = "collection", root: str | None = None) -> Resource:
    entries = [
        {"resource": r} if root is None else {"fullUrl": f"{root}{r['resourceType']}/{r['id']}", "resource": r}
        for r in resources
    ]
    return {"resourceType": "Bundle", "entry": entries, **({} if kind is None else {"type": kind})}


def coded(code: str) -> str:
    return f"exists ([Observation] O where exists (O.code.coding C where C.code = '{code}'))"


ASKED = (coded("x"), coded("y"))
DOUBT = "unknown (conflicting-records)"
PATHS = tuple(f"Observation.where(code.coding.exists(code = '{code}')).exists()" for code in "xy")


@pytest.mark.parametrize("kind", ["collection", "document", "transaction"])
@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("language", ["text/cql", "text/fhirpath"])
def test_equal_ids_in_bundles_of_different_patients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, lines: bool, language: str
) -> None:
    bundles = [
        bundle(patient("a"), observation("o", "x", "a"), kind=kind),
        bundle(patient("b"), observation("o", "y", "b"), kind=kind),
    ]
    files: Files = {"all.ndjson": bundles} if lines else {"a.json": bundles[:1], "b.json": bundles[1:]}
    criteria = criteria_of(tmp_path / "c", *(ASKED if language == "text/cql" else PATHS), language=language)
    data = write(files, tmp_path / "data")
    found = the_outcomes(criteria, data, tmp_path / "out", monkeypatch)
    assert found == {"Patient/a": ["met", "not met"], "Patient/b": ["not met", "met"]}
    assert problems_of(criteria, data) == {"memory": set(), "plan": set(), "whole": set()}


@pytest.mark.parametrize("form", ["same address", "search result"])
def test_equal_ids_that_are_said_to_be_one_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    root, kind = ("https://example.org/fhir/", "collection") if form == "same address" else (None, "searchset")
    old, new = ({"meta": {"lastUpdated": f"2026-0{n}-01T00:00:00Z"}} for n in (1, 2))
    files: Files = {
        "a.json": [bundle(patient("a"), observation("o", "x", "a", **new), kind=kind, root=root)],
        "b.json": [bundle(patient("b"), observation("o", "y", "b", **old), kind=kind, root=root)],
    }
    criteria = criteria_of(tmp_path / "c", *ASKED)
    data = write(files, tmp_path / "data")
    found = the_outcomes(criteria, data, tmp_path / "out", monkeypatch)
    assert {name.rpartition("/")[2]: got for name, got in found.items()} == {
        "a": ["met", "not met"],
        "b": ["not met", "not met"],
    }
    assert problems_of(criteria, data)["memory"] == {("duplicate", "Observation/o")}
    assert problems_of(criteria, data)["plan"] == {("duplicate", "Observation/o")}


@pytest.mark.parametrize("second", ["bundle", "line"])
def test_one_patient_in_several_files_has_one_thing_of_an_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    old = observation("o", "x", "a", meta={"lastUpdated": "2026-01-01T00:00:00Z"})
    new = observation("o", "y", "a", meta={"lastUpdated": "2026-02-01T00:00:00Z"})
    person = patient("a", birthDate="1970-01-01")
    files: Files = {"1.json": [bundle(person, old)]}
    files |= {"2.json": [bundle(person, new)]} if second == "bundle" else {"2.ndjson": [new]}
    criteria = criteria_of(tmp_path / "c", *ASKED)
    data = write(files, tmp_path / "data")
    assert the_outcomes(criteria, data, tmp_path / "out", monkeypatch) == {"Patient/a": ["not met", "met"]}
    expected = {("duplicate", "Observation/o")} | ({("duplicate", "Patient/a")} if second == "bundle" else set())
    assert problems_of(criteria, data) == dict.fromkeys(("memory", "plan", "whole"), expected)


def test_two_persons_of_one_id_stay_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: Files = {
        "a.json": [bundle(patient("1", birthDate="1970-01-01"), observation("o", "x", "1"))],
        "b.json": [bundle(patient("1", birthDate="1950-01-01"), observation("o", "y", "1"))],
    }
    criteria = criteria_of(tmp_path / "c", *ASKED)
    data = write(files, tmp_path / "data")
    found = the_outcomes(criteria, data, tmp_path / "out", monkeypatch)
    assert found == {"Patient/1": ["met", "not met"], f"{data / 'b.json'}#Patient/1": ["not met", "met"]}
    assert problems_of(criteria, data) == dict.fromkeys(("memory", "plan", "whole"), {("same-id", "Patient/1")})


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        ({}, {"birthDate": "1970"}, None),
        ({"birthDate": "1970"}, {"birthDate": "1970-01-01"}, None),
        ({"birthDate": "1971"}, {"birthDate": "1970-01-01"}, "birthDate"),
        ({"gender": "male"}, {"gender": "female"}, "gender"),
        (
            {"identifier": [{"system": "s", "value": "1"}]},
            {"identifier": [{"system": "s", "value": "2"}]},
            "identifier",
        ),
        ({"identifier": [{"system": "s", "value": "1"}]}, {"identifier": [{"system": "t", "value": "2"}]}, None),
        (
            {"birthDate": "1970", "identifier": [{"system": "s", "value": "1"}]},
            {"birthDate": "1971", "identifier": [{"system": "s", "value": "1"}]},
            None,
        ),
    ],
)
def test_what_makes_two_persons(one: Resource, other: Resource, differ: str | None) -> None:
    assert contradiction(patient("1", **one), patient("1", **other)) == differ
    assert contradiction(patient("1", **other), patient("1", **one)) == differ


@pytest.mark.parametrize("kind", ["searchset", "history", "batch", None])
@pytest.mark.parametrize("subject", [None, {"display": "A"}])
def test_what_names_no_patient_is_nobodys_in_what_a_search_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str | None, subject: Resource | None
) -> None:
    lost = observation("lost", "x") | ({} if subject is None else {"subject": subject})
    files: Files = {
        "a.json": [bundle(patient("a"), lost, kind=kind)],
        "b.json": [bundle(patient("b"), observation("o", "y", "b"), kind=kind)],
    }
    criteria = criteria_of(tmp_path / "c", *ASKED)
    data = write(files, tmp_path / "data")
    unknown = "unknown (data-incomplete)"
    found = the_outcomes(criteria, data, tmp_path / "out", monkeypatch)
    assert found == {"Patient/a": [unknown, unknown], "Patient/b": [unknown, "met"]}
    expected = {("no-patient", "Observation/lost")}
    assert problems_of(criteria, data) == dict.fromkeys(("memory", "plan", "whole"), expected)


@pytest.mark.parametrize("kind", ["collection", "document", "transaction"])
@pytest.mark.parametrize("subject", [None, {"display": "A"}])
def test_what_names_no_patient_is_that_of_the_one_patient_of_its_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str | None, subject: Resource | None
) -> None:
    lost = observation("lost", "x") | ({} if subject is None else {"subject": subject})
    files: Files = {
        "a.json": [bundle(patient("a"), lost, kind=kind)],
        "b.json": [bundle(patient("b"), observation("o", "y", "b"), kind=kind)],
        "c.ndjson": [bundle(patient("c"), observation("lost-too", "x"), kind=kind)],
    }
    criteria = criteria_of(tmp_path / "c", *ASKED)
    data = write(files, tmp_path / "data")
    found = the_outcomes(criteria, data, tmp_path / "out", monkeypatch)
    assert found == {
        "Patient/a": ["met", "not met"],
        "Patient/b": ["not met", "met"],
        "Patient/c": ["met", "not met"],
    }
    expected = {("patient-of-bundle", "Observation/lost"), ("patient-of-bundle", "Observation/lost-too")}
    assert problems_of(criteria, data) == dict.fromkeys(("memory", "plan", "whole"), expected)


def test_what_names_something_else_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_a_place = observation("o", "x", subject={"reference": "Location/l"})
    two = bundle(patient("a"), patient("b"), observation("p", "x"))
    files: Files = {"a.json": [bundle(patient("c"), of_a_place)], "two.json": [two]}
    criteria = criteria_of(tmp_path / "c", *ASKED)
    data = write(files, tmp_path / "data")
    found = the_outcomes(criteria, data, tmp_path / "out", monkeypatch)
    # whose the record is that names nobody, in a bundle of two patients, nobody can tell
    unknown = ["unknown (data-incomplete)"] * 2
    assert found == {f"Patient/{name}": unknown for name in "abc"}
    expected = {("no-patient", "Observation/o"), ("no-patient", "Observation/p")}
    assert problems_of(criteria, data) == dict.fromkeys(("memory", "plan", "whole"), expected)


def test_what_is_about_another_patient_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: Files = {
        "a.json": [bundle(patient("a"), observation("o", "x", "b"), observation("p", "x", "stranger"))],
        "b.json": [bundle(patient("b"), observation("o", "y", "b"))],
    }
    criteria = criteria_of(tmp_path / "c", *ASKED)
    data = write(files, tmp_path / "data")
    found = the_outcomes(criteria, data, tmp_path / "out", monkeypatch)
    assert found == {
        "Patient/a": ["not met", "not met"],
        "Patient/b": ["met", "met"],
        "Patient/stranger": ["met", "not met"],
    }
    expected = {
        ("other-patient", "Observation/o"),
        ("other-patient", "Observation/p"),
        ("patient-not-described", "Patient/stranger"),
    }
    assert problems_of(criteria, data) == dict.fromkeys(("memory", "plan", "whole"), expected)


# -- what is about nobody: a patient's own bundle comes first


def place(name: str, called: str, **more: Any) -> Resource:
    return {"resourceType": "Location", "id": name, "name": called, **more}


def called(name: str) -> str:
    return f"exists ([Location] L where L.name = '{name}')"


def test_the_own_bundle_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: Files = {
        "a.json": [bundle(patient("a"), place("l", "Emergency"))],
        "b.json": [bundle(patient("b"), place("l", "Ward"))],
        "c.ndjson": [patient("c")],
    }
    criteria = criteria_of(
        tmp_path / "c",
        called("Emergency"),
        called("Ward"),
        "Count([Location]) = 1",
        "(singleton from ([Location] L where L.id = 'l')).name = 'Ward'",
    )
    data = write(files, tmp_path / "data")
    found = the_outcomes(criteria, data, tmp_path / "out", monkeypatch)
    assert found == {
        "Patient/a": ["met", "not met", "met", "not met"],
        "Patient/b": ["not met", "met", "met", "met"],
        # of the two that others have, nobody can tell which is meant
        "Patient/c": [DOUBT, DOUBT, "met", DOUBT],
    }
    assert problems_of(criteria, data) == dict.fromkeys(("memory", "plan", "whole"), {("duplicate", "Location/l")})


def test_references_lead_to_what_the_own_bundle_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def visit(about: str) -> Resource:
        location = [{"location": {"reference": "Location/l"}}]
        subject = {"reference": f"Patient/{about}"}
        return {"resourceType": "Encounter", "id": "e", "status": "finished", "subject": subject, "location": location}

    files: Files = {
        "a.json": [bundle(patient("a"), visit("a"), place("l", "Emergency"))],
        "b.json": [bundle(patient("b"), visit("b"), place("l", "Ward"))],
    }
    path = "Encounter.location.location.resolve().ofType(Location).where(name = 'Ward').exists()"
    data = write(files, tmp_path / "data")
    criteria = criteria_of(tmp_path / "c", path, language="text/fhirpath")
    found = the_outcomes(criteria, data, tmp_path / "out", monkeypatch)
    assert found == {"Patient/a": ["not met"], "Patient/b": ["met"]}


# -- all ways agree on cohorts of all kinds

COUNTS = tuple(f"Count([{kind}]) >= {number}" for kind in ("Observation", "Location", "Device") for number in (1, 2, 3))
NAMES = tuple(called(name) for name in "uvw")


def cohort(seed: int) -> Files:
    """Some patients with records of few ids, scattered over bundles of all kinds and lines."""
    rng = random.Random(seed)
    files: Files = {}
    names = ["a", "b", "c"]

    def updated() -> Resource:
        month = rng.randint(1, 4)
        return {} if month == 4 else {"meta": {"lastUpdated": f"2026-0{month}-01T00:00:00Z"}}

    def some(own: str) -> Resource:
        about = rng.choice([own, own, own, own, *names, None])
        match rng.randrange(4):
            case 0 | 1:
                return observation(f"o{rng.randrange(3)}", rng.choice("xy"), about, **updated())
            case 2:
                return place(f"l{rng.randrange(2)}", rng.choice("uvw"), **updated())
            case _:
                link = {} if rng.random() < 0.5 or about is None else {"patient": {"reference": f"Patient/{about}"}}
                return {"resourceType": "Device", "id": f"d{rng.randrange(2)}", **link, **updated()}

    for number in range(rng.randint(2, 4)):
        own = rng.choice(names)
        birth = {} if rng.random() < 0.7 else {"birthDate": rng.choice(["1970", "1980"])}
        persons = [patient(own, **birth)] if rng.random() < 0.8 else [patient("a"), patient("b")]
        resources = [*persons, *(some(own) for _ in range(rng.randint(0, 5)))]
        rng.shuffle(resources)
        match rng.randrange(4):
            case 0:
                files[f"{number}.ndjson"] = resources
            case 1:
                kinds = ["collection", "searchset"]
                several = [bundle(*resources, kind=rng.choice(kinds)), bundle(patient("c"), some("c"))]
                files[f"{number}.ndjson"] = several
            case _:
                kind = rng.choice(["collection", "document", "transaction", "searchset"])
                root = rng.choice([None, None, "https://one.example/"])
                files[f"{number}.json"] = [bundle(*resources, kind=kind, root=root)]
    return files


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Criteria:
    return criteria_of(tmp_path_factory.mktemp("criteria"), *ASKED, *COUNTS, *NAMES)


@pytest.mark.parametrize("seed", range(0, 400, 40))
def test_all_ways_agree_on_any_cohort(
    tmp_path: Path, asked: Criteria, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    the_outcomes(asked, write(cohort(seed), tmp_path / "data"), tmp_path / "out", monkeypatch)


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_memory_and_plan_agree_on_any_cohort(tmp_path: Path, asked: Criteria, first: int) -> None:
    for seed in range(first, first + 20):
        data = write(cohort(seed), tmp_path / f"{seed}")
        memory = read_patients([data], model=load_model("r4"), on_problem=lambda problem: None)
        expected = outcomes_of(fhir_eligibility.screen(asked, list(memory), now=NOW))
        assert (seed, outcomes_of(fhir_eligibility.screen(asked, data, now=NOW))) == (seed, expected)
        problems = problems_of(asked, data)
        assert (seed, problems["whole"]) == (seed, problems["memory"])


def test_a_version_that_names_nobody_takes_no_patient_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = ({"meta": {"lastUpdated": f"2026-0{n}-01T00:00:00Z"}} for n in (1, 2))
    lines = [observation("o", "x", **old), observation("o", "y", "a", **new), patient("a"), patient("b")]
    criteria = criteria_of(tmp_path / "c", *ASKED)
    data = write({"data.ndjson": lines}, tmp_path / "data")
    found = the_outcomes(criteria, data, tmp_path / "out", monkeypatch)
    assert found == {"Patient/a": ["not met", "met"], "Patient/b": ["not met", "not met"]}


def test_in_memory_bundles_are_worlds_of_their_own() -> None:
    first = bundle(patient("a"), observation("o", "x", "a"))
    second = bundle(patient("b"), observation("o", "y", "b"), observation("p", "y"))
    found = {
        c.reference: [o["id"] for o in c.of_type("Observation")]
        for c in fhir_eligibility.compartments_of([first, second])
    }
    assert found == {"Patient/a": ["o"], "Patient/b": ["o", "p"]}
