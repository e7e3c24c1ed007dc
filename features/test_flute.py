"""The steps of flute.feature: patients are put together sentence by sentence and screened with criteria/flute."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pytest_bdd import given, parsers, scenarios, then, when

import fhir_eligibility

scenarios("flute.feature")

CRITERIA = Path(__file__).parents[1] / "criteria" / "flute"
SCT = "http://snomed.info/sct"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
STUDY_UID = "2.25.1001"
SERIES_UID = "2.25.1002"
INSTANCE_UID = "2.25.1003"
Resource = dict[str, Any]


class Record:
    """The resources of one patient, and the verdict once they are screened."""

    def __init__(self) -> None:
        self.resources: list[Resource] = [{"resourceType": "Patient", "id": "p"}]
        self.verdict: fhir_eligibility.Verdict | None = None

    def add(self, resource: Resource) -> None:
        self.resources.append({**resource, "subject": {"reference": "Patient/p"}})

    def remove(self, kind: str) -> None:
        self.resources = [r for r in self.resources if r["resourceType"] != kind]

    def psa(self, quantity: Resource, status: str = "final") -> None:
        self.remove("Observation")
        code = {"coding": [{"system": "http://loinc.org", "code": "2857-1"}]}
        self.add(
            {"resourceType": "Observation", "id": "psa", "status": status, "code": code, "valueQuantity": quantity}
        )

    def biopsy(self, name: str, date: str | None) -> None:
        code = {"coding": [{"system": SCT, "code": "86273004"}]}
        when_done = {"performedDateTime": date} if date else {}
        self.add({"resourceType": "Procedure", "id": name, "status": "completed", "code": code, **when_done})

    def images(self, modality: str, started: str | None) -> None:
        coding = {"system": DCM, "code": modality}
        series = {"uid": SERIES_UID, "modality": coding, "instance": [{"uid": INSTANCE_UID}]}
        identifier = [{"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY_UID}"}]
        study = {"resourceType": "ImagingStudy", "id": "i", "status": "available", "identifier": identifier}
        self.add({**study, "modality": [coding], "series": [series], **({"started": started} if started else {})})

    def screen(self, artifact: str) -> None:
        criteria = fhir_eligibility.load_criteria(CRITERIA / artifact)
        assert criteria.diagnostics == ()
        (compartment,) = fhir_eligibility.compartments_of(self.resources)
        (self.verdict,) = fhir_eligibility.screen(criteria, compartment, now="2026-06-01")

    @property
    def result(self) -> fhir_eligibility.Verdict:
        assert self.verdict is not None
        return self.verdict


def quantity(value: str, unit: str) -> Resource:
    return {"value": Decimal(value), "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}


@pytest.fixture
def record() -> Record:
    return Record()


@given("a patient with a PSA of 5.2 ng/mL")
def _(record: Record) -> None:
    record.psa(quantity("5.2", "ng/mL"))


@given(parsers.parse("a biopsy on {date}"))
def _(record: Record, date: str) -> None:
    record.biopsy("biopsy", date)


@given(parsers.parse("another biopsy on {date}"))
def _(record: Record, date: str) -> None:
    record.biopsy("other-biopsy", date)


@given(parsers.re(r"the PSA is (?P<value>[\d.]+) (?P<unit>\w+/\w+)$"))
def _(record: Record, value: str, unit: str) -> None:
    record.psa(quantity(value, unit))


@given("there was no biopsy")
def _(record: Record) -> None:
    record.remove("Procedure")


@given("the date of the biopsy is not recorded")
def _(record: Record) -> None:
    record.remove("Procedure")
    record.biopsy("biopsy", None)


@given(parsers.parse("an MR study started {started}"))
def _(record: Record, started: str) -> None:
    record.images("MR", started)


@given(parsers.parse("a CT study started {started}"))
def _(record: Record, started: str) -> None:
    record.images("CT", started)


@given("an MR study without a date")
def _(record: Record) -> None:
    record.images("MR", None)


@given("the PSA is 5.2 with the unit text ng/mL and no code")
def _(record: Record) -> None:
    record.psa({"value": Decimal("5.2"), "unit": "ng/mL"})


@given("the PSA is 5.2 without a unit")
def _(record: Record) -> None:
    record.psa({"value": Decimal("5.2")})


@given("the PSA is preliminary")
def _(record: Record) -> None:
    record.psa(quantity("5.2", "ng/mL"), "preliminary")


@given("there is no PSA")
def _(record: Record) -> None:
    record.remove("Observation")


@when("the patient is screened")
def _(record: Record) -> None:
    record.screen("mr")


@when("the patient is screened for images of any modality")
def _(record: Record) -> None:
    record.screen("any-modality")


@then(parsers.parse("the patient is {verdict}"))
def _(record: Record, verdict: str) -> None:
    assert record.result.verdict == verdict


@then(parsers.parse("the reason is {reason}"))
def _(record: Record, reason: str) -> None:
    assert {criterion.reason for criterion in record.result.criteria if criterion.reason} == {reason}


@then("the images that met the criterion are named by their DICOM UIDs")
def _(record: Record) -> None:
    (link,) = [link for link in record.result.imaging if link.criterion == "images"]
    assert (link.role, link.study) == ("met", STUDY_UID)
    assert [(series.uid, series.instances) for series in link.series] == [(SERIES_UID, [INSTANCE_UID])]


@then("the images were looked at and did not meet the criterion")
def _(record: Record) -> None:
    (link,) = [link for link in record.result.imaging if link.criterion == "images"]
    assert (link.role, link.study) == ("examined", STUDY_UID)
    assert link.failed is not None and "%images.started" in link.failed


@then("CT is named as what was seen")
def _(record: Record) -> None:
    (link,) = [link for link in record.result.imaging if link.criterion == "images"]
    assert (link.role, link.modality) == ("examined", ["CT"])
    assert link.failed is not None and "'MR'" in link.failed


@then("the evidence tells how the unit was read")
def _(record: Record) -> None:
    suspicion = record.result.criteria[0]
    notes = [evidence.note for member in suspicion.members for evidence in member.evidence]
    assert notes == ["unit read from the text 'ng/mL': the quantity has no UCUM code"]
