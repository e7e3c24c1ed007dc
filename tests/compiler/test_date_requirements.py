"""The dates that criteria ask for, as FHIR and as parameters of a bulk export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.runners.screening.criteria import load_criteria
from fhir_eligibility.runners.server.fetching import export_parameters, search_plan
from fhir_eligibility.ui.commands.cli import main

HEAD = """library Dates version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
codesystem "LOINC": 'http://loinc.org'
code "PSA": '2857-1' from "LOINC"
code "Other": '1-1' from "LOINC"
parameter "Measurement Period" Interval<DateTime>
  default Interval[@2025-01-01T00:00:00.000, @2026-01-01T00:00:00.000)
parameter "Since" DateTime
parameter "Dose" Quantity
context Patient
define fluent function toInterval(c Choice<FHIR.dateTime, FHIR.Period>):
  case when c is FHIR.dateTime then Interval[c as FHIR.dateTime, c as FHIR.dateTime] else c as FHIR.Period end
define function ToInterval(c Choice<FHIR.dateTime, FHIR.Period, FHIR.string, FHIR.Age, FHIR.Range>):
  if c is FHIR.Age then Interval[Patient.birthDate + (c as FHIR.Age), null) else c as FHIR.Period
define function moved(c FHIR.Period): Interval[start of c + 1 year, end of c + 1 year]
"""
YEAR = {"start": "2025-01-01T00:00:00.000+00:00", "end": "2025-12-31T23:59:59.999+00:00"}
DAYS = {"start": "2025-01-01", "end": "2025-12-31"}
NOW = ["--now", "2026-05-20T10:00:00Z"]


def requirements(folder: Path, defines: str, capsys: pytest.CaptureFixture[str], *options: str) -> list[Any]:
    """The data requirements of defines."""
    (folder / "Dates.cql").write_text(HEAD + defines)
    assert main(["requirements", str(folder / "Dates.cql"), *NOW, *options]) == 0
    found: list[Any] = json.loads(capsys.readouterr().out)["dataRequirement"]
    return found


def filters(folder: Path, defines: str, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """The `_typeFilter`s of defines."""
    (folder / "Dates.cql").write_text(HEAD + defines)
    assert main(["requirements", str(folder / "Dates.cql"), *NOW, "--bulk", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [text.removeprefix("_typeFilter=") for text in lines if text.startswith("_typeFilter=")]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("[Encounter] E where E.period during \"Measurement Period\" and E.status = 'x'", ("period", YEAR)),
        ('[Encounter] E where "Measurement Period" includes E.period', ("period", YEAR)),
        ('[Encounter] E where E.period during day of "Measurement Period"', ("period", DAYS)),
        ('[Encounter] E where E.period starts during "Measurement Period"', ("period.start", YEAR)),
        ("[Encounter] E where E.period.end >= @2025-03", ("period.end", {"start": "2025-03"})),
        ('[Encounter] E where E.period ends during day of "Measurement Period"', ("period.end", DAYS)),
        ("[Encounter] E where E.period ends before Today()", ("period.end", {"end": "2026-05-20"})),
        (
            "[Encounter] E where date from start of E.period in Interval[@2024-01-01, Today()]",
            ("period.start", {"start": "2024-01-01", "end": "2026-05-20"}),
        ),
        (
            "[Encounter] E where E.period after Interval[@2024-01-01T, @2024-06-30T]",
            ("period", {"start": "2024-06-30"}),
        ),
        ('[Observation] O where O.effective during "Measurement Period"', ("effective", YEAR)),
        ("[Observation] O where O.effective before @2025-01-01", ("effective", {"end": "2025-01-01"})),
        (
            "[Observation] O where (O.effective as dateTime) >= Today() - 2 years",
            ("effective", {"start": "2024-05-20"}),
        ),
        (
            "[Observation] O where (O.effective as dateTime) in Interval[@2025-01-01T00:00:00, @2025-12-31]",
            ("effective", DAYS),
        ),
        (
            '[Procedure] P where P.performed.toInterval() starts same day or after start of "Measurement Period"',
            ("performed", {"start": "2025-01-01"}),
        ),
        ('[Procedure] P where ToInterval(P.performed) starts after start of "Measurement Period"', None),
        ('[Procedure] P where (P.performed as Period) during "Measurement Period"', ("performed", YEAR)),
        (
            '[Observation] O where start of O.effective.toInterval() during "Measurement Period"',
            ("effective", {"start": YEAR["start"]}),
        ),
        (
            '[Observation] O where O.effective.toInterval() ends during day of "Measurement Period"',
            ("effective", {"end": "2025-12-31"}),
        ),
        ("[Condition] C where @2025-01-01 < C.onset as dateTime", ("onset", {"start": "2025-01-01"})),
        (
            "[Condition] C where C.recordedDate same year as @2025-03-01",
            ("recordedDate", {"start": "2025", "end": "2025"}),
        ),
        (
            "[Condition] C where C.recordedDate > @2025-01-01 and C.recordedDate <= @2025-02-01",
            ("recordedDate", {"start": "2025-01-01", "end": "2025-02-01"}),
        ),
        (
            "[MedicationRequest] M where M.authoredOn 30 days or less before Now()",
            ("authoredOn", {"start": "2026-04-20T10:00:00.000+00:00", "end": "2026-05-20T09:59:59.999+00:00"}),
        ),
        ('[Encounter] E with [Observation] O such that O.issued after start of "Measurement Period"', None),
        ("[Encounter] E where E.period starts after Since", ("period.start", None)),
        ("[Encounter] E where E.period during \"Measurement Period\" or E.status = 'x'", None),
        ('[Encounter] E where not (E.period during "Measurement Period")', None),
        ('[Encounter] E where E.period overlaps "Measurement Period"', None),
        ("[Encounter] E where E.period starts after end of E.period", None),
        ('[Encounter] E where moved(E.period) during "Measurement Period"', None),
        ("[Encounter] E where E.period starts after start of First(([Encounter] X return X.period))", None),
        ("[Encounter] E where E.period.start + 1 year after Today()", None),
        ("[Observation] O where (O.value as Quantity) >= 4 'mg'", None),
        ("[Observation] O where (O.value as Quantity) >= Dose", None),
    ],
)
def test_a_query(
    query: str, expected: tuple[str, Any] | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = requirements(tmp_path, f"define X: exists ({query})", capsys)
    by_type = {x["type"]: x for x in found}
    dates = by_type[query.partition("]")[0][1:]].get("dateFilter")
    if expected is None:
        assert dates is None
    else:
        path, period = expected
        assert dates == [{"path": path} if period is None else {"path": path, "valuePeriod": period}]


def test_a_type_has_dates_only_where_every_use_of_it_has_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dated = 'define A: [Encounter] E where E.period during "Measurement Period"\n'
    used_whole = "define B: [Encounter]"
    assert "dateFilter" not in requirements(tmp_path, dated + used_whole, capsys)[0]
    chained = "define E: [Encounter]\ndefine B: E X where X.period starts after @2025-01-01"
    assert "dateFilter" not in requirements(tmp_path, chained, capsys)[0]
    other_path = "define B: [Encounter] E where E.period starts after @2020-01-01"
    assert "dateFilter" not in requirements(tmp_path, dated + other_path, capsys)[0]
    wider = "define B: [Encounter] E where E.period during Interval[@2024-06-01T, @2025-06-01T]"
    assert requirements(tmp_path, dated + wider, capsys)[0]["dateFilter"] == [
        {"path": "period", "valuePeriod": {"start": "2024-06-01", "end": YEAR["end"]}}
    ]
    open_end = "define B: [Encounter] E where E.period after @2025-02-01"
    assert requirements(tmp_path, dated + open_end, capsys)[0]["dateFilter"] == [
        {"path": "period", "valuePeriod": {"start": YEAR["start"]}}
    ]
    assert filters(tmp_path, dated + used_whole, capsys, "--date-filters") == []


def test_codes_within_other_dates_are_requirements_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    defines = """
define A: [Observation: "PSA"] O where (O.effective as dateTime) >= @2025-01-01
define B: [Observation: "Other"] O where O.status = 'final'
"""
    found = requirements(tmp_path, defines, capsys)
    assert [(x["codeFilter"][0]["code"][0]["code"], x.get("dateFilter")) for x in found] == [
        ("1-1", None),
        ("2857-1", [{"path": "effective", "valuePeriod": {"start": "2025-01-01"}}]),
    ]
    assert filters(tmp_path, defines, capsys) == ["Observation?code=1-1,2857-1"]
    assert filters(tmp_path, defines, capsys, "--date-filters") == [
        "Observation?code=1-1",
        "Observation?code=2857-1&date=ge2024-12-31",
    ]
    both = defines + 'define C: [Observation: "PSA"]'
    assert "dateFilter" not in json.dumps(requirements(tmp_path, both, capsys))
    whole = defines + "define C: [Observation] O where (O.effective as dateTime) >= @2025-01-01"
    assert [x.get("dateFilter") for x in requirements(tmp_path, whole, capsys)] == [None]


def test_filters_by_date_are_asked_for_and_lose_nothing_that_has_a_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    defines = """
define A: [Encounter] E where E.period during "Measurement Period"
define B: [Condition] C where C.onset as dateTime between @2024-01 and Today()
define C: [Observation] O where O.issued after @2025-01-01
define D: [Patient] P where P.birthDate < @2000-01-01
define E: [Procedure] P where P.performed.toInterval() starts after Since
"""
    assert filters(tmp_path, defines, capsys) == []
    # the bounds are a day wider than the criterion's: the server may count days in another time zone; an end that moves is open
    expected = ["Condition?onset-date=ge2023-12-31", "Encounter?date=ge2024-12-31&date=le2026-01-01"]
    assert filters(tmp_path, defines, capsys, "--date-filters") == expected
    given = ("--date-filters", "--parameter", "Since=@2025-06-01T")
    assert filters(tmp_path, defines, capsys, *given) == [*expected, "Procedure?date=ge2025-05-31"]
    period = ("--date-filters", "--parameter", "Measurement Period=Interval[@2020-01-01T, @2020-12-31T]")
    assert "Encounter?date=ge2019-12-31&date=le2021-01-01" in filters(tmp_path, defines, capsys, *period)


def test_an_interval_with_an_open_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = 'define X: [Encounter] E where E.period during {}"Measurement Period"'
    for interval in ("Interval[@2025-03-01T, null)", "Interval[@2025-03-01T, null]"):
        for precision in ("", "day of "):
            given = ("--parameter", f"Measurement Period={interval}")
            found = requirements(tmp_path, query.format(precision), capsys, *given)
            assert found[0]["dateFilter"] == [{"path": "period", "valuePeriod": {"start": "2025-03-01"}}]
    given = ("--parameter", "Measurement Period=null as Interval<DateTime>")
    assert requirements(tmp_path, query.format(""), capsys, *given)[0]["dateFilter"] == [{"path": "period"}]


def test_a_measure_has_its_own_period(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Dates.cql").write_text(
        HEAD + 'define X: exists ([Encounter] E where E.period during day of "Measurement Period")'
    )
    population = {"code": {"coding": [{"code": "initial-population"}]}, "criteria": {"expression": "X"}}
    measure = {
        "resourceType": "Measure",
        "status": "draft",
        "library": ["http://example.org/Library/Dates"],
        "effectivePeriod": {"start": "2023-01-01", "end": "2023-12-31"},
        "scoring": {"coding": [{"code": "cohort"}]},
        "group": [{"population": [population]}],
    }
    (tmp_path / "measure.json").write_text(json.dumps(measure))
    assert main(["requirements", str(tmp_path / "measure.json")]) == 0
    assert json.loads(capsys.readouterr().out)["dataRequirement"][0]["dateFilter"] == [
        {"path": "period", "valuePeriod": {"start": "2023-01-01", "end": "2023-12-31"}}
    ]


def test_a_relation_restricts_what_it_relates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    such_that = '[Observation] O such that O.issued after start of "Measurement Period"'
    found = requirements(tmp_path, f"define X: [Encounter] E with {such_that}", capsys)
    assert [(x["type"], x.get("dateFilter")) for x in found] == [
        ("Encounter", None),
        ("Observation", [{"path": "issued", "valuePeriod": {"start": YEAR["start"]}}]),
    ]
    found = requirements(tmp_path, f"define X: [Encounter] E without {such_that}", capsys)
    assert [x.get("dateFilter") for x in found] == [None, None]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("Observation.where(effective >= @2025-01-01).exists()", ("effective", {"start": "2025-01-01"})),
        ("Observation.exists(effective >= @2025-01-01)", ("effective", {"start": "2025-01-01"})),
        (
            "Observation.where(status = 'final' and effective.ofType(dateTime) >= today() - 2 years).exists()",
            ("effective", {"start": "2024-05-20"}),
        ),
        (
            "Observation.where(code.coding.exists(system = 'http://loinc.org' and code = '1-1') "
            "and issued > @2025-01-01).exists()",
            ("issued", {"start": "2025-01-01"}),
        ),
        (
            "Observation.where(issued > @2025-01-01 and @2025-02-01 > issued).exists()",
            ("issued", {"start": "2025-01-01", "end": "2025-02-01"}),
        ),
        ("Encounter.where(period.start >= @2025-01-01).exists()", ("period.start", {"start": "2025-01-01"})),
        (
            "Procedure.where(performed.ofType(Period).end <= @2025-01-01).exists()",
            ("performed", {"end": "2025-01-01"}),
        ),
        ("Encounter.where(period.start >= @2025-01-01 or status = 'x').exists()", None),
        ("Encounter.where((period.start >= @2025-01-01).not()).exists()", None),
        ("Encounter.where(period.start >= period.end).exists()", None),
        ("Encounter.where(period.start >= @2025-01-01).exists() and Encounter.exists()", None),
        ("Observation.where(component.value.ofType(dateTime) >= @2025-01-01).exists()", None),
        ("Encounter.where(period.start >= %context.birthDate).exists()", None),
    ],
)
def test_fhirpath(
    expression: str, expected: tuple[str, Any] | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    criterion = {"definitionExpression": {"language": "text/fhirpath", "expression": expression}}
    variable = {"resourceType": "EvidenceVariable", "status": "active", "characteristic": [criterion]}
    (tmp_path / "ev.json").write_text(json.dumps(variable))
    assert main(["requirements", str(tmp_path / "ev.json"), *NOW]) == 0
    found = {x["type"]: x for x in json.loads(capsys.readouterr().out)["dataRequirement"]}
    dates = found[expression.partition(".")[0]].get("dateFilter")
    assert dates == (None if expected is None else [{"path": expected[0], "valuePeriod": expected[1]}])


def test_an_export_is_narrowed_by_date_only_on_request(tmp_path: Path) -> None:
    defines = """
