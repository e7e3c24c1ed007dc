"""Patients of whom no block of the data tells anything else than in an earlier run (`fhir_eligibility.data.bulk.blocks`): their lines in its outputs are taken over without a look at their records.

Between two blocks that are the same, what was kept of the lines then and now is compared patient by patient; a document that is not the same touches all of its patients. Who is
touched, or is known to the earlier run by no fingerprint, is looked at in the ordinary way, with the records that such a patient has in blocks that are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from fhir_eligibility.data.bulk.blocks import (
    PERSON,
    BlockPatients,
    BlockWriter,
    EarlierBlocks,
    FileBlocks,
    Traced,
    decode_patients,
    in_parts,
)
from fhir_eligibility.data.bulk.fingerprints import GROUP, NONE, SIZE, Fingerprints
from fhir_eligibility.data.bulk.records import Position
from fhir_eligibility.runners.large.earlier import EarlierPatients, Row
from fhir_eligibility.runners.large.judged_file import place_of
from fhir_eligibility.runners.large.taken_file import known_packing

Again = tuple[int, int, int, bool]
"""A block that is the same and is read again for the sake of some patients: file, offset, length, and whether it is a document."""


class EarlierData(NamedTuple):
    """The data of an earlier run: its blocks, and its patients."""

    blocks: EarlierBlocks
    patients: EarlierPatients


class Untouched(msgspec.Struct):
    """`groups` are digests of the ids of those who are taken over, `known` what is written of each (`known_packing`), in order, `again` blocks to be read again, by piece of work."""

    groups: set[bytes]
    known: list[bytes]
    again: list[list[Again]]


def in_the_same_order(earlier: EarlierBlocks, files: Sequence[str]) -> bool:
    """Whether the files that an earlier run knows stand in the order of that run. Raises OSError."""
    known = [earlier.index.get(earlier.key(path)) for path in files]
    numbers = [one[0] for one in known if one is not None]
    return numbers == sorted(set(numbers))


class _Same(msgspec.Struct):
    piece: int
    again: Again
    groups: bytes


class _Comparison:
    """Takes the blocks of all files in order."""

    def __init__(self, earlier: EarlierBlocks, files: Sequence[str]) -> None:
        self.touched: set[bytes] = set()
        self.persons: dict[bytes, Position | None] = {}
        self.same: list[_Same] = []
        self._earlier = earlier
        self._files = files
        self._left = set(earlier.index)
        self._file = -1
        self._document = False
        self._blocks: list[BlockPatients] = []
        self._next = 0
        self._now: list[BlockPatients] = []

    def take(self, piece: int, part: FileBlocks) -> None:
        """The blocks of a file, or of a part of it."""
        if part.file != self._file:
            self.finish()
            self._file, key = part.file, self._earlier.key(self._files[part.file])
            self._left.discard(key)
            self._document, self._blocks = self._earlier.patients_of(key)
        for found in part.found:
            if found.earlier >= 0:
                block = self._blocks[found.earlier]
                self._matched(found.earlier, block)
                self.same.append(_Same(piece, (part.file, found.offset, found.length, part.document), block.groups))
            elif not found.block:
                continue
            else:
                block = decode_patients(found.block)
                if part.document:
                    self._touch([block])
                else:
                    self._now.append(block)
            for group, offset, entry in PERSON.iter_unpack(block.persons):
                place = part.file, found.offset + offset, entry
                self.persons[group] = place if group not in self.persons else None

    def _matched(self, number: int, block: BlockPatients) -> None:
        if number < self._next:
            self._touch([block])  # it stands there again
            return
        self._compare(self._blocks[self._next : number])
        self._next = number + 1

    def _compare(self, before: Sequence[BlockPatients]) -> None:
        """What stands between two blocks that are the same, then and now."""
        if self._document:
            self._touch([*before, *self._now])
        elif before or self._now:
            then, now = _by_group(before), _by_group(self._now)
            self.touched.update(group for group in then.keys() | now.keys() if then.get(group) != now.get(group))
        self._now = []

    def _touch(self, blocks: Iterable[BlockPatients]) -> None:
        for block in blocks:
            self.touched.update(in_parts(block.groups, GROUP))

    def finish(self) -> None:
        """The file is done."""
        if self._file >= 0:
            self._compare(self._blocks[self._next :])
        self._document, self._blocks, self._next, self._file = False, [], 0, -1

    def gone(self) -> None:
        """All files are done: those of the earlier run that are not among them touch their patients."""
        self.finish()
        for key in self._left:
            self._touch(self._earlier.patients_of(key)[1])


def _by_group(blocks: Iterable[BlockPatients]) -> Mapping[bytes, list[bytes]]:
    """The digests of records by patient, in their order."""
    found: dict[bytes, list[bytes]] = {}
    for block in blocks:
        for group, digest in zip(in_parts(block.groups, GROUP), in_parts(block.digests, SIZE), strict=True):
            found.setdefault(group, []).append(digest)
    return found


def untouched_of(earlier: EarlierData, files: Sequence[str], traced: Iterable[Traced]) -> Untouched:
    """Whom nothing touches; what was found in each piece of work is given in the order of the data. Raises OSError."""
    comparison = _Comparison(earlier.blocks, files)
    comparison.touched.update(in_parts(earlier.blocks.loose, GROUP))
    pieces = 0
    for piece, one in enumerate(traced):
        pieces = piece + 1
        comparison.touched.update(in_parts(one.new, GROUP))
        for part in one.files:
            comparison.take(piece, part)
    comparison.gone()
    touched, persons = comparison.touched, comparison.persons
    groups: set[bytes] = set()
    several: set[bytes] = set()
    rows: list[tuple[bytes, Row]] = []
    for row in earlier.patients.rows():
        group = row[1]
        if group in groups:
            several.add(group)
        if row[0] == NONE or group in touched:
            continue
        place = persons.get(group)
        if place is not None:
            groups.add(group)
            rows.append((place_of(place), row))
    groups -= several
    rows.sort()
    pack = known_packing(earlier.patients.codes).pack
    known = [pack(place, *row[2:]) for place, row in rows if row[1] in groups]
    again: list[list[Again]] = [[] for _ in range(pieces)]
    for same in comparison.same:
        if not groups.issuperset(in_parts(same.groups, GROUP)):
            again[same.piece].append(same.again)
    return Untouched(groups, known, again)


def write_blocks(
    writer: BlockWriter,
    fingerprints: Fingerprints,
    earlier: EarlierBlocks | None,
    files: Sequence[str],
    traced: Iterable[Traced],
) -> None:
    """Write the blocks of all files; of those that are as in the `earlier` run, its own. Raises OSError."""
    file, document, blocks = -1, False, list[bytes | memoryview]()
    key = fingerprints.of_path if earlier is None else earlier.key

    def close() -> None:
        if blocks:
            writer.add(key(files[file]), document, blocks)

    for one in traced:
        writer.loose.update(in_parts(one.loose, GROUP))
        for part in one.files:
            if part.file != file:
                close()
                file, document, blocks = part.file, part.document, []
            known: Sequence[bytes | memoryview] = ()
            if earlier is not None and any(found.earlier >= 0 for found in part.found):
                known = earlier.as_written(earlier.key(files[file]))
            for found in part.found:
                if found.earlier >= 0:
                    blocks.append(known[found.earlier])
                elif found.block:
                    blocks.append(found.block)
    close()
