"""A resource as evidence: what it is, the value and date seen in it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from fhir_eligibility.algebra import limits
from fhir_eligibility.algebra.values.code_systems import ALIASES, other_address
from fhir_eligibility.algebra.values.element import unit_of
from fhir_eligibility.compiler.analysis.requirements import DataRequirement
from fhir_eligibility.evaluation.records import Evidence
from fhir_eligibility.evaluation.verdict import Role

_DATES = (
    "effectiveDateTime",
    "effectiveInstant",
    "effectivePeriod",
    "performedDateTime",
    "performedPeriod",
    "occurrenceDateTime",
    "occurrencePeriod",
    "occurenceDateTime",
    "occurencePeriod",
    "onsetDateTime",
    "onsetPeriod",
    "started",
    "authoredOn",
    "actualPeriod",
    "period",
    "recordedDate",
    "whenHandedOver",
    "date",
    "issued",
)
_CODES = ("code", "medicationCodeableConcept", "vaccineCode", "type", "procedureCode")


class _Shown(NamedTuple):
    """What a resource that has certain elements shows of itself: the names that may hold its date, code and value, in order."""

    dates: tuple[str, ...]
    code: str | None
    values: tuple[str, ...]
    valued: bool


@lru_cache(maxsize=4096)
def _shown(names: tuple[str, ...]) -> _Shown:
    """The same for the names of the elements, in the order of the data: few combinations occur."""
    values = tuple(name for name in names if name.startswith("value") and name != "valueQuantity")
    return _Shown(
        tuple(name for name in _DATES if name in names),
        next((name for name in _CODES if name in names), None),
        values,
        bool(values) or "valueQuantity" in names or "outcome" in names,
    )


def _date(resource: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """The date of a resource as written, a period as `start/end`."""
    for name in names:
        value = resource[name]
        if value.__class__ is str:
            return str(value)
        if value.__class__ is dict and ("start" in value or "end" in value):
            return f"{value.get('start', '')}/{value.get('end', '')}"
    return None


def _value(resource: dict[str, Any], names: tuple[str, ...]) -> tuple[str | None, str | None]:
    """Value and unit of a resource as written."""
    quantity = resource.get("valueQuantity")
    if quantity.__class__ is dict:
        number = quantity.get("value")
        shown = None if number is None else f"{quantity.get('comparator', '')}{text_of(number)}"
        return shown, quantity.get("code") or quantity.get("unit")
    for name in names:
        value = resource[name]
        if value is None:
            continue
        if value.__class__ is dict:
            code, display = coding_of(value)
            return display or code or value.get("text"), None
        return text_of(value), None
    outcome = resource.get("outcome")
    if outcome.__class__ is dict:
        code, display = coding_of(outcome)
        return display or code, None
    return None, None


def text_of(value: Any) -> str:
    """A JSON scalar as text, numbers as written."""
    if value is True or value is False:
        return "true" if value else "false"
    return limits.shown(value) if isinstance(value, Decimal) else str(value)


def _other_addresses(concept: Any) -> str | None:
    """Code systems of a CodeableConcept that stand under another address than the usual one, in words."""
    if concept.__class__ is list:
        concept = concept[0] if concept else None
    if concept.__class__ is not dict:
        return None
    found = None
    codings = concept.get("coding")
    for coding in codings if codings.__class__ is list else ():
        system = coding.get("system") if coding.__class__ is dict else None
        if system.__class__ is str and system in ALIASES:
            found = other_address(system) if found is None else f"{found}; {other_address(system)}"
    return found


def _remarks_of_value(resource: dict[str, Any]) -> Iterator[str]:
    """What is unusual about the unit, or the code systems, of a value."""
    quantity = resource.get("valueQuantity")
    remark = unit_of(quantity)[1] if quantity.__class__ is dict else None
    if remark is not None:
        yield remark
    concept = resource.get("valueCodeableConcept")
    remark = _other_addresses(concept) if concept is not None else None
    if remark is not None:
        yield remark


def coding_of(concept: Any) -> tuple[str | None, str | None]:
    """`system|code` and display of the first coding of a CodeableConcept (or of a CodeableReference or list of them)."""
    if concept.__class__ is list:
        concept = concept[0] if concept else {}
    if concept.__class__ is not dict:
        return None, None
    concept = concept.get("concept", concept)
    if concept.__class__ is not dict:
        return None, None
    codings = concept.get("coding")
    for coding in codings if codings.__class__ is list else ():
        if coding.__class__ is not dict:
            continue
        system, code = coding.get("system"), coding.get("code")
        if code is not None:
            return (f"{system}|{code}" if system else str(code)), coding.get("display") or concept.get("text")
    return None, concept.get("text")


def reference_to(resource: dict[str, Any]) -> str:
    """`Type/id` of a resource."""
    return f"{resource.get('resourceType')}/{resource.get('id', '')}".rstrip("/")


def evidence_of(resource: dict[str, Any], role: Role, failed: str | None, file: str | None) -> Evidence:
    """One resource of a patient as evidence of a criterion."""
    shown = _shown(tuple(resource))
    code = display = note = None
    if shown.code is not None:
        concept = resource[shown.code]
        code, display = coding_of(concept)
        note = _other_addresses(concept)
    value: str | None = None
    unit: str | None = None
    if shown.valued and resource.get("resourceType") != "ImagingStudy":
        value, unit = _value(resource, shown.values)
        for remark in _remarks_of_value(resource):
            note = remark if note is None else f"{note}; {remark}"
    return Evidence(
        resource=reference_to(resource),
        role=role,
        value=value if value is None or value.__class__ is str else str(value),
        unit=unit if unit is None or unit.__class__ is str else str(unit),
        date=_date(resource, shown.dates),
        code=code,
        display=display if display is None or display.__class__ is str else str(display),
        failed=failed,
        note=note,
        file=file,
    )


def patient_evidence(reads: dict[str, DataRequirement], patient: dict[str, Any], role: Role) -> Evidence | None:
    """The properties of the Patient that an expression reads, as evidence."""
    found = reads.get("Patient")
    if found is None:
        return None
    parts = []
    for path in sorted(found.paths):
        value = patient.get(path)
        if value is not None and value.__class__ not in (dict, list):
            parts.append(f"{path} {text_of(value)}")
    if not parts:
        return None
    return Evidence(resource=reference_to(patient), role=role, value=", ".join(parts))
