"""Requests over HTTP: pooled connections, redirects, tries that heed Retry-After, and credentials that go only where they may.

Neither headers nor bodies are ever logged, and no message shows a query, which may be signed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlencode, urljoin, urlsplit, urlunsplit

from fhir_eligibility.data.http.address import ascii_host, encrypted, origin, same_origin, shown
from fhir_eligibility.data.http.answer import Answer
from fhir_eligibility.data.http.connection import Connection, Patience, urllib3_module
from fhir_eligibility.data.http.failure import Fault, HttpFailure, failure_of
from fhir_eligibility.data.http.retry_after import seconds_to_wait
from fhir_eligibility.version import __version__

REDIRECTS = 5
REPEATED = frozenset((429, 502, 503, 504))
"""What a server answers where another try may help."""
Parameters = Sequence[tuple[str, str]]
Body = Callable[[], bytes | Iterable[bytes]]


class Authorizer(Protocol):
    """Where credentials come from, and where they may go."""

    def header(self, url: str) -> str | None:
        """The Authorization header for an address; None where none must go there. Raises HttpFailure where there should be one."""
        ...

    def renew(self, rejected: str) -> bool:
        """Drop credentials that were refused (401); whether others may be had."""
        ...


class Nobody:
    """No credentials."""

    def header(self, url: str) -> str | None:
        """None goes anywhere."""
        return None

    def renew(self, rejected: str) -> bool:
        """There are none."""
        return False


NOBODY = Nobody()


class Http:
    """Requests to any number of servers; threads may share it. Close it when done. Raises Urllib3Missing, ValueError and FileNotFoundError."""

    def __init__(self, connection: Connection, wait: Callable[[float], None] | None = None) -> None:
        self.connection = connection
        self.requests = 0
        self.stopping = threading.Event()
        self._wait = wait
        self._urllib3 = urllib3_module()
        # It logs every address at the level DEBUG, and addresses may be signed.
        logging.getLogger("urllib3").setLevel(logging.WARNING)
        self._tls = connection.tls()
        self._pools: dict[str | None, Any] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Give up all connections."""
        for pool in self._pools.values():
            pool.clear()

    def wait(self, seconds: float, url: str) -> None:
        """Wait. Raises HttpFailure as soon as the work is given up."""
        if self._wait is not None:
            self._wait(seconds)
        else:
            self.stopping.wait(seconds)
        if self.stopping.is_set():
            raise HttpFailure(Fault.STOPPED, url, "stopped")

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        patience: Patience,
        authorizer: Authorizer = NOBODY,
        body: Body | None = None,
        stream: bool = False,
        elsewhere: bool = False,
        again: frozenset[int] = REPEATED,
    ) -> Answer:
        """Send a request until it has an answer whose status is not in `again`, or patience ends.

        The body of a request is produced anew for each try; one that a server may have taken (other than GET and HEAD) is
        repeated only where its status says that it was not. With `stream` the answer is not read yet. `elsewhere` lets
        redirects lead to other hosts, without credentials. Refused credentials (401) are renewed once. Raises HttpFailure.
        """
        repeatable = method in ("GET", "HEAD")
        attempt, renewed = 0, False
        while True:
            last = attempt + 1 >= patience.attempts
            used: list[str] = []
            try:
                answer = self._followed(method, url, headers, body, authorizer, elsewhere, used)
                if not stream:
                    answer.read(patience.answer)
            except HttpFailure as failure:
                if last or not failure.may_pass or not (repeatable or failure.unsent):
                    raise
                delay = patience.delay(attempt)
            else:
                if answer.status == 401 and used and not renewed:
                    renewed = True
                    if authorizer.renew(used[0]):
                        answer.close()
                        continue
                if last or answer.status not in again:
                    return answer
                answer.close()
                after = seconds_to_wait(answer.headers.get("Retry-After"))
                if after is not None and after > patience.longest:
                    words = f"the server asks to come again in {after:.0f} seconds"
                    raise HttpFailure(Fault.BUSY, url, words, status=answer.status)
                delay = after if after is not None else patience.delay(attempt)
            attempt += 1
            self.wait(delay, url)

    def _followed(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
        authorizer: Authorizer,
        elsewhere: bool,
        used: list[str],
    ) -> Answer:
        """One request, redirects followed. Once they have led to another origin, no credentials are sent any more. Raises HttpFailure."""
        target = url
        for _ in range(REDIRECTS + 1):
            answer = self._sent(method, target, headers, body, authorizer, used)
            if not answer.redirects or method not in ("GET", "HEAD"):
                return answer
            answer.close()
            following = _following(answer, target, elsewhere)
            if not same_origin(following, target):
                authorizer = NOBODY
            target = following
        raise HttpFailure(Fault.REDIRECTED, url, f"redirected more than {REDIRECTS} times", status=302)

    def _sent(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
        authorizer: Authorizer,
        used: list[str],
    ) -> Answer:
        """One request. Raises HttpFailure."""
        if self.stopping.is_set():
            raise HttpFailure(Fault.STOPPED, url, "stopped")
        try:
            origin(url)
            asked = ascii_host(url)
        except ValueError:
            raise HttpFailure(Fault.ADDRESS, url, "this is not an address of the form https://host/path") from None
        sent = {"User-Agent": f"fhir-eligibility/{__version__}", **headers}
        credentials = authorizer.header(url)
        if credentials is not None:
            used[:] = [credentials]
            sent["Authorization"] = credentials
        with self._lock:
            self.requests += 1
        found = self._urllib3.exceptions
        connection = self.connection
        try:
            response = self._pool(asked).request(
                method,
                asked,
                headers=sent,
                body=body() if body is not None else None,
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=self._urllib3.Timeout(connect=connection.connect_timeout, read=connection.read_timeout),
            )
        except (found.HTTPError, OSError, UnicodeError) as error:
            raise failure_of(error, url, found) from None
        return Answer(response, url, found, self.stopping, connection.read_timeout)

    def _pool(self, url: str) -> Any:
        proxy = self.connection.proxy(url)
        with self._lock:
            pool = self._pools.get(proxy)
            if pool is None:
                options = {"maxsize": self.connection.kept, "num_pools": 20, "ssl_context": self._tls}
                pool = self._urllib3.PoolManager(**options) if proxy is None else self._proxied(proxy, options)
                self._pools[proxy] = pool
            return pool

    def _proxied(self, proxy: str, options: dict[str, Any]) -> Any:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        headers = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers = self._urllib3.make_headers(proxy_basic_auth=pair)
        without_password = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "", "", ""))
        return self._urllib3.ProxyManager(without_password, proxy_headers=headers, **options)


