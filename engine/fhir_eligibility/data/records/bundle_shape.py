"""What the entries of a bundle are: the Patients among them, those that delete or patch, and those that are named, or written, as they should not be."""

from __future__ import annotations

from typing import Any, NamedTuple

from fhir_eligibility.data.records.histories import is_deletion, is_patch
from fhir_eligibility.data.records.identity import is_of_another_type
from fhir_eligibility.data.records.members import dict_of
from fhir_eligibility.data.records.subjects import condition_of

Resource = dict[str, Any]


class PatientEntry(NamedTuple):
    """A Patient in a bundle: the number of the entry, its fullUrl, the id as it is written, and the condition (`Loaded.condition`)."""

    entry: int
    full_url: str | None
    id: Any
    condition: str | None


BUNDLE_MEMBERS = frozenset(
    "resourceType id meta implicitRules language identifier type timestamp total link entry signature issues".split()
) | frozenset("_id _implicitRules _language _type _timestamp _total".split())
ENTRY_MEMBERS = frozenset(
    "id extension modifierExtension link fullUrl _fullUrl resource search request response".split()
)


def is_change(entry: Resource, bundle: Resource) -> bool:
    """Whether an entry of a bundle deletes or patches a record, and holds none."""
    return is_deletion(entry) or is_patch(entry, bundle.get("type"))


def entry_of_page(entry: Any) -> tuple[str, Any, str]:
    """The type of the resource of an entry, as far as it has one, why it is in the bundle, and what it is called there."""
    if entry.__class__ is not dict:
        return "", None, ""
    resource = dict_of(entry.get("resource"))
    kind = str(resource["resourceType"]) if "resourceType" in resource else ""
    return kind, dict_of(entry.get("search")).get("mode"), str(entry.get("fullUrl") or resource.get("id"))


def unknown_members(value: Resource, known: frozenset[str]) -> str | None:
    """The members of an object that it should not have, for a message; None where there are none."""
    odd = [name[:40] for name in value if name not in known]
    return ", ".join(map(repr, odd[:3])) if odd else None


def patients_in(bundle: Resource, superseded: frozenset[int] = frozenset()) -> list[PatientEntry]:
    """The Patients of a bundle; of a history bundle some entries are superseded."""
    found: list[PatientEntry] = []
    entries = bundle.get("entry")
    for number, item in enumerate(entries if entries.__class__ is list else ()):
        resource = dict_of(item.get("resource")) if item.__class__ is dict else {}
        if resource.get("resourceType") != "Patient" or number in superseded or is_change(item, bundle):
            continue
        request, full_url = dict_of(item.get("request")), item.get("fullUrl")
        condition = condition_of(request.get("method"), request.get("url"), request.get("ifNoneExist"))
        url = full_url if full_url.__class__ is str else None
        found.append(PatientEntry(number, url, resource.get("id"), condition))
    return found


def misnamed(entries: list[Any], history: bool) -> dict[int, str]:
    """The entries whose fullUrl names something else, by number, each with what it names: the address of a resource of another type, or what another entry bears that holds
    one of another type. A Patient keeps what others bear, too, else the first."""
    found: dict[int, str] = {}
    bearers: dict[str, list[tuple[int, str]]] = {}
    for number, entry in enumerate(entries):
        resource = entry.get("resource") if entry.__class__ is dict else None
        kind = resource.get("resourceType") if resource.__class__ is dict else None
        full_url = entry.get("fullUrl") if kind.__class__ is str else None
        if full_url.__class__ is not str or not full_url:
            continue
        assert isinstance(kind, str)
        if is_of_another_type(full_url, kind):
            found[number] = "a resource of another type"
        else:
            bearers.setdefault(full_url, []).append((number, kind))
    for listed in bearers.values() if not history else ():
        if len({kind for _, kind in listed}) > 1:
            keeper = "Patient" if any(kind == "Patient" for _, kind in listed) else listed[0][1]
            found.update((number, f"a {keeper} of the same bundle, too") for number, kind in listed if kind != keeper)
    return found
