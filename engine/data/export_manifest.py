"""The manifest of a bulk export in a folder: which of the files are data.

`manifest.json` is what `eligibility export` writes: a Bulk Data manifest whose addresses are names of files beside
it. A manifest whose addresses lead to a server is found by the last part of each.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

MANIFEST = "manifest.json"
EXTENSION = "fhir-eligibility"


def read_manifest(path: Path) -> dict[str, Any] | None:
    """A manifest, None where the file is none (or is not there)."""
    try:
        found = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    is_one = isinstance(found, dict) and isinstance(found.get("output"), list) and "transactionTime" in found
    return found if is_one else None


def noted_problems(path: Path) -> list[str]:
    """What was odd about an export when it was made, as its manifest keeps it."""
    extension = (read_manifest(path) or {}).get("extension")
    ours = extension.get(EXTENSION) if isinstance(extension, dict) else None
    found = ours.get("problems") if isinstance(ours, dict) else None
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def listed_files(path: Path) -> list[Path] | None:
    """The data files (`output`, then `deleted`) that a manifest lists, None where the file is no manifest.

    Every file is beside the manifest, whatever folders its address names; one that is not there is listed all the same, so that it is
    reported.
    """
    manifest = read_manifest(path)
    if manifest is None:
        return None
    out = []
    for section in ("output", "deleted"):
        listed = manifest.get(section)
        for item in listed if isinstance(listed, list) else ():
            url = item.get("url") if isinstance(item, dict) else None
            if isinstance(url, str):
                out.append(path.parent / _file_name(url))
    return out


def _file_name(url: str) -> str:
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