def _following(answer: Answer, target: str, elsewhere: bool) -> str:
    """Where a redirect leads. Raises HttpFailure where it is not followed."""
    place = answer.headers["Location"]
    try:
        following = urljoin(target, place)
        to, came = origin(following), origin(target)
    except ValueError:
        why = f"redirected to {shown(place)}, which is not an address of the form https://host/path"
    else:
        if to == came:
            return following
        if came[0] == "https" and to[0] != "https":
            why = "redirected from https to plain http; not followed"
        elif elsewhere:
            return following
        else:
            why = f"redirected to another host ({shown(following)}); not followed"
    raise HttpFailure(Fault.REDIRECTED, target, why, status=answer.status)


def with_query(url: str, parameters: Parameters) -> str:
    """An address with parameters behind those that it has."""
    if not parameters:
        return url
    parts = urlsplit(url)
    added = urlencode(list(parameters), quote_via=quote, safe="")
    return urlunsplit((*parts[:3], f"{parts.query}&{added}" if parts.query else added, ""))


def unencrypted(url: str) -> HttpFailure:
    """The failure of credentials that would be read on the way."""
    words = "credentials are sent over https only (allow plain http to change that)"
    return HttpFailure(Fault.CREDENTIALS, url, words)


def may_hold_credentials(url: str, allow_http: bool) -> bool:
    """Whether credentials may go to an address: where it is encrypted, is this machine, or where plain http is allowed."""
    try:
        return allow_http or encrypted(url)
    except ValueError:
        return False
