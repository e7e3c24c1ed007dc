"""All that the data says of its resources, by the keys that they are known by: versions and deletions, and what counts of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import msgspec

from fhir_eligibility.artifacts.references import RESTFUL
from fhir_eligibility.data.patients.holding import Held
from fhir_eligibility.data.records.deletions import Candidate, Deletion, Deletions, resolved_deletions
from fhir_eligibility.data.records.identity import entered_in_error, id_of
from fhir_eligibility.data.records.record_versions import Counted, Versions
from fhir_eligibility.data.records.sources import Loaded, OnProblem, Resource


class Counting:
    """Takes in versions and deletions; `surviving` then tells what counts."""

    def __init__(
        self,
        versions: Versions,
        on_problem: OnProblem,
        shared_types: Collection[str],
        is_nobodys: Callable[[Resource], bool],
        *,
        silent: bool,
    ) -> None:
        """Resources of `shared_types` may be about nobody. With `silent`, what is about nobody is reported elsewhere, where all of it is looked at."""
        self.by_key: dict[str, Loaded] = {}
        """What counts, by key; before `surviving`, what was read first."""
        self.gone: dict[str, Loaded] = {}
        """Patients who were deleted, by key; they stay in `by_key` until it is known which records are about them."""
        self._versions = versions
        self._on_problem = on_problem
        self._shared_types = shared_types
        self._is_nobodys = is_nobodys
        self._silent = silent
        self._without_key: list[Loaded] = []
        self._several: dict[str, list[Loaded]] = {}
        self._counted: dict[str, Counted] = {}
        self._deletions: list[Deletion] = []
        self._removed: Deletions | None = None

    def add(self, key: str | None, loaded: Loaded) -> None:
        """Take in a resource."""
        if key is None:
            self._without_key.append(loaded)
        elif key not in self.by_key:
            self.by_key[key] = loaded
        else:
            self._several.setdefault(key, [self.by_key[key]]).append(loaded)

    def remove(self, deletions: Deletions) -> None:
        """Go by deletions that were resolved elsewhere."""
        self._removed = deletions

    def delete(self, loaded: Loaded) -> None:
        """Take in a deletion as it was read."""
        if loaded.deletion is not None:
            where = {"file": loaded.file, "offset": loaded.offset, "entry": loaded.entry, "line": loaded.line}
            self._deletions.append(msgspec.structs.replace(loaded.deletion, **where))

    def count(self, versions: Sequence[Loaded], deletions: Sequence[Deletion] = ()) -> Counted:
        """What counts of some versions of a record."""
        resource = versions[0].resource
        assert resource is not None
        nobodys = resource["resourceType"] in self._shared_types
        silent = self._silent and nobodys and self._is_nobodys(resource)
        report = _ignore if silent else self._on_problem
        return self._versions.counted(versions[0].name, versions, deletions, report, nobodys=nobodys)

    def of_bundle(self, versions: Sequence[Loaded]) -> Counted:
        """What counts of what bundles of one patient hold of something that is about nobody."""
        return self._versions.counted(versions[0].name, versions, (), _ignore, nobodys=True)

    def surviving(self, *, deleted: bool) -> list[Loaded]:
        """What is left after duplicates and deletions, in the order of the data; of what is in doubt the form that is used.

        With `deleted`, patients who were deleted are among it, and in `gone`.
        """
        deletions = self._removed
        if deletions is None:
            deletions = self._removed = Deletions(
                resolved_deletions(self._deletions, self._candidates, self._on_problem)
            )
        out = []
        for key, first in list(self.by_key.items()):
            resource, several = first.resource, self._several.get(key)
            assert resource is not None
            kind = resource["resourceType"]
            removed = deletions.of(kind, id_of(resource), first.full_url) if deletions else []
            if several is None and not removed and not entered_in_error(resource):
                out.append(first)
                continue
            counted = self.count(several or [first], removed)
            if counted.why:
                self._counted[key] = counted
            if counted.forms:
                self.by_key[key] = counted.forms[0]
                out.append(counted.forms[0])
            elif deleted and kind == "Patient" and any(not one.patch for one in removed):
                self.gone[key] = first
                out.append(first)
            else:
                del self.by_key[key]
        out += [loaded for loaded in self._without_key if self.count([loaded]).forms]
        return out

    def doubt(self, key: str | None) -> Counted | None:
        """What is in doubt of the resource of a key, None where nothing is."""
        return self._counted.get(key) if key is not None else None

    def versions(self, key: str) -> Sequence[Loaded]:
        """All versions of the resource of a key, where there are several and the data tells which is the newest."""
        return () if key in self._counted else self._several.get(key, ())

    def all_versions(self, key: str, loaded: Loaded) -> Sequence[Loaded]:
        """The resource of a key in every version that was read, whichever counts."""
        return self._several.get(key, (loaded,))

    def held(self, key: str | None, loaded: Loaded) -> Held:
        """The resource of a key in all forms that it may have."""
        found = self.doubt(key)
        return (
            Held([loaded]) if found is None else Held(list(found.forms), found.perhaps_gone, found.why, found.unknown)
        )

    def is_removed(self, name: str) -> bool:
        """Whether something that is known by its address or by `Type/id` was deleted."""
        match = RESTFUL.fullmatch(name)
        if match is None or not self._removed:
            return False
        kind, _, identifier = match["path"].partition("/")
        return any(not one.patch for one in self._removed.of(kind, identifier, name if match["root"] else None))

    def _candidates(self, kinds: frozenset[str]) -> Iterator[Candidate]:
        """The resources that a search among deletions may find."""
        for key, first in self.by_key.items():
            for one in self._several.get(key, (first,)):
                if one.resource is not None and one.resource["resourceType"] in kinds:
                    yield Candidate(one.resource, one.full_url, one.file, one.offset or 0, one.entry)


def _ignore(problem: object) -> None:
    return None
