"""Files that appear whole or not at all: written beside their place, synced, then moved there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any

BUFFER = 1 << 20
# what mkstemp makes of a name
_LEFT = re.compile(r"\..+\.[a-z0-9_]{8}\.part")


def sweep(folder: Path) -> None:
    """Remove what a run that was killed left of its outputs; what some process still writes stays."""
    for path in folder.glob(".*.part"):
        if _LEFT.fullmatch(path.name) is None:
            continue
        with contextlib.suppress(OSError), path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


class AtomicFile:
    """A text or binary file that takes its place when it is closed without an error; otherwise nothing is left of it."""

    def __init__(self, path: Path, mode: str = "w") -> None:
        self.path = path
        self.part: Path
        """What is written until then."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        self.part = Path(name)
        # held until it is closed, also by the end of the process: `sweep` leaves it alone
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        binary = "b" in mode
        self.stream: IO[str] | IO[bytes] = os.fdopen(
            handle, mode, BUFFER, encoding=None if binary else "utf-8", newline=None if binary else ""
        )

    def commit(self) -> None:
        """Put the file in its place."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()
        self.part.chmod(0o644)
        os.replace(self.part, self.path)

    def discard(self) -> None:
        """Leave nothing."""
        self.stream.close()
        self.part.unlink(missing_ok=True)

    def __enter__(self) -> AtomicFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


def write_text(path: Path, text: str) -> None:
    """Write a whole text file atomically."""
    with AtomicFile(path) as file:
        stream: Any = file.stream
        stream.write(text)
