"""What records of patients refer to: fetched by id, many at once, and remembered from page to page."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from fhir_eligibility.artifacts.references import RESTFUL
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.records.gaps import Gap
from fhir_eligibility.data.records.sources import OnProblem
from fhir_eligibility.data.server.client import Server, ServerError
from fhir_eligibility.data.server.search import FoundResource, SearchAnswer, SearchError, every_page

IDS = 50  # referenced resources asked for at once
DEPTH = 5  # how far references are followed from a patient's own resources
REMEMBERED = 20_000  # referenced resources kept from page to page


class ServerReferences:
    """Follows references to resources of the server. `follow` are their types, None for every type; `roots` the addresses of the server.

    `gaps` are the types of which some could not be fetched, and why.
    """

    def __init__(self, server: Server, types: frozenset[str], follow: frozenset[str] | None, roots: set[str]) -> None:
        self.server = server
        self.types = types
        self.follow = follow
        self.roots = roots
        self.gaps: dict[str, Gap] = {}
        self._known: dict[str, FoundResource | None] = {}
        # Whether `_id=1,2` finds both, by type; not there while nothing tells.
        self._lists: dict[str, bool] = {}
        self._lock = threading.Lock()

    def of(self, found: list[FoundResource], pool: ThreadPoolExecutor, on_problem: OnProblem) -> list[FoundResource]:
        """All that some resources refer to, and what these refer to."""
        if self.follow is not None and not self.follow:
            return []
        have = {item.name for item in found}
        out: list[FoundResource] = []
        new: Iterable[FoundResource] = found
        for _ in range(DEPTH):
            wanted = [name for name in self._wanted(new) if name not in have]
            if not wanted:
                break
            unknown: dict[str, list[str]] = {}
            for name in wanted:
                if name not in self._known:
                    kind, _, identifier = name.partition("/")
                    unknown.setdefault(kind, []).append(identifier)
            asked = [
                (kind, ids[start : start + IDS]) for kind, ids in unknown.items() for start in range(0, len(ids), IDS)
            ]
            for (kind, _), problem in zip(asked, pool.map(lambda pair: self._by_id(*pair), asked), strict=True):
                if problem is not None:
                    on_problem(problem)
                    self.gaps[kind] = Gap(kind, problem.message, others=True)
            new = [item for name in wanted if (item := self._known.get(name)) is not None]
            have.update(wanted)
            out.extend(new)
        for name in list(islice(self._known, max(0, len(self._known) - REMEMBERED))):
            del self._known[name]
        return out

    def _wanted(self, found: Iterable[FoundResource]) -> list[str]:
        names: dict[str, None] = {}
        for item in found:
            for text in _all_references(item.resource):
                local = self._on_server(text)
                if local is not None and local.partition("/")[0] != "Patient":
                    if self.follow is None or local.partition("/")[0] in self.follow:
                        names[local] = None
        return list(names)

    def _on_server(self, reference: str) -> str | None:
        """`Type/id` of a reference to this server, None for one that leads elsewhere."""
        match = RESTFUL.fullmatch(reference.partition("/_history/")[0])
        if match is None or match["path"].partition("/")[0] not in self.types:
            return None
        root = match["root"]
        return str(match["path"]) if root is None or root in self.roots else None

    def _by_id(self, kind: str, ids: list[str]) -> Problem | None:
        """Remember some resources of a type; what a list of ids does not bring is asked for by itself before it is not there."""
        found: dict[str, FoundResource] = {}
        failed: ServerError | None = None
        lost = 0
        missing = ids
        if len(ids) > 1 and self._lists.get(kind) is not False:
            try:
                found = self._found(kind, ids)
            except SearchError as error:
                if (error.status or 400) >= 500:
                    return self._problem(kind, len(ids), error)
            except ServerError as error:
                return self._problem(kind, len(ids), error)
            if ids[-1] in found and len(found) > 1:
                with self._lock:
                    self._lists.setdefault(kind, True)
            missing = [] if self._lists.get(kind) else [identifier for identifier in ids if identifier not in found]
        for identifier in missing:
            try:
                alone = self._found(kind, [identifier])
            except ServerError as error:
                failed, lost = error, lost + 1
                if not isinstance(error, SearchError):
                    lost = len(missing)
                    break
                continue
            if alone and len(ids) > 1:
                with self._lock:
                    self._lists[kind] = False
            found.update(alone)
        if failed is None:
            self._known.update((f"{kind}/{identifier}", found.get(identifier)) for identifier in ids)
            return None
        self._known.update((item.name, item) for item in found.values())
        return self._problem(kind, lost, failed)

    def _found(self, kind: str, ids: list[str]) -> dict[str, FoundResource]:
        found = every_page(self.server, kind, [("_id", ",".join(ids)), ("_count", str(IDS))], SearchAnswer())
        return {str(item.resource["id"]): item for item in found if item.resource["resourceType"] == kind}

    def _problem(self, kind: str, count: int, error: ServerError) -> Problem:
        message = f"{count} {kind} that records refer to could not be fetched: {error}"
        return Problem(file=self.server.url(kind), code="not-fetched", message=message)


def _all_references(value: Any) -> Iterator[str]:
    """Every literal reference in a resource."""
    if isinstance(value, dict):
        text = value.get("reference")
        if isinstance(text, str):
            yield text
        for item in value.values():
            if isinstance(item, (dict, list)):
                yield from _all_references(item)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, (dict, list)):
                yield from _all_references(item)
