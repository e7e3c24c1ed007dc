"""One FHIR server over HTTP: requests with retries, and where credentials may go.

Credentials go to the origin (scheme, host, port) of the server's base address alone, unless a request says otherwise,
never in an address, and over plain HTTP only to this machine (or where that was allowed). No message shows a query
string: it may be signed.
"""

from __future__ import annotations

import ipaddress
import logging
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from fhir_eligibility.algebra.arguments import existing, flag, function_of, instance_of, number_of, text_of
from fhir_eligibility.data.json_text import number
from fhir_eligibility.data.outcomes import reason_of
from fhir_eligibility.data.retry_after import seconds_to_wait
from fhir_eligibility.version import __version__

if TYPE_CHECKING:
    import httpx

FHIR_JSON = "application/fhir+json"
LARGEST_ANSWER = 256 << 20
"""Bytes of an answer that is read whole, unpacked; files of an export are streamed and have no such limit."""
LARGEST_FAILURE = 1 << 20
FAILURE_SECONDS = 30.0
AGAIN = frozenset((429, 500, 502, 503, 504))
REDIRECTS = 5
UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
Parameters = Sequence[tuple[str, str]]


class ServerError(OSError):
    """A server, or the way to it, failed. `status` is the HTTP status where there was an answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Stopped(ServerError):
    """Work was given up because the run is being stopped."""


class Credentials(Protocol):
    """Where access tokens come from."""

    def token(self, server: Server) -> str:
        """A token that is valid now, or the whole header value (`Basic ...`). Raises ServerError."""
        ...

    def renew(self, rejected: str) -> bool:
        """Drop a token that was refused; tells whether another may be had."""
        ...


class Patience(Struct, frozen=True):
    """How failed requests are repeated: `attempts` in all, waiting `first` seconds, then twice as long, at most `most`.

    A Retry-After goes before; one of more than `longest` seconds is an error. An answer that is read whole has to end within `answer` seconds.
    """

    attempts: int = 6
    first: float = 1.0
    most: float = 60.0
    longest: float = 3600.0
    answer: float = 600.0

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the attempt of that number (from 0), with some chance in them."""
        return float(min(self.most, self.first * 2.0**attempt) * random.uniform(0.75, 1.0))


USUAL_PATIENCE = Patience()


