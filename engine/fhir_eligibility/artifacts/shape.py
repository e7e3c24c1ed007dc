"""The shape of published artifacts: elements that FHIR does not have, values of the wrong JSON type, codes outside of required value sets.

`checked` gives a resource as far as it has FHIR's shape, and what it left out and why, so that who reads on meets no surprise. The elements come from
the table `models/criteria.json` (R4, R4B, R5 and the ballots of R6). Which version an artifact is of is decided by what it holds: the
version that leaves out least. (FHIR: "JSON Representation of Resources", "Data Types", "Extensibility": modifierExtension.)
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import Diagnostic
from fhir_eligibility.algebra.limits import MAX_EXPONENT, can_be_written
from fhir_eligibility.artifacts.elements import (
    PATTERNS,
    PLAIN,
    TEXT,
    VERSIONS,
    Definitions,
    Slot,
    all_resource_types,
    definitions,
    json_names,
)

Json = dict[str, Any]
KeyPath = tuple[str | int, ...]
CHECKED = (
    *("EvidenceVariable", "Group", "ResearchStudy", "Library", "ValueSet", "CodeSystem", "Measure", "Parameters"),
    "ActivityDefinition",
)
EBM = "http://hl7.org/fhir/uv/ebm/StructureDefinition/"
KNOWN_MODIFIERS = (
    f"{EBM}combination-method",
    f"{EBM}combination-threshold",
    "http://hl7.org/fhir/StructureDefinition/artifact-status",
)
"""The modifier extensions that are understood; all of them belong to a whole artifact. The last says what R5 says in `status`."""
# R5, constraint evv-1 of EvidenceVariable: a characteristic has at most one of these.
DEFINITIONS = (
    *("definitionReference", "definitionCanonical", "definitionCodeableConcept", "definitionId"),
    *("definitionByTypeAndValue", "definitionByCombination"),
)

# The elements of an artifact that its meaning depends on; what is wrong elsewhere is a warning.
DECISIVE: dict[str, tuple[str, ...]] = {
    "EvidenceVariable": ("characteristic", "characteristicCombination", "definition", "extension"),
    "Group": (
        "characteristic",
        "combinationMethod",
        "combinationThreshold",
        "membership",
        "actual",
        "type",
        "extension",
    ),
    "ResearchStudy": ("enrollment", "recruitment"),
    "Library": ("content", "parameter", "relatedArtifact", "type", "name"),
    "ValueSet": ("compose", "expansion"),
    "CodeSystem": ("concept", "content", "hierarchyMeaning", "property", "valueSet", "supplements"),
    "Measure": ("group", "supplementalData", "library", "scoring", "basis", "effectivePeriod", "extension"),
    "Parameters": ("parameter",),
}
ALWAYS = ("modifierExtension", "implicitRules", "resourceType", "id", "url", "version")
# Elements of a characteristic that are taken for misplaced where the artifact itself has them.
_WITHIN = ("EvidenceVariable.characteristic", "Group.characteristic")


class Finding(Struct, frozen=True):
    """One thing that is wrong: where in the resource, what, and what to do. `weighty` where the meaning of the resource may depend on it."""

    code: str
    message: str
    path: KeyPath
    hint: str | None = None
    weighty: bool = True

    def diagnostic(self, location: str) -> Diagnostic:
        """As a message: an error where the meaning depends on it, else a warning."""
        return Diagnostic(
            self.code, self.message, "error" if self.weighty else "warning", hint=self.hint, location=location
        )


class Checked(Struct, frozen=True):
    """A resource without what FHIR does not have, the version that it is of, and the findings."""

    resource: Json
    version: str
    findings: tuple[Finding, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that the meaning depends on."""
        return tuple(found for found in self.findings if found.weighty)


def checked(resource: Json) -> Checked:
    """A resource as far as it has the shape of FHIR, and what is wrong with it.

    Of the versions of FHIR, the one with the least to say against it is taken, of several the first. Resources of types that are not in CHECKED are given
    back as they are.
    """
    kind = resource.get("resourceType")
    if kind not in CHECKED:
        return Checked(resource, "r4")
    counts: dict[str, int] = {}
    for version in VERSIONS:
        check = _Check(definitions(version), hints=False)
        check.resource(resource, ())
        if not check.findings:
            return Checked(resource, version)
        counts[version] = check.lost_values
    version = min(counts, key=lambda name: counts[name])
    check = _Check(definitions(version), hints=True)
    mended = check.resource(resource, ())
    return Checked(mended, version, tuple(_weighed(kind, version, check.findings)))


