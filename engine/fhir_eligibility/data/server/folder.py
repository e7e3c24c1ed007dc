"""The folder that an export is written into: its state while it is under way, and its manifest when it is complete.

`.export-state` names the server, the request and the status address - nothing that is signed, no token.
`manifest.json` has the form of a Bulk Data manifest whose addresses are the names of the files beside it.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from fhir_eligibility.artifacts.own_outputs import LOCK
from fhir_eligibility.data.files.export_manifest import EXTENSION, MANIFEST, read_manifest
from fhir_eligibility.data.http.address import shown
from fhir_eligibility.data.server.client import ServerError
from fhir_eligibility.data.server.export import SECTIONS, CompletedExport, ExportRequest

STATE = ".export-state"
# What `file_names` makes: a state that somebody else wrote names no file outside of the folder.
NAME = re.compile(r"(?:deleted\.|error\.)?[A-Za-z]{1,64}\.[0-9]{3,9}")
VERSION = 1


class ExportState(Struct):
    """Where an export stands. `names` are the names of the files, in the order of the server's manifest, without
    suffix.
    """

    base: str
    request: dict[str, Any]
    status_url: str
    names: list[str] | None = None
    complete: bool = False

    def matches(self, base: str, request: ExportRequest) -> bool:
        """Whether this is the export that is asked for."""
        return self.base == base and self.request == _plain(request.as_json())


def new_state(base: str, request: ExportRequest, status_url: str) -> ExportState:
    """The state of an export that was just started."""
    return ExportState(base, _plain(request.as_json()), status_url)


def read_state(folder: Path) -> ExportState | None:
    """The state in a folder, None where there is none. Raises ServerError where it cannot be read."""
    path = folder / STATE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, UnicodeDecodeError) as error:
        raise ServerError(
            f"{path}: the state of the export cannot be read ({error}); start again with --restart"
        ) from None
    if not isinstance(raw, dict) or raw.pop("version", None) != VERSION:
        raise ServerError(f"{path}: written by another version; start again with --restart")
    try:
        state = msgspec.convert(raw, ExportState)
    except msgspec.ValidationError as error:
        raise ServerError(
            f"{path}: the state of the export cannot be read ({error}); start again with --restart"
        ) from None
    strange = [name for name in state.names or () if not NAME.fullmatch(name)]
    if strange:
        raise ServerError(f"{path}: {strange[0]!r} is not the name of a file of an export; start again with --restart")
    return state


def write_state(folder: Path, state: ExportState) -> None:
    """Write the state; only its owner may read it."""
    record = {"version": VERSION, **{name: getattr(state, name) for name in ExportState.__struct_fields__}}
    _replace(folder / STATE, json.dumps(record, indent=1) + "\n", 0o600)


def file_names(manifest: CompletedExport) -> list[str]:
    """Names for the files of a manifest: `Observation.001`, `deleted.Bundle.001`, `error.OperationOutcome.001`."""
    counted: dict[str, int] = {}
    names = []
    for file in manifest.files:
        stem = file.type if file.section == "output" else f"{file.section}.{file.type}"
        counted[stem] = counted.get(stem, 0) + 1
        names.append(f"{stem}.{counted[stem]:03}")
    return names


def write_manifest(
    folder: Path,
    base: str,
    request: ExportRequest,
    manifest: CompletedExport,
    written: list[tuple[str, int]],
    problems: list[str],
) -> None:
    """Write manifest.json: each file by its name in the folder, with the number of resources that were counted in it.

    Problems are kept in it: whoever reads the folder is told of them.
    """
    sections: dict[str, list[dict[str, Any]]] = {section: [] for section in SECTIONS}
    for file, (name, count) in zip(manifest.files, written, strict=True):
        sections[file.section].append({"type": file.type, "url": name, "count": count})
    record = {
        "transactionTime": manifest.transaction_time,
        "request": shown(f"{base}/{request.path}"),
        "requiresAccessToken": False,
        **sections,
        "extension": {EXTENSION: {"server": shown(base), **_plain(request.as_json()), "problems": problems}},
    }
    _replace(folder / MANIFEST, json.dumps(record, indent=2, ensure_ascii=False) + "\n", 0o666)


def clear(folder: Path, state: ExportState | None) -> None:
    """Remove what an export has written into a folder, and nothing else."""
    if not (folder / STATE).exists():
        return
    names = list(state.names or ()) if state is not None else []
    ends = (".ndjson", ".ndjson.gz", ".part", ".part-of")
    ours = [MANIFEST] if state is not None or EXTENSION in _extensions(folder / MANIFEST) else []
    for name in [f"{stem}{end}" for stem in names for end in ends] + [*ours, STATE]:
        (folder / name).unlink(missing_ok=True)


def _extensions(manifest: Path) -> dict[str, Any]:
    """The extensions of a manifest; none where it cannot be read."""
    found = (read_manifest(manifest) or {}).get("extension")
    return found if isinstance(found, dict) else {}


def foreign_files(folder: Path) -> list[str]:
    """What stands in a folder without belonging to an export."""
    return sorted(path.name for path in folder.iterdir() if path.name != LOCK) if folder.is_dir() else []


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """As JSON would give it back."""
    return json.loads(json.dumps(value))  # type: ignore[no-any-return]


def _replace(path: Path, text: str, mode: int) -> None:
    part = path.with_name(f".{path.name}.new")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
