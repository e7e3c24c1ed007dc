"""Why an archive gave no answer: a closed list of causes, and the exception that carries one."""

from __future__ import annotations

from enum import StrEnum


class FailureCause(StrEnum):
    """Why an archive could not be asked. The list is closed."""

    NO_ARCHIVE = "no-archive"
    """The data names no archive, and none was given."""
    CONNECTION = "connection"
    """No connection, or it broke."""
    TIMEOUT = "timeout"
    """No answer within the time allowed."""
    TLS = "tls"
    """The certificate of the archive, or ours, was not accepted."""
    UNAUTHORIZED = "unauthorized"
    """The archive wants credentials, or others (401)."""
    FORBIDDEN = "forbidden"
    """The credentials do not allow this (403)."""
    NOT_FOUND = "not-found"
    """There is no such thing at this address (404, 410)."""
    NOT_ACCEPTABLE = "not-acceptable"
    """It exists, but not in the encoding asked for (406, 415)."""
    BUSY = "busy"
    """The archive asked to come back later, more often than we do (429, 503)."""
    SERVER_ERROR = "server-error"
    """The archive failed (other 5xx)."""
    REDIRECTED = "redirected"
    """The archive points to another host; credentials and requests do not follow it."""
    REQUEST_REFUSED = "request-refused"
    """The archive does not take the request (other 4xx)."""
    MALFORMED_ANSWER = "malformed-answer"
    """The answer is no DICOMweb answer."""


class ArchiveFailure(Exception):
    """An archive gave no usable answer. The message names the address without credentials.

    `unsent` tells that the request never reached it.
    """

    def __init__(self, cause: FailureCause, message: str, status: int | None = None, *, unsent: bool = False) -> None:
        super().__init__(message)
        self.cause = cause
        self.message = message
        self.status = status
        self.unsent = unsent


def cause_of_status(status: int) -> FailureCause:
    """The cause behind an HTTP status that is no success (PS3.18 section 8.5)."""
    if status == 401:
        return FailureCause.UNAUTHORIZED
    if status == 403:
        return FailureCause.FORBIDDEN
    if status in (404, 410):
        return FailureCause.NOT_FOUND
    if status in (406, 415):
        return FailureCause.NOT_ACCEPTABLE
    if status in (408, 504):
        return FailureCause.TIMEOUT
    if status in (429, 503):
        return FailureCause.BUSY
    if 300 <= status < 400:
        return FailureCause.REDIRECTED
    return FailureCause.SERVER_ERROR if status >= 500 else FailureCause.REQUEST_REFUSED
