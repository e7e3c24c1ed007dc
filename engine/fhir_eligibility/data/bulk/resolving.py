"""What only the whole export can tell, resolved between reading and judging: patients known by several names, ids that occur twice.

The usual export leaves nothing to do here. Where something is left, the patients concerned are joined, and looked at together (`Resolved.joined`).
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from msgspec import Struct, field

from fhir_eligibility.data.bulk.records import Position, ReadRecord, is_orphan, key_of
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.records.deletions import Candidate, Deletion, resolved_deletions


class Again(Protocol):
    """Reads an export once more."""

    def records(
        self, wanted: Mapping[str, set[int]], files: frozenset[int] | None
    ) -> Iterable[tuple[ReadRecord, bytes]]:
        """Every resource of some types with certain ids (as numbers) in some files (None: in any), with its content (`fhir_eligibility.data.records.record_versions`)."""
        ...

    def resources(self, kinds: frozenset[str]) -> Iterable[Candidate]:
        """Every resource of some types."""
        ...


class Resolved(Struct):
    """Groups that are looked at together, each with the name of all of them, and records that were not kept at first; deletions, each of which names a
    resource; and contents of records that stand in the data several times and were not kept whole."""

    joined: dict[str, str] = field(default_factory=dict)
    extra: list[ReadRecord] = field(default_factory=list)
    deleted: list[Deletion] = field(default_factory=list)
    digests: dict[Position, bytes] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def of(cls, aliases: Iterable[tuple[str, str]]) -> Resolved:
        """Pairs of groups that are one patient's."""
        resolved = cls()
        for pair in sorted(aliases):
            resolved.join(pair)
        return resolved

    def name(self, group: str) -> str:
        """The name under which a group is looked at."""
        while group in self.joined and self.joined[group] != group:
            group = self.joined[group]
        return group

    def join(self, groups: Iterable[str]) -> None:
        """Have groups looked at together."""
        names = list(dict.fromkeys(self.name(group) for group in groups))
        # a patient's name, where there is one, for nobody looks at orphans for patients
        names.sort(key=is_orphan)
        for group in names:
            self.joined[group] = names[0]

    def finish(self) -> Resolved:
        """Every joined group directly under its name."""
        self.joined = {group: self.name(group) for group in self.joined}
        return self


Doubles = dict[tuple[str, str], tuple[list[str], set[Position], dict[Position, list[str]]]]
"""Resources (type, id) that occur several times: the groups in which they are kept, and where they stand; and the groups in which others that bear the same
id are kept, by the bundle, which stands for itself."""
Times = Mapping[int, tuple[int, int]]
"""Ids, as numbers, that occur several times: how often kept, and how often in all."""


def resolve(
    aliases: Iterable[tuple[str, str]],
    doubles: Doubles,
    more: Mapping[str, set[int]],
    parts: NotWhole,
    again: Again,
    deleted: Iterable[Deletion] = (),
) -> Resolved:
    """Resolve an export. `aliases` are pairs of groups that are one patient's; `doubles`, `more` and `parts` are as `doubles_of`, `missing` and `not_whole` give them,
    and `again` reads the export once more. `deleted` are the deletions in it."""
    resolved = Resolved.of(aliases)
    wanted = {kind: more.get(kind, set()) | parts.ids.get(kind, set()) for kind in more.keys() | parts.ids.keys()}
    _versions(resolved, doubles, again.records(wanted, None if more else frozenset(parts.files)) if wanted else ())
    resolved.deleted = resolved_deletions(deleted, again.resources, resolved.problems.append)
    return resolved.finish()


def twice(
    kept: Callable[[], Iterable[array[int]]], seen: Callable[[], Iterable[array[int]]], batch: int = 0, batches: int = 1
) -> dict[int, tuple[int, int]]:
    """Ids of one type that occur more than once, at least once kept: how often kept, and how often in all.

    Of several `batches` each is about a part of the ids, so that no more need be held at a time. Both functions give the ids of the pieces of work.
    """

    def mine() -> Iterator[array[int] | list[int]]:
        return (numbers if batches == 1 else [x for x in numbers if x % batches == batch] for numbers in kept())

    known: set[int] = set()
    records = found = 0
    for numbers in mine():
        known.update(numbers)
        records += len(numbers)
    holds = known.__contains__
    for ids in seen():
        found += sum(map(holds, ids))
    if len(known) == records == found:
        return {}
    of_kept: Counter[int] = Counter()
    in_all: Counter[int] = Counter()
    for numbers in mine():
        of_kept.update(numbers)
    for ids in seen():
        in_all.update(filter(holds, ids))
    return {number: (of_kept[number], times) for number, times in in_all.items() if times > 1}


