"""Runs the official CQL suite on the engine.

Expected results are CQL text: compiled and evaluated like the expressions themselves, then compared value by value (`difference`). A case
that is `invalid` passes only where the right stage refuses it: `syntax` and `semantic` at translation, `true` at translation or when
evaluated.
"""

from __future__ import annotations

import datetime as dt
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from fhir_eligibility.algebra.diagnostic import DiagnosticError, EvaluationError
from fhir_eligibility.algebra.temporal import Date, DateTime
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.points import Uncertainty
from fhir_eligibility.algebra.values.quantity import Quantity
from fhir_eligibility.compiler.criteria.library import LoadedLibrary, compile_expression
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.compiler.translate.cql_library import TranslationOptions
from tests.spec.model import Result, Suite

NOW = dt.datetime(2026, 1, 15, 12, 0, tzinfo=dt.UTC)
_TOLERANCE = Decimal("1e-8")


@dataclass(frozen=True, slots=True)
class CqlCase:
    """One case: an expression, what it should give (CQL text), and the stage that should refuse it."""

    name: str
    group: str
    expression: str
    outputs: tuple[str, ...]
    invalid: str | None


def read_cases(folder: Path) -> list[CqlCase]:
    """The cases of every file in a folder, in order."""
    cases = []
    for path in sorted(folder.glob("*.xml")):
        root = ElementTree.parse(path).getroot()
        for group in _all(root, "group"):
            for test in _all(group, "test"):
                (expression,) = _all(test, "expression")
                outputs = tuple(output.text or "" for output in _all(test, "output"))
                invalid = expression.get("invalid")
                name = f"{path.stem}.{test.get('name')}"
                text = expression.text or ""
                cases.append(
                    CqlCase(name, str(group.get("name")), text, outputs, None if invalid == "false" else invalid)
                )
    return cases


def _all(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [child for child in element.iter() if child.tag.rpartition("}")[2] == name]


def run_cql(folder: Path) -> list[Result]:
    """Run every case of the suite."""
    return [run_case(case) for case in read_cases(folder)]


def run_case(case: CqlCase) -> Result:
    """Run one case; whatever the engine raises becomes part of the result."""
    detail = _judge(case)
    return Result(case.name, case.group, case.expression, not detail, detail)


def _judge(case: CqlCase) -> str:
    """What is wrong, in one line; empty for a pass."""
    try:
        compiled = compile_expression(case.expression, case.name)
    except DiagnosticError as error:
        if case.invalid is not None:
            return ""
        return f"expected a result; refused: {'; '.join(d.message for d in error.diagnostics)}"
    except Exception as error:
        return f"the compiler crashed: {error!r}"
    if case.invalid in ("syntax", "semantic"):
        return f"expected a refusal ({case.invalid}); it was accepted"
    try:
        actual = _value(compiled)
    except EvaluationError as error:
        return "" if case.invalid == "true" else f"expected a result; got the error {error.code}: {error.message}"
    except Exception as error:
        return f"the evaluation crashed: {error!r}"
    if case.invalid == "true":
        return f"expected an error; got {actual!r}"
    if not case.outputs:
        return ""
    wanted = [_expected(output, case.name) for output in case.outputs]
    return difference(actual, wanted[0] if len(wanted) == 1 else wanted)


def _expected(output: str, name: str) -> Any:
    """The value of an output; one output gives a single code where a list of codes belongs."""
    return _value(compile_expression(output, f"{name} output", options=TranslationOptions(list_promotion=True)))


def _value(compiled: LoadedLibrary) -> Any:
    return compiled.evaluate("expression", Run(NOW))


def difference(actual: Any, wanted: Any) -> str:
    """How a value differs from the wanted one; empty where it does not."""
    return "" if same(actual, wanted) else f"expected {wanted!r}; got {actual!r}"


def same(actual: Any, wanted: Any) -> bool:
    """Whether two values are the same, to the type and to the precision recorded; Integer and Decimal count alike."""
    if isinstance(actual, Uncertainty) and isinstance(wanted, Interval):
        return bool(wanted.low_closed and wanted.high_closed) and (actual.low, actual.high) == (wanted.low, wanted.high)
    if isinstance(wanted, bool) or isinstance(actual, bool) or wanted is None:
        return actual is wanted
    if isinstance(wanted, (int, Decimal)) and isinstance(actual, (int, Decimal)):
        return abs(Decimal(actual) - Decimal(wanted)) <= _TOLERANCE
    if isinstance(actual, DateTime) and isinstance(wanted, Date):
        return bool(actual._parts[:3] == wanted._parts) and actual._parts[3] is None  # a Date where a DateTime belongs
    if actual.__class__ is not wanted.__class__:
        return False
    if isinstance(wanted, list):
        return len(actual) == len(wanted) and all(map(same, actual, wanted))
    if isinstance(wanted, dict):
        return set(actual) == set(wanted) and all(same(actual[name], value) for name, value in wanted.items())
    if isinstance(wanted, Quantity):
        return same(actual.value, wanted.value) and _unit(actual) == _unit(wanted)
    if isinstance(wanted, Interval):
        return (
            same(actual.low, wanted.low)
            and same(actual.high, wanted.high)
            and (actual.low_closed, actual.high_closed) == (wanted.low_closed, wanted.high_closed)
        )
    if isinstance(wanted, DateTime):
        return bool(actual._parts == wanted._parts and actual.offset_minutes == wanted.offset_minutes)
    return bool(actual == wanted)


def _unit(quantity: Quantity) -> str:
    """Calendar words in the singular; no unit is the unit 1."""
    return quantity.unit or "1"


SUITES = (Suite("cql", "cql", run_cql),)
