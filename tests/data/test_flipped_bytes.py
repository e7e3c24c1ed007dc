"""One byte of the data is another, missing, or too many: nothing breaks, and no verdict changes without a problem - unless the byte stood in a value, which nobody can tell from another value.

`FLIPS` says how many are tried.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.problems import Problem
from fhir_eligibility.data.reader import read_patients
from fhir_eligibility.runners import run as running
from fhir_eligibility.runners.criteria import Criteria
from fhir_eligibility.runners.run import RunOptions, run
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
