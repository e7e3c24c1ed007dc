"""Files that appear whole or not at all: written beside their place, synced, then moved there."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import IO, Any

BUFFER = 1 << 20
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a system says where a file cannot grow: the disk is full, or the user's share of it, or no file may be as large."""


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
        with contextlib.suppress(OSError):  # what was not written yet need not find room any more
            self.stream.close()
        self.part.unlink(missing_ok=True)

    def __enter__(self) -> AtomicFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.commit()
            elif isinstance(error, OSError):
                note_place(error, self.path)
        except OSError as failure:
            note_place(failure, self.path)
            raise
        finally:
            self.discard()


def note_place(error: OSError, path: Path) -> None:
    """Have an error tell where there is no room, if that is what it tells, and it does not say where."""
    if error.errno in NO_ROOM and error.filename is None:
        error.filename = str(path)


def error_in_words(error: OSError) -> str:
    """What an error says, in words that say what to do where there is no room."""
    if error.errno not in NO_ROOM:
        return str(error)
    where = f" for {error.filename}" if error.filename else ""
    return (
        f"there is no room{where} ({error.strerror}): make some, or name another folder, and run the same command again"
    )


def write_text(path: Path, text: str) -> None:
    """Write a whole text file atomically."""
    with AtomicFile(path) as file:
        stream: Any = file.stream
        stream.write(text)
