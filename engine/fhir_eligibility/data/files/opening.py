"""Files opened as what they hold, whatever their names say: plain, gzip, zstd, bzip2, or in a zip; unpacked in bounded memory."""

from __future__ import annotations

import bz2
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

import zstandard
from isal import isal_zlib
from msgspec import Struct

from fhir_eligibility.data.files.zips import open_in_zip, place_in_zip

PACKED = (".gz", ".zst", ".bz2", ".zip")
"""What names of packed files end in."""
MOST_LINE = 64 << 20
"""Bytes of a line that is read; a resource is never so large, and decoding takes a multiple of it."""
MOST_DOCUMENT = 1 << 30
"""Bytes of a file that is one JSON document."""
BLOCK, HEAD = 1 << 20, 1 << 16
"""Bytes of a file that is read at once, and of the beginning of a larger one."""
_READ, _OUT = 1 << 18, 1 << 20
_SMALL, _LARGE = 1 << 8, 1 << 13
_BAD_GZIP: Any = isal_zlib.error
UNREADABLE: tuple[type[BaseException], ...] = (
    OSError,
    EOFError,
    _BAD_GZIP,
    zstandard.ZstdError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What opening and reading raise."""


def packing_of(path: str) -> str | None:
    """How a file is packed, by its first bytes (`gzip`, `zstd`, `bzip2`, `zip`); None where it is plain. Raises OSError."""
    return packing(beginning_of(path, 4))


def beginning_of(path: str, size: int) -> bytes:
    """The first bytes of a file as it is stored. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        return os.read(handle, size)
    finally:
        os.close(handle)


def packing(beginning: bytes) -> str | None:
    """How a file is packed that begins so (4 bytes at the least); None where it is plain."""
    head = beginning[:4]
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head == b"\x28\xb5\x2f\xfd" or (head[1:] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F):
        return "zstd"
    if head.startswith(b"BZh"):
        return "bzip2"
    return "zip" if head in (b"PK\x03\x04", b"PK\x05\x06") else None


def without_packing(name: str) -> str:
    """A name in small letters without what names of packed files end in."""
    for suffix in PACKED:
        name = name.removesuffix(suffix)
    return name


def open_file(path: str) -> BinaryIO:
    """A file as bytes, unpacked; it may be one in a zip (`a.zip!/b.ndjson`). Raises OSError, and zipfile.BadZipFile for a zip of several files."""
    stream: Any
    try:
        stream = io.FileIO(path, "rb")
    except (FileNotFoundError, NotADirectoryError):
        place = place_in_zip(path)
        if place is None:
            raise
        return _unpacked(open_in_zip(*place))
    try:
        found = packing(stream.read(4) or b"")
        stream.seek(0)
    except BaseException:
        stream.close()
        raise
    if found == "zip":
        stream.close()
        return _unpacked(open_in_zip(path))
    opened: Any = stream if found is None else Unpacked(stream, _UNPACK[found])
    return opened  # type: ignore[no-any-return]


def _unpacked(stream: BinaryIO) -> BinaryIO:
    """A file in a zip, unpacked where it is packed itself. Raises UNREADABLE."""
    member: Any = _Member(stream)
    found = packing(member.beginning)
    if found == "zip":
        raise zipfile.BadZipFile("a zip in a zip is not read; unpack the outer one")
    opened: Any = member if found is None else Unpacked(member, _UNPACK[found])
    return opened  # type: ignore[no-any-return]


class _Member(io.RawIOBase):
    """A file in a zip. It is read in parts of one size, however much is asked for, so that of a damaged one all ways of reading have the same."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._ready = memoryview(stream.read(_READ))
        self.beginning = bytes(self._ready[:4])

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, into: Any) -> int:
        """Fill a buffer; 0 at the end. Raises UNREADABLE."""
        if not self._ready:
            self._ready = memoryview(self._stream.read(_READ))
        count = min(len(into), len(self._ready))
        into[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()


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


_UNPACK: dict[str, Callable[[], Any]] = {"gzip": _Gzip, "zstd": _Zstd, "bzip2": _Bzip2}


class Unpacked(io.RawIOBase):
    """A packed file (gzip members, zstd frames) unpacked; of one that is cut short all that can be had comes before the EOFError.

    `start` makes what unpacks one member.
    """

    def __init__(self, stream: BinaryIO, start: Callable[[], Any]) -> None:
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


class Opened(Struct):
    """A file that is open: how it begins, and, where that is not all of it, a stream that stands behind the beginning. To be used in a `with`."""

    head: bytes
    stream: BinaryIO | None
    stored: bool = False
    """Whether what is read is as the file is stored, and not unpacked."""

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        if self.stream is not None:
            self.stream.close()


def begin(path: str) -> Opened:
    """Open a file, and read it where it is small (BLOCK), else its beginning, unpacked. Raises UNREADABLE."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return _begin(open_file(path))
    try:
        size = os.fstat(handle).st_size
        head = os.read(handle, size + 1 if size <= BLOCK else HEAD)
    finally:
        os.close(handle)
    if len(head) == size and packing(head) is None:
        return Opened(head, None, stored=True)
    return _begin(open_file(path))


def begin_text(text: bytes) -> Opened:
    """The same of what a program was given in the place of a file. Raises UNREADABLE."""
    found = packing(text)
    if found is None:
        return Opened(text, None)
    if found == "zip":
        raise zipfile.BadZipFile("a zip is read from a file only; unpack it")
    stream: Any = Unpacked(io.BytesIO(text), _UNPACK[found])
    return _begin(stream)


def _begin(stream: BinaryIO) -> Opened:
    parts, length = [], 0
    try:
        while length < HEAD and (part := stream.read(HEAD - length)):
            parts.append(part)
            length += len(part)
    except UNREADABLE as error:
        if not parts:
            stream.close()
            raise
        # what comes before the damage is read first
        stream.close()
        return Opened(b"".join(parts), cast("BinaryIO", _Broken(error)))
    if length < HEAD:
        stream.close()
        return Opened(b"".join(parts), None)
    return Opened(b"".join(parts), stream, isinstance(stream, io.FileIO))


class _Broken(io.RawIOBase):
    """The rest of a file that cannot be read."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, into: Any) -> int:
        """Raises what went wrong."""
        raise self._error


def lines_in(stream: BinaryIO | None, head: bytes = b"") -> Iterator[tuple[int, bytes | None]]:
    """The lines of a file with the offset of each, without the line feed; None in the place of one that is longer than MOST_LINE. Raises UNREADABLE.

    `head` was read of it already, and the stream, if there is more, stands behind that.
    """
    held, start, dropped = b"", 0, 0
    chunk = head or _read(stream)
    while chunk:
        parts = chunk.split(b"\n")
        parts[0] = held + parts[0]
        for part in parts[:-1]:
            yield start, None if dropped or len(part) > MOST_LINE else part
            start += dropped + len(part) + 1
            dropped = 0
        held = parts[-1]
        if dropped or len(held) > MOST_LINE:
            dropped, held = dropped + len(held), b""
        chunk = _read(stream)
    if held or dropped:
        yield start, None if dropped else held


def _read(stream: BinaryIO | None) -> bytes:
    return (stream.read(_OUT) or b"") if stream is not None else b""


def document_in(stream: BinaryIO | None, head: bytes = b"") -> bytes | None:
    """All of a file, None where it is longer than MOST_DOCUMENT; `head` is as in `lines_in`. Raises UNREADABLE."""
    if stream is None:
        return head if len(head) <= MOST_DOCUMENT else None
    if isinstance(stream, io.FileIO):
        if os.fstat(stream.fileno()).st_size > MOST_DOCUMENT:
            return None
        stream.seek(0)  # reading the beginning again costs less than putting all together
        return stream.readall()
    parts = [head]
    left = MOST_DOCUMENT - len(head)
    while left >= 0 and (part := stream.read(_OUT)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts) if left >= 0 else None


def raw_of(path: str, length: int) -> bytes | None:
    """All of a file as it is stored; None where it is not so long. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        if os.fstat(handle).st_size != length:
            return None
        text = os.read(handle, length + 1)
        while len(text) < length and (part := os.read(handle, length + 1 - len(text))):
            text += part
    finally:
        os.close(handle)
    return text if len(text) == length else None
