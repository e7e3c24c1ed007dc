"""What manifests of exports tell of the data beside them: the types of files, how many resources they hold, and which types were asked for.

Bulk Data Access: "Response - Complete Status". What a manifest lists and is not there is reported where files are listed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from msgspec import Struct, field

from fhir_eligibility.artifacts.elements import all_resource_types
from fhir_eligibility.data.files.export_manifest import (
    EXTENSION,
    elements_asked,
    file_name,
    query_of,
    read_manifest,
)
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.completeness import Completeness
from fhir_eligibility.data.records.lifecycle import Moment, moment_of

MOST_PAGES = 1000
_SEARCH = re.compile(r"(?:^|,)\s*([A-Z][A-Za-z]+\?)")
_BY_DATE = re.compile(r"=(?:ge|le|gt|lt|sa|eb)\d{4}")
_AGAIN = "have the export completed, or run it again"
_WHOLE = "have the resources exported whole, without _elements"
_EARLIER = "give the earlier exports too, each in a folder of its own with its manifest, or have all exported"


class Export(Struct, frozen=True):
    """When an export was made, by its manifest, of what (the address that was asked, without its query), and since when it has what was changed (None: all there is)."""

    manifest: str
    address: str
    types: tuple[str, ...]
    since: str | None
    made: Moment | None

    def follows(self, earlier: Export) -> bool:
        """Whether nothing was changed between an earlier export and what this one holds."""
        since = moment_of(self.since)
        if since is None or earlier.made is None or earlier.address != self.address:
            return False
        covers = not earlier.types or (bool(self.types) and set(self.types) <= set(earlier.types))
        return covers and not since.after(earlier.made)


class ManifestFacts(Struct):
    """The types and counts of files by path, the types that were asked for, each with the manifest that says so, and the exports."""

    types: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    exports: list[Export] = field(default_factory=list)
    filters: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """By manifest and type the searches that alone decided which resources of the type were exported (`_typeFilter`)."""
    elements: dict[str, str] = field(default_factory=dict)
    """By manifest the elements that alone were exported (`_elements`)."""

    def lacking(self, found: Mapping[str, int]) -> Iterator[Problem]:
        """What the data lacks by what was told. `found` are how many resources were found in each file that was read."""
        for path, count in self.counts.items():
            there = found.get(path)
            if there is not None and there != count:
                message = f"the manifest counts {count} resources in this file, but it holds {there}"
                kind = self.types.get(path)
                yield Problem(file=path, type=kind, code="count-differs", message=message, hint=_AGAIN)
        listed = set(self.types.values())
        for kind, manifest in self.asked.items():
            if kind not in listed:
                message = f"the export was asked for {kind}, but the manifest lists no file of it"
                yield Problem(file=manifest, type=kind, code="type-missing", message=message, hint=_AGAIN)
        for export in self._partial():
            for listed_type in export.types or (None,):
                what = f"{listed_type} resources" if listed_type is not None else "resources"
                message = f"this export holds only those {what} that were changed since {export.since}, and none is here that holds what was before"
                yield Problem(
                    file=export.manifest, type=listed_type, code="partial-export", message=message, hint=_EARLIER
                )

        for (manifest, kind), filters in self.filters.items():
            hint = "for criteria that ask for other resources, have the type exported whole"
            message = _filtered(kind, filters)
            yield Problem(
                file=manifest, type=kind, code="filtered-export", severity="warning", message=message, hint=hint
            )
        for manifest, elements in self.elements.items():
            message = f"this export holds only some elements of its resources ({elements}): that another is not there tells nothing"
            yield Problem(file=manifest, code="filtered-export", severity="warning", message=message, hint=_WHOLE)

    def narrow(self, completeness: Completeness) -> None:
        """Tell of types of which only those resources were exported that some searches find."""
        for (manifest, kind), filters in self.filters.items():
            completeness.filtered(kind, f"{os.path.basename(manifest)}: {_filtered(kind, filters)}", filters)

    def _partial(self) -> list[Export]:
        """The exports of changes that none of those given leads up to."""
        whole = [export for export in self.exports if export.since is None]
        waiting = [export for export in self.exports if export.since is not None]
        while True:
            follow = [export for export in waiting if any(map(export.follows, whole))]
            if not follow:
                return waiting
            whole += follow
            waiting = [export for export in waiting if export not in follow]


def manifest_facts(first_pages: Iterable[str]) -> ManifestFacts:
    """What the manifests among some data tell, page by page; the first pages are given."""
    facts = ManifestFacts()
    for first in first_pages:
        page: str | None = first
        seen: set[str] = set()
        while page is not None and page not in seen and len(seen) < MOST_PAGES:
            seen.add(page)
            manifest = read_manifest(page)
            page = None if manifest is None else _page(page, manifest, facts)
    return facts


def _filtered(kind: str, filters: tuple[str, ...]) -> str:
    shown = ", ".join(filters[:3]) + (", ..." if len(filters) > 3 else "")
    return f"this export holds only those {kind} resources that a search finds ({shown:.200})"


def _page(path: str, manifest: Mapping[str, Any], facts: ManifestFacts) -> str | None:
    """Take in one page of a manifest; gives the file of the next one, if there is one."""
    folder = path[: -len(os.path.basename(path))]
    # by whom an export is organized decides what a file counts besides resources
    counted = not manifest.get("outputOrganizedBy")
    for item in _dicts(manifest.get("output")):
        url, kind, count = item.get("url"), item.get("type"), item.get("count")
        if url.__class__ is not str:
            continue
        place = folder + file_name(url)
        if counted and kind.__class__ is str and kind in all_resource_types():
            facts.types[place] = kind
        if counted and count.__class__ is int:
            facts.counts[place] = count
    asked = _asked(manifest)
    for kind in asked:
        facts.asked.setdefault(kind, path)
    since = [value for name, value in parse_qsl(query_of(manifest.get("request"))) if name == "_since"]
    address = str(manifest.get("request")).partition("?")[0]
    made = moment_of(manifest.get("transactionTime"))
    for kind, filters in _filters(manifest).items():
        facts.filters.setdefault((path, kind), filters)
    elements = elements_asked(manifest)
    if elements is not None:
        facts.elements.setdefault(path, ", ".join(elements))
    facts.exports.append(Export(path, address, tuple(asked), since[0] if since else None, made))
    for link in _dicts(manifest.get("link")):
        if link.get("relation") == "next" and link.get("url").__class__ is str:
            return folder + file_name(link["url"])
    return None


def _asked(manifest: Mapping[str, Any]) -> list[str]:
    """The types that an export was asked for (`_type`), by its request."""
    found = [value for name, value in parse_qsl(query_of(manifest.get("request"))) if name == "_type"]
    extension = manifest.get("extension")
    ours = extension.get(EXTENSION) if extension.__class__ is dict else None
    types = ours.get("types") if ours.__class__ is dict else None
    found += [item for item in types if item.__class__ is str] if types.__class__ is list else []
    known = all_resource_types()
    return list(dict.fromkeys(kind for value in found for kind in value.split(",") if kind in known))


def _filters(manifest: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The searches by type that decided which resources were exported (`_typeFilter`), by the request of a manifest."""
    found: dict[str, list[str]] = {}
    ours = EXTENSION in (manifest.get("extension") or ()) if manifest.get("extension").__class__ is dict else False
    for name, value in parse_qsl(query_of(manifest.get("request"))):
        starts = [match.start(1) for match in _SEARCH.finditer(value)] if name == "_typeFilter" else []
        for start, end in zip(starts, (*starts[1:], len(value) + 1), strict=False):
            # commas stand between searches, and inside of them
            kind, _, query = value[start : end - 1].partition("?")
            if kind in all_resource_types():
                # our own filters by date leave out what cannot matter, or has no date, which whoever asked for them was told
                query = "&".join(one for one in query.split("&") if not (ours and _BY_DATE.search(one)))
                found.setdefault(kind, []).append(f"{kind}?{query}" if query else "")
    return {kind: tuple(dict.fromkeys(listed)) for kind, listed in found.items() if "" not in listed}


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    return (item for item in value if item.__class__ is dict) if value.__class__ is list else iter(())
