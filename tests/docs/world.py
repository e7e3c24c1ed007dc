"""A folder in which the commands of the documentation mean something: each path that they name is there, and each server answers.

Paths and addresses in the documentation are made up (`path/to/criteria`, `https://fhir.hospital.example/r4`). Here they are the example
cohort and stubs that hold it.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.docs.archive import running_archive
from tests.docs.pages import ROOT
from tests.servers.fhir_stub import FhirStub
from tests.servers.stub import Export, Reply, ndjson, running_stub
from tests.servers.terminology_stub import running_terminology

FLUTE = ROOT / "criteria" / "flute"
VALUE_SET = "http://example.org/ValueSet/prostate-cancer"
SNOMED = "http://snomed.info/sct"
LIBRARY = """\
library Trial version '1.0.0'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
{value_set}parameter "Measurement Period" Interval<DateTime> default Interval[@2026-01-01T, @2026-12-31T]
context Patient
define Adult: AgeInYearsAt(start of "Measurement Period") >= 18
{define}"""
DECLARED = f"""valueset "Prostate cancer": '{VALUE_SET}'\n"""
DEFINED = 'define Diagnosed: exists [Condition: "Prostate cancer"]\n'


@dataclass(frozen=True, slots=True)
class World:
    """The folder, and what each address of the documentation stands for in it."""

    folder: Path
    addresses: dict[str, str]

    def real(self, text: str) -> str:
        """The text with the addresses of the stubs."""
        for written, meant in self.addresses.items():
            text = text.replace(written, meant)
        return text


@contextmanager
def world(folder: Path, *, value_set: bool = False, exported: bool = True) -> Iterator[World]:
    """A world that is there while the block runs. With `value_set` a criterion of `path/to/criteria` needs one that is not beside it; without
    `exported` there is no folder `export` yet.
    """
    with ExitStack() as stack:
        archive = stack.enter_context(running_archive(folder.parent / f"{folder.name}-images"))
        server = stack.enter_context(running_stub())
        terminology = stack.enter_context(running_terminology())
        shutil.copytree(ROOT / "criteria", folder / "criteria", ignore=shutil.ignore_patterns("__pycache__"))
        cohort = folder / "criteria" / "flute" / "cohort"
        for path in cohort.glob("*.json"):
            path.write_text(path.read_text("utf-8").replace("https://archive.example/dicom-web", archive), "utf-8")
        bundles = [json.loads(path.read_text("utf-8")) for path in sorted(cohort.glob("*.json"))]
        found = [entry["resource"] for bundle in bundles for entry in bundle["entry"]]
        resources = list({(r["resourceType"], r["id"]): r for r in found}.values())
        _write_criteria(folder / "path" / "to" / "criteria", value_set)
        shutil.copytree(FLUTE / "mr", folder / "trials" / "flute")
        shutil.copytree(cohort, folder / "path" / "to" / "bundles")
        shutil.copytree(cohort, folder / "cohort")
        for name in (*(["export"] if exported else []), "path/to/export"):
            _write_export(folder / name, resources)
        _write_value_sets(folder)
        parameters = {"name": "Measurement Period", "valuePeriod": {"start": "2026-01-01", "end": "2026-12-31"}}
        _write(folder / "parameters.json", {"resourceType": "Parameters", "parameter": [parameters]})
        terminology.add(VALUE_SET, ["399068003"], system=SNOMED)
        _serve(server, resources)
        yield World(
            folder,
            {
                "https://fhir.hospital.example/r4": server.base,
                "https://archive/dicom-web": archive,
                "https://tx.example.org/r4": terminology.base,
            },
        )


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), "utf-8")


def _write_criteria(folder: Path, value_set: bool) -> None:
    folder.mkdir(parents=True)
    shutil.copy(FLUTE / "mr" / "EvidenceVariable.json", folder / "mr.json")
    text = LIBRARY.format(value_set=DECLARED if value_set else "", define=DEFINED if value_set else "")
    names = ["Adult", *(["Diagnosed"] if value_set else [])]
    characteristics = [
        {
            "linkId": name,
            "definitionExpression": {
                "language": "text/cql-identifier",
                "expression": name,
                "reference": "Library/Trial",
            },
        }
        for name in names
    ]
    content = [{"contentType": "text/cql", "data": base64.b64encode(text.encode()).decode()}]
    kind = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/library-type", "code": "logic-library"}]}
    library = {"resourceType": "Library", "id": "Trial", "name": "Trial", "version": "1.0.0", "status": "active"}
    _write(folder / "library.json", {**library, "type": kind, "content": content})
    _write(
        folder / "trial.json",
        {
            "resourceType": "EvidenceVariable",
            "id": "trial",
            "url": "http://example.org/EvidenceVariable/trial",
            "status": "active",
            "characteristic": characteristics,
        },
    )


def _write_export(folder: Path, resources: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True)
    for kind in sorted({r["resourceType"] for r in resources}):
        (folder / f"{kind}.ndjson").write_bytes(ndjson(*(r for r in resources if r["resourceType"] == kind)))


def _write_value_sets(folder: Path) -> None:
    expansion = {"contains": [{"system": SNOMED, "code": "399068003"}]}
    found = {"resourceType": "ValueSet", "url": VALUE_SET, "version": "1", "status": "active", "expansion": expansion}
    for name in ("valuesets", "path/to/valuesets"):
        _write(folder / name / "prostate-cancer.json", found)
    (folder / "more").mkdir()
    other = {**found, "url": "http://example.org/ValueSet/other"}
    (folder / "more" / "codes.ndjson").write_bytes(ndjson(other))
    related = [{"type": "depends-on", "resource": f"{VALUE_SET}|1"}]
    kind = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/library-type", "code": "asset-collection"}]}
    manifest = {"resourceType": "Library", "status": "active", "type": kind, "relatedArtifact": related}
    _write(folder / "manifest.json", manifest)


class _Server(FhirStub):
    """The stub of a server, which also knows a group."""

    def matches(self, resource: dict[str, Any], name: str, values: list[str]) -> bool:
        return True if name == "_has:Group:member:_id" else super().matches(resource, name, values)


def _serve(server: Any, resources: list[dict[str, Any]]) -> None:
    stub = _Server(server, resources, page=50, lenient=True)
    stub.knows.add("_has:Group:member:_id")
    export = Export(server)
    for kind in sorted({r["resourceType"] for r in resources}):
        found = [r for r in resources if r["resourceType"] == kind]
        export.file(kind, f"/files/{kind}", Reply(200, ndjson(*found)), count=len(found))
