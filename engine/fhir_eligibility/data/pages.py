"""Pages of searches and histories among the data: a bundle that goes on at another page is not all there is, unless that page is among the data too (FHIR R4: http.html#paging)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import msgspec

from fhir_eligibility.artifacts.elements import all_resource_types
from fhir_eligibility.data.gaps import EVERY
from fhir_eligibility.data.problems import NEXT_PAGE, Problem

Resource = dict[str, Any]
PAGED = frozenset(("searchset", "history"))
"""Types of bundles that have pages."""
_BEFORE = frozenset(("previous", "prev"))
"""How servers call the link to the page before."""
_INCLUDED = ("_include", "_revinclude")


class Page(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One page, where it stands, and what it says of itself and of those before and after it. `types` are those of its resources."""

    own: str = ""
    next: str = ""
    previous: str = ""
    types: tuple[str, ...] = ()
    file: str = ""
    offset: int | None = None
    line: int | None = None


def page_of(kind: Any, links: Any, types: Iterable[str]) -> Page | None:
    """What the links of a bundle say, given its type and the types of its resources; None where it is no page."""
    if kind.__class__ is not str or kind not in PAGED or links.__class__ is not list:
        return None
    found: dict[str, str] = {}
    for link in links:
        if link.__class__ is dict and link.get("url").__class__ is str and link.get("relation").__class__ is str:
            relation = "previous" if link["relation"] in _BEFORE else link["relation"]
            found.setdefault(relation, link["url"].strip())
    own, following, previous = (found.get(relation, "") for relation in ("self", "next", "previous"))
    if not (own or following or previous):
        return None
    return Page(own, following, previous, tuple(sorted({*types} - {"OperationOutcome", ""})) if following else ())


def lacking(pages: Iterable[Page]) -> Iterator[Problem]:
    """The problems of pages whose next page is not among them: by its own link, or by its link to the page before."""
    listed = list(pages)
    if not any(page.next for page in listed):
        return
    there = {_key(page.own, page.own) for page in listed if page.own}
    followed = {_key(page.previous, page.own) for page in listed if page.previous}
    for page in listed:
        if not page.next or _key(page.next, page.own) in there or (page.own and _key(page.own, page.own) in followed):
            continue
        kind, patient = _asked(page)
        shown = page.next if len(page.next) <= 200 else f"{page.next[:200]}..."
        yield Problem(
            file=page.file,
            offset=page.offset,
            line=page.line,
            type=kind,
            patient=patient,
            code=NEXT_PAGE,
            message=f"this page of a search goes on at {shown}, and that page is not among the data: records are missing",
            hint="fetch that page and those after it, and give them, too",
        )


def _key(url: str, base: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What a link leads to, by whatever name of the server, and however its parameters are written."""
    try:
        parts = urlsplit(urljoin(base, url))
        return parts.path.rstrip("/"), tuple(sorted(parse_qsl(parts.query, keep_blank_values=True)))
    except ValueError:
        return url, ()


def _asked(page: Page) -> tuple[str, str | None]:
    """Of which type records are missing (`EVERY`: of any), and of which patient, where that is certain."""
    path, asked = _key(page.own or page.next, page.own)
    parts, known = [part for part in path.split("/") if part], all_resource_types()
    names = [name for name, _ in asked]
    alone = not any(name.partition(":")[0] in _INCLUDED for name in names)
    if parts and parts[-1] == "_search":
        parts.pop()
    if len(parts) > 2 and parts[-1] in ("$everything", "_history") and parts[-3] in known:
        kind = parts[-3] if parts[-1] == "_history" else EVERY
        return kind, f"Patient/{parts[-2]}" if parts[-3] == "Patient" else None
    kind = parts[-1] if parts and parts[-1] in known and alone else EVERY
    if kind == EVERY and alone and not (parts and parts[-1][:1] in "$_") and len(page.types) == 1:
        (kind,) = page.types  # as servers do that hide what was asked
    patients = [value for name, value in asked if name in ("patient", "subject")]
    if kind not in (EVERY, "Patient") and len(patients) == 1 and "," not in patients[0]:
        asked_for, _, identifier = patients[0].rpartition("/")
        certain = asked_for.rpartition("/")[2] == "Patient" or (not asked_for and "patient" in names)
        if certain and identifier:
            return kind, f"Patient/{identifier}"
    return kind, None
