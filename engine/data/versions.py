"""Which version of FHIR some data is written in, from what the data says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from engine.data.bulk.decoding import whole
from engine.data.bulk.reading import UNREADABLE, is_lines, open_file
from engine.data.sources import Loaded, data_files, unpack

FILES, LOOKED_AT, SAMPLE = 200, 200, 1 << 18


def version_of(resource: dict[str, Any]) -> str | None:
    """The version that the shape of one resource gives away, None where it could be any."""
    kind = resource.get("resourceType")
    if kind == "ImagingStudy":
        for series in resource.get("series") or ():
            modality = series.get("modality")
            if isinstance(modality, dict):
                return "r5" if "coding" in modality or "text" in modality else "r4"
        modality = resource.get("modality")
        if isinstance(modality, list) and modality and isinstance(modality[0], dict):
            return "r5" if "coding" in modality[0] else "r4"
    if kind == "Procedure":
        if any(key.startswith("occurrence") for key in resource):
            return "r5"
        if any(key.startswith("performed") for key in resource):
            return "r4"
    if kind == "Encounter":
        if "actualPeriod" in resource or isinstance(resource.get("class"), list):
            return "r5"
        if "period" in resource or isinstance(resource.get("class"), dict):
            return "r4"
    if kind in ("MedicationRequest", "MedicationStatement", "MedicationAdministration", "MedicationDispense"):
        if "medication" in resource:
            return "r5"
        if "medicationCodeableConcept" in resource or "medicationReference" in resource:
            return "r4"
    for profile in (resource.get("meta") or {}).get("profile") or ():
        if "|5.0" in str(profile):
            return "r5"
        if "|4.3" in str(profile):
            return "r4b"
    return None


def guess_version_of_paths(paths: Iterable[str | Path]) -> str:
    """The version of the data in some files, from the beginning of each (default R4)."""
    for path in islice(data_files(paths, lambda problem: None), FILES):
        for loaded in islice(_beginning(path), LOOKED_AT):
            found = version_of(loaded.resource) if loaded.resource is not None else None
            if found is not None:
                return found
    return "r4"


def _beginning(path: Path) -> Iterator[Loaded]:
    """The first resources of a file; what cannot be read is left to the run itself to report."""
    try:
        with open_file(str(path)) as stream:
            if not is_lines(str(path)):
                yield from _resources(stream.read(), str(path))
                return
            lines = stream.read(SAMPLE).split(b"\n")
    except UNREADABLE:
        return
    for line in lines[:-1] or lines:
        yield from _resources(line, str(path))


def _resources(text: bytes, path: str) -> Iterator[Loaded]:
    try:
        data = whole(text.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    yield from unpack(data, path, lambda problem: None, None)
