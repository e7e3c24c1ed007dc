"""Which record has the value that does not have the shape its type demands, and at which element: for the sentence that says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.values.element import SYSTEM_TYPE
from fhir_eligibility.artifacts.models import Model, load_model

Resource = dict[str, Any]
_READ_FROM_TEXT = frozenset(("Date", "DateTime", "Time"))
_CLASSES: dict[str, tuple[type, ...]] = {
    "Boolean": (bool,),
    "Integer": (int, Decimal),
    "Long": (int, str),
    "Decimal": (int, float, Decimal, str),
}
OF_DATA = frozenset(("malformed-data", "invalid-date"))
"""Codes of errors that are about a value of the data."""
_ANYTHING = frozenset(("Resource", "DomainResource", "Element", "xhtml"))


def place_of(error: EvaluationError, resources: Iterable[Resource], version: str) -> str | None:
    """The record and the element that an error is about (`Condition/c `code.coding.code``); None where that cannot be told."""
    model = load_model(version)
    first = None
    for resource in resources:
        for path, value, certain in _malformed(model, resource["resourceType"], resource, ""):
            same = value.__class__ is error.value.__class__ and value == error.value
            place = f"{resource['resourceType']}/{resource.get('id', '(no id)')} `{path}`"
            if same:
                return place
            if certain and first is None:
                first = place
    return first


def _malformed(model: Model, kind: str, owner: Resource, above: str) -> Iterator[tuple[str, Any, bool]]:
    """Paths and values below an object that do not have the shape of their type, or may not have it (not certain): texts of dates."""
    if not model.has_type(kind):
        return
    for element in model.elements(kind).values():
        for key, below in element.json_names:
            value = owner.get(key)
            if value is None:
                continue
            path = f"{above}{key}"
            if element.many != (value.__class__ is list):
                yield path, value, True
            for one in value if value.__class__ is list else (value,):
                yield from _below(model, below, one, path)


def _below(model: Model, kind: str, value: Any, path: str) -> Iterator[tuple[str, Any, bool]]:
    system = SYSTEM_TYPE.get(kind)
    if kind[:1].isupper() or system is None:
        if kind in _ANYTHING or value is None:
            return
        if value.__class__ is dict:
            yield from _malformed(model, value.get("resourceType", kind), value, f"{path}.")
        else:
            yield path, value, True
    elif value is not None:
        fits = value.__class__ in _CLASSES.get(system, (str,))
        if not fits or system in _READ_FROM_TEXT:
            yield path, value, not fits
