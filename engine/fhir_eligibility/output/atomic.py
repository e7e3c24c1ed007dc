"""Files that appear whole or not at all: written beside their place, synced, then moved there."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import IO, Any

BUFFER = 1 << 20


def owner_only(path: str, flags: int) -> int:
    """Opens a file that its owner alone may read, whatever the umask, for `open`."""
    return os.open(path, flags, 0o600)


class AtomicFile:
    """A text or binary file that takes its place when it is closed without an error; otherwise nothing is left of it."""

    def __init__(self, path: Path, mode: str = "w", *, private: bool = False) -> None:
        """`private` files can be read by their owner alone, whatever the umask."""
        self.path = path
        self.part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        """What is written until then."""
        path.parent.mkdir(parents=True, exist_ok=True)
        binary = "b" in mode
        self.stream: IO[str] | IO[bytes] = open(
            self.part,
            mode.replace("w", "x"),
            BUFFER,
            encoding=None if binary else "utf-8",
            newline=None if binary else "",
            opener=owner_only if private else None,
        )

    def commit(self) -> None:
        """Put the file in its place."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()
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
