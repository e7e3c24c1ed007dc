"""Exceptions (`except-subset`) of Groups as R6 writes them: with times, measurements and the elements that R6 alone has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.compiler.forms.judging import Json, amount, concept, group, outcome_of, record

DISEASE: Json = {"code": concept("64572001")}
CANCER, BASAL_CELL = concept("363346000"), concept("254701007")
START = concept("450332002")


def window(low: int, high: int) -> list[Json]:
    return [{"contextCode": START, "offsetRange": {"low": amount(low, "mo"), "high": amount(high, "mo")}}]


def definition_of(included: Json, *excepted: Json) -> Json:
    found = group(
        included,
        *[{**one, "exclude": True} for one in excepted],
        combinationMethod="except-subset",
        membership="definitional",
    )
    del found["actual"]
    return found


def tumour(identifier: str, date: str | None, *codes: Json) -> Json:
    more = {} if date is None else {"onsetDateTime": date}
    coding = [coding for code in codes for coding in code["coding"]]
    return record("Condition", code={"coding": coding}, **more) | {"id": identifier}


@pytest.mark.parametrize(
    ("records", "outcome"),
    [
        ([("a", "2026-01-01", CANCER)], "met"),
        ([("a", "2024-01-01", CANCER)], "not met"),
        ([("a", "2026-01-01", CANCER, BASAL_CELL)], "not met"),
        ([("a", "2026-01-01", CANCER, BASAL_CELL), ("b", "2026-02-01", CANCER)], "met"),
        ([("a", "2026-01-01", CANCER, BASAL_CELL), ("b", "2024-02-01", CANCER)], "not met"),
        ([("a", None, CANCER)], "unknown"),
        ([("a", None, CANCER, BASAL_CELL)], "not met"),
        ([("a", "2025", CANCER)], "unknown"),
        ([], "not met"),
    ],
)
def test_an_inclusion_with_a_time(records: list[tuple[Any, ...]], outcome: str, tmp_path: Path) -> None:
    definition = definition_of(
        DISEASE | {"valueCodeableConcept": CANCER, "relativeTime": window(-12, 0)},
        DISEASE | {"valueCodeableConcept": BASAL_CELL},
    )
    assert outcome_of(definition, [tumour(*one) for one in records], tmp_path).startswith(outcome)


@pytest.mark.parametrize(
    ("records", "outcome"),
    [
        ([("a", "2026-01-01", CANCER, BASAL_CELL)], "not met"),
        ([("a", "2024-01-01", CANCER, BASAL_CELL)], "met"),
        ([("a", None, CANCER, BASAL_CELL)], "unknown"),
        ([("a", None, CANCER)], "met"),
    ],
)
def test_an_exception_with_a_time(records: list[tuple[Any, ...]], outcome: str, tmp_path: Path) -> None:
    definition = definition_of(
        DISEASE | {"valueCodeableConcept": CANCER},
        DISEASE | {"valueCodeableConcept": BASAL_CELL, "relativeTime": window(-12, 0)},
    )
    assert outcome_of(definition, [tumour(*one) for one in records], tmp_path).startswith(outcome)


def test_a_measurement_as_exception(tmp_path: Path) -> None:
    definition = definition_of(
        DISEASE | {"valueCodeableConcept": CANCER},
        {"code": concept("2857-1", system="http://loinc.org"), "valueQuantity": amount(4, "ng/mL", ">=")},
    )

    def psa(**more: Any) -> Json:
        code = concept("2857-1", system="http://loinc.org")
        return record("Observation", status="final", code=code, **more) | {"id": "psa"}

    cancer = tumour("a", "2026-01-01", CANCER)
    for found, outcome in (
        ([psa(valueQuantity=amount(5, "ng/mL"))], "not met"),
        ([psa(valueQuantity=amount(3, "ng/mL"))], "met"),
        ([psa()], "unknown"),
        ([], "unknown: no-data"),
    ):
        assert outcome_of(definition, [cancer, *found], tmp_path).startswith(outcome), found
    assert outcome_of(definition, [], tmp_path) == "not met", (
        "without a tumour there is nothing to make an exception of"
    )
