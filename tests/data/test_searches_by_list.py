"""Servers that read `patient=1,2` or `code=a,b` in another way than as alternatives: the verdicts are those of the files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.http.connection import Patience
from fhir_eligibility.data.server.client import Server
from fhir_eligibility.data.server.patients import SearchPlan, ServerPatients
from tests.servers.fhir_stub import FhirStub
from tests.servers.stub import Reply, Request, Stub, outcome, running_stub

SCT = "http://snomed.info/sct"
Resource = dict[str, Any]
Bend = Callable[[list[str]], list[str]]
# What a server makes of a list of values. None: it refuses lists with 400.
WAYS: dict[str, Bend | None] = {
    "first": lambda values: values[:1],
    "last": lambda values: values[-1:],
    "one value": lambda values: [",".join(values)],
    "nothing": lambda values: values if len(values) == 1 else [],
    "at most two": lambda values: values[:2],
    "refused": None,
}


@pytest.fixture
def stub() -> Iterator[Stub]:
    with running_stub() as running:
        yield running


class Bent(FhirStub):
    """Takes lists of ids of Patients, and bends lists of one parameter of all other types."""

    def __init__(self, stub: Stub, resources: list[Resource], bend: Bend | None, parameter: str = "patient") -> None:
        super().__init__(stub, resources, page=10)
        self.knows = {"patient", "subject", "code", "_id"} - ({"patient"} if parameter == "subject" else set())
        self.bend = bend
        self.parameter = parameter

    def search(self, request: Request) -> Reply:
        if self.bend is None and "," in (request.value(self.parameter) or ""):
            return Reply(400, outcome("invalid", "lists are not supported"))
        return super().search(request)

    def matches(self, resource: Resource, name: str, values: list[str]) -> bool:
        if name == self.parameter and self.bend is not None:
            values = self.bend(values)
        if name == "subject":
            return resource["subject"]["reference"] in values
        return super().matches(resource, name, values)


def patients(count: int) -> list[Resource]:
    return [{"resourceType": "Patient", "id": f"p{n}"} for n in range(count)]


def about(kind: str, name: str, owner: int, code: str) -> Resource:
    coding = {"coding": [{"system": SCT, "code": code}]}
    return {
        "resourceType": kind,
        "id": name,
        "status": "completed",
        "subject": {"reference": f"Patient/p{owner}"},
        "code": coding,
    }


def contents(
    stub: Stub, plan: SearchPlan, *, batch: int = 4, page: int = 9
) -> tuple[dict[str, list[str]], list[Problem]]:
    """The ids of what the compartment of each patient holds, and the problems."""
    problems: list[Problem] = []
    server = Server(stub.base, patience=Patience(attempts=1), wait=lambda seconds: None)
    source = ServerPatients(server, load_model("r4"), plan, batch=batch, page=page)
    found = {
        str(c.id): sorted(str(r["id"]) for rows in c.resources.values() for r in rows)
        for c in source.compartments(problems.append)
    }
    return found, problems


@pytest.mark.parametrize("parameter", ["patient", "subject"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("having", [(0, 3, 5), (2,), (7, 8), (0, 1, 2, 3, 4, 5, 6, 7, 8), ()], ids=str)
def test_lists_of_patients(stub: Stub, way: str, parameter: str, having: tuple[int, ...]) -> None:
    """Whoever has records has them, wherever in a list, and wherever in the cohort, they stand."""
    records = [about("Procedure", f"x{n}", n, "2") for n in having]
    Bent(stub, [*patients(9), *records], WAYS[way], parameter)
    found, problems = contents(stub, SearchPlan(("Procedure",)))
    assert found == {f"p{n}": [f"x{n}"] if n in having else [] for n in range(9)}
    assert {p.severity for p in problems} <= {"warning"}
    if way != "at most two" and having:
        assert [p.code for p in problems] == ["search-one-by-one"]


def test_a_cap_on_the_values_is_noticed(stub: Stub) -> None:
    """Alternatives beyond the second are dropped, which two of four patients with records show."""
    Bent(stub, [*patients(8), *(about("Procedure", f"x{n}", n, "2") for n in range(8))], WAYS["at most two"])
    found, problems = contents(stub, SearchPlan(("Procedure",)))
    assert found == {f"p{n}": [f"x{n}"] for n in range(8)}
    assert [p.code for p in problems] == ["search-one-by-one"]


def test_lists_are_proved_for_each_type(stub: Stub) -> None:
    """One type takes lists, the other does not: nothing is concluded from one to the other."""

    class Mixed(Bent):
        def matches(self, resource: Resource, name: str, values: list[str]) -> bool:
            if resource["resourceType"] == "Observation" and name == "patient":
                return FhirStub.matches(self, resource, name, values)
            return super().matches(resource, name, values)

    records = [about(kind, f"{kind[0]}{n}", n, "2") for kind in ("Observation", "Procedure") for n in range(8)]
    Mixed(stub, [*patients(8), *records], WAYS["nothing"])
    found, problems = contents(stub, SearchPlan(("Observation", "Procedure")))
    assert found == {f"p{n}": [f"O{n}", f"P{n}"] for n in range(8)}
    (problem,) = problems
    assert "Procedure?patient=" in problem.message
    asked = [r.value("patient") for r in stub.seen("/fhir/Observation")]
    assert asked == ["p0,p1,p2,p3", "p3,p0,p1,p2", "p4,p5,p6,p7"]


def test_nothing_tells_while_nobody_has_any(stub: Stub) -> None:
    """As long as no patient has a record of the type, each is asked about; the first who has one settles it."""
    cohort = [*patients(12), about("Procedure", "x9", 9, "2"), about("Procedure", "x10", 10, "2")]
    Bent(stub, cohort, lambda values: values)
    found, problems = contents(stub, SearchPlan(("Procedure",)), page=4)
    assert problems == [] and [name for name, rows in found.items() if rows] == ["p9", "p10"]
    asked = [r.value("patient") for r in stub.seen("/fhir/Procedure")]
    assert asked[:5] == ["p0,p1,p2,p3", "p0", "p1", "p2", "p3"]
    assert asked[-3:] == ["p8,p9", "p9,p8", "p10,p11"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("codes", [("2",), ("3",), ("2", "3"), ()], ids=str)
def test_lists_of_codes(stub: Stub, way: str, codes: tuple[str, ...]) -> None:
    records = [about("Procedure", f"x{n}-{code}", n, code) for n in range(6) for code in codes]
    others = [about("Procedure", f"y{n}", n, "9") for n in range(6)]
    Bent(stub, [*patients(6), *records, *others], WAYS[way], "code")
    plan = SearchPlan(("Procedure",), {"Procedure": ("code", "1,2,3")})
    found, problems = contents(stub, plan)
    for n in range(6):
        assert set(found[f"p{n}"]) - {f"y{n}"} == {f"x{n}-{code}" for code in codes}
    assert {p.code for p in problems} <= {"search-without-codes"}


def test_codes_narrow_where_they_are_proved_to(stub: Stub) -> None:
    records = [about("Procedure", f"x{n}", n, "2") for n in range(8)]
    others = [about("Procedure", f"y{n}", n, "9") for n in range(8)]
    Bent(stub, [*patients(8), *records, *others], lambda values: values)
    found, problems = contents(stub, SearchPlan(("Procedure",), {"Procedure": ("code", "2,3")}))
    assert found == {f"p{n}": [f"x{n}"] for n in range(8)} and problems == []
    asked = [(r.value("code"), r.value("patient")) for r in stub.seen("/fhir/Procedure")]
    assert asked == [
        (None, "p0,p1,p2,p3"),
        (None, "p3,p0,p1,p2"),
        ("3,2", "p0,p1,p2,p3"),
        ("2,3", "p0,p1,p2,p3"),
        ("2,3", "p4,p5,p6,p7"),
    ]


def test_one_patient_that_cannot_be_asked_about(stub: Stub) -> None:
    """Where patients are asked about one by one, only whoever cannot be lacks records."""
    fhir = Bent(stub, [*patients(4), *(about("Procedure", f"x{n}", n, "2") for n in range(4))], None)

    def broken(request: Request) -> Reply:
        return (
            Reply(500, outcome("exception", "index broken"))
            if request.value("patient") == "p2"
            else fhir.search(request)
        )

    stub.on("/fhir/Procedure", broken)
    found, problems = contents(stub, SearchPlan(("Procedure",)))
    assert found == {f"p{n}": [f"x{n}"] if n != 2 else [] for n in range(4)}
    told = [(p.code, p.resource) for p in problems]
    assert told == [("search-one-by-one", None), ("not-fetched", "Patient/p2")]


@pytest.mark.parametrize("way", WAYS)
def test_lists_of_references(stub: Stub, way: str) -> None:
    """What records refer to is there, although the server's search by id does not take a list; what is nowhere is not asked for twice."""
    orders = []
    for n in range(5):
        order = about("MedicationRequest", f"r{n}", n, "1")
        orders.append({**order, "medicationReference": {"reference": f"Medication/m{n}"}})
    drugs = [{"resourceType": "Medication", "id": f"m{n}"} for n in range(4)]
    Bent(stub, [*patients(5), *orders, *drugs], WAYS[way], "_id")
    problems: list[Problem] = []
    server = Server(stub.base, patience=Patience(attempts=1))
    plan = SearchPlan(("MedicationRequest",), follow=frozenset(("Medication",)))
    for compartment in ServerPatients(server, load_model("r4"), plan).compartments(problems.append):
        (order,) = compartment.of_type("MedicationRequest")
        assert (compartment.resolve(f"Medication/m{order['id'][1:]}", order) is None) == (order["id"] == "r4")
    assert problems == []


