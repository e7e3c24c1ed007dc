"""Which version of FHIR some data is written in, from what the data says."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from engine.data.sources import read_resources

LOOKED_AT = 2000


def version_of(resource: dict[str, Any]) -> str | None:
    """The version that the shape of one resource gives away, None where it could be any."""
    kind = resource.get("resourceType")
    if kind == "ImagingStudy":
        for series in resource.get("series") or ():
            modality = series.get("modality")
            if isinstance(modality, dict):
                return "r5" if "coding" in modality or "text" in modality else "r4"
        modality = resource.get("modality")
        if isinstance(modality, list) and modality and isinstance(modality[0], dict):
            return "r5" if "coding" in modality[0] else "r4"
    if kind == "Procedure":
        if any(key.startswith("occurrence") for key in resource):
            return "r5"
        if any(key.startswith("performed") for key in resource):
            return "r4"
    if kind == "Encounter":
        if "actualPeriod" in resource or isinstance(resource.get("class"), list):
            return "r5"
        if "period" in resource or isinstance(resource.get("class"), dict):
            return "r4"
    if kind in ("MedicationRequest", "MedicationStatement", "MedicationAdministration", "MedicationDispense"):
        if "medication" in resource:
            return "r5"
        if "medicationCodeableConcept" in resource or "medicationReference" in resource:
            return "r4"
    for profile in (resource.get("meta") or {}).get("profile") or ():
        if "|5.0" in str(profile):
            return "r5"
        if "|4.3" in str(profile):
            return "r4b"
    return None


def guess_version_of_paths(paths: Iterable[str | Path]) -> str:
    """The version of the data in some files, from its first resources (default R4)."""
    for loaded in islice(read_resources(paths, lambda problem: None), LOOKED_AT):
        if loaded.resource is not None:
            found = version_of(loaded.resource)
            if found is not None:
                return found
    return "r4"
