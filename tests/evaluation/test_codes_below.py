"""A coded characteristic is met by the codes that its code includes, as far as something tells which these are; where nothing does, that is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.evaluation.verdict import CriterionResult
from fhir_eligibility.runners.screening.run import RunOptions, run

NOW = "2026-03-01T00:00:00Z"
SNOMED, ICD, ICD_GM, ATC = (
    "http://snomed.info/sct",
    "http://hl7.org/fhir/sid/icd-10",
    "http://fhir.de/CodeSystem/bfarm/icd-10-gm",
    "http://www.whocc.no/atc",
)
MALIGNANT, PROSTATE, DIABETES = "363346000", "254837009", "44054006"
CODE_SYSTEM = {
    "resourceType": "CodeSystem",
    "url": SNOMED,
    "status": "active",
    "content": "complete",
    "concept": [
        {"code": "404684003", "concept": [{"code": MALIGNANT, "concept": [{"code": PROSTATE}]}, {"code": DIABETES}]},
        {"code": "373873005", "concept": [{"code": "387467008"}]},
    ],
}
BY_PROPERTY = {
    **CODE_SYSTEM,
    "concept": [
        {"code": "404684003"},
        {"code": MALIGNANT, "property": [{"code": "subsumedBy", "valueCode": "404684003"}]},
        {"code": PROSTATE, "property": [{"code": "parent", "valueCode": MALIGNANT}]},
        {"code": DIABETES, "property": [{"code": "parent", "valueCode": "404684003"}]},
    ],
}
EXPANSION = {
    "resourceType": "ValueSet",
    "url": f"{SNOMED}?fhir_vs=isa/{MALIGNANT}",
    "status": "active",
    "expansion": {
        "contains": [{"system": SNOMED, "code": MALIGNANT}, {"system": SNOMED, "code": PROSTATE}],
    },
}
DEFINED = {
    "resourceType": "ValueSet",
    "url": "http://example.org/malignant",
    "status": "active",
    "compose": {"include": [{"system": SNOMED, "filter": [{"property": "concept", "op": "is-a", "value": MALIGNANT}]}]},
    "expansion": EXPANSION["expansion"],
}


def concept(system: str, code: str, display: str | None = None) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, **({"display": display} if display else {})}]}


def screened(
    folder: Path,
    characteristic: dict[str, Any],
    *resources: dict[str, Any],
    given: tuple[dict[str, Any], ...] = (),
    lines: bool = False,
) -> CriterionResult:
    """The result of one coded characteristic on one patient."""
    rules = criteria_of(folder, characteristic, given)
    patient = {"resourceType": "Patient", "id": "p"}
    everything = [patient, *({**one, "subject": {"reference": "Patient/p"}} for one in resources)]
    data = folder / ("data.ndjson" if lines else "data.json")
    if lines:
        data.write_text("".join(json.dumps(one) + "\n" for one in everything))
    else:
        entries = [{"resource": one} for one in everything]
        data.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    (verdict,) = fhir_eligibility.screen(rules, data, now=NOW)
    return verdict.criteria[0]


def criteria_of(
    folder: Path, characteristic: dict[str, Any], given: tuple[dict[str, Any], ...] = ()
) -> fhir_eligibility.Criteria:
    variable = {
        "resourceType": "EvidenceVariable",
        "id": "ev",
        "url": "http://example.org/ev",
        "status": "active",
        "characteristic": [{"linkId": "c", **characteristic}],
    }
    (folder / "criteria.json").write_text(json.dumps(variable))
    for number, resource in enumerate(given):
        (folder / f"terminology-{number}.json").write_text(json.dumps(resource))
    files = [folder / f"terminology-{number}.json" for number in range(len(given))]
    rules = fhir_eligibility.load_criteria(folder / "criteria.json", valuesets=files, fhir_version="r4")
    assert not rules.errors, rules.errors
    return rules


def condition(system: str, code: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Condition", "id": "c1", "code": concept(system, code), **more}


def request(system: str, code: str) -> dict[str, Any]:
    drug = {"resourceType": "MedicationRequest", "id": "m1", "status": "active", "intent": "order"}
    return {**drug, "medicationCodeableConcept": concept(system, code)}


def defined(system: str, code: str, display: str | None = None) -> dict[str, Any]:
    return {"definitionCodeableConcept": concept(system, code, display)}


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize(
    ("wanted", "recorded", "outcome"),
    [
        ((ICD, "I21"), (ICD, "I21.4"), "met"),
        ((ICD, "I21"), (ICD, "I21"), "met"),
        ((ICD, "I21.-"), (ICD, "I21.0"), "met"),
        ((ICD, "I21"), (ICD, "I22.0"), "not met"),
        ((ICD, "I21.4"), (ICD, "I21.0"), "not met"),
        ((ICD, "I21.4"), (ICD, "I21"), "not met"),
        ((ICD, "I20-I25"), (ICD, "I21.4"), "met"),
        ((ICD, "I20-I25"), (ICD, "I26.0"), "not met"),
        (("http://hl7.org/fhir/sid/icd-10-cm", "C61"), ("http://hl7.org/fhir/sid/icd-10-cm", "C61"), "met"),
        ((ICD_GM, "E11"), (ICD_GM, "E11.90"), "met"),
        ((ICD_GM, "E11.90"), (ICD_GM, "E11.91"), "not met"),
        (("http://fhir.de/CodeSystem/dimdi/icd-10-gm", "E11"), (ICD_GM, "E11.90"), "met"),
    ],
)
def test_a_category_of_icd_10_includes_its_codes(
    tmp_path: Path, wanted: tuple[str, str], recorded: tuple[str, str], outcome: str, lines: bool
) -> None:
    assert screened(tmp_path, defined(*wanted), condition(*recorded), lines=lines).outcome == outcome


@pytest.mark.parametrize(
    ("wanted", "recorded", "outcome"),
    [
        ("C09A", "C09AA05", "met"),
        ("C09", "C09AA05", "met"),
        ("C09AA05", "C09AA05", "met"),
        ("C09AA05", "C09AA04", "not met"),
        ("C08", "C09AA05", "not met"),
    ],
)
def test_a_group_of_atc_includes_its_drugs(tmp_path: Path, wanted: str, recorded: str, outcome: str) -> None:
    assert screened(tmp_path, defined(ATC, wanted), request(ATC, recorded)).outcome == outcome


@pytest.mark.parametrize("given", [CODE_SYSTEM, BY_PROPERTY, EXPANSION, DEFINED], ids=str)
@pytest.mark.parametrize(("recorded", "outcome"), [(PROSTATE, "met"), (MALIGNANT, "met"), (DIABETES, "not met")])
def test_a_concept_includes_what_a_given_code_system_or_value_set_puts_below_it(
    tmp_path: Path, given: dict[str, Any], recorded: str, outcome: str
) -> None:
    wanted = defined(SNOMED, MALIGNANT)
    assert screened(tmp_path, wanted, condition(SNOMED, recorded), given=(given,)).outcome == outcome
    rules = criteria_of(tmp_path, wanted, (given,))
    assert "exact-code" not in {diagnostic.code for diagnostic in rules.diagnostics}


def test_many_codes_are_asked_for_as_a_value_set(tmp_path: Path) -> None:
    many = [{"code": f"1{number:06}"} for number in range(300)]
    system = {**CODE_SYSTEM, "concept": [{"code": MALIGNANT, "concept": many}, {"code": DIABETES}]}
    for recorded, outcome in (("1000250", "met"), (DIABETES, "not met")):
        found = screened(tmp_path, defined(SNOMED, MALIGNANT), condition(SNOMED, recorded), given=(system,))
        assert found.outcome == outcome
        assert f"memberOf('{SNOMED}?fhir_vs=isa/{MALIGNANT}')" in str(found.expression)


def test_a_code_that_a_part_of_a_code_system_does_not_list_is_unknown(tmp_path: Path) -> None:
    part = {**CODE_SYSTEM, "content": "fragment"}
    found = screened(tmp_path, defined(SNOMED, MALIGNANT), condition(SNOMED, "399068003"), given=(part,))
    assert (found.outcome, found.reason) == ("unknown", "missing-valueset")
    found = screened(tmp_path, defined(SNOMED, MALIGNANT), condition(SNOMED, PROSTATE), given=(part,))
    assert found.outcome == "met"


def test_without_a_hierarchy_only_the_exact_code_matches_and_that_is_said(tmp_path: Path) -> None:
    wanted = defined(SNOMED, MALIGNANT)
    assert screened(tmp_path, wanted, condition(SNOMED, PROSTATE)).outcome == "not met"
    rules = criteria_of(tmp_path, wanted)
    (said,) = [diagnostic for diagnostic in rules.diagnostics if diagnostic.code == "exact-code"]
    assert said.severity == "warning" and f"SNOMED CT {MALIGNANT}" in said.message
    assert "criteria.json" in str(said.location)
    out = tmp_path / "out"
    record = run(rules, [], [tmp_path / "data.json"], out, RunOptions(now=NOW)).record
    assert [(warning.code, warning.artifact) for warning in record.warnings] == [
        ("exact-code", "http://example.org/ev")
    ]
    assert json.loads((out / "run.json").read_text())["warnings"][0]["message"] == said.message


def test_types_and_values_of_observations_follow_the_hierarchy(tmp_path: Path) -> None:
    characteristic = {
        "definitionByTypeAndValue": {
            "type": concept(SNOMED, "404684003"),
            "valueCodeableConcept": concept(SNOMED, MALIGNANT),
        }
    }
    found = screened(tmp_path, characteristic, condition(SNOMED, PROSTATE), given=(CODE_SYSTEM,))
    assert found.outcome == "met"
    characteristic = {
        "definitionByTypeAndValue": {
            "type": concept("http://loinc.org", "29308-4"),
            "valueCodeableConcept": concept(SNOMED, MALIGNANT),
        }
    }
    observation = {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "code": concept("http://loinc.org", "29308-4"),
        "valueCodeableConcept": concept(SNOMED, PROSTATE),
    }
    assert screened(tmp_path, characteristic, observation, given=(CODE_SYSTEM,)).outcome == "met"


def test_authors_expressions_are_not_widened(tmp_path: Path) -> None:
    text = f"Condition.where(code.coding.exists(system = '{ICD}' and code = 'I21')).exists()"
    expression = {"definitionExpression": {"language": "text/fhirpath", "expression": text}}
    assert screened(tmp_path, expression, condition(ICD, "I21.4")).outcome == "not met"