@pytest.mark.parametrize("way", WAYS)
def test_patients_chosen_by_a_list_of_ids(stub: Stub, way: str) -> None:
    Bent(stub, patients(4), WAYS[way], "_id")
    problems: list[Problem] = []
    server = Server(stub.base, patience=Patience(attempts=1))
    chosen = (("_id", "p1,p3,p7"),)
    if WAYS[way] is None:
        with pytest.raises(OSError, match="lists are not supported"):
            list(
                ServerPatients(server, load_model("r4"), SearchPlan(()), restriction=chosen).compartments(
                    problems.append
                )
            )
        return
    source = ServerPatients(server, load_model("r4"), SearchPlan(()), restriction=chosen)
    assert sorted(str(c.id) for c in source.compartments(problems.append)) == ["p1", "p3"]
    missing = [p for p in problems if p.code == "patients-missing"]
    assert len(missing) == 1 and missing[0].severity == "error"
    assert missing[0].message == "1 of the patients that were asked for by _id are not on the server: p7"


# -- whole runs

EXISTS = {
    "resourceType": "EvidenceVariable",
    "status": "active",
    "url": "http://example.org/biopsy",
    "characteristic": [
        {
            "linkId": "biopsy",
            "definitionExpression": {
                "language": "text/fhirpath",
                "expression": f"%context.exists() and Procedure.where(code.coding.where(system = '{SCT}' and code = '86273004').exists()).exists()",
            },
        }
    ],
}


