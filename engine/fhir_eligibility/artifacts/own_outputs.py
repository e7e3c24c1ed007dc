"""Which files of a folder the program wrote itself, so that they are never read as criteria or as data.

A folder that a command wrote into holds a marker, a JSON object that names the files by the command that wrote them. It is written by `fhir_eligibility.output.folder`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from fhir_eligibility.algebra.diagnostic import Diagnostic

MARKER = ".eligibility-outputs"
LOCK = ".eligibility-lock"
NEW = ".eligibility-new"
"""The folder of outputs that are being written."""
WORK = ".work"
"""The folder of what a large run has done so far."""
CODE = "own-outputs"
MESSAGE = "this folder holds outputs of an earlier run of this program, which are not read"
PLAN = ".eligibility-plan"
"""What is to be done so that outputs that are whole appear."""
OWN = frozenset((MARKER, LOCK, NEW, PLAN))
"""Names that nobody but this program gives."""


def recorded_outputs(folder: str | Path) -> dict[str, list[str]]:
    """The names of the files that commands wrote into a folder, by command; none where there is no marker, or none that can be read."""
    try:
        found = json.loads((Path(folder) / MARKER).read_bytes())
    except (OSError, ValueError):
        return {}
    outputs = found.get("outputs") if isinstance(found, dict) else None
    if not isinstance(outputs, dict):
        return {}
    return {
        command: [name for name in names if isinstance(name, str) and is_name(name)]
        for command, names in outputs.items()
        if isinstance(names, list)
    }


def own_names(folder: str | Path) -> frozenset[str]:
    """What of a folder that holds a marker is not to be read: the names of files and folders in it."""
    return OWN.union((WORK,), *recorded_outputs(folder).values())


def is_name(text: str) -> bool:
    """Whether a text names something in a folder, and nothing outside of it."""
    return text not in ("", ".", "..") and "/" not in text and os.sep not in text and "\0" not in text


class Below:
    """The files below a folder in the order of their paths, without outputs of this program. Links to folders are not followed.

    `diagnostics` name the folders in which there were outputs.
    """

    def __init__(self, folder: str | Path, suffixes: tuple[str, ...]) -> None:
        self.diagnostics: list[Diagnostic] = []
        self._suffixes = suffixes
        self.files = sorted(self._walk(str(folder)))

    def _walk(self, folder: str) -> Iterator[Path]:
        for here, folders, files in os.walk(folder):
            if MARKER in files:
                own = own_names(here)
                if not (own - OWN).isdisjoint(files):
                    self.diagnostics.append(Diagnostic(CODE, MESSAGE, "information", location=here))
                folders[:] = [name for name in folders if name not in own]
                files = [name for name in files if name not in own]
            for name in files:
                if name.endswith(self._suffixes):
                    path = Path(here, name)
                    if path.is_file():
                        yield path
