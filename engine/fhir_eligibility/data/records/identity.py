"""Who is who: bundles that stand for themselves, Patients that cannot be one person, and resources that name no patient.

A bundle that holds the record of one patient and stands for itself is a world of its own: what has no address of its own there (`Bundle.entry.fullUrl`) is
another thing than what bears the same id elsewhere.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.artifacts.references import RESTFUL, urn_of

Resource = dict[str, Any]
ALONE = frozenset(("collection", "document", "message", "transaction"))
"""Types of bundles that stand for themselves, where they hold exactly one Patient."""
NO_HOME = -1
"""Of a resource that stands in no bundle of one patient."""
# Types whose resources may be about a patient or about none, besides those that the model does not relate to Patient.
SHARED = frozenset(
    "Organization Practitioner PractitionerRole Location Endpoint Medication Substance HealthcareService Device Library "
    "ValueSet CodeSystem ConceptMap StructureDefinition SearchParameter Measure PlanDefinition ActivityDefinition "
    "Questionnaire ResearchStudy EvidenceVariable Group Binary OperationOutcome NamingSystem".split()
)


_CONTAINERS = frozenset(("Patient", "Bundle", "Parameters"))


def home_of(number: int, kind: Any) -> int:
    """The home of what stands in a bundle of one patient, the bundle given by its number in its file or line, and its type."""
    return 2 * number + (kind in ALONE if kind.__class__ is str else False)


def stands_alone(home: int) -> bool:
    """Whether a home is a bundle that stands for itself."""
    return home != NO_HOME and home % 2 == 1


def text_of_id(value: Any) -> str | None:
    """What stands in the place of an id as a text: a number that careless writers put there is one, too; None where it is no id."""
    if value.__class__ is str:
        return value or None
    return str(value) if value.__class__ is int else None


def id_of(resource: Resource) -> str | None:
    """The id of a resource; None where it has none."""
    return text_of_id(resource.get("id"))


def with_text_as_id(resource: Any) -> Any:
    """A resource whose id is a text; the same where it is one, or no id stands there."""
    if resource.__class__ is dict and resource.get("id").__class__ is int:
        return {**resource, "id": str(resource["id"])}
    return resource


def pair_of(identifier: Any) -> tuple[str | None, str] | None:
    """System and value of an identifier; None where it has no value, or something else than texts stands in their place."""
    if identifier.__class__ is not dict:
        return None
    system, value = identifier.get("system"), text_of_id(identifier.get("value"))
    return (system or None, value) if value is not None and (system is None or isinstance(system, str)) else None


def address_of(full_url: str | None) -> str | None:
    """The address that an entry's fullUrl gives a resource, of whatever version; None where it gives none, or is no absolute URI."""
    if not full_url or ":" not in full_url:
        return None
    urn = urn_of(full_url)
    if urn is not None:
        return urn
    match = RESTFUL.fullmatch(full_url)
    return full_url.partition("/_history/")[0] if match is None or match["root"] else None


def is_of_another_type(full_url: str, kind: str) -> bool:
    """Whether a fullUrl is the address of a resource of another type on a server."""
    if not full_url.startswith("http") or full_url.rpartition("/")[0].endswith(f"/{kind}"):
        return False
    match = RESTFUL.fullmatch(full_url)
    return match is not None and not match["path"].startswith(f"{kind}/")


def on_a_server(key: str) -> bool:
    """Whether a resource is known by its address on a server."""
    return key.startswith("http") and RESTFUL.fullmatch(key) is not None


def contradiction(one: Resource, other: Resource) -> str | None:
    """The element in which two Patients differ that cannot be one person's, None where they may be one person.

    They are one where they share an identifier of a system; else they differ by identifiers of the same system, by the birth date, or by the gender.
    """
    mine, theirs = _identifiers(one), _identifiers(other)
    if any(value in theirs.get(system, ()) for system, values in mine.items() for value in values):
        return None
    if mine.keys() & theirs.keys():
        return "identifier"
    for name in ("birthDate", "gender"):
        a, b = one.get(name), other.get(name)
        if a.__class__ is str and b.__class__ is str and not (a.startswith(b) or b.startswith(a)):
            return name
    return None


def _identifiers(patient: Resource) -> dict[str, set[str]]:
    """Values of the identifiers by their system."""
    found: dict[str, set[str]] = {}
    listed = patient.get("identifier")
    for item in listed if listed.__class__ is list else ():
        if item.__class__ is dict and isinstance(item.get("system"), str) and isinstance(item.get("value"), str):
            found.setdefault(item["system"], set()).add(item["value"])
    return found


@lru_cache(maxsize=8)
def shared_types(model: Model) -> frozenset[str]:
    """The types whose resources need not be about a patient: those that the model does not relate to Patient, and SHARED."""
    unrelated = {kind for kind in model.resource_types if not model.patient_paths(kind)}
    return (SHARED | unrelated) - _CONTAINERS


def values_below(owner: Any, path: list[str]) -> Iterator[Any]:
    """The values at a path below an element, lists opened."""
    if owner.__class__ is list:
        for item in owner:
            yield from values_below(item, path)
    elif not path:
        yield owner
    elif owner.__class__ is dict and path[0] in owner:
        yield from values_below(owner[path[0]], path[1:])


def entered_in_error(resource: Resource) -> bool:
    """Whether a resource says that it was recorded in error."""
    if resource.get("status") == "entered-in-error":
        return True
    verification = resource.get("verificationStatus")
    if verification.__class__ is dict:
        codings = verification.get("coding")
        listed = codings if codings.__class__ is list else ()
        return any(coding.__class__ is dict and coding.get("code") == "entered-in-error" for coding in listed)
    return False


def updated(resource: Resource | None) -> dt.datetime:
    """meta.lastUpdated as an instant; the beginning of time where it is missing or not valid."""
    meta = (resource or {}).get("meta")
    text = meta.get("lastUpdated") if meta.__class__ is dict else None
    if isinstance(text, str):
        try:
            moment = dt.datetime.fromisoformat(text)
            return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
        except ValueError:
            pass
    return dt.datetime.min.replace(tzinfo=dt.UTC)
