"""The official CQL expressions on the reference translator and engine, and on ours.

Needs `CQL_REFERENCE_DIR`, see `reference/setup.sh`. Both answer with a value and its static type, or with none: whether
a fault is found while translating or while evaluating does not count. Every difference stands in `differences.toml`,
with who is right and the section of the specification that decides; one that is not listed fails, and so does a
listed one that is gone. Left out: what the reference engine lacks and yet answers.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, EvaluationError
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.points import Uncertainty
from fhir_eligibility.compiler.criteria.library import compile_expression
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.compiler.translate.cql_library import TranslationOptions
from tests.differential.reference.reference import Evaluated, Reference
from tests.shared import shared
from tests.spec.cql_suite import CqlCase, read_cases, same

pytestmark = pytest.mark.slow

DIFFERENCES = Path(__file__).with_name("differences.toml")
RIGHT = {"ours", "reference", "both", "neither"}
KEYS = {"case", "ours", "reference", "right", "section", "reason"}
NOW = dt.datetime(2025, 6, 15, 12, 0, tzinfo=dt.UTC)  # the reference's timestamp
CASES = 1823
LEFT_OUT = 92  # Long, and operators that the reference engine takes for null


@dataclass(frozen=True)
class Answer:
    """What one side says: a value of a static type; where there is none, `fault` says why."""

    value: Any
    type: str | None
    uncertain: bool
    fault: str | None
    text: str

    @property
    def readable(self) -> bool:
        """False for a text that is no literal: a number out of range, an interval that ends before it starts."""
        return self.fault is not None or self.value is not UNREADABLE


UNREADABLE = object()


def our_answer(expression: str, options: TranslationOptions | None = None) -> Answer:
    """Our answer to an expression."""
    try:
        compiled = compile_expression(expression, options=options)
    except DiagnosticError as error:
        fault = f"refused: {error.diagnostics[0].code}"
        return Answer(None, None, False, fault, fault)
    type_ = str(compiled.compiled.defines["expression"].type)
    try:
        value = compiled.evaluate("expression", Run(NOW))
    except EvaluationError as error:
        fault = f"error: {error.code}"
        return Answer(None, type_, False, fault, fault)
    return Answer(value, type_, is_uncertain(value), None, written(value))


def reference_answer(found: Evaluated) -> Answer:
    """The reference's answer; its text is read with our parser."""
    if not found.translated:
        fault = f"refused: {found.errors[0]}"
        return Answer(None, None, False, fault, fault)
    if found.thrown is not None:
        fault = f"error: {found.thrown}"
        return Answer(None, found.type, False, fault, fault)
    assert found.result is not None
    read = our_answer(found.result, TranslationOptions(list_promotion=True))
    value = UNREADABLE if read.fault is not None else read.value
    return Answer(value, found.type, found.uncertain, None, found.result)


def is_uncertain(value: Any) -> bool:
    """Whether a value is, or holds, an uncertainty."""
    if isinstance(value, Interval):
        return is_uncertain(value.low) or is_uncertain(value.high)
    if isinstance(value, list):
        return any(map(is_uncertain, value))
    return isinstance(value, Uncertainty)


def written(value: Any) -> str:
    """A value of ours as the list writes it."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, list):
        return f"{{ {', '.join(map(written, value))} }}" if value else "{ }"
    return str(value)


def alike(ours: Answer, theirs: Answer) -> bool:
    """Whether two answers are the same value of the same static type, or both none."""
    if ours.fault is not None or theirs.fault is not None:
        return ours.fault is not None and theirs.fault is not None
    if not theirs.readable or ours.type != theirs.type or ours.uncertain != theirs.uncertain:
        return False
    return same(ours.value, theirs.value) and kinds(ours.value) == kinds(theirs.value)


def kinds(value: Any) -> Any:
    """Which numbers of a value are Integers and which are Decimals, in order."""
    if isinstance(value, (Interval, Uncertainty)):
        return kinds([value.low, value.high])
    if isinstance(value, (list, dict)):
        return [kinds(part) for part in (value.values() if isinstance(value, dict) else value)]
    return isinstance(value, Decimal)


def shown(answer: Answer, other: Answer) -> str:
    """An answer as the list writes it: with its type where the types differ."""
    typed = answer.fault is None and other.fault is None and answer.type != other.type
    return f"{answer.text} as {answer.type}" if typed else answer.text


def load_differences(path: Path = DIFFERENCES) -> dict[str, dict[str, str]]:
    """The listed differences by case. Raises ValueError for an entry that is not complete, or stands twice."""
    found: dict[str, dict[str, str]] = {}
    for number, entry in enumerate(tomllib.loads(path.read_text(encoding="utf-8"))["difference"], 1):
        if set(entry) != KEYS or not all(entry.values()) or entry["right"] not in RIGHT or entry["case"] in found:
            raise ValueError(f"{path.name}: difference {number} is not complete, or stands twice")
        found[entry["case"]] = entry
    return found


@lru_cache(maxsize=1)
def answers() -> tuple[list[CqlCase], dict[str, Evaluated]]:
    """The cases, and what the reference says of each."""
    cases = read_cases(shared("conformance", "cql"))
    reference = Reference.find()
    if reference is None:
        pytest.skip("the reference is not set up (CQL_REFERENCE_DIR names its folder)")
    return cases, reference.evaluate({case.name: case.expression for case in cases})


def differences(cases: Iterable[CqlCase], found: dict[str, Evaluated]) -> dict[str, tuple[str, str]]:
    """Our answer and the reference's, where they are not alike, by case."""
    unlike: dict[str, tuple[str, str]] = {}
    for case in cases:
        if found[case.name].unsupported:
            continue
        ours, theirs = our_answer(case.expression), reference_answer(found[case.name])
        if not alike(ours, theirs):
            unlike[case.name] = shown(ours, theirs), shown(theirs, ours)
    return unlike


def test_every_case_is_answered() -> None:
    cases, found = answers()
    assert (len(cases), len(found)) == (CASES, CASES)
    assert sum(1 for answer in found.values() if answer.unsupported) == LEFT_OUT


def test_every_difference_is_listed() -> None:
    listed = {name: (entry["ours"], entry["reference"]) for name, entry in load_differences().items()}
    assert differences(*answers()) == listed
