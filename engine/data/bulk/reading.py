"""An export, from files to patients: what is to be read in which pieces, each piece read into a shelf, and all of it by patient."""

from __future__ import annotations

import heapq
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from engine.artifacts.models import load_model
from engine.compiler.reading import ReadPlan
from engine.data.bulk.collecting import Collected, Collector, OnePatient
from engine.data.bulk.decoding import Decoders
from engine.data.bulk.documents import read_document
from engine.data.bulk.following import Everyone
from engine.data.bulk.grouping import Grouping
from engine.data.bulk.name_index import MemoryIndex
from engine.data.bulk.records import MemoryShelf, Position, Record, number_of
from engine.data.bulk.scanning import LineScanner
from engine.data.bulk.settling import Links, Settled, doubles_of, missing, settle, twice
from engine.data.compartment import Compartment
from engine.data.files import Walk, found_file, walk
from engine.data.opening import (
    MOST_DOCUMENT,
    UNREADABLE,
    document_in,
    is_packed,
    open_file,
    packing_of,
    without_packing,
)
from engine.data.problems import Problem
from engine.data.sources import data_file_names, too_long_document

LINES = (".ndjson", ".jsonl")
PIECE = 64 << 20
OnProblem = Callable[[Problem], None]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of one file: the lines that begin from `start` on and before `end`, or all of it where `end` is None."""

    file: int
    path: str
    start: int = 0
    end: int | None = None
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of work, in the order of the data."""

    number: int
    stretches: tuple[Stretch, ...]

    @property
    def bytes(self) -> int:
        """How much of the input it is, as stored."""
        return sum(one.bytes for one in self.stretches)


def files_to_read(paths: Iterable[str | Path], on_problem: OnProblem, walk: Walk = walk) -> list[str]:
    """The data files, in order; their place in the list is their number."""
    return list(data_file_names(paths, on_problem, walk))


def pieces_of(files: Sequence[str], size: int = PIECE, lengths: Mapping[str, int] | None = None) -> list[Piece]:
    """The work of reading files, in pieces of about `size` bytes: large NDJSON is cut, small files are read together.

    `lengths` of files are told where they are known; the system is asked for others.
    """
    known = lengths or {}
    out: list[Piece] = []
    together: list[Stretch] = []
    held = 0

    def close() -> None:
        nonlocal held
        if together:
            out.append(Piece(len(out), tuple(together)))
            together.clear()
            held = 0

    for number, path in enumerate(files):
        length = known[path] if path in known else found_file(path).bytes
        if is_lines(path) and length > size and not _is_packed(path):
            close()
            for start in range(0, length, size):
                end = min(start + size, length)
                out.append(Piece(len(out), (Stretch(number, path, start, end, end - start),)))
            continue
        together.append(Stretch(number, path, 0, None, length))
        held += length
        if held >= size:
            close()
    close()
    return out


def _is_packed(path: str) -> bool:
    try:
        return packing_of(path) is not None
    except OSError:
        return True  # reading it whole tells why


def is_lines(path: str) -> bool:
    """Whether a file holds one resource a line, by its name."""
    return without_packing(path.lower()).endswith(LINES)


def read_piece(piece: Piece, collector: Collector) -> None:
    """Read a piece of work into a collector. A file that cannot be read is a problem, and the rest goes on."""
    for stretch in piece.stretches:
        try:
            if not is_lines(stretch.path):
                text = _whole_file(stretch.path)
                if text is None:
                    collector.collected.problems.append(too_long_document(stretch.path))
                else:
                    read_document(collector, text, stretch.file, stretch.path)
                continue
            with open_file(stretch.path) as stream:
                start = _line_start(stream, stretch.start)
                LineScanner(collector, stretch.file, stretch.path).scan(stream, start, stretch.end)
        except UNREADABLE as error:
            message = f"cannot be read: {error or error.__class__.__name__}"
            collector.collected.problems.append(Problem(file=stretch.path, code="unreadable", message=message))
        except Exception as error:
            # an error of this program, which shall not cost what is in other files
            message = f"reading stopped unexpectedly, and what follows in this file is not used: {error!r:.300}"
            collector.collected.problems.append(Problem(file=stretch.path, code="not-read", message=message))


def _whole_file(path: str) -> bytes | None:
    """All of a file, unpacked; None where it is longer than MOST_DOCUMENT. Raises UNREADABLE."""
    # one of thousands of small ones
    handle = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(handle).st_size
        text = os.read(handle, min(size, MOST_DOCUMENT) + 1)
    finally:
        os.close(handle)
    if len(text) == size and not is_packed(text):
        return text
    with open_file(path) as stream:
        return document_in(stream)


