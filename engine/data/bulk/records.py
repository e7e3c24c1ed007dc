"""What is kept of an export between reading and judging it: resources as bytes, each with the patient it is about, in buckets.

A bucket holds all of some patients. `Shelf` takes records of one piece of work and keeps them in memory, or writes them as one file whose sections are the
buckets; `read_bucket` gives the records of a bucket from all pieces of work, in the order of the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from isal.isal_zlib import crc32

Position = tuple[int, int, int]
"""Number of the file among the input, byte offset of the line (0 in a bundle's file), bundle entry or array item (-1: none)."""

ORPHANS = ""
"""The group of resources that are linked to no patient although they should be."""


class Record(msgspec.Struct, array_like=True, gc=False):
    """One resource as it was read.

    `group` is the logical id of the patient it is about (or a urn). `plain` tells that the record needs no closer look to be linked to that patient: it is
    known by its type and id, is not in error, and refers to the patient by type and id. `local` tells the same of an entry that refers to the Patient of its
    own bundle by a urn.
    """

    group: str
    file: int
    offset: int
    entry: int
    kind: str
    id: str | None
    full_url: str | None
    plain: bool
    local: bool
    raw: bytes

    @property
    def position(self) -> Position:
        """Where it stands in the data."""
        return self.file, self.offset, self.entry


_encode = msgspec.msgpack.Encoder().encode
_decode_one = msgspec.msgpack.Decoder(Record).decode


def key_of(identifier: str) -> int:
    """A number for an id, the same in every process and run: 61 bits."""
    return hash(int.from_bytes(identifier.encode("utf-8", "surrogatepass"), "big"))


class Shelf:
    """The records of one piece of work by bucket."""

    __slots__ = ("buckets", "bytes", "sections")

    def __init__(self, buckets: int) -> None:
        self.buckets = buckets
        self.sections: list[list[bytes]] = [[] for _ in range(buckets)]
        self.bytes = 0

    def add(self, record: Record) -> None:
        """Take in a record."""
        packed = _encode(record)
        self.bytes += len(packed)
        group = record.group
        self.sections[key_of(group) % self.buckets if self.buckets > 1 else 0].append(packed)

    def write(self, path: Path) -> tuple[list[tuple[int, int]], int]:
        """Write the sections one after the other; gives (offset, length) of each, and the CRC-32 of all. Raises OSError."""
        spans = []
        position = total = 0
        with path.open("wb") as stream:
            for section in self.sections:
                start = position
                for packed in section:
                    head = len(packed).to_bytes(4, "little")
                    total = crc32(packed, crc32(head, total))
                    stream.write(head)
                    stream.write(packed)
                    position += 4 + len(packed)
                spans.append((start, position - start))
        return spans, total

    def bucket(self, number: int) -> Iterator[Record]:
        """The records of a bucket kept in memory."""
        return map(_decode_one, self.sections[number])


def read_section(path: Path, span: tuple[int, int]) -> Iterator[Record]:
    """The records of one section of a file that `Shelf.write` made. Raises OSError and ValueError for a file cut short."""
    offset, length = span
    if not length:
        return
    with path.open("rb") as stream:
        stream.seek(offset)
        data = stream.read(length)
    if len(data) != length:
        raise ValueError(f"{path} is cut short")
    position = 0
    while position < length:
        size = int.from_bytes(data[position : position + 4], "little")
        position += 4
        yield _decode_one(data[position : position + size])
        position += size
