"""The manifest of a bulk export in a folder: which of the files are data.

`manifest.json` is what `eligibility export` writes: a Bulk Data manifest whose addresses are names of files beside
it. A manifest whose addresses lead to a server is found by the last part of each.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from msgspec import Struct

from fhir_eligibility.data.files.json_text import BAD_JSON
from fhir_eligibility.data.files.opening import UNREADABLE, open_file

MANIFEST = "manifest.json"
EXTENSION = "fhir-eligibility"
LARGEST = 64 << 20
"""Bytes of a manifest; what is larger is data."""
_decode = msgspec.json.Decoder().decode


class ListedFile(Struct, frozen=True):
    """A file that a manifest lists: its name beside the manifest, the type of its resources, how many they are, if it says so, and the part of the manifest that lists it."""

    name: str
    type: str | None
    count: int | None
    section: str


class ExportManifest(Struct, frozen=True):
    """What a manifest says of an export.

    `noted` is what was odd when `eligibility export` made it, `next` the address of a further page, if there is one.
    """

    files: tuple[ListedFile, ...]
    noted: tuple[str, ...] = ()
    next: str | None = None


def read_manifest(path: Path | str) -> dict[str, Any] | None:
    """A manifest, None where the file is none (or is not there)."""
    try:
        with open_file(str(path)) as stream:
            text = stream.read(LARGEST + 1)
        found = _decode(text) if len(text) <= LARGEST else None
    except (*UNREADABLE, *BAD_JSON):
        return None
    is_one = isinstance(found, dict) and isinstance(found.get("output"), list) and "transactionTime" in found
    return found if is_one else None


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
    return ExportManifest(tuple(files), tuple(noted), next((page for page in pages if isinstance(page, str)), None))


def _items(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _listed(item: dict[str, Any], section: str, counts: bool) -> ListedFile:
    kind, count = item.get("type"), item.get("count")
    counted = count if counts and count.__class__ is int and count >= 0 else None
    return ListedFile(file_name(item["url"]), kind if isinstance(kind, str) else None, counted, section)


def listed_files(path: Path) -> list[Path] | None:
    """The files that a manifest lists, None where the file is no manifest.

    Every file is beside the manifest, whatever folders its address names; one that is not there is listed all the same, so that it is
    reported.
    """
    found = export_manifest(path)
    return None if found is None else [path.parent / one.name for one in found.files]


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
    try:
        names = sorted(name for name in os.listdir(folder or ".") if _MAY_BE_ONE.search(name))
    except OSError:
        return {}
    found: dict[str, str] = {}
    times: list[str] = []
    for name in names:
        path = Path(folder) / name
        time = (read_manifest(path) or {}).get("transactionTime")
        if isinstance(time, str):
            times.append(time)
            found.update((listed.name, time) for listed in listed_files(path) or ())
    if len(times) == 1:
        found[""] = times[0]
    return found


_MAY_BE_ONE = re.compile(r"manifest.*\.json$", re.IGNORECASE)


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
