"""Compiled libraries on disk, so that the next process need not compile them again.

A cached library holds the emitted code as marshalled by this very Python; it is found by a hash of everything that it
depends on: its text, the options, the data models, and the files of this program (their sizes and times). Files are pickles: only such as
this program wrote, which belong to the user and which nobody else can write to, are read. A file that is broken or of another origin counts
as absent. `FHIR_ELIGIBILITY_CACHE` names another folder, or is `off`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import pickle
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from fhir_eligibility.algebra.diagnostic import Source
from fhir_eligibility.artifacts.models.modelinfo import ModelInfo
from fhir_eligibility.compiler.criteria.library import Compiled, Compiler, Finder
from fhir_eligibility.compiler.elm.scope import HELPERS
from fhir_eligibility.compiler.translate.cql_library import TranslationOptions
from fhir_eligibility.version import __version__

VARIABLE = "FHIR_ELIGIBILITY_CACHE"
KEPT = 500  # files; the oldest go first
_FORMAT = 6
_OWN = re.compile(r"[0-9a-f]{64}\.(?:(lib)|[^.]+\.part)")
_ABANDONED = 3600  # seconds after which a file that is still being written has lost its writer
_ENGINE = Path(__file__).resolve().parents[2]
_PARTS = ("algebra", "artifacts", "compiler")


def default_folder() -> Path | None:
    """The folder that `FHIR_ELIGIBILITY_CACHE` names, else one in the user's cache; None where it is `off`, or there is no home."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return None if named in ("", "off", "0") else Path(named)
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(home) / "fhir-eligibility" / "cql"


@lru_cache(maxsize=1)
def engine_files() -> str:
    """A hash of the names, sizes and times of the files that make a library what it is when it is compiled."""
    found = []
    for part in _PARTS:
        for path in sorted((_ENGINE / part).rglob("*")):
            if path.suffix in (".py", ".json"):
                known = path.stat()
                found.append((str(path.relative_to(_ENGINE)), known.st_size, known.st_mtime_ns))
    return hashlib.sha256(repr(found).encode()).hexdigest()


def caching_compiler(
    find: Finder | None = None,
    options: TranslationOptions | None = None,
    model_infos: Iterable[ModelInfo] = (),
    *,
    traced: bool = False,
    explained: bool = False,
) -> CachingCompiler:
    """A compiler that keeps what it compiles where the environment says."""
    found = CachingCompiler(find, options, model_infos, traced=traced, explained=explained)
    found.folder = default_folder()
    return found


class _Pickler(pickle.Pickler):
    """Leaves the library's own source out: it is at hand where the library is read again, and its identity matters."""

    def __init__(self, stream: io.BytesIO, source: Source) -> None:
        super().__init__(stream, protocol=5)
        self.source = source

    def persistent_id(self, obj: Any) -> str | None:
        return "source" if obj is self.source else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, source: Source) -> None:
        super().__init__(stream)
        self.source = source

    def persistent_load(self, pid: str) -> Source:
        return self.source


class CachingCompiler(Compiler):
    """A compiler that keeps what it has compiled in a folder (None: it keeps nothing)."""

    folder: Path | None = None

    def compile(self, source: Source) -> Compiled:
        """As `Compiler.compile`; from the folder where it was compiled before. Raises DiagnosticError."""
        key = self.key(source)
        found = self.load(key, source)
        if found is None:
            found = self.compile_once(source)
            self.store(key, found)
        return found

    def key(self, source: Source) -> str:
        """A hash of all that the compiled library depends on but its includes."""
        parts = (
            _FORMAT,
            __version__,
            engine_files(),
            sys.version,
            importlib.util.MAGIC_NUMBER,
            self.traced,
            self.explained,
            self.options.list_demotion,
            self.options.list_promotion,
            tuple((info.name, info.version, info.digest) for info in self.model_infos),
            source.name,
            source.text,
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def load(self, key: str, source: Source) -> Compiled | None:
        """The library of a key, where its file is there, whole, ours, and its includes are as they were."""
        if self.folder is None or not _trusted(self.folder):
            return None
        try:
            raw = _read(self.folder / f"{key}.lib")
            digest, body = raw[:32], raw[32:]
            if hashlib.sha256(body).digest() != digest:
                return None
            library, includes = _Unpickler(io.BytesIO(body), source).load()
            if not isinstance(library, Compiled):
                return None
            for alias, name, version, fingerprint in includes:
                found = self.by_name(name, version)
                if found is None or fingerprint_of(found) != fingerprint:
                    return None
                library.includes[alias] = found
            library.printed = partial(self.python, source)
            return library
        except (OSError, ValueError, TypeError, AttributeError, LookupError, EOFError, ImportError, pickle.PickleError):
            return None

    def by_name(self, name: str, version: str | None) -> Compiled | None:
        """An included library, compiled or from the folder; None where it is not to be had."""
        if name.rpartition(".")[2] == HELPERS:
            return None
        known = self.compiled_libraries.get((name, version))
        if known is None:
            source = self.find(name, version) if self.find is not None else None
            if source is None:
                return None
            known = self.compiled_libraries[name, version] = self.compile(source)
        return known

    def store(self, key: str, library: Compiled) -> None:
        """Write a library, whole or not at all; that it cannot be written is no error."""
        folder = self.folder
        if folder is None:
            return
        includes = [
            (alias, include.name, self.wanted(library, alias), fingerprint_of(include))
            for alias, include in library.includes.items()
        ]
        kept, library.includes = library.includes, {}
        try:
            stream = io.BytesIO()
            _Pickler(stream, library.source).dump((library, includes))
            body = stream.getvalue()
        finally:
            library.includes = kept
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not _trusted(folder):
                return
            handle, name = tempfile.mkstemp(dir=folder, prefix=f"{key}.", suffix=".part")  # readable by the user alone
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(hashlib.sha256(body).digest() + body)
                os.replace(name, folder / f"{key}.lib")
            except BaseException:
                os.unlink(name)
                raise
            _prune(folder)
        except OSError:
            return

    def wanted(self, library: Compiled, alias: str) -> str | None:
        """The version that an include asked for."""
        return library.wanted.get(alias)


def fingerprint_of(library: Compiled) -> str:
    """A hash of a library with all that it includes."""
    texts = sorted((x.key, x.source.text) for x in library.closure())
    return hashlib.sha256(repr(texts).encode()).hexdigest()


def _read(path: Path) -> bytes:
    """A file of the cache. Raises OSError, also for one that is not the user's, or that others can write to."""
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
        if not _safe(os.fstat(file.fileno())):
            raise PermissionError(f"{path} is not the user's alone")
        return file.read()


def _prune(folder: Path) -> None:
    """Delete the oldest libraries beyond those that are kept, and what writers that were killed have left; no file of anyone else."""
    libraries: list[tuple[float, str]] = []
    for entry in os.scandir(folder):
        kind = _OWN.fullmatch(entry.name)
        if kind is None or not entry.is_file(follow_symlinks=False):
            continue
        written = entry.stat(follow_symlinks=False).st_mtime
        if kind[1]:
            libraries.append((written, entry.path))
        elif time.time() - written > _ABANDONED:
            os.unlink(entry.path)
    for _, path in sorted(libraries, reverse=True)[KEPT:]:
        os.unlink(path)


def _trusted(folder: Path) -> bool:
    """Whether a folder belongs to the user, and nobody else can write into it."""
    try:
        return _safe(folder.stat())
    except OSError:
        return False


def _safe(found: os.stat_result) -> bool:
    if not hasattr(os, "getuid"):
        return True
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
