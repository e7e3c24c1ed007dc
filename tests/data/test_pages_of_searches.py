"""Pages of searches that people saved: what goes on at a page that is not there is incomplete, and what servers say in the place of data is no single record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.records.gaps import EVERY
from fhir_eligibility.data.records.pages import Page, lacking, page_of
from fhir_eligibility.runners.screening.criteria import Criteria
from tests.data.every_way import Outcomes, criteria, screened

BASE = "https://fhir.example.org/r4"
Resource = dict[str, Any]
PATIENTS = [{"resourceType": "Patient", "id": name} for name in ("a", "b")]


def observation(name: str, patient: str) -> Resource:
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": f"Patient/{patient}"},
    }


def page(*resources: Resource, kind: str = "searchset", **links: str) -> Resource:
    entries = [{"fullUrl": f"{BASE}/{one['resourceType']}/{one['id']}", "resource": one} for one in resources]
    link = [{"relation": relation.rstrip("_"), "url": url} for relation, url in links.items()]
    return {"resourceType": "Bundle", "type": kind, "link": link, "entry": entries}


def rules_of(folder: Path) -> Criteria:
    return criteria(folder, "Observation.exists()", "Condition.exists()")


def told(tmp_path: Path, data: dict[str, bytes], tolerate: int = 0) -> tuple[Outcomes, list[Problem]]:
    """Outcomes and problems, which are the same by each way of reading."""
    folder = tmp_path / "data"
    folder.mkdir(parents=True)
    for name, text in data.items():
        (folder / name).write_bytes(text)
    found = [
        (outcomes, [one.model_copy(update={"line": None}) for one in problems])
        for _, outcomes, problems in screened(rules_of(tmp_path / "criteria"), folder, tmp_path, tolerate)
    ]
    assert len(found) == 4 and all(one[0] == found[0][0] for one in found)
    shown = [sorted((p.code, p.file, p.type, p.patient, p.message) for p in one[1]) for one in found]
    assert shown == [shown[0]] * 4
    return found[0]


def files(*pages: Resource, lines: bool = False) -> dict[str, bytes]:
    patients = b"".join(json.dumps(one).encode() + b"\n" for one in PATIENTS)
    if lines:
        return {"Patient.ndjson": patients, "all.ndjson": b"".join(json.dumps(x).encode() + b"\n" for x in pages)}
    return {"Patient.ndjson": patients, **{f"{n}.json": json.dumps(x).encode() for n, x in enumerate(pages)}}


FIRST = {"self": f"{BASE}/Observation?_count=1", "next": f"{BASE}/Observation?_count=1&page=2"}


@pytest.mark.parametrize("lines", [False, True])
def test_a_page_that_goes_on_elsewhere_leaves_its_type_incomplete(tmp_path: Path, lines: bool) -> None:
    first = page(observation("o1", "a"), **FIRST)
    outcomes, problems = told(tmp_path, files(first, lines=lines))
    assert outcomes == {"Patient/a": ("excluded", "met", "not met"), "Patient/b": ("excluded", "unknown", "not met")}
    (problem,) = problems
    assert (problem.code, problem.severity, problem.type) == ("next-page-missing", "error", "Observation")
    assert FIRST["next"] in problem.message and problem.hint


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize(
    "links",
    [
        {"self": FIRST["next"]},
        {"self": FIRST["next"].replace("fhir.example.org", "10.0.0.7:8080")},
        {"self": f"{BASE}/Observation?page=2&_count=1"},
        {"self": f"{BASE}?_getpages=17", "previous": FIRST["self"]},
        {"prev": f"{BASE}/Observation?_count=1"},
    ],
)
def test_a_page_whose_next_one_is_there_is_whole(tmp_path: Path, links: dict[str, str], lines: bool) -> None:
    both = page(observation("o1", "a"), **FIRST), page(observation("o2", "b"), **links)
    outcomes, problems = told(tmp_path, files(*both, lines=lines))
    assert problems == []
    assert outcomes == dict.fromkeys(("Patient/a", "Patient/b"), ("excluded", "met", "not met"))


def test_what_is_missing_of_one_patient_leaves_others_alone(tmp_path: Path) -> None:
    own = f"{BASE}/Observation?patient=a&_count=1"
    outcomes, (problem,) = told(tmp_path, files(page(observation("o1", "b"), self=own, next=f"{own}&page=2")))
    assert problem.patient == "Patient/a"
    assert outcomes == {"Patient/a": ("excluded", "unknown", "not met"), "Patient/b": ("excluded", "met", "not met")}


def test_all_of_a_patient_may_go_on(tmp_path: Path) -> None:
    own = f"{BASE}/Patient/a/$everything"
    outcomes, (problem,) = told(tmp_path, files(page(PATIENTS[0], self=own, next=f"{BASE}?_getpages=x")))
    assert (problem.type, problem.patient) == (EVERY, "Patient/a")
    assert outcomes["Patient/a"] == ("undetermined", "unknown", "unknown")
    assert outcomes["Patient/b"] == ("excluded", "not met", "not met")


def test_pages_are_not_damaged_records_that_may_be_tolerated(tmp_path: Path) -> None:
    outcomes, _ = told(tmp_path, files(page(observation("o1", "a"), **FIRST)), tolerate=5)
    assert outcomes["Patient/b"][1] == "unknown"


@pytest.mark.parametrize("kind", ["collection", "batch-response", "transaction", "document"])
def test_other_bundles_have_no_pages(tmp_path: Path, kind: str) -> None:
    outcomes, problems = told(tmp_path, files(page(observation("o1", "a"), kind=kind, **FIRST)))
    assert problems == [] and outcomes["Patient/b"] == ("excluded", "not met", "not met")


def test_a_search_that_says_nothing_of_pages_is_whole(tmp_path: Path) -> None:
    only = page(observation("o1", "a"), self=f"{BASE}/Observation?code=x", alternate=f"{BASE}/x")
    assert told(tmp_path, files(only))[1] == []


@pytest.mark.parametrize(
    ("own", "kinds", "kind", "patient"),
    [
        (f"{BASE}/Observation", ["Observation"], "Observation", None),
        (f"{BASE}/Observation/_search?patient=Patient/a", ["Observation"], "Observation", "Patient/a"),
        (f"{BASE}/Observation?patient={quote('http://x.org/Patient/a', safe='')}", [], "Observation", "Patient/a"),
        (f"{BASE}/Observation?subject=Patient/a", [], "Observation", "Patient/a"),
        (f"{BASE}/Observation?subject=a", [], "Observation", None),
        (f"{BASE}/Observation?subject=Group/a", [], "Observation", None),
        (f"{BASE}/Observation?patient=a,b", [], "Observation", None),
        (f"{BASE}/Observation?patient=a&_include=Observation:encounter", ["Observation"], EVERY, None),
        (f"{BASE}/Patient?_revinclude=Observation:patient", ["Patient"], EVERY, None),
        (f"{BASE}/Patient/a/_history", ["Patient"], "Patient", "Patient/a"),
        (f"{BASE}/_history", ["Patient"], EVERY, None),
        (f"{BASE}?_getpages=7", ["Condition"], "Condition", None),
        (f"{BASE}?_getpages=7", ["Condition", "Patient"], EVERY, None),
        ("", ["Condition"], "Condition", None),
        ("", [], EVERY, None),
        ("http://[", ["Condition"], "Condition", None),
    ],
)
def test_of_which_type_and_patient_records_are_missing(
    own: str, kinds: list[str], kind: str, patient: str | None
) -> None:
    links = [{"relation": "self", "url": own}, {"relation": "next", "url": f"{BASE}?_getpages=8"}]
    found = page_of("searchset", links, [(one, None, "") for one in kinds])
    assert found is not None
    ((problem),) = lacking([found])
    assert (problem.type, problem.patient) == (kind, patient)


@pytest.mark.parametrize(
    "links", [None, {}, "x", [None, 7, "x"], [{"relation": 7, "url": "x"}], [{"relation": "next"}]]
)
def test_links_that_are_none_say_nothing(links: Any) -> None:
    assert page_of("searchset", links, []) is None


URLS = st.sampled_from([f"{BASE}/Observation?page={number}" for number in range(5)] + [""])


@given(st.lists(st.builds(Page, own=URLS, next=URLS, previous=URLS), max_size=6))
def test_each_page_is_followed_or_told(pages: list[Page]) -> None:
    """The order of pages makes no difference, and one more page never makes more problems but its own."""
    found = [problem.message for problem in lacking(pages)]
    assert sorted(found) == sorted(problem.message for problem in lacking(pages[::-1]))
    for page in pages:
        following = {other.own for other in pages}, {other.previous for other in pages}
        followed = not page.next or page.next in following[0] or (page.own and page.own in following[1])
        assert followed or any(page.next in message for message in found)
    assert len(found) <= len([page for page in pages if page.next])


OUTCOME = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "error", "code": "processing", "diagnostics": "stopped"}],
}


@pytest.mark.parametrize("lines", [1, 3])
def test_what_a_server_says_among_lines_is_no_record_that_may_be_tolerated(tmp_path: Path, lines: int) -> None:
    """It tells of nobody knows how many records that are missing."""
    listed = [json.dumps(one).encode() + b"\n" for one in [observation("o1", "a"), *[OUTCOME] * lines]]
    data = {**files(), "Observation.ndjson": b"".join(listed)}
    outcomes, problems = told(tmp_path, data, tolerate=5)
    assert [one.code for one in problems] == ["server-error"] * lines
    assert outcomes == {"Patient/a": ("excluded", "met", "not met"), "Patient/b": ("excluded", "unknown", "not met")}


def test_an_answer_to_one_entry_is_one_record(tmp_path: Path) -> None:
    entries: list[Resource] = [
        {"resource": observation("o1", "a")},
        {"response": {"status": "500", "outcome": OUTCOME}},
    ]
    bundle = {"resourceType": "Bundle", "type": "batch-response", "entry": entries}
    data = {**files(), "Observation.json": json.dumps(bundle).encode()}
    assert told(tmp_path / "one", data)[0]["Patient/b"][1] == "unknown"
    assert told(tmp_path / "other", data, tolerate=1)[0]["Patient/b"][1] == "not met"


def counted(total: Any, *resources: Resource, modes: dict[str, str] | None = None, **links: str) -> Resource:
    """A page that says how many matches there are; `modes` are those of entries, by the id of the resource."""
    found = page(*resources, **links)
    for entry in found["entry"]:
        mode = (modes or {}).get(entry["resource"]["id"])
        if mode is not None:
            entry["search"] = {"mode": mode}
    return {**found, "total": total}


FOUND = f"{BASE}/Observation?code=x"
ONE, TWO = observation("o1", "a"), observation("o2", "b")
SHORT = {
    "without links": [counted(2, ONE)],
    "with a link": [counted(2, ONE, self=FOUND)],
    "in whose entries what is included is no match": [
        counted(2, ONE, PATIENTS[0], modes={"o1": "match", "a": "include"}, self=FOUND)
    ],
    "of two pages": [counted(3, ONE, **FIRST), counted(3, TWO, self=FIRST["next"])],
    "whose first page is missing": [counted(2, ONE, self=FIRST["next"], previous=FIRST["self"])],
    "that is there twice": [counted(2, ONE, self=FOUND), counted(2, ONE, self=FOUND)],
    "of nothing that is here": [counted(2, self=FOUND)],
}
WHOLE = {
    "of as many": [counted(1, ONE, self=FOUND)],
    "of more than the server counts": [counted(1, ONE, observation("o3", "b"))],
    "of two pages": [counted(2, ONE, **FIRST), counted(2, TWO, self=FIRST["next"])],
    "of two pages, the last of which tells how many": [
        counted(50, ONE, **FIRST),
        counted(2, TWO, self=FIRST["next"], previous=FIRST["self"]),
    ],
    "that asks for the number": [counted(2, self=f"{FOUND}&_summary=count")],
    "that has an estimate": [counted(2, ONE, self=f"{FOUND}&_total=estimate")],
    "that does not count": [page(ONE, self=FOUND)],
    "whose count is none": [counted("2", ONE, self=FOUND)],
    "whose pages all have the link of the first": [counted(2, ONE, self=FOUND), counted(2, TWO, self=FOUND)],
    "that finds nothing": [counted(0, self=FOUND)],
}


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("pages", SHORT.values(), ids=SHORT.keys())
def test_a_search_that_found_more_than_is_here_leaves_its_type_incomplete(
    tmp_path: Path, pages: list[Resource], lines: bool
) -> None:
    outcomes, problems = told(tmp_path, files(*pages, observations_of_nobody_else(), lines=lines))
    errors = {(one.code, one.type) for one in problems if one.severity == "error"}
    assert errors == {("matches-missing", "Observation")}
    assert outcomes["Patient/b"][1:] == (
        "met" if any(TWO in [e["resource"] for e in p["entry"]] for p in pages) else "unknown",
        "not met",
    )


def observations_of_nobody_else() -> Resource:
    """A search that is whole, beside the one that is not."""
    return counted(0, self=f"{BASE}/Encounter?x=y")


@pytest.mark.parametrize("pages", WHOLE.values(), ids=WHOLE.keys())
def test_a_search_is_whole_where_its_matches_are_here(tmp_path: Path, pages: list[Resource]) -> None:
    outcomes, problems = told(tmp_path, files(*pages))
    assert [one for one in problems if one.severity == "error"] == []
    assert "unknown" not in outcomes["Patient/b"]


def test_all_of_a_patient_counts_what_is_included(tmp_path: Path) -> None:
    own = f"{BASE}/Patient/a/$everything"
    modes = {"a": "match", "o1": "include"}
    assert told(tmp_path / "1", files(counted(2, PATIENTS[0], ONE, modes=modes, self=own)))[1] == []
    outcomes, (problem,) = told(tmp_path / "2", files(counted(3, PATIENTS[0], ONE, modes=modes, self=own)))
    assert (problem.code, problem.type, problem.patient) == ("matches-missing", EVERY, "Patient/a")
    assert outcomes["Patient/b"] == ("excluded", "not met", "not met")


def test_matches_that_are_missing_are_not_tolerated(tmp_path: Path) -> None:
    assert told(tmp_path, files(counted(2, ONE)), tolerate=5)[0]["Patient/b"][1] == "unknown"
