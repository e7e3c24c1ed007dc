"""FHIR outputs held to fhir.resources, which shares nothing with this program: with `--validate`, before they are written."""

from __future__ import annotations

import json
from typing import Any

from fhir_eligibility.artifacts.models.differences import family


def check_with_library(resource: dict[str, Any], fhir_version: str) -> None:
    """Check a resource with fhir.resources (R5, and R4B for R4 too). Raises ValueError where it is not valid there."""
    if family(fhir_version) == "R5":
        from fhir.resources import get_fhir_model_class
    else:
        from fhir.resources.R4B import get_fhir_model_class
    kind = resource["resourceType"]
    try:
        get_fhir_model_class(kind).model_validate_json(json.dumps(resource))
    except ValueError as error:
        raise ValueError(f"the {kind} cannot be written: fhir.resources does not take it: {error}") from error
