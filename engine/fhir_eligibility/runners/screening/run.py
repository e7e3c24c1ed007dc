"""One unattended run: screen the data and write the output folder, every file whole or not at all.

Files that are small are screened right here; large ones by way of a workspace in the output folder (`fhir_eligibility.runners.large.bulk`), with several processes, and a
run that was stopped can be resumed. The outputs are the same either way, byte for byte.
"""

from __future__ import annotations

import datetime as dt
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import Diagnostic
from fhir_eligibility.compiler.criteria.reading import ReadPlan, reading_plan
from fhir_eligibility.compiler.criteria.rules import RuleSet
from fhir_eligibility.data.bulk.line_numbers import with_lines
from fhir_eligibility.data.bulk.reading import ExportReader
from fhir_eligibility.data.bulk.rows import has_row
from fhir_eligibility.data.files.files import files_of
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.patients.completeness import Completeness, reporting_to
from fhir_eligibility.data.patients.versions import check_version
from fhir_eligibility.data.records.gaps import Gaps
from fhir_eligibility.data.terminology.check import used_value_sets
from fhir_eligibility.output.checks import ABOUT_IMAGES
from fhir_eligibility.output.folder import RUN, OutputFolder
from fhir_eligibility.output.formats.base import chosen_formats
from fhir_eligibility.output.pseudonymous import pseudonymous_problems, pseudonymous_record
from fhir_eligibility.output.pseudonyms import check_list, write_list
from fhir_eligibility.output.run_record import (
    ArtifactCounts,
    CriteriaWarning,
    EarlierRun,
    InputFile,
    RunRecord,
    UsedValueSet,
)
from fhir_eligibility.runners.large.bulk import Counts, Progress, in_place
from fhir_eligibility.runners.large.collector import relaxed
from fhir_eligibility.runners.large.work import Work
from fhir_eligibility.runners.large.workspace import Workspace
from fhir_eligibility.runners.screening.accounting import Accounting, CountedPatients
from fhir_eligibility.runners.screening.completeness import completeness_of
from fhir_eligibility.runners.screening.criteria import Criteria, PathLike, warnings_by_artifact
from fhir_eligibility.runners.screening.judging import Judge, Judged
from fhir_eligibility.runners.screening.large import SPREAD, Inputs, LargeRun, Means, prepare
from fhir_eligibility.runners.screening.outputs import Outputs, output_names
from fhir_eligibility.runners.screening.parameters_used import parameters_used
from fhir_eligibility.runners.screening.run_options import RunOptions, fingerprint_of, input_files, options_of, recorded
from fhir_eligibility.runners.screening.screening import (
    TOGETHER_WITH_IMAGES,
    Data,
    Tally,
    compartments,
    evaluation_time,
)
from fhir_eligibility.runners.screening.screening_work import ScreeningEvaluation, ScreeningWork
from fhir_eligibility.runners.screening.since import TakingOver
from fhir_eligibility.version import __version__

__all__ = ["MOST_REPORTED", "NothingScreened", "RunOptions", "RunResult", "input_files", "is_small", "run"]
SMALL = 16 << 20  # of the input: so much is held in memory, where that is allowed
HASHED = 64 << 20
MOST_REPORTED = 100  # problems of data in which there is no patient


