"""Instances of class types (CQL: "Structured Values"): of System types as values, of FHIR types as the JSON that data has.

Where a FHIR element is wanted and a System value is given, the value is written as FHIR writes it: the reverse of FHIRHelpers.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values.clinical import Code, CodeSystem, Concept, Ratio, ValueSet
from fhir_eligibility.algebra.values.element import UCUM, Element
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.quantity import CALENDAR_WORDS, Quantity

JsonNames = tuple[tuple[str, str], ...]


def quantity_of(value: Decimal, unit: str | None) -> Quantity:
    """A quantity by its elements; a unit that is a word of the calendar (`day`, `days`) is that of the calendar (CQL: Quantity)."""
    word = CALENDAR_WORDS.get(unit or "")
    return Quantity(value, unit or "1", False) if word is None else Quantity(value, word, True)


_SYSTEM_CLASSES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "System.Quantity": lambda x: quantity_of(x["value"], x.get("unit")) if x.get("value") is not None else None,
    "System.Code": lambda x: Code(x.get("code"), x.get("system"), x.get("version"), x.get("display")),
    "System.Concept": lambda x: Concept(tuple(x.get("codes") or ()), x.get("display")),
    "System.Ratio": lambda x: Ratio(x.get("numerator"), x.get("denominator")),
    "System.ValueSet": lambda x: ValueSet(
        x.get("id"), x.get("version"), x.get("name"), tuple(x.get("codesystems") or ())
    ),
    "System.CodeSystem": lambda x: CodeSystem(x.get("id"), x.get("version"), x.get("name")),
}


def new_instance(name: str, elements: dict[str, Any]) -> Any:
    """An instance of a System type from its elements."""
    return _SYSTEM_CLASSES[name](elements)


def fhir_instance(resource_type: str | None, elements: list[tuple[JsonNames, Any]]) -> dict[str, Any]:
    """An instance of a FHIR type as JSON; each element with its names in JSON and the FHIR type of each. Null elements are left out."""
    made: dict[str, Any] = {} if resource_type is None else {"resourceType": resource_type}
    for names, value in elements:
        if value is None:
            continue
        name = names[0][0]
        if len(names) > 1 and value.__class__ is Element:
            name = next((key for key, kind in names if kind == value.type), name)
        made[name] = json_of(value)
    return made


def json_of(value: Any) -> Any:
    """A value as FHIR writes it."""
    if value.__class__ is Element:
        return value.value
    if value.__class__ is list:
        return [json_of(x) for x in value if x is not None]
    if isinstance(value, (Date, DateTime, Time)):
        return str(value).removesuffix("T")
    if isinstance(value, Quantity):
        code = value.ucum
        return {"value": value.value, "unit": str(value.unit), "system": UCUM, "code": str(code)}
    if isinstance(value, Code):
        written = {"system": value.system, "version": value.version, "code": value.code, "display": value.display}
        return {name: text for name, text in written.items() if text is not None}
    if isinstance(value, Concept):
        text = {} if value.display is None else {"text": value.display}
        return {"coding": [json_of(code) for code in value.codes if code is not None], **text}
    if isinstance(value, Ratio):
        parts = {"numerator": value.numerator, "denominator": value.denominator}
        return {name: json_of(part) for name, part in parts.items() if part is not None}
    if isinstance(value, Interval):
        names = ("start", "end") if value.point in ("Date", "DateTime", "Time") else ("low", "high")
        bounds = zip(names, (value.low, value.high), strict=True)
        return {name: json_of(bound) for name, bound in bounds if bound is not None}
    return value
