"""A coding without a code, of the system that is asked for or of none, may be any code: whoever asks by code is not told "no" on any way of reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fhir_eligibility
from fhir_eligibility.compiler.criteria.reading import TypePlan
from fhir_eligibility.data.bulk.needles import Needles
from tests.data.every_way import criteria, screened

S, OTHER = "http://snomed.info/sct", "http://hl7.org/fhir/sid/icd-10"
ACT, DICOM = "http://terminology.hl7.org/CodeSystem/v3-ActCode", "http://dicom.nema.org/resources/ontology/DCM"
EXISTS = f"Condition.where(code.coding.exists(system = '{S}' and code = '254837009')).exists()"
EITHER = f"Condition.exists(code.coding.exists(system = '{S}' and (code = '1' or code = '254837009')))"
# how codings are written; whether one of them may be what is asked for
CODINGS = {
    "system alone": ('[{"system":"%s"}]', True),
    "with spaces": ('[ { "system" : "%s" , "display" : "x" } ]', True),
    "as Python writes it": ('[{"system": "%s", "display": "x"}]', True),
    "system last": ('[{"display":"x","system":"%s"}]', True),
    "with a version": ('[{"system":"%s","version":"1"}]', True),
    "null": ('[{"system":"%s","code":null}]', True),
    "extension in its place": ('[{"system":"%s","_code":{"extension":[{"url":"u","valueCode":"unknown"}]}}]', True),
    "beside one of the system": ('[{"system":"%s","code":"9"},{"system":"%s"}]', True),
    "behind one of another": ('[{"system":"O","code":"9"},{"display":"x","system":"%s"}]', True),
    "display alone": ('[{"display":"x"}]', True),
    "display alone, with spaces": ('[ {"display": "x"}]', True),
    "display alone, with a space before it": ('[{ "display": "x"}]', True),
    "display alone, far behind": ("[" + 60 * " " + '{"display": "x"}]', True),
    "display alone, as printers indent": ("[" + 60 * " " + "{" + 60 * " " + '"display": "x"}]', True),
    "version alone, with a tab": ('[{\t"version":"1" }]', True),
    "a space alone": ("[{ }]", True),
    "of another system, with a space": ('[{ "display":"x", "system":"O"}]', False),
    "another code, with a space": ('[{ "display":"x", "system":"%s", "code":"9"}]', False),
    "display alone behind another": ('[{"system":"O","code":"9"},{"display":"x"}]', True),
    "version alone": ('[{"version":"1","display":"x"}]', True),
    "selected by the user": ('[ {"userSelected": true}]', True),
    "id alone": ('[{"system":"O","code":"9"}, {"id":"a","display":"x"}]', True),
    "extension alone": ('[{"extension":[{"url":"u","valueString":"x"}]}]', True),
    "nothing": ("[{}]", True),
    "both null": ('[{"display":"x","code":null,"system":null}]', True),
    "slashes escaped": ('[{"system":"http:\\/\\/snomed.info\\/sct"}]', True),
    "another code": ('[{"system":"%s","code":"9"}]', False),
    "another code, in another order": ('[{"code":"9","display":"x","system":"%s"}]', False),
    "another code, display first": ('[{"display":"x","system":"%s","code":"9"}]', False),
    "another code behind a version": ('[{"system":"%s","version":"1","code":"9"}]', False),
    "of another system": ('[{"system":"O"}]', False),
    "of a system whose address goes on": ('[{"system":"%s/version/1"},{"system":"%s","code":"9"}]', False),
    "an extension first": ('[{"extension":[{"url":"u","valueString":"x"}],"system":"%s","code":"9"}]', False),
    "of another system, display first": ('[{"display":"x","system":"O"}]', False),
    "without a system": ('[{"code":"9","display":"x"}]', False),
}


def condition(coding: str) -> str:
    text = coding.replace("%s", S).replace('"O"', f'"{OTHER}"')
    return '{"resourceType":"Condition","id":"c","subject":{"reference":"Patient/a"},"code":{"coding":' + text + "}}"


@pytest.mark.parametrize("expression", [EXISTS, EITHER])
@pytest.mark.parametrize("form", ["lines", "bundle", "indented"])
@pytest.mark.parametrize(("coding", "doubtful"), CODINGS.values(), ids=CODINGS.keys())
def test_by_code(tmp_path: Path, expression: str, form: str, coding: str, doubtful: bool) -> None:
    patient = '{"resourceType":"Patient","id":"a"}'
    texts = [patient, condition(coding)]
    data = tmp_path / "data"
    data.mkdir()
    if form == "lines":
        for name, text in zip(("Patient", "Condition"), texts, strict=True):
            (data / f"{name}.ndjson").write_text(text + "\n", "utf-8")
    else:
        entries = ",".join('{"resource":' + text + "}" for text in texts)
        text = '{"resourceType":"Bundle","type":"collection","entry":[' + entries + "]}"
        (data / "a.json").write_text(text if form == "bundle" else json.dumps(json.loads(text), indent=4), "utf-8")
    expected = ("undetermined", "unknown") if doubtful else ("excluded", "not met")
    for way, found, _ in screened(criteria(tmp_path / "criteria", expression), data, tmp_path):
        assert found == {"Patient/a": expected}, way


LIBRARY = f"""library Coded version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
codesystem "S": '{S}'
code "X": '254837009' from "S"
context Patient
define "Has X": exists [Condition: "X"]
"""


OTHER_ADDRESSES = {
    address: (f'[{{"system":"{address}"%s}}]', True)
    for address in ("https://snomed.info/sct", "http://snomed.info/sct/", "urn:oid:2.16.840.1.113883.6.96")
}


@pytest.mark.parametrize(
    ("coding", "doubtful"),
    [
        *CODINGS.values(),
        *((coding.replace("%s", ""), doubtful) for coding, doubtful in OTHER_ADDRESSES.values()),
        *((coding.replace("%s", ',"code":"9"'), False) for coding, _ in OTHER_ADDRESSES.values()),
    ],
)
def test_by_code_in_cql(tmp_path: Path, coding: str, doubtful: bool) -> None:
    (tmp_path / "Coded.cql").write_text(LIBRARY, "utf-8")
    expression = {"language": "text/cql-identifier", "expression": '"Coded"."Has X"'}
    artifact = {"resourceType": "EvidenceVariable", "id": "ev", "status": "active"}
    artifact |= {"characteristic": [{"linkId": "a", "definitionExpression": expression}]}
    (tmp_path / "ev.json").write_text(json.dumps(artifact), "utf-8")
    data = tmp_path / "data"
    data.mkdir()
    (data / "Patient.ndjson").write_text('{"resourceType":"Patient","id":"a"}\n', "utf-8")
    (data / "Condition.ndjson").write_text(condition(coding) + "\n", "utf-8")
    expected = ("undetermined", "unknown") if doubtful else ("excluded", "not met")
    rules = fhir_eligibility.load_criteria(tmp_path / "ev.json", libraries=[tmp_path / "Coded.cql"])
    for way, found, _ in screened(rules, data, tmp_path):
        assert found == {"Patient/a": expected}, way


ENCOUNTERS = f"""library Coded version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
codesystem "A": '{ACT}'
codesystem "D": '{DICOM}'
code "IMP": 'IMP' from "A"
code "MR": 'MR' from "D"
context Patient
define "Admitted": exists [Encounter: class ~ "IMP"]
define "Imaged": exists [ImagingStudy: modality ~ "MR"]
"""
OF_CODINGS = {
    "display alone": ('{"display":"inpatient"}', "unknown"),
    "version alone": ('{ "version": "1" }', "unknown"),
    "system alone": ('{"system":"%s"}', "unknown"),
    "another system alone": ('{"system":"O"}', "not met"),
    "another code": ('{"display":"x","system":"%s","code":"X"}', "not met"),
    "what is asked for": ('{"display":"x","system":"%s","code":"Y"}', "met"),
}


@pytest.mark.parametrize("kind", ["Encounter", "ImagingStudy"])
@pytest.mark.parametrize(("coding", "outcome"), OF_CODINGS.values(), ids=OF_CODINGS.keys())
def test_elements_that_are_codings_themselves_in_cql(tmp_path: Path, kind: str, coding: str, outcome: str) -> None:
    (tmp_path / "Coded.cql").write_text(ENCOUNTERS, "utf-8")
    define, system, code = ("Admitted", ACT, "IMP") if kind == "Encounter" else ("Imaged", DICOM, "MR")
    text = coding.replace("%s", system).replace('"Y"', f'"{code}"')
    element = (
        f'"class":{text},"status":"finished"' if kind == "Encounter" else f'"modality":[{text}],"status":"available"'
    )
    expression = {"language": "text/cql-identifier", "expression": f'"Coded"."{define}"'}
    artifact = {"resourceType": "EvidenceVariable", "id": "ev", "status": "active"}
    artifact |= {"characteristic": [{"linkId": "a", "definitionExpression": expression}]}
    (tmp_path / "ev.json").write_text(json.dumps(artifact), "utf-8")
    data = tmp_path / "data"
    data.mkdir()
    line = f'{{"resourceType":"{kind}","id":"e","subject":{{"reference":"Patient/a"}},{element}}}\n'
    (data / "all.ndjson").write_text('{"resourceType":"Patient","id":"a"}\n' + line, "utf-8")
    rules = fhir_eligibility.load_criteria(tmp_path / "ev.json", libraries=[tmp_path / "Coded.cql"])
    for way, found, _ in screened(rules, data, tmp_path):
        assert found["Patient/a"][1] == outcome, way


@pytest.mark.parametrize("number", [1, 20])
@pytest.mark.parametrize("name", CODINGS)
def test_lines_and_texts_matter_alike(number: int, name: str) -> None:
    coding, doubtful = CODINGS[name]
    doubtful = (
        doubtful or name == "an extension first"
    )  # looked at for nothing: where the extension ends is not looked for
    codes = frozenset(f"25483700{one}" for one in range(9, 9 + number))
    needles = Needles.of(TypePlan("Condition", None, codes, frozenset(), systems=frozenset((S,))))
    assert needles is not None
    text = condition(coding).encode()
    assert needles.found(text) == doubtful
    lines = condition('[{"system":"%s","code":"9"}]').encode() + b"\n" + text + b"\n"
    assert any(at > lines.index(b"\n") for at in needles.starts(lines)) == doubtful
    twice = text + b"\n" + lines
    assert {twice.count(b"\n", 0, at) for at in needles.starts(twice)} == ({0, 2} if doubtful else set())
    assert not any(at < lines.index(b"\n") for at in needles.starts(lines))


CODING = st.fixed_dictionaries(
    {},
    optional={
        "id": st.just("i"),
        "extension": st.just([{"url": "u", "valueCode": "x"}]),
        "system": st.sampled_from((S, OTHER, f"{S}/version/1", "https://snomed.info/sct", None)),
        "version": st.just("1"),
        "code": st.sampled_from(("9", "254837009", None)),
        "_code": st.just({"extension": [{"url": "u", "valueCode": "unknown"}]}),
        "display": st.sampled_from(("x", S)),
        "userSelected": st.booleans(),
    },
)


@settings(deadline=None, max_examples=2000)
@given(
    codings=st.lists(st.tuples(CODING, st.randoms(use_true_random=False)), min_size=1, max_size=4),
    separators=st.sampled_from(((",", ":"), (", ", ": "), (" , ", " : "))),
    indent=st.sampled_from((None, None, 0, 2, 9, "\t", "\r\n")),
    padded=st.booleans(),
    names=st.sampled_from(((S,), (S, "https://snomed.info/sct"), (S, OTHER))),
)
def test_no_coding_without_a_code_is_passed_over(
    codings: list[Any], separators: tuple[str, str], indent: int | str | None, padded: bool, names: tuple[str, ...]
) -> None:
    listed = []
    for coding, chance in codings:
        members = list(coding.items())
        chance.shuffle(members)
        listed.append(dict(members))
    resource = {
        "resourceType": "Condition",
        "id": "c",
        "code": {"coding": listed},
        "note": [{"text": "null {} display"}],
    }
    text = json.dumps(resource, separators=separators, indent=indent).encode()
    text = text.replace(b"{", b"{ ").replace(b"[", b"[ ") if padded else text
    lacking = any(one.get("code") is None and one.get("system") in (*names, None) for one in listed)
    needles = Needles.of(TypePlan("Condition", None, frozenset(("no-such",)), frozenset(), systems=frozenset(names)))
    assert needles is not None
    found = needles.found(text)
    assert found or not lacking
    assert found == any(True for _ in needles.starts(text + b"\n"))
