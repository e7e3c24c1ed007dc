"""A large export screened: its pieces are read by all workers, then its buckets of patients judged, then everything put in the order of the data.

Each step is kept in the run's workspace, so that a run that was stopped at any moment goes on from there and ends with the same bytes.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.artifacts.models import load_model
from engine.compiler.reading import ReadPlan
from engine.compiler.rules import RuleSet
from engine.data.bulk.collecting import Collected, Collector
from engine.data.bulk.decoding import Decoders
from engine.data.bulk.grouping import Grouping
from engine.data.bulk.reading import Piece, pieces_of, read_again, read_piece
from engine.data.bulk.records import Record, Shelf
from engine.data.bulk.settling import settle
from engine.data.problems import Problem
from engine.evaluation.evaluator import Options
from engine.runners.judging import Judge, Judged
from engine.runners.workers import Workers
from engine.runners.workspace import Joint, State, Workspace

Progress = Callable[[str, int, int], None]
"""Told the step (`read` in bytes, `judge` and `write` in patients), how much is done, and of how much (0: not known)."""


@dataclass(frozen=True, slots=True)
class Job:
    """All that a worker needs to know."""

    workspace: Workspace
    plan: ReadPlan
    rule_sets: tuple[RuleSet, ...]
    options: Options
    files: tuple[str, ...]
    pieces: tuple[Piece, ...]
    buckets: int
    validate: bool


@dataclass(slots=True)
class Counts:
    """What became of the resources of an export: used, or passed over unparsed, by type; and the lines it had."""

    used: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    lines: int = 0
    blank: int = 0

    def add(self, collected: Collected) -> None:
        """Add what a piece came to."""
        self.used.update(collected.used)
        self.passed.update(collected.passed)
        self.lines += collected.lines
        self.blank += collected.blank


class _Worker:
    """Does the tasks of a job: `("read", piece)` and `("judge", bucket)`."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.model = load_model(job.plan.model)
        self.decoders = Decoders(job.plan, self.model)
        self.judge: Judge | None = None
        self.joint: Joint | None = None
        self._spans: list[list[tuple[int, int]]] = []

    def __call__(self, task: tuple[str, int]) -> int:
        kind, number = task
        return self.read(number) if kind == "read" else self.judged(number)

    def read(self, number: int) -> int:
        """Read a piece; gives its size in bytes."""
        shelf = Shelf(self.job.buckets)
        collector = Collector(self.decoders, shelf, validate=self.job.validate)
        piece = self.job.pieces[number]
        read_piece(piece, collector)
        self.job.workspace.put_piece(number, shelf, collector.collected)
        return piece.bytes

    def judged(self, number: int) -> int:
        """Judge a bucket; gives the number of its patients."""
        if self.judge is None:
            self.judge = Judge(self.job.rule_sets, self.job.options)
            self.joint = self.job.workspace.joint()
            self._spans = [self.job.workspace.piece(piece.number).spans for piece in self.job.pieces]
        joint, judge = self.joint, self.judge
        assert joint is not None
        problems: list[Problem] = []
        grouping = Grouping(
            self.decoders, self.model, list(self.job.files), problems.append, joint.shared, joint.deleted
        )
        together = number == self.job.buckets
        records = (
            joined(self.job, joint) if together else apart(self.job, joint, [spans[number] for spans in self._spans])
        )
        patients = grouping.patients(records, joint.joined if together else None)
        found = (judge(compartment, place) for place, compartment in patients)
        self.job.workspace.put_bucket(number, found, problems)
        return self.job.workspace.bucket(number).patients


def apart(job: Job, joint: Joint, spans: Sequence[tuple[int, int]]) -> Iterator[Record]:
    """The records of a bucket, whose section of each piece is given, without those of patients that are looked at together."""
    for piece, span in zip(job.pieces, spans, strict=True):
        for record in job.workspace.records(piece.number, span):
            if not joint.joined or record.group not in joint.joined:
                yield record


