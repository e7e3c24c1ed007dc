"""FLUTE's own CQL: every define of every library on every patient, and the verdicts of its EvidenceVariable on the probes."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.algebra.values.element import Element
from fhir_eligibility.artifacts.libraries import load_libraries
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from tests.shared import shared

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def expected() -> dict[str, Any]:
    return json.loads((shared("flute") / "expected.json").read_text("utf-8"))  # type: ignore[no-any-return]


def resources(path: Path) -> list[dict[str, Any]]:
    """All resources of a bundle, or of the bundle in a Parameters resource."""
    found: list[dict[str, Any]] = []
    stack = [json.loads(path.read_text("utf-8"), parse_float=Decimal)]
    while stack:
        item = stack.pop(0)
        if item["resourceType"] == "Bundle":
            stack.extend(entry["resource"] for entry in item["entry"])
        elif item["resourceType"] == "Parameters":
            stack.extend(part["resource"] for part in item["parameter"] if "resource" in part)
        else:
            found.append(item)
    return found


def value_sets() -> dict[str, frozenset[tuple[str | None, str | None]]]:
    """Prostate cancer, under both of the urls that the libraries name."""
    found = {}
    for path in ("valueset/v2/VS-PCa.json", "decoded/VS-PCa.json"):
        data = json.loads((shared("flute") / path).read_text("utf-8"))
        codes = [(part["system"], c["code"]) for part in data["compose"]["include"] for c in part["concept"]]
        found[data["url"]] = frozenset(codes)
    return found


def plain(value: Any) -> Any:
    """A value as the expectations write it: primitives of FHIR as objects with a value."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, Element):
        if isinstance(value.value, dict):
            return {key: {"value": item} for key, item in value.value.items()}
        return {"value": value.value}
    if value is None or isinstance(value, (bool, int)):
        return value
    return str(value).removesuffix("T")


def test_every_define_of_every_library_gives_the_reference_value() -> None:
    compared = 0
    for name, entry in expected()["reference"].items():
        folder = shared("flute") / "library"
        store = load_libraries([folder / f"Library-{name.removesuffix('.cql')}.json"])
        loaded = LoadedLibrary(Compiler(store.find).compile(store.libraries[0].source))
        run = Run(NOW, value_sets=value_sets())
        for patient, values in entry["results"].items():
            file = "decoded/EXP-Params-BundleExtract" if patient.startswith("params") else patient
            found = resources(shared("flute") / f"{file}.json")
            subject = next((r for r in found if r["resourceType"] == "Patient"), None)
            environment = Patient(run, subject, found)
            for define, wanted in values.items():
                assert plain(loaded.evaluate(define, environment)) == wanted, (name, patient, define)
                compared += 1
    assert compared == 357


def test_the_assertions_of_the_test_scripts() -> None:
    for script in expected()["testScripts"]:
        if script.get("library") is None:
            continue
        name = script["library"].removeprefix("cql/").removesuffix(".cql")
        store = load_libraries([shared("flute") / "library" / f"Library-{name}.json"])
        loaded = LoadedLibrary(Compiler(store.find).compile(store.libraries[0].source))
        found = resources(shared("flute") / script["patient"])
        environment = Patient(Run(NOW, value_sets=value_sets()), None, found)
        for define, wanted in script["expected"].items():
            assert summary(loaded.evaluate(define, environment)) == wanted, (script["testScript"], define)


def summary(value: Any) -> Any:
    """A value as the assertions write it: a quantity as value and unit, a FHIR integer as a number."""
    if isinstance(value, list):
        return [summary(item) for item in value]
    if isinstance(value, Element):
        return {key: value.value[key] for key in ("value", "unit")} if isinstance(value.value, dict) else value.value
    return value


WORDS = {"true": "included", "false": "excluded", "unknown": "undetermined"}


