"""`eligibility fhirpath`: one expression on one JSON file."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from fhir_eligibility.algebra.diagnostic import DiagnosticError, EvaluationError
from fhir_eligibility.compiler.criteria.fhirpath import compile_fhirpath
from fhir_eligibility.compiler.elm_json.outline import to_json
from fhir_eligibility.data.patients.reader import read_value
from fhir_eligibility.data.patients.versions import version_of
from fhir_eligibility.data.terminology.files import open_terminology
from fhir_eligibility.evaluation.time_limit import limited
from fhir_eligibility.runners.screening.screening import evaluation_time
from fhir_eligibility.ui.commands.explained_parts import lines_of_parts
from fhir_eligibility.ui.options.argument_types import PATH
from fhir_eligibility.ui.options.command_parser import STATUSES_OF_TEXT, CommandParser
from fhir_eligibility.ui.options.options import add_limit_option, add_time_options, add_version_option
from fhir_eligibility.ui.options.paths import check_exist
from fhir_eligibility.ui.options.statuses import Status
from fhir_eligibility.ui.options.terminology import add_terminology_options, terminology_options


def add_options(command: CommandParser) -> None:
    """What the command is told."""
    command.add_argument("expression", metavar="EXPRESSION", help="in FHIRPath, on the resource")
    command.add_argument("file", nargs="?", type=PATH, metavar="FILE", help="a resource as JSON (- for standard input)")
    group = command.add_argument_group("how it is evaluated")
    add_version_option(group, force=False)
    add_time_options(group)
    add_limit_option(group, "the expression")
    group.add_argument("--lenient", action="store_true", help="let unknown elements pass as empty")
    group.add_argument("--strict", action="store_true", help="take warnings as errors")
    group.add_argument("--explain", action="store_true", help="show the value of every part of the expression, too")
    group.add_argument("--show", choices=("elm", "python"), help="show what it compiles to")
    add_terminology_options(command, allow_missing=False)
    command.describe(
        "eligibility fhirpath \"name.where(use = 'official').given\" patient.json",
        "eligibility fhirpath \"5 'mg' < 1 'g'\"",
        "curl https://server/fhir/Patient/1 | eligibility fhirpath birthDate -",
        statuses=STATUSES_OF_TEXT,
        page="operators.md",
    )
    command.set_defaults(run=fhirpath_command)


def fhirpath_command(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    resource: Any = None
    if options.file:
        resource = _resource(options.file)
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
            return Status.OK
        moment = evaluation_time(options.now, options.timezone)
        given = options.valuesets or options.terminology_server
        terminology = open_terminology(options.valuesets, terminology_options(options)) if given else None
        given_to = {"now": moment, "timezone": options.timezone, "terminology": terminology}
        seconds = options.criterion_seconds
        evaluate: Any = compiled.explain if options.explain else compiled.evaluate
        found = limited(seconds, "the expression", evaluate, resource, **given_to)
        items, parts = found if options.explain else (found, [])
        for item in items:
            print(f"{shown(item.value)}  ({item.type})")
        for line in lines_of_parts(parts):
            print(line)
    except DiagnosticError as error:
        print(error, file=sys.stderr)
        if root == "Bundle" and any(d.code in ("wrong-context", "unknown-element") for d in error.diagnostics):
            hint = _in_bundle(options.expression)
            if hint is not None:
                print(f"  = hint: {options.file} is a Bundle: {hint}", file=sys.stderr)
        return Status.FAILED
    except EvaluationError as error:
        where = f" in `{options.expression[error.span.start : error.span.end]}`" if error.span is not None else ""
        print(f"error[{error.code}]: {error.message}{where}", file=sys.stderr)
        return Status.FAILED
    return Status.OK


def _resource(file: str) -> Any:
    """What stands in a file, or on standard input (`-`). Raises ValueError and OSError."""
    if file == "-":
        return read_value("standard input", sys.stdin.buffer.read())
    check_exist(file)
    if Path(file).is_dir():
        raise ValueError(f"{file} is a folder; give a file with one resource")
    return read_value(file)


_BY_TYPE = re.compile(r"\s*(?:Bundle\.)?entry\.resource\.where\(\s*resourceType\s*=\s*'(\w+)'\s*\)(.*)", re.DOTALL)
_IN_BUNDLE = re.compile(r"\s*(?:Bundle\b|entry\b)")


def _in_bundle(expression: str) -> str | None:
    """How an expression on a resource is written for a Bundle; None where it is written for one."""
    by_type = _BY_TYPE.fullmatch(expression)
    if by_type is not None:
        return f"resources of a type are `entry.resource.ofType({by_type[1]}){by_type[2]}`"
    if _IN_BUNDLE.match(expression):
        return None
    kind, point, rest = expression.partition(".")
    inner = f"entry.resource.ofType({kind}){point}{rest}" if kind[:1].isupper() and kind.isalpha() else "entry.resource"
    return f"its resources stand under `{inner}`; or give one resource"


def shown(value: Any) -> str:
    """A result value for a terminal."""
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