def findings_in(resource: Json, version: str) -> list[Finding]:
    """What is wrong with a resource of a type of CHECKED as one of a version of FHIR (`fhir_eligibility.artifacts.elements.VERSIONS`)."""
    check = _Check(definitions(version), hints=True)
    check.resource(resource, ())
    return check.findings


def pointer(kind: str, path: KeyPath) -> str:
    """An element as a path: `Group.characteristic[0].code`."""
    return kind + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def json_problem(error: Exception, text: str | bytes) -> str:
    """What is wrong with a text that is not JSON, with line and column instead of a number of bytes."""
    message = str(error)
    match = re.search(r"\(byte (\d+)\)", message)
    if match is None:
        return f"not valid JSON: {message}"
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    before = raw[: int(match[1])]
    line, column = before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1
    return f"not valid JSON: {message.replace(match[0], f'(line {line}, column {column})')}"


# -- which findings matter


def _weighed(kind: str, version: str, findings: Sequence[Finding]) -> Iterator[Finding]:
    """The findings, those of no consequence marked so."""
    for one in findings:
        yield replace(one, weighty=_matters(kind, one, version))


def _matters(kind: str, found: Finding, version: str) -> bool:
    top = found.path[0] if found.path else ""
    if kind == "ActivityDefinition" or found.code == "other-version":
        return False
    if found.code == "null-value" and len(found.path) == 1 and top in ALWAYS:
        return False
    if found.code == "unknown-modifier" or top == "contained" or top in ALWAYS or top in DECISIVE.get(kind, ()):
        return True
    if found.code != "unknown-element" or len(found.path) > 1:
        return False
    names = set(DECISIVE.get(kind, ()))
    for name in _WITHIN:
        if name.startswith(f"{kind}."):
            names.update(json_names(definitions(version), name))
    names -= {"id", "extension", "type", "name", "description", "note"}
    return bool(difflib.get_close_matches(str(top), sorted(names | {"modifierExtension"}), n=1, cutoff=0.75))


# -- the walk


