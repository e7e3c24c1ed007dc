"""Screening by search against servers that page badly, leave out parameters, or answer for others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.http.connection import Patience
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.server.client import Server, ServerError
from fhir_eligibility.data.server.patients import SearchPlan, ServerPatients
from fhir_eligibility.data.server.search import SearchError, search
from fhir_eligibility.runners.server.fetching import base_of, export_parameters, search_plan
from fhir_eligibility.ui.commands.cli import main
from tests.servers.fhir_stub import FhirStub
from tests.servers.stub import Reply, Request, Stub, outcome, running_stub, searchset

CRITERIA = Path(__file__).parents[2] / "criteria" / "flute"
SCT = "http://snomed.info/sct"
Resource = dict[str, Any]


@pytest.fixture
def stub() -> Iterator[Stub]:
    with running_stub() as running:
        yield running


def patient(name: str, **more: Any) -> Resource:
    return {"resourceType": "Patient", "id": name, **more}


def about(kind: str, name: str, owner: str, code: str = "1", **more: Any) -> Resource:
    coding = {"coding": [{"system": SCT, "code": code}]}
    return {"resourceType": kind, "id": name, "subject": {"reference": f"Patient/{owner}"}, "code": coding, **more}


COHORT = [
    *(patient(f"p{n}", gender="male" if n % 2 else "female") for n in range(5)),
    *(about("Observation", f"o{n}-{i}", f"p{n}") for n in range(5) for i in range(3)),
    *(about("Procedure", f"x{n}", f"p{n}", "2") for n in range(5)),
    *(about("Procedure", f"y{n}", f"p{n}", "3") for n in range(5)),
]
PLAN = SearchPlan(("Observation", "Procedure"), {"Procedure": ("code", f"{SCT}|2")})


def server_at(stub: Stub) -> Server:
    return Server(stub.base, patience=Patience(attempts=3), wait=lambda seconds: None)


def screened(
    stub: Stub, plan: SearchPlan = PLAN, **options: Any
) -> tuple[dict[str, dict[str, list[str]]], list[Problem]]:
    """What each patient's compartment holds, and the problems."""
    problems: list[Problem] = []
    patients = ServerPatients(server_at(stub), load_model("r4"), plan, **{"page": 2, "batch": 2, **options})
    found = {c.id: contents(c) for c in patients.compartments(problems.append)}
    return found, problems


def with_gaps(stub: Stub, plan: SearchPlan = PLAN) -> tuple[dict[str, dict[str, list[str]]], list[Problem]]:
    """By patient: the types that may lack records, with what is there all the same; and the problems."""
    problems: list[Problem] = []
    patients = ServerPatients(server_at(stub), load_model("r4"), plan, page=2, batch=2)
    found = {}
    for compartment in patients.compartments(problems.append):
        there = contents(compartment)
        found[compartment.id] = {gap.type: there.get(gap.type, []) for gap in compartment.gaps}
    return found, problems


def contents(compartment: Compartment) -> dict[str, list[str]]:
    return {kind: sorted(str(r["id"]) for r in rows) for kind, rows in compartment.resources.items()}


WHOLE = {f"p{n}": {"Observation": [f"o{n}-{i}" for i in range(3)], "Procedure": [f"x{n}"]} for n in range(5)}


def test_patients_page_by_page(stub: Stub) -> None:
    FhirStub(stub, COHORT)
    assert screened(stub) == (WHOLE, [])
    patients = stub.seen("/fhir/Patient")
    assert [r.value("_count") for r in patients] == ["2", None, None]
    asked = [r.value("patient") for r in stub.seen("/fhir/Observation") if r.value("_count")]
    assert asked == ["p0,p1", "p1,p0", "p2,p3", "p4"]  # in two orders first: that proves that lists are read as such
    assert all(r.headers["prefer"] == "handling=strict" for r in patients)
    assert [r.value("code") for r in stub.seen("/fhir/Procedure") if r.value("_count")] == [
        None,
        None,
        *[f"{SCT}|2"] * 3,
    ]


def test_memory_is_bounded_by_a_page(stub: Stub) -> None:
    FhirStub(stub, COHORT)
    patients = ServerPatients(server_at(stub), load_model("r4"), PLAN, page=2, batch=2)
    first = next(patients.compartments(lambda problem: None))
    assert first.others is None  # another patient may be on another page
    assert {r.value("patient") for r in stub.seen("/fhir/Procedure")} == {"p0,p1", "p1,p0"}