PRESENT_OR_ABSENT = """library Found
using FHIR version '4.0.1'
context Patient
define "Some": exists [Procedure]
define "None": not exists [Procedure]
"""


@pytest.mark.parametrize("status", [500, 410])
def test_records_that_could_not_be_fetched_are_not_absent(stub: Stub, tmp_path: Path, status: int) -> None:
    """What came shows that there are some; that there are none, or no more, nobody can tell."""
    (tmp_path / "Found.cql").write_text(PRESENT_OR_ABSENT)
    expressions = [{"language": "text/cql-identifier", "expression": n, "reference": "Found"} for n in ("Some", "None")]
    characteristics = [{"linkId": e["expression"], "definitionExpression": e} for e in expressions]
    (tmp_path / "ev.json").write_text(json.dumps({**EXISTS, "characteristic": characteristics}))
    criteria = fhir_eligibility.load_criteria(tmp_path / "ev.json", libraries=[tmp_path / "Found.cql"])
    records = [about("Procedure", f"x{n}-{i}", n, "1") for n in (0, 1) for i in range(3)]
    fhir = Bent(stub, [*patients(4), *records], lambda values: values)
    fhir.page = 2

    def broken(request: Request) -> Reply:
        whose = request.value("patient") or ""
        if request.value("_offset") == "2" and whose == "p1" or whose == "p3":
            return Reply(status, outcome("processing", "the page is gone"))
        return Reply(400) if "," in whose else fhir.search(request)

    stub.on("/fhir/Procedure", broken)
    problems: list[Problem] = []
    patience = Patience(attempts=1)
    with Server(stub.base, patience=patience) as server:
        source = fhir_eligibility.server_patients(server, criteria)
        found = {
            v.patient: {c.id: (c.outcome, c.reason) for c in v.criteria}
            for v in fhir_eligibility.screen(criteria, source, now="2026-06-01", on_problem=problems.append)
        }
    incomplete = ("unknown", "data-incomplete")
    assert found == {
        "Patient/p0": {"Some": ("met", None), "None": ("not met", None)},
        "Patient/p1": {"Some": ("met", None), "None": ("not met", None)},
        "Patient/p2": {"Some": ("not met", None), "None": ("met", None)},
        "Patient/p3": {"Some": incomplete, "None": incomplete},
    }
    errors = [(p.code, p.patient) for p in problems if p.severity == "error"]
    assert errors == [("not-fetched", "Patient/p1"), ("not-fetched", "Patient/p3")]


