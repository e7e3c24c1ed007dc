"""Links to images: the short ways for what data usually looks like give what the long ways give."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.bulk.instances import UIDS, Instance, gather
from engine.evaluation import imaging

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


def test_usual_studies_take_the_short_way() -> None:
    usual = {"identifier": [{"value": "A1"}, {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}]}
    assert imaging._usual_uid(usual) == "1.2.3"
    assert imaging._usual_uid({**usual, "uid": "1.2.4"}) is None


def series(uid: str, *instances: str, **more: Any) -> dict[str, Any]:
    return {"uid": uid, "instance": [Instance(uid=text) for text in instances], **more}


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
