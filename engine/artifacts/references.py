"""The form of a RESTful reference: server root, type and id, version (FHIR: "References", "Resolving references in Bundles")."""

from __future__ import annotations

import re

RESTFUL = re.compile(
    r"(?P<root>https?://.+/)?(?P<path>[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64})(?:/_history/(?P<version>[^/]+))?"
)


def root_of(full_url: str | None) -> str | None:
    """The server root of an entry's fullUrl, None where it is not RESTful."""
    match = RESTFUL.fullmatch(full_url or "")
    return match["root"] if match is not None else None
