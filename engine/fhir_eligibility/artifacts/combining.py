"""What an artifact says of all of its characteristics: how they are combined, and in which version of FHIR they are written."""

from __future__ import annotations

from typing import Any

from fhir_eligibility.artifacts.shape import EBM

Json = dict[str, Any]
_COMBINATIONS = {"intersection": "all-of", "union": "any-of"}


def combination_of(resource: Json) -> tuple[str, int | None]:
    """How the characteristics of an artifact are combined, and the number that a threshold needs."""
    code = resource.get("combinationMethod") or resource.get("characteristicCombination")
    threshold = resource.get("combinationThreshold")
    for extension in (*(resource.get("extension") or ()), *(resource.get("modifierExtension") or ())):
        name = str(extension.get("url", "")).removeprefix(EBM)
        if name == "combination-method":
            code = code or extension.get("valueCode") or _coded(extension) or "(empty)"
        elif name == "combination-threshold":
            threshold = threshold or extension.get("valuePositiveInt") or extension.get("valueInteger")
    code = _COMBINATIONS.get(str(code), str(code)) if code else "all-of"
    return code, int(threshold) if threshold is not None else None


def _coded(extension: Json) -> str | None:
    """The code of a combination that is written as a CodeableConcept, else its text."""
    concept = extension.get("valueCodeableConcept")
    if not isinstance(concept, dict):
        return None
    codes = [item.get("code") for item in concept.get("coding") or () if isinstance(item, dict)]
    return next(filter(None, [*codes, concept.get("text")]), None)


def members_other_than_patients(resource: Json) -> str | None:
    """Group.type where its members are no patients (FHIR: person and animal are Patient resources), else None.

    EBM on FHIR: in its profiles type is filled in because R5 demands it, and is to be ignored.
    """
    if resource.get("resourceType") != "Group" or resource.get("type") in (None, "person", "animal"):
        return None
    profiles = (resource.get("meta") or {}).get("profile") or ()
    return None if any(str(profile).startswith(EBM) for profile in profiles) else str(resource["type"])


def version_of(resource: Json) -> str:
    """The version of FHIR that an artifact is written in, by the elements that only one version has."""
    keys = {key for item in resource.get("characteristic") or () if isinstance(item, dict) for key in item}
    if resource.get("combinationMethod") or (
        resource.get("resourceType") == "EvidenceVariable" and "definition" in resource
    ):
        return "r6"
    if keys & {"definitionByTypeAndValue", "definitionByCombination", "definitionId", "linkId", "timeFromEvent"}:
        return "r5"
    if "characteristicCombination" in resource:
        return "r4b"
    if "membership" in resource:
        return "r5"
    return "r4"
