"""Navigation in data whose type is known only at run time (FHIRPath: "Path selection", "Tree navigation", "Types").

Everything here answers with dynamically typed values: resources as they are, all else as `Element` or System value. Traversals
are iterative, so that deep data cannot exhaust the stack.
"""

from __future__ import annotations

from typing import Any

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.values.element import SYSTEM_TYPE, Element, ElementLike, ModelLike, type_of

_PRIMITIVE_PARTS = ("id", "extension")


def as_list(value: Any, what: str) -> list[Any]:
    """A JSON array that the model demands. Raises EvaluationError `malformed-data` where the data has something else."""
    if value.__class__ is list:
        return value
    message = f"{what} repeats and must be an array, but the data has {repr(value)[:60]}"
    raise EvaluationError("malformed-data", message, value=value)


def primitive(owner: dict[str, Any], name: str, type_name: str) -> Any:
    """A single primitive child: its raw value, or an Element where an id or extensions stand beside it."""
    value = owner.get(name)
    sibling = owner.get("_" + name)
    if sibling is None:
        return value
    return Element(value, type_name, sibling)


def primitives(owner: dict[str, Any], name: str, type_name: str) -> list[Any]:
    """A repeating primitive child: raw values, and Elements where an id or extensions stand beside them."""
    values = owner.get(name)
    siblings = owner.get("_" + name)
    if siblings is None:
        return [] if values is None else [value for value in as_list(values, name) if value is not None]
    values = as_list(values, name) if values is not None else []
    siblings = as_list(siblings, "_" + name)
    out = []
    for index in range(max(len(values), len(siblings))):
        value = values[index] if index < len(values) else None
        sibling = siblings[index] if index < len(siblings) else None
        if sibling is not None:
            out.append(Element(value, type_name, sibling))
        elif value is not None:
            out.append(value)
    return out


def choice(owner: dict[str, Any], names: dict[str, str]) -> Element | None:
    """The choice element of an owner; `names` maps JSON keys to FHIR types (`valueQuantity` to `Quantity`)."""
    for key, value in owner.items():
        type_name = names.get(key)
        if type_name is not None and value is not None:
            return Element(value, type_name, owner.get("_" + key))
    for key, value in owner.items():
        if key.startswith("_") and value is not None:
            type_name = names.get(key[1:])
            if type_name is not None:
                return Element(None, type_name, value)
    return None


def _wrap(value: Any, type_name: str) -> Any:
    if value.__class__ is Element:
        return value
    if value.__class__ is dict and "resourceType" in value:
        return value
    return Element(value, type_name)


def children_named(model: ModelLike, value: Any, name: str, lenient: bool = False) -> list[Any]:
    """Children of a dynamically typed value under one name; an unknown name gives none.

    Raises EvaluationError `untyped-value` where the type of an object was lost on the way: what it holds cannot be told.
    """
    if value.__class__ is Element:
        if value.sibling is not None and value.type in SYSTEM_TYPE and name in _PRIMITIVE_PARTS:
            return _parts(model, value.sibling, name)
        owner, type_name = value.value, value.type
    elif value.__class__ is dict:
        if "resourceType" in value:
            owner, type_name = value, value["resourceType"]
        elif "namespace" in value:  # a System.TypeInfo
            found = value.get(name)
            return [] if found is None else [found]
        else:
            raise _untyped(name)
    elif value.__class__ is list:
        raise _untyped(name)
    else:
        return []
    if owner.__class__ is not dict:
        return []
    definition = model.element(type_name, name)
    if definition is None:
        return _polymorphic(model, owner, type_name, name) if lenient else []
    return children_of(owner, definition)


def _untyped(name: str) -> EvaluationError:
    """A fault of the translation, which has to keep types beside values wherever several may come: never to be taken for an element that is missing."""
    return EvaluationError(
        "untyped-value", f"the type of a value was lost, so that {name!r} cannot be looked for in it"
    )


def _parts(model: ModelLike, sibling: dict[str, Any], name: str) -> list[Any]:
    if name == "id":
        found = sibling.get("id")
        return [] if found is None else [Element(found, "string")]
    return [Element(item, "Extension") for item in sibling.get("extension") or ()]


def _polymorphic(model: ModelLike, owner: dict[str, Any], type_name: str, name: str) -> list[Any]:
    """`valueQuantity` as authors sometimes write it for `value` (lenient mode only)."""
    for definition in model.elements(type_name).values():
        if definition.choice:
            for key, kind in definition.json_names:
                if key == name:
                    found = owner.get(name)
                    return [] if found is None else [Element(found, kind, owner.get("_" + name))]
    return []


