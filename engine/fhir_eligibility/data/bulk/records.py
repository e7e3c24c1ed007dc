"""What is kept of an export between reading and judging it: resources as bytes, each with the patient it is about, in buckets.

A bucket holds all of some patients. `Shelf` takes records of one piece of work and writes them as one file whose sections are the buckets; `read_section`
gives the records of a bucket from one of these, in the order of the data.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

import msgspec
from isal.isal_zlib import crc32
from stringzilla import hash as hash_of

from fhir_eligibility.data.records.identity import NO_HOME, address_of, stands_alone

Position = tuple[int, int, int]
"""Number of the file among the input, byte offset of the line (0 in a bundle's file), bundle entry or array item (-1: none)."""

_ORPHAN, _SEVERAL, _NAMED = "\0", "\1", "\2"
# What groups begin with that are none of a patient.


def orphan_group(kind: str, identifier: str | None, place: Position, *, several: bool = False) -> str:
    """The group of a resource that is linked to no patient although it should be; of `several` whose patient is called as several patients are."""
    return f"{_SEVERAL if several else _ORPHAN}{kind}/{identifier if identifier is not None else place}"


def is_orphan(group: str) -> bool:
    """Whether a group is that of a resource that is linked to no patient although it should be."""
    return group.startswith((_ORPHAN, _SEVERAL))


def called_as_several(group: str) -> bool:
    """Whether the patient of a resource that is linked to none is called as several patients are."""
    return group.startswith(_SEVERAL)


def name_group(name: str) -> str:
    """The group of records whose patient is called by a name that is not an id (`fhir_eligibility.data.records.subjects`), until the whole export tells who that is."""
    return _NAMED + name


def name_of_group(group: str) -> str | None:
    """The name that such a group is called by, None for any other group."""
    return group[1:] if group.startswith(_NAMED) else None


class ReadRecord(msgspec.Struct, array_like=True, gc=False):
    """One resource as it was read.

    `group` is the logical id of the patient it is about (or a urn). `plain` tells that the record needs no closer look to be linked to that patient: it is
    known by its type and id, is not in error, and refers to the patient by type and id. `local` tells the same of an entry that refers to the Patient of its
    own bundle by a urn. `raw` is the text as it was read, or, with `compact`, as `FactDecoder.pack` made it; records that stay in memory are decoded, as
    `facts`, and have no text. `home` is the bundle of one patient in which it stands (`fhir_eligibility.data.records.identity`); `own` tells that it is about nobody, and is
    kept for the patient of that bundle. `condition` is as in `Loaded`,
    `digest` as `fhir_eligibility.data.bulk.fingerprints` makes it of the text as it was read, where it is kept, and `regular`
    then tells that the text begins with its type and id.
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
    home: int = NO_HOME
    own: bool = False
    condition: str | None = None
    digest: bytes | None = None
    regular: bool = False

    @property
    def position(self) -> Position:
        """Where it stands in the data."""
        return self.file, self.offset, self.entry

    @property
    def apart(self) -> bool:
        """Whether it is another thing than what bears the same id in other bundles."""
        return stands_alone(self.home) and self.kind != "Patient" and address_of(self.full_url) is None


_ARRAY = b"\xdd"
_encode = msgspec.msgpack.Encoder().encode
decode_records = msgspec.msgpack.Decoder(list[ReadRecord]).decode


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

    def add(self, record: ReadRecord) -> tuple[int, int]:
        """Take in a record; gives the number of its section and how many bytes it is."""
        return self.add_to(bucket_of(record.group, self.buckets), record)

    def add_to(self, bucket: int, record: ReadRecord) -> tuple[int, int]:
        """The same in a bucket that its group does not tell."""
        text = _encode(record)
        self.sections[bucket].append(text)
        return bucket, len(text)

    def write(self, out: SummedFile) -> tuple[int, list[int]]:
        """Write the sections one after the other, and then where each begins and the last ends.

        Gives where that stands, and where the first record of each section does. Raises OSError.
        """
        starts = array("Q", [out.size])
        for section in self.sections:
            # an array of records, as MessagePack has it
            if section:
                out.write(b"".join((_ARRAY, len(section).to_bytes(4, "big"), *section)))
            starts.append(out.size)
        table = out.size
        out.write(starts.tobytes())
        return table, [start + len(_ARRAY) + 4 for start in starts[:-1]]


class SummedFile:
    """A file that is written from its beginning to its end, with its size and its CRC-32 so far. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self.size = 0
        self.sum = 0
        self._stream: FileIO = path.open("wb", buffering=0)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of some data."""
        self.sum = crc32(data, self.sum)
        self.size += len(data)
        view = memoryview(data)
        while view:
            view = view[self._stream.write(view) :]

    def __enter__(self) -> SummedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


class AnyShelf(Protocol):
    """Takes records."""

    def add(self, record: ReadRecord) -> Any:
        """Take in a record."""


class MemoryShelf:
    """Records that stay in memory."""

    def __init__(self) -> None:
        self.records: list[ReadRecord] = []
        self.add = self.records.append


def read_section(path: Path, table: int, bucket: int) -> list[ReadRecord]:
    """The records of one section of a file that `Shelf.write` made; `table` is where it says at which bytes sections begin.

    Raises OSError and, for a file cut short, ValueError.
    """
    data = section_bytes(path, table, bucket)
    return decode_records(data) if data else []


def section_bytes(path: Path, table: int, number: int) -> bytes:
    """One section of a file that ends each at a place that a table tells; `table` is where that stands. Raises as `read_section`."""
    handle = os.open(path, os.O_RDONLY)
    try:
        start, stop = _bounds(os.pread(handle, 16, table + 8 * number), path)
        data = os.pread(handle, stop - start, start)
    finally:
        os.close(handle)
    if len(data) != stop - start:
        raise ValueError(f"{path} is cut short")
    return data


def read_bytes(path: Path, start: int, length: int) -> bytes:
    """Some bytes of a file. Raises as `read_section`."""
    handle = os.open(path, os.O_RDONLY)
    try:
        data = os.pread(handle, length, start)
    finally:
        os.close(handle)
    if len(data) != length:
        raise ValueError(f"{path} is cut short")
    return data


def section_size(path: Path, table: int, bucket: int) -> int:
    """Bytes of a section. Raises as `read_section`."""
    handle = os.open(path, os.O_RDONLY)
    try:
        start, stop = _bounds(os.pread(handle, 16, table + 8 * bucket), path)
    finally:
        os.close(handle)
    return stop - start


def _bounds(data: bytes, path: Path) -> tuple[int, int]:
    if len(data) != 16:
        raise ValueError(f"{path} is cut short")
    start, stop = memoryview(data).cast("Q")
    return start, stop


def bucket_of(group: str, buckets: int) -> int:
    """The bucket that the records of a patient are in."""
    return crc32(group.encode("utf-8", "surrogatepass")) % buckets


def batch_of(group: str, buckets: int, batches: int) -> int:
    """The batch in which a patient of a bucket is looked at, where a bucket is too large to be looked at in one."""
    return crc32(group.encode("utf-8", "surrogatepass")) // buckets % batches
