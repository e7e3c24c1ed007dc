"""Blocks of the data - documents, and runs of lines - that a later run knows by the digest of their bytes, so that it neither searches nor decodes them again.

Of a block it is kept what reading it came to: counts, the ids in it as numbers, of each record that was kept a digest of the patient's id and one of the text, and where the records
of nobody stand. A block of which more would have to be told - problems, deletions, patients known by other names - is not kept, and is read each time.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from struct import Struct as Packing
from typing import Any

import msgspec
from msgspec import Struct

from fhir_eligibility.data.bulk.block_digests import PLAIN, SALT, is_known
from fhir_eligibility.data.bulk.fingerprints import GROUP, Fingerprints

TARGET = 1 << 16
"""Bytes of a block of lines, about."""
LARGEST = 1 << 20
"""Bytes of a block of lines, at most: one with longer lines is read each time."""
PERSON = Packing(f"<{GROUP}sIi")
"""A Patient of a block: the digest of the id, where in the block it begins, and its entry (-1: none)."""
_END = Packing(f"<32sQQ{SALT}s8s")
_MAGIC = b"FEBLOCK2"


class Block(Struct, array_like=True, gc=False):
    """What a block came to. `kept` and `seen` are as in `Collected`, `counts` are numbers in it, `groups` and `digests` tell, one after the other, of each record that was kept whose it is and what
    its text is, `persons` are its Patients. `first` is a number for its first line, by which it is looked for."""

    length: int
    groups: bytes
    digests: bytes
    persons: bytes
    digest: bytes
    first: int
    used: dict[str, int]
    passed: dict[str, int]
    counts: tuple[int, ...]
    kept: dict[str, bytes]
    seen: dict[str, bytes]
    nobodys: list[tuple[int, int, int, int, int, int, int]]
    """Its records of nobody: the place in the block and the entry, where the text of each begins and how long it is, the same of the address that its entry gives (0: none), and the home."""


class BlockPatients(Struct, array_like=True, gc=False):
    """The same as far as it tells of patients."""

    length: int
    groups: bytes
    digests: bytes
    persons: bytes


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
    """The blocks of a piece of work. `new` are digests of the patients of whom something was kept that is not compared line by line, `loose` of those of whom something was kept
    that no block tells of, one after the other."""

    files: list[FileBlocks]
    new: bytes
    loose: bytes


encode = msgspec.msgpack.Encoder().encode
decode_patients = msgspec.msgpack.Decoder(BlockPatients).decode
_decode_blocks = msgspec.msgpack.Decoder(list[Block]).decode
_decode_patients = msgspec.msgpack.Decoder(list[BlockPatients]).decode
_decode_raw = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_index = msgspec.msgpack.Decoder(list[tuple[bytes, bool, int, int]]).decode
decode_traced = msgspec.msgpack.Decoder(Traced).decode


def in_parts(data: bytes, size: int) -> list[bytes]:
    """Digests of so many bytes that stand one after the other."""
    return [data[at : at + size] for at in range(0, len(data), size)]


class EarlierBlocks:
    """The blocks of an earlier run, file by file. It travels to worker processes, which open the file when they first ask."""

    def __init__(self, path: Path, fingerprints: Fingerprints) -> None:
        """Raises OSError."""
        self._path = path
        self._fingerprints = fingerprints
        self._stamp = stamp_of(os.stat(path))
        self._begin()

    def _begin(self) -> None:
        self._index: dict[bytes, tuple[int, bool, int, int]] | None = None
        self._keys: dict[str, bytes] = {}
        self._loose = memoryview(b"")
        self._salt = PLAIN
        self._view = memoryview(b"")
        self._last: tuple[str, tuple[bool, list[Block]] | None] = ("", None)

    def __getstate__(self) -> tuple[object, ...]:
        return self._path, self._fingerprints, self._stamp

    def __setstate__(self, state: tuple[object, ...]) -> None:
        self._path, self._fingerprints, self._stamp = state  # type: ignore[assignment]
        self._begin()

    def key(self, path: str) -> bytes:
        """What a file is known by."""
        found = self._keys.get(path)
        if found is None:
            found = self._keys[path] = self._fingerprints.of_path(path)
        return found

    @property
    def index(self) -> Mapping[bytes, tuple[int, bool, int, int]]:
        """The files by what they are known by: their number, whether each is one document, and where its blocks stand. Raises OSError."""
        if self._index is None:
            with self._path.open("rb") as stream:
                if stamp_of(os.fstat(stream.fileno())) != self._stamp:
                    raise OSError(f"{self._path} was changed while the run that goes by it was under way; run again")
                self._view = view = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
            _, length, loose, self._salt, _ = _END.unpack(view[-_END.size :])
            end = len(view) - _END.size - loose
            self._loose = view[end : end + loose]
            found = _decode_index(view[end - length : end])
            self._index = {
                key: (number, document, start, size) for number, (key, document, start, size) in enumerate(found)
            }
        return self._index

    def of(self, path: str) -> tuple[bool, list[Block]] | None:
        """The blocks of a file, and whether it is one document; None where they are not known. Raises OSError."""
        if self._last[0] != path:
            entry = self.index.get(self.key(path))
            found = None
            if entry is not None:
                _, document, start, length = entry
                found = document, _decode_blocks(self._view[start : start + length])
            self._last = path, found
        return self._last[1]

    @property
    def salt(self) -> bytes:
        """The secret under which the digests of the blocks were made. Raises OSError."""
        return self._salt if self.index is not None else PLAIN

    @property
    def loose(self) -> bytes:
        """Digests of the patients of whom there was something that no block tells of, one after the other. Raises OSError."""
        return bytes(self._loose) if self.index else b""

    def patients_of(self, key: bytes) -> tuple[bool, list[BlockPatients]]:
        """The same of what a file is known by, as far as blocks tell of patients; none where it is not known. Raises OSError."""
        entry = self.index.get(key)
        if entry is None:
            return False, []
        _, document, start, length = entry
        return document, _decode_patients(self._view[start : start + length])

    def as_written(self, key: bytes) -> Sequence[bytes | memoryview]:
        """The blocks of what a file is known by, which it is, each encoded. Raises OSError."""
        _, _, start, length = self.index[key]
        return [memoryview(one) for one in _decode_raw(self._view[start : start + length])]


def stamp_of(found: os.stat_result) -> tuple[int, int, int]:
    """What tells that a file is still the one that was looked at."""
    return found.st_ino, found.st_size, found.st_mtime_ns


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
    if left or len(end) < _END.size:
        return False
    digest, length, loose, salt, magic = _END.unpack(end)
    found.update(f"{rows} {length} {loose} {salt.hex()}".encode())
    return bool(magic == _MAGIC and digest == found.digest() and is_known(salt))


class BlockWriter:
    """Writes blocks into a stream, file by file. Raises OSError."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._sum = sha256()
        self._size = 0
        self._index: list[tuple[bytes, bool, int, int]] = []
        self.loose: set[bytes] = set()
        """Digests of the patients of whom there is something that no block tells of."""
        self.salt = PLAIN
        """The secret under which the digests of the blocks were made."""

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._sum.update(data)
        self._size += len(data)

    def add(self, key: bytes, document: bool, blocks: Sequence[bytes | memoryview]) -> None:
        """Write the blocks of a file, each encoded."""
        start = self._size
        self._write(b"".join((b"\xdd", len(blocks).to_bytes(4, "big"), *blocks)))
        self._index.append((key, document, start, self._size - start))

    def finish(self, rows: str) -> None:
        """Write what stands behind the blocks; the sum of the fingerprints is given."""
        index, loose = encode(self._index), b"".join(sorted(self.loose))
        self._write(index)
        self._write(loose)
        self._sum.update(f"{rows} {len(index)} {len(loose)} {self.salt.hex()}".encode())
        self._stream.write(_END.pack(self._sum.digest(), len(index), len(loose), self.salt, _MAGIC))
