"""Characteristics of Groups, R4 to R6: measurements, methods, units of ranges, and the extensions of EBM on FHIR."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.compiler.forms.judging import LOINC, amount, concept, group, outcome_of, record, reviewed, variable

Json = dict[str, Any]
EBM = "http://hl7.org/fhir/uv/ebm/StructureDefinition/"
PSA = concept("2857-1", system=LOINC)
SHAPES: dict[str, Json] = {
    "r4": {"type": "person", "actual": False},
    "r5": {"type": "person", "membership": "definitional"},
    "r6": {"membership": "conceptual", "combinationMethod": "all-of"},
}


def measured(value: Json | None = None, **more: Any) -> Json:
    found = record("Observation", status="final", code=PSA, **more)
    return found if value is None else found | {"valueQuantity": value}


@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize("version", ["r4", "r4b", "r5"])
def test_a_measurement_of_a_group(version: str, shape: str, tmp_path: Path) -> None:
    item = {"code": PSA, "valueQuantity": amount(3, "ng/mL", ">=")}
    definition = group(item) | SHAPES[shape]
    assert outcome_of(definition, [measured(amount(5, "ng/mL"))], tmp_path, version) == "met"
    assert outcome_of(definition, [measured(amount(2, "ug/L"))], tmp_path, version) == "not met"
    assert outcome_of(definition, [measured()], tmp_path, version) == "unknown: missing-value"
    assert outcome_of(definition, [], tmp_path, version) == "unknown: no-data"


def test_methods_are_alternatives(tmp_path: Path) -> None:
    item = {"code": PSA, "valueQuantity": amount(3, "ng/mL", ">="), "method": [concept("1"), concept("2")]}
    old = group({key: value for key, value in item.items() if key != "method"})
    url = EBM + "characteristic-method"
    old["characteristic"][0]["extension"] = [{"url": url, "valueCodeableConcept": concept(c)} for c in ("1", "2")]
    of_type = {"type": PSA, "valueQuantity": item["valueQuantity"], "method": item["method"]}
    for definition in (group(item), old, variable({"definitionByTypeAndValue": of_type})):
        for code, outcome in (("1", "met"), ("2", "met"), ("3", "not met")):
            assert outcome_of(definition, [measured(amount(5, "ng/mL"), method=concept(code))], tmp_path) == outcome
        without = [measured(amount(5, "ng/mL"))]
        assert outcome_of(definition, without, tmp_path) == "unknown: missing-value"


def test_a_method_in_words_needs_a_person(tmp_path: Path) -> None:
    words = {"text": "on insulin for at least 1 year"}
    disease = {"code": concept("64572001"), "valueCodeableConcept": concept("44054006"), "method": [words]}
    assert "on insulin" in reviewed(group(disease), tmp_path)
    assert "on insulin" in reviewed(
        group({"code": PSA, "valueQuantity": amount(3, "ng/mL"), "method": [words]}), tmp_path
    )


@pytest.mark.parametrize("bound", ["low", "high"])
def test_a_unit_on_one_limit_is_that_of_both(bound: str, tmp_path: Path) -> None:
    limits: Json = {"low": {"value": 30}, "high": {"value": 40}}
    limits[bound] = amount(limits[bound]["value"], "kg/m2")
    definition = group({"code": PSA, "valueRange": limits})
    for value, outcome in ((35, "met"), (29.9, "not met"), (40.1, "not met"), (30, "met"), (40, "met")):
        assert outcome_of(definition, [measured(amount(value, "kg/m2"))], tmp_path) == outcome
    assert outcome_of(definition, [measured({"value": 35})], tmp_path) == "unknown: missing-unit"
    age = {"low": {"value": 30}, "high": amount(67, "a")}
    assert outcome_of(group({"code": concept("397669002"), "valueRange": age}), [], tmp_path) == "met"


def extended(name: str, kind: str, value: Json, item: Json) -> Json:
    return group(item | {"extension": [{"url": EBM + name, kind: value}]})


def native(name: str, value: Json, item: Json) -> Json:
    return group(item | {name: value})


def test_how_often(tmp_path: Path) -> None:
    item = {"code": concept("64572001"), "valueCodeableConcept": concept("233604007")}
    pneumonia = [record("Condition", id=f"c{n}", code=concept("233604007")) for n in range(3)]
    twice = {"low": {"value": 2}, "high": {"value": 2}}
    for definition in (
        extended("characteristic-instances-range", "valueRange", twice, item),
        native("instancesRange", twice, item),
        extended("characteristic-instances-quantity", "valueQuantity", {"value": 2}, item),
        native("instancesQuantity", {"value": 2}, item),
    ):
        found = [outcome_of(definition, pneumonia[:n], tmp_path) for n in (1, 2, 3)]
        assert found == ["not met", "met", "not met"]


@pytest.mark.parametrize("version", ["r4", "r5"])
def test_how_long(version: str, tmp_path: Path) -> None:
    item = {"code": concept("64572001"), "valueCodeableConcept": concept("44054006")}
    years = {"low": {"value": 1}, "high": amount(3, "a")}

    def lasted(**dates: str) -> list[Json]:
        return [record("Condition", code=concept("44054006"), **dates)]

    for definition in (
        extended("characteristic-duration-range", "valueRange", years, item),
        native("durationRange", years, item),
    ):
        assert outcome_of(definition, lasted(onsetDateTime="2024-03-01"), tmp_path, version) == "met"
        assert outcome_of(definition, lasted(onsetDateTime="2026-01-01"), tmp_path, version) == "not met"
        assert outcome_of(definition, lasted(onsetDateTime="2020-01-01"), tmp_path, version) == "not met"
        ended = lasted(onsetDateTime="2020-01-01", abatementDateTime="2022-01-01")
        assert outcome_of(definition, ended, tmp_path, version) == "met"
        assert outcome_of(definition, lasted(), tmp_path, version).startswith("unknown")


@pytest.mark.parametrize("version", ["r4", "r5"])
def test_how_long_a_stay_or_an_observation_took(version: str, tmp_path: Path) -> None:
    period = "actualPeriod" if version == "r5" else "period"
    stay = {
        "code": concept("308335008"),
        "valueCodeableConcept": concept("1"),
        "durationDuration": amount(2, "d", ">="),
    }
    for end, outcome in (("2026-01-05", "met"), ("2026-01-02", "not met")):
        encounter = record("Encounter", status="completed" if version == "r5" else "finished", type=[concept("1")])
        encounter[period] = {"start": "2026-01-01", "end": end}
        assert outcome_of(group(stay), [encounter], tmp_path, version) == outcome
    asked = {"code": PSA, "valueQuantity": amount(3, "ng/mL", ">="), "durationDuration": amount(24, "wk", ">=")}
    for start, outcome in (("2025-01-01", "met"), ("2026-01-01", "not met")):
        followed = measured(amount(5, "ng/mL"), effectivePeriod={"start": start, "end": "2026-02-01"})
        assert outcome_of(group(asked), [followed], tmp_path, version) == outcome
    once = measured(amount(5, "ng/mL"), effectiveDateTime="2026-01-01")
    assert outcome_of(group(asked), [once], tmp_path, version).startswith("unknown")


def test_how_the_value_is_determined_needs_a_person(tmp_path: Path) -> None:
    item = {"code": PSA, "valueQuantity": amount(3, "ng/mL", ">=")}
    device = {"reference": "Device/analyser"}
    formula = {"language": "text/plain", "expression": "a / b"}
    for definition, word in (
        (extended("characteristic-determined-by-reference", "valueReference", device, item), "Device/analyser"),
        (native("determinedByReference", device, item), "Device/analyser"),
        (extended("characteristic-determined-by-expression", "valueExpression", formula, item), "a / b"),
        (native("determinedByExpression", formula, item), "a / b"),
        (
            variable(
                {"definitionByTypeAndValue": {"type": PSA, "valueQuantity": item["valueQuantity"], "device": device}}
            ),
            "Device/analyser",
        ),
    ):
        assert word in reviewed(definition, tmp_path)


def test_what_else_r4_and_r4b_restrict_needs_a_person(tmp_path: Path) -> None:
    item = {"definitionCodeableConcept": concept("44054006")}
    code = {"system": "http://terminology.hl7.org/CodeSystem/usage-context-type", "code": "gender"}
    context = [{"code": code, "valueCodeableConcept": {"text": "female"}}]
    for more, word in (
        ({"usageContext": context}, "gender female"),
        ({"method": {"text": "by biopsy"}}, "by biopsy"),
        ({"device": {"reference": "Device/analyser"}}, "Device/analyser"),
    ):
        assert word in reviewed(variable(item | more), tmp_path)
