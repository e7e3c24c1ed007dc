"""HTTP to archives: what an archive's answers mean, and that one which is down is not tried again and again.

Knows nothing of DICOM. Credentials go only where `Access` allows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from msgspec.structs import replace

from fhir_eligibility.data.archives.access import Access
from fhir_eligibility.data.archives.failure import ArchiveFailure, FailureCause, cause_of_status
from fhir_eligibility.data.http.address import Origin, origin, shown
from fhir_eligibility.data.http.answer import Answer
from fhir_eligibility.data.http.client import REPEATED, Body, Http
from fhir_eligibility.data.http.failure import Fault, HttpFailure

DOWN_AFTER = 3
NOT_TAKEN = frozenset((429, 503))
"""What an archive answers that did not take what was sent to it."""
PLAIN = {"Accept-Encoding": "identity"}
_DOWN = frozenset((Fault.CONNECTION, Fault.TIMEOUT))


class Client:
    """Requests to any number of archives; safe to use from several threads. Close it, or use it as a context."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.page_sizes: dict[str, int] = {}
        """By the address of an archive, how many rows of a search it takes to be asked for at once (0: it is not asked for a number)."""
        self.single_instances: dict[str, str] = {}
        """Archives that give no series but single instances, and the Accept header that they take for these."""
        self._http = Http(access.connection())
        self._patience = access.patience()
        self._lock = threading.Lock()
        self._closed = False
        self._failures: dict[Origin, int] = {}

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def requests(self) -> int:
        """How many requests were made."""
        return self._http.requests

    def stop(self) -> None:
        """Let no thread wait any longer: what is under way ends with a failure."""
        self._http.stopping.set()

    def go_on(self) -> None:
        """Take requests again after `stop`."""
        if not self._closed:
            self._http.stopping.clear()

    def close(self) -> None:
        """Close all connections; no request is made any more."""
        self._closed = True
        self.stop()
        self._http.close()

    def search(self, url: str, accept: str) -> tuple[int, bytes]:
        """GET a small answer whole: status and body. Raises ArchiveFailure."""
        answer = self._asked("GET", url, {"Accept": accept, **PLAIN})
        _judge(answer)
        return answer.status, answer.content

    @contextmanager
    def open(self, url: str, accept: str) -> Iterator[Answer]:
        """GET an answer to read bit by bit. Raises ArchiveFailure; while it is read, use `chunks`."""
        answer = self._asked("GET", url, {"Accept": accept, **PLAIN}, stream=True)
        try:
            _judge(answer)
            yield answer
        finally:
            answer.close()

    def post(self, url: str, headers: Mapping[str, str], body: Body) -> tuple[int, str, bytes]:
        """POST a body that is produced anew for each try: status, content type and answer, whatever the status.

        It is sent again only where the server did not take it (429, 503, no connection). Raises ArchiveFailure.
        """
        answer = self._asked("POST", url, {**headers, **PLAIN}, body)
        if answer.status in (401, 403, 404, 407) or answer.status in NOT_TAKEN:
            _judge(answer)  # of any other, the answer to an upload says more than its status
        return answer.status, answer.headers.get("Content-Type", ""), answer.content

    def chunks(self, answer: Answer) -> Iterator[bytes]:
        """The body of an open answer, as it comes: what arrived before it broke off is not lost. Raises ArchiveFailure."""
        try:
            yield from answer.chunks()
        except HttpFailure as failure:
            raise failure_of(failure) from None

    def _asked(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None, *, stream: bool = False
    ) -> Answer:
        """The answer to a request. An archive that was down several times in a row is tried once. Raises ArchiveFailure."""
        try:
            place: Origin | None = origin(url)
        except ValueError:
            place = None
        down = place is not None and self._failures.get(place, 0) >= DOWN_AFTER
        again = REPEATED if method == "GET" else NOT_TAKEN
        try:
            answer = self._http.request(
                method,
                url,
                headers=headers,
                body=body,
                patience=replace(self._patience, attempts=1) if down else self._patience,
                authorizer=self.access,
                stream=stream,
                again=again,
            )
        except HttpFailure as failure:
            self._note(place, failure.fault in _DOWN or failure.fault is Fault.BUSY)
            raise failure_of(failure) from None
        self._note(place, answer.status in again)
        return answer

    def _note(self, place: Origin | None, down: bool) -> None:
        if place is not None:
            with self._lock:
                self._failures[place] = self._failures.get(place, 0) + 1 if down else 0


def _judge(answer: Answer) -> None:
    """Raise ArchiveFailure for a status that is no success."""
    if not answer.is_success:
        raise ArchiveFailure(
            cause_of_status(answer.status), f"{shown(answer.url)}: HTTP {answer.status}", answer.status
        )


_CAUSES = {
    Fault.ADDRESS: FailureCause.REQUEST_REFUSED,
    Fault.CONNECTION: FailureCause.CONNECTION,
    Fault.TIMEOUT: FailureCause.TIMEOUT,
    Fault.TLS: FailureCause.TLS,
    Fault.BUSY: FailureCause.BUSY,
    Fault.REDIRECTED: FailureCause.REDIRECTED,
    Fault.LIMIT: FailureCause.MALFORMED_ANSWER,
    Fault.CREDENTIALS: FailureCause.UNAUTHORIZED,
    Fault.STOPPED: FailureCause.CONNECTION,
}


def failure_of(failure: HttpFailure) -> ArchiveFailure:
    """A failure of HTTP as that of an archive."""
    return ArchiveFailure(_CAUSES[failure.fault], str(failure), failure.status, unsent=failure.unsent)
