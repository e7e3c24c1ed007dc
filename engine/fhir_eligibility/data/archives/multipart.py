"""multipart/related: parts of an answer as a stream, whole or not at all; parts of an upload with the length known beforehand.

PS3.18 section 8.6; RFC 2046 section 5.1. Parts are never held in memory.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from email.message import Message
from email.utils import collapse_rfc2231_value
from pathlib import Path

from msgspec import Struct, field

from fhir_eligibility.data.archives.failure import ArchiveFailure, FailureCause

MAX_HEADER = 1 << 16
MAX_PREAMBLE = 1 << 20
MAX_PARTS = 1_000_000
# RFC 2046 section 5.1.1
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
CHUNK = 1 << 16


class PartStart(Struct):
    """A part begins; its content follows as bytes, until `PartEnd`."""

    headers: dict[str, str] = field(default_factory=dict)


class PartEnd(Struct):
    """The part that began is whole: the boundary behind it was seen."""


Event = PartStart | PartEnd | bytes


def media_type(text: str) -> tuple[str, dict[str, str]]:
    """A Content-Type as type and parameters, both in small letters where that does not matter."""
    message = Message()
    message["Content-Type"] = text
    # a value may be written in the extended form of RFC 2231 (`boundary*=utf-8''x`), which comes as three parts
    found = {name.lower(): collapse_rfc2231_value(value) for name, value in message.get_params([])[1:]}
    return message.get_content_type().lower() if text else "", found


class MultipartReader:
    """Splits a stream into parts. Feed it chunks in any size; at the end `finish` raises where the last part was cut off.

    Raises ArchiveFailure for a boundary that is none, and for a stream that goes on without parts, or with ever more of them.
    """

    def __init__(self, boundary: str) -> None:
        if not _BOUNDARY.fullmatch(boundary):
            raise ArchiveFailure(
                FailureCause.MALFORMED_ANSWER, f"the boundary between parts is not one: {boundary[:80]!r}"
            )
        self._before = self._parts = 0
        self._delimiter = b"\r\n--" + boundary.encode("latin-1")
        self._buffer = bytearray(b"\r\n")  # the first delimiter may stand at the very beginning
        self._state = "preamble"

    @property
    def ended(self) -> bool:
        """Whether the closing delimiter was seen."""
        return self._state == "epilogue"

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """What a chunk of the answer completes."""
        self._buffer += chunk
        while True:
            if self._state == "epilogue":
                self._buffer.clear()
                return
            if self._state in ("preamble", "content"):
                place = self._buffer.find(self._delimiter)
                keep = len(self._delimiter) + 2
                if place < 0 or len(self._buffer) < place + keep:
                    free = max(0, len(self._buffer) - keep) if place < 0 else place
                    yield from self._content(free)
                    return
                yield from self._content(place)
                if self._state == "content":
                    yield PartEnd()
                after = bytes(self._buffer[len(self._delimiter) : keep])
                if after == b"--":
                    self._state = "epilogue"
                    continue
                del self._buffer[: len(self._delimiter)]
                self._state = "line"
            if self._state == "line":
                place = self._buffer.find(b"\r\n")
                if place < 0:
                    self._limit()
                    return
                del self._buffer[:place]  # the line break stays: headers may be empty
                self._state = "headers"
            if self._state == "headers":
                place = self._buffer.find(b"\r\n\r\n")
                if place < 0:
                    self._limit()
                    return
                self._parts += 1
                if self._parts > MAX_PARTS:
                    raise ArchiveFailure(FailureCause.MALFORMED_ANSWER, f"the answer has more than {MAX_PARTS:,} parts")
                yield PartStart(_headers(bytes(self._buffer[:place])))
                del self._buffer[: place + 4]
                self._state = "content"

    def finish(self, where: str) -> None:
        """The stream ended. Raises ArchiveFailure where it did not end with the closing delimiter."""
        if not self.ended:
            raise ArchiveFailure(
                FailureCause.MALFORMED_ANSWER, f"{where}: the answer broke off between or within its parts"
            )

    def _content(self, length: int) -> Iterator[bytes]:
        if length and self._state == "content":
            yield bytes(self._buffer[:length])
        elif self._state == "preamble":
            self._before += length
            if self._before > MAX_PREAMBLE:
                raise ArchiveFailure(FailureCause.MALFORMED_ANSWER, "no part begins within the first MiB of the answer")
        del self._buffer[:length]

    def _limit(self) -> None:
        if len(self._buffer) > MAX_HEADER:
            raise ArchiveFailure(FailureCause.MALFORMED_ANSWER, "the headers of a part are longer than 64 KiB")


def _headers(raw: bytes) -> dict[str, str]:
    out = {}
    for line in raw.decode("latin-1").split("\r\n"):
        name, found, value = line.partition(":")
        if found:
            out[name.strip().lower()] = value.strip()
    return out


class FileParts:
    """Files as the body of an upload: a length, and the bytes as often as they are needed."""

    def __init__(self, paths: Iterable[Path], part_type: str = "application/dicom") -> None:
        self.paths = list(paths)
        self.boundary = uuid.uuid4().hex
        self._head = f"--{self.boundary}\r\nContent-Type: {part_type}\r\n\r\n".encode("ascii")
        self._tail = f"--{self.boundary}--\r\n".encode("ascii")
        self._sizes = [path.stat().st_size for path in self.paths]

    @property
    def content_type(self) -> str:
        """The Content-Type of the request."""
        return f'multipart/related; type="application/dicom"; boundary={self.boundary}'

    def __len__(self) -> int:
        return sum(len(self._head) + size + 2 for size in self._sizes) + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        for path, size in zip(self.paths, self._sizes, strict=True):
            yield self._head
            sent = 0
            with path.open("rb") as stream:
                while chunk := stream.read(CHUNK):
                    sent += len(chunk)
                    yield chunk
            if sent != size:
                raise OSError(f"{path} changed while it was sent")
            yield b"\r\n"
        yield self._tail