@pytest.mark.parametrize("strict", [False, True])
def test_verdicts_on_the_probes(strict: bool) -> None:
    folder = shared("flute")
    criteria = fhir_eligibility.load_criteria(
        folder / "evidencevariable-R5" / "EV-InclusionCriteriaFLUTE.json", libraries=[folder / "library"]
    )
    assert criteria.errors == ()
    for probe in expected()["probes"]:
        (verdict,) = fhir_eligibility.screen(criteria, folder / probe["patient"], now=NOW, strict_cql=strict)
        (criterion,) = verdict.criteria[0].members
        wanted = WORDS[probe["threeValued_isIncluded"]]
        plain_answer = {True: "met", False: "not met"}[probe["reference"]["isIncluded"]]
        if strict:
            assert criterion.outcome == plain_answer, probe["patient"]
        else:
            assert verdict.verdict == wanted, (probe["patient"], probe["why"], criterion.detail)
        assert criterion.plain_cql == (plain_answer if wanted == "undetermined" else None), probe["patient"]


@pytest.mark.parametrize("cohort", ["v1-hl7eu-2025-04", "v2-fyrstain-2026-03", "v2-requirements-2026-01"])
def test_the_study_screens_the_cohorts(cohort: str) -> None:
    folder = shared("flute")
    names = ("EV-InclusionCriteriaFLUTE", "RS-ResearchStudyFLUTE")
    paths = [folder / "evidencevariable-R5" / f"{name}.json" for name in names]
    criteria = fhir_eligibility.load_criteria(*paths, libraries=[folder / "library"])
    assert [rules.artifact for rules in criteria.rules] == [
        "https://flute.com/EvidenceVariable/EV-InclusionCriteriaFLUTE"
    ]
    patients = [folder / cohort / f"EXP-S{n}-{kind}Patient.json" for n, kind in ((1, "Included"), (2, "Excluded"))]
    verdicts = [verdict.verdict for verdict in fhir_eligibility.screen(criteria, patients, now=NOW)]
    reference = expected()["reference"]["InclusionCriteriaFLUTE.cql"]["results"]
    plain_answers = [reference[f"{cohort}/{p.stem}"]["isIncluded"] for p in patients]
    # a patient without any imaging study has none in the year before: that is known, whatever the date of the biopsy
    assert verdicts == [{True: "included", False: "excluded"}[answer] for answer in plain_answers]


CRITERIA = Path(__file__).parents[2] / "criteria" / "flute"


def images(verdict: fhir_eligibility.Verdict) -> list[tuple[Any, ...]]:
    return [(x.criterion, x.role, x.study, [series.uid for series in x.series]) for x in verdict.imaging]


@pytest.mark.parametrize("kind", ["mr", "any-modality"])
def test_the_rule_in_cql_gives_the_verdicts_and_images_of_the_rule_in_fhirpath(kind: str) -> None:
    fhirpath = fhir_eligibility.load_criteria(CRITERIA / kind)
    cql = fhir_eligibility.load_criteria(CRITERIA / "cql" / kind, libraries=[CRITERIA / "cql"])
    assert cql.diagnostics == ()
    paths = [*sorted((CRITERIA / "cohort").glob("*.json")), *sorted((shared("flute") / "probes").glob("*.json"))]
    assert len(paths) == 28
    for path in paths:
        (one,) = fhir_eligibility.screen(fhirpath, path, now=NOW)
        (other,) = fhir_eligibility.screen(cql, path, now=NOW)
        assert other.verdict == one.verdict, path.name
        assert [c.outcome for c in other.criteria] == [c.outcome for c in one.criteria], path.name
        assert images(other) == images(one), path.name
        reasons = [c.reason.replace("no-data", "missing-value") if c.reason else None for c in one.criteria]
        assert [c.reason for c in other.criteria] == reasons, path.name


def test_the_library_resource_holds_the_library_text() -> None:
    store = load_libraries([CRITERIA / "cql" / "Library-FluteCriteria.json"])
    assert store.libraries[0].source.text == (CRITERIA / "cql" / "FluteCriteria.cql").read_text("utf-8")
