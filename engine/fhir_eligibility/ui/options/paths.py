"""Paths that a command is given: whether they exist, and what was probably meant where they do not."""

from __future__ import annotations

import difflib
from pathlib import Path


def check_exist(*paths: str | Path) -> None:
    """Raises FileNotFoundError for the first path that does not exist, with the nearest name in its folder."""
    for path in paths:
        if not Path(path).exists():
            raise FileNotFoundError(f"{path} does not exist{_nearest(Path(path))}")


def _nearest(path: Path) -> str:
    """What stands in the folder and is called almost so; that the folder itself is not there; or nothing to say."""
    folder = path.parent
    try:
        if not folder.exists():
            return f": there is no folder {folder}"
        near = difflib.get_close_matches(path.name, [item.name for item in folder.iterdir()], n=1, cutoff=0.7)
    except OSError:
        return ""
    return f"; did you mean {folder / near[0]}?" if near else ""
