"""A file of judged patients in the order of the data: the texts that go into the outputs, and an index that says where those of a patient stand.

Of every patient there are as many texts as the run has outputs that go by patient (lines of verdicts, rows, members of Groups), one after the other. The
index has an entry a patient: its place in the data, in bytes that sort as places do, and for each output how long its texts are from the first patient to
this one. So files that were judged apart can be cut at any place, and it is known beforehand where the texts between two places go.
"""

from __future__ import annotations

import heapq
import os
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from operator import sub
from pathlib import Path
from struct import Struct as Packing
from typing import NamedTuple, Protocol

from msgspec import Struct

from fhir_eligibility.data.bulk.records import Position, SummedFile

AT_ONCE = 1 << 18
PLACE = 16
TOGETHER = 1000
"""Texts that are written in one step; systems allow for 1024."""
SAMPLES = 8
"""Places that are looked at in each range, about: so much are ranges larger or smaller than they should be."""


class Entry(NamedTuple):
    """One patient."""

    place: bytes
    texts: Sequence[bytes | memoryview]


def place_of(position: Position) -> bytes:
    """A place in the data as bytes that sort as places do."""
    file, offset, entry = position
    return b"%b%b%b" % (file.to_bytes(4, "big"), offset.to_bytes(8, "big"), (entry + 1).to_bytes(4, "big"))


class JudgedWriter:
    """Writes one file; patients come in order."""

    def __init__(self, out: SummedFile, texts: int) -> None:
        self.patients = 0
        self.lengths = [0] * texts
        """How long the texts are, by output."""
        self._out = out
        self._waiting: list[bytes | memoryview] = []
        self._held = 0
        self._index = bytearray()
        self._pack = Packing(f"{texts}Q").pack

    def add(self, entry: Entry) -> None:
        """Take in a patient. Raises OSError."""
        lengths = self.lengths
        for number, text in enumerate(entry.texts):
            size = len(text)
            lengths[number] += size
            self._held += size
        self._waiting += entry.texts
        self._index += entry.place
        self._index += self._pack(*lengths)
        self.patients += 1
        if self._held > AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        self._out.write(b"".join(self._waiting))
        self._waiting.clear()
        self._held = 0

    def finish(self) -> None:
        """Write the index. Raises OSError."""
        self._flush()
        self._out.write(self._index)


