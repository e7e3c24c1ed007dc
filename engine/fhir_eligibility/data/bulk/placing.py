"""Records whose patient is called by a name that is not an id - a urn of another bundle, an identifier -, placed with that patient once all Patients are known.

Names and the Patients that bear them come together by the hash of the name, a part of all names at a time, so that no more than such a part is ever in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from fhir_eligibility.data.bulk.decoding import Decoders
from fhir_eligibility.data.bulk.records import ReadRecord, Shelf, bucket_of, name_group, name_of_group, orphan_group
from fhir_eligibility.data.files.json_text import BAD_JSON
from fhir_eligibility.data.patients.persons import is_replaced, links_in
from fhir_eligibility.data.records.identity import address_of
from fhir_eligibility.data.records.subjects import asked_of, names_of


class Claim(msgspec.Struct, array_like=True, gc=False):
    """A name that a Patient bears: the group of the Patient, and who it is in that group; with `last` the name counts only where nothing else bears it.

    With `of_other` it is a name that another Patient bears who may be the same person: one that is linked, or that is searched for before the Patient is created.
    """

    name: str
    group: str
    who: str
    last: bool = False
    of_other: bool = False


_encode = msgspec.msgpack.Encoder().encode
decode_claims = msgspec.msgpack.Decoder(list[Claim]).decode


def claims_of(records: Iterable[ReadRecord], decoders: Decoders) -> Iterator[Claim]:
    """The names of the Patients among some records."""
    for record in records:
        if record.kind != "Patient":
            continue
        try:
            patient = decoders.resource(record)
        except BAD_JSON:
            continue  # which is reported where the patient is put together
        who = address_of(record.full_url) or record.group
        last = is_replaced(patient)
        for name, soft in names_of(patient, record.full_url):
            yield Claim(name, record.group, who, last or soft)
        if record.condition is not None:
            yield Claim(record.condition, record.group, who, of_other=True)
        for _, other in links_in(patient):
            asked = asked_of(other)
            if asked is not None and asked.name is not None:
                yield Claim(asked.name, record.group, who, of_other=True)


class ClaimShelf(Shelf):
    """Claims by the part of all names that theirs is in, as bytes."""

    def take(self, claim: Claim) -> None:
        """Take in a claim."""
        self.sections[bucket_of(name_group(claim.name), self.buckets)].append(_encode(claim))


class Bearers:
    """Which Patients bear which of some names."""

    def __init__(self, claims: Iterable[Claim], wanted: set[str]) -> None:
        self._claims: dict[str, dict[tuple[str, str], Claim]] = {}
        for claim in claims:
            if claim.name in wanted and not claim.of_other:
                held = self._claims.setdefault(claim.name, {})
                key = claim.group, claim.who
                known = held.get(key)
                if known is None or known.last:
                    held[key] = claim

    def groups(self, name: str, joined: Mapping[str, str]) -> list[str]:
        """The groups of the patients who bear a name; those that are looked at together by one name, each other patient counted."""
        held = list(self._claims.get(name, {}).values())
        held = [claim for claim in held if not claim.last] or held
        together = {joined.get(claim.group, claim.group) for claim in held}
        if len(together) == 1 and (len(held) == 1 or held[0].group in joined):
            return [held[0].group]
        return [claim.group for claim in held]


def joined_by_names(claims: Iterable[Claim]) -> list[tuple[str, str]]:
    """Pairs of groups whose Patients may be one person by the names that they have for each other."""
    asking: dict[str, set[str]] = {}
    bearing: dict[str, set[str]] = {}
    for claim in claims:
        (asking if claim.of_other else bearing).setdefault(claim.name, set()).add(claim.group)
    pairs: set[tuple[str, str]] = set()
    for name, groups in asking.items():
        first, *others = sorted(groups | bearing.get(name, set()))
        pairs.update((first, other) for other in others)
    return sorted(pairs)


def placed(records: Iterable[ReadRecord], bearers: Bearers, joined: Mapping[str, str]) -> Iterator[ReadRecord]:
    """Records whose patient is called by a name, each with the group of that patient, or, where none bears the name or several do, of no patient."""
    for record in records:
        name = name_of_group(record.group)
        if name is None:
            continue
        groups = bearers.groups(name, joined)
        if len(groups) == 1:
            yield msgspec.structs.replace(record, group=groups[0])
        else:
            group = orphan_group(record.kind, record.id, record.position, several=len(groups) > 1)
            yield msgspec.structs.replace(record, group=group, plain=False)


def names_wanted(records: Iterable[ReadRecord]) -> set[str]:
    """The names by which patients are called."""
    return {name for name in map(name_of_group, {record.group for record in records}) if name is not None}