def test_a_parameter_for_codes_that_is_not_known_only_widens(stub: Stub) -> None:
    for lenient in (False, True):
        fhir = FhirStub(stub, COHORT, lenient=lenient)
        fhir.knows.discard("code")
        found, problems = screened(stub)
        assert found["p0"] == {"Observation": ["o0-0", "o0-1", "o0-2"], "Procedure": ["x0", "y0"]}
        assert len(found) == 5 and problems == []


@pytest.mark.parametrize("lenient", [False, True])
def test_a_server_that_finds_nothing_by_patient(stub: Stub, lenient: bool) -> None:
    """Neither too little nor too much: nothing is known of these types, and each patient is named."""
    fhir = FhirStub(stub, COHORT, lenient=lenient)
    fhir.knows.discard("patient")
    found, problems = with_gaps(stub)
    assert found == {f"p{n}": {"Observation": [], "Procedure": []} for n in range(5)}
    assert sorted(p.resource or "" for p in problems) == sorted(f"Patient/p{n}" for n in range(5) for _ in "OP")
    assert {p.severity for p in problems} == {"error"}
    assert {p.code for p in problems} == {"not-fetched"}
    words = "left out the parameter subject" if lenient else "unknown parameter subject"
    assert all(words in p.message for p in problems)


def test_results_about_others_are_not_believed(stub: Stub) -> None:
    """The self link claims that the parameter was used, but the resources are about anyone."""
    FhirStub(stub, COHORT)

    def everything(request: Request) -> Reply:
        found = [r for r in COHORT if r["resourceType"] == "Observation"]
        return searchset(found, self_link=f"{stub.base}/Observation?patient=x&subject=x")

    stub.on("/fhir/Observation", everything)
    found, problems = with_gaps(stub)
    assert found == {f"p{n}": {"Observation": []} for n in range(5)} and len(problems) == 5
    assert "Observation/o1-0 is about none of the patients that were asked for" in problems[0].message


def test_the_parameter_subject_where_patient_is_not_known(stub: Stub) -> None:
    class Subject(FhirStub):
        def matches(self, resource: Resource, name: str, values: list[str]) -> bool:
            if name == "subject":
                return resource["subject"]["reference"] in values
            return super().matches(resource, name, values)

    fhir = Subject(stub, COHORT)
    fhir.knows = {"subject", "code", "_id"}
    assert screened(stub) == (WHOLE, [])


def test_a_server_without_alternatives_is_asked_one_by_one(stub: Stub) -> None:
    class Single(FhirStub):
        def matches(self, resource: Resource, name: str, values: list[str]) -> bool:
            return super().matches(resource, name, [",".join(values)])

    Single(stub, COHORT)
    found, problems = screened(stub)
    assert found == WHOLE
    assert [(p.code, p.severity) for p in problems] == [("search-one-by-one", "warning")] * 2
    assert "Observation?patient= does not take several patients at once" in problems[0].message


def test_references_are_followed(stub: Stub) -> None:
    drug = {"resourceType": "Medication", "id": "m", "ingredient": [{"itemReference": {"reference": "Medication/n"}}]}
    other = {"resourceType": "Medication", "id": "n"}
    order = about("MedicationRequest", "r", "p0", medicationReference={"reference": "Medication/m"})
    far = about("MedicationRequest", "s", "p1", medicationReference={"reference": "https://other.example/Medication/m"})
    asker = {"requester": {"reference": "Practitioner/1"}}
    FhirStub(stub, [patient("p0"), patient("p1"), {**order, **asker}, far, drug, other], page=10)
    plan = SearchPlan(("MedicationRequest",), follow=frozenset(("Medication",)))
    problems: list[Problem] = []
    one, two = ServerPatients(server_at(stub), load_model("r4"), plan).compartments(problems.append)
    (request,) = one.of_type("MedicationRequest")
    found = one.resolve("Medication/m", request)
    assert found is not None and one.resolve("Medication/n", found) == other
    assert two.resolve("https://other.example/Medication/m", two.of_type("MedicationRequest")[0]) is None
    assert [r.value("_id") for r in stub.seen("/fhir/Medication")] == ["m", "n"]
    assert stub.seen("/fhir/Practitioner") == [] and problems == []


