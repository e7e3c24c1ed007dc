"""What a run wrote into its folder, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def visible(folder: Path) -> list[str]:
    """The names of what stands in a folder, without what is hidden."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


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
