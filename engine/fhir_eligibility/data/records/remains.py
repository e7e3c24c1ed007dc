"""What a text that is not JSON any more still tells of the resources that it was: type, id, and the patient whom it is about.

Only what is certain is told. Damage that leaves the rest of the text as it was - bytes that are no text, one byte that is wrong, missing or too many - is undone in every
way that makes the text whole again, and what all of these ways agree on is certain. Of any other damage only what stands before it is: behind it may be another
resource, whose beginning was lost. Each beginning of a resource in the text is one that was there. A bundle that holds a Patient, tells of nobody else, and is of a
type that is made for one patient is that patient's, if it is a document, or if other bundles show that each is one patient's; what a search found, a history or a batch may go on
with others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from fhir_eligibility.artifacts.elements import all_resource_types
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.files.problems import ENTRIES, SO_FAR
from fhir_eligibility.data.records.identity import ALONE

Path = tuple[str, ...]
MOST_REPAIRED = 1 << 16
"""Bytes of a text that is tried to be made whole; of a longer one the beginning tells."""
MOST_SCANNED = 1 << 24
MOST_FOUND = 20
"""Resources that are told of one text."""
LEFT_OUT = "\x7f"
"""What stands for a byte that no text holds."""
_BEFORE, _BEHIND = 24, 3
_PIECES = (b'"', b":", b",", b"}", b"]", b"{", b"[")
_AT = re.compile(r"\(byte (\d+)\)")
_TOKEN = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrtu])*"|[{}\[\]:,]|[^\s"{}\[\]:,]+|"')
_SCALAR = re.compile(rb"-?\d+(\.\d+)?([eE][+-]?\d+)?|true|false|null")
_BUNDLE = re.compile(rb'\s*\{\s*"resourceType"\s*:\s*"Bundle"')
_TYPE_OF_BUNDLE = re.compile(r'"type"\s*:\s*"([^"]*)"')
_STARTS = re.compile(rb'\{\s*"resourceType"')
_PATIENT = re.compile(r"(?:https?://[^\s\"|?#]+/)?Patient/[A-Za-z0-9\-._:]{1,256}(?:/_history/[A-Za-z0-9\-.]+)?")
_PATIENTS = re.compile(r'"resourceType"\s*:\s*"Patient"\s*,\s*"id"\s*:\s*"([^"]*)"')
_PATIENT_BEGUN = re.compile(r'"resourceType"\s*:\s*"(?:Patient"|(?:P|Pa|Pat|Pati|Patie|Patien|Patient)?\Z)')
"""The beginning of a Patient, or of what may have been one."""
_REFERENCES = re.compile(r'"reference"\s*:\s*"([^"]*Patient/[^"]*)"')
_CONTROL = bytes.maketrans(bytes(range(32)), bytes(32 if chr(byte).isspace() else 127 for byte in range(32)))
_USUAL = ("subject", "patient")
_decode = msgspec.json.Decoder().decode


class Remains(Struct, frozen=True):
    """A resource that stood in a text, as far as it is certain."""

    type: str | None = None
    id: str | None = None
    patient: str | None = None
    bundle: bool = False
    """Whether it was a bundle in which the patient's Patient stands."""
    open: bool = False
    """Whether that bundle may have held other patients, where nothing of it is left."""

    def named(self) -> dict[str, str]:
        """The same as fields of a Problem."""
        found: dict[str, str] = {}
        if self.type is not None:
            found["type"] = self.type
            if self.id is not None:
                found["resource"] = f"{self.type}/{self.id}"
        if self.patient is not None:
            found["patient"] = self.patient
            if self.bundle:
                found["element"] = SO_FAR if self.open else ENTRIES
        return found


NOTHING = Remains()
OF_ONE = frozenset(("document",))
"""Types of bundles that are about one patient by what they are: of any other, what is lost may have been of other patients."""


def named_in(text: bytes) -> dict[str, str]:
    """What a text still tells of the first resource in it, as fields of a Problem."""
    return remains_in(text)[0].named()


