"""Files that paths name: folders are walked once, in the order of their names, and what the system tells of a file is kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from fhir_eligibility.artifacts.own_outputs import MARKER, OWN, own_names
from fhir_eligibility.data.files.zips import place_in_zip, size_in_zip


class FoundFile(NamedTuple):
    """A file: its path, its size in bytes, and when it was changed, in nanoseconds (None: the system tells nothing of it)."""

    path: str
    bytes: int
    changed: int | None
    denied: str | None = None
    """Of a folder that may not be read: why."""
    outputs: bool = False
    """Of a folder in which outputs of this program were passed over."""
    identity: tuple[int, int, int] | None = None
    """Device and number of the file, and when anything of it was changed last (by the clock of the system, which no program sets back)."""


Folders = dict[str, int]
"""When the list of files of each folder was changed last, in nanoseconds."""


def walk(folder: str, folders: Folders | None = None, above: frozenset[str] = frozenset()) -> Iterator[FoundFile]:
    """The files of a folder and of those in it, in the order of their names; a folder that may not be read is given itself, as `denied`.

    What the program wrote itself into a folder is not given; the folder is, as one of `outputs`, before the files in it.
    Links to folders are followed, but not to one that the walk is in already: `above` are the true paths of these. When each folder was changed is put
    into `folders`.
    """
    try:
        if folders is not None:
            folders[folder] = os.stat(folder).st_mtime_ns
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield FoundFile(folder, 0, None, error.strerror or str(error))
        return
    here = above | {os.path.realpath(folder)}
    names = {entry.name for entry in listed}
    if not OWN.isdisjoint(names):
        own = own_names(folder) if MARKER in names else OWN
        if any(entry.name in own - OWN and entry.is_file() for entry in listed):
            yield FoundFile(folder, 0, None, outputs=True)
        listed = [entry for entry in listed if entry.name not in own]
    for entry in listed:
        if _is_folder(entry):
            if not entry.is_symlink() or os.path.realpath(entry.path) not in here:
                yield from walk(entry.path, folders, here)
        elif entry.is_symlink() or entry.is_file():
            yield found_file(entry.path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a folder, or a link to one. What the system does not tell of - a link to itself, or to where one may not look - is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def found_file(path: str) -> FoundFile:
    """One file; where the system tells nothing of it, it has no size."""
    try:
        status = os.stat(path)
    except OSError:
        place = place_in_zip(path)
        if place is None:
            return FoundFile(path, 0, None)
        return found_file(place[0])._replace(path=path, bytes=size_in_zip(*place))
    identity = status.st_dev, status.st_ino, status.st_ctime_ns
    return FoundFile(path, status.st_size, status.st_mtime_ns, identity=identity)


Walk = Callable[[str], Iterable[FoundFile]]
"""Gives the files of a folder, as `walk` does."""


class Walks:
    """Walks folders, each once: what was found is kept."""

    def __init__(self) -> None:
        self._known: dict[str, list[FoundFile]] = {}
        self.folders: Folders = {}

    def __call__(self, folder: str) -> list[FoundFile]:
        """The files of a folder."""
        found = self._known.get(folder)
        if found is None:
            found = self._known[folder] = list(walk(folder, self.folders))
        return found


def files_of(paths: Iterable[str | Path], walk: Walk = walk) -> list[FoundFile]:
    """The files that paths name, in a stable order."""
    out: list[FoundFile] = []
    for path in paths:
        text = str(path)
        if os.path.isdir(text):
            out.extend(found for found in walk(text) if found.denied is None and not found.outputs)
        else:
            out.append(found_file(text))
    return out
