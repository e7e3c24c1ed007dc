"""Populations of measures over records in doubt: what another form of a record would change has no answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.ui.commands.cli import main

Resource = dict[str, Any]
LIBRARY = """library Doubts version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1' called FHIRHelpers
context Patient
define "Has X": exists ([Condition] C where exists (C.code.coding K where K.code = 'x'))
define "Has Any": exists [Condition]
define "Adult": AgeInYearsAt(@2026-01-01) >= 18
"""
NEVER = [{"url": "http://example.org/never-had", "valueBoolean": True}]


def condition(code: str, **more: Any) -> Resource:
    coded = {"coding": [{"system": "http://example.org", "code": code}]}
    return {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p"}, "code": coded, **more}


def populations(
    folder: Path, library: str, records: list[Resource], *options: str
) -> dict[str, tuple[int, str | None]]:
    """By define how often a patient is in its population, and the reason why there was no answer."""
    name = library.split()[1]
    (folder / f"{name}.cql").write_text(library, "utf-8")
    patient = {"resourceType": "Patient", "id": "p", "birthDate": "1980-01-01"}
    data = folder / "data"
    data.mkdir(exist_ok=True)
    (data / "all.ndjson").write_text("".join(json.dumps(one) + "\n" for one in [patient, *records]), "utf-8")
    words = ["measure", str(folder / f"{name}.cql"), "--data", str(data), "--out", str(folder / "out"), "--jobs", "1"]
    assert main([*words, "--now", "2026-06-01", "--quiet", *options]) in (0, 1)
    (line,) = (folder / "out" / "results.ndjson").read_text("utf-8").splitlines()
    found = {}
    for group in json.loads(line)["groups"]:
        (population,) = group["populations"]
        found[group["id"]] = population["count"], (population.get("unknown") or "").partition(":")[0] or None
    return found


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([condition("x")], {"Has X": (1, None), "Has Any": (1, None), "Adult": (1, None)}),
        ([condition("x"), condition("y")], {"Has X": (0, "conflicting-records"), "Has Any": (1, None), "Adult": (1, None)}),
        ([condition("x", modifierExtension=NEVER)], {"Has X": (0, "unknown-modifier"), "Has Any": (0, "unknown-modifier"), "Adult": (1, None)}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", ["small", "large"])
def test_populations(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    records: list[Resource],
    expected: dict[str, tuple[int, str | None]],
) -> None:
    if way == "large":
        monkeypatch.setattr("fhir_eligibility.runners.screening.run.SMALL", 0)
    assert populations(tmp_path, LIBRARY, records) == expected


XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
CANCELLED = "http://hl7.org/fhir/us/qicore/StructureDefinition/qicore-observationcancelled"
OTHER = "http://hl7.org/fhir/us/qicore/StructureDefinition/qicore-observation-lab"
NOT_DONE = {"url": "http://hl7.org/fhir/us/qicore/StructureDefinition/qicore-notDone", "valueBoolean": True}
MODEL = f"""<modelInfo {XSI} name="Care" version="1.0" url="http://example.org/care" targetUrl="http://hl7.org/fhir" patientClassName="Person">
  <typeInfo xsi:type="ClassInfo" namespace="Care" name="Resource"/>
  <typeInfo xsi:type="ClassInfo" namespace="Care" name="Person" baseType="Care.Resource" target="Patient"
      identifier="http://hl7.org/fhir/StructureDefinition/Patient" retrievable="true"/>
  <typeInfo xsi:type="ClassInfo" namespace="Care" name="Cancelled" baseType="Care.Resource" target="Observation"
      identifier="{CANCELLED}" retrievable="true"/>
  <typeInfo xsi:type="ClassInfo" namespace="Care" name="Lab" baseType="Care.Resource" target="Observation"
      identifier="{OTHER}" retrievable="true"/>
</modelInfo>"""
CARE = """library Care version '1'
using Care version '1.0'
context Person
define "Cancelled": exists [Cancelled]
define "Either": exists [Cancelled] or exists [Lab]
"""


@pytest.mark.parametrize(
    ("profiles", "extensions", "expected"),
    [
        ([CANCELLED], [NOT_DONE], {"Cancelled": (1, None), "Either": (1, None)}),
        ([CANCELLED], [NOT_DONE, *NEVER], {"Cancelled": (0, "unknown-modifier"), "Either": (0, "unknown-modifier")}),
        ([CANCELLED, OTHER], [NOT_DONE], {"Cancelled": (1, None), "Either": (0, "unknown-modifier")}),
        ([OTHER], [NOT_DONE], {"Cancelled": (0, None), "Either": (0, "unknown-modifier")}),
    ],
)
def test_modifiers_that_the_profile_asked_for_defines(
    tmp_path: Path, profiles: list[str], extensions: list[Resource], expected: dict[str, tuple[int, str | None]]
) -> None:
    (tmp_path / "care.xml").write_text(MODEL, "utf-8")
    record = {"resourceType": "Observation", "id": "o", "subject": {"reference": "Patient/p"}, "status": "cancelled"}
    record |= {"meta": {"profile": profiles}, "modifierExtension": extensions, "code": {"text": "BMI"}}
    assert populations(tmp_path, CARE, [record], "--libraries", str(tmp_path / "care.xml")) == expected
    if profiles == [CANCELLED]:
        both = populations(tmp_path, CARE, [record], "--libraries", str(tmp_path / "care.xml"), "--ignore-profiles")
        assert both == dict.fromkeys(expected, (0, "unknown-modifier"))
