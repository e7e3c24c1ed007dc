"""One FHIR server over HTTP: its address, what is asked of it, and where credentials may go.

Credentials go to the origin (scheme, host, port) of the server's base address alone, unless a request says otherwise,
never in an address, and over plain HTTP only to this machine (or where that was allowed). No message shows a query
string: it may be signed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

import msgspec

from fhir_eligibility.algebra.arguments import existing, flag, function_of, instance_of, number_of, text_of
from fhir_eligibility.data.files.json_text import number
from fhir_eligibility.data.http.address import Origin, origin, shown
from fhir_eligibility.data.http.answer import Answer
from fhir_eligibility.data.http.client import (
    NOBODY,
    REPEATED,
    Authorizer,
    Http,
    Parameters,
    may_hold_credentials,
    unencrypted,
    with_query,
)
from fhir_eligibility.data.http.connection import Connection, Patience, Urllib3Missing
from fhir_eligibility.data.http.failure import Fault, HttpFailure
from fhir_eligibility.data.records.outcomes import reason_of

FHIR_JSON = "application/fhir+json"
LARGEST_FAILURE = 1 << 20
FAILURE_SECONDS = 30.0
AGAIN = REPEATED | {500}


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


USUAL_PATIENCE = Patience()


def origin_of(url: str) -> Origin:
    """Scheme, host and port of an address. Raises ServerError where it is no HTTP address."""
    try:
        return origin(url)
    except ValueError:
        where = shown(url) if "://" in url else repr(url)
        raise ServerError(f"{where} is not an address of the form https://host/path") from None


def error_of(failure: HttpFailure) -> ServerError:
    """A failure of HTTP as that of a server."""
    if failure.fault is Fault.STOPPED:
        return Stopped("stopped")
    return ServerError(str(failure), failure.status)


def decode(body: bytes, what: str) -> Any:
    """JSON with decimals kept as written. Raises ServerError."""
    try:
        return msgspec.json.Decoder(float_hook=number).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ServerError(f"{what}: the answer is not valid JSON: {error}") from None


class _ToServer:
    """The credentials of a server for one request: to its own origin, or to whoever the address names (`anywhere`)."""

    def __init__(self, server: Server, credentials: Credentials, anywhere: bool) -> None:
        self.server, self.credentials, self.anywhere = server, credentials, anywhere
        self._token = ""

    def header(self, url: str) -> str | None:
        """The header with a token that is valid now. Raises ServerError, HttpFailure."""
        if not self.anywhere and origin(url) != self.server.origin:
            return None
        if not may_hold_credentials(url, self.server.allow_http):
            raise unencrypted(url)
        self._token = self.credentials.token(self.server)
        return self._token if " " in self._token else f"Bearer {self._token}"

    def renew(self, rejected: str) -> bool:
        """Drop the token."""
        return self.credentials.renew(self._token)


class Server:
    """A FHIR server at its base address. Threads may share it; close it, or use it in a `with`.

    `ca` is a PEM file with certificate authorities to trust beside the system's. `rewrite_next_links` asks for next pages at this address
    whatever host the server names, where their path is at or below that of the base. Raises ServerError for a bad address and where urllib3
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
        connection = Connection(ca=ca, connect_timeout=min(timeout, 20.0), read_timeout=timeout)
        try:
            self.http = Http(connection, wait)
        except Urllib3Missing as error:
            raise ServerError(str(error)) from None
        except ValueError as error:
            raise ServerError(str(error)) from None
        self.stopping = self.http.stopping

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up all connections."""
        self.http.close()

    def url(self, path: str) -> str:
        """The address of something below the base."""
        return f"{self.base}/{path}"

    def same_origin(self, url: str) -> bool:
        """Whether an address is on the server itself."""
        return origin_of(url) == self.origin

    def wait(self, seconds: float) -> None:
        """Wait, or raise Stopped as soon as the run is being stopped."""
        try:
            self.http.wait(seconds, self.base)
        except HttpFailure as failure:
            raise error_of(failure) from None

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
    ) -> Answer:
        """Send a request until it has an answer whose status is not in `again`, or patience ends.

        `token` None sends credentials to the server's own origin only, True to whoever the address names, False
        never. With `stream` the body is not read yet. A refused token (401) is renewed once. Raises ServerError where
        there is no answer.
        """
        sent = {"Accept-Encoding": "gzip, deflate", **(headers or {})}
        if form is not None:
            content = urlencode(form).encode()
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        body = content
        authorizer: Authorizer = NOBODY
        if token is not False and self.credentials is not None:
            authorizer = _ToServer(self, self.credentials, bool(token))
        try:
            return self.http.request(
                method,
                with_query(url, parameters or ()),
                headers=sent,
                body=None if body is None else lambda: body,
                patience=self.patience,
                authorizer=authorizer,
                stream=stream,
                elsewhere=True,
                again=again,
            )
        except HttpFailure as failure:
            raise error_of(failure) from None

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


def failure(response: Answer, what: str) -> ServerError:
    """The error that an answer stands for, with the server's own words."""
    body = response.beginning(LARGEST_FAILURE, FAILURE_SECONDS)
    status = response.status
    text = f"{what}: the server answered {status} {response.reason}".rstrip()
    if status in (301, 302, 303, 307, 308):
        return ServerError(f"{text}: it redirects to {shown(response.headers.get('Location', ''))}", status)
    words = reason_of(body)
    hint = {
        401: " (give credentials, or check those that were given)",
        403: " (the credentials do not allow this; a wider scope may be needed)",
    }.get(status, "")
    return ServerError(f"{text}{hint}" + (f": {words}" if words else ""), status)
