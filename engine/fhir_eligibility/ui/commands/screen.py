"""`eligibility screen`: the run, its progress, and the table at its end."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from logging import INFO, WARNING
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fhir_eligibility.algebra.diagnostic import Diagnostic
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.output.lines import line_of
from fhir_eligibility.output.run_record import CriterionErrors, EarlierRun
from fhir_eligibility.output.table import completeness_lines, criterion_error_lines, problem_lines, summary_table
from fhir_eligibility.runners.screening.criteria import Criteria, load_criteria, warnings_of
from fhir_eligibility.runners.screening.judging import failed_criteria
from fhir_eligibility.runners.screening.run import NothingScreened, RunOptions, run
from fhir_eligibility.runners.screening.screening import Data, Tally, screen
from fhir_eligibility.ui.commands.ending import ended
from fhir_eligibility.ui.commands.nothing import nothing_done
from fhir_eligibility.ui.commands.screen_options import add_screen_options, formats_of
from fhir_eligibility.ui.options.archive_options import needless_options
from fhir_eligibility.ui.options.command_parser import CommandParser
from fhir_eligibility.ui.options.paths import check_exist
from fhir_eligibility.ui.options.pseudonym_options import pseudonyms_of
from fhir_eligibility.ui.options.resuming import resumable, warn_of_jobs
from fhir_eligibility.ui.options.statuses import Status
from fhir_eligibility.ui.options.terminology import terminology_options
from fhir_eligibility.ui.options.thresholds import ArtifactOutcome
from fhir_eligibility.ui.sources.base import chosen_source, recorded_options
from fhir_eligibility.ui.terminal.logs import say, say_diagnostics, say_error, say_problem

if TYPE_CHECKING:
    from fhir_eligibility.runners.imaging.confirming import RequiredImages

# Loaded where options ask for them.
ARCHIVES, SESSION = "fhir_eligibility.ui.commands.screen_archives", "fhir_eligibility.ui.commands.cql_session"


def add_options(command: CommandParser) -> None:
    """What the command is told."""
    add_screen_options(command)
    command.set_defaults(run=screen_command)


def screen_command(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    warn_of_jobs(options)
    if options.out == "-" and (options.since is not None or options.keep_fingerprints):
        raise ValueError("--since and --keep-fingerprints need an output folder: --out DIR")
    if options.out == "-" and formats_of(options):
        raise ValueError(f"--{formats_of(options)[0]} needs an output folder: --out DIR")
    pseudonyms_of(options, keep_uids=options.keep_uids)  # what is wrong with them is told before anything is read
    if options.dicomweb:
        options.dicomweb = import_module(ARCHIVES).address(options.dicomweb)
    if not options.require_images:
        needless_options(options)
        return _command(options, None)
    with import_module(ARCHIVES).required_images(options) as images:
        return _command(options, images)


def _command(options: argparse.Namespace, images: RequiredImages | None) -> int:
    source = chosen_source(options)
    check_exist(*options.criteria, *options.libraries, *options.valuesets)
    with source.opened(options) as opened:
        return _screened(options, opened.version, opened.patients, images)


def _settings(
    options: argparse.Namespace, parameters: dict[tuple[str, str], Any], images: RequiredImages | None
) -> RunOptions:
    """The options of the command as those of a run."""
    return RunOptions(
        now=options.now,
        timezone=options.timezone,
        absent=options.absent,
        dicomweb=options.dicomweb,
        parameters=parameters,
        strict_cql=options.strict_cql,
        parameter_texts=options.parameter,
        terminology={
            "manifest": options.manifest,
            "terminology_server": options.terminology_server,
            "allow_missing_valuesets": options.allow_missing_valuesets,
        },
        jobs=options.jobs or 0,
        memory=options.memory,
        validate=options.validate,
        resume=options.resume,
        hash_data=options.hash_data,
        formats=formats_of(options),
        images=images,
        # the version that the data tells by itself need not be held to the data
        force_fhir=options.force_fhir or options.fhir is None,
        criterion_seconds=options.criterion_seconds,
        shared=options.shared_outputs,
        pseudonyms=pseudonyms_of(options, keep_uids=options.keep_uids),
        pseudonym_list=options.pseudonym_list,
        tolerate=options.tolerate,
        merge_linked=options.merge_linked,
        keep_fingerprints=options.keep_fingerprints,
        since=None if options.since is None else earlier_folder(options),
        source_options=recorded_options(chosen_source(options), options),
    )


def _screened(
    options: argparse.Namespace,
    version: str,
    data_for: Callable[[Criteria], Sequence[Data]],
    images: RequiredImages | None,
) -> int:
    """Screen what `data_for` gives for the criteria; returns the exit status."""
    criteria = load_criteria(
        *options.criteria,
        on_error="keep",
        fhir_version=version,
        libraries=options.libraries,
        valuesets=options.valuesets,
        allow_missing_valuesets=options.allow_missing_valuesets,
        terminology_options=terminology_options(options),
        study_start=options.study_start,
        parameters=import_module(SESSION).given_parameters(options.parameters) if options.parameters else (),
        force_fhir=options.force_fhir,
    )
    data = data_for(criteria)
    about = about_criteria(criteria)
    say_diagnostics(about)
    if not criteria.rules:
        say_error("eligibility: there are no criteria to screen with")
        return Status.FAILED
    parameters: dict[tuple[str, str], Any] = {}
    if options.parameter:
        parameters = import_module(SESSION).parameters_of(options.parameter, options.now, options.timezone)
    settings = _settings(options, parameters, images)
    if options.out == "-":
        patients, problems, judged, errors = _to_stdout(criteria, data, settings)
        if not patients:
            return nothing_done((), "-")
        for line in criterion_error_lines(errors):
            say(line, WARNING)
    else:
        made_from = [*options.criteria, *options.libraries, *options.valuesets, *options.parameters]
        made_from += [options.manifest] if options.manifest else []
        try:
            with resumable(options) as progress:
                result = run(criteria, made_from, data, Path(options.out), settings, progress=progress)
        except NothingScreened as nothing:
            return nothing_done(nothing.problems, options.out)
        record = result.record
        if record.since is not None:
            say(*about_earlier(record.since, record.patients, options.since))
        patients = record.patients
        problems = Counter(error=record.errors, warning=record.problems - record.errors)
        judged = [ArtifactOutcome(one.title or one.artifact, patients, one.undetermined) for one in record.artifacts]
        errors = [error for one in record.artifacts for error in one.errors]
        for line in criterion_error_lines(errors):
            say(line, WARNING, log_only=True)
        if not options.quiet:
            print(summary_table(record.artifacts, patients, result.tally.titles))
            said = [*criterion_error_lines(errors), *completeness_lines(record.completeness)]
            for line in (*said, *problem_lines(record, Path(options.out))):
                print(line)
            print(f"written to {options.out}; `eligibility show {options.out}` shows who and why")
    return _status(options, about, patients, problems, judged, errors)


def earlier_folder(options: argparse.Namespace) -> Path:
    """The folder of the run that `--since` names. Raises FileNotFoundError where there is none, but for the output folder itself, in which the first run is yet to come."""
    folder = Path(options.since)
    if not folder.is_dir() and folder.resolve() != Path(options.out).resolve():
        raise FileNotFoundError(f"--since: {folder} does not exist; name the output folder of an earlier run")
    return folder


def about_earlier(earlier: EarlierRun, patients: int, folder: str) -> tuple[str, int]:
    """What came of `--since`, and how much it matters."""
    if earlier.why_not is not None:
        return f"--since {folder}: all {patients:,} patients were judged anew: {earlier.why_not}", WARNING
    return f"--since {folder}: {earlier.taken:,} of {patients:,} patients were taken over, the others judged anew", INFO


def about_criteria(criteria: Criteria) -> list[Diagnostic]:
    """What is wrong with criteria; that one is unknown for everyone only where nothing else is said of it."""
    said = [_element(d) for d in criteria.diagnostics]
    more = [
        d
        for d in warnings_of(criteria)
        if d.code != "unknown-for-everyone" or not any(one.startswith(_element(d) or "\0") for one in said)
    ]
    return [*criteria.diagnostics, *more]


def _element(found: Diagnostic) -> str:
    """The resource and element that something is said of, without file and line."""
    return (found.location or (found.source.name if found.source is not None else "")).partition(" ")[2]


def _status(
    options: argparse.Namespace,
    about: Sequence[Diagnostic],
    patients: int,
    problems: Counter[str],
    judged: Sequence[ArtifactOutcome],
    errors: Sequence[CriterionErrors],
) -> Status:
    """The exit status of what was done, and the last words about it; `errors` are criteria whose evaluation failed."""
    found = [Status.CRITERIA_ERRORS] if errors or any(d.severity == "error" for d in about) else []
    if options.strict and any(d.severity == "warning" for d in about):
        found.append(Status.CRITERIA_ERRORS)
    return ended(
        options,
        found,
        "screened",
        patients,
        problems=problems.total(),
        errors=problems["error"],
        judged=judged,
        undetermined={one.name: one.undetermined for one in judged},
    )


def _to_stdout(
    criteria: Criteria, data: Sequence[Data], settings: RunOptions
) -> tuple[int, Counter[str], list[ArtifactOutcome], list[CriterionErrors]]:
    """Write verdicts to standard output; returns how many patients there were, how many problems by severity, what came of each artifact, and the criteria whose evaluation failed."""
    problems = Counter[str]()

    def on_problem(problem: Problem) -> None:
        problems[problem.severity] += 1
        say_problem(problem)

    total, undetermined, tally = Counter[str](), Counter[str](), Tally()
    for verdict in screen(
        criteria,
        data,
        now=settings.now,
        timezone=settings.timezone,
        absent=settings.absent,
        dicomweb=settings.dicomweb,
        parameters=settings.parameters,
        strict_cql=settings.strict_cql,
        criterion_seconds=settings.criterion_seconds,
        images=settings.images,
        on_problem=on_problem,
        force_fhir=settings.force_fhir,
        tolerate=settings.tolerate,
        merge_linked=settings.merge_linked,
    ):
        total[verdict.artifact] += 1
        undetermined[verdict.artifact] += verdict.verdict == "undetermined"
        for criterion, message in failed_criteria(verdict.criteria).items():
            tally.fail(f"{verdict.artifact}|{verdict.artifact_version}", criterion, message)
        sys.stdout.write(line_of(verdict))
    return (
        max(total.values(), default=0),
        problems,
        [ArtifactOutcome(name, total[name], undetermined[name]) for name in total],
        [error for failed in tally.failed.values() for error in failed.values()],
    )
