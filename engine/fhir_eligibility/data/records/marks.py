"""Resources that are marked as a whole: modifiers that are not known, parts of records, test data. Found in the text, counted, and told once a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import stringzilla as sz
from stringzilla import contains

from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.records.in_doubt import PART, TEST, modifiers_in, name_of, tagged

Resource = dict[str, Any]
_TEXTS = (b"modifierExtension", b"mplicitRules", PART.encode(), TEST.encode())
_ESCAPE = b"\\u00"
# A letter of one of these may be written as an escape.
_ESCAPED = (b"\\u004", b"\\u005", b"\\u006", b"\\u007")
_MOST, _OTHERS = 100, "others"
Where = dict[str, Any]
"""The place of a resource, as fields of a Problem."""


def may_be_marked(text: bytes | bytearray | memoryview) -> bool:
    """Whether a resource in a text may have a mark; False is certain."""
    for mark in _TEXTS:
        if contains(text, mark):
            return True
    return contains(text, _ESCAPE) and any(contains(text, escape) for escape in _ESCAPED)


def marks_in(lines: bytes) -> Iterator[int]:
    """Places in a text of lines at which something stands for which the resource of the line may have a mark, one a line for each kind, in no order."""
    for mark in (*_TEXTS, *(_ESCAPED if contains(lines, _ESCAPE) else ())):
        at = sz.find(lines, mark, 0)
        while at >= 0:
            yield at
            line_end = lines.find(b"\n", at)
            at = sz.find(lines, mark, line_end) if line_end >= 0 else -1


def handed_down(bundle: Resource, entry: Resource) -> Resource:
    """The modifiers of a bundle and of one of its entries, which hold for the resource of the entry, too; by their JSON names."""
    found = {name: bundle[name] for name in ("implicitRules", "_implicitRules") if bundle.get(name)}
    if entry.get("modifierExtension"):
        found["modifierExtension"] = entry["modifierExtension"]
    return found


def with_modifiers(resource: Resource, modifiers: Resource) -> Resource:
    """A resource with modifiers besides its own."""
    found = {**modifiers, **resource}
    own, more = resource.get("modifierExtension"), modifiers.get("modifierExtension")
    if own and more:
        found["modifierExtension"] = [*_listed(own), *_listed(more)]
    return found


def _listed(value: Any) -> list[Any]:
    return value if value.__class__ is list else [value]


class Noted(msgspec.Struct):
    """How many resources have which marks: parts and test data by type, modifiers by type and what they are."""

    parts: dict[str, int] = {}
    tests: dict[str, int] = {}
    modifiers: dict[str, dict[str, int]] = {}

    def add(self, resource: Resource) -> bool:
        """Take in a resource that may be marked; gives whether it is a Patient that is test data."""
        kind = str(resource.get("resourceType"))
        if tagged(resource, PART):
            self.parts[kind] = self.parts.get(kind, 0) + 1
        for what in dict.fromkeys(what for _, what in modifiers_in(resource)):
            self._modified(kind, what, 1)
        if not tagged(resource, TEST):
            return False
        self.tests[kind] = self.tests.get(kind, 0) + 1
        return kind == "Patient"

    def update(self, other: Noted) -> None:
        """Add what another piece of work noted."""
        for mine, theirs in ((self.parts, other.parts), (self.tests, other.tests)):
            for kind, number in theirs.items():
                mine[kind] = mine.get(kind, 0) + number
        for kind, numbers in other.modifiers.items():
            for what, number in numbers.items():
                self._modified(kind, what, number)

    def _modified(self, kind: str, what: str, number: int) -> None:
        found = self.modifiers.setdefault(kind, {})
        if what not in found and len(found) >= _MOST:
            what = _OTHERS
        found[what] = found.get(what, 0) + number

    def types(self) -> frozenset[str]:
        """The types of which some resource is in doubt by its marks."""
        return frozenset(self.parts) | frozenset(self.modifiers)

    def problems(self) -> Iterator[Problem]:
        """What to tell of it, once a run."""
        for kind, number in sorted(self.parts.items()):
            message = f"{_of(number, kind)} only a part of what there is (meta.tag SUBSETTED): that an element is not there tells nothing"
            hint = "criteria that read an element that is missing there are unknown; get the records whole, without _summary and _elements"
            yield Problem(code="partial-record", severity="warning", message=message, hint=hint)
        for kind, numbers in sorted(self.modifiers.items()):
            for what, number in sorted(numbers.items()):
                message = f"{_of(number, kind)} marked by a modifier that is not known, and may mean something else than it says: {what}"
                hint = "criteria that hang on such a record are unknown; find out what the modifier means, and leave it or the records out"
                yield Problem(code="unknown-modifier", severity="warning", message=message, hint=hint)
        for kind, number in sorted(self.tests.items()):
            if kind != "Patient":
                message = f"{_of(number, kind)} marked as test data (HTEST); it is judged like any other"
                yield Problem(code="test-data", severity="warning", message=message)


def _of(number: int, kind: str) -> str:
    return f"{number} {kind} {'is' if number == 1 else 'are each'}"


def test_patient(patient: Resource, where: Where) -> Problem:
    """The problem of a Patient that is test data."""
    name = name_of(patient)
    message = f"{name} is a test patient by its own mark (HTEST in meta.security or meta.tag); there is a verdict all the same"
    hint = "leave test patients out of the data if nobody is to be asked about them"
    return Problem(
        **where, resource=name, patient=name, code="test-data", severity="warning", message=message, hint=hint
    )
