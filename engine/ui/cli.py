"""The command line: `eligibility screen | export | check | fhirpath | cql | compile | measure | requirements | imaging | schema`.

Exit statuses: 0 done; 1 done, with warnings under --strict or with problems under --fail-on-problems; 2 the criteria have errors or
the command cannot be carried out; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from engine.algebra.diagnostic import DiagnosticError, EvaluationError
from engine.compiler.elm import to_json
from engine.compiler.fhirpath import compile_fhirpath
from engine.data.terminology_files import open_terminology
from engine.data.versions import version_of
from engine.output.schema import SCHEMAS, json_schema
from engine.runners.screening import evaluation_time
from engine.ui.archive import add_required_images
from engine.ui.check import check_command
from engine.ui.cql import add_commands
from engine.ui.export import add_command as add_export
from engine.ui.imaging import add_command as add_imaging
from engine.ui.measure import add_command as add_measure
from engine.ui.options import add_parameter_options, add_time_options
from engine.ui.requirements import add_command as add_requirements
from engine.ui.screen import screen_command
from engine.ui.server_options import add_server_options
from engine.ui.terminology import add_terminology_options, terminology_options
from engine.version import __version__

OK, ERRORS, INTERRUPTED = 0, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status (the console script exits with it)."""
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        print("interrupted; nothing was left half written", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return OK
    except (FileNotFoundError, ValueError, OSError) as error:
        print(f"eligibility: {error}", file=sys.stderr)
        return ERRORS


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="eligibility", description="Screens patients against eligibility criteria published in FHIR."
    )
    top.add_argument("--version", action="version", version=f"eligibility {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _screen(commands)
    add_export(commands)
    _check(commands)
    _fhirpath(commands)
    add_commands(commands)
    add_measure(commands)
    add_requirements(commands)
    add_imaging(commands)
    _schema(commands)
    return top


def _version_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--fhir", metavar="VERSION", help="FHIR version of the patients: r4, r4b or r5 (default: from the data)"
    )


def _knowledge(command: argparse.ArgumentParser) -> None:
    """Where criteria in CQL find what they name."""
    command.add_argument(
        "--libraries", nargs="+", default=[], metavar="PATH", help="CQL libraries and data models (ModelInfo)"
    )
    add_terminology_options(command)


def _screen(commands: Any) -> None:
    command = commands.add_parser("screen", help="screen a cohort and write verdicts with evidence and image UIDs")
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
    command.add_argument(
        "--out", required=True, metavar="DIR", help="output folder; - writes verdicts to standard output only"
    )
    add_time_options(command)
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
    command.add_argument(
        "--strict-cql",
        action="store_true",
        help="give CQL's own answer where rows that cannot be decided would change it",
    )
    _knowledge(command)
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
        "--validate", action="store_true", help="parse every line, also those that no criterion can need"
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
    _version_option(command)
    command.set_defaults(run=run_screen)


def _check(commands: Any) -> None:
    command = commands.add_parser("check", help="say how criteria were understood, what they read, and what is wrong")
    command.add_argument("criteria", nargs="+", metavar="PATH")
    _knowledge(command)
    command.add_argument("--strict", action="store_true", help="exit with 1 where there are warnings")
    command.add_argument("--json", action="store_true", help="as JSON")
    _version_option(command)
    command.set_defaults(run=run_check)


def _fhirpath(commands: Any) -> None:
    command = commands.add_parser("fhirpath", help="evaluate one FHIRPath expression on a JSON file")
    command.add_argument("expression")
    command.add_argument("file", nargs="?", help="a resource as JSON (- for standard input)")
    command.add_argument("--show", choices=("elm", "python"), help="show what it compiles to")
    command.add_argument("--lenient", action="store_true", help="let unknown elements pass as empty")
    command.add_argument("--strict", action="store_true", help="take warnings as errors")
    command.add_argument("--now", metavar="TIME")
    command.add_argument("--timezone", default="UTC")
    add_terminology_options(command, allow_missing=False)
    _version_option(command)
    command.set_defaults(run=run_fhirpath)


def _schema(commands: Any) -> None:
    command = commands.add_parser("schema", help="print the JSON Schema of an output")
    command.add_argument("name", nargs="?", default="verdict", choices=tuple(SCHEMAS))
    command.set_defaults(run=run_schema)


# -- commands


def run_screen(options: argparse.Namespace) -> int:
    """`eligibility screen`"""
    return screen_command(options)


def run_check(options: argparse.Namespace) -> int:
    """`eligibility check`"""
    return check_command(options)


def run_fhirpath(options: argparse.Namespace) -> int:
    """`eligibility fhirpath`"""
    resource: Any = None
    if options.file:
        raw = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
        try:
            resource = msgspec.json.Decoder(float_hook=Decimal).decode(raw)
        except msgspec.DecodeError as error:
            raise ValueError(f"{options.file}: not valid JSON: {error}") from None
    root = resource.get("resourceType") if isinstance(resource, dict) else None
    version = options.fhir or (version_of(resource) if resource else None) or "r4"
    try:
        compiled = compile_fhirpath(
            options.expression, model=version, root=root, lenient=options.lenient, strict=options.strict
        )
        for diagnostic in compiled.diagnostics:
            print(diagnostic.render(), file=sys.stderr)
        if options.show == "elm":
            print(json.dumps(to_json(compiled.node), indent=2, ensure_ascii=False))
        elif options.show == "python":
            print(compiled.python, end="")
        if options.show and not options.file:
            return OK
        moment = evaluation_time(options.now, options.timezone)
        given = options.valuesets or options.terminology_server
        terminology = open_terminology(options.valuesets, terminology_options(options)) if given else None
        for item in compiled.evaluate(resource, now=moment, timezone=options.timezone, terminology=terminology):
            print(f"{shown(item.value)}  ({item.type})")
    except DiagnosticError as error:
        print(error, file=sys.stderr)
        return ERRORS
    except EvaluationError as error:
        where = f" in `{options.expression[error.span.start : error.span.end]}`" if error.span is not None else ""
        print(f"error[{error.code}]: {error.message}{where}", file=sys.stderr)
        return ERRORS
    return OK


def run_schema(options: argparse.Namespace) -> int:
    """`eligibility schema`"""
    print(json.dumps(json_schema(options.name), indent=2))
    return OK


def shown(value: Any) -> str:
    """A result value for a terminal."""
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


if __name__ == "__main__":
    sys.exit(main())
