"""Addresses: their origin, whether one lies below another, and how messages show them."""

from __future__ import annotations

import ipaddress
from urllib.parse import unquote, urlsplit, urlunsplit

Origin = tuple[str, str, int]


def shown(url: str) -> str:
    """An address fit for messages: without query, which may be signed, and without anything before an @."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(no address)"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" + ("?..." if parts.query else "")


def origin(url: str) -> Origin:
    """Scheme, host and port of an HTTP address. Raises ValueError for any other."""
    parts = urlsplit(url)
    scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    if scheme not in ("http", "https") or not host:
        raise ValueError("expected an address of the form https://host/path")
    return scheme, host.lower(), port or (443 if scheme == "https" else 80)


def ascii_host(url: str) -> str:
    """An address whose host is written as it is looked up: `bücher.example` is `xn--bcher-kva.example`. Raises ValueError."""
    if url.isascii():
        return url
    parts = urlsplit(url)
    host = (parts.hostname or "").encode("idna").decode("ascii")
    port = "" if parts.port is None else f":{parts.port}"
    return urlunsplit((parts.scheme, f"{host}{port}", *parts[2:]))


def same_origin(one: str, other: str) -> bool:
    """Whether two addresses have scheme, host and port in common."""
    try:
        return origin(one) == origin(other)
    except ValueError:
        return False


def within(url: str, base: str) -> bool:
    """Whether an address is a base or lies below it: same scheme, host and port, and a path that cannot climb out."""
    if not same_origin(url, base):
        return False
    path = unquote(urlsplit(url).path)
    if "\\" in path or ".." in path.split("/"):
        return False
    below = unquote(urlsplit(base).path).rstrip("/")
    return path == below or path.startswith(below + "/")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def encrypted(url: str) -> bool:
    """Whether what goes to an address is read by nobody on the way: it is https, or this machine. Raises ValueError for no address."""
    scheme, host, _ = origin(url)
    return scheme == "https" or is_loopback(host)