def remains_in(text: bytes) -> list[Remains]:
    """The resources that stood in a text; at least one, of which nothing may be known."""
    cleaned = _as_text(text)
    if len(cleaned) <= MOST_REPAIRED:
        whole = list(_made_whole(cleaned))
        if whole:
            remains = [remains_of(value) for value in whole]
            return [_agreed(remains)]
    if cleaned.lstrip().startswith(b"["):
        return [NOTHING]  # an array, of which nobody knows what more it held
    found = _scanned(cleaned[:MOST_SCANNED])
    if _BUNDLE.match(cleaned):
        # what is lost of the bundle of one patient is that patient's, or of patients whose records are all in it
        return [_seen_in(cleaned[:MOST_SCANNED].decode())]
    return found


def _seen_in(text: str) -> Remains:
    """The one patient whose bundle a text is the beginning of, where it is one that is made for one patient."""
    kind, patients = _TYPE_OF_BUNDLE.search(text), _PATIENTS.findall(text)
    if kind is None or kind[1] not in ALONE or not patients or len(_PATIENT_BEGUN.findall(text)) != len(patients):
        return NOTHING
    about: set[str | None] = {f"Patient/{found}" for found in patients}
    about |= {found.partition("/_history/")[0] for found in _REFERENCES.findall(text)}
    return Remains(None, None, _patient(about), bundle=True, open=kind[1] not in OF_ONE)


def remains_of(value: Any) -> Remains:
    """What something decoded tells of itself."""
    if value.__class__ is not dict:
        return NOTHING
    kind = value.get("resourceType")
    known = kind if kind.__class__ is str and kind in all_resource_types() else None
    if known in ("Bundle", "Parameters"):
        patient = _only_patient(value)
        return Remains(None, None, patient, bundle=patient is not None and _holds(value, patient))
    identifier = _clear(value.get("id"))
    if known == "Patient":
        return Remains(known, identifier, None if identifier is None else f"Patient/{identifier}")
    about = {_clear(found) for path in _paths(known) for found in _values(value, (*path, "reference"))}
    return Remains(known, identifier, _patient(about))


def _only_patient(value: dict[str, Any]) -> str | None:
    """The patient whom everything in a bundle is about; None where that is not certain."""
    about: set[str | None] = set()
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if item.__class__ is list:
            waiting.extend(item)
        elif item.__class__ is dict:
            waiting.extend(item.values())
            if item.get("resourceType") == "Patient":
                about.add(remains_of(item).patient)
            elif item.get("resourceType") not in (None, "Bundle", "Parameters"):
                remains = {
                    _clear(x) for path in _paths(item["resourceType"]) for x in _values(item, (*path, "reference"))
                }
                about |= remains
    return _patient(about)


def _holds(bundle: dict[str, Any], patient: str) -> bool:
    """Whether a bundle has an entry with the Patient."""
    resources = _values(bundle, ("entry", "resource"))
    return any(
        one.__class__ is dict and remains_of(one) == Remains("Patient", patient[8:], patient) for one in resources
    )


def _patient(about: set[str | None]) -> str | None:
    """The one patient that references name; None where they name none, several, or others."""
    if len(about) != 1:
        return None
    (found,) = about
    return found if found is not None and _PATIENT.fullmatch(found) else None


def _clear(value: Any) -> str | None:
    """A text that holds no byte which was left out, None for anything else."""
    return value if value.__class__ is str and value and LEFT_OUT not in value and value.isprintable() else None


def _paths(kind: Any) -> list[Path]:
    """Where resources of a type name their patient."""
    named = load_model("r4").patient_paths(kind) if kind.__class__ is str else ()
    return [tuple(path.split(".")) for path in dict.fromkeys((*named, *_USUAL))]


def _values(value: Any, path: Path) -> Iterator[Any]:
    if value.__class__ is list:
        for item in value:
            yield from _values(item, path)
    elif not path:
        yield value
    elif value.__class__ is dict and path[0] in value:
        yield from _values(value[path[0]], path[1:])


def _agreed(remains: list[Remains]) -> Remains:
    """What all tell alike."""
    types, ids, patients = {one.type for one in remains}, {one.id for one in remains}, {one.patient for one in remains}
    kind, identifier, patient = (found.pop() if len(found) == 1 else None for found in (types, ids, patients))
    return Remains(kind, identifier, patient, bundle=all(one.bundle for one in remains))


# -- damage that is undone


