"""The Group of included patients: what is written is a Group of its version by the definitions of FHIR, whatever stands in names, ids and urls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fhir.resources.group import Group as GroupR5
from fhir.resources.R4B.group import Group as GroupR4B
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.output import fhir_library
from fhir_eligibility.output.fhir_group import frame_of, group_of, member_of, validate

PEERS: dict[str, Any] = {"r4": GroupR4B, "r4b": GroupR4B, "r5": GroupR5}
NOW = "2026-06-01T12:00:00+02:00"
# no lone surrogates, which no file in UTF-8 can hold
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(deadline=None, max_examples=200)
@given(
    version=st.sampled_from(sorted(PEERS)),
    artifact=TEXTS
    | st.sampled_from(["https://trials.example/EvidenceVariable/a|1.0.0", "EvidenceVariable/a", "a:b c"]),
    title=st.none() | TEXTS,
    patients=st.lists(TEXTS.map("Patient/{}".format), max_size=3),
)
def test_what_is_written_is_a_group_of_its_version(
    version: str, artifact: str, title: str | None, patients: list[str]
) -> None:
    before, after = frame_of(group_of(artifact, title, len(patients), patients, version, NOW))
    members = b"".join(map(member_of, patients))
    # the comma of the first member stands where the list is open
    text = before + members[1:] + after
    written = json.loads(text)
    assert [member["entity"]["reference"] for member in written.get("member", [])] == patients
    assert written["quantity"] == len(patients)
    PEERS[version].model_validate_json(text)


WHOLE: dict[str, Any] = {
    "r4": {"resourceType": "Group", "type": "person", "actual": True, "name": "Included: a", "quantity": 1},
    "r5": {"resourceType": "Group", "type": "person", "membership": "enumerated", "name": "Included: a", "quantity": 1},
}
MEMBER = {"entity": {"reference": "Patient/1"}}
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("r4", {"quantity": "1"}),
    ("r4", {"actual": "yes"}),
    ("r4", {"membership": "enumerated"}),
    ("r4", {"nmae": "a"}),
    ("r4", {"member": {}}),
    ("r4", {"member": [{"entity": "Patient/1"}]}),
    ("r4", {"member": [MEMBER, {"entity": {"reference": 1}}]}),
    ("r4", {"extension": [{"url": "https://a.example", "valueDateTime": "yesterday"}]}),
    ("r4", {"extension": [{"url": "https://a.example", "valueUri": 3}]}),
    ("r5", {"actual": True}),
    ("r5", {"membership": "all"}),
    ("r5", {"quantity": -1}),
    ("r5", {"name": ["a"]}),
]


@pytest.mark.parametrize("version", ["r4", "r5"])
def test_a_whole_group_is_valid(version: str) -> None:
    validate(WHOLE[version], version)
    PEERS[version].model_validate(WHOLE[version])


@pytest.mark.parametrize(("version", "change"), WRONG)
def test_what_is_no_group_of_its_version_is_refused(version: str, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot be written as a FHIR Group: Group"):
        validate({**WHOLE[version], **change}, version)


@pytest.mark.parametrize("version", ["r4", "r4b", "r5"])
def test_a_group_is_held_to_fhir_resources_where_that_is_asked_for(version: str) -> None:
    whole = WHOLE["r5" if version == "r5" else "r4"]
    fhir_library.check_with_library({**whole, "member": [MEMBER]}, version)
    with pytest.raises(ValueError, match="the Group cannot be written: fhir.resources does not take it"):
        fhir_library.check_with_library({**whole, "member": [{"entity": "Patient/1"}]}, version)
    assert group_of("a", None, 1, ["Patient/1"], version, NOW, library=True)["quantity"] == 1
