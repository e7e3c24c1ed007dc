"""Value sets and code systems of a run: which codes a value set has, and what subsumes what (FHIR: Terminology).

Loads ValueSet and CodeSystem resources from files, folders and bundles. A value set that cannot be expanded whole is kept with what is
known of it: membership of any other code is then unknown, never false.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from engine.algebra.clinical import Code, CodeSystem, ValueSet
from engine.algebra.diagnostic import Diagnostic
from engine.artifacts.libraries import version_key
from engine.artifacts.terminology import CodeSystemRecord, Filter, Part, ValueSetRecord, code_system, value_set

Member = tuple[str | None, str | None]
_OID = re.compile(r"[0-2](?:\.(?:0|[1-9]\d*))+")


class Members(frozenset[Member]):
    """The codes (system, code) of a value set. `complete` is false where there may be more; `why` says so."""

    complete: bool = True
    why: str | None = None


def members_of(codes: Iterable[Member], why: str | None = None) -> Members:
    """Codes as members; with a reason where they may not be all."""
    found = Members(codes)
    found.complete, found.why = why is None, why
    return found


@dataclass(slots=True)
class Terminology:
    """Value sets and code systems by url; expanded at first use."""

    value_sets: dict[str, list[ValueSetRecord]] = field(default_factory=dict)
    code_systems: dict[str, list[CodeSystemRecord]] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    _expanded: dict[str, Members | None] = field(default_factory=dict)
    _ancestors: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)

    # -- filling

    def add(self, resource: dict[str, Any], place: str) -> None:
        """A ValueSet, a CodeSystem, or a bundle of them; anything else is passed over."""
        kind = resource.get("resourceType")
        try:
            if kind == "ValueSet":
                found = value_set(resource)
                for key in (found.url, *map(oid_of, (found.url, *found.identifiers))):
                    if key:
                        self.value_sets.setdefault(key, []).append(found)
            elif kind == "CodeSystem":
                system = code_system(resource)
                self.code_systems.setdefault(system.url, []).append(system)
        except (ValueError, TypeError, AttributeError) as error:
            self.diagnostics.append(Diagnostic("terminology", f"{kind}: {error}", location=place))
        for entry in resource.get("entry") or ():
            if isinstance(entry, dict) and isinstance(entry.get("resource"), dict):
                self.add(entry["resource"], place)
        for contained in resource.get("contained") or ():
            if isinstance(contained, dict):
                self.add(contained, place)

    # -- asking

    def find(self, url: str, version: str | None) -> ValueSetRecord | None:
        """A value set by url (or OID) and version; without a version the latest active one."""
        if "|" in url and version is None:
            url, _, version = url.partition("|")
        found = self.value_sets.get(url)
        if found is None:
            oid = oid_of(url)
            found = self.value_sets.get(oid) if oid is not None else None
        if not found:
            return None
        if version is not None:
            return next((x for x in found if x.version == version), None)
        return max(found, key=lambda x: (x.status == "active", version_key(x.version)))

    def get(self, url: str, default: Any = None) -> Members | Any:
        """The codes of a value set by `url` or `url|version`; `default` where it is not there."""
        if url not in self._expanded:
            found = self.find(url, None)
            self._expanded[url] = None if found is None else self._expand(found)
        members = self._expanded[url]
        return default if members is None else members

    def code_system(self, url: str, version: str | None = None) -> CodeSystemRecord | None:
        """A code system by url and version; without a version the latest."""
        found = self.code_systems.get(url) or []
        if version is not None:
            return next((x for x in found if x.version == version), None)
        return max(found, key=lambda x: version_key(x.version)) if found else None

    def in_code_system(self, code: Code, system: CodeSystem) -> bool | None:
        """Whether a code is of a code system; None where its codes are not all known."""
        if code.system is not None and code.system != system.id:
            return False
        record = self.code_system(system.id or "", system.version)
        if record is None:
            return None
        return True if code.code in record.parents else False if record.complete else None

    def subsumes(self, general: Code, special: Code) -> bool | None:
        """Whether a code is another or an ancestor of it; None where the code system is not there (CQL: Subsumes)."""
        if general.system != special.system:
            return False
        if general.code == special.code:
            return True
        record = self.code_system(general.system or "")
        if record is None or general.code not in record.parents or special.code not in record.parents:
            return None
        return general.code in self.ancestors(record, special.code or "")

    def ancestors(self, record: CodeSystemRecord, code: str) -> frozenset[str]:
        """All that a code descends from; circles end."""
        key = (record.url, code)
        if key not in self._ancestors:
            found: set[str] = set()
            stack = list(record.parents.get(code, ()))
            while stack:
                parent = stack.pop()
                if parent not in found:
                    found.add(parent)
                    stack.extend(record.parents.get(parent, ()))
            self._ancestors[key] = frozenset(found)
        return self._ancestors[key]

    # -- expansion

    def _expand(self, record: ValueSetRecord) -> Members:
        if record.expansion is not None:
            return members_of(
                record.expansion, "its expansion lists only some of its codes" if record.partial else None
            )
        key = f"{record.url}|{record.version}"
        if key in self._open:
            return members_of((), f"{record.url} includes itself")
        if not record.include:
            return members_of((), "it has neither an expansion nor a definition")
        self._open.append(key)
        try:
            found: set[Member] = set()
            reasons: list[str] = []
            for part in record.include:
                codes, why = self._part(part)
                found |= codes
                reasons += [why] if why else []
            for part in record.exclude:
                codes, why = self._part(part)
                if why:  # what is excluded is not all known: a code that stays may be one of them
                    reasons.append(why)
                    found.clear()
                found -= codes
            return members_of(found, reasons[0] if reasons else None)
        finally:
            self._open.pop()

    def _part(self, part: Part) -> tuple[set[Member], str | None]:
        """The codes of an include or exclude, and why they are not all."""
        found: set[Member] | None = None
        why: str | None = None
        for url in part.value_sets:
            members = self.get(url)
            if members is None:
                members = members_of((), f"it draws on the value set {url}, which was not given")
            why = why or members.why
            found = set(members) if found is None else found & members
        if part.system is None:
            return found or set(), why
        own, reason = self._of_system(part)
        return (own if found is None else found & own), why or reason

    def _of_system(self, part: Part) -> tuple[set[Member], str | None]:
        system = part.system or ""
        if part.codes is not None:
            return {(system, code) for code in part.codes}, None
        record = self.code_system(system, part.version)
        if record is None:
            return set(), f"it selects from the code system {system}, which was not given"
        codes = set(record.parents)
        for condition in part.filters:
            chosen = self._filtered(record, condition)
            if chosen is None:
                return set(), f"its filter {condition.property} {condition.operator} {condition.value} is not computed"
            codes &= chosen
        why = None if record.complete else f"the code system {system} is given only in part"
        return {(system, code) for code in codes}, why

    def _filtered(self, record: CodeSystemRecord, condition: Filter) -> set[str] | None:
        """Codes that pass a filter, None for one that is not known (FHIR: FilterOperator)."""
        operator, value = condition.operator, condition.value
        everything = record.parents.keys()
        if condition.property in ("concept", "code") or operator in (
            "is-a",
            "descendent-of",
            "is-not-a",
            "generalizes",
        ):
            below = {code for code in everything if value in self.ancestors(record, code)}
            hierarchy: dict[str, set[str]] = {
                "is-a": below | ({value} & everything),
                "descendent-of": below,
                "child-of": {code for code, parents in record.parents.items() if value in parents},
                "is-not-a": set(everything) - below - {value},
                "generalizes": (set(self.ancestors(record, value)) | {value}) & everything,
                "=": {value} & everything,
                "in": set(_listed(value)) & everything,
                "not-in": set(everything) - set(_listed(value)),
            }
            if operator == "regex":
                return {code for code in everything if _fits(value, code)}
            return hierarchy.get(operator)
        texts = {code: record.properties.get(code, {}).get(condition.property, []) for code in everything}
        tests: dict[str, Any] = {
            "=": lambda found: value in found,
            "in": lambda found: bool(set(found) & set(_listed(value))),
            "not-in": lambda found: not set(found) & set(_listed(value)),
            "exists": lambda found: bool(found) is (value == "true"),
            "regex": lambda found: any(_fits(value, text) for text in found),
        }
        test = tests.get(operator)
        return None if test is None else {code for code, found in texts.items() if test(found)}


def _listed(value: str) -> list[str]:
    return [text.strip() for text in value.split(",")]


def _fits(pattern: str, text: str) -> bool:
    try:
        return re.fullmatch(pattern, text) is not None
    except re.error:
        return False


def oid_of(url: str) -> str | None:
    """The OID that a url names: itself, after `urn:oid:`, or at its end, as value sets of the CMS are written."""
    last = url.removeprefix("urn:oid:").rpartition("/")[2]
    return last if _OID.fullmatch(last) and last.count(".") > 2 else None


def load_terminology(paths: Iterable[str | Path]) -> Terminology:
    """Value sets and code systems in files, folders and NDJSON. Raises FileNotFoundError."""
    found = Terminology()
    for file in _files(paths):
        try:
            raw = file.read_bytes()
            if b'"ValueSet"' not in raw and b'"CodeSystem"' not in raw:
                continue
            lines = raw.splitlines() if file.suffix == ".ndjson" else [raw]
            for number, line in enumerate(lines, 1):
                data = msgspec.json.decode(line.removeprefix(b"\xef\xbb\xbf")) if line.strip() else None
                for resource in data if isinstance(data, list) else [data]:
                    if isinstance(resource, dict):
                        found.add(resource, f"{file}:{number}" if len(lines) > 1 else str(file))
        except (msgspec.DecodeError, OSError) as error:
            found.diagnostics.append(Diagnostic("invalid-json", f"cannot be read: {error}", location=str(file)))
    return found


def _files(paths: Iterable[str | Path]) -> Iterator[Path]:
    for given in paths:
        path = Path(given)
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.suffix in (".json", ".ndjson") and p.is_file())
        elif path.is_file():
            yield path
        else:
            raise FileNotFoundError(f"{path} does not exist")


def missing(needed: Iterable[ValueSet], terminology: Terminology) -> list[ValueSet]:
    """The value sets that are needed and not there, each once."""
    found: dict[tuple[str | None, str | None], ValueSet] = {}
    for value in needed:
        if terminology.find(value.id or "", value.version) is None:
            found.setdefault((value.id, value.version), value)
    return list(found.values())
