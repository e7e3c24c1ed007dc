"""Bundles and arrays that are cut between two patients: who came after the cut is in doubt, unless the data shows that there was nobody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.every_way import criteria, screened
from tests.data.test_lost_records import ABSENT, bundle, condition, lines, patient, write

BOTH = ("undetermined", "unknown")


def cut(kind: str, *, end: str = "") -> str:
    """A bundle of two patients, cut exactly where the second begins."""
    text = json.dumps(bundle(kind, patient("a"), condition("ca", "Patient/a", "X"), patient("b")))
    return text[: text.index('{"resource": {"resourceType": "Patient", "id": "b"')].rstrip(", ") + end


@pytest.mark.parametrize("end", ["", ",", ', {"resource": {"resourceType": "'])
@pytest.mark.parametrize("kind", ["collection", "transaction", "message", "batch", "searchset"])
@pytest.mark.parametrize("name", ["x.json", "x.ndjson"])
def test_what_came_behind_the_cut_may_have_been_anybodys(tmp_path: Path, name: str, kind: str, end: str) -> None:
    data = write(tmp_path / "data", {"Patient.ndjson": lines(patient("a"), patient("b")), name: cut(kind, end=end)})
    for way, found, _ in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert found == dict.fromkeys(("Patient/a", "Patient/b"), BOTH), way


@pytest.mark.parametrize("others", [1, 2])
@pytest.mark.parametrize("kind", ["collection", "transaction"])
def test_whole_bundles_show_whether_each_is_one_patients(tmp_path: Path, kind: str, others: int) -> None:
    whole = bundle(kind, *(patient(f"p{number}") for number in range(others)))
    files = {"a.json": cut(kind), "b.json": json.dumps(whole), "Patient.ndjson": lines(patient("c"))}
    data = write(tmp_path / "data", files)
    expected = ("included", "met") if others == 1 else BOTH
    for way, found, problems in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert found["Patient/c"] == found["Patient/p0"] == expected, way
        assert [(one.code, one.patient) for one in problems] == [("invalid-json", "Patient/a")], way


@pytest.mark.parametrize("end", ["", ",", ', {"resour'])
def test_an_array_that_is_cut_between_two_patients_may_have_held_anybodys(tmp_path: Path, end: str) -> None:
    text = "[" + json.dumps(patient("a")) + end
    data = write(tmp_path / "data", {"Patient.ndjson": lines(patient("a"), patient("b")), "x.json": text})
    for way, found, _ in screened(criteria(tmp_path / "criteria", ABSENT), data, tmp_path):
        assert found == dict.fromkeys(("Patient/a", "Patient/b"), BOTH), way