def _line_start(stream: BinaryIO, start: int) -> int:
    """Move to the first line that begins at or after a place."""
    if start == 0:
        return 0
    stream.seek(start - 1)
    at = start - 1
    while chunk := stream.read(1 << 16):
        found = chunk.find(b"\n")
        if found >= 0:
            stream.seek(at + found + 1)
            return at + found + 1
        at += len(chunk)
    return at


class _Again(Collector):
    """Keeps resources with certain ids, whatever they say."""

    wanted: Mapping[str, set[int]]

    def offer(self, kind: str, raw: bytes, file: int, offset: int, entry: int, full_url: str | None, path: str,
              patient: OnePatient | None = None) -> None:  # fmt: skip
        reader = self.reader(kind)
        identifier = reader.identifier(raw) if kind in self.wanted else None
        if identifier is not None and number_of(identifier) in self.wanted[kind]:
            self.keep(reader, raw, file, offset, entry, full_url, path, patient=patient)


def read_again(pieces: Iterable[Piece], decoders: Decoders, wanted: Mapping[str, set[int]]) -> Iterator[Record]:
    """Every resource of some types with certain ids (as numbers), from the files."""
    for piece in pieces:
        shelf = MemoryShelf()
        collector = _Again(decoders, shelf, validate=True)
        collector.wanted = wanted
        read_piece(piece, collector)
        yield from shelf.records


def _of(ids: Mapping[str, array[int]], kind: str) -> tuple[array[int], ...]:
    return (ids[kind],) if kind in ids else ()


class ExportReader:
    """An export read in one process, with what is kept held in memory. `collected` tells what became of its resources."""

    def __init__(
        self, paths: Iterable[str | Path], plan: ReadPlan, on_problem: OnProblem, *, validate: bool = False
    ) -> None:
        self.files = files_to_read(paths, on_problem)
        self.on_problem = on_problem
        self.model = load_model(plan.model)
        self.decoders = Decoders(plan, self.model)
        self._shelf = MemoryShelf()
        self._collector = Collector(self.decoders, self._shelf, validate=validate, decoded=True)

    @property
    def collected(self) -> Collected:
        """What was used, passed over and reported."""
        return self._collector.collected

    def patients(self) -> Iterator[tuple[Position, Compartment]]:
        """The patients in the order of the data, each with its place there."""
        pieces = pieces_of(self.files)
        for piece in pieces:
            read_piece(piece, self._collector)
        read = self.collected
        for problem in (*read.problems, *read.odd.problems(self.files), *read.noted.problems()):
            self.on_problem(problem)
        settled = self._settled(pieces)
        plan, marked = self.decoders.plan, read.noted.types()
        everyone = None
        if plan.follows:
            index = MemoryIndex(self._shelf.records, plan.together)
            everyone = Everyone(index, read.shared, settled.extra, settled.joined)
        grouping = Grouping(
            self.decoders, self.model, self.files, self.on_problem, read.shared, read.deleted, marked, everyone
        )
        yield from by_patient(self._shelf.records, settled, grouping)

    def _settled(self, pieces: Sequence[Piece]) -> Settled:
        links = Links()
        found = self.collected
        links.add(found.aliases, found.urns, found.pending)
        kept, seen = found.kept, found.seen
        times = {
            kind: ids for kind in sorted(kept) if (ids := twice(partial(_of, kept, kind), partial(_of, seen, kind)))
        }
        doubles = doubles_of(times, self._shelf.records) if times else {}
        return settle(
            links,
            lambda: self._shelf.records,
            self.decoders,
            doubles,
            missing(times, doubles),
            lambda wanted: read_again(pieces, self.decoders, wanted),
        )


def read_export(
    paths: Iterable[str | Path], plan: ReadPlan, on_problem: OnProblem, *, validate: bool = False
) -> Iterator[Compartment]:
    """The patients of an export, in one process and with what is kept held in memory."""
    for _, compartment in ExportReader(paths, plan, on_problem, validate=validate).patients():
        yield compartment


def by_patient(
    records: Iterable[Record], settled: Settled, grouping: Grouping
) -> Iterator[tuple[Position, Compartment]]:
    """Patients of all records, those that are looked at together among them, in the order of the data."""
    apart: list[Record] = []
    together: list[Record] = list(settled.extra)
    if not settled.joined and not together:
        yield from grouping.patients(records)
        return
    for record in records:
        (together if record.group in settled.joined else apart).append(record)
    yield from heapq.merge(
        grouping.patients(apart), grouping.patients(together, settled.joined), key=lambda found: found[0]
    )
