"""What is kept of an export between reading and judging it: resources as bytes, each with the patient it is about, in buckets.

A bucket holds all of some patients. `Shelf` takes records of one piece of work and writes them as one file whose sections are the
buckets; `read_bucket` gives the records of a bucket from all pieces of work, in the order of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import msgspec
from isal.isal_zlib import crc32
from stringzilla import hash as hash_of

Position = tuple[int, int, int]
"""Number of the file among the input, byte offset of the line (0 in a bundle's file), bundle entry or array item (-1: none)."""

ORPHANS = ""
"""The group of resources that are linked to no patient although they should be."""


class Record(msgspec.Struct, array_like=True, gc=False):
    """One resource as it was read.

    `group` is the logical id of the patient it is about (or a urn). `plain` tells that the record needs no closer look to be linked to that patient: it is
    known by its type and id, is not in error, and refers to the patient by type and id. `local` tells the same of an entry that refers to the Patient of its
    own bundle by a urn. `raw` is the text as it was read, or, with `compact`, as `FactDecoder.pack` made it; records that stay in memory are decoded, as
    `facts`, and have no text.
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
    compact: bool
    raw: bytes
    facts: Any = None

    @property
    def position(self) -> Position:
        """Where it stands in the data."""
        return self.file, self.offset, self.entry


_encode = msgspec.msgpack.Encoder().encode
_decode_all = msgspec.msgpack.Decoder(list[Record]).decode


number_of: Callable[[bytes], int] = hash_of
"""A number for an id, the same in every process and run: 64 bits."""


def key_of(identifier: str) -> int:
    """The same for an id as text."""
    return number_of(identifier.encode("utf-8", "surrogatepass"))


class Shelf:
    """The records of one piece of work by bucket, as bytes."""

    __slots__ = ("buckets", "sections")

    def __init__(self, buckets: int) -> None:
        self.buckets = buckets
        self.sections: list[list[bytes]] = [[] for _ in range(buckets)]

    def add(self, record: Record) -> None:
        """Take in a record."""
        self.sections[crc32(record.group.encode("utf-8", "surrogatepass")) % self.buckets].append(_encode(record))

    def write(self, path: Path) -> tuple[list[tuple[int, int]], int]:
        """Write the sections one after the other; gives (offset, length) of each, and the CRC-32 of all. Raises OSError."""
        spans = []
        position = total = 0
        with path.open("wb", buffering=0) as stream:
            for section in self.sections:
                # an array of records, as MessagePack has it
                data = b"".join((b"\xdd", len(section).to_bytes(4, "big"), *section)) if section else b""
                total = crc32(data, total)
                write_all(stream, data)
                spans.append((position, len(data)))
                position += len(data)
        return spans, total


def write_all(stream: FileIO, data: bytes) -> None:
    """Write to a file that is not buffered. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


class MemoryShelf:
    """Records that stay in memory."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.add = self.records.append


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
    yield from _decode_all(data)
