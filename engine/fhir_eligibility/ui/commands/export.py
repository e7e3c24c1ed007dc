"""`eligibility export`: a Bulk Data export from a FHIR server into a folder that can be screened."""

from __future__ import annotations

import argparse
import sys
import time
from logging import ERROR, WARNING
from pathlib import Path

from fhir_eligibility.algebra.numbers_in_words import so_many
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria.parameters import check_given
from fhir_eligibility.compiler.criteria.rules import cql_codes
from fhir_eligibility.data.server.export import FORMATS, ExportRequest, Level
from fhir_eligibility.runners.screening.criteria import load_criteria
from fhir_eligibility.runners.server.export import CONNECTIONS, Cancelled, ExportProgress, ExportResult, run_export
from fhir_eligibility.runners.server.fetching import export_parameters
from fhir_eligibility.ui.commands.cql_session import given_parameters
from fhir_eligibility.ui.commands.date_options import add_date_options, run_of_options
from fhir_eligibility.ui.options.argument_types import ADDRESS, INSTANT, PATH, whole_number
from fhir_eligibility.ui.options.command_parser import CommandParser
from fhir_eligibility.ui.options.options import MINUTES, add_config_options, add_libraries_option, add_sharing_option
from fhir_eligibility.ui.options.paths import check_exist
from fhir_eligibility.ui.options.server_access import server_of
from fhir_eligibility.ui.options.server_options import add_server_options
from fhir_eligibility.ui.options.statuses import Status
from fhir_eligibility.ui.terminal.logs import add_log_options, on_terminal, say, say_diagnostics, say_error
from fhir_eligibility.ui.terminal.progress import LOG, TERMINAL
from fhir_eligibility.ui.terminal.visible import plain


def add_options(command: CommandParser) -> None:
    """What the command is told."""
    command.add_argument(
        "server", type=ADDRESS, metavar="FHIR-SERVER-URL", help="base address of the server, https://host/fhir"
    )
    group = command.add_argument_group("who is exported, and where to")
    group.add_argument("--out", required=True, type=PATH, metavar="DIR", help="folder of its own for the export")
    add_sharing_option(group)
    level = group.add_mutually_exclusive_group()
    level.add_argument("--group", metavar="ID", help="export the patients of a Group (default: the whole system)")
    level.add_argument("--patients", action="store_true", help="export all patients with what belongs to them")
    group.add_argument(
        "--since", type=INSTANT, metavar="TIME", help="only what was changed since then, ISO 8601 with its zone"
    )
    group = command.add_argument_group("what is exported")
    group.add_argument(
        "--criteria",
        nargs="+",
        default=[],
        type=PATH,
        metavar="PATH",
        help="export only what these criteria read (_type, _typeFilter)",
    )
    add_libraries_option(group, "CQL libraries and data models (ModelInfo) of the criteria")
    group.add_argument("--type", action="append", default=[], metavar="TYPES", help="resource types to export as well")
    group.add_argument(
        "--type-filter", action="append", default=[], metavar="SEARCH", help="a filter, such as Observation?code=..."
    )
    group.add_argument(
        "--value-set-filters",
        action="store_true",
        help="narrow by value set too, by the server's own copies of them (default: such types are exported whole)",
    )
    group.add_argument(
        "--no-type-filter", action="store_true", help="export the types whole, for servers that get _typeFilter wrong"
    )
    group.add_argument("--fhir", metavar="VERSION", help="FHIR version of the patients (default: what the server says)")
    add_date_options(command.add_argument_group("dates that criteria ask for"))
    add_server_options(command.add_argument_group("the server"))
    group = command.add_argument_group("the download")
    group.add_argument(
        "--output-format", default=FORMATS[0], choices=FORMATS, help=f"_outputFormat (default: {FORMATS[0]})"
    )
    group.add_argument(
        "--connections",
        type=whole_number(1, 64),
        default=CONNECTIONS,
        metavar="N",
        help=f"downloads at a time (default: {CONNECTIONS})",
    )
    group.add_argument("--max-wait", type=MINUTES, metavar="MINUTES", help="how long to wait for the server to prepare")
    group.add_argument("--restart", action="store_true", help="give up what an earlier run has begun in DIR")
    add_log_options(command, "print nothing but problems and errors")
    add_config_options(command)
    command.describe(
        "eligibility export https://server/fhir --out export --auth bearer-env=TOKEN",
        "eligibility export https://server/fhir --group 17 --criteria criteria/flute/mr --out export",
        "eligibility export --config nightly.toml --since 2026-03-01T00:00:00Z",
        page="fetching.md",
    )
    command.set_defaults(run=export_command)


def export_command(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    check_exist(*options.criteria, *options.libraries)
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
            say_diagnostics(criteria.errors)
            if not criteria.rules:
                say_error("eligibility: there are no criteria that say what to export")
                return Status.FAILED
            run = run_of_options(options)
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
                say("the criteria follow references to resources of any type; add those types with --type", WARNING)
        level: Level = "group" if options.group else "patient" if options.patients else "system"
        request = ExportRequest(
            level,
            options.group,
            tuple(sorted(set(types))),
            () if options.no_type_filter else tuple(dict.fromkeys(filters)),
            options.since,
            options.output_format,
        )
        shown = _ExportProgress(on_terminal(options))
        try:
            result = run_export(
                server,
                request,
                Path(options.out),
                connections=options.connections,
                restart=options.restart,
                longest=options.max_wait * 60 if options.max_wait is not None else None,
                progress=ExportProgress(shown.say, shown.step),
                shared=options.shared_outputs,
            )
        except Cancelled as stopped:
            shown.end()
            say_error(str(stopped))
            return Status.INTERRUPTED
        finally:
            shown.end()
    for problem in result.problems:
        say(f"problem: {problem}", ERROR, step="data")
    if not options.quiet:
        print(summary(result, options.out))
    status = Status.INCOMPLETE if result.problems else Status.OK
    say(
        f"exported {so_many(result.files, 'file')}; {so_many(len(result.problems), 'problem')}; exit status {int(status)}",
        step="done",
        log_only=True,
        status=int(status),
        files=result.files,
        bytes=result.bytes,
        problems=len(result.problems),
        resources=dict(sorted(result.resources.items())),
    )
    return status


def summary(result: ExportResult, out: str) -> str:
    """What an export came to, in a few lines."""
    lines = [f"{count:>12,}  {kind}" for kind, count in sorted(result.resources.items())]
    if result.deleted:
        lines.append(f"{result.deleted:>12,}  bundles of deletions")
    files = "1 file" if result.files == 1 else f"{result.files} files"
    lines.append(f"{files}, {result.bytes / 1e6:,.1f} MB in {out}")
    return "\n".join(lines)


class _ExportProgress:
    """What is said while the export runs: sentences as lines; downloads as one line that is rewritten on a terminal,
    else now and then.
    """

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal
        self._line = False
        self._shown = self._logged = time.monotonic()

    def say(self, text: str) -> None:
        self.end()
        say(text, step="downloading")

    def step(self, done: int, files: int, received: int) -> None:
        now = time.monotonic()
        text = f"{done} of {files} files, {received / 1e6:,.1f} MB received"
        if self.terminal and (now - self._shown >= TERMINAL or done == files):
            self._shown, self._line = now, True
            print(f"\r{text}\x1b[K", end="", file=plain(sys.stderr), flush=True)
        if now - self._logged >= LOG:
            self._logged = now
            facts = {"files": done, "files_total": files, "bytes": received}
            say(text, step="downloading", log_only=self.terminal, **facts)

    def end(self) -> None:
        if self._line:
            self._line = False
            print(file=sys.stderr)
