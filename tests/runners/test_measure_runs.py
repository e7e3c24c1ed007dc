"""Runs of a measure: the same bytes by every way, and from whatever step a run that was stopped goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.artifacts.measures import Group, Measure, Population, Stratifier, Supplemental
from fhir_eligibility.evaluation.measures import (
    GroupResult,
    MeasureResult,
    ObservationResult,
    PopulationResult,
    StratumResult,
)
from fhir_eligibility.output.measure_report import summary
from fhir_eligibility.output.measure_totals import Totals
from fhir_eligibility.runners.large.kept_buckets import KeptBuckets
from fhir_eligibility.runners.large.whole_files import WholeFiles
from fhir_eligibility.runners.large.workspace import Workspace
from fhir_eligibility.runners.screening import run as running
from fhir_eligibility.ui.commands.cli import main

OUTPUTS = ("results.ndjson", "reports.ndjson", "summary.json", "problems.ndjson")
PATIENTS = 40
LIBRARY = """
library Ward version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1' called FHIRHelpers
codesystem "LOINC": 'http://loinc.org'
code "Weight": '29463-7' from "LOINC"
context Patient
define "Mother": singleton from ([RelatedPerson] R where exists (R.relationship K where K.text = 'mother'))
define "Visits": [Encounter] E where E.status = 'finished'
define "With Weight": "Visits" E with [Observation: "Weight"] O such that O.encounter.reference = 'Encounter/' + E.id
define function "Weight Of"(visit Encounter):
  First([Observation: "Weight"] O where O.encounter.reference = 'Encounter/' + visit.id return (O.value as Quantity))
define "Sex": Patient.gender
define "Mother is ill": exists ["Mother" -> Condition]
define "Problems": [Condition] C return C.code
"""
POPULATIONS = {
    "initial-population": "Visits",
    "measure-population": "With Weight",
    "measure-observation": "Weight Of",
}


def named(expression: str) -> dict[str, Any]:
    return {"language": "text/cql-identifier", "expression": expression}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A measure over episodes with observations, strata, and data of mothers; and an export."""
    folder = tmp_path_factory.mktemp("ward")
    (folder / "measure").mkdir()
    (folder / "measure" / "Ward.cql").write_text(LIBRARY)
    populations = []
    for code, name in POPULATIONS.items():
        found: dict[str, Any] = {"id": code, "code": {"coding": [{"code": code}]}, "criteria": named(name)}
        if code == "measure-observation":
            url = "http://hl7.org/fhir/us/cqfmeasures/StructureDefinition/cqfm-"
            found["extension"] = [
                {"url": f"{url}aggregateMethod", "valueString": "median"},
                {"url": f"{url}criteriaReference", "valueString": "measure-population"},
            ]
        populations.append(found)
    basis = "http://hl7.org/fhir/us/cqfmeasures/StructureDefinition/cqfm-populationBasis"
    measure = {
        "resourceType": "Measure",
        "id": "ward",
        "url": "http://example.org/Measure/ward",
        "status": "active",
        "library": ["http://example.org/Library/Ward"],
        "effectivePeriod": {"start": "2026-01-01", "end": "2026-12-31"},
        "scoring": {"coding": [{"code": "continuous-variable"}]},
        "extension": [{"url": basis, "valueCode": "Encounter"}],
        "group": [{"id": "g", "population": populations, "stratifier": [{"id": "sex", "criteria": named("Sex")}]}],
        "supplementalData": [
            {"id": "problems", "criteria": named("Problems")},
            {"id": "mother", "criteria": named("Mother is ill")},
        ],
    }
    (folder / "measure" / "measure.json").write_text(json.dumps(measure))
    data = folder / "data"
    data.mkdir()
    by_type: dict[str, list[dict[str, Any]]] = {}

    def add(kind: str, name: str, **more: Any) -> None:
        by_type.setdefault(kind, []).append({"resourceType": kind, "id": name, **more})

    for number in range(PATIENTS):
        subject = {"reference": f"Patient/p{number}"}
        child = (number - 1) % PATIENTS
        link = [{"other": {"reference": f"RelatedPerson/m{child}"}, "type": "seealso"}]
        gender = ("male", "female", "other")[number % 3]
        add("Patient", f"p{number}", gender=gender, link=link, birthDate="1970-01-01")
        add("RelatedPerson", f"m{number}", patient=subject, relationship=[{"text": "mother"}])
        if number % 4:
            coding = [{"system": "http://x", "code": f"c{number % 5}"}]
            add("Condition", f"c{number}", subject=subject, code={"coding": coding})
        for visit in range(number % 3):
            status = "finished" if visit != 1 or number % 2 else "planned"
            kind = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"}
            add("Encounter", f"e{number}-{visit}", subject=subject, status=status, **{"class": kind})
            weight = {"value": 50 + number % 7, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"}
            code = {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]}
            encounter = {"reference": f"Encounter/e{number}-{visit}"}
            more = {"status": "final", "subject": subject, "encounter": encounter}
            add("Observation", f"o{number}-{visit}", code=code, valueQuantity=weight, **more)
    for kind, found in by_type.items():
        (data / f"{kind}.ndjson").write_text("".join(json.dumps(one) + "\n" for one in found))
    with (data / "Observation.ndjson").open("a") as stream:
        stream.write('{"resourceType":"Observation","id":"cut","status":')
    return folder


