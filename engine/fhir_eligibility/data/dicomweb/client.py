"""HTTP to archives: pooled connections, retries that heed Retry-After, redirects within a host, answers streamed.

Knows nothing of DICOM. Credentials go only where `Access` allows, and neither headers nor bodies are ever logged.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from fhir_eligibility.data.dicomweb.access import Access, origin, urllib3_module
from fhir_eligibility.data.dicomweb.address import shown
from fhir_eligibility.data.dicomweb.failure import ArchiveFailure, Cause, cause_of_status
from fhir_eligibility.data.retry_after import seconds_to_wait
from fhir_eligibility.version import __version__

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

AGAIN = frozenset((429, 502, 503, 504))
DOWN_AFTER = 3
MAX_REDIRECTS = 5
SEARCH_LIMIT = 256 << 20
SLOWEST = 1 << 16
"""Bytes that have to come within ten times the time that one read may take."""
Body = Callable[[], Iterable[bytes]]
T = TypeVar("T")


class Client:
    """Requests to any number of archives; safe to use from several threads. Close it, or use it as a context."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.urllib3 = urllib3_module()
        self.requests = 0
        self.page_sizes: dict[str, int] = {}
        """By the address of an archive, how many rows of a search it takes to be asked for at once (0: it is not asked for a number)."""
        self.single_instances: dict[str, str] = {}
        """Archives that give no series but single instances, and the Accept header that they take for these."""
        self._tls = access.tls()
        self._pools: dict[str | None, Any] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._closed = False
        self._failures: dict[tuple[str, str, int | None], int] = {}

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def stop(self) -> None:
        """Let no thread wait any longer: what is under way ends with a failure."""
        self._stopped.set()

    def go_on(self) -> None:
        """Take requests again after `stop`."""
        if not self._closed:
            self._stopped.clear()

    def close(self) -> None:
        """Close all connections; no request is made any more."""
        self._closed = True
        self.stop()
        for pool in self._pools.values():
            pool.clear()

    # -- requests

    def search(self, url: str, accept: str) -> tuple[int, bytes]:
        """GET a small answer whole: status and body. Raises ArchiveFailure."""

        def once() -> tuple[int, bytes]:
            with self._answer("GET", url, {"Accept": accept}) as response:
                return response.status, self._whole(response, url)

        return self._again(url, once)

    @contextmanager
    def open(self, url: str, accept: str) -> Iterator[BaseHTTPResponse]:
        """GET an answer to read bit by bit. Raises ArchiveFailure; while it is read, use `chunks`."""
        kept: list[Any] = []

        def once() -> BaseHTTPResponse:
            manager = self._answer("GET", url, {"Accept": accept})
            response = manager.__enter__()
            kept.append(manager)
            return response

        response = self._again(url, once)
        try:
            yield response
        finally:
            kept[-1].__exit__(None, None, None)

    def post(self, url: str, headers: Mapping[str, str], body: Body) -> tuple[int, str, bytes]:
        """POST a body that is produced anew for each try: status, content type and answer, whatever the status.

        It is sent again only where the server did not take it (429, 503, no connection). Raises ArchiveFailure.
        """

        def once() -> tuple[int, str, bytes]:
            with self._answer("POST", url, headers, body) as response:
                return response.status, response.headers.get("Content-Type", ""), self._whole(response, url)

        return self._again(url, once, repeatable=False)

    def chunks(self, response: BaseHTTPResponse, url: str, size: int = 1 << 16) -> Iterator[bytes]:
        """The body of an open answer, as it comes: what arrived before it broke off is not lost.

        Raises ArchiveFailure where it does, or where it trickles on without end.
        """
        beginning, received = time.monotonic(), 0
        try:
            while chunk := response.read1(size, decode_content=True):
                yield chunk
                received += len(chunk)
                if received > SLOWEST:
                    beginning, received = time.monotonic(), 0
                elif time.monotonic() - beginning > 10 * self.access.read_timeout:
                    message = (
                        f"{shown(url)}: fewer than {SLOWEST:,} bytes came in {10 * self.access.read_timeout:.0f} s"
                    )
                    raise ArchiveFailure(Cause.TIMEOUT, message)
                if self._stopped.is_set():
                    raise ArchiveFailure(Cause.CONNECTION, f"{shown(url)}: stopped", 0)
        except (self.urllib3.exceptions.HTTPError, OSError) as error:
            raise self._failure(error, url) from None

    def _whole(self, response: BaseHTTPResponse, url: str) -> bytes:
        """A body of limited size within limited time."""
        deadline = time.monotonic() + 10 * self.access.read_timeout
        parts, total = [], 0
        for chunk in self.chunks(response, url):
            total += len(chunk)
            if total > SEARCH_LIMIT:
                raise ArchiveFailure(Cause.MALFORMED_ANSWER, f"{shown(url)}: the answer is larger than 256 MiB")
            if time.monotonic() > deadline:
                raise ArchiveFailure(Cause.TIMEOUT, f"{shown(url)}: the answer did not end in time")
            parts.append(chunk)
        return b"".join(parts)

    def _again(self, url: str, once: Callable[[], T], repeatable: bool = True) -> T:
        """Try, and try again where that helps. An archive that was down several times in a row is tried once.

        What is not `repeatable` is tried again only if it did not reach the archive.
        """
        try:
            place = origin(url)
        except ValueError:
            raise ArchiveFailure(Cause.REQUEST_REFUSED, f"{shown(url)}: this is not an address", 0) from None
        attempts = 1 if self._failures.get(place, 0) >= DOWN_AFTER else 1 + self.access.retries
        for attempt in range(attempts):
            try:
                result = once()
            except _Again as answer:
                failure, wait = answer.failure, answer.wait
            except ArchiveFailure as error:
                if error.cause not in (Cause.CONNECTION, Cause.TIMEOUT) or error.status is not None:
                    self._note(place, None)
                    raise
                failure, wait = error, None
                if not repeatable and not error.unsent:
                    self._note(place, failure)
                    raise
            else:
                self._note(place, None)
                return result
            if attempt + 1 == attempts or (wait is not None and wait > self.access.longest_wait):
                self._note(place, failure)
                raise failure
            pause = self.access.backoff * 2**attempt * random.uniform(0.8, 1.2) if wait is None else wait
            if self._stopped.wait(pause):
                raise failure
        raise AssertionError("there is at least one attempt")

    def _note(self, place: tuple[str, str, int | None], failure: ArchiveFailure | None) -> None:
        with self._lock:
            self._failures[place] = 0 if failure is None else self._failures.get(place, 0) + 1

    @contextmanager
    def _answer(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None
    ) -> Iterator[BaseHTTPResponse]:
        """One request, redirects within its host followed. Raises ArchiveFailure, `_Again` where another try may help."""
        target = url
        for _ in range(MAX_REDIRECTS):
            response = self._send(method, target, headers, body)
            try:
                place = response.headers.get("Location")
                if not (response.status in (301, 302, 303, 307, 308) and place) or method != "GET":
                    self._judge(response, target, method)
                    yield response
                    return
                following = urljoin(target, place)
                if not same_host(following, target):
                    message = f"{shown(target)}: redirected to another host ({shown(following)}); it is not followed"
                    raise ArchiveFailure(Cause.REDIRECTED, message, response.status)
                target = following
            finally:
                response.release_conn() if _drained(response) else response.close()
        raise ArchiveFailure(Cause.REDIRECTED, f"{shown(url)}: redirected more than {MAX_REDIRECTS} times", 302)

    def _judge(self, response: BaseHTTPResponse, url: str, method: str) -> None:
        status = response.status
        again = AGAIN if method == "GET" else frozenset((429, 503))
        if status in again:
            failure = ArchiveFailure(cause_of_status(status), f"{shown(url)}: HTTP {status}", status)
            raise _Again(failure, seconds_to_wait(response.headers.get("Retry-After")))
        if method == "POST" and status not in (401, 403, 404, 407):
            return  # the answer to an upload says more than its status
        if not 200 <= status < 300:
            raise ArchiveFailure(cause_of_status(status), f"{shown(url)}: HTTP {status}", status)

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Body | None) -> BaseHTTPResponse:
        if self._stopped.is_set():
            raise ArchiveFailure(Cause.CONNECTION, f"{shown(url)}: stopped before it was asked", 0)
        sent = {"User-Agent": f"fhir-eligibility/{__version__}", **headers}
        authorization = self.access.authorization(url)
        if authorization is not None:
            sent["Authorization"] = authorization
        with self._lock:
            self.requests += 1
        try:
            return self._pool(url).request(  # type: ignore[no-any-return]
                method,
                url,
                headers=sent,
                body=body() if body is not None else None,
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=self.urllib3.Timeout(connect=self.access.connect_timeout, read=self.access.read_timeout),
            )
        except (self.urllib3.exceptions.HTTPError, OSError, UnicodeError) as error:
            raise self._failure(error, url) from None

    def _pool(self, url: str) -> Any:
        proxy = self.access.proxy(url)
        with self._lock:
            pool = self._pools.get(proxy)
            if pool is None:
                options = {"maxsize": self.access.concurrency, "num_pools": 20, "ssl_context": self._tls}
                pool = self.urllib3.PoolManager(**options) if proxy is None else self._proxied(proxy, options)
                self._pools[proxy] = pool
            return pool

    def _proxied(self, proxy: str, options: dict[str, Any]) -> Any:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        headers = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers = self.urllib3.make_headers(proxy_basic_auth=pair)
        bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "", "", ""))
        return self.urllib3.ProxyManager(bare, proxy_headers=headers, **options)

    def _failure(self, error: Exception, url: str) -> ArchiveFailure:
        """A failure of urllib3 or the socket in our words; their messages may hold the whole address, and are not repeated."""
        found = self.urllib3.exceptions
        cause: BaseException = error
        while isinstance(cause, (found.MaxRetryError, found.ProxyError)) and isinstance(
            inner := getattr(cause, "reason", None) or getattr(cause, "original_error", None), BaseException
        ):
            cause = inner
        where = shown(url)
        if isinstance(cause, (found.TimeoutError, TimeoutError)) and not isinstance(cause, found.NewConnectionError):
            unsent = isinstance(cause, found.ConnectTimeoutError)
            return ArchiveFailure(Cause.TIMEOUT, f"{where}: no answer within the time allowed", unsent=unsent)
        if isinstance(cause, found.SSLError):
            return ArchiveFailure(Cause.TLS, f"{where}: the connection is not trusted: {tls_words(cause)}", 0)
        if isinstance(cause, (found.LocationParseError, found.LocationValueError, UnicodeError)):
            return ArchiveFailure(Cause.REQUEST_REFUSED, f"{where}: this is not an address", 0)
        if isinstance(cause, found.NewConnectionError):
            return ArchiveFailure(Cause.CONNECTION, f"{where}: no connection", unsent=True)
        return ArchiveFailure(Cause.CONNECTION, f"{where}: the connection broke ({type(cause).__name__})")


class _Again(Exception):
    """An answer that asks to come back, after `wait` seconds where it says so."""

    def __init__(self, failure: ArchiveFailure, wait: float | None) -> None:
        super().__init__(failure.message)
        self.failure, self.wait = failure, wait


def same_host(one: str, other: str) -> bool:
    """Whether two addresses have scheme, host and port in common."""
    try:
        return origin(one) == origin(other)
    except ValueError:
        return False


def tls_words(error: BaseException) -> str:
    """What is wrong with a certificate, without the clutter of OpenSSL."""
    text = str(error)
    for known in ("self-signed certificate", "unable to get local issuer certificate", "certificate has expired"):
        if known in text:
            return known
    return "the host name does not match" if "doesn't match" in text or "mismatch" in text else "TLS failed"


def _drained(response: BaseHTTPResponse) -> bool:
    """Whether nothing of the body is left, so that the connection can be used again."""
    return bool(getattr(response, "_fp", None) is None or response._fp.isclosed())  # type: ignore[attr-defined]
