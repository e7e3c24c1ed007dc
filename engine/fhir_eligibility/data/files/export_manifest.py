"""The manifests of bulk exports in a folder, or in a folder of a zip: which of the files are data, and what of the data was exported.

A manifest is known by what it holds, whatever it is called. `manifest.json` is what `eligibility export` writes: a Bulk Data manifest whose addresses are names
of files beside it. A manifest whose addresses lead to a server is found by the last part of each.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from msgspec import Struct

from fhir_eligibility.data.files.json_text import BAD_JSON
from fhir_eligibility.data.files.kinds import BOM, kind_by_name
from fhir_eligibility.data.files.opening import PACKED, UNREADABLE, open_file
from fhir_eligibility.data.files.zips import is_clutter, members_of, place_in_zip

MANIFEST = "manifest.json"
"""What the manifest is called that `eligibility export` writes."""
MANY = 200
"""Files that are no NDJSON; of more of them alone only those are looked into that are called manifests."""
EXTENSION = "fhir-eligibility"
LARGEST = 64 << 20
"""Bytes of a manifest; what is larger is data."""
_BEGINNING = 1 << 10
_LINES = (".ndjson", ".jsonl")
_decode = msgspec.json.Decoder().decode


class ListedFile(Struct, frozen=True):
    """A file that a manifest lists: its name beside the manifest, the type of its resources, how many they are, if it says so, and the part of the manifest that lists it."""

    name: str
    type: str | None
    count: int | None
    section: str


class ExportManifest(Struct, frozen=True):
    """What a manifest says of an export.

    `noted` is what was odd when `eligibility export` made it, `next` the address of a further page, if there is one, `made` when the export was made, and `elements`
    those that alone were exported (`_elements`; None: all).
    """

    files: tuple[ListedFile, ...]
    noted: tuple[str, ...] = ()
    next: str | None = None
    made: str | None = None
    elements: tuple[str, ...] | None = None

    def lists(self, name: str) -> bool:
        """Whether it lists a file, which may have been packed since."""
        names = {name, *(name[: -len(suffix)] for suffix in PACKED if name.lower().endswith(suffix))}
        return any(one.name in names for one in self.files)


def read_manifest(path: Path | str) -> dict[str, Any] | None:
    """A manifest, None where the file is none (or is not there)."""
    try:
        with open_file(str(path)) as stream:
            text = stream.read(_BEGINNING)
            if not text.removeprefix(BOM).lstrip().startswith(b"{") or b'"resourceType"' in text:
                return None
            text += stream.read(LARGEST + 1 - len(text))
        found = _decode(text.removeprefix(BOM)) if len(text) <= LARGEST else None
    except (*UNREADABLE, *BAD_JSON):
        return None
    return found if is_manifest(found) else None


def is_manifest(data: Any) -> bool:
    """Whether something decoded is the manifest of an export (Bulk Data Access: "Response - Complete Status")."""
    return data.__class__ is dict and data.get("output").__class__ is list and "transactionTime" in data


def noted_problems(path: Path) -> list[str]:
    """What was odd about an export when it was made, as its manifest keeps it."""
    return _noted(read_manifest(path) or {})[0]


def _noted(manifest: dict[str, Any]) -> tuple[list[str], bool]:
    """The problems in a manifest, and whether it is one of `eligibility export`."""
    extension = manifest.get("extension")
    ours = extension.get(EXTENSION) if isinstance(extension, dict) else None
    found = ours.get("problems") if isinstance(ours, dict) else None
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else [], ours is not None


def export_manifest(path: Path | str) -> ExportManifest | None:
    """What a manifest says, None where the file is no manifest.

    Files of `output` come first, then those of `deleted`, and of `error`, where `eligibility export` has not noted already what they say.
    """
    manifest = read_manifest(path)
    if manifest is None:
        return None
    noted, ours = _noted(manifest)
    # by whom an export is organized decides what a file counts besides resources
    counts = not manifest.get("outputOrganizedBy")
    files = [
        _listed(item, section, counts)
        for section in ("output", "deleted", *(() if ours else ("error",)))
        for item in _items(manifest.get(section))
        if isinstance(item.get("url"), str)
    ]
    pages = (item.get("url") for item in _items(manifest.get("link")) if item.get("relation") == "next")
    page, made, elements = (
        next((page for page in pages if isinstance(page, str)), None),
        manifest["transactionTime"],
        elements_asked(manifest),
    )
    return ExportManifest(
        tuple(files),
        tuple(noted),
        page,
        made if isinstance(made, str) else None,
        tuple(elements) if elements is not None else None,
    )


# -- the manifests in a folder


def manifests_in(folder: str) -> dict[str, ExportManifest]:
    """The manifests in a folder, or in a folder of a zip (`export.zip!/night`), by their names; as long as nothing changes there, nothing is read again.

    Where more than MANY files stand that are no NDJSON by their names, and none beside them that is - bundles, as a rule -, a manifest is looked for among those
    that are called so.
    """
    place = place_in_zip(f"{folder}/")
    try:
        status = os.stat(folder or "." if place is None else place[0])
    except OSError:
        return {}
    found: dict[str, ExportManifest] = {}
    for name in _names_of_manifests(folder, place is not None, status.st_mtime_ns, status.st_size):
        path = os.path.join(folder, name)
        try:
            own = os.stat(path) if place is None else status
        except OSError:
            continue
        manifest = _manifest(path, own.st_mtime_ns, own.st_size)
        if manifest is not None:
            found[name] = manifest
    return found


def first_pages(manifests: Mapping[str, ExportManifest]) -> list[str]:
    """The names of those manifests in a folder that are no further pages of another."""
    later = {
        name
        for found in manifests.values()
        if found.next is not None
        for name in (file_name(found.next), f"{file_name(found.next)}.json")
    }
    return [name for name in manifests if name not in later] or list(manifests)[:1]


@lru_cache(maxsize=256)
def _names_of_manifests(folder: str, zipped: bool, changed: int, size: int) -> tuple[str, ...]:
    """The names of the manifests in a folder, or in a folder of a zip, by when that was changed last and its size."""
    try:
        names = _files_of_zip(folder) if zipped else os.listdir(folder or ".")
    except UNREADABLE:
        return ()
    found = (name for name in _candidates(names) if export_manifest(os.path.join(folder, name)) is not None)
    return tuple(found)


@lru_cache(maxsize=256)
def _manifest(path: str, changed: int, size: int) -> ExportManifest | None:
    """A manifest, by when its file was changed last and its size."""
    return export_manifest(path)


def _files_of_zip(folder: str) -> list[str]:
    place = place_in_zip(f"{folder}/")
    assert place is not None
    members = members_of(place[0])
    return [os.path.basename(one.path) for one in members if one.denied is None and os.path.dirname(one.path) == folder]


def _candidates(names: Iterable[str]) -> Sequence[str]:
    """The files of a folder that may be manifests, by their names."""
    lines, others = 0, []
    for name in sorted(names):
        plain = name.lower()
        plain = next((plain[: -len(suffix)] for suffix in PACKED if plain.endswith(suffix)), plain)
        if plain.endswith(_LINES):
            lines += 1
        elif kind_by_name(name) is None and not is_clutter(name):
            others.append(name)
    if len(others) <= MANY or lines:
        return others
    return [name for name in others if "manifest" in name.lower()]


def _items(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _listed(item: dict[str, Any], section: str, counts: bool) -> ListedFile:
    kind, count = item.get("type"), item.get("count")
    counted = count if counts and count.__class__ is int and count >= 0 else None
    return ListedFile(file_name(item["url"]), kind if isinstance(kind, str) else None, counted, section)


def file_name(url: str) -> str:
    """The name of a file in the folder of the manifest: the last part of its address, after what is escaped in it was written out.

    An address whose last part is no name of a file gives a name that no file has, so that it is reported as one that is not there.
    """
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        path = ""
    name = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    usable = (
        name not in ("", ".", "..")
        and name.isprintable()
        and ":" not in name
        and len(name.encode("utf-8", "replace")) <= 255
    )
    return name if usable else f"(no file name in {url[:80]!r})".replace("/", "|").replace("\\", "|")


class ExportTimes:
    """Tells when exports were made, by the manifests beside their files; each folder is looked at once."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, str]] = {}

    def of(self, file: str) -> str | None:
        """The `transactionTime` of the export that a file belongs to, None where no manifest beside it tells one."""
        folder, name = os.path.split(file)
        found = self._known.get(folder)
        if found is None:
            found = self._known[folder] = _times_in(folder)
        return found.get(name) or found.get("")


def _times_in(folder: str) -> dict[str, str]:
    """The times of the exports in a folder by the files that their manifests list; of the only one there, for any file, under an empty name."""
    found: dict[str, str] = {}
    times: list[str] = []
    for manifest in manifests_in(folder).values():
        if manifest.made is not None:
            times.append(manifest.made)
            found.update((one.name, manifest.made) for one in manifest.files)
    if len(times) == 1:
        found[""] = times[0]
    return found


def elements_asked(manifest: Mapping[str, Any]) -> list[str] | None:
    """The elements that alone were exported (`_elements`), by the request of a manifest; None where all were."""
    listed = [value for name, value in parse_qsl(query_of(manifest.get("request"))) if name == "_elements"]
    found = [one.strip() for value in listed for one in value.split(",") if one.strip()]
    return found or None


def query_of(request: Any) -> str:
    """The query of the request that an export was started with; empty where there is none."""
    try:
        return urlsplit(request).query if request.__class__ is str else ""
    except ValueError:
        return ""