class _Check:
    """One walk through one resource."""

    def __init__(self, known: Definitions, *, hints: bool) -> None:
        self.known = known
        self.hints = hints
        self.findings: list[Finding] = []
        self.lost_values = 0
        """How much the version cannot say, by which versions are compared."""

    def report(self, code: str, message: str, path: KeyPath, hint: str | None = None) -> None:
        self.findings.append(Finding(code, message, path, hint))
        self.lost_values += 1

    def resource(self, data: Any, path: KeyPath) -> Json:
        """A resource that stands in a file, in `contained`, or in Parameters; of types that are not checked, as it is."""
        kind = data.get("resourceType") if isinstance(data, dict) else None
        if not isinstance(kind, str):
            self.report("wrong-type", f"expected a resource, found {shown(data)}", path)
            return {}
        if kind in CHECKED:
            if data.get("implicitRules") is not None:
                self.report(
                    "unknown-modifier",
                    f"the rules {shown(data['implicitRules'])} are not known, and what follows them may mean something else",
                    (*path, "implicitRules"),
                    "a person has to read it",
                )
            return self.object(data, kind, path, resource=True)
        if kind not in self.known.resource_types and kind not in all_resource_types():
            near = difflib.get_close_matches(kind, self.known.resource_types, n=1) if self.hints else []
            self.report(
                "unknown-resource-type",
                f"FHIR has no resource {kind}",
                (*path, "resourceType"),
                f"did you mean {near[0]}?" if near else None,
            )
        return dict(data)

    def object(self, data: Json, type_name: str, path: KeyPath, *, resource: bool = False) -> Json:
        """An object of a type, without what is wrong; the same object where nothing is."""
        slots = self.known.slots(type_name)
        changed: Json | None = None
        chosen: dict[str, str] = {}
        for name, value in data.items():
            slot = slots.get(name)
            if slot is not None and slot.choice is not None and chosen.setdefault(slot.choice, name) != name:
                self.several((chosen[slot.choice], name), (*path, name))
            if slot is None:
                if resource and name == "resourceType":
                    continue
                self.lost_values += size(value)
                kept: Any = self.of_other_version(name, value, type_name, (*path, name))
                if kept is value:
                    continue
            elif slot.plain is not None and not slot.many:
                if type(value) in slot.plain and (
                    slot.codes is None and slot.kind not in _CHECKED or self.fits(value, slot)
                ):
                    continue
                kept = _OUT
                self.primitive(value, slot, (*path, name))
            else:
                kept = self.value(value, slot, (*path, name))
                if kept is value:
                    continue
            if changed is None:
                changed = dict(data)
            if kept is _OUT:
                del changed[name]
            else:
                changed[name] = kept
        if type_name == "EvidenceVariable.characteristic" and "definitionCodeableConcept" in slots:
            self.several(
                [name for name in data if name in DEFINITIONS and name in slots and slots[name].choice is None], path
            )
        if "modifierExtension" in data:
            self.modifiers(data["modifierExtension"], path)
        self.lost(data, slots, path)
        return data if changed is None else changed

    def value(self, value: Any, slot: Slot, path: KeyPath) -> Any:
        """What stands under a name: the value itself where it is right, a mended copy, or _OUT."""
        if slot.kind == "any":
            return value
        if not slot.many:
            if not isinstance(value, dict):
                self.wrong(value, slot, path)
                return _OUT
            return self.item(value, slot, path)
        if not isinstance(value, list):
            self.wrong(value, slot, path)
            return _OUT
        kept: list[Any] | None = None
        for index, item in enumerate(value):
            found = self.listed(item, slot, (*path, index))
            if found is not item:
                if kept is None:
                    kept = list(value)
                kept[index] = found
        return value if kept is None else [item for item in kept if item is not _OUT]

    def listed(self, item: Any, slot: Slot, path: KeyPath) -> Any:
        """An item of a list. Where it is no object, an empty one stands for it, so that the others keep their places."""
        if slot.plain is not None:
            if item is None:  # its extensions stand in the list beside it
                return item
            if type(item) in slot.plain and self.fits(item, slot):
                return item
            self.primitive(item, slot, path)
            return _OUT
        if item is None and slot.companion:
            return item
        if not isinstance(item, dict):
            self.wrong(item, slot, path, many=False)
            return {}
        return self.item(item, slot, path)

    def item(self, value: Json, slot: Slot, path: KeyPath) -> Json:
        if not value:
            self.report(
                "wrong-type",
                f"{path[-1]} is empty" if isinstance(path[-1], str) else "an empty object",
                path,
                "leave the element out, or write what belongs there",
            )
            return value
        if slot.kind == "Resource":
            return self.resource(value, path)
        if not self.known.model.has_type(slot.kind):
            return value
        return self.object(value, slot.kind, path)

    # -- what is wrong

    def fits(self, value: Any, slot: Slot) -> bool:
        """Whether a primitive of the right JSON type is a value of its FHIR type."""
        if slot.codes is not None:
            return value in slot.codes
        if slot.kind == "decimal":
            return value.__class__ is not Decimal or can_be_written(value)
        if slot.plain == (int,):
            return slot.kind == "integer" or value >= (slot.kind == "positiveInt")
        pattern = PATTERNS.get(slot.kind)
        return pattern is None or pattern.fullmatch(value) is not None

    def primitive(self, value: Any, slot: Slot, path: KeyPath) -> None:
        """Say what is wrong with a primitive."""
        if slot.plain is not None and type(value) in slot.plain and slot.codes is not None:
            near = near_codes(value, slot.codes) if self.hints else []
            hint = f"did you mean {near[0]!r}? " if near else ""
            listed = ", ".join(sorted(slot.codes)) if len(slot.codes) <= 20 else "those of the required value set"
            self.report(
                "unknown-code",
                f"expected a code of {path[-1]}, found {shown(value)}",
                path,
                f"{hint}codes are {listed}",
            )
            return
        if slot.kind == "decimal" and type(value) is Decimal:
            message = f"{shown(value)} has more than {MAX_EXPONENT:,} digits"
            self.report("wrong-type", message, path, "write a number that a record can hold")
            return
        self.wrong(value, slot, path, many=False)

    def wrong(self, value: Any, slot: Slot, path: KeyPath, *, many: bool | None = None) -> None:
        """Say which type was expected."""
        many = slot.many if many is None else many
        kind = "extensions" if slot.companion else "object" if "." in slot.kind else slot.kind
        several = "objects" if kind == "object" else kind
        expected = f"a list of {several}" if many else f"one {kind}" if isinstance(value, list) else kind
        expected = "an object" if expected == "object" else expected
        code = "null-value" if value is None else "wrong-type"
        self.report(code, f"expected {expected}, found {shown(value)}", path, _remedy(value, slot, many))

    def unknown(self, name: str, type_name: str, path: KeyPath) -> None:
        """Say that a type has no such element, and which may be meant."""
        message = f"{type_name} has no element {shown(name)}"
        self.report("unknown-element", message, path, self.meant(name, type_name) if self.hints else None)

    def of_other_version(self, name: str, value: Any, type_name: str, path: KeyPath) -> Any:
        """An element that another version of FHIR has in this place is understood, so it stays; another one is unknown."""
        mine = self.known
        for version in VERSIONS:
            slot = definitions(version).slots(type_name).get(name)
            if slot is None:
                continue
            hint = f"the rest of the artifact is FHIR {mine.model.version.upper()}"
            self.report("other-version", f"{name} is an element of FHIR {version.upper()}", path, hint)
            self.known = definitions(version)
            try:
                return self.single(value, slot, path)
            finally:
                self.known = mine
        self.unknown(name, type_name, path)
        return _OUT

    def single(self, value: Any, slot: Slot, path: KeyPath) -> Any:
        """What stands under a name, whether primitive or not: the value itself, a mended copy, or _OUT."""
        if slot.plain is None or slot.many:
            return self.value(value, slot, path)
        if type(value) in slot.plain and self.fits(value, slot):
            return value
        self.primitive(value, slot, path)
        return _OUT

    def meant(self, name: str, type_name: str) -> str:
        """Which element of a type may be meant by a name that it does not have."""
        names = json_names(self.known, type_name)
        choice = self.known.model.element(type_name, name)
        if choice is not None and choice.choice:
            return f"write its type as well: {', '.join(key for key, _ in choice.json_names[:8])}"
        near = near_names(name, names)
        if near:
            return f"did you mean {near[0]}?"
        listed = [key for key in names if key not in ("id", "extension", "modifierExtension")]
        return f"its elements are {', '.join(listed[:24])}"

    def several(self, names: Sequence[str], path: KeyPath) -> None:
        """Say that elements of which one may stand stand together."""
        if len(names) > 1:
            message = f"{', '.join(names[:-1])} and {names[-1]} stand together, and only one of them may"
            code = "several-definitions" if names[0].startswith("definition") else "several-values"
            self.report(code, message, path, "leave one, and write further criteria as characteristics of their own")

    def modifiers(self, value: Any, path: KeyPath) -> None:
        """A modifier extension changes the meaning of what holds it: one that is not known makes it unknown."""
        for index, item in enumerate(value if isinstance(value, list) else ()):
            url = item.get("url") if isinstance(item, dict) else None
            if url in KNOWN_MODIFIERS and not path:
                continue
            self.report(
                "unknown-modifier",
                f"the modifier extension {shown(url)} is not known, and what holds it may mean something else",
                (*path, "modifierExtension", index),
                "a person has to read it",
            )

    def lost(self, data: Json, slots: dict[str, Slot], path: KeyPath) -> None:
        """Primitives that have only extensions, such as data-absent-reason, have no value."""
        for name in data:
            if name[:1] == "_" and name[1:] in _NEEDED and name[1:] not in data and name in slots:
                self.report("missing-value", f"{name[1:]} has extensions but no value", (*path, name))


