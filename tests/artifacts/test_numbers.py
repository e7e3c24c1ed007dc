"""Numbers in definitions: those that no record can hold are errors, whatever they stand for, and end no reading."""

from __future__ import annotations

from pathlib import Path

import pytest

import fhir_eligibility

CODED = '"code": {"coding": [{"system": "http://loinc.org", "code": "2857-1"}]}'


@pytest.mark.parametrize("number", ["1e999999999", "1e-999999999", "-1.5e1001", "1e1001"])
@pytest.mark.parametrize(
    "value",
    [
        '"valueQuantity": {"value": NUMBER, "comparator": ">=", "code": "ng/mL"}',
        '"valueQuantity": {"value": NUMBER, "comparator": ">=", "code": "a"}',
        '"valueRange": {"low": {"value": NUMBER, "code": "ng/mL"}}',
        '"valueBoolean": true, "period": {"start": "2026"}, "extension": [{"url": "http://x", "valueDecimal": NUMBER}]',
    ],
)
def test_a_number_without_end_is_an_error(number: str, value: str, tmp_path: Path) -> None:
    characteristic = f'{{{CODED}, "exclude": false, {value.replace("NUMBER", number)}}}'
    path = tmp_path / "g.json"
    path.write_text(
        f'{{"resourceType": "Group", "id": "g", "type": "person", "actual": false, "characteristic": [{characteristic}]}}'
    )
    criteria = fhir_eligibility.load_criteria(path, on_error="keep")
    (error,) = criteria.errors
    assert error.code == "wrong-type" and "has more than 1,000 digits" in error.message
    (verdict,) = fhir_eligibility.screen(
        criteria, list(fhir_eligibility.compartments_of([{"resourceType": "Patient", "id": "p"}]))
    )
    assert [str(one.reason) for one in verdict.criteria] == ["needs-review"]


def test_a_number_of_many_digits_is_one(tmp_path: Path) -> None:
    path = tmp_path / "g.json"
    number = "0." + "1" * 300
    path.write_text(
        f'{{"resourceType": "Group", "id": "g", "type": "person", "actual": false, "characteristic": [{{{CODED}, "exclude": '
        f'false, "valueQuantity": {{"value": {number}, "comparator": ">=", "code": "ng/mL"}}}}]}}'
    )
    assert fhir_eligibility.load_criteria(path).errors == ()
