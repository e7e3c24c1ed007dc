"""`eligibility measure`: a measure over patients, with a MeasureReport each and a summary."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from engine.algebra.diagnostic import DiagnosticError
from engine.data.problems import Problem
from engine.data.versions import check_version
from engine.evaluation.measures import OBSERVATION
from engine.output.atomic import AtomicFile, write_text
from engine.output.lines import line_of
from engine.output.measure_report import Totals, individual, summary
from engine.runners.measuring import PERIOD, LoadedMeasure, MeasureOptions, evaluate_measure, load_measure, period_of
from engine.runners.screening import evaluation_time, version_for
from engine.ui.cql_session import given_parameters, parameters_of
from engine.ui.options import add_limit_option, add_parameter_options, add_time_options, add_version_option
from engine.ui.terminology import add_terminology_options, terminology_options

OK, REFUSED, ERRORS = 0, 1, 2
_YEAR, _DAYS = re.compile(r"\d{4}"), re.compile(r"(\d{4}-\d\d-\d\d\S*)/(\d{4}-\d\d-\d\d\S*)")


def add_options(command: argparse.ArgumentParser) -> None:
    """What the command is told."""
    command.add_argument(
        "measure", help="a Measure, a bundle with one, or a CQL library (every Boolean define is counted)"
    )
    command.add_argument(
        "--data", nargs="+", required=True, metavar="PATH", help="patients: bundles, NDJSON, folders, .gz"
    )
    command.add_argument(
        "--out", required=True, metavar="DIR", help="output folder; - prints results to standard output only"
    )
    command.add_argument(
        "--libraries", nargs="+", default=[], metavar="PATH", help="CQL libraries and data models (ModelInfo)"
    )
    add_terminology_options(command)
    command.add_argument("--period", metavar="2026 | START/END", help=f'the "{PERIOD}" (default: that of the measure)')
    add_parameter_options(command)
    add_limit_option(command, "a define", " for one patient, which else has no answer")
    command.add_argument(
        "--ignore-profiles", action="store_true", help="retrieve resources whatever profile they claim"
    )
    add_time_options(command)
    add_version_option(command)
    command.add_argument("--quiet", action="store_true", help="print nothing but errors")
    command.set_defaults(run=measure_command)


def period_option(text: str | None) -> tuple[str, str] | None:
    """`2026`, or two dates with a slash between them. Raises ValueError."""
    if text is None:
        return None
    if _YEAR.fullmatch(text):
        return f"{text}-01-01", f"{text}-12-31"
    match = _DAYS.fullmatch(text)
    if match is None:
        raise ValueError(f"--period {text}: write a year, or two dates such as 2026-01-01/2026-12-31")
    return match[1], match[2]


def measure_command(options: argparse.Namespace) -> int:
    """`eligibility measure`"""
    for path in (*options.data, *options.libraries):
        if not Path(path).exists():
            raise FileNotFoundError(f"{path} does not exist")
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
        print(error, file=sys.stderr)
        return ERRORS
    for diagnostic in loaded.diagnostics:
        if diagnostic.severity == "error" or not options.quiet:
            print(diagnostic.render(), file=sys.stderr)
    if loaded.errors:
        return ERRORS
    moment = evaluation_time(options.now, options.timezone)
    settings = MeasureOptions(
        moment,
        options.timezone,
        parameters_of(options.parameter, options.now, options.timezone),
        period_option(options.period),
        options.ignore_profiles,
        options.criterion_seconds,
    )
    return _evaluate(loaded, options, settings, version)


def _evaluate(loaded: LoadedMeasure, options: argparse.Namespace, settings: MeasureOptions, version: str) -> int:
    totals = Totals(loaded.measure)
    day = settings.now.date().isoformat()
    period = period_of(loaded, settings) or (day, day)
    date = settings.now.astimezone(dt.UTC).isoformat(timespec="seconds")
    problems: list[Problem] = []
    with ExitStack() as files:
        reports: IO[str] | None = None
        results: IO[str] = sys.stdout
        if options.out != "-":
            folder = Path(options.out)
            folder.mkdir(parents=True, exist_ok=True)
            results = files.enter_context(AtomicFile(folder / "results.ndjson")).stream  # type: ignore[assignment]
            reports = files.enter_context(AtomicFile(folder / "reports.ndjson")).stream  # type: ignore[assignment]
        for result in evaluate_measure(loaded, options.data, settings, problems.append, version):
            totals.add(result)
            results.write(line_of(result))
            if reports is not None:
                report = individual(loaded.measure, result, period, date, version)
                reports.write(json.dumps(report, ensure_ascii=False, default=str) + "\n")
    if options.out != "-":
        folder = Path(options.out)
        text = json.dumps(summary(loaded.measure, totals, period, date, version), indent=2, ensure_ascii=False)
        write_text(folder / "summary.json", text + "\n")
        write_text(folder / "problems.ndjson", "".join(line_of(problem) for problem in problems))
        if not options.quiet:
            show(loaded, totals)
            print(f"written to {options.out}")
    for problem in problems[:5]:
        print(f"problem: {problem}", file=sys.stderr)
    if loaded.refused:
        print(f"{len(loaded.refused)} parts of the measure were not evaluated, as said above", file=sys.stderr)
        return REFUSED
    return OK


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
