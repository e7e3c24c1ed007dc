"""Codes under another address of their code system: found in coded criteria, CQL and memberOf, told in the verdict, and left alone where authors compare texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fhir_eligibility
from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.values.clinical import Code, Concept, ValueSet, equivalent_codes, equivalent_concepts
from fhir_eligibility.algebra.values.code_systems import (
    ALIASES,
    DICOM,
    LOINC,
    SNOMED,
    alias_of,
    canonical,
    same_system,
    spellings,
)
from fhir_eligibility.algebra.values.expansion import Expansion
from fhir_eligibility.compiler.runtime.fhir_values import plainly_coded
from fhir_eligibility.compiler.runtime.membership import ValueSetMembership, with_canonical
from fhir_eligibility.runners.screening.criteria import Criteria
from tests.data.every_way import screened

PAGE = "http://dicom.nema.org/medical/dicom/current/output/chtml/part16/sect_CID_29.html"
OTHERS = [way for way in spellings(DICOM) if way != DICOM]
Resource = dict[str, Any]

LIBRARY = """library Mr
using FHIR version '{version}'
codesystem "DICOM": '{system}'
code "MR": 'MR' from "DICOM"
valueset "Modalities": 'http://example.org/vs'
context Patient
define "By code": exists [ImagingStudy] S where exists (S.series X where X.modality ~ "MR")
define "By list": exists [ImagingStudy] S where exists (S.series X where X.modality in "Modalities")
define "By text": exists [ImagingStudy] S where exists (S.series X where X.modality.{path}system.value = '{system}')
"""
FHIRPATH = {
    "by member": "ImagingStudy.where(series.modality.where($this.memberOf('http://example.org/vs')).exists()).exists()",
    "by text": f"ImagingStudy.where(series.modality{{coding}}.where(system = '{DICOM}' and code = 'MR').exists()).exists()",
}


def value_set(system: str = DICOM) -> Resource:
    return {
        "resourceType": "ValueSet",
        "url": "http://example.org/vs",
        "status": "active",
        "compose": {"include": [{"system": system, "concept": [{"code": "MR"}]}]},
    }


def study(system: str | None, code: str = "MR", version: str = "r4") -> Resource:
    coding = {"code": code, **({"system": system} if system is not None else {})}
    modality = {"coding": [coding]} if version == "r5" else coding
    return {
        "resourceType": "ImagingStudy",
        "id": "i",
        "status": "available",
        "subject": {"reference": "Patient/p"},
        "series": [{"uid": "1.2.3", "modality": modality}],
    }


def rules_for(tmp_path: Path, wanted: str = DICOM, version: str = "r4") -> Criteria:
    """A criterion for each way to ask for MR."""
    number = {"r4": "4.0.1", "r5": "5.0.0"}[version]
    library = LIBRARY.format(version=number, system=wanted, path="coding[0]." if version == "r5" else "")
    (tmp_path / "Mr.cql").write_text(library)
    (tmp_path / "vs.json").write_text(json.dumps(value_set(wanted)))
    names = ["By code", "By list", "By text"]
    cql = [{"language": "text/cql-identifier", "expression": n, "reference": "Mr"} for n in names]
    paths = [
        {"language": "text/fhirpath", "expression": text.replace("{coding}", ".coding" if version == "r5" else "")}
        for text in FHIRPATH.values()
    ]
    coded = {
        "type": {"coding": [{"system": SNOMED, "code": "363679005"}]},
        "valueCodeableConcept": {"coding": [{"system": wanted, "code": "MR"}]},
    }
    characteristics: list[Resource] = [
        *({"linkId": n, "definitionExpression": e} for n, e in zip([*names, *FHIRPATH], [*cql, *paths], strict=True)),
        {"linkId": "coded", "definitionByTypeAndValue": coded},
    ]
    artifact = {"resourceType": "EvidenceVariable", "status": "active", "url": "http://example.org/e"}
    (tmp_path / "ev.json").write_text(json.dumps({**artifact, "characteristic": characteristics}))
    criteria = fhir_eligibility.load_criteria(
        tmp_path / "ev.json", libraries=[tmp_path / "Mr.cql"], valuesets=[tmp_path / "vs.json"], fhir_version=version
    )
    assert criteria.errors == ()
    return criteria


def answers(
    tmp_path: Path, records: list[Resource], *, wanted: str = DICOM, version: str = "r4"
) -> tuple[dict[str, str], Any]:
    """The outcome of each way to ask for MR, and the verdict."""
    criteria = rules_for(tmp_path, wanted, version)
    lines = [{"resourceType": "Patient", "id": "p"}, *records]
    (tmp_path / "data.ndjson").write_text("".join(json.dumps(r) + "\n" for r in lines))
    (verdict,) = fhir_eligibility.screen(criteria, tmp_path / "data.ndjson", now="2026-06-01", force_fhir=True)
    return {c.id: str(c.outcome) for c in verdict.criteria}, verdict


@pytest.mark.parametrize("version", ["r4", "r5"])
@pytest.mark.parametrize("written", OTHERS)
def test_a_modality_under_another_address_is_found(tmp_path: Path, written: str, version: str) -> None:
    """In every way but where an author compares the text, and each time it is told."""
    found, verdict = answers(tmp_path, [study(written, version=version)], version=version)
    assert {name for name, outcome in found.items() if outcome == "met"} == {"By code", "By list", "by member", "coded"}
    assert {found["By text"], found["by text"]} == {"not met"}
    told = f"the modality: {written} is read as DICOM ({DICOM})"
    assert all(told in link.warnings for link in verdict.imaging if link.role == "met") and verdict.imaging
    other, _ = answers(tmp_path, [study(written, "CT", version)], version=version)
    assert set(other.values()) == {"not met"}


@pytest.mark.parametrize("shape", ["lines", "bundles"])
def test_every_way_of_reading_finds_them(tmp_path: Path, shape: str) -> None:
    (tmp_path / "rules").mkdir()
    rules, data = rules_for(tmp_path / "rules"), tmp_path / "data"
    data.mkdir()
    for number, system in enumerate([*OTHERS, DICOM, "http://example.org/modalities", None]):
        one = {**study(system), "id": f"i{number}", "subject": {"reference": f"Patient/p{number}"}}
        both = [{"resourceType": "Patient", "id": f"p{number}"}, one]
        entries = [{"fullUrl": f"http://h/{x['resourceType']}/{x['id']}", "resource": x} for x in both]
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        text = json.dumps(bundle) if shape == "bundles" else "".join(json.dumps(x) + "\n" for x in both)
        (data / f"{number}.{'json' if shape == 'bundles' else 'ndjson'}").write_text(text)
    names = ["By code", "By list", "By text", *FHIRPATH, "coded"]
    last = len(OTHERS)
    for way, outcomes, problems in screened(rules, data, tmp_path):
        found = {name: dict(zip(names, each[1:], strict=True)) for name, each in outcomes.items()}
        assert problems == [] and len(found) == last + 3, way
        for number in range(last):
            met = {name for name, outcome in found[f"Patient/p{number}"].items() if outcome == "met"}
            assert met == {"By code", "By list", "by member", "coded"}, way
        assert set(found[f"Patient/p{last}"].values()) == {"met"}, way
        for number in (last + 1, last + 2):
            assert found[f"Patient/p{number}"].pop("coded") == "unknown", way
            assert "met" not in found[f"Patient/p{number}"].values(), way


@pytest.mark.parametrize("wanted", [PAGE, "urn:oid:1.2.840.10008.2.16.4"])
@pytest.mark.parametrize("written", [DICOM, PAGE, "DCM"])
def test_criteria_that_name_another_address(tmp_path: Path, wanted: str, written: str) -> None:
    found, _ = answers(tmp_path, [study(written)], wanted=wanted)
    assert {found[name] for name in ("By code", "By list", "by member", "coded")} == {"met"}
    assert found["By text"] == ("met" if wanted == written else "not met")


@pytest.mark.parametrize("written", [f"{DICOM}|01", "http://example.org/modalities", SNOMED])
def test_other_code_systems_are_not_taken_for_it(tmp_path: Path, written: str) -> None:
    """Nobody can tell that a coded criterion does not hold where every modality is of another code system."""
    found, verdict = answers(tmp_path, [study(written)])
    assert found.pop("coded") == "unknown" and set(found.values()) == {"not met"}
    (coded,) = [c for c in verdict.criteria if c.id == "coded"]
    assert coded.reason == "other-code-system" and "the criterion asks for DICOM" in str(coded.detail)
    both, _ = answers(tmp_path, [study(written), {**study(DICOM, "CT"), "id": "j"}])
    assert both["coded"] == "not met"


def test_the_evidence_says_which_address_is_another() -> None:
    from fhir_eligibility.evaluation.evidence import evidence_of

    for written in ("urn:oid:2.16.840.1.113883.6.96", "https://snomed.info/sct"):
        record = {"resourceType": "Condition", "id": "c", "code": {"coding": [{"system": written, "code": "1"}]}}
        assert evidence_of(record, "met", None, None).note == f"{written} is read as SNOMED CT ({SNOMED})"
        coded: Resource = {
            "resourceType": "Observation",
            "id": "o",
            "code": {"coding": [{"system": LOINC, "code": "2"}]},
        }
        coded["valueCodeableConcept"] = record["code"]
        assert evidence_of(coded, "met", None, None).note == f"{written} is read as SNOMED CT ({SNOMED})"
    plain = {"resourceType": "Condition", "id": "c", "code": {"coding": [{"system": SNOMED, "code": "1"}]}}
    assert evidence_of(plain, "met", None, None).note is None


def test_no_address_is_that_of_two_code_systems() -> None:
    assert all(canonical(known) == known and alias_of(known) is None for known in ALIASES.values())
    assert all(same_system(way, known) and way in spellings(known) for way, known in ALIASES.items())


SYSTEMS = st.sampled_from([SNOMED, LOINC, DICOM, *list(ALIASES)[::7], "http://local", None, ""])
CODES = st.builds(Code, st.sampled_from("ab"), SYSTEMS)


@given(CODES, CODES)
def test_equivalence_is_that_of_the_canonical_codes(one: Code, other: Code) -> None:
    plain = [Code(code.code, canonical(code.system) if code.system else code.system) for code in (one, other)]
    assert equivalent_codes(one, other) == (plain[0] == plain[1])
    assert equivalent_concepts(Concept((one,)), other) == (plain[0] == plain[1])


@given(st.lists(CODES, max_size=4), CODES, st.booleans())
def test_value_sets_are_those_of_the_canonical_codes(listed: list[Code], code: Code, unknown: bool) -> None:
    """A code is in a value set where its canonical code is in that of the canonical codes; what is not known stays unknown."""
    some = Expansion([(c.system, c.code) for c in listed], open={LOINC: "not given"} if unknown else {})
    plain = Expansion(
        [(canonical(c.system) if c.system else c.system, c.code) for c in listed],
        open={LOINC: "not given"} if unknown else {},
    )
    member = (canonical(code.system) if code.system else code.system, code.code)
    assert ValueSetMembership({"x": some}).in_value_set(code, ValueSet("x")) == plain.has(member)
    if not unknown:
        assert len(ValueSetMembership({"x": some}).expand(ValueSet("x"))) == len(some.codes)


def test_a_text_in_a_value_set_of_one_code_system_by_two_addresses() -> None:
    """What a value set writes decides whether a bare text is ambiguous, not what is added to look for codes."""
    one = ValueSetMembership({"x": Expansion([(PAGE, "MR")])})
    assert one.in_value_set("MR", ValueSet("x")) is True
    with pytest.raises(EvaluationError):
        ValueSetMembership({"x": Expansion([(PAGE, "MR"), (LOINC, "1")])}).in_value_set("MR", ValueSet("x"))


@given(
    st.lists(st.lists(st.tuples(SYSTEMS, st.sampled_from("ab")), min_size=1, max_size=2), max_size=4),
    st.lists(CODES, max_size=2),
)
def test_the_fast_path_leaves_other_addresses_to_the_plain_way(
    rows: list[list[tuple[Any, str]]], wanted: list[Code]
) -> None:
    """Where the fast path answers, it is what the canonical codes say."""
    resources = [
        {"code": {"coding": [{"code": code, **({} if system is None else {"system": system})} for system, code in row]}}
        for row in rows
    ]
    members = with_canonical(Expansion([(c.system, c.code) for c in wanted]))
    found = plainly_coded(resources, "code", members.codes)
    if found is not None:
        plain = {(canonical(s) if s else s, c) for s, c in members.codes}
        assert found == [
            resource
            for resource, row in zip(resources, rows, strict=True)
            if any((canonical(s), c) in plain for s, c in row)
        ]
