"""Deletions and patches among the data: which resources the DELETE and PATCH entries of bundles mean (FHIR R4: http.html#delete, http.html#cond-delete, http.html#patch; Bulk Data: deleted).

What a patch makes of a record is not worked out: the record is in doubt. The address of a deletion is read however it is spelled. A search in its place (a conditional delete) is answered from the data where it asks for ids and
identifiers alone; whatever is not understood removes nothing, and is reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote_plus

import msgspec
from msgspec import Struct

from fhir_eligibility.artifacts.elements import all_resource_types
from fhir_eligibility.artifacts.references import Meaning, meaning_of, plain_id, root_of
from fhir_eligibility.data.files.problems import DELETION, PATCHED, Problem
from fhir_eligibility.data.records.identity import id_of, pair_of

Resource = dict[str, Any]
_SEARCHED = ("_id", "identifier")
_CONTROL = frozenset(("_format", "_pretty", "_summary", "_elements", "_count", "_total"))
"""Parameters that do not choose what is found (http.html#parameters)."""


class Deletion(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One deletion: the address as it is written, the fullUrl of its entry, where it stands, and when the data says it happened.

    `kind` and `id` are set where a conditional delete was resolved; `several` tells that it found more than one resource, so that a server may have refused it. `written`
    are the entries of its own bundle that create or update a resource, by their methods.
    """

    url: str
    full_url: str | None = None
    file: str = ""
    offset: int | None = None
    entry: int | None = None
    line: int | None = None
    moment: str | None = None
    version: str | None = None
    rank: int | None = None
    written: dict[int, str] = {}
    kind: str = ""
    id: str = ""
    root: str | None = None
    several: bool = False
    patch: bool = False
    """Whether it changes the resource in a way that is not known here, and does not delete it."""

    @property
    def where(self) -> dict[str, Any]:
        """Its place, as fields of a Problem."""
        return {"file": self.file, "offset": self.offset, "entry": self.entry, "line": self.line}


class Search(Struct, frozen=True):
    """A search that the data can answer: resources of a type that have one of the ids, and of each list of identifiers one."""

    kind: str
    root: str | None
    ids: frozenset[str] | None
    identifiers: tuple[tuple[str, ...], ...]

    def finds(self, resource: Resource, full_url: str | None) -> bool:
        """Whether it finds a resource."""
        if resource.get("resourceType") != self.kind:
            return False
        own = root_of(full_url)
        if self.root is not None and own is not None and own != self.root:
            return False
        if self.ids is not None and id_of(resource) not in self.ids:
            return False
        listed = resource.get("identifier")
        pairs = [pair for item in (listed if listed.__class__ is list else [listed]) if (pair := pair_of(item))]
        return all(any(_is_token(pair, token) for pair in pairs for token in tokens) for tokens in self.identifiers)


def _is_token(pair: tuple[str | None, str], token: str) -> bool:
    """Whether an identifier is what a token asks for (search.html#token)."""
    parts = [re.sub(r"\\(.)", r"\1", part) for part in re.split(r"(?<!\\)\|", token)]
    if len(parts) == 1:
        return pair[1] == parts[0]
    system, value = parts[0], "|".join(parts[1:])
    return (pair[0] or "") == system and (not value or pair[1] == value)


def meant(deletion: Deletion) -> Meaning | Search | str:
    """What a deletion removes: a resource by its address or urn, or what a search finds; else why it removes nothing."""
    if deletion.kind:
        return Meaning("address", deletion.id, deletion.kind, deletion.root)
    text = deletion.url.strip()
    if not text:
        if deletion.full_url is None:
            return "it has no address"
        text = deletion.full_url
    if _is_type(text):
        return "it names a type and no resource; that removes nothing"
    found = meaning_of(text)
    match found.form:
        case "address" if found.kind in all_resource_types():
            if text.rstrip("/").endswith("/_history"):
                return "it removes the history of a resource, and not the resource"
            return found if found.root is not None else _at(found, root_of(deletion.full_url))
        case "urn" | "uri":
            return found
        case "search":
            return _search(found, _root_of_search(text) or root_of(deletion.full_url))
        case _:
            return "it is not an address of a resource"


def _is_type(text: str) -> bool:
    """Whether an address leads to all resources of a type."""
    before = re.split(r"[?#]", text, maxsplit=1)[0].rstrip("/")
    return "?" not in text and before.rpartition("/")[2] in all_resource_types() and not _is_id_of(before)


def _is_id_of(address: str) -> bool:
    """Whether an address that ends in the name of a type is that of a resource with such an id."""
    parts = address.split("/")
    return len(parts) > 1 and parts[-2] in all_resource_types()


def _at(found: Meaning, root: str | None) -> Meaning:
    return found if root is None else Meaning(found.form, found.id, found.kind, root, found.version, found.odd)


def _search(found: Meaning, root: str | None) -> Search | str:
    ids: frozenset[str] | None = None
    identifiers: list[tuple[str, ...]] = []
    for part in found.id.split("&"):
        name, _, value = part.partition("=")
        name, value = unquote_plus(name), unquote_plus(value)
        if not part or name in _CONTROL:
            continue
        if name.partition(":")[0] not in _SEARCHED or ":" in name or not value:
            return f"what it searches for ({part[:100]}) cannot be told from the data; only _id and identifier can"
        several = tuple(one for one in re.split(r"(?<!\\),", value) if one)
        if name == "_id":
            ids = frozenset(several) if ids is None else ids & frozenset(several)
        else:
            identifiers.append(several)
    if ids is None and not identifiers:
        return "it searches for nothing, so that it would remove all of a type; that removes nothing"
    return Search(found.kind or "", root, ids, tuple(identifiers))


def _root_of_search(text: str) -> str | None:
    """The root of the server in the address of a search."""
    before = text.partition("?")[0].rstrip("/")
    root = before.rpartition("/")[0]
    return f"{root}/" if root.startswith(("http://", "https://")) else None


def resolved(deletion: Deletion, search: Search, found: Iterable[tuple[str, str | None]]) -> Iterator[Deletion]:
    """A conditional delete as deletions of what its search found, each an id with the fullUrl of its entry."""
    addresses = sorted(
        {(identifier, root_of(full_url) or "", "" if identifier else full_url or "") for identifier, full_url in found}
    )
    for identifier, root, urn in addresses:
        what = {"kind": search.kind, "id": identifier, "root": root or search.root} if identifier else {"url": urn}
        yield msgspec.structs.replace(deletion, **what, several=len(addresses) > 1)


def patched(deletion: Deletion, search: Search, found: Sequence[Resource]) -> Problem:
    """The problem of a patch of what a search finds among the data."""
    identifiers = {id_of(one) for one in found} if found else set(search.ids or ())
    identifier = identifiers.pop() if len(identifiers) == 1 else None
    whose = {_patient_of(one) for one in found}
    if search.kind == "Patient" and identifier is not None:
        whose = {f"Patient/{identifier}"}
    now = "what the record says now cannot be told"
    where = "" if found else ", which is not among the data"
    return Problem(
        **deletion.where,
        type=search.kind or None,
        resource=f"{search.kind}/{identifier}" if identifier is not None else None,
        patient=whose.pop() if len(whose) == 1 else None,
        code=PATCHED,
        message=f"PATCH {deletion.url[:200]!r} is not applied{where}: {now}",
        hint="give the record as it is after the patch",
    )


def _patient_of(resource: Resource) -> str | None:
    """Whom a resource is about, where it says so by type and id."""
    subject = resource.get("subject") or resource.get("patient")
    text = subject.get("reference") if subject.__class__ is dict else None
    found = meaning_of(text) if text.__class__ is str else None
    certain = found is not None and found.form == "address" and found.kind == "Patient"
    return f"Patient/{plain_id(found.id)}" if found is not None and certain else None


def not_understood(deletion: Deletion, why: str) -> Problem:
    """The problem of a deletion that removes nothing because it is not understood."""
    if deletion.patch:
        message = f"PATCH {deletion.url[:200]!r} is not applied, and which record it changes cannot be told: {why}"
        return Problem(**deletion.where, code=PATCHED, message=message, hint="write Type/id in its request.url")
    message = f"DELETE {deletion.url[:200]!r} removes nothing: {why}"
    hint = "write Type/id in the request.url of a deletion"
    return Problem(**deletion.where, code=DELETION, message=message, hint=hint)


def finds_nothing(deletion: Deletion, search: Search) -> Problem:
    """The problem of a conditional delete, or patch, that finds nothing among the data."""
    if deletion.patch:
        return patched(deletion, search, ())
    message = f"DELETE {deletion.url[:200]!r} finds no resource of the data; nothing is removed"
    return Problem(**deletion.where, code="deletion-finds-nothing", severity="warning", message=message)


class Deletions:
    """Deletions that are understood, to be found by what they remove."""

    def __init__(self, deletions: Iterable[Deletion] = ()) -> None:
        self._named: dict[str, list[tuple[Deletion, str | None]]] = {}
        for deletion in deletions:
            self.add(deletion)

    def __bool__(self) -> bool:
        return bool(self._named)

    def add(self, deletion: Deletion) -> None:
        """Take in one that names its resource; any other is not taken in."""
        found = meant(deletion)
        if isinstance(found, Meaning):
            if found.form == "address":
                name, root = f"{found.kind}/{plain_id(found.id)}", found.root
                if found.version is not None and deletion.version is None:
                    deletion = msgspec.structs.replace(deletion, version=found.version)
            else:
                name, root = found.id, None
            self._named.setdefault(name, []).append((deletion, root))

    def by_name(self) -> list[Any]:
        """All of them, by the name of what they remove."""
        return sorted(self._named.items())

    def has(self, kind: str, identifier: str | None, full_url: str | None) -> bool:
        """Whether some may remove a resource."""
        if identifier is not None and f"{kind}/{identifier}" in self._named:
            return True
        return bool(self.of(kind, identifier, full_url)) if identifier is None or "%" in identifier else False

    def of(self, kind: str, identifier: str | None, full_url: str | None) -> list[Deletion]:
        """Those that remove a resource: by its id, on the same server where both name one, or by its urn."""
        out = []
        if identifier is not None:
            own = root_of(full_url)
            for deletion, root in self._named.get(f"{kind}/{plain_id(identifier)}", ()):
                if root is None or own is None or root == own:
                    out.append(deletion)
        if full_url is not None and root_of(full_url) is None:
            found = meaning_of(full_url)
            out += [deletion for deletion, _ in self._named.get(found.id, ())]
        return out


class Candidate(Struct, frozen=True):
    """A resource that a conditional delete may find, with the fullUrl of its entry and its place."""

    resource: Resource
    full_url: str | None
    file: str
    offset: int
    entry: int | None


def resolved_deletions(
    deletions: Iterable[Deletion],
    candidates: Callable[[frozenset[str]], Iterable[Candidate]],
    report: Callable[[Problem], None],
) -> list[Deletion]:
    """Deletions that each name a resource: searches among them are answered from what `candidates` gives of some types. What is not understood is reported."""
    out: list[Deletion] = []
    searches: list[tuple[Deletion, Search]] = []
    for deletion in deletions:
        found = meant(deletion)
        if isinstance(found, str):
            report(not_understood(deletion, found))
        elif isinstance(found, Search):
            searches.append((deletion, found))
        elif deletion.patch and found.kind:
            # whether the record is there at all is asked, too
            searches.append((deletion, Search(found.kind, found.root, frozenset((plain_id(found.id),)), ())))
        elif deletion.patch:
            report(not_understood(deletion, "it names no type"))
        else:
            out.append(deletion)
    if not searches:
        return out
    matches: list[list[tuple[str, str | None]]] = [[] for _ in searches]
    changed: list[list[Resource]] = [[] for _ in searches]
    for one in candidates(frozenset(search.kind for _, search in searches)):
        for number, (deletion, search) in enumerate(searches):
            identifier = id_of(one.resource)
            if search.finds(one.resource, one.full_url) and (deletion.patch or not _created_beside(one, deletion)):
                if identifier is not None or one.full_url is not None:
                    matches[number].append((identifier or "", one.full_url))
                    if deletion.patch:
                        changed[number].append(one.resource)
    for (deletion, search), found_by_it, resources in zip(searches, matches, changed, strict=True):
        if deletion.patch and found_by_it:
            report(patched(deletion, search, resources))
            out.extend(resolved(deletion, search, found_by_it))
            continue
        if not found_by_it:
            report(finds_nothing(deletion, search))
        out.extend(resolved(deletion, search, found_by_it))
    return out


def _created_beside(one: Candidate, deletion: Deletion) -> bool:
    """Whether the bundle of a deletion creates a resource: a transaction deletes before it creates (FHIR R4: http.html#trules)."""
    here = one.entry is not None and (one.file, one.offset) == (deletion.file, deletion.offset or 0)
    return here and deletion.written.get(one.entry or 0) == "POST"
