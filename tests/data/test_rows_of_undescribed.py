"""Whoever only records name has a row where some criterion reads one of the records, however these are written: what is kept of files unread for another reason gives none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.every_way import criteria, screened
from tests.data.test_lost_records import Resource, bundle, condition, lines, patient, write

CODED = "Condition.where(code.coding.exists(system = 'http://example.org/cs' and code = 'WD1')).exists().not()"
OTHER = condition("c", "Patient/zz", "X")
ELSEWHERE = {**OTHER, "evidence": [{"code": [{"coding": [{"system": "http://example.org/cs", "code": "WD1"}]}]}]}


def written(resource: Resource, *names: str) -> str:
    """A resource with some of its members first."""
    return json.dumps({name: resource[name] for name in (*names, *resource)})


# a Condition with none of the codes that are asked for, written so that it is not passed over unread
UNREAD: dict[str, str] = {
    "the id behind another member": written({**OTHER, "meta": {"versionId": "1"}}, "resourceType", "meta", "id"),
    "the id last": written(OTHER, "resourceType", "subject", "code", "id"),
    "the type last": written(OTHER, "id", "subject", "code", "resourceType"),
    "no id": written({name: value for name, value in OTHER.items() if name != "id"}),
    "an id that is a number": written({**OTHER, "id": 7}, "resourceType", "id"),
    "an id with an escape": written(OTHER).replace('"id": "c"', '"id": "\\u0063"'),
    "an escape in another member": written({**OTHER, "language": "e"}).replace(
        '"language": "e"', '"language": "\\u0065"'
    ),
    "a modifier": written({**OTHER, "modifierExtension": [{"url": "http://example.org/m", "valueBoolean": True}]}),
    "a tag": written({**OTHER, "meta": {"tag": [{"code": "SUBSETTED"}]}}),
    "a code that is asked for in an element that is not read": written(ELSEWHERE),
    "the same, and no id": written({name: value for name, value in ELSEWHERE.items() if name != "id"}),
    "the same, and an id that is a number": written({**ELSEWHERE, "id": 7}),
}


def forms(text: str) -> dict[str, dict[str, str]]:
    """Files that hold a Patient and a resource, given as text."""
    described = json.dumps(patient("a"))
    inside = json.dumps(bundle("searchset", patient("a"), {"resourceType": "X"})).replace('{"resourceType": "X"}', text)
    return {
        "NDJSON": {"all.ndjson": lines(described, text)},
        "NDJSON by type": {"Patient.ndjson": lines(described), "Condition.ndjson": lines(text)},
        "bundle": {"a.json": inside},
        "pretty bundle": {"a.json": json.dumps(json.loads(inside), indent=2)},
        "resources": {"a.json": described, "b.json": text},
        "bundle on a line": {"all.ndjson": lines(inside)},
    }


@pytest.mark.parametrize("name", UNREAD)
def test_a_record_that_no_criterion_reads_gives_nobody_a_row_however_it_is_written(tmp_path: Path, name: str) -> None:
    for number, (form, files) in enumerate(forms(UNREAD[name]).items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        data = write(folder / "data", files)
        for way, found, problems in screened(criteria(folder / "criteria", CODED), data, folder):
            assert found == {"Patient/a": ("included", "met")}, (form, way)
            # who reads files into memory does not know of any criteria
            assert way == "memory" or not [one for one in problems if one.severity == "error"], (form, way)


def test_a_record_of_which_a_version_may_be_read_gives_a_row(tmp_path: Path) -> None:
    """Of two versions of one record without an order, one has the code."""
    versions = [condition("c", "Patient/zz", "X"), condition("c", "Patient/zz")]
    for number, listed in enumerate((versions, versions[::-1])):
        folder = tmp_path / str(number)
        folder.mkdir()
        data = write(folder / "data", {"all.ndjson": lines(patient("a"), *listed)})
        for way, found, _ in screened(criteria(folder / "criteria", CODED), data, folder):
            assert found == {"Patient/a": ("included", "met"), "Patient/zz": ("undetermined", "unknown")}, way


def test_a_record_that_a_criterion_reads_gives_a_row_however_it_is_written(tmp_path: Path) -> None:
    read = condition("c", "Patient/zz")
    for number, text in enumerate(
        (written(read), written(read, "resourceType", "subject", "id"), written({**read, "id": 7}), written(read, "id"))
    ):
        for form, files in forms(text).items():
            folder = tmp_path / f"{number}{form}"
            folder.mkdir()
            data = write(folder / "data", files)
            for way, found, problems in screened(criteria(folder / "criteria", CODED), data, folder):
                assert found == {"Patient/a": ("included", "met"), "Patient/zz": ("excluded", "not met")}, (form, way)
                assert [one.code for one in problems if one.severity == "error"] == ["patient-not-described"], way
