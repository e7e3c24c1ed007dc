"""Terminology from files, with a manifest and a terminology server where they are named: what a run opens before it compiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from fhir_eligibility.algebra.arguments import flag, path_of, text_of
from fhir_eligibility.algebra.collector import uncollected
from fhir_eligibility.algebra.diagnostic import Diagnostic
from fhir_eligibility.artifacts.manifests import Manifest, read_manifest
from fhir_eligibility.artifacts.own_outputs import Below
from fhir_eligibility.data.terminology.value_sets import Terminology

PathLike = str | Path
SERVER = "fhir_eligibility.data.terminology.server"  # loaded where a server is named


@dataclass(frozen=True, slots=True)
class TerminologyOptions:
    """Where value sets come from besides files. `auth` says where credentials are (as `credentials_of` takes it), and never holds one itself."""

    manifest: PathLike | None = None
    server: str | None = None
    cache: PathLike | None = None
    refresh: bool = False
    auth: str | None = None

    def __post_init__(self) -> None:
        for name, path in (("manifest", self.manifest), ("cache", self.cache)):
            if path is not None:
                path_of(path, name)
        for name, text in (("server", self.server), ("auth", self.auth)):
            if text is not None:
                text_of(text, name)
        flag(self.refresh, "refresh")

    def check(self) -> None:
        """Raises ValueError for options that mean nothing without --terminology-server."""
        if self.server is None and (self.cache is not None or self.refresh or self.auth is not None):
            raise ValueError("a terminology cache, its refreshing and credentials need --terminology-server")
        if self.refresh and self.cache is None:
            raise ValueError("--refresh-terminology needs --terminology-cache")


def open_terminology(paths: Iterable[PathLike], options: TerminologyOptions | None = None) -> Terminology:
    """The value sets and code systems in files and folders, with manifest and server. Close it once all is resolved.

    Raises FileNotFoundError, and ValueError for a manifest that cannot be read, options that contradict each other, or a missing credential.
    """
    options = options or TerminologyOptions()
    options.check()
    found = load_terminology(paths)
    if options.manifest is not None:
        found.manifest = load_manifest(options.manifest)
    if options.server is not None:
        found.server = import_module(SERVER).TerminologyServer(
            options.server, None if options.cache is None else Path(options.cache), options.refresh, options.auth
        )
    return found


def load_manifest(path: PathLike) -> Manifest:
    """A manifest from a file. Raises FileNotFoundError and ValueError."""
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        data = msgspec.json.decode(file.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except msgspec.DecodeError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path}: a manifest is a Library or Parameters")
    try:
        return read_manifest(data, str(path))
    except (AttributeError, TypeError):
        raise ValueError(f"{path}: the manifest is not built as FHIR wants") from None


def load_terminology(paths: Iterable[PathLike]) -> Terminology:
    """Value sets and code systems in files, folders and NDJSON; each file counts once. Raises FileNotFoundError."""
    found = Terminology()
    with uncollected():
        for file in _files(paths):
            try:
                _read(file, found)
            except (msgspec.DecodeError, OSError, RecursionError) as error:
                found.diagnostics.append(Diagnostic("invalid-json", f"cannot be read: {error}", location=str(file)))
    return found


def _read(file: Path, found: Terminology) -> None:
    if file.suffix in (".cql", ".xml"):
        return  # a library or a data model, which may be given beside
    raw = file.read_bytes()
    if b'"ValueSet"' not in raw and b'"CodeSystem"' not in raw:
        return
    lines = raw.splitlines() if file.suffix == ".ndjson" else [raw]
    for number, line in enumerate(lines, 1):
        data: Any = msgspec.json.decode(line.removeprefix(b"\xef\xbb\xbf")) if line.strip() else None
        for resource in data if isinstance(data, list) else [data]:
            if isinstance(resource, dict):
                found.add(resource, f"{file}:{number}" if file.suffix == ".ndjson" else str(file))


def _files(paths: Iterable[PathLike]) -> Iterator[Path]:
    seen: set[Path] = set()
    for given in paths:
        path = Path(given)
        if path.is_dir():
            files = Below(path, (".json", ".ndjson")).files
        elif path.is_file():
            files = [path]
        else:
            raise FileNotFoundError(f"{path} does not exist")
        for file in files:
            resolved = file.resolve()
            if resolved not in seen:
                seen.add(resolved)
                yield file
