"""What data criteria read, for those who have to deliver it: a FHIR module-definition Library, and the types and filters of a bulk export."""

from __future__ import annotations

import re
from typing import Any

from msgspec.structs import replace

from fhir_eligibility.compiler.analysis.dates import DateBounds
from fhir_eligibility.compiler.analysis.requirements import DataRequirement
from fhir_eligibility.output.date_filters import date_filter, date_search

Json = dict[str, Any]
_TYPE = "http://terminology.hl7.org/CodeSystem/library-type"
# The search parameter that finds resources by the code at an element, where it is not called like the element. Those that find fewer are left
# out: `code` of a MedicationRequest passes over references to a Medication, `modality` looks at the series of a study only.
_SEARCH = {
    ("Immunization", "vaccineCode"): "vaccine-code",
    ("Encounter", "type"): "type",
    ("Device", "type"): "type",
    ("Specimen", "type"): "type",
}


def module_definition(name: str, found: dict[str, DataRequirement]) -> Json:
    """A Library of type module-definition with a DataRequirement for each way in which a type is asked for (FHIR: Library)."""
    return {
        "resourceType": "Library",
        "name": name,
        "status": "active",
        "type": {"coding": [{"system": _TYPE, "code": "module-definition"}]},
        "dataRequirement": [entry for key in sorted(found) for entry in data_requirements(found[key])],
    }


def data_requirements(found: DataRequirement) -> list[Json]:
    """The DataRequirements of one type: one without codes where all of it is read, else one for each value set and set of codes.

    Codes that are asked for within other dates have a DataRequirement of their own.
    """
    head: Json = {"type": found.type}
    paths = sorted(path for path in found.paths if "(" not in path)
    if paths and not found.whole:
        head["mustSupport"] = paths
    if found.unfiltered or not (found.codes or found.value_sets):
        return [_dated(head, found.dates_of_all)]
    asked = found.asked()
    out = [
        _dated({**head, "codeFilter": [{"path": path, "valueSet": url}]}, asked[path, url])
        for path, url in sorted(found.value_sets)
    ]
    for (path, dates), listed in _alike(found).items():
        codes = [{"system": s, "code": c} if s else {"code": c} for s, c in listed]
        out.append(_dated({**head, "codeFilter": [{"path": path, "code": codes}]}, dates))
    return out


def _dated(entry: Json, dates: tuple[DateBounds, ...]) -> Json:
    return {**entry, "dateFilter": [date_filter(x) for x in dates]} if dates else entry


def _alike(found: DataRequirement) -> dict[tuple[str, tuple[DateBounds, ...]], list[tuple[str, str]]]:
    """Codes as (system, code) by their path and the filters by date."""
    out: dict[tuple[str, tuple[DateBounds, ...]], list[tuple[str, str]]] = {}
    for path, system, code in sorted(found.codes):
        out.setdefault((path, found.dates.get((path, system, code), ())), []).append((system, code))
    return dict(sorted(out.items(), key=lambda item: item[0][0]))


def type_parameter(found: dict[str, DataRequirement]) -> str:
    """The `_type` of a bulk export."""
    return ",".join(sorted({"Patient", *found}))


def type_filters(found: dict[str, DataRequirement], *, dates: bool = False) -> list[str]:
    """The `_typeFilter`s of a bulk export; a type that is read whole, or whose element no search finds, has none.

    They name codes without their code systems: data writes the address of a code system in several ways, or leaves it out, and such records count,
    or leave a criterion unknown.
    With `dates` they narrow by date too. That loses what has no date in the element: criteria are unknown because of such a record.
    """
    out = []
    for key in sorted(found):
        requirement = found[key]
        if not dates or key == "Patient":
            requirement = replace(requirement, dates={})
        filters: list[str | None] = []
        if not requirement.unfiltered:
            for (path, within), listed in _alike(requirement).items():
                codes = ",".join(dict.fromkeys(_escaped(code) for _, code in listed))
                filters.append(_query(key, path, f"={codes}", within))
            for path, url in sorted(requirement.value_sets):
                filters.append(_query(key, path, f":in={url}", requirement.dates.get((path, url), ())))
        if None in filters or not filters:
            search = date_search(key, requirement.dates_of_all)
            filters = [f"{key}?{search}"] if search else []
        out += [text for text in filters if text is not None]
    return out


def _query(resource_type: str, path: str, value: str, dates: tuple[DateBounds, ...]) -> str | None:
    """A search for resources by the code at an element and by dates, None where no search finds by that element."""
    parameter = _parameter(resource_type, path)
    search = date_search(resource_type, dates)
    return None if parameter is None else f"{resource_type}?{parameter}{value}{'&' if search else ''}{search}"


def _escaped(code: str) -> str:
    """A code as a search value; what has a meaning in searches is escaped (FHIR: "Escaping Search Parameters")."""
    return re.sub(r"([\\,$|])", r"\\\1", code)


def _parameter(resource_type: str, path: str) -> str | None:
    return _SEARCH.get((resource_type, path)) or ("code" if path == "code" else None)
