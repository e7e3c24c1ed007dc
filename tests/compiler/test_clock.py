"""Whether a criterion reads the clock: what does in any way is told, and nothing else of the package asks for the time of evaluation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fhir_eligibility.compiler.criteria.clock import rules_read_clock
from fhir_eligibility.runners.screening.criteria import load_criteria

ROOT = Path(__file__).resolve().parents[2] / "engine" / "fhir_eligibility"
LIBRARY = """library Clock version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
parameter "Measurement Period" Interval<DateTime> default Interval[Now() - 1 year, Now()]
parameter Fixed Interval<DateTime> default Interval[@2020-01-01T00:00:00.0, @2021-01-01T00:00:00.0]
context Patient
define function Old(moment Date): moment before Today() - 1 year
define Age: AgeInYears() >= 18
define AgeAt: AgeInYearsAt(@2026-01-01) >= 18
define Period: exists([Observation] O where O.effective during "Measurement Period")
define Known: exists([Observation] O where O.effective during Fixed)
define Function: Old(@2020-01-01)
define Reached: Function
define Moment: exists([Observation] O where O.effective before Now())
define Hour: TimeOfDay() > @T12:00
define Born: Patient.birthDate.value < @2000-01-01
define Made: DateTime(2020, 1, 1) < @2021-01-01T00:00:00.0
"""
READS = {"Age", "Period", "Function", "Reached", "Moment", "Hour"}


def reads_clock(folder: Path, language: str, text: str) -> bool:
    """Whether a criterion that is such an expression reads the clock."""
    found = {"linkId": "c", "definitionExpression": {"language": language, "expression": text}}
    variable = {"resourceType": "EvidenceVariable", "id": "e", "status": "active", "characteristic": [found]}
    (folder / "e.json").write_text(json.dumps(variable))
    (folder / "Clock.cql").write_text(LIBRARY)
    rules = load_criteria(folder / "e.json", libraries=[folder / "Clock.cql"]).rules
    assert rules[0].rules[0].code is not None
    return rules_read_clock(rules)


@pytest.mark.parametrize("define", re.findall(r"^define (\w+):", LIBRARY, re.MULTILINE))
def test_defines_of_a_library(tmp_path: Path, define: str) -> None:
    assert reads_clock(tmp_path, "text/cql-identifier", define) == (define in READS)


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("Patient.birthDate <= today() - 18 years", True),
        ("Observation.where(effective < now()).exists()", True),
        ("Patient.birthDate.exists() and timeOfDay() > @T12:00", True),
        ("Observation.select(iif(true, today(), @2020-01-01)).exists()", True),
        ("Patient.birthDate <= @2008-06-01", False),
        ("Observation.where(effective < @2020-01-01T00:00:00Z).exists()", False),
    ],
)
def test_expressions_in_fhirpath(tmp_path: Path, text: str, reads: bool) -> None:
    assert reads_clock(tmp_path, "text/fhirpath", text) is reads


@pytest.mark.parametrize(
    ("value", "reads"),
    [
        ({"definitionByTypeAndValue": {"type": {"coding": [{"system": "http://loinc.org", "code": "30525-0"}]},
          "valueQuantity": {"value": 18, "comparator": ">=", "unit": "years", "code": "a", "system": "http://unitsofmeasure.org"}}}, True),
        ({"definitionCodeableConcept": {"coding": [{"system": "http://snomed.info/sct", "code": "399068003"}]}}, False),
        ({"definitionCodeableConcept": {"coding": [{"system": "http://snomed.info/sct", "code": "399068003"}]},
          "timeFromEvent": [{"eventCodeableConcept": {"coding": [{"system": "http://hl7.org/fhir/evidence-variable-event", "code": "study-start"}]},
          "range": {"low": {"value": -1, "code": "a", "unit": "a", "system": "http://unitsofmeasure.org"}, "high": {"value": 0, "code": "a", "unit": "a", "system": "http://unitsofmeasure.org"}}}]}, True),
    ],
)  # fmt: skip
def test_coded_forms(tmp_path: Path, value: dict[str, object], reads: bool) -> None:
    variable = {"resourceType": "EvidenceVariable", "id": "e", "status": "active", "characteristic": [{"linkId": "c", **value}]}  # fmt: skip
    (tmp_path / "e.json").write_text(json.dumps(variable))
    assert rules_read_clock(load_criteria(tmp_path / "e.json").rules) is reads


READERS = {
    "algebra/operators/datetimes.py": "CalculateAge, which is given the environment",
    "compiler/emit/values.py": "the nodes Now, Today and TimeOfDay",
    "compiler/criteria/cql.py": "dates of data requirements, which verdicts do not depend on",
    "compiler/runtime/cql.py": "where the clock is kept",
    "compiler/criteria/fhirpath_code.py": "dates of data requirements",
    "compiler/analysis/dates.py": "dates of data requirements",
    "evaluation/evaluator.py": "handed on to the environment",
    "evaluation/confirming.py": "handed on to the environment",
    "evaluation/in_doubt.py": "handed on to the environment",
    "evaluation/descriptions.py": "what is said of a run once",
}
"""What asks for the time of evaluation. Whoever adds to it sees to `fhir_eligibility.compiler.elm.nodes.reads_clock`."""
_ASKS = re.compile(
    r"\b(?:ev|run|request|clock|environment|options|self|cql|patient)\.(?:now|today|time_of_day)\b|environment\.moment\b"
)


def test_nothing_else_asks_for_the_time_of_evaluation() -> None:
    asking = {
        str(path.relative_to(ROOT))
        for folder in ("algebra", "compiler", "evaluation")
        for path in (ROOT / folder).rglob("*.py")
        if _ASKS.search(path.read_text("utf-8"))
    }
    assert asking - READERS.keys() == set()
    assert READERS.keys() - asking == set()
