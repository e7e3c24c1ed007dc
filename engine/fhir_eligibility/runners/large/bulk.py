"""A large export: its pieces are read by all workers, then its buckets of patients judged, then everything put in the order of the data.

Each step is kept in the run's workspace, so that a run that was stopped at any moment goes on from there and ends with the same bytes. What grows with the
number of patients, resources or problems is in files; how much of it is held at a time goes by the memory that the run may use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria.reading import ReadPlan
from fhir_eligibility.data.bulk.blocks import BlockWriter
from fhir_eligibility.data.bulk.collected import Collected
from fhir_eligibility.data.bulk.decoding import Decoders
from fhir_eligibility.data.bulk.fingerprints import Fingerprints, state_of_nobodys
from fhir_eligibility.data.bulk.name_index import parts_of
from fhir_eligibility.data.bulk.pieces import Piece
from fhir_eligibility.data.bulk.reading import FilesAgain, known_patients, take_files
from fhir_eligibility.data.bulk.records import ReadRecord
from fhir_eligibility.data.bulk.resolving import Doubles, NotWhole, Resolved, add_doubles, missing, resolve
from fhir_eligibility.data.bulk.sifting import Unusual
from fhir_eligibility.data.files.listing import Listing
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.completeness import Completeness
from fhir_eligibility.data.patients.manifest_facts import ManifestFacts
from fhir_eligibility.data.records.deletions import Deletion
from fhir_eligibility.data.records.gaps import Gaps
from fhir_eligibility.data.records.marks import Noted
from fhir_eligibility.data.records.oddities import Oddities
from fhir_eligibility.data.records.pages import lacking as pages_lacking
from fhir_eligibility.runners.large.bulk_worker import MOST_WRITTEN, Job, start_worker
from fhir_eligibility.runners.large.judged_file import ranges_of
from fhir_eligibility.runners.large.kept import Joint, PieceDone, Shelved
from fhir_eligibility.runners.large.kept_of_earlier import put_sifted, put_untouched
from fhir_eligibility.runners.large.problem_runs import ProblemShelf
from fhir_eligibility.runners.large.problem_runs import place_of as place_of_problem
from fhir_eligibility.runners.large.untouched import EarlierData, untouched_of, write_blocks
from fhir_eligibility.runners.large.work import Work
from fhir_eligibility.runners.large.workers import Workers
from fhir_eligibility.runners.large.workspace import CLAIMS, RunState, Workspace

Taking = Callable[[bytes, Gaps], bool]
Progress = Callable[[str, int, int], None]
"""Told the step (`read` in bytes, `ask`, `judge` and `write` in patients), how much is done, and of how much (0: not known)."""
Answering = Callable[[Sequence[int], Callable[[int], None]], None]
"""Has the questions of buckets answered; tells now and then of how many patients they are."""
ID_BYTES = 256
"""Memory for an id while ids that occur several times are looked for."""
LEAST_IDS, MOST_IDS = 10_000, 1_000_000


class Counts(Struct):
    """What became of the resources of an export: used, or passed over unparsed, by type; the lines it had, its deletions, and entries without a resource."""

    used: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    lines: int = 0
    blank: int = 0
    deletions: int = 0
    empty: int = 0

    def add(self, collected: Collected | PieceDone) -> None:
        """Add what a piece came to."""
        self.used.update(collected.used)
        self.passed.update(collected.passed)
        self.lines += collected.lines
        self.blank += collected.blank
        self.deletions += len(collected.deleted)
        self.empty += collected.empty


class BulkRun:
    """One export on its way through; `jobs` processes, that may use `memory` bytes together. To be used in a `with`."""

    def __init__(
        self,
        workspace: Workspace,
        state: RunState,
        plan: ReadPlan,
        work: Work,
        pieces: Sequence[Piece],
        *,
        memory: int,
        jobs: int = 1,
        validate: bool = False,
        progress: Progress | None = None,
        answer: Answering | None = None,
        completeness: Completeness | None = None,
        manifests: ManifestFacts | None = None,
        listing: Listing | None = None,
        merge_linked: bool = False,
        fingerprints: Fingerprints | None = None,
        taking: Taking | None = None,
        earlier: EarlierData | None = None,
    ) -> None:
        """`answer` has the questions of buckets answered, where the work asks. `completeness` has taken in the problems of the list of files, `told` is what
        manifests tell, `listing` what was told of the files. With `merge_linked`, Patients that are linked as one person are one patient. With
        `fingerprints`, patients have such; `taking` tells whether some may be taken over, given the state of the data (see `ExportReader`), and `earlier` is the data of that run, where it helps.
        """
        self._taking = taking
        self._listing = listing if listing is not None else Listing((), ())
        self.completeness = completeness if completeness is not None else Completeness()
        self._manifests = manifests if manifests is not None else ManifestFacts()
        self._noted: list[Problem] = []
        self._lost: list[int] = []
        self.job = Job(
            workspace,
            plan,
            work,
            tuple(state.files),
            tuple(pieces),
            state.buckets,
            validate,
            memory // jobs,
            self.completeness.tolerate,
            merge_linked,
            fingerprints,
            state.sifts,
            None if earlier is None else earlier.blocks,
            None if earlier is None else earlier.patients,
            state.salt if earlier is None else earlier.blocks.salt,
        )
        self._earlier = earlier
        self.counts = Counts()
        self.outcomes: list[Any] = []
        """What patients come to, bucket by bucket."""
        self.odd = Oddities()
        """What is spelled otherwise than FHIR has it."""
        self.reported_once: list[Problem] = []
        """What is told once of all of the data: of resources that are marked as a whole, of deletions."""
        self.lengths: list[int] = []
        """How long the texts of all patients are, by output."""
        self._progress = progress or (lambda step, done, total: None)
        self._answer = answer
        self._buckets: list[int] = []
        self._sifted = False
        """Whether lines were set aside."""
        self._special = False
        """Whether only all of the data tells whose some records are, or which of them count."""
        self._workers = Workers(jobs, start_worker, self.job)

    def __enter__(self) -> BulkRun:
        self._workers.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._workers.__exit__(*error)

    def prepare(self) -> None:
        """Read and judge everything that is not done yet. Raises OSError, WorkerLost."""
        workspace = self.job.workspace
        total = sum(piece.bytes for piece in self.job.pieces)
        left = [piece for piece in self.job.pieces if not workspace.has_piece(piece.number)]
        done = total - sum(piece.bytes for piece in left)
        self._progress("read", done, total)
        if self.job.sifts:
            self._sift(total)
            left = []
        for _, size in self._workers.run([("read", piece.number) for piece in left]):
            done += size
            self._progress("read", done, total)
        self._resolve()
        if self.job.plan.follows:
            parts = [part for part in range(parts_of(self.job.buckets)) if not workspace.has_names(part)]
            for _ in self._workers.run(("names", part) for part in parts):
                pass
        todo = [number for number in self._buckets if not workspace.buckets.has(number)]
        if self.job.work.asks:
            unasked = [number for number in todo if not workspace.questions.has(number)]
            for _ in self._workers.run([("asked", number) for number in unasked]):
                pass
            assert self._answer is not None
            self._answer(todo, lambda count: self._progress("ask", count, 0))
        patients = sum(workspace.buckets.done(number).total for number in self._buckets if number not in todo)
        for _, count in self._workers.run([("judged", number) for number in todo]):
            patients += count
            self._progress("judge", patients, 0)
        self.lengths = [0] * self.job.work.texts
        for number in self._buckets:
            bucket = workspace.buckets.done(number)
            self.outcomes.append(self.job.work.decoded(bucket.outcome))
            for lengths in (bucket.lengths, *(() if bucket.taken is None else (bucket.taken.lengths,))):
                self.lengths = [held + more for held, more in zip(self.lengths, lengths, strict=True)]

    def write(self, outputs: Sequence[tuple[Path, int]]) -> None:
        """Write the texts of all patients in the order of the data, each output a path and where in it they begin; `prepare` comes first.

        Raises OSError, WorkerLost.
        """
        size = max(min(self.job.memory // 16, MOST_WRITTEN), 1 << 16)
        found = ranges_of(self.job.workspace.buckets.all_of(self._buckets, self.job.earlier), size)
        patients = 0
        for _, count in self._workers.run(("write", (one, outputs, self._buckets)) for one in found):
            patients += count
            self._progress("write", patients, 0)

    def problems(self, listed: ProblemShelf) -> Iterator[Problem]:
        """All problems in the order of the data, each once; `listed` are those of the list of files."""
        listed.extend(self.odd.problems(self.job.files))
        listed.extend(self._noted)
        return self.job.workspace.problems(listed, len(self.job.pieces), self._buckets, self._lost)

    def _sift(self, total: int) -> None:
        """Read everything but the lines of patients who are taken over. Raises Unusual where not all of the data is plain enough for that."""
        done, aside = 0, {}
        tasks = [("skim", piece.number) for piece in self.job.pieces]
        for (_, number), (size, shelved) in self._workers.run(tasks):
            aside[number] = shelved
            done += size
            self._progress("read", done, total)
        shelves = [aside[number] for number in sorted(aside)]
        again = self._untouched()
        sifted = self._every("sift", [*shelves, *again])
        if None in sifted:
            raise Unusual
        put_sifted(self.job.workspace, [shelved for shelved, _ in sifted])
        self._sifted = self._sifted or any(some for _, some in sifted)

    def _untouched(self) -> list[Shelved]:
        """Find out whom no block of the data tells anything new of, and read again what others have in blocks that are the same; gives where lines were set aside."""
        job, earlier = self.job, self._earlier
        workspace, buckets = job.workspace, job.buckets
        if earlier is None:
            put_untouched(workspace, b"", [b""] * buckets, 0)
            return []
        found = untouched_of(earlier, job.files, workspace.traced(len(job.pieces)))
        self._sifted = bool(found.known)
        each = -(-len(found.known) // buckets) or 1
        known = [b"".join(found.known[number * each : number * each + each]) for number in range(buckets)]
        again = [blocks for blocks in found.again if blocks]
        put_untouched(workspace, b"".join(sorted(found.groups)), known, len(again))
        done = {
            number: shelved
            for (_, (number, _)), shelved in self._workers.run(("again", one) for one in enumerate(again))
        }
        if None in done.values():
            raise Unusual
        return [done[number] for number in sorted(done)]

    def write_blocks(self, writer: BlockWriter) -> None:
        """Write what tells a later run which blocks of the data are the same: nothing where only all of the data tells whose some records are. Raises OSError."""
        job = self.job
        if job.fingerprints is not None and not self._special:
            traced = job.workspace.traced(len(job.pieces))
            writer.salt = job.salt
            write_blocks(writer, job.fingerprints, job.blocks, job.files, traced)

    def _resolve(self) -> None:
        job = self.job
        workspace = job.workspace
        resolved = workspace.has_joint()
        aliases: list[tuple[str, str]] = []
        named, unsure, persons, noted = 0, 0, 0, Noted()
        shared: dict[tuple[str | None, bytes], ReadRecord] = {}
        deleted: list[Deletion] = []
        kept: Counter[str] = Counter()
        for piece in job.pieces:
            one = workspace.piece(piece.number)
            self.counts.add(one)
            self.odd.extend(one.odd)
            noted.update(one.noted)
            self._special = self._special or _is_special(one)
            named, unsure, persons = named + one.named, unsure + one.unsure, persons + one.persons
            if resolved:
                continue
            aliases += one.aliases
            for record in one.shared:
                shared.setdefault((record.full_url, record.raw), record)
            deleted.extend(one.deleted)
            kept.update({kind: length // 8 for kind, (_, length) in one.kept.items()})
            if self._sifted and (one.problems or _is_special(one)):
                raise Unusual
        if not resolved:
            placed = self._place(named, persons, aliases)
            doubles, more, parts = self._doubles(kept)
            decoders = Decoders(job.plan, load_model(job.plan.model))
            found = resolve(aliases, doubles, more, parts, FilesAgain(job.pieces, decoders), deleted)
            moved = self._with_joined(found.joined, "move") if found.joined else []
            workspace.put_joint(
                Joint(
                    found.joined,
                    found.extra,
                    list(shared.values()),
                    found.deleted,
                    sorted(noted.types()),
                    sorted(found.digests.items()),
                    [problem.model_dump() for problem in found.problems],
                    placed,
                    moved,
                )
            )
        joint = workspace.joint()
        self.reported_once = [*noted.problems(), *(Problem.model_validate(one) for one in joint.problems)]
        self._buckets = list(range(job.buckets))
        if named or unsure or joint.joined:
            self._lost = self._every("lost")
        self._complete()

    def _complete(self) -> None:
        """Find out what may be missing, from all that was found while reading."""
        workspace, pieces, completeness = self.job.workspace, len(self.job.pieces), self.completeness
        by_file: dict[int, dict[str, int]] = {}
        for number in range(pieces):
            for file, types in workspace.piece(number).by_file.items():
                known = by_file.setdefault(file, {})
                for kind, count in types.items():
                    known[kind] = known.get(kind, 0) + count
        types = self.counts.used + self.counts.passed
        completeness.count(types)
        found = take_files(completeness, by_file, self.job.files)
        for problem in workspace.problems_of_reading(pieces, self._lost):
            completeness.problem(problem)
        for problem in self.reported_once:
            completeness.problem(problem)
        for number in range(pieces):
            completeness.bundles(workspace.piece(number).of_one, workspace.piece(number).of_several)
        pages = [page for number in range(pieces) for page in workspace.piece(number).pages]
        self._noted = [*self._manifests.lacking(found), *pages_lacking(pages), *self._listing.lacking(types)]
        self._noted += self._listing.changes()
        for problem in self._noted:
            completeness.problem(problem)
        completeness.finish(known_patients(workspace.ids(pieces, "Patient", kept=True)))
        takes = self._takes()
        if self._sifted and not takes:
            raise Unusual
        workspace.put_gaps({**completeness.kept(), "taking": takes})

    def _takes(self) -> bool:
        """Whether patients are taken over from an earlier run, now that all is known that their answers depend on besides their records."""
        job = self.job
        if job.fingerprints is None or self._taking is None:
            return False
        joint = job.workspace.joint()
        nobodys = state_of_nobodys(job.fingerprints, joint.shared, joint.deleted, job.files)
        return self._taking(nobodys, self.completeness.everybodys())

    def _place(self, named: int, persons: int, aliases: list[tuple[str, str]]) -> list[Shelved]:
        """Place the records, `named` in number, that call their patient by a name that is not an id. Of Patients who may be one person with others, so many, the
        groups that are looked at together are added to `aliases`."""
        workspace = self.job.workspace
        placed: list[Shelved] = []
        if named or persons:
            claims = self._every("claim")
            if persons:
                aliases += [pair for pairs in self._every("join", claims) for pair in pairs]
            if named:
                placed = self._with_joined(Resolved.of(aliases).finish().joined, "place", claims)
            workspace.shelves.drop(CLAIMS, len(claims))
        workspace.put_placed(placed)
        return placed

    def _with_joined(self, joined: dict[str, str], task: str, about: Any = None) -> list[Any]:
        """The same as `_every`, where the groups that are looked at together are known."""
        self.job.workspace.put_joined(joined)
        done = self._every(task, about)
        self.job.workspace.drop_joined()
        return done

    def _every(self, task: str, about: Any = None) -> list[Any]:
        """The results of a task on each bucket."""
        done: list[Any] = [None] * self.job.buckets
        for (_, (number, _)), result in self._workers.run(
            (task, (number, about)) for number in range(self.job.buckets)
        ):
            done[number] = result
        return done

    def _doubles(self, kept: Counter[str]) -> tuple[Doubles, dict[str, set[int]], NotWhole]:
        """Resources that occur several times, of which types and ids (as numbers) not all are kept, and which are not kept whole."""
        at_once = max(min(self.job.memory // ID_BYTES, MOST_IDS), LEAST_IDS)
        asked: list[tuple[str, str, int, int]] = []
        for kind, records in sorted(kept.items()):
            batches = -(-records // at_once)
            asked += [(f"{len(asked) + batch}", kind, batch, batches) for batch in range(batches)]
        found = sorted(
            (about, count) for (_, about), count in self._workers.run(("twice", one) for one in asked) if count
        )
        if found and self._sifted:
            raise Unusual
        doubles: Doubles = {}
        more: dict[str, set[int]] = {}
        parts = NotWhole()
        while found:
            names: list[tuple[str, str]] = []
            held = 0
            while found and (not names or held + found[0][1] <= at_once):
                (name, kind, _, _), count = found.pop(0)
                names.append((kind, name))
                held += count
            tasks = [("sort", (number, tuple(names))) for number in range(self.job.buckets)]
            mine: Doubles = {}
            # in the order of buckets, so that it is the same in every run
            for _, (one, again) in sorted(self._workers.run(tasks), key=lambda done: done[0][1][0]):
                add_doubles(mine, one)
                parts.add(again)
            times: dict[str, dict[int, tuple[int, int]]] = {}
            for kind, name in names:
                times.setdefault(kind, {}).update(self.job.workspace.twice(name))
            for kind, numbers in missing(times, mine).items():
                more.setdefault(kind, set()).update(numbers)
            doubles.update(mine)
        return doubles, more, parts


def _is_special(piece: PieceDone) -> bool:
    """Whether only all of the data tells whose some records of a piece are, or which of them count."""
    return bool(piece.deleted or piece.aliases or piece.named or piece.unsure or piece.persons)


def in_place(problems: Iterable[Problem], files: Sequence[str]) -> list[Problem]:
    """Problems in the order of the data, each once."""
    order = {path: number for number, path in enumerate(files)}
    found: dict[Any, Problem] = {}
    for problem in problems:
        found.setdefault(
            (problem.file, problem.offset, problem.entry, problem.code, problem.resource, problem.message), problem
        )
    return sorted(found.values(), key=lambda problem: place_of_problem(problem, order))
