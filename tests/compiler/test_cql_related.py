"""Related-context retrieves, `[Mother -> Condition: codes]`: another patient's data, or in words why it cannot be looked at."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fhir_eligibility.data.patients.reader import compartments_of
from fhir_eligibility.evaluation.verdict import CriterionResult
from fhir_eligibility.runners.measures.measuring import MeasureOptions, evaluate_measure, load_measure
from fhir_eligibility.runners.screening import run as running
from fhir_eligibility.runners.screening.criteria import load_criteria
from fhir_eligibility.runners.screening.screening import evaluation_time, screen
from fhir_eligibility.ui.commands.cli import main

LIBRARY = """library Kin version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
codesystem "SCT": 'http://snomed.info/sct'
code "Diabetes code": '73211009' from "SCT"
concept "Diabetes": { "Diabetes code" }
context Patient
define Mother: singleton from ([RelatedPerson] R where exists (R.relationship.coding C where C.code = 'MTH'))
define "Mother has diabetes": exists [Mother -> Condition: "Diabetes"]
define "Own diabetes": exists [Condition: "Diabetes"]
define "Mother gave birth": exists ([Mother -> Observation] O where O.value as FHIR.Quantity > 36 'wk')
define Sister: null as FHIR.Patient
define "Sister has diabetes": exists [Sister -> Condition]
define Link: First([Observation] O where exists O.focus return First(O.focus))
define "Linked has diabetes": exists [Link -> Condition: "Diabetes"]
define Number: 'mother'
define "Numbered has diabetes": exists [Number -> Condition: "Diabetes"]
define "Mother was imaged": exists [Mother -> ImagingStudy]
define "Mother's age": [Mother -> Patient] P return P.id.value
"""
CHILD: dict[str, Any] = {"resourceType": "Patient", "id": "child"}
MOTHER: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "mother",
    "link": [{"type": "seealso", "other": {"reference": "RelatedPerson/mum"}}],
}
MUM = {
    "resourceType": "RelatedPerson",
    "id": "mum",
    "patient": {"reference": "Patient/child"},
    "relationship": [{"coding": [{"code": "MTH"}]}],
}
DIABETES = {
    "resourceType": "Condition",
    "id": "dm",
    "subject": {"reference": "Patient/mother"},
    "code": {"coding": [{"system": "http://snomed.info/sct", "code": "73211009"}]},
}
WEEKS = {
    "resourceType": "Observation",
    "id": "weeks",
    "status": "final",
    "subject": {"reference": "Patient/mother"},
    "code": {"text": "gestation"},
    "valueQuantity": {"value": 39, "unit": "wk", "system": "http://unitsofmeasure.org", "code": "wk"},
}
OF_MOTHER = {
    "resourceType": "Observation",
    "id": "history",
    "status": "final",
    "subject": {"reference": "Patient/child"},
    "focus": [{"reference": "Patient/mother"}],
    "code": {"text": "history of the mother"},
}
FAMILY = (CHILD, MOTHER, MUM, DIABETES, WEEKS, OF_MOTHER)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "criteria").mkdir()
    (tmp_path / "criteria" / "Kin.cql").write_text(LIBRARY)
    yield tmp_path


def criteria_of(folder: Path, *names: str) -> Path:
    items = [{"definitionExpression": {"language": "text/cql-identifier", "expression": f'"{name}"'}} for name in names]
    variable = {"resourceType": "EvidenceVariable", "id": "e", "status": "active", "characteristic": items}
    path = folder / "criteria" / "e.json"
    path.write_text(json.dumps(variable))
    return path


def ndjson(folder: Path, *resources: dict[str, Any]) -> Path:
    data = folder / "data"
    data.mkdir(exist_ok=True)
    for kind in {r["resourceType"] for r in resources}:
        lines = [json.dumps(r) for r in resources if r["resourceType"] == kind]
        (data / f"{kind}.ndjson").write_text("\n".join(lines) + "\n")
    return data


def judged(
    folder: Path, names: tuple[str, ...], *resources: dict[str, Any], patient: str = "child"
) -> list[CriterionResult]:
    criteria = load_criteria(criteria_of(folder, *names), libraries=[folder / "criteria"])
    assert not criteria.errors
    verdicts = {v.patient: v for v in screen(criteria, ndjson(folder, *resources), now="2026-01-01")}
    return verdicts[f"Patient/{patient}"].criteria


def test_the_record_of_a_related_person_is_that_of_the_patient_who_is_linked_to_it(folder: Path) -> None:
    mother, own, birth, age = judged(
        folder, ("Mother has diabetes", "Own diabetes", "Mother gave birth", "Mother's age"), *FAMILY
    )
    assert (mother.outcome, own.outcome, birth.outcome, age.outcome) == ("met", "not met", "met", "met")
    seen = {e.resource: Path(e.file or "").name for e in mother.evidence}
    assert seen == {"RelatedPerson/mum": "RelatedPerson.ndjson", "Condition/dm": "Condition.ndjson"}
    assert {e.resource for e in birth.evidence} == {"RelatedPerson/mum", "Observation/weeks"}


def test_images_of_the_other_patient_are_linked_under_the_identifiers_of_both(folder: Path) -> None:
    study = {
        "resourceType": "ImagingStudy",
        "id": "scan",
        "status": "available",
        "subject": {"reference": "Patient/mother"},
        "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
    }
    child, mother = ({**who, "identifier": [{"value": name}]} for who, name in ((CHILD, "C1"), (MOTHER, "M1")))
    criteria = load_criteria(criteria_of(folder, "Mother was imaged"), libraries=[folder / "criteria"])
    verdicts = {v.patient: v for v in screen(criteria, ndjson(folder, child, mother, MUM, study), now="2026-01-01")}
    found = verdicts["Patient/child"]
    assert [link.study for link in found.imaging] == ["1.2.3"]
    assert [identifier.value for identifier in found.identifiers] == ["C1", "M1"]
    assert verdicts["Patient/mother"].imaging == []


def test_a_criterion_is_not_met_where_the_other_patient_has_no_such_record(folder: Path) -> None:
    (mother,) = judged(
        folder, ("Mother has diabetes",), CHILD, MOTHER, MUM, {**DIABETES, "subject": {"reference": "Patient/child"}}
    )
    assert mother.outcome == "not met"


def test_references_and_ids_identify_a_patient_and_null_gives_an_empty_list(folder: Path) -> None:
    linked, numbered, sister = judged(
        folder, ("Linked has diabetes", "Numbered has diabetes", "Sister has diabetes"), *FAMILY
    )
    assert (linked.outcome, numbered.outcome, sister.outcome) == ("met", "met", "not met")


def test_a_person_who_is_not_among_the_data_leaves_the_criterion_unknown(folder: Path) -> None:
    mother, linked = judged(folder, ("Mother has diabetes", "Linked has diabetes"), CHILD, MUM, OF_MOTHER)
    assert (mother.outcome, mother.reason) == ("unknown", "unresolved-reference")
    assert mother.detail is not None
    assert mother.detail.startswith(
        "Patient/child: no Patient among the data is linked to RelatedPerson/mum (Patient.link.other)"
    )
    assert '[Mother -> Condition: "Diabetes"]' in mother.detail
    assert (linked.outcome, linked.reason) == ("unknown", "unresolved-reference")
    assert linked.detail is not None and "the record of Patient/mother is not among the data" in linked.detail


def test_two_patients_who_are_the_same_person_are_named(folder: Path) -> None:
    (mother,) = judged(folder, ("Mother has diabetes",), *FAMILY, {**MOTHER, "id": "twin"})
    assert (mother.outcome, mother.reason) == ("unknown", "unresolved-reference")
    assert mother.detail is not None
    assert "several patients are linked to RelatedPerson/mum: Patient/mother, Patient/twin" in mother.detail


def test_in_a_bundle_references_are_resolved_as_they_stand_there(folder: Path) -> None:
    names = {"Patient/mother": "urn:uuid:1", "RelatedPerson/mum": "urn:uuid:2", "Patient/child": "urn:uuid:3"}
    text = json.dumps(FAMILY)
    for name, urn in names.items():
        text = text.replace(f'"{name}"', f'"{urn}"')
    entries = []
    for resource in json.loads(text):
        urn = names.get(f"{resource['resourceType']}/{resource['id']}", f"urn:uuid:{resource['id']}")
        entries.append({"fullUrl": urn, "resource": resource})
    data = folder / "bundle.json"
    data.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    criteria = load_criteria(
        criteria_of(folder, "Mother has diabetes", "Linked has diabetes"), libraries=[folder / "criteria"]
    )
    verdicts = {v.patient: v for v in screen(criteria, data, now="2026-01-01")}
    assert [c.outcome for c in verdicts["Patient/child"].criteria] == ["met", "met"]


def test_where_patients_come_one_at_a_time_that_is_told(folder: Path) -> None:
    criteria = load_criteria(criteria_of(folder, "Mother has diabetes"), libraries=[folder / "criteria"])
    (child,) = [c for c in compartments_of(FAMILY) if c.id == "child"]
    (verdict,) = screen(criteria, replace(child, others=None), now="2026-01-01")
    (mother,) = verdict.criteria
    assert (mother.outcome, mother.reason) == ("unknown", "error")
    assert mother.detail is not None and "data is read one patient at a time here" in mother.detail


def test_a_run_with_workers_and_little_memory_finds_the_records_of_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    criteria = criteria_of(folder, "Mother has diabetes")
    data = ndjson(folder, *FAMILY)
    out = folder / "out"
    arguments = [
        "screen",
        str(criteria),
        "--libraries",
        str(folder / "criteria"),
        "--data",
        str(data),
        "--now",
        "2026-06-01",
        "--out",
        str(out),
    ]
    assert main([*arguments, "--jobs", "2"]) == 0
    small = (out / "verdicts.ndjson").read_bytes()
    verdicts = [json.loads(line) for line in small.splitlines()]
    assert {v["patient"]: v["verdict"] for v in verdicts} == {"Patient/child": "included", "Patient/mother": "excluded"}
    monkeypatch.setattr(running, "SMALL", 0)
    for options in (["--jobs", "1"], ["--jobs", "2", "--resume"], ["--jobs", "2", "--memory", "1MB"]):
        assert main([*arguments, *options]) == 0
        assert (out / "verdicts.ndjson").read_bytes() == small


def test_elm_carries_the_context(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elm = folder / "criteria" / "Kin.json"
    assert main(["compile", str(folder / "criteria" / "Kin.cql"), "--elm", str(elm)]) == 0
    defines = json.loads(elm.read_text())["library"]["statements"]["def"]
    (define,) = [d for d in defines if d["name"] == "Mother has diabetes"]
    retrieve = define["expression"]["operand"]
    assert (retrieve["type"], retrieve["context"]["type"], retrieve["context"]["name"]) == (
        "Retrieve",
        "ExpressionRef",
        "Mother",
    )
    (folder / "criteria" / "Kin.cql").unlink()
    content = {"contentType": "application/elm+json", "data": base64.b64encode(elm.read_bytes()).decode()}
    library = {"resourceType": "Library", "url": "http://example.org/Library/Kin", "name": "Kin", "version": "1"}
    elm.write_text(json.dumps({**library, "content": [content]}))
    mother, sister = judged(folder, ("Mother has diabetes", "Sister has diabetes"), *FAMILY)
    assert (mother.outcome, sister.outcome) == ("met", "not met")


def test_expressions_reach_the_other_patient(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, library = ndjson(folder, *FAMILY), folder / "criteria" / "Kin.cql"
    arguments = ["cql", '"Mother has diabetes"', "--library", str(library), "--data", str(data)]
    assert main([*arguments, "--patient", "child"]) == 0
    assert capsys.readouterr().out.startswith("true ")
    assert main(arguments) == 2
    assert "name one (--patient)" in capsys.readouterr().err
    assert main([*arguments, "--patient", "father"]) == 2
    assert "it holds Patient/child, Patient/mother" in capsys.readouterr().err


def test_a_reference_to_what_is_no_person_is_an_error(folder: Path) -> None:
    place = {"resourceType": "Organization", "id": "mother"}
    history = {**OF_MOTHER, "focus": [{"reference": "Organization/mother"}]}
    (linked,) = judged(folder, ("Linked has diabetes",), CHILD, MOTHER, place, history)
    assert (linked.outcome, linked.reason) == ("unknown", "error")
    assert linked.detail is not None
    assert "expected a reference to a patient whose data can be retrieved, found Organization/mother" in linked.detail


def test_measures_reach_the_other_patient(folder: Path) -> None:
    loaded = load_measure(folder / "criteria" / "Kin.cql")
    options = MeasureOptions(now=evaluation_time("2026-01-01", "UTC"))
    results = {r.patient: r for r in evaluate_measure(loaded, [ndjson(folder, *FAMILY)], options)}
    counts = {group.id: group.populations[0].count for group in results["Patient/child"].groups}
    assert (counts["Mother has diabetes"], counts["Own diabetes"], counts["Sister has diabetes"]) == (1, 0, 0)


@pytest.mark.parametrize(
    ("define", "told"),
    [
        ("define X: [RelatedPerson]\ndefine Y: [X -> Condition]", "before -> stands one patient, not a list"),
        ("define X: First([Condition])\ndefine Y: [X -> Condition]", "FHIR.Condition identifies no patient"),
        ("define X: 5\ndefine Y: [X -> Condition]", "Integer identifies no patient"),
    ],
)
def test_what_identifies_no_patient_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], define: str, told: str
) -> None:
    path = folder / "R.cql"
    path.write_text(f"library R\nusing FHIR version '4.0.1'\ncontext Patient\n{define}\n")
    assert main(["compile", str(path)]) == 2
    shown = capsys.readouterr().err
    assert "error[related-context]" in shown and told in shown
