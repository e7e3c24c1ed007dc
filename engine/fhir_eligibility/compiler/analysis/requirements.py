"""What data a compiled expression reads, derived from its ELM: resource types, paths, codes, dates."""

from __future__ import annotations

from functools import reduce
from typing import Any

from msgspec import Struct, field

from fhir_eligibility.compiler.analysis.dates import Clock, DateBounds, date_filters, hull, restricted_retrieves
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.shapes import ANY_NAME
from fhir_eligibility.compiler.elm.traits import chosen

# A place of items: a resource type and the path below it, empty for the resource itself.
Place = tuple[str, str]
ANY_RESOURCE = frozenset(("FHIR.Resource", "FHIR.DomainResource", ANY_NAME))
CIRCLES = 2
# What a retrieve asks for: nothing (all of the type), a value set as (path, url), a code as (path, system, code).
Asked = tuple[str, ...]
ALL: Asked = ()


class DataRequirement(Struct):
    """One resource type that is read: the paths below it, and what it is retrieved by.

    `codes` are (path, system, code), `value_sets` (path, url); `unfiltered` tells that some retrieve asks for all of the type.
    `dates` are the filters by date that hold for every retrieve of a code, a value set, or all of the type. `looked_at` are the
    paths of what is looked at as a whole, the empty one for the resource itself: then elements are read that `paths` does not name.
    """

    type: str
    paths: set[str] = field(default_factory=set)
    codes: set[tuple[str, str, str]] = field(default_factory=set)
    value_sets: set[tuple[str, str]] = field(default_factory=set)
    unfiltered: bool = False
    dates: dict[Asked, tuple[DateBounds, ...]] = field(default_factory=dict)
    looked_at: set[str] = field(default_factory=set)

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
        self.looked_at |= other.looked_at

    def asked(self) -> dict[Asked, tuple[DateBounds, ...]]:
        """All that is asked for, with the filters by date."""
        keys: set[Asked] = {*self.codes, *self.value_sets} | ({ALL} if self.unfiltered else set())
        return {key: self.dates.get(key, ()) for key in keys}

    def restrict(self, key: Asked, dates: tuple[DateBounds, ...]) -> None:
        """Take in the filters by date of one more retrieve, before it is taken in itself."""
        known = self.asked()
        self.dates[key] = hull(known[key], dates) if key in known else dates

    @property
    def whole(self) -> bool:
        """Whether resources are looked at as a whole."""
        return "" in self.looked_at

    @property
    def dates_of_all(self) -> tuple[DateBounds, ...]:
        """The filters by date that hold for whatever is asked for."""
        found = list(self.asked().values())
        return reduce(hull, found) if found else ()


def requirements(node: Node, root: str | None = None, clock: Clock | None = None) -> dict[str, DataRequirement]:
    """Data requirements by resource type; `root` is the type of the input. Dates are told where there is a clock to tell them by."""
    dates = restricted_retrieves(node) if clock is not None else {}
    found: dict[str, DataRequirement] = {}
    for below in node.walk():
        if isinstance(below, n.Retrieve):
            entry = found.setdefault(below.data_type, DataRequirement(below.data_type))
            filters = date_filters(dates.get(id(below), ()), clock) if clock is not None else ()
            if not below.codes:
                entry.restrict(ALL, filters)
                entry.unfiltered = True
            for system, code in below.codes or ():
                assert below.code_property is not None
                entry.restrict((below.code_property, system, code), filters)
                entry.codes.add((below.code_property, system, code))
                entry.paths.add(below.code_property)
    places = _Places(node, root)
    for name, path in places.read:
        found.setdefault(name, DataRequirement(name)).paths.add(path)
    for name, path in places.looked_at:
        found.setdefault(name, DataRequirement(name)).looked_at.add(path)
    followed = {name for below in node.walk() if isinstance(below, n.Resolve) for name in below.types}
    reached = {name.removeprefix("FHIR.") for name in followed}
    if followed & ANY_RESOURCE:
        reached = set(found)
        for entry in found.values():
            entry.looked_at.add("")
    for name in reached - {"Patient"}:  # whichever of the type a reference leads to
        entry = found.setdefault(name, DataRequirement(name))
        entry.restrict(ALL, ())
        entry.unfiltered = True
    return found


class _Places:
    """Where the items of each node stand: resource types with the path below them, as far as that matters for what is read.

    `read` are the elements that are gone to, `looked_at` what is looked at as a whole. Names for items of other nodes (`$this`,
    `$total`, variables) are followed in rounds, until nothing new is found.
    """

    def __init__(self, node: Node, root: str | None) -> None:
        self.root = root
        self.read: set[Place] = set()
        self.looked_at: set[Place] = set()
        self._named: dict[tuple[str, Any], set[Place]] = {}
        size = -1
        while size != (size := self._size()):
            self.of(node)

    def _size(self) -> int:
        return len(self.read) + len(self.looked_at) + sum(map(len, self._named.values()))

    def of(self, node: Node) -> set[Place]:
        """The places of the items of a node; those of all nodes below it are followed too."""
        if isinstance(node, (n.Current, n.Total)):
            return self._named.get((node.kind, node.scope), set())
        if isinstance(node, n.Reference):
            return self._named.get((node.kind, node.number), set())
        if isinstance(node, n.Retrieve):
            return {(node.data_type, "")}
        if isinstance(node, n.Context):
            return {(self.root, "")} if self.root else set()
        if isinstance(node, n.Resolve):
            self.of(node.operands[0])
            return {(name.removeprefix("FHIR."), "") for name in node.types if name not in ANY_RESOURCE}
        operands = self._operands(node)
        about = node.about
        for index in chosen(about.whole, len(operands)):
            self.looked_at |= operands[index]
        for index in chosen(about.compared, len(operands)):
            self.looked_at.update((name, path) for name, path in operands[index] if path)
        if about.step is not None:
            return {self._step(owner, self._path(node, about.step)) for owner in operands[0]}
        return {place for index in chosen(about.hands_on, len(operands)) for place in operands[index]}

    def _operands(self, node: Node) -> list[set[Place]]:
        """The places of the operands, in order; each is known by its names to those that follow."""
        found: list[set[Place]] = []
        for index, operand in enumerate(node.children):
            places = self.of(operand)
            found.append(places)
            if index == 0 and isinstance(node, (n.ItemStep, n.TraceStep)):
                self._name("Current", node.scope, places)
            if isinstance(node, n.Repeat):
                self._name("Current", node.scope, places)
            elif isinstance(node, n.Aggregate) and index > 0:
                self._name("Total", node.scope, places)
            elif isinstance(node, n.Let):
                self._name("Reference", node.source if index == 0 else node.number, places)
            elif isinstance(node, n.Bind) and index == 0:
                self._name("Reference", node.number, places)
        return found

    def _name(self, kind: str, name: Any, places: set[Place]) -> None:
        self._named.setdefault((kind, name), set()).update(places)

    def _step(self, owner: Place, name: str) -> Place:
        """An element below a place. A path that goes in circles is not made longer: what is below an element is read with it."""
        kind, path = owner
        if path.split(".").count(name) < CIRCLES:
            path = f"{path}.{name}" if path else name
            self.read.add((kind, path))
        return kind, path

    def _path(self, node: Node, step: str) -> str:
        if step != "*":
            return step
        assert isinstance(node, (n.Property, n.DynamicProperty))
        if isinstance(node, n.Property) and node.names is None and node.json not in (None, node.path):
            return f"{node.path}.ofType({node.element_type})"
        return node.path
