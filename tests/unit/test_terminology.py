"""Value sets from resources: expansions, definitions, imports, exclusions, filters, versions, and what is not known of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import engine
from engine.algebra.clinical import Code, CodeSystem
from engine.data.terminology import Members, Terminology, load_terminology
from tests.shared import shared

BASE = "http://example.org/"
SYSTEM = BASE + "cs"


def value_set(name: str, version: str | None = None, **more: Any) -> dict[str, Any]:
    found = {"resourceType": "ValueSet", "url": BASE + name, "status": "active", **more}
    return found if version is None else {**found, "version": version}


def concepts(*codes: str, system: str = SYSTEM, **more: Any) -> dict[str, Any]:
    return {"system": system, "concept": [{"code": code} for code in codes], **more}


def code_system(content: str = "complete") -> dict[str, Any]:
    """animal > mammal > {dog, cat}, animal > bird; a circle between x and y."""
    return {
        "resourceType": "CodeSystem",
        "url": SYSTEM,
        "content": content,
        "concept": [
            {
                "code": "animal",
                "concept": [
                    {
                        "code": "mammal",
                        "concept": [
                            {"code": "dog", "property": [{"code": "legs", "valueInteger": 4}]},
                            {"code": "cat"},
                        ],
                    },
                    {"code": "bird", "property": [{"code": "legs", "valueInteger": 2}]},
                ],
            },
            {"code": "x", "property": [{"code": "parent", "valueCode": "y"}]},
            {"code": "y", "property": [{"code": "parent", "valueCode": "x"}]},
        ],
    }


def terminology(*resources: dict[str, Any]) -> Terminology:
    found = Terminology()
    for resource in resources:
        found.add(resource, "test")
    return found


def codes(members: Members | None) -> set[str | None]:
    assert members is not None
    return {code for _, code in members}


def test_an_expansion_counts_with_what_it_contains() -> None:
    contains = [
        {"system": SYSTEM, "code": "a", "contains": [{"system": SYSTEM, "code": "b"}]},
        {"abstract": True, "code": "c"},
    ]
    found = terminology(value_set("v", expansion={"contains": contains}))
    assert codes(found.get(BASE + "v")) == {"a", "b"}
    assert found.get(BASE + "other") is None


def test_a_page_of_an_expansion_is_incomplete() -> None:
    contains = [{"system": SYSTEM, "code": "a"}]
    members = terminology(value_set("v", expansion={"total": 3, "offset": 0, "contains": contains})).get(BASE + "v")
    assert (codes(members), members.complete) == ({"a"}, False)


def test_a_definition_with_imports_and_exclusions() -> None:
    whole = value_set(
        "whole", compose={"include": [concepts("a", "b"), {"valueSet": [BASE + "part"]}], "exclude": [concepts("b")]}
    )
    part = value_set("part", compose={"include": [concepts("b", "c")]})
    both = value_set("both", compose={"include": [{"valueSet": [BASE + "part"], **concepts("c", "d")}]})
    found = terminology(whole, part, both)
    assert codes(found.get(BASE + "whole")) == {"a", "c"}
    assert codes(found.get(BASE + "both")) == {"c"}  # within one include, all that is named must hold


def test_an_import_that_was_not_given_leaves_the_rest_unknown() -> None:
    members = terminology(value_set("v", compose={"include": [concepts("a"), {"valueSet": [BASE + "gone"]}]})).get(
        BASE + "v"
    )
    assert (codes(members), members.complete) == ({"a"}, False)
    assert members.why == f"it draws on the value set {BASE}gone, which was not given"


def test_a_value_set_that_includes_itself_ends() -> None:
    members = terminology(value_set("v", compose={"include": [{"valueSet": [BASE + "v"]}, concepts("a")]})).get(
        BASE + "v"
    )
    assert (codes(members), members.complete) == ({"a"}, False)


@pytest.mark.parametrize(
    ("property_", "operator", "value", "wanted"),
    [
        ("concept", "is-a", "mammal", {"mammal", "dog", "cat"}),
        ("concept", "descendent-of", "mammal", {"dog", "cat"}),
        ("concept", "child-of", "animal", {"mammal", "bird"}),
        ("concept", "generalizes", "dog", {"dog", "mammal", "animal"}),
        ("concept", "is-not-a", "animal", {"x", "y"}),
        ("concept", "in", "dog,bird", {"dog", "bird"}),
        ("code", "regex", "[cd].*", {"dog", "cat"}),
        ("legs", "=", "4", {"dog"}),
        ("legs", "exists", "true", {"dog", "bird"}),
        ("legs", "not-in", "2,4", {"animal", "mammal", "cat", "x", "y"}),
    ],
)
def test_filters_over_a_code_system(property_: str, operator: str, value: str, wanted: set[str]) -> None:
    include = {"system": SYSTEM, "filter": [{"property": property_, "op": operator, "value": value}]}
    resource = value_set("v", compose={"include": [include]})
    assert codes(terminology(resource, code_system()).get(BASE + "v")) == wanted
    without = terminology(resource).get(BASE + "v")
    assert (codes(without), without.complete) == (set(), False)
    assert terminology(resource, code_system("fragment")).get(BASE + "v").complete is False


def test_an_unknown_filter_is_not_computed() -> None:
    include = {"system": SYSTEM, "filter": [{"property": "concept", "op": "magic", "value": "x"}]}
    members = terminology(value_set("v", compose={"include": [include]}), code_system()).get(BASE + "v")
    assert members.why == "its filter concept magic x is not computed"


def test_versions_and_oids() -> None:
    oid = "2.16.840.1.113762.1.4.1021.121"
    old = value_set("v", "1", compose={"include": [concepts("a")]})
    new = value_set("v", "2", compose={"include": [concepts("b")]})
    cms = {
        **value_set("ignored", expansion={"contains": [{"code": "m"}]}),
        "url": f"http://cts.nlm.nih.gov/fhir/ValueSet/{oid}",
    }
    found = terminology(old, new, cms)
    assert codes(found.get(BASE + "v")) == {"b"}
    assert codes(found.get(BASE + "v|1")) == {"a"}
    assert found.get(BASE + "v|3") is None
    for spelling in (oid, f"urn:oid:{oid}", f"http://elsewhere.example/ValueSet/{oid}"):
        assert codes(found.get(spelling)) == {"m"}


def test_subsumption_and_code_systems() -> None:
    found = terminology(code_system())

    def subsumes(a: str, b: str) -> bool | None:
        return found.subsumes(Code(a, SYSTEM), Code(b, SYSTEM))

    assert (subsumes("animal", "dog"), subsumes("dog", "animal"), subsumes("dog", "dog")) == (True, False, True)
    assert (subsumes("x", "y"), subsumes("y", "x")) == (True, True)
    assert subsumes("animal", "fish") is None
    assert found.subsumes(Code("animal", SYSTEM), Code("dog", BASE + "other")) is False
    assert found.in_code_system(Code("dog", SYSTEM), CodeSystem(SYSTEM)) is True
    assert found.in_code_system(Code("fish", SYSTEM), CodeSystem(SYSTEM)) is False
    assert found.in_code_system(Code("fish", BASE + "gone"), CodeSystem(BASE + "gone")) is None


def test_files_folders_ndjson_and_what_is_broken(tmp_path: Path) -> None:
    bundle = {"resourceType": "Bundle", "entry": [{"resource": value_set("v", compose={"include": [concepts("a")]})}]}
    (tmp_path / "bundle.json").write_text(json.dumps(bundle))
    (tmp_path / "more.ndjson").write_text(json.dumps(value_set("w", compose={"include": [concepts("b")]})) + "\n\n")
    (tmp_path / "broken.json").write_text('{"resourceType": "ValueSet"')
    (tmp_path / "nameless.json").write_text('{"resourceType": "ValueSet"}')
    found = load_terminology([tmp_path])
    assert codes(found.get(BASE + "v")) == {"a"}
    assert codes(found.get(BASE + "w")) == {"b"}
    assert [(d.code, Path(d.location or "").name) for d in found.diagnostics] == [
        ("invalid-json", "broken.json"),
        ("terminology", "nameless.json"),
    ]


LIBRARY = """library Smoking version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
valueset "Tobacco": 'http://example.org/tobacco'
context Patient
define "Smokes": exists [Condition: "Tobacco"]
define "Fine": Patient.gender = 'male'
"""


def criteria_folder(folder: Path) -> Path:
    (folder / "Smoking.cql").write_text(LIBRARY)
    characteristics = [
        {
            "linkId": name,
            "definitionExpression": {"language": "text/cql-identifier", "expression": name, "reference": "#"},
        }
        for name in ("Smokes", "Fine")
    ]
    for item in characteristics:
        del item["definitionExpression"]["reference"]  # type: ignore[attr-defined]
    artifact = {
        "resourceType": "EvidenceVariable",
        "id": "smoking",
        "status": "draft",
        "characteristic": characteristics,
    }
    (folder / "EvidenceVariable.json").write_text(json.dumps(artifact))
    return folder


def patient(code: str, system: str | None = SYSTEM) -> list[dict[str, Any]]:
    coding = {"code": code} if system is None else {"system": system, "code": code}
    subject = {"reference": "Patient/p"}
    return [
        {"resourceType": "Patient", "id": "p", "gender": "male"},
        {"resourceType": "Condition", "id": "c", "code": {"coding": [coding]}, "subject": subject},
    ]


def test_a_missing_value_set_is_an_error_that_names_who_needs_it(tmp_path: Path) -> None:
    criteria = engine.load_criteria(criteria_folder(tmp_path))
    (found,) = criteria.errors
    assert found.code == "missing-valueset"
    assert found.message == "the value set 'Tobacco' (http://example.org/tobacco) was not given"
    assert "Smoking.cql:6:37" in found.render()
    allowed = engine.load_criteria(tmp_path, allow_missing_valuesets=True)
    assert allowed.errors == ()
    (compartment,) = engine.compartments_of(patient("t"))
    (verdict,) = engine.screen(allowed, compartment)
    assert [(c.outcome, c.reason) for c in verdict.criteria] == [("unknown", "missing-valueset"), ("met", None)]


@pytest.mark.parametrize(
    ("code", "system", "outcome", "reason"),
    [
        ("t", SYSTEM, "met", None),
        ("u", SYSTEM, "not met", None),
        ("t", "http://example.org/other", "not met", None),
        ("t", None, "unknown", "missing-value"),
    ],
)
def test_a_value_set_beside_the_library(
    tmp_path: Path, code: str, system: str | None, outcome: str, reason: str | None
) -> None:
    folder = criteria_folder(tmp_path)
    (folder / "ValueSet.json").write_text(json.dumps(value_set("tobacco", compose={"include": [concepts("t")]})))
    (compartment,) = engine.compartments_of(patient(code, system))
    (verdict,) = engine.screen(engine.load_criteria(folder), compartment)
    assert (verdict.criteria[0].outcome, verdict.criteria[0].reason) == (outcome, reason)


def test_the_value_sets_of_flute() -> None:
    found = load_terminology([shared("flute", "valueset", "v2"), shared("flute", "decoded")])
    members = found.get("http://hl7.eu/fhir/ig/flute/ValueSet/VS-PCa")
    assert ("http://snomed.info/sct", "1264500002") in members and members.complete
