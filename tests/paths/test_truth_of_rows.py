"""All or any of the rows: a row whose condition has no answer is in doubt, however the author asks for the truth of all rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.data.reader import compartments_of
from fhir_eligibility.runners.criteria import load_criteria
from fhir_eligibility.runners.screening import screen

TEST = "value.ofType(Quantity) >= 3 'mg/L'"
# Rows of a patient: a high value, a low one, none. By function: what holds of them.
ROWS = ("", "h", "l", "m", "hm", "lm", "hl", "hlm")
EXPECTED = {
    "allTrue": "met met not unknown unknown not not not",
    "anyTrue": "not met not unknown met unknown met met",
    "allFalse": "met not met unknown not unknown not not",
    "anyFalse": "not not met unknown unknown met met met",
}
VALUES: dict[str, dict[str, Any]] = {
    "h": {"valueQuantity": {"value": 5, "code": "mg/L"}},
    "l": {"valueQuantity": {"value": 2, "code": "mg/L"}},
    "m": {},
}


def rows(letters: str) -> list[dict[str, Any]]:
    about = {"subject": {"reference": "Patient/p"}, "status": "final", "code": {"text": "x"}}
    found = [{"resourceType": "Observation", "id": x, **about, **VALUES[x]} for x in letters]
    return [{"resourceType": "Patient", "id": "p"}, *found]


def outcomes(folder: Path, expression: str, resources: list[dict[str, Any]]) -> set[str]:
    """From memory, from a bundle, and from NDJSON by plan."""
    expressed = {"definitionExpression": {"language": "text/fhirpath", "expression": expression}}
    artifact = {"resourceType": "EvidenceVariable", "id": "e", "status": "active", "characteristic": [expressed]}
    (folder / "e.json").write_text(json.dumps(artifact))
    bundle, lines = folder / "bundle.json", folder / "lines"
    entries = [{"resource": resource} for resource in resources]
    bundle.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    lines.mkdir()
    for kind in ("Patient", "Observation"):
        texts = [json.dumps(one, separators=(",", ":")) + "\n" for one in resources if one["resourceType"] == kind]
        if texts:
            (lines / f"{kind}.ndjson").write_text("".join(texts))
    criteria = load_criteria(folder / "e.json")
    found = set()
    for data in (list(compartments_of(resources)), bundle, lines):
        (verdict,) = screen(criteria, data)
        found.add(verdict.criteria[0].outcome.removesuffix(" met"))
    return found


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("letters", ROWS)
def test_rows_without_an_answer_are_in_doubt(name: str, letters: str, tmp_path: Path) -> None:
    expected = EXPECTED[name].split()[ROWS.index(letters)]
    for number, expression in enumerate(
        (
            f"Observation.select({TEST}).{name}()",
            f"Observation.where(status = 'final').select($index >= 0 and {TEST}).{name}()",
            f"Observation.select({TEST}).{name}().not().not()",
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert outcomes(folder, expression, rows(letters)) == {expected}
