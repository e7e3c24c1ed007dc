"""The folder in which a large run keeps what it has done: pieces of the input that are read, buckets of patients that are judged.

A file there is whole as soon as it has its name, so that a run that was killed goes on where it was; after a crash of the machine a file may still have
lost bytes, so a run that goes on checks sizes and sums first. Everything is data: nothing in the folder is run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from isal.isal_zlib import crc32

from engine.data.bulk.collecting import Collected
from engine.data.bulk.records import Record, Shelf, read_section, write_all
from engine.data.problems import Problem
from engine.runners.judging import Judged

NAME = ".work"
AT_ONCE = 1 << 18
# Bytes that are held of all buckets while their patients are put in order.
READ_TOGETHER = 16 << 20


class State(msgspec.Struct):
    """What a run is about; a run that goes on must be about the same."""

    now: str
    fingerprint: dict[str, str]
    files: list[str]
    buckets: int
    piece: int


class PieceDone(msgspec.Struct, gc=False):
    """What a piece of the input came to (see `Collected`), and where its sections stand."""

    spans: list[tuple[int, int]]
    sum: int
    used: dict[str, int]
    passed: dict[str, int]
    lines: int
    blank: int
    problems: list[dict[str, Any]]
    deleted: list[str]
    kept: dict[str, bytes]
    seen: dict[str, bytes]
    pending: list[tuple[Record, dict[str, Any]]]
    urns: list[str]
    aliases: list[tuple[str, str]]
    shared: list[Record]

    def collected(self) -> Collected:
        """As the reader has it."""
        return Collected(
            used=Counter(self.used),
            passed=Counter(self.passed),
            lines=self.lines,
            blank=self.blank,
            problems=[Problem(**problem) for problem in self.problems],
            deleted=self.deleted,
            kept={kind: array("Q", numbers) for kind, numbers in self.kept.items()},
            seen={kind: array("Q", numbers) for kind, numbers in self.seen.items()},
            pending=self.pending,
            urns=set(self.urns),
            aliases=set(self.aliases),
            shared=self.shared,
        )


class Joint(msgspec.Struct, gc=False):
    """What only the whole export could tell (see `Settled`), with what is no patient's."""

    joined: dict[str, str]
    extra: list[Record]
    shared: list[Record]
    deleted: list[str]


class BucketDone(msgspec.Struct, gc=False):
    """What a bucket came to, besides its judged patients."""

    patients: int
    bytes: int
    sum: int
    problems: list[dict[str, Any]]


_encode = msgspec.msgpack.Encoder().encode
_judged = msgspec.msgpack.Decoder(Judged).decode


def sum_of(path: Path) -> tuple[int, int]:
    """Size and CRC-32 of a file. Raises OSError."""
    size = total = 0
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            size += len(chunk)
            total = crc32(chunk, total)
    return size, total


