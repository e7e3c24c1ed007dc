"""Lines of NDJSON that are set aside without being decoded, until it is known whether their patient's records are the same as in an earlier run.

A line is set aside for the patient whom its text seems to name. That is no more than a guess, and needs to be no more: who is taken over is known by a fingerprint
of all lines that were guessed to be theirs, and those were all of that patient's records in the earlier run, where each was decoded. The lines of anybody else are decoded then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from fhir_eligibility.data.bulk.blocks import in_parts
from fhir_eligibility.data.bulk.collecting import Collector, TypeReader
from fhir_eligibility.data.bulk.fingerprints import GROUP, Fingerprints
from fhir_eligibility.data.bulk.records import (
    MemoryShelf,
    Position,
    ReadRecord,
    Shelf,
    bucket_of,
    number_of,
    read_bytes,
)
from fhir_eligibility.data.records.marks import may_be_marked

_ID = re.compile(rb"[A-Za-z0-9\-.]{1,64}")


class Aside(msgspec.Struct, array_like=True, gc=False):
    """A line that was set aside: whose it seems to be, where it stands, the type and id of its resource, and the digest of its text."""

    group: str
    file: int
    offset: int
    length: int
    kind: str
    id: str
    digest: bytes

    @property
    def position(self) -> Position:
        """Where it stands in the data."""
        return self.file, self.offset, -1


class UntouchedGroups:
    """Those of whom it is known that nothing changed: digests of what their records are put together by."""

    def __init__(self, groups: bytes, fingerprints: Fingerprints) -> None:
        self._groups = frozenset(in_parts(groups, GROUP))
        self._fingerprints = fingerprints

    def __contains__(self, group: str) -> bool:
        return bool(self._groups) and self._fingerprints.of_group(group) in self._groups


class TouchedShelf:
    """Hands on to a shelf what is of others than those of whom it is known that nothing changed."""

    def __init__(self, shelf: Shelf, untouched: UntouchedGroups) -> None:
        self._shelf = shelf
        self._untouched = untouched

    def add(self, record: ReadRecord) -> None:
        """Take in a record."""
        if record.group not in self._untouched:
            self._shelf.add(record)


Known = tuple[Position, str, bytes]
"""A patient who is taken over: the place, the id, and the fingerprint."""
_encode = msgspec.msgpack.Encoder().encode
decode_aside = msgspec.msgpack.Decoder(list[Aside]).decode


class AsideShelf(Shelf):
    """Lines that were set aside, by the bucket of their patient."""

    def take(self, line: Aside) -> None:
        """Take in a line."""
        self.sections[bucket_of(line.group, self.buckets)].append(_encode(line))


class Sifter:
    """Sets lines of some files aside, instead of having a collector keep them."""

    def __init__(
        self,
        fingerprints: Fingerprints,
        shelf: AsideShelf,
        files: frozenset[int],
        untouched: UntouchedGroups | None = None,
    ) -> None:
        """Lines of those who are known to be `untouched` are dropped."""
        self._untouched = untouched
        self._fingerprints = fingerprints
        self._shelf = shelf
        self._files = files

    def takes(
        self, collector: Collector, reader: TypeReader, raw: bytes | memoryview, file: int, offset: int, seen: bool
    ) -> bool:
        """Set a line aside, and count it as used; False, having done nothing, for one that is not as most are."""
        person = reader.kind == "Patient"
        if file not in self._files or reader.shared or not (person or len(reader.first) == 1):
            return False
        if collector.look and may_be_marked(raw):
            return False
        begun = reader.beginning.match(raw)
        if begun is None or _ID.fullmatch(begun[1]) is None:
            return False
        group = begun[1]
        if not person:
            named = _subject(reader.first[0]).search(raw)
            if named is None:
                return False
            group = named[1]
        digest, number = self._fingerprints.of_text(raw), number_of(begun[1])
        if self._untouched is not None and group.decode() in self._untouched:
            return True
        self._shelf.take(Aside(group.decode(), file, offset, len(raw), reader.kind, begun[1].decode(), digest))
        if collector.trace is not None:
            collector.trace.note(group.decode(), digest, reader.kind, offset, -1, aside=True)
        collected = collector.collected
        collected.used[reader.kind] += 1
        collector.kept_ids(reader.kind).append(number)
        if not seen:
            collector.seen_ids(reader.kind).append(number)
        return True


@lru_cache(maxsize=256)
def _subject(element: str) -> re.Pattern[bytes]:
    """How an element names a patient, as a rule."""
    return re.compile(rb'"%b"\s*:\s*\{\s*"reference"\s*:\s*"Patient/([A-Za-z0-9\-.]{1,64})"' % element.encode())


class Unusual(Exception):
    """Some line is not as most are, so that what was set aside has to be read in the ordinary way."""


class AsidePatients:
    """Tells which patients of a bucket are taken over, and decodes the lines of the others into records. `near` are groups of which other records are at hand."""

    def __init__(
        self,
        lines: Iterable[Aside],
        paths: Sequence[str],
        fingerprints: Fingerprints,
        near: frozenset[str],
        untouched: UntouchedGroups | None = None,
    ) -> None:
        """Lines of those who are known to be `untouched` are dropped."""
        self._groups: dict[str, list[Aside]] = {}
        for line in lines:
            self._groups.setdefault(line.group, []).append(line)
        if untouched is not None:
            self._groups = {group: some for group, some in self._groups.items() if group not in untouched}
        self._paths = paths
        self._fingerprints = fingerprints
        self._near = near

    def known(self, group: str, lines: list[Aside]) -> Known | None:
        """A patient as taken over, if that can be; whether the fingerprint is known remains to be asked."""
        patients = [line for line in lines if line.kind == "Patient"]
        if len(patients) != 1 or group in self._near:
            return None
        if len({(line.kind, line.id) for line in lines}) < len(lines):
            return None
        lines_of_patient = [(line.digest, self._paths[line.file], -1, None, True) for line in lines]
        return patients[0].position, patients[0].id, self._fingerprints.of(lines_of_patient)

    def run(self, knows: Callable[[bytes], bool], collector: Collector) -> tuple[list[Known], list[ReadRecord]]:
        """Those who are taken over, by place, and the records of the others. Raises Unusual, OSError."""
        found: list[Known] = []
        records: list[ReadRecord] = []
        shelf = collector.shelf = MemoryShelf()
        for group, lines in self._groups.items():
            lines.sort(key=lambda line: line.position)
            known = self.known(group, lines)
            if known is not None and knows(known[2]):
                found.append(known)
                continue
            for line in lines:
                self._decode(line, collector)
            if len(shelf.records) != len(lines) or any(one.group != group for one in shelf.records):
                raise Unusual
            records += shelf.records
            shelf.records.clear()
        read = collector.collected
        if read.problems or read.aliases or read.shared or read.named or read.persons or read.unsure or list(read.odd):
            raise Unusual
        found.sort()
        return found, records

    def _decode(self, line: Aside, collector: Collector) -> None:
        path = self._paths[line.file]
        try:
            raw = read_bytes(Path(path), line.offset, line.length)
        except ValueError:
            raise Unusual from None  # the file became shorter
        if self._fingerprints.of_text(raw) != line.digest:
            raise Unusual  # it was changed meanwhile
        collector.keep(collector.reader(line.kind), raw, line.file, line.offset, -1, None, path, seen=True)