def joined(job: Job, joint: Joint) -> Iterator[Record]:
    """The records of patients that are looked at together, and those that only the whole export could place."""
    for record in every_record(job):
        if record.group in joint.joined:
            yield record
    yield from joint.extra


def every_record(job: Job) -> Iterator[Record]:
    """All records kept."""
    for piece in job.pieces:
        for span in job.workspace.piece(piece.number).spans:
            yield from job.workspace.records(piece.number, span)


def start_worker(job: Job) -> _Worker:
    """A worker of a job."""
    return _Worker(job)


class BulkRun:
    """One export on its way through; `jobs` processes."""

    def __init__(
        self,
        workspace: Workspace,
        state: State,
        plan: ReadPlan,
        rule_sets: Sequence[RuleSet],
        options: Options,
        *,
        jobs: int = 1,
        validate: bool = False,
        progress: Progress | None = None,
    ) -> None:
        pieces = tuple(pieces_of(state.files, state.piece))
        self.job = Job(workspace, plan, tuple(rule_sets), options, tuple(state.files), pieces, state.buckets, validate)
        self.jobs = jobs
        self.counts = Counts()
        self.problems: list[Problem] = []
        self._progress = progress or (lambda step, done, total: None)
        self._buckets: list[int] = []

    def prepare(self) -> None:
        """Read and judge everything that is not done yet. Raises OSError, WorkerLost."""
        workspace = self.job.workspace
        with Workers(self.jobs, start_worker, self.job) as workers:
            total = sum(piece.bytes for piece in self.job.pieces)
            left = [piece for piece in self.job.pieces if not workspace.has_piece(piece.number)]
            done = total - sum(piece.bytes for piece in left)
            self._progress("read", done, total)
            for _, size in workers.run([("read", piece.number) for piece in left]):
                done += size
                self._progress("read", done, total)
            self._settle()
            todo = [number for number in self._buckets if not workspace.has_bucket(number)]
            patients = sum(workspace.bucket(number).patients for number in self._buckets if number not in todo)
            for _, count in workers.run([("judge", number) for number in todo]):
                patients += count
                self._progress("judge", patients, 0)
        for number in self._buckets:
            self.problems.extend(Problem(**problem) for problem in workspace.bucket(number).problems)

    def _settle(self) -> None:
        job = self.job
        collected = [job.workspace.piece(piece.number).collected() for piece in job.pieces]
        for one in collected:
            self.counts.add(one)
            self.problems.extend(one.problems)
        if not job.workspace.has_joint():
            decoders = Decoders(job.plan, load_model(job.plan.model))
            settled = settle(
                collected,
                lambda: every_record(job),
                decoders,
                lambda wanted: read_again(job.pieces, decoders, wanted),
            )
            shared = {(record.full_url, record.raw): record for one in collected for record in reversed(one.shared)}
            deleted = sorted({name for one in collected for name in one.deleted})
            job.workspace.put_joint(Joint(settled.joined, settled.extra, list(shared.values()), deleted))
        joint = job.workspace.joint()
        more = [job.buckets] if joint.joined or joint.extra else []
        self._buckets = [*range(job.buckets), *more]

    def judged(self) -> Iterator[Judged]:
        """All patients, in the order of the data; `prepare` comes first."""
        streams = [self.job.workspace.judged(number, len(self._buckets)) for number in self._buckets]
        return heapq.merge(*streams, key=lambda one: one.place)


def in_place(problems: Iterable[Problem], files: Sequence[str]) -> list[Problem]:
    """Problems in the order of the data, each once."""
    order = {path: number for number, path in enumerate(files)}
    found: dict[Any, Problem] = {}
    for problem in problems:
        found.setdefault(
            (problem.file, problem.offset, problem.entry, problem.code, problem.resource, problem.message), problem
        )

    def place(problem: Problem) -> tuple[Any, ...]:
        entry = -1 if problem.entry is None else problem.entry
        return order.get(problem.file or "", -1), problem.offset or 0, entry, problem.code, problem.message

    return sorted(found.values(), key=place)
