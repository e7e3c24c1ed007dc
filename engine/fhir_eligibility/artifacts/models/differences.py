"""Where resources of two versions of FHIR are written differently: what gives a resource away that is read as another version.

R4 and R4B are one family here, R5 the other: within a family resources differ in nothing that a criterion reads in another way. All of it is
derived from the models: an element that one version names otherwise (`Procedure.performed[x]`, `Procedure.occurrence[x]`), writes otherwise
(`MedicationRequest.medicationCodeableConcept`, `MedicationRequest.medication`) or gives another shape (`Encounter.class`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from msgspec import Struct

from fhir_eligibility.artifacts.models import VERSIONS, ElementDef, Model, load_model, versions_at_hand

FAMILIES: dict[str, tuple[str, ...]] = {}
"""The versions of each family, `R4` and `R5`, by name."""
for _name in versions_at_hand():
    FAMILIES[VERSIONS[_name].family] = (*FAMILIES.get(VERSIONS[_name].family, ()), _name)


def family(version: str) -> str:
    """The family of a version: `R4` for R4 and R4B, `R5` for R5. Raises ValueError for an unknown version."""
    return VERSIONS[load_model(version).version].family


def other_family(version: str) -> str:
    """The family that a version is not of. Raises ValueError for an unknown version."""
    return "R5" if family(version) == "R4" else "R4"


def same_family(one: str, other: str) -> bool:
    """Whether resources of two versions are read alike."""
    return family(one) == family(other)


class Shape(Struct, frozen=True):
    """How an element is written as JSON: repeating or not, a primitive or an object with some of `names`."""

    many: bool
    names: frozenset[str] | None

    def fits(self, value: Any) -> bool:
        """Whether a value of JSON data may be of this shape."""
        if (value.__class__ is list) is not self.many:
            return False
        for item in value if self.many else (value,):
            if (item.__class__ is dict) is (self.names is None):
                return False
            if self.names is None or self.names.issuperset(item):
                continue
            if not all(key.lstrip("_") in self.names for key in item):
                return False
        return True


class Difference(Struct, frozen=True):
    """An element of a type that is written otherwise in the other family.

    `owner` leads from the resource to the objects that hold it, `own` are its JSON names in the version that is read. Where `own_shape` is None, one of
    `other` without one of `own` gives the other family away; else a value of the shape `other_shape` that has not `own_shape` does.
    """

    owner: tuple[str, ...]
    own: frozenset[str]
    other: frozenset[str] = frozenset()
    own_shape: Shape | None = None
    other_shape: Shape | None = None

    def found(self, resource: dict[str, Any]) -> str | None:
        """The JSON name of the element that gives the other family away, None where none does, or where one is written as in the own family."""
        if not self.owner and self.own_shape is None:
            if self.other.isdisjoint(resource) or not self.own.isdisjoint(resource):
                return None
            return min(self.other & resource.keys())
        for holder in _holders(resource, self.owner):
            if self.own_shape is None:
                if not self.other.isdisjoint(holder) and self.own.isdisjoint(holder):
                    return ".".join((*self.owner, min(self.other & holder.keys())))
                continue
            assert self.other_shape is not None
            for name in self.own:
                value = holder.get(name)
                if value is None:
                    continue
                if self.own_shape.fits(value):
                    return None
                if self.other_shape.fits(value):
                    return ".".join((*self.owner, name))
        return None


def differences(model: Model, resource_type: str, paths: Iterable[str]) -> tuple[Difference, ...]:
    """What the other family writes otherwise of the elements at some paths of a type, as `DataRequirement.paths` names them (`series.modality`)."""
    found: dict[Difference, None] = {}
    for path in paths:
        names = [part for part in path.split(".") if part and not part.startswith("ofType(")]
        for difference in _along(model.version, resource_type, tuple(names)):
            found[difference] = None
    return tuple(found)


def written_as(resource: dict[str, Any], version: str) -> str | None:
    """The element (or `resourceType`) that only the family of a version has, or writes so; None where the resource has none."""
    kind = str(resource.get("resourceType"))
    own = _other_model(version)
    if load_model(version).has_type(kind) and not own.has_type(kind):
        return "resourceType"
    for check in _checks_for(own.version, kind, frozenset(resource)):
        found = check.found(resource)
        if found is not None:
            return found
    return None


def _other_model(version: str) -> Model:
    """The model of the other family than that of a version."""
    return load_model(FAMILIES[other_family(version)][0])


@lru_cache(maxsize=1024)
def _checks_for(version: str, resource_type: str, names: frozenset[str]) -> tuple[Difference, ...]:
    """The checks that may find something in a resource that has elements of such names in JSON.

    What only the one family names may stand for any element of the other; else an element tells only where it stands.
    """
    renamed = not _only_other(version, resource_type).isdisjoint(names)
    return tuple(
        check
        for element in load_model(version).elements(resource_type).values()
        if renamed or any(name in names for name, _ in element.json_names)
        for check in _checks(version, resource_type, element.name)
    )


@lru_cache(maxsize=4096)
def _checks(version: str, resource_type: str, name: str) -> tuple[Difference, ...]:
    """What gives resources away as written in the other family than that of a version, by one element and those of its backbone."""
    model = load_model(version)
    element = model.elements(resource_type)[name]
    inner = _type_of(model, resource_type, element) if element.types and not element.choice else ""
    below = model.elements(inner) if "." in inner else ()
    return differences(model, resource_type, (name, *(f"{name}.{one}" for one in below)))


@lru_cache(maxsize=4096)
def _along(version: str, resource_type: str, names: tuple[str, ...]) -> tuple[Difference, ...]:
    own = load_model(version)
    found: list[Difference] = []
    for other in map(load_model, FAMILIES[other_family(version)]):
        kind = resource_type
        owner: tuple[str, ...] = ()
        for name in names:
            element = own.element(kind, name)
            if element is None or not other.has_type(kind):
                break
            found.extend(_differing(own, other, kind, owner, element))
            if element.choice or len(element.types) != 1:
                break
            kind, owner = _type_of(own, kind, element), (*owner, name)
    return tuple(found)


def _differing(
    own: Model, other: Model, kind: str, owner: tuple[str, ...], element: ElementDef
) -> Iterator[Difference]:
    own_names = frozenset(name for name, _ in element.json_names)
    counterpart = other.element(kind, element.name)
    if counterpart is None:
        renamed = _only_other(own.version, kind)
        if renamed:
            yield Difference(owner, own_names, renamed)
        return
    theirs = dict(counterpart.json_names)
    if own_names.isdisjoint(theirs):  # a choice that has further types only is written alike
        yield Difference(owner, own_names, frozenset(theirs) - _json_names(own, kind))
    for name, type_name in element.json_names:
        if name not in theirs:
            continue
        mine = _shape(own, kind, element, type_name)
        other_shape = _shape(other, kind, counterpart, theirs[name])
        if (
            mine.many != other_shape.many
            or (mine.names is None) != (other_shape.names is None)
            or type_name != theirs[name]
        ):
            yield Difference(owner, frozenset((name,)), own_shape=mine, other_shape=other_shape)


def _shape(model: Model, owner: str, element: ElementDef, type_name: str) -> Shape:
    kind = _type_of(model, owner, element) if not element.choice else type_name
    if not model.has_type(kind) or model.kind(kind) == "primitive":
        return Shape(element.many, None)
    return _object_shape(model.version, kind, element.many)


def _type_of(model: Model, owner: str, element: ElementDef) -> str:
    backbone = f"{owner}.{element.name}"
    return backbone if model.has_type(backbone) else element.types[0]


@lru_cache(maxsize=4096)
def _names_of(version: str, kind: str) -> frozenset[str]:
    elements = load_model(version).elements(kind).values()
    return frozenset([name for element in elements for name, _ in element.json_names])


def _json_names(model: Model, kind: str) -> frozenset[str]:
    return _names_of(model.version, kind)


@lru_cache(maxsize=4096)
def _object_shape(version: str, kind: str, many: bool) -> Shape:
    return Shape(many, _names_of(version, kind) | {"id", "extension", "modifierExtension"})


@lru_cache(maxsize=1024)
def _only_other(version: str, kind: str) -> frozenset[str]:
    own = load_model(version)
    names: set[str] = set()
    for other in map(load_model, FAMILIES[other_family(version)]):
        if own.has_type(kind) and other.has_type(kind):
            names |= _json_names(other, kind)
    return frozenset(names) - _json_names(own, kind)


def _holders(resource: dict[str, Any], path: tuple[str, ...]) -> Iterable[dict[str, Any]]:
    """The objects at a path below a resource."""
    if not path:
        return (resource,)
    value = resource.get(path[0])
    if value is None:
        return ()
    if len(path) == 1 and value.__class__ is list:
        return [item for item in value if item.__class__ is dict]
    return _below(value, path[1:])


def _below(value: Any, path: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    if value.__class__ is list:
        for item in value:
            yield from _below(item, path)
    elif value.__class__ is dict:
        if not path:
            yield value
        elif path[0] in value:
            yield from _below(value[path[0]], path[1:])
