"""`EXAMPLES=FOLDER python -m tests.benchmarks.examples`: published examples as lines, as one bundle and as one bundle a patient, read in every way: the same verdicts.

FOLDER holds packages (`hl7.fhir.r4.examples-4.0.1.tgz`, as `npm pack hl7.fhir.r4.examples` brings them; also r4b, r5, `hl7.fhir.uv.ips`) or folders of JSON and NDJSON files.
A name that holds `r5` or `r4b` is of that version. Besides expressions of this page, some ask for the codes that a set has most, whose records are found by their text. Of single resources those are taken that criteria read, each name once; bundles of one patient are read as they are, and as lines of one file, indented or not. A patient whom records name and
no Patient resource describes has a row where criteria read these records: such are compared where both ways have them. Nothing is fetched.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.models import Model, load_model
from fhir_eligibility.data.patients.reader import read_patients
from fhir_eligibility.runners.screening import run as running
from fhir_eligibility.runners.screening.criteria import Criteria
from fhir_eligibility.runners.screening.run import RunOptions, run

NOW = "2026-06-01"
EXPRESSIONS = (
    "Patient.gender = 'male'",
    "Patient.birthDate < @1970-01-01",
    "Condition.exists()",
    "Condition.where(clinicalStatus.coding.exists(code = 'active')).exists().not()",
    "Observation.where(status = 'final').count() >= 2",
    "Observation.where(value.ofType(Quantity).value > 50).exists()",
    "Encounter.exists() or Procedure.where(status = 'completed').exists()",
    "MedicationRequest.where(status in ('active' | 'completed')).exists()",
    "AllergyIntolerance.all(criticality = 'low')",
)
CODES = 6
"""Codes of a set that expressions ask for, the most frequent ones."""
CODED = ("Condition", "Observation", "Procedure", "AllergyIntolerance")
Resource = dict[str, Any]
Outcomes = dict[str, tuple[str, ...]]
READ = frozenset("Patient Condition Observation Encounter Procedure MedicationRequest AllergyIntolerance".split())
"""The types that the expressions read."""


def documents(place: Path) -> Iterator[Any]:
    """What stands in the JSON and NDJSON files of a package or folder, each value."""
    if place.is_dir():
        texts: Iterator[tuple[str, bytes]] = iter(
            [(path.name, path.read_bytes()) for path in sorted(place.rglob("*json"))]
        )
    else:
        with tarfile.open(place) as archive:
            members = [one for one in archive.getmembers() if one.isfile() and one.name.endswith("json")]
            listed = [(one.name, archive.extractfile(one)) for one in sorted(members, key=lambda one: one.name)]
            texts = iter([(name, stream.read()) for name, stream in listed if stream is not None])
    for name, text in texts:
        for part in text.splitlines() if name.endswith("ndjson") else (text,):
            try:
                yield json.loads(part)
            except ValueError:
                continue


def resources_of(place: Path) -> list[Resource]:
    """The resources of a set that criteria read, each name once; what is in bundles and Parameters is not looked at."""
    found: dict[tuple[str, str], Resource] = {}
    for value in documents(place):
        kind = value.get("resourceType") if isinstance(value, dict) else None
        if kind in READ and isinstance(value.get("id"), str):
            found.setdefault((str(kind), value["id"]), value)
    return list(found.values())


def bundles_of(place: Path) -> list[Resource]:
    """The documents and collections of a set that hold exactly one Patient, of different ids."""
    found: dict[str, Resource] = {}
    for value in documents(place):
        if (
            isinstance(value, dict)
            and value.get("resourceType") == "Bundle"
            and value.get("type") in ("document", "collection", "transaction")
        ):
            held = [one.get("resource", {}) for one in value.get("entry", ()) if isinstance(one, dict)]
            people = [one for one in held if one.get("resourceType") == "Patient"]
            if len(people) == 1 and "id" in people[0]:
                found.setdefault(people[0]["id"], value)
    return list(found.values())


def owner(resource: Resource, model: Model) -> str:
    """The patient whom a resource is about by its first reference, for sorting alone."""
    if resource["resourceType"] == "Patient":
        return f"Patient/{resource['id']}"
    for path in model.patient_paths(resource["resourceType"]):
        value: Any = resource
        for name in path.split("."):
            value = value[0] if isinstance(value, list) and value else value
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, dict) and isinstance(value.get("reference"), str):
            return str(value["reference"])
    return ""


def forms(listed: list[Resource], model: Model, folder: Path) -> Iterator[tuple[str, Path]]:
    """The resources written in several ways."""

    def bundle(some: list[Resource]) -> str:
        return json.dumps({"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in some]})

    kinds: dict[str, list[Resource]] = {}
    people: dict[str, list[Resource]] = {}
    for one in listed:
        kinds.setdefault(one["resourceType"], []).append(one)
        people.setdefault(owner(one, model), []).append(one)
    written = {
        "lines": {f"{kind}.ndjson": "".join(json.dumps(one) + "\n" for one in some) for kind, some in kinds.items()},
        "one bundle": {"all.json": bundle(listed)},
        "a bundle a patient": {f"{number}.json": bundle(some) for number, some in enumerate(people.values())},
    }
    for form, files in written.items():
        place = folder / form.replace(" ", "-")
        place.mkdir(parents=True)
        for name, text in files.items():
            (place / name).write_text(text, "utf-8")
        yield form, place


def written(bundles: list[Resource], folder: Path) -> Iterator[tuple[str, Path]]:
    """Bundles as they are, a file each, plain and indented, and on lines."""
    for form, indent in (("bundles as they are", None), ("bundles, indented", 2)):
        (place := folder / form.replace(" ", "-")).mkdir(parents=True)
        for number, one in enumerate(bundles):
            (place / f"{number:06}.json").write_text(json.dumps(one, indent=indent), "utf-8")
        yield form, place
    (place := folder / "lines").mkdir()
    (place / "all.ndjson").write_text("".join(json.dumps(one) + "\n" for one in bundles), "utf-8")
    yield "bundles on lines", place


def people(data: Path) -> set[str]:
    """The patients of whom some data has a Patient resource."""
    found: set[str] = set()
    for value in documents(data):
        entries = value.get("entry", ()) if value.get("resourceType") == "Bundle" else ({"resource": value},)
        held = [one.get("resource", {}) for one in entries]
        found |= {f"Patient/{one.get('id')}" for one in held if one.get("resourceType") == "Patient"}
    return found


def outcomes(verdicts: Any) -> Outcomes:
    return {one.patient: (one.verdict, *(rule.outcome for rule in one.criteria)) for one in verdicts}


def ways(rules: Criteria, model: Model, data: Path, out: Path) -> Iterator[tuple[str, Outcomes]]:
    """The outcomes of each way of reading."""
    people = read_patients([data], model=model, on_problem=lambda problem: None)
    yield "memory", outcomes(fhir_eligibility.screen(rules, people, now=NOW))
    options: dict[str, tuple[int, dict[str, Any]]] = {
        "by plan": (running.SMALL, {}),
        "one process": (0, {"jobs": 1}),
        "two processes, little memory": (0, {"jobs": 2, "memory": 1 << 20}),
    }
    for name, (small, given) in options.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(running, "SMALL", small)
            folder = out / name.replace(" ", "-")
            run(rules, [], [data], folder, RunOptions(now=NOW, **given))
        lines = (folder / "verdicts.ndjson").read_text("utf-8").splitlines()
        yield name, outcomes(fhir_eligibility.Verdict.model_validate_json(line) for line in lines)


def codes_of(resources: Iterable[Resource]) -> Iterator[str]:
    """Expressions that ask for the most frequent codes of some resources, and for their absence."""
    found: Counter[tuple[str, str, str]] = Counter()
    for one in resources:
        concept = one.get("code") if one.get("resourceType") in CODED else None
        codings = concept.get("coding") if isinstance(concept, dict) else None
        for coding in codings if isinstance(codings, list) else ():
            system, code = coding.get("system"), coding.get("code")
            if isinstance(system, str) and isinstance(code, str) and "'" not in system + code:
                found[one["resourceType"], system, code] += 1
    for (kind, system, code), _ in found.most_common(CODES):
        asked = f"{kind}.where(code.coding.exists(system = '{system}' and code = '{code}'))"
        yield f"{asked}.exists()"
        yield f"{asked}.exists().not()"


def rules_of(folder: Path, version: str, held: Iterable[Resource]) -> Criteria:
    listed = [
        {"linkId": f"c{number}", "definitionExpression": {"language": "text/fhirpath", "expression": text}}
        for number, text in enumerate((*EXPRESSIONS, *codes_of(held)))
    ]
    artifact = {"resourceType": "EvidenceVariable", "id": "ev", "status": "active", "characteristic": listed}
    (folder / "ev.json").write_text(json.dumps(artifact), "utf-8")
    return fhir_eligibility.load_criteria(folder / "ev.json", fhir_version=version)


def compared(place: Path) -> list[str]:
    """What differs between the ways and the forms of a set; prints how much there is."""
    version = next((one for one in ("r4b", "r5") if one in place.name), "r4")
    model, different = load_model(version), []
    listed, bundles = resources_of(place), bundles_of(place)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inside = [one["resource"] for bundle in bundles for one in bundle["entry"] if "resource" in one]
        rules, first = rules_of(folder, version, [*listed, *inside]), None
        sets = [*forms(listed, model, folder / "data")] if listed else []
        for form, data in [*sets, *written(bundles, folder / "bundles")] if bundles else sets:
            whole = first if form != "bundles as they are" else None
            for way, found in ways(rules, model, data, folder / "out" / form.replace(" ", "-")):
                whole = found if whole is None else whole
                described = people(data)
                wrong = sorted(
                    who
                    for who in whole.keys() | found.keys()
                    if whole.get(who) != found.get(who) and (who in described or (who in whole and who in found))
                )
                different += [f"{form}, {way}: {who}: {whole.get(who)} and {found.get(who)}" for who in wrong]
            first = whole if first is None or form == "bundles as they are" else first
            print(
                f"{place.name}, {form}: {len(whole or ())} patients, {sum(map(len, (whole or {}).values()))} answers",
                flush=True,
            )
    print(f"{place.name}: {len(listed):,} resources, {len(bundles)} bundles, {len(different)} differences", flush=True)
    return different


def main() -> int:
    folder = os.environ.get("EXAMPLES", "")
    sets = sorted(one for one in Path(folder).iterdir() if one.is_dir() or one.suffix == ".tgz") if folder else []
    if not sets:
        print("no examples: set EXAMPLES to a folder of packages, such as `npm pack hl7.fhir.r4.examples` brings")
        return 0
    different = [text for place in sets for text in compared(place)]
    for text in different[:200]:
        print(text)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
