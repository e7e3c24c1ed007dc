"""Values of defines, as results of a measure have them, as FHIR: a CodeableConcept for a stratum, a value for supplemental data, a Quantity for a score."""

from __future__ import annotations

import json
from typing import Any

from fhir_eligibility.algebra.ucum import UnitError, parse_unit
from fhir_eligibility.artifacts.models import load_model

Json = dict[str, Any]
_UCUM = "http://unitsofmeasure.org"
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"


def concept_of(value: Any, unknown: str | None = None) -> Json:
    """A value as a CodeableConcept: codes as codings, anything else as text; that there is none, and why, as a data-absent-reason."""
    if unknown is not None:
        return {"coding": [{"system": _ABSENT, "code": "error"}], "text": unknown}
    if value is None:
        return {"coding": [{"system": _ABSENT, "code": "unknown"}], "text": "null"}
    codings = codings_of(value)
    if codings:
        text = value.get("text") or value.get("display") or codings[0].get("display") or codings[0].get("code")
        return {"coding": codings, **({"text": text} if text else {})}
    return {"text": text_of(value)}


def codings_of(value: Any) -> list[Json]:
    """The codings of a Code, a Concept, a Coding or a CodeableConcept; none of anything else."""
    if not isinstance(value, dict) or "value" in value:
        return []
    listed = value.get("codes") or value.get("coding")
    if not isinstance(listed, list):
        listed = [value] if isinstance(value.get("code"), str) and value.keys() <= _CODING else []
    names = ("system", "version", "code", "display")
    found = [{name: one[name] for name in names if one.get(name)} for one in listed if isinstance(one, dict)]
    return [one for one in found if one]


_CODING = frozenset("id system version code display userSelected".split())


def text_of(value: Any) -> str:
    """A value as text that people read."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and "value" in value and value.keys() <= {"value", "unit", "code", "system"}:
        return f"{json.dumps(value['value'], default=str)} {value.get('unit') or value.get('code') or ''}".strip()
    if isinstance(value, dict) and isinstance(value.get("resourceType"), str):
        return f"{value['resourceType']}/{value.get('id', '')}"
    return json.dumps(value, ensure_ascii=False, default=str)


def quantity_of(value: Any) -> Json | None:
    """A number, or a value with a unit, as a Quantity; None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return {"value": value}
    if not isinstance(value, dict) or not isinstance(value.get("value"), (int, float)):
        return None
    if value.get("system") or value.get("code"):
        return {name: value[name] for name in ("value", "unit", "system", "code") if value.get(name) is not None}
    unit = value.get("unit")
    if not unit or unit == "1":
        return {"value": value["value"]}
    return {"value": value["value"], "unit": unit, **({"system": _UCUM, "code": unit} if _is_ucum(unit) else {})}


def _is_ucum(unit: str) -> bool:
    try:
        parse_unit(unit)
    except UnitError:
        return False
    return True


def has_link_ids(version: str) -> bool:
    """Whether MeasureReports of a version of FHIR have link ids; with these came values of several types (R5)."""
    return load_model(version).has_element("MeasureReport.group", "linkId")


def stratum_value(value: Any, unknown: str | None, version: str) -> Json:
    """The value of a stratum or of one of its components, as the member that it is written in."""
    if not has_link_ids(version):
        return {"value": concept_of(value, unknown)}
    if unknown is None and isinstance(value, bool):
        return {"valueBoolean": value}
    quantity = quantity_of(value) if unknown is None and isinstance(value, dict) else None
    if quantity is not None:
        return {"valueQuantity": quantity}
    return {"valueCodeableConcept": concept_of(value, unknown)}


def observed_value(value: Any) -> Json:
    """A value as the value of an Observation, as the member that it is written in."""
    if isinstance(value, bool):
        return {"valueBoolean": value}
    if isinstance(value, int) and abs(value) < 1 << 31:
        return {"valueInteger": value}
    if codings_of(value) or value is None:
        return {"valueCodeableConcept": concept_of(value)}
    quantity = quantity_of(value)
    if quantity is not None:
        return {"valueQuantity": quantity}
    return {"valueString": text_of(value) or "''"}
