"""`eligibility screen`: the run, its progress, and the table at its end."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.algebra.diagnostic import Diagnostic
from engine.output.lines import line_of
from engine.output.table import summary_table
from engine.runners.criteria import Criteria, load_criteria
from engine.runners.run import RunOptions, run
from engine.runners.screening import Data, screen, version_for
from engine.runners.workers import WorkerLost
from engine.runners.workspace import Workspace
from engine.ui.archive_options import add_required_images, needless_options
from engine.ui.options import (
    add_knowledge_options,
    add_limit_option,
    add_parameter_options,
    add_study_option,
    add_time_options,
    add_version_option,
)
from engine.ui.progress import ProgressLine
from engine.ui.server_options import add_search_options, add_server_options
from engine.ui.terminology import terminology_options

if TYPE_CHECKING:
    from engine.runners.confirming import RequiredImages

# Loaded where options ask for them.
SOURCES, SESSION = "engine.ui.screen_sources", "engine.ui.cql_session"


def add_options(command: argparse.ArgumentParser) -> None:
    """What the command is told."""
    command.add_argument(
        "criteria", nargs="+", help="files, folders or bundles with EvidenceVariable, Group or ResearchStudy"
    )
    command.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="PATH",
        help="patients: bundles, NDJSON, folders of them, .gz or .zst; or a FHIR server (https://...), for small cohorts",
    )
    add_server_options(command, "data-")
    add_search_options(command)
    command.add_argument(
        "--out", required=True, metavar="DIR", help="output folder; - writes verdicts to standard output only"
    )
    add_time_options(command)
    add_study_option(command)
    command.add_argument(
        "--absent",
        choices=("default", "unknown", "not-met"),
        default="default",
        help="what it means that there is no record at all, for coded criteria (default: measurements unknown, the rest not met)",
    )
    command.add_argument(
        "--dicomweb", metavar="URL", help="DICOMweb base to link images to where the data names no archive"
    )
    add_required_images(command)
    add_parameter_options(command)
    add_limit_option(command, "a criterion", " for one patient, which else is unknown")
    command.add_argument(
        "--strict-cql",
        action="store_true",
        help="give CQL's own answer where rows that cannot be decided would change it",
    )
    add_knowledge_options(command)
    command.add_argument(
        "--jobs", type=int, default=0, metavar="N", help="processes for large data (default: one a core)"
    )
    command.add_argument(
        "--memory",
        metavar="SIZE",
        help="memory that large data may take, such as 800MB (default: a quarter of the machine)",
    )
    command.add_argument("--resume", action="store_true", help="go on with a run into the same folder that was stopped")
    command.add_argument(
        "--validate",
        action="store_true",
        help="check every line by itself (lines are proved to be whole without it, too)",
    )
    command.add_argument(
        "--hash-data", action="store_true", help="record the SHA-256 of data files, however large they are"
    )
    command.add_argument(
        "--parquet", action="store_true", help="write verdicts, criteria, evidence and images as Parquet too"
    )
    command.add_argument("--strict", action="store_true", help="exit with 1 where criteria have warnings")
    command.add_argument("--fail-on-problems", action="store_true", help="exit with 1 where data could not be read")
    command.add_argument("--quiet", action="store_true", help="print nothing but errors")
    add_version_option(command)
    command.set_defaults(run=screen_command)


def screen_command(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    if options.jobs < 0:
        raise ValueError(f"--jobs is a number of processes, not {options.jobs}")
    if options.memory:
        size_of(options.memory)  # a bad amount is told before anything is read
    if options.dicomweb:
        options.dicomweb = import_module(SOURCES).address(options.dicomweb)
    if not options.require_images:
        needless_options(options)
        return _command(options, None)
    with import_module(SOURCES).required_images(options) as images:
        return _command(options, images)


def _command(options: argparse.Namespace, images: RequiredImages | None) -> int:
    on_server = any(_is_address(item) for item in options.data)
    for path in (*options.criteria, *([] if on_server else options.data), *options.libraries, *options.valuesets):
        if not str(path).strip():
            raise ValueError("a path is empty; write . for the current folder")
        if not Path(path).exists():
            raise FileNotFoundError(f"{path} does not exist")
    if on_server:
        with import_module(SOURCES).patients_on_server(options) as (version, patients):
            return _screened(options, version, patients, images)
    if options.server_auth or options.server_ca or options.rewrite_next_links:
        raise ValueError("--data-auth, --data-ca and --rewrite-next-links are for data on a server; --data names files")
    return _screened(options, version_for(options.data, options.fhir), lambda criteria: options.data, images)


def _is_address(text: object) -> bool:
    """Whether some data is named by the address of a server."""
    return isinstance(text, str) and text.lower().startswith(("http://", "https://"))


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
    _say(criteria.diagnostics, options.quiet)
    if not criteria.rules:
        print("eligibility: there are no criteria to screen with", file=sys.stderr)
        return 2
    parameters: dict[tuple[str, str], Any] = {}
    if options.parameter:
        parameters = import_module(SESSION).parameters_of(options.parameter, options.now, options.timezone)
    settings = RunOptions(
        options.now,
        options.timezone,
        options.absent,
        options.dicomweb,
        parameters,
        options.strict_cql,
        options.parameter,
        {
            "manifest": options.manifest,
            "terminology_server": options.terminology_server,
            "allow_missing_valuesets": options.allow_missing_valuesets,
        },
        options.jobs,
        size_of(options.memory) if options.memory else None,
        options.validate,
        options.resume,
        options.hash_data,
        options.parquet,
        images,
        options.force_fhir,
        options.criterion_seconds,
    )
    if options.out == "-":
        problems = _to_stdout(criteria, data, settings)
    else:
        progress = ProgressLine(shown=not options.quiet)
        try:
            made_from = [*options.criteria, *options.libraries, *options.valuesets, *options.parameters]
            made_from += [options.manifest] if options.manifest else []
            result = run(criteria, made_from, data, Path(options.out), settings, progress=progress)
        except WorkerLost as error:
            raise ValueError(f"{error}; what is done is kept, and --resume goes on") from None
        except (KeyboardInterrupt, OSError) as error:
            if not Workspace(Path(options.out)).exists():
                raise
            if isinstance(error, OSError):
                raise OSError(f"{error}; what is done is kept, and the same command with --resume goes on") from None
            progress.done()
            print("interrupted; what is done is kept, and the same command with --resume goes on", file=sys.stderr)
            return 130
        finally:
            progress.done()
        problems = result.record.problems
        if not options.quiet:
            print(summary_table(result.record.artifacts, result.record.patients, result.tally.titles))
            if problems:
                print(f"{problems} problems with the data: see {Path(options.out) / 'problems.ndjson'}")
            print(f"written to {options.out}")
    if criteria.errors:
        return 2
    warned = options.strict and any(d.severity == "warning" for d in criteria.diagnostics)
    return 1 if warned or (options.fail_on_problems and problems) else 0


def _to_stdout(criteria: Criteria, data: Sequence[Data], settings: RunOptions) -> int:
    count = 0

    def on_problem(problem: object) -> None:
        nonlocal count
        count += 1
        print(f"problem: {problem}", file=sys.stderr)

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
    ):
        sys.stdout.write(line_of(verdict))
    return count


def _say(diagnostics: tuple[Diagnostic, ...], quiet: bool) -> None:
    for diagnostic in diagnostics:
        if diagnostic.severity == "error" or not quiet:
            print(diagnostic.render(), file=sys.stderr)


def size_of(text: str) -> int:
    """An amount of memory such as `800MB`, `6GB` or `6GiB`, in bytes. Raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r} is no amount of memory; write 800MB or 6GB")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** " KMGT".index(match[2].upper() or " "))
