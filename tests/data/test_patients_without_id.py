"""A Patient without a usable id has a name that is the same in every run and on every way, and is reported; none is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.patients.reader import compartments_of, read_patients
from tests.data.every_way import criteria, screened

NAMED = {"resourceType": "Patient", "id": "p1", "birthDate": "1950-01-01"}


def condition(identifier: str) -> dict[str, Any]:
    return {"resourceType": "Condition", "id": identifier, "code": {"text": "x"}}


@pytest.mark.parametrize(
    "identifier",
    ["none", "null", '""', '["x"]', '{"a":1}', "true", "[]"],
)
@pytest.mark.parametrize("form", ["lines", "bundle", "collection", "parameters"])
def test_a_patient_without_an_id_has_a_stable_name(tmp_path: Path, identifier: str, form: str) -> None:
    given = "" if identifier == "none" else f'"id":{identifier},'
    text = f'{{"resourceType":"Patient",{given}"birthDate":"1960-01-01"}}'
    data = tmp_path / "data"
    data.mkdir()
    if form == "lines":
        (data / "Patient.ndjson").write_text(json.dumps(NAMED) + "\n" + text + "\n", "utf-8")
    elif form == "parameters":
        listed = f'{{"name":"a","resource":{text}}},{{"name":"b","resource":{json.dumps(NAMED)}}}'
        (data / "p.json").write_text(f'{{"resourceType":"Parameters","parameter":[{listed}]}}', "utf-8")
    else:
        kind = "document" if form == "bundle" else "collection"
        entries = ",".join(f'{{"resource":{one}}}' for one in (text, json.dumps(condition("c"))))
        (data / "b.json").write_text(f'{{"resourceType":"Bundle","type":"{kind}","entry":[{entries}]}}', "utf-8")
        (data / "Patient.ndjson").write_text(json.dumps(NAMED) + "\n", "utf-8")
    rules = criteria(tmp_path / "criteria", "Patient.birthDate < @1955-01-01", "Condition.exists()")
    first = list(screened(rules, data, tmp_path / "first"))
    again = list(screened(rules, data, tmp_path / "again"))
    expected = first[0][1]
    (name,) = expected.keys() - {"Patient/p1"}
    assert name.startswith("Patient/no-id-")
    assert expected[name][1] == "not met"
    assert (expected[name][2] == "met") is (form in ("bundle", "collection"))
    for way, found, problems in (*first, *again):
        assert found == expected, way
        told = [p for p in problems if p.code == "patient-without-id"]
        assert [(p.resource, p.line) for p in told] == [(name, 2 if form == "lines" else None)], way


def test_patients_without_id_stay_apart(tmp_path: Path) -> None:
    for number in range(3):
        folder = tmp_path / "data" / str(number)
        folder.mkdir(parents=True)
        # the same patient by all that is said, in files of the same name: only the place tells them apart
        entries = [{"resource": {"resourceType": "Patient"}}, {"resource": condition("c")}][: 1 + number % 2]
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        (folder / "bundle.json").write_text(json.dumps(bundle), "utf-8")
    rules = criteria(tmp_path / "criteria", "Condition.exists()")
    for way, found, _ in screened(rules, tmp_path / "data", tmp_path):
        assert len(found) == 3, way
        assert sorted(row[1] for row in found.values()).count("met") == 1, way


def test_resources_at_hand_are_named_alike_in_every_run() -> None:
    listed = [{"resourceType": "Patient", "birthDate": "1960-01-01"}, {"resourceType": "Patient", "gender": "male"}]
    names = [[c.reference for c in compartments_of([dict(one) for one in listed])] for _ in range(2)]
    assert names[0] == names[1]
    assert len(set(names[0])) == 2


def test_nothing_refers_to_a_patient_without_id(tmp_path: Path) -> None:
    about = {**condition("c"), "subject": {"reference": "Patient/None"}}
    text = "\n".join(map(json.dumps, [{"resourceType": "Patient", "id": []}, about]))
    (tmp_path / "all.ndjson").write_text(text, "utf-8")
    found = {c.reference: c for c in read_patients([tmp_path], model=load_model("r4"), on_problem=lambda problem: None)}
    assert len(found) == 2
    assert not next(c for name, c in found.items() if "no-id" in name).of_type("Condition")
