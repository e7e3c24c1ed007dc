"""A terminology server's `ValueSet/$expand`: all pages of an expansion, kept on disk where a folder is named.

Credentials go into one header, and nowhere else: not into messages, not into the cache.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from fhir_eligibility.data.http.connection import Patience
from fhir_eligibility.data.records.outcomes import issues_of
from fhir_eligibility.data.server.client import FHIR_JSON, Credentials, Server, ServerError, decode, failure
from fhir_eligibility.data.server.smart import StaticCredentials, credentials_of
from fhir_eligibility.data.terminology.value_sets import TerminologyError

COUNT = 1000
PAGES = 10_000
PATIENCE = Patience(attempts=5, longest=120.0)
_FORMAT = 1


class TerminologyServer:
    """One server. `cache` is a folder for expansions, `refresh` asks anew for what is in it, `auth` says where credentials are (`credentials_of`).

    Raises ValueError for an address that is none, or that carries a password, and for a place that holds no credentials.
    """

    def __init__(
        self,
        base: str,
        cache: Path | None = None,
        refresh: bool = False,
        auth: str | None = None,
        *,
        wait: Callable[[float], None] | None = None,
    ) -> None:
        self.cache, self.refresh, self.auth = cache, refresh, auth
        try:
            credentials = None if auth is None else _credentials(auth)
            self._server = Server(base, credentials=credentials, patience=PATIENCE, timeout=60.0, wait=wait)
        except ServerError as error:
            raise ValueError(f"--terminology-server: {error}") from None
        self.base = self._server.base

    @property
    def name(self) -> str:
        """How messages name the server."""
        return f"the terminology server {self.base}"

    def close(self) -> None:
        """Close the connection."""
        self._server.close()

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

    def _get(self, parameters: list[tuple[str, str]]) -> dict[str, Any] | None:
        """One answer as JSON; None for a value set that the server does not know."""
        url = self._server.url("ValueSet/$expand")
        try:
            response = self._server.request("GET", url, parameters=parameters, headers={"Accept": FHIR_JSON})
            if not response.is_success:
                if response.status == 404 or _says(response.content, "not-found"):
                    return None
                found = failure(response, self.name)
                if response.status in (401, 403):
                    hint = f"check the credentials of {self.auth}" if self.auth else "see --terminology-auth"
                    raise TerminologyError(f"{found}; {hint}")
                raise TerminologyError(str(found))
            data = decode(response.content, self.name)
        except ServerError as error:
            raise TerminologyError(str(error)) from None
        if not isinstance(data, dict):
            raise TerminologyError(f"{self.name} did not answer with a FHIR resource")
        return data

    # -- the cache

    def _file(self, url: str, version: str | None, systems: dict[str, str]) -> Path | None:
        if self.cache is None:
            return None
        parts = (_FORMAT, self.base, url, version, sorted(systems.items()))
        return self.cache / f"{hashlib.sha256(repr(parts).encode()).hexdigest()}.json"


def _credentials(text: str) -> Credentials:
    """What a text names; it has to be there now. Raises ValueError, ServerError."""
    try:
        found = credentials_of(text)
        if isinstance(found, StaticCredentials):
            found.secret.header()
    except ValueError as error:
        raise ValueError(f"--terminology-auth: {error}") from None
    return found


def _counted(contains: list[Any]) -> int:
    count, stack = 0, [contains]
    while stack:
        for item in stack.pop():
            count += 1
            if isinstance(item, dict) and item.get("contains"):
                stack.append(item["contains"])
    return count


def _says(body: bytes, code: str) -> bool:
    """Whether an OperationOutcome has an issue of a type."""
    try:
        return any(issue.get("code") == code for issue in issues_of(msgspec.json.decode(body)))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


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
