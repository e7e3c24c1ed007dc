"""One search of a FHIR server with all of its pages (FHIR: "Search", "Paging").

A server may leave out a parameter that it does not know, and says so in the bundle's self link; it may end its pages
early, or send its reader in a circle. None of that passes for a complete answer here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct, field

from fhir_eligibility.data.http.address import shown
from fhir_eligibility.data.http.client import Parameters
from fhir_eligibility.data.records.outcomes import is_failure, issue_text, issues_of, leaves_out
from fhir_eligibility.data.server.client import FHIR_JSON, Server, ServerError, decode, failure
from fhir_eligibility.data.server.pages import OtherServer, link_of, next_page, own_names

PAGES = 100_000
EMPTY_PAGES = 100
"""Pages one after the other that hold nothing, although each names a next one."""
LARGEST_SEARCH = 2 << 30
"""Bytes of all pages of one search; more than that is a case for an export."""
STRICT = {"Accept": FHIR_JSON, "Prefer": "handling=strict"}
Resource = dict[str, Any]


class SearchError(ServerError):
    """A search whose answer is not complete, or not what was asked for."""


class Incomplete(SearchError):
    """The pages came to an end, but they hold fewer resources than the server counts."""


class FoundResource(Struct):
    """One resource of an answer."""

    resource: Resource
    full_url: str | None
    match: bool

    @property
    def name(self) -> str:
        """`Type/id`."""
        return f"{self.resource['resourceType']}/{self.resource['id']}"


class SearchAnswer(Struct):
    """The server's own account: how many match in all, and which parameters were used (None: it does not say).

    The total is that of the last page that names one: servers give estimates before. `used` is what the first page says. `names` are
    the base addresses by which the server calls itself, `moved` is the first next link that was asked for at the given address in place of
    the one that the server wrote.
    """

    total: int | None = None
    used: frozenset[str] | None = None
    warnings: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    moved: str | None = None

    def begin(self) -> None:
        """Forget what an earlier attempt said."""
        self.total = self.used = None
        self.warnings.clear()


def search(
    server: Server, resource_type: str, parameters: Parameters, *, answer: SearchAnswer | None = None
) -> Iterator[list[FoundResource]]:
    """The pages of a search. `answer` is filled in as they come.

    Raises SearchError where the server refuses or the pages cannot all be had, ServerError where it cannot be reached.
    """
    account = answer if answer is not None else SearchAnswer()
    account.begin()
    url = server.url(resource_type)
    what = f"{shown(url)} by {' and '.join(name for name, _ in parameters) or 'nothing'}"
    response = server.request("GET", url, parameters=parameters, headers=STRICT)
    known: set[str] = set()
    pages: set[str] = set()
    matches = size = empty = 0
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
        _account(bundle, account, first)
        account.names |= own_names(bundle, resource_type)
        page = _entries(bundle, what, account)
        fresh = []
        for item in page:
            if item.name not in known:
                known.add(item.name)
                fresh.append(item)
        if page and not fresh:
            raise SearchError(f"{what}: page {len(pages) + 1} holds only what earlier pages held; the pages do not end")
        matches += sum(item.match for item in fresh)
        yield fresh
        try:
            following = next_page(server, bundle, response.url, account.names)
        except OtherServer as error:
            raise SearchError(f"{what}: {error}") from None
        if following is None:
            break
        empty = 0 if page else empty + 1
        account.moved = account.moved or following.written
        if following.url in pages or len(pages) >= PAGES:
            raise SearchError(f"{what}: the pages lead in a circle")
        if empty >= EMPTY_PAGES:
            raise SearchError(f"{what}: {empty} pages one after the other hold nothing; the pages do not end")
        pages.add(following.url)
        first = False
        response = server.request("GET", following.url, headers=STRICT)
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
    account = SearchAnswer()
    _account(bundle, account, True)
    asked = {part.partition(":")[0] for part, _ in parameters if part != "_summary"}
    if account.used is None or not asked <= account.used:
        return None
    return account.total


def every_page(
    server: Server,
    resource_type: str,
    parameters: Parameters,
    answer: SearchAnswer,
    came: list[FoundResource] | None = None,
) -> list[FoundResource]:
    """All that a search finds; tried twice where its pages are not complete, because data may change between pages.

    `came` gets what came all the same where an error is raised.
    """
    found = came if came is not None else []
    for attempt in (1, 2):
        found.clear()
        try:
            for page in search(server, resource_type, parameters, answer=answer):
                found.extend(page)
        except SearchError as error:
            if error.status is not None or attempt == 2:
                raise
        else:
            break
    return found


def found_kind(decoded: Any) -> str:
    """What an answer is, in words: `a CapabilityStatement`, or JSON that is not a resource."""
    kind = decoded.get("resourceType") if isinstance(decoded, dict) else None
    return f"a {kind:.60}" if isinstance(kind, str) else "JSON without a resourceType"


def _bundle(decoded: Any, what: str) -> Resource:
    if isinstance(decoded, dict) and decoded.get("resourceType") == "Bundle":
        return decoded
    for issue in issues_of(decoded):
        raise SearchError(f"{what}: {issue_text(issue)}")
    raise SearchError(
        f"{what}: expected a Bundle, found {found_kind(decoded)}; is this the base address of a FHIR server?"
    )


def _account(bundle: Resource, account: SearchAnswer, first: bool) -> None:
    total = bundle.get("total")
    if total.__class__ is int:
        account.total = total
    if not first:
        return
    link = link_of(bundle, "self")
    query = urlsplit(link).query if link is not None else ""
    # A self link without any query says nothing about what was used.
    used = frozenset(name.partition(":")[0] for name, _ in parse_qsl(query, keep_blank_values=True))
    account.used = used or None


def _entries(bundle: Resource, what: str, account: SearchAnswer) -> list[FoundResource]:
    out = []
    entries = bundle.get("entry") or []
    if not isinstance(entries, list):
        raise SearchError(f"{what}: expected a list in Bundle.entry")
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
            if leaves_out(resource):
                raise Incomplete(f"{what}: the answer is not whole: {'; '.join(texts[:3])}")
            account.warnings.extend(
                issue_text(issue) for issue in issues_of(resource) if issue.get("severity") == "warning"
            )
            continue
        if not isinstance(resource.get("id"), str):
            raise SearchError(f"{what}: the answer holds a {resource['resourceType']} without an id")
        full_url = entry.get("fullUrl")
        out.append(FoundResource(resource, full_url if isinstance(full_url, str) else None, mode != "include"))
    return out
