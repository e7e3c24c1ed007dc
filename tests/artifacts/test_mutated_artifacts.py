"""Artifacts of any JSON shape come to artifacts and diagnostics: never a traceback, never the words of a library, and the others go on.

Each value of the artifacts below is replaced by values of other types, each key is misspelt, dropped or doubled in another place (seeded).
"""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.parameters import read_parameters
from fhir_eligibility.data.terminology.files import load_manifest
from fhir_eligibility.runners.screening.criteria import Criteria

Json = dict[str, Any]
CODED = {"coding": [{"system": "http://loinc.org", "code": "2857-1", "display": "PSA"}], "text": "PSA"}
PSA = {"type": CODED, "valueQuantity": {"value": 3, "comparator": ">=", "unit": "ng/mL", "code": "ng/mL"}}
CQL = "library Trial version '1'\nusing FHIR version '4.0.1'\nparameter Lowest Integer default 1\ncontext Patient\ndefine Old: true\n"
PARAMETERS = {"resourceType": "Parameters", "id": "in", "parameter": [{"name": "Lowest", "valueInteger": 3}]}
INPUTS = "http://hl7.org/fhir/StructureDefinition/cqf-inputParameters"
LIBRARY = {
    "resourceType": "Library",
    "id": "trial",
    "url": "http://example.org/Library/Trial",
    "name": "Trial",
    "version": "1",
    "status": "active",
    "type": {"coding": [{"code": "logic-library"}]},
    "content": [{"contentType": "text/cql", "data": base64.b64encode(CQL.encode()).decode()}],
    "parameter": [{"name": "Lowest", "use": "in", "min": 0, "max": "1", "type": "integer"}],
}
VALUE_SET = {
    "resourceType": "ValueSet",
    "url": "http://example.org/v",
    "version": "1",
    "status": "active",
    "compose": {"include": [{"system": "http://loinc.org", "concept": [{"code": "2857-1"}], "filter": []}]},
    "expansion": {
        "timestamp": "2026-01-01",
        "total": 1,
        "contains": [{"system": "http://loinc.org", "code": "2857-1"}],
    },
}
CODE_SYSTEM = {
    "resourceType": "CodeSystem",
    "url": "http://example.org/c",
    "status": "active",
    "content": "complete",
    "property": [{"code": "parent", "type": "code"}],
    "concept": [
        {"code": "a", "display": "A", "concept": [{"code": "b", "property": [{"code": "parent", "valueCode": "a"}]}]}
    ],
}
R4 = {
    "resourceType": "EvidenceVariable",
    "id": "r4",
    "url": "http://example.org/r4",
    "version": "1",
    "status": "active",
    "extension": [{"url": INPUTS, "valueReference": {"reference": "#in"}}],
    "contained": [PARAMETERS],
    "characteristic": [
        {"definitionCodeableConcept": CODED, "exclude": False, "timeFromStart": {"value": 1, "code": "a"}},
        {"definitionExpression": {"language": "text/cql-identifier", "expression": "Old", "reference": LIBRARY["url"]}},
        {
            "definitionDataRequirement": {
                "type": "Condition",
                "codeFilter": [{"path": "code", "code": [{"code": "x"}], "valueSet": "http://example.org/v"}],
                "dateFilter": [{"path": "onset", "valuePeriod": {"start": "2020"}}],
            },
            "participantEffectivePeriod": {"start": "2020-01-01"},
        },
    ],
}
R4B = {
    "resourceType": "EvidenceVariable",
    "id": "r4b",
    "status": "active",
    "characteristicCombination": "union",
    "characteristic": [
        {"definitionReference": {"reference": "Group/g"}, "timeFromStart": {"quantity": {"value": 1, "code": "a"}}},
        {"definitionCodeableConcept": CODED, "exclude": True},
    ],
}
R5 = {
    "resourceType": "EvidenceVariable",
    "id": "r5",
    "status": "active",
    "title": "Trial",
    "note": [{"text": "x"}],
    "characteristic": [
        {
            "linkId": "all",
            "definitionByCombination": {
                "code": "at-least",
                "threshold": 1,
                "characteristic": [
                    {"linkId": "psa", "definitionByTypeAndValue": PSA, "exclude": True},
                    {
                        "definitionCodeableConcept": CODED,
                        "instancesRange": {"low": {"value": 2}},
                        "timeFromEvent": [{"eventId": "psa", "range": {"low": {"value": -1, "code": "a"}}}],
                    },
                ],
            },
        },
        {"linkId": "again", "definitionId": "psa"},
        {"definitionExpression": {"language": "text/fhirpath", "expression": "Patient.active"}},
    ],
}
GROUP = {
    "resourceType": "Group",
    "id": "g",
    "type": "person",
    "membership": "definitional",
    "combinationMethod": "any-of",
    "characteristic": [
        {"code": CODED, "valueQuantity": PSA["valueQuantity"], "exclude": False, "method": [CODED]},
        {
            "code": CODED,
            "valueRange": {"low": {"value": 1, "code": "a"}, "high": {"value": 2, "code": "a"}},
            "exclude": True,
            "relativeTime": [{"contextCode": CODED, "offsetRange": {"high": {"value": 1, "code": "a"}}, "text": "x"}],
        },
        {"code": CODED, "valueBoolean": True, "exclude": False, "period": {"start": "2020"}, "offset": CODED},
    ],
}
STUDY = {
    "resourceType": "ResearchStudy",
    "id": "s",
    "status": "active",
    "enrollment": [{"reference": "Group/g"}],
    "recruitment": {"eligibility": {"reference": "EvidenceVariable/r5"}},
}
BUNDLE = {
    "resourceType": "Bundle",
    "type": "collection",
    "entry": [{"fullUrl": "http://example.org/x", "resource": R5}, {"resource": GROUP}],
}
ARTIFACTS = {
    "r4": R4,
    "r4b": R4B,
    "r5": R5,
    "group": GROUP,
    "study": STUDY,
    "library": LIBRARY,
    "valueset": VALUE_SET,
    "codesystem": CODE_SYSTEM,
    "bundle": BUNDLE,
}
BESIDE = {"r4": ("valueset",), "r4b": ("group",), "study": ("group", "r5"), "library": ("r4",), "valueset": ("r4",)}
GOOD = {
    "resourceType": "EvidenceVariable",
    "id": "good",
    "url": "http://example.org/good",
    "status": "active",
    "characteristic": [{"definitionExpression": {"language": "text/fhirpath", "expression": "Patient.active"}}],
}
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -7,
    3.5,
    "",
    "x",
    "²",
    [],
    {},
    [None],
    [5],
    [[]],
    {"a": 1},
    {"url": 5},
    ["x", {}],
)
FOREIGN = (
    "Traceback",
    "pydantic",
    "validation error",
    "object has no attribute",
    "not iterable",
    "NoneType",
    "subscriptable",
)


