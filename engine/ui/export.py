"""`eligibility export`: a Bulk Data export from a FHIR server into a folder that can be screened."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import time
from pathlib import Path

from engine.artifacts.models import load_model
from engine.compiler.cql.parameters import check_given
from engine.compiler.rules import cql_codes
from engine.data.server.export import FORMATS, ExportRequest, Level
from engine.runners.criteria import load_criteria
from engine.runners.export import CONNECTIONS, Cancelled, ExportProgress, ExportResult, run_export
from engine.runners.fetching import export_parameters
from engine.ui.cql_session import given_parameters
from engine.ui.date_options import add_date_options, run_told
from engine.ui.server_access import server_of
from engine.ui.server_options import add_server_options
from engine.ui.visible import plain

OK, PROBLEMS, ERRORS, INTERRUPTED = 0, 1, 2, 130


def add_options(command: argparse.ArgumentParser) -> None:
    """What the command is told."""
    command.add_argument("server", metavar="FHIR-SERVER-URL", help="base address of the server, https://host/fhir")
    command.add_argument("--out", required=True, metavar="DIR", help="folder of its own for the export")
    level = command.add_mutually_exclusive_group()
    level.add_argument("--group", metavar="ID", help="export the patients of a Group (default: the whole system)")
    level.add_argument("--patients", action="store_true", help="export all patients with what belongs to them")
    command.add_argument(
        "--criteria",
        nargs="+",
        default=[],
        metavar="PATH",
        help="export only what these criteria read (_type, _typeFilter)",
    )
    command.add_argument(
        "--libraries",
        nargs="+",
        default=[],
        metavar="PATH",
        help="CQL libraries and data models (ModelInfo) of the criteria",
    )
    command.add_argument(
        "--type", action="append", default=[], metavar="TYPES", help="resource types to export as well"
    )
    command.add_argument(
        "--type-filter", action="append", default=[], metavar="SEARCH", help="a filter, such as Observation?code=..."
    )
    command.add_argument(
        "--value-set-filters",
        action="store_true",
        help="narrow by value set too, by the server's own copies of them (default: such types are exported whole)",
    )
    add_date_options(command)
    command.add_argument(
        "--no-type-filter", action="store_true", help="export the types whole, for servers that get _typeFilter wrong"
    )
    command.add_argument("--since", metavar="TIME", help="only what was changed since then, ISO 8601")
    command.add_argument(
        "--output-format", default=FORMATS[0], choices=FORMATS, help=f"_outputFormat (default: {FORMATS[0]})"
    )
    command.add_argument(
        "--connections",
        type=int,
        default=CONNECTIONS,
        metavar="N",
        help=f"downloads at a time (default: {CONNECTIONS})",
    )
    command.add_argument("--max-wait", type=float, metavar="MINUTES", help="how long to wait for the server to prepare")
    command.add_argument("--restart", action="store_true", help="give up what an earlier run has begun in DIR")
    command.add_argument("--quiet", action="store_true", help="print nothing but problems and errors")
    command.add_argument(
        "--fhir", metavar="VERSION", help="FHIR version of the patients (default: what the server says)"
    )
    add_server_options(command)
    command.set_defaults(run=export_command)


def export_command(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    if options.connections < 1:
        raise ValueError("--connections must be 1 or more")
    if options.since is not None:
        _check_instant(options.since)
    with server_of(options.server, options) as server:
        types, filters = list(options.type), list(options.type_filter)
        types = [name for text in types for name in text.split(",") if name]
        if options.criteria:
            version = load_model(options.fhir or server.fhir_version() or "r4").version
            criteria = load_criteria(
                *options.criteria,
                on_error="keep",
                fhir_version=version,
                libraries=options.libraries,
                allow_missing_valuesets=True,
                parameters=given_parameters(options.parameters),
                study_start=options.study_start,
            )
            for diagnostic in criteria.errors:
                print(diagnostic.render(), file=sys.stderr)
            if not criteria.rules:
                print("eligibility: there are no criteria that say what to export", file=sys.stderr)
                return ERRORS
            run = run_told(options)
            check_given((code.compiled for code in cql_codes(criteria.rules)), run.parameters)
            found, narrowing, any_type = export_parameters(
                criteria.rules,
                version,
                value_sets=options.value_set_filters,
                dates=run if options.date_filters else None,
            )
            types += found
            filters += narrowing
            if any_type:
                print(
                    "eligibility: the criteria follow references to resources of any type; add those types with --type",
                    file=sys.stderr,
                )
        level: Level = "group" if options.group else "patient" if options.patients else "system"
        request = ExportRequest(
            level,
            options.group,
            tuple(sorted(set(types))),
            () if options.no_type_filter else tuple(dict.fromkeys(filters)),
            options.since,
            options.output_format,
        )
        shown = _Shown(options.quiet)
        try:
            result = run_export(
                server,
                request,
                Path(options.out),
                connections=options.connections,
                restart=options.restart,
                longest=options.max_wait * 60 if options.max_wait is not None else None,
                progress=ExportProgress(shown.say, shown.step),
            )
        except Cancelled as stopped:
            shown.end()
            print(stopped, file=sys.stderr)
            return INTERRUPTED
        finally:
            shown.end()
    for problem in result.problems:
        print(f"problem: {problem}", file=sys.stderr)
    if not options.quiet:
        print(summary(result, options.out))
    return PROBLEMS if result.problems else OK


def summary(result: ExportResult, out: str) -> str:
    """What an export came to, in a few lines."""
    lines = [f"{count:>12,}  {kind}" for kind, count in sorted(result.resources.items())]
    if result.deleted:
        lines.append(f"{result.deleted:>12,}  bundles of deletions")
    files = "1 file" if result.files == 1 else f"{result.files} files"
    lines.append(f"{files}, {result.bytes / 1e6:,.1f} MB in {out}")
    return "\n".join(lines)


def _check_instant(text: str) -> None:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"--since {text!r} is no point in time; write 2026-03-01T00:00:00Z") from None
    if moment.tzinfo is None or "T" not in text:
        raise ValueError(f"--since {text!r} must be whole and have a time zone, as 2026-03-01T00:00:00Z")


class _Shown:
    """What is said while the export runs: sentences as lines; downloads as one line that is rewritten on a terminal,
    else now and then.
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.terminal = sys.stderr.isatty()
        self._line = False
        self._last = (time.monotonic(), 0)

    def say(self, text: str) -> None:
        if not self.quiet:
            self.end()
            print(text, file=sys.stderr)

    def step(self, done: int, files: int, received: int) -> None:
        now = time.monotonic()
        when, before = self._last
        every = 0.2 if self.terminal else 30.0
        if self.quiet or (now - when < every and not (self.terminal and done != before)):
            return
        self._last = (now, done)
        text = f"{done} of {files} files, {received / 1e6:,.1f} MB received"
        if self.terminal:
            self._line = True
            print(f"\r{text}\x1b[K", end="", file=plain(sys.stderr), flush=True)
        else:
            print(text, file=sys.stderr)

    def end(self) -> None:
        if self._line:
            self._line = False
            print(file=sys.stderr)
