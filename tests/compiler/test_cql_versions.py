"""`using FHIR` of each version on patients of that version: choices, renamed elements; and FHIRHelpers, known without its file and with it."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, Source
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from fhir_eligibility.compiler.runtime.printing import text_of
from fhir_eligibility.evaluation.measures import MeasureEvaluator
from fhir_eligibility.runners.measures.measuring import MeasureOptions, run_of
from tests.shared import shared
from tests.spec.ecqm_suite import NOW, cases, counts, environment, load

PATIENT = {"resourceType": "Patient", "id": "p", "birthDate": "1980-02-03", "deceasedBoolean": False}
WEIGHT = {"value": 80, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"}
PERIOD = {"start": "2026-01-02T08:00:00Z", "end": "2026-01-02T09:00:00Z"}
COMMON: list[dict[str, Any]] = [
    PATIENT,
    {"resourceType": "Observation", "id": "weight", "status": "final", "valueQuantity": WEIGHT},
    {"resourceType": "Observation", "id": "text", "status": "final", "valueString": "none"},
]
R4B = [
    *COMMON,
    {"resourceType": "Encounter", "id": "e", "status": "finished", "period": PERIOD, "class": {"code": "AMB"}},
]
R5: list[dict[str, Any]] = [
    *COMMON,
    {
        "resourceType": "Encounter",
        "id": "e",
        "status": "completed",
        "actualPeriod": PERIOD,
        "class": [{"coding": [{"system": "s", "code": "AMB"}]}],
    },
    {"resourceType": "Procedure", "id": "r", "status": "completed", "occurrenceDateTime": "2026-01-02"},
    {
        "resourceType": "ImagingStudy",
        "id": "i",
        "status": "available",
        "series": [{"uid": "1.2", "modality": {"coding": [{"system": "dcm", "code": "MR"}]}}],
    },
]


def value(version: str, expression: str, resources: list[dict[str, Any]], helpers: str | None = None) -> str:
    """The value of an expression, as text; `helpers` is the text of a file of FHIRHelpers."""
    head = f"using FHIR version '{version}'\ninclude FHIRHelpers version '{version}'\ncontext Patient\n"
    find = None if helpers is None else (lambda name, version: Source("FHIRHelpers.cql", helpers))
    loaded = LoadedLibrary(Compiler(find).compile(Source("x", f"{head}define X: {expression}")))
    return text_of(loaded.evaluate("X", Patient(Run(NOW), PATIENT, resources)))


SAME = [
    ("AgeInYearsAt(@2026-01-01)", "45"),
    ("[Observation] O where O.value is FHIR.Quantity return O.id.value", "{ 'weight' }"),
    ("[Observation] O where (O.value as FHIR.Quantity) > 70 'kg' return O.id.value", "{ 'weight' }"),
    ("[Observation] O return FHIRHelpers.ToString(O.value as FHIR.string)", "{ null, 'none' }"),
    ("Patient.deceased as FHIR.boolean", "false"),
]


@pytest.mark.parametrize(("expression", "expected"), SAME)
@pytest.mark.parametrize(("version", "resources"), [("4.0.1", R4B), ("4.3.0", R4B), ("5.0.0", R5)])
def test_choices_in_every_version(
    version: str, resources: list[dict[str, Any]], expression: str, expected: str
) -> None:
    assert value(version, expression, resources) == expected


@pytest.mark.parametrize(
    ("version", "expression", "expected"),
    [
        ("4.3.0", "First([Encounter]).class.code.value", "'AMB'"),
        ("4.3.0", "duration in minutes of First([Encounter]).period", "60"),
        ("5.0.0", "First(First([Encounter]).class).coding.code", "{ 'AMB' }"),
        ("5.0.0", "duration in minutes of First([Encounter]).actualPeriod", "60"),
        ("5.0.0", "(First([Procedure]).occurrence as dateTime) during Interval[@2026-01-01, @2026-01-31]", "true"),
        (
            "5.0.0",
            "exists ([ImagingStudy] I where exists (I.series S where S.modality.coding.code = { 'MR' }))",
            "true",
        ),
    ],
)
def test_elements_as_a_version_has_them(version: str, expression: str, expected: str) -> None:
    assert value(version, expression, R5 if version == "5.0.0" else R4B) == expected


@pytest.mark.parametrize(
    ("version", "expression", "at"),
    [("5.0.0", "First([Encounter]).period", "period"), ("4.3.0", "First([Encounter]).actualPeriod", "actualPeriod")],
)
def test_an_element_of_another_version_is_told(version: str, expression: str, at: str) -> None:
    with pytest.raises(DiagnosticError) as error:
        value(version, expression, R5)
    (found,) = error.value.diagnostics
    assert found.code == "unknown-element" and found.source is not None and found.span is not None
    assert found.source.text[found.span.start : found.span.end] == at


def test_a_version_that_is_not_known() -> None:
    with pytest.raises(DiagnosticError) as error:
        value("6.0.0", "1", R5)
    assert error.value.diagnostics[0].code == "unknown-model"


def test_a_file_of_fhirhelpers_is_not_compiled_in_its_place() -> None:
    wrong = (
        "library FHIRHelpers version '4.0.1' define function ToQuantity(quantity FHIR.Quantity): this does not parse ("
    )
    for expression, expected in SAME:
        assert value("4.0.1", expression, R4B, wrong) == expected


def test_a_measure_gives_the_same_with_the_file_of_fhirhelpers_and_without() -> None:
    folder = shared("ecqm", "open", "CMS68FHIRDocumentationofCurrentMedications")
    assert list((folder / "library").glob("Library-FHIRHelpers-*.json"))
    with_file = load(folder)
    assert all(library.name != "FHIRHelpers" for library in with_file.compiled.closure())
    evaluator, run = (
        MeasureEvaluator(with_file.measure, LoadedLibrary(with_file.compiled)),
        run_of(with_file, MeasureOptions(now=NOW)),
    )
    for case in cases(folder):
        wanted = {group: {code: int(n) for code, n in found.items()} for group, found in case["expected"].items()}
        assert counts(evaluator(case["case"], environment(run, case))) == wanted
