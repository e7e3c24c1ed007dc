"""`eligibility check`: how every characteristic was understood, what data it reads, and what is wrong."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import Diagnostic
from fhir_eligibility.algebra.numbers_in_words import so_many
from fhir_eligibility.compiler.analysis.requirements import DataRequirement
from fhir_eligibility.compiler.criteria.rules import Rule, RuleSet
from fhir_eligibility.data.patients.versions import check_version
from fhir_eligibility.runners.screening.coverage import Coverage, coverage
from fhir_eligibility.runners.screening.criteria import Criteria, load_criteria, warnings_of
from fhir_eligibility.runners.screening.screening import version_for
from fhir_eligibility.ui.options.argument_types import PATH
from fhir_eligibility.ui.options.command_parser import STATUSES_OF_TEXT, CommandParser
from fhir_eligibility.ui.options.options import (
    add_config_options,
    add_criteria_argument,
    add_libraries_option,
    add_study_option,
    add_version_option,
)
from fhir_eligibility.ui.options.paths import check_exist
from fhir_eligibility.ui.options.statuses import Status, worst
from fhir_eligibility.ui.options.terminology import add_terminology_options, terminology_options

SHOWN = 240  # characters of an expression


def add_options(command: CommandParser) -> None:
    """What the command is told."""
    add_criteria_argument(command)
    group = command.add_argument_group("patients, and what criteria name")
    group.add_argument(
        "--data",
        nargs="+",
        default=[],
        type=PATH,
        metavar="PATH",
        help="count the patients that have a record of each kind and code that the criteria ask for",
    )
    add_version_option(group)
    add_study_option(group)
    add_libraries_option(group)
    add_terminology_options(command)
    group = command.add_argument_group("what is shown")
    group.add_argument("--verbose", action="store_true", help="show expressions whole, however long they are")
    group.add_argument("--show", choices=("python",), help="show the Python that each expression becomes")
    group.add_argument("--json", action="store_true", help="as JSON")
    group.add_argument("--strict", action="store_true", help="take warnings as errors: exit with 3 where there are any")
    add_config_options(command)
    command.describe(
        "eligibility check criteria/flute/mr",
        "eligibility check criteria/flute/mr --data criteria/flute/cohort",
        "eligibility check criteria/flute/mr --show python",
        "eligibility check trials --libraries cql --valuesets valuesets --strict --json",
        page="verdicts.md",
        statuses=STATUSES_OF_TEXT,
    )
    command.set_defaults(run=check_command)


def check_command(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    check_exist(*options.criteria, *options.data)
    criteria = load_criteria(
        *options.criteria,
        on_error="keep",
        fhir_version=version_for(options.data, options.fhir) if options.data else options.fhir,
        libraries=options.libraries,
        valuesets=options.valuesets,
        allow_missing_valuesets=options.allow_missing_valuesets,
        terminology_options=terminology_options(options),
        force_fhir=options.force_fhir,
        study_start=options.study_start,
    )
    found = [*criteria.diagnostics, *warnings_of(criteria)]
    counted = None
    if options.data:
        if not options.force_fhir:
            check_version(options.data, criteria.fhir_version)
        counted = coverage(criteria, options.data, lambda problem: print(f"problem: {problem}", file=sys.stderr))
        found += counted.warnings()
    found = [replace(d, severity="error") if options.strict and d.severity == "warning" else d for d in found]
    errors = sum(d.severity == "error" for d in found)
    if options.json:
        out = report(criteria, found, counted, python=options.show == "python")
        print(json.dumps(out, indent=2, ensure_ascii=False))
    else:
        for rules in criteria.rules:
            _show(rules, options.verbose, options.show == "python")
        if counted is not None:
            _show_coverage(counted)
        for diagnostic in found:
            print(diagnostic.render())
        warnings = sum(d.severity == "warning" for d in found)
        computable = sum(_leaf(rule) and rule.code is not None for rules in criteria.rules for rule in rules.walk())
        leaves = sum(_leaf(rule) for rules in criteria.rules for rule in rules.walk())
        print(
            f"{so_many(len(criteria.rules), 'artifact')}, {so_many(leaves, 'characteristic')}, {computable} computable; "
            f"{so_many(errors, 'error')}, {so_many(warnings, 'warning')}"
        )
    if not criteria.rules:
        if not criteria.errors:
            wanted = "EvidenceVariable, Group or ResearchStudy resources"
            print(f"eligibility: there are no criteria here: {wanted}", file=sys.stderr)
        return Status.FAILED
    incomplete = [Status.INCOMPLETE] if counted is not None and counted.errors else []
    return worst([*([Status.CRITERIA_ERRORS] if errors else []), *incomplete])


def _show_coverage(counted: Coverage) -> None:
    """How many patients have a record of each kind, and of each code."""
    print(f"{so_many(counted.patients, 'patient')} in the data, of whom have a record")
    for kind in sorted({*counted.kinds, *(asked.type for asked in counted.asked)}):
        print(f"  {counted.types[kind]:>9}  {kind}")
        for asked in sorted((one for one in counted.asked if one.type == kind), key=lambda one: one.name):
            print(f"  {counted.codes[asked]:>9}    with {asked.name}")
    for sentence, count in counted.gaps.values():
        print(f"{sentence} ({so_many(count, 'patient')})")
    print()


def _leaf(rule: Rule) -> bool:
    return rule.combination is None


def _show(rules: RuleSet, verbose: bool, python: bool) -> None:
    version = f"|{rules.version}" if rules.version else ""
    print(f"{rules.kind} {rules.artifact}{version}")
    print(
        f"  {rules.title} -- {rules.combination}{_threshold(rules.threshold)}, patients in FHIR {rules.model.upper()}"
    )
    for rule in rules.rules:
        _show_rule(rule, "  ", verbose, python)
    print()


def shortened(text: str, verbose: bool = False) -> str:
    """An expression in one line, and no longer than a reader can take in."""
    one_line = " ".join(text.split())
    if verbose or len(one_line) <= SHOWN:
        return text if verbose else one_line
    return f"{one_line[: SHOWN - 60]} ... ({len(text)} characters; --verbose shows them all)"


def _show_rule(rule: Rule, indent: str, verbose: bool, python: bool) -> None:
    kind = "exclusion" if rule.exclude else "inclusion"
    print(f"{indent}{rule.id}  {rule.title}  [{kind}, {rule.form}]")
    inner = indent + "    "
    if rule.reason is not None:
        print(f"{inner}unknown for everyone: {rule.reason}: {shortened(str(rule.detail), verbose)}")
    elif rule.combination is not None:
        print(f"{inner}{rule.combination}{_threshold(rule.threshold)} of {len(rule.members)}:")
        for member in rule.members:
            _show_rule(member, inner, verbose, python)
    elif rule.code is not None:
        print(f"{inner}{shortened(rule.code.text, verbose)}")
        if python:
            print(textwrap.indent(rule.code.python.rstrip("\n"), inner + "| ", lambda line: True))
        for note in rule.notes:
            print(f"{inner}note: {note}")
        for found in rule.code.reads().values():
            print(f"{inner}reads {shortened(reads(found), verbose)}")


def _threshold(threshold: int | None) -> str:
    return f" {threshold}" if threshold is not None else ""


def reads(found: DataRequirement) -> str:
    """One data requirement in words: type, paths, codes."""
    text = found.type
    if found.whole:
        text += ", whole"
    elif found.paths:
        text += ": " + ", ".join(sorted(found.paths))
    if found.codes:
        text += " with " + ", ".join(f"{path} {system}|{code}" for path, system, code in sorted(found.codes))
    if found.value_sets:
        text += " with " + ", ".join(f"{path} in {url}" for path, url in sorted(found.value_sets))
    return text


def report(
    criteria: Criteria, found: Sequence[Diagnostic], counted: Coverage | None = None, *, python: bool = False
) -> dict[str, Any]:
    """Everything that `check` says, as JSON; with `python` also what expressions become."""
    out = _report(criteria, found, python)
    if counted is not None:
        out["data"] = {
            "patients": counted.patients,
            "incomplete": {kind: {"why": why, "patients": count} for kind, (why, count) in counted.gaps.items()},
            "types": {kind: counted.types[kind] for kind in sorted(counted.kinds)},
            "codes": [
                {"type": asked.type, "system": asked.system, "code": asked.code, "patients": counted.codes[asked]}
                for asked in counted.asked
            ],
            "systems": {kind: dict(seen.most_common()) for kind, seen in sorted(counted.systems.items())},
        }
    return out


def _report(criteria: Criteria, found: Sequence[Diagnostic], python: bool) -> dict[str, Any]:
    return {
        "artifacts": [
            {
                "artifact": rules.artifact,
                "version": rules.version,
                "title": rules.title,
                "combination": rules.combination,
                "characteristics": [_rule_json(rule, python) for rule in rules.rules],
            }
            for rules in criteria.rules
        ],
        "diagnostics": [
            {
                "code": d.code,
                "severity": d.severity,
                "message": d.message,
                "location": d.location or (d.source.name if d.source else None),
                "span": [d.span.start, d.span.end] if d.span else None,
                "hint": d.hint,
            }
            for d in found
        ],
    }


def _rule_json(rule: Rule, python: bool) -> dict[str, Any]:
    out: dict[str, Any] = {
        "id": rule.id,
        "title": rule.title,
        "kind": "exclusion" if rule.exclude else "inclusion",
        "form": rule.form,
    }
    if rule.reason is not None:
        out |= {"reason": rule.reason, "detail": rule.detail}
    elif rule.combination is not None:
        out |= {"combination": rule.combination, "members": [_rule_json(member, python) for member in rule.members]}
    elif rule.code is not None:
        found = rule.code.reads().values()
        out |= {"expression": rule.code.text, "reads": [reads(item) for item in found]}
        if python:
            out["python"] = rule.code.python
        if rule.notes:
            out["notes"] = list(rule.notes)
    return out
