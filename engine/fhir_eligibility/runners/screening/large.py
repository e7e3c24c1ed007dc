"""How a run over files of any size is laid out: into how many pieces and buckets the work is cut for the memory there is, and what must be the same to go on with it."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from msgspec import Struct

from fhir_eligibility.compiler.criteria.reading import ReadPlan
from fhir_eligibility.data.bulk.block_digests import new_salt
from fhir_eligibility.data.bulk.fingerprints import Fingerprints
from fhir_eligibility.data.bulk.line_numbers import with_lines
from fhir_eligibility.data.bulk.pieces import Piece, pieces_of
from fhir_eligibility.data.bulk.records import number_of
from fhir_eligibility.data.bulk.sifting import Unusual
from fhir_eligibility.data.files.files import FoundFile
from fhir_eligibility.data.files.listing import Listing, list_data
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.completeness import Completeness, reporting_to
from fhir_eligibility.data.patients.manifest_facts import ManifestFacts, manifest_facts
from fhir_eligibility.runners.large.bulk import Answering, BulkRun, Progress, Taking
from fhir_eligibility.runners.large.machine import cores, machine_memory
from fhir_eligibility.runners.large.untouched import EarlierData
from fhir_eligibility.runners.large.work import Work
from fhir_eligibility.runners.large.workspace import RunState, Workspace
from fhir_eligibility.runners.screening.screening import evaluation_time
from fhir_eligibility.version import __version__

UNPACKED = 8  # how much larger a packed file is taken to be
SPREAD = 12  # how much more memory a bucket's patients need than their records
OWN = 45 << 20  # of memory, a process that has nothing to do
LARGEST = 32 << 20  # of the input, a bucket; more of it at a time would make nothing faster
LEAST = 4 << 20  # of the input, a piece, unless files are smaller
MOST_BUCKETS = 500
ROUNDS = 16  # pieces and buckets of work for each process, at least


class Inputs(Struct, frozen=True):
    """The data of a run: paths as they were given, the files that they name as these were found, and what is wrong with the list."""

    paths: Sequence[str | Path]
    listing: Listing
    problems: Sequence[Problem]

    @classmethod
    def of(cls, paths: Sequence[str | Path]) -> Inputs:
        """The data that paths name."""
        problems: list[Problem] = []
        return cls(paths, list_data(paths, problems.append), problems)

    @property
    def found(self) -> list[FoundFile]:
        """The files that are read."""
        return [file.found for file in self.listing.files]

    @property
    def size(self) -> int:
        """Bytes, about, as they are unpacked."""
        return sum(file.found.bytes * (UNPACKED if file.packed else 1) for file in self.listing.files)


class Means(Struct, frozen=True, kw_only=True):
    """What a run may take: processes (0: one a core), bytes of memory (None: a quarter of the machine); whether every line is parsed, and a run that was
    stopped is gone on with; how many damaged records of a type whose patients nobody can tell are tolerated; and whether linked Patients are one patient."""

    jobs: int = 1
    memory: int | None = None
    validate: bool = False
    resume: bool = False
    tolerate: int = 0
    merge_linked: bool = False

    @property
    def bytes(self) -> int:
        """The memory, in bytes."""
        return self.memory or machine_memory() // 4


class Prepared(Struct, frozen=True):
    """A run whose patients are all evaluated, and wait to be written. `problems` gives all problems in the order of the data."""

    bulk: BulkRun
    moment: dt.datetime
    problems: Callable[[], Iterable[Problem]]


def _begun(workspace: Workspace, means: Means, same: Mapping[str, str]) -> tuple[RunState | None, dt.datetime | None]:
    """What a run was begun with that is to be gone on with, and its time of evaluation; None where there is no such run, or its reading has to begin anew. Raises ValueError, OSError."""
    if not (means.resume and workspace.exists()):
        return None, None
    begun = workspace.state()
    changed = _differences(begun.fingerprint, same)
    if changed:
        message = f"{workspace.folder} holds a run with other {' and '.join(changed)}"
        raise ValueError(f"{message}; give the same again, or run without --resume to begin anew")
    return None if begun.sifts else begun, dt.datetime.fromisoformat(begun.now)


class LargeRun(Struct, frozen=True, kw_only=True):
    """What a run over files of any size is about, and how it is carried out.

    `work_at` gives what is to be done at a moment of evaluation, for so many buckets, `fingerprint` what must be the same for a run to be gone on with, by what it is called in
    messages. `answer`, `fingerprints` and `taking` are as `BulkRun` takes them, `sifts` tells whether lines may be set aside whose patients are perhaps taken over, `blocks` gives the
    data of an earlier run where it helps then, for some files and so much memory.
    """

    workspace: Workspace
    inputs: Inputs
    plan: ReadPlan
    work_at: Callable[[dt.datetime, int], Work]
    fingerprint: Callable[[], Mapping[str, str]]
    means: Means
    now: str | None
    timezone: str
    progress: Progress | None = None
    answer: Answering | None = None
    fingerprints: Fingerprints | None = None
    taking: Taking | None = None
    sifts: Callable[[], bool] = lambda: False
    blocks: Callable[[Sequence[str], int], EarlierData | None] = lambda files, memory: None

    @property
    def jobs(self) -> int:
        """How many processes there are."""
        return self.means.jobs or cores()

    @property
    def memory(self) -> int:
        """Bytes of memory for the data: what the processes take themselves is not there for it."""
        jobs, given = self.jobs, self.means.bytes
        return max(given - OWN * (jobs + 1 if jobs > 1 else 1), given // 4)


class Layout(Struct, frozen=True):
    """Into what a run is cut: the state that it is begun with, or gone on with, the pieces of the input, and what is to be done, at which moment."""

    state: RunState
    pieces: Sequence[Piece]
    work: Work
    moment: dt.datetime


def prepare(run: LargeRun, running: ExitStack) -> Prepared:
    """Read the data and evaluate all patients, or what is left of that; `running` is left when all is written.

    Raises OSError, ValueError where what was begun is another run, WorkerLost.
    """
    problems: list[Problem] = []
    manifests = manifest_facts(run.inputs.listing.manifests)
    completeness = Completeness(run.means.tolerate, manifests.types)
    manifests.narrow(completeness)
    report = reporting_to(completeness, problems.append)
    for problem in run.inputs.problems:
        report(problem)
    layout, files = _layout(run), run.inputs.listing.names
    known = run.blocks(files, run.memory) if layout.state.sifts else None
    bulk = _bulk_run(run, layout, completeness, manifests, known)
    running.enter_context(bulk)
    try:
        bulk.prepare()
    except Unusual:
        # something is not as most data is: everything is read in the ordinary way
        bulk.__exit__()
        layout.state.sifts = False
        run.workspace.create(layout.state)
        completeness = Completeness(run.means.tolerate, manifests.types)
        for problem in problems:
            completeness.problem(problem)
        bulk = running.enter_context(_bulk_run(run, layout, completeness, manifests, None))
        bulk.prepare()
    listed = run.workspace.shelf_of_problems("files", files)
    listed.extend((*problems, *bulk.reported_once))
    return Prepared(bulk, layout.moment, lambda: with_lines(bulk.problems(listed)))


def _layout(run: LargeRun) -> Layout:
    """Go on with what was begun, as it was cut, or begin anew."""
    listing = run.inputs.listing
    same, lengths = dict(run.fingerprint()), {one.found.path: one.found.bytes for one in listing.files}
    state, begun = _begun(run.workspace, run.means, same)
    moment = evaluation_time(run.now, run.timezone) if begun is None else begun
    if state is not None:
        pieces = pieces_of(state.files, state.piece, lengths)
        run.workspace.check(len(pieces), state.buckets)
        return Layout(state, pieces, run.work_at(moment, state.buckets), moment)
    jobs, size = run.jobs, run.inputs.size
    each = min(max(run.memory // (jobs * SPREAD), 1 << 20), LARGEST)
    # so many that all processes end at about the same time
    buckets = min(max(-(-size // each), ROUNDS * jobs), MOST_BUCKETS)
    piece = max(min(each, size // (ROUNDS * jobs)), LEAST)
    work = run.work_at(moment, buckets)
    state = RunState(moment.isoformat(), same, listing.names, buckets, piece, run.sifts(), new_salt())
    run.workspace.create(state)
    return Layout(state, pieces_of(listing.names, piece, lengths), work, moment)


def _bulk_run(
    run: LargeRun, layout: Layout, completeness: Completeness, manifests: ManifestFacts, earlier: EarlierData | None
) -> BulkRun:
    return BulkRun(
        run.workspace,
        layout.state,
        run.plan,
        layout.work,
        layout.pieces,
        memory=run.memory,
        jobs=run.jobs,
        validate=run.means.validate,
        progress=run.progress,
        answer=run.answer,
        completeness=completeness,
        manifests=manifests,
        listing=run.inputs.listing,
        merge_linked=run.means.merge_linked,
        fingerprints=run.fingerprints,
        taking=run.taking,
        earlier=earlier,
    )


def digest_of(items: Iterable[Any]) -> str:
    """A digest of some things, as texts."""
    return hashlib.sha256("\n".join(map(repr, items)).encode()).hexdigest()


def digests_of(found: Sequence[FoundFile]) -> dict[str, str]:
    """What must be the same of the program and the data; `found` is what was told of the files that are read."""
    return {
        "engine": f"{__version__} {number_of(b'Patient'):x}",  # ids are told apart by numbers that a library makes
        "data": digest_of(tuple(found)),
    }


def _differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is not the same as before, options with both values."""
    found = []
    for name in dict.fromkeys((*now, *before)):
        then, given = before.get(name), now.get(name)
        if then != given:
            found.append(f"{name} ({then}, now {given})" if name.startswith("--") else name)
    return found
