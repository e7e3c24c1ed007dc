"""Outputs in a folder without a marker, or with one that is damaged: those of earlier versions, known by names that stand together, and by run.json."""

from __future__ import annotations

import json
from pathlib import Path

from fhir_eligibility.artifacts.own_outputs import is_name

SCREENED = ("verdicts.ndjson", "summary.csv", "problems.ndjson", "criteria.json", "run.json", "included.json")
TABLES = ("verdicts.parquet", "criteria.parquet", "evidence.parquet", "images.parquet")
# Names that tell a command where all of them are there, and names that may stand beside them.
_TOGETHER: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "measure": (("results.ndjson", "reports.ndjson", "summary.json"), ("problems.ndjson",)),
    "imaging verify": (("archive.ndjson",), ("archive.csv",)),
    "imaging fetch": (("fetch.ndjson", "fetch.csv"), ()),
    "imaging thumbnails": (("thumbnails.ndjson", "thumbnails.csv"), ("index.html",)),
    "imaging manifest": (("images.csv", "studies.txt", "series.txt"), ("lists.ndjson", "imaging-selections.ndjson")),
    "imaging store": (("store.ndjson", "store.csv"), ()),
}


def outputs_without_marker(folder: Path) -> dict[str, list[str]]:
    """The outputs of a folder, by command."""
    found = {}
    for command, (all_of, more) in _TOGETHER.items():
        if all((folder / name).is_file() for name in all_of):
            found[command] = [name for name in (*all_of, *more) if (folder / name).is_file()]
    screened = [name for name in _screened(folder) if (folder / name).is_file()]
    return {**found, "screen": screened} if screened else found


def _screened(folder: Path) -> list[str]:
    """The outputs that a screening may have left, as its run.json tells."""
    try:
        record = json.loads((folder / "run.json").read_bytes())
    except (OSError, ValueError):
        return []
    artifacts = record.get("artifacts") if isinstance(record, dict) and "engine" in record else None
    if not isinstance(artifacts, list):
        return []
    names = [*SCREENED]
    for number, artifact in enumerate(artifacts, start=1):
        name = artifact.get("name") if isinstance(artifact, dict) else None
        names += [f"included-{one}.json" for one in (number, name) if is_name(f"{one}")]
    return [*names, *TABLES] if all((folder / name).is_file() for name in TABLES) else names
