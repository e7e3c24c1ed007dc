"""The public bug reports about CQL over FHIR data: every stated define of every case has the stated value."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import Source
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from tests.shared import reported, reported_ids
from tests.spec.test_reported_cql import CASES as WITHOUT_PATIENT

CASES = (
    "CQL-AGE-YEAR-ONLY",
    "CQL-AGE-ASOF-DATETIME",
    "CQL-AGE-LEAPLING",
    "CQL-PERIOD-NO-END",
    "CQL-IS-ON-ABSENT",
    "CQL-SORT-NULLS",
    "CQL-QTY-NO-CODE",
    "CQL-VS-VERSION-PIN",
    "CQL-RETRIEVE-CHOICE-CODE",
)


def value_sets(given: dict[str, Any]) -> dict[str, frozenset[tuple[str | None, str | None]]]:
    """Value sets by `url|version`."""
    return {
        f"{url}|{version}": frozenset((code["system"], code["code"]) for code in codes)
        for url, versions in given.items()
        for version, codes in versions.items()
    }


def test_every_case_in_cql_is_a_test() -> None:
    known = set(reported_ids("cql"))
    assert known == {*CASES, *WITHOUT_PATIENT}


@pytest.mark.parametrize("case_id", CASES)
def test_reported(case_id: str) -> None:
    case = reported(case_id)
    given = case["input"]
    loaded = LoadedLibrary(Compiler().compile(Source(f"{case_id}.cql", given["cql"])))
    resources = [entry["resource"] for entry in given["bundle"]["entry"]]
    now = dt.datetime.fromisoformat(given["evaluation_timestamp"])
    run = Run(now, value_sets=value_sets(given.get("valuesets", {})))
    subject = next(r for r in resources if r["resourceType"] == "Patient")
    environment = Patient(run, subject, resources)
    values = {name: loaded.evaluate(name, environment) for name in case["expected"]}
    assert values == case["expected"]