class NothingScreened(ValueError):
    """There was no patient to screen; nothing is written. `problems` are those of the data, the first `MOST_REPORTED` of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("nothing was screened: there is no patient in the data")
        self.problems = tuple(problems)


class RunResult(Struct):
    """What a run came to."""

    record: RunRecord
    tally: Tally


class _Source(Struct):
    """Where judged patients come from. `write` writes them in the order of the data; problems and counts are whole when it is done."""

    write: Callable[[Outputs, Progress | None], Tally]
    problems: Callable[[], Iterable[Problem]]
    counts: Callable[[], Counts]
    files: Callable[[], int]
    moment: dt.datetime
    completeness: Completeness
    taking: TakingOver | None = None
    digest: Callable[[], str] | None = None
    """Of patients who do not all come from files: a digest of their resources, when all are written."""

    @classmethod
    def of(
        cls,
        judged: Iterator[Judged],
        problems: Callable[[], Iterable[Problem]],
        counts: Callable[[], Counts],
        files: Callable[[], int],
        moment: dt.datetime,
        completeness: Completeness,
        taking: TakingOver | None = None,
        digest: Callable[[], str] | None = None,
    ) -> _Source:
        """Patients that are judged while they are written."""
        write = lambda outputs, progress: outputs.write(judged, progress)  # noqa: E731
        return cls(write, problems, counts, files, moment, completeness, taking, digest)


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
    formats = chosen_formats(options.formats)
    if options.pseudonym_list is not None:
        check_list(options.pseudonym_list, out)
    with relaxed(), OutputFolder(out, "screen", shared=options.shared) as folder:
        folder.claim(*output_names(criteria.rules, formats, options.keeps))
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
        source = _source(criteria, criteria_paths, data, inputs, folder, options, progress, running)
        header = Judge(criteria.rules, options_of(criteria, options, source.moment)).header
        listed = None if options.pseudonym_list is None else folder.aside()
        moment, codes = source.moment.isoformat(), options.pseudonyms
        taking, version = source.taking, criteria.fhir_version
        keeps = None if taking is None else taking.fingerprints
        outputs = Outputs(
            folder, criteria.rules, header, version, moment, codes, listed, keeps, validate=options.validate
        )
        tally = source.write(outputs, progress)
        if not tally.patients:
            found_problems = list(islice(pseudonymous_problems(source.problems(), codes), MOST_REPORTED))
            Workspace(folder.path).remove()
            raise NothingScreened(found_problems)
        account = Accounting(source.completeness)
        outputs.write_problems(account.through(source.problems()))
        if taking is not None:
            outputs.finish_fingerprints(taking.state)
    described = outputs.write_criteria(options.timezone)
    outputs.write_formats(chosen_formats(options.formats), described)
    stored = inputs.listing.stored()
    record = RunRecord(
        engine=__version__,
        python=platform.python_version(),
        started=started.isoformat(timespec="seconds"),
        finished=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        now=source.moment.isoformat(),
        timezone=options.timezone,
        fhir_version=criteria.fhir_version,
        options=recorded(criteria, options),
        digests=_digests(criteria, criteria_paths, inputs, options, source),
        value_sets=[UsedValueSet(**asdict(found)) for found in used_value_sets(criteria.terminology)],
        parameters=parameters_used(criteria, options.parameters),
        warnings=list(_warnings(criteria)),
        criteria=input_files(files_of(criteria_paths)),
        data=[
            InputFile(path=getattr(item, "name", item.__class__.__name__))
            for item in data
            if not isinstance(item, (str, Path, Compartment))
        ]
        + input_files(stored, options.hash_data or sum(one.bytes for one in stored) <= HASHED),
        resources=account.resources(source.counts(), source.files()),
        since=None if options.since is None or taking is None else EarlierRun(taken=tally.taken, why_not=taking.why),
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


def _digests(
    criteria: Criteria, criteria_paths: Sequence[PathLike], inputs: Inputs, options: RunOptions, source: _Source
) -> dict[str, str]:
    """The digests of all that verdicts depend on; options are told by name."""
    found = fingerprint_of(criteria, criteria_paths, inputs.found, options)
    digests = {name: value for name, value in found.items() if not name.startswith("--")}
    return digests if source.digest is None else {**digests, "data": source.digest()}


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
    folder: OutputFolder,
    options: RunOptions,
    progress: Progress | None,
    running: ExitStack,
) -> _Source:
    """`running` is left when all is written."""
    paths = _paths(data)
    workspace = Workspace(folder.path)
    if options.keeps and (options.images is not None or len(paths) != len(data)):
        name = "--keep-fingerprints" if options.since is None else "--since"
        raise ValueError(f"{name} goes with files, where the answers of archives and servers play no part")
    plan = reading_plan(criteria.rules, criteria.terminology)
    if plan.together and options.images is not None:
        raise ValueError(TOGETHER_WITH_IMAGES)
    if len(paths) != len(data):
        if options.resume:
            raise ValueError("--resume goes on with files; patients of a server are searched anew")
        return _searched(criteria, data, plan, options)
    taking = None
    if options.keeps:
        taking = TakingOver(criteria, criteria_paths, options, folder, plan.follows)
    if options.images is None and is_small(inputs, options.means) and not (options.resume and workspace.exists()):
        workspace.remove()
        return _small(criteria, paths, plan, options, taking)
    return _large(criteria, criteria_paths, inputs, plan, workspace, options, progress, running, taking)


def is_small(inputs: Inputs, means: Means) -> bool:
    """Whether files fit into memory many times."""
    return inputs.size <= min(SMALL, means.bytes // SPREAD)


def _searched(criteria: Criteria, data: Sequence[Data], plan: ReadPlan, options: RunOptions) -> _Source:
    """Patients of servers, or at hand."""
    moment = evaluation_time(options.now, options.timezone)
    judge = _judge(criteria, options, moment)
    problems: list[Problem] = []
    completeness = Completeness(options.tolerate)
    report = reporting_to(completeness, problems.append)
    patients = compartments(data, criteria.fhir_version, report, merge_linked=options.merge_linked)
    found = CountedPatients(patients, completeness)
    for item in data:
        completeness.narrow(getattr(item, "narrowed", ()))
    rows = (one for one in found if has_row(one, plan))
    judged = (judge(one) for one in rows) if options.images is None else _confirmed(criteria, options, judge, rows)
    digest = found.digest.hexdigest
    return _Source.of(judged, lambda: problems, lambda: found.counts, lambda: 0, moment, completeness, digest=digest)


def _confirmed(
    criteria: Criteria, options: RunOptions, judge: Judge, patients: Iterable[Compartment]
) -> Iterator[Judged]:
    """Patients judged where images count only if archives hold them."""
    assert options.images is not None
    for compartment, verdicts in options.images.verdicts(criteria.rules, judge.options, patients):
        yield judge.written(compartment, verdicts)


def _small(
    criteria: Criteria,
    paths: Sequence[PathLike],
    plan: ReadPlan,
    options: RunOptions,
    taking: TakingOver | None = None,
) -> _Source:
    """Files that fit into memory many times."""
    moment = evaluation_time(options.now, options.timezone)
    judge = _judge(criteria, options, moment)
    problems: list[Problem] = []
    means: dict[str, Any] = {
        "validate": options.validate,
        "tolerate": options.tolerate,
        "merge_linked": options.merge_linked,
    }
    evaluation = ScreeningEvaluation(judge, earlier=None if taking is None else taking.begin(moment))

    def takes(nobodys: bytes, gaps: Gaps) -> Callable[[bytes], bool] | None:
        assert taking is not None
        return evaluation.knows if taking.with_data(nobodys, gaps) else None

    if taking is not None:
        means |= {"fingerprints": taking.fingerprints, "taking": takes}
    reader = ExportReader(paths, plan, problems.append, **means)

    def counts() -> Counts:
        found = Counts()
        found.add(reader.collected)
        return found

    judged = (evaluation.judged(compartment, place) for place, compartment in reader.patients())
    found_problems = lambda: with_lines(in_place(problems, reader.files))  # noqa: E731
    return _Source.of(judged, found_problems, counts, lambda: len(reader.files), moment, reader.completeness, taking)


def _large(
    criteria: Criteria,
    criteria_paths: Sequence[PathLike],
    inputs: Inputs,
    plan: ReadPlan,
    workspace: Workspace,
    options: RunOptions,
    progress: Progress | None,
    running: ExitStack,
    taking: TakingOver | None = None,
) -> _Source:
    """Files of any size, by way of a workspace."""
    images, means = options.images, options.means
    if images is not None:
        plan = plan.with_instances()
        # what archives answered is kept, however small the data is
        means = replace(means, jobs=1) if is_small(inputs, means) else means

    def work(moment: dt.datetime, buckets: int) -> Work:
        listed = options.pseudonym_list is not None
        given = options_of(criteria, options, moment)
        earlier = None if taking is None else taking.begin(moment)
        keep = None if taking is None else taking.fingerprints
        found = ScreeningWork(criteria.rules, given, options.pseudonyms, listed, keep, earlier)
        if images is None:
            return found
        from fhir_eligibility.runners.screening.confirming_work import ConfirmingWork

        return ConfirmingWork(found, workspace, images.places)

    large = LargeRun(
        workspace=workspace,
        inputs=inputs,
        plan=plan,
        work_at=work,
        fingerprint=lambda: {
            **fingerprint_of(criteria, criteria_paths, inputs.found, options),
            **({} if taking is None else {"--since": taking.digest or "none"}),
        },
        means=means,
        now=options.now,
        timezone=options.timezone,
        progress=progress,
        answer=None if images is None else partial(images.answer, workspace),
        fingerprints=None if taking is None else taking.fingerprints,
        taking=None if taking is None else taking.with_data,
        sifts=lambda: taking is not None and taking.sifts,
        blocks=lambda files, memory: None if taking is None else taking.blocks(files, memory),
    )
    prepared = prepare(large, running)
    bulk = prepared.bulk
    return _Source(
        lambda outputs, _: outputs.write_bulk(bulk),
        prepared.problems,
        lambda: bulk.counts,
        lambda: len(bulk.job.files),
        prepared.moment,
        bulk.completeness,
        taking,
    )


def _judge(criteria: Criteria, options: RunOptions, moment: dt.datetime) -> Judge:
    listed = options.pseudonym_list is not None
    return Judge(criteria.rules, options_of(criteria, options, moment), options.pseudonyms, listed=listed)


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
        errors=list(tally.failed.get(rules.key, {}).values()),
    )
