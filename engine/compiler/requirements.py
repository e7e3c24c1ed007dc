"""What data a compiled expression reads, derived from its ELM: resource types, paths, codes, dates."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce

from engine.compiler.dates import Clock, DateFilter, date_filters, hull, restricted_retrieves
from engine.compiler.elm import Node

_TRANSPARENT = frozenset(
    "Filter First Last Indexer Skip Take Tail SingletonFrom Box ToSystem OfType Distinct Sort Let Present Condition Exists "
    "Count HasValue Resolve".split()
)
_SCOPED = frozenset(("Filter", "ForEach", "All", "Repeat", "Sort", "Aggregate", "Trace"))
# What a retrieve asks for: nothing (all of the type), a value set as (path, url), a code as (path, system, code).
Asked = tuple[str, ...]
ALL: Asked = ()


@dataclass(slots=True)
class DataRequirement:
    """One resource type that is read: the paths below it, and what it is retrieved by.

    `codes` are (path, system, code), `value_sets` (path, url); `unfiltered` tells that some retrieve asks for all of the type.
    `dates` are the filters by date that hold for every retrieve of a code, a value set, or all of the type.
    """

    type: str
    paths: set[str] = field(default_factory=set)
    codes: set[tuple[str, str, str]] = field(default_factory=set)
    value_sets: set[tuple[str, str]] = field(default_factory=set)
    unfiltered: bool = False
    dates: dict[Asked, tuple[DateFilter, ...]] = field(default_factory=dict)

    def add(self, other: DataRequirement) -> None:
        """Take in what another requirement of the same type reads."""
        asked, others = self.asked(), other.asked()
        self.dates = {
            key: hull(asked[key], others[key])
            if key in asked and key in others
            else asked.get(key, others.get(key, ()))
            for key in asked.keys() | others.keys()
        }
        self.paths |= other.paths
        self.codes |= other.codes
        self.value_sets |= other.value_sets
        self.unfiltered = self.unfiltered or other.unfiltered

    def asked(self) -> dict[Asked, tuple[DateFilter, ...]]:
        """All that is asked for, with the filters by date."""
        keys: set[Asked] = {*self.codes, *self.value_sets} | ({ALL} if self.unfiltered else set())
        return {key: self.dates.get(key, ()) for key in keys}

    def restrict(self, key: Asked, dates: tuple[DateFilter, ...]) -> None:
        """Take in the filters by date of one more retrieve, before it is taken in itself."""
        known = self.asked()
        self.dates[key] = hull(known[key], dates) if key in known else dates

    @property
    def dates_of_all(self) -> tuple[DateFilter, ...]:
        """The filters by date that hold for whatever is asked for."""
        found = list(self.asked().values())
        return reduce(hull, found) if found else ()


def requirements(node: Node, root: str | None = None, clock: Clock | None = None) -> dict[str, DataRequirement]:
    """Data requirements by resource type; `root` is the type of the input. Dates are told where there is a clock to tell them by."""
    dates = restricted_retrieves(node) if clock is not None else {}
    scopes: dict[int, Node] = {}
    references: dict[int, Node] = {}
    for below in node.walk():
        if below.kind in _SCOPED and "scope" in below.attrs:
            scopes[below.attrs["scope"]] = below.operands[0]
        if below.kind == "Let":
            references[below.attrs["source"]] = below.operands[0]
            references[below.attrs["id"]] = below.operands[1]
        if below.kind == "Bind":
            references[below.attrs["id"]] = below.operands[0]
    found: dict[str, DataRequirement] = {}

    def origin(at: Node, depth: int = 0) -> tuple[str, str] | None:
        if depth > 100:
            return None
        if at.kind == "Retrieve":
            return at.attrs["dataType"], ""
        if at.kind == "Context":
            return (root, "") if root else None
        if at.kind == "Current":
            source = scopes.get(at.attrs["scope"])
            return origin(source, depth + 1) if source is not None else None
        if at.kind == "Reference":
            source = references.get(at.attrs["id"])
            return origin(source, depth + 1) if source is not None else None
        if at.kind in ("Property", "DynamicProperty"):
            owner = origin(at.operands[0], depth + 1)
            if owner is None:
                return None
            path = at.attrs["path"]
            if at.kind == "Property" and "names" not in at.attrs and at.attrs.get("json") not in (None, path):
                path = f"{path}.ofType({at.attrs.get('element_type')})"
            return owner[0], f"{owner[1]}.{path}" if owner[1] else path
        if at.kind == "ForEach":
            return origin(at.operands[1], depth + 1)
        if at.kind in _TRANSPARENT and at.operands:
            return origin(at.operands[0], depth + 1)
        return None

    for below in node.walk():
        if below.kind == "Retrieve":
            entry = found.setdefault(below.attrs["dataType"], DataRequirement(below.attrs["dataType"]))
            filters = date_filters(dates.get(id(below), ()), clock) if clock is not None else ()
            if not below.attrs.get("codes"):
                entry.restrict(ALL, filters)
                entry.unfiltered = True
            for system, code in below.attrs.get("codes", ()):
                entry.restrict((below.attrs["codeProperty"], system, code), filters)
                entry.codes.add((below.attrs["codeProperty"], system, code))
                entry.paths.add(below.attrs["codeProperty"])
        elif below.kind in ("Property", "DynamicProperty"):
            place = origin(below)
            if place is not None:
                found.setdefault(place[0], DataRequirement(place[0])).paths.add(place[1])
    return found
