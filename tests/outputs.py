"""What a run wrote into its folder, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def visible(folder: Path) -> list[str]:
    """The names of what stands in a folder, without what is hidden."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def seen(folder: Path) -> dict[Path, tuple[int, int, int, bytes]]:
    """All files below a folder, with what would show that somebody changed them."""
    return {
        path: (told.st_ino, told.st_mtime_ns, told.st_mode, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and (told := path.stat())
    }


def group_files(folder: Path) -> list[Path]:
    """The Groups of included patients, one a trial."""
    return sorted(folder.glob("included-*.json"))


def groups(folder: Path) -> list[dict[str, Any]]:
    """The Groups of included patients, in the order of their names."""
    return [json.loads(path.read_text("utf-8")) for path in group_files(folder)]


def by_patient(folder: Path) -> dict[str, bytes]:
    """The files that go by patient, and the problems: what does not depend on when a run was made."""
    names = ["verdicts.ndjson", "summary.csv", "problems.ndjson", *(path.name for path in group_files(folder))]
    return {name: (folder / name).read_bytes() for name in names}
