"""An answer over HTTP: status and headers at once, the body bit by bit or whole, within limits of size and time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fhir_eligibility.data.http.failure import Fault, HttpFailure, failure_of

if TYPE_CHECKING:
    import threading

    from urllib3 import BaseHTTPResponse

LARGEST = 256 << 20
"""Bytes of an answer that is read whole, unpacked; what is streamed has no such limit."""
SLOWEST = 1 << 16
"""Bytes that have to come within ten times the time that one read may take."""
REDIRECTIONS = frozenset((301, 302, 303, 307, 308))


class Answer:
    """What a server answered. `content` is the body where it was read whole; until then `close` has to be called."""

    def __init__(
        self, response: BaseHTTPResponse, url: str, exceptions: Any, stopping: threading.Event, read_timeout: float
    ) -> None:
        self.url = url
        self.status: int = response.status
        self.reason: str = response.reason or ""
        self.headers: Mapping[str, str] = response.headers
        self.content = b""
        self.whole = False
        self._response = response
        self._exceptions = exceptions
        self._stopping = stopping
        self._patience = 10 * read_timeout

    @property
    def is_success(self) -> bool:
        """Whether the status says so."""
        return 200 <= self.status < 300

    @property
    def redirects(self) -> bool:
        """Whether it leads to another address."""
        return self.status in REDIRECTIONS and bool(self.headers.get("Location"))

    def chunks(self, size: int = 1 << 16, *, unpack: bool = True) -> Iterator[bytes]:
        """The body as it comes: what arrived before it broke off is not lost. `unpack` undoes its Content-Encoding.

        Raises HttpFailure where it breaks off, trickles on without end, or where the work is given up.
        """
        beginning, received = time.monotonic(), 0
        try:
            while chunk := self._response.read1(size, decode_content=unpack):
                yield chunk
                received += len(chunk)
                if received > SLOWEST:
                    beginning, received = time.monotonic(), 0
                elif time.monotonic() - beginning > self._patience:
                    words = f"fewer than {SLOWEST:,} bytes came in {self._patience:.0f} seconds"
                    raise HttpFailure(Fault.TIMEOUT, self.url, words)
                if self._stopping.is_set():
                    raise HttpFailure(Fault.STOPPED, self.url, "stopped")
        except (self._exceptions.HTTPError, OSError) as error:
            raise failure_of(error, self.url, self._exceptions) from None

    def read(self, seconds: float, limit: int | None = None) -> None:
        """Read the body whole and close it. Raises HttpFailure also where it is too large, or does not end in time."""
        limit = LARGEST if limit is None else limit
        deadline = time.monotonic() + seconds
        parts, total = [], 0
        try:
            for chunk in self.chunks():
                total += len(chunk)
                if total > limit:
                    words = f"the answer is larger than {limit >> 20} MiB; ask for less at once"
                    raise HttpFailure(Fault.LIMIT, self.url, words)
                if time.monotonic() > deadline:
                    words = f"the answer did not end within {seconds:.0f} seconds"
                    raise HttpFailure(Fault.TIMEOUT, self.url, words)
                parts.append(chunk)
        finally:
            self.close()
        self.content, self.whole = b"".join(parts), True

    def beginning(self, limit: int, seconds: float) -> bytes:
        """The beginning of the body, nothing where it cannot be had: for messages about a failure."""
        if self.whole:
            return self.content[:limit]
        body = bytearray()
        deadline = time.monotonic() + seconds
        try:
            for chunk in self.chunks():
                body += chunk
                if len(body) > limit or time.monotonic() > deadline:
                    break
        except HttpFailure:
            return b""
        return bytes(body)

    def close(self) -> None:
        """Give the connection back, where nothing of the body is left; otherwise give it up."""
        inner = getattr(self._response, "_fp", None)
        if inner is None or inner.isclosed():
            self._response.release_conn()
        else:
            self._response.close()
