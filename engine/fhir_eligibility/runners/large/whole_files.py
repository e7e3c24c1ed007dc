"""Files of a workspace, each of which is whole as soon as it has its name, and known by a sum."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Any

import msgspec
from isal.isal_zlib import crc32

from fhir_eligibility.data.bulk.records import SummedFile
from fhir_eligibility.runners.large.workers import is_left_alone

HEAD = Struct("<4sHIQ")
"""What a file begins with: what it is, the version of its form, CRC-32 (from the version on) and length of what follows."""
MAGIC, VERSION = b"FEWS", 1


_encode = msgspec.msgpack.Encoder().encode


def _head(version: int, data: bytes | memoryview) -> bytes:
    return HEAD.pack(MAGIC, version, crc32(data, version), len(data))


class WholeFiles:
    """The files of a folder. All methods raise OSError where it cannot be read or written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, name: str) -> bool:
        """Whether there is a file of a name."""
        return (self.folder / name).exists()

    def write(self, name: str, value: Any) -> None:
        """Keep a value under a name."""
        data = _encode(value)
        with self.whole(name) as out:
            out.write(_head(VERSION, data))
            out.write(data)

    @contextlib.contextmanager
    def whole(self, name: str) -> Iterator[SummedFile]:
        """A file that has its name when it is written without an error; else nothing is left of it."""
        part = self.folder / f"{name}.{os.getpid()}.part"
        try:
            with SummedFile(part) as out:
                yield out
            if is_left_alone():
                raise OSError(f"{part}: the run that this process worked for has ended")
            os.replace(part, self.folder / name)
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def read(self, name: str, kind: Any) -> Any:
        """The value of a kind that is kept under a name. Raises ValueError where the file is damaged, or of another version of the program."""
        path = self.folder / name
        text = path.read_bytes()
        data = memoryview(text)[HEAD.size :]
        version = int.from_bytes(text[4:6], "little")
        if text[: HEAD.size] != _head(version, data):
            raise ValueError(f"{path} is damaged; run again without --resume")
        if version != VERSION:
            raise ValueError(f"{path} is of another version of the program; run again without --resume")
        try:
            return msgspec.msgpack.decode(data, type=kind)
        except msgspec.DecodeError as error:
            raise ValueError(f"{path} is damaged ({error}); run again without --resume") from None

    def drop(self, name: str) -> None:
        """Remove a file."""
        (self.folder / name).unlink(missing_ok=True)
