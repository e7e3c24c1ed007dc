"""Resources that are about no patient, brought together: one for all across files, and what the bundles of single patients hold of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cached_property

from engine.data.compartment import Origin, Resource, SharedResources
from engine.data.identity import updated
from engine.data.in_doubt import marks_of
from engine.data.sources import Loaded


def origin_of(loaded: Loaded) -> Origin:
    """Where a resource was read."""
    return Origin(loaded.file, loaded.entry, loaded.line, loaded.full_url)


class Nobodys:
    """What is about no patient. `add` each that counts, and tell what `stands_in` a bundle of one patient; then ask."""

    def __init__(self) -> None:
        self.own: dict[str, dict[str, Loaded]] = {}
        """What bundles that stand for themselves hold, by `Type/id`."""
        self._listed: list[Loaded] = []
        self._local: dict[str, list[Resource]] = {}

    def add(self, loaded: Loaded, on_a_server: bool) -> None:
        """Take in one; `on_a_server` tells that it is known by its address there."""
        assert loaded.resource is not None
        self._listed.append(loaded)
        if not on_a_server:
            self._local.setdefault(loaded.name, []).append(loaded.resource)

    def stands_in(self, home: str, loaded: Loaded) -> None:
        """Note one of a bundle that stands for itself; the newest of an id counts."""
        held = self.own.setdefault(home, {})
        known = held.get(loaded.name)
        if known is None or updated(loaded.resource) > updated(known.resource):
            held[loaded.name] = loaded

    def of_bundles(self, homes: Iterable[str], deleted: Collection[str]) -> dict[str, Loaded]:
        """What some bundles hold by `Type/id`, but what was deleted; the newest of an id counts."""
        found: dict[str, Loaded] = {}
        for home in homes:
            for name, loaded in self.own.get(home, {}).items():
                known = found.get(name)
                if name not in deleted and (known is None or updated(loaded.resource) > updated(known.resource)):
                    found[name] = loaded
        return found

    @cached_property
    def shared(self) -> SharedResources:
        """All of them, as patients see them."""
        by_type: dict[str, list[Resource]] = {}
        for loaded in self._listed:
            if loaded.resource is not None:
                by_type.setdefault(loaded.resource["resourceType"], []).append(loaded.resource)
        doubts = [one for x in self._listed if x.marked and x.resource is not None for one in marks_of(x.resource)]
        return SharedResources(by_type, {id(x.resource): origin_of(x) for x in self._listed}, doubts=doubts)

    def seen_with(self, own: dict[str, Loaded]) -> SharedResources:
        """The same, as a patient sees them whose own bundles hold some: these come before what bears the same id elsewhere."""
        differing = {
            name: (loaded.resource, origin_of(loaded))
            for name, loaded in own.items()
            if loaded.resource is not None and self._local.get(name) != [loaded.resource]
        }
        return self.shared.with_own(differing, self._local) if differing else self.shared
