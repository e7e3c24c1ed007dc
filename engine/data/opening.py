"""Files opened as what they hold, whatever their names say: plain, gzip, zstd, bzip2, or a zip of one file; unpacked in bounded memory."""

from __future__ import annotations

import bz2
import io
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import zstandard
from isal import isal_zlib

PACKED = (".gz", ".zst", ".bz2", ".zip")
"""What names of packed files end in."""
MOST_LINE = 64 << 20
"""Bytes of a line that is read; a resource is never so large, and decoding takes a multiple of it."""
MOST_DOCUMENT = 1 << 30
"""Bytes of a file that is one JSON document."""
_READ, _OUT = 1 << 18, 1 << 20
_SMALL, _LARGE = 1 << 8, 1 << 13
_BAD_GZIP: Any = isal_zlib.error
UNREADABLE: tuple[type[BaseException], ...] = (OSError, EOFError, _BAD_GZIP, zstandard.ZstdError, zipfile.BadZipFile)
"""What opening and reading raise."""


def packing_of(path: str) -> str | None:
    """How a file is packed, by its first bytes; None where it is plain. Raises OSError."""
    with io.FileIO(path, "rb") as stream:
        return _packing(stream.read(4) or b"")


def is_packed(text: bytes) -> bool:
    """Whether the text of a file is packed."""
    return _packing(text[:4]) is not None


def without_packing(name: str) -> str:
    """A name in small letters without what names of packed files end in."""
    for suffix in PACKED:
        name = name.removesuffix(suffix)
    return name


def _packing(head: bytes) -> str | None:
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head == b"\x28\xb5\x2f\xfd" or (head[1:] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F):
        return "zstd"
    if head.startswith(b"BZh"):
        return "bzip2"
    return "zip" if head in (b"PK\x03\x04", b"PK\x05\x06") else None


def open_file(path: str) -> BinaryIO:
    """A file as bytes, unpacked. Raises OSError, and zipfile.BadZipFile for a zip of several files."""
    stream: Any = io.FileIO(path, "rb")
    try:
        packing = _packing(stream.read(4) or b"")
        stream.seek(0)
        if packing == "zip":
            return _in_zip(stream)
    except BaseException:
        stream.close()
        raise
    if packing is not None:
        stream = Unpacked(stream, {"gzip": _Gzip, "zstd": _Zstd, "bzip2": _Bzip2}[packing])
    opened: BinaryIO = stream
    return opened


def _in_zip(stream: BinaryIO) -> BinaryIO:
    found = [one for one in zipfile.ZipFile(stream).infolist() if not one.is_dir()]
    if len(found) != 1:
        raise zipfile.BadZipFile(f"a zip of {len(found)} files is not read; unpack it")
    opened: Any = zipfile.ZipFile(stream).open(found[0])
    return opened  # type: ignore[no-any-return]


class _Gzip:
    """One member; `feed` gives at most _OUT bytes a time, `left` is what of the input was not looked at yet."""

    read = _READ

    def __init__(self) -> None:
        self._unpack = isal_zlib.decompressobj(wbits=31)
        self.left = b""

    def feed(self, packed: bytes) -> bytes:
        """More of the data, from more of what is packed."""
        data: bytes = self._unpack.decompress(packed, _OUT)
        self.left = self._unpack.unused_data if self._unpack.eof else self._unpack.unconsumed_tail
        return data

    @property
    def eof(self) -> bool:
        """Whether the member is complete."""
        return bool(self._unpack.eof)


class _Bzip2:
    read = _READ

    def __init__(self) -> None:
        self._unpack = bz2.BZ2Decompressor()
        self.left = b""

    def feed(self, packed: bytes) -> bytes:
        data = self._unpack.decompress(packed, _OUT)
        self.left = self._unpack.unused_data if self._unpack.eof else b""
        return data

    @property
    def eof(self) -> bool:
        return self._unpack.eof


class _Zstd:
    """As its library has no bound for what comes out, little is put in where little holds much."""

    def __init__(self) -> None:
        self._unpack = zstandard.ZstdDecompressor().decompressobj()
        self.read = _SMALL
        self.left: bytes | memoryview = b""

    def feed(self, packed: bytes | memoryview) -> bytes:
        held = memoryview(packed)
        part, rest = held[: self.read], held[self.read :]
        data = self._unpack.decompress(part)
        self.left = self._unpack.unused_data + bytes(rest) if self._unpack.eof else rest
        self.read = _SMALL if len(data) > 100 * len(part) else min(2 * self.read, _LARGE)
        return data

    @property
    def eof(self) -> bool:
        return self._unpack.eof


class Unpacked(io.RawIOBase):
    """A packed file (gzip members, zstd frames) unpacked; of one that is cut short all that can be had comes before the EOFError.

    `start` makes what unpacks one member.
    """

    def __init__(self, stream: io.FileIO, start: Callable[[], Any]) -> None:
        self._stream = stream
        self._start = start
        self._unpack: Any = None
        self._packed: bytes | memoryview = b""
        self._ready = memoryview(b"")
        self._end = False

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, into: Any) -> int:
        """Fill a buffer; 0 at the end. Raises UNREADABLE."""
        while not self._ready and not self._end:
            self._more()
        count = min(len(into), len(self._ready))
        into[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _more(self) -> None:
        unpack = self._unpack
        if unpack is None or unpack.eof:
            self._packed = self._packed or self._stream.read(_READ) or b""
            if not self._packed:
                self._end = True
                return
            if unpack is not None:
                # zeros behind a member, as tapes pad
                self._packed = bytes(self._packed).lstrip(b"\0")
                if not self._packed:
                    return
            unpack = self._unpack = self._start()
        data = unpack.feed(self._packed)
        if not data and not unpack.eof and not unpack.left:
            self._packed = self._stream.read(_READ) or b""
            if not self._packed:
                self._end = True
                raise EOFError("the packed file is cut short")
            data = unpack.feed(self._packed)
        self._packed = unpack.left
        self._ready = memoryview(data)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()


def lines_in(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """The lines of a file with the offset of each, without the line feed; None in the place of one that is longer than MOST_LINE. Raises UNREADABLE."""
    held, start, dropped = b"", 0, 0
    while chunk := stream.read(_OUT):
        parts = chunk.split(b"\n")
        parts[0] = held + parts[0]
        for part in parts[:-1]:
            yield start, None if dropped or len(part) > MOST_LINE else part
            start += dropped + len(part) + 1
            dropped = 0
        held = parts[-1]
        if dropped or len(held) > MOST_LINE:
            dropped, held = dropped + len(held), b""
    if held or dropped:
        yield start, None if dropped else held


def document_in(stream: BinaryIO) -> bytes | None:
    """All of a file, None where it is longer than MOST_DOCUMENT. Raises UNREADABLE."""
    parts = []
    left = MOST_DOCUMENT
    while left >= 0 and (part := stream.read(_OUT)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts) if left >= 0 else None
