"""How criteria move when more records of a type are found: up, down, not at all, or no one knows."""

from __future__ import annotations

import pytest

from fhir_eligibility.algebra.diagnostic import Source
from fhir_eligibility.artifacts.libraries import LibraryStore
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.artifacts.records import ExpressionSource
from fhir_eligibility.compiler.analysis.monotonicity import ANYTHING, DOUBTS, REACHED, direction_in, opposite, together
from fhir_eligibility.compiler.criteria.cql import CqlCriteria
from fhir_eligibility.compiler.criteria.fhirpath_code import compile_code

C, O, P = "Condition", "Observation", "Patient"  # noqa: E741
CODE = "code.coding.exists(system = 'http://c' and code = 'a')"
CQL = """library L
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
codesystem "C": 'http://c'
code "a": 'a' from "C"
context Patient
define "Some condition": exists [Condition: "a"]
define function "Any of"(items List<FHIR.Condition>): exists items
define function "None of"(items List<FHIR.Condition>): not exists items
define function "Odd"(items List<FHIR.Condition>): Count(items) = 2
"""


def in_fhirpath(text: str, *names: str) -> str:
    return direction_in(compile_code(text, load_model("r4"), name="x")[0].monotonicity, names)


def in_cql(text: str, *names: str) -> str:
    store = LibraryStore()
    library = store.add_text(Source("L", f"{CQL}define X: {text}"))
    source = ExpressionSource(language="text/cql-identifier", text="X", libraries=(library.name or "",))
    return direction_in(CqlCriteria(store).code(source, "here")[0].monotonicity, names)


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("Condition.exists()", [C], "grows"),
        ("Condition.exists()", [O], "constant"),
        (f"Condition.where({CODE} and clinicalStatus.exists()).exists()", [C], "grows"),
        ("Condition.exists().not()", [C], "falls"),
        ("Condition.empty()", [C], "falls"),
        ("Condition.count() = 0", [C], "falls"),
        ("Condition.count() >= 2", [C], "grows"),
        ("2 > Condition.count()", [C], "falls"),
        ("Condition.count() = 2", [C], "mixed"),
        ("Condition.all(clinicalStatus.exists())", [C], "falls"),
        ("Condition.exists() and Observation.exists().not()", [C], "grows"),
        ("Condition.exists() and Observation.exists().not()", [O], "falls"),
        ("Condition.exists() and Observation.exists().not()", [C, O], "mixed"),
        ("Condition.exists() implies Observation.exists()", [O], "grows"),
        ("Condition.exists() implies Observation.exists()", [C], "falls"),
        ("Condition.exists() xor Observation.exists()", [C], "mixed"),
        ("Observation.last().status = 'final'", [O], "mixed"),
        ("Observation.select(status = 'final')", [O], "mixed"),
        ("Observation.where(status = 'final')", [O], "grows"),
        ("(Observation | Condition).exists()", [O, C], "grows"),
        ("Observation.where(Condition.exists()).exists()", [C], "grows"),
        ("Observation.where(Condition.empty()).exists()", [C], "falls"),
        ("Observation.exclude(Condition).exists()", [C], "falls"),
        ("iif(Condition.exists(), true, false)", [C], "mixed"),
        ("birthDate <= @2000", [P], "mixed"),
        ("birthDate.exists()", [P], "grows"),
        ("gender = 'male'", [C], "constant"),
        ("Observation.subject.resolve().ofType(Group).exists()", ["Group"], "grows"),
        ("Observation.subject.resolve().ofType(Group).exists()", [f"{REACHED}Group"], "grows"),
        ("Observation.subject.resolve().exists().not()", ["Group"], "falls"),
        ("Condition.where(onset <= @2020).exists().not()", [DOUBTS], "falls"),
    ],
)  # fmt: skip
def test_monotonicity_of_fhirpath(text: str, names: list[str], expected: str) -> None:
    assert in_fhirpath(text, *names) == expected


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ('"Some condition"', [C], "grows"),
        ('not "Some condition"', [C], "falls"),
        ('"Some condition" and not exists [Observation]', [C], "grows"),
        ('"Some condition" and not exists [Observation]', [O], "falls"),
        ('"Some condition" and not exists [Observation]', [C, O], "mixed"),
        ('"Some condition"', [O], "constant"),
        ('"Any of"([Condition])', [C], "grows"),
        ('"None of"([Condition])', [C], "falls"),
        ('not "None of"([Condition])', [C], "grows"),
        ('"Odd"([Condition])', [C], "mixed"),
        ("Count([Condition]) = 0", [C], "falls"),
        ("Count([Condition]) >= 2", [C], "grows"),
        ("Count([Condition]) = 2", [C], "mixed"),
        ("Last([Observation] O sort by (effective as FHIR.dateTime)).status = 'final'", [O], "mixed"),
        ("exists ([Observation] O with [Condition] C such that C.id = O.id)", [C], "grows"),
        ("exists ([Observation] O without [Condition] C such that C.id = O.id)", [C], "falls"),
        ("exists ([Observation] O without [Condition] C such that C.id = O.id)", [O], "grows"),
        ("exists ([Observation] except [Observation])", [O], "mixed"),
        ("[Condition]", [C], "grows"),
        ("AgeInYears() >= 18", [C], "constant"),
        ("AgeInYears() >= 18", [P], "mixed"),
        ('exists [MedicationRequest: "a"]', ["Medication"], "grows"),
        ('exists [Patient.managingOrganization -> Condition: "a"]', [f"{REACHED}Condition"], "grows"),
        ("if exists [Condition] then true else false", [C], "mixed"),
    ],
)  # fmt: skip
def test_monotonicity_of_cql(text: str, names: list[str], expected: str) -> None:
    assert in_cql(text, *names) == expected


def test_what_is_not_listed_is_as_anything() -> None:
    one, other = {C: "grows", ANYTHING: "falls"}, {O: "grows"}
    assert together((one, other)) == {C: "grows", ANYTHING: "falls", O: "mixed"}
    assert opposite(one) == {C: "falls", ANYTHING: "grows"}
    assert (
        direction_in(one, [P]) == "falls"
        and direction_in(other, [P]) == "constant"
        and direction_in(one, []) == "constant"
    )
