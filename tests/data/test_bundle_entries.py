"""Entries of a bundle sorted by their text come to what parsing all of them comes to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria.reading import ReadPlan, TypePlan
from fhir_eligibility.data.bulk import documents
from fhir_eligibility.data.bulk.collecting import Collector
from fhir_eligibility.data.bulk.decoding import Decoders
from fhir_eligibility.data.bulk.documents import read_document
from fhir_eligibility.data.bulk.records import MemoryShelf

PLAN = ReadPlan(
    "r4",
    {
        "Patient": TypePlan("Patient"),
        "Observation": TypePlan(
            "Observation", codes=frozenset(("2857-1",)), texts=frozenset(), systems=frozenset(("http://loinc.org",))
        ),
    },
)
PATIENT = {"resourceType": "Patient", "id": "a"}
OTHER = {
    "resourceType": "Claim",
    "id": "c",
    "text": {"div": '<div xmlns="x">"resource":{"resourceType":"Patient"}</div>'},
}
PSA = {
    "resourceType": "Observation",
    "id": "o",
    "code": {"coding": [{"code": "2857-1"}]},
    "subject": {"reference": "Patient/a"},
}
NESTED = {"resourceType": "Bundle", "entry": [{"fullUrl": "urn:x", "resource": PSA}]}
PARAMETERS = {"resourceType": "Parameters", "parameter": [{"name": "n", "resource": PSA}]}


def entry(resource: Any, url: str = "http://s.example/Patient/a", **more: Any) -> dict[str, Any]:
    return {"fullUrl": url, "resource": resource, **more}


def bundle(*entries: Any, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "collection", "entry": list(entries), **more}


def text_of(value: Any, indent: int | None = None) -> bytes:
    return json.dumps(
        value, indent=indent, separators=(",", ":") if indent is None else None, ensure_ascii=False
    ).encode()


class Read:
    """What a document comes to; without `sorting` by parsing all of its entries."""

    def __init__(self, text: bytes, *, sorting: bool) -> None:
        with pytest.MonkeyPatch.context() as patch:
            if not sorting:
                patch.setattr(documents, "_entries", lambda *_: False)
            shelf = MemoryShelf()
            collector = Collector(Decoders(PLAN, load_model("r4")), shelf, decoded=True)
            error = read_document(collector, text, 0, "x.json")
            if error is not None:
                collector.invalid(text, "x.json", 0, -1, error)
        got = collector.collected
        self.records = [(r.kind, r.id, r.entry, r.full_url, r.facts) for r in shelf.records]
        self.counts = +got.used, +got.passed, {kind: sorted(ids) for kind, ids in got.seen.items()}
        self.problems = [(p.code, p.entry) for p in got.problems]
        self.deleted = [(d.url, d.entry) for d in got.deleted]
        self.others = got.empty, sorted(got.aliases), got.persons, got.noted


@pytest.mark.parametrize(
    "value",
    [
        bundle(entry(PATIENT), entry(OTHER), entry(PSA)),
        bundle(entry(PATIENT, "urn:uuid:1"), entry({**PSA, "subject": {"reference": "urn:uuid:1"}}, "urn:uuid:2")),
        bundle(entry(PATIENT), entry({**PSA, "code": {}}, "http://s.example/Observation/o")),
        bundle(entry(PATIENT), entry({**PSA, "code": {}, "id": 'q"'})),
        bundle(entry(PATIENT), entry({**PSA, "code": {}, "id": 7})),
        bundle(entry(PATIENT, request={"method": "DELETE", "url": "Patient/a"})),
        bundle(entry(PATIENT), entry(PSA), {"request": {"method": "DELETE", "url": "Patient/a"}}),
        bundle(entry(PATIENT), entry(PSA, request={"method": "PATCH", "url": "Observation/o"})),
        bundle(entry(PATIENT, request={"method": "POST", "url": "Patient", "ifNoneExist": "identifier=1"})),
        bundle(entry(PATIENT, request={"method": "PUT", "url": "Patient?identifier=1"}), type="transaction"),
        bundle(entry(PATIENT), {"response": {"status": "404", "outcome": {"resourceType": "OperationOutcome"}}}),
        bundle(entry(PATIENT), entry({"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]})),
        bundle(entry(PATIENT), entry(PSA, modifierExtension=[{"url": "x"}])),
        bundle(entry(PATIENT), entry(PSA), implicitRules="x"),
        bundle(entry(PATIENT), entry(PSA), entry(PSA), type="history"),
        bundle(entry(PATIENT), entry(PSA), type="searchset", total=2, link=[{"relation": "self", "url": "x"}]),
        bundle(entry(PATIENT), entry({**PSA, "resourceType": ""})),
        bundle(entry(PATIENT), entry({**PSA, "resourceType": "observation"})),
        bundle(entry(PATIENT), entry(NESTED)),
        bundle(entry(PATIENT), entry({**PARAMETERS, "parameter": []})),
        bundle(entry(PATIENT), entry({**PATIENT, "id": {"odd": 1}})),
        # as many beginnings as entries, but not where entries begin
        bundle(entry({**OTHER, "extension": [{"fullUrl": "z"}]}), {"id": "x", "fullUrl": "u", "resource": PSA}),
        bundle(entry({**PSA, "extension": [{"fullUrl": "z"}]}), {"id": "x", "fullUrl": "u", "resource": PSA}),
        bundle(entry(PSA), {"id": "x", "fullUrl": "u", "resource": {**OTHER, "extension": [{"fullUrl": "z"}]}}),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_both_ways_come_to_the_same(value: Any, indent: int | None) -> None:
    text = text_of(value, indent)
    by_text, parsed = (Read(text, sorting=sorting) for sorting in (True, False))
    assert by_text.records == parsed.records
    assert by_text.counts == parsed.counts
    assert by_text.problems == parsed.problems
    assert by_text.deleted == parsed.deleted
    assert by_text.others == parsed.others


def test_an_error_in_what_is_read_is_an_error_of_the_file() -> None:
    text = text_of(bundle(entry(PATIENT), entry(PSA), entry(OTHER))).replace(b'"coding":[', b'"coding":[,')
    by_text, parsed = (Read(text, sorting=sorting) for sorting in (True, False))
    assert by_text.problems == parsed.problems == [("invalid-json", None)]
    assert by_text.records == parsed.records == []


# Names and texts that could mislead a search.
WORDS = st.sampled_from(
    [
        "resource",
        "fullUrl",
        "entry",
        "resourceType",
        '"resource":',
        '{"fullUrl":"',
        "\\",
        '"',
        "Patient",
        "é",
        "",
        '","resource":{"resourceType":"',
    ]
)
VALUES = st.recursive(
    WORDS | st.integers() | st.none(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(WORDS, below, max_size=3),
    max_leaves=6,
)
RESOURCES = st.builds(
    lambda kind, more: {"resourceType": kind, **more}, WORDS, st.dictionaries(WORDS, VALUES, max_size=3)
)
# As servers write them, with texts that look like the ends of entries; and anything.
USUAL = st.builds(
    lambda resource, words, url, more: entry({**resource, "note": words}, url, **more),
    st.sampled_from([PATIENT, OTHER, PSA]),
    st.lists(st.sampled_from(['{"fullUrl":"', '"resource":', "\\", '"', "}},{", '"}}]}', "é"]), max_size=3),
    st.sampled_from(["http://s.example/Patient/a", "urn:uuid:1", 'odd"url\\', ""]),
    st.sampled_from(
        [
            *[{}] * 6,
            {"search": {"mode": "match"}},
            {"link": [{"relation": "self", "url": "x"}]},
            {"request": {"url": '"},{"'}},
            {"request": {"method": "POST", "url": "Patient", "ifNoneExist": "identifier=1"}},
            {"request": {"method": "PUT", "url": "Patient?identifier=1"}},
            {"request": {"method": "DELETE", "url": "Patient/a"}},
            {"request": {"method": "PATCH", "url": "Observation/o"}},
            {"response": {"status": "200"}},
            {"response": {"status": "404", "outcome": {"resourceType": "OperationOutcome"}}},
            {"modifierExtension": [{"url": "x"}]},
            {"id": "e"},
            {"odd": 1},
        ]
    ),
)
MEMBERS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        *[{}] * 4,
        {"type": "history"},
        {"type": "transaction"},
        {"type": "searchset", "total": 1, "link": [{"relation": "self", "url": "x"}]},
        {"type": "batch-response"},
        {"type": 7},
        {"implicitRules": "x"},
        {"_implicitRules": {"id": "x"}},
        {"id": "b", "meta": {"lastUpdated": "2026-01-01T00:00:00Z"}, "timestamp": "2026-01-01T00:00:00Z"},
        {"signature": {"data": ""}},
        {"odd": 1},
    ]
)
ENTRIES = st.one_of(
    *[USUAL] * 8, st.builds(entry, RESOURCES | st.just(PSA), WORDS), st.dictionaries(WORDS, VALUES, max_size=3)
)


@settings(max_examples=400, deadline=None)
@given(
    st.builds(
        lambda entries, members, more: bundle(*entries, **{**members, **more}),
        st.lists(ENTRIES, max_size=4),
        MEMBERS,
        st.just({}) | st.dictionaries(WORDS, VALUES, max_size=2),
    ),
    st.sampled_from([None, 1]),
    st.sampled_from(
        [("", ""), ("request", "r\\u0065quest"), ("DELETE", "D\\u0045LETE"), ("response", "respons\\u0065")]
    ),
)
def test_whatever_is_sorted_is_what_parsing_gives(
    value: dict[str, Any], indent: int | None, escaped: tuple[str, str]
) -> None:
    text = text_of(value, indent)
    if escaped[0]:
        text = text.replace(*(part.encode() for part in escaped))
    by_text, parsed = (Read(text, sorting=sorting) for sorting in (True, False))
    assert by_text.records == parsed.records
    assert by_text.counts == parsed.counts
    assert by_text.problems == parsed.problems
    assert by_text.deleted == parsed.deleted
    assert by_text.others == parsed.others


# Observations of which some matter: by their code, by a coding without one, by a mark, or because nobody can tell.
CODES = st.sampled_from(
    [
        {"coding": [{"code": "2857-1"}]},
        {"coding": [{"system": "http://loinc.org", "code": "1-8"}]},
        {"coding": [{"system": "http://loinc.org", "display": "PSA"}]},
        {"coding": [{"display": "PSA"}]},
        {"coding": [{"system": "http://loinc.org", "code": None}]},
        {"text": "PSA \\ 2857-1"},
        {},
    ]
)
MARKS = st.sampled_from(
    [
        *[{}] * 4,
        {"modifierExtension": [{"url": "http://s.example/not"}]},
        {"implicitRules": "http://s.example/rules"},
        {"meta": {"tag": [{"code": "SUBSETTED"}]}},
        {"meta": {"security": [{"code": "HTEST"}]}},
        {"contained": [{**PSA, "id": "inner"}]},
        {"contained": [OTHER]},
    ]
)
OBSERVATIONS = st.builds(
    lambda first, code, marks, subject: {**first, "code": code, **marks, **subject},
    st.sampled_from(
        [
            *({"resourceType": "Observation", "id": one} for one in ("o", "p-1", "q.2", 'r"', "", 7)),
            {"id": "first", "resourceType": "Observation"},
            {"resourceType": "Observation", "status": "final", "id": "late"},
            {"resourceType": "Observation"},
        ]
    ),
    CODES,
    MARKS,
    st.sampled_from([{}, {"subject": {"reference": "Patient/a"}}, {"subject": {"reference": "urn:uuid:1"}}]),
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(OBSERVATIONS, min_size=1, max_size=6),
    st.sampled_from([None, 0, 1]),
    st.sampled_from([("", ""), ('"2857-1"', '"\\u0032857-1"'), ("HTEST", "\\u0048TEST")]),
)
def test_entries_that_are_searched_together_come_to_what_each_comes_to(
    observations: list[dict[str, Any]], indent: int | None, escaped: tuple[str, str]
) -> None:
    urls = [f"http://s.example/Observation/{number}" for number in range(len(observations))]
    text = text_of(bundle(entry(PATIENT), *map(entry, observations, urls)), indent)
    if escaped[0]:
        text = text.replace(*(part.encode() for part in escaped))
    by_text, parsed = (Read(text, sorting=sorting) for sorting in (True, False))
    assert by_text.records == parsed.records
    assert by_text.counts == parsed.counts
    assert by_text.problems == parsed.problems
    assert by_text.others == parsed.others