def shown(url: str) -> str:
    """An address fit for messages: without query, which may be signed, and without anything before an @."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" + ("?..." if parts.query else "")


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address. Raises ServerError where it is no HTTP address."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme not in ("http", "https") or not host:
        raise ServerError(f"{shown(url) if scheme else url!r} is not an address of the form https://host/path")
    return scheme, host.lower(), port or (443 if scheme == "https" else 80)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def decode(body: bytes, what: str) -> Any:
    """JSON with decimals kept as written. Raises ServerError."""
    try:
        return msgspec.json.Decoder(float_hook=number).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ServerError(f"{what}: the answer is not valid JSON: {error}") from None


class Server:
    """A FHIR server at its base address. Threads may share it; close it, or use it in a `with`.

    `ca` is a PEM file with certificate authorities to trust beside the system's. `rewrite_next_links` asks for next pages at this address
    whatever host the server names, where their path is at or below that of the base. Raises ServerError for a bad address and where httpx
    is not installed.
    """

    def __init__(
        self,
        base: str,
        *,
        credentials: Credentials | None = None,
        ca: str | None = None,
        allow_http: bool = False,
        rewrite_next_links: bool = False,
        patience: Patience = USUAL_PATIENCE,
        timeout: float = 120.0,
        wait: Callable[[float], None] | None = None,
    ) -> None:
        text_of(base, "base")
        flag(allow_http, "allow_http")
        flag(rewrite_next_links, "rewrite_next_links")
        instance_of(patience, Patience, "patience", "a Patience")
        number_of(timeout, "timeout")
        function_of(wait, "wait")
        if ca is not None:
            existing(ca, "ca")
        if credentials is not None and not hasattr(credentials, "token"):
            raise TypeError(
                f"credentials: expected what credentials_of gives, found a value of type {credentials.__class__.__name__}"
            )
        self.origin = origin_of(base)
        parts = urlsplit(base)
        if "@" in parts.netloc:
            raise ServerError("credentials do not belong into an address; give them apart from it")
        if parts.query or parts.fragment:
            raise ServerError(f"{shown(base)}: the base address of a FHIR server has no query")
        self.base = base.rstrip("/")
        self.credentials = credentials
        self.allow_http = allow_http
        self.rewrite_next_links = rewrite_next_links
        self.patience = patience
        self.stopping = threading.Event()
        self._wait = wait
        self._client = _open(ca, timeout)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up all connections."""
        self._client.close()

    def url(self, path: str) -> str:
        """The address of something below the base."""
        return f"{self.base}/{path}"

    def same_origin(self, url: str) -> bool:
        """Whether an address is on the server itself."""
        return origin_of(url) == self.origin

    def wait(self, seconds: float) -> None:
        """Wait, or raise Stopped as soon as the run is being stopped."""
        if self._wait is not None:
            self._wait(seconds)
        elif self.stopping.wait(seconds):
            raise Stopped("stopped")
        if self.stopping.is_set():
            raise Stopped("stopped")

    def request(
        self,
        method: str,
        url: str,
        *,
        parameters: Parameters | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        form: Mapping[str, str] | None = None,
        token: bool | None = None,
        stream: bool = False,
        again: frozenset[int] = AGAIN,
    ) -> httpx.Response:
        """Send a request until it has an answer whose status is not in `again`, or patience ends.

        `token` None sends credentials to the server's own origin only, True to whoever the address names, False
        never. With `stream` the body is not read yet. A refused token (401) is renewed once. Raises ServerError where
        there is no answer.
        """
        import httpx

        attempt, renewed = 0, False
        while True:
            used: list[str] = []
            try:
                response = self._once(method, url, parameters, headers, content, form, token, used)
                if not stream:
                    response = self._whole(response, url)
            except httpx.HTTPError as error:
                unsent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
                may_pass = (method in ("GET", "HEAD") or unsent) and UNTRUSTED not in str(error)
                if not may_pass or attempt + 1 >= self.patience.attempts:
                    raise ServerError(f"{shown(url)}: {_words(error)}") from None
                delay = self.patience.delay(attempt)
            else:
                if response.status_code == 401 and used and not renewed and self.credentials is not None:
                    renewed = True
                    if self.credentials.renew(used[0]):
                        response.close()
                        continue
                if response.status_code not in again or attempt + 1 >= self.patience.attempts:
                    return response
                response.close()
                after = seconds_to_wait(response.headers.get("Retry-After"))
                if after is not None and after > self.patience.longest:
                    raise ServerError(
                        f"{shown(url)}: the server asks to come again in {after:.0f} seconds", response.status_code
                    )
                delay = after if after is not None else self.patience.delay(attempt)
            attempt += 1
            self.wait(delay)

    def _once(
        self,
        method: str,
        url: str,
        parameters: Parameters | None,
        headers: Mapping[str, str] | None,
        content: bytes | None,
        form: Mapping[str, str] | None,
        token: bool | None,
        used: list[str],
    ) -> httpx.Response:
        """One request, redirects followed: credentials do not follow to another origin. The body is not read yet."""
        import httpx

        for _ in range(REDIRECTS + 1):
            if self.stopping.is_set():
                raise Stopped("stopped")
            send = dict(headers or {})
            origin = origin_of(url)
            if token is not False and self.credentials is not None and (token or origin == self.origin):
                if origin[0] != "https" and not is_loopback(origin[1]) and not self.allow_http:
                    raise ServerError(
                        f"{shown(url)}: credentials are sent over https only (allow plain http to change that)"
                    )
                used[:] = [self.credentials.token(self)]
                send["Authorization"] = used[0] if " " in used[0] else f"Bearer {used[0]}"
            try:
                request = self._client.build_request(
                    method,
                    url,
                    params=list(parameters) if parameters else None,
                    headers=send,
                    content=content,
                    data=form,
                )
            except httpx.InvalidURL as error:
                raise ServerError(f"{shown(url)} is not a valid address: {error}") from None
            response = self._client.send(request, stream=True)
            if response.next_request is None or method not in ("GET", "HEAD"):
                return response
            response.close()
            target = str(response.next_request.url)
            if origin[0] == "https" and origin_of(target)[0] != "https":
                raise ServerError(f"{shown(url)}: redirected from https to plain http; not followed")
            token = token if origin_of(target) == origin else (None if token is None else False)
            url, parameters = target, None
        raise ServerError(f"{shown(url)}: redirected more than {REDIRECTS} times")

    def _whole(self, response: httpx.Response, url: str) -> httpx.Response:
        """An answer with its body, which is of limited size and ends within limited time. Raises ServerError, httpx.HTTPError."""
        import httpx

        deadline = time.monotonic() + self.patience.answer
        body = bytearray()
        try:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > LARGEST_ANSWER:
                    size = LARGEST_ANSWER >> 20
                    raise ServerError(f"{shown(url)}: the answer is larger than {size} MiB; ask for less at once")
                if time.monotonic() > deadline:
                    raise ServerError(f"{shown(url)}: the answer did not end within {self.patience.answer:.0f} seconds")
                if self.stopping.is_set():
                    raise Stopped("stopped")
        finally:
            response.close()
        # what the body was packed with is undone, so that nothing unpacks it again
        packing = (b"content-encoding", b"content-length")
        headers = [(name, value) for name, value in response.headers.raw if name.lower() not in packing]
        return httpx.Response(
            response.status_code,
            headers=headers,
            content=bytes(body),
            request=response.request,
            extensions={name: value for name, value in response.extensions.items() if name == "reason_phrase"},
        )

    def json(self, method: str, url: str, *, what: str | None = None, **options: Any) -> Any:
        """Send a request and decode its JSON. Raises ServerError for any other status than success."""
        headers = {"Accept": FHIR_JSON, **(options.pop("headers", None) or {})}
        response = self.request(method, url, headers=headers, **options)
        name = what or shown(url)
        if not response.is_success:
            raise failure(response, name)
        return decode(response.content, name)

    def fhir_version(self) -> str | None:
        """The FHIR version in the CapabilityStatement (`4.0.1`), None where it names none. Raises ServerError."""
        statement = self.json("GET", self.url("metadata"))
        version = statement.get("fhirVersion") if isinstance(statement, dict) else None
        return version if isinstance(version, str) else None