def test_what_is_about_nobody_is_fetched_once_for_all_patients(stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "Q.cql").write_text(
        "library Q\nusing FHIR version '4.0.1'\ncontext Patient\ndefine \"Wards\": Count([Location]) = 2\n", "utf-8"
    )
    expression = {"language": "text/cql-identifier", "expression": "Wards", "reference": "Q"}
    artifact = {"resourceType": "EvidenceVariable", "status": "active"}
    (tmp_path / "ev.json").write_text(
        json.dumps({**artifact, "characteristic": [{"definitionExpression": expression}]})
    )
    criteria = fhir_eligibility.load_criteria(tmp_path / "ev.json", libraries=[tmp_path / "Q.cql"])
    plan = search_plan(criteria.rules, "r4")
    assert plan.shared == ("Location",)
    FhirStub(stub, [*(patient(f"p{n}") for n in range(5)), *({"resourceType": "Location", "id": x} for x in "ab")])
    patients = ServerPatients(server_at(stub), load_model("r4"), plan, page=2, batch=2)
    assert [v.verdict for v in fhir_eligibility.screen(criteria, patients, now="2026-06-01")] == ["included"] * 5
    assert len(stub.seen("/fhir/Location")) == 1


def test_patients_that_others_name_are_not_given_out(stub: Stub) -> None:
    shared = about("Observation", "o", "p0")
    family = {"resourceType": "Appointment", "id": "a", "participant": []}
    family["participant"] = [{"actor": {"reference": f"Patient/{name}"}} for name in ("p0", "stranger")]

    class Actors(FhirStub):
        def matches(self, resource: Resource, name: str, values: list[str]) -> bool:
            if resource["resourceType"] == "Appointment" and name == "patient":
                return "p0" in values
            return super().matches(resource, name, values)

    Actors(stub, [patient("p0"), shared, family])
    found, problems = screened(stub, SearchPlan(("Appointment", "Observation")))
    assert found == {"p0": {"Appointment": ["a"], "Observation": ["o"]}} and problems == []


# -- paging


def page(stub: Stub, names: list[str], following: str | None, total: int | None = None) -> Reply:
    return searchset(
        [patient(name) for name in names], self_link=f"{stub.base}/Patient?_count=2", next_link=following, total=total
    )


def names_of(stub: Stub) -> list[str]:
    return [item.resource["id"] for found in search(server_at(stub), "Patient", [("_count", "2")]) for item in found]


def test_pages_in_a_circle(stub: Stub) -> None:
    more = f"{stub.base}/more"
    stub.on("/fhir/Patient", page(stub, ["a"], more))
    stub.on("/fhir/more", page(stub, ["b"], more), page(stub, ["c"], more))
    with pytest.raises(SearchError, match="the pages lead in a circle"):
        names_of(stub)


def test_pages_that_repeat_themselves(stub: Stub) -> None:
    """Every next link is another one, but the server gives the same page."""
    counter = iter(range(1000))
    stub.on("/fhir/Patient", page(stub, ["a", "b"], f"{stub.base}/more?page=0"))
    stub.on("/fhir/more", lambda request: page(stub, ["a", "b"], f"{stub.base}/more?page=x{next(counter)}"))
    with pytest.raises(SearchError, match="holds only what earlier pages held"):
        names_of(stub)


def test_a_page_that_is_missing(stub: Stub) -> None:
    stub.on("/fhir/Patient", page(stub, ["a"], f"{stub.base}/more?cursor=secret"))
    stub.on("/fhir/more", Reply(410, outcome("processing", "the cursor has expired")))
    with pytest.raises(SearchError, match="page 2 of .*410 Gone: the cursor has expired") as error:
        names_of(stub)
    assert "secret" not in str(error.value)


def test_pages_that_end_early(stub: Stub) -> None:
    stub.on("/fhir/Patient", page(stub, ["a", "b"], None, total=3))
    with pytest.raises(SearchError, match="the server counts 3, but its pages hold 2"):
        names_of(stub)


def test_relative_and_foreign_next_links(stub: Stub) -> None:
    stub.on("/fhir/Patient", page(stub, ["a"], "more?page=2"))
    stub.on("/fhir/more", page(stub, ["b"], None))
    assert names_of(stub) == ["a", "b"]
    stub.on("/fhir/Patient", page(stub, ["a"], "http://inside.example:8080/fhir/Patient?page=2"))
    with pytest.raises(SearchError, match=r"on another server \(http://inside.example:8080/fhir/Patient\?...\)"):
        names_of(stub)


def test_errors_among_the_results(stub: Stub) -> None:
    failing = {"resource": outcome("exception", "shard 3 is down"), "search": {"mode": "outcome"}}
    stub.on("/fhir/Patient", Reply(200, {"resourceType": "Bundle", "type": "searchset", "entry": [failing]}))
    with pytest.raises(SearchError, match="shard 3 is down"):
        names_of(stub)
    stub.on("/fhir/Patient", Reply(200, b"<html>log in</html>"))
    with pytest.raises(ServerError, match="not valid JSON"):
        names_of(stub)


