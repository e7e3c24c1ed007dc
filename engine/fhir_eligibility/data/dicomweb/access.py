"""How an archive is reached: addresses, credentials and to whom they go, certificates, timeouts, retries, proxies."""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from fhir_eligibility.data.server.client import is_loopback


@dataclass(frozen=True, slots=True)
class Access:
    """Settings of a connection. Times are seconds. `own` are the addresses that credentials may go to, and no others.

    Raises ValueError where credentials would go over plain http to another machine, unless `allow_http`.
    """

    own: tuple[str, ...] = ()
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    retries: int = 3
    backoff: float = 0.5
    longest_wait: float = 60.0
    concurrency: int = 4
    environment_proxies: bool = True
    allow_http: bool = False

    def __post_init__(self) -> None:
        if self.allow_http or self.user is None and self.token is None:
            return
        for url in self.own:
            parts = urlsplit(url)
            if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
                raise ValueError(
                    f"{url}: credentials would go there without encryption; use https, or say --allow-http"
                )

    def authorization(self, url: str) -> str | None:
        """The Authorization header for a URL, None where credentials must not go there."""
        if not any(within(url, base) for base in self.own):
            return None
        if self.token is not None:
            return f"Bearer {self.token}"
        if self.user is not None:
            pair = f"{self.user}:{self.password or ''}".encode()
            return "Basic " + base64.b64encode(pair).decode("ascii")
        return None

    def tls(self) -> ssl.SSLContext:
        """The TLS settings: the system's authorities and the private one. Raises ValueError for files that do not serve."""
        context = ssl.create_default_context()
        try:
            if self.ca_file is not None:
                context.load_verify_locations(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"{self.ca_file}: no certificates of an authority (PEM): {error}") from None
        try:
            if self.client_certificate is not None:
                context.load_cert_chain(self.client_certificate, self.client_key)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"{self.client_certificate}: no certificate with its key (PEM): {error}") from None
        return context

    def proxy(self, url: str) -> str | None:
        """The proxy that the environment names for a URL (HTTP_PROXY, HTTPS_PROXY, NO_PROXY)."""
        if not self.environment_proxies:
            return None
        parts = urlsplit(url)
        if proxy_bypass(parts.netloc.rpartition("@")[2]):
            return None
        return getproxies().get(parts.scheme)


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def within(url: str, base: str) -> bool:
    """Whether a URL is that of an archive or lies below it: same scheme, host and port, and a path that cannot climb out."""
    if origin(url) != origin(base):
        return False
    path = unquote(urlsplit(url).path)
    if "\\" in path or ".." in path.split("/"):
        return False
    below = unquote(urlsplit(base).path).rstrip("/")
    return path == below or path.startswith(below + "/")


def extra_missing(name: str) -> ValueError:
    """The error where an optional package is not installed."""
    return ValueError(f"{name} is not installed; the commands for images need it: pip install pydicom urllib3")


def urllib3_module() -> Any:
    """urllib3, or a ValueError that says how to get it."""
    try:
        import urllib3
    except ImportError:
        raise extra_missing("urllib3") from None
    return urllib3


def pydicom_module() -> Any:
    """pydicom, or a ValueError that says how to get it."""
    try:
        import pydicom
    except ImportError:
        raise extra_missing("pydicom") from None
    return pydicom
