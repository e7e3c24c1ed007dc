"""The manifest of a bulk export in a folder: which of the files are data.

`manifest.json` is what `eligibility export` writes: a Bulk Data manifest whose addresses are names of files beside
it. A manifest whose addresses lead to a server is found by the last part of each.
"""

from __future__ import annotations

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

    Every file is beside the manifest; one that is not there is listed all the same, so that it is reported.
    """
    manifest = read_manifest(path)
    if manifest is None:
        return None
    out = []
    for section in ("output", "deleted"):
        for item in manifest.get(section) or ():
            url = item.get("url") if isinstance(item, dict) else None
            if isinstance(url, str):
                out.append(path.parent / unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2]))
    return out