def test_what_is_about_nobody_and_could_not_be_fetched(stub: Stub, tmp_path: Path) -> None:
    """The patients are screened, and what rests on these records is unknown."""
    library = PRESENT_OR_ABSENT.replace("[Procedure]", "[Location]")
    (tmp_path / "Found.cql").write_text(library)
    expression = {"language": "text/cql-identifier", "expression": "Some", "reference": "Found"}
    (tmp_path / "ev.json").write_text(json.dumps({**EXISTS, "characteristic": [{"definitionExpression": expression}]}))
    criteria = fhir_eligibility.load_criteria(tmp_path / "ev.json", libraries=[tmp_path / "Found.cql"])
    FhirStub(stub, patients(3))
    stub.on("/fhir/Location", Reply(500, outcome("exception", "down")))
    problems: list[Problem] = []
    with Server(stub.base, patience=Patience(attempts=1)) as server:
        source = fhir_eligibility.server_patients(server, criteria)
        verdicts = list(fhir_eligibility.screen(criteria, source, now="2026-06-01", on_problem=problems.append))
    assert [(v.verdict, v.criteria[0].reason) for v in verdicts] == [("undetermined", "data-incomplete")] * 3
    assert [(p.code, p.severity) for p in problems] == [("not-fetched", "error")]


@pytest.mark.parametrize("way", WAYS)
def test_verdicts_are_those_of_the_files(stub: Stub, tmp_path: Path, way: str) -> None:
    records = [about("Procedure", f"x{n}", n, "86273004") for n in (1, 2, 5)]
    cohort = [*patients(6), *records]
    (tmp_path / "data.ndjson").write_text("".join(json.dumps(r) + "\n" for r in cohort))
    (tmp_path / "ev.json").write_text(json.dumps(EXISTS))
    criteria = fhir_eligibility.load_criteria(tmp_path / "ev.json")
    Bent(stub, cohort, WAYS[way])
    of_files = {
        v.patient: v.verdict for v in fhir_eligibility.screen(criteria, tmp_path / "data.ndjson", now="2026-06-01")
    }
    with fhir_eligibility.Server(stub.base) as server:
        source = fhir_eligibility.server_patients(server, criteria)
        of_server = {v.patient: v.verdict for v in fhir_eligibility.screen(criteria, source, now="2026-06-01")}
    assert of_server == of_files
    assert [of_files[f"Patient/p{n}"] for n in range(6)] == [
        "included" if n in (1, 2, 5) else "excluded" for n in range(6)
    ]


