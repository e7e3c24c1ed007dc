"""The files in a zip, each named by the path of the zip, `!/`, and its name there: `export/all.zip!/Patient.ndjson`."""

from __future__ import annotations

import os
import zipfile
from typing import Any, BinaryIO, NamedTuple

INSIDE = "!/"
"""What stands between the path of a zip and the name of a file in it."""
_ENCRYPTED = 0x1


class ZipMember(NamedTuple):
    """A file in a zip: its path, its size in bytes when it is unpacked, and why it cannot be read, if it cannot."""

    path: str
    bytes: int
    denied: str | None


class _Directory:
    """A zip with the files that it lists, by name; of several with the same name the last counts, as for those who unpack it."""

    def __init__(self, path: str) -> None:
        self.zip = zipfile.ZipFile(path)
        self.files: dict[str, zipfile.ZipInfo] = {}
        self.repeated: set[str] = set()
        for found in self.zip.infolist():
            if found.is_dir() or is_clutter(found.filename):
                continue
            if found.filename in self.files:
                self.repeated.add(found.filename)
            self.files[found.filename] = found


_open: dict[tuple[int, str, int, int], _Directory] = {}


def _directory(path: str) -> _Directory:
    """A zip, the last one kept open. Raises OSError, BadZipFile."""
    status = os.stat(path)
    # a process that was forked reads by a handle of its own
    key = os.getpid(), path, status.st_size, status.st_mtime_ns
    found = _open.get(key)
    if found is None:
        found = _Directory(path)
        _open.clear()
        _open[key] = found
    return found


def is_clutter(path: str) -> bool:
    """Whether a path is that of what an operating system puts beside files: nobody's data."""
    return "__MACOSX" in path or os.path.basename(path).startswith(CLUTTER)


CLUTTER = ("._", ".DS_Store", "Thumbs.db", "desktop.ini")


def members_of(path: str) -> list[ZipMember]:
    """The files in a zip, in the order of their names. Raises OSError, BadZipFile."""
    directory = _directory(path)
    return [
        ZipMember(f"{path}{INSIDE}{name}", found.file_size, _denied(found, name in directory.repeated))
        for name, found in sorted(directory.files.items())
    ]


def _denied(found: zipfile.ZipInfo, repeated: bool) -> str | None:
    if found.flag_bits & _ENCRYPTED:
        return "it is encrypted; unpack it with its password"
    if repeated:
        return "the zip holds several files of this name; unpack it"
    return None


def place_in_zip(path: str) -> tuple[str, str] | None:
    """The path of a zip and the name in it, of the path of a file in a zip; None for any other path."""
    at = path.find(INSIDE)
    while at >= 0:
        if os.path.isfile(path[:at]):
            return path[:at], path[at + len(INSIDE) :]
        at = path.find(INSIDE, at + 1)
    return None


def size_in_zip(path: str, name: str) -> int:
    """The size of a file in a zip, unpacked; 0 where it cannot be told."""
    try:
        found = _directory(path).files.get(name)
    except (OSError, zipfile.BadZipFile):
        return 0
    return found.file_size if found is not None else 0


def open_in_zip(path: str, name: str | None = None) -> BinaryIO:
    """A file in a zip; without a name the only one. Raises OSError, BadZipFile."""
    directory = _directory(path)
    if name is None:
        if len(directory.files) != 1:
            raise zipfile.BadZipFile(f"a zip of {len(directory.files)} files is not read; unpack it")
        name = next(iter(directory.files))
    found = directory.files.get(name)
    if found is None:
        raise zipfile.BadZipFile("the zip holds no such file")
    denied = _denied(found, name in directory.repeated)
    if denied is not None:
        raise zipfile.BadZipFile(denied)
    try:
        stream: Any = directory.zip.open(found)
    except NotImplementedError as error:
        raise zipfile.BadZipFile(f"it is packed in a way that is not read ({error}); unpack it") from None
    return stream  # type: ignore[no-any-return]
