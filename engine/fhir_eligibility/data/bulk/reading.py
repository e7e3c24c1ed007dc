"""An export, from files to patients: what is to be read in which pieces, each piece read into a shelf, and all of it by patient."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.reading import ReadPlan
from fhir_eligibility.data.bulk.bundle_patients import BundlePatients
from fhir_eligibility.data.bulk.collected import Collected
from fhir_eligibility.data.bulk.collecting import Collector
from fhir_eligibility.data.bulk.decoding import Decoders
from fhir_eligibility.data.bulk.documents import read_document
from fhir_eligibility.data.bulk.fingerprints import Fingerprints, Takeover, state_of_nobodys
from fhir_eligibility.data.bulk.following import Everyone
from fhir_eligibility.data.bulk.grouping import Grouping
from fhir_eligibility.data.bulk.name_index import MemoryIndex
from fhir_eligibility.data.bulk.placing import Bearers, claims_of, joined_by_names, names_wanted, placed
from fhir_eligibility.data.bulk.records import MemoryShelf, Position, Record, name_of_group, number_of
from fhir_eligibility.data.bulk.scanning import LineScanner
from fhir_eligibility.data.bulk.settling import NotWhole, Settled, doubles_of, missing, not_whole, settle, twice
from fhir_eligibility.data.compartment import Compartment
from fhir_eligibility.data.completeness import Completeness, reporting_to
from fhir_eligibility.data.deletions import Candidate
from fhir_eligibility.data.files import found_file
from fhir_eligibility.data.forms import Form, Values, form_of, form_of_damaged, named_lines
from fhir_eligibility.data.gaps import Gaps
from fhir_eligibility.data.identity import with_text_as_id
from fhir_eligibility.data.json_text import BAD_JSON, whole
from fhir_eligibility.data.listing import list_data
from fhir_eligibility.data.opening import UNREADABLE, begin, document_in, open_file, packing_of
from fhir_eligibility.data.other_lines import OtherLines
from fhir_eligibility.data.pages import lacking as pages_lacking
from fhir_eligibility.data.problems import Problem
from fhir_eligibility.data.record_versions import content_of
from fhir_eligibility.data.told_by_manifests import told_by_manifests
from fhir_eligibility.data.values import invalid_document, other_file, too_long_document

RESOURCE_TYPE = b'"resourceType"'
PIECE = 64 << 20
OnProblem = Callable[[Problem], None]
Taking = Callable[[bytes, Gaps], Callable[[bytes], bool] | None]
"""Given a digest of the records of no patient, and what may be missing of all: tells whether an earlier run knows a fingerprint; None where that does not help."""


class Stretch(Struct, frozen=True):
    """Part of one file: the lines that begin from `start` on and before `end`, or all of it where `end` is None."""

    file: int
    path: str
    start: int = 0
    end: int | None = None
    bytes: int = 0


class Piece(Struct, frozen=True):
    """One piece of work, in the order of the data."""

    number: int
    stretches: tuple[Stretch, ...]

    @property
    def bytes(self) -> int:
        """How much of the input it is, as stored."""
        return sum(one.bytes for one in self.stretches)


def files_to_read(paths: Iterable[str | Path], on_problem: OnProblem) -> list[str]:
    """The data files, in order; their place in the list is their number."""
    return list_data(paths, on_problem).names


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
        if length > size and _is_cut(path):
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


def _is_cut(path: str) -> bool:
    """Whether a large file can be read from any line on: it is not packed, and holds one resource a line."""
    try:
        if packing_of(path) is not None or _form(path) is not Form.LINES:
            return False
        with begin(path) as opened:
            # what holds no resource is told as one file
            return RESOURCE_TYPE in opened.head
    except UNREADABLE:
        return False  # reading it whole tells why


def is_plain_lines(path: str) -> bool:
    """Whether a file is NDJSON that is not packed, so that the offsets of lines are those of its bytes."""
    if not named_lines(path):
        return False  # which spares opening each of many bundles
    try:
        if packing_of(path) is not None or _form(path) is not Form.LINES:
            return False
        with open_file(path) as stream:
            return stream.read(1) == b"{"
    except UNREADABLE:
        return False


def is_document(path: str) -> bool:
    """Whether a file is one document, as far as its beginning tells, or cannot be read (any more)."""
    try:
        return _form(path) is Form.DOCUMENT
    except UNREADABLE:
        return True


def _form(path: str) -> Form:
    """The form of a file; that of one that is not JSON is a document. Raises UNREADABLE."""
    with begin(path) as opened:
        if other_file(path, opened.head, opened.stream is None) is not None:
            return Form.DOCUMENT
        return form_of(opened.head, opened.stream is None, named_lines(path))


def read_piece(piece: Piece, collector: Collector) -> None:
    """Read a piece of work into a collector. A file that cannot be read is a problem, and the rest goes on."""
    collected = collector.collected
    for stretch in piece.stretches:
        before = dict(collected.used), dict(collected.passed)
        document = False
        try:
            if stretch.end is None:
                document = _read_file(collector, stretch.file, stretch.path)
            else:
                with open_file(stretch.path) as stream:
                    start = _line_start(stream, stretch.start)
                    LineScanner(collector, stretch.file, stretch.path).scan(stream, start, stretch.end)
        except UNREADABLE as error:
            message = f"cannot be read: {error or error.__class__.__name__}"
            collected.problems.append(Problem(file=stretch.path, code="unreadable", message=message))
        except Exception as error:
            # an error of this program, which shall not cost what is in other files
            message = f"reading stopped unexpectedly, and what follows in this file is not used: {error!r:.300}"
            collected.problems.append(Problem(file=stretch.path, code="not-read", message=message))
        if not document:
            collected.note_file(stretch.file, *before)


def _read_file(collector: Collector, file: int, path: str) -> bool:
    """Read all of a file, in whatever form resources stand there; gives whether it is one document. Raises UNREADABLE."""
    with begin(path) as opened:
        head, stream = opened.head, opened.stream
        other = other_file(path, head, stream is None)
        if other is not None:
            collector.collected.problems.append(other)
            return True
        form = form_of(head, stream is None, named_lines(path))
        if form is Form.DOCUMENT:
            text = document_in(stream, head)
            if text is None:
                collector.collected.problems.append(too_long_document(path))
                return True
            error = read_document(collector, text, file, path)
            if error is None:
                return True
            form, head, stream = form_of_damaged(text, error), text, None
            if form is Form.DOCUMENT:
                collector.collected.problems.append(invalid_document(text, path, error))
                return True
        scanner, read = LineScanner(collector, file, path), collector.collected
        before = read.lines - read.blank
        others = OtherLines(path, read.problems.append, lambda: read.lines - read.blank - before)
        collector.others = others
        try:
            if form is Form.VALUES:
                scanner.values(Values(head, stream))
            elif stream is None:
                scanner.text(head)
            else:
                scanner.scan(stream, 0, None, head)
        finally:
            collector.others = None
            others.finish()
    return False


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
    """Keeps resources with certain ids, whatever they say, with their contents by place; and gives those of some types whole."""

    wanted: Mapping[str, set[int]]
    kinds: frozenset[str] = frozenset()

    def begin(self) -> None:
        self.digests: dict[Position, bytes] = {}
        self.candidates: list[Candidate] = []

    def offer(self, kind: str, raw: bytes, file: int, offset: int, entry: int, full_url: str | None, path: str,
              patients: BundlePatients | None = None) -> None:  # fmt: skip
        reader = self.reader(kind)
        identifier = reader.identifier(raw) if kind in self.wanted else None
        try:
            if kind in self.kinds:
                resource = with_text_as_id(whole(raw))
                self.candidates.append(Candidate(resource, full_url, path, offset, entry if entry >= 0 else None))
            if identifier is not None and number_of(identifier) in self.wanted[kind]:
                self.digests[file, offset, entry] = content_of(with_text_as_id(whole(raw)))
                self.keep(reader, raw, file, offset, entry, full_url, path, patients=patients)
        except BAD_JSON:
            return  # that was told when it was read first


class FilesAgain(Struct, frozen=True):
    """Reads files once more."""

    pieces: Sequence[Piece]
    decoders: Decoders

    def records(
        self, wanted: Mapping[str, set[int]], files: frozenset[int] | None = None
    ) -> Iterator[tuple[Record, bytes]]:
        """Every resource of some types with certain ids (as numbers) in some files (None: in any), with its content."""
        for collector, shelf in self._read(wanted, frozenset(), files):
            for record in shelf.records:
                yield record, collector.digests.get(record.position, b"")

    def resources(self, kinds: frozenset[str]) -> Iterator[Candidate]:
        """Every resource of some types."""
        for collector, _ in self._read({}, kinds, None):
            yield from collector.candidates

    def _read(
        self, wanted: Mapping[str, set[int]], kinds: frozenset[str], files: frozenset[int] | None
    ) -> Iterator[tuple[_Again, MemoryShelf]]:
        for piece in self.pieces:
            stretches = tuple(one for one in piece.stretches if files is None or one.file in files)
            if not stretches:
                continue
            piece = Piece(piece.number, stretches)
            shelf = MemoryShelf()
            collector = _Again(self.decoders, shelf, validate=True)
            collector.wanted, collector.kinds = wanted, kinds
            collector.begin()
            read_piece(piece, collector)
            yield collector, shelf


def with_gaps(
    patients: Iterable[tuple[Position, Compartment]], completeness: Completeness
) -> Iterator[tuple[Position, Compartment]]:
    """Patients, each with what may be missing of the data. Who lacks more than others do has no fingerprint, which does not tell that."""
    for place, compartment in patients:
        found = completeness.gaps(compartment)
        if compartment.fingerprint is not None and (compartment.gaps or found != completeness.everybodys()):
            compartment.fingerprint.value = None
        compartment.gaps = (*found, *compartment.gaps)
        yield place, compartment


def take_files(
    completeness: Completeness, by_file: Mapping[int, Mapping[str, int]], files: Sequence[str]
) -> dict[str, int]:
    """Tell what stands in files of lines; gives how many resources each of these holds."""
    for number, types in by_file.items():
        completeness.file(files[number], types)
    return {files[number]: sum(types.values()) for number, types in by_file.items()}


def known_patients(ids: Iterable[array[int]]) -> Callable[[set[str]], set[str]]:
    """Tells which patients, as `Patient/id`, are among those with some ids (as numbers); all of them where there are no ids at all."""

    def known(names: set[str]) -> set[str]:
        numbers = {number_of(name.partition("/")[2].encode()): name for name in names}
        found: set[str] = set()
        some = False
        for mine in ids:
            some = some or bool(mine)
            found.update(numbers[number] for number in numbers.keys() & set(mine))
        return found if some else names

    return known


def _of(ids: Mapping[str, array[int]], kind: str) -> tuple[array[int], ...]:
    return (ids[kind],) if kind in ids else ()


class ExportReader:
    """An export read in one process, with what is kept held in memory. `collected` tells what became of its resources."""

    def __init__(
        self,
        paths: Iterable[str | Path],
        plan: ReadPlan,
        on_problem: OnProblem,
        *,
        validate: bool = False,
        tolerate: int = 0,
        merge_linked: bool = False,
        fingerprints: Fingerprints | None = None,
        taking: Taking | None = None,
    ) -> None:
        """`tolerate` is as in `Completeness`. With `merge_linked`, Patients that are linked as one person are one patient. With `fingerprints`, patients have such;
        `taking` tells whether patients are known by them, given the state of the data."""
        paths = list(paths)
        self._fingerprints = fingerprints
        self._taking = taking
        self._told = told_by_manifests(paths)
        self.completeness = Completeness(tolerate, self._told.types)
        self._told.narrow(self.completeness)
        self.on_problem = reporting_to(self.completeness, on_problem)
        self._listing = list_data(paths, self.on_problem)
        self.files = self._listing.names
        self.model = load_model(plan.model)
        self.decoders = Decoders(plan, self.model)
        self._shelf = MemoryShelf()
        self._collector = Collector(self.decoders, self._shelf, validate=validate, decoded=True)
        self._collector.fingerprints = fingerprints
        self._merge = merge_linked

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
        records = self._placed()
        settled = self._settled(pieces, records)
        plan, marked = self.decoders.plan, read.noted.types()
        for problem in settled.problems:
            self.on_problem(problem)
        everyone = None
        if plan.follows:
            index = MemoryIndex(records, plan.together)
            everyone = Everyone(index, read.shared, settled.extra, settled.joined)
        grouping = Grouping(
            self.decoders,
            self.model,
            self.files,
            self.on_problem,
            read.shared,
            settled.deleted,
            marked,
            settled.digests,
            everyone,
            merge=self._merge,
        )
        grouping.fingerprints = self._fingerprints
        completeness = self.completeness
        completeness.count(read.found())
        completeness.bundles(read.of_one, read.of_several)
        lacking = [*self._told.lacking(take_files(completeness, read.by_file, self.files))]
        lacking += (*pages_lacking(read.pages), *self._listing.lacking(read.found()))
        for problem in (*lacking, *self._listing.changes()):
            self.on_problem(problem)
        known = known_patients(_of(read.kept, "Patient"))
        grouping.in_order = not read.named
        yield from with_gaps(self._by_patient(records, settled, grouping, known), completeness)

    def _by_patient(
        self,
        records: Sequence[Record],
        settled: Settled,
        grouping: Grouping,
        known: Callable[[set[str]], set[str]],
    ) -> Iterator[tuple[Position, Compartment]]:
        """Patients in the order of the data; all that is wrong with records of nobody is told before the first."""
        apart = [record for record in records if record.group not in settled.joined]
        together = [record for record in records if record.group in settled.joined] + settled.extra
        described = {record.group for record in apart if record.kind == "Patient"}
        first = list(grouping.patients(record for record in apart if record.group not in described))
        if together:
            first = list(heapq.merge(first, grouping.patients(together, settled.joined), key=_place))
        self.completeness.finish(known)
        self._begin_to_take(grouping, settled)
        rest = grouping.patients(record for record in apart if record.group in described)
        yield from heapq.merge(first, rest, key=_place)

    def _begin_to_take(self, grouping: Grouping, settled: Settled) -> None:
        """All is known that patients' answers depend on besides their records."""
        if self._fingerprints is not None and self._taking is not None:
            shared, gaps = self.collected.shared, self.completeness.everybodys()
            known = self._taking(state_of_nobodys(self._fingerprints, shared, settled.deleted, self.files), gaps)
            grouping.takeover = None if known is None else Takeover(known, self.completeness.lacks)

    def _placed(self) -> list[Record]:
        """All records kept, those with their patient that call the patient by a name that is not an id."""
        records, read = self._shelf.records, self.collected
        if not (read.named or read.persons):
            return records
        claims = list(claims_of(records, self.decoders))
        read.aliases.update(joined_by_names(claims))
        bearers = Bearers(claims, names_wanted(records))
        joined = Settled.of(read.aliases).finish().joined
        return [one for one in records if name_of_group(one.group) is None] + list(placed(records, bearers, joined))

    def _settled(self, pieces: Sequence[Piece], records: Sequence[Record]) -> Settled:
        found = self.collected
        kept, seen = found.kept, found.seen
        times = {
            kind: ids for kind in sorted(kept) if (ids := twice(partial(_of, kept, kind), partial(_of, seen, kind)))
        }
        doubles = doubles_of(times, records) if times else {}
        parts = not_whole(times, records) if times else NotWhole()
        return settle(
            found.aliases,
            doubles,
            missing(times, doubles),
            parts,
            FilesAgain(pieces, self.decoders),
            found.deleted,
        )


def read_export(
    paths: Iterable[str | Path], plan: ReadPlan, on_problem: OnProblem, *, tolerate: int = 0, merge_linked: bool = False
) -> Iterator[Compartment]:
    """The patients of an export, in one process and with what is kept held in memory."""
    reader = ExportReader(paths, plan, on_problem, tolerate=tolerate, merge_linked=merge_linked)
    for _, compartment in reader.patients():
        yield compartment


def by_patient(
    records: Iterable[Record], together: Iterable[Record], joined: Mapping[str, str], grouping: Grouping
) -> Iterator[tuple[Position, Compartment]]:
    """The patients of some records, and those of records that are to be looked at `together`, by `joined`, in the order of the data."""
    if not joined:
        yield from grouping.patients(chain(records, together))
        return
    apart = (record for record in records if record.group not in joined)
    yield from heapq.merge(grouping.patients(apart), grouping.patients(together, joined), key=_place)


def _place(found: tuple[Position, Compartment]) -> Position:
    return found[0]
