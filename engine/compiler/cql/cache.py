"""Compiled libraries on disk, so that the next process need not compile them again.

A cached library holds the emitted text and its Python code as marshalled by this very Python; it is found by a hash of everything that it
depends on. Files are pickles: only such as this program wrote, in a folder that belongs to the user alone, are read. A file that is broken
or of another origin counts as absent.
"""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import os
import pickle
import stat
import sys
import tempfile
from pathlib import Path

from engine.algebra.diagnostic import Source
from engine.compiler.cql.compiled import Compiled, Compiler
from engine.compiler.cql.scope import HELPERS
from engine.version import __version__

VARIABLE = "FHIR_ELIGIBILITY_CACHE"
_FORMAT = 2


def default_folder() -> Path | None:
    """The folder that `FHIR_ELIGIBILITY_CACHE` names, else one in the user's cache; None where it is `off`."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return None if named in ("", "off", "0") else Path(named)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "fhir-eligibility" / "cql"


class CachingCompiler(Compiler):
    """A compiler that keeps what it has compiled in a folder (None: it keeps nothing)."""

    folder: Path | None = None

    def compile(self, source: Source) -> Compiled:
        """As `Compiler.compile`; from the folder where it was compiled before. Raises DiagnosticError."""
        key = self.key(source)
        found = self.load(key, source)
        if found is None:
            found = super().compile(source)
            found.compile_code()
            self.store(key, found)
        return found

    def key(self, source: Source) -> str:
        """A hash of all that the compiled library depends on but its includes."""
        parts = (
            _FORMAT,
            __version__,
            sys.version,
            importlib.util.MAGIC_NUMBER,
            self.traced,
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
            raw = (self.folder / f"{key}.lib").read_bytes()
            digest, body = raw[:32], raw[32:]
            if hashlib.sha256(body).digest() != digest:
                return None
            library, code, includes = pickle.loads(body)
            if not isinstance(library, Compiled):
                return None
            for alias, name, version, fingerprint in includes:
                found = self.by_name(name, version)
                if found is None or fingerprint_of(found) != fingerprint:
                    return None
                library.includes[alias] = found
            library.code = marshal.loads(code)
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
        if folder is None or library.code is None:
            return
        includes = [
            (alias, include.name, self.wanted(library, alias), fingerprint_of(include))
            for alias, include in library.includes.items()
        ]
        kept, library.includes = library.includes, {}
        try:
            body = pickle.dumps((library, marshal.dumps(library.code), includes), protocol=5)
        finally:
            library.includes = kept
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not _trusted(folder):
                return
            handle, name = tempfile.mkstemp(dir=folder, suffix=".part")
            with os.fdopen(handle, "wb") as stream:
                stream.write(hashlib.sha256(body).digest() + body)
            os.replace(name, folder / f"{key}.lib")
        except OSError:
            return

    def wanted(self, library: Compiled, alias: str) -> str | None:
        """The version that an include asked for."""
        return library.wanted.get(alias)


def fingerprint_of(library: Compiled) -> str:
    """A hash of a library with all that it includes."""
    texts = sorted((x.key, x.source.text) for x in library.closure())
    return hashlib.sha256(repr(texts).encode()).hexdigest()


def _trusted(folder: Path) -> bool:
    """Whether a folder belongs to the user, and nobody else can write into it."""
    try:
        found = folder.stat()
    except OSError:
        return False
    if not hasattr(os, "getuid"):
        return True
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
