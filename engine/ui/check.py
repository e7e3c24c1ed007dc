"""`eligibility check`: how every characteristic was understood, what data it reads, and what is wrong."""

from __future__ import annotations

import argparse
import json
from typing import Any

from engine.compiler.requirements import DataRequirement
from engine.compiler.rules import Rule, RuleSet
from engine.runners.criteria import Criteria, load_criteria
from engine.ui.options import add_knowledge_options, add_study_option, add_version_option
from engine.ui.terminology import terminology_options


def add_options(command: argparse.ArgumentParser) -> None:
    """What the command is told."""
    command.add_argument("criteria", nargs="+", metavar="PATH")
    add_knowledge_options(command)
    add_study_option(command)
    command.add_argument("--strict", action="store_true", help="exit with 1 where there are warnings")
    command.add_argument("--json", action="store_true", help="as JSON")
    add_version_option(command)
    command.set_defaults(run=check_command)


def check_command(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status: 0, 1 (warnings, with --strict) or 2 (errors)."""
    criteria = load_criteria(
        *options.criteria,
        on_error="keep",
        fhir_version=options.fhir,
        libraries=options.libraries,
        valuesets=options.valuesets,
        allow_missing_valuesets=options.allow_missing_valuesets,
        terminology_options=terminology_options(options),
        force_fhir=options.force_fhir,
        study_start=options.study_start,
    )
    if options.json:
        print(json.dumps(report(criteria), indent=2, ensure_ascii=False))
    else:
        for rules in criteria.rules:
            _show(rules)
        for diagnostic in criteria.diagnostics:
            print(diagnostic.render())
        errors = len(criteria.errors)
        warnings = sum(d.severity == "warning" for d in criteria.diagnostics)
        computable = sum(_leaf(rule) and rule.code is not None for rules in criteria.rules for rule in rules.walk())
        leaves = sum(_leaf(rule) for rules in criteria.rules for rule in rules.walk())
        print(
            f"{len(criteria.rules)} artifacts, {leaves} characteristics, {computable} computable; "
            f"{errors} errors, {warnings} warnings"
        )
    if criteria.errors:
        return 2
    return 1 if options.strict and any(d.severity == "warning" for d in criteria.diagnostics) else 0


def _leaf(rule: Rule) -> bool:
    return rule.combination is None


def _show(rules: RuleSet) -> None:
    version = f"|{rules.version}" if rules.version else ""
    print(f"{rules.kind} {rules.artifact}{version}")
    print(
        f"  {rules.title} -- {rules.combination}{_threshold(rules.threshold)}, patients in FHIR {rules.model.upper()}"
    )
    for rule in rules.rules:
        _show_rule(rule, "  ")
    print()


def _show_rule(rule: Rule, indent: str) -> None:
    kind = "exclusion" if rule.exclude else "inclusion"
    print(f"{indent}{rule.id}  {rule.title}  [{kind}, {rule.form}]")
    inner = indent + "    "
    if rule.reason is not None:
        print(f"{inner}unknown for everyone: {rule.reason}: {rule.detail}")
    elif rule.combination is not None:
        print(f"{inner}{rule.combination}{_threshold(rule.threshold)} of {len(rule.members)}:")
        for member in rule.members:
            _show_rule(member, inner)
    elif rule.code is not None:
        print(f"{inner}{rule.code.text}")
        for note in rule.notes:
            print(f"{inner}note: {note}")
        for found in rule.code.reads().values():
            print(f"{inner}reads {reads(found)}")


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


def report(criteria: Criteria) -> dict[str, Any]:
    """Everything that `check` says, as JSON."""
    return {
        "artifacts": [
            {
                "artifact": rules.artifact,
                "version": rules.version,
                "title": rules.title,
                "combination": rules.combination,
                "characteristics": [_rule_json(rule) for rule in rules.rules],
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
            for d in criteria.diagnostics
        ],
    }


def _rule_json(rule: Rule) -> dict[str, Any]:
    out: dict[str, Any] = {
        "id": rule.id,
        "title": rule.title,
        "kind": "exclusion" if rule.exclude else "inclusion",
        "form": rule.form,
    }
    if rule.reason is not None:
        out |= {"reason": rule.reason, "detail": rule.detail}
    elif rule.combination is not None:
        out |= {"combination": rule.combination, "members": [_rule_json(member) for member in rule.members]}
    elif rule.code is not None:
        found = rule.code.reads().values()
        out |= {"expression": rule.code.text, "reads": [reads(item) for item in found]}
        if rule.notes:
            out["notes"] = list(rule.notes)
    return out
