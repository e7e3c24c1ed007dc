"""An export, from files to patients: what is to be read in which pieces, each piece read into a shelf, and all of it by patient."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from msgspec import Struct

from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria.reading import ReadPlan
from fhir_eligibility.data.bulk.bundle_patients import BundlePatients
from fhir_eligibility.data.bulk.collected import Collected
from fhir_eligibility.data.bulk.collecting import Collector
from fhir_eligibility.data.bulk.decoding import Decoders
from fhir_eligibility.data.bulk.fingerprints import Fingerprints, Takeover, state_of_nobodys
from fhir_eligibility.data.bulk.following import Everyone
from fhir_eligibility.data.bulk.grouping import Grouping
from fhir_eligibility.data.bulk.name_index import MemoryIndex
from fhir_eligibility.data.bulk.pieces import Piece, pieces_of, read_piece
from fhir_eligibility.data.bulk.placing import Bearers, claims_of, joined_by_names, names_wanted, placed
from fhir_eligibility.data.bulk.records import MemoryShelf, Position, ReadRecord, name_of_group, number_of
from fhir_eligibility.data.bulk.resolving import NotWhole, Resolved, doubles_of, missing, not_whole, resolve, twice
from fhir_eligibility.data.files.json_text import BAD_JSON, whole
from fhir_eligibility.data.files.listing import list_data
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.patients.completeness import Completeness, reporting_to
from fhir_eligibility.data.patients.manifest_facts import manifest_facts
from fhir_eligibility.data.records.deletions import Candidate
from fhir_eligibility.data.records.gaps import Gaps
from fhir_eligibility.data.records.identity import with_text_as_id
from fhir_eligibility.data.records.pages import lacking as pages_lacking
from fhir_eligibility.data.records.record_versions import content_of

OnProblem = Callable[[Problem], None]
Taking = Callable[[bytes, Gaps], Callable[[bytes], bool] | None]
"""Given a digest of the records of no patient, and what may be missing of all: tells whether an earlier run knows a fingerprint; None where that does not help."""


def files_to_read(paths: Iterable[str | Path], on_problem: OnProblem) -> list[str]:
    """The data files, in order; their place in the list is their number."""
    return list_data(paths, on_problem).names


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
    ) -> Iterator[tuple[ReadRecord, bytes]]:
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
        odd: list[Problem] = []
        self._listing = list_data(paths, odd.append)
        self._manifests = manifest_facts(self._listing.manifests)
        self.completeness = Completeness(tolerate, self._manifests.types)
        self._manifests.narrow(self.completeness)
        self.on_problem = reporting_to(self.completeness, on_problem)
        for problem in odd:
            self.on_problem(problem)
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
        resolved = self._resolved(pieces, records)
        plan, marked = self.decoders.plan, read.noted.types()
        for problem in resolved.problems:
            self.on_problem(problem)
        everyone = None
        if plan.follows:
            index = MemoryIndex(records, plan.together)
            everyone = Everyone(index, read.shared, resolved.extra, resolved.joined)
        grouping = Grouping(
            self.decoders,
            self.model,
            self.files,
            self.on_problem,
            read.shared,
            resolved.deleted,
            marked,
            resolved.digests,
            everyone,
            merge=self._merge,
        )
        grouping.fingerprints = self._fingerprints
        completeness = self.completeness
        completeness.count(read.found())
        completeness.bundles(read.of_one, read.of_several)
        lacking = [*self._manifests.lacking(take_files(completeness, read.by_file, self.files))]
        lacking += (*pages_lacking(read.pages), *self._listing.lacking(read.found()))
        for problem in (*lacking, *self._listing.changes()):
            self.on_problem(problem)
        known = known_patients(_of(read.kept, "Patient"))
        grouping.in_order = not read.named
        yield from with_gaps(self._by_patient(records, resolved, grouping, known), completeness)

    def _by_patient(
        self,
        records: Sequence[ReadRecord],
        resolved: Resolved,
        grouping: Grouping,
        known: Callable[[set[str]], set[str]],
    ) -> Iterator[tuple[Position, Compartment]]:
        """Patients in the order of the data; all that is wrong with records of nobody is told before the first."""
        apart = [record for record in records if record.group not in resolved.joined]
        together = [record for record in records if record.group in resolved.joined] + resolved.extra
        described = {record.group for record in apart if record.kind == "Patient"}
        first = list(grouping.patients(record for record in apart if record.group not in described))
        if together:
            first = list(heapq.merge(first, grouping.patients(together, resolved.joined), key=_place))
        self.completeness.finish(known)
        self._begin_to_take(grouping, resolved)
        rest = grouping.patients(record for record in apart if record.group in described)
        yield from heapq.merge(first, rest, key=_place)

    def _begin_to_take(self, grouping: Grouping, resolved: Resolved) -> None:
        """All is known that patients' answers depend on besides their records."""
        if self._fingerprints is not None and self._taking is not None:
            shared, gaps = self.collected.shared, self.completeness.everybodys()
            known = self._taking(state_of_nobodys(self._fingerprints, shared, resolved.deleted, self.files), gaps)
            grouping.takeover = None if known is None else Takeover(known, self.completeness.lacks)

    def _placed(self) -> list[ReadRecord]:
        """All records kept, those with their patient that call the patient by a name that is not an id."""
        records, read = self._shelf.records, self.collected
        if not (read.named or read.persons):
            return records
        claims = list(claims_of(records, self.decoders))
        read.aliases.update(joined_by_names(claims))
        bearers = Bearers(claims, names_wanted(records))
        joined = Resolved.of(read.aliases).finish().joined
        return [one for one in records if name_of_group(one.group) is None] + list(placed(records, bearers, joined))

    def _resolved(self, pieces: Sequence[Piece], records: Sequence[ReadRecord]) -> Resolved:
        found = self.collected
        kept, seen = found.kept, found.seen
        times = {
            kind: ids for kind in sorted(kept) if (ids := twice(partial(_of, kept, kind), partial(_of, seen, kind)))
        }
        doubles = doubles_of(times, records) if times else {}
        parts = not_whole(times, records) if times else NotWhole()
        return resolve(
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
    records: Iterable[ReadRecord], together: Iterable[ReadRecord], joined: Mapping[str, str], grouping: Grouping
) -> Iterator[tuple[Position, Compartment]]:
    """The patients of some records, and those of records that are to be looked at `together`, by `joined`, in the order of the data."""
    if not joined:
        yield from grouping.patients(chain(records, together))
        return
    apart = (record for record in records if record.group not in joined)
    yield from heapq.merge(grouping.patients(apart), grouping.patients(together, joined), key=_place)


def _place(found: tuple[Position, Compartment]) -> Position:
    return found[0]
