"""Resources that are written in another version of FHIR than they are read as: a criterion that reads what they write otherwise cannot be decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from fhir_eligibility.artifacts.models.differences import Difference, family, other_family
from fhir_eligibility.compiler.analysis.other_version import Checks
from fhir_eligibility.data.patients.compartment import Compartment


class VersionChecks(Struct, frozen=True):
    """What to look for on the resources of one type: only one that has some of `names` can be found by a check in `named`."""

    names: frozenset[str]
    named: tuple[Difference, ...]
    others: tuple[Difference, ...]


def version_checks(checks: Checks) -> dict[str, VersionChecks]:
    """The checks of a criterion, put in order for many patients."""
    out = {}
    for name, listed in checks.items():
        named = tuple(check for check in listed if not check.owner and check.own_shape is None)
        names = frozenset[str]().union(*(check.other for check in named))
        out[name] = VersionChecks(names, named, tuple(check for check in listed if check not in named))
    return out


def other_version(checks: Mapping[str, VersionChecks], compartment: Compartment, version: str) -> str | None:
    """The first resource of a patient that another version of FHIR wrote, in words; None where there is none."""
    for name, found in checks.items():
        for resource in compartment.of_type(name):
            for check in found.others if found.names.isdisjoint(resource) else (*found.named, *found.others):
                element = check.found(resource)
                if element is not None:
                    return _sentence(resource, element, version)
    return None


def _sentence(resource: dict[str, Any], element: str, version: str) -> str:
    read, written = family(version), other_family(version)
    name = f"{resource.get('resourceType')}/{resource.get('id', '(no id)')}"
    return f"{name} is written in FHIR {written} (its `{element}` says so), and the data is read as FHIR {read}"
