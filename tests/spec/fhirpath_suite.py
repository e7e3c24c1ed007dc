"""Runs the official FHIRPath suites on the engine.

A case with outputs passes where the result equals them strictly (`fhirpath_compare`). A case that is `invalid` passes only where
the right stage refuses it:

- `syntax`: the parser; a diagnostic's code starts with `syntax`.
- `semantic`: the analysis, before anything is evaluated; no diagnostic's code starts with `syntax`.
- `execution`: the evaluation, or the analysis when it sees the same beforehand. The parser only where it refuses a date or
  time literal (`@T14:34:28Z`), which the suites count as an error of execution.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError, EvaluationError
from fhir_eligibility.compiler.criteria.fhirpath import Item, compile_fhirpath
from tests.spec.fhirpath_cases import FhirPathCase, read_cases, read_input
from tests.spec.fhirpath_compare import difference
from tests.spec.model import Result, Suite

NOW = dt.datetime(2026, 1, 15, 12, 0, tzinfo=dt.UTC)
_DATE_LITERAL = re.compile(r"@[T\d][T\d:.+\-Z]*")


def run_fhirpath(version: str, path: Path) -> list[Result]:
    """Run every case of a suite file on the model of `version` ("r4", "r5")."""
    inputs = path.parent / "inputs" / version
    return [run_case(case, version, inputs) for case in read_cases(path)]


def run_case(case: FhirPathCase, version: str, inputs: Path) -> Result:
    """Run one case; whatever the engine raises becomes part of the result."""
    return Result(case.name, case.group, case.expression, not (detail := _judge(case, version, inputs)), detail)


def _judge(case: FhirPathCase, version: str, inputs: Path) -> str:
    """What is wrong, in one line; empty for a pass."""
    resource = None
    if case.input is not None:
        resource = read_input(inputs, case.input)
        if resource is None:
            return f"the input {case.input} is not there as FHIR JSON"
    root = None if resource is None else resource["resourceType"]
    try:
        compiled = compile_fhirpath(case.expression, model=version, root=root, lenient=case.lenient, strict=case.strict)
    except DiagnosticError as error:
        return _judge_refusal(case, error.diagnostics)
    except Exception as error:
        return f"the compiler crashed: {error!r}"
    try:
        items = compiled.evaluate(resource, now=NOW)
    except EvaluationError as error:
        if case.invalid == "execution":
            return ""
        wanted = f"an error of kind {case.invalid}" if case.invalid else "a result"
        return f"expected {wanted}; got the run-time error {error.code}: {error.message}"
    except Exception as error:
        return f"the evaluation crashed: {error!r}"
    if case.invalid is not None:
        got = difference(items, (), True).removeprefix("expected empty; got ") or "empty"
        return f"expected an error of kind {case.invalid}; got {got}"
    if case.predicate:
        items = as_predicate(items)
    return difference(items, case.outputs, case.ordered)


def _judge_refusal(case: FhirPathCase, diagnostics: Sequence[Diagnostic]) -> str:
    refused = [d for d in diagnostics if d.severity == "error" or case.strict]
    syntax = [d for d in refused if d.code.startswith("syntax")]
    right = {
        "syntax": bool(syntax),
        "semantic": bool(refused) and not syntax,
        "execution": bool(refused) and all(_refuses_date_literal(d, case.expression) for d in syntax),
        None: False,
    }[case.invalid]
    if right:
        return ""
    wanted = f"an error of kind {case.invalid}" if case.invalid else "a result"
    return f"expected {wanted}; got " + "; ".join(f"{d.code}: {d.message}" for d in diagnostics)


def _refuses_date_literal(diagnostic: Diagnostic, text: str) -> bool:
    """Whether a syntax error stands in a date or time literal, or right at its end."""
    if diagnostic.span is None:
        return False
    start = diagnostic.span.start
    return any(found.start() <= start <= found.end() for found in _DATE_LITERAL.finditer(text))


def as_predicate(items: Sequence[Item]) -> list[Item]:
    """A result read as a condition: one Boolean stands for itself, otherwise any item is true and none is false."""
    if len(items) == 1 and isinstance(items[0].value, bool):
        return list(items)
    return [Item(bool(items), "System.Boolean")]


SUITES = (
    Suite("fhirpath-r4", "fhirpath/tests-fhir-r4.xml", partial(run_fhirpath, "r4")),
    Suite("fhirpath-r5", "fhirpath/tests-fhir-r5.xml", partial(run_fhirpath, "r5")),
)
