"""What manifests of exports tell of the data beside them: the types of files, how many resources they hold, and which types were asked for.

Bulk Data Access: "Response - Complete Status". What a manifest lists and is not there is reported where files are listed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from engine.artifacts.elements import all_resource_types
from engine.data.export_manifest import EXTENSION, MANIFEST, file_name, read_manifest
from engine.data.problems import Problem

MOST_PAGES = 1000
_AGAIN = "have the export completed, or run it again"


@dataclass(slots=True)
class Told:
    """The types and counts of files by path, and the types that were asked for, each with the manifest that says so."""

    types: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)

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


def told_by_manifests(paths: Iterable[str | Path]) -> Told:
    """What the manifests among some data tell, page by page."""
    told = Told()
    for item in paths:
        page: str | None = str(item)
        if os.path.isdir(str(item)):
            page = os.path.join(str(item), MANIFEST)
        seen: set[str] = set()
        while (
            page is not None
            and page not in seen
            and len(seen) < MOST_PAGES
            and os.path.basename(page).endswith(".json")
        ):
            seen.add(page)
            manifest = read_manifest(Path(page))
            page = None if manifest is None else _page(page, manifest, told)
    return told


def _page(path: str, manifest: Mapping[str, Any], told: Told) -> str | None:
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
            told.types[place] = kind
        if counted and count.__class__ is int:
            told.counts[place] = count
    for kind in _asked(manifest):
        told.asked.setdefault(kind, path)
    for link in _dicts(manifest.get("link")):
        if link.get("relation") == "next" and link.get("url").__class__ is str:
            return folder + file_name(link["url"])
    return None


def _asked(manifest: Mapping[str, Any]) -> list[str]:
    """The types that an export was asked for (`_type`), by its request."""
    found = [value for name, value in parse_qsl(_query(manifest.get("request"))) if name == "_type"]
    extension = manifest.get("extension")
    ours = extension.get(EXTENSION) if extension.__class__ is dict else None
    types = ours.get("types") if ours.__class__ is dict else None
    found += [item for item in types if item.__class__ is str] if types.__class__ is list else []
    known = all_resource_types()
    return list(dict.fromkeys(kind for value in found for kind in value.split(",") if kind in known))


def _query(request: Any) -> str:
    try:
        return urlsplit(request).query if request.__class__ is str else ""
    except ValueError:
        return ""


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    return (item for item in value if item.__class__ is dict) if value.__class__ is list else iter(())
