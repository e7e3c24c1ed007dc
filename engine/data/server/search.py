"""One search of a FHIR server with all of its pages (FHIR: "Search", "Paging").

A server may leave out a parameter that it does not know, and says so in the bundle's self link; it may end its pages
early, or send its reader in a circle. None of that passes for a complete answer here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

from engine.data.server.client import FHIR_JSON, Parameters, Server, ServerError, decode, failure, shown
from engine.data.server.outcomes import is_failure, issue_text, issues_of

PAGES = 100_000
LARGEST_SEARCH = 2 << 30
"""Bytes of all pages of one search; more than that is a case for an export."""
STRICT = {"Accept": FHIR_JSON, "Prefer": "handling=strict"}
Resource = dict[str, Any]


class SearchError(ServerError):
    """A search whose answer is not complete, or not what was asked for."""


class Incomplete(SearchError):
    """The pages came to an end, but they hold fewer resources than the server counts."""


@dataclass(slots=True)
class Found:
    """One resource of an answer."""

    resource: Resource
    full_url: str | None
    match: bool


@dataclass(slots=True)
class Answer:
    """The first page's own account: how many match in all, and which parameters were used (None: it does not say)."""

    total: int | None = None
    used: frozenset[str] | None = None
    warnings: list[str] = field(default_factory=list)


def search(
    server: Server, resource_type: str, parameters: Parameters, *, answer: Answer | None = None
) -> Iterator[list[Found]]:
    """The pages of a search. `answer` is filled in with the first one.

    Raises SearchError where the server refuses or the pages cannot all be had, ServerError where it cannot be reached.
    """
    account = answer if answer is not None else Answer()
    url = server.url(resource_type)
    what = f"{shown(url)} by {' and '.join(name for name, _ in parameters) or 'nothing'}"
    response = server.request("GET", url, parameters=parameters, headers=STRICT)
    known: set[str] = set()
    pages: set[str] = set()
    matches = size = 0
    first = True
    while True:
        size += len(response.content)
        if size > LARGEST_SEARCH:
            raise SearchError(
                f"{what}: its pages are larger than {LARGEST_SEARCH >> 30} GiB together; use an export instead"
            )
        if not response.is_success:
            found = failure(response, what if first else f"page {len(pages) + 1} of {what}")
            kind = ServerError if first and found.status in (401, 403) else SearchError
            raise kind(str(found), found.status)
        bundle = _bundle(decode(response.content, what), what)
        if first:
            _account(bundle, account)
        page = _entries(bundle, what, account)
        fresh = [item for item in page if _name(item) not in known]
        if page and not fresh:
            raise SearchError(f"{what}: page {len(pages) + 1} holds only what earlier pages held; the pages do not end")
        known.update(_name(item) for item in fresh)
        matches += sum(item.match for item in fresh)
        yield fresh
        following = _next(bundle, str(response.url))
        if following is None:
            break
        if not server.same_origin(following):
            raise SearchError(
                f"{what}: the next page is said to be on another server ({shown(following)}); "
                "use the address that the server calls its own"
            )
        if following in pages or len(pages) >= PAGES:
            raise SearchError(f"{what}: the pages lead in a circle")
        pages.add(following)
        first = False
        response = server.request("GET", following, headers=STRICT)
    if account.total is not None and matches < account.total:
        raise Incomplete(f"{what}: the server counts {account.total}, but its pages hold {matches}")


def count_of(server: Server, resource_type: str, query: str, until: str) -> int | None:
    """How many resources a search finds that were last changed by a moment; None where the server does not answer
    just that.
    """
    name, _, value = query.partition("=")
    parameters = [*([(name, value)] if query else []), ("_lastUpdated", f"le{until}"), ("_summary", "count")]
    try:
        response = server.request(
            "GET", server.url(resource_type), parameters=parameters, headers=STRICT, again=frozenset()
        )
        if not response.is_success:
            return None
        bundle = _bundle(decode(response.content, resource_type), resource_type)
    except ServerError:
        return None
    account = Answer()
    _account(bundle, account)
    asked = {part.partition(":")[0] for part, _ in parameters if part != "_summary"}
    if account.used is None or not asked <= account.used:
        return None
    return account.total


def every_page(server: Server, resource_type: str, parameters: Parameters, answer: Answer) -> list[Found]:
    """All that a search finds; tried twice where its pages are not complete, because data may change between pages."""
    try:
        return [item for page in search(server, resource_type, parameters, answer=answer) for item in page]
    except SearchError as error:
        if error.status is not None:
            raise
    answer.warnings.clear()
    return [item for page in search(server, resource_type, parameters, answer=answer) for item in page]


def _bundle(decoded: Any, what: str) -> Resource:
    if isinstance(decoded, dict) and decoded.get("resourceType") == "Bundle":
        return decoded
    for issue in issues_of(decoded):
        raise SearchError(f"{what}: {issue_text(issue)}")
    raise SearchError(f"{what}: the answer is no Bundle; is this the base address of a FHIR server?")


def _account(bundle: Resource, account: Answer) -> None:
    total = bundle.get("total")
    account.total = total if isinstance(total, int) else None
    link = _link(bundle, "self")
    query = urlsplit(link).query if link is not None else ""
    # A self link without any query says nothing about what was used.
    used = frozenset(name.partition(":")[0] for name, _ in parse_qsl(query, keep_blank_values=True))
    account.used = used or None


def _entries(bundle: Resource, what: str, account: Answer) -> list[Found]:
    out = []
    entries = bundle.get("entry") or []
    if not isinstance(entries, list):
        raise SearchError(f"{what}: Bundle.entry is no array")
    for entry in entries:
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            raise SearchError(f"{what}: an entry of the answer holds no resource")
        account_of_match = entry.get("search")
        mode = account_of_match.get("mode") if isinstance(account_of_match, dict) else None
        if resource["resourceType"] == "OperationOutcome" and mode != "match":
            texts = [issue_text(issue) for issue in issues_of(resource)]
            if is_failure(resource):
                raise SearchError(f"{what}: {'; '.join(texts[:3])}")
            account.warnings.extend(
                issue_text(issue) for issue in issues_of(resource) if issue.get("severity") == "warning"
            )
            continue
        if not isinstance(resource.get("id"), str):
            raise SearchError(f"{what}: the answer holds a {resource['resourceType']} without an id")
        full_url = entry.get("fullUrl")
        out.append(Found(resource, full_url if isinstance(full_url, str) else None, mode != "include"))
    return out


def _name(item: Found) -> str:
    resource = item.resource
    return f"{resource['resourceType']}/{resource['id']}"


def _link(bundle: Resource, relation: str) -> str | None:
    links = bundle.get("link")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("relation") == relation and isinstance(link.get("url"), str):
            return str(link["url"])
    return None


def _next(bundle: Resource, here: str) -> str | None:
    link = _link(bundle, "next")
    return urljoin(here, link) if link else None
