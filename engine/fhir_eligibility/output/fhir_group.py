"""The included patients of an artifact as a FHIR Group, checked by the definitions of its version.

The Group is written around its members (`frame_of`, `member_of`), so that members need not be held to be written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.artifacts.shape import findings_in, pointer
from fhir_eligibility.output.fhir_library import check_with_library

VALIDATED = 100
_quoted = json.JSONEncoder(ensure_ascii=False).encode


def group_of(
    artifact: str,
    title: str | None,
    count: int,
    some: Sequence[str],
    fhir_version: str,
    now: str,
    *,
    library: bool = False,
) -> dict[str, Any]:
    """A Group resource (R4, R4B or R5) of so many patients, without its members. `some` are references of them, which stand for all when the Group is
    checked, with `library` by fhir.resources besides. Raises ValueError where it is not a valid one."""
    group: dict[str, Any] = {"resourceType": "Group", "type": "person"}
    name = f"Included: {title or artifact}"
    if load_model(fhir_version).has_element("Group", "membership"):
        group["membership"] = "enumerated"
    else:
        group["actual"] = True
    group["name"] = name
    group["quantity"] = count
    group["extension"] = [
        {"url": "http://hl7.org/fhir/StructureDefinition/artifact-date", "valueDateTime": now},
        {"url": "http://hl7.org/fhir/StructureDefinition/workflow-generatedFrom", "valueUri": artifact},
    ]
    group["extension"] = [e for e in group["extension"] if "valueUri" not in e or ":" in str(e["valueUri"])]
    members = [{"entity": {"reference": patient}} for patient in some[:VALIDATED]]
    whole = {**group, "member": members} if members else group
    validate(whole, fhir_version)
    if library:
        check_with_library(whole, fhir_version)
    return group


def frame_of(group: dict[str, Any]) -> tuple[bytes, bytes]:
    """What stands before and after the members of a Group (see `member_of`); all of it and nothing where it has none by its quantity.

    The first part ends with the bracket in whose place the comma of the first member falls: it is written over that.
    """
    if not group["quantity"]:
        return (json.dumps(group, indent=2, ensure_ascii=False) + "\n").encode(), b""
    text = json.dumps({**group, "member": []}, indent=2, ensure_ascii=False)
    return text.removesuffix("]\n}").encode(), b"\n  ]\n}\n"


def member_of(patient: str) -> bytes:
    """A patient as a member, with the comma that parts it from the one before."""
    return b',\n    {\n      "entity": {\n        "reference": %s\n      }\n    }' % _quoted(patient).encode()


def validate(group: dict[str, Any], fhir_version: str) -> None:
    """Check a Group by the definitions of its version, as Groups of criteria are checked when they are read. Raises ValueError."""
    for found in findings_in(group, fhir_version):
        raise ValueError(
            f"the included patients cannot be written as a FHIR Group: {pointer('Group', found.path)}: {found.message}"
        )
