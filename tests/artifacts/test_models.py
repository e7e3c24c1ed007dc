"""The generated model tables, by facts of the specifications."""

from __future__ import annotations

import pytest

from fhir_eligibility.artifacts.models import load_model


@pytest.mark.parametrize(("version", "resources"), [("r4", 146), ("r4b", 141), ("r5", 158)])
def test_resource_types(version: str, resources: int) -> None:
    model = load_model(version)
    assert len(model.resource_types) == resources
    assert model.is_subtype("Patient", "Resource")
    assert model.is_subtype("code", "string") and not model.is_subtype("string", "code")
    assert model.is_subtype("Age", "Quantity")


def test_choices_and_cardinality() -> None:
    model = load_model("4.0.1")
    value = model.element("Observation", "value")
    assert value is not None and value.choice and not value.many
    assert dict(value.json_names)["valueQuantity"] == "Quantity" and len(value.types) == 11
    name = model.element("Patient", "name")
    assert name is not None and name.many and name.types == ("HumanName",)
    item = model.element("Questionnaire.item", "item")
    assert item is not None and item.types == ("Questionnaire.item",)


def test_versions_differ() -> None:
    r4, r5 = load_model("r4"), load_model("R5")
    assert r4.element("Procedure", "performed") and not r5.element("Procedure", "performed")
    assert r5.element("Procedure", "occurrence") and not r4.element("Procedure", "occurrence")
    modality = [m.element("ImagingStudy.series", "modality") for m in (r4, r5)]
    assert [e.types for e in modality if e is not None] == [("Coding",), ("CodeableConcept",)]


def test_patient_compartment() -> None:
    model = load_model("r4")
    assert model.patient_paths("Observation") == ("subject",)
    assert model.patient_paths("AllergyIntolerance") == ("patient",)
    assert model.patient_paths("Coverage") == ("beneficiary",)
    assert model.patient_paths("Medication") == ()


def test_suggestions() -> None:
    assert load_model("r4").suggest("Procedure", "date")[0] == "performed"
    assert load_model("r5").suggest("Procedure", "date")[0] == "occurrence"
    assert load_model("r4").suggest("Observation", "valueQuantity") == ["value"]
    with pytest.raises(ValueError, match="unknown FHIR version"):
        load_model("dstu1")