def test_a_broken_page_of_a_patient_s_data(stub: Stub) -> None:
    """The patients of that batch are named; what came before is kept, and known to be incomplete."""
    fhir = FhirStub(stub, COHORT)

    def sometimes(request: Request) -> Reply:
        if request.value("patient") == "p2,p3" and request.value("_offset") == "2":
            return Reply(500, outcome("exception", "index broken"))
        return fhir.search(request)

    stub.on("/fhir/Observation", sometimes)
    assert screened(stub)[0]["p2"] == {"Observation": ["o2-0", "o2-1"], "Procedure": ["x2"]}
    found, problems = with_gaps(stub)
    assert found == {"p0": {}, "p1": {}, "p2": {"Observation": ["o2-0", "o2-1"]}, "p3": {"Observation": []}, "p4": {}}
    assert [(p.resource, p.code) for p in problems] == [("Patient/p2", "not-fetched"), ("Patient/p3", "not-fetched")]
    assert "the Observation of the patient could not be fetched whole" in problems[0].message
    assert "index broken" in problems[0].message


def test_patients_that_do_not_come(stub: Stub) -> None:
    """Fewer patients than counted, or pages that break off, are a problem; those before are screened."""
    FhirStub(stub, COHORT)
    stub.on("/fhir/Patient", lambda request: page(stub, ["p0"], None, total=2))
    found, problems = screened(stub)
    assert list(found) == ["p0"] and [p.code for p in problems] == ["patients-missing"]
    stub.on("/fhir/Patient", page(stub, ["p0"], f"{stub.base}/gone"))
    found, problems = screened(stub)
    assert list(found) == ["p0"] and [(p.code, p.severity) for p in problems] == [("patients-missing", "error")]
    assert "broke off after 1" in problems[0].message and "page 2 of" in problems[0].message


def test_401_stops_the_run(stub: Stub) -> None:
    FhirStub(stub, COHORT)
    stub.on("/fhir/Procedure", Reply(403, outcome("forbidden", "no scope")))
    with pytest.raises(ServerError, match="403 Forbidden .*: no scope"):
        screened(stub)


def test_warnings_of_the_server_are_told_once(stub: Stub) -> None:
    fhir = FhirStub(stub, COHORT)

    def warning(request: Request) -> Reply:
        reply = fhir.search(request)
        note = {"resource": outcome("informational", "slow today", "warning"), "search": {"mode": "outcome"}}
        reply.body["entry"].append(note)
        return reply

    stub.on("/fhir/Observation", warning)
    found, problems = screened(stub)
    assert found == WHOLE
    assert [(p.code, p.message) for p in problems] == [("server-warning", "the server says: slow today")]


# -- what is asked for


def test_restrictions() -> None:
    assert base_of("https://h/fhir/") == ("https://h/fhir", ())
    assert base_of("https://h/fhir/Patient?gender=male&_id=a,b") == (
        "https://h/fhir",
        (("gender", "male"), ("_id", "a,b")),
    )
    for wrong in ("https://h/fhir?x=1", "https://h/fhir/Patient?_elements=id"):
        with pytest.raises(ServerError):
            base_of(wrong)


def test_a_restriction_that_the_server_leaves_out(stub: Stub) -> None:
    FhirStub(stub, COHORT)
    assert sorted(screened(stub, restriction=(("gender", "male"),))[0]) == ["p1", "p3"]
    fhir = FhirStub(stub, COHORT, lenient=True)
    fhir.knows.discard("gender")
    with pytest.raises(ServerError, match="the server left out gender and would give all patients"):
        screened(stub, restriction=(("gender", "male"),))


def test_what_criteria_ask_for() -> None:
    criteria = fhir_eligibility.load_criteria(CRITERIA / "cql" / "mr", libraries=[CRITERIA / "cql"])
    plan = search_plan(criteria.rules, "r4")
    assert plan.types == ("ImagingStudy", "Observation", "Procedure")
    assert plan.narrowed == {
        "Observation": ("code", "2857-1"),
        "Procedure": ("code", "410006001,86273004"),
    }
    assert plan.follow == {"Endpoint"}
    assert export_parameters(criteria.rules, "r4") == (
        ("Endpoint", "ImagingStudy", "Observation", "Patient", "Procedure"),
        (
            "Observation?code=2857-1",
            "Procedure?code=410006001",
            "Procedure?code=86273004",
        ),
        False,
    )


