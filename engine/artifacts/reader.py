"""Files, folders and bundles of published criteria to artifacts: finding, resolving references, and what is wrong with them.

References are looked up among everything read: contained resources, bundle entries by fullUrl, `Type/id`, canonical `url` and
`url|version`. A reference that leads back to where it came from ends there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from engine.algebra.diagnostic import Diagnostic
from engine.algebra.reasons import Reason
from engine.artifacts import values as v
from engine.artifacts.characteristics import CharacteristicReader, group_expressions
from engine.artifacts.positions import position_of
from engine.artifacts.records import (
    Artifact,
    ArtifactDefinition,
    ArtifactSet,
    CombinationDefinition,
    Criterion,
    Location,
    NotComputableDefinition,
)

__all__ = ["ArtifactSet", "load_artifacts", "read_artifacts"]

Json = dict[str, Any]
KeyPath = tuple[str | int, ...]
CRITERIA_TYPES = ("EvidenceVariable", "Group", "ResearchStudy")
EBM = "http://hl7.org/fhir/uv/ebm/StructureDefinition/"
_COMBINATIONS = {"intersection": "all-of", "union": "any-of"}


@dataclass(slots=True)
class _Entry:
    """One resource as found: its JSON, the file, the path in the file, and the resource that contains it."""

    resource: Json
    file: str | None
    text: str | None
    path: KeyPath
    owner: _Entry | None = None
    full_url: str | None = None

    @property
    def name(self) -> str:
        kind, identifier = self.resource.get("resourceType"), self.resource.get("id")
        if identifier:
            return f"{kind}/{identifier}"
        return str(self.resource.get("url") or kind)


@dataclass(slots=True)
class _Reader:
    entries: list[_Entry] = field(default_factory=list)
    index: dict[str, _Entry] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    libraries: dict[str, Any] = field(default_factory=dict)
    referenced: set[int] = field(default_factory=set)
    files: list[str] = field(default_factory=list)
    _cache: dict[int, Artifact] = field(default_factory=dict)

    # -- reading

    def report(
        self,
        code: str,
        message: str,
        entry: _Entry | None,
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

    def locate(self, entry: _Entry, path: KeyPath) -> Location:
        place = position_of(entry.text, (*entry.path, *path)) if entry.text is not None else None
        pointer = str(entry.resource.get("resourceType", ""))
        for step in path:
            pointer += f"[{step}]" if isinstance(step, int) else f".{step}"
        return Location(
            file=entry.file,
            resource=entry.name,
            pointer=pointer,
            line=place[0] if place else None,
            column=place[1] if place else None,
        )

    def read_file(self, path: Path, *, given: bool) -> None:
        self.files.append(str(path))
        try:
            raw = path.read_bytes()
            text = raw.decode("utf-8-sig")
            data = msgspec.json.Decoder(float_hook=Decimal).decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self.report("invalid-json", f"not valid JSON: {error}", None, file=str(path))
            return
        except RecursionError:
            self.report("invalid-json", "the JSON is nested too deeply", None, file=str(path))
            return
        before = len(self.entries)
        self.add(data, str(path), text, ())
        if given and not any(e.resource.get("resourceType") in CRITERIA_TYPES for e in self.entries[before:]):
            kind = data.get("resourceType") if isinstance(data, dict) else None
            if kind not in ("Library", "ValueSet", "CodeSystem", "Measure", "Parameters"):
                hint = "criteria stand in EvidenceVariable, Group or ResearchStudy resources, or bundles of them"
                self.report(
                    "no-criteria",
                    f"no criteria in this file (it holds {kind or 'no resource'})",
                    None,
                    (),
                    hint,
                    file=str(path),
                )

    def add(self, data: Any, file: str | None, text: str | None, path: KeyPath, full_url: str | None = None) -> None:
        if isinstance(data, list):
            for index, item in enumerate(data):
                self.add(item, file, text, (*path, index))
            return
        if not isinstance(data, dict):
            return
        kind = data.get("resourceType")
        if kind == "Bundle":
            for index, item in enumerate(data.get("entry") or ()):
                if isinstance(item, dict) and isinstance(item.get("resource"), dict):
                    self.add(item["resource"], file, text, (*path, "entry", index, "resource"), item.get("fullUrl"))
            return
        if kind == "Library":
            for key in filter(None, (data.get("url"), data.get("name"), data.get("id"))):
                self.libraries.setdefault(str(key), data)
        entry = _Entry(data, file, text, path, None, full_url)
        if kind in CRITERIA_TYPES:
            self.entries.append(entry)
        self.register(entry)

    def register(self, entry: _Entry) -> None:
        resource = entry.resource
        url, version = resource.get("url"), resource.get("version")
        keys = [entry.full_url, url, f"{url}|{version}" if url and version else None]
        if resource.get("id"):
            keys.append(f"{resource.get('resourceType')}/{resource['id']}")
        for key in keys:
            if not key:
                continue
            known = self.index.get(str(key))
            if known is None:
                self.index[str(key)] = entry
            elif known.resource != resource and key == url and not version:
                self.report(
                    "duplicate-url",
                    f"{key} is the url of more than one artifact; the first is used",
                    entry,
                    warning=True,
                )

    # -- artifacts

    def find(self, reference: str, entry: _Entry) -> _Entry | None:
        if reference.startswith("#"):
            home = entry.owner or entry
            for index, resource in enumerate(home.resource.get("contained") or ()):
                if isinstance(resource, dict) and resource.get("id") == reference[1:]:
                    return _Entry(resource, home.file, home.text, (*home.path, "contained", index), home)
            return None
        bare = reference.partition("/_history/")[0]
        for key in (reference, bare, bare.partition("|")[0]):
            if key in self.index:
                return self.index[key]
        parts = bare.split("/")
        return self.index.get("/".join(parts[-2:])) if len(parts) > 2 else None

    def artifact(self, entry: _Entry, stack: tuple[int, ...] = ()) -> Artifact:
        key = id(entry.resource)
        if key in self._cache:
            return self._cache[key]
        resource = entry.resource
        kind = str(resource.get("resourceType"))

        def locate(path: KeyPath) -> Location:
            return self.locate(entry, path)

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
        combination, threshold = _combination(resource)
        criteria = tuple(self.resolved(criterion, entry, (*stack, key)) for criterion in criteria)
        found = Artifact(
            resource_type=kind,
            id=resource.get("id"),
            url=resource.get("url"),
            version=resource.get("version"),
            name=resource.get("name"),
            title=resource.get("title") or resource.get("name"),
            fhir_version=_version_of(resource),
            combination=combination,
            threshold=threshold,
            criteria=criteria,
            location=self.locate(entry, ()),
        )
        if not stack:
            self._cache[key] = found
        return found

    def by_group(self, entry: _Entry) -> tuple[Criterion, ...]:
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

    def resolved(self, criterion: Criterion, entry: _Entry, stack: tuple[int, ...]) -> Criterion:
        definition = criterion.definition
        if isinstance(definition, CombinationDefinition):
            members = tuple(self.resolved(member, entry, stack) for member in definition.members)
            return criterion.model_copy(update={"definition": definition.model_copy(update={"members": members})})
        if not isinstance(definition, ArtifactDefinition):
            return criterion
        found = self.find(definition.reference, entry) if definition.reference else None
        if found is None:
            self.diagnostics.append(
                Diagnostic(
                    "unresolved-reference",
                    f"{definition.reference or 'a reference without a target'} is not among the given artifacts",
                    "warning",
                    location=str(criterion.location),
                    hint="give the file or folder that holds it as well",
                )
            )
            return criterion
        if id(found.resource) in stack:
            self.diagnostics.append(
                Diagnostic(
                    "cyclic-reference",
                    f"{definition.reference} leads back to itself",
                    "error",
                    location=str(criterion.location),
                )
            )
            cyclic = NotComputableDefinition(
                reason=Reason.UNRESOLVED_REFERENCE, detail=f"{definition.reference} leads back to itself"
            )
            return criterion.model_copy(update={"definition": cyclic})
        self.referenced.add(id(found.resource))
        if found.resource.get("resourceType") not in ("EvidenceVariable", "Group"):
            detail = f"{definition.reference} is a {found.resource.get('resourceType')}, which is no set of criteria"
            other = NotComputableDefinition(reason=Reason.NOT_COMPUTABLE, detail=detail)
            return criterion.model_copy(update={"definition": other})
        artifact = self.artifact(found, stack)
        return criterion.model_copy(update={"definition": definition.model_copy(update={"artifact": artifact})})

    # -- what to screen

    def study_targets(self, entry: _Entry) -> list[_Entry]:
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

    def usable(self, artifact: Artifact, entry: _Entry) -> bool:
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
        artifacts: list[tuple[_Entry, Artifact]] = []
        chosen: list[_Entry] = []
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
            if id(entry.resource) in self.referenced or id(entry.resource) in picked:
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


def _combination(resource: Json) -> tuple[str, int | None]:
    code = resource.get("combinationMethod") or resource.get("characteristicCombination")
    threshold = resource.get("combinationThreshold")
    for extension in (*(resource.get("extension") or ()), *(resource.get("modifierExtension") or ())):
        name = str(extension.get("url", "")).removeprefix(EBM)
        if name == "combination-method":
            code = code or extension.get("valueCode") or (extension.get("valueCodeableConcept") or {}).get("text")
        elif name == "combination-threshold":
            threshold = threshold or extension.get("valuePositiveInt") or extension.get("valueInteger")
    code = _COMBINATIONS.get(str(code), str(code)) if code else "all-of"
    return code, int(threshold) if threshold is not None else None


def _version_of(resource: Json) -> str:
    keys = {key for item in resource.get("characteristic") or () if isinstance(item, dict) for key in item}
    if resource.get("combinationMethod") or (
        resource.get("resourceType") == "EvidenceVariable" and "definition" in resource
    ):
        return "r6"
    if keys & {"definitionByTypeAndValue", "definitionByCombination", "definitionId", "linkId", "timeFromEvent"}:
        return "r5"
    if "characteristicCombination" in resource:
        return "r4b"
    if "membership" in resource:
        return "r5"
    return "r4"


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
            files = sorted(path.rglob("*.json"))
            for file in files:
                reader.read_file(file, given=False)
            if not files:
                reader.report("no-criteria", "no JSON file in this folder", None, file=str(path))
        else:
            reader.read_file(path, given=True)
    return reader.result()


def read_artifacts(resources: Iterable[Json]) -> ArtifactSet:
    """Criteria from resources already decoded (decimals as Decimal)."""
    reader = _Reader()
    for resource in resources:
        reader.add(resource, None, None, ())
    return reader.result()
