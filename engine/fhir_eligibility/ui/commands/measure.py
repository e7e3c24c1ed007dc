"""`eligibility measure`: a measure over patients, with a MeasureReport each and a summary."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from logging import WARNING
from pathlib import Path

from fhir_eligibility.algebra.diagnostic import DiagnosticError
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.versions import check_version
from fhir_eligibility.evaluation.measures import OBSERVATION
from fhir_eligibility.output.measure_totals import Totals
from fhir_eligibility.runners.measures.measure_run import MeasureDone, MeasureRun, evaluate_in_memory, run_measure
from fhir_eligibility.runners.measures.measure_work import MeasureOutcome, UndecidedOf
from fhir_eligibility.runners.measures.measuring import PERIOD, LoadedMeasure, MeasureOptions, load_measure
from fhir_eligibility.runners.screening.run import NothingScreened
from fhir_eligibility.runners.screening.screening import evaluation_time, version_for
from fhir_eligibility.ui.commands.cql_session import given_parameters, parameters_of
from fhir_eligibility.ui.commands.ending import ended
from fhir_eligibility.ui.commands.nothing import nothing_done
from fhir_eligibility.ui.options.argument_types import PATH, ArgumentType, RefusedArgument
from fhir_eligibility.ui.options.command_parser import CommandParser
from fhir_eligibility.ui.options.options import (
    add_config_options,
    add_libraries_option,
    add_limit_option,
    add_merging,
    add_parameter_options,
    add_sharing_option,
    add_time_options,
    add_tolerance,
    add_version_option,
)
from fhir_eligibility.ui.options.paths import check_exist
from fhir_eligibility.ui.options.pseudonym_options import add_pseudonym_options, pseudonyms_of
from fhir_eligibility.ui.options.resuming import add_means_options, means_of, resumable, warn_of_jobs
from fhir_eligibility.ui.options.statuses import Status
from fhir_eligibility.ui.options.terminology import add_terminology_options, terminology_options
from fhir_eligibility.ui.options.thresholds import add_threshold_options
from fhir_eligibility.ui.terminal.logs import add_log_options, say, say_diagnostics, say_problem

_YEAR, _DAYS = re.compile(r"\d{4}"), re.compile(r"(\d{4}-\d\d-\d\d\S*)/(\d{4}-\d\d-\d\d\S*)")


def add_options(command: CommandParser) -> None:
    """What the command is told."""
    command.add_argument(
        "measure",
        type=PATH,
        metavar="MEASURE",
        help="a Measure, a bundle with one, or a CQL library (every Boolean define is counted)",
    )
    group = command.add_argument_group("what goes in and out")
    group.add_argument(
        "--data", nargs="+", required=True, type=PATH, metavar="PATH", help="patients: bundles, NDJSON, folders, .gz"
    )
    group.add_argument(
        "--out",
        required=True,
        type=PATH,
        metavar="DIR",
        help="output folder; - prints results to standard output only",
    )
    add_sharing_option(group)
    add_version_option(group)
    add_pseudonym_options(command, uids=False)
    group = command.add_argument_group("how patients are evaluated")
    group.add_argument(
        "--period", type=PERIOD_TYPE, metavar="YEAR|START/END", help=f'the "{PERIOD}" (default: that of the measure)'
    )
    add_time_options(group)
    group.add_argument("--ignore-profiles", action="store_true", help="retrieve resources whatever profile they claim")
    add_limit_option(group, "a define", " for one patient, which else has no answer")
    add_tolerance(group)
    add_merging(group)
    group = command.add_argument_group("what CQL names")
    add_libraries_option(group)
    add_parameter_options(group)
    add_terminology_options(command)
    add_means_options(command)
    add_threshold_options(command.add_argument_group("what the exit status tells"), undetermined=False)
    add_log_options(command)
    add_config_options(command)
    command.describe(
        "eligibility measure criteria/flute/cql/FluteCriteria.cql --data criteria/flute/cohort --out results",
        "eligibility measure measure.json --libraries cql --valuesets valuesets --data export --period 2026 --out results",
        "eligibility measure measure.json --data export --period 2026-01-01/2026-06-30 --out - > results.ndjson",
        page="verdicts.md",
    )
    command.set_defaults(run=measure_command)


def period_option(text: str) -> tuple[str, str]:
    """`2026`, or two dates with a slash between them. Raises ValueError."""
    if _YEAR.fullmatch(text):
        return f"{text}-01-01", f"{text}-12-31"
    match = _DAYS.fullmatch(text)
    if match is None:
        raise RefusedArgument(f"{text!r} is not a period; write a year, or two dates such as 2026-01-01/2026-12-31")
    return match[1], match[2]


PERIOD_TYPE = ArgumentType(period_option, "a year, or two dates such as 2026-01-01/2026-12-31", (str, int), "/".join)


def measure_command(options: argparse.Namespace) -> int:
    """`eligibility measure`"""
    warn_of_jobs(options)
    codes = pseudonyms_of(options)
    check_exist(options.measure, *options.data, *options.libraries)
    version = version_for(options.data, options.fhir)
    if options.fhir and not options.force_fhir:
        check_version(options.data, version)
    try:
        loaded = load_measure(
            options.measure,
            libraries=options.libraries,
            valuesets=options.valuesets,
            allow_missing_valuesets=options.allow_missing_valuesets,
            terminology_options=terminology_options(options),
            parameters=given_parameters(options.parameters),
            fhir_version=version,
            force_fhir=options.force_fhir,
        )
    except DiagnosticError as error:
        say_diagnostics(error.diagnostics)
        return Status.FAILED
    say_diagnostics(loaded.diagnostics)
    if loaded.errors:
        return Status.FAILED
    settings = MeasureOptions(
        now=evaluation_time(options.now, options.timezone),
        timezone=options.timezone,
        parameters=parameters_of(options.parameter, options.now, options.timezone),
        period=options.period,
        ignore_profiles=options.ignore_profiles,
        criterion_seconds=options.criterion_seconds,
    )
    made_from = [options.measure, *options.libraries, *options.valuesets, *options.parameters]
    made_from += [options.manifest] if options.manifest else []
    means, listed = means_of(options), options.pseudonym_list
    return _evaluate(
        MeasureRun(loaded, made_from, options.data, settings, version, options.now, means, codes, listed), options
    )


def _evaluate(run: MeasureRun, options: argparse.Namespace) -> int:
    loaded = run.loaded
    try:
        if options.out == "-":
            done = _to_stdout(run)
        else:
            with resumable(options) as progress:
                done = run_measure(run, Path(options.out), shared=options.shared_outputs, progress=progress)
    except NothingScreened as nothing:
        return nothing_done(nothing.problems, options.out, "evaluated")
    if options.out != "-" and not options.quiet:
        show(loaded, done.totals)
        print(f"written to {options.out}")
    for problem in done.problems:
        say_problem(problem)
    say_undecided(done.outcome)
    patients = done.totals.patients
    found = []
    if loaded.refused:
        say(f"{len(loaded.refused)} parts of the measure were not evaluated, as said above", WARNING, step="done")
        found.append(Status.CRITERIA_ERRORS)
    return ended(options, found, "evaluated", patients, problems=done.count, errors=done.errors)


def _to_stdout(run: MeasureRun) -> MeasureDone:
    """Write results to standard output, as they come."""
    problems: list[Problem] = []

    def write(texts: Sequence[bytes | memoryview]) -> None:
        sys.stdout.write(bytes(texts[0]).decode())

    outcome, _ = evaluate_in_memory(run, run.options.now, write, problems.append)
    if not outcome.totals.patients:
        raise NothingScreened(problems)
    return MeasureDone.of(outcome, problems)


def say_undecided(outcome: MeasureOutcome) -> None:
    """Say how many answers a screening would leave undetermined, and why the first of each define."""
    by_define: dict[str, list[UndecidedOf]] = {}
    for one in outcome.undecided:
        by_define.setdefault(one.found.define, []).append(one)
    looked = f"{outcome.looked:,} patients"
    looked += " that were looked at" if outcome.looked < outcome.totals.patients else ""
    for define, found in by_define.items():
        first = found[0]
        say(
            f"{define}: of {len(found):,} of {looked} a screening would say undetermined, where CQL's own answer counts here; "
            f"the first is {first.patient}: {first.found.detail}",
            WARNING,
            step="done",
            define=define,
            patients=len(found),
        )


def show(loaded: LoadedMeasure, totals: Totals) -> None:
    """The populations as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{loaded.measure.title or loaded.measure.key}: {totals.patients} patients")
    for heading in ("group", "population", "count", "without an answer", "score"):
        table.add_column(heading, justify="left" if heading in ("group", "population") else "right")
    for group in loaded.measure.groups:
        aggregates = totals.aggregates(group)
        value = totals.score(group)
        for index, population in enumerate(group.populations):
            unknown = totals.unknown[group.id].get(population.id, 0)
            shown = (
                aggregates.get(population.id)
                if population.code == OBSERVATION
                else totals.counts[group.id][population.id]
            )
            first = index == 0
            table.add_row(
                group.id if first else "",
                population.code,
                str(shown),
                str(unknown or ""),
                f"{value:.4g}" if first and isinstance(value, (int, float)) else "",
            )
    Console(color_system=None, markup=False, highlight=False, emoji=False).print(table)
