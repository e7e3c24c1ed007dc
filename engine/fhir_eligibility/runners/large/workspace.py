"""The folder in which a large run keeps what it has done: pieces of the input that are read, buckets of patients that are judged.

A file there is whole as soon as it has its name, so that a run that was killed goes on where it was; after a crash of the machine, or on a bad disk, a file may still
have lost or changed bytes, so every file is known by a sum: what is damaged is done again. Everything is data: nothing in the folder is run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from struct import Struct
from typing import Any

import msgspec
from isal.isal_zlib import crc32

from fhir_eligibility.artifacts.own_outputs import WORK
from fhir_eligibility.data.bulk.blocks import Traced, decode_traced
from fhir_eligibility.data.bulk.collected import Collected
from fhir_eligibility.data.bulk.name_index import IndexedShelf, NameIndex, parts_of, put_in_order
from fhir_eligibility.data.bulk.records import (
    ReadRecord,
    Shelf,
    SummedFile,
    decode_records,
    read_bytes,
    read_section,
    section_bytes,
    section_size,
)
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.runners.large.judged_file import Entry, JudgedFile, JudgedWriter
from fhir_eligibility.runners.large.kept import (
    BucketDone,
    FileDone,
    Ids,
    Joint,
    PieceDone,
    Shelved,
    Stretch,
    Tables,
    Traces,
)
from fhir_eligibility.runners.large.problem_runs import ProblemShelf, in_order, run_path
from fhir_eligibility.runners.large.questions import Question, read_questions, write_questions
from fhir_eligibility.runners.large.workers import is_left_alone

HEAD = Struct("<4sHIQ")
"""What a file begins with: what it is, the version of its form, CRC-32 (from the version on) and length of what follows."""
MAGIC, VERSION = b"FEWS", 1


class RunState(msgspec.Struct):
    """What a run is about; a run that goes on must be about the same."""

    now: str
    fingerprint: dict[str, str]
    files: list[str]
    buckets: int
    piece: int
    sifts: bool = False
    """Whether lines are set aside at first; such a run is not gone on with."""


PLACED, MOVED, CLAIMS, ASIDE, SIFTED = "placed", "moved", "claims", "aside", "sifted"
_encode = msgspec.msgpack.Encoder().encode


def _head(version: int, data: bytes | memoryview) -> bytes:
    return HEAD.pack(MAGIC, version, crc32(data, version), len(data))


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
        self.folder = out / WORK

    def exists(self) -> bool:
        """Whether a run was begun here and is not finished."""
        return (self.folder / "state").exists()

    def create(self, state: RunState) -> None:
        """Begin anew."""
        self.remove()
        self.folder.mkdir(parents=True)
        self._write("state", _encode(state))

    def state(self) -> RunState:
        """What the run is about. Raises ValueError where the file is damaged, or of another version of the program."""
        found: RunState = self._read("state", RunState)
        return found

    def remove(self) -> None:
        """Leave nothing."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _write(self, name: str, data: bytes) -> None:
        with self._whole(name) as out:
            out.write(_head(VERSION, data))
            out.write(data)

    @contextlib.contextmanager
    def _whole(self, name: str) -> Iterator[SummedFile]:
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

    def _read(self, name: str, kind: Any) -> Any:
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

    def check(self, pieces: int, buckets: int) -> None:
        """Drop what is not whole: files that lost bytes when the machine went down. Done before a run goes on."""
        for number in range(pieces):
            if self.has_piece(number):
                self._check(f"piece-{number}", f"records-{number}", PieceDone)
        for part in range(parts_of(buckets)):
            if self.has_names(part):
                self._check(f"index-{part}", f"names-{part}", FileDone)
        if self.has_joint():
            try:
                joint = self.joint()
                kept = [(PLACED, one) for one in enumerate(joint.placed)] + [
                    (MOVED, one) for one in enumerate(joint.moved)
                ]
                whole = self.placed() == joint.placed and all(
                    sum_of(self.folder / f"{name}-{number}") == told[:2] for name, (number, told) in kept
                )
            except (OSError, ValueError):
                whole = False
            if not whole:
                self._drop("joint")
        for number in range(buckets + 1):
            if self.has_questions(number):
                self._check(f"asked-{number}", f"questions-{number}", FileDone)
            if self.has_bucket(number):
                self._check(f"bucket-{number}", f"judged-{number}", BucketDone)

    def _check(self, name: str, data: str, kind: type[PieceDone | FileDone | BucketDone]) -> None:
        try:
            done = self._read(name, kind)
            whole = sum_of(self.folder / data) == (done.size, done.sum)
            for number, told in enumerate(done.problems):
                whole = whole and sum_of(run_path(self._problems(name), number)) == told
        except (OSError, ValueError):
            whole = False
        if not whole:
            self._drop(name)

    def _drop(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    # -- problems

    def _problems(self, name: str) -> Path:
        return self.folder / f"problems-{name}"

    def shelf_of_problems(self, name: str, files: Sequence[str]) -> ProblemShelf:
        """Takes the problems of a piece or bucket (`piece-0`), or of the list of files (`files`)."""
        return ProblemShelf(self._problems(name), files)

    def problems(
        self, listed: ProblemShelf, pieces: int, buckets: Iterable[int], lost: Sequence[int]
    ) -> Iterator[Problem]:
        """All problems in the order of the data, each once; `listed` are those of the list of files, `lost` as in `problems_of_reading`."""
        listed.spill()
        found = [("files", len(listed.runs)), *self._of_reading(pieces, lost)]
        found += [(f"bucket-{number}", len(self.bucket(number).problems)) for number in buckets]
        yield from self._in_order(found, "merged")

    def problems_of_reading(self, pieces: int, lost: Sequence[int]) -> Iterator[Problem]:
        """The problems of all pieces, in the order of the data, with those of records that are nobody's: so many files of each bucket."""
        yield from self._in_order(self._of_reading(pieces, lost), "read")

    def _of_reading(self, pieces: int, lost: Sequence[int]) -> list[tuple[str, int]]:
        found = [(f"piece-{number}", len(self.piece(number).problems)) for number in range(pieces)]
        return found + [(f"lost-{number}", count) for number, count in enumerate(lost)]

    def _in_order(self, found: Iterable[tuple[str, int]], merged: str) -> Iterator[Problem]:
        runs = [run_path(self._problems(name), number) for name, count in found for number in range(count)]
        yield from in_order(runs, self._problems(merged))

    # -- what may be missing

    def put_gaps(self, gaps: dict[str, Any]) -> None:
        """Keep what may be missing of the data, as `Completeness.kept` gives it."""
        self._write("gaps", _encode(gaps))

    def gaps(self) -> dict[str, Any]:
        """What may be missing of the data."""
        found: dict[str, Any] = self._read("gaps", dict[str, Any])
        return found

    # -- pieces of the input

    def has_piece(self, number: int) -> bool:
        """Whether a piece is read."""
        return (self.folder / f"piece-{number}").exists()

    def put_piece(
        self, number: int, shelf: Shelf, collected: Collected, problems: ProblemShelf, traced: bytes | None = None
    ) -> None:
        """Keep what a piece came to; `traced` is what its blocks did, where that is kept."""
        problems.spill()
        ids: tuple[dict[str, Stretch], dict[str, Stretch]] = {}, {}
        names: int | None = None
        with self._whole(f"records-{number}") as out:
            table, starts = shelf.write(out)
            for where, by_type in zip(ids, (collected.kept, collected.seen), strict=True):
                for kind, numbers in by_type.items():
                    where[kind] = out.size, len(numbers) * numbers.itemsize
                    out.write(memoryview(numbers).cast("B"))
            if isinstance(shelf, IndexedShelf):
                names = shelf.write_names(out, number, starts)
            where_traced = None if traced is None else (out.size, len(traced))
            out.write(traced or b"")
        done = PieceDone(
            out.size,
            out.sum,
            table,
            dict(collected.used),
            dict(collected.passed),
            collected.lines,
            collected.blank,
            collected.empty,
            collected.by_file,
            problems.runs,
            collected.deleted,
            *ids,
            named=collected.named,
            persons=collected.persons,
            unsure=collected.unsure,
            aliases=sorted(collected.aliases),
            shared=collected.shared,
            odd=list(collected.odd),
            noted=collected.noted,
            pages=collected.pages,
            of_one=collected.of_one,
            of_several=collected.of_several,
            names=names,
            traced=where_traced,
        )
        self._write(f"piece-{number}", _encode(done))

    def piece(self, number: int) -> PieceDone:
        """What a piece came to."""
        found: PieceDone = self._read(f"piece-{number}", PieceDone)
        return found

    def traced(self, pieces: int) -> Iterator[Traced]:
        """What the blocks of all pieces came to, piece by piece."""
        for number in range(pieces):
            told: Traces = self._read(f"piece-{number}", Traces)
            if told.traced is None:
                yield Traced([], b"", b"")
            else:
                yield decode_traced(read_bytes(self.folder / f"records-{number}", *told.traced))

    def table(self, number: int) -> int:
        """Where the records of a piece stand."""
        found: Tables = self._read(f"piece-{number}", Tables)
        return found.table

    def records(self, piece: int, table: int, bucket: int) -> list[ReadRecord]:
        """The records of a section of a piece."""
        return read_section(self.folder / f"records-{piece}", table, bucket)

    def records_size(self, piece: int, table: int, bucket: int) -> int:
        """Bytes of a section of a piece."""
        return section_size(self.folder / f"records-{piece}", table, bucket)

    def ids(self, pieces: int, kind: str, *, kept: bool) -> Iterator[array[int]]:
        """The ids of a type as numbers, piece by piece: of the records kept, or of all resources seen."""
        for number in range(pieces):
            told: Ids = self._read(f"piece-{number}", Ids)
            stretch = (told.kept if kept else told.seen).get(kind)
            if stretch is not None:
                found = array("Q")
                with (self.folder / f"records-{number}").open("rb", buffering=0) as stream:
                    stream.seek(stretch[0])
                    found.frombytes(stream.read(stretch[1]))
                yield found

    # -- the names of all records

    def has_names(self, part: int) -> bool:
        """Whether a part of the index of names is made."""
        return (self.folder / f"index-{part}").exists()

    def put_names(self, part: int, pieces: int) -> None:
        """Make a part of the index of names, of the records of all pieces."""
        rows = []
        for number in range(pieces):
            told: Tables = self._read(f"piece-{number}", Tables)
            if told.names is not None:
                rows.append(section_bytes(self.folder / f"records-{number}", told.names, part))
        for number, (_, _, _, names) in enumerate(self.placed()):
            if names is not None:
                rows.append(section_bytes(self.folder / f"{PLACED}-{number}", names, part))
        with self._whole(f"names-{part}") as out:
            for ordered in put_in_order(rows):
                out.write(ordered)
        self._write(f"index-{part}", _encode(FileDone(out.size, out.sum)))

    def names(self, parts: int, pieces: int) -> NameIndex:
        """The index of the names of all records."""
        return NameIndex(
            [self.folder / f"names-{part}" for part in range(parts)],
            [self.folder / f"records-{number}" for number in range(pieces)]
            + [self.folder / f"{PLACED}-{number}" for number in range(len(self.placed()))],
        )

    # -- ids that occur several times

    def put_twice(self, name: str, found: dict[int, tuple[int, int]]) -> None:
        """Keep ids (as numbers) with how often they are kept, and how often they occur."""
        self._write(f"twice-{name}", _encode(found))

    def twice(self, name: str) -> dict[int, tuple[int, int]]:
        """Ids that were kept under a name."""
        found: dict[int, tuple[int, int]] = self._read(f"twice-{name}", dict[int, tuple[int, int]])
        return found

    # -- records that stand elsewhere than where they were read

    def put_shelf(self, name: str, number: int, shelf: Shelf, piece: int = -1) -> Shelved:
        """Keep sections under a name (`PLACED`, `MOVED`, `CLAIMS`) and a number; `piece` is the number by which the index of names knows the file."""
        names: int | None = None
        with self._whole(f"{name}-{number}") as out:
            table, starts = shelf.write(out)
            if isinstance(shelf, IndexedShelf):
                names = shelf.write_names(out, piece, starts)
        return out.size, out.sum, table, names

    def shelved(self, name: str, shelves: Sequence[Shelved], section: int, first: int = 0) -> Iterator[bytes]:
        """One section of all files under a name, the first of which has a number."""
        for number, (_, _, table, _) in enumerate(shelves, first):
            data = section_bytes(self.folder / f"{name}-{number}", table, section)
            if data:
                yield data

    def shelved_records(
        self, name: str, shelves: Sequence[Shelved], bucket: int, first: int = 0
    ) -> Iterator[ReadRecord]:
        """The records of a bucket in all files under a name, the first of which has a number."""
        for data in self.shelved(name, shelves, bucket, first):
            yield from decode_records(data)

    def drop_shelves(self, name: str, count: int) -> None:
        """Remove the files under a name."""
        for number in range(count):
            self._drop(f"{name}-{number}")

    def put_value(self, name: str, value: Any) -> None:
        """Keep a value under a name."""
        self._write(name, _encode(value))

    def value(self, name: str, kind: Any) -> Any:
        """The value of a kind that is kept under a name."""
        return self._read(name, kind)

    def put_placed(self, placed: Sequence[Shelved]) -> None:
        """Keep where placed records are."""
        self._write("placed", _encode(placed))

    def placed(self) -> list[Shelved]:
        """Where placed records are; nowhere where none had to be placed."""
        found: list[Shelved] = self._read("placed", list[Shelved])
        return found

    def put_joined(self, joined: dict[str, str]) -> None:
        """Keep which groups are looked at together, as far as it is known."""
        self._write("joined", _encode(joined))

    def drop_joined(self) -> None:
        """Remove the same."""
        self._drop("joined")

    def joined(self) -> dict[str, str]:
        """The same."""
        found: dict[str, str] = self._read("joined", dict[str, str])
        return found

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

    # -- what archives are asked, and what they answer

    def has_questions(self, bucket: int) -> bool:
        """Whether it is written down what is to be asked about a bucket."""
        return (self.folder / f"asked-{bucket}").exists()

    def put_questions(self, bucket: int, questions: Iterable[Question]) -> None:
        """Write down what is to be asked about the patients of a bucket."""
        with self._whole(f"questions-{bucket}") as out:
            write_questions(out, questions)
        self._write(f"asked-{bucket}", _encode(FileDone(out.size, out.sum)))

    def questions(self, bucket: int) -> Iterator[Question]:
        """What is to be asked about the patients of a bucket."""
        return read_questions(self.folder / f"questions-{bucket}")

    def answers(self, bucket: int) -> Path:
        """Where the answers are."""
        return self.folder / f"answers-{bucket}"

    # -- buckets of patients

    def has_bucket(self, number: int) -> bool:
        """Whether a bucket is judged."""
        return (self.folder / f"bucket-{number}").exists()

    def put_bucket(
        self, number: int, patients: Iterable[Entry], texts: int, problems: ProblemShelf, outcome: Callable[[], bytes]
    ) -> int:
        """Keep the patients of a bucket, judged, with so many texts each, in order; gives how many they are.

        `problems` are those that come up meanwhile, `outcome` gives what the patients come to when all are there.
        """
        out, written = self._put_judged(f"judged-{number}", patients, texts)
        problems.spill()
        done = BucketDone(out.size, out.sum, written.patients, tuple(written.lengths), problems.runs, outcome())
        self._write(f"bucket-{number}", _encode(done))
        return written.patients

    def put_turn(self, number: int, turn: int, patients: Iterable[Entry], texts: int) -> JudgedFile:
        """Write some patients of a bucket that is looked at in turns."""
        name = f"judged-{number}-{turn}"
        _, written = self._put_judged(name, patients, texts)
        return JudgedFile(self.folder / name, written.patients, tuple(written.lengths))

    def _put_judged(self, name: str, patients: Iterable[Entry], texts: int) -> tuple[SummedFile, JudgedWriter]:
        with self._whole(name) as out:
            written = JudgedWriter(out, texts)
            for entry in patients:
                written.add(entry)
            written.finish()
        return out, written

    def bucket(self, number: int) -> BucketDone:
        """What a bucket came to."""
        found: BucketDone = self._read(f"bucket-{number}", BucketDone)
        return found

    def judged(self, number: int) -> JudgedFile:
        """The patients of a bucket."""
        done = self.bucket(number)
        return JudgedFile(self.folder / f"judged-{number}", done.patients, done.lengths)
