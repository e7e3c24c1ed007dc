"""A terminology server's `ValueSet/$expand`: all pages of an expansion, with patience, and kept on disk where a folder is named.

Needs httpx (the extra `server`). A credential comes from an environment variable, goes into one header, and nowhere else: not into messages,
not into the cache, not over plain http to another machine.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from engine.data.terminology import TerminologyError
from engine.version import __version__

COUNT = 1000
ATTEMPTS = 5
LONGEST_WAIT = 120.0
PAGES = 10_000
_PASSING = (429, 500, 502, 503, 504)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_FORMAT = 1


class TerminologyServer:
    """One server. `cache` is a folder for expansions, `refresh` asks anew for what is in it, `auth` names an environment variable.

    The variable holds `Bearer ...` or `Basic ...` as it is to be sent, `user:password`, or a bare token. Raises ValueError for an address
    that is none, or that carries a password, and for a variable that is not set.
    """

    def __init__(
        self,
        base: str,
        cache: Path | None = None,
        refresh: bool = False,
        auth: str | None = None,
        *,
        timeout: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base = base.rstrip("/")
        self.cache, self.refresh, self.auth = cache, refresh, auth
        self.timeout, self.sleep = timeout, sleep
        self._credential = _credential(self.base, auth)
        self._client: Any = None

    @property
    def name(self) -> str:
        """How messages name the server."""
        return f"the terminology server {self.base}"

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def expand(self, url: str, version: str | None, systems: dict[str, str]) -> dict[str, Any] | None:
        """A value set with its whole expansion; None where the server does not know it. `systems` pins versions of code systems.

        Raises TerminologyError for a server that does not answer, refuses, or answers with something else.
        """
        file = self._file(url, version, systems)
        if file is not None and not self.refresh:
            kept = _read(file, self.base)
            if kept is not None:
                return kept
        parameters = [("url", url)]
        if version is not None:
            parameters.append(("valueSetVersion", version))
        parameters += [("system-version", f"{system}|{pin}") for system, pin in sorted(systems.items())]
        found = self._pages(parameters)
        if found is not None and version is not None and found.get("version") not in (None, version):
            raise TerminologyError(f"{self.name} gave version {found['version']}, not {version}")
        if found is not None and file is not None:
            _write(file, self.base, found)
        return found

    def _pages(self, parameters: list[tuple[str, str]]) -> dict[str, Any] | None:
        contains: list[Any] = []
        whole: dict[str, Any] | None = None
        last: list[Any] | None = None
        for _ in range(PAGES):
            page = self._get([*parameters, ("count", str(COUNT)), ("offset", str(len(contains)))])
            if page is None:
                if whole is None:
                    return None
                raise TerminologyError(f"{self.name} forgot the value set between two pages of its expansion")
            expansion = page.get("expansion")
            if page.get("resourceType") != "ValueSet" or not isinstance(expansion, dict):
                kind = page.get("resourceType") or "no resource"
                raise TerminologyError(f"{self.name} answered $expand with {kind}, not with an expanded ValueSet")
            codes = expansion.get("contains") or []
            if whole is None:
                whole = page
            if codes and codes == last:
                if "offset" not in expansion:
                    break  # a server that does not page gave everything at once
                raise TerminologyError(f"{self.name} gives the same page of the expansion again and again")
            contains += codes
            last = codes
            total = expansion.get("total")
            total = total if isinstance(total, int) else None
            unpaged = "offset" not in expansion and (total is None and len(codes) != COUNT)
            if not codes or unpaged or (total is not None and _counted(contains) >= total):
                break
            if total is None and len(codes) < COUNT:
                break
        else:
            raise TerminologyError(f"{self.name} gives more than {PAGES} pages")
        assert whole is not None
        expansion = {**whole["expansion"], "contains": contains}
        expansion.pop("offset", None)
        return {**whole, "expansion": expansion}

    # -- one request

    def _get(self, parameters: list[tuple[str, str]]) -> dict[str, Any] | None:
        """One answer as JSON; None for a value set that the server does not know."""
        try:
            import httpx
        except ImportError:
            message = "a terminology server needs httpx: pip install 'fhir-eligibility[server]'"
            raise TerminologyError(message) from None
        if self._client is None:
            headers = {"Accept": "application/fhir+json", "User-Agent": f"fhir-eligibility/{__version__}"}
            if self._credential is not None:
                headers["Authorization"] = self._credential
            self._client = httpx.Client(headers=headers, timeout=self.timeout, follow_redirects=False)
        problem = ""
        for attempt in range(1, ATTEMPTS + 1):
            wait = min(2.0 ** (attempt - 1), LONGEST_WAIT)
            try:
                response = self._client.get(f"{self.base}/ValueSet/$expand", params=parameters)
            except httpx.InvalidURL:
                raise TerminologyError(f"{self.name}: the address cannot be read") from None
            except httpx.RequestError as error:
                problem = f"cannot be reached: {type(error).__name__}: {error}"
            else:
                if response.status_code not in _PASSING:
                    return self._answer(response)
                problem = f"answered {response.status_code}{_outcome(response)}"
                wait = _retry_after(response.headers.get("Retry-After"), wait)
                if wait > LONGEST_WAIT:
                    raise TerminologyError(f"{self.name} {problem}, and asks to wait for {wait:.0f} s: try again later")
            if attempt < ATTEMPTS:
                self.sleep(wait)
        raise TerminologyError(f"{self.name} {problem}; gave up after {ATTEMPTS} attempts")

    def _answer(self, response: Any) -> dict[str, Any] | None:
        status = response.status_code
        if status == 404 or (status in (400, 422) and "not-found" in _codes(response)):
            return None
        if status in (401, 403):
            hint = "check the credential in it" if self.auth else "name an environment variable by --terminology-auth"
            where = f" ({self.auth})" if self.auth else ""
            raise TerminologyError(f"{self.name} refuses access ({status}){where}: {hint}")
        if 300 <= status < 400:
            target = urlsplit(response.headers.get("Location", ""))
            place = f"{target.scheme}://{target.hostname}{target.path}" if target.hostname else "elsewhere"
            raise TerminologyError(f"{self.name} redirects to {place}: give the address itself")
        if "too-costly" in _codes(response):
            raise TerminologyError(f"{self.name} finds the expansion too costly{_outcome(response)}")
        if status != 200:
            raise TerminologyError(f"{self.name} answered {status}{_outcome(response)}")
        try:
            data = msgspec.json.decode(response.content)
        except msgspec.DecodeError:
            kind = response.headers.get("Content-Type", "no content type")
            raise TerminologyError(
                f"{self.name} did not answer with JSON ({kind}): is the address its FHIR base?"
            ) from None
        if not isinstance(data, dict):
            raise TerminologyError(f"{self.name} did not answer with a FHIR resource")
        return data

    # -- the cache

    def _file(self, url: str, version: str | None, systems: dict[str, str]) -> Path | None:
        if self.cache is None:
            return None
        parts = (_FORMAT, self.base, url, version, sorted(systems.items()))
        return self.cache / f"{hashlib.sha256(repr(parts).encode()).hexdigest()}.json"


def _counted(contains: list[Any]) -> int:
    count, stack = 0, [contains]
    while stack:
        for item in stack.pop():
            count += 1
            if isinstance(item, dict) and item.get("contains"):
                stack.append(item["contains"])
    return count


def _credential(base: str, auth: str | None) -> str | None:
    """The Authorization header, None where there is none to send. Raises ValueError, whose message never holds a credential."""
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("--terminology-server: write the FHIR base address, such as https://tx.example.org/r4")
    if parts.username or parts.password:
        raise ValueError(
            "--terminology-server: no credentials in the address; put them into a variable (--terminology-auth)"
        )
    if auth is None:
        return None
    value = os.environ.get(auth, "").strip()
    if not value:
        raise ValueError(f"--terminology-auth: the environment variable {auth} is not set")
    if not value.isascii() or not value.isprintable():
        raise ValueError(
            f"--terminology-auth: the environment variable {auth} holds characters that no header can carry"
        )
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError("--terminology-auth: credentials are not sent over plain http; use https")
    if value.lower().startswith(("bearer ", "basic ")):
        return value
    if ":" in value:
        return "Basic " + base64.b64encode(value.encode()).decode()
    return f"Bearer {value}"


def _retry_after(text: str | None, otherwise: float) -> float:
    """Seconds to wait as the header says: a number, or a date."""
    if text is None:
        return otherwise
    if text.strip().isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return otherwise
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())


def _issues(response: Any) -> list[dict[str, Any]]:
    try:
        data = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        return []
    if not isinstance(data, dict) or data.get("resourceType") != "OperationOutcome":
        return []
    return [issue for issue in data.get("issue") or () if isinstance(issue, dict)]


def _codes(response: Any) -> set[str]:
    return {str(issue.get("code")) for issue in _issues(response)}


def _outcome(response: Any) -> str:
    """What an OperationOutcome says, as the end of a sentence."""
    for issue in _issues(response):
        text = (issue.get("details") or {}).get("text") or issue.get("diagnostics")
        if text:
            return f": {' '.join(str(text).split())[:300]}"
    return ""


def _read(file: Path, base: str) -> dict[str, Any] | None:
    """A kept expansion, where the file is there, whole, and of this server."""
    try:
        kept = msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    if not isinstance(kept, dict) or kept.get("format") != _FORMAT or kept.get("server") != base:
        return None
    found = kept.get("valueSet")
    return found if isinstance(found, dict) else None


def _write(file: Path, base: str, found: dict[str, Any]) -> None:
    """Keep an expansion, whole or not at all. Raises TerminologyError where the folder cannot be written."""
    fetched = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    text = json.dumps({"format": _FORMAT, "server": base, "fetched": fetched, "valueSet": found}, ensure_ascii=False)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(name, file)
    except OSError as error:
        raise TerminologyError(f"the terminology cache {file.parent} cannot be written: {error}") from None
