"""What the text of a reference says: an address with a type and an id, a urn, a search, a contained resource - however it is spelled.

FHIR R4: "References between Resources" (references.html), "Resolving references in Bundles" (bundle.html#references), conditional references (http.html#trules).
Ids and references come in the wild in other forms than the standard has. What has one meaning is read with that meaning, and `Meaning.odd` says what was
written otherwise; what has none is `unclear`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote

from msgspec import Struct
from msgspec.structs import replace

from fhir_eligibility.artifacts.elements import all_resource_types

ID_IN_THE_WILD = r"[A-Za-z0-9\-._~:%@!$&'()*+;=]+"
"""What is read as an id wherever it stands: a segment of a path (RFC 3986). FHIR's own ids are of letters, digits, `-` and `.`, 64 at most; others have
underscores, colons or percent signs, or are longer."""
RESTFUL = re.compile(
    rf"(?P<root>https?://.+/)?(?P<path>[A-Z][A-Za-z]+/{ID_IN_THE_WILD})(?:/_history/(?P<version>[^/]+))?"
)
FHIR_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_PLAIN_ID = re.compile(r"[^\s/?#|%\\]+")
_CONTROL = re.compile(r"[\0-\x08]")
_TYPE = re.compile(r"[A-Za-z]+")
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_HISTORY = re.compile(r"/_history(?:/(?P<version>[^/]*))?/*$")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")

Odd = Literal[
    "spaces",
    "slashes",
    "letter-case",
    "query",
    "path",
    "bare-id",
    "no-text",
    "percent",
    "id-search",
    "urn-elsewhere",
    "id-characters",
]
"""What is written otherwise than the standard has it."""


class Meaning(Struct, frozen=True):
    """What a reference says.

    An `address` has a type (`kind`), an id and perhaps the root of a server and a version; a `bare` id is one without a type. A `urn` (in lower case), a `uri` that is
    no RESTful address and the id of a `contained` resource stand in `id`. A `search` has a type and the text of its parameters in `id`.
    """

    form: Literal["address", "bare", "urn", "uri", "search", "contained", "unclear"]
    id: str = ""
    kind: str | None = None
    root: str | None = None
    version: str | None = None
    odd: Odd | None = None

    @property
    def firm(self) -> bool:
        """Whether it is well-formed, so that it may name what the data does not hold."""
        return self.odd is None or self.odd == "percent"

    @property
    def path(self) -> str:
        """`Type/id` of an address."""
        return f"{self.kind}/{self.id}"


UNCLEAR = Meaning("unclear")


def root_of(full_url: str | None) -> str | None:
    """The server root of an entry's fullUrl, None where it is not RESTful."""
    match = RESTFUL.fullmatch(full_url or "")
    return match["root"] if match is not None else None


def plain_id(identifier: str) -> str:
    """What ids that may be meant by each other have in common: without percent-encoding, spaces and slashes around them, query and fragment."""
    if _PLAIN_ID.fullmatch(identifier):
        return identifier
    text = re.split(r"[?#]", unquote(identifier), maxsplit=1)[0]
    return _CONTROL.sub("", text).strip().strip("/").strip()


def urn_of(text: str | None) -> str | None:
    """A urn in lower case, as these are compared (RFC 8141, RFC 9562); None for any other text."""
    return text.lower() if text is not None and text[:4].lower() == "urn:" else None


def urn_of_id(identifier: str) -> str | None:
    """The urn of an id that is a UUID: some exports refer by it to what they list by its id."""
    return f"urn:uuid:{identifier.lower()}" if _UUID.fullmatch(identifier) else None


@lru_cache(maxsize=8192)
def meaning_of(reference: str) -> Meaning:
    """What the text of a reference says."""
    text = reference.strip()
    found = _meaning(text)
    return replace(found, odd="spaces") if found.odd is None and text != reference else found


def _meaning(text: str) -> Meaning:
    match = RESTFUL.fullmatch(text)
    if match is not None:
        kind, _, identifier = match["path"].partition("/")
        known = _type_of(kind) or kind
        odd: Odd | None = "letter-case" if known != kind else "percent" if "%" in identifier else None
        return Meaning("address", identifier, known, match["root"], match["version"], odd)
    if text.startswith("#"):
        return Meaning("contained", text[1:])
    odd = None
    before, question, query = text.partition("?")
    if not question:
        before, _, _ = text.partition("#")
    if before != text:
        odd = "query"
    urn = urn_of(before)
    if urn is not None:
        return Meaning("urn", urn, odd=odd)
    if "%2f" in before.lower():
        found = meaning_of(re.sub("%2f", "/", text, flags=re.IGNORECASE))
        return found if found is UNCLEAR else replace(found, odd="percent")
    root, below = _root_and_path(before)
    if root is None and _SCHEME.match(before) and "/" in before:
        return Meaning("uri", text)
    history = _HISTORY.search(below)
    version = None
    if history is not None:
        version = history["version"] or None
        below = below[: history.start()]
    parts = [part for part in (piece.strip() for piece in re.split(r"[/\\]", below)) if part]
    if query and parts and _TYPE.fullmatch(parts[-1]) and not (len(parts) > 1 and _type_of(parts[-2]) is not None):
        kind = _type_of(parts[-1])
        return UNCLEAR if kind is None else Meaning("search", query.partition("#")[0], kind, root)
    if len(parts) == 1 and root is None:
        if _type_of(parts[0]) is not None or "|" in parts[0]:
            return UNCLEAR
        return Meaning("bare", parts[0], odd="bare-id")
    if len(parts) >= 2:
        kind = _type_of(parts[-2])
        if kind is not None and re.fullmatch(ID_IN_THE_WILD, parts[-1]):
            if odd is None and kind != parts[-2]:
                odd = "letter-case"
            elif odd is None and len(parts) > 2 and root is None:
                odd = "path"
            above = "".join(f"{part}/" for part in parts[:-2])
            return Meaning("address", parts[-1], kind, root + above if root else None, version, odd or "slashes")
    if root is not None:
        return Meaning("uri", text)
    name, _, rest = before.partition("/")
    kind = _type_of(name)
    # a Patient may have such an id, and then this names it
    return Meaning("address", rest, kind, odd="id-characters") if kind is not None and rest.strip("/ ") else UNCLEAR


def _root_and_path(text: str) -> tuple[str | None, str]:
    """The scheme and host of an http address, and what follows."""
    match = re.match(r"https?://[^/]+/+", text, re.IGNORECASE)
    if match is None:
        return None, text
    scheme, _, host = match[0].rstrip("/").partition("://")
    return f"{scheme.lower()}://{host}/", text[match.end() :]


def _type_of(text: str) -> str | None:
    """The type of a resource that a text names, in whatever letters; None where it names none."""
    return _types().get(text.lower()) if _TYPE.fullmatch(text) else None


@lru_cache(maxsize=1)
def _types() -> dict[str, str]:
    return {name.lower(): name for name in all_resource_types()}
