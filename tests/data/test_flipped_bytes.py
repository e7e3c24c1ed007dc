"""One byte of the data is another, missing, or too many: nothing breaks, and no verdict changes without a problem - unless the byte stood in a value, which nobody can tell from another value.

`FLIPS` says how many are tried.
"""

from __future__ import annotations

import base64
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.reader import read_patients
from fhir_eligibility.runners.screening import run as running
from fhir_eligibility.runners.screening.criteria import Criteria
from fhir_eligibility.runners.screening.run import RunOptions, run
from tests.data.every_way import NOW, criteria, outcomes

FLIPS = int(os.environ.get("FLIPS", "150"))
S, L = "http://snomed.info/sct", "http://loinc.org"
EXPRESSIONS = (
    f"Condition.where(code.coding.exists(system = '{S}' and code = '254837009')).exists().not()",
    f"Observation.where(status = 'final' and code.coding.exists(system = '{L}' and code = '2857-1')).exists(value >= 3 'ng/mL')",
    "Patient.birthDate < @1960-01-01 and Patient.deceased.exists().not()",
    "Procedure.where(status = 'completed' and performed >= @2025-01-01).exists()",
)
Resource = dict[str, Any]


def records(name: str, number: int) -> list[Resource]:
    subject = {"reference": f"Patient/{name}"}
    return [
        {"resourceType": "Patient", "id": name, "birthDate": f"19{50 + 3 * number}-02-03"},
        {"resourceType": "Condition", "id": f"c{name}", "subject": subject, "code": {"coding": [{"system": S, "code": "254837009" if number % 2 else "44054006"}]}},
        {"resourceType": "Observation", "id": f"o{name}", "status": "final", "subject": subject, "code": {"coding": [{"system": L, "code": "2857-1"}]}, "valueQuantity": {"value": number + 1, "unit": "ng/mL", "system": "http://unitsofmeasure.org", "code": "ng/mL"}},
        {"resourceType": "Procedure", "id": f"p{name}", "status": "completed", "subject": subject, "code": {"text": "x"}, "performedDateTime": f"202{4 + number % 2}-05-06"},
    ]  # fmt: skip


PEOPLE = [records(name, number) for number, name in enumerate(("ann", "ben", "cleo", "dora"))]


def texts(form: str) -> dict[str, bytes]:
    """The files of the data."""
    if form == "lines":
        kinds = ("Patient", "Condition", "Observation", "Procedure")
        return {
            f"{kind}.ndjson": b"".join(json.dumps(one[number]).encode() + b"\n" for one in PEOPLE)
            for number, kind in enumerate(kinds)
        }
    return {
        f"{one[0]['id']}.json": json.dumps(
            {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": each} for each in one]}
        ).encode()
        for one in PEOPLE
    }


def flipped(text: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(text))
    other = bytes((chance.randrange(256) if chance.random() < 0.3 else chance.choice(b'{}[]",:\\ 0a\n\t'),))
    return chance.choice(
        (text[:at] + other + text[at + 1 :], text[:at] + text[at + 1 :], text[:at] + other + text[at:])
    )


def shape(value: Any) -> Any:
    """All that JSON says but the values of its texts, numbers and Booleans."""
    if isinstance(value, dict):
        return [(name, shape(below)) for name, below in value.items()]
    return [shape(one) for one in value] if isinstance(value, list) else type(value).__name__


def shapes(text: bytes, form: str) -> Any:
    """The shape of each resource, None where one is none."""
    try:
        return [shape(json.loads(line)) for line in (text.split(b"\n") if form == "lines" else [text]) if line]
    except ValueError:
        return None


def judged(rules: Criteria, data: Path, out: Path, way: str) -> tuple[Any, list[Problem]]:
    problems: list[Problem] = []
    if way == "memory":
        found = list(read_patients([data], model=load_model("r4"), on_problem=problems.append))
        return outcomes(fhir_eligibility.screen(rules, found, now=NOW)), problems
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "SMALL", 0 if way == "one process" else running.SMALL)
        run(rules, [], [data], out, RunOptions(now=NOW, jobs=1))
    lines = (out / "verdicts.ndjson").read_text("utf-8").splitlines()
    listed = (out / "problems.ndjson").read_text("utf-8").splitlines()
    verdicts = outcomes(fhir_eligibility.Verdict.model_validate_json(line) for line in lines)
    return verdicts, [Problem.model_validate_json(line) for line in listed]


