"""The folder in which a large run keeps what it has done: pieces of the input that are read, buckets of patients that are judged.

A file there is whole as soon as it has its name, so that a run that was killed goes on where it was; after a crash of the machine, or on a bad disk, a file may still
have lost or changed bytes, so every file is known by a sum: what is damaged is done again. Everything is data: nothing in the folder is run.
"""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from isal.isal_zlib import crc32

from fhir_eligibility.artifacts.own_outputs import WORK
from fhir_eligibility.data.bulk.block_digests import PLAIN
from fhir_eligibility.data.bulk.blocks import Traced, decode_traced
from fhir_eligibility.data.bulk.collected import Collected
from fhir_eligibility.data.bulk.name_index import IndexedShelf, NameIndex, parts_of, put_in_order
from fhir_eligibility.data.bulk.records import (
    ReadRecord,
    Shelf,
    read_bytes,
    read_section,
    section_bytes,
    section_size,
)
from fhir_eligibility.data.files.problems import Problem
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
from fhir_eligibility.runners.large.kept_buckets import KeptBuckets, KeptQuestions
from fhir_eligibility.runners.large.kept_shelves import KeptShelves
from fhir_eligibility.runners.large.problem_runs import ProblemShelf, in_order, run_path
from fhir_eligibility.runners.large.whole_files import WholeFiles


class RunState(msgspec.Struct):
    """What a run is about; a run that goes on must be about the same."""

    now: str
    fingerprint: dict[str, str]
    files: list[str]
    buckets: int
    piece: int
    sifts: bool = False
    """Whether lines are set aside at first; such a run is not gone on with."""
    salt: bytes = PLAIN
    """The secret for the digests of blocks, where the run goes by no earlier one."""


PLACED, MOVED, CLAIMS, ASIDE, SIFTED = "placed", "moved", "claims", "aside", "sifted"


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
        self.files = WholeFiles(self.folder)
        self.shelves = KeptShelves(self.files)
        self.questions = KeptQuestions(self.files)
        self.buckets = KeptBuckets(self.files)

    def exists(self) -> bool:
        """Whether a run was begun here and is not finished."""
        return (self.folder / "state").exists()

    def create(self, state: RunState) -> None:
        """Begin anew."""
        self.remove()
        self.folder.mkdir(parents=True)
        self.files.write("state", state)

    def state(self) -> RunState:
        """What the run is about. Raises ValueError where the file is damaged, or of another version of the program."""
        found: RunState = self.files.read("state", RunState)
        return found

    def remove(self) -> None:
        """Leave nothing."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

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
                    sum_of(self.folder / f"{name}-{number}") == noted[:2] for name, (number, noted) in kept
                )
            except (OSError, ValueError):
                whole = False
            if not whole:
                self.files.drop("joint")
        for number in range(buckets + 1):
            if self.questions.has(number):
                self._check(f"asked-{number}", f"questions-{number}", FileDone)
            if self.buckets.has(number):
                self._check(f"bucket-{number}", f"judged-{number}", BucketDone)
            if self.buckets.has(number):
                self._check_taken(number)

    def _check(self, name: str, data: str, kind: type[PieceDone | FileDone | BucketDone]) -> None:
        try:
            done = self.files.read(name, kind)
            whole = sum_of(self.folder / data) == (done.size, done.sum)
            for number, noted in enumerate(done.problems):
                whole = whole and sum_of(run_path(self._problems(name), number)) == noted
        except (OSError, ValueError):
            whole = False
        if not whole:
            self.files.drop(name)

    def _check_taken(self, number: int) -> None:
        taken = self.buckets.done(number).taken
        try:
            whole = taken is None or sum_of(self.folder / f"taken-{number}") == (taken.size, taken.sum)
        except OSError:
            whole = False
        if not whole:
            self.files.drop(f"bucket-{number}")

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
        found += [(f"bucket-{number}", len(self.buckets.done(number).problems)) for number in buckets]
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
        self.files.write("gaps", gaps)

    def gaps(self) -> dict[str, Any]:
        """What may be missing of the data."""
        found: dict[str, Any] = self.files.read("gaps", dict[str, Any])
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
        with self.files.whole(f"records-{number}") as out:
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
        self.files.write(f"piece-{number}", done)

    def piece(self, number: int) -> PieceDone:
        """What a piece came to."""
        found: PieceDone = self.files.read(f"piece-{number}", PieceDone)
        return found

    def traced(self, pieces: int) -> Iterator[Traced]:
        """What the blocks of all pieces came to, piece by piece."""
        for number in range(pieces):
            noted: Traces = self.files.read(f"piece-{number}", Traces)
            if noted.traced is None:
                yield Traced([], b"", b"")
            else:
                yield decode_traced(read_bytes(self.folder / f"records-{number}", *noted.traced))

    def table(self, number: int) -> int:
        """Where the records of a piece stand."""
        found: Tables = self.files.read(f"piece-{number}", Tables)
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
            noted: Ids = self.files.read(f"piece-{number}", Ids)
            stretch = (noted.kept if kept else noted.seen).get(kind)
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
            noted: Tables = self.files.read(f"piece-{number}", Tables)
            if noted.names is not None:
                rows.append(section_bytes(self.folder / f"records-{number}", noted.names, part))
        for number, (_, _, _, names) in enumerate(self.placed()):
            if names is not None:
                rows.append(section_bytes(self.folder / f"{PLACED}-{number}", names, part))
        with self.files.whole(f"names-{part}") as out:
            for ordered in put_in_order(rows):
                out.write(ordered)
        self.files.write(f"index-{part}", FileDone(out.size, out.sum))

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
        self.files.write(f"twice-{name}", found)

    def twice(self, name: str) -> dict[int, tuple[int, int]]:
        """Ids that were kept under a name."""
        found: dict[int, tuple[int, int]] = self.files.read(f"twice-{name}", dict[int, tuple[int, int]])
        return found

    # -- records that stand elsewhere than where they were read

    def put_value(self, name: str, value: Any) -> None:
        """Keep a value under a name."""
        self.files.write(name, value)

    def value(self, name: str, kind: Any) -> Any:
        """The value of a kind that is kept under a name."""
        return self.files.read(name, kind)

    def put_placed(self, placed: Sequence[Shelved]) -> None:
        """Keep where placed records are."""
        self.files.write("placed", placed)

    def placed(self) -> list[Shelved]:
        """Where placed records are; nowhere where none had to be placed."""
        found: list[Shelved] = self.files.read("placed", list[Shelved])
        return found

    def put_joined(self, joined: dict[str, str]) -> None:
        """Keep which groups are looked at together, as far as it is known."""
        self.files.write("joined", joined)

    def drop_joined(self) -> None:
        """Remove the same."""
        self.files.drop("joined")

    def joined(self) -> dict[str, str]:
        """The same."""
        found: dict[str, str] = self.files.read("joined", dict[str, str])
        return found

    # -- what joins them

    def has_joint(self) -> bool:
        """Whether the whole export is resolved."""
        return (self.folder / "joint").exists()

    def put_joint(self, joint: Joint) -> None:
        """Keep what the whole export told."""
        self.files.write("joint", joint)

    def joint(self) -> Joint:
        """What the whole export told."""
        found: Joint = self.files.read("joint", Joint)
        return found