def _as_text(text: bytes) -> bytes:
    """A text in which bytes that no text holds are marked, and blanks that stand in strings are such as may."""
    if not text.isascii():
        text = text.decode("utf-8", "replace").replace("\ufffd", LEFT_OUT).encode()
    return text.translate(_CONTROL)


def _made_whole(text: bytes) -> Iterator[Any]:
    """What a text may have been before one byte of it was damaged: all that it can be, by the place where it is not JSON."""
    try:
        yield _decode(text)
        return
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        at = _AT.search(str(error))
    if at is None:
        return  # it is cut short: nothing but its end is missing
    place = int(at[1])
    for start in range(max(0, place - _BEFORE), min(len(text), place + _BEHIND) + 1):
        head, tail = text[:start], text[start:]
        for piece in _PIECES:
            yield from _whole(head + piece + tail)
        if tail:
            yield from _whole(head + tail[1:])
            for piece in _PIECES:
                yield from _whole(head + piece + tail[1:])


def _whole(text: bytes) -> Iterator[Any]:
    try:
        found = _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if found.__class__ is dict and "resourceType" in found:
        yield found


# -- what stands before the damage


def _scanned(text: bytes) -> list[Remains]:
    """What is told by the beginnings of resources, each up to where it is damaged."""
    first, end = _beginning(text, 0)
    found = [first]
    at = _STARTS.search(text, max(end, 1))
    while at is not None and len(found) < MOST_FOUND:
        one, end = _beginning(text, at.start())
        found.append(one)
        at = _STARTS.search(text, max(end, at.end()))
    if at is not None:
        found.append(NOTHING)
    return found


def _beginning(text: bytes, start: int) -> tuple[Remains, int]:
    """What a resource tells that begins at a place, and where it ends, or from where on it may be damaged."""
    walk = _Walk()
    end = last = start
    for match in _TOKEN.finditer(text, start):
        if not walk.step(match[0]):
            return walk.remains(), last  # the token before may have swallowed a quote
        last, end = match.start(), match.end()
        if not walk.stack:
            break
    return walk.remains(), end


class _Walk:
    """Follows the tokens of one JSON object, and notes what it tells of itself."""

    def __init__(self) -> None:
        self.stack: list[str] = []
        self.path: list[str] = []
        self.state = "value"
        self.noted: dict[Path, list[str]] = {}

    def step(self, token: bytes) -> bool:
        """Take in a token; False where it cannot stand here."""
        state, stack = self.state, self.stack
        if state == "colon":
            self.state = "value"
            return token == b":"
        if token in (b"}", b"]"):
            wanted = b"}" if stack and stack[-1] == "{" else b"]"
            if not stack or token != wanted or state not in ("after", "first"):
                return False
            stack.pop()
            self._leave()
            return True
        if state == "after":
            self.state = "key" if stack[-1] == "{" else "value"
            return token == b","
        if state in ("key", "first") and stack and stack[-1] == "{":
            if token[:1] != b'"' or len(token) < 2:
                return False
            self.path.append(_text(token))
            self.state = "colon"
            return True
        if token in (b"{", b"["):
            stack.append(token.decode())
            self.state = "first"
            return True
        if token[:1] == b'"' and len(token) > 1:
            self.noted.setdefault(tuple(self.path), []).append(_text(token))
        elif not _SCALAR.fullmatch(token):
            return False
        self._leave()
        return True

    def _leave(self) -> None:
        """A value is complete."""
        if self.stack and self.stack[-1] == "{":
            self.path.pop()
        self.state = "after"

    def remains(self) -> Remains:
        """What was noted."""
        kinds, identifiers = self.noted.get(("resourceType",), []), self.noted.get(("id",), [])
        kind = kinds[0] if len(kinds) == 1 and kinds[0] in all_resource_types() else None
        if kind in ("Bundle", "Parameters"):
            return NOTHING
        identifier = _clear(identifiers[0]) if len(identifiers) == 1 else None
        if kind == "Patient":
            return Remains(kind, identifier, None if identifier is None else f"Patient/{identifier}")
        about = {_clear(found) for path in _paths(kind) for found in self.noted.get((*path, "reference"), ())}
        return Remains(kind, identifier, _patient(about))


def _text(token: bytes) -> str:
    try:
        found: str = _decode(token)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return LEFT_OUT
    return found
