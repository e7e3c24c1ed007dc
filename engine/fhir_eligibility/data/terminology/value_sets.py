"""The value sets and code systems of a run: which codes a value set has in the version that was asked for, and what subsumes what.

A version comes from the declaration (`valueset ... version`, `url|version`), else from the manifest, else it is the latest active one. A version
that was asked for and is not there is missing: another one would be another value set. What is missing or known in part leaves codes unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Protocol

from msgspec import Struct, field

from fhir_eligibility.algebra.diagnostic import Diagnostic
from fhir_eligibility.algebra.values.clinical import Code, CodeSystem, ValueSet
from fhir_eligibility.algebra.values.code_systems import same_system, spellings
from fhir_eligibility.algebra.values.expansion import Expansion, unknown
from fhir_eligibility.artifacts.libraries import version_key
from fhir_eligibility.artifacts.manifests import Manifest
from fhir_eligibility.artifacts.terminology import (
    CodeSystemRecord,
    ConceptFilter,
    ValueSetRecord,
    code_system,
    value_set,
    whole_system,
)
from fhir_eligibility.data.terminology.code_systems import above, subsumes
from fhir_eligibility.data.terminology.expanding import ExpansionSource, Note, Pins, expand

_OID = re.compile(r"[0-2](?:\.(?:0|[1-9]\d*))+")
SNOMED = "http://snomed.info/sct"
_ALL_OR_BELOW = re.compile(r"(.+)\?fhir_vs(?:=isa/(.+))?")
_SNOMED_VALUE_SET = re.compile(r"(http://snomed\.info/sct[^?]*)\?fhir_vs(?:=isa/(\d+))?")
Key = tuple[str, str | None, tuple[CodeSystem, ...]]


class TerminologyError(Exception):
    """A terminology server could not answer: the message says what happened and what to do."""


class ExpansionServer(Protocol):
    """Expands value sets that files do not hold; None for one that it does not know. Raises TerminologyError."""

    @property
    def name(self) -> str: ...

    def expand(self, url: str, version: str | None, systems: dict[str, str]) -> dict[str, Any] | None: ...

    def close(self) -> None: ...


class ResolvedValueSet(Struct):
    """A value set as it was resolved: the record and the codes, or why it is missing; `notes` are (code, message)."""

    record: ValueSetRecord | None
    expansion: Expansion | None
    why: str | None = None
    notes: list[Note] = field(default_factory=list)


class Terminology(Struct):
    """Value sets and code systems by url; expanded at first use."""

    value_sets: dict[str, list[ValueSetRecord]] = field(default_factory=dict)
    code_systems: dict[str, list[CodeSystemRecord]] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    manifest: Manifest = field(default_factory=Manifest)
    server: ExpansionServer | None = None
    resolved: dict[Key, ResolvedValueSet] = field(default_factory=dict)
    asked: dict[Key, ValueSet] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _notes: list[Note] | None = None
    _circles: int = 0

    # -- filling

    def add(self, resource: dict[str, Any], place: str) -> None:
        """A ValueSet, a CodeSystem, or a bundle of them; anything else is passed over."""
        kind = resource.get("resourceType")
        try:
            if kind == "ValueSet":
                self.add_record(value_set(resource, place))
            elif kind == "CodeSystem":
                system = code_system(resource)
                if system is not None:
                    self.code_systems.setdefault(system.url, []).append(system)
                    if system.value_set:
                        record = whole_system(system.value_set, system.url, system.version)
                        record.origin = place
                        self.add_record(record)
        except (ValueError, TypeError, AttributeError) as error:
            message = f"{kind}: {error}" if isinstance(error, ValueError) else f"{kind}: it is not built as FHIR wants"
            self.diagnostics.append(Diagnostic("terminology", message, location=place))
        for inner in _held(resource):
            self.add(inner, place)

    def add_record(self, found: ValueSetRecord) -> None:
        """A value set, under its url and the OIDs that it has."""
        for key in dict.fromkeys((found.url, *map(oid_of, (found.url, *found.identifiers)))):
            if key:
                self.value_sets.setdefault(key, []).append(found)

    def close(self) -> None:
        """Ask the server no more: from here on everything is answered from what was read."""
        if self.server is not None:
            self.server.close()
            self.server = None

    # -- value sets

    def expansion(self, asked: ValueSet) -> Expansion | None:
        """The codes of a value set; None where it is missing."""
        return self.resolve(asked).expansion

    def why_missing(self, asked: ValueSet) -> str:
        """Why a value set is missing, as the end of a sentence."""
        return self.resolve(asked).why or "was not given"

    def get(self, url: str, default: Any = None) -> Expansion | Any:
        """The codes of a value set by `url` or `url|version`; `default` where it is not there."""
        found = self.expansion(ValueSet(url))
        return default if found is None else found

    def resolve(self, asked: ValueSet) -> ResolvedValueSet:
        """A value set in the version that was asked for, expanded with the versions of code systems that were asked for."""
        key = key_of(asked)
        self.asked.setdefault(key, asked)
        return self._resolved(key)

    def _resolved(self, key: Key) -> ResolvedValueSet:
        found = self.resolved.get(key)
        if found is None:
            before, circles = self._notes, self._circles
            self._notes = []
            try:
                found = self._resolve(key[0], key[1], Pins(key[2], self.manifest))
                found.notes = list(dict.fromkeys(self._notes))
            finally:
                self._notes = before
            if not self._open or self._circles == circles:  # inside a circle nothing is known whole yet
                self.resolved[key] = found
        return found

    def _note(self, code: str, message: str) -> None:
        if self._notes is not None:
            self._notes.append((code, message))

    def find(self, url: str, version: str | None) -> ValueSetRecord | None:
        """A value set among the files by url (or OID) and version; without a version that of the manifest, else the latest active one."""
        if "|" in url and version is None:
            url, _, version = url.partition("|")
        given = self.value_sets.get(url) or self.value_sets.get(oid_of(url) or "") or self._implicit(url)
        wanted = version or self._pinned(url, given)
        if wanted is not None:
            given = [x for x in given if x.version == wanted]
        versions = {x.version for x in given}
        if not given:
            return None
        best = max(given, key=_preference)
        self._contradicted(url, *(x.url for x in given))
        if len(versions) > 1:
            self._choice(f"the value set {url}", versions, best.version, best.status)
        return best

    def _implicit(self, url: str) -> list[ValueSetRecord]:
        """The value set that a url means of itself, where its code system is given: all of it, or a concept with its descendants (as SNOMED CT defines it)."""
        match = _SNOMED_VALUE_SET.fullmatch(url)
        if match is None or SNOMED not in self.code_systems:
            other = _ALL_OR_BELOW.fullmatch(url)
            if other is None or other[1] not in self.code_systems:
                return []
            below = () if other[2] is None else (ConceptFilter("concept", "is-a", other[2]),)
            return [whole_system(url, other[1], None, below)]
        edition, concept = match[1], match[2]
        filters = () if concept is None else (ConceptFilter("concept", "is-a", concept),)
        return [whole_system(url, SNOMED, edition if edition != SNOMED else None, filters)]

    def _pinned(self, url: str, given: list[ValueSetRecord]) -> str | None:
        """The version that the manifest names, under this url or another of the same value set."""
        return next((v for x in (url, *(r.url for r in given)) if (v := self.manifest.version(x)) is not None), None)

    def _contradicted(self, *urls: str) -> None:
        for url in dict.fromkeys(urls):
            if url in self.manifest.contradicted:
                shown = " and ".join(self.manifest.contradicted[url])
                self._note("valueset-version", f"the manifest names two versions of {url} ({shown}); neither is used")

    def _choice(self, what: str, versions: Iterable[str | None], chosen: str | None, status: str | None) -> None:
        shown = ", ".join(sorted(x or "without a version" for x in versions))
        latest = "the latest active one" if status == "active" else "the latest"
        message = f"{what} is given in several versions ({shown}); {chosen or 'the one without'} is used, {latest}"
        self._note("valueset-version", message)

    def _resolve(self, url: str, version: str | None, pins: Pins) -> ResolvedValueSet:
        record = self.find(url, version)
        found = self._expanded(record, pins) if record is not None else None
        if (found is None or not found.complete) and self.server is not None:
            chosen = version or self._pinned(url, []) or (record.version if record is not None else None)
            fetched = self._fetched(url, chosen, pins)
            if fetched is not None:
                other = self._expanded(fetched, pins)
                if found is None or other.complete:
                    record, found = fetched, other
        if record is None:
            return ResolvedValueSet(None, None, self._why(url, version))
        return ResolvedValueSet(record, found)

    def _why(self, url: str, version: str | None) -> str:
        given = self.value_sets.get(url) or self.value_sets.get(oid_of(url) or "") or []
        wanted = version or self._pinned(url, given)
        versions = sorted({x.version or "without a version" for x in given})
        if given and wanted is not None:
            by = "" if version else " by the manifest"
            return f"is given in version {', '.join(versions)}, and {wanted} is asked for{by}"
        return "was not given"

    def _fetched(self, url: str, version: str | None, pins: Pins) -> ValueSetRecord | None:
        assert self.server is not None
        try:
            resource = self.server.expand(url, version, pins.asked())
            if resource is None:
                self._note("terminology-server", f"{self.server.name} does not know the value set {url}")
                return None
            return value_set({**resource, "url": resource.get("url") or url}, self.server.name)
        except (TerminologyError, ValueError, TypeError, AttributeError) as error:
            shown = error if isinstance(error, TerminologyError) else f"{self.server.name}: no usable answer: {error}"
            self._note("terminology-server", f"the value set {url}: {shown}")
            return None

    def _expanded(self, record: ValueSetRecord, pins: Pins) -> Expansion:
        if record.key in self._open:
            self._circles += 1
            return unknown(f"{record.url} includes itself")
        self._open.append(record.key)
        try:
            return expand(record, pins, ExpansionSource(self._imported, self._system, self._note))
        finally:
            self._open.pop()

    def _imported(self, canonical: str, pins: Pins) -> Expansion:
        found = self._resolved(key_of(ValueSet(canonical, codesystems=pins.declared)))
        for note in found.notes:
            self._note(*note)
        if found.expansion is None:
            return unknown(f"it draws on the value set {canonical}, which {found.why}")
        return found.expansion

    # -- code systems

    def code_system(self, url: str, version: str | None = None) -> CodeSystemRecord | None:
        """A code system by url, however that is spelt, and version; without a version that of the manifest, else the latest active one."""
        given = self.code_systems.get(url) or next(filter(None, map(self.code_systems.get, spellings(url))), [])
        wanted = version or self.manifest.version(url)
        if wanted is not None:
            return next((x for x in given if x.version == wanted), None)
        best = max(given, key=lambda x: (x.status == "active", version_key(x.version)), default=None)
        self._contradicted(url)
        versions = {x.version for x in given}
        if best is not None and len(versions) > 1:
            self._choice(f"the code system {url}", versions, best.version, best.status)
        return best

    def _system(self, url: str, version: str | None) -> tuple[CodeSystemRecord | None, str]:
        """A code system for an expansion, and why it is not there, or not whole."""
        found = self.code_system(url, version)
        wanted = version or self.manifest.version(url)
        shown = f"{url}|{wanted}" if wanted else url
        if found is None:
            return None, f"it selects from the code system {shown}, which was not given"
        return found, f"the code system {shown} is given only in part"

    # -- hierarchies

    def descendants(self, system: str, code: str) -> tuple[frozenset[str], bool, str] | None:
        """A code and all below it, whether these are all, and the value set that they are: from a CodeSystem that is given, else from a value set that is
        made of that code and all below it. None where neither tells.
        """
        url = f"{system}?fhir_vs=isa/{code}"
        record = self.code_system(system)
        if record is None or code not in record.parents:
            url = self._value_set_below(system, code) or ""
            if not url:
                return None
        found = self.resolve(ValueSet(url)).expansion
        if found is None:
            return None
        codes = frozenset(name for owner, name in found.codes if owner == system and name) | {code}
        return codes, found.complete, url

    def ancestors(self, system: str, code: str) -> frozenset[str]:
        """What a code is below of, as far as a CodeSystem that is given tells."""
        record = self.code_system(system)
        return frozenset() if record is None else above(record, code)

    def _value_set_below(self, system: str, code: str) -> str | None:
        """The url of a value set that lists a code and all below it: its url or its definition says so."""
        if system == SNOMED:
            for way in (f"isa/{code}", f"ecl/<<{code}", f"ecl/<< {code}", f"ecl/%3C%3C{code}", f"ecl/%3C%3C%20{code}"):
                if f"{SNOMED}?fhir_vs={way}" in self.value_sets:
                    return f"{SNOMED}?fhir_vs={way}"
        wanted = ConceptFilter("concept", "is-a", code)
        for url, records in self.value_sets.items():
            for record in records:
                parts = record.include
                if record.expansion is not None and len(parts) == 1 and not record.exclude:
                    if parts[0].system == system and parts[0].filters == (wanted,) and not parts[0].value_sets:
                        return url
        return None

    def in_code_system(self, code: Code, system: CodeSystem) -> bool | None:
        """Whether a code is of a code system; None where its codes are not all known."""
        if code.system is not None and not same_system(code.system, system.id):
            return False
        record = self.code_system(system.id or "", system.version)
        if record is None:
            return None
        return True if code.code in record.parents else False if record.complete else None

    def subsumes(self, general: Code, special: Code) -> bool | None:
        """Whether a code is another or an ancestor of it; None where its code system does not tell, or is not there."""
        if not same_system(general.system, special.system):
            return False
        if general.code == special.code:
            return True
        versions = {x.version for x in self.code_systems.get(general.system or "", ())} - {None}
        named = next((x for x in (general.version, special.version) if x in versions), None)
        record = self.code_system(general.system or "", named)
        return None if record is None else subsumes(record, general.code or "", special.code or "")


def _held(resource: dict[str, Any]) -> list[dict[str, Any]]:
    """The resources in a bundle, in Parameters, or contained in another."""
    found: list[Any] = []
    for name in ("contained", "entry", "parameter"):
        items = resource.get(name)
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict):
                found.append(item if name == "contained" else item.get("resource"))
    return [item for item in found if isinstance(item, dict)]


def _preference(record: ValueSetRecord) -> tuple[Any, ...]:
    """Active before others, later before earlier; of one version the copy that lists all codes, then one that lists some."""
    listed = record.expansion is not None
    return record.status == "active", version_key(record.version), listed and record.partial is None, listed


def key_of(asked: ValueSet) -> Key:
    """Url, version and pinned code systems of a value set that is asked for; `url|version` counts as both."""
    url, bar, version = (asked.id or "").partition("|")
    return url, asked.version or (version if bar else None) or None, asked.codesystems


def oid_of(url: str) -> str | None:
    """The OID that a url names: itself, after `urn:oid:`, or at its end, as value sets of the CMS are written."""
    last = url.removeprefix("urn:oid:").rpartition("/")[2]
    return last if _OID.fullmatch(last) and last.count(".") > 2 else None
