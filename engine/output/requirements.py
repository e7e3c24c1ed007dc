"""What data criteria read, for those who have to deliver it: a FHIR module-definition Library, and the types and filters of a bulk export."""

from __future__ import annotations

import re
from typing import Any

from engine.compiler.requirements import DataRequirement

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
    """The DataRequirements of one type: one without filter where all of it is read, else one for each value set and set of codes."""
    head: Json = {"type": found.type}
    paths = sorted(path for path in found.paths if "(" not in path)
    if paths:
        head["mustSupport"] = paths
    if found.unfiltered or not (found.codes or found.value_sets):
        return [head]
    out = [{**head, "codeFilter": [{"path": path, "valueSet": url}]} for path, url in sorted(found.value_sets)]
    for path in sorted({path for path, _, _ in found.codes}):
        codes = [{"system": s, "code": c} if s else {"code": c} for p, s, c in sorted(found.codes) if p == path]
        out.append({**head, "codeFilter": [{"path": path, "code": codes}]})
    return out


def type_parameter(found: dict[str, DataRequirement]) -> str:
    """The `_type` of a bulk export."""
    return ",".join(sorted({"Patient", *found}))


def type_filters(found: dict[str, DataRequirement]) -> list[str]:
    """The `_typeFilter`s of a bulk export; a type that is read whole, or whose element no search finds, has none."""
    out = []
    for key in sorted(found):
        requirement = found[key]
        if requirement.unfiltered or not (requirement.codes or requirement.value_sets):
            continue
        filters = []
        for path in sorted({p for p, _, _ in requirement.codes}):
            parameter = _parameter(key, path)
            codes = ",".join(_token(s, c) for p, s, c in sorted(requirement.codes) if p == path)
            filters.append(None if parameter is None else f"{key}?{parameter}={codes}")
        for path, url in sorted(requirement.value_sets):
            parameter = _parameter(key, path)
            filters.append(None if parameter is None else f"{key}?{parameter}:in={url}")
        if None not in filters:
            out += [text for text in filters if text is not None]
    return out


def _token(system: str, code: str) -> str:
    """A code as a search value; what has a meaning in searches is escaped (FHIR: "Escaping Search Parameters")."""
    system, code = (re.sub(r"([\\\\,$|])", r"\\\1", text) for text in (system, code))
    return f"{system}|{code}" if system else code


def _parameter(resource_type: str, path: str) -> str | None:
    return _SEARCH.get((resource_type, path)) or ("code" if path == "code" else None)
