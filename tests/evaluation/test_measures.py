"""Measures: populations by patient and by episode, observations, strata, supplemental data, and what has no answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.measurereport import MeasureReport as MeasureReportR5
from fhir.resources.R4B.measurereport import MeasureReport

from fhir_eligibility.artifacts.measures import read_measure
from fhir_eligibility.evaluation.measures import aggregate, apply_hierarchy
from fhir_eligibility.ui.commands.cli import main

LIBRARY = """library Visits version '1.0'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
parameter "Measurement Period" Interval<DateTime>
context Patient
define "Adult": AgeInYearsAt(date from start of "Measurement Period") >= 18
define "Seen": exists "Encounters"
define "Encounters":
  [Encounter] E where E.status = 'finished' and FHIRHelpers.ToInterval(E.period) during day of "Measurement Period"
define "Long": "Encounters" E where duration in days of E.period >= 2
define "Left": "Encounters" E where E.hospitalization is not null
define "Female": Patient.gender = 'female'
define "Sex": Patient.gender.value
define "Broken": Message(true, true, 'x', 'Error', 'not computed')
define function "Days"(E FHIR.Encounter): duration in days of E.period
"""


def criteria(expression: str) -> dict[str, str]:
    return {"language": "text/cql-identifier", "expression": expression}


def population(code: str, define: str, **more: Any) -> dict[str, Any]:
    return {"id": f"{code}-1", "code": {"coding": [{"code": code}]}, "criteria": criteria(define), **more}


def extension(name: str, **value: Any) -> dict[str, Any]:
    return {"url": f"http://hl7.org/fhir/us/cqfmeasures/StructureDefinition/cqfm-{name}", **value}


MEASURE = {
    "resourceType": "Measure",
    "id": "visits",
    "url": "http://example.org/Measure/visits",
    "version": "2",
    "title": "Visits",
    "status": "draft",
    "library": ["http://example.org/Library/Visits"],
    "effectivePeriod": {"start": "2026-01-01", "end": "2026-12-31"},
    "scoring": {"coding": [{"code": "proportion"}]},
    "group": [
        {
            "id": "patients",
            "population": [
                population("initial-population", "Adult"),
                population("denominator", "Adult"),
                population("denominator-exclusion", "Broken"),
                population("numerator", "Seen"),
            ],
            "stratifier": [{"id": "sex", "criteria": criteria("Sex")}],
        },
        {
            "id": "episodes",
            "extension": [
                extension("scoring", valueCodeableConcept={"coding": [{"code": "continuous-variable"}]}),
                extension("populationBasis", valueCode="Encounter"),
            ],
            "population": [
                population("initial-population", "Encounters"),
                population("measure-population", "Encounters"),
                population("measure-population-exclusion", "Left"),
                population(
                    "measure-observation",
                    "Days",
                    extension=[
                        extension("criteriaReference", valueString="measure-population-1"),
                        extension("aggregateMethod", valueCode="Sum"),
                    ],
                ),
            ],
            "stratifier": [{"id": "long", "criteria": criteria("Long")}],
        },
    ],
    "supplementalData": [{"id": "female", "criteria": criteria("Female")}],
}


def encounter(name: str, patient: str, start: str, end: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Encounter",
        "id": name,
        "status": "finished",
        "class": {"code": "IMP"},
        "subject": {"reference": f"Patient/{patient}"},
        "period": {"start": start, "end": end},
        **more,
    }


RESOURCES = [
    {"resourceType": "Patient", "id": "a", "gender": "female", "birthDate": "1980-05-01"},
    encounter("a1", "a", "2026-02-01T08:00:00Z", "2026-02-04T09:00:00Z"),
    encounter("a2", "a", "2026-03-01T08:00:00Z", "2026-03-01T12:00:00Z"),
    encounter("a3", "a", "2025-12-31T08:00:00Z", "2026-01-02T12:00:00Z"),
    encounter(
        "a4",
        "a",
        "2026-05-01T08:00:00Z",
        "2026-05-09T12:00:00Z",
        hospitalization={"dischargeDisposition": {"text": "left"}},
    ),
    {"resourceType": "Patient", "id": "b", "gender": "male", "birthDate": "2008"},
    {"resourceType": "Patient", "id": "c", "gender": "male", "birthDate": "2015-01-01"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Visits.cql").write_text(LIBRARY)
    (tmp_path / "measure.json").write_text(json.dumps(MEASURE))
    data = tmp_path / "data"
    data.mkdir()
    (data / "all.ndjson").write_text("".join(json.dumps(r) + "\n" for r in RESOURCES))
    return tmp_path


def evaluated(folder: Path, *options: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """Results, reports and summary of a run of the command."""
    out = folder / "out"
    arguments = ["measure", str(folder / "measure.json"), "--data", str(folder / "data"), "--out", str(out), *options]
    assert main([*arguments, "--now", "2026-06-01", "--quiet"]) == 0
    results, reports = (
        [json.loads(line) for line in (out / name).read_text("utf-8").splitlines()]
        for name in ("results.ndjson", "reports.ndjson")
    )
    return results, reports, json.loads((out / "summary.json").read_text("utf-8"))


def counts(group: dict[str, Any]) -> dict[str, int]:
    return {p["code"]: p["count"] for p in group["populations"]}


def test_patients_are_counted_and_what_has_no_answer_is_told(folder: Path) -> None:
    results, _, summary = evaluated(folder)
    by_patient = {r["patient"]: r["groups"][0] for r in results}
    assert counts(by_patient["Patient/a"]) == {
        "initial-population": 1,
        "denominator": 1,
        "denominator-exclusion": 0,
        "numerator": 1,
    }
    unknown = {p["code"]: p.get("unknown") for p in by_patient["Patient/b"]["populations"]}
    assert counts(by_patient["Patient/b"])["initial-population"] == 0
    assert unknown["initial-population"] == "the define has no answer (null)"  # born in 2008: 17 or 18 years
    assert unknown["denominator-exclusion"] == "x: not computed"
    assert counts(by_patient["Patient/c"]) == dict.fromkeys(counts(by_patient["Patient/a"]), 0)
    assert summary["group"][0]["measureScore"] == {"value": 1}
    strata = summary["group"][0]["stratifier"][0]["stratum"]
    assert {s["value"]["text"]: s["population"][0]["count"] for s in strata} == {"female": 1, "male": 0}


def test_episodes_observations_and_strata(folder: Path) -> None:
    results, _, summary = evaluated(folder)
    group = next(r for r in results if r["patient"] == "Patient/a")["groups"][1]
    assert counts(group) == {"initial-population": 3, "measure-population": 3, "measure-population-exclusion": 1}
    assert group["populations"][2]["episodes"] == ["Encounter/a4"]
    (observation,) = group["observations"]
    assert (observation["aggregate"], observation["values"]) == ("Sum", [3, 0])  # a4 is excluded, a3 began too early
    assert summary["group"][1]["measureScore"] == {"value": 3}
    strata = {s["value"]: s["populations"]["measure-population-1"] for s in group["strata"]}
    assert strata == {True: 2, False: 1}
    assert {r["patient"]: r["supplemental"] for r in results} == {
        "Patient/a": {"female": True},
        "Patient/b": {"female": False},
        "Patient/c": {"female": False},
    }


def test_another_period_is_another_answer(folder: Path) -> None:
    results, reports, _ = evaluated(folder, "--period", "2025-12-01/2026-01-31")
    group = next(r for r in results if r["patient"] == "Patient/a")["groups"][1]
    assert group["populations"][0]["episodes"] == ["Encounter/a3"]
    assert reports[0]["period"] == {"start": "2025-12-01", "end": "2026-01-31"}


@pytest.mark.parametrize(("version", "model"), [("r4", MeasureReport), ("r5", MeasureReportR5)])
def test_reports_are_valid_fhir(folder: Path, version: str, model: Any) -> None:
    _, reports, summary = evaluated(folder, "--fhir", version, "--force-fhir")
    for report in (*reports, summary):
        model.model_validate(json.loads(json.dumps(report)))
    assert [report["subject"]["reference"] for report in reports] == ["Patient/a", "Patient/b", "Patient/c"]
    assert summary["measure"] == "http://example.org/Measure/visits|2"


def test_a_library_alone_is_a_screening_log(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "measure",
        str(folder / "Visits.cql"),
        "--data",
        str(folder / "data"),
        "--out",
        "-",
        "--period",
        "2026",
    ]
    assert main(arguments) == 0
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {g["id"]: counts(g)["initial-population"] for g in results[0]["groups"]} == {
        "Adult": 1,
        "Seen": 1,
        "Female": 1,
        "Broken": 0,
    }


def test_a_population_without_a_define_is_refused_and_the_others_are_evaluated(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = json.loads(json.dumps(MEASURE).replace('"expression": "Seen"', '"expression": "seen"'))
    (folder / "measure.json").write_text(json.dumps(wrong))
    arguments = ["measure", str(folder / "measure.json"), "--data", str(folder / "data"), "--out", str(folder / "out")]
    assert main([*arguments, "--quiet"]) == 3
    said = capsys.readouterr().err
    assert (
        "patients.numerator-1: error[unknown-name]: the library Visits defines no 'seen', which the measure names"
        in said
    )
    assert "did you mean 'Seen'?" in said
    summary = json.loads((folder / "out" / "summary.json").read_text("utf-8"))
    first, second = summary["group"]
    assert [p["count"] for p in first["population"]] == [1, 1, 0, 0] and "measureScore" not in first
    assert second["measureScore"] == {"value": 3}
    assert summary["contained"][0]["issue"][0]["diagnostics"].startswith("patients numerator: the library Visits")


def test_a_measure_of_which_nothing_can_be_evaluated_is_an_error(folder: Path) -> None:
    wrong = {**MEASURE, "group": [{"id": "g", "population": [population("initial-population", "Nowhere")]}]}
    (folder / "measure.json").write_text(json.dumps(wrong))
    assert main(["measure", str(folder / "measure.json"), "--data", str(folder / "data"), "--out", "-"]) == 2


@pytest.mark.parametrize(
    ("scoring", "members", "wanted"),
    [
        ("proportion", "ip den num", "ip den num"),
        ("proportion", "den num", ""),
        ("proportion", "ip num exc", "ip"),
        ("proportion", "ip den excl num exc", "ip den excl"),
        ("proportion", "ip den num exc", "ip den num"),
        ("proportion", "ip den exc numexcl", "ip den exc"),
        ("ratio", "ip num", "ip num"),
        ("ratio", "ip den excl exc num", "ip den excl num"),
        ("cohort", "ip", "ip"),
        ("continuous-variable", "ip mpe", "ip"),
    ],
)
def test_the_hierarchy_of_populations(scoring: str, members: str, wanted: str) -> None:
    names = {
        "ip": "initial-population",
        "den": "denominator",
        "num": "numerator",
        "excl": "denominator-exclusion",
        "exc": "denominator-exception",
        "numexcl": "numerator-exclusion",
        "mpe": "measure-population-exclusion",
    }
    given = {name: short in members.split() for short, name in names.items()}
    found = apply_hierarchy(given, scoring)
    assert {short for short, name in names.items() if found[name]} == set(wanted.split())


@pytest.mark.parametrize(
    ("method", "values", "wanted"),
    [
        ("sum", [1, 2.5], 3.5),
        ("Average", [1, 2], 1.5),
        ("median", [5, 1, 3], 3),
        ("count", [1, 1], 2),
        ("minimum", [], None),
        ("count", [1, None, 2], 2),
        ("sum", [1, None, 2], 3),
        ("sum", ["x", 2], None),
        ("sum", [{"value": 90, "unit": "min"}, {"value": 1, "unit": "h"}], {"value": 150, "unit": "min"}),
        ("average", [{"value": 1, "unit": "mg"}, {"value": 2, "unit": "mg"}], {"value": 1.5, "unit": "mg"}),
        ("maximum", [{"value": 2, "unit": "mg"}, {"value": 1, "unit": "g"}], {"value": 1000, "unit": "mg"}),
        ("sum", [{"value": 1, "unit": "mg"}, {"value": 1, "unit": "h"}], None),
        ("sum", [{"value": 1, "unit": "mg"}, 2], None),
    ],
)
def test_aggregates(method: str, values: list[Any], wanted: Any) -> None:
    assert aggregate(method, values) == wanted


def test_a_measure_without_groups_is_told() -> None:
    measure, found = read_measure({"resourceType": "Measure", "id": "m"}, "m.json")
    assert (measure.key, [d.message for d in found]) == (
        "Measure/m",
        ["the measure has no group, so there is nothing to count"],
    )
    with pytest.raises(ValueError, match="expected a Measure, found Patient"):
        read_measure({"resourceType": "Patient"}, "p.json")


def test_observations_that_refer_to_no_population_of_their_group() -> None:
    observed = [
        population("measure-observation", "Days", extension=[extension("criteriaReference", valueString=reference)])
        for reference in ("old-1", "old-2")
    ]
    group = {
        "id": "g",
        "extension": [extension("populationBasis", valueCode="Encounter")],
        "population": [population(code, "Encounters") for code in ("initial-population", "denominator", "numerator")],
    }
    group["population"] += observed  # type: ignore[operator]
    measure = {**MEASURE, "scoring": {"coding": [{"code": "ratio"}]}, "group": [group]}
    read, found = read_measure(measure, "m.json")
    references = [p.reference for p in read.groups[0].populations if p.code == "measure-observation"]
    assert references == ["denominator-1", "numerator-1"]
    assert [d.severity for d in found] == ["warning", "warning"]
    assert (
        "refers to 'old-2', and no population of its group has that id; it is taken to observe 'numerator-1'"
        in found[1].message
    )


def test_the_period_from_parameters_and_from_an_extension(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def period(*more: str) -> dict[str, str]:
        arguments = ["measure", str(folder / "measure.json"), "--data", str(folder / "data"), "--quiet"]
        assert main([*arguments, "--out", str(folder / "out"), "--now", "2026-06-01", *more]) == 0
        found: dict[str, str] = json.loads((folder / "out" / "summary.json").read_text())["period"]
        return found

    def parameters(year: str) -> dict[str, Any]:
        value = {"name": "Measurement Period", "valuePeriod": {"start": f"{year}-01-01", "end": f"{year}-12-31"}}
        return {"resourceType": "Parameters", "id": "p", "parameter": [value]}

    measure = json.loads((folder / "measure.json").read_text())
    measure["contained"] = [parameters("2024")]
    url = "http://hl7.org/fhir/StructureDefinition/cqf-inputParameters"
    measure["extension"] = [*measure.get("extension", ()), {"url": url, "valueReference": {"reference": "#p"}}]
    assert period()["start"] == "2026-01-01"
    (folder / "measure.json").write_text(json.dumps(measure))
    assert period()["start"].startswith("2024-01-01")
    (folder / "parameters.json").write_text(json.dumps(parameters("2025")))
    assert period("--parameters", str(folder / "parameters.json"))["end"].startswith("2025-12-31T23:59:59.999")
    assert period("--parameters", str(folder / "parameters.json"), "--period", "2023")["start"] == "2023-01-01"
