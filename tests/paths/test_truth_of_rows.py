"""All or any of the rows: a row whose condition has no answer is in doubt, however the author asks for the truth of all rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.data.patients.reader import compartments_of
from fhir_eligibility.runners.screening.criteria import load_criteria
from fhir_eligibility.runners.screening.screening import screen

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


# Of rows that are high, low, and without a value: by what is asked of their answers.
OF_ANSWERS = {
    "{0}.where($this).exists()": "not met not unknown met unknown met met",
    "{0}.exists($this)": "not met not unknown met unknown met met",
    "{0}.where($this.not()).exists()": "not not met unknown unknown met met met",
    "{0}.where($this = true).count() = 1": "not met not unknown unknown unknown met unknown",
    "{0}.count() = 1": "not met met unknown unknown unknown not not",
    "{0}.distinct().count() = 1": "not met met unknown unknown unknown not not",
    "{0}.empty()": "met not not unknown not not not not",
    "{0} contains true": "not met not unknown met unknown met met",
    "false in {0}": "not not met unknown unknown met met met",
    "{0}.combine(true).allTrue()": "met met not unknown unknown not not not",
    "({0} | true).count() = 1": "met met not unknown unknown not not not",
    "{0}.all($this)": "met met not unknown unknown not not not",
    "{0}.select($this.not()).anyTrue()": "not not met unknown unknown met met met",
    "{0}.aggregate($total and $this, true)": "met met not unknown unknown not not not",
    "{0}.intersect(true).exists()": "not met not unknown met unknown met met",
    "{0}.exclude(true).empty()": "met met not unknown unknown not not not",
    "Observation.select(iif({1}, 'y', 'n')).where($this = 'y').count() = 1": "not met not unknown unknown unknown met unknown",
    "Observation.where(iif({1}, true, false)).count() = 1": "not met not unknown unknown unknown met unknown",
}


@pytest.mark.parametrize("form", OF_ANSWERS)
@pytest.mark.parametrize("letters", ROWS)
def test_answers_that_rows_lack_are_in_doubt(form: str, letters: str, tmp_path: Path) -> None:
    expected = OF_ANSWERS[form].split()[ROWS.index(letters)]
    expression = form.format(f"Observation.select({TEST})", TEST)
    assert outcomes(tmp_path, expression, rows(letters)) == {expected}


LOW, NONE = "Observation.where(id = 'l').{0}", "Observation.where(id = 'm').{0}"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (f"({NONE}).where($this).exists()", "unknown"),
        (f"({NONE}).combine(true).allTrue()", "unknown"),
        (f"({NONE}).combine({LOW}).allTrue()", "not"),
        (f"(({NONE}) | true).count() = 1", "unknown"),
        (f"true in ({NONE}).combine({LOW})", "unknown"),
        (f"false in ({NONE}).combine({LOW})", "met"),
        (f"({NONE}).defineVariable('v').select(%v).where($this).exists()", "unknown"),
        # who asks whether there is an answer gets what FHIRPath says
        (f"({NONE}).exists()", "not"),
        (f"({NONE}).empty()", "met"),
        (f"({NONE}).count() = 0", "met"),
        (f"coalesce({NONE}, false)", "not"),
        (f"coalesce({NONE}, true)", "met"),
    ],
)
def test_conditions_in_collections(expression: str, expected: str, tmp_path: Path) -> None:
    assert outcomes(tmp_path, expression.format(TEST), rows("lm")) == {expected}


def test_each_row_is_in_doubt_for_itself(tmp_path: Path) -> None:
    """Of two rows without an answer, one may hold and the other not: that there is one of them nobody can deny."""
    dates = [{"family": "a", "period": {"start": "2020"}}, {"family": "b", "period": {"start": "2020"}}]
    texts = [{"extension": [{"url": "http://x", "valueCode": "u"}]}] * 2
    patient = {"resourceType": "Patient", "id": "p", "name": [*dates, {"_given": texts}]}
    for number, expression in enumerate(
        (
            "Patient.name.where(iif(period.start < @2020-05, true, false)).count() = 1",
            "Patient.name.select(iif(period.start < @2020-05, 'y', 'n')).where($this = 'y').count() = 1",
            "Patient.name.period.start.where($this < @2020-05).count() = 1",
            "Patient.name.select(period.start < @2020-05).where($this).count() = 1",
            "Patient.name.defineVariable('n').select(Patient.where(%n.period.start < @2020-05)).count() = 1",
            "Patient.name.defineVariable('n').select(iif(%n.period.start < @2020-05, 'y', 'n')).where($this = 'y').count() = 1",
            "Patient.name.defineVariable('n').where(Patient.name.first().period.all(start < %n.period.start)).count() = 1",
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert outcomes(folder, expression, [patient]) == {"unknown"}, expression


def test_the_reason_names_the_row(tmp_path: Path) -> None:
    expression = f"Observation.select({TEST}).where($this).exists()"
    expressed = {"definitionExpression": {"language": "text/fhirpath", "expression": expression}}
    artifact = {"resourceType": "EvidenceVariable", "id": "e", "status": "active", "characteristic": [expressed]}
    (tmp_path / "e.json").write_text(json.dumps(artifact))
    (verdict,) = screen(load_criteria(tmp_path / "e.json"), list(compartments_of(rows("lm"))))
    assert verdict.criteria[0].detail == f"Observation/m: `{TEST}` cannot be decided: Observation/m has no `value`"
