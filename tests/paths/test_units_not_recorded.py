"""A number without a unit, in the three forms of a criterion and on every way: it counts as `1`, and as nothing else."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.algebra.values import quantity as q
from fhir_eligibility.algebra.values.element import to_quantity
from fhir_eligibility.algebra.values.quantity import NO_UNIT, Quantity
from fhir_eligibility.compiler.runtime.fhir_values import to_quantity as to_cql_quantity
from fhir_eligibility.data.patients.reader import compartments_of
from fhir_eligibility.runners.screening.criteria import load_criteria
from fhir_eligibility.runners.screening.screening import screen

UCUM = "http://unitsofmeasure.org"
LOINC = "http://loinc.org"
CODE = {"coding": [{"system": LOINC, "code": "10230-1"}]}


def forms(value: str, unit: str) -> list[dict[str, Any]]:
    """That the one measurement is at least a quantity: coded, in FHIRPath, in CQL."""
    quantity = {"value": float(value), "comparator": ">=", "system": UCUM, "code": unit}
    fhirpath = f"Observation.exists(value.ofType(Quantity) >= {value} '{unit}')"
    cql = f"exists ([Observation] O where (O.value as FHIR.Quantity) >= {value} '{unit}')"
    return [
        {"definitionByTypeAndValue": {"type": CODE, "valueQuantity": quantity}},
        {"definitionExpression": {"language": "text/fhirpath", "expression": fhirpath}},
        {"definitionExpression": {"language": "text/cql", "expression": cql}},
    ]


def told(folder: Path, value: str, unit: str, recorded: dict[str, Any]) -> set[tuple[str, str | None]]:
    """Outcomes and reasons of all forms, from memory, a bundle and NDJSON."""
    characteristics = [{"linkId": str(n), **form} for n, form in enumerate(forms(value, unit))]
    artifact = {"resourceType": "EvidenceVariable", "id": "e", "status": "active", "characteristic": characteristics}
    (folder / "e.json").write_text(json.dumps(artifact))
    criteria = load_criteria(folder / "e.json")
    observation = {"resourceType": "Observation", "id": "o", "status": "final", "code": CODE}
    observation |= {"subject": {"reference": "Patient/p"}, "valueQuantity": recorded}
    resources = [{"resourceType": "Patient", "id": "p"}, observation]
    lines, bundle = folder / "lines", folder / "bundle.json"
    lines.mkdir(exist_ok=True)
    for resource in resources:
        (lines / f"{resource['resourceType']}.ndjson").write_text(json.dumps(resource) + "\n")
    entries = [{"resource": resource} for resource in resources]
    bundle.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    found: set[tuple[str, str | None]] = set()
    for data in (list(compartments_of(resources)), bundle, lines):
        (verdict,) = screen(criteria, data)
        found |= {(one.outcome, None if one.reason is None else str(one.reason)) for one in verdict.criteria}
    return found


@pytest.mark.parametrize(
    ("value", "unit", "recorded", "expected"),
    [
        # an ejection fraction of 30 is 30 % or 3000 %
        ("50", "%", {"value": 30}, ("unknown", "missing-unit")),
        ("50", "%", {"value": 60}, ("unknown", "missing-unit")),
        ("50", "%", {"value": 0.3}, ("unknown", "missing-unit")),
        ("50", "%", {"value": 0.3, "system": UCUM, "code": "1"}, ("not met", None)),
        ("50", "%", {"value": 0.6, "system": UCUM, "code": "1"}, ("met", None)),
        ("50", "%", {"value": 60, "unit": "%"}, ("met", None)),
        ("150", "10*3", {"value": 200}, ("unknown", "missing-unit")),
        ("50", "mg/dL", {"value": 60}, ("unknown", "missing-unit")),
        # a score needs no unit
        ("3", "{score}", {"value": 4}, ("met", None)),
        ("3", "1", {"value": 4}, ("met", None)),
        ("3", "1", {"value": 2}, ("not met", None)),
        ("2", "1", {"value": 150, "system": UCUM, "code": "%"}, ("not met", None)),
        ("2", "1", {"value": 250, "system": UCUM, "code": "%"}, ("met", None)),
        ("2", "1", {"value": 250, "system": UCUM, "code": "mg"}, ("unknown", "unit-not-comparable")),
    ],
)
def test_all_forms_and_ways_agree_on_numbers_without_a_unit(
    tmp_path: Path, value: str, unit: str, recorded: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    assert told(tmp_path, value, unit, recorded) == {expected}


@pytest.mark.parametrize("read", [to_quantity, to_cql_quantity])
def test_only_a_quantity_that_records_no_unit_has_none(read: Any) -> None:
    assert read({"value": Decimal(1)}).unit is NO_UNIT
    for recorded in ({"code": "1"}, {"unit": "1"}, {"code": "1", "system": UCUM}):
        assert read({"value": Decimal(1), **recorded}).unit.__class__ is str


NUMBERS = st.decimals(-(10**6), 10**6, places=3)


@settings(deadline=None)
@given(NUMBERS, NUMBERS, st.sampled_from(["1", "%", "10*3", "[ppth]", "{score}", "mg", "[pH]"]))
def test_no_unit_compares_like_one_or_not_at_all(x: Decimal, y: Decimal, unit: str) -> None:
    bare, other = Quantity(x, NO_UNIT), Quantity(y, unit)
    like_one = unit in ("1", "{score}")
    for operator in (q.compare, q.equal, q.add, q.subtract):
        expected = operator(Quantity(x), other) if like_one else None
        assert operator(bare, other) == expected
        swapped = operator(other, Quantity(x)) if like_one else None
        assert operator(other, bare) == swapped
    assert bare.to_unit(unit) == (Quantity(x).to_unit(unit) if like_one else None)