class JudgedFile(Struct, frozen=True):
    """A file that was written: its patients, and how long their texts are by output. Raises ValueError where it is cut short, OSError."""

    path: Path
    patients: int
    lengths: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of an entry of the index."""
        return PLACE + 8 * len(self.lengths)

    def _read(self, handle: int, start: int, length: int) -> bytes:
        data = os.pread(handle, length, start)
        if len(data) != length:
            raise ValueError(f"{self.path} is cut short; run again with --resume")
        return data

    def index(self) -> bytes:
        """All of the index."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            return self._read(handle, sum(self.lengths), self.patients * self.size)
        finally:
            os.close(handle)

    def stretch(self, first: int, last: int) -> JudgedStretch:
        """Where the texts of the patients from a number on and before another stand."""
        outputs, size, base = len(self.lengths), self.size, sum(self.lengths)
        handle = os.open(self.path, os.O_RDONLY)
        try:
            before = (0,) * outputs
            if first:
                before = _ends(self._read(handle, base + (first - 1) * size + PLACE, 8 * outputs), outputs)
            index = self._read(handle, base + first * size, (last - first) * size)
        finally:
            os.close(handle)
        start = sum(before)
        return JudgedStretch(self, start, sum(_ends(index[-8 * outputs :], outputs)) - start, before, index)

    def entries(self, together: int) -> Iterator[Entry]:
        """All patients; so many bytes of texts are read at a time, about."""
        if self.patients:
            step = max(1, together * self.patients // max(1, sum(self.lengths)))
            for first in range(0, self.patients, step):
                stretch = self.stretch(first, min(first + step, self.patients))
                texts, outputs = stretch.texts(memoryview(bytearray(stretch.length))), len(self.lengths)
                for number, place in enumerate(stretch.places()):
                    yield Entry(place, texts[number * outputs : number * outputs + outputs])


class JudgedStretch(Struct, frozen=True):
    """Texts that stand together in a file, with their part of the index and how long the texts before are."""

    file: JudgedFile
    start: int
    length: int
    before: tuple[int, ...]
    index: bytes

    def texts(self, into: memoryview) -> list[memoryview]:
        """All texts, patient by patient; `into` is where they are read to, so long as they are."""
        with self.file.path.open("rb", buffering=0) as stream:
            stream.seek(self.start)
            left = into
            while left:
                count = stream.readinto(left)
                if not count:
                    raise ValueError(f"{self.file.path} is cut short; run again with --resume")
                left = left[count:]
        words, width = memoryview(self.index).cast("Q"), self.file.size // 8
        lengths = []
        for output, before in enumerate(self.before, start=PLACE // 8):
            ends = words[output::width].tolist()
            lengths.append(map(sub, ends, [before, *ends[:-1]]))
        stops = list(accumulate(chain.from_iterable(zip(*lengths, strict=True)), initial=0))
        return list(map(into.__getitem__, map(slice, stops, stops[1:])))

    def columns(self, into: memoryview) -> list[list[memoryview]]:
        """The same, an output each."""
        found, outputs = self.texts(into), len(self.before)
        return [found[output::outputs] for output in range(outputs)]

    def places(self) -> list[bytes]:
        """The places of the patients."""
        index, width = self.index, self.file.size
        return [index[at : at + PLACE] for at in range(0, len(index), width)]


class OrderedStretch(Protocol):
    """Texts of patients who follow each other."""

    @property
    def length(self) -> int:
        """Bytes that `columns` reads to memory."""

    def places(self) -> list[bytes]:
        """The places of the patients."""

    def columns(self, into: memoryview) -> list[list[memoryview]]:
        """All texts, an output each."""


class OrderedFile(Protocol):
    """A file of patients in the order of the data, with an index as that of a `JudgedFile`."""

    @property
    def patients(self) -> int:
        """How many there are."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """How long their texts are, by output."""

    @property
    def size(self) -> int:
        """Bytes of an entry of the index."""

    def index(self) -> bytes:
        """All of the index."""

    def stretch(self, first: int, last: int) -> OrderedStretch:
        """Where the texts of the patients from a number on and before another stand."""


def _ends(data: bytes, outputs: int) -> tuple[int, ...]:
    return Packing(f"{outputs}Q").unpack(data)


def merge(files: Sequence[JudgedFile], memory: int) -> Iterator[Entry]:
    """The patients of several files in order; so many bytes of texts are held, about."""
    return heapq.merge(
        *(file.entries(max(memory // len(files), 1 << 14)) for file in files), key=lambda entry: entry.place
    )


# -- putting files in order, range by range


class Range(Struct, frozen=True):
    """The patients between two places: which of each file (first and last but one, a pair a file), and where their texts go in each output."""

    cuts: array[int]
    offsets: tuple[int, ...]
    patients: int


def ranges_of(files: Sequence[OrderedFile], size: int) -> list[Range]:
    """All patients in ranges of about `size` bytes, in order."""
    if not any(file.patients for file in files):
        return []
    bounds = _bounds(files, size)
    # how many patients of each file come before each bound, and the lengths of their texts, over all files
    cuts = [array("L") for _ in files]
    outputs = len(files[0].lengths)
    offsets = [[0] * outputs for _ in range(len(bounds) + 2)]
    for file, places in zip(files, cuts, strict=True):
        index, width = file.index(), file.size
        places.append(0)
        for number, bound in enumerate(bounds, start=1):
            at = bisect_left(
                range(file.patients), bound, lo=places[-1], key=lambda i: index[i * width : i * width + PLACE]
            )
            places.append(at)
            if at:
                for output, end in enumerate(_ends(index[(at - 1) * width + PLACE : at * width], outputs)):
                    offsets[number][output] += end
        places.append(file.patients)
    out = []
    for number in range(len(bounds) + 1):
        mine = array("L")
        for places in cuts:
            mine.extend((places[number], places[number + 1]))
        patients = sum(mine[1::2]) - sum(mine[::2])
        if patients:
            out.append(Range(mine, tuple(offsets[number]), patients))
    return out


def _bounds(files: Sequence[OrderedFile], size: int) -> list[bytes]:
    """Places that part all patients into ranges of about so many bytes, told from some of them."""
    every = max(1, size // SAMPLES)
    seen: list[tuple[bytes, int]] = []
    for place, file in enumerate(files):
        total = sum(file.lengths)
        count = min(file.patients, -(-total // every) or 1)
        if count:
            index, width = file.index(), file.size
            for number in range(count):
                # not the same places in every file, where patients are spread evenly
                at = (number * len(files) + place) * file.patients // (count * len(files))
                seen.append((index[at * width : at * width + PLACE], total // count))
    seen.sort()
    out: list[bytes] = []
    held = 0
    for bound, weight in seen:
        if held >= size:
            if not out or bound > out[-1]:
                out.append(bound)
            held = 0
        held += weight
    return out


class RangeWriter:
    """Writes ranges of the patients of some files into outputs, one after the other, into memory that is taken once."""

    def __init__(self, files: Sequence[OrderedFile]) -> None:
        self.files = files
        self._buffer = bytearray()

    def columns(self, cuts: Sequence[int]) -> list[list[memoryview]]:
        """The texts of a range in order, an output each. They stand in memory that the next range takes. Raises OSError, ValueError."""
        stretches = [
            file.stretch(first, last)
            for file, first, last in zip(self.files, cuts[::2], cuts[1::2], strict=True)
            if first < last
        ]
        length = sum(one.length for one in stretches)
        if len(self._buffer) < length:
            self._buffer = bytearray(length)
        view = memoryview(self._buffer)
        places: list[bytes] = []
        found: list[list[memoryview]] = [[] for _ in self.files[0].lengths]
        at = 0
        for stretch in stretches:
            places += stretch.places()
            for column, texts in zip(found, stretch.columns(view[at : at + stretch.length]), strict=True):
                column += texts
            at += stretch.length
        order = sorted(range(len(places)), key=places.__getitem__)
        return [list(map(column.__getitem__, order)) for column in found]

    def write(self, one: Range, outputs: Sequence[tuple[Path, int]]) -> None:
        """Write a range; outputs are paths and where in them all texts begin. Raises OSError, ValueError."""
        for (path, begin), offset, texts in zip(outputs, one.offsets, self.columns(one.cuts), strict=True):
            handle = os.open(path, os.O_WRONLY)
            try:
                _write_at(handle, texts, begin + offset)
            finally:
                os.close(handle)


def _write_at(handle: int, texts: Sequence[memoryview], offset: int) -> None:
    for first in range(0, len(texts), TOGETHER):
        some = texts[first : first + TOGETHER]
        length = sum(map(len, some))
        # a system without it is given them in one piece
        written = os.pwritev(handle, some, offset) if length and hasattr(os, "pwritev") else 0
        if written < length:
            left = memoryview(b"".join(some))[written:]
            while left:
                left = left[os.pwrite(handle, left, offset + length - len(left)) :]
        offset += length
