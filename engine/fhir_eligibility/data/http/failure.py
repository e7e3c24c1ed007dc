"""Why a request had no answer: a closed list, and the exception that carries one, in words of ours.

The messages of the libraries beneath may hold whole addresses, which may be signed, and are not repeated.
"""

from __future__ import annotations

import ssl
from enum import StrEnum
from typing import Any

from fhir_eligibility.data.http.address import shown


class Fault(StrEnum):
    """Why there is no answer. The list is closed."""

    ADDRESS = "address"
    """There is no such address."""
    CONNECTION = "connection"
    """No connection, or it broke."""
    TIMEOUT = "timeout"
    """No answer within the time allowed."""
    TLS = "tls"
    """A certificate was not accepted."""
    BUSY = "busy"
    """The server asks to come again later than one is willing to wait."""
    REDIRECTED = "redirected"
    """It points to a place where requests do not follow, or in a circle."""
    LIMIT = "limit"
    """The answer is larger than allowed."""
    CREDENTIALS = "credentials"
    """The credentials cannot be had, or must not go there."""
    STOPPED = "stopped"
    """The work was given up."""


class HttpFailure(Exception):
    """A request had no usable answer. `unsent` tells that it never reached the server, `may_pass` that another try may help."""

    def __init__(
        self,
        fault: Fault,
        url: str,
        words: str,
        *,
        status: int | None = None,
        unsent: bool = False,
        may_pass: bool = False,
    ) -> None:
        super().__init__(f"{shown(url)}: {words}")
        self.fault = fault
        self.words = words
        self.status = status
        self.unsent = unsent
        self.may_pass = may_pass


def failure_of(error: BaseException, url: str, found: Any) -> HttpFailure:
    """What an error of urllib3 or of the socket means; `found` are urllib3's exceptions."""
    cause = error
    while isinstance(cause, (found.MaxRetryError, found.ProxyError)) and isinstance(
        inner := getattr(cause, "reason", None) or getattr(cause, "original_error", None), BaseException
    ):
        cause = inner
    if isinstance(cause, found.NewConnectionError):  # a kind of ConnectTimeoutError, of all things
        words = f"no connection{_because(cause)}"
        return HttpFailure(Fault.CONNECTION, url, words, unsent=True, may_pass=True)
    if isinstance(cause, found.ConnectTimeoutError):
        return HttpFailure(Fault.TIMEOUT, url, "no connection within the time allowed", unsent=True, may_pass=True)
    if isinstance(cause, (found.TimeoutError, TimeoutError)):
        return HttpFailure(Fault.TIMEOUT, url, "no answer within the time allowed", may_pass=True)
    if isinstance(cause, (found.SSLError, ssl.SSLError)):
        return HttpFailure(Fault.TLS, url, _distrust(cause))
    if isinstance(cause, found.ProxySchemeUnknown):
        return HttpFailure(Fault.CONNECTION, url, "the proxy of the environment is of an unknown kind", unsent=True)
    if isinstance(cause, (found.LocationParseError, found.LocationValueError, UnicodeError)):
        return HttpFailure(Fault.ADDRESS, url, "there is no such address")
    return HttpFailure(Fault.CONNECTION, url, f"the connection broke ({type(cause).__name__})", may_pass=True)


def _because(error: BaseException) -> str:
    """What the system says of a connection that it could not make."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return f": {seen.strerror}"
        seen = seen.__cause__ or seen.__context__
    return ""


_UNTRUSTED = (
    "self-signed certificate",
    "unable to get local issuer certificate",
    "certificate has expired",
)


def _distrust(error: BaseException) -> str:
    """What is wrong with a certificate, without the clutter of OpenSSL."""
    text = str(error)
    known = next((words for words in _UNTRUSTED if words in text), None)
    if known is None and ("doesn't match" in text or "mismatch" in text):
        known = "it is of another host"
    if known is None and "CERTIFICATE_VERIFY_FAILED" not in text:
        return "the connection cannot be encrypted (TLS failed)"
    why = f" ({known})" if known is not None else ""
    return f"the server's certificate is not trusted{why}; a private authority's certificate can be given"
