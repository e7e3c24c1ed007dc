"""Links to images: the fast paths for what data usually looks like give what the plain ways give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fhir_eligibility
from fhir_eligibility.data.bulk.instances import UIDS, DecodedInstance, gather
from fhir_eligibility.data.patients.reader import compartments_of
from fhir_eligibility.evaluation import imaging

SYSTEMS = st.sampled_from(["urn:dicom:uid", "urn:ietf:rfc:3986", "http://x.example", None, 7])
VALUES = st.sampled_from(
    ["urn:oid:1.2.3", "urn:oid:1.2.4", "1.2.3", "urn:oid:1.02", "urn:oid:", "", "urn:uuid:x", None, 7, "urn:oid:1.2 "]
)
IDENTIFIERS = st.lists(
    st.fixed_dictionaries({}, optional={"system": SYSTEMS, "value": VALUES}) | st.just("x"), max_size=3
)
STUDIES = st.fixed_dictionaries(
    {},
    optional={"identifier": IDENTIFIERS | st.just({"system": "urn:dicom:uid", "value": "urn:oid:1.2"}), "uid": VALUES},
)


@given(STUDIES)
def test_the_uid_of_a_study(study: dict[str, Any]) -> None:
    assert imaging.study_uid(study) == imaging._any_uid(study)


def test_usual_studies_take_the_fast_path() -> None:
    usual = {"identifier": [{"value": "A1"}, {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}]}
    assert imaging._usual_uid(usual) == "1.2.3"
    assert imaging._usual_uid({**usual, "uid": "1.2.4"}) is None


def series(uid: str, *instances: str, **more: Any) -> dict[str, Any]:
    return {"uid": uid, "instance": [DecodedInstance(uid=text) for text in instances], **more}


CODED = {"coding": [{"code": "MR"}]}


@pytest.mark.parametrize("address", ["http://a.example/studies/1.2/series/", None])
@pytest.mark.parametrize(
    ("more", "short"),
    [
        ({}, True),
        ({"modality": {"code": "MR"}, "description": "T2"}, True),
        ({"modality": CODED}, True),
        ({"modality": {}}, True),
        ({"bodySite": {"display": "Prostate"}}, False),
        ({"endpoint": [{"reference": "Endpoint/none"}]}, False),
    ],
)
def test_the_series_of_a_study(
    monkeypatch: pytest.MonkeyPatch, address: str | None, more: dict[str, Any], short: bool
) -> None:
    study: dict[str, Any] = {"series": [series("1.3", "1.4", "1.5"), series("1.6", **more)]}
    gather(study)
    items = study["series"]
    assert all(isinstance(item[UIDS], msgspec.Raw) for item in items)
    bases = ["http://a.example"]
    long_warnings: list[str] = []
    long = imaging._merge_series(
        [imaging._series(item, "1.2", bases, address, lambda reference: None, long_warnings) for item in items]
    )
    if short:
        monkeypatch.delattr(imaging, "_series")
    warnings: list[str] = []
    found = imaging._all_series(items, "1.2", bases, address, lambda reference: None, warnings)
    assert found == long and warnings == long_warnings
    assert [(one.uid, bytes(one.instances)) for one in found] == [("1.3", b'["1.4","1.5"]'), ("1.6", b"[]")]


# -- what a study says of its size, beside what it lists


COUNTS = st.none() | st.integers(0, 6) | st.sampled_from(["2", -1, True, 2.0])
SERIES = st.lists(
    st.fixed_dictionaries(
        {"uid": st.integers(1, 99).map("1.2.{}".format)},
        optional={"instance": st.lists(st.integers(1, 9).map("1.3.{}".format), max_size=3, unique=True)},
    ),
    max_size=3,
    unique_by=lambda one: one["uid"],
)


def remarks(study: dict[str, Any]) -> list[str]:
    link = imaging.imaging_link(study, criterion="c", role="met", failed=None, resolve=lambda reference: None)
    return [text for text in link.warnings if text.startswith("the study says ")]


@given(COUNTS, COUNTS, SERIES)
def test_numbers_of_series_and_instances(series_count: Any, instance_count: Any, listed: list[dict[str, Any]]) -> None:
    """The same is said whether the instances were gathered as text or not, and only where both numbers are known and differ."""
    counts = {"numberOfSeries": series_count, "numberOfInstances": instance_count}
    plain = {**counts, "series": [{**s, "instance": [{"uid": u} for u in s.get("instance", ())]} for s in listed]}
    read = {
        **counts,
        "series": [{**s, "instance": [DecodedInstance(uid=u) for u in s.get("instance", ())]} for s in listed],
    }
    gather(read)
    found = remarks(plain)
    assert remarks(read) == found
    instances = sum(len(s.get("instance", ())) for s in listed)
    expected = []
    if listed and series_count.__class__ is int and series_count != len(listed):
        expected.append(f"the study says {series_count} series, and lists {len(listed)}")
    if instances and instance_count.__class__ is int and instance_count != instances:
        expected.append(f"the study says {instance_count} instances, and lists {instances}")
    assert found == expected


@pytest.mark.parametrize("shape", ["ndjson", "bundle", "memory"])
def test_numbers_that_differ_are_told_in_the_verdict(tmp_path: Path, shape: str) -> None:
    patient = {"resourceType": "Patient", "id": "p"}
    study = {
        "resourceType": "ImagingStudy",
        "id": "i",
        "status": "available",
        "subject": {"reference": "Patient/p"},
        "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
        "numberOfSeries": 3,
        "numberOfInstances": 57,
        "series": [{"uid": "1.2.3.1", "modality": {"code": "MR"}, "instance": [{"uid": "1.2.3.1.1"}]}],
    }
    expression = {"language": "text/fhirpath", "expression": "ImagingStudy.where(status = 'available').exists()"}
    artifact = {"resourceType": "EvidenceVariable", "status": "active", "url": "http://example.org/e"}
    (tmp_path / "ev.json").write_text(
        json.dumps({**artifact, "characteristic": [{"linkId": "c", "definitionExpression": expression}]})
    )
    criteria = fhir_eligibility.load_criteria(tmp_path / "ev.json")
    data: Any = tmp_path / "data"
    data.mkdir()
    if shape == "ndjson":
        (data / "a.ndjson").write_text("".join(json.dumps(r) + "\n" for r in (patient, study)))
    elif shape == "bundle":
        entries = [{"resource": r, "fullUrl": f"http://h/{r['resourceType']}/{r['id']}"} for r in (patient, study)]
        (data / "a.json").write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    else:
        data = list(compartments_of([patient, study]))
    (verdict,) = fhir_eligibility.screen(criteria, data, now="2026-06-01")
    told = ["the study says 3 series, and lists 1", "the study says 57 instances, and lists 1"]
    assert verdict.verdict == "included" and [w for w in verdict.imaging[0].warnings if "says" in w] == told