def places(data: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all values in some JSON, without the whole."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def mutated(original: Json, rng: random.Random) -> tuple[str, Json]:
    """A copy with one or two values or names changed, and what was changed."""
    data = copy.deepcopy(original)
    said = []
    for _ in range(rng.choice((1, 1, 2))):
        paths = list(places(data))
        if not paths:
            break
        *inner, last = rng.choice(paths)
        holder: Any = data
        for step in inner:
            holder = holder[step]
        kind = rng.choice(("value", "value", "value", "name", "drop", "list", "move"))
        if kind == "name" and isinstance(last, str):
            misspelt = last[:-1] if rng.random() < 0.5 else last.replace("e", "", 1) + "x"
            holder[misspelt] = holder.pop(last)
        elif kind == "drop":
            del holder[last]
        elif kind == "list":
            holder[last] = [holder[last]]
        elif kind == "move" and isinstance(last, str):
            data[last] = copy.deepcopy(holder[last])
        else:
            holder[last] = copy.deepcopy(rng.choice(VALUES))
        said.append(f"{kind} {'.'.join(map(str, [*inner, last]))}")
    return "; ".join(said), data


def check(found: Criteria, place: Path, what: str) -> None:
    """Artifacts and diagnostics, each with file and place in our own words; the artifact that nothing is wrong with is computed."""
    good = [rules for rules in found.rules if rules.artifact == "http://example.org/good"]
    assert [rule.reason for rules in good for rule in rules.rules] == [None], what
    for rules in found.rules:
        for rule in rules.walk():
            states = (rule.code is not None, rule.combination is not None, rule.reason is not None)
            assert sum(states) == 1, (what, rule)
    for diagnostic in found.diagnostics:
        text = diagnostic.render()
        assert not any(words in text for words in FOREIGN), (what, text)
        named = diagnostic.location or (diagnostic.source.name if diagnostic.source is not None else "")
        assert str(place) in named or named.startswith(("EvidenceVariable", "Group", "terminology")), (what, text)


@pytest.mark.parametrize("name", sorted(ARTIFACTS))
@pytest.mark.parametrize("seed", range(2))
def test_mutated_artifacts_come_to_diagnostics(name: str, seed: int, tmp_path: Path) -> None:
    rng = random.Random(f"{name} {seed}")
    for key in ("good", *BESIDE.get(name, ())):
        (tmp_path / f"{key}.json").write_text(json.dumps({**ARTIFACTS, "good": GOOD}[key]))
    for _ in range(12):
        what, changed = mutated(ARTIFACTS[name], rng)
        (tmp_path / f"{name}.json").write_text(json.dumps(changed))
        check(fhir_eligibility.load_criteria(tmp_path, on_error="keep"), tmp_path, what)


@pytest.mark.parametrize("seed", range(3))
def test_mutated_parameters_and_manifests_are_value_errors_with_their_place(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    manifest = {
        "resourceType": "Library",
        "status": "active",
        "type": {"coding": [{"code": "asset-collection"}]},
        "relatedArtifact": [{"type": "depends-on", "resource": "http://example.org/v|1"}],
    }
    file = tmp_path / "some.json"
    refused = 0
    for original, read in ((PARAMETERS, read_parameters), (manifest, load_manifest)):
        for _ in range(40):
            what, changed = mutated(original, rng)
            file.write_text(json.dumps(changed))
            try:
                read(file)
            except ValueError as error:
                refused += 1
                assert str(error).startswith(str(file)), (what, str(error))
                assert not any(words in str(error) for words in FOREIGN), (what, str(error))
    assert refused > 20


def test_the_artifacts_themselves_are_sound(tmp_path: Path) -> None:
    for key, resource in {**ARTIFACTS, "good": GOOD}.items():
        if key != "bundle":
            (tmp_path / f"{key}.json").write_text(json.dumps(resource))
    found = fhir_eligibility.load_criteria(tmp_path, on_error="keep")
    assert [d.render() for d in found.errors] == []
    assert len(found.rules) == 5
