"""Runs the published cases of clinical quality measures: every population of every case must have the published count."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from engine.algebra.diagnostic import Source
from engine.artifacts.libraries import LibraryStore
from engine.artifacts.measures import Group, Measure, Population
from engine.artifacts.models.modelinfo import ModelInfo, read_model_info
from engine.compiler.cql.compiled import Compiler, Loaded
from engine.compiler.cql.runtime import Patient, Run
from engine.data.terminology import Terminology
from engine.evaluation.measures import MeasureEvaluator, MeasureResult
from engine.runners.measuring import LoadedMeasure, MeasureOptions, run_of
from tests.spec.model import Result, Suite, conformance_dir

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def folder() -> Path:
    """Where the measures stand: beside the official suites."""
    return conformance_dir().parent / "ecqm"


@lru_cache(maxsize=1)
def models(root: Path) -> tuple[ModelInfo, ...]:
    """The data models that the libraries use."""
    return tuple(read_model_info(p.read_text("utf-8")) for p in sorted(root.glob("*.xml")) if "fhir" not in p.name)


def load(path: Path) -> LoadedMeasure:
    """A measure of the folder: its description, its libraries at their versions, its value sets."""
    described = json.loads((path / "measure.json").read_text("utf-8"))
    store = LibraryStore()
    for file in sorted((path / "library").glob("*.json")):
        resource = json.loads(file.read_text("utf-8"))
        for content in resource["content"]:
            if content["contentType"] == "text/cql":
                text = base64.b64decode(content["data"]).decode("utf-8")
                store.add_text(Source(file.name, text), resource)
    compiler = Compiler(store.find, model_infos=models(path.parents[1] / "models"))
    source = store.find(described["library"]["name"], described["library"]["version"])
    assert source is not None
    terminology = Terminology()
    for entry in json.loads((path / "valuesets.json").read_text("utf-8"))["valuesets"]:
        contains = [{"system": system, "code": code} for system, codes in entry["codes"].items() for code in codes]
        resource = {"resourceType": "ValueSet", "status": "active", "url": entry["url"], "version": entry["version"]}
        terminology.add({**resource, "expansion": {"contains": contains}}, str(path))
    groups = tuple(_group(item) for item in described["groups"])
    measure = Measure(
        url=described["url"],
        id=described["id"],
        start=described["period"]["start"],
        end=described["period"]["end"],
        groups=groups,
    )
    return LoadedMeasure(measure, compiler.compile(source), terminology)


def _group(item: dict[str, Any]) -> Group:
    populations = tuple(
        Population(
            id=p["id"],
            code=p["code"],
            define=p["define"],
            aggregate=p.get("aggregateMethod"),
            reference=p.get("criteriaReference"),
        )
        for p in item["populations"]
    )
    return Group(id=item["id"], scoring=item["scoring"], basis=item["basis"], populations=populations)


def cases(path: Path) -> Iterator[dict[str, Any]]:
    """The cases of a measure."""
    decoder = msgspec.json.Decoder(float_hook=Decimal)
    for line in (path / "cases.ndjson").read_bytes().splitlines():
        yield decoder.decode(line)


def environment(run: Run, case: dict[str, Any]) -> Patient:
    """The whole record of a case is the patient's."""
    subject = next((r for r in case["resources"] if r["resourceType"] == "Patient"), None)
    return Patient(run, subject, case["resources"])


def run_ecqm(root: Path) -> list[Result]:
    """Run every case of every measure."""
    results = []
    for path in sorted(p for p in root.iterdir() if (p / "measure.json").is_file()):
        loaded = load(path)
        evaluator = MeasureEvaluator(loaded.measure, Loaded(loaded.compiled))
        run = run_of(loaded, MeasureOptions(NOW))
        for case in cases(path):
            found = counts(evaluator(case["case"], environment(run, case)))
            wanted = {group: {code: int(n) for code, n in values.items()} for group, values in case["expected"].items()}
            detail = "" if found == wanted else f"expected {wanted}; got {found}"
            results.append(Result(f"{path.name}.{case['case']}", path.name, case["name"], not detail, detail))
    return results


def counts(result: MeasureResult) -> dict[str, dict[str, int]]:
    """Counts by group and population code."""
    return {group.id: {p.code: p.count for p in group.populations} for group in result.groups}


SUITES = (Suite("ecqm", "../ecqm/open", run_ecqm),)
