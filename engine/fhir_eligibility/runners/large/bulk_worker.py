"""What a worker process of a large run does: it reads pieces of the input, evaluates buckets of patients, and writes ranges of what came out."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

from msgspec import Struct

from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria.reading import ReadPlan
from fhir_eligibility.data.bulk.block_digests import PLAIN
from fhir_eligibility.data.bulk.blocks import EarlierBlocks
from fhir_eligibility.data.bulk.collected import Collected
from fhir_eligibility.data.bulk.collecting import Collector
from fhir_eligibility.data.bulk.decoding import Decoders
from fhir_eligibility.data.bulk.fingerprints import Fingerprints, Takeover
from fhir_eligibility.data.bulk.following import Everyone
from fhir_eligibility.data.bulk.grouping import Grouping
from fhir_eligibility.data.bulk.name_index import parts_of
from fhir_eligibility.data.bulk.pieces import Piece, is_plain_lines, read_piece, reread
from fhir_eligibility.data.bulk.reading import by_patient, with_gaps
from fhir_eligibility.data.bulk.records import MemoryShelf, Position, ReadRecord, batch_of
from fhir_eligibility.data.bulk.resolving import Doubles, NotWhole, doubles_of, not_whole, twice
from fhir_eligibility.data.bulk.sifting import (
    AsidePatients,
    AsideShelf,
    Sifter,
    TouchedShelf,
    UntouchedGroups,
    Unusual,
    decode_aside,
)
from fhir_eligibility.data.bulk.tracing import BlockTrace, NotingShelf
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.compartment import Compartment, Unchanged
from fhir_eligibility.data.patients.completeness import Completeness, reporting_to
from fhir_eligibility.runners.large import kept_of_earlier
from fhir_eligibility.runners.large.earlier import EarlierPatients
from fhir_eligibility.runners.large.judged_file import Entry, Range, RangeWriter, merge
from fhir_eligibility.runners.large.kept import Joint, Shelved, TakenDone
from fhir_eligibility.runners.large.questions import Question
from fhir_eligibility.runners.large.shelves import TASKS, Shelves
from fhir_eligibility.runners.large.taken_file import known_packing
from fhir_eligibility.runners.large.untouched import Again
from fhir_eligibility.runners.large.work import Asking, Evaluating, TakesOver, Work
from fhir_eligibility.runners.large.workspace import ASIDE, SIFTED, Workspace

MOST_WRITTEN = 4 << 20
"""Bytes of texts that are put in order at a time."""


class Job(Struct, frozen=True):
    """All that a worker needs to know. `memory` are bytes that one worker may take."""

    workspace: Workspace
    plan: ReadPlan
    work: Work
    files: tuple[str, ...]
    pieces: tuple[Piece, ...]
    buckets: int
    validate: bool
    memory: int
    tolerate: int = 0
    merge_linked: bool = False
    fingerprints: Fingerprints | None = None
    sifts: bool = False
    """Whether lines are set aside whose patients may be taken over from an earlier run."""
    blocks: EarlierBlocks | None = None
    """The blocks of the earlier run's data, where they help."""
    earlier: EarlierPatients | None = None
    """The patients of the earlier run, where its blocks help."""
    salt: bytes = PLAIN
    """The secret for the digests of blocks."""


