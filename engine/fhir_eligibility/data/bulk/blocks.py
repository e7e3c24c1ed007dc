"""Blocks of the data - documents, and runs of lines - that a later run knows by the digest of their bytes, so that it neither searches nor decodes them again.

Of a block it is kept what reading it came to: counts, the ids in it as numbers, of each record that was kept a digest of the patient's id and one of the text, and where the records
of nobody stand. A block of which more would have to be told - problems, deletions, patients known by other names - is not kept, and is read each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from struct import Struct as Packing
from typing import Any

import msgspec
from msgspec import Struct

from fhir_eligibility.data.bulk.fingerprints import GROUP, Fingerprints
from fhir_eligibility.data.bulk.records import read_bytes

TARGET = 1 << 16
"""Bytes of a block of lines, about."""
LARGEST = 1 << 20
"""Bytes of a block of lines, at most: one with longer lines is read each time."""
PERSON = Packing(f"<{GROUP}sIi")
"""A Patient of a block: the digest of the id, where in the block it begins, and its entry (-1: none)."""
_END = Packing("<32sQQ8s")
_MAGIC = b"FEBLOCKS"


class Block(Struct, array_like=True, gc=False):
    """What a block came to. `kept` and `seen` are as in `Collected`, `groups` and `digests` tell, one after the other, of each record that was kept whose it is and what
    its text is, `persons` are its Patients. `first` is a number for its first line, by which it is looked for."""

    length: int
    digest: bytes
    first: int
    used: dict[str, int]
    passed: dict[str, int]
    lines: int
    blank: int
    empty: int
    kept: dict[str, bytes]
    seen: dict[str, bytes]
    groups: bytes
    digests: bytes
    persons: bytes
    nobodys: list[tuple[int, int, int, int, int, int]]
    """Its records of nobody: the entry, where each begins in the block and how long it is, the same of the address that its entry gives (0: none), and the home."""


class Found(Struct, array_like=True, gc=False):
    """A block of this run's data: where it stands, and its number among the blocks of the file in the earlier run, where it is one of them, else what it came to (empty: not kept)."""

    offset: int
    length: int
    earlier: int
    block: bytes


class FileBlocks(Struct, array_like=True, gc=False):
    """The blocks of a file, or of a part of it, in the order of the data."""

    file: int
    document: bool
    found: list[Found]


class Traced(Struct, array_like=True, gc=False):
    """The blocks of a piece of work. `others` are digests of the patients of whom something was kept that no block tells of, one after the other."""

    files: list[FileBlocks]
    others: bytes


encode = msgspec.msgpack.Encoder().encode
decode_block = msgspec.msgpack.Decoder(Block).decode
_decode_blocks = msgspec.msgpack.Decoder(list[Block]).decode
decode_traced = msgspec.msgpack.Decoder(Traced).decode


def in_parts(data: bytes, size: int) -> list[bytes]:
    """Digests of so many bytes that stand one after the other."""
    return [data[at : at + size] for at in range(0, len(data), size)]


class EarlierBlocks:
    """The blocks of an earlier run, file by file. It travels to worker processes, which open the file when they first ask."""

    def __init__(self, path: Path, fingerprints: Fingerprints) -> None:
        self._path = path
        self._fingerprints = fingerprints
        self._index: dict[bytes, tuple[int, bool, int, int]] | None = None
        self._last: tuple[bytes, tuple[bool, list[Block]] | None] = (b"", None)

    def __getstate__(self) -> tuple[Path, Fingerprints]:
        return self._path, self._fingerprints

    def __setstate__(self, state: tuple[Path, Fingerprints]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def key(self, path: str) -> bytes:
        """What a file is known by."""
        return self._fingerprints.of_text(path.encode("utf-8", "surrogateescape"))

    @property
    def index(self) -> Mapping[bytes, tuple[int, bool, int, int]]:
        """The files by what they are known by: their number, whether each is one document, and where its blocks stand. Raises OSError."""
        if self._index is None:
            size = self._path.stat().st_size
            _, _, length, _ = _END.unpack(read_bytes(self._path, size - _END.size, _END.size))
            found = msgspec.msgpack.decode(
                read_bytes(self._path, size - _END.size - length, length), type=list[tuple[bytes, bool, int, int]]
            )
            self._index = {key: (number, *more) for number, (key, *more) in enumerate(found)}  # type: ignore[misc]
        return self._index

    def of(self, path: str) -> tuple[bool, list[Block]] | None:
        """The blocks of a file, and whether it is one document; None where they are not known. Raises OSError."""
        key = self.key(path)
        if self._last[0] != key:
            self._last = key, self.of_key(key)
        return self._last[1]

    def of_key(self, key: bytes) -> tuple[bool, list[Block]] | None:
        """The same of what a file is known by."""
        told = self.index.get(key)
        if told is None:
            return None
        _, document, start, length = told
        return document, _decode_blocks(read_bytes(self._path, start, length))


def is_whole(path: Path, rows: str) -> bool:
    """Whether the blocks are as a run wrote them whose fingerprints have this sum. Raises OSError."""
    left = path.stat().st_size - _END.size
    if left < 0:
        return False
    found = sha256()
    with path.open("rb", buffering=0) as stream:
        while left and (part := stream.read(min(left, 1 << 20))):
            found.update(part)
            left -= len(part)
        end = stream.read(_END.size)
    found.update(rows.encode())
    return not left and len(end) == _END.size and _END.unpack(end)[::3] == (found.digest(), _MAGIC)


class BlockWriter:
    """Writes blocks into a stream, file by file. Raises OSError."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._sum = sha256()
        self._size = 0
        self._index: list[tuple[bytes, bool, int, int]] = []

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._sum.update(data)
        self._size += len(data)

    def add(self, key: bytes, document: bool, blocks: Sequence[bytes]) -> None:
        """Write the blocks of a file, each encoded."""
        start = self._size
        self._write(b"".join((b"\xdd", len(blocks).to_bytes(4, "big"), *blocks)))
        self._index.append((key, document, start, self._size - start))

    def finish(self, rows: str) -> None:
        """Write what stands behind the blocks; the sum of the fingerprints is given."""
        index = encode(self._index)
        self._write(index)
        self._sum.update(rows.encode())
        self._stream.write(_END.pack(self._sum.digest(), len(self._index), len(index), _MAGIC))