def children_of(owner: dict[str, Any], definition: ElementLike) -> list[Any]:
    """All values of one element of an owner."""
    if definition.choice:
        found = choice(owner, dict(definition.json_names))
        return [] if found is None else [found]
    key = definition.json_names[0][0] if definition.json_names else definition.name
    type_name = definition.types[0]
    if type_name in SYSTEM_TYPE and not type_name[0].isupper():
        if definition.many:
            return [_wrap(item, type_name) for item in primitives(owner, key, type_name)]
        one = primitive(owner, key, type_name)
        return [] if one is None else [_wrap(one, type_name)]
    value = owner.get(key)
    if value is None:
        return []
    if definition.many:
        return [_wrap(item, type_name) for item in as_list(value, key) if item is not None]
    return [_wrap(value, type_name)]


def children(model: ModelLike, value: Any) -> list[Any]:
    """All children of a value, in the order of the definition (FHIRPath: children)."""
    if value.__class__ is Element:
        if value.sibling is not None and value.value.__class__ is not dict:
            return _parts(model, value.sibling, "id") + _parts(model, value.sibling, "extension")
        owner, type_name = value.value, value.type
    elif value.__class__ is dict and "resourceType" in value:
        owner, type_name = value, value["resourceType"]
    elif value.__class__ is list or (value.__class__ is dict and "namespace" not in value):
        raise _untyped("children")
    else:
        return []
    if owner.__class__ is not dict:
        return []
    out: list[Any] = []
    if not model.has_type(type_name):
        raise EvaluationError("unknown-type", f"expected a type of FHIR {model.version.upper()}, found {type_name!r}")
    keys = owner.keys()
    for name, definition in model.elements(type_name).items():
        if definition.choice or name in keys or "_" + name in keys:
            out.extend(children_of(owner, definition))
    return out


def descendants(model: ModelLike, values: list[Any]) -> list[Any]:
    """All children of the values, their children, and so on, level by level (FHIRPath: descendants)."""
    out: list[Any] = []
    level = values
    while level:
        level = [child for value in level for child in children(model, value)]
        out.extend(level)
    return out


def is_type(model: ModelLike, value: Any, namespace: str, name: str) -> bool:
    """Whether a dynamically typed value is of a type or of a subtype of it (FHIRPath: is)."""
    own_namespace, own = type_of(value)
    if own_namespace != namespace:
        return False
    if own == name:
        return True
    return namespace == "FHIR" and model.is_subtype(own, name)


def matches_type(model: ModelLike, value: Any, namespace: str, name: str) -> bool:
    """Whether `ofType` and `as` keep a value: as `is`, but primitives by their own type only (the official suites)."""
    own_namespace, own = type_of(value)
    if own_namespace != namespace:
        return False
    if own == name:
        return True
    return namespace == "FHIR" and own not in SYSTEM_TYPE and model.is_subtype(own, name)


def type_info(model: ModelLike, value: Any) -> dict[str, Any]:
    """What `type()` answers for a value: namespace and name, and the base type of a FHIR type."""
    namespace, name = type_of(value)
    info = {"namespace": namespace, "name": name}
    base = model.base(name) if namespace == "FHIR" and model.has_type(name) else None
    if base is not None:
        info["baseType"] = f"FHIR.{base}"
    elif namespace == "System":
        info["baseType"] = "System.Any"
    return info


def extensions(value: Any, url: str | None) -> list[dict[str, Any]]:
    """Extensions of a value with a url, as raw objects (FHIR: extension(url))."""
    if value.__class__ is Element:
        holder = value.sibling if value.sibling is not None else value.value
    else:
        holder = value
    if holder.__class__ is not dict:
        return []
    return [item for item in holder.get("extension") or () if item.get("url") == url]


def element_id(value: Any) -> Any:
    """The `id` of a primitive, which stands in its sibling object."""
    return value.sibling.get("id") if value.__class__ is Element and value.sibling is not None else None


def primitive_extensions(value: Any) -> list[dict[str, Any]]:
    """All extensions of a primitive, which stand in its sibling object."""
    if value.__class__ is Element and value.sibling is not None:
        return list(value.sibling.get("extension") or ())
    return []


def has_value(value: Any) -> bool:
    """Whether a single value is a primitive that has a value, not extensions alone (FHIR: hasValue)."""
    if value.__class__ is Element:
        return value.value is not None and value.type in SYSTEM_TYPE and value.value.__class__ is not dict
    return value.__class__ is not dict and value is not None