class Worker:
    """Does the tasks of a job, each a name and what it is about: `read` a piece, look for ids that occur `twice`, `sort` such by bucket, write down what is to be `asked` about a bucket, judge a bucket (`judged`), `write` a range of all patients."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.model = load_model(job.plan.model)
        self.decoders = Decoders(job.plan, self.model)
        self.evaluating: Evaluating | None = None
        self.joint: Joint | None = None
        numbers = [piece.number for piece in job.pieces]
        self.shelves = Shelves(job.workspace, self.decoders, numbers, job.buckets, job.plan, job.sifts)
        self._untouched: UntouchedGroups | None = None
        self._grouping: Grouping | None = None
        self._of_shared: list[Problem] = []
        self.completeness: Completeness | None = None
        self._times: tuple[tuple[tuple[str, str], ...], dict[str, dict[int, tuple[int, int]]]] = ((), {})
        self._writer: RangeWriter | None = None

    def __call__(self, task: tuple[str, Any]) -> Any:
        kind, about = task
        return getattr(self.shelves if kind in TASKS else self, kind)(about)

    def skim(self, number: int) -> tuple[int, Shelved]:
        """Read a piece, and set lines aside whose patients may be taken over; gives its size in bytes, and where the lines are."""
        job = self.job
        assert job.fingerprints is not None
        aside = AsideShelf(job.buckets)
        stretches = job.pieces[number].stretches
        files = frozenset(one.file for one in stretches if one.end is not None or is_plain_lines(one.path))
        size = self.read(number, Sifter(job.fingerprints, aside, files))
        return size, job.workspace.shelves.put(ASIDE, number, aside)

    def sift(self, about: tuple[int, Sequence[Shelved]]) -> tuple[Shelved, bool] | None:
        """Tell whom of a bucket is taken over, and decode the lines of the others; gives where their records are, and whether there were any lines. None where
        some are unusual."""
        number, shelves = about
        job, workspace = self.job, self.job.workspace
        assert job.fingerprints is not None
        if self.evaluating is None:
            self.evaluating = job.work.start()
        lines = (line for data in workspace.shelves.sections(ASIDE, shelves, number) for line in decode_aside(data))
        untouched = self.untouched()
        near = frozenset(record.group for record in self.shelves.as_read(number))
        collector = Collector(self.decoders, MemoryShelf())
        collector.fingerprints = job.fingerprints
        sifted = AsidePatients(lines, job.files, job.fingerprints, near, untouched)
        try:
            known, records = sifted.run(self.evaluating.knows, collector)
        except Unusual:
            return None
        shelf = self.shelves.new()
        for record in records:
            shelf.add(record)
        kept_of_earlier.put_known(workspace, number, known)
        return workspace.shelves.put(SIFTED, number, shelf), bool(known or records)

    def read(self, number: int, sifter: Sifter | None = None) -> int:
        """Read a piece; gives its size in bytes."""
        job = self.job
        shelf = self.shelves.new()
        trace = None if job.fingerprints is None else BlockTrace(job.fingerprints, job.salt, job.blocks)
        taking = shelf if trace is None else NotingShelf(shelf, trace)
        collector = Collector(self.decoders, taking, validate=job.validate)
        collector.trace = trace
        problems = job.workspace.shelf_of_problems(f"piece-{number}", job.files)
        collector.collected.problems = problems
        collector.fingerprints, collector.sifter = job.fingerprints, sifter
        piece = job.pieces[number]
        read_piece(piece, collector)
        traced = None if trace is None else trace.encoded()
        job.workspace.put_piece(number, shelf, collector.collected, problems, traced)
        return piece.bytes

    def untouched(self) -> UntouchedGroups:
        """Those of whom no block of the data tells anything new."""
        if self._untouched is None:
            assert self.job.fingerprints is not None
            self._untouched = UntouchedGroups(kept_of_earlier.untouched(self.job.workspace)[0], self.job.fingerprints)
        return self._untouched

    def again(self, about: tuple[int, Sequence[Again]]) -> Shelved | None:
        """Read blocks again that are as in the earlier run, for those of whom something is new; gives where their lines are. None where a block was changed meanwhile."""
        number, blocks = about
        job, untouched = self.job, self.untouched()
        assert job.fingerprints is not None
        number += len(job.pieces)
        aside, shelf = AsideShelf(job.buckets), self.shelves.new()
        collector = Collector(self.decoders, TouchedShelf(shelf, untouched))
        collector.fingerprints = job.fingerprints
        lines = frozenset(file for file, _, _, document in blocks if not document)
        collector.sifter = Sifter(job.fingerprints, aside, lines, untouched)
        if not all(reread(collector, *block, job.files[block[0]]) for block in blocks):
            return None
        problems = job.workspace.shelf_of_problems(f"piece-{number}", job.files)
        job.workspace.put_piece(number, shelf, Collected(), problems)
        return job.workspace.shelves.put(ASIDE, number, aside)

    def twice(self, about: tuple[str, str, int, int]) -> int:
        """Look for ids of a type that occur several times, in one of so many batches; gives how many were kept under the name."""
        name, kind, batch, batches = about
        workspace, pieces = self.job.workspace, len(self.job.pieces)
        found = twice(
            lambda: workspace.ids(pieces, kind, kept=True),
            lambda: workspace.ids(pieces, kind, kept=False),
            batch,
            batches,
        )
        if found:
            workspace.put_twice(name, found)
        return len(found)

    def sort(self, about: tuple[int, tuple[tuple[str, str], ...]]) -> tuple[Doubles, NotWhole]:
        """Resources of a bucket that occur several times and are not resolved by themselves, by ids kept under (type, name); and those that have to be read again."""
        number, names = about
        if self._times[0] != names:
            times: dict[str, dict[int, tuple[int, int]]] = {}
            for kind, name in names:
                times.setdefault(kind, {}).update(self.job.workspace.twice(name))
            self._times = names, times
        records = self.shelves.records
        return doubles_of(self._times[1], records(number)), not_whole(self._times[1], records(number))

    def asked(self, number: int) -> int:
        """Write down what is to be asked about a bucket; gives nothing of interest."""
        found, joint = self.ready()
        evaluating = cast(Asking, found)
        grouping = self.grouping(joint)
        grouping.in_order = not joint.placed
        grouping.on_problem = _ignore  # they are told where the bucket is judged

        def questions() -> Iterator[Question]:
            for apart, together in self._in_batches(number, joint):
                yield from evaluating.questions(by_patient(apart, together, joint.joined, grouping))

        self.job.workspace.questions.put(number, questions())
        return 0

    def ready(self) -> tuple[Evaluating, Joint]:
        """The work, and what only the whole export could tell."""
        if self.evaluating is None or self.joint is None:
            self.evaluating = self.evaluating or self.job.work.start()
            self.joint = self.job.workspace.joint()
            self._times = ((), {})
        return self.evaluating, self.joint

    def judged(self, number: int) -> int:
        """Judge a bucket; gives the number of its patients."""
        job = self.job
        evaluating, joint = self.ready()
        workspace, texts = job.workspace, job.work.texts
        problems = workspace.shelf_of_problems(f"bucket-{number}", job.files)
        grouping = self.grouping(joint)
        grouping.in_order = not joint.placed and not job.sifts
        for problem in self._of_shared:
            problems.append(problem)
        completeness = self.completeness
        if completeness is None:
            kept = workspace.gaps()
            completeness = self.completeness = Completeness.restored(kept, job.tolerate)
            if kept.get("taking"):
                grouping.takeover = Takeover(evaluating.knows, completeness.lacks)
        grouping.on_problem = reporting_to(completeness, problems.append)
        outcome = evaluating.begin(number)

        def entries(
            apart: Iterable[ReadRecord],
            together: Iterable[ReadRecord],
            known: Sequence[tuple[Position, Compartment]] = (),
        ) -> Iterator[Entry]:
            patients = with_gaps(by_patient(apart, together, joint.joined, grouping), completeness)
            some = heapq.merge(patients, known, key=itemgetter(0)) if known else patients
            for place, one in some:
                yield evaluating.entry(place, one, outcome)

        def put(entries: Iterable[Entry]) -> int:
            return workspace.buckets.put(number, entries, texts, problems, lambda: evaluating.encoded(outcome), taken)

        taken = self._taken(number, completeness, outcome)
        known = self._known(number, completeness)
        batches = self._in_batches(number, joint)
        if len(batches) == 1:
            return put(entries(*batches[0], known))
        written = [
            workspace.buckets.put_batch(number, batch, entries(*some, () if batch else known), texts)
            for batch, some in enumerate(batches)
        ]
        count = put(merge(written, min(job.memory // 4, MOST_WRITTEN)))
        for one in written:
            one.path.unlink(missing_ok=True)
        return count

    def _known(self, number: int, completeness: Completeness) -> list[tuple[Position, Compartment]]:
        """The patients of a bucket who are taken over by the fingerprint of lines that were set aside."""
        found: list[tuple[Position, Compartment]] = []
        for place, identifier, fingerprint in (
            kept_of_earlier.known(self.job.workspace, number) if self.job.sifts else ()
        ):
            reference = f"Patient/{identifier}"
            if completeness.lacks(reference, identifier):
                raise RuntimeError(f"{reference} lacks records, and was to be taken over; run again without --since")
            found.append((place, Unchanged(None, reference, taken=fingerprint, group=identifier)))
        return found

    def _taken(self, number: int, completeness: Completeness, outcome: Any) -> TakenDone | None:
        """Keep the patients of a bucket who are taken over without a look at their records; what they come to is added to the outcome."""
        earlier, workspace = self.job.earlier, self.job.workspace
        packed = kept_of_earlier.untouched_of(workspace, number) if self.job.sifts else b""
        if not packed or earlier is None:
            return None
        if completeness.some_lack:
            raise RuntimeError(
                "records are missing of single patients, and some were taken over; run again without --since"
            )
        known = [*known_packing(earlier.codes).iter_unpack(packed)]
        members = cast(TakesOver, self.evaluating).taken(known, outcome)
        return workspace.buckets.put_taken(number, known, packed, members, earlier.row_size)

    def _in_batches(self, number: int, joint: Joint) -> list[tuple[Iterable[ReadRecord], Iterable[ReadRecord]]]:
        """The records of a bucket in as many parts as the memory asks for, each to be taken before the next: those of patients who are looked at by themselves,
        and those of patients who are looked at together."""
        batches, buckets = self.shelves.batches(number, self.job.memory), self.job.buckets

        def of_batch(records: Iterable[ReadRecord], batch: int) -> Iterator[ReadRecord]:
            for one in records:
                if batches == 1 or batch_of(joint.joined.get(one.group, one.group), buckets, batches) == batch:
                    yield one

        return [
            (of_batch(self.shelves.records(number), batch), of_batch(self.shelves.together(number, joint), batch))
            for batch in range(batches)
        ]

    def grouping(self, joint: Joint) -> Grouping:
        """What puts patients together; problems with what is about no patient are kept aside."""
        if self._grouping is None:
            job, everyone = self.job, None
            if job.plan.follows:
                names = job.workspace.names(parts_of(job.buckets), len(job.pieces))
                everyone = Everyone(names, joint.shared, joint.extra, joint.joined)
            self._grouping = Grouping(
                self.decoders,
                self.model,
                list(job.files),
                self._of_shared.append,
                joint.shared,
                joint.deleted,
                joint.marked,
                dict(joint.digests),
                everyone,
                merge=job.merge_linked,
            )
            self._grouping.fingerprints = job.fingerprints
        return self._grouping

    def lost(self, about: tuple[int, None]) -> int:
        """Find out what is wrong with the records of a bucket that may be nobody's; gives how many files of problems that made."""
        number, _ = about
        job, joint = self.job, self.job.workspace.joint()
        problems = job.workspace.shelf_of_problems(f"lost-{number}", job.files)
        grouping = self.grouping(joint)
        grouping.on_problem = problems.append
        for _ in by_patient(
            self.shelves.undescribed(number), self.shelves.together(number, joint), joint.joined, grouping
        ):
            pass
        problems.spill()
        return len(problems.runs)

    def write(self, about: tuple[Range, Sequence[tuple[Path, int]], Sequence[int]]) -> int:
        """Write the texts of a range into the outputs, each a path and where in it the texts begin; gives the number of patients.

        The last item are the buckets that patients are in.
        """
        found, outputs, buckets = about
        if self._writer is None:
            self._writer = RangeWriter(self.job.workspace.buckets.all_of(buckets, self.job.earlier))
        self._writer.write(found, outputs)
        return found.patients


def _ignore(problem: object) -> None:
    return None


def start_worker(job: Job) -> Worker:
    """A worker of a job."""
    return Worker(job)