class Workspace:
    """Reads and writes the folder. All methods raise OSError where it cannot be read or written."""

    def __init__(self, out: Path) -> None:
        self.folder = out / NAME

    def exists(self) -> bool:
        """Whether a run was begun here and is not finished."""
        return (self.folder / "state").exists()

    def create(self, state: State) -> None:
        """Begin anew."""
        self.remove()
        self.folder.mkdir(parents=True)
        self._write("state", _encode(state))

    def state(self) -> State:
        """What the run is about. Raises ValueError where the file is not one of ours."""
        found: State = self._read("state", State)
        return found

    def remove(self) -> None:
        """Leave nothing."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _write(self, name: str, data: bytes) -> None:
        part = self.folder / f"{name}.{os.getpid()}.part"
        try:
            with part.open("wb") as stream:
                stream.write(data)
            os.replace(part, self.folder / name)
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def _read(self, name: str, kind: Any) -> Any:
        try:
            return msgspec.msgpack.decode((self.folder / name).read_bytes(), type=kind)
        except msgspec.DecodeError as error:
            raise ValueError(f"{self.folder / name} is damaged ({error}); run again without --resume") from None

    def check(self, pieces: int, buckets: int) -> None:
        """Drop what is not whole: files that lost bytes when the machine went down. Done before a run goes on."""
        for number in range(pieces):
            if self.has_piece(number):
                try:
                    done = self.piece(number)
                    whole = sum_of(self.folder / f"records-{number}") == (sum(n for _, n in done.spans), done.sum)
                except (OSError, ValueError):
                    whole = False
                if not whole:
                    self._drop(f"piece-{number}")
        if self.has_joint():
            try:
                self.joint()
            except ValueError:
                self._drop("joint")
        for number in range(buckets + 1):
            if self.has_bucket(number):
                try:
                    judged = self.bucket(number)
                    whole = sum_of(self.folder / f"judged-{number}") == (judged.bytes, judged.sum)
                except (OSError, ValueError):
                    whole = False
                if not whole:
                    self._drop(f"bucket-{number}")

    def _drop(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    # -- pieces of the input

    def has_piece(self, number: int) -> bool:
        """Whether a piece is read."""
        return (self.folder / f"piece-{number}").exists()

    def put_piece(self, number: int, shelf: Shelf, collected: Collected) -> None:
        """Keep what a piece came to."""
        part = self.folder / f"records-{number}.{os.getpid()}.part"
        try:
            spans, total = shelf.write(part)
            os.replace(part, self.folder / f"records-{number}")
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        done = PieceDone(
            spans,
            total,
            dict(collected.used),
            dict(collected.passed),
            collected.lines,
            collected.blank,
            [problem.model_dump() for problem in collected.problems],
            collected.deleted,
            {kind: numbers.tobytes() for kind, numbers in collected.kept.items()},
            {kind: numbers.tobytes() for kind, numbers in collected.seen.items()},
            collected.pending,
            sorted(collected.urns),
            sorted(collected.aliases),
            collected.shared,
        )
        self._write(f"piece-{number}", _encode(done))

    def piece(self, number: int) -> PieceDone:
        """What a piece came to."""
        found: PieceDone = self._read(f"piece-{number}", PieceDone)
        return found

    def records(self, number: int, span: tuple[int, int]) -> Iterator[Record]:
        """The records of a section of a piece."""
        return read_section(self.folder / f"records-{number}", span)

    # -- what joins them

    def has_joint(self) -> bool:
        """Whether the whole export is settled."""
        return (self.folder / "joint").exists()

    def put_joint(self, joint: Joint) -> None:
        """Keep what the whole export told."""
        self._write("joint", _encode(joint))

    def joint(self) -> Joint:
        """What the whole export told."""
        found: Joint = self._read("joint", Joint)
        return found

    # -- buckets of patients

    def has_bucket(self, number: int) -> bool:
        """Whether a bucket is judged."""
        return (self.folder / f"bucket-{number}").exists()

    def put_bucket(self, number: int, judged: Iterator[Judged], problems: list[Problem]) -> None:
        """Keep the patients of a bucket, judged; `problems` are those that come up meanwhile."""
        part = self.folder / f"judged-{number}.{os.getpid()}.part"
        count = size = total = 0
        waiting: list[bytes] = []
        held = 0
        try:
            with part.open("wb", buffering=0) as stream:

                def flush() -> None:
                    nonlocal total
                    data = b"".join(waiting)
                    total = crc32(data, total)
                    write_all(stream, data)
                    waiting.clear()

                for one in judged:
                    packed = _encode(one)
                    waiting.append(len(packed).to_bytes(4, "little"))
                    waiting.append(packed)
                    count += 1
                    size += 4 + len(packed)
                    held += len(packed)
                    if held > AT_ONCE:
                        flush()
                        held = 0
                flush()
            os.replace(part, self.folder / f"judged-{number}")
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        self._write(
            f"bucket-{number}", _encode(BucketDone(count, size, total, [problem.model_dump() for problem in problems]))
        )

    def bucket(self, number: int) -> BucketDone:
        """What a bucket came to."""
        found: BucketDone = self._read(f"bucket-{number}", BucketDone)
        return found

    def judged(self, number: int, together: int = 1) -> Iterator[Judged]:
        """The patients of a bucket, in order; so many buckets are read together. Raises ValueError for a file cut short."""
        path = self.folder / f"judged-{number}"
        at_once = max(min(AT_ONCE, READ_TOGETHER // together), 1 << 14)
        with path.open("rb", buffering=0) as stream:
            held = b""
            while block := stream.read(at_once):
                held += block
                at = 0
                # whole patients; their lines are views of what is held
                while at + 4 <= len(held):
                    stop = at + 4 + int.from_bytes(held[at : at + 4], "little")
                    if stop > len(held):
                        break
                    yield _judged(memoryview(held)[at + 4 : stop])
                    at = stop
                held = held[at:]
        if held:
            raise ValueError(f"{path} is cut short; run again with --resume")
