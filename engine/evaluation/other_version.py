"""Resources that are written in another version of FHIR than they are read as: a criterion that reads what they write otherwise cannot be decided."""

from __future__ import annotations

from typing import Any

from engine.artifacts.models.differences import family
from engine.compiler.other_version import Checks
from engine.data.compartment import Compartment


def other_version(checks: Checks, compartment: Compartment, version: str) -> str | None:
    """The first resource of a patient that another version of FHIR wrote, in words; None where there is none."""
    for name, listed in checks.items():
        for resource in compartment.of_type(name):
            for check in listed:
                element = check.found(resource)
                if element is not None:
                    return _sentence(resource, element, version)
    return None


def _sentence(resource: dict[str, Any], element: str, version: str) -> str:
    read = family(version)
    written = "R5" if read == "R4" else "R4"
    name = f"{resource.get('resourceType')}/{resource.get('id', '(no id)')}"
    return f"{name} is written in FHIR {written} (its `{element}` says so), and the data is read as FHIR {read}"
