"""ValueSet and CodeSystem resources as neutral records: what they list, import, exclude, and filter (FHIR: ValueSet.compose)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from msgspec import Struct
from msgspec import field as struct_field

from fhir_eligibility.algebra.values.expansion import Member
from fhir_eligibility.artifacts.shape import checked, pointer

Json = dict[str, Any]
_EXTENSIONS = "http://hl7.org/fhir/StructureDefinition/"
_UNCLOSED = (f"{_EXTENSIONS}valueset-unclosed", f"{_EXTENSIONS}valueset-toocostly")
_GROUPING = ("grouped-by", "part-of")


class ConceptFilter(Struct, frozen=True):
    """A condition on the codes of a code system."""

    property: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.property} {self.operator} {self.value}"


class ValueSetClause(Struct, frozen=True):
    """One include or exclude: codes, or all codes of a system that pass the filters, within the value sets named."""

    system: str | None
    version: str | None
    codes: tuple[str, ...] | None
    filters: tuple[ConceptFilter, ...]
    value_sets: tuple[str, ...]


class ValueSetRecord(Struct):
    """A value set. `expansion` are the codes that the resource lists as such, None where it lists none.

    `partial` says why there may be more of them; `made_with` are the versions of code systems that they were taken from.
    """

    url: str
    version: str | None
    status: str | None
    name: str | None
    expansion: frozenset[Member] | None
    partial: str | None
    include: tuple[ValueSetClause, ...] = ()
    exclude: tuple[ValueSetClause, ...] = ()
    identifiers: tuple[str, ...] = ()
    active_only: bool = False
    made_with: dict[str, frozenset[str]] = struct_field(default_factory=dict)
    origin: str = ""

    @property
    def key(self) -> str:
        """`url|version`, or the url alone."""
        return f"{self.url}|{self.version}" if self.version else self.url


@dataclass
class CodeSystemRecord:
    """A code system: its codes with their parents and properties; `complete` where it lists all that there are.

    `value_set` is the url under which all of it is a value set.
    """

    url: str
    version: str | None
    status: str | None
    complete: bool
    value_set: str | None = None
    parents: dict[str, set[str]] = field(default_factory=dict)
    properties: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    declared: frozenset[str] = frozenset()

    @cached_property
    def property_names(self) -> frozenset[str]:
        """The properties that the code system says something of: those it declares, and those that some code has."""
        found = {name for values in self.properties.values() for name, _ in values}
        return self.declared | found | {"parent", "child"}

    @cached_property
    def children(self) -> dict[str, list[str]]:
        """The codes directly below each code that has any."""
        found: dict[str, list[str]] = {}
        for code, parents in self.parents.items():
            for parent in parents:
                found.setdefault(parent, []).append(code)
        return found

    def values(self, code: str, name: str) -> list[str]:
        """The values of a property of a code; its display counts as one."""
        return [value for key, value in self.properties.get(code, ()) if key == name]

    @cached_property
    def inactive(self) -> frozenset[str]:
        """The codes that are no longer in use."""
        return frozenset(
            code
            for code, values in self.properties.items()
            if ("inactive", "true") in values or ("status", "retired") in values or ("status", "inactive") in values
        )


def sound(resource: Json) -> Json:
    """A ValueSet or CodeSystem without what FHIR does not have. Raises ValueError where its meaning depends on that; of the first such element."""
    found = checked(resource)
    for one in found.errors:
        hint = f"; {one.hint}" if one.hint else ""
        raise ValueError(f"{pointer(str(resource.get('resourceType')), one.path)}: {one.message}{hint}")
    return found.resource


def value_set(resource: Json, origin: str = "") -> ValueSetRecord:
    """A ValueSet resource. Raises ValueError where it has no url, or is not as FHIR has it."""
    resource = sound(resource)
    if not resource.get("url"):
        raise ValueError("the value set has no url")
    codes, partial, made_with = _expansion(resource.get("expansion"))
    compose = resource.get("compose") or {}
    identifiers = tuple(str(i.get("value")) for i in resource.get("identifier") or () if i.get("value"))
    return ValueSetRecord(
        str(resource["url"]),
        resource.get("version"),
        resource.get("status"),
        resource.get("title") or resource.get("name"),
        codes,
        partial,
        tuple(_part(x) for x in compose.get("include") or ()),
        tuple(_part(x) for x in compose.get("exclude") or ()),
        identifiers,
        compose.get("inactive") is False,
        made_with,
        origin,
    )


def whole_system(url: str, system: str, version: str | None, filters: tuple[ConceptFilter, ...] = ()) -> ValueSetRecord:
    """A value set that no resource defines, since it is understood: all codes of a code system, or those that pass filters."""
    part = ValueSetClause(system, version, None, filters, ())
    return ValueSetRecord(url, version, "active", None, None, None, (part,))


def _expansion(data: Any) -> tuple[frozenset[Member] | None, str | None, dict[str, frozenset[str]]]:
    """The codes of an expansion, why there may be more, and the versions of code systems that it was made with."""
    if not isinstance(data, dict):
        return None, None, {}
    found: list[Member] = []
    versions: set[tuple[str, str]] = set()
    count = 0
    stack = [data.get("contains") or ()]
    while stack:
        for item in stack.pop():
            count += 1
            code = item.get("code")
            if code is not None and not item.get("abstract"):
                system = item.get("system")
                found.append((system, code))
                version = item.get("version")
                if version is not None:
                    versions.add((system, version))
            inner = item.get("contains")
            if inner:
                stack.append(inner)
    for parameter in data.get("parameter") or ():
        if parameter.get("name") in ("version", "used-codesystem"):
            system, _, version = str(parameter.get("valueUri") or parameter.get("valueCanonical") or "").partition("|")
            if version:
                versions.add((system, version))
    made_with: dict[str, frozenset[str]] = {}
    for system, version in versions:
        made_with[system] = made_with.get(system, frozenset()) | {version}
    partial = None
    total = data.get("total")
    if isinstance(total, int) and total > count and (count or data.get("offset") is not None):
        partial = f"its expansion lists only {count} of its {total} codes"
    for extension in data.get("extension") or ():
        if extension.get("url") in _UNCLOSED and extension.get("valueBoolean") is not False:
            partial = partial or "its expansion says of itself that it does not list all of its codes"
    return frozenset(found), partial, made_with


def _part(data: Json) -> ValueSetClause:
    concepts = data.get("concept")
    return ValueSetClause(
        data.get("system"),
        data.get("version"),
        tuple(str(x.get("code")) for x in concepts) if concepts else None,
        tuple(
            ConceptFilter(str(f.get("property")), str(f.get("op")), str(f.get("value")))
            for f in data.get("filter") or ()
        ),
        tuple(map(str, data.get("valueSet") or ())),
    )


def code_system(resource: Json) -> CodeSystemRecord | None:
    """A CodeSystem resource, None where it lists no codes of its own (content `not-present`, `supplement`). Raises ValueError without url.

    Nested concepts, and the properties `parent`, `subsumedBy` and `child`, give the hierarchy; nesting that only groups (hierarchyMeaning
    `grouped-by`, `part-of`) gives none, since it says nothing of subsumption.
    """
    resource = sound(resource)
    if not resource.get("url"):
        raise ValueError("the code system has no url")
    if resource.get("content") in ("not-present", "supplement"):
        return None
    found = CodeSystemRecord(
        str(resource["url"]),
        resource.get("version"),
        resource.get("status"),
        resource.get("content") == "complete",
        resource.get("valueSet"),
        declared=frozenset(str(item.get("code")) for item in resource.get("property") or ()),
    )
    nested = resource.get("hierarchyMeaning") not in _GROUPING
    upward, downward = _hierarchical(resource)
    hierarchy = found.parents
    stack: list[tuple[Json, str | None]] = [(item, None) for item in resource.get("concept") or ()]
    while stack:
        item, parent = stack.pop()
        code = str(item.get("code"))
        parents = hierarchy.get(code)
        if parents is None:
            parents = hierarchy[code] = set()
        if parent is not None and nested:
            parents.add(parent)
        properties = [] if item.get("display") is None else [("display", str(item["display"]))]
        for entry in item.get("property") or ():
            name, text = entry.get("code"), _text(entry)
            if name in upward:
                parents.add(text)
            elif name in downward:
                hierarchy.setdefault(text, set()).add(code)
            else:
                properties.append((str(name), text))
        if properties:
            found.properties.setdefault(code, []).extend(properties)
        if item.get("concept"):
            stack.extend((child, code) for child in item["concept"])
    return found


def _hierarchical(resource: Json) -> tuple[set[str], set[str]]:
    """The properties of a code system that name the codes above and below: `parent`, `subsumedBy` and `child`, and those declared to mean these."""
    upward, downward = {"parent", "subsumedBy"}, {"child"}
    for declared in resource.get("property") or ():
        if str(declared.get("uri", "")).endswith("concept-properties#parent"):
            upward.add(str(declared.get("code")))
        if str(declared.get("uri", "")).endswith("concept-properties#child"):
            downward.add(str(declared.get("code")))
    return upward, downward


def _text(entry: Json) -> str:
    """The value of a property as filters compare it."""
    value = next((entry[key] for key in entry if key.startswith("value")), None)
    if isinstance(value, dict):
        value = value.get("code")
    return str(value).lower() if isinstance(value, bool) else str(value)
