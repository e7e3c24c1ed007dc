"""Resources that are about no patient, brought together: one for all across files, and what the bundles of single patients hold of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

from fhir_eligibility.data.patients.compartment import Resource, ResourceOrigin, SharedResources
from fhir_eligibility.data.patients.holding import doubts_of
from fhir_eligibility.data.records.in_doubt import InDoubt, marks_of, name_of
from fhir_eligibility.data.records.record_versions import Counted
from fhir_eligibility.data.records.sources import Loaded


def origin_of(loaded: Loaded) -> ResourceOrigin:
    """Where a resource was read."""
    return ResourceOrigin(loaded.file, loaded.entry, loaded.line, loaded.full_url)


class Nobodys:
    """What is about no patient. `add` each that counts, and tell what `stands_in` a bundle of one patient; then ask."""

    def __init__(self, count: Callable[[Sequence[Loaded]], Counted]) -> None:
        """`count` tells what counts of several of one name."""
        self.homes: dict[str, dict[str, list[Loaded]]] = {}
        """What bundles that stand for themselves hold, by `Type/id`."""
        self._count = count
        self._listed: list[Loaded] = []
        self._doubts: list[InDoubt] = []
        self._local: dict[str, list[Resource]] = {}

    def add(self, loaded: Loaded, on_a_server: bool, counted: Counted | None = None) -> None:
        """Take in one; `on_a_server` tells that it is known by its address there, `counted` what else it may be."""
        assert loaded.resource is not None
        self._listed.append(loaded)
        if counted is not None:
            self._doubts += doubts_of(counted)
        if not on_a_server:
            self._local.setdefault(loaded.name, []).append(loaded.resource)

    def stands_in(self, home: str, loaded: Loaded) -> None:
        """Note one of a bundle that stands for itself."""
        self.homes.setdefault(home, {}).setdefault(loaded.name, []).append(loaded)

    def at_home(self, home: str, name: str) -> Loaded | None:
        """What a bundle that stands for itself holds under a name, `Type/id`."""
        held = self.homes.get(home, {}).get(name)
        if held is None:
            return None
        forms = self._count(held).forms
        return forms[0] if forms else None

    def of_bundles(self, homes: Iterable[str]) -> tuple[dict[str, Loaded], list[InDoubt]]:
        """What some bundles hold by `Type/id`, and what is in doubt of it."""
        together: dict[str, list[Loaded]] = {}
        for home in homes:
            for name, listed in self.homes.get(home, {}).items():
                together.setdefault(name, []).extend(listed)
        found: dict[str, Loaded] = {}
        doubts: list[InDoubt] = []
        for name, listed in together.items():
            counted = self._count(listed)
            if counted.forms:
                found[name] = counted.forms[0]
                doubts += doubts_of(counted)
        return found, doubts

    @cached_property
    def shared(self) -> SharedResources:
        """All of them, as patients see them."""
        by_type: dict[str, list[Resource]] = {}
        for loaded in self._listed:
            if loaded.resource is not None:
                by_type.setdefault(loaded.resource["resourceType"], []).append(loaded.resource)
        marks = [one for x in self._listed if x.marked and x.resource is not None for one in marks_of(x.resource)]
        origins = {id(x.resource): origin_of(x) for x in self._listed}
        return SharedResources(by_type, origins, doubts=[*self._doubts, *marks])

    def seen_with(self, own: dict[str, Loaded], doubts: Iterable[InDoubt]) -> SharedResources:
        """The same, as a patient sees them whose own bundles hold some: these come before what bears the same id elsewhere; `doubts` are about them."""
        open_here = {name_of(one.record) for one in self._doubts if one.record is not None}
        differing = {
            name: (loaded.resource, origin_of(loaded))
            for name, loaded in own.items()
            if loaded.resource is not None and (name in open_here or self._local.get(name) != [loaded.resource])
        }
        marks = [one for x in own.values() if x.marked and x.resource is not None for one in marks_of(x.resource)]
        if not differing:
            return self.shared
        seen = self.shared.with_own(differing, self._local)
        seen.doubts = [*seen.doubts, *doubts, *marks]
        return seen
