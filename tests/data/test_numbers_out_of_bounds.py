"""A number that no decimal may be is an error of the criterion that reads it, for that patient alone, and is never written out."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from fhir_eligibility.data.files.json_text import number, whole
from tests.data.every_way import criteria, screened

ODD = (
    "1e999999999",
    "1e-999999999",
    "1e1000000",
    "-1E+1001",
    "1e9999999999999999999",
    "-1e-99999999999999999999999999999999999999999999",
    "1." + "1" * 500,
    "0." + "0" * 1_000_000 + "1",
    "7" * 10_000,
    "-" + "7" * 5_000,
)


def test_one_number_stops_nobody_else(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for index, value in enumerate(("5.5", "1.5e0", *ODD)):
        about = f'"subject":{{"reference":"Patient/p{index}"}}'
        code = '"code":{"coding":[{"system":"http://loinc.org","code":"2857-1"}]}'
        quantity = (
            f'"valueQuantity":{{"value":{value},"unit":"ng/mL","system":"http://unitsofmeasure.org","code":"ng/mL"}}'
        )
        (data / f"{index}.ndjson").write_text(
            f'{{"resourceType":"Patient","id":"p{index}"}}\n'
            f'{{"resourceType":"Observation","id":"o{index}","status":"final",{about},{code},{quantity}}}\n',
            "utf-8",
        )
    rules = criteria(
        tmp_path / "criteria",
        "Observation.where(code.coding.exists(code = '2857-1')).value.ofType(Quantity).value >= 3",
        "Observation.where(code.coding.exists(code = '2857-1')).value.ofType(Quantity) >= 3 'ng/mL'",
        "Observation.where(code.coding.exists(code = '2857-1')).exists()",
    )
    for way, found, _ in screened(rules, data, tmp_path):
        assert found["Patient/p0"][1:] == ("met", "met", "met"), way
        assert found["Patient/p1"][1:] == ("not met", "not met", "met"), way
        for index in range(2, 2 + len(ODD)):
            assert found[f"Patient/p{index}"][1:] == ("unknown", "unknown", "met"), way
    for path in tmp_path.rglob("verdicts.ndjson"):
        assert path.stat().st_size < 100_000
        verdicts = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        details = {v["patient"]: v["criteria"][0] for v in verdicts}
        assert details["Patient/p2"]["reason"] == "error"
        assert "1e999999999" in details["Patient/p2"]["detail"]


@pytest.mark.parametrize("text", ["1.0", "1e5", "-1.50E-1000", "1e1000", "0." + "1" * 390, "1E+05", "-0.0"])
def test_numbers_within_bounds_are_as_written(text: str) -> None:
    found = whole(text.encode())
    assert isinstance(found, Decimal)
    assert found == Decimal(text)
    assert found.as_tuple() == Decimal(text).as_tuple()


@pytest.mark.parametrize("text", [one for one in ODD if len(one) < 100])
def test_numbers_out_of_bounds_stay_short_texts(text: str) -> None:
    found = number(text)
    assert isinstance(found, str)
    assert len(found) <= 43