def failure(response: httpx.Response, what: str) -> ServerError:
    """The error that an answer stands for, with the server's own words."""
    body = _body(response)
    status = response.status_code
    text = f"{what}: the server answered {status} {response.reason_phrase}".rstrip()
    if status in (301, 302, 303, 307, 308):
        return ServerError(f"{text}: it redirects to {shown(response.headers.get('Location', ''))}", status)
    words = reason_of(body)
    hint = {
        401: " (give credentials, or check those that were given)",
        403: " (the credentials do not allow this; a wider scope may be needed)",
    }.get(status, "")
    return ServerError(f"{text}{hint}" + (f": {words}" if words else ""), status)


def _body(response: httpx.Response) -> bytes:
    """The beginning of the body of a failure, nothing where it cannot be had."""
    import httpx

    if response.is_closed:
        return response.content[:LARGEST_FAILURE]
    body = bytearray()
    deadline = time.monotonic() + FAILURE_SECONDS
    try:
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > LARGEST_FAILURE or time.monotonic() > deadline:
                break
    except (httpx.HTTPError, httpx.StreamError):
        return b""
    return bytes(body)


def _open(ca: str | None, timeout: float) -> httpx.Client:
    try:
        import httpx
    except ImportError:
        message = "reading from a server needs the package httpx: pip install httpx"
        raise ServerError(message) from None
    for name in ("httpx", "httpcore"):
        # They log every address, and addresses may be signed.
        logging.getLogger(name).setLevel(logging.WARNING)
    context = ssl.create_default_context()
    if ca is not None:
        try:
            context.load_verify_locations(cafile=ca)
        except FileNotFoundError:
            raise FileNotFoundError(f"{ca} does not exist") from None
        except (OSError, ssl.SSLError) as error:
            raise ServerError(f"{ca}: no certificates in PEM form: {error}") from None
    return httpx.Client(
        verify=context,
        timeout=httpx.Timeout(timeout, connect=min(timeout, 20.0)),
        headers={"User-Agent": f"fhir-eligibility/{__version__}"},
        follow_redirects=False,
    )


def _words(error: Exception) -> str:
    """A failure of the connection in words."""
    text = str(error).strip() or type(error).__name__
    if UNTRUSTED in text:
        return f"the server's certificate is not trusted ({text}); a private authority's certificate can be given"
    return f"no answer: {text}"