_OUT: Any = object()
_CHECKED = ("decimal", "date", "dateTime", "instant", "time", "positiveInt", "unsignedInt")
_NEEDED = ("exclude", "value", "comparator", "threshold", "code", "system", "expression", "linkId", "combinationMethod")


def size(value: Any) -> int:
    """How many values a JSON value holds; itself where it is none of others."""
    stack, count = [value], 0
    while stack:
        found = stack.pop()
        count += 1
        if isinstance(found, dict):
            stack.extend(found.values())
        elif isinstance(found, list):
            stack.extend(found)
    return count


def near_names(name: str, names: tuple[str, ...]) -> list[str]:
    """Names that may be meant by one that is none, best first."""
    lowered = {key.lower(): key for key in reversed(names)}
    exact = lowered.get(name.lower())
    if exact is not None:
        return [exact]
    return difflib.get_close_matches(name, names, n=3, cutoff=0.6)


def near_codes(value: str, codes: frozenset[str]) -> list[str]:
    """Codes that may be meant by a text that is none: those with the same characters, else similar ones."""
    mixed = [code for code in sorted(codes) if sorted(code) == sorted(value.strip().lower())]
    return mixed or difflib.get_close_matches(value.strip().lower(), sorted(codes), n=1, cutoff=0.3)


def shown(value: Any) -> str:
    """A JSON value in a message, short and on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        text = repr(value)
        return text if len(text) <= 80 else text[:77] + "...'"
    return f"the number {value}"[:80]


def _remedy(value: Any, slot: Slot, many: bool) -> str | None:
    if many and not isinstance(value, list):
        return "write it in brackets, [ ... ]"
    if isinstance(value, list) and not many:
        return "write one without brackets"
    if slot.kind == "boolean" and isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return f"write {value.strip().lower()} without quotes"
    if slot.plain is not None and slot.kind in PLAIN and isinstance(value, str):
        number = value.strip().replace(",", ".")
        if re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", number):
            return f"write {number} without quotes"
    if slot.plain == TEXT and type(value) in (int, float, Decimal):
        return f'write "{value}" in quotes'
    if slot.kind in PATTERNS:
        return "write 2026-03-01, or 2026-03-01T09:00:00+01:00" if slot.kind != "time" else "write 09:00:00"
    return None
