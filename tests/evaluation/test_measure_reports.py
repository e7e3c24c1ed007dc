"""MeasureReports: strata as FHIR values, functions of the episode, quantities, the period, supplemental data - valid as R4 and R5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.measurereport import MeasureReport as MeasureReportR5
from fhir.resources.R4B.measurereport import MeasureReport

from fhir_eligibility.ui.commands.cli import main

LIBRARY = """library MLib version '1.0.0'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1' called FHIRHelpers
codesystem "Sexes": 'http://example.org/sexes'
code "F": 'f' from "Sexes" display 'Woman'
code "M": 'm' from "Sexes"
parameter "Measurement Period" Interval<DateTime> default Interval[@2026-01-01T00:00:00.0-05:00, @2026-12-31T23:59:59.999-05:00]
context Patient
define "Visits": [Encounter] E where E.period during "Measurement Period"
define "Finished": "Visits" E where E.status = 'finished'
define "Here": exists "Visits"
define "Woman": Patient.gender = 'female'
define "Sex": Patient.gender.value
define "Sex Code": if Patient.gender = 'female' then "F" else "M"
define "Sex Concept": Concept { codes: { "Sex Code" }, display: 'Sex' }
define "Dose": 5 'mg'
define "Nothing": null as String
define "Two": { 'a', 'b' }
define "Broken": Message(true, true, 'x', 'Error', 'not computed')
define "Over 60": AgeInYearsAt(@2026-01-01) >= 60
define "Age": AgeInYearsAt(@2026-01-01)
define function "Age At"(e Encounter): AgeInYearsAt(date from start of e.period)
define function "Status"(e Encounter): e.status.value
define function "Length"(e Encounter): System.Quantity { value: hours between start of e.period and end of e.period, unit: 'h' }
define function "Whole"(): 1
"""
SEXES = "http://example.org/sexes"
CQFM = "http://hl7.org/fhir/us/cqfmeasures/StructureDefinition/cqfm-"


def criteria(expression: str) -> dict[str, str]:
    return {"language": "text/cql-identifier", "expression": expression}


def population(code: str, define: str, **more: Any) -> dict[str, Any]:
    return {"id": code, "code": {"coding": [{"code": code}]}, "criteria": criteria(define), **more}


def measure(
    *stratifiers: dict[str, Any], basis: str = "Encounter", scoring: str = "cohort", **more: Any
) -> dict[str, Any]:
    define = "Visits" if basis == "Encounter" else "Here"
    listed = [population("initial-population", define)]
    if scoring == "proportion":
        listed += [population("denominator", define), population("numerator", "Woman")]
    if scoring == "continuous-variable":
        extensions = [
            {"url": f"{CQFM}criteriaReference", "valueString": "measure-population"},
            {"url": f"{CQFM}aggregateMethod", "valueCode": "sum"},
        ]
        listed += [
            population("measure-population", define),
            population("measure-observation", "Length", extension=extensions),
        ]
    return {
        "resourceType": "Measure",
        "id": "m",
        "url": "http://example.org/Measure/m",
        "status": "active",
        "library": ["http://example.org/Library/MLib"],
        "scoring": {"coding": [{"code": scoring}]},
        "extension": [{"url": f"{CQFM}populationBasis", "valueCode": basis}],
        "group": [{"id": "g", "population": listed, "stratifier": list(stratifiers)}],
        **more,
    }


def one(define: str, name: str = "s", **more: Any) -> dict[str, Any]:
    return {"id": name, "criteria": criteria(define), **more}


def several(*defines: str) -> dict[str, Any]:
    parts = [
        {"id": f"c{n}", "code": {"text": define}, "criteria": criteria(define)} for n, define in enumerate(defines)
    ]
    return {"id": "s", "component": parts}


def person(name: str, gender: str, born: str, *visits: tuple[str, str, str, str]) -> dict[str, Any]:
    records: list[dict[str, Any]] = [{"resourceType": "Patient", "id": name, "gender": gender, "birthDate": born}]
    records += [
        {
            "resourceType": "Encounter",
            "id": identifier,
            "status": status,
            "class": {"code": "AMB"},
            "subject": {"reference": f"Patient/{name}"},
            "period": {"start": start, "end": end},
        }
        for identifier, status, start, end in visits
    ]
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in records]}


PEOPLE = [
    person(
        "p1",
        "female",
        "1960-05-05",
        ("e1", "finished", "2026-03-01T08:00:00Z", "2026-03-01T10:00:00Z"),
        ("e2", "finished", "2026-12-31T20:00:00Z", "2026-12-31T23:30:00Z"),
        ("e3", "in-progress", "2026-06-01T08:00:00Z", "2026-06-01T12:00:00Z"),
    ),
    person("p2", "male", "1990-01-01", ("f1", "finished", "2026-05-01T08:00:00Z", "2026-05-01T09:00:00Z")),
    person("p3", "male", "1950-01-01", ("g1", "finished", "2025-05-01T08:00:00Z", "2025-05-01T09:00:00Z")),
]
MODELS = {"r4": MeasureReport, "r5": MeasureReportR5}


class Reported:
    """What the command writes; every report is valid."""

    def __init__(self, folder: Path, asked: dict[str, Any], version: str = "r4", status: int = 0) -> None:
        (folder / "MLib.cql").write_text(LIBRARY, "utf-8")
        (folder / "measure.json").write_text(json.dumps(asked), "utf-8")
        (folder / "data").mkdir(exist_ok=True)
        for number, bundle in enumerate(PEOPLE):
            (folder / "data" / f"{number}.json").write_text(json.dumps(bundle), "utf-8")
        out = folder / f"out-{version}"
        arguments = ["measure", str(folder / "measure.json"), "--data", str(folder / "data"), "--out", str(out)]
        arguments += ["--now", "2025-06-15T12:00:00Z", "--quiet", "--fhir", version, "--force-fhir"]
        assert main(arguments) == status
        self.summary: dict[str, Any] = json.loads((out / "summary.json").read_text("utf-8"))
        lines = (out / "reports.ndjson").read_text("utf-8").splitlines()
        self.reports: list[dict[str, Any]] = [json.loads(line) for line in lines]
        for report in (self.summary, *self.reports):
            MODELS[version].model_validate(json.loads(json.dumps(report)))

    @property
    def strata(self) -> list[dict[str, Any]]:
        (stratifier,) = self.summary["group"][0]["stratifier"]
        return list(stratifier["stratum"])


def counted(strata: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return sorted((s["value"]["text"], s["population"][0]["count"]) for s in strata if s["population"][0]["count"])


@pytest.mark.parametrize(
    ("basis", "define", "expected"),
    [
        ("Encounter", "Age At", [("36", 1), ("65", 1), ("66", 2)]),
        ("Encounter", "Status", [("finished", 3), ("in-progress", 1)]),
        ("Encounter", "Finished", [("false", 1), ("true", 3)]),
        ("Encounter", "Sex", [("female", 3), ("male", 1)]),
        ("Encounter", "Over 60", [("false", 1), ("true", 3)]),
        ("boolean", "Sex", [("female", 1), ("male", 1)]),
        ("boolean", "Age", [("36", 1), ("65", 1)]),
        ("boolean", "Dose", [("5 mg", 2)]),
        ("boolean", "Nothing", [("null", 2)]),
        ("boolean", "Two", [("'Two' lists 2 values for a patient, who is in one stratum", 2)]),
        ("boolean", "Broken", [("x: not computed", 2)]),
    ],
)
def test_strata_have_values_that_are_read(
    tmp_path: Path, basis: str, define: str, expected: list[tuple[str, int]]
) -> None:
    assert counted(Reported(tmp_path, measure(one(define), basis=basis)).strata) == expected


@pytest.mark.parametrize("define", ["Sex Code", "Sex Concept"])
def test_strata_of_codes_are_codings(tmp_path: Path, define: str) -> None:
    strata = Reported(tmp_path, measure(one(define), basis="boolean")).strata
    found = [stratum["value"]["coding"] for stratum in strata]
    assert found == [[{"system": SEXES, "code": "f", "display": "Woman"}], [{"system": SEXES, "code": "m"}]]


def test_components_stand_each_with_its_value(tmp_path: Path) -> None:
    strata = Reported(tmp_path, measure(several("Sex", "Over 60", "Status"))).strata
    found = [
        ([(c["code"]["text"], c["value"]["text"]) for c in s["component"]], s["population"][0]["count"]) for s in strata
    ]
    assert found == [
        ([("Sex", "female"), ("Over 60", "true"), ("Status", "finished")], 2),
        ([("Sex", "female"), ("Over 60", "true"), ("Status", "in-progress")], 1),
        ([("Sex", "male"), ("Over 60", "false"), ("Status", "finished")], 1),
    ]


def test_later_versions_have_booleans_and_quantities(tmp_path: Path) -> None:
    strata = Reported(tmp_path, measure(several("Over 60", "Dose"), basis="boolean"), "r5").strata
    assert strata[0]["component"][0]["valueBoolean"] is True
    quantity = strata[0]["component"][1]["valueQuantity"]
    assert quantity == {"value": 5, "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"}


def test_each_stratum_and_each_patient_has_its_score(tmp_path: Path) -> None:
    found = Reported(tmp_path, measure(one("Sex"), basis="boolean", scoring="proportion"))
    assert found.summary["group"][0]["measureScore"] == {"value": 0.5}
    assert [(s["value"]["text"], s["measureScore"]["value"]) for s in found.strata] == [("female", 1), ("male", 0)]
    own = [report["group"][0]["stratifier"][0]["stratum"] for report in found.reports]
    assert [[s["value"]["text"] for s in strata] for strata in own] == [["female"], ["male"], ["male"]]


def test_observations_that_are_quantities_have_scores(tmp_path: Path) -> None:
    found = Reported(tmp_path, measure(one("Status"), scoring="continuous-variable"))
    hours = {"unit": "h", "system": "http://unitsofmeasure.org", "code": "h"}
    assert found.summary["group"][0]["measureScore"] == {"value": 10, **hours}
    scores = {s["value"]["text"]: s["measureScore"] for s in found.strata}
    assert scores == {"finished": {"value": 6, **hours}, "in-progress": {"value": 4, **hours}}


def test_a_stratifier_applies_to_what_it_says(tmp_path: Path) -> None:
    applies = {"url": f"{CQFM}appliesTo", "valueCodeableConcept": {"coding": [{"code": "numerator"}]}}
    asked = measure(one("Sex", extension=[applies]), basis="boolean", scoring="proportion")
    strata = Reported(tmp_path, asked).strata
    assert [[p["id"] for p in s["population"]] for s in strata] == [["numerator"], ["numerator"]]


def test_the_period_is_the_default_of_the_library(tmp_path: Path) -> None:
    found = Reported(tmp_path, measure(basis="boolean"))
    period = {"start": "2026-01-01T00:00:00.000-05:00", "end": "2026-12-31T23:59:59.999-05:00"}
    assert [found.summary["period"], *(r["period"] for r in found.reports)] == [period] * 4
    assert found.summary["group"][0]["population"][0]["count"] == 2


def data(define: str, usage: str) -> dict[str, Any]:
    return {"id": define, "usage": [{"coding": [{"code": usage}]}], "criteria": criteria(define)}


@pytest.mark.parametrize("version", ["r4", "r5"])
def test_supplemental_data_and_risk_factors_stand_in_the_reports(tmp_path: Path, version: str) -> None:
    used = {"Sex Code": "supplemental-data", "Age": "risk-adjustment-factor", "Visits": "risk-adjustment-factor"}
    listed = [data(define, usage) for define, usage in used.items()]
    better = {
        "coding": [{"system": "http://terminology.hl7.org/CodeSystem/measure-improvement-notation", "code": "increase"}]
    }
    asked = measure(basis="boolean", supplementalData=listed, improvementNotation=better)
    found = Reported(tmp_path, asked, version)

    def referred(report: dict[str, Any]) -> list[str]:
        if version == "r5":
            return [one["reference"] for one in report["supplementalData"]]
        return [one["valueReference"]["reference"] for one in report["extension"]]

    first = found.reports[0]
    held = {f"#{o['id']}": o for o in first["contained"]}
    sex, age, *visits = referred(first)
    assert held[sex]["valueCodeableConcept"]["coding"] == [{"system": SEXES, "code": "f", "display": "Woman"}]
    assert held[age]["valueInteger"] == 65
    assert [held[name]["category"][0]["coding"][0]["code"] for name in (sex, age)] == [used["Sex Code"], used["Age"]]
    assert visits == ["Encounter/e1", "Encounter/e2", "Encounter/e3"]
    assert all(report["improvementNotation"] == better for report in (found.summary, *found.reports))
    counts = {
        (o["code"]["text"], o["component"][0]["code"]["text"]): o["component"][0]["valueInteger"]
        for o in found.summary["contained"]
    }
    assert counts == {
        ("Sex Code", "Woman"): 1,
        ("Sex Code", "m"): 2,
        ("Age", "65"): 1,
        ("Age", "36"): 1,
        ("Age", "76"): 1,
        ("Visits", "Encounter"): 4,
    }


@pytest.mark.parametrize(
    ("basis", "define", "message"),
    [
        ("Encounter", "age at", "the library MLib defines no 'age at', which the measure names"),
        ("boolean", "Age At", "'Age At' is a function of 1 operands of the library MLib; a define is needed here"),
        (
            "Encounter",
            "Whole",
            "'Whole' is a function of 0 operands of the library MLib; a define or a function of the episode is needed here",
        ),
    ],
)
def test_a_stratifier_that_cannot_be_evaluated_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], basis: str, define: str, message: str
) -> None:
    found = Reported(tmp_path, measure(one(define), one("Sex", "sex"), basis=basis), status=3)
    assert [s["id"] for s in found.summary["group"][0]["stratifier"]] == ["sex"]
    assert message in capsys.readouterr().err


def test_a_population_that_names_a_function_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = measure(one("Sex"))
    asked["group"][0]["population"].append(population("denominator", "Age At"))
    found = Reported(tmp_path, asked, status=3)
    assert [p["count"] for p in found.summary["group"][0]["population"]] == [4, 0]
    assert (
        "'Age At' is a function of 1 operands of the library MLib; a define is needed here" in capsys.readouterr().err
    )
