"""A member that stands in a record twice, a damaged name of one, and a record of another type than its file: told on every way, and nothing rests on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.data.records.record_shape import oddness_of
from tests.data.every_way import criteria, screened

HAS = "Procedure.where(status = 'completed' and code.coding.exists(code = '86273004')).exists()"
PATIENT = '{"resourceType":"Patient","id":"p","birthDate":"1950-01-01"}'
PROCEDURE = (
    '{"resourceType":"Procedure","id":"pr","status":"completed","subject":{"reference":"Patient/p"},'
    '"code":{"coding":[{"system":"http://snomed.info/sct","code":"86273004"}]},"performedDateTime":"2026-01-01"}'
)
DAMAGED: dict[str, tuple[str, str, str]] = {
    # what is replaced, by what, and a part of what is said
    "a member twice": ('"status":"completed"', '"status":"completed","status":"not-done"', "status stands twice"),
    "a member twice, far apart": ("}]},", '}]},"status":"not-done",', "status stands twice"),
    "a code twice": ('"code":"86273004"', '"code":"86273004","code":"1"', "code stands twice in Procedure.code.coding"),
    "an element twice": ('"performed', '"code":{"coding":[{"code":"1"}]},"performed', "code stands twice"),
    "an id twice": ('"id":"pr"', '"id":"pr","id":"px"', "id stands twice"),
    "a reference twice": ('"code":{', '"subject":{"reference":"Patient/q"},"code":{', "subject stands twice"),
    "two types": ('"id"', '"resourceType":"Basic","id"', "resourceType stands twice in"),
    "two types, the other first": (
        '{"resource',
        '{"resourceType":"Basic","resource',
        "resourceType stands twice in",
    ),
    "a flipped bit in a name": ('"coding"', '"codinf"', "no element 'codinf'; is coding meant?"),
    "a name in the wrong case": ('"status"', '"Status"', "no element 'Status'; is status meant?"),
    "a letter lost": ('"code":{', '"cod":{', "no element 'cod'; is code meant?"),
    "letters exchanged": ('"status"', '"stauts"', "no element 'stauts'; is status meant?"),
    "something within a name": ('"coding"', '"co/* */ding"', "is not a name that an element can have"),
}
ODD: dict[str, tuple[str, str, str]] = {
    "an element that there is not": ('"status"', '"vendorColour":1,"status"', "no element 'vendorColour'"),
    "one value in place of several": ("[{", "{", ""),
    "a list in place of a value": ('"completed"', '["completed"]', "is a list, and should be one value"),
    "a moment with another character": (
        '"2026-01-01"',
        '"2026=01-01"',
        "performedDateTime is not written as a dateTime",
    ),
    "a number in place of a text": ('"2026-01-01"', "2026", "is a number, and should be dateTime"),
}
FORMS = ("lines", "one file", "bundle", "transaction")


def data_of(folder: Path, procedure: str, form: str) -> Path:
    """A cohort of two, the first with the procedure as it is written."""
    folder.mkdir()
    other = PATIENT.replace('"p"', '"other"')
    if form == "lines":
        (folder / "Patient.ndjson").write_text(f"{PATIENT}\n{other}\n")
        (folder / "Procedure.ndjson").write_text(f"{procedure}\n")
    elif form == "one file":
        (folder / "all.ndjson").write_text(f"{PATIENT}\n{other}\n{procedure}\n")
    else:
        entries = [f'{{"resource":{PATIENT}}}', f'{{"resource":{procedure}}}']
        if form == "transaction":
            entries.append('{"request":{"method":"DELETE","url":"Observation/o"}}')
        (folder / "p.json").write_text(
            f'{{"resourceType":"Bundle","type":"transaction","entry":[{",".join(entries)}]}}'
        )
        (folder / "other.json").write_text(other)
    return folder


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", DAMAGED)
def test_a_record_whose_members_are_damaged_is_told_and_nothing_rests_on_it(
    tmp_path: Path, kind: str, form: str
) -> None:
    old, new, said = DAMAGED[kind]
    assert old in PROCEDURE
    data = data_of(tmp_path / "data", PROCEDURE.replace(old, new, 1), form)
    for way, found, problems in screened(criteria(tmp_path / "criteria", HAS), data, tmp_path):
        told = [problem for problem in problems if problem.code == "damaged-record"]
        assert len(told) == 1 and said in told[0].message, (way, problems)
        assert found["Patient/p"] == ("undetermined", "unknown"), way
        if kind != "a reference twice":
            assert told[0].patient == "Patient/p", way
            assert found["Patient/other"] == ("excluded", "not met"), way


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ODD)
def test_what_is_odd_and_hides_nothing_is_a_warning(tmp_path: Path, kind: str, form: str) -> None:
    old, new, said = ODD[kind]
    procedure = PROCEDURE.replace(old, new, 1)
    if kind == "one value in place of several":
        procedure, said = procedure.replace("}]", "}", 1), "is one value, and should be a list"
    data = data_of(tmp_path / "data", procedure, form)
    for way, found, problems in screened(criteria(tmp_path / "criteria", HAS), data, tmp_path):
        told = [problem for problem in problems if problem.code == "odd-element"]
        assert [problem.severity for problem in told] == ["warning"] and said in told[0].message, (way, problems)
        assert told[0].resource == "Procedure/pr"
        assert found["Patient/other"] == ("excluded", "not met"), way


@pytest.mark.parametrize("form", FORMS)
def test_a_member_twice_with_the_same_value_and_other_ways_to_write_are_nothing(tmp_path: Path, form: str) -> None:
    procedure = PROCEDURE.replace('"status":', '"status":"completed","status" :  ').replace("snomed", "sn\\u006fmed")
    data = data_of(tmp_path / "data", procedure, form)
    for way, found, problems in screened(criteria(tmp_path / "criteria", HAS), data, tmp_path):
        assert problems == [], way
        assert found == {"Patient/p": ("included", "met"), "Patient/other": ("excluded", "not met")}, way


def test_a_record_with_the_elements_of_another_type_is_one_of_its_file(tmp_path: Path) -> None:
    study = '{"resourceType":"ImagingStudy","id":"i%s","status":"available","subject":{"reference":"Patient/%s"},"series":[{"uid":"1.2.%s"}]}'
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "Patient.ndjson").write_text(PATIENT + "\n" + PATIENT.replace('"p"', '"q"') + "\n")
    own = study % (2, "q", 2)
    basic = (study % (3, "p", 3)).replace("ImagingStudy", "Basic")
    organization = '{"resourceType":"Organization","id":"o","name":"Hospital"}'
    (folder / "ImagingStudy.ndjson").write_text("\n".join([own, basic, organization]) + "\n")
    for way, _, problems in screened(criteria(tmp_path / "criteria", "ImagingStudy.exists()"), folder, tmp_path):
        told = [problem for problem in problems if problem.code == "damaged-record"]
        assert [(one.resource, one.patient, one.line) for one in told] == [("ImagingStudy/i3", "Patient/p", 2)], way
        assert "it says that it is a Basic, and has the elements of a ImagingStudy" in told[0].message


def test_lines_that_hold_nothing_stand_in_the_place_of_a_record(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "Patient.ndjson").write_text(f"{PATIENT}\n")
    for number, nothing in enumerate(("null", "[]", "{}", '""', "7", "[null]")):
        text = f"{PROCEDURE.replace('Patient/p', 'Patient/x')}\n{nothing}\n"
        (folder / "Procedure.ndjson").write_text(text)
        for way, found, problems in screened(criteria(tmp_path / f"c{number}", HAS), folder, tmp_path / str(number)):
            assert [(p.code, p.severity, p.line) for p in problems if p.code == "not-a-resource"] == [
                ("not-a-resource", "error", 2)
            ], (way, nothing)
            assert found["Patient/p"] == ("undetermined", "unknown"), (way, nothing)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(("status", "code", "subject", "note", "extension", "xyz", "_status")), JSON_VALUES)
)
def test_any_record_gets_an_answer_that_does_not_depend_on_blanks(members: dict[str, Any]) -> None:
    record = {"resourceType": "Procedure", "id": "a", **members}
    compact = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()
    loose = json.dumps(record, indent=1).encode()
    assert oddness_of("Procedure", compact) == oddness_of("Procedure", loose)
    assert any(one.element == "Procedure.xyz" for one in oddness_of("Procedure", compact)) == ("xyz" in members)
