"""Inputs of others and of our own that tests read, one archive each, so that a checkout runs its suites by itself.

`unpacked` gives the folder of them all; `python -m tests.inputs.pack FOLDER` writes the archives again. The file NOTICE names their sources.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def archives() -> list[Path]:
    """The archives, by name."""
    return sorted(HERE.glob("*.zip"))


@lru_cache(maxsize=1)
def unpacked() -> Path:
    """The folder with what is in the archives: unpacked once under `build/`, anew where an archive has changed."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in archives())).hexdigest()[:16]
    place = ROOT / "build" / "inputs" / digest
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=place.parent))
        for path in archives():
            with zipfile.ZipFile(path) as archive:
                archive.extractall(new)
        try:
            new.rename(place)
        except OSError:  # another process was faster
            if not place.is_dir():
                raise
    return place


SHARED = Path(os.environ.get("SHARED_DIR", ROOT.parent / "shared"))
"""Where inputs lie that may not be handed on: measures with their value sets, published criteria, the material of FLUTE."""


def input_path(*parts: str) -> Path:
    """Where an input is: in an archive, else in the folder of those that may not be handed on (which need not exist)."""
    path = unpacked().joinpath(*parts)
    return path if path.exists() else SHARED.joinpath(*parts)