@pytest.mark.parametrize("way", ["memory", "by plan", "one process"])
@pytest.mark.parametrize("form", ["lines", "bundles"])
def test_no_verdict_changes_silently(tmp_path: Path, form: str, way: str) -> None:
    rules, whole, data = criteria(tmp_path / "criteria", *EXPRESSIONS), texts(form), tmp_path / "data"
    data.mkdir()
    for name, text in whole.items():
        (data / name).write_bytes(text)
    before, problems = judged(rules, data, tmp_path / "out", way)
    assert len(before) == len(PEOPLE) and not problems
    chance, seen = random.Random(f"{form} {way} {os.environ.get('FLIP_SEED', '')}"), Counter[str]()
    for _ in range(max(FLIPS // 6, 10)):
        name = chance.choice(sorted(whole))
        text = flipped(whole[name], chance)
        if text == whole[name]:
            continue
        (data / name).write_bytes(text)
        after, problems = judged(rules, data, tmp_path / "out", way)
        (data / name).write_bytes(whole[name])
        if after == before:
            seen["no change"] += 1
        elif any(one.severity == "error" or (one.file or "").endswith(name) for one in problems):
            seen["told"] += 1
        else:
            # a value is another one, and is taken at its word
            assert shapes(text, form) == shapes(whole[name], form), (name, text, before, after)
            seen["another value"] += 1
    assert seen["told"] > 0, seen


CODED: Resource = {
    "resourceType": "EvidenceVariable",
    "id": "ev",
    "url": "http://example.org/EvidenceVariable/ev",
    "status": "active",
    "actual": True,
    "characteristic": [
        {"linkId": "a", "exclude": True, "definitionCodeableConcept": {"coding": [{"system": S, "code": "254837009", "display": "Breast cancer (disorder)"}]}},
        {"linkId": "b", "definitionByTypeAndValue": {"type": {"coding": [{"system": L, "code": "2857-1"}]}, "valueQuantity": {"value": 2, "comparator": ">=", "unit": "ng/mL", "system": "http://unitsofmeasure.org", "code": "ng/mL"}}},
        {"linkId": "c", "definitionExpression": {"language": "text/fhirpath", "expression": EXPRESSIONS[2]}},
    ],
}  # fmt: skip


def test_no_criterion_changes_its_meaning_silently(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name, text in texts("lines").items():
        (data / name).write_bytes(text)
    whole, path = json.dumps(CODED).encode(), tmp_path / "ev.json"
    path.write_bytes(whole)
    rules = fhir_eligibility.load_criteria(path, on_error="keep")
    problems: list[Problem] = []
    people = list(read_patients([data], model=load_model("r4"), on_problem=problems.append))
    before = outcomes(fhir_eligibility.screen(rules, people, now=NOW))
    known = {one.message for one in rules.diagnostics}
    assert (
        not rules.errors and not problems and {verdict for verdict, *_ in before.values()} == {"included", "excluded"}
    )
    chance, seen = random.Random(f"criteria {os.environ.get('FLIP_SEED', '')}"), Counter[str]()
    for _ in range(FLIPS):
        text = flipped(whole, chance)
        path.write_bytes(text)
        found = fhir_eligibility.load_criteria(path, on_error="keep")
        if not found.rules:
            assert found.errors, text
            seen["refused"] += 1
            continue
        after = outcomes(fhir_eligibility.screen(found, people, now=NOW))
        if after == before:
            seen["no change"] += 1
        elif {one.message for one in found.diagnostics} - known:
            seen["told"] += 1
        else:
            assert shapes(text, "bundles") == shapes(whole, "bundles"), (text, before, after)
            seen["another value"] += 1
    assert seen["told"] > 0 and seen["refused"] > 0, seen


CQL = f"""library Flips version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
codesystem SCT: '{S}'
valueset Cancer: 'http://example.org/ValueSet/cancer'
code Diabetes: '44054006' from SCT
context Patient
define Old: AgeInYearsAt(@2026-01-01) >= 60
define HasCancer: exists [Condition: Cancer]
define HasDiabetes: exists [Condition: Diabetes]
define Wanted: Old and not HasCancer and (HasDiabetes or not exists [Procedure])
"""
URL = "http://example.org"
GROUP: Resource = {
    "resourceType": "Group",
    "id": "g",
    "type": "person",
    "actual": False,
    "characteristic": [
        {"code": {"coding": [{"system": S, "code": "64572001"}]}, "valueCodeableConcept": {"coding": [{"system": S, "code": "254837009"}]}, "exclude": True},
        {"code": {"coding": [{"system": L, "code": "2857-1"}]}, "valueRange": {"low": {"value": 2, "unit": "ng/mL", "system": "http://unitsofmeasure.org", "code": "ng/mL"}}, "exclude": False},
    ],
}  # fmt: skip
ASKING: Resource = {
    "resourceType": "EvidenceVariable",
    "id": "ev",
    "url": f"{URL}/EvidenceVariable/ev",
    "status": "active",
    "actual": True,
    "characteristic": [
        {
            "linkId": "a",
            "definitionExpression": {
                "language": "text/cql-identifier",
                "expression": "Wanted",
                "reference": f"{URL}/Library/Flips",
            },
        }
    ],
}
LIBRARY: Resource = {
    "resourceType": "Library",
    "id": "Flips",
    "url": f"{URL}/Library/Flips",
    "name": "Flips",
    "version": "1",
    "status": "active",
    "type": {"coding": [{"code": "logic-library"}]},
    "content": [{"contentType": "text/cql", "data": base64.b64encode(CQL.encode()).decode()}],
}
VALUE_SET: Resource = {
    "resourceType": "ValueSet",
    "id": "cancer",
    "url": f"{URL}/ValueSet/cancer",
    "status": "active",
    "compose": {"include": [{"system": S, "filter": [{"property": "concept", "op": "is-a", "value": "363346000"}]}]},
}
CODE_SYSTEM: Resource = {
    "resourceType": "CodeSystem",
    "id": "sct",
    "url": S,
    "status": "active",
    "content": "complete",
    "hierarchyMeaning": "is-a",
    "concept": [
        {"code": "363346000", "display": "Cancer", "concept": [{"code": "254837009", "display": "Breast cancer"}]},
        {"code": "44054006", "display": "Diabetes"},
    ],
}
DEFINITIONS: dict[str, dict[str, Any]] = {
    "Group": {"group.json": GROUP},
    "CQL": {"ev.json": ASKING, "Flips.cql": CQL, "vs.json": VALUE_SET, "cs.json": CODE_SYSTEM},
    "Library": {"ev.json": ASKING, "Flips.json": LIBRARY, "vs.json": VALUE_SET, "cs.json": CODE_SYSTEM},
}


def loaded(folder: Path) -> Criteria:
    criteria_files = [path for path in (folder / "ev.json", folder / "group.json") if path.exists()]
    others = sorted(path for path in folder.iterdir() if path not in criteria_files)
    libraries = [path for path in others if path.name.startswith("Flips")]
    sets = [path for path in others if path not in libraries]
    return fhir_eligibility.load_criteria(*criteria_files, on_error="keep", libraries=libraries, valuesets=sets)


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_no_definition_changes_its_meaning_silently(tmp_path: Path, kind: str) -> None:
    data, folder = tmp_path / "data", tmp_path / "criteria"
    for made in (data, folder):
        made.mkdir()
    for name, text in texts("lines").items():
        (data / name).write_bytes(text)
    whole = {
        name: (held if isinstance(held, str) else json.dumps(held)).encode() for name, held in DEFINITIONS[kind].items()
    }
    for name, text in whole.items():
        (folder / name).write_bytes(text)
    people = list(read_patients([data], model=load_model("r4"), on_problem=[].append))
    rules = loaded(folder)
    before, known = (
        outcomes(fhir_eligibility.screen(rules, people, now=NOW)),
        {one.message for one in rules.diagnostics},
    )
    assert not rules.errors and {verdict for verdict, *_ in before.values()} == {"included", "excluded"}
    chance, seen = random.Random(f"{kind} {os.environ.get('FLIP_SEED', '')}"), Counter[str]()
    for _ in range(max(FLIPS // 3, 20)):
        name = chance.choice(sorted(whole))
        text = flipped(whole[name], chance)
        (folder / name).write_bytes(text)
        try:
            found = loaded(folder)
        except (ValueError, OSError):
            found = None  # a file that is refused as a whole, in a sentence
        (folder / name).write_bytes(whole[name])
        if found is None or not found.rules:
            assert found is None or found.errors, text
            seen["refused"] += 1
            continue
        after = outcomes(fhir_eligibility.screen(found, people, now=NOW))
        if after == before:
            seen["no change"] += 1
        elif {one.message for one in found.diagnostics} - known:
            seen["told"] += 1
        elif all("unknown" in listed for who, listed in after.items() if listed != before[who]):
            seen["unknown"] += 1
        else:
            # another value, name or operator, which is taken at its word
            assert name.endswith(".cql") or shapes(text, "bundles") == shapes(whole[name], "bundles"), (name, text)
            seen["another value"] += 1
    assert seen["told"] + seen["refused"] > 0, seen
