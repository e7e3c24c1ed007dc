"""How an archive is reached: credentials and to whom they go, certificates, times, tries."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fhir_eligibility.data.http.address import encrypted, within
from fhir_eligibility.data.http.connection import Connection, Patience

LONGEST_DELAY = 60.0


@dataclass(frozen=True, slots=True)
class Access:
    """Settings of a connection. Times are seconds. `authorization` is the value of that header, and `own` are the addresses that it may go to, and no others.

    Raises ValueError where credentials would go over plain http to another machine, unless `allow_http`.
    """

    own: tuple[str, ...] = ()
    authorization: str | None = field(default=None, repr=False)
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
        if self.allow_http or self.authorization is None:
            return
        for url in self.own:
            if not encrypted(url):
                raise ValueError(
                    f"{url}: credentials would go there without encryption; use https, or say --allow-http"
                )

    def header(self, url: str) -> str | None:
        """The Authorization header for a URL, None where credentials must not go there."""
        return self.authorization if any(within(url, base) for base in self.own) else None

    def renew(self, rejected: str) -> bool:
        """There are no other credentials."""
        return False

    def connection(self) -> Connection:
        """How connections are made."""
        return Connection(
            ca=self.ca_file,
            certificate=self.client_certificate,
            key=self.client_key,
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout,
            kept=self.concurrency,
            environment_proxies=self.environment_proxies,
        )

    def patience(self) -> Patience:
        """How often a request is made, and how long one waits for it."""
        return Patience(
            attempts=1 + self.retries,
            first=self.backoff,
            most=LONGEST_DELAY,
            longest=self.longest_wait,
            answer=10 * self.read_timeout,
        )


def pydicom_module() -> Any:
    """pydicom, or a ValueError that says how to get it."""
    try:
        import pydicom
    except ImportError:
        raise ValueError("the commands for images need the package pydicom: pip install pydicom") from None
    return pydicom
