"""Ids, references and elements that are written otherwise than FHIR has it, and are read all the same: one warning a file and kind, with a count and the first example."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from fhir_eligibility.artifacts.references import FHIR_ID, RESTFUL, Odd, plain_id
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.records.identity import text_of_id

MOST_CHARACTERS = 64
MOST_KINDS = 10_000
OTHERS = "elements that FHIR does not have, or has in another form, in other records than those named"
OddId = Literal["id-allowed-characters", "id-length", "id-number", "id-of-address"]
_IDS: dict[str, str] = {
    "id-allowed-characters": "have an id with characters that FHIR does not allow",
    "id-length": f"have an id of more than {MOST_CHARACTERS} characters",
    "id-number": "have a JSON number for an id, which is read as a text",
    "id-of-address": "have another id than the address that their entry gives them (fullUrl)",
}
_REFERENCES: dict[Odd, str] = {
    "spaces": "with spaces around it",
    "slashes": "with slashes where none belong, or other ones",
    "letter-case": "in other letters than the type of a resource has",
    "query": "with something behind the id (? or #)",
    "path": "with a path before the type",
    "bare-id": "as an id without a type",
    "no-text": "as a number, or as a text in place of a Reference",
    "percent": "with a percent sign in the id, which is compared both as it is and decoded",
    "id-search": "as a search for an id",
    "urn-elsewhere": "as a urn that nothing in the same bundle bears; it means a Patient elsewhere of that urn, or with that UUID as id",
    "id-characters": "with characters that belong into no path",
}
_ID_HINT = "ids are used as they are written; FHIR's own have letters, digits, - and ., 64 at the most"
_OF_ONE = {"id-of-address": "has another id than the address that its entry gives it (fullUrl)"}
_ADDRESS_HINT = "who is meant by which of the two cannot be told; mend the one that is wrong"
_REFERENCE_HINT = "each is read as the one patient that it can mean; write Patient/ID"


class Oddity(msgspec.Struct, array_like=True, gc=False):
    """How often something odd of one kind stands in a file, and where it stands first."""

    file: int | str
    kind: str
    count: int
    offset: int
    entry: int
    line: int | None
    resource: str
    shown: str


class Oddities:
    """Counts them. `file` is a path, or the number of one."""

    def __init__(self) -> None:
        self._found: dict[tuple[int | str, str], Oddity] = {}

    def __iter__(self) -> Iterator[Oddity]:
        return iter(self._found.values())

    def add(
        self,
        kind: str,
        file: int | str,
        resource: str,
        shown: str,
        offset: int = 0,
        entry: int = -1,
        line: int | None = None,
    ) -> None:
        """Take in one: in the resource called so, written so. `kind` is one of the kinds of ids and references, or says in words what is odd about an element."""
        if len(self._found) > MOST_KINDS and (file, kind) not in self._found:
            kind = OTHERS
        held = self._found.get((file, kind))
        if held is not None and (held.offset, held.entry) <= (offset, entry):
            held.count += 1
            return
        count = 1 if held is None else held.count + 1
        self._found[file, kind] = Oddity(file, kind, count, offset, entry, line, resource, shown)

    def extend(self, more: Iterable[Oddity]) -> None:
        """Take in those of another piece of work, which comes later in the data."""
        for one in more:
            held = self._found.get((one.file, one.kind))
            if held is None:
                self._found[one.file, one.kind] = one
            else:
                held.count += one.count

    def problems(self, files: Sequence[str] = ()) -> Iterator[Problem]:
        """A warning a file and kind; `files` are the paths by number."""
        for one in self._found.values():
            path = files[one.file] if isinstance(one.file, int) else one.file
            where = {
                "file": path,
                "line": one.line,
                "offset": one.offset,
                "entry": one.entry if one.entry >= 0 else None,
            }
            several = one.count > 1
            if one.kind not in _IDS and one.kind not in _REFERENCES:
                others = f" ({one.count} records of this file; this is the first)" if several else ""
                yield Problem(
                    **where,
                    resource=one.resource or None,
                    code="odd-element",
                    severity="warning",
                    message=one.kind + others,
                )
                continue
            if one.kind in _IDS:
                who = f"{one.count} Patients of this file" if several else "a Patient of this file"
                what = _IDS[one.kind] if several else _OF_ONE.get(one.kind, _IDS[one.kind].replace("have", "has", 1))
                message = f"{who} {what}: {one.shown}"
                hint = _ADDRESS_HINT if one.kind == "id-of-address" else _ID_HINT
                code, element = "odd-id", "Patient.id"
            else:
                who = (
                    f"{one.count} references to patients in this file are" if several else "a reference to a patient is"
                )
                message = f"{who} written {_REFERENCES[one.kind]}: {one.shown} in {one.resource}"  # type: ignore[index]
                code, hint, element = "odd-reference", _REFERENCE_HINT, None
            if several:
                message = f"{message}, the first of them"
            yield Problem(
                **where,
                resource=one.resource,
                element=element,
                code=code,
                severity="warning",
                message=message,
                hint=hint,
            )


def odd_ids(identifier: object, full_url: str | None) -> Iterator[OddId]:
    """What is odd about what stands in the place of a Patient's id, and in the address of its entry."""
    text = text_of_id(identifier)
    if text is not None and full_url is not None and not full_url.endswith(f"/{text}"):
        match = RESTFUL.fullmatch(full_url)
        if match is not None and match["root"] and plain_id(match["path"].removeprefix("Patient/")) != plain_id(text):
            yield "id-of-address"
    if identifier.__class__ is int:
        yield "id-number"
        return
    if not isinstance(identifier, str) or not identifier or FHIR_ID.fullmatch(identifier):
        return
    if len(identifier) > MOST_CHARACTERS:
        yield "id-length"
    if any(FHIR_ID.fullmatch(character) is None for character in identifier):
        yield "id-allowed-characters"