def doubles_of(times: Mapping[str, Times], kept: Iterable[ReadRecord]) -> Doubles:
    """The resources that occur several times by `times` (by type) and may be another patient's as well, or stand somewhere in a form that was passed over.

    Where all of a resource's records are among `kept`, one patient's, and all there is of it, there is nothing to resolve. Records with the same id are one
    patient's as a rule, so that those of a bucket may be looked at by themselves, and what is left of several buckets put together (`add_doubles`).
    """
    found: Doubles = {}
    for record in kept:
        if record.id is None or record.kind not in times or key_of(record.id) not in times[record.kind]:
            continue
        if record.own:
            continue
        groups, places, apart = found.setdefault((record.kind, record.id), ([], set(), {}))
        mine = apart.setdefault(_home(record), []) if record.apart else groups
        if record.group not in mine:
            mine.append(record.group)
        places.add(record.position)
    return {
        name: (groups, places, apart)
        for name, (groups, places, apart) in found.items()
        if len(groups) > 1
        or any(len(mine) > 1 for mine in apart.values())
        or times[name[0]][key_of(name[1])][1] != len(places)
    }


def add_doubles(doubles: Doubles, more: Doubles) -> None:
    """Add those of other records."""
    for name, (groups, places, apart) in more.items():
        known, standing, others = doubles.setdefault(name, ([], set(), {}))
        known.extend(group for group in groups if group not in known)
        standing |= places
        for home, mine in apart.items():
            held = others.setdefault(home, [])
            held.extend(group for group in mine if group not in held)


def missing(times: Mapping[str, Times], doubles: Doubles) -> dict[str, set[int]]:
    """Of the resources that occur several times those (by type, ids as numbers) of which not all are kept."""
    out: dict[str, set[int]] = {}
    for (kind, identifier), (_, places, _) in doubles.items():
        number = key_of(identifier)
        if number in times.get(kind, ()) and times[kind][number][1] > len(places):
            out.setdefault(kind, set()).add(number)
    return out


class NotWhole(Struct):
    """Records that are not kept whole, of resources that occur several times: they have to be read again to be compared. By type, ids as numbers; and the files they stand in."""

    ids: dict[str, set[int]] = field(default_factory=dict)
    files: set[int] = field(default_factory=set)

    def add(self, more: NotWhole) -> None:
        """Add those of other records."""
        for kind, numbers in more.ids.items():
            self.ids.setdefault(kind, set()).update(numbers)
        self.files |= more.files


def not_whole(times: Mapping[str, Times], kept: Iterable[ReadRecord]) -> NotWhole:
    """Those among some records."""
    out = NotWhole()
    for record in kept:
        if record.id is not None and record.kind in times and (record.compact or record.facts is not None):
            number = key_of(record.id)
            if number in times[record.kind]:
                out.ids.setdefault(record.kind, set()).add(number)
                out.files.add(record.file)
    return out


def _versions(resolved: Resolved, doubles: Doubles, again: Iterable[tuple[ReadRecord, bytes]]) -> None:
    """Resources that occur several times, for different patients or in a form that was passed over: only the newest counts.

    What stands in a bundle that stands for itself is another thing than what bears its id elsewhere, but where both are one patient's.
    """
    found: dict[tuple[str, str], list[ReadRecord]] = {}
    for record, digest in again:
        resolved.digests[record.position] = digest
        name = record.kind, record.id or ""
        if name in doubles and record.position not in doubles[name][1]:
            found.setdefault(name, []).append(record)
    for name, (kept, _, apart) in doubles.items():
        more = [record for record in found.get(name, ()) if not record.apart]
        groups = [*kept, *(record.group for record in more)]
        of_bundles = {group for mine in apart.values() for group in mine}
        if kept or not of_bundles.isdisjoint(groups):
            resolved.extra.extend(more)
            if len(groups) > 1 or not of_bundles.isdisjoint(groups):
                resolved.join(groups)
        else:
            groups = []
        for mine in apart.values():
            if len(mine) > 1:
                resolved.join(mine)
        for record in found.get(name, ()):
            if record.apart and (_home(record) in apart or record.group in of_bundles or record.group in groups):
                resolved.extra.append(record)
                resolved.join((*apart.get(_home(record), ()), record.group))


def _home(record: ReadRecord) -> Position:
    """The bundle of one patient in which a record stands."""
    return record.file, record.offset, record.home
