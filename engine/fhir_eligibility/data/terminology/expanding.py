"""The codes of a value set from its definition: what it includes and excludes, with the versions of code systems that were asked for.

FHIR ("Value Set Expansion"): within one include everything that is named has to hold; the includes together are the set, less the excludes.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field

from fhir_eligibility.algebra.values.clinical import CodeSystem
from fhir_eligibility.algebra.values.expansion import NOTHING, Expansion, unknown
from fhir_eligibility.artifacts.manifests import Manifest
from fhir_eligibility.artifacts.terminology import CodeSystemRecord, ValueSetClause, ValueSetRecord
from fhir_eligibility.data.terminology.code_systems import selected

Note = tuple[str, str]


class Pins(Struct, frozen=True):
    """The versions of code systems that a value set is to be computed with: those that its declaration names, then the manifest's."""

    declared: tuple[CodeSystem, ...] = ()
    manifest: Manifest = field(default_factory=Manifest)

    def declared_version(self, system: str) -> str | None:
        """The version that the declaration in CQL names (`codesystems { ... }`)."""
        return next((x.version for x in self.declared if x.id == system and x.version), None)

    def version(self, system: str, stated: str | None = None) -> tuple[str | None, str | None]:
        """The version of a code system to use where the definition states `stated`, and what is wrong with it (None: nothing)."""
        declared, pinned = self.declared_version(system), self.manifest.version(system)
        if pinned is not None and system in self.manifest.forced and declared is None:
            return pinned, None
        wanted = declared or (pinned if system in self.manifest.checked else None)
        if stated is not None and wanted is not None and wanted != stated:
            by = "the library" if declared else "the manifest"
            return stated, f"its definition takes {system} in version {stated}, and {by} asks for {wanted}"
        return stated or declared or pinned, None

    def asked(self) -> dict[str, str]:
        """All versions that were asked for, by code system."""
        return self.manifest.versions | {x.id: x.version for x in self.declared if x.id and x.version}


class ExpansionSource(Struct):
    """Where an expansion finds what it draws on. `code_system` gives None, and the reason, for one that is not there."""

    value_set: Callable[[str, Pins], Expansion]
    code_system: Callable[[str, str | None], tuple[CodeSystemRecord | None, str]]
    note: Callable[[str, str], None]


def expand(record: ValueSetRecord, pins: Pins, source: ExpansionSource) -> Expansion:
    """The codes of a value set: as its expansion lists them, else as its definition says; what neither tells is unknown."""
    listed = _listed(record, pins, source)
    if listed is not None and listed.complete:
        return listed
    if not record.include:
        return listed if listed is not None else unknown("it has neither an expansion nor a definition")
    found = NOTHING
    for part in record.include:
        found = found.union(_part(part, record, pins, source))
    for part in record.exclude:
        if _is_whole_system(part, pins, source):
            found = found.without_system(part.system)
        else:
            found = found.minus(_part(part, record, pins, source))
    if listed is None or found.complete:
        return found
    return Expansion(found.codes | listed.codes, found.maybe, found.open, found.out - listed.codes)


def _listed(record: ValueSetRecord, pins: Pins, source: ExpansionSource) -> Expansion | None:
    """The codes that the resource lists, None where it lists none; systems in another version than was asked for are unknown."""
    if record.expansion is None:
        return None
    found = Expansion(record.expansion)
    if record.partial is not None:
        found = Expansion(record.expansion, open=dict.fromkeys(_touched(record), record.partial))
    if not pins.declared and not pins.manifest.versions:
        return found
    for system in sorted({system for system, _ in record.expansion if system is not None}):
        asked = pins.asked().get(system)
        made = record.made_with.get(system, frozenset())
        if asked is None or made == {asked}:
            continue
        if not made:
            message = f"the expansion of {record.key} does not say which version of {system} it was made with; {asked} was asked for"
            source.note("valueset-version", message)
            continue
        shown = ", ".join(sorted(made))
        why = f"its expansion was made with {system} in version {shown}, and {asked} was asked for"
        source.note("valueset-version", f"{record.key}: {why}")
        doubtful = {member: why for member in found.codes if member[0] == system}
        found = Expansion(found.codes - doubtful.keys(), doubtful, {**found.open, system: why})
    return found


def _touched(record: ValueSetRecord) -> list[str]:
    """The code systems that a definition draws on; any where it does not tell."""
    systems = [part.system for part in record.include]
    return ["*"] if not systems or None in systems else [str(system) for system in systems]


def _is_whole_system(part: ValueSetClause, pins: Pins, source: ExpansionSource) -> bool:
    """Whether a part stands for all codes of a system that is not there whole: it excludes, or keeps, whatever is of that system."""
    if part.system is None or part.codes is not None or part.filters or part.value_sets:
        return False
    version, _ = pins.version(part.system, part.version)
    given, _ = source.code_system(part.system, None)
    return version is None and (given is None or not given.complete)


def _part(part: ValueSetClause, record: ValueSetRecord, pins: Pins, source: ExpansionSource) -> Expansion:
    """The codes of one include or exclude."""
    found: Expansion | None = None
    for url in part.value_sets:
        imported = source.value_set(url, pins)
        found = imported if found is None else found.within(imported)
    if part.system is None:
        return (
            found
            if found is not None
            else unknown("a part of its definition names neither a code system nor a value set")
        )
    whole = ValueSetClause(part.system, part.version, part.codes, part.filters, ())
    if found is not None and _is_whole_system(whole, pins, source):
        return found.of_system(part.system)
    own = _of_system(whole, record, pins, source)
    return own if found is None else found.within(own)


def _of_system(part: ValueSetClause, record: ValueSetRecord, pins: Pins, source: ExpansionSource) -> Expansion:
    system = part.system or ""
    version, conflict = pins.version(system, part.version)
    if conflict is not None:
        source.note("valueset-version", f"{record.key}: {conflict}")
        if part.codes is not None:
            return Expansion(maybe={(system, code): conflict for code in part.codes})
        return unknown(conflict, system)
    if part.codes is not None:
        found = Expansion((system, code) for code in part.codes)
        if record.active_only:
            given, _ = source.code_system(system, version)
            inactive = given.inactive if given is not None else ()
            found = found.minus(Expansion((system, code) for code in inactive))
        return found
    given, why = source.code_system(system, version)
    return selected(given, system, part.filters, why, record.active_only)