CODED = {
    "resourceType": "EvidenceVariable",
    "status": "active",
    "url": "http://example.org/biopsy",
    "characteristic": [
        {
            "linkId": "biopsy",
            "definitionByTypeAndValue": {
                "type": {"coding": [{"system": SCT, "code": "71388002"}]},
                "valueCodeableConcept": {"coding": [{"system": SCT, "code": "86273004"}]},
            },
        }
    ],
}
WITH_CQL = """library Biopsy
using FHIR version '4.0.1'
codesystem "SCT": 'http://snomed.info/sct'
code "Biopsy": '86273004' from "SCT"
context Patient
define "Found": exists [Procedure: "Biopsy"]
"""


class Strict(FhirStub):
    """Finds by `system|code` only what has just that code system, as the standard says."""

    def matches(self, resource: Resource, name: str, values: list[str]) -> bool:
        if name != "code":
            return super().matches(resource, name, values)
        return any(
            (c.get("system") == value.partition("|")[0] if "|" in value else True)
            and c["code"] == value.rpartition("|")[2]
            for value in values
            for c in resource["code"]["coding"]
        )


@pytest.mark.parametrize("form", ["coded", "cql"])
def test_other_spellings_of_a_code_system_are_not_lost_by_narrowing(stub: Stub, tmp_path: Path, form: str) -> None:
    """The address of a code system by its OID, over https, or left out: what the server is asked for brings all of them."""
    cohort = patients(5)
    for n, system in enumerate((SCT, "urn:oid:2.16.840.1.113883.6.96", "https://snomed.info/sct/", None)):
        record = about("Procedure", f"x{n}", n, "86273004")
        record["performedDateTime"] = "2026-01-01"
        record["code"] = {"coding": [{"code": "86273004", **({"system": system} if system else {})}]}
        cohort.append(record)
    (tmp_path / "data.ndjson").write_text("".join(json.dumps(r) + "\n" for r in cohort))
    artifact = CODED
    if form == "cql":
        (tmp_path / "Biopsy.cql").write_text(WITH_CQL)
        expression = {"language": "text/cql-identifier", "expression": "Found", "reference": "Biopsy"}
        artifact = {**CODED, "characteristic": [{"definitionExpression": expression}]}
    (tmp_path / "ev.json").write_text(json.dumps(artifact))
    criteria = fhir_eligibility.load_criteria(
        tmp_path / "ev.json", libraries=[tmp_path / "Biopsy.cql"] if form == "cql" else []
    )
    assert criteria.errors == ()
    Strict(stub, cohort)
    of_files = {
        v.patient: v.verdict for v in fhir_eligibility.screen(criteria, tmp_path / "data.ndjson", now="2026-06-01")
    }
    with fhir_eligibility.Server(stub.base) as server:
        source = fhir_eligibility.server_patients(server, criteria)
        assert source.plan.narrowed == {"Procedure": ("code", "86273004")} or form == "coded"
        of_server = {v.patient: v.verdict for v in fhir_eligibility.screen(criteria, source, now="2026-06-01")}
    assert of_server == of_files and of_files["Patient/p0"] == "included"
    if form == "coded":
        assert [of_files[f"Patient/p{n}"] for n in range(5)] == [*["included"] * 3, "undetermined", "excluded"]
    else:
        assert of_files["Patient/p3"] == "undetermined"
