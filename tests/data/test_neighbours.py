"""Small variations of what hospitals' data were found to hold, each with the answer that FHIR gives: the same on every way of reading.

Each row names what it varies. What servers and archives do is varied where they are asked (`tests/data/test_searches_by_list.py`, `test_pages_of_servers.py`, `tests/imaging`).
"""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

import fhir_eligibility
from tests.data.every_way import criteria, screened

Resource = dict[str, Any]
Files = dict[str, bytes]
HAS = "Condition.where(code.coding.exists(code = 'WD1')).exists()"
MET, NOT, UNKNOWN = "met", "not met", "unknown"
MRN = "http://h.example/mrn"
U1, U2 = "urn:uuid:00000000-0000-4000-8000-000000000001", "urn:uuid:00000000-0000-4000-8000-000000000002"


def p(name: Any = "a", **more: Any) -> Resource:
    return {"resourceType": "Patient", "id": name, **more}


def c(subject: Any = "Patient/a", code: str = "WD1", **more: Any) -> Resource:
    about = subject if isinstance(subject, dict) else {"reference": subject}
    coded = {"coding": [{"system": "http://example.org/cs", "code": code}]}
    return {"resourceType": "Condition", "id": "c", "subject": about, "code": coded, **more}


def without(name: str, resource: Resource) -> Resource:
    return {key: value for key, value in resource.items() if key != name}


def mrn(value: str) -> dict[str, Any]:
    return {"identifier": [{"system": MRN, "value": value}]}


def text(*resources: Any) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in resources)


def lines(*resources: Any) -> Files:
    return {"x.ndjson": text(*resources)}


def entry(resource: Resource | None = None, method: str = "", url: str = "", **more: Any) -> Resource:
    found: Resource = {} if resource is None else {"resource": resource}
    if method:
        found["request"] = {"method": method, "url": url}
    return {**found, **more}


def bundle(kind: str, *entries: Resource) -> Resource:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def one(kind: str, *entries: Resource) -> Files:
    return {"x.json": json.dumps(bundle(kind, *entries)).encode()}


def at(resource: Resource, root: str = "http://s/fhir/") -> str:
    return f"{root}{resource['resourceType']}/{resource['id']}"


def version(number: int, resource: Resource | None, *, dated: bool = True) -> Resource:
    """A version in a history."""
    told = {"response": {"status": "200", "lastModified": f"2026-0{number}-01T00:00:00Z"}} if dated else {}
    if resource is None:
        return entry(None, "DELETE", "Condition/c", **told)
    return entry(resource, "PUT", "Condition/c", **told)


def export(count: int | None = None, listed: tuple[str, ...] = ("Patient", "Condition"), **files: bytes) -> Files:
    output: list[Resource] = [{"type": kind, "url": f"http://s/files/{kind}.ndjson"} for kind in listed]
    if count is not None:
        output[-1]["count"] = count
    manifest = {"transactionTime": "2026-01-01T00:00:00Z", "request": "http://s/$export", "output": output, "error": []}
    return {"manifest.json": json.dumps(manifest).encode(), **{f"{name}.ndjson": held for name, held in files.items()}}


def parts(depth: int, resource: Resource) -> Resource:
    found: Resource = {"name": "r", "resource": resource}
    for _ in range(depth):
        found = {"name": "p", "part": [found]}
    return {"resourceType": "Parameters", "parameter": [found]}


OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
MODIFIER = {"modifierExtension": [{"url": "http://x/e", "valueBoolean": True}]}
PART = {"meta": {"tag": [{"code": "SUBSETTED"}]}}
TEST = {"meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}]}}
PEOPLE = text(p("a"), p("b"))
IN = "Patient.gender in ('male' | 'other')"
STATUS = "Observation.where(status in ('final' | 'amended')).exists()"
OBS = {"resourceType": "Observation", "id": "o", "subject": {"reference": "Patient/a"}, "code": {"text": "x"}}
ODD = "ImagingStudy.where(series.modality.exists(code = 'MR')).exists()"
STUDY = {"resourceType": "ImagingStudy", "id": "s", "status": "available", "subject": {"reference": "Patient/a"}}
LONG, LONGER = "x" * 80, "y-" * 120
A, B = "Patient/a", "Patient/b"
Expected = dict[str, str]

ROWS: list[tuple[str, Files, str, Expected]] = [
    ("in: no gender", lines(p()), IN, {A: UNKNOWN}),
    ("in: no gender, negated", lines(p()), f"({IN}).not()", {A: UNKNOWN}),
    ("in: a gender", lines(p(gender="female")), IN, {A: NOT}),
    ("in: no status", lines(p(), OBS), STATUS, {A: UNKNOWN}),
    ("in: no status beside one with", lines(p(), OBS, {**OBS, "id": "q", "status": "final"}), STATUS, {A: MET}),
    ("underscore: versioned reference", lines(p("pat_1"), c("Patient/pat_1/_history/2")), HAS, {"Patient/pat_1": MET}),
    (
        "underscore: at an address",
        one("searchset", entry(p("pat_1"), fullUrl="http://s/fhir/Patient/pat_1"), entry(c("Patient/pat_1"), fullUrl="http://s/fhir/Condition/c")),
        HAS,
        {"Patient/pat_1": MET},
    ),
    ("long id: 80", lines(p(LONG), c(f"Patient/{LONG}")), HAS, {f"Patient/{LONG}": MET}),
    ("long id: 240", one("collection", entry(p(LONGER)), entry(c(f"Patient/{LONGER}"))), HAS, {f"Patient/{LONGER}": MET}),
    ("colon", lines(p("a:b:1"), c("Patient/a:b:1")), HAS, {"Patient/a:b:1": MET}),
    ("number as id", lines(p(12), c("Patient/12")), HAS, {"Patient/12": MET}),
    ("number as id in a bundle", one("collection", entry(p(7)), entry(c("Patient/7"))), HAS, {"Patient/7": MET}),
    ("search: encoded", lines(p(**mrn("1")), p("b"), c(f"Patient?identifier={MRN.replace('/', '%2F')}%7C1")), HAS, {A: MET, B: NOT}),
    ("search: nobody", lines(p(**mrn("1")), c(f"Patient?identifier={MRN}|2")), HAS, {A: UNKNOWN}),
    ("search: two", lines(p(**mrn("1")), p("b", **mrn("1")), c(f"Patient?identifier={MRN}|1")), HAS, {A: UNKNOWN, B: UNKNOWN}),
    ("search: other system", lines(p(**mrn("1")), c("Patient?identifier=http://o|1")), HAS, {A: UNKNOWN}),
    ("odd reference: capitals", lines(p(), p("b"), c("PATIENT/a")), HAS, {A: MET, B: NOT}),
    ("odd reference: blanks", lines(p(), p("b"), c("  Patient/a ")), HAS, {A: MET, B: NOT}),
    ("odd reference: fragment", lines(p(), p("b"), c("Patient/a#x")), HAS, {A: MET, B: NOT}),
    ("odd reference: nobody", lines(p(), p("b"), c("patient/z")), HAS, {A: UNKNOWN, B: UNKNOWN}),
    ("conditional delete: finds none", {**lines(p(), c()), **one("transaction", entry(None, "DELETE", "Condition?identifier=x|1"))}, HAS, {A: MET}),
    ("conditional delete: finds one", {**lines(p(**mrn("1")), p("b"), c(B)), **one("transaction", entry(None, "DELETE", f"Patient?identifier={MRN}|1"))}, HAS, {B: MET}),
    ("conditional delete: asks for nothing", {**lines(p(), c()), **one("transaction", entry(None, "DELETE", "Condition"))}, HAS, {A: MET}),
    ("delete: versioned", {**lines(p(), c()), **one("transaction", entry(None, "DELETE", "Condition/c/_history/1"))}, HAS, {A: NOT}),
    ("delete: slash", {**lines(p(), c()), **one("batch", entry(None, "DELETE", "/Condition/c"))}, HAS, {A: NOT}),
    ("delete: absolute", {**lines(p(), c()), **one("batch", entry(None, "DELETE", "http://s/fhir/Condition/c"))}, HAS, {A: NOT}),
    ("delete: another record", {**lines(p(), c()), **one("batch", entry(None, "DELETE", "Condition/d"))}, HAS, {A: MET}),
    ("deleted patient: absolute", {**lines(p(), p("b"), c()), **one("batch", entry(None, "DELETE", "http://s/fhir/Patient/a"))}, HAS, {B: NOT}),
    ("deleted patient: a record besides", {**lines(p(), c(), c(B)), **one("batch", entry(None, "DELETE", A)), "y.ndjson": text(p("b"))}, HAS, {B: UNKNOWN}),
    ("history: changed", {**lines(p()), **one("history", version(2, c(code="X")), version(1, c()))}, HAS, {A: NOT}),
    ("history: deleted last", {**lines(p()), **one("history", version(3, None), version(1, c()))}, HAS, {A: NOT}),
    ("history: by order", {**lines(p()), **one("history", version(3, c(), dated=False), version(2, None, dated=False))}, HAS, {A: MET}),
    ("history: in another order", {**lines(p()), **one("history", version(1, c()), version(2, c(code="X")))}, HAS, {A: NOT}),
    ("parts: deep", {**lines(p()), "q.json": json.dumps(parts(4, c())).encode()}, HAS, {A: MET}),
    ("parts: in a line", lines(p(), parts(1, c())), HAS, {A: MET}),
    ("parts: a bundle", lines(p(), parts(2, bundle("searchset", entry(c())))), HAS, {A: MET}),
    ("manifest: counts more", export(2, Patient=PEOPLE, Condition=text(c())), HAS, {A: MET, B: UNKNOWN}),
    ("manifest: counts right", export(1, Patient=PEOPLE, Condition=text(c())), HAS, {A: MET, B: NOT}),
    ("manifest: a file is missing", export(None, Patient=PEOPLE), HAS, {A: UNKNOWN, B: UNKNOWN}),
    ("manifest: an empty file", export(None, Patient=PEOPLE, Condition=b""), HAS, {A: UNKNOWN, B: UNKNOWN}),
    ("outcome: in a line", {"Patient.ndjson": PEOPLE, "Condition.ndjson": text(c(), OUTCOME)}, HAS, {A: MET, B: UNKNOWN}),
    ("outcome: a page of HTML", {"Patient.ndjson": PEOPLE, "Condition.ndjson": b"<html><body>502</body></html>"}, HAS, {A: UNKNOWN, B: UNKNOWN}),
    ("outcome: a warning", {"Patient.ndjson": PEOPLE, "Condition.ndjson": text(c(), {**OUTCOME, "issue": [{"severity": "information", "code": "informational"}]})}, HAS, {A: MET, B: NOT}),
    ("link: replaced", lines(p(link=[{"type": "replaced-by", "other": {"reference": B}}]), p("b"), c(B)), HAS, {B: MET}),
    ("link: see also", lines(p(link=[{"type": "seealso", "other": {"reference": B}}]), p("b"), c(B)), HAS, {A: UNKNOWN, B: MET}),
    ("two versions: other content", {**lines(p(), c()), "y.ndjson": text(c(code="X"))}, HAS, {A: UNKNOWN}),
    ("two versions: same content", {**lines(p(), c()), "y.ndjson": text(c())}, HAS, {A: MET}),
    ("two versions: one is newer", {**lines(p(), c(meta={"lastUpdated": "2026-01-01T00:00:00Z"})), "y.ndjson": text(c(code="X", meta={"lastUpdated": "2026-01-02T00:00:00Z"}))}, HAS, {A: NOT}),
    ("modifier: extension", lines(p(), c(**MODIFIER)), HAS, {A: UNKNOWN}),
    ("modifier: rules", lines(p(), c(implicitRules="http://x/r")), HAS, {A: UNKNOWN}),
    ("modifier: of a bundle", one("collection", entry(p()), entry(c(), **MODIFIER)), HAS, {A: UNKNOWN}),
    ("modifier: beside another record", lines(p(), c(**MODIFIER), {**c(), "id": "d"}), HAS, {A: MET}),
    ("packed: zst", {"x.ndjson.zst": zstandard.compress(text(p(), c()))}, HAS, {A: MET}),
    ("packed: bz2, by content", {"x.ndjson": bz2.compress(text(p(), c()))}, HAS, {A: MET}),
    ("packed: members", {"x.ndjson.gz": gzip.compress(text(p())) + gzip.compress(text(c()))}, HAS, {A: MET}),
    ("cut: gzip", {"Patient.ndjson": PEOPLE, "Condition.ndjson.gz": gzip.compress(text(c(), c(B)))[:-20]}, HAS, {A: UNKNOWN, B: UNKNOWN}),
    ("cut: a member", {"Patient.ndjson": PEOPLE, "Condition.ndjson.gz": gzip.compress(text(c())) + gzip.compress(text(c(B)))[:15]}, HAS, {A: MET, B: UNKNOWN}),
    ("Latin-1: a line", {"Patient.ndjson": PEOPLE, "Condition.ndjson": text(c(note=[{"text": "M\u00fcller"}])).replace(b"\\u00fc", b"\xfc")}, HAS, {A: UNKNOWN, B: NOT}),
    ("Latin-1: a bundle", {"Patient.ndjson": PEOPLE, "x.json": json.dumps(bundle("collection", entry(c(note=[{"text": "\u00fc"}])))).encode().replace(b"\\u00fc", b"\xfc")}, HAS, {A: UNKNOWN, B: NOT}),
    ("other text: UTF-16", {"Patient.ndjson": PEOPLE, "Condition.ndjson": text(c()).decode().encode("utf-16")}, HAS, {A: UNKNOWN, B: UNKNOWN}),
    ("other text: an LFS pointer", {"Patient.ndjson": PEOPLE, "Condition.ndjson": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n"}, HAS, {A: UNKNOWN, B: UNKNOWN}),
    ("other text: commas", {"Patient.ndjson": PEOPLE, "Condition.ndjson": text(c()).replace(b"\n", b",\n")}, HAS, {A: MET, B: NOT}),
    ("odd shape: series", lines(p(), p("b"), {**STUDY, "series": {"modality": {"code": "MR"}}}), ODD, {A: UNKNOWN, B: NOT}),
    ("odd shape: meta", lines(p(), p("b"), {**c(), "meta": [1]}), HAS, {A: MET, B: NOT}),
    ("conditional create: twice", one("transaction", *({"fullUrl": url, "resource": without("id", p(**mrn("7"))), "request": {"method": "POST", "url": "Patient", "ifNoneExist": f"identifier={MRN}|7"}} for url in (U1, U2)), entry(c(U2))), HAS, {U1: MET}),
    ("conditional create: two persons", one("transaction", *({"fullUrl": url, "resource": without("id", p(**mrn(value))), "request": {"method": "POST", "url": "Patient", "ifNoneExist": f"identifier={MRN}|{value}"}} for url, value in ((U1, "7"), (U2, "8"))), entry(c(U2))), HAS, {U1: NOT, U2: MET}),
    ("part: without a code", lines(p(), without("code", c(**PART))), HAS, {A: UNKNOWN}),
    ("part: with the code", lines(p(), c(**PART)), HAS, {A: MET}),
    ("test patient", lines(p(**TEST), c()), HAS, {A: MET}),
    ("no fullUrl: by type and id", one("collection", entry(p()), entry(c())), HAS, {A: MET}),
    ("no fullUrl: a urn that nothing bears", {**one("collection", entry(c(U1))), "y.ndjson": PEOPLE}, HAS, {A: UNKNOWN, B: UNKNOWN}),
    ("names: numbered and split", {"1.Patient.ndjson": text(p()), "2.Patient.ndjson": text(p("b")), "export.Condition.007.ndjson": text(c())}, HAS, {A: MET, B: NOT}),
    ("names: lines in .json", {"all.json": text(p(), p("b"), c())}, HAS, {A: MET, B: NOT}),
]  # fmt: skip


@pytest.mark.parametrize(("files", "expression", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_neighbours(tmp_path: Path, files: Files, expression: str, expected: Expected) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name, held in files.items():
        (data / name).write_bytes(held)
    for way, found, _ in screened(criteria(tmp_path / "criteria", expression), data, tmp_path):
        outcome = {who: outcomes[1] for who, outcomes in found.items()}
        assert outcome == expected, way


LINKS: list[tuple[str, Callable[[Path, Path], None]]] = [
    ("a file", lambda data, other: (data / "Condition.ndjson").symlink_to(other / "Condition.ndjson")),
    ("a folder", lambda data, other: (data / "more").symlink_to(other)),
]


@pytest.mark.parametrize("link", [row[1] for row in LINKS], ids=[row[0] for row in LINKS])
def test_what_links_lead_to_is_read(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    data.mkdir()
    other.mkdir()
    (data / "Patient.ndjson").write_bytes(PEOPLE)
    (other / "Condition.ndjson").write_bytes(text(c()))
    link(data, other)
    for way, found, _ in screened(criteria(tmp_path / "criteria", HAS), data, tmp_path):
        assert {who: outcomes[1] for who, outcomes in found.items()} == {A: MET, B: NOT}, way


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("form", ["Parameters", "an array"])
def test_patients_without_a_name_are_as_many_as_there_are(tmp_path: Path, number: int, form: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    nameless = [without("id", p(birthDate=f"195{born}-01-01")) for born in range(number)]
    listed = {"resourceType": "Parameters", "parameter": [{"name": "r", "resource": one} for one in nameless]}
    (data / "x.json").write_text(json.dumps(listed if form == "Parameters" else nameless), "utf-8")
    for way, found, _ in screened(criteria(tmp_path / "criteria", "Patient.birthDate.exists()"), data, tmp_path):
        assert len(found) == number and {outcomes[1] for outcomes in found.values()} == {MET}, way


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("unconfirmed", UNKNOWN),
        ("differential", UNKNOWN),
        ("refuted", NOT),
        ("confirmed", MET),
        ("entered-in-error", NOT),
        (None, MET),
    ],
)
def test_a_diagnosis_counts_by_what_its_status_says(tmp_path: Path, status: str | None, outcome: str) -> None:
    """A coded criterion; an expression says for itself what counts."""

    data, folder = tmp_path / "data", tmp_path / "criteria"
    data.mkdir()
    folder.mkdir()
    more = {} if status is None else {"verificationStatus": {"coding": [{"code": status}]}}
    (data / "x.ndjson").write_bytes(text(p(), c(**more)))
    value = {"coding": [{"system": "http://example.org/cs", "code": "WD1"}]}
    kind = {"coding": [{"system": "http://snomed.info/sct", "code": "64572001"}]}
    coded = {"linkId": "c", "definitionByTypeAndValue": {"type": kind, "valueCodeableConcept": value}}
    artifact = {"resourceType": "EvidenceVariable", "id": "ev", "status": "active", "characteristic": [coded]}
    (folder / "ev.json").write_text(json.dumps(artifact), "utf-8")
    for way, found, _ in screened(fhir_eligibility.load_criteria(folder / "ev.json"), data, tmp_path):
        assert found[A][1] == outcome, way
