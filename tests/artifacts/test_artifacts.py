"""Published criteria to rules: every real file, every form, references and cycles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.positions import position_of
from fhir_eligibility.artifacts.reader import load_artifacts
from fhir_eligibility.compiler.criteria.rules import Rule
from tests.shared import shared

SCT = "http://snomed.info/sct"
LOINC = "http://loinc.org"


def test_every_real_file_loads_and_compiles() -> None:
    folder = shared("evidencevariables")
    found = load_artifacts([folder])
    assert len(found.artifacts) == 332
    criteria = fhir_eligibility.load_criteria(folder, on_error="keep")
    assert len(criteria.rules) == len(found.roots)
    leaves = [rule for rules in criteria.rules for rule in rules.walk() if rule.combination is None]
    assert all((rule.code is None) is (rule.reason is not None) for rule in leaves)
    assert {d.code for d in criteria.errors} <= {
        "artifact-without-criteria",
        "enumerated-group",
        "library-missing",
        "unknown-element",
        "unknown-name",
        "no-overload",
    }


def rules_of(artifact: dict[str, Any], folder: Path, *more: dict[str, Any]) -> tuple[Rule, ...]:
    for index, resource in enumerate((artifact, *more)):
        (folder / f"{index}.json").write_text(json.dumps(resource), encoding="utf-8")
    criteria = fhir_eligibility.load_criteria(folder, on_error="keep")
    (rules,) = criteria.rules
    return rules.rules


def evidence_variable(*characteristics: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"resourceType": "EvidenceVariable", "id": "ev", "characteristic": list(characteristics), **more}


def concept(code: str, system: str = SCT) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def test_text_only_is_never_true(tmp_path: Path) -> None:
    (rule,) = rules_of(evidence_variable({"description": "willing to participate"}), tmp_path)
    assert (rule.code, rule.reason) == (None, "needs-review")


@pytest.mark.parametrize(
    ("characteristic", "reason"),
    [
        ({"definitionTriggerDefinition": {"type": "periodic"}}, "not-computable"),
        ({"definitionExpression": {"language": "text/javascript", "expression": "true"}}, "not-computable"),
        ({"definitionCodeableConcept": {"text": "heart trouble"}}, "needs-review"),
        ({"definitionCanonical": "http://nowhere.example/EvidenceVariable/x"}, "unresolved-reference"),
        ({"definitionId": "nobody"}, "unresolved-reference"),
        ({"definitionByCombination": {"code": "statistical", "characteristic": []}}, "not-computable"),
        ({"definitionByCombination": {"code": "at-least", "characteristic": [{"description": "x"}]}}, "needs-review"),
        ({"definitionExpression": {"language": "text/fhirpath", "expression": "Patient.nme"}}, "not-computable"),
    ],
)
def test_no_truth_value(characteristic: dict[str, Any], reason: str, tmp_path: Path) -> None:
    (rule,) = rules_of(evidence_variable(characteristic), tmp_path)
    assert (rule.code, rule.reason) == (None, reason)


@pytest.mark.parametrize(
    ("characteristic", "text"),
    [
        (
            {"definitionByTypeAndValue": {"type": concept("397669002"), "valueQuantity": quantity}},
            text,
        )
        for quantity, text in (
            ({"value": 18, "comparator": ">=", "code": "a"}, "Patient.birthDate <= today() - 18 years"),
            ({"value": 75, "comparator": "<=", "code": "a"}, "(Patient.birthDate <= today() - 76 years).not()"),
        )
    ]
    + [
        (
            {"definitionByTypeAndValue": {"type": concept("263495000"), "valueCodeableConcept": concept("248152002")}},
            "(Patient.gender = 'female' or ((Patient.gender = 'male' or Patient.gender = 'female' or "
            "Patient.gender = 'other').not() and {}))",
        ),
        (
            {"definitionByTypeAndValue": {"type": concept("64572001"), "valueCodeableConcept": concept("44054006")}},
            f"Condition.where(code.coding.exists(system = '{SCT}' and code = '44054006') and "
            "verificationStatus.coding.exists(code = 'refuted' or code = 'entered-in-error').not() and "
            "(verificationStatus.coding.exists(code = 'unconfirmed' or code = 'provisional' or code = 'differential').not() "
            "or {}) and (verificationStatus.empty() or verificationStatus.coding.exists(code = 'confirmed' or code = 'refuted' "
            "or code = 'entered-in-error' or code = 'unconfirmed' or code = 'provisional' or code = 'differential') or {})"
            ").exists()",
        ),
        (
            {
                "definitionByTypeAndValue": {
                    "type": concept("2160-0", LOINC),
                    "valueQuantity": {"value": 1.5, "comparator": "<="},
                    "offset": {"coding": [{"system": "http://hl7.org/fhir/characteristic-offset", "code": "UNL"}]},
                }
            },
            f"Observation.where(code.coding.exists(system = '{LOINC}' and code = '2160-0') and "
            "(status in ('final' | 'amended' | 'corrected') or ((status in ('registered' | 'preliminary' | 'cancelled' | 'entered-in-error')).not() and {})) and "
            "value.ofType(Quantity) <= iif(referenceRange.where(type.coding.empty() or "
            "type.coding.exists(code = 'normal')).high.count() = 1, referenceRange.where(type.coding.empty() or "
            "type.coding.exists(code = 'normal')).high.first(), {}) * 1.5).exists()",
        ),
    ],
)
def test_coded_forms(characteristic: dict[str, Any], text: str, tmp_path: Path) -> None:
    (rule,) = rules_of(evidence_variable(characteristic), tmp_path)
    assert rule.code is not None and rule.code.text == text


def test_time_from_event(tmp_path: Path) -> None:
    constraint = {
        "eventCodeableConcept": concept("86273004"),
        "range": {"low": {"value": -1, "code": "a"}, "high": {"value": 0, "code": "a"}},
    }
    observation = {
        "definitionByTypeAndValue": {
            "type": concept("2857-1", LOINC),
            "valueQuantity": {"value": 3, "comparator": ">=", "code": "ng/mL"},
        },
        "timeFromEvent": [constraint],
    }
    path = tmp_path / "ev.json"
    path.write_text(json.dumps(evidence_variable(observation)), encoding="utf-8")
    criteria = fhir_eligibility.load_criteria(path, on_error="keep")
    biopsy = {
        "resourceType": "Procedure",
        "id": "b",
        "status": "completed",
        "subject": {"reference": "Patient/p"},
        "code": concept("86273004"),
        "performedDateTime": "2024-06-10",
    }

    def verdict(date: str) -> str:
        psa = {
            "resourceType": "Observation",
            "id": "o",
            "status": "final",
            "subject": {"reference": "Patient/p"},
            "code": concept("2857-1", LOINC),
            "effectiveDateTime": date,
            "valueQuantity": {"value": 5, "system": "http://unitsofmeasure.org", "code": "ng/mL"},
        }
        data = fhir_eligibility.compartments_of([{"resourceType": "Patient", "id": "p"}, biopsy, psa])
        return next(fhir_eligibility.screen(criteria, list(data), now="2026-01-01")).verdict

    dates = ("2024-06-01", "2023-06-09", "2024-06-11", "2023-06", "2024-06")
    assert [verdict(date) for date in dates] == ["included", "excluded", "excluded", "undetermined", "undetermined"]


def test_instances(tmp_path: Path) -> None:
    characteristic = {
        "definitionCodeableConcept": concept("233604007"),
        "instancesRange": {"low": {"value": 2}},
    }
    (rule,) = rules_of(evidence_variable(characteristic), tmp_path)
    assert rule.code is not None and rule.code.text.endswith(".count()) >= 2")


def test_cycle_ends(tmp_path: Path) -> None:
    a = evidence_variable({"definitionCanonical": "http://x.example/b"}, url="http://x.example/a")
    b = {**evidence_variable({"definitionCanonical": "http://x.example/a"}, url="http://x.example/b"), "id": "b"}
    for name, resource in (("a", a), ("b", b)):
        (tmp_path / f"{name}.json").write_text(json.dumps(resource), encoding="utf-8")
    found = load_artifacts([tmp_path])
    assert {d.code for d in found.diagnostics} == {"cyclic-reference"}


def test_r6_group_with_exceptions(tmp_path: Path) -> None:
    group = {
        "resourceType": "Group",
        "id": "g",
        "membership": "definitional",
        "combinationMethod": "at-least",
        "combinationThreshold": 1,
        "characteristic": [
            {"code": {"text": "gender"}, "valueCodeableConcept": {"text": "male"}, "exclude": False},
            {"code": {"text": "Age"}, "valueRange": {"low": {"value": 50, "code": "a"}}, "exclude": True},
        ],
    }
    path = tmp_path / "g.json"
    path.write_text(json.dumps(group), encoding="utf-8")
    (rules,) = fhir_eligibility.load_criteria(path, on_error="keep").rules
    assert (rules.combination, rules.threshold, [rule.exclude for rule in rules.rules]) == (
        "at-least",
        1,
        [False, True],
    )


@pytest.mark.parametrize("method", ["net-effect", "statistical", "at-most", "whatever"])
def test_a_combination_without_truth_value_includes_nobody(method: str, tmp_path: Path) -> None:
    characteristic = {"code": {"text": "gender"}, "valueCodeableConcept": {"text": "male"}, "exclude": False}
    group = {"resourceType": "Group", "id": "g", "combinationMethod": method, "characteristic": [characteristic]}
    (tmp_path / "g.json").write_text(json.dumps(group), encoding="utf-8")
    criteria = fhir_eligibility.load_criteria(tmp_path / "g.json", on_error="keep")
    for gender in ("male", "female"):
        patient = {"resourceType": "Patient", "id": "p", "gender": gender}
        (verdict,) = fhir_eligibility.screen(
            criteria, list(fhir_eligibility.compartments_of([patient])), now="2026-01-01"
        )
        assert verdict.verdict == "undetermined"
        assert verdict.criteria[0].reason in ("not-computable", "needs-review")


def test_study_names_its_criteria(tmp_path: Path) -> None:
    study = {
        "resourceType": "ResearchStudy",
        "id": "s",
        "recruitment": {"eligibility": {"reference": "EvidenceVariable/ev"}},
    }
    expression = {"language": "text/fhirpath", "expression": "Patient.active"}
    (rule,) = rules_of(study, tmp_path, evidence_variable({"definitionExpression": expression}))
    assert rule.code is not None and rule.code.text == "Patient.active"


def test_an_expression_beside_another_definition_is_preferred(tmp_path: Path) -> None:
    both = {
        "definitionCodeableConcept": concept("44054006"),
        "definitionExpression": {"language": "text/fhirpath", "expression": "Patient.active"},
    }
    path = tmp_path / "ev.json"
    path.write_text(json.dumps(evidence_variable(both)), encoding="utf-8")
    criteria = fhir_eligibility.load_criteria(path, on_error="keep")
    data = list(fhir_eligibility.compartments_of([{"resourceType": "Patient", "id": "p", "active": True}]))
    (verdict,) = fhir_eligibility.screen(criteria, data, now="2026-01-01")
    (criterion,) = verdict.criteria
    assert (verdict.verdict, criterion.outcome) == ("included", "met")
    assert criterion.detail is not None and "the expression is preferred" in criterion.detail


def test_positions() -> None:
    text = '{\n  "a": [1,\n    {"b": "x"}]\n}'
    assert position_of(text, ("a", 1, "b")) == (3, 11)
    assert (position_of(text, ("a", 5)), position_of(text, ("z",)), position_of("[]", (0,))) == (None, None, None)
