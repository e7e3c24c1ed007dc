"""One unattended run: screen the data and write the output folder, every file whole or not at all.

Files that are small are screened right here; large ones by way of a workspace in the output folder (`engine.runners.bulk`), with several processes, and a
run that was stopped can be resumed. The outputs are the same either way, byte for byte.
"""

from __future__ import annotations

import datetime as dt
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.algebra.diagnostic import Diagnostic
from engine.compiler.reading import ReadPlan, reading_plan
from engine.compiler.rules import RuleSet
from engine.data.bulk.line_numbers import with_lines
from engine.data.bulk.reading import ExportReader
from engine.data.compartment import Compartment
from engine.data.completeness import Completeness, reporting_to
from engine.data.files import FoundFile, files_of
from engine.data.problems import Problem
from engine.data.terminology_check import used_value_sets
from engine.data.versions import check_version
from engine.evaluation.evaluator import Absent, Options
from engine.evaluation.time_limit import SECONDS
from engine.output.checks import ABOUT_IMAGES
from engine.output.fhir_group import load
from engine.output.folder import RUN, OutputFolder
from engine.output.parquet import TABLES, require_parquet, write_parquet
from engine.output.pseudonymous import pseudonymous_problems, pseudonymous_record
from engine.output.pseudonyms import Pseudonyms, check_list, write_list
from engine.output.run_record import (
    ArtifactCounts,
    CriteriaWarning,
    InputFile,
    RunRecord,
    UsedValueSet,
)
from engine.runners.accounting import Accounting, Counted
from engine.runners.bulk import Counts, Progress, in_place
from engine.runners.collector import relaxed
from engine.runners.completeness import completeness_of
from engine.runners.confirming_work import ConfirmingWork
from engine.runners.criteria import Criteria, PathLike, warnings_by_artifact
from engine.runners.judging import Judge, Judged
from engine.runners.large import SPREAD, Inputs, Means, digest_of, digests_of, prepare
from engine.runners.outputs import Outputs, output_names
from engine.runners.parameters_used import parameters_used
from engine.runners.screening import (
    TOGETHER_WITH_IMAGES,
    Data,
    Tally,
    compartments,
    evaluation_time,
    sha256_of,
)
from engine.runners.screening_work import ScreeningWork
from engine.runners.work import Work
from engine.runners.workspace import Workspace
from engine.version import __version__

SMALL = 16 << 20  # of the input: so much is held in memory, where that is allowed
HASHED = 64 << 20
MOST_TOLD = 100  # problems of data in which there is no patient
if TYPE_CHECKING:
    from engine.runners.confirming import RequiredImages


@dataclass(slots=True)
class RunOptions:
    """Options of a run; see `screen` for what they mean.

    `jobs` are processes (0: one a core), `memory` bytes that the run may use (None: a quarter of the machine), `validate` has every line parsed, `resume` goes
    on with a run that was stopped, `hash_data` records the SHA-256 of data files of any size, `parquet` writes tables besides, `shared` has outputs readable by
    others than their owner, as the umask says. With `pseudonyms`, outputs carry codes in the place of patients, and `pseudonym_list` is a file that tells whose each
    is. With
    `images`, images count only where archives hold them. With `force_fhir`, data that is written in another version of FHIR than the criteria were compiled
    for is screened all the same; else it is an error. A criterion that takes longer than `criterion_seconds` for a patient is unknown (0: no limit). Of each
    resource type `tolerate` damaged records are tolerated whose patients nobody can tell. With `merge_linked`, linked Patients (Patient.link) are one patient.
    """

    now: str | None = None
    timezone: str = "UTC"
    absent: Absent = "default"
    dicomweb: str | None = None
    parameters: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    strict_cql: bool = False
    parameter_texts: Sequence[str] = ()
    terminology: Mapping[str, str | bool | None] = field(default_factory=dict)
    jobs: int = 1
    memory: int | None = None
    validate: bool = False
    resume: bool = False
    hash_data: bool = False
    parquet: bool = False
    images: RequiredImages | None = None
    force_fhir: bool = False
    criterion_seconds: float = SECONDS
    shared: bool = False
    tolerate: int = 0
    pseudonyms: Pseudonyms | None = None
    pseudonym_list: Path | None = None
    merge_linked: bool = False

    @property
    def means(self) -> Means:
        """What the run may take."""
        return Means(
            jobs=self.jobs,
            memory=self.memory,
            validate=self.validate,
            resume=self.resume,
            tolerate=self.tolerate,
            merge_linked=self.merge_linked,
        )


