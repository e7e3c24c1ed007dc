"""Entries of a bundle that are called alike, or by the address of a resource of another type: the quick look finds what the close look finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.artifacts.references import RESTFUL
from fhir_eligibility.data.bulk.documents import _are_misnamed
from fhir_eligibility.data.records.identity import is_of_another_type
from tests.data.every_way import criteria, screened
from tests.data.test_lost_records import ABSENT, condition, patient, write

KINDS = ("Patient", "Condition", "Observation")
segments = st.lists(st.sampled_from((*KINDS, "a", "1", "_history", "2", "", "o d d", "fhir")), max_size=6)
urls = st.builds(
    lambda start, path: start + "/".join(path),
    st.sampled_from(("http://one.example/", "https://two.example/", "http:/", "urn:uuid:", "ftp://x/", "")),
    segments,
)


def is_another_types(url: str, kind: str) -> bool:
    """The close look: the type and id at the end of a RESTful address, before the version, as FHIR has it (R4, 2.26 References)."""
    match = RESTFUL.fullmatch(url)
    return url.startswith("http") and match is not None and match["path"].partition("/")[0] != kind


@settings(deadline=None, max_examples=400)
@given(urls, st.sampled_from(KINDS))
def test_the_type_of_an_address_is_told_by_its_last_segments(url: str, kind: str) -> None:
    assert is_of_another_type(url, kind) == is_another_types(url, kind)


@settings(deadline=None, max_examples=400)
@given(st.lists(st.tuples(st.none() | urls, st.sampled_from(KINDS)), max_size=5))
def test_entries_are_misnamed_where_one_of_them_is(entries: list[tuple[str | None, str]]) -> None:
    given_urls = [url for url, _ in entries if url]
    expected = len(set(given_urls)) < len(given_urls) or any(
        url is not None and is_another_types(url, kind) for url, kind in entries
    )
    assert _are_misnamed([url for url, _ in entries], [kind.encode() for _, kind in entries]) == expected


@pytest.mark.parametrize("above", ["http://one.example/Condition/x/", "http://one.example/Patient/Condition/"])
def test_an_address_below_one_of_another_type_is_of_its_own_type(tmp_path: Path, above: str) -> None:
    """`.../Condition/x/Patient/b` is the address of a Patient, so that a Condition that bears it is misnamed."""
    entries = [
        {"fullUrl": f"{above}Patient/b", "resource": condition("c", "Patient/a")},
        {"fullUrl": f"{above}Patient/a", "resource": patient("a")},
    ]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    data = write(tmp_path / "data", {"a.json": json.dumps(bundle)})
    ways = []
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert [one.code for one in problems if one.severity == "warning"] == ["malformed-bundle"], way
        ways.append(found)
    assert all(found == ways[0] for found in ways)
    assert ways[0] == {"Patient/a": ("excluded", "not met")}
