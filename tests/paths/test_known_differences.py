"""Criteria over patients with holes whose verdicts once differed by the way that they went: each stands for a family that the generator covers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import Source
from fhir_eligibility.artifacts.libraries import LibraryStore
from fhir_eligibility.artifacts.records import ExpressionSource
from fhir_eligibility.compiler.criteria.cql import CqlCriteria
from fhir_eligibility.compiler.criteria.fhirpath_code import compile_code
from fhir_eligibility.data.patients.reader import compartments_of
from fhir_eligibility.evaluation.evaluator import Evaluator, Options
from fhir_eligibility.runners.screening.criteria import load_criteria
from fhir_eligibility.runners.screening.screening import screen
from tests.paths.ways import NOW, R4, rule_set

PATIENT: dict[str, Any] = {"resourceType": "Patient", "id": "p"}
CONTACT = {**PATIENT, "contact": [{"name": {"family": "Weiss", "given": ["Ada"]}}]}
WITH_EXTENSION = {**PATIENT, "extension": [{"url": "http://x", "valueBoolean": True}]}
OLD = {**PATIENT, "_birthDate": {"extension": [{"url": "http://x", "valueCode": "unknown"}]}}
OBSERVATION = {
    "resourceType": "Observation",
    "id": "o",
    "subject": {"reference": "Patient/p"},
    "code": {"coding": [{"system": "http://loinc.org", "code": "2857-1"}]},
    "valueQuantity": {"value": 5, "code": "ng/mL", "system": "http://unitsofmeasure.org"},
}


def criteria(folder: Path, expression: str) -> Any:
    path = folder / "criteria.json"
    characteristic = [{"definitionExpression": {"language": "text/fhirpath", "expression": expression}}]
    path.write_text(
        json.dumps(
            {"resourceType": "EvidenceVariable", "id": "e", "status": "active", "characteristic": characteristic}
        )
    )
    return load_criteria(path)


def outcomes(folder: Path, expression: str, *resources: dict[str, Any]) -> set[str]:
    """The outcomes from memory, from a bundle and from NDJSON by plan."""
    found = criteria(folder, expression)
    entries = [{"resource": resource} for resource in resources]
    bundle = folder / "bundle.json"
    bundle.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    lines = folder / "lines"
    lines.mkdir(exist_ok=True)
    for kind in {resource["resourceType"] for resource in resources}:
        texts = [
            json.dumps(resource, separators=(",", ":")) for resource in resources if resource["resourceType"] == kind
        ]
        (lines / f"{kind}.ndjson").write_text("\n".join(texts) + "\n")
    out = set()
    for data in (list(compartments_of(resources)), bundle, lines):
        (verdict,) = screen(found, data)
        out.add(verdict.criteria[0].outcome)
    return out


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("Patient.gender in ('male' | 'female')", "unknown"),
        ("(Patient.gender in ('male' | 'female')).not()", "unknown"),
        ("('male' | 'female') contains Patient.gender", "unknown"),
        ("Patient.gender.exists() and Patient.gender in ('male' | 'female')", "not met"),
        ("Observation.exists(status in ('final' | 'amended'))", "unknown"),
        ("Observation.where(status in ('final' | 'amended')).exists().not()", "unknown"),
        ("Patient.birthDate.convertsToString()", "unknown"),
        ("Patient.name.family.first().convertsToInteger().not()", "unknown"),
    ],
)
def test_membership_of_what_is_missing_is_unknown(tmp_path: Path, expression: str, expected: str) -> None:
    assert outcomes(tmp_path, expression, PATIENT, OBSERVATION) == {expected}


@pytest.mark.parametrize(
    ("expression", "patient"),
    [
        ("(Patient.name | Patient.contact.name).family = 'Weiss'", CONTACT),
        ("Patient.name.combine(Patient.contact.name).given.exists()", CONTACT),
        ("Patient.contact.name.intersect(Patient.contact.name).family.exists()", CONTACT),
        ("Patient.contact.name.exclude(Patient.name).family.exists()", CONTACT),
        ("iif(Patient.active.exists(), Patient.name, Patient.contact.name).family.exists()", CONTACT),
        ("coalesce(Patient.name, Patient.contact.name).family.exists()", CONTACT),
        ("Patient.contact.aggregate($total | $this.name, {}).family.exists()", CONTACT),
        ("Patient.extension('http://x').exists()", WITH_EXTENSION),
        ("Patient.birthDate.extension('http://x').value = 'unknown'", OLD),
        ("Patient.descendants().where($this = 'Weiss').exists()", CONTACT),
        ("Patient.defineVariable('c', contact).select(%c).name.family.exists()", CONTACT),
    ],
)
def test_no_element_is_lost_from_files(tmp_path: Path, expression: str, patient: dict[str, Any]) -> None:
    assert outcomes(tmp_path, expression, patient) == {"met"}


def test_resources_without_an_id_are_told_apart_by_all_of_their_elements(tmp_path: Path) -> None:
    rows = [{**{k: v for k, v in OBSERVATION.items() if k != "id"}, "bodySite": {"text": text}} for text in ("a", "b")]
    assert outcomes(tmp_path, "Observation.distinct().count() = 2", PATIENT, *rows) == {"met"}


@pytest.mark.parametrize("first", [{"id": "a"}, None])
def test_the_first_of_nested_repeats_is_the_first(tmp_path: Path, first: dict[str, Any] | None) -> None:
    names = [{"given": ["A"], "_given": [first]}, {"given": ["B"], "_given": [{"id": "b"}]}]
    expected = "a" if first else "b"
    assert outcomes(tmp_path, f"Patient.name.given.id.first() = '{expected}'", {**PATIENT, "name": names}) == {"met"}


def test_an_element_with_extensions_alone_is_an_item_as_any_other(tmp_path: Path) -> None:
    holed = {**PATIENT, "_deceasedDateTime": {"extension": [{"url": "http://x", "valueCode": "masked"}]}}
    assert outcomes(tmp_path, "Patient.deceased.exists()", holed) == {"met"}
    assert outcomes(tmp_path, "Patient.deceased.where($this).exists()", holed) == {"met"}
    boolean = {**PATIENT, "_deceasedBoolean": {"extension": [{"url": "http://x", "valueCode": "masked"}]}}
    assert outcomes(tmp_path, "Patient.deceased.where($this).exists()", boolean) == {"unknown"}


VALUED = {**OBSERVATION, "_valueString": {"extension": [{"url": "http://x", "valueCode": "masked"}]}}
VALUED.pop("valueQuantity")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("Observation.first().value = 'x'", "unknown"),
        ("Observation.first().value in ('x' | 'y')", "unknown"),
        ("Observation.value.ofType(string).subsetOf('x' | 'y')", "unknown"),
        ("('x' | 'y').subsetOf(Observation.value.ofType(string))", "unknown"),
        ("Observation.first().value.ofType(string).convertsToInteger()", "unknown"),
        ("Observation.value.ofType(string) = ('x' | 'y')", "not met"),
        ("Observation.value.ofType(string).combine('x') = ('y' | 'x')", "unknown"),
        ("Observation.first().value", "met"),
        ("Patient.birthDate in (@1980-02-29 | @2000-01-01)", "unknown"),
        ("Patient.birthDate in (@1980-02-29 | @1980)", "met"),
        ("Patient.birthDate in (@1981-02-28 | @2000)", "not met"),
    ],
)
def test_what_may_be_equal_is_not_called_unequal(tmp_path: Path, expression: str, expected: str) -> None:
    assert outcomes(tmp_path, expression, {**PATIENT, "birthDate": "1980"}, VALUED) == {expected}


def test_siblings_of_the_elements_of_series_are_read(tmp_path: Path) -> None:
    series = {"uid": "1.2", "_numberOfInstances": {"extension": [{"url": "http://x", "valueCode": "unknown"}]}}
    study = {
        "resourceType": "ImagingStudy",
        "id": "i",
        "status": "available",
        "subject": {"reference": "Patient/p"},
        "series": [series],
    }
    assert outcomes(tmp_path, "ImagingStudy.series.numberOfInstances.exists()", PATIENT, study) == {"met"}


def test_rows_that_are_made_anew_in_every_world_are_the_same_rows(tmp_path: Path) -> None:
    """At most one of the two can be kept: fewer than three are there in every world."""
    codings = [{"system": "s", "code": "a"}, {"system": "s", "_code": {"id": "x"}}]
    rows = {**OBSERVATION, "code": {"coding": codings}}
    expression = "Observation.code.coding.code.where($this.length() > 0).count() < 3"
    assert outcomes(tmp_path, expression, PATIENT, rows) == {"met"}


def test_each_code_that_is_asked_for_is_a_question_of_its_own(tmp_path: Path) -> None:
    """A row has two codes without a system: each may be the one asked for without the other being so."""
    row = {**OBSERVATION, "code": {"coding": [{"code": "a"}, {"code": "b"}]}}
    one, other = (f"Observation.exists(code.coding.exists(system = 's' and code = '{code}'))" for code in "ab")
    assert outcomes(tmp_path, f"{one} and ({other}).not()", PATIENT, row) == {"unknown"}
    assert outcomes(tmp_path, f"{one} or ({one}).not()", PATIENT, row) == {"met"}


CQL_HEAD = """using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
codesystem "LOINC": 'http://loinc.org'
code "psa": '2857-1' from "LOINC"
context Patient
"""


def cql_outcome(expression: str, *resources: dict[str, Any]) -> str:
    store = LibraryStore()
    library = store.add_text(Source("L", f"library L\n{CQL_HEAD}define X: {expression}\n"))
    source = ExpressionSource(language="text/cql-identifier", text="X", libraries=(library.name or "",))
    rules = rule_set(CqlCriteria(store).code(source, "x")[0])
    (found,) = (Evaluator(rules, Options(now=NOW))(one) for one in compartments_of(resources))
    return found.criteria[0].outcome


TWO_NAMES = {**PATIENT, "name": [{"use": "usual"}, {"use": "official"}]}
EARLY, LATE = (
    {**OBSERVATION, "id": name, "effectiveDateTime": date} for name, date in (("a", "2020-01-01"), ("b", "2024-01-01"))
)
UNDATED = {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p"}, "code": {"text": "x"}}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # each of two elements of one resource may turn out another way
        ("Count(Patient.name N where N.family = 'A') = 1", "unknown"),
        ("Count(Patient.name N where N.family = 'A') < 3", "met"),
        # one row is tried beside two others: it may be before one and not before the other
        ("Count([Observation] O with [Condition] C such that (C.onset as FHIR.dateTime) < (O.effective as FHIR.dateTime)) = 1", "unknown"),
        # neither extreme is the one that holds
        ("Interval[1, 1] contains Count(Patient.name N where N.family = 'A')", "unknown"),
        ("({true} contains exists (Patient.name N where N.family = 'A')) and not exists (Patient.name N where N.given is null and N.use = N.family)", "unknown"),
    ],
)  # fmt: skip
def test_each_row_in_doubt_may_turn_out_another_way(expression: str, expected: str) -> None:
    assert cql_outcome(expression, TWO_NAMES, EARLY, LATE, UNDATED) == expected


def test_a_single_boolean_that_a_row_in_doubt_gives_may_be_false(tmp_path: Path) -> None:
    """Without the row there is no answer, with it the answer is false: that moves another way than a row that makes something exist."""
    patient = {**PATIENT, "active": False}
    expression = "Patient.where(gender = 'male').active or Observation.exists(status = 'final').not()"
    assert outcomes(tmp_path, expression, patient, OBSERVATION) == {"unknown"}
    code, _ = compile_code(
        "Patient.where(gender = 'male').active or Observation.exists(status = 'final')", R4, name="x"
    )
    assert not code.monotone


def test_the_names_of_a_condition_end_with_it() -> None:
    """A condition without an answer that holds a query of its own, of which there is no row."""
    inner = "First([Observation: \"psa\"] O where O.status is null and O.value is null).status = 'final'"
    assert cql_outcome(f"if {inner} then true else false", PATIENT) == "unknown"
    assert cql_outcome(f"exists ([Condition] C where {inner})", PATIENT, UNDATED) == "unknown"
    assert cql_outcome(f"exists ([Condition] C where {inner} and C.id = 'x')", PATIENT, UNDATED) == "not met"


def test_a_value_of_a_type_that_is_not_converted_is_not_convertible(tmp_path: Path) -> None:
    onset = {**UNDATED, "onsetPeriod": {"start": "2024"}}
    assert outcomes(tmp_path, "Condition.onset.first().convertsToInteger()", PATIENT, onset) == {"not met"}
    assert outcomes(
        tmp_path, "Condition.onset.first().convertsToInteger()", PATIENT, {**UNDATED, "onsetString": "7"}
    ) == {"met"}


def test_a_condition_that_is_about_no_row_is_one_question(tmp_path: Path) -> None:
    """Of many rows all are kept or none: that is not too much to try."""
    rows = [{**OBSERVATION, "id": f"o{number}"} for number in range(9)]
    expression = "Count([Observation] O where Patient.gender = 'male')"
    assert cql_outcome(f"{expression} = 9", PATIENT, *rows) == "unknown"
    assert cql_outcome(f"{expression} in Interval[1, 8]", PATIENT, *rows) == "not met"


def test_items_with_extensions_alone_are_not_said_to_be_unconvertible(tmp_path: Path) -> None:
    contact = {"name": {"_use": {"extension": [{"url": "http://x", "valueCode": "unknown"}]}}}
    expression = "Patient.contact.aggregate($total | $this.name, {}).use.exists($this.convertsToInteger())"
    assert outcomes(tmp_path, expression, {**PATIENT, "contact": [contact]}) == {"unknown"}