def outputs(folder: Path, out: Path, *options: str) -> dict[str, bytes]:
    words = ["measure", str(folder / "measure" / "measure.json"), "--data", str(folder / "data"), "--out", str(out)]
    assert main([*words, "--now", "2026-06-01", "--quiet", *options]) == 1
    assert not Workspace(out).folder.exists()
    return {name: (out / name).read_bytes() for name in OUTPUTS}


@pytest.fixture(scope="module")
def expected(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return outputs(folder, tmp_path_factory.mktemp("small"))


def test_what_is_expected_is_right(expected: dict[str, bytes]) -> None:
    results = [json.loads(line) for line in expected["results.ndjson"].splitlines()]
    assert [one["patient"] for one in results] == [f"Patient/p{number}" for number in range(PATIENTS)]
    weights = []
    for number, one in enumerate(results):
        visits = [f"Encounter/e{number}-{v}" for v in range(number % 3) if v != 1 or number % 2]
        (group,) = one["groups"]
        assert group["populations"][0]["episodes"] == visits
        assert [one["value"] for one in group["observations"][0]["values"]] == [50 + number % 7] * len(visits)
        weights += [50 + number % 7] * len(visits)
        # the mother of a patient is the next one
        assert one["supplemental"]["mother"] is ((number + 1) % PATIENTS % 4 != 0)
    weights.sort()
    middle = weights[len(weights) // 2] if len(weights) % 2 else sum(weights[len(weights) // 2 - 1 :][:2]) / 2
    (group,) = json.loads(expected["summary.json"])["group"]
    assert group["measureScore"]["value"] == middle
    assert [stratum["value"]["text"] for stratum in group["stratifier"][0]["stratum"]] == ["male", "female", "other"]
    (problem,) = map(json.loads, expected["problems.ndjson"].splitlines())
    assert (problem["code"], problem["line"]) == ("invalid-json", len(weights) + 1 + _planned())


def _planned() -> int:
    return sum(number % 3 == 2 and number % 2 == 0 for number in range(PATIENTS))


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("memory", ["1GB", "1MB"])
def test_processes_and_memory_make_no_difference(
    folder: Path, tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, jobs: str, memory: str
) -> None:
    monkeypatch.setattr(running, "SMALL", 0)
    assert outputs(folder, tmp_path, "--jobs", jobs, "--memory", memory) == expected


def test_standard_output_has_the_same_results(
    folder: Path, tmp_path: Path, expected: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["measure", str(folder / "measure" / "measure.json"), "--data", str(folder / "data"), "--out", "-"]
    assert main([*words, "--now", "2026-06-01", "--quiet"]) == 1
    assert capsys.readouterr().out.encode() == expected["results.ndjson"]


def test_a_run_goes_on_from_every_step(
    folder: Path, tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is stopped after every file that it writes into its workspace, one later each time."""
    monkeypatch.setattr(running, "SMALL", 0)
    write = WholeFiles.write
    for allowed in range(1, 400):
        left = allowed

        def stopped(self: WholeFiles, name: str, text: Any) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            write(self, name, text)

        monkeypatch.setattr(WholeFiles, "write", stopped)
        options = ["--jobs", "1", "--memory", "1MB", *(["--resume"] if allowed > 1 else [])]
        words = ["measure", str(folder / "measure" / "measure.json"), "--data", str(folder / "data")]
        words += ["--out", str(tmp_path), "--now", "2026-06-01", "--quiet", *options]
        if main(words) == 130:
            assert not (tmp_path / "results.ndjson").exists()
            continue
        break
    assert 5 < allowed < 399
    assert {name: (tmp_path / name).read_bytes() for name in OUTPUTS} == expected


def test_another_run_is_not_gone_on_with(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running, "SMALL", 0)

    def stopped(*arguments: Any) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(KeptBuckets, "put", stopped)
        words = ["measure", str(folder / "measure" / "measure.json"), "--data", str(folder / "data")]
        words += ["--out", str(tmp_path), "--now", "2026-06-01", "--quiet", "--jobs", "1"]
        assert main(words) == 130
    assert "with --resume goes on" in capsys.readouterr().err
    assert main([*words, "--resume", "--period", "2025"]) == 2
    assert "holds a run with other --period" in capsys.readouterr().err
    screening = ["screen", str(folder / "measure"), "--data", str(folder / "data"), "--out", str(tmp_path)]
    assert main([*screening, "--resume", "--quiet"]) == 2


@pytest.mark.parametrize("small", [running.SMALL, 0])
@pytest.mark.parametrize("command", ["measure", "screen"])
def test_where_there_is_no_patient_an_earlier_result_stays(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    small: int,
    command: str,
) -> None:
    monkeypatch.setattr(running, "SMALL", small)
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    (data / "Patient.ndjson").write_text('{"resourceType":"Patient","id":"cut\n')
    out.mkdir()
    (out / "kept.txt").write_text("x")
    criteria = tmp_path / "ev.json"
    asked = {"linkId": "a", "definitionExpression": {"language": "text/fhirpath", "expression": "Patient.active"}}
    resource = {"resourceType": "EvidenceVariable", "id": "ev", "status": "active", "characteristic": [asked]}
    criteria.write_text(json.dumps(resource))
    asked_for = criteria if command == "screen" else folder / "measure" / "measure.json"
    assert main([command, str(asked_for), "--data", str(data), "--out", str(out), "--jobs", "1"]) == 4
    assert "not valid JSON" in capsys.readouterr().err
    assert [path.name for path in out.glob("[!.]*")] == ["kept.txt"]
    assert not Workspace(out).folder.exists()


# -- totals of some patients and of others

MEASURE = Measure(
    id="m",
    groups=(
        Group(
            id="g",
            scoring="continuous-variable",
            basis="Encounter",
            populations=(
                Population(id="p", code="measure-population", define="P"),
                Population(id="o", code="measure-observation", define="O", aggregate="average", reference="p"),
            ),
            stratifiers=(Stratifier(id="s", parts=()),),
        ),
    ),
    supplemental=(Supplemental(id="e", define="E"),),
)
values = st.one_of(
    st.none(), st.integers(-3, 3), st.sampled_from([0.5, {"value": 1, "unit": "g"}, {"unit": "g", "value": 1}])
)


@st.composite
def results(draw: Any) -> MeasureResult:
    observed = draw(st.lists(values, max_size=3))
    stratum = StratumResult(
        id="s", value=draw(st.sampled_from(["a", "b", None])), populations={"p": 1}, observations={"o": observed}
    )
    group = GroupResult(
        id="g",
        populations=[PopulationResult(id="p", code="measure-population", count=len(observed))],
        observations=[ObservationResult(id="o", aggregate="average", values=observed)],
        strata=draw(st.lists(st.just(stratum), max_size=1)),
    )
    extra = draw(
        st.lists(st.sampled_from([1, "x", {"resourceType": "Condition", "id": "c"}, {"code": "q"}]), max_size=2)
    )
    return MeasureResult(patient="Patient/p", measure="m", groups=[group], supplemental={"e": extra})


@settings(deadline=None)
@given(st.lists(results(), max_size=8), st.data())
def test_totals_are_the_same_however_patients_are_divided(listed: list[MeasureResult], data: Any) -> None:
    whole, parts = Totals(MEASURE), [Totals(MEASURE) for _ in range(3)]
    for number, one in enumerate(listed):
        whole.add(one, (0, number, -1))
        data.draw(st.sampled_from(parts)).add(one, (0, number, -1))
    merged = Totals(MEASURE)
    for part in data.draw(st.permutations(parts)):
        merged.extend(part.encoded())
    period = ("2026-01-01", "2026-12-31")
    assert summary(MEASURE, merged, period, "2026-06-01", "r4") == summary(MEASURE, whole, period, "2026-06-01", "r4")
    assert merged.patients == len(listed)


def test_a_folder_in_the_place_of_a_measure_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "measures").mkdir()
    (tmp_path / "p.json").write_text('{"resourceType": "Patient", "id": "p"}')
    arguments = [
        "measure",
        str(tmp_path / "measures"),
        "--data",
        str(tmp_path / "p.json"),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(arguments) == 2
    assert "measures is a folder: give the file in it" in capsys.readouterr().err
