"""How servers are reached: certificates, times, proxies, and how often a request is made again."""

from __future__ import annotations

import random
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from msgspec import Struct


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


@dataclass(frozen=True, slots=True)
class Connection:
    """Settings of connections. Times are seconds; `kept` is how many connections to a host are kept open."""

    ca: str | Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    kept: int = 8
    environment_proxies: bool = True

    def tls(self) -> ssl.SSLContext:
        """The TLS settings: the system's authorities and the private one. Raises FileNotFoundError, and ValueError for files that do not serve."""
        for file in (self.ca, self.certificate, self.key):
            if file is not None and not Path(file).exists():
                raise FileNotFoundError(f"{file} does not exist")
        context = ssl.create_default_context()
        try:
            if self.ca is not None:
                context.load_verify_locations(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"{self.ca}: no certificates in PEM form: {error}") from None
        try:
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"{self.certificate}: no certificate with its key in PEM form: {error}") from None
        return context

    def proxy(self, url: str) -> str | None:
        """The proxy that the environment names for an address (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY)."""
        if not self.environment_proxies:
            return None
        parts = urlsplit(url)
        if proxy_bypass(parts.netloc.rpartition("@")[2]):
            return None
        known = getproxies()
        return known.get(parts.scheme) or known.get("all")


class Urllib3Missing(ValueError):
    """The package urllib3 is not installed."""


def urllib3_module() -> Any:
    """urllib3. Raises Urllib3Missing with how to get it."""
    try:
        import urllib3
    except ImportError:
        raise Urllib3Missing("requests over HTTP need the package urllib3: pip install urllib3") from None
    return urllib3
