"""Files, folders and bundles of published criteria to artifacts: finding, resolving references, and what is wrong with them.

References are looked up among everything read: contained resources, bundle entries by fullUrl, `Type/id`, canonical `url` and
`url|version`. A reference that leads back to where it came from ends there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import Diagnostic
from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.artifacts import values as v
from fhir_eligibility.artifacts.characteristics import CharacteristicReader, group_expressions
from fhir_eligibility.artifacts.combining import combination_of, members_other_than_patients, version_of
from fhir_eligibility.artifacts.costs import DEEPEST, ReferenceCount, deeper_than
from fhir_eligibility.artifacts.elements import all_resource_types
from fhir_eligibility.artifacts.libraries import is_version, version_key
from fhir_eligibility.artifacts.mistaken_files import not_json, without_criteria
from fhir_eligibility.artifacts.own_outputs import Below
from fhir_eligibility.artifacts.positions import position_of
from fhir_eligibility.artifacts.records import (
    Artifact,
    ArtifactDefinition,
    ArtifactSet,
    CombinationDefinition,
    Criterion,
    Location,
)
from fhir_eligibility.artifacts.shape import CHECKED, Finding, checked, near_names, pointer, shown
from fhir_eligibility.artifacts.unknown import with_unique_ids, without_misshapen

__all__ = ["ArtifactSet", "load_artifacts", "read_artifacts"]

Json = dict[str, Any]
KeyPath = tuple[str | int, ...]
CRITERIA_TYPES = ("EvidenceVariable", "Group", "ResearchStudy")
ELSEWHERE = ("Library", "ValueSet", "CodeSystem", "Measure")  # whose faults are told by those who read them


class _FoundResource(Struct):
    """One resource as found: its JSON, the file, the path in the file, the resource that contains it, and what is wrong with its shape."""

    resource: Json
    file: str | None
    text: str | None
    path: KeyPath
    owner: _FoundResource | None = None
    full_url: str | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def name(self) -> str:
        kind, identifier = self.resource.get("resourceType"), self.resource.get("id")
        if identifier:
            return f"{kind}/{identifier}"
        return str(self.resource.get("url") or kind)


class _Reader(Struct):
    entries: list[_FoundResource] = field(default_factory=list)
    index: dict[str, _FoundResource] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    libraries: dict[str, Any] = field(default_factory=dict)
    referenced: set[int] = field(default_factory=set)
    files: list[str] = field(default_factory=list)
    copies: set[int] = field(default_factory=set)
    doubled: set[int] = field(default_factory=set)
    kinds: Counter[str] = field(default_factory=Counter)
    _cache: dict[int, Artifact] = field(default_factory=dict)
    _referred: ReferenceCount = field(default_factory=ReferenceCount)

    # -- reading

    def report(
        self,
        code: str,
        message: str,
        entry: _FoundResource | None,
        path: KeyPath = (),
        hint: str | None = None,
        *,
        warning: bool = False,
        file: str | None = None,
    ) -> None:
        location = str(self.locate(entry, path)) if entry is not None else file
        self.diagnostics.append(
            Diagnostic(code, message, "warning" if warning else "error", hint=hint, location=location)
        )

    def locate(self, entry: _FoundResource, path: KeyPath) -> Location:
        place = position_of(entry.text, (*entry.path, *path)) if entry.text is not None else None
        return Location(
            file=entry.file,
            resource=entry.name,
            pointer=pointer(str(entry.resource.get("resourceType", "")), path),
            line=place[0] if place else None,
            column=place[1] if place else None,
        )

    def read_file(self, path: Path, *, given: bool) -> None:
        self.files.append(str(path))
        raw = b""
        try:
            raw = path.read_bytes()
            text = raw.decode("utf-8-sig")
            data = msgspec.json.Decoder(float_hook=Decimal).decode(text)
        except OSError as error:
            self.report("unreadable", f"cannot be read: {error.strerror or error}", None, file=str(path))
            return
        except (msgspec.DecodeError, ValueError, ArithmeticError) as error:
            code, message, hint = not_json(raw, path.name, error)
            self.report(code, message, None, hint=hint, file=str(path))
            return
        except RecursionError:
            self.report("invalid-json", "the JSON is nested too deeply", None, file=str(path))
            return
        before, seen = len(self.entries), Counter(self.kinds)
        self.add(data, str(path), text, ())
        if given:
            self.look_for_criteria(path, before, self.kinds - seen)

    def look_for_criteria(self, path: Path, before: int, kinds: Counter[str]) -> None:
        """Say that a path holds no criteria, where it added none to the entries that there were `before`, and what it holds."""
        if any(e.resource.get("resourceType") in CRITERIA_TYPES for e in self.entries[before:]):
            return
        fault = without_criteria(kinds, folder=path.is_dir())
        if fault is not None:
            self.report("no-criteria", fault[0], None, hint=fault[1], file=str(path))

    def add(self, data: Any, file: str | None, text: str | None, path: KeyPath, full_url: str | None = None) -> None:
        if isinstance(data, list):
            for index, item in enumerate(data):
                self.add(item, file, text, (*path, index))
            return
        if not isinstance(data, dict):
            return
        kind = data.get("resourceType")
        self.kinds[str(kind)] += 1
        if kind == "Bundle":
            self.bundle(data, file, text, path)
            return
        if kind in CRITERIA_TYPES and deeper_than(data, DEEPEST):
            message = f"the {kind} is nested more than {DEEPEST} levels deep; it is not read"
            self.report("too-deep", message, None, hint="refer to parts of it as criteria of their own", file=file)
            return
        found = checked(data)
        entry = _FoundResource(found.resource, file, text, path, None, full_url, found.findings)
        self.misnamed(kind, entry)
        if kind not in ELSEWHERE:
            for finding in found.findings:
                if not self.reported_elsewhere(entry.resource, finding.path):
                    self.diagnostics.append(finding.diagnostic(str(self.locate(entry, finding.path))))
        if kind == "Library":
            for key in filter(None, map(found.resource.get, ("url", "name", "id"))):
                self.libraries.setdefault(str(key), found.resource)
        if kind in CRITERIA_TYPES:
            self.entries.append(entry)
        self.register(entry)

    def bundle(self, data: Json, file: str | None, text: str | None, path: KeyPath) -> None:
        """The resources of a Bundle; what is no entry is a problem."""
        entries = data.get("entry", [])
        place = _FoundResource(data, file, text, path)
        if not isinstance(entries, list):
            self.report("wrong-type", f"expected a list of entries, found {shown(entries)}", place, ("entry",))
            return
        for index, item in enumerate(entries):
            resource = item.get("resource") if isinstance(item, dict) else None
            if isinstance(resource, dict):
                full_url = item.get("fullUrl")
                inner = (*path, "entry", index, "resource")
                self.add(resource, file, text, inner, full_url if isinstance(full_url, str) else None)
            elif not isinstance(item, dict) or "resource" in item:
                self.report("wrong-type", f"expected a resource, found {shown(item)}", place, ("entry", index))

    def misnamed(self, kind: Any, entry: _FoundResource) -> None:
        """Say that FHIR has no resource of a name, where there is a name."""
        if kind is None and "resourceType" not in entry.resource:
            return
        if not isinstance(kind, str):
            message = f"expected the name of a resource type, found {shown(kind)}"
            self.report("wrong-type", message, entry, ("resourceType",))
        elif kind not in all_resource_types():
            near = near_names(kind, tuple(sorted(all_resource_types())))
            hint = f"did you mean {near[0]}?" if near else None
            of_criteria = bool(near) and near[0] in (*CHECKED, "Bundle")
            message = f"FHIR has no resource {shown(kind)}"
            self.report("unknown-resource-type", message, entry, ("resourceType",), hint, warning=not of_criteria)

    def reported_elsewhere(self, resource: Json, path: KeyPath) -> bool:
        """Whether a path leads into a contained resource whose faults are told by those who read it."""
        if len(path) < 3 or path[0] != "contained":
            return False
        contained = resource.get("contained")
        inner = contained[path[1]] if isinstance(contained, list) and isinstance(path[1], int) else None
        return isinstance(inner, dict) and inner.get("resourceType") in ELSEWHERE

    def register(self, entry: _FoundResource) -> None:
        """Note under which names references find a resource; of several the first, of several versions of one url the latest."""
        resource = entry.resource
        kind, url, version = resource.get("resourceType"), resource.get("url"), resource.get("version")
        named = f"{kind}/{resource['id']}" if resource.get("id") else None
        exact = f"{url}|{version}" if url and version else None
        for key in filter(None, dict.fromkeys((entry.full_url, exact, url, named))):
            known = self.index.get(str(key))
            if known is None:
                self.index[str(key)] = entry
            elif key == url and known.resource.get("version") != version:
                # a reference without a version means the latest (FHIR: canonical references)
                if version_key(version) > version_key(known.resource.get("version")):
                    self.index[str(key)] = entry
            elif key in (exact or url, named) and kind in CRITERIA_TYPES and known.resource is not resource:
                self.twice(str(key), entry, known, same=key == (exact or url or named))

    def twice(self, key: str, entry: _FoundResource, known: _FoundResource, *, same: bool) -> None:
        """Two artifacts of one name: copies count once; of others references mean the first, and outputs name the file of the second as well."""
        if known.resource == entry.resource:
            if same:
                self.copies.add(id(entry))
            return
        there = self.locate(known, ())
        if same:
            self.doubled.add(id(entry))
            message = f"{key} is the name of two artifacts that differ; references to it mean that in {there}"
            self.report(
                "duplicate-artifact", message, entry, (), "give one of them another url, version or id", warning=True
            )
        else:
            message = f"{key} is the id of more than one artifact; references to it mean that in {there}"
            self.report("duplicate-id", message, entry, (), warning=True)

    # -- artifacts

    def find(self, reference: str, entry: _FoundResource) -> _FoundResource | None:
        if reference.startswith("#"):
            home = entry.owner or entry
            for index, resource in enumerate(home.resource.get("contained") or ()):
                if resource.get("id") == reference[1:]:
                    inside = tuple(
                        replace(found, path=found.path[2:])
                        for found in home.findings
                        if found.path[:2] == ("contained", index)
                    )
                    path = (*home.path, "contained", index)
                    return _FoundResource(resource, home.file, home.text, path, home, findings=inside)
            return None
        unversioned = reference.partition("/_history/")[0]
        url, _, version = unversioned.partition("|")
        found = self.index.get(unversioned) or self.index.get(url)
        if found is not None:
            return found if unversioned in self.index or is_version(version, found.resource.get("version")) else None
        parts = unversioned.split("/")
        return self.index.get("/".join(parts[-2:])) if len(parts) > 2 else None

    def artifact(self, entry: _FoundResource, stack: tuple[int, ...] = ()) -> Artifact:
        key = id(entry.resource)
        if not stack:
            self._referred = ReferenceCount()
        if key in self._cache:
            return self._cache[key]
        resource = entry.resource
        kind, url = str(resource.get("resourceType")), resource.get("url")
        paths: dict[str, KeyPath] = {}

        def locate(path: KeyPath) -> Location:
            found = self.locate(entry, path)
            paths[found.pointer] = path
            return found

        def warn(code: str, message: str, path: KeyPath) -> None:
            self.report(code, message, entry, path, warning=True)

        def resource_of(reference: str) -> dict[str, Any] | None:
            target = self.find(reference, entry)
            return None if target is None else target.resource

        around = v.Surroundings(find=resource_of, warn=lambda code, message: warn(code, message, ()))
        around = around.within(resource, "the artifact")
        reader = CharacteristicReader(around, locate, warn)
        items = resource.get("characteristic")
        items = items if isinstance(items, list) else []
        if kind == "EvidenceVariable":
            criteria = reader.evidence_variable(items, ("characteristic",))
            if not criteria:
                criteria = self.by_group(entry)
        else:
            criteria = group_expressions(resource, around, locate) + reader.group(items, ("characteristic",))
        combination, threshold = combination_of(resource)
        criteria, twice = with_unique_ids(criteria, resource, paths)
        for path, message in twice:
            self.report("duplicate-link-id", message, entry, path, "give each characteristic a linkId of its own")
        criteria = without_misshapen(criteria, entry.resource, entry.findings)
        criteria = tuple(self.resolved(criterion, entry, (*stack, key)) for criterion in criteria)
        found = Artifact(
            resource_type=kind,
            id=resource.get("id"),
            url=url,
            version=resource.get("version"),
            name=resource.get("name"),
            title=resource.get("title") or resource.get("name"),
            fhir_version=version_of(resource),
            combination=combination,
            threshold=threshold,
            criteria=criteria,
            location=self.locate(entry, ()),
            ordinal=self.ordinal(entry) if id(entry) in self.doubled or not (url or resource.get("id")) else None,
        )
        if not stack:
            self._cache[key] = found
        return found

    def ordinal(self, entry: _FoundResource) -> str:
        """What tells an artifact without url and id from others: its file, and its place there."""
        place = pointer("", entry.path).lstrip(".")
        return f"{entry.file or 'resource'}{f' {place}' if place else ''}"

    def by_group(self, entry: _FoundResource) -> tuple[Criterion, ...]:
        """R6: an EvidenceVariable that is defined by a Group has the criteria of that Group, if it is at hand."""
        definition = entry.resource.get("definition")
        target = None
        if isinstance(definition, dict):
            target = v.reference(
                definition.get("reference") if isinstance(definition.get("reference"), dict) else definition
            )
        if target is None:
            return ()
        found = self.find(target, entry)
        if found is None or not (found.resource.get("characteristic") or found.resource.get("extension")):
            return ()
        location = self.locate(entry, ("definition",))
        return (Criterion(id="1", title=target, definition=ArtifactDefinition(reference=target), location=location),)

    def fault(self, criterion: Criterion, code: str, message: str) -> None:
        self.diagnostics.append(Diagnostic(code, message, "error", location=str(criterion.location)))

    def resolved(self, criterion: Criterion, entry: _FoundResource, stack: tuple[int, ...]) -> Criterion:
        definition = criterion.definition
        if isinstance(definition, CombinationDefinition):
            members = tuple(self.resolved(member, entry, stack) for member in definition.members)
            return criterion.changed(definition=definition.changed(members=members))
        if not isinstance(definition, ArtifactDefinition):
            return criterion
        found = self.find(definition.reference, entry) if definition.reference else None
        if found is None:
            what = definition.reference or "a reference without a target"
            hint, at = "give the file or folder that holds it as well", str(criterion.location)
            message = f"{what} is not among the given artifacts"
            self.diagnostics.append(Diagnostic("unresolved-reference", message, "warning", location=at, hint=hint))
            return criterion
        if id(found.resource) in stack:
            detail = f"{definition.reference} leads back to itself"
            self.fault(criterion, "cyclic-reference", detail)
            return criterion.not_computable(Reason.UNRESOLVED_REFERENCE, detail)
        self.referenced.add(id(found.resource))
        if found.resource.get("resourceType") not in ("EvidenceVariable", "Group"):
            kind = found.resource.get("resourceType")
            detail = f"{definition.reference}: expected an EvidenceVariable or a Group, found a {kind}"
            return criterion.not_computable(Reason.NOT_COMPUTABLE, detail)
        if kind := members_other_than_patients(found.resource):
            detail = (
                f"{definition.reference}: expected a group of patients (person or animal), found one of type {kind}"
            )
            return criterion.not_computable(Reason.NOT_COMPUTABLE, detail)
        many = self._referred.too_many(len(stack))
        if many is not None:
            if many.first:
                self.fault(criterion, "too-many-references", many.detail)
            return criterion.not_computable(Reason.NOT_COMPUTABLE, many.detail)
        artifact = self.artifact(found, stack)
        return criterion.changed(definition=definition.changed(artifact=artifact))

    # -- what to screen

    def study_targets(self, entry: _FoundResource) -> list[_FoundResource]:
        """Groups and EvidenceVariables that a ResearchStudy names as its eligibility."""
        resource = entry.resource
        references: list[tuple[str | None, KeyPath]] = []
        eligibility = (resource.get("recruitment") or {}).get("eligibility")
        if isinstance(eligibility, dict):
            references.append((v.reference(eligibility), ("recruitment", "eligibility")))
        for index, item in enumerate(resource.get("enrollment") or ()):
            references.append((v.reference(item), ("enrollment", index)))
        if not references:
            hint = "R5 names them in recruitment.eligibility, R4 in enrollment"
            self.report("study-without-criteria", "the study names no eligibility criteria", entry, (), hint)
        found = []
        for reference, path in references:
            target = self.find(reference, entry) if reference else None
            if target is None:
                hint = "give the file or folder that holds it as well"
                self.report("unresolved-reference", f"{reference} is not among the given artifacts", entry, path, hint)
            else:
                found.append(target)
        return found

    def usable(self, artifact: Artifact, entry: _FoundResource) -> bool:
        if members := members_other_than_patients(entry.resource):
            hint = "patients are in groups of type person (or animal, for veterinary patients)"
            message = f"expected a Group of patients, found one of type {members}: it is not screened"
            self.report("group-type", message, entry, ("type",), hint)
            return False
        if artifact.criteria:
            return True
        resource = entry.resource
        if resource.get("resourceType") == "Group" and (
            resource.get("member") or resource.get("membership") == "enumerated"
        ):
            self.report(
                "enumerated-group",
                "the Group lists its members and has no criteria",
                entry,
                (),
                "screen with a Group whose membership is definitional",
            )
            return False
        hint = "an artifact without criteria would include everyone; it is not screened"
        if "definition" in resource:
            hint = "in R6 eligibility stands in a Group; screen the Group that its definition refers to"
        self.report("artifact-without-criteria", "there is no criterion in this artifact", entry, (), hint)
        return False

    def result(self) -> ArtifactSet:
        artifacts: list[tuple[_FoundResource, Artifact]] = []
        chosen: list[_FoundResource] = []
        for entry in list(self.entries):
            if entry.resource.get("resourceType") == "ResearchStudy":
                chosen.extend(self.study_targets(entry))
            else:
                artifacts.append((entry, self.artifact(entry)))
        roots: list[Artifact] = []
        picked = {id(entry.resource) for entry in chosen}
        for entry in chosen:
            artifact = self.artifact(entry)
            if artifact not in roots and self.usable(artifact, entry):
                roots.append(artifact)
        for entry, artifact in artifacts:
            if id(entry.resource) in self.referenced or id(entry.resource) in picked or id(entry) in self.copies:
                continue
            if self.usable(artifact, entry):
                roots.append(artifact)
        return ArtifactSet(
            artifacts=tuple(artifact for _, artifact in artifacts),
            roots=tuple(roots),
            libraries=self.libraries,
            diagnostics=tuple(dict.fromkeys(self.diagnostics)),
            files=tuple(self.files),
        )


def load_artifacts(paths: Iterable[str | Path]) -> ArtifactSet:
    """Read criteria from JSON files, folders (all `*.json` below) and bundles.

    Raises FileNotFoundError for a path that does not exist; everything else wrong is among the diagnostics.
    """
    reader = _Reader()
    for item in paths:
        path = Path(item)
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        if path.is_dir():
            below = Below(path, (".json",))
            reader.diagnostics += below.diagnostics
            before, seen, failed = len(reader.entries), Counter(reader.kinds), len(reader.diagnostics)
            for file in below.files:
                reader.read_file(file, given=False)
            if len(reader.diagnostics) == failed:
                reader.look_for_criteria(path, before, reader.kinds - seen)
        else:
            reader.read_file(path, given=True)
    return reader.result()


def read_artifacts(resources: Iterable[Json]) -> ArtifactSet:
    """Criteria from resources already decoded (decimals as Decimal)."""
    reader = _Reader()
    for index, resource in enumerate(resources):
        reader.add(resource, None, None, (index,))
    return reader.result()
