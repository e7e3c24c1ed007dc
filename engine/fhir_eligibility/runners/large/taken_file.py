"""Patients of a bucket who are taken over without a look at their records: their texts stay where they are in the outputs of the earlier run, until they go into those of this one.

What stands in the file are the texts that the earlier outputs do not hold patient by patient - members of Groups, one Group after the other -, an index as
that of a `JudgedFile`, and where the other texts stand.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import add, sub
from pathlib import Path
from struct import Struct as Packing

from msgspec import Struct

from fhir_eligibility.data.bulk.records import SummedFile
from fhir_eligibility.runners.large.earlier import EarlierPatients
from fhir_eligibility.runners.large.judged_file import PLACE
from fhir_eligibility.runners.large.kept import TakenDone

STANDING = 3
"""Outputs of which the earlier run has the texts: lines of verdicts, rows of the table, rows of the fingerprints."""
Known = tuple[bytes, int, int, int, int, int, bytes]
"""A patient who is taken over: the place as `place_of` gives it, where lines and rows begin and how long they are, the number of the row, and what the verdicts are."""


def known_packing(codes: int) -> Packing:
    """How one of `Known` is packed, with so many bytes that tell what the verdicts are."""
    return Packing(f"<{PLACE}s5Q{codes}s")


def write_taken(
    out: SummedFile, known: Sequence[Known], packed: bytes, members: Sequence[Sequence[bytes]], row_size: int
) -> TakenDone:
    """Write the patients who are `known`, in order, which are `packed`; `members` are their texts for each Group, `row_size` the bytes of a row. Raises OSError."""
    places, _, lines, _, rows, _, _ = zip(*known, strict=True)
    columns = [lines, rows, [row_size] * len(known), *(map(len, texts) for texts in members)]
    ends = [list(accumulate(column)) for column in columns]
    for texts in members:
        out.write(b"".join(texts))
    out.write(b"".join(map(Packing(f"{PLACE}s{len(ends)}Q").pack, places, *ends)))
    out.write(packed)
    return TakenDone(len(known), tuple(column[-1] for column in ends))


class TakenFile(Struct, frozen=True):
    """A file that was written, to be put in order with files of judged patients. Raises ValueError where it is cut short, OSError."""

    path: Path
    patients: int
    lengths: tuple[int, ...]
    earlier: EarlierPatients

    @property
    def size(self) -> int:
        """Bytes of an entry of the index."""
        return PLACE + 8 * len(self.lengths)

    @property
    def _base(self) -> int:
        return sum(self.lengths[STANDING:])

    def _read(self, start: int, length: int) -> bytes:
        handle = os.open(self.path, os.O_RDONLY)
        try:
            data = os.pread(handle, length, start)
        finally:
            os.close(handle)
        if len(data) != length:
            raise ValueError(f"{self.path} is cut short; run again with --resume")
        return data

    def index(self) -> bytes:
        """All of the index."""
        return self._read(self._base, self.patients * self.size)

    def stretch(self, first: int, last: int) -> TakenStretch:
        """Where the texts of the patients from a number on and before another stand."""
        size, outputs = self.size, len(self.lengths)
        before = (0,) * outputs
        if first:
            before = Packing(f"{outputs}Q").unpack(self._read(self._base + first * size - 8 * outputs, 8 * outputs))
        packing = known_packing(self.earlier.codes)
        index = self._read(self._base + first * size, (last - first) * size)
        start = self._base + self.patients * size
        known = self._read(start + first * packing.size, (last - first) * packing.size)
        return TakenStretch(self, before, index, [*packing.iter_unpack(known)])


class TakenStretch(Struct, frozen=True):
    """Patients who follow each other in such a file, with their part of the index and how long the texts before are."""

    file: TakenFile
    before: tuple[int, ...]
    index: bytes
    known: list[Known]
    length: int = 0
    """Bytes that are read to memory."""

    def places(self) -> list[bytes]:
        """The places of the patients."""
        return [one[0] for one in self.known]

    def columns(self, into: memoryview) -> list[list[memoryview]]:
        """All texts, an output each; nothing is read to `into`."""
        _, lines, some, rows, more, numbers, _ = zip(*self.known, strict=True)
        verdicts, table, prints = self.file.earlier.outputs()
        size = self.file.earlier.row_size
        begins = [size * number for number in numbers]
        return [
            _slices(verdicts, lines, map(add, lines, some)),
            _slices(table, rows, map(add, rows, more)),
            _slices(prints, begins, [begin + size for begin in begins]),
            *self._members(),
        ]

    def _members(self) -> Iterator[list[memoryview]]:
        words, width, start = memoryview(self.index).cast("Q"), self.file.size // 8, 0
        for output in range(STANDING, len(self.file.lengths)):
            before = self.before[output]
            ends = words[PLACE // 8 + output :: width].tolist()
            texts = memoryview(self.file._read(start + before, ends[-1] - before))
            stops = list(map(sub, ends, [before] * len(ends)))
            yield _slices(texts, [0, *stops[:-1]], stops)
            start += self.file.lengths[output]


def _slices(view: memoryview, starts: Sequence[int], stops: Sequence[int] | Iterator[int]) -> list[memoryview]:
    return list(map(view.__getitem__, map(slice, starts, stops)))
