"""Records that are marked as a whole - by modifiers that are not known, as parts, as test data - on every way of reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.data.records.in_doubt import modifiers_in, tagged
from fhir_eligibility.data.records.marks import Noted, may_be_marked
from tests.runners.ways import Files, criteria_of, every_problem, problems_of, the_outcomes, write
from tests.shared import shared

Resource = dict[str, Any]
SYSTEM = "http://example.org/codes"
NEVER = [{"url": "http://example.org/never-had", "valueBoolean": True}]
PART = {"tag": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}]}
TEST = {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}]}
PATIENT = {"resourceType": "Patient", "id": "p", "birthDate": "1950-01-01"}


def concept(code: str) -> Resource:
    return {"coding": [{"system": SYSTEM, "code": code}]}


def condition(name: str = "c", code: str = "x", **more: Any) -> Resource:
    return {"resourceType": "Condition", "id": name, "subject": {"reference": "Patient/p"}, "code": concept(code), **more}  # fmt: skip


def observation(name: str = "o", code: str = "x", value: float | None = 5, **more: Any) -> Resource:
    found = {"resourceType": "Observation", "id": name, "status": "final", "subject": {"reference": "Patient/p"}, "code": concept(code), **more}  # fmt: skip
    if value is not None:
        found["valueQuantity"] = {"value": value, "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"}
    return found


def files_of(form: str, resources: list[Resource]) -> Files:
    """Resources as lines by type, as one bundle, or as bundles in lines."""
    if form == "lines":
        files: Files = {}
        for resource in resources:
            files.setdefault(f"{resource['resourceType']}.ndjson", []).append(resource)
        return files
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]}
    return {"b.json" if form == "bundle" else "b.ndjson": [bundle]}


FORMS = pytest.mark.parametrize("form", ["lines", "bundle", "bundles in lines"])
CODED = f"Condition.where(code.coding.exists(system = '{SYSTEM}' and code = 'x'))"
VALUE = f"Observation.where(code.coding.exists(system = '{SYSTEM}' and code = 'x') and value > 3 'mg')"
UNKNOWN, PARTIAL = "unknown (unknown-modifier)", "unknown (partial-record)"
UNIT = [{"url": "http://example.org/other-unit", "valueString": "g"}]

MODIFIED: list[tuple[str, list[Resource], dict[str, str]]] = [
    ("on the resource", [condition(modifierExtension=NEVER)], {f"{CODED}.exists()": UNKNOWN, f"{CODED}.empty()": UNKNOWN}),
    ("rules", [condition(implicitRules="http://example.org/rules")], {f"{CODED}.exists()": UNKNOWN, "Condition.count() = 1": UNKNOWN}),
    ("rules without an address", [condition(_implicitRules={"extension": NEVER})], {f"{CODED}.exists()": UNKNOWN}),
    ("another record does as well", [condition("a", modifierExtension=NEVER), condition("b")], {f"{CODED}.exists()": "met", f"{CODED}.count() = 1": UNKNOWN}),
    ("another code", [condition(code="y", modifierExtension=NEVER)], {f"{CODED}.exists()": "not met", "Condition.exists()": UNKNOWN}),
    ("not read", [condition(modifierExtension=NEVER)], {"Patient.birthDate < @1960": "met", f"{VALUE}.exists()": "not met"}),
    ("a value below the limit", [observation(value=2, modifierExtension=UNIT)], {f"{VALUE}.exists()": UNKNOWN}),
    ("an empty modifier", [condition(modifierExtension=[])], {f"{CODED}.exists()": "met"}),
    ("on the Patient", [PATIENT | {"modifierExtension": NEVER}], {"Patient.birthDate < @1960": UNKNOWN, "Condition.exists()": "not met"}),
    (
        "on an element that is read",
        [observation(component=[{"code": concept("y"), "modifierExtension": NEVER, "valueInteger": 4}])],
        {"Observation.component.exists(value > 3)": UNKNOWN, f"{VALUE}.exists()": "met"},
    ),
    (
        "the author reads it",
        [condition(modifierExtension=NEVER)],
        {"Condition.where(modifierExtension.exists(url = 'http://example.org/never-had')).exists()": "met"},
    ),
]  # fmt: skip


@FORMS
@pytest.mark.parametrize(("resources", "expected"), [row[1:] for row in MODIFIED], ids=[row[0] for row in MODIFIED])
def test_unknown_modifiers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, resources: list[Resource], expected: dict[str, str]
) -> None:
    with_patient = resources if resources[0]["resourceType"] == "Patient" else [PATIENT, *resources]
    data = write(files_of(form, with_patient), tmp_path / "data")
    criteria = criteria_of(tmp_path / "c", *expected, language="text/fhirpath")
    assert the_outcomes(criteria, data, tmp_path / "out", monkeypatch) == {"Patient/p": list(expected.values())}


def test_a_modifier_is_named(tmp_path: Path) -> None:
    component = {"code": concept("y"), "modifierExtension": NEVER, "valueInteger": 4}
    data = write({"o.ndjson": [PATIENT, observation(component=[{"code": concept("z")}, component])]}, tmp_path / "data")
    criteria = criteria_of(tmp_path / "c", "Observation.component.exists(value > 3)", language="text/fhirpath")
    (verdict,) = fhir_eligibility.screen(criteria, data, now="2026-06-01")
    detail = verdict.criteria[0].detail or ""
    assert detail.startswith("Observation/o has modifiers that are not known")
    assert "http://example.org/never-had (`component[1].modifierExtension`)" in detail
    assert problems_of(criteria, data)["plan"] == {("unknown-modifier", None)}


PARTS: list[tuple[str, list[Resource], dict[str, str]]] = [
    (
        "an element that may be there",
        [condition(meta=PART)],
        {
            f"{CODED}.exists(abatement.exists())": PARTIAL,
            f"{CODED}.exists(abatement.empty())": PARTIAL,
            f"{CODED}.where(abatement.exists().not()).exists()": PARTIAL,
            f"{CODED}.exists()": "met",
            f"{CODED}.exists(verificationStatus.coding.exists(code = 'refuted')).not()": PARTIAL,
        },
    ),
    ("whole", [condition()], {f"{CODED}.exists(abatement.empty())": "met", f"{CODED}.exists(abatement.exists())": "not met"}),
    ("another code", [condition(code="y", meta=PART)], {f"{CODED}.exists(abatement.empty())": "not met"}),
    ("what is there", [condition(meta=PART, recordedDate="2020-01-01")], {f"{CODED}.exists(recordedDate < @2021)": "met", f"{CODED}.exists(recordedDate > @2021)": "not met"}),
    ("no code", [{k: v for k, v in condition(meta=PART).items() if k != "code"}], {f"{CODED}.exists()": PARTIAL, "Condition.exists()": "met"}),
    ("no value", [observation(value=None, meta=PART)], {f"{VALUE}.exists()": "unknown (missing-value)"}),
    ("a Patient", [PATIENT | {"meta": PART}], {"Patient.deceased.exists().not()": PARTIAL, "Patient.birthDate < @1960": "met", "Patient.gender = 'male'": "unknown (missing-value)"}),
    ("below an element", [observation(meta=PART, component=[{"code": concept("y")}])], {"Observation.component.exists(interpretation.exists())": PARTIAL}),
    ("many", [condition(f"c{number}", meta=PART) for number in range(12)], {f"{CODED}.exists(abatement.empty())": PARTIAL, f"{CODED}.count() = 12": "met"}),
]  # fmt: skip


@FORMS
@pytest.mark.parametrize(("resources", "expected"), [row[1:] for row in PARTS], ids=[row[0] for row in PARTS])
def test_what_a_part_lacks_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, resources: list[Resource], expected: dict[str, str]
) -> None:
    with_patient = resources if resources[0]["resourceType"] == "Patient" else [PATIENT, *resources]
    data = write(files_of(form, with_patient), tmp_path / "data")
    criteria = criteria_of(tmp_path / "c", *expected, language="text/fhirpath")
    assert the_outcomes(criteria, data, tmp_path / "out", monkeypatch) == {"Patient/p": list(expected.values())}


@FORMS
def test_marks_in_cql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    def coded(kind: str, where: str) -> str:
        return f"exists ([{kind}] R where exists (R.code.coding C where C.code = 'x') and {where})"

    expected = {
        coded("Condition", "true"): UNKNOWN,
        coded("Condition", "R.abatement is null"): UNKNOWN,
        coded("Observation", "R.bodySite is null"): PARTIAL,
        coded("Observation", "R.status = 'final'"): "met",
        coded("Procedure", "true"): "not met",
        "AgeInYears() > 60": "met",
    }
    resources = [PATIENT, condition(modifierExtension=NEVER), observation(meta=PART)]
    data = write(files_of(form, resources), tmp_path / "data")
    criteria = criteria_of(tmp_path / "c", *expected)
    assert the_outcomes(criteria, data, tmp_path / "out", monkeypatch) == {"Patient/p": list(expected.values())}


@pytest.mark.parametrize("form", ["bundle", "bundles in lines"])
@pytest.mark.parametrize(
    ("of_bundle", "of_entry"),
    [
        ({"implicitRules": "http://example.org/rules"}, {}),
        ({"_implicitRules": {"extension": NEVER}}, {}),
        ({}, {"modifierExtension": NEVER}),
    ],
)
def test_modifiers_of_a_bundle_hold_for_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, of_bundle: Resource, of_entry: Resource
) -> None:
    (bundle,) = files_of(form, [PATIENT, condition()]).popitem()[1]
    bundle["entry"][1] |= of_entry
    name = "b.json" if form == "bundle" else "b.ndjson"
    data = write({name: [bundle | of_bundle]}, tmp_path / "data")
    criteria = criteria_of(tmp_path / "c", f"{CODED}.exists()", "Observation.exists()", language="text/fhirpath")
    found = the_outcomes(criteria, data, tmp_path / "out", monkeypatch)
    assert found == {"Patient/p": [UNKNOWN, "not met"]}


@FORMS
def test_marks_are_told_once_with_their_number(tmp_path: Path, form: str) -> None:
    resources = [
        PATIENT | {"meta": TEST},
        {"resourceType": "Patient", "id": "q", "meta": {"tag": [{"code": "HTEST"}]}},
        {"resourceType": "Patient", "id": "r"},
        *(condition(f"c{number}", meta=PART, modifierExtension=NEVER) for number in range(3)),
        observation(meta=TEST),
    ]
    data = write(files_of(form, resources), tmp_path / "data")
    criteria = criteria_of(tmp_path / "c", f"{CODED}.exists()", f"{VALUE}.exists()", language="text/fhirpath")
    for listed in every_problem(criteria, data).values():
        found = {(p.code, p.resource, p.message.partition(" ")[0]) for p in listed}
        assert found == {
            ("test-data", "Patient/p", "Patient/p"),
            ("test-data", "Patient/q", "Patient/q"),
            ("test-data", None, "1"),
            ("partial-record", None, "3"),
            ("unknown-modifier", None, "3"),
        }


def test_marks_are_found_wherever_they_stand() -> None:
    inner = {"resourceType": "Medication", "id": "m", "implicitRules": "http://example.org/r"}
    dosage = [{"text": "x"}, {"text": "y", "modifierExtension": NEVER}]
    resource = {"resourceType": "MedicationRequest", "contained": [inner], "dosageInstruction": dosage}
    assert sorted(modifiers_in(resource)) == [
        ("contained[0].implicitRules", "http://example.org/r"),
        ("dosageInstruction[1].modifierExtension", "http://example.org/never-had"),
    ]
    odd = {"modifierExtension": {"value": 1}, "extension": [7, None, {"modifierExtension": [None, "x"]}]}
    assert sorted(what for _, what in modifiers_in(odd)) == ["an extension without an address"] * 2
    assert not tagged({"meta": [1]}, "HTEST") and not tagged({"meta": {"tag": [1, {"code": 5}]}}, "HTEST")


@pytest.mark.parametrize("key", ["modifierExtension", "implicitRules", "meta"])
def test_no_escape_hides_a_mark(key: str) -> None:
    value = {"modifierExtension": NEVER, "implicitRules": "http://example.org/r", "meta": PART}[key]
    text = json.dumps({"resourceType": "Condition", key: value})
    for word in ("modifierExtension", "implicitRules", "SUBSETTED"):
        for number, letter in enumerate(word):
            escaped = f"{word[:number]}\\u{ord(letter):04x}{word[number + 1 :]}"
            assert may_be_marked(text.replace(word, escaped).encode())
    assert not may_be_marked(json.dumps({"resourceType": "Condition", "note": [{"text": "M\u00fcller"}]}).encode())


def test_what_several_pieces_noted_is_added() -> None:
    one, other = Noted(), Noted()
    for noted, resources in ((one, [condition(meta=PART)]), (other, [condition(meta=PART), condition(modifierExtension=NEVER)])):  # fmt: skip
        for resource in resources:
            noted.add(resource)
    one.update(other)
    assert (one.parts, one.modifiers) == ({"Condition": 2}, {"Condition": {"http://example.org/never-had": 1}})
    assert one.types() == {"Condition"}


# -- cases that were found


@pytest.mark.parametrize(
    ("criterion", "data", "outcome", "told"),
    [
        ("med", "donot", "not met", set()),
        ("basic", "modext", UNKNOWN, {("unknown-modifier", None)}),
        ("basic", "subset", PARTIAL, {("partial-record", None)}),
    ],
)
def test_cases(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    criterion: str,
    data: str,
    outcome: str,
    told: set[tuple[str, str | None]],
) -> None:
    criteria = fhir_eligibility.load_criteria(shared("faults", "data", "crit", criterion))
    folder = shared("faults", "data", "t", data)
    assert the_outcomes(criteria, folder, tmp_path / "out", monkeypatch) == {"Patient/p1": [outcome]}
    assert problems_of(criteria, folder)["memory"] == told
    assert problems_of(criteria, folder)["whole"] == told
