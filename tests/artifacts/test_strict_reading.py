"""What FHIR does not have is an error that names file, line, resource and element; a criterion is never computed without it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.artifacts.reader import load_artifacts
from fhir_eligibility.artifacts.shape import checked
from fhir_eligibility.compiler.criteria.rules import compile_artifact

Json = dict[str, Any]
LOINC = {"coding": [{"system": "http://loinc.org", "code": "2857-1"}]}
PSA = {"type": LOINC, "valueQuantity": {"value": 3, "unit": "ng/mL", "comparator": ">="}}
DIABETES = {"coding": [{"system": "http://snomed.info/sct", "code": "44054006"}]}


def variable(*characteristics: Any, **more: Any) -> Json:
    return {
        "resourceType": "EvidenceVariable",
        "id": "ev",
        "status": "active",
        "characteristic": [*characteristics],
        **more,
    }


def group(*characteristics: Any, **more: Any) -> Json:
    head = {"resourceType": "Group", "id": "g", "type": "person", "actual": False}
    return {**head, "characteristic": [*characteristics], **more}


def written(tmp_path: Path, resource: Any, name: str = "ev.json") -> Path:
    file = tmp_path / name
    file.write_text(json.dumps(resource, indent=2))
    return file


def outcome(tmp_path: Path, resource: Json) -> tuple[list[str], list[str | None]]:
    """The errors as they are printed, and the reason of each criterion, None where it is computed."""
    found = load_artifacts([written(tmp_path, resource)])
    reasons = [rule.reason for root in found.roots for rule in compile_artifact(root).rules]
    return [d.render() for d in found.diagnostics if d.severity == "error"], reasons


CASES = [
    # an exclusion that would be an inclusion
    ({"definitionCodeableConcept": DIABETES, "exlude": True}, "exlude", "did you mean exclude?"),
    ({"definitionCodeableConcept": DIABETES, "Exclude": True}, "Exclude", "did you mean exclude?"),
    ({"definitionCodeableConcept": DIABETES, "exclude": "true"}, "exclude", "write true without quotes"),
    ({"definitionCodeableConcept": DIABETES, "exclude": 1}, "exclude", "expected boolean, found the number 1"),
    ({"definitionCodeableConcept": DIABETES, "exclude": [True]}, "exclude", "write one without brackets"),
    ({"definitionCodeableConcept": DIABETES, "exclude": None}, "exclude", "expected boolean, found null"),
    ({"definitionCodeableConcept": DIABETES, "_exclude": {"extension": [{"url": "x"}]}}, "_exclude", "no value"),
    # a limit that would be gone
    ({"definitionByTypeAndValue": {"type": LOINC, "valuQuantity": {"value": 3}}}, "valuQuantity", "valueQuantity?"),
    ({"definitionByTypeAndValue": {"type": LOINC, "value": {"value": 3}}}, "value", "write its type as well"),
    ({"definitionByTypeAndValue": {"type": LOINC, "valueQuantity": {"value": "3,0"}}}, "value", "write 3.0 without"),
    ({"definitionByTypeAndValue": {"type": LOINC, "valueQuantity": {}}}, "valueQuantity", "valueQuantity is empty"),
    ({"definitionByTypeAndValue": {"type": LOINC, "valueQuantity": 3}}, "valueQuantity", "expected Quantity"),
    (
        {"definitionByTypeAndValue": {"type": LOINC, "valueQuantity": {"value": 3, "comparator": "=>"}}},
        "comparator",
        "did you mean '>='?",
    ),
    (
        {"definitionByTypeAndValue": {"type": LOINC, "valueQuantity": {"value": 3, "units": "ng/mL"}}},
        "units",
        "did you mean unit?",
    ),
    (
        {"definitionByTypeAndValue": {**PSA, "valueBoolean": True}},
        "valueBoolean",
        "valueQuantity and valueBoolean stand together",
    ),
    # a window that would be gone
    ({"definitionCodeableConcept": DIABETES, "timeFromEvnt": [{}]}, "timeFromEvnt", "did you mean timeFromEvent?"),
    ({"definitionCodeableConcept": DIABETES, "timeFromEvent": {"description": "x"}}, "timeFromEvent", "in brackets"),
    (
        {"definitionCodeableConcept": DIABETES, "timeFromEvent": [{"quanity": {"value": -1}}]},
        "quanity",
        "did you mean quantity?",
    ),
    (
        {"definitionCodeableConcept": DIABETES, "timeFromEvent": [{"eventDateTime": "01.03.2026"}]},
        "eventDateTime",
        "expected dateTime, found '01.03.2026'",
    ),
    # what the definition is
    ({"definitionCodeableConcept": {"codng": DIABETES["coding"]}}, "codng", "did you mean coding?"),
    ({"definitionCodeableConcept": {"coding": [{"system": "x", "code": 44054006}]}}, "code", 'write "44054006" in'),
    ({"definitionCodableConcept": DIABETES}, "definitionCodableConcept", "did you mean definitionCodeableConcept?"),
    ({"definitionExpression": {"language": "text/fhirpath", "expresion": "true"}}, "expresion", "mean expression?"),
    ({"definitionExpression": "Patient.active"}, "definitionExpression", "expected Expression, found 'Patient.active'"),
    (
        {"definitionCodeableConcept": DIABETES, "definitionByTypeAndValue": PSA},
        "characteristic[0]",
        "definitionCodeableConcept and definitionByTypeAndValue stand together",
    ),
    (
        {"definitionByCombination": {"code": "all", "characteristic": [{"definitionCodeableConcept": DIABETES}]}},
        "code",
        "did you mean 'all-of'?",
    ),
    (
        {
            "definitionByCombination": {
                "code": "at-least",
                "threshold": 0,
                "characteristic": [{"definitionCodeableConcept": DIABETES}],
            }
        },
        "threshold",
        "expected positiveInt, found the number 0",
    ),
    (
        {"definitionCodeableConcept": DIABETES, "modifierExtension": [{"url": "http://x/not", "valueBoolean": True}]},
        "modifierExtension[0]",
        "the modifier extension 'http://x/not' is not known",
    ),
    ("text", "characteristic[0]", "expected an object, found 'text'"),
]


@pytest.mark.parametrize(("characteristic", "element", "said"), CASES)
def test_a_misshapen_characteristic_is_unknown_and_the_others_go_on(
    characteristic: Any, element: str, said: str, tmp_path: Path
) -> None:
    good = {"linkId": "good", "definitionCodeableConcept": DIABETES}
    errors, reasons = outcome(tmp_path, variable(characteristic, good))
    assert reasons == ["needs-review", None]
    (error,) = errors
    head, *_ = error.splitlines()
    assert "ev.json:" in head and " EvidenceVariable/ev EvidenceVariable.characteristic[0]" in head
    assert element in head.partition(": error")[0] and said in error


GROUP_CASES = [
    ({"code": LOINC, "valuQuantity": {"value": 3}, "exclude": False}, "did you mean valueQuantity?"),
    ({"code": LOINC, "valueQuantity": {"value": 3}, "exclude": "false"}, "write false without quotes"),
    ({"code": LOINC, "valueRange": {"low": {"value": "3"}}, "exclude": False}, "write 3 without quotes"),
    ({"code": LOINC, "valueRange": {"lo": {"value": 3}}, "exclude": False}, "did you mean low?"),
    (
        {"code": LOINC, "valueQuantity": {"value": 3, "comparator": "≥"}, "exclude": False},
        "expected a code of comparator, found ",
    ),
    ({"code": LOINC, "valueBoolean": "yes", "exclude": False}, "expected boolean, found 'yes'"),
    ({"cod": LOINC, "valueBoolean": True, "exclude": False}, "did you mean code?"),
    ({"code": LOINC, "valueBoolean": True, "exclude": False, "perod": {"start": "2020"}}, "did you mean period?"),
    ({"code": LOINC, "valueBoolean": True, "exclude": False, "relativeTime": [{"offset": 3}]}, "write its type"),
]


@pytest.mark.parametrize(("characteristic", "said"), GROUP_CASES)
def test_characteristics_of_groups_as_well(characteristic: Json, said: str, tmp_path: Path) -> None:
    errors, reasons = outcome(tmp_path, group(characteristic, {"code": LOINC, "valueBoolean": True, "exclude": False}))
    (error,) = errors
    assert said in error and " Group/g Group.characteristic[0]" in error
    assert reasons[0] == "needs-review" and len(reasons) == 2


def test_the_line_is_told(tmp_path: Path) -> None:
    file = tmp_path / "ev.json"
    text = '{"resourceType": "EvidenceVariable", "id": "ev",\n "characteristic": [\n  {"description": "x",\n   "exlude": true}]}'
    file.write_text(text)
    (found,) = [d for d in load_artifacts([file]).diagnostics if d.code == "unknown-element"]
    assert (found.location or "").startswith(
        f"{file}:4:14 EvidenceVariable/ev EvidenceVariable.characteristic[0].exlude"
    )
    assert (found.severity, found.hint) == ("error", "did you mean exclude?")


def test_only_the_member_of_a_combination_that_is_wrong_is_unknown(tmp_path: Path) -> None:
    members = [{"definitionCodeableConcept": DIABETES, "exlude": True}, {"definitionCodeableConcept": DIABETES}]
    found = load_artifacts(
        [written(tmp_path, variable({"definitionByCombination": {"code": "any-of", "characteristic": members}}))]
    )
    (rule,) = compile_artifact(found.roots[0]).rules
    assert [member.reason for member in rule.members] == ["needs-review", None]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"characteristicCombinaton": "union"}, "has no element 'characteristicCombinaton'"),
        ({"exclude": True}, "has no element 'exclude'"),
        (
            {"modifierExtension": [{"url": "http://x/reversed", "valueBoolean": True}]},
            "'http://x/reversed' is not known",
        ),
        ({"implicitRules": 5}, "expected uri"),
        ({"extension": {"url": "x"}}, "expected a list of Extension, found an object"),
    ],
)
def test_what_is_wrong_with_the_whole_artifact_makes_all_of_it_unknown(more: Json, said: str, tmp_path: Path) -> None:
    good = {"definitionCodeableConcept": DIABETES}
    errors, reasons = outcome(tmp_path, variable(good, good, **more))
    assert reasons == ["needs-review", "needs-review"]
    assert any(said in error for error in errors)


@pytest.mark.parametrize("more", [{"titel": "x"}, {"title": 5}, {"publisher": ["x"]}, {"contact": [{"nam": "x"}]}])
def test_what_is_wrong_with_texts_about_the_artifact_is_a_warning(more: Json, tmp_path: Path) -> None:
    found = load_artifacts([written(tmp_path, variable({"definitionCodeableConcept": DIABETES}, **more))])
    assert [d.severity for d in found.diagnostics] == ["warning"]
    (rule,) = compile_artifact(found.roots[0]).rules
    assert rule.reason is None


@pytest.mark.parametrize(
    ("resource", "version"),
    [
        (variable({"definitionDataRequirement": {"type": "Condition"}, "groupMeasure": "mean"}), "r4"),
        (variable({"definitionCodeableConcept": DIABETES, "timeFromStart": {"quantity": {"value": 1}}}), "r4b"),
        (variable({"linkId": "a", "definitionByTypeAndValue": PSA}), "r5"),
        (group({"code": LOINC, "valueBoolean": True, "exclude": False}), "r4b"),
        (
            {
                "resourceType": "Group",
                "type": "person",
                "membership": "conceptual",
                "combinationMethod": "any-of",
                "characteristic": [{"code": LOINC, "valueUri": "x", "exclude": False, "relativeTime": [{"text": "x"}]}],
            },
            "r6",
        ),
    ],
)
def test_the_version_is_the_one_with_the_least_to_say_against_it(resource: Json, version: str) -> None:
    found = checked(resource)
    assert (found.version, found.findings) == (version, ())
    assert found.resource is resource


def test_an_element_of_another_version_is_understood_with_a_warning(tmp_path: Path) -> None:
    mixed = {"linkId": "a", "definitionDataRequirement": {"type": "Condition"}}
    found = load_artifacts([written(tmp_path, variable(mixed, mixed | {"linkId": "b"}))])
    assert {(d.code, d.severity) for d in found.diagnostics} == {("other-version", "warning")}
    assert [rule.reason for rule in compile_artifact(found.roots[0]).rules] == [None, None]


def test_known_modifier_extensions_are_read(tmp_path: Path) -> None:
    method = "http://hl7.org/fhir/uv/ebm/StructureDefinition/combination-method"
    good = {"code": LOINC, "valueBoolean": True, "exclude": False}
    more = {"modifierExtension": [{"url": method, "valueCode": "any-of"}]}
    found = load_artifacts([written(tmp_path, group(good, good, **more))])
    assert (found.diagnostics, found.roots[0].combination) == ((), "any-of")


def test_a_resource_type_that_fhir_does_not_have(tmp_path: Path) -> None:
    found = load_artifacts([written(tmp_path, {**variable(), "resourceType": "EvidenceVarible"})])
    assert [(d.code, d.hint) for d in found.diagnostics if d.code == "unknown-resource-type"] == [
        ("unknown-resource-type", "did you mean EvidenceVariable?")
    ]
    assert found.roots == ()


def test_text_that_is_no_json_is_told_with_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "ev.json"
    file.write_text('{"resourceType": "Group",\n "id" "g"}')
    (found, *_) = load_artifacts([file]).diagnostics
    assert (found.code, found.location) == ("invalid-json", str(file))
    assert "(line 2, column 7)" in found.message


# -- linkIds and versions


def test_linkids_that_occur_twice_are_an_error_and_told_apart(tmp_path: Path) -> None:
    psa = {"linkId": "psa", "definitionByTypeAndValue": PSA}
    other = {"linkId": "psa", "definitionCodeableConcept": DIABETES}
    link = {"linkId": "link", "definitionId": "psa"}
    found = load_artifacts([written(tmp_path, variable(psa, other, link))])
    assert [criterion.id for criterion in found.roots[0].criteria] == ["psa", "psa (2)", "link"]
    (error,) = found.diagnostics
    assert (error.code, error.severity) == ("duplicate-link-id", "error")
    assert "characteristic[1].linkId" in (error.location or "") and "characteristic[0]" in error.message
    rules = compile_artifact(found.roots[0]).rules
    assert [rule.reason for rule in rules] == [None, None, "unresolved-reference"]


def test_numbers_never_take_the_linkid_of_another(tmp_path: Path) -> None:
    found = load_artifacts(
        [written(tmp_path, variable({"linkId": "2", "description": "first"}, {"description": "second"}))]
    )
    assert found.diagnostics == ()
    assert [(c.id, c.description) for c in found.roots[0].criteria] == [("2", "first"), ("2 (2)", "second")]


def test_two_versions_of_one_artifact_are_two(tmp_path: Path) -> None:
    url = "http://example.org/EvidenceVariable/trial"
    for version, text in (("1.9", "old"), ("1.10", "new")):
        written(
            tmp_path, variable({"description": text}, url=url, version=version, id=f"v{version}"), f"{version}.json"
        )
    user = variable({"definitionCanonical": url}, {"definitionCanonical": f"{url}|1.9"}, id="user")
    found = load_artifacts([written(tmp_path, user, "user.json"), tmp_path])
    assert [d for d in found.diagnostics if d.severity == "error"] == []
    named = [criterion.definition for artifact in found.roots for criterion in artifact.criteria]
    texts = [definition.artifact.criteria[0].description for definition in named]  # type: ignore[union-attr]
    assert texts == ["new", "old"]  # without a version the latest is meant
    both = load_artifacts([tmp_path / "1.9.json", tmp_path / "1.10.json"])
    assert [artifact.key for artifact in both.roots] == [f"{url}|1.9", f"{url}|1.10"]


def test_two_artifacts_of_one_name_are_told_apart_by_their_files(tmp_path: Path) -> None:
    one = written(tmp_path, variable({"description": "one"}), "one.json")
    two = written(tmp_path, variable({"description": "two"}), "two.json")
    found = load_artifacts([one, two, one])
    assert [artifact.key for artifact in found.roots] == ["EvidenceVariable/ev", f"EvidenceVariable/ev ({two})"]
    assert [d.code for d in found.diagnostics] == ["duplicate-artifact"]


def test_artifacts_without_url_and_id_have_the_names_of_their_files(tmp_path: Path) -> None:
    bare = [{"resourceType": "EvidenceVariable", "characteristic": [{"description": text}]} for text in "ab"]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in bare]}
    found = load_artifacts([written(tmp_path, bundle)])
    place = f"{tmp_path / 'ev.json'} entry"
    keys = [f"EvidenceVariable ({place}[{number}].resource)" for number in range(2)]
    assert [artifact.key for artifact in found.roots] == keys
