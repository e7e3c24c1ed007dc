"""CQL libraries wherever they are published: `.cql` files, FHIR Library resources with CQL content, bundles and folders of them.

A store answers by name and version (as CQL's `include` asks) and by canonical url (as FHIR references do). It also keeps the data models
(ModelInfo files) found beside them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from fhir_eligibility.algebra.diagnostic import Diagnostic, Source
from fhir_eligibility.artifacts.mistaken_files import mistaken, not_json
from fhir_eligibility.artifacts.models.modelinfo import ModelInfo, read_model_info
from fhir_eligibility.artifacts.own_outputs import Below
from fhir_eligibility.artifacts.parameters import library_defaults
from fhir_eligibility.artifacts.positions import position_of
from fhir_eligibility.artifacts.records import ParameterValue
from fhir_eligibility.artifacts.shape import Checked, checked, json_problem, pointer

_COMMENTS = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
_QUOTED = r'(?:"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`|[A-Za-z_][\w]*)'
_HEADER = re.compile(rf"^\s*library\s+({_QUOTED}(?:\.{_QUOTED})*)(?:\s+version\s+'((?:[^'\\]|\\.)*)')?")
CQL_TYPES = ("text/cql", "application/cql")
ELM_TYPES = ("application/elm+json",)


class LibraryText(Struct, frozen=True):
    """One CQL library: its text, and what the FHIR resource that carries it says of it (None for a bare file).

    `defaults` are values that the resource gives for parameters (`cqf-defaultValue` in Library.parameter).
    """

    name: str | None
    version: str | None
    source: Source
    url: str | None = None
    resource_version: str | None = None
    defaults: tuple[ParameterValue, ...] = ()


class LibraryStore(Struct):
    """All libraries found; of two with one name and version the first stands."""

    libraries: list[LibraryText] = field(default_factory=list)
    models: list[ModelInfo] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    _named: dict[tuple[str, str | None], LibraryText] = field(default_factory=dict)
    _urls: dict[str, LibraryText] = field(default_factory=dict)

    # -- filling

    def add_path(self, path: str | Path) -> None:
        """A file, or every `.cql`, `.json` and ModelInfo `.xml` file below a folder. Raises FileNotFoundError."""
        path = Path(path)
        if path.is_dir():
            below = Below(path, (".cql", ".json", ".xml"))
            self.diagnostics += below.diagnostics
            for file in below.files:
                self.add_file(file)
        elif path.is_file():
            self.add_file(path)
        else:
            raise FileNotFoundError(f"{path} does not exist")

    def add_file(self, path: Path) -> None:
        """One file by its suffix; a JSON file may be any resource or bundle, and counts for the libraries in it."""
        raw = b""
        try:
            raw = path.read_bytes()
            text = raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        except OSError as error:
            found = f"cannot be read: {error.strerror or error}"
            self.diagnostics.append(Diagnostic("unreadable", found, location=str(path)))
            return
        except UnicodeDecodeError as error:
            # the reader of the artifacts tells of a file that is not JSON at all; others in the same words as here
            if path.suffix == ".cql" or (path.suffix in (".json", ".xml") and mistaken(raw, path.name) is None):
                code, message, hint = not_json(raw, path.name, error)
                self.diagnostics.append(Diagnostic(code, message, hint=hint, location=str(path)))
            return
        if path.suffix == ".cql":
            self.add_text(Source(str(path), text))
        elif path.suffix == ".xml":
            if "modelInfo" in text[:2000]:
                try:
                    self.models.append(read_model_info(text))
                except ValueError as error:
                    self.diagnostics.append(Diagnostic("model-info", str(error), location=str(path)))
        elif '"Library"' in text:
            try:
                data = msgspec.json.decode(text)
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                self.diagnostics.append(Diagnostic("invalid-json", json_problem(error, text), location=str(path)))
                return
            self.add_json(data, str(path), text)

    def add_json(self, data: Any, file: str, text: str | None = None) -> None:
        """The Library resources in a resource, a bundle, or a list of either; contained ones too. Of one that is not as FHIR has it, nothing is taken."""
        stack: list[tuple[Any, tuple[str | int, ...]]] = [(data, ())]
        while stack:
            found, path = stack.pop(0)
            if isinstance(found, list):
                stack[:0] = [(item, (*path, index)) for index, item in enumerate(found)]
            elif isinstance(found, dict):
                if found.get("resourceType") == "Library":
                    self._add_checked(checked(found), file, text, path)
                stack += _inside(found, path)

    def _add_checked(self, found: Checked, file: str, text: str | None, path: tuple[str | int, ...]) -> None:
        for finding in found.findings:
            at = position_of(text, (*path, *finding.path)) if text is not None else None
            where = f"{file}:{at[0]}:{at[1]}" if at else file
            identifier = found.resource.get("id")
            name = f"Library/{identifier}" if identifier else found.resource.get("url") or "Library"
            self.diagnostics.append(finding.diagnostic(f"{where} {name} {pointer('Library', finding.path)}"))
        if not found.errors:
            self.add_resource(found.resource, file)

    def add_resource(self, resource: dict[str, Any], file: str) -> None:
        """A FHIR Library: its CQL, else its ELM, else a diagnostic that it carries neither."""
        name = f"{file}#Library/{resource.get('id') or resource.get('name') or ''}"
        contents = [c for c in resource.get("content") or () if isinstance(c, dict) and c.get("data")]
        for kinds in (CQL_TYPES, ELM_TYPES):
            for content in contents:
                kind = str(content.get("contentType") or "").partition(";")[0].strip().lower()
                if kind not in kinds:
                    continue
                try:
                    text = base64.b64decode(content["data"], validate=False).decode("utf-8-sig")
                except (binascii.Error, UnicodeDecodeError, TypeError, ValueError) as error:
                    message = f"the content {kind} cannot be decoded: {error}"
                    self.diagnostics.append(Diagnostic("library-content", message, location=name))
                    continue
                self.add_text(Source(name, text), resource)
                return

    def add_text(self, source: Source, resource: dict[str, Any] | None = None) -> LibraryText:
        """A library text; name and version come from its first line, else from the resource."""
        name, version = header(source.text)
        resource = resource or {}
        name_ = name or resource.get("name")
        found = LibraryText(
            name_,
            version if name else resource.get("version"),
            source,
            resource.get("url"),
            resource.get("version"),
            library_defaults(resource, name_),
        )
        self.add(found, resource.get("id"))
        return found

    def add(self, found: LibraryText, identifier: str | None = None) -> None:
        """A library already read; `identifier` is the id of the resource that carries it."""
        self.libraries.append(found)
        if found.name is not None:
            self._named.setdefault((found.name, found.version), found)
        for key in (found.url, f"{found.url}|{found.resource_version}" if found.resource_version else None):
            if found.url and key:
                self._urls.setdefault(key, found)
        if identifier:
            self._urls.setdefault(f"Library/{identifier}", found)
            self._urls.setdefault(f"#{identifier}", found)

    # -- asking

    def find(self, name: str, version: str | None) -> Source | None:
        """The text of a library by its name and version; of several where none is asked for, the latest.

        Where the version asked for is not there but one other is, that one: the compiler warns of the difference.
        """
        exact = self._named.get((name, version))
        if exact is not None:
            return exact.source
        short = name.rpartition(".")[2]
        fitting = [x for x in self.libraries if x.name is not None and (x.name == name or x.name == short)]
        if version is not None:
            same = [x for x in fitting if x.version == version]
            if same:
                return same[0].source
            return fitting[0].source if len({x.version for x in fitting}) == 1 else None
        return max(fitting, key=lambda x: version_key(x.version)).source if fitting else None

    def by_url(self, canonical: str) -> LibraryText | None:
        """A library by canonical url, with or without `|version`, or by `Library/id` or `#id`."""
        found = self._urls.get(canonical)
        if found is None:
            found = self._urls.get(canonical.partition("|")[0])
        if found is None and "/Library/" in canonical:
            found = self._urls.get("Library/" + canonical.partition("|")[0].rpartition("/Library/")[2])
        return found


def _inside(resource: dict[str, Any], path: tuple[str | int, ...]) -> Iterator[tuple[Any, tuple[str | int, ...]]]:
    """The resources in a bundle, and those that are contained in another."""
    for name in ("contained", "entry"):
        items = resource.get(name)
        for index, item in enumerate(items if isinstance(items, list) else ()):
            if name == "contained":
                yield item, (*path, name, index)
            elif isinstance(item, dict):
                yield item.get("resource"), (*path, name, index, "resource")


def load_libraries(paths: Iterable[str | Path]) -> LibraryStore:
    """The libraries and data models in files and folders. Raises FileNotFoundError."""
    store = LibraryStore()
    for path in paths:
        store.add_path(path)
    return store


def header(text: str) -> tuple[str | None, str | None]:
    """Name and version from the first definition of a library text; None where it has no name."""
    found = _HEADER.match(_COMMENTS.sub(" ", text[:20_000]))
    if found is None:
        return None, None
    name = ".".join(part.strip('"`') for part in re.findall(_QUOTED, found.group(1)))
    return name, found.group(2)


def is_version(asked: str, given: object) -> bool:
    """Whether a version is the one that a canonical reference asks for, or a release of it (`1.0.2` of `1.0`)."""
    return isinstance(given, str) and (given == asked or given.startswith(f"{asked}."))


def version_key(version: str | None) -> tuple[Any, ...]:
    """Versions in order: numbers as numbers, none before all."""
    if version is None:
        return ()
    parts = re.split(r"[.\-]", version)
    return tuple(
        (0, len(part.lstrip("0")), part.lstrip("0")) if part.isascii() and part.isdigit() else (1, 0, part)
        for part in parts
    )
