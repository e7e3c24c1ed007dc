"""ModelInfo files (XML): the types that CQL authors see over FHIR data, such as those of QICore and US Core (CQL: "Data Models").

Reads what a file says, resolves nothing. A type is told as a nested tuple: `("named", "System.String")`, `("list", type)`,
`("interval", type)`, `("choice", type, ...)`.
"""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping

from msgspec import Struct, field

TypeTuple = tuple[object, ...]
_MAX_DEPTH = 50
_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"


class ElementInfo(Struct, frozen=True):
    """One element: its type, and how it is read from FHIR (`target`, in the notation of ModelInfo; None: as it is)."""

    name: str
    type: TypeTuple
    target: str | None


class ClassInfo(Struct):
    """One class. `identifier` is the url of its profile, `target` the FHIR type of a profile with a name of its own.

    `label` is a title that authors may write for its name.
    """

    name: str
    base: TypeTuple | None
    identifier: str | None
    target: str | None
    retrievable: bool
    code_path: str | None
    elements: dict[str, ElementInfo] = field(default_factory=dict)
    label: str | None = None


class ModelInfo(Struct):
    """A model: `name` is its namespace, `url` that of its ELM types, `digest` a hash of the file."""

    name: str
    version: str
    url: str
    target_url: str | None
    patient_class: str | None
    classes: dict[str, ClassInfo]
    digest: str = ""


def read_model_info(text: str | bytes) -> ModelInfo:
    """Read a ModelInfo file. Raises ValueError for what is none, and for one that contradicts itself, with the class that does."""
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"expected a ModelInfo file in XML: {error}") from None
    if _local(root) != "modelInfo" or not root.get("name"):
        raise ValueError(f"expected a ModelInfo file whose root is a modelInfo with a name, found {_local(root)}")
    if "." in root.attrib["name"]:
        raise ValueError(
            f"the name {root.attrib['name']!r} of this ModelInfo has a dot: it could not stand before a type's"
        )
    classes: dict[str, ClassInfo] = {}
    for entry in root:
        if _local(entry) != "typeInfo" or not entry.get("name"):
            continue
        found = _class(entry)
        classes[found.name] = found
    _refuse_circles(root.attrib["name"], classes)
    return ModelInfo(
        root.attrib["name"],
        root.get("version", ""),
        root.get("url", ""),
        root.get("targetUrl"),
        root.get("patientClassName"),
        classes,
        hashlib.sha256(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")).hexdigest(),
    )


def parent_class(model: str, found: ClassInfo, classes: Mapping[str, ClassInfo]) -> ClassInfo | None:
    """The class of the same model that a class is derived from, None where there is none."""
    if found.base is None or found.base[0] != "named":
        return None
    namespace, _, name = str(found.base[1]).partition(".")
    return classes.get(name) if namespace == model else None


def _refuse_circles(model: str, classes: Mapping[str, ClassInfo]) -> None:
    """Every class ends in one that has no base in the model. Raises ValueError."""
    ended: set[str] = set()
    for first in classes.values():
        way: dict[str, None] = {}
        found: ClassInfo | None = first
        while found is not None and found.name not in ended:
            if found.name in way:
                raise ValueError(f"the class {found.name!r} of this ModelInfo is derived from itself")
            way[found.name] = None
            found = parent_class(model, found, classes)
        ended.update(way)


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _class(entry: ElementTree.Element) -> ClassInfo:
    base: TypeTuple | None = None
    if entry.get("baseType"):
        base = _named(entry.attrib["baseType"])
    elements: dict[str, ElementInfo] = {}
    for child in entry:
        kind = _local(child)
        if kind == "baseTypeSpecifier":
            base = _specifier(child, 0)
        elif kind == "element":
            name = child.get("name")
            if not name:
                raise ValueError(f"an element of the class {entry.get('name')!r} of this ModelInfo has no name")
            elements[name] = ElementInfo(name, _element_type(child), child.get("target"))
    return ClassInfo(
        entry.attrib["name"],
        base,
        entry.get("identifier"),
        entry.get("target"),
        entry.get("retrievable") == "true",
        entry.get("primaryCodePath"),
        elements,
        entry.get("label"),
    )


def _named(name: str) -> TypeTuple:
    return ("named", name)


def _element_type(entry: ElementTree.Element, depth: int = 0) -> TypeTuple:
    for attribute in ("elementType", "type"):
        if entry.get(attribute):
            return _named(entry.attrib[attribute])
    for child in entry:
        if _local(child) in ("elementTypeSpecifier", "typeSpecifier"):
            return _specifier(child, depth)
    return _named("System.Any")


def _specifier(entry: ElementTree.Element, depth: int) -> TypeTuple:
    """A type specifier of any kind, `depth` levels deep in another."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"a type of this ModelInfo is nested more than {_MAX_DEPTH} levels deep")
    kind = (entry.get(_TYPE) or "NamedTypeSpecifier").rpartition(":")[2]
    if kind == "ListTypeSpecifier":
        return ("list", _element_type(entry, depth + 1))
    if kind == "IntervalTypeSpecifier":
        if entry.get("pointType"):
            return ("interval", _named(entry.attrib["pointType"]))
        points = [_specifier(child, depth + 1) for child in entry if _local(child) == "pointTypeSpecifier"]
        return ("interval", points[0] if points else _named("System.Any"))
    if kind == "ChoiceTypeSpecifier":
        return ("choice", *(_specifier(child, depth + 1) for child in entry if _local(child) in ("choice", "type")))
    if kind != "NamedTypeSpecifier":
        raise ValueError(f"a type specifier of the kind {kind!r} in a ModelInfo is not understood")
    name = entry.get("name", "Any")
    namespace = entry.get("namespace") or entry.get("modelName")
    return _named(f"{namespace}.{name}" if namespace else name)