valueset "V": 'http://v'
define X:
  exists ([Encounter] E where E.period during "Measurement Period")
    and exists ([Observation: "PSA"] O where (O.effective as dateTime) >= @2025-01-01)
    and exists ([Observation: "Other"] O where (O.effective as dateTime) >= @2025-01-01)
    and exists ([Condition: "V"] C where C.onset as dateTime >= @2025-01-01)
"""
    (tmp_path / "Dates.cql").write_text(HEAD.replace("parameter", defines.partition("define")[0] + "parameter", 1))
    with (tmp_path / "Dates.cql").open("a") as file:
        file.write("define " + defines.partition("define ")[2])
    criterion = {"definitionExpression": {"language": "text/cql-identifier", "expression": "X"}}
    variable = {"resourceType": "EvidenceVariable", "status": "active", "characteristic": [criterion]}
    (tmp_path / "ev.json").write_text(json.dumps(variable))
    rules = load_criteria(tmp_path, allow_missing_valuesets=True).rules
    codes = [f"Observation?code={code}" for code in ("1-1", "2857-1")]
    assert export_parameters(rules, "r4")[1] == tuple(codes)
    since = "date=ge2024-12-31"
    expected = [f"Encounter?{since}&date=le2026-01-01", *(f"{code}&{since}" for code in codes)]
    narrowed = export_parameters(rules, "r4", dates=Run())[1]
    assert sorted(narrowed) == sorted([*expected, f"Condition?onset-{since}"])
    trusting = export_parameters(rules, "r4", value_sets=True, dates=Run())[1]
    assert sorted(trusting) == sorted([*expected, f"Condition?code:in=http://v&onset-{since}"])
    assert search_plan(rules, "r4").narrowed == {"Observation": ("code", "1-1,2857-1")}
