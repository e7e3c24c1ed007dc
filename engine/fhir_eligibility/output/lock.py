"""An output folder belongs to one run at a time: a lock that the system gives back when its process ends, however it ends.

The lock is on a file in the folder that says who holds it. Processes that a run has forked hold it too, so that it is not given back while one of them still
writes.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

from fhir_eligibility.artifacts.own_outputs import LOCK

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

PATIENCE = 10.0
"""Seconds in which the processes of a run that was killed have ended."""
_FAR = 1 << 30
"""Where the locked byte is (Windows): others may read what stands before."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class FolderInUse(ValueError):
    """Another run is writing into the folder."""


class FolderLock:
    """The lock of a folder, which must be there. `command` is told to those who find it held."""

    def __init__(self, folder: Path, command: str) -> None:
        self.folder = folder
        self.command = command
        self._stream: BinaryIO | None = None

    def acquire(self) -> None:
        """Take the lock. Raises FolderInUse where another run holds it, OSError."""
        end = time.monotonic() + PATIENCE
        while self._stream is None:
            stream = os.fdopen(os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
            try:
                if not _locked(stream):
                    holder = _holder(stream)
                    # the processes of a run that was killed notice it within a second
                    if not _is_gone(holder) or time.monotonic() > end:
                        raise FolderInUse(_in_use(self.folder, holder))
                    time.sleep(0.05)
                elif self._is_there(stream):
                    _write(stream, self.command)
                    self._stream = stream
            finally:
                if self._stream is None:
                    stream.close()

    def _is_there(self, stream: BinaryIO) -> bool:
        """Whether a file that is locked is still the one in the folder: who gives the lock back removes it."""
        try:
            return os.path.samestat(os.fstat(stream.fileno()), os.stat(self.folder / LOCK))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give the lock back."""
        if self._stream is not None:
            with contextlib.suppress(OSError):
                if sys.platform != "win32":  # where an open file cannot be removed
                    os.unlink(self.folder / LOCK)
                _unlock(self._stream)
            self._stream.close()
            self._stream = None


def _locked(stream: BinaryIO) -> bool:
    """Whether the lock was free, and is ours now. Where the file system has no locks, it counts as free."""
    try:
        if sys.platform == "win32":
            stream.seek(_FAR)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _NO_LOCKS and sys.platform != "win32"
    return True


def _unlock(stream: BinaryIO) -> None:
    if sys.platform == "win32":
        stream.seek(_FAR)
        msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(stream, fcntl.LOCK_UN)


def _write(stream: BinaryIO, command: str) -> None:
    started = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    holder = {"command": command, "process": os.getpid(), "host": socket.gethostname(), "started": started}
    stream.seek(0)
    stream.truncate()
    stream.write(json.dumps(holder).encode() + b"\n")


def _holder(stream: BinaryIO) -> dict[str, Any]:
    """Who holds the lock; whoever has just taken it is given a moment to write it down."""
    for _ in range(20):
        found = _read(stream)
        if found:
            return found
        time.sleep(0.01)
    return {}


def _read(stream: BinaryIO) -> dict[str, Any]:
    """Who holds the lock, as far as it is written down."""
    stream.seek(0)
    try:
        found = json.loads(stream.read(4096))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_gone(holder: dict[str, Any]) -> bool:
    """Whether the process that took the lock is known to have ended."""
    process = holder.get("process")
    if sys.platform == "win32" or not isinstance(process, int) or holder.get("host") != socket.gethostname():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _in_use(folder: Path, holder: dict[str, Any]) -> str:
    who = f"`eligibility {holder['command']}`" if isinstance(holder.get("command"), str) else "another run"
    more = [f"process {holder['process']} on {holder.get('host')}"] if "process" in holder else []
    more += [f"since {holder['started']}"] if "started" in holder else []
    shown = f" ({', '.join(more)})" if more else ""
    return f"{folder} is in use: {who}{shown} is writing into it; wait until it has ended, or name another folder"
