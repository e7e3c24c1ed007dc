"""Pages of searches and histories among the data: a bundle that goes on at another page is not all there is, unless that page is among the data too, and neither are
pages that hold fewer matches than the server counts (FHIR R4: http.html#paging, bundle.html#searchset)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import msgspec

from fhir_eligibility.artifacts.elements import all_resource_types
from fhir_eligibility.data.files.problems import MATCHES, NEXT_PAGE, Problem
from fhir_eligibility.data.records.gaps import EVERY

Resource = dict[str, Any]
PAGED = frozenset(("searchset", "history"))
"""Types of bundles that have pages."""
_BEFORE = frozenset(("previous", "prev"))
"""How servers call the link to the page before."""
_INCLUDED = ("_include", "_revinclude")
_BESIDE = frozenset(("include", "outcome"))
"""Modes of entries that are no matches."""
_NO_MATCHES = frozenset((("_summary", "count"), ("_count", "0"), ("_total", "estimate")))
"""Of a search for these the matches are not in its pages, or their number is not exact."""
Entry = tuple[str, Any, str]
"""The type of the resource of an entry, how it came to be in the bundle (`search.mode`), and what it is called there."""


class Page(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One page, where it stands, and what it says of itself and of those before and after it. `types` are those of its resources, `total` is how many matches the server
    counts on all pages, where it says so, `matches` how many this one holds, and `names` a sum of what its entries are called."""

    own: str = ""
    next: str = ""
    previous: str = ""
    types: tuple[str, ...] = ()
    file: str = ""
    offset: int | None = None
    line: int | None = None
    total: int | None = None
    matches: int = 0
    names: int = 0


def page_of(kind: Any, links: Any, entries: Iterable[Entry], total: Any = None) -> Page | None:
    """What a bundle says of its pages, given its type, its links, its entries and how many matches the server counts; None where it is no page."""
    if kind.__class__ is not str or kind not in PAGED:
        return None
    found: dict[str, str] = {}
    for link in links if links.__class__ is list else ():
        if link.__class__ is dict and link.get("url").__class__ is str and link.get("relation").__class__ is str:
            relation = "previous" if link["relation"] in _BEFORE else link["relation"]
            found.setdefault(relation, link["url"].strip())
    own, following, previous = (found.get(relation, "") for relation in ("self", "next", "previous"))
    counted = total if total.__class__ is int else None
    if not (own or following or previous or counted):
        return None
    every = kind == "history" or "/$everything" in own  # servers count all that is in these
    matches, names = 0, sha256()
    types: set[str] = set()
    for name, mode, called in entries:
        names.update(called.encode("utf-8", "surrogatepass") + b"\n")
        if name == "OperationOutcome" or mode == "outcome":
            continue
        types.add(name)
        matches += every or mode not in _BESIDE
    listed = tuple(sorted(types - {""})) if following or counted is not None else ()
    return Page(
        own, following, previous, listed, total=counted, matches=matches, names=int.from_bytes(names.digest()[:7])
    )


def lacking(pages: Iterable[Page]) -> Iterator[Problem]:
    """The problems of pages whose next page is not among them, by its own link or by its link to the page before, and of searches that found more than their pages hold."""
    listed = list(pages)
    there = {_key(page.own, page.own) for page in listed if page.own}
    followed = {_key(page.previous, page.own) for page in listed if page.previous}
    ended: list[Page] = []
    for page in listed:
        if not page.next:
            ended.append(page)
            continue
        if _key(page.next, page.own) in there or (page.own and _key(page.own, page.own) in followed):
            continue
        shown = page.next if len(page.next) <= 200 else f"{page.next[:200]}..."
        yield _problem_of(
            page,
            (page,),
            NEXT_PAGE,
            f"this page of a search goes on at {shown}, and that page is not among the data: records are missing",
            "fetch that page and those after it, and give them, too",
        )
    counted = [page for page in ended if page.total]
    searches = _searches(listed) if counted and len(listed) > 1 else {}
    for page in counted:
        mine = searches.get(_key(page.own, page.own), (page,)) if page.own else (page,)
        there_are = sum({(one.own, one.next, one.previous, one.names): one.matches for one in mine}.values())
        assert page.total is not None
        if there_are >= page.total or not _NO_MATCHES.isdisjoint(_key(page.own, page.own)[1]):
            continue
        yield _problem_of(
            page,
            mine,
            MATCHES,
            f"by its total this search found {page.total} resources, and {there_are} of them are here: records are missing",
            "fetch all pages of the search",
        )


def _problem_of(page: Page, search: Iterable[Page], code: str, message: str, hint: str) -> Problem:
    """The problem of a page that lacks what a search, with all of its pages at hand, was asked for."""
    asked = [_asked(one) for one in search]
    kind, patient = next((one for one in asked if one[0] != EVERY), asked[0])
    return Problem(
        file=page.file,
        offset=page.offset,
        line=page.line,
        type=kind,
        patient=patient,
        code=code,
        message=message,
        hint=hint,
    )


_Key = tuple[str, tuple[tuple[str, str], ...]]


def _searches(pages: Iterable[Page]) -> dict[_Key, list[Page]]:
    """The pages of the search that a page belongs to, by what leads to the page."""
    found: dict[_Key, list[Page]] = {}
    linked: list[tuple[_Key, _Key]] = []
    for page in pages:
        if page.own:
            own = _key(page.own, page.own)
            found.setdefault(own, []).append(page)
            linked += [(own, _key(link, page.own)) for link in (page.next, page.previous) if link]
    for one, other in linked:
        mine, theirs = found[one], found.get(other)
        if theirs is not None and theirs is not mine:
            mine += theirs
            for page in theirs:
                found[_key(page.own, page.own)] = mine
    return found


def _key(url: str, base: str) -> _Key:
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
