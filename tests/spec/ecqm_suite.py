"""Runs the published cases of clinical quality measures: every population of every case must have the published count.

`ecqm` hands each record to the engine as the patient's, whole. `ecqm-files` goes the way of `eligibility measure`: the measure, its libraries, its value
sets and each record, a bundle of its own, are files that the program reads.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from fhir_eligibility.algebra.diagnostic import Source
from fhir_eligibility.artifacts.libraries import LibraryStore
from fhir_eligibility.artifacts.measures import Group, Measure, Population
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.artifacts.models.modelinfo import ModelInfo, read_model_info
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.terminology.value_sets import Terminology
from fhir_eligibility.evaluation.measures import MeasureEvaluator, MeasureResult
from fhir_eligibility.runners.measures.measuring import (
    LoadedMeasure,
    MeasureOptions,
    evaluate_measure,
    load_measure,
    run_of,
)
from tests.inputs import SHARED
from tests.spec.model import Result, Suite

Resource = dict[str, Any]
_encode = msgspec.json.Encoder(decimal_format="number").encode
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def folder() -> Path:
    """Where the measures stand: their value sets hold codes under the terms of several owners, so that they are not handed on."""
    return SHARED / "ecqm"


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
        evaluator = MeasureEvaluator(loaded.measure, LoadedLibrary(loaded.compiled))
        run = run_of(loaded, MeasureOptions(now=NOW))
        for case in cases(path):
            found = counts(evaluator(case["case"], environment(run, case)))
            wanted = {group: {code: int(n) for code, n in values.items()} for group, values in case["expected"].items()}
            detail = "" if found == wanted else f"expected {wanted}; got {found}"
            results.append(Result(f"{path.name}.{case['case']}", path.name, case["name"], not detail, detail))
    return results


def counts(result: MeasureResult) -> dict[str, dict[str, int]]:
    """Counts by group and population code."""
    return {group.id: {p.code: p.count for p in group.populations} for group in result.groups}


def run_files(root: Path) -> list[Result]:
    """Run every case of every measure by way of files."""
    results = []
    for path in sorted(p for p in root.iterdir() if (p / "measure.json").is_file()):
        with tempfile.TemporaryDirectory() as folder:
            results += measured(path, list(cases(path)), Path(folder))
    return results


def measured(path: Path, decks: list[dict[str, Any]], folder: Path) -> list[Result]:
    """Some cases of a measure, written into a folder and read from there."""
    write_measure(path, folder / "measure.json")
    write_value_sets(path, folder / "valuesets.json")
    (folder / "data").mkdir()
    for number, case in enumerate(decks):
        (folder / "data" / f"{number:04}.json").write_bytes(_encode(bundle_of(case["resources"])))
    models = [p for p in (path.parents[1] / "models").glob("*.xml") if "fhir" not in p.name]
    loaded = load_measure(
        folder / "measure.json",
        libraries=[path / "library", *sorted(models)],
        valuesets=[folder / "valuesets.json"],
        allow_missing_valuesets=True,
    )
    assert loaded.errors == (), loaded.errors
    problems: dict[str, list[str]] = {}

    def told(problem: Problem) -> None:
        problems.setdefault(Path(problem.file or "").stem, []).append(f"{problem.code} {problem.resource}")

    evaluated = evaluate_measure(loaded, [folder / "data"], MeasureOptions(now=NOW), told)
    found = {result.patient: counts(result) for result in evaluated}
    results = []
    for number, case in enumerate(decks):
        expected = {group: {code: int(n) for code, n in values.items()} for group, values in case["expected"].items()}
        got = found.get(f"Patient/{patient_of(case)}")
        said = "; ".join(problems.get(f"{number:04}", ()))
        detail = "" if got == expected else f"expected {expected}; got {got} ({said})"
        results.append(Result(f"{path.name}.{case['case']}", path.name, case["name"], not detail, detail))
    return results


def patient_of(case: dict[str, Any]) -> str:
    """The id of the one Patient of a case."""
    (found,) = [r["id"] for r in case["resources"] if r["resourceType"] == "Patient"]
    return str(found)


def of_others(case: dict[str, Any]) -> list[Resource]:
    """The references in a case that lead to another patient than its own, each with the name of its record under `record`."""
    model = load_model("r4")
    found = []
    for resource in case["resources"]:
        for path in model.patient_paths(resource["resourceType"]):
            reference = resource.get(path)
            if isinstance(reference, dict) and reference.get("reference") not in (None, f"Patient/{patient_of(case)}"):
                found.append({"record": f"{resource['resourceType']}/{resource['id']}", "reference": reference})
    return found


def differing(case: dict[str, Any]) -> str:
    """The records that make a deck differ from what it is published for, in words."""
    others = sorted({one["record"] for one in of_others(case)})
    repeated = sorted({f"{r['resourceType']}/{r['id']}" for r in repeats(case)})
    texts = [f"names another patient than that of the case: {', '.join(others)}"]
    texts += [f"the id of several records: {', '.join(repeated)}"] if repeated else []
    return "; ".join(texts)


def repeats(case: dict[str, Any]) -> list[Resource]:
    """The records of a case that bear the id of one before, with other content."""
    known: dict[tuple[str, str], Resource] = {}
    resources = case["resources"]
    return [r for r in resources if known.setdefault((r["resourceType"], r["id"]), r) != r]


def bundle_of(resources: list[Resource]) -> Resource:
    """A record as a file: a collection of one patient."""
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in resources]}


def write_value_sets(path: Path, file: Path) -> None:
    """The value sets of a measure as a bundle of expansions."""
    listed = []
    for entry in json.loads((path / "valuesets.json").read_text("utf-8"))["valuesets"]:
        contains = [{"system": system, "code": code} for system, codes in entry["codes"].items() for code in codes]
        resource = {"resourceType": "ValueSet", "status": "active", "url": entry["url"], "version": entry["version"]}
        listed.append({**resource, "expansion": {"contains": contains}})
    file.write_bytes(_encode(bundle_of(listed)))


def write_measure(path: Path, file: Path) -> None:
    """The description of a measure as a Measure resource."""
    described = json.loads((path / "measure.json").read_text("utf-8"))
    library = json.loads((path / described["library"]["file"]).read_text("utf-8"))
    resource = {
        "resourceType": "Measure",
        "id": described["id"],
        "url": described["url"],
        "status": "active",
        "library": [f"{library['url']}|{library['version']}"],
        "effectivePeriod": described["period"],
        "group": [_group_resource(item) for item in described["groups"]],
    }
    file.write_bytes(_encode(resource))


def _group_resource(item: dict[str, Any]) -> Resource:
    populations = []
    for p in item["populations"]:
        extensions = [
            _cqfm("aggregateMethod", valueCode=p.get("aggregateMethod")),
            _cqfm("criteriaReference", valueString=p.get("criteriaReference")),
        ]
        populations.append(
            {
                "id": p["id"],
                "extension": [e for e in extensions if None not in e.values()],
                "code": {"coding": [{"code": p["code"]}]},
                "criteria": {"language": p["language"], "expression": p["define"]},
            }
        )
    extensions = [
        _cqfm("scoring", valueCodeableConcept={"coding": [{"code": item["scoring"]}]}),
        _cqfm("populationBasis", valueCode=item["basis"]),
    ]
    return {"id": item["id"], "extension": extensions, "population": populations}


def _cqfm(name: str, **value: Any) -> Resource:
    return {"url": f"http://hl7.org/fhir/us/cqfmeasures/StructureDefinition/cqfm-{name}", **value}


SUITES = (
    Suite("ecqm", "ecqm/open", run_ecqm, bundled=False),
    Suite("ecqm-files", "ecqm/open", run_files, bundled=False),
)
