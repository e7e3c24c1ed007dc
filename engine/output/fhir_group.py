"""The included patients of an artifact as a FHIR Group, checked by fhir.resources where it knows the version."""

from __future__ import annotations

import json
from typing import Any

R4_TYPES = ("r4", "r4b")
VALIDATED = 100


def group_of(artifact: str, title: str | None, patients: list[str], fhir_version: str, now: str) -> dict[str, Any]:
    """A Group resource (R4, R4B or R5) that lists patients, in the order given."""
    group: dict[str, Any] = {"resourceType": "Group", "type": "person"}
    name = f"Included: {title or artifact}"
    if fhir_version in R4_TYPES:
        group["actual"] = True
    else:
        group["membership"] = "enumerated"
    group["name"] = name
    group["quantity"] = len(patients)
    group["extension"] = [
        {"url": "http://hl7.org/fhir/StructureDefinition/artifact-date", "valueDateTime": now},
        {"url": "http://hl7.org/fhir/StructureDefinition/workflow-generatedFrom", "valueUri": artifact},
    ]
    group["extension"] = [e for e in group["extension"] if "valueUri" not in e or ":" in str(e["valueUri"])]
    if patients:
        group["member"] = [{"entity": {"reference": patient}} for patient in patients]
    # members are all made alike: some stand for all
    validate({**group, "member": group["member"][:VALIDATED]} if patients else group, fhir_version)
    return group


def validate(group: dict[str, Any], fhir_version: str) -> None:
    """Check a Group with fhir.resources (R5, and R4B for R4 too: Group is the same there). Raises ValueError."""
    if fhir_version == "r5":
        from fhir.resources.group import Group

        Group.model_validate_json(json.dumps(group))
    else:
        from fhir.resources.R4B.group import Group as GroupR4B

        GroupR4B.model_validate_json(json.dumps(group))
