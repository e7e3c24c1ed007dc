"""What only the whole export can tell, settled between reading and judging: patients known by several names, ids that occur twice.

The usual export leaves nothing to do here. Where something is left, the patients concerned are joined, and looked at together (`Settled.joined`).
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from engine.data.bulk.collecting import Collected
from engine.data.bulk.decoding import BAD_JSON, Decoders
from engine.data.bulk.records import ORPHANS, Position, Record, key_of
from engine.data.sources import dicts_in

Identifier = tuple[str | None, str]
AT_ONCE = 1_000_000


@dataclass(slots=True)
class Settled:
    """Groups that are looked at together, each with the name of all of them, and records that were not kept at first."""

    joined: dict[str, str] = field(default_factory=dict)
    extra: list[Record] = field(default_factory=list)

    def name(self, group: str) -> str:
        """The name under which a group is looked at."""
        while group in self.joined and self.joined[group] != group:
            group = self.joined[group]
        return group

    def join(self, groups: Iterable[str]) -> None:
        """Have groups looked at together."""
        names = list(dict.fromkeys(self.name(group) for group in groups))
        for group in names:
            self.joined[group] = names[0]

    def finish(self) -> Settled:
        """Every joined group directly under its name."""
        self.joined = {group: self.name(group) for group in self.joined}
        return self


def settle(
    collected: Sequence[Collected],
    kept: Callable[[], Iterator[Record]],
    decoders: Decoders,
    again: Callable[[dict[str, set[int]]], Iterator[Record]],
) -> Settled:
    """Settle an export. `kept` gives all records kept; `again` reads the export once more, for ids (as numbers) of some types."""
    settled = Settled()
    for one in collected:
        for pair in sorted(one.aliases):
            settled.join(pair)
    urns = set().union(*(one.urns for one in collected)) if collected else set()
    pending = [item for one in collected for item in one.pending]
    if urns or pending:
        _names(settled, urns, pending, kept, decoders)
    twice = {kind: found for kind in _kinds(collected) if (found := _twice(kind, collected))}
    if twice:
        _versions(settled, twice, kept, again)
    return settled.finish()


def _kinds(collected: Sequence[Collected]) -> list[str]:
    return sorted({kind for one in collected for kind in one.kept})


def _names(
    settled: Settled,
    urns: set[str],
    pending: list[tuple[Record, dict[str, Any]]],
    kept: Callable[[], Iterator[Record]],
    decoders: Decoders,
) -> None:
    """Patients named by a urn of another file, or by an identifier."""
    wanted = {(item.get("system"), str(item.get("value"))) for _, item in pending}
    values = {value for _, value in wanted}
    holders: dict[Identifier, list[Record]] = {}
    for record in kept():
        if record.kind != "Patient":
            continue
        if record.full_url in urns:
            settled.join((record.group, record.full_url or ""))
        if not values:
            continue
        try:
            patient = decoders.resource(record)
        except BAD_JSON:
            continue
        for identifier in dicts_in(patient.get("identifier")):
            value = identifier.get("value")
            if value.__class__ is str and value in values:
                holders.setdefault((identifier.get("system"), identifier["value"]), []).append(record)
    shown: set[Position] = set()
    for record, item in pending:
        found = holders.get((item.get("system"), str(item.get("value"))), [])
        groups = dict.fromkeys(one.group for one in found)
        if item.get("system") is not None and len(groups) == 1:
            group = next(iter(groups))
            settled.join((group,))
            settled.extra.append(msgspec.structs.replace(record, group=group))
            continue
        settled.extra.append(record)
        for one in found:
            if one.position not in shown:
                shown.add(one.position)
                settled.extra.append(msgspec.structs.replace(one, group=ORPHANS))


def _twice(kind: str, collected: Sequence[Collected]) -> dict[int, tuple[int, int]]:
    """Ids of a type that occur more than once, at least once kept: how often kept, and how often in all."""
    kept = [one.kept[kind] for one in collected if kind in one.kept]
    seen = [one.seen[kind] for one in collected if kind in one.seen]
    rounds = sum(map(len, kept)) // AT_ONCE + 1
    out: dict[int, tuple[int, int]] = {}
    for turn in range(rounds):
        out.update(_twice_of(kept, seen, rounds, turn))
    return out


def _twice_of(
    kept: list[array[int]], seen: list[array[int]], rounds: int, turn: int
) -> Iterator[tuple[int, tuple[int, int]]]:
    mine = [x for numbers in kept for x in numbers if rounds == 1 or x % rounds == turn]
    known = set(mine)
    hits = [x for numbers in seen for x in filter(known.__contains__, numbers)]
    if len(known) == len(mine) == len(hits):
        return
    in_all, of_kept = Counter(hits), Counter(mine)
    for number, times in in_all.items():
        if times > 1:
            yield number, (of_kept[number], times)


def _versions(
    settled: Settled,
    twice: dict[str, dict[int, tuple[int, int]]],
    kept: Callable[[], Iterator[Record]],
    again: Callable[[dict[str, set[int]]], Iterator[Record]],
) -> None:
    """Resources that occur several times, for different patients or in a form that was passed over: only the newest counts."""
    groups: dict[tuple[str, str], list[str]] = {}
    places: dict[tuple[str, str], set[Position]] = {}
    for record in kept():
        if record.id is None or record.kind not in twice or key_of(record.id) not in twice[record.kind]:
            continue
        name = record.kind, record.id
        if record.group not in groups.setdefault(name, []):
            groups[name].append(record.group)
        places.setdefault(name, set()).add(record.position)
    more: dict[str, set[int]] = {}
    for (kind, identifier), found in places.items():
        number = key_of(identifier)
        if twice[kind][number][1] > len(found):
            more.setdefault(kind, set()).add(number)
    for record in again(more) if more else ():
        name = record.kind, record.id or ""
        if name in places and record.position not in places[name]:
            groups[name].append(record.group)
            settled.extra.append(record)
    for found_in in groups.values():
        several = dict.fromkeys(found_in)
        if len(several) > 1 or len(found_in) > 1:
            settled.join(several)
