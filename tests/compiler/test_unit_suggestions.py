"""A unit that is near one of UCUM is told which."""

from __future__ import annotations

import pytest

from fhir_eligibility.algebra.ucum.suggestions import suggest_unit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[iu]/L", "[IU]/L"),
        ("[Iu]/l", "[IU]/L"),
        ("m[iu]/l", "m[IU]/L"),
        ("M[IU]/ML", "m[IU]/mL"),
        ("NG/ML", "ng/mL"),
        ("mg/DL", "mg/dL"),
        ("10^9/L", "10*9/L"),
    ],
)
def test_near_units(text: str, expected: str) -> None:
    assert suggest_unit(text) == expected