def test_a_resource_about_patients_of_two_batches_counts_once(stub: Stub) -> None:
    actors = [{"actor": {"reference": f"Patient/p{n}"}} for n in (0, 1)]
    both = {"resourceType": "Appointment", "id": "a", "participant": actors}

    class Actors(FhirStub):
        def matches(self, resource: Resource, name: str, values: list[str]) -> bool:
            found = [a["actor"]["reference"].removeprefix("Patient/") for a in resource.get("participant", ())]
            return bool(set(found) & set(values)) if name == "patient" else super().matches(resource, name, values)

    Actors(stub, [patient("p0"), patient("p1"), both])
    found, problems = screened(stub, SearchPlan(("Appointment",)), batch=1)
    assert found == {"p0": {"Appointment": ["a"]}, "p1": {"Appointment": ["a"]}} and problems == []


def test_the_python_interface(stub: Stub) -> None:
    biopsy = about("Procedure", "b", "p0", "86273004", status="completed", performedDateTime="2026-03-01")
    FhirStub(stub, [patient("p0"), biopsy])
    criteria = fhir_eligibility.load_criteria(CRITERIA / "mr")
    with fhir_eligibility.Server(stub.base) as server:
        (verdict,) = fhir_eligibility.screen(
            criteria, fhir_eligibility.server_patients(server, criteria), now="2026-06-01"
        )
    assert (verdict.patient, verdict.verdict) == ("Patient/p0", "excluded")


# -- the command line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "http://127.0.0.1:1/fhir", "folder"], "--data is either a FHIR server or files and folders"),
        (["--data", str(CRITERIA / "cohort"), "--data-auth", "bearer-env=X"], "--data names files"),
        (
            ["--data", "http://127.0.0.1:1/fhir", "--data-auth", "nonsense"],
            "expected credentials as bearer-env=VARIABLE",
        ),
        (["--data", "http://127.0.0.1:1/fhir?x=1"], "only BASE or BASE/Patient"),
    ],
)
def test_options_that_do_not_fit(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["screen", str(CRITERIA / "mr"), "--out", "-", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--since", "2026-03"], "is not a point in time"),
        (["--since", "2026-03-01T00:00:00"], "must be whole and have a time zone"),
        (["--group", "a b"], "expected the id of a Group, found 'a b'"),
        (["--connections", "0"], "--connections: expected a whole number from 1 to 64"),
    ],
)
def test_export_options_that_do_not_fit(
    arguments: list[str], message: str, tmp_path: Path, stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", stub.base, "--out", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err and stub.requests == []


def test_verdicts_on_standard_output(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    FhirStub(stub, COHORT)
    assert main(["screen", str(CRITERIA / "mr"), "--data", f"{stub.base}/Patient?_id=p1", "--out", "-", "--quiet"]) == 0
    assert '"patient":"Patient/p1"' in capsys.readouterr().out.replace(": ", ":")


def test_value_sets_are_not_left_to_the_server(tmp_path: Path) -> None:
    """Its copy may be another: such a type is read whole, in an export unless that is asked for.

    So is one whose code may stand in a resource that it refers to: no search by code finds those.
    """
    (tmp_path / "L.cql").write_text(
        "library L\nusing FHIR version '4.0.1'\nvalueset \"V\": 'http://v'\ncodesystem \"S\": 'http://s'\n"
        'code "C": \'c\' from "S"\ncontext Patient\n'
        'define "A": exists [Condition: "V"] or exists [Condition: "C"]\n'
        'define "B": exists [Procedure: "C"] or exists [MedicationRequest: "C"]\n'
    )
    expressions = [{"definitionExpression": {"language": "text/cql-identifier", "expression": name}} for name in "AB"]
    artifact = {
        "resourceType": "EvidenceVariable",
        "status": "active",
        "url": "http://e",
        "characteristic": expressions,
    }
    (tmp_path / "e.json").write_text(json.dumps(artifact))
    criteria = fhir_eligibility.load_criteria(tmp_path, allow_missing_valuesets=True)
    assert criteria.errors == ()
    types = ("Condition", "MedicationRequest", "Patient", "Procedure")
    plain, trusting = ("Procedure?code=c",), ("Condition?code=c", "Condition?code:in=http://v")
    assert export_parameters(criteria.rules, "r4") == (types, plain, False)
    assert export_parameters(criteria.rules, "r4", value_sets=True) == (types, trusting + plain, False)
    assert search_plan(criteria.rules, "r4").narrowed == {"Procedure": ("code", "c")}
