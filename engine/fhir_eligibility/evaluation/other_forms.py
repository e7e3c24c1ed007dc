"""Other forms of a record in doubt, to find out whether an answer hangs on what it says: with values that nobody knows.

An element whose value is not known is written as FHIR writes it: with the extension data-absent-reason in the place of the value.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fhir_eligibility.artifacts.models import ElementDef, Model

Resource = dict[str, Any]
UNKNOWN: Resource = {
    "extension": [
        {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"},
    ]
}
_KEPT = frozenset("resourceType id meta implicitRules language text contained extension modifierExtension".split())
# What a record is about stands in these: a modifier does not make it a record of something else.
_KINDS = frozenset(
    "code type class category vaccineCode procedureCode procedure medication medicationCodeableConcept medicationReference relationship series modality".split()
)


def without_values(resource: Resource, model: Model) -> Resource:
    """A record of which only is known what kind of thing it is about, and whom: the values of all other elements are unknown."""
    about = {path.partition(".")[0] for path in model.patient_paths(str(resource.get("resourceType")))}
    found: Resource = {}
    for name, value in resource.items():
        if name in _KEPT or name in _KINDS or name in about:
            found[name] = value
        elif value.__class__ is list:
            _put(found, name, [UNKNOWN for _ in value], any(item.__class__ is dict for item in value))
        else:
            _put(found, name, UNKNOWN, value.__class__ is dict)
    return found


def _put(resource: Resource, name: str, value: Any, as_object: bool) -> None:
    """Put the mark of an unknown value where it belongs: a primitive's stands beside it, under `_name`."""
    if as_object or name.startswith("_"):
        resource[name] = value
    else:
        resource.setdefault(f"_{name}", value)


def with_unknown(resource: Resource, paths: Iterable[str], model: Model) -> Resource:
    """A record in which the elements at some paths that it lacks are there, with values that are unknown; the record itself where it lacks none."""
    return _filled(resource, str(resource.get("resourceType")), [_steps(path) for path in sorted(paths)], model)


def _steps(path: str) -> list[str]:
    return [part for part in path.split(".") if part and not part.startswith("ofType(")]


def _filled(value: Resource, type_name: str, paths: list[list[str]], model: Model) -> Resource:
    below: dict[str, list[list[str]]] = {}
    for path in paths:
        if path:
            below.setdefault(path[0], []).append(path[1:])
    out = value
    for name, rests in below.items():
        element = model.element(type_name, name)
        if element is None or name in _KEPT:
            continue
        there = [
            (json, kind) for json, kind in element.json_names if value.get(json) is not None or value.get(f"_{json}")
        ]
        more = _unknown(element, rests, model)
        if there:
            more = {json: _below(value.get(json), kind, rests, model) for json, kind in there}
        changed = {json: new for json, new in more.items() if new is not value.get(json)}
        if changed:
            out = {**out, **changed}
    return out


def _is_backbone(kind: str, model: Model) -> bool:
    return model.has_type(kind) and model.kind(kind) == "backbone"


def _below(value: Any, kind: str, rests: list[list[str]], model: Model) -> Any:
    """The value of an element that is there, filled where it lacks some of the paths below it; a datatype is given whole or not at all."""
    if not _is_backbone(kind, model):
        return value
    if value.__class__ is dict:
        return _filled(value, kind, rests, model)
    if value.__class__ is list:
        items = [_filled(item, kind, rests, model) if item.__class__ is dict else item for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


def _unknown(element: ElementDef, rests: list[list[str]], model: Model) -> Resource:
    """An element with an unknown value, by JSON names: in all of the types that it may have."""
    found: Resource = {}
    for name, kind in element.json_names:
        primitive = model.has_type(kind) and model.kind(kind) == "primitive"
        value = _SHAPES.get(kind, UNKNOWN)
        if _is_backbone(kind, model):
            value = _filled(value, kind, rests, model)
        found[f"_{name}" if primitive else name] = [value] if element.many else value
    return found


_SHAPES: dict[str, Resource] = {
    "CodeableConcept": {**UNKNOWN, "coding": [UNKNOWN]},
    "CodeableReference": {**UNKNOWN, "concept": {**UNKNOWN, "coding": [UNKNOWN]}},
}
"""How an unknown value of a type is written where a criterion may look below it."""
