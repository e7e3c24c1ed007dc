"""Records of which the data leaves open what they say: several versions without an order, modifiers that are not known, records that are only a part of what there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any

from msgspec import Struct

Resource = dict[str, Any]
PART, TEST = "SUBSETTED", "HTEST"
"""Codes of `meta.tag`: elements are left out (FHIR R4: search.html#summary); of `meta.security` or `meta.tag`: test data (v3-ActReason)."""


class Doubtful(StrEnum):
    """Why a record is in doubt."""

    VERSIONS = "versions"
    """It stands in the data several times, with different content, and nothing tells which is the newest."""
    MODIFIER = "modifier"
    """It has a modifier extension, or follows rules, that are not known: it may mean something else than it says."""
    PART = "part"
    """Elements of it were left out: that it has none of a kind tells nothing."""
    PERSON = "person"
    """Whose the records of this patient are, or whether the patient was deleted, cannot be told: nothing can be decided."""


class InDoubt(Struct, frozen=True):
    """A record in doubt, as it stands among the patient's resources; `why` is a sentence that names it.

    `forms` are what it may be instead, None where there may be no such record; of several versions there is none where they cannot be tried. `marked` are the JSON names of the elements that hold a modifier, empty
    where that is the resource itself. The record is None where all of the patient is in doubt.
    """

    kind: Doubtful
    record: Resource | None
    why: str
    forms: tuple[Resource | None, ...] = ()
    marked: frozenset[str] = frozenset()


def marks_of(resource: Resource) -> Iterator[InDoubt]:
    """The doubts about one resource that it tells of itself."""
    found = list(modifiers_in(resource))
    if found:
        names = ", ".join(dict.fromkeys(f"{what} (`{path}`)" for path, what in found[:3]))
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        why = f"{name_of(resource)} has modifiers that are not known and may change what it means: {names}{more}"
        marked = frozenset(path.partition(".")[0].partition("[")[0] for path, _ in found)
        own = marked & {"modifierExtension", "implicitRules", "_implicitRules"}
        yield InDoubt(Doubtful.MODIFIER, resource, why, marked=frozenset() if own else marked)
    if tagged(resource, PART):
        why = f"{name_of(resource)} is only a part of the record (meta.tag SUBSETTED)"
        yield InDoubt(Doubtful.PART, resource, why)


def name_of(resource: Resource) -> str:
    """How a sentence names a resource."""
    identifier = resource.get("id")
    return f"{resource.get('resourceType')}/{identifier if identifier.__class__ is str else '(no id)'}"


def modifiers_in(resource: Resource) -> Iterator[tuple[str, str]]:
    """Where in a resource a modifier stands, as a path of JSON names, and what it is: the address of an extension, or of rules."""
    waiting: list[tuple[str, Any]] = [("", resource)]
    while waiting:
        path, value = waiting.pop()
        if value.__class__ is list:
            waiting.extend((f"{path}[{number}]", item) for number, item in reversed(list(enumerate(value))))
        elif value.__class__ is dict:
            for name, below in value.items():
                here = f"{path}.{name}" if path else name
                if name == "modifierExtension":
                    yield from ((here, url) for url in _addresses(below))
                elif name == "implicitRules":
                    if below is not None and below != "":
                        yield here, f"{below!s:.200}"
                elif name == "_implicitRules":
                    if below:
                        yield here, "rules without an address"
                elif below.__class__ in (dict, list):
                    waiting.append((here, below))


def _addresses(extensions: Any) -> Iterator[str]:
    for extension in extensions if extensions.__class__ is list else (extensions,):
        if extension is not None:
            url = extension.get("url") if extension.__class__ is dict else None
            yield f"{url!s:.200}" if url else "an extension without an address"


def tagged(resource: Resource, code: str) -> bool:
    """Whether a resource has a tag or a security label with a code."""
    meta = resource.get("meta")
    if meta.__class__ is not dict:
        return False
    return any(coding.get("code") == code for coding in _codings(meta.get("tag"), meta.get("security")))


def _codings(*listed: Any) -> Iterable[Resource]:
    for found in listed:
        for coding in found if found.__class__ is list else (found,):
            if coding.__class__ is dict:
                yield coding
