"""Patients as one bundle each, read with orjson; for the peers in Python. Knows nothing of this project.

From an export only the types that the criteria read are taken, which is a courtesy.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NEEDED = ("Patient", "Procedure", "Observation", "ImagingStudy")
Record = dict[str, Any]


def bundles(form: str, folder: Path) -> Iterator[tuple[str, Record]]:
    """Every patient's id and resources. An export is held in memory whole: its resources are not in the order of patients."""
    loads = importlib.import_module("orjson").loads
    if form == "bundles":
        for path in sorted(folder.rglob("*.json")):
            bundle = loads(path.read_bytes())
            found = [e["resource"]["id"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Patient"]
            yield found[0], bundle
        return
    by_patient: dict[str, list[Record]] = {}
    for kind in NEEDED:
        for path in sorted(folder.glob(f"{kind}*.ndjson")):
            with path.open("rb") as stream:
                for line in stream:
                    resource = loads(line)
                    name = resource["id"] if kind == "Patient" else resource["subject"]["reference"].rpartition("/")[2]
                    by_patient.setdefault(name, []).append(resource)
    for name, resources in by_patient.items():
        yield name, {"resourceType": "Bundle", "entry": [{"resource": resource} for resource in resources]}
