"""CQL cases that users of other engines reported, as collected in `reported-cases.json`: ours give the stated values.

Here stand those that need no patient; whole libraries are compiled, and every stated define is evaluated at the stated
moment.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import Source
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Run
from tests.shared import reported

CASES = (
    "CQL-DECIMAL-EQUIV",
    "CQL-MONTH-END-ARITH",
    "CQL-DATE-IN-DATETIME-PERIOD",
    "CQL-UNCERT-MONTHS-LOW",
    "CQL-INTERVAL-OPEN-NULL-HIGH",
    "CQL-IMPLIES-NULL",
    "CQL-QTY-INCOMMENSURABLE",
    "CQL-QTY-ARBITRARY-UNIT",
    "CQL-CODE-EQUIV-VERSION",
    "CQL-TZ-DEFAULT-OFFSET",
)


def values(case: dict[str, Any]) -> dict[str, Any]:
    """The values of the defines that the case states, as the file writes them."""
    loaded = LoadedLibrary(Compiler().compile(Source(case["id"], case["input"]["cql"])))
    run = Run(now=dt.datetime.fromisoformat(case["input"]["evaluation_timestamp"]))
    return {name: written(loaded.evaluate(name, run)) for name in case["expected"]}


def written(value: Any) -> Any:
    """A value as JSON: dates as their text, without the mark of a DateTime that ends with its date."""
    if isinstance(value, (Date, DateTime, Time)):
        return str(value).removesuffix("T")
    return float(value) if isinstance(value, Decimal) else value


def exactly(found: dict[str, Any]) -> dict[str, tuple[bool, Any]]:
    """Values with their kind, so that `true` is not `1`."""
    return {name: (isinstance(value, bool), value) for name, value in found.items()}


@pytest.mark.parametrize("name", CASES)
def test_reported_case(name: str) -> None:
    case = reported(name)
    assert exactly(values(case)) == exactly(case["expected"])
