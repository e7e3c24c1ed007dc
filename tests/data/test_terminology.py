"""Value sets from resources: expansions, definitions, imports, exclusions, filters, versions, and what is not known of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.algebra.values.clinical import Code, CodeSystem, ValueSet
from fhir_eligibility.algebra.values.expansion import Expansion
from fhir_eligibility.artifacts.manifests import Manifest, read_manifest
from fhir_eligibility.data.terminology.check import used_value_sets
from fhir_eligibility.data.terminology.files import load_manifest, load_terminology
from fhir_eligibility.data.terminology.value_sets import Terminology
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


def codes(members: Expansion | None) -> set[str | None]:
    assert members is not None
    return {code for _, code in members.codes}


def expanded(*resources: dict[str, Any], name: str = "v") -> Expansion:
    found = terminology(*resources).get(BASE + name)
    assert isinstance(found, Expansion)
    return found


def answers(members: Expansion, *wanted: str, system: str = SYSTEM) -> list[bool | None]:
    return [members.has((system, code)) for code in wanted]


def filtered(operator: str, value: str, property_: str = "concept", system: str = SYSTEM) -> dict[str, Any]:
    return {"system": system, "filter": [{"property": property_, "op": operator, "value": value}]}


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
    page = {"total": 3, "offset": 0, "contains": contains}
    members = expanded(value_set("v", expansion=page))
    assert answers(members, "a", "b") == [True, None]
    assert members.why == "its expansion lists only 1 of its 3 codes"
    compose = {"include": [filtered("is-a", "a")]}
    with_definition = expanded(value_set("v", expansion=page, compose=compose))
    assert answers(with_definition, "a", "b") == [True, None]
    assert answers(with_definition, "b", system="http://other") == [False]  # the definition draws on one system alone


def test_an_expansion_that_says_of_itself_that_it_is_not_whole() -> None:
    unclosed = {"url": "http://hl7.org/fhir/StructureDefinition/valueset-unclosed", "valueBoolean": True}
    members = expanded(
        value_set("v", expansion={"extension": [unclosed], "contains": [{"system": SYSTEM, "code": "a"}]})
    )
    assert answers(members, "a", "b") == [True, None]


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
    members = expanded(value_set("v", compose={"include": [concepts("a"), {"valueSet": [BASE + "gone"]}]}))
    assert answers(members, "a", "b") == [True, None]
    assert members.why == f"it draws on the value set {BASE}gone, which was not given"


def test_an_import_that_was_not_given_within_codes_and_systems() -> None:
    gone = {"valueSet": [BASE + "gone"]}
    among = expanded(value_set("v", compose={"include": [{**gone, **concepts("a", "b")}]}))
    assert answers(among, "a", "b", "c") == [None, None, False]
    of_system = expanded(value_set("v", compose={"include": [{**gone, "system": SYSTEM}]}))
    assert answers(of_system, "a") == [None]
    assert answers(of_system, "a", system="http://other") == [False]


def test_an_exclusion_that_cannot_be_computed() -> None:
    compose = {"include": [concepts("a"), concepts("z", system="http://other")], "exclude": [filtered("is-a", "x")]}
    members = expanded(value_set("v", compose=compose))
    assert answers(members, "a", "b") == [None, False]  # `b` was never in
    assert answers(members, "z", system="http://other") == [True]
    by_name = {"include": [concepts("a", "b"), filtered("is-a", "x")], "exclude": [concepts("b", "c")]}
    assert answers(expanded(value_set("v", compose=by_name)), "a", "b", "c", "d") == [True, False, False, None]
    imported = {"include": [concepts("a")], "exclude": [{"valueSet": [BASE + "gone"]}]}
    assert answers(expanded(value_set("v", compose=imported)), "a", "b") == [None, False]


def test_all_of_a_code_system_that_is_not_there() -> None:
    everything = {"system": SYSTEM}
    members = expanded(value_set("v", compose={"include": [everything]}))
    assert answers(members, "a") == [None]  # nothing says that the system has such a code
    assert answers(members, "a", system="http://other") == [False]
    part = value_set("part", compose={"include": [concepts("a"), concepts("z", system="http://other")]})
    kept = expanded(part, value_set("v", compose={"include": [{**everything, "valueSet": [BASE + "part"]}]}))
    assert (codes(kept), kept.complete) == ({"a"}, True)  # what the other set has of that system is of that system
    without = {"include": [{"valueSet": [BASE + "part"]}], "exclude": [everything]}
    rest = expanded(part, value_set("v", compose=without))
    assert (codes(rest), rest.complete) == ({"z"}, True)
    dated = expanded(value_set("v", compose={"include": [concepts("a")], "exclude": [{**everything, "version": "9"}]}))
    assert answers(dated, "a") == [None]  # it may be no code of that version
    assert dated.why == f"it selects from the code system {SYSTEM}|9, which was not given"


def test_all_of_a_code_system() -> None:
    members = expanded(value_set("v", compose={"include": [{"system": SYSTEM}]}), code_system())
    assert answers(members, "dog", "fish") == [True, False]
    partly = expanded(value_set("v", compose={"include": [{"system": SYSTEM}]}), code_system("fragment"))
    assert answers(partly, "dog", "fish") == [True, None]
    hollow = expanded(value_set("v", compose={"include": [{"system": SYSTEM}]}), code_system("not-present"))
    assert answers(hollow, "dog") == [None]


def test_a_value_set_that_includes_itself_ends() -> None:
    loop = value_set("v", compose={"include": [{"valueSet": [BASE + "v"]}, concepts("a")]})
    members = expanded(loop)
    assert answers(members, "a", "b") == [True, None]
    assert members.why == f"{BASE}v includes itself"
    one = value_set("v", compose={"include": [{"valueSet": [BASE + "w"]}, concepts("a")]})
    two = value_set("w", compose={"include": [{"valueSet": [BASE + "v"]}, concepts("b")]})
    found = terminology(one, two)
    for name in "vw":  # whichever is asked for first, neither loses what the other has
        assert answers(found.get(BASE + name), "a", "b", "c") == [True, True, None]


def test_a_value_set_without_a_definition() -> None:
    assert expanded(value_set("v")).why == "it has neither an expansion nor a definition"
    empty = expanded(value_set("v", expansion={"contains": []}))
    assert (empty.complete, answers(empty, "a")) == (True, [False])


@pytest.mark.parametrize(
    ("property_", "operator", "value", "wanted"),
    [
        ("concept", "is-a", "mammal", {"mammal", "dog", "cat"}),
        ("concept", "descendent-of", "mammal", {"dog", "cat"}),
        ("concept", "descendent-leaf", "animal", {"dog", "cat", "bird"}),
        ("concept", "child-of", "animal", {"mammal", "bird"}),
        ("concept", "generalizes", "dog", {"dog", "mammal", "animal"}),
        ("concept", "is-not-a", "animal", {"x", "y"}),
        ("concept", "in", "dog, bird", {"dog", "bird"}),
        ("concept", "not-in", "dog,bird,x", {"animal", "mammal", "cat", "y"}),
        ("code", "=", "dog", {"dog"}),
        ("code", "regex", "[cd].*", {"dog", "cat"}),
        ("parent", "=", "animal", {"mammal", "bird"}),
        ("child", "exists", "true", {"animal", "mammal", "x", "y"}),
        ("legs", "=", "4", {"dog"}),
        ("legs", "exists", "true", {"dog", "bird"}),
        ("legs", "exists", "false", {"animal", "mammal", "cat", "x", "y"}),
        ("legs", "in", "2,4", {"dog", "bird"}),
        ("legs", "not-in", "2,4", {"animal", "mammal", "cat", "x", "y"}),
        ("legs", "regex", "[0-3]", {"bird"}),
    ],
)
def test_filters_over_a_code_system(property_: str, operator: str, value: str, wanted: set[str]) -> None:
    resource = value_set("v", compose={"include": [filtered(operator, value, property_)]})
    assert codes(expanded(resource, code_system())) == wanted
    assert not expanded(resource).complete
    for partly in (expanded(resource), expanded(resource, code_system("fragment"))):
        assert codes(partly) <= wanted
        for code in (
            "animal",
            "mammal",
            "dog",
            "cat",
            "bird",
            "x",
            "y",
        ):  # what is certain is as the whole system has it
            assert partly.has((SYSTEM, code)) in (None, code in wanted)
        assert answers(partly, "dog", system="http://other") == [False]


@pytest.mark.parametrize(
    ("operator", "value", "without"),
    [
        ("in", "dog,fish", {"dog": None, "fish": None, "cat": False}),
        ("=", "dog", {"dog": None, "cat": False}),
        ("not-in", "dog", {"dog": False, "cat": None}),
        ("descendent-of", "dog", {"dog": False, "puppy": None}),
        ("child-of", "dog", {"dog": False, "puppy": None}),
        ("is-not-a", "dog", {"dog": False, "cat": None}),
        ("is-a", "dog", {"dog": None, "cat": None}),
    ],
)
def test_what_a_filter_says_without_its_code_system(operator: str, value: str, without: dict[str, bool | None]) -> None:
    members = expanded(value_set("v", compose={"include": [filtered(operator, value)]}))
    assert {code: members.has((SYSTEM, code)) for code in without} == without


def test_a_code_system_in_part_is_certain_of_what_it_lists() -> None:
    members = expanded(value_set("v", compose={"include": [filtered("is-a", "mammal")]}), code_system("fragment"))
    assert answers(members, "dog", "bird", "fish") == [True, None, None]


def test_a_property_of_which_the_code_system_tells_nothing() -> None:
    wings = value_set("v", compose={"include": [filtered("=", "2", "wings")]})
    members = expanded(wings, code_system())
    assert (answers(members, "bird"), answers(members, "bird", system="http://other")) == ([None], [False])
    assert members.why == "its filter wings = 2 asks for a property of which the code system tells nothing"
    declared = code_system() | {"property": [{"code": "wings", "type": "integer"}]}
    assert answers(expanded(wings, declared), "bird") == [False]


def test_all_filters_have_to_hold() -> None:
    include = filtered("is-a", "animal")
    include["filter"].append({"property": "legs", "op": "=", "value": "4"})
    assert codes(expanded(value_set("v", compose={"include": [include]}), code_system())) == {"dog"}


def test_an_unknown_filter_is_not_computed() -> None:
    for operator, value in (("magic", "x"), ("regex", "["), ("exists", "perhaps")):
        members = expanded(value_set("v", compose={"include": [filtered(operator, value)]}), code_system())
        assert members.why == f"its filter concept {operator} {value} is not computed"


def test_inactive_codes_are_left_out_where_the_definition_says_so() -> None:
    system = code_system()
    system["concept"].append({"code": "dodo", "property": [{"code": "inactive", "valueBoolean": True}]})
    include = [{"system": SYSTEM}, concepts("dodo")]
    active = expanded(value_set("v", compose={"inactive": False, "include": include}), system)
    assert answers(active, "dog", "dodo") == [True, False]
    assert answers(expanded(value_set("v", compose={"include": include}), system), "dodo") == [True]


def test_value_sets_that_are_understood() -> None:
    whole = code_system() | {"valueSet": BASE + "all", "version": "3"}
    found = terminology(whole)
    assert len(found.get(BASE + "all").codes) == 7
    assert found.get(BASE + "all|3") is not None and found.get(BASE + "all|2") is None
    sct = "http://snomed.info/sct"
    snomed = {
        "resourceType": "CodeSystem",
        "url": sct,
        "content": "complete",
        "concept": [{"code": "1"}, {"code": "2"}],
    }
    snomed["concept"][1]["concept"] = [{"code": "3"}]
    found = terminology(snomed)
    assert codes(found.get(f"{sct}?fhir_vs")) == {"1", "2", "3"}
    assert codes(found.get(f"{sct}?fhir_vs=isa/2")) == {"2", "3"}
    assert found.get(f"{sct}?fhir_vs=refset/2") is None
    edition = found.get(f"{sct}/45/version/20240101?fhir_vs=isa/2")
    assert answers(edition, "3", system=sct) == [None]
    assert terminology().get(f"{sct}?fhir_vs=isa/2") is None


# -- versions


def versioned(*versions: str, **more: Any) -> list[dict[str, Any]]:
    return [value_set("v", version, compose={"include": [concepts(f"of-{version}")]}, **more) for version in versions]


def test_versions_and_oids() -> None:
    oid = "2.16.840.1.113762.1.4.1021.121"
    cms = {
        **value_set("ignored", expansion={"contains": [{"code": "m"}]}),
        "url": f"http://cts.nlm.nih.gov/fhir/ValueSet/{oid}",
    }
    found = terminology(*versioned("1", "2", "10"), cms)
    assert codes(found.get(BASE + "v")) == {"of-10"}
    assert codes(found.get(BASE + "v|1")) == {"of-1"}
    assert codes(found.expansion(ValueSet(BASE + "v", "2"))) == {"of-2"}
    assert found.get(BASE + "v|3") is None
    assert found.resolve(ValueSet(BASE + "v", "3")).why == "is given in version 1, 10, 2, and 3 is asked for"
    for spelling in (oid, f"urn:oid:{oid}", f"http://elsewhere.example/ValueSet/{oid}"):
        assert codes(found.get(spelling)) == {"m"}


def test_a_choice_among_versions_is_told() -> None:
    resolved = terminology(*versioned("1", "2")).resolve(ValueSet(BASE + "v"))
    message = f"the value set {BASE}v is given in several versions (1, 2); 2 is used, the latest active one"
    assert resolved.notes == [("valueset-version", message)]
    assert terminology(*versioned("1", "2")).resolve(ValueSet(BASE + "v", "1")).notes == []
    assert terminology(*versioned("1", "1")).resolve(ValueSet(BASE + "v")).notes == []


def test_of_two_copies_of_a_version_the_one_that_lists_all_codes_is_taken() -> None:
    contains = [{"system": SYSTEM, "code": code} for code in "abc"]
    page = value_set("v", "1", expansion={"total": 3, "offset": 0, "contains": contains[:1]})
    for order in ((page, value_set("v", "1", expansion={"contains": contains})), (page, value_set("v", "1"), page)):
        found = terminology(*order).get(BASE + "v")
        assert codes(found) == ({"a", "b", "c"} if len(order) == 2 else {"a"})
        assert found.complete is (len(order) == 2)


def test_an_active_version_comes_before_a_later_draft() -> None:
    old, draft = versioned("1", "2")
    draft["status"] = "draft"
    assert codes(terminology(old, draft).get(BASE + "v")) == {"of-1"}


def test_the_manifest_comes_between_the_declaration_and_the_latest() -> None:
    found = terminology(*versioned("1", "2", "3"))
    found.manifest = Manifest({BASE + "v": "2"})
    assert codes(found.get(BASE + "v")) == {"of-2"}
    assert found.resolve(ValueSet(BASE + "v")).notes == []
    assert codes(found.get(BASE + "v|1")) == {"of-1"}
    found = terminology(*versioned("1"))
    found.manifest = Manifest({BASE + "v": "7"})
    assert found.resolve(ValueSet(BASE + "v")).why == "is given in version 1, and 7 is asked for by the manifest"


def two_systems() -> list[dict[str, Any]]:
    return [
        {"resourceType": "CodeSystem", "url": SYSTEM, "version": version, "status": "active", "content": "complete"}
        | {"concept": [{"code": f"of-{version}"}]}
        for version in ("2023", "2024")
    ]


def test_versions_of_code_systems() -> None:
    everything = value_set("v", compose={"include": [{"system": SYSTEM}]})
    stated = value_set("w", compose={"include": [{"system": SYSTEM, "version": "2023"}]})
    found = terminology(everything, stated, *two_systems())
    assert codes(found.get(BASE + "v")) == {"of-2024"}
    assert found.resolve(ValueSet(BASE + "v")).notes[0][0] == "valueset-version"
    assert codes(found.get(BASE + "w")) == {"of-2023"}
    pinned = ValueSet(BASE + "v", codesystems=(CodeSystem(SYSTEM, "2023"),))
    assert codes(found.expansion(pinned)) == {"of-2023"}
    missing = found.expansion(ValueSet(BASE + "v", codesystems=(CodeSystem(SYSTEM, "1999"),)))
    assert missing is not None and answers(missing, "of-2024") == [None]
    found = terminology(everything, *two_systems())
    found.manifest = Manifest({SYSTEM: "2023"})
    assert codes(found.get(BASE + "v")) == {"of-2023"}
    assert codes(found.expansion(ValueSet(BASE + "v", codesystems=(CodeSystem(SYSTEM, "2024"),)))) == {"of-2024"}


def test_a_version_that_contradicts_the_definition() -> None:
    stated = value_set("w", compose={"include": [{"system": SYSTEM, "version": "2023"}]})
    found = terminology(stated, *two_systems())
    resolved = found.resolve(ValueSet(BASE + "w", codesystems=(CodeSystem(SYSTEM, "2024"),)))
    assert resolved.expansion is not None and answers(resolved.expansion, "of-2023") == [None]
    message = f"{BASE}w: its definition takes {SYSTEM} in version 2023, and the library asks for 2024"
    assert resolved.notes == [("valueset-version", message)]
    found.manifest = Manifest({SYSTEM: "2024"}, forced={SYSTEM})
    assert codes(found.get(BASE + "w")) == {"of-2024"}
    found = terminology(stated, *two_systems())
    found.manifest = Manifest({SYSTEM: "2024"}, checked={SYSTEM})
    assert "the manifest asks for 2024" in str(found.get(BASE + "w").why)


def test_an_expansion_made_with_another_version() -> None:
    contains = [{"system": SYSTEM, "version": "2023", "code": "a"}, {"system": "http://other", "code": "z"}]
    found = terminology(value_set("v", expansion={"contains": contains}))
    resolved = found.resolve(ValueSet(BASE + "v", codesystems=(CodeSystem(SYSTEM, "2024"),)))
    assert resolved.expansion is not None
    assert answers(resolved.expansion, "a", "b") == [None, None]
    assert answers(resolved.expansion, "z", system="http://other") == [True]
    same = found.expansion(ValueSet(BASE + "v", codesystems=(CodeSystem(SYSTEM, "2023"),)))
    assert same is not None and answers(same, "a", "b") == [True, False]
    silent = {"parameter": [{"name": "used-codesystem", "valueUri": f"{SYSTEM}|2023"}], "contains": contains[:1]}
    del silent["contains"][0]["version"]
    told = terminology(value_set("v", expansion=silent))
    other = told.expansion(ValueSet(BASE + "v", codesystems=(CodeSystem(SYSTEM, "2024"),)))
    assert other is not None and answers(other, "a") == [None]


# -- manifests


def library(*canonicals: str, kind: str = "asset-collection", **more: Any) -> dict[str, Any]:
    related = [{"type": "depends-on", "resource": canonical} for canonical in canonicals]
    return {"resourceType": "Library", "type": {"coding": [{"code": kind}]}, "relatedArtifact": related, **more}


def test_a_manifest_is_a_library_or_parameters() -> None:
    assert read_manifest(library("http://v|1", "http://w"), "m").versions == {"http://v": "1"}
    assert read_manifest(library("http://v|1", kind="module-definition"), "m").versions == {"http://v": "1"}
    parameter = [
        {"name": "system-version", "valueUri": "http://s|2"},
        {"name": "force-system-version", "valueCanonical": "http://t|http://t/version/3"},
        {"name": "check-system-version", "valueUri": "http://u|4"},
        {"name": "count", "valueInteger": 5},
    ]
    found = read_manifest({"resourceType": "Parameters", "parameter": parameter}, "m")
    assert found.versions == {"http://s": "2", "http://t": "http://t/version/3", "http://u": "4"}
    assert (found.forced, found.checked) == ({"http://t"}, {"http://u"})
    contained = library("http://v|1", contained=[{"resourceType": "Parameters", "parameter": parameter[:1]}])
    assert read_manifest(contained, "m").versions == {"http://v": "1", "http://s": "2"}


@pytest.mark.parametrize(
    ("resource", "message"),
    [
        (
            library("http://v|1", kind="logic-library"),
            "m: a manifest is a Library of type asset-collection or module-definition",
        ),
        (library("http://v"), "m: the manifest names no version; write canonical|version"),
        ({"resourceType": "Patient"}, "m: a manifest is a Library or Parameters, not Patient"),
    ],
)
def test_what_is_no_manifest(resource: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("|", r"\|")):
        read_manifest(resource, "m")


def test_a_manifest_that_names_two_versions_of_one_thing() -> None:
    manifest = read_manifest(library(f"{BASE}v|1", f"{BASE}v|2", f"{BASE}v|1", f"{BASE}w|3"), "m")
    assert manifest.versions == {BASE + "w": "3"}
    found = terminology(*versioned("1"))
    found.manifest = manifest
    resolved = found.resolve(ValueSet(BASE + "v"))
    assert resolved.record is not None and resolved.record.version == "1"
    assert resolved.notes == [
        ("valueset-version", f"the manifest names two versions of {BASE}v (1 and 2); neither is used")
    ]


def test_a_manifest_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_manifest(tmp_path / "gone.json")
    (tmp_path / "m.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        load_manifest(tmp_path / "m.json")


# -- code systems


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
    partly = terminology(code_system("fragment"))
    assert partly.subsumes(Code("animal", SYSTEM), Code("dog", SYSTEM)) is True
    assert partly.subsumes(Code("bird", SYSTEM), Code("dog", SYSTEM)) is None  # a parent of it may not be listed
    assert partly.in_code_system(Code("fish", SYSTEM), CodeSystem(SYSTEM)) is None


def test_hierarchies_by_properties_and_by_nesting_that_only_groups() -> None:
    concept = [
        {"code": "top", "property": [{"code": "child", "valueCode": "mid"}]},
        {"code": "mid"},
        {"code": "low", "property": [{"code": "parent", "valueCode": "mid"}]},
        {"code": "group", "concept": [{"code": "grouped"}]},
    ]
    system = {"resourceType": "CodeSystem", "url": SYSTEM, "content": "complete", "concept": concept}
    found, grouping = terminology(system), terminology({**system, "hierarchyMeaning": "grouped-by"})
    assert found.subsumes(Code("top", SYSTEM), Code("low", SYSTEM)) is True
    assert found.subsumes(Code("group", SYSTEM), Code("grouped", SYSTEM)) is True
    assert grouping.subsumes(Code("top", SYSTEM), Code("low", SYSTEM)) is True
    assert grouping.subsumes(Code("group", SYSTEM), Code("grouped", SYSTEM)) is False


# -- files


def test_files_folders_ndjson_and_what_is_broken(tmp_path: Path) -> None:
    bundle = {"resourceType": "Bundle", "entry": [{"resource": value_set("v", compose={"include": [concepts("a")]})}]}
    (tmp_path / "bundle.json").write_text(json.dumps(bundle))
    (tmp_path / "more.ndjson").write_text(json.dumps(value_set("w", compose={"include": [concepts("b")]})) + "\n\n")
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "x", "resource": value_set("p", "1")}]}
    (tmp_path / "parameters.json").write_text(json.dumps({**parameters, "contained": 5}))
    (tmp_path / "broken.json").write_text('{"resourceType": "ValueSet"')
    (tmp_path / "nameless.json").write_text('{"resourceType": "ValueSet"}')
    (tmp_path / "odd.json").write_text('{"resourceType": "ValueSet", "url": "http://odd", "compose": "?"}')
    found = load_terminology([tmp_path, tmp_path / "bundle.json"])
    assert codes(found.get(BASE + "v")) == {"a"}
    assert codes(found.get(BASE + "w")) == {"b"}
    assert [x.version for x in found.value_sets[BASE + "p"]] == ["1"]
    assert len(found.value_sets[BASE + "v"]) == 1  # a file that is named twice is read once
    assert [(d.code, d.message, Path(d.location or "").name) for d in found.diagnostics][1:] == [
        ("terminology", "ValueSet: the value set has no url", "nameless.json"),
        ("terminology", "ValueSet: ValueSet.compose: expected an object, found '?'", "odd.json"),
    ]
    assert found.diagnostics[0].code == "invalid-json"
    (used,) = [u for u in used_value_sets(found) if u.url == BASE + "v"]
    assert (used.version, used.codes, used.complete) == (None, 1, True)
    assert (used.digest, Path(used.origin).name) == (found.get(BASE + "v").digest(), "bundle.json")


def test_the_value_sets_of_flute() -> None:
    found = load_terminology([shared("flute", "valueset", "v2"), shared("flute", "decoded")])
    members = found.get("http://hl7.eu/fhir/ig/flute/ValueSet/VS-PCa")
    assert ("http://snomed.info/sct", "1264500002") in members.codes and members.complete
