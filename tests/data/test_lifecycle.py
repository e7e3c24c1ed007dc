"""Which version of a record counts: what is said of it in several places, deletions among it, in any order of files - on every way of reading."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.patients.reader import read_patients
from fhir_eligibility.data.records.lifecycle import Moment, Said, moment_of, newer, newest, version_number
from fhir_eligibility.data.records.record_versions import content_of
from tests.runners.ways import NOW, criteria_of, every_problem, outcomes_of, problems_of, the_outcomes, write
from tests.shared import shared

Resource = dict[str, Any]
SYSTEM = "http://example.org/codes"
DOUBT = "unknown (conflicting-records)"
CODED = "Condition.where(code.coding.exists(system = 'http://example.org/codes' and code = '{}')).exists()"
PATIENT = {"resourceType": "Patient", "id": "p"}


def day(number: int) -> str:
    return f"2026-01-{number:02}T00:00:00Z"


def condition(name: str = "c", code: str = "x", day_of: int | None = None, about: str = "p", **more: Any) -> Resource:
    coding = [{"system": SYSTEM, "code": code}]
    found = {"resourceType": "Condition", "id": name, "subject": {"reference": f"Patient/{about}"}, "code": {"coding": coding}}  # fmt: skip
    if day_of is not None:
        found["meta"] = {"lastUpdated": day(day_of)}
    return found | more


def deletion(url: Any, bundle: Resource | None = None, **entry: Any) -> Resource:
    """A line of a file of deletions."""
    entries = [{"request": {"method": "DELETE", "url": url}, **entry}]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries, **(bundle or {})}


def version(resource: Resource, method: str = "PUT", modified: str | None = None) -> Resource:
    """An entry of a history bundle."""
    response = {"status": "200"} | ({} if modified is None else {"lastModified": modified})
    url = f"{resource['resourceType']}/{resource['id']}"
    return {"fullUrl": f"http://h.example/{url}", "resource": resource, "request": {"method": method, "url": url}, "response": response}  # fmt: skip


def gone(url: str, modified: str | None = None) -> Resource:
    """An entry of a history bundle that tells a deletion."""
    response = {"status": "204"} | ({} if modified is None else {"lastModified": modified})
    return {"fullUrl": f"http://h.example/{url}", "request": {"method": "DELETE", "url": url}, "response": response}


def history(*entries: Resource) -> Resource:
    return {"resourceType": "Bundle", "type": "history", "entry": list(entries)}


def manifest(time: str, *names: str, deleted: tuple[str, ...] = ()) -> Resource:
    listed = [{"type": name.partition(".")[0], "url": f"https://h.example/{name}"} for name in names]
    removed = [{"type": "Bundle", "url": f"https://h.example/{name}"} for name in deleted]
    return {"transactionTime": time, "request": "https://h.example/$export", "output": listed, "deleted": removed}


Files = dict[str, list[Resource]]


def written(files: Files, folder: Path) -> Path:
    """Files, in folders of their own where their names have such."""
    by_folder: dict[str, Files] = {}
    for name, resources in files.items():
        place, _, last = name.rpartition("/")
        by_folder.setdefault(place, {})[last] = resources
    for place, held in by_folder.items():
        write(held, folder / place if place else folder)
    return folder


@pytest.fixture
def asked(tmp_path: Path) -> fhir_eligibility.Criteria:
    return criteria_of(tmp_path / "criteria", CODED.format("x"), CODED.format("y"), language="text/fhirpath")


# -- order


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"moment": 2}, {"moment": 1}, True),
        ({"moment": 1, "version": 9}, {"moment": 2, "version": 1}, False),
        ({"moment": 1, "version": 2}, {"moment": 1, "version": 10}, False),
        ({"version": 10}, {"version": 9}, True),
        ({"moment": 2}, {}, None),
        ({"moment": 1}, {"moment": 1}, None),
        ({"seen": 2}, {"seen": 1}, True),
        ({"moment": 1, "seen": 2}, {"seen": 1}, True),
        ({"moment": 1, "seen": 3}, {"moment": 2, "seen": 2}, False),
        ({"seen": 2}, {"moment": 1}, True),
        ({"seen": 1}, {"moment": 2}, False),
        ({"rank": 2, "bundle": ("b",)}, {"rank": 1, "bundle": ("b",)}, True),
        ({"rank": 2, "bundle": ("b",)}, {"rank": 1, "bundle": ("c",)}, None),
        ({"gone": True, "moment": 2}, {"moment": 1}, True),
        ({"gone": True, "moment": 1}, {"moment": 2}, False),
        ({"gone": True, "seen": 2}, {"moment": 1}, True),
        ({"gone": True, "seen": 2}, {"seen": 1}, True),
        ({"gone": True, "seen": 1}, {"seen": 2}, False),
        # what an export still has after the deletion is there again
        ({"gone": True, "seen": 2}, {"moment": 1, "seen": 3}, False),
        # told together, the deletion is what came last
        ({"gone": True, "seen": 2}, {"seen": 2}, True),
        ({"gone": True}, {}, True),
        ({"gone": True, "folder": "a"}, {"folder": "b"}, None),
        ({"gone": True, "folder": "a", "version": 3}, {"folder": "b", "version": 3}, True),
        ({"gone": True, "folder": "a", "version": 3}, {"folder": "b", "version": 4}, False),
        ({"gone": True, "bundle": ("b",), "contested": True}, {"bundle": ("b",)}, None),
    ],
)
def test_what_was_said_later(one: dict[str, Any], other: dict[str, Any], expected: bool | None) -> None:
    def said(given: dict[str, Any]) -> Said:
        moments = {name: moment_of(day(given[name])) for name in ("moment", "seen") if name in given}
        return Said(**{**given, **moments})

    assert newer(said(one), said(other)) is expected
    assert newer(said(other), said(one)) is (None if expected is None else not expected)


def test_moments() -> None:
    exact, other = moment_of("2026-01-01T12:00:00Z"), moment_of("2026-01-01T07:00:00-05:00")
    assert exact is not None and exact == other and exact.low == exact.high
    later = moment_of("2026-01-01T12:00:00.001Z")
    assert later is not None and later.after(exact)
    # without a zone, or of a day, it is not known when: only what is certainly later is
    local, whole_day = moment_of("2026-01-01T12:00:00"), moment_of("2026-01-01")
    for uncertain in (local, whole_day):
        assert uncertain is not None and not uncertain.after(exact) and not exact.after(uncertain)
        next_week = moment_of(day(8))
        assert next_week is not None and next_week.after(uncertain)
    for odd in ("", "yesterday", "2026", None, 5, ["2026-01-01"], "0001-01-01", "9999-12-31T23:59:59"):
        assert moment_of(odd) is None
    assert [version_number(value) for value in ("10", 9, "1.0", "", None, True, "x", "9" * 50)] == [10, 9, *[None] * 6]


MOMENTS = st.one_of(st.none(), st.integers(1, 4).map(lambda number: moment_of(day(number))))
SAID = st.builds(
    Said,
    gone=st.booleans(),
    moment=MOMENTS,
    version=st.one_of(st.none(), st.integers(1, 3)),
    seen=MOMENTS,
    folder=st.sampled_from(["a", "b"]),
    content=st.sampled_from([b"1", b"2"]),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(SAID, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_the_newest_is_the_same_in_any_order(said: list[Said], chance: random.Random) -> None:
    found = {said[place] for place in newest(said)}
    assert found
    shuffled = list(said)
    chance.shuffle(shuffled)
    assert {shuffled[place] for place in newest(shuffled)} == found


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=65, max_size=200, unique=True))
def test_the_newest_of_many(seconds: list[int]) -> None:
    import datetime as dt

    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    moments = [start + dt.timedelta(seconds=number) for number in seconds]
    said = [Said(moment=Moment(moment, moment), content=str(moment).encode()) for moment in moments]
    assert newest(said) == [seconds.index(max(seconds))]


def test_content_is_what_is_said_and_not_how_it_is_written() -> None:
    one = {"resourceType": "Observation", "id": "o", "status": "final", "valueQuantity": {"value": 1, "code": "mg"}}
    assert content_of(one) == content_of({name: one[name] for name in reversed(one)})
    assert content_of(one) == content_of({**one, "meta": {"versionId": "2", "lastUpdated": day(1)}})
    assert content_of(one) != content_of({**one, "meta": {"tag": [{"code": "x"}]}})
    assert content_of(one) != content_of({**one, "note": [{"text": "x"}]})
    assert content_of({"a": "\ud800"}) != content_of({"a": "\ud801"})


# -- deletions

NAMED = [
    "Condition/c",
    "/Condition/c",
    "http://h.example/fhir/Condition/c",
    "https://h.example/Condition/c/",
    "Condition/c/_history/3",
    "http://h.example/fhir/Condition/c/_history/1",
    "Condition%2Fc",
    "Condition/%63",
    " Condition/c ",
    "condition/c",
    "./Condition/c",
    "fhir/Condition/c",
    "Condition/c?_cascade=delete",
    "Condition?_id=c",
    "Condition?identifier=http://h.example/ids|7",
    "Condition?identifier=http%3A%2F%2Fh.example%2Fids%7C7&_format=json",
    "http://h.example/fhir/Condition?identifier=7",
    "Condition?identifier=8,7",
    "Condition?identifier=http://h.example/ids|",
]
OTHERS = [
    "Condition/d",
    "Condition/cc",
    "Condition/c/_history",
    "Condition",
    "/Condition/",
    "http://h.example/fhir/Condition",
    "Condition?",
    "Condition?_count=5",
    "Condition?code=x",
    "Condition?identifier=http://h.example/ids|8",
    "Condition?identifier=http://h.example/other|7",
    "Condition?identifier=|7",
    "Condition?identifier:not=7",
    "Condition?_id=c&identifier=8",
    "Observation/c",
    "Patient/c",
    "?_id=c",
    "c",
    "",
    "urn:uuid:c",
    "http://other.example/search",
    "Nonsense/c",
]


@pytest.mark.parametrize("url", [*NAMED, *OTHERS])
@pytest.mark.parametrize("form", ["file", "bundle"])
def test_deletions_by_every_kind_of_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: fhir_eligibility.Criteria, url: str, form: str
) -> None:
    identifier = [{"system": "http://h.example/ids", "value": "7"}]
    records = [PATIENT, condition(identifier=identifier), condition("z", "y")]
    if form == "file":
        files: Files = {"records.ndjson": records, "deleted.ndjson": [deletion(url)]}
    else:
        entries = [{"resource": one} for one in records]
        files = {"b.json": [{**deletion(url), "entry": [*entries, *deletion(url)["entry"]]}]}
    data = written(files, tmp_path / "data")
    found = the_outcomes(asked, data, tmp_path / "out", monkeypatch)
    assert found == {"Patient/p": ["not met" if url in NAMED else "met", "met"]}
    codes = {code for code, _ in problems_of(asked, data)["memory"]}
    assert problems_of(asked, data)["plan"] == problems_of(asked, data)["memory"]
    plainly_others = {"Condition/d", "Condition/cc", "Observation/c", "Patient/c", "urn:uuid:c"}
    if url in NAMED:
        assert codes == {"deleted"}
    elif url in plainly_others or url == "http://other.example/search":
        assert codes == set()
    else:
        assert codes in ({"deletion-not-understood"}, {"deletion-finds-nothing"})


@pytest.mark.parametrize("url", [None, 7, {"a": 1}])
def test_a_deletion_without_a_usable_url_goes_by_its_fullurl(
    tmp_path: Path, asked: fhir_eligibility.Criteria, url: Any
) -> None:
    records = [PATIENT, condition()]
    lines = [deletion(url, fullUrl="http://h.example/Condition/c")]
    data = written({"records.ndjson": records, "deleted.ndjson": lines}, tmp_path / "data")
    outcomes = outcomes_of(fhir_eligibility.screen(asked, data, now=NOW))
    codes = {code for code, _ in problems_of(asked, data)["memory"]}
    assert (outcomes, codes) == (
        ({"Patient/p": ["not met", "not met"]}, {"deleted"})
        if url is None
        else ({"Patient/p": ["met", "not met"]}, {"deletion-not-understood"})
    )


def test_a_search_that_finds_several_may_have_been_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: fhir_eligibility.Criteria
) -> None:
    same = [{"system": "s", "value": "7"}]
    records = [PATIENT, condition(identifier=same), condition("d", identifier=same), condition("z", "y")]
    files = {"records.ndjson": records, "deleted.ndjson": [deletion("Condition?identifier=s|7")]}
    found = the_outcomes(asked, written(files, tmp_path / "data"), tmp_path / "out", monkeypatch)
    assert found == {"Patient/p": [DOUBT, "met"]}


def test_a_transaction_deletes_before_it_creates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: fhir_eligibility.Criteria
) -> None:
    same = [{"system": "s", "value": "7"}]
    entries = [
        {"resource": PATIENT, "request": {"method": "PUT", "url": "Patient/p"}},
        {"resource": condition(identifier=same), "request": {"method": "POST", "url": "Condition"}},
        # the same resource twice in one transaction makes it fail as a whole (http.html#trules)
        {"resource": condition("d", "y"), "request": {"method": "PUT", "url": "Condition/d"}},
        {"request": {"method": "DELETE", "url": "Condition?identifier=s|7"}},
        {"request": {"method": "DELETE", "url": "Condition/d"}},
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    data = written({"b.json": [bundle], "more.ndjson": [condition("z", "x", identifier=same)]}, tmp_path / "data")
    assert the_outcomes(asked, data, tmp_path / "out", monkeypatch) == {"Patient/p": ["met", DOUBT]}
    assert ("deleted", "Condition/z") in problems_of(asked, data)["memory"]


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("url", ["Patient/p", "http://h.example/Patient/p", "Patient?identifier=s|1"])
def test_a_deleted_patient_has_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: fhir_eligibility.Criteria, described: bool, url: str
) -> None:
    person = [{**PATIENT, "identifier": [{"system": "s", "value": "1"}]}] if described else []
    if not described and "?" in url:
        return
    records = [*person, condition(), condition("d", about="q"), {"resourceType": "Patient", "id": "q"}]
    files = {"records.ndjson": records, "deleted.ndjson": [deletion(url)]}
    data = written(files, tmp_path / "data")
    assert the_outcomes(asked, data, tmp_path / "out", monkeypatch) == {"Patient/q": ["met", "not met"]}
    for listed in problems_of(asked, data).values():
        assert listed == {("deleted", "Patient/p")}


def test_on_another_server_it_is_another_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: fhir_eligibility.Criteria
) -> None:
    entries = [
        {"fullUrl": "http://a.example/Patient/p", "resource": PATIENT},
        {"fullUrl": "http://a.example/Condition/c", "resource": condition()},
        {"fullUrl": "http://a.example/Condition/d", "resource": condition("d", "y")},
    ]
    bundle = {"resourceType": "Bundle", "type": "searchset", "entry": entries}
    lines = [deletion("http://b.example/Condition/c"), deletion("http://a.example/Condition/d")]
    data = written({"b.json": [bundle], "deleted.ndjson": lines}, tmp_path / "data")
    assert the_outcomes(asked, data, tmp_path / "out", monkeypatch) == {"Patient/p": ["met", "not met"]}


# -- versions

CASES: list[tuple[str, Files, list[str]]] = [
    ("newest by time", {"a.ndjson": [condition(day_of=1)], "b.ndjson": [condition("c", "y", 2)]}, ["not met", "met"]),
    (
        "newest by number",
        {"a.ndjson": [condition(meta={"versionId": "9"})], "b.ndjson": [condition("c", "y", meta={"versionId": "10"})]},
        ["not met", "met"],
    ),
    ("no order", {"a.ndjson": [condition()], "b.ndjson": [condition("c", "y")]}, [DOUBT, DOUBT]),
    ("one without time", {"a.ndjson": [condition()], "b.ndjson": [condition("c", "y", 2)]}, [DOUBT, DOUBT]),
    ("no order, no matter", {"a.ndjson": [condition()], "b.ndjson": [condition(note=[{"text": "n"}])]}, ["met", "not met"]),
    ("the same", {"a.ndjson": [condition()], "b.ndjson": [condition()]}, ["met", "not met"]),
    ("the same, dated", {"a.ndjson": [condition(day_of=1)], "b.ndjson": [condition()]}, ["met", "not met"]),
    ("old ones apart", {"a.ndjson": [condition(day_of=1), condition("c", "y", 2)], "b.ndjson": [condition("c", "z", 3)]}, ["not met", "not met"]),
    ("of another patient", {"a.ndjson": [condition()], "b.ndjson": [condition(about="q")]}, [DOUBT, "not met"]),
    ("in error", {"a.ndjson": [condition(day_of=1)], "b.ndjson": [condition(day_of=2, verificationStatus={"coding": [{"code": "entered-in-error"}]})]}, ["not met", "not met"]),
    ("in error before", {"a.ndjson": [condition(day_of=2)], "b.ndjson": [condition(day_of=1, verificationStatus={"coding": [{"code": "entered-in-error"}]})]}, ["met", "not met"]),
    ("in error, no order", {"a.ndjson": [condition()], "b.ndjson": [condition(verificationStatus={"coding": [{"code": "entered-in-error"}]})]}, [DOUBT, "not met"]),
    ("deleted beside", {"a.ndjson": [condition()], "b.ndjson": [deletion("Condition/c")]}, ["not met", "not met"]),
    ("deleted in the folder of deletions", {"output/a.ndjson": [condition()], "deleted/b.ndjson": [deletion("Condition/c")]}, ["not met", "not met"]),
    ("deleted in another export", {"one/a.ndjson": [condition()], "two/b.ndjson": [deletion("Condition/c")]}, [DOUBT, "not met"]),
    ("deleted before", {"one/a.ndjson": [condition(day_of=3)], "two/b.ndjson": [deletion("Condition/c", {"meta": {"lastUpdated": day(2)}})]}, ["met", "not met"]),
    ("deleted after", {"one/a.ndjson": [condition(day_of=1)], "two/b.ndjson": [deletion("Condition/c", {"timestamp": day(2)})]}, ["not met", "not met"]),
    ("deleted between versions", {"a.ndjson": [condition(day_of=1), condition("c", "y", 3)], "b.ndjson": [deletion("Condition/c")]}, ["not met", DOUBT]),
    (
        "incremental exports",
        {
            "1/manifest.json": [manifest(day(1), "Condition.ndjson")], "1/Condition.ndjson": [condition(), condition("d", "y")],
            "2/manifest.json": [manifest(day(2), "Condition.ndjson", deleted=("gone.ndjson",))], "2/gone.ndjson": [deletion("Condition/c")], "2/Condition.ndjson": [condition("d", "z")],
        },
        ["not met", "not met"],
    ),
    (
        "there again in a later export",
        {
            "1/manifest.json": [manifest(day(3), "Condition.ndjson")], "1/Condition.ndjson": [condition("c", "y")],
            "2/manifest.json": [manifest(day(2), deleted=("gone.ndjson",))], "2/gone.ndjson": [deletion("Condition/c")],
            "3/manifest.json": [manifest(day(1), "Condition.ndjson")], "3/Condition.ndjson": [condition()],
        },
        ["not met", "met"],
    ),
    ("created again", {"h.json": [history(version(condition("c", "y", 3)), gone("Condition/c", day(2)), version(condition(day_of=1)))]}, ["not met", "met"]),
    ("deleted at last", {"h.json": [history(gone("Condition/c", day(4)), version(condition("c", "y", 3)), version(condition(day_of=1)))]}, ["not met", "not met"]),
    ("by their places alone", {"h.json": [history(version(condition("c", "y")), gone("Condition/c"), version(condition()))]}, ["not met", "met"]),
    ("times before places", {"h.json": [history(version(condition(day_of=1)), gone("Condition/c", day(2)), version(condition("c", "y", 3)))]}, ["not met", "met"]),
    ("times of responses", {"h.json": [history(version(condition(), modified=day(1)), gone("Condition/c", day(2)), version(condition("c", "y"), modified=day(3)))]}, ["not met", "met"]),
    ("a history and an older file", {"h.json": [history(gone("Condition/c", day(4)))], "a.ndjson": [condition(day_of=1)]}, ["not met", "not met"]),
    ("a history and a newer file", {"h.json": [history(gone("Condition/c", day(4)))], "a.ndjson": [condition(day_of=5)]}, ["met", "not met"]),
]  # fmt: skip


@pytest.mark.parametrize(("files", "expected"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_what_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: fhir_eligibility.Criteria, files: Files, expected: list[str]
) -> None:
    data = written({"p/Patient.ndjson": [PATIENT], **files}, tmp_path / "data")
    found = the_outcomes(asked, data, tmp_path / "out", monkeypatch)
    assert found.pop("Patient/p") == expected
    assert found in ({}, {"Patient/q": [DOUBT, "not met"]})


@pytest.mark.parametrize("turned", [False, True])
def test_the_order_of_files_makes_no_difference(tmp_path: Path, asked: fhir_eligibility.Criteria, turned: bool) -> None:
    one, other = tmp_path / "a", tmp_path / "b"
    written({"Patient.ndjson": [PATIENT], "c.ndjson": [condition()]}, one)
    written({"c.ndjson": [condition("c", "y")]}, other)
    paths = [other, one] if turned else [one, other]
    memory = list(read_patients(paths, model=load_model("r4"), on_problem=lambda problem: None))
    for data in (paths, memory):
        (verdict,) = fhir_eligibility.screen(asked, data, now=NOW)
        assert [c.outcome for c in verdict.criteria] == ["unknown", "unknown"]
        assert [(c.reason, c.detail) for c in verdict.criteria] == [
            ("conflicting-records", "Condition/c stands in a/c.ndjson and b/c.ndjson with different content, and nothing tells which is the newest")
        ] * 2  # fmt: skip


def test_a_conflict_is_an_error_that_names_both_places(tmp_path: Path, asked: fhir_eligibility.Criteria) -> None:
    files = {"Patient.ndjson": [PATIENT], "a.ndjson": [condition()], "b.ndjson": [condition("z"), condition("c", "y")]}
    data = written(files, tmp_path / "data")
    for way, listed in every_problem(asked, data).items():
        found = {(p.code, p.severity, Path(p.file or "").name, p.resource) for p in listed}
        assert found == {("conflicting-versions", "error", name, "Condition/c") for name in ("a.ndjson", "b.ndjson")}
        assert all("a.ndjson and b.ndjson" in p.message for p in listed), way


def test_persons_of_one_id_from_two_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: fhir_eligibility.Criteria
) -> None:
    """Where nothing tells that one is a change of the other, and they cannot be one person, nobody knows whose the records are."""
    files = {
        "a/Patient.ndjson": [{**PATIENT, "birthDate": "1950-01-01"}],
        "a/Condition.ndjson": [condition()],
        "b/Patient.ndjson": [{**PATIENT, "birthDate": "1990-05-05"}],
    }
    found = the_outcomes(asked, written(files, tmp_path / "data"), tmp_path / "out", monkeypatch)
    assert found == {"Patient/p": [DOUBT, DOUBT]}
    ages = criteria_of(tmp_path / "ages", "Patient.birthDate < @1960", CODED.format("x"), language="text/fhirpath")
    dated = [{**PATIENT, "birthDate": date, "meta": {"lastUpdated": day(n)}} for n, date in ((2, "1950"), (1, "1990"))]
    data = written({"Patient.ndjson": dated, "Condition.ndjson": [condition()]}, tmp_path / "dated")
    assert the_outcomes(ages, data, tmp_path / "out2", monkeypatch) == {"Patient/p": ["met", "met"]}
    one = [{"system": "s", "value": "1"}]
    same = [{**PATIENT, "identifier": one, "birthDate": date} for date in ("1950", "1990")]
    data = written({"Patient.ndjson": same, "Condition.ndjson": [condition()]}, tmp_path / "same")
    assert the_outcomes(ages, data, tmp_path / "out3", monkeypatch) == {"Patient/p": [DOUBT, "met"]}


def test_what_is_about_nobody_may_be_in_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [{"resourceType": "Location", "id": "l", "name": name} for name in ("Ward", "Emergency")]
    data = written({"Patient.ndjson": [PATIENT], "a.ndjson": places[:1], "b.ndjson": places[1:]}, tmp_path / "data")
    criteria = criteria_of(
        tmp_path / "c", "exists ([Location] L where L.name = 'Ward')", "Count([Location]) = 1", "exists [Organization]"
    )
    assert the_outcomes(criteria, data, tmp_path / "out", monkeypatch) == {"Patient/p": [DOUBT, "met", "not met"]}


def test_a_reference_leads_to_a_record_in_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def encounter(status: str) -> Resource:
        return {"resourceType": "Encounter", "id": "e", "status": status, "subject": {"reference": "Patient/q"}}

    about = condition(encounter={"reference": "Encounter/e"})
    files = {"Patient.ndjson": [PATIENT, {"resourceType": "Patient", "id": "q"}], "Condition.ndjson": [about]}
    more = {"a.ndjson": [encounter("finished")], "b.ndjson": [encounter("planned")]}
    path = "Condition.encounter.resolve().ofType(Encounter).status = 'finished'"
    criteria = criteria_of(tmp_path / "c", f"({path}) = true", "Condition.exists()", language="text/fhirpath")
    found = the_outcomes(criteria, written({**files, **more}, tmp_path / "data"), tmp_path / "out", monkeypatch)
    assert found["Patient/p"] == [DOUBT, "met"]


# -- any history of any records


@dataclass
class Truth:
    """What a record was in the end, and all that happened to it: at a time, with the code that it had (None: it was deleted)."""

    name: str
    events: list[tuple[int, str | None]] = field(default_factory=list)

    @property
    def last(self) -> str | None:
        return self.events[-1][1]


def histories(chance: random.Random) -> list[Truth]:
    """Records, each with what happened to it at different times."""
    found = []
    for number in range(3):
        truth = Truth(f"c{number}")
        times = sorted(chance.sample(range(2, 20), chance.randint(1, 4)))
        for place, time in enumerate(times):
            deleted = place > 0 and truth.last is not None and chance.random() < 0.4
            truth.events.append((time, None if deleted else chance.choice("xyz")))
        found.append(truth)
    return found


def published(truths: list[Truth], dated: bool, chance: random.Random) -> Files:
    """The events in files: histories, exports with the time of each in a manifest, and single files with the time in each record. The last event of each record is there."""
    times = sorted({time for truth in truths for time, _ in truth.events})
    cuts = sorted({*chance.sample(times, min(len(times), 2)), times[-1]})
    files: Files = {"p/Patient.ndjson": [PATIENT]}
    before = 0
    folders = [f"f{number}" for number in range(len(cuts))]
    chance.shuffle(folders)
    for folder, cut in zip(folders, cuts, strict=True):
        of_export = [(truth, [event for event in truth.events if before < event[0] <= cut]) for truth in truths]
        before = cut
        form = chance.choice(["history", "export", "dated"] if dated else ["history", "export", "undated"])
        files |= {f"{folder}/{name}": lines for name, lines in form_of(form, of_export, cut, dated, chance).items()}
    return files


def form_of(form: str, events: list[tuple[Truth, list[tuple[int, str | None]]]], cut: int, dated: bool, chance: random.Random) -> Files:  # fmt: skip
    if form == "history":
        entries = [
            (time, version(condition(truth.name, code, time if dated else None)) if code is not None else gone(f"Condition/{truth.name}", day(time) if dated else None))
            for truth, happened in events
            for time, code in happened
        ]  # fmt: skip
        entries.sort(key=lambda pair: -pair[0])
        return {"h.json": [history(*(entry for _, entry in entries))]} if entries else {}
    records, removed = [], []
    for truth, happened in events:
        for time, code in happened[-1:]:
            if code is not None:
                records.append(condition(truth.name, code, time if form == "dated" else None))
            else:
                stamp = {"meta": {"lastUpdated": day(time)}} if form == "dated" else None
                removed.append(deletion(f"Condition/{truth.name}", stamp))
    chance.shuffle(records)
    files: Files = {name: lines for name, lines in (("Condition.ndjson", records), ("gone.ndjson", removed)) if lines}
    if form == "export" and files:
        names = [name for name in files if name == "Condition.ndjson"]
        files["manifest.json"] = [manifest(day(cut), *names, deleted=("gone.ndjson",) if removed else ())]
    return files


def judged(criteria: fhir_eligibility.Criteria, data: Path) -> Iterator[dict[str, list[str]]]:
    memory = list(read_patients([data], model=load_model("r4"), on_problem=lambda problem: None))
    yield outcomes_of(fhir_eligibility.screen(criteria, memory, now=NOW))
    yield outcomes_of(fhir_eligibility.screen(criteria, data, now=NOW))


@pytest.fixture(scope="module")
def each(tmp_path_factory: pytest.TempPathFactory) -> fhir_eligibility.Criteria:
    """Whether each record has each code."""
    listed = [f"Condition.where(id = 'c{n}' and code.coding.exists(code = '{code}')).exists()" for n in range(3) for code in "xyz"]  # fmt: skip
    return criteria_of(tmp_path_factory.mktemp("each"), *listed, language="text/fhirpath")


def wanted(truths: list[Truth]) -> list[str]:
    return ["met" if truth.last == code else "not met" for truth in truths for code in "xyz"]


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_what_is_dated_comes_to_the_truth_and_nothing_comes_to_anything_else(
    tmp_path: Path, each: fhir_eligibility.Criteria, first: int
) -> None:
    unknown = 0
    for seed in range(first, first + 20):
        chance = random.Random(seed)
        truths, dated = histories(chance), seed % 2 == 0
        data = written(published(truths, dated, chance), tmp_path / str(seed))
        expected = wanted(truths)
        found = list(judged(each, data))
        assert found[0] == found[1], seed
        outcomes = found[0]["Patient/p"]
        if dated:
            assert (seed, outcomes) == (seed, expected)
        else:
            unknown += outcomes.count(DOUBT)
            assert {pair for pair in zip(outcomes, expected, strict=True) if pair[0] != pair[1]} <= {
                (DOUBT, "met"),
                (DOUBT, "not met"),
            }, seed
    assert unknown


@pytest.mark.parametrize("seed", range(4))
def test_all_ways_come_to_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, each: fhir_eligibility.Criteria, seed: int
) -> None:
    chance = random.Random(1000 + seed)
    truths = histories(chance)
    data = written(published(truths, True, chance), tmp_path / "data")
    assert the_outcomes(each, data, tmp_path / "out", monkeypatch) == {"Patient/p": wanted(truths)}


def test_every_order_of_statements_without_dates_comes_to_the_same(
    tmp_path: Path, asked: fhir_eligibility.Criteria
) -> None:
    said = [[condition(day_of=1)], [condition("c", "y", 2)], [condition("c", "x")], [deletion("Condition/c")]]
    expected: Any = None
    for number, order in enumerate(permutations(said)):
        files = {f"{place}/{place}.ndjson": lines for place, lines in enumerate(order)}
        data = written({"p/Patient.ndjson": [PATIENT], **files}, tmp_path / str(number))
        found = [[outcome[: len(DOUBT)] for outcome in one["Patient/p"]] for one in judged(asked, data)]
        expected = expected or found
        assert found == expected == [[DOUBT, DOUBT], [DOUBT, DOUBT]]


# -- cases that were found


@pytest.mark.parametrize(
    ("data", "expected", "told"),
    [
        ("conddel", {"urn:uuid:00000000-0000-4000-8000-000000000001": ["met"]}, {"deletion-finds-nothing"}),
        ("delabs", {"Patient/p1": ["not met"]}, {"deleted"}),
        ("delslash", {"Patient/p1": ["not met"]}, {"deleted"}),
        ("delpat", {}, {"deleted"}),
        ("hist", {"Patient/p1": ["met"]}, set()),
        ("twosrv", {"Patient/1": [DOUBT]}, {"conflicting-versions"}),
    ],
)
def test_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, expected: dict[str, list[str]], told: set[str]
) -> None:
    criteria = fhir_eligibility.load_criteria(shared("faults", "data", "crit", "basic"))
    folder = shared("faults", "data", "t", data)
    if expected:
        assert the_outcomes(criteria, folder, tmp_path / "out", monkeypatch) == expected
    else:
        assert list(judged(criteria, folder)) == [{}, {}]
    for listed in problems_of(criteria, folder).values():
        assert {code for code, _ in listed} - {"odd-reference"} == told
