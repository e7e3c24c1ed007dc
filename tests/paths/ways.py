"""The ways that a criterion can go over the same patients: from memory, from a bundle, from NDJSON by plan, and by the workers of a large run."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from fhir_eligibility.artifacts.models import Model, load_model
from fhir_eligibility.compiler.criteria.fhirpath import program_of
from fhir_eligibility.compiler.criteria.fhirpath_code import FhirPathCriterion
from fhir_eligibility.compiler.criteria.reading import reading_plan
from fhir_eligibility.compiler.criteria.rules import Rule, RuleSet
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.patients.reader import compartments_of
from fhir_eligibility.evaluation.evaluator import Evaluator, Options
from fhir_eligibility.evaluation.tracing import PatientEnvironment
from fhir_eligibility.evaluation.verdict import Verdict
from fhir_eligibility.runners.screening.screening import compartments

NOW = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
R4: Model = load_model("r4")
_DECODE = msgspec.json.Decoder(float_hook=Decimal).decode
# Outcome of a criterion and the reason where it is unknown.
Told = tuple[str, str | None]


class Cohort:
    """Some patients in each form: in memory, as one bundle, and as one NDJSON file a type."""

    def __init__(self, patients: Iterable[list[dict[str, Any]]], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.resources: list[list[dict[str, Any]]] = [_DECODE(json.dumps(one)) for one in patients]
        everything = [resource for one in self.resources for resource in one]
        self.bundle, self.lines = folder / "bundle.json", folder / "lines"
        self.lines.mkdir(exist_ok=True)
        text = msgspec.json.Encoder(decimal_format="number").encode
        self.bundle.write_bytes(
            text({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in everything]})
        )
        for kind in {one["resourceType"] for one in everything}:
            found = [text(one) for one in everything if one["resourceType"] == kind]
            (self.lines / f"{kind}.ndjson").write_bytes(b"\n".join(found) + b"\n")
        self.compartments: list[Compartment] = list(compartments_of(everything))


def rule_set(code: Any, name: str = "e") -> RuleSet:
    """A rule set of one criterion."""
    return RuleSet(name, name, None, "r4", "all-of", None, (Rule("1", "1", "expression", code=code),))


def told(verdict: Verdict) -> Told:
    (found,) = verdict.criteria
    return found.outcome, None if found.reason is None else str(found.reason)


def from_memory(rules: RuleSet, cohort: Cohort) -> list[Told]:
    evaluate = Evaluator(rules, Options(now=NOW))
    return [told(evaluate(one)) for one in cohort.compartments]


def from_files(rules: RuleSet, path: Path) -> list[Told]:
    """In the order of the patients' names, which have one digit."""
    evaluate = Evaluator(rules, Options(now=NOW))
    found = [evaluate(one) for one in compartments(path, "r4", plan=reading_plan([rules]))]
    return [told(verdict) for verdict in sorted(found, key=lambda verdict: verdict.patient)]


def untraced(node: Node, code: FhirPathCriterion, *, explained: bool = False) -> FhirPathCriterion:
    """The same criterion without a record of what it looked at, or with one of the values of its parts."""
    program = program_of(code.program.source, node, R4, "criterion", explained=explained)
    return FhirPathCriterion(code.text, node, program, code.boolean, code.monotonicity, code.by_number, code.records)


def environment(compartment: Compartment) -> PatientEnvironment:
    return PatientEnvironment(compartment, now=NOW)
