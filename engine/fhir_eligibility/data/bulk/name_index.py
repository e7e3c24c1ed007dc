"""The names of all records of an export on disk, with the place of each record's text: made while pieces are read, asked while patients are judged.

An index is cut into parts by the hash of a name, so that no more than a part is sorted at a time. A part is a file of rows in the order of their hashes.
"""

from __future__ import annotations

import mmap
import os
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from struct import Struct
from typing import Protocol

import msgspec

from fhir_eligibility.data.bulk.naming import keys_of
from fhir_eligibility.data.bulk.records import ReadRecord, Shelf, SummedFile, key_of, name_of_group, read_bytes

MOST_PARTS = 256
_ROW = Struct(">QIQI")
"""Hash of the name, number of the piece, and where in its file the record stands and how long it is."""
_HASH = 8
_decode = msgspec.msgpack.Decoder(ReadRecord).decode
Place = tuple[int, int, int]
"""Number of the piece, first byte, length."""


class RecordIndex(Protocol):
    """Finds records by a name, of whatever kind (`fhir_eligibility.data.bulk.naming`)."""

    def count(self, name: str) -> int:
        """How many records there may be under a name: no fewer than there are."""

    def records(self, name: str) -> list[ReadRecord]:
        """The records under a name, and perhaps others."""


def parts_of(buckets: int) -> int:
    """Into how many parts an index is cut."""
    return min(buckets, MOST_PARTS)


class IndexedShelf(Shelf):
    """A shelf whose records can be found by name; with `persons` by group, and Patients by whom they are linked to."""

    __slots__ = ("_hashes", "_lengths", "_offsets", "_persons", "_sections", "_sizes")

    def __init__(self, buckets: int, persons: bool) -> None:
        super().__init__(buckets)
        self._persons = persons
        self._sizes = [0] * buckets
        self._hashes, self._sections = array("Q"), array("I")
        self._offsets, self._lengths = array("Q"), array("I")

    def add(self, record: ReadRecord) -> tuple[int, int]:
        """As of any shelf."""
        section, length = super().add(record)
        if name_of_group(record.group) is not None:
            return section, length  # it is found where it will be placed
        for name in keys_of(record, self._persons):
            self._hashes.append(key_of(name))
            self._sections.append(section)
            self._offsets.append(self._sizes[section])
            self._lengths.append(length)
        self._sizes[section] += length
        return section, length

    def write_names(self, out: SummedFile, piece: int, starts: Sequence[int]) -> int:
        """Write the rows of all names part by part, and then where each part begins and the last ends; gives where that stands.

        `starts` are the places of the first record of each section. Raises OSError.
        """
        parts: list[list[bytes]] = [[] for _ in range(parts_of(self.buckets))]
        pack, count = _ROW.pack, len(parts)
        for hashed, section, offset, length in zip(
            self._hashes, self._sections, self._offsets, self._lengths, strict=True
        ):
            parts[hashed % count].append(pack(hashed, piece, starts[section] + offset, length))
        ends = array("Q", [out.size])
        for rows in parts:
            out.write(b"".join(rows))
            ends.append(out.size)
        table = out.size
        out.write(ends.tobytes())
        return table


def put_in_order(rows: Iterable[bytes]) -> Iterator[bytes]:
    """The rows of a part as its file has them, of the rows that pieces wrote."""
    together = b"".join(rows)
    size = _ROW.size
    found = [together[at : at + size] for at in range(0, len(together), size)]
    found.sort()
    for first in range(0, len(found), 10_000):
        yield b"".join(found[first : first + 10_000])


class NameIndex:
    """An index on disk: the files of its parts, and those of the records of each piece. Raises OSError, ValueError where one is cut short."""

    def __init__(self, parts: Sequence[Path], records: Sequence[Path]) -> None:
        self._parts = parts
        self._records = records
        self._open: dict[int, memoryview] = {}

    def count(self, name: str) -> int:
        """How many records may bear a name: no fewer than do."""
        first, rows, hashed = self._first(name)
        size, last = _ROW.size, first
        while rows[last * size : last * size + _HASH] == hashed:
            last += 1
        return last - first

    def records(self, name: str) -> list[ReadRecord]:
        """The records under a name; others whose names have the same hash may be among them."""
        first, rows, hashed = self._first(name)
        size, found = _ROW.size, []
        while rows[first * size : first * size + _HASH] == hashed:
            _, piece, offset, length = _ROW.unpack(rows[first * size : (first + 1) * size])
            found.append(_decode(read_bytes(self._records[piece], offset, length)))
            first += 1
        return found

    def _first(self, name: str) -> tuple[int, memoryview, bytes]:
        """The number of the first row of a name, or of where it would be, the rows, and the hash as it is written."""
        hashed = key_of(name)
        part = hashed % len(self._parts)
        rows = self._open.get(part)
        if rows is None:
            rows = self._open[part] = _mapped(self._parts[part])
        written, size = hashed.to_bytes(_HASH, "big"), _ROW.size
        at = bisect_left(
            range(len(rows) // size), written, key=lambda row: rows[row * size : row * size + _HASH].tobytes()
        )
        return at, rows, written


def _mapped(path: Path) -> memoryview:
    with path.open("rb") as stream:
        if not os.fstat(stream.fileno()).st_size:
            return memoryview(b"")
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


class MemoryIndex:
    """The same over records that stay in memory."""

    def __init__(self, records: Iterable[ReadRecord], persons: bool) -> None:
        self._found: dict[str, list[ReadRecord]] = {}
        for record in records:
            for name in keys_of(record, persons):
                self._found.setdefault(name, []).append(record)

    def count(self, name: str) -> int:
        """How many records are under a name."""
        return len(self._found.get(name, ()))

    def records(self, name: str) -> list[ReadRecord]:
        """The records under a name."""
        return self._found.get(name, [])