class NothingScreened(ValueError):
    """There was no patient to screen; nothing is written. `problems` are those of the data, the first `MOST_TOLD` of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("nothing was screened: there is no patient in the data")
        self.problems = tuple(problems)


@dataclass(slots=True)
class RunResult:
    """What a run came to."""

    record: RunRecord
    tally: Tally


@dataclass(slots=True)
class _Source:
    """Where judged patients come from. `write` writes them in the order of the data; problems and counts are whole when it is done."""

    write: Callable[[Outputs, Progress | None], Tally]
    problems: Callable[[], Iterable[Problem]]
    counts: Callable[[], Counts]
    files: Callable[[], int]
    moment: dt.datetime
    completeness: Completeness

    @classmethod
    def of(
        cls,
        judged: Iterator[Judged],
        problems: Callable[[], Iterable[Problem]],
        counts: Callable[[], Counts],
        files: Callable[[], int],
        moment: dt.datetime,
        completeness: Completeness,
    ) -> _Source:
        """Patients that are judged while they are written."""
        return cls(
            lambda outputs, progress: outputs.write(judged, progress), problems, counts, files, moment, completeness
        )


def input_files(files: Iterable[FoundFile], hashed: bool = True) -> list[InputFile]:
    """Files as they were listed, with size and hash, as run.json has them; one that cannot be read (any more) has no hash."""

    def digest(path: str) -> str | None:
        try:
            return sha256_of(path) if hashed else None
        except OSError:
            return None

    return [
        InputFile(path=found.path, bytes=found.bytes, sha256=digest(found.path))
        for found in files
        if found.changed is not None
    ]


def run(
    criteria: Criteria,
    criteria_paths: Sequence[PathLike],
    data: Sequence[Data],
    out: Path,
    options: RunOptions,
    *,
    progress: Progress | None = None,
) -> RunResult:
    """Screen `data` and write verdicts.ndjson, summary.csv, a Group an artifact, problems.ndjson and run.json into `out`.

    `criteria_paths` are all files and folders that the criteria were made from: artifacts, libraries, value sets, parameters.

    `progress` is told how far the run is. Raises OSError where a folder cannot be read or written, ValueError where there is nothing to resume or what was
    begun is another run, or the data is of another version of FHIR, NothingScreened where there is no patient (what the folder holds stays), FolderInUse (a ValueError) where another run writes into the folder, WorkerLost where
    processes are killed again and again.
    """
    if not options.force_fhir:
        check_version(_paths(data), criteria.fhir_version)
    if options.parquet:
        require_parquet()
    if options.pseudonym_list is not None:
        check_list(options.pseudonym_list, out)
    with relaxed(), OutputFolder(out, "screen", shared=options.shared) as folder:
        folder.claim(*output_names(criteria.rules, TABLES if options.parquet else ()))
        return _run(criteria, criteria_paths, data, folder, options, progress)


def _run(
    criteria: Criteria,
    criteria_paths: Sequence[PathLike],
    data: Sequence[Data],
    folder: OutputFolder,
    options: RunOptions,
    progress: Progress | None,
) -> RunResult:
    started = dt.datetime.now(dt.UTC)
    inputs = Inputs.of(_paths(data))
    with ExitStack() as running:
        source = _source(criteria, criteria_paths, data, inputs, folder.path, options, progress, running)
        header = Judge(criteria.rules, _options(criteria, options, source.moment)).header
        listed = None if options.pseudonym_list is None else folder.aside()
        moment, codes = source.moment.isoformat(), options.pseudonyms
        outputs = Outputs(folder, criteria.rules, header, criteria.fhir_version, moment, codes, listed)
        tally = source.write(outputs, progress)
        if not tally.patients:
            found_problems = list(islice(pseudonymous_problems(source.problems(), codes), MOST_TOLD))
            Workspace(folder.path).remove()
            raise NothingScreened(found_problems)
        account = Accounting(source.completeness)
        outputs.write_problems(account.through(source.problems()))
    described = outputs.write_criteria(options.timezone)
    if options.parquet:
        write_parquet(outputs.verdicts(), described, folder)
    stored = inputs.listing.stored()
    record = RunRecord(
        engine=__version__,
        python=platform.python_version(),
        started=started.isoformat(timespec="seconds"),
        finished=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        now=source.moment.isoformat(),
        timezone=options.timezone,
        fhir_version=criteria.fhir_version,
        options=_recorded(criteria, options),
        digests={
            name: value
            for name, value in _fingerprint(criteria, criteria_paths, inputs.found, options).items()
            if not name.startswith("--")  # which are told by name
        },
        value_sets=[UsedValueSet(**asdict(found)) for found in used_value_sets(criteria.terminology)],
        parameters=parameters_used(criteria, options.parameters),
        warnings=list(_warnings(criteria)),
        criteria=input_files(files_of(criteria_paths)),
        data=[InputFile(path=item.name) for item in data if not isinstance(item, (str, Path, Compartment))]
        + input_files(stored, options.hash_data or sum(one.bytes for one in stored) <= HASHED),
        resources=account.resources(source.counts(), source.files()),
        patients=tally.patients,
        completeness=completeness_of(criteria.rules, source.completeness, tally),
        problems=account.count.total(),
        errors=account.count["error"],
        artifacts=[_counts(tally, rules, name) for rules, name in zip(criteria.rules, outputs.names, strict=True)],
    )
    if codes is not None:
        record = pseudonymous_record(record, codes)
    folder.write_text(RUN, record.model_dump_json(indent=2) + "\n")
    if listed is not None and options.pseudonym_list is not None:
        listed.finish()
        write_list(listed.part, options.pseudonym_list)
    folder.publish(about=ABOUT_IMAGES)
    Workspace(folder.path).remove()
    return RunResult(record, tally)


def _warnings(criteria: Criteria) -> Iterator[CriteriaWarning]:
    """The warnings about criteria, with the artifact that each is about."""
    about = {
        id(found): rules.artifact
        for rules in criteria.rules
        for found in (*rules.diagnostics, *(one for rule in rules.walk() for one in rule.diagnostics))
    }
    for found in criteria.diagnostics:
        if found.severity == "warning":
            yield _warning(about.get(id(found)), found)
    for rules, found in warnings_by_artifact(criteria):
        if found.code != "unknown-for-everyone":  # verdicts say so
            yield _warning(rules.artifact, found)


def _warning(artifact: str | None, found: Diagnostic) -> CriteriaWarning:
    location = found.location or (found.source.name if found.source is not None else None)
    return CriteriaWarning(
        artifact=artifact, code=found.code, message=found.message, location=location, hint=found.hint
    )


# -- where judged patients come from


def _paths(data: Sequence[Data]) -> list[str | Path]:
    return [item for item in data if isinstance(item, (str, Path))]


def _source(
    criteria: Criteria,
    criteria_paths: Sequence[PathLike],
    data: Sequence[Data],
    inputs: Inputs,
    out: Path,
    options: RunOptions,
    progress: Progress | None,
    running: ExitStack,
) -> _Source:
    """`running` is left when all is written."""
    paths = _paths(data)
    workspace = Workspace(out)
    plan = reading_plan(criteria.rules, criteria.terminology)
    if plan.together and options.images is not None:
        raise ValueError(TOGETHER_WITH_IMAGES)
    if len(paths) != len(data):
        if options.resume:
            raise ValueError("--resume goes on with files; patients of a server are searched anew")
        return _searched(criteria, data, options)
    if options.images is None and is_small(inputs, options.means) and not (options.resume and workspace.exists()):
        workspace.remove()
        return _small(criteria, paths, plan, options)
    return _large(criteria, criteria_paths, inputs, plan, workspace, options, progress, running)


def is_small(inputs: Inputs, means: Means) -> bool:
    """Whether files fit into memory many times."""
    return inputs.size <= min(SMALL, means.bytes // SPREAD)


def _searched(criteria: Criteria, data: Sequence[Data], options: RunOptions) -> _Source:
    """Patients of servers, or at hand."""
    moment = evaluation_time(options.now, options.timezone)
    judge = _judge(criteria, options, moment)
    problems: list[Problem] = []
    completeness = Completeness(options.tolerate)
    report = reporting_to(completeness, problems.append)
    found = Counted(compartments(data, criteria.fhir_version, report, merge_linked=options.merge_linked))
    judged = (judge(one) for one in found) if options.images is None else _confirmed(criteria, options, judge, found)
    return _Source.of(judged, lambda: problems, lambda: found.counts, lambda: 0, moment, completeness)


def _confirmed(
    criteria: Criteria, options: RunOptions, judge: Judge, patients: Iterable[Compartment]
) -> Iterator[Judged]:
    """Patients judged where images count only if archives hold them."""
    assert options.images is not None
    for compartment, verdicts in options.images.verdicts(criteria.rules, judge.options, patients):
        yield judge.written(compartment, verdicts)


def _small(criteria: Criteria, paths: Sequence[PathLike], plan: ReadPlan, options: RunOptions) -> _Source:
    """Files that fit into memory many times."""
    moment = evaluation_time(options.now, options.timezone)
    judge = _judge(criteria, options, moment)
    problems: list[Problem] = []
    means = {"validate": options.validate, "tolerate": options.tolerate, "merge_linked": options.merge_linked}
    reader = ExportReader(paths, plan, problems.append, **means)  # type: ignore[arg-type]

    def counts() -> Counts:
        found = Counts()
        found.add(reader.collected)
        return found

    judged = (judge(compartment, place) for place, compartment in reader.patients())
    told = lambda: with_lines(in_place(problems, reader.files))  # noqa: E731
    return _Source.of(judged, told, counts, lambda: len(reader.files), moment, reader.completeness)


def _large(
    criteria: Criteria,
    criteria_paths: Sequence[PathLike],
    inputs: Inputs,
    plan: ReadPlan,
    workspace: Workspace,
    options: RunOptions,
    progress: Progress | None,
    running: ExitStack,
) -> _Source:
    """Files of any size, by way of a workspace."""
    images, means = options.images, options.means
    if images is not None:
        plan = plan.with_instances()
        # what archives answered is kept, however small the data is
        means = replace(means, jobs=1) if is_small(inputs, means) else means

    def work(moment: dt.datetime, buckets: int) -> Work:
        listed = options.pseudonym_list is not None
        found = ScreeningWork(criteria.rules, _options(criteria, options, moment), options.pseudonyms, listed)
        return found if images is None else ConfirmingWork(found, workspace, images.places)

    prepared = prepare(
        workspace,
        inputs,
        plan,
        work,
        lambda: _fingerprint(criteria, criteria_paths, inputs.found, options),
        means,
        options.now,
        options.timezone,
        running,
        progress,
        lambda: load(criteria.fhir_version),
        None if images is None else partial(images.answer, workspace),
    )
    bulk = prepared.bulk
    return _Source(
        lambda outputs, _: outputs.write_bulk(bulk),
        prepared.problems,
        lambda: bulk.counts,
        lambda: len(bulk.job.files),
        prepared.moment,
        bulk.completeness,
    )


def _fingerprint(
    criteria: Criteria,
    criteria_paths: Sequence[PathLike],
    found: Sequence[FoundFile],
    options: RunOptions,
) -> dict[str, str]:
    """What must be the same for a run to be resumed, by what it is called in a message; `found` is what was told of the files that are read."""
    settings = _recorded(criteria, options)
    used = [found.model_dump_json() for found in parameters_used(criteria, options.parameters)]
    return {
        **digests_of(found),
        "parameters": digest_of(used),
        "criteria": digest_of((found.path, found.sha256) for found in input_files(files_of(criteria_paths))),
        "value sets": digest_of(used_value_sets(criteria.terminology)),
        **{f"--{name.replace('_', '-')}": str(value) for name, value in sorted(settings.items())},
        "--now": str(options.now),
        "--timezone": options.timezone,
    }


def _judge(criteria: Criteria, options: RunOptions, moment: dt.datetime) -> Judge:
    listed = options.pseudonym_list is not None
    return Judge(criteria.rules, _options(criteria, options, moment), options.pseudonyms, listed=listed)


def _options(criteria: Criteria, options: RunOptions, moment: dt.datetime) -> Options:
    return Options(
        moment,
        options.timezone,
        options.absent,
        options.dicomweb,
        {},
        dict(options.parameters),
        criteria.terminology,
        options.strict_cql,
        options.criterion_seconds,
    )


def _recorded(criteria: Criteria, options: RunOptions) -> dict[str, str | bool | int | float | list[str] | None]:
    """The options as run.json records them: those that verdicts depend on."""
    return {
        "absent": options.absent,
        **({"study_start": criteria.study_start} if criteria.study_start is not None else {}),
        "dicomweb": options.dicomweb,
        "strict_cql": options.strict_cql,
        "criterion_seconds": options.criterion_seconds,
        "parameters": list(options.parameter_texts),
        "validate": options.validate,
        "tolerate": options.tolerate,
        "merge_linked": options.merge_linked,
        "require_images": options.images is not None,
        **({} if options.images is None else {"ignore_endpoints": options.images.places.ignore_endpoints}),
        "pseudonyms": None if options.pseudonyms is None else options.pseudonyms.told,
        "pseudonym_list": options.pseudonym_list is not None,
        **options.terminology,
    }


def _counts(tally: Tally, rules: RuleSet, name: str) -> ArtifactCounts:
    verdicts, removed = tally.verdicts[rules.key], tally.removed[rules.key]
    return ArtifactCounts(
        artifact=rules.artifact,
        name=name,
        title=rules.title,
        version=rules.version,
        included=verdicts["included"],
        excluded=verdicts["excluded"],
        undetermined=verdicts["undetermined"],
        removed={rule.id: removed[rule.id] for rule in rules.rules},
    )
