"""`measure --pseudonyms`: results, reports and the summary name nobody, and count what they count without codes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.output.pseudonyms import make_key
from fhir_eligibility.ui.commands.cli import main
from tests.evaluation.test_measure_reports import MODELS, criteria, population
from tests.output.test_pseudonyms import NUMBER, SECRET, everything_in, observation, person
from tests.outputs import visible

LIBRARY = """library MLib version '1.0.0'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1' called FHIRHelpers
codesystem "LOINC": 'http://loinc.org'
code "PSA": '2857-1' from "LOINC"
context Patient
define "Everybody": true
define "Named": exists(Patient.name)
define "Family": First(Patient.name).family.value
define "Names": Patient.name
define "Number": First(Patient.identifier).value.value
define "Born": Patient.birthDate.value
define "Me": Patient
define "Tests": [Observation]
define "Contents": [Observation] O return O.note
define "Asked": "PSA"
define "Dose": 5 'mg'
define "Text": First([Observation] O return O.code.text.value)
define "Coded": First([Observation] O return O.code)
define "Both": Tuple { family: "Family", born: "Born", yes: true }
define "Odd Unit": First([Observation] O where O.value is Quantity return O.value as Quantity)
define "Fails": Message(true, true, 'x', 'Error', "Family")
define function "Unit Of"(o Observation): (o.value as Quantity).unit.value
define function "Value Of"(o Observation): (o.value as Quantity).value.value
"""
SUPPLEMENTAL = [
    "Family",
    "Names",
    "Number",
    "Born",
    "Me",
    "Tests",
    "Contents",
    "Asked",
    "Dose",
    "Text",
    "Coded",
    "Both",
]
SUPPLEMENTAL += ["Odd Unit", "Fails"]


def measure() -> dict[str, Any]:
    cqfm = "http://hl7.org/fhir/us/cqfmeasures/StructureDefinition/cqfm-"
    extensions = [
        {"url": f"{cqfm}criteriaReference", "valueString": "measure-population"},
        {"url": f"{cqfm}aggregateMethod", "valueCode": "sum"},
    ]
    episodes = [population("initial-population", "Tests"), population("measure-population", "Tests")]
    episodes.append(population("measure-observation", "Value Of", extension=extensions))
    whole = [population("initial-population", "Everybody"), population("denominator", "Named")]
    whole.append(population("numerator", "Fails"))
    basis = f"{cqfm}populationBasis"
    groups = [
        {"id": "p", "population": whole, "stratifier": [{"id": "f", "criteria": criteria("Family")}]},
        {
            "id": "e",
            "population": episodes,
            "stratifier": [{"id": "u", "criteria": criteria("Unit Of")}],
            "extension": [{"url": basis, "valueCode": "Observation"}],
        },
    ]
    usage = [{"coding": [{"code": "supplemental-data"}]}]
    listed = [{"id": name, "usage": usage, "criteria": criteria(name)} for name in SUPPLEMENTAL]
    head = {"resourceType": "Measure", "id": "m", "url": "http://example.org/Measure/m", "status": "active"}
    scoring = {"scoring": {"coding": [{"code": "continuous-variable"}]}}
    library = {"library": ["http://example.org/Library/MLib"]}
    whole_basis = {"extension": [{"url": basis, "valueCode": "boolean"}]}
    return {**head, **library, **scoring, **whole_basis, "group": groups, "supplementalData": listed}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "MLib.cql").write_text(LIBRARY)
    (tmp_path / "measure.json").write_text(json.dumps(measure()))
    make_key(tmp_path / "key")
    (tmp_path / "data").mkdir()
    resources = [person("a"), person("b"), {**person("c"), "name": [{"family": f"{SECRET}-other"}]}]
    for number in range(9):
        unit = ["mg", f"{SECRET}", "mg"][number % 3]
        value = {"valueQuantity": {"value": number, "unit": unit}}
        resources.append(observation(f"o{number}", "abc"[number % 3], **value))
    lines = [json.dumps(one) for one in resources]
    (tmp_path / "data" / f"{SECRET}.ndjson").write_text("\n".join([*lines, f'{{"resourceType":"{SECRET}']))
    return tmp_path


def measured(place: Path, out: str, *more: str) -> dict[str, Any]:
    given = ["measure", str(place / "measure.json"), "--data", str(place / "data"), "--out", str(place / out)]
    # what is missing of the data shall not take the values away that are looked for
    assert main([*given, "--now", "2026-06-01", "--tolerate", "9", *more]) in (0, 1)
    return json.loads((place / out / "summary.json").read_text())  # type: ignore[no-any-return]


def counts(report: dict[str, Any]) -> Any:
    """What a summary counts, without what values are called."""
    return [
        (
            [(one["id"], one.get("count")) for one in group["population"]],
            [
                sorted([p.get("count", 0) for p in s["population"]] for s in found["stratum"])
                for found in group["stratifier"]
            ],
            group.get("measureScoreQuantity") or group.get("measureScore"),
        )
        for group in report["group"]
    ]


@pytest.mark.parametrize("way", ["small", "large"])
def test_a_measure_names_nobody(
    place: Path, way: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if way == "large":
        monkeypatch.setattr("fhir_eligibility.runners.screening.run.SMALL", 0)
    plain = measured(place, "plain")
    before = "".join(text for _, text in everything_in(place / "plain"))
    assert before.count(SECRET) > 50 and NUMBER in before
    capfd.readouterr()
    words = [
        "--pseudonyms",
        str(place / "key"),
        "--pseudonym-list",
        str(place / "l.csv"),
        "--log-file",
        str(place / "log"),
    ]
    coded = measured(place, "out", *words, "--jobs", "2")
    said = capfd.readouterr()
    shown = [("stdout", said.out), ("stderr", said.err), ("log", (place / "log").read_text())]
    for name, text in (*everything_in(place / "out"), *shown):
        for secret in (SECRET, NUMBER):
            assert secret not in text, (name, text[max(text.index(secret) - 200, 0) :][:400])
    assert visible(place / "out") == visible(place / "plain")
    assert counts(coded) == counts(plain)
    names = {row["pseudonym"]: row["patient"] for row in csv.DictReader((place / "l.csv").open(newline=""))}
    assert sorted(names.values()) == [f"Patient/{SECRET}-{name}" for name in "abc"]
    results = [json.loads(line) for line in (place / "out" / "results.ndjson").read_text().splitlines()]
    assert [names[one["patient"]] for one in results] == [f"Patient/{SECRET}-{name}" for name in "abc"]
    told = results[0]["supplemental"]
    assert (told["Born"], told["Asked"]["code"], told["Dose"]["value"]) == ("1950-05-06", "2857-1", 5)
    assert told["Me"] == {"resourceType": "Patient", "id": results[0]["patient"].partition("/")[2]}
    assert told["Family"].startswith("text-") and told["Family"] == results[1]["supplemental"]["Family"]
    assert told["Family"] != results[2]["supplemental"]["Family"]
    episodes = [
        one["episodes"] for group in results[0]["groups"] for one in group["populations"] if one.get("episodes")
    ]
    assert all(name.startswith("Observation/") and len(name) == 38 for listed in episodes for name in listed)
    for line in (place / "out" / "reports.ndjson").read_text().splitlines():
        MODELS["r4"].model_validate(json.loads(line))
    MODELS["r4"].model_validate(coded)
