"""ValueSet and CodeSystem resources as neutral records: what they list, import, exclude, and filter (FHIR: ValueSet.compose)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on the codes of a code system."""

    property: str
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class Part:
    """One include or exclude: codes, or all codes of a system that pass the filters, within the value sets named."""

    system: str | None
    version: str | None
    codes: tuple[str, ...] | None
    filters: tuple[Filter, ...]
    value_sets: tuple[str, ...]


@dataclass(slots=True)
class ValueSetRecord:
    """A value set. `expansion` are its codes (system, code) where the resource lists them all, None where it does not."""

    url: str
    version: str | None
    status: str | None
    name: str | None
    expansion: frozenset[tuple[str | None, str | None]] | None
    partial: bool
    include: tuple[Part, ...] = ()
    exclude: tuple[Part, ...] = ()
    identifiers: tuple[str, ...] = ()


@dataclass(slots=True)
class CodeSystemRecord:
    """A code system: its codes with their parents and properties; `complete` where it lists all that there are."""

    url: str
    version: str | None
    complete: bool
    case_sensitive: bool
    parents: dict[str, set[str]] = field(default_factory=dict)
    properties: dict[str, dict[str, list[str]]] = field(default_factory=dict)


def value_set(resource: Json) -> ValueSetRecord:
    """A ValueSet resource. Raises ValueError where it has no url."""
    if not resource.get("url"):
        raise ValueError("the value set has no url")
    codes, partial = _expansion(resource.get("expansion"))
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
    )


def _expansion(data: Any) -> tuple[frozenset[tuple[str | None, str | None]] | None, bool]:
    if not isinstance(data, dict):
        return None, False
    found: set[tuple[str | None, str | None]] = set()
    stack = list(data.get("contains") or ())
    while stack:
        item = stack.pop()
        if item.get("code") and not item.get("abstract"):
            found.add((item.get("system"), item["code"]))
        stack.extend(item.get("contains") or ())
    total = data.get("total")
    partial = isinstance(total, int) and total > len(found) and bool(data.get("offset") is not None or found)
    return frozenset(found), partial


def _part(data: Json) -> Part:
    concepts = data.get("concept")
    return Part(
        data.get("system"),
        data.get("version"),
        tuple(str(x.get("code")) for x in concepts) if concepts else None,
        tuple(Filter(str(f.get("property")), str(f.get("op")), str(f.get("value"))) for f in data.get("filter") or ()),
        tuple(map(str, data.get("valueSet") or ())),
    )


def code_system(resource: Json) -> CodeSystemRecord:
    """A CodeSystem resource; nested concepts and `parent` and `child` properties give the hierarchy. Raises ValueError without url."""
    if not resource.get("url"):
        raise ValueError("the code system has no url")
    found = CodeSystemRecord(
        str(resource["url"]),
        resource.get("version"),
        resource.get("content") == "complete",
        resource.get("caseSensitive", True) is not False,
    )
    stack: list[tuple[Json, str | None]] = [(item, None) for item in resource.get("concept") or ()]
    while stack:
        item, parent = stack.pop()
        code = str(item.get("code"))
        parents = found.parents.setdefault(code, set())
        if parent is not None:
            parents.add(parent)
        properties = found.properties.setdefault(code, {})
        for entry in item.get("property") or ():
            value = next((entry[key] for key in entry if key.startswith("value")), None)
            text = value.get("code") if isinstance(value, dict) else value
            text = str(text).lower() if isinstance(text, bool) else str(text)
            if entry.get("code") == "parent":
                parents.add(text)
            elif entry.get("code") == "child":
                found.parents.setdefault(text, set()).add(code)
            else:
                properties.setdefault(str(entry.get("code")), []).append(text)
        stack.extend((child, code) for child in item.get("concept") or ())
    return found
