"""What a worker process of a large run does: it reads pieces of the input, evaluates buckets of patients, and writes ranges of what came out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from engine.artifacts.models import load_model
from engine.compiler.reading import ReadPlan
from engine.data.bulk.collecting import Collector
from engine.data.bulk.decoding import Decoders
from engine.data.bulk.fingerprints import Fingerprints, Takeover
from engine.data.bulk.following import Everyone
from engine.data.bulk.grouping import Grouping
from engine.data.bulk.name_index import parts_of
from engine.data.bulk.reading import Piece, by_patient, read_piece, with_gaps
from engine.data.bulk.records import Record, turn_of
from engine.data.bulk.settling import Doubles, NotWhole, doubles_of, not_whole, twice
from engine.data.completeness import Completeness, reporting_to
from engine.data.problems import Problem
from engine.runners.judged_file import Entry, Range, RangeWriter, merge
from engine.runners.kept import Joint
from engine.runners.questions import Question
from engine.runners.shelves import TASKS, Shelves
from engine.runners.work import Asking, Evaluating, Work
from engine.runners.workspace import Workspace

MOST_WRITTEN = 4 << 20
"""Bytes of texts that are put in order at a time."""


@dataclass(frozen=True, slots=True)
class Job:
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


class Worker:
    """Does the tasks of a job, each a name and what it is about: `read` a piece, look for ids that occur `twice`, `sort` such by bucket, write down what is to be `asked` about a bucket, judge a bucket (`judged`), `write` a range of all patients."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.model = load_model(job.plan.model)
        self.decoders = Decoders(job.plan, self.model)
        self.evaluating: Evaluating | None = None
        self.joint: Joint | None = None
        numbers = [piece.number for piece in job.pieces]
        self.shelves = Shelves(job.workspace, self.decoders, numbers, job.buckets, job.plan)
        self._grouping: Grouping | None = None
        self._of_shared: list[Problem] = []
        self.completeness: Completeness | None = None
        self._times: tuple[tuple[tuple[str, str], ...], dict[str, dict[int, tuple[int, int]]]] = ((), {})
        self._writer: RangeWriter | None = None

    def __call__(self, task: tuple[str, Any]) -> Any:
        kind, about = task
        return getattr(self.shelves if kind in TASKS else self, kind)(about)

    def read(self, number: int) -> int:
        """Read a piece; gives its size in bytes."""
        job = self.job
        shelf = self.shelves.new()
        collector = Collector(self.decoders, shelf, validate=job.validate)
        problems = job.workspace.shelf_of_problems(f"piece-{number}", job.files)
        collector.collected.problems = problems
        collector.fingerprints = job.fingerprints
        piece = job.pieces[number]
        read_piece(piece, collector)
        job.workspace.put_piece(number, shelf, collector.collected, problems)
        return piece.bytes

    def twice(self, about: tuple[str, str, int, int]) -> int:
        """Look for ids of a type that occur several times, in one of so many turns; gives how many were kept under the name."""
        name, kind, turn, turns = about
        workspace, pieces = self.job.workspace, len(self.job.pieces)
        found = twice(
            lambda: workspace.ids(pieces, kind, kept=True),
            lambda: workspace.ids(pieces, kind, kept=False),
            turn,
            turns,
        )
        if found:
            workspace.put_twice(name, found)
        return len(found)

    def sort(self, about: tuple[int, tuple[tuple[str, str], ...]]) -> tuple[Doubles, NotWhole]:
        """Resources of a bucket that occur several times and are not settled by themselves, by ids kept under (type, name); and those that have to be read again."""
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
            for apart, together in self._in_turns(number, joint):
                yield from evaluating.questions(by_patient(apart, together, joint.joined, grouping))

        self.job.workspace.put_questions(number, questions())
        return 0

    def ready(self) -> tuple[Evaluating, Joint]:
        """The work, and what only the whole export could tell."""
        if self.evaluating is None or self.joint is None:
            self.evaluating = self.job.work.start()
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
        grouping.in_order = not joint.placed
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

        def entries(apart: Iterable[Record], together: Iterable[Record]) -> Iterator[Entry]:
            for place, compartment in with_gaps(by_patient(apart, together, joint.joined, grouping), completeness):
                yield evaluating.entry(place, compartment, outcome)

        def put(entries: Iterable[Entry]) -> int:
            return workspace.put_bucket(number, entries, texts, problems, lambda: evaluating.encoded(outcome))

        turns = self._in_turns(number, joint)
        if len(turns) == 1:
            return put(entries(*turns[0]))
        written = [workspace.put_turn(number, turn, entries(*some), texts) for turn, some in enumerate(turns)]
        count = put(merge(written, min(job.memory // 4, MOST_WRITTEN)))
        for one in written:
            one.path.unlink(missing_ok=True)
        return count

    def _in_turns(self, number: int, joint: Joint) -> list[tuple[Iterable[Record], Iterable[Record]]]:
        """The records of a bucket in as many parts as the memory asks for, each to be taken before the next: those of patients who are looked at by themselves,
        and those of patients who are looked at together."""
        turns, buckets = self.shelves.turns(number, self.job.memory), self.job.buckets

        def of_turn(records: Iterable[Record], turn: int) -> Iterator[Record]:
            for one in records:
                if turns == 1 or turn_of(joint.joined.get(one.group, one.group), buckets, turns) == turn:
                    yield one

        return [
            (of_turn(self.shelves.records(number), turn), of_turn(self.shelves.together(number, joint), turn))
            for turn in range(turns)
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
            self._writer = RangeWriter([self.job.workspace.judged(number) for number in buckets])
        self._writer.write(found, outputs)
        return found.patients


def _ignore(problem: object) -> None:
    return None


def start_worker(job: Job) -> Worker:
    """A worker of a job."""
    return Worker(job)
