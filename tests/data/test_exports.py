"""Exports read by plan: odd lines, resources that occur twice, patients known by several names; and that it makes no difference to any verdict."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
import zstandard

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria.reading import reading_plan
from fhir_eligibility.data.bulk import reading
from fhir_eligibility.data.bulk.line_numbers import with_lines
from fhir_eligibility.data.bulk.reading import ExportReader
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.patients.reader import read_patients
from fhir_eligibility.runners.large.bulk import in_place
from fhir_eligibility.runners.screening.criteria import Criteria
from fhir_eligibility.runners.screening.run import RunOptions, run
from tests.shared import shared
from tests.spec.model import ROOT

FLUTE = ROOT / "criteria" / "flute"
LOINC = "http://loinc.org"
PSA = f"Observation.where(code.coding.exists(system = '{LOINC}' and code = '2857-1')).exists()"
Resource = dict[str, Any]


def criteria_of(folder: Path, expression: str = PSA) -> Criteria:
    source = {"language": "text/fhirpath", "expression": expression}
    artifact = {"resourceType": "EvidenceVariable", "id": "ev", "characteristic": [{"definitionExpression": source}]}
    path = folder / "criteria" / "ev.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(artifact), "utf-8")
    return fhir_eligibility.load_criteria(path)


def patient(logical_id: str, **more: Any) -> Resource:
    return {"resourceType": "Patient", "id": logical_id, **more}


def observation(logical_id: str, about: str = "a", code: str = "2857-1", **more: Any) -> Resource:
    return {
        "resourceType": "Observation",
        "id": logical_id,
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": {"reference": f"Patient/{about}"},
        **more,
    }


def lines(*resources: Resource) -> bytes:
    return "".join(json.dumps(resource, separators=(",", ":")) + "\n" for resource in resources).encode()


class Read:
    """What reading a folder for some criteria comes to."""

    def __init__(self, criteria: Criteria, folder: Path, **options: Any) -> None:
        found: list[Problem] = []
        self.reader = ExportReader(
            [folder], reading_plan(criteria.rules, criteria.terminology), found.append, **options
        )
        self.patients: dict[str, Compartment] = {c.id: c for _, c in self.reader.patients()}
        self.problems = list(with_lines(in_place(found, self.reader.files)))
        self.collected = self.reader.collected

    def observations(self, identifier: str = "a") -> list[str]:
        return [o["id"] for o in self.patients[identifier].of_type("Observation")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "data"
    found.mkdir()
    return found


# -- lines


def test_only_what_matters_is_kept_and_what_does_not_is_whole(tmp_path: Path, folder: Path) -> None:
    broken = b'{"resourceType":"Condition","id":"c1","code":{'  # of a type that nobody reads
    (folder / "Condition.ndjson").write_bytes(broken + b"\n" + lines({"resourceType": "Condition", "id": "c2"}))
    (folder / "Observation.ndjson").write_bytes(lines(observation("o1"), observation("o2", code="718-7")))
    (folder / "Patient.ndjson").write_bytes(lines(patient("a")))
    read = Read(criteria_of(tmp_path), folder)
    assert read.observations() == ["o1"]
    assert [(p.code, p.line, p.offset, p.resource) for p in read.problems] == [("invalid-json", 1, 0, "Condition/c1")]
    assert read.collected.used == {"Observation": 1, "Patient": 1}
    assert read.collected.passed == {"Condition": 1, "Observation": 1}
    assert read.collected.lines == 5
    whole = Read(criteria_of(tmp_path), folder, validate=True)
    assert [(p.code, p.line, p.offset) for p in whole.problems] == [("invalid-json", 1, 0)]
    assert whole.collected.passed == {"Condition": 1, "Observation": 1}
    assert whole.observations() == ["o1"]


def test_every_line_is_used_passed_or_reported(tmp_path: Path, folder: Path) -> None:
    text = b"\xef\xbb\xbf" + lines(patient("a")) + b"\n   \n" + lines(observation("o1")).replace(b"\n", b"\r\n")
    text += b'["not", "a resource"]\n' + b"{}\n" + b"nonsense\n"
    text += lines(observation("o2", valueString="a\u2028b")) + lines(observation("o3"))[:-20]  # truncated
    (folder / "all.ndjson").write_bytes(text)
    read = Read(criteria_of(tmp_path), folder)
    assert read.observations() == ["o1", "o2"]
    assert read.patients["a"].of_type("Observation")[1]["valueString"] == "a\u2028b"
    assert [(p.code, p.line) for p in read.problems] == [
        ("not-a-resource", 5),
        ("not-a-resource", 5),
        ("not-a-resource", 6),
        ("invalid-json", 7),
        ("invalid-json", 9),
    ]
    assert [text[p.offset or 0 :][:2] for p in read.problems] == [b'["', b'["', b"{}", b"no", b'{"']
    collected = read.collected
    reported = len({p.line for p in read.problems})
    assert collected.lines == 9 == collected.blank + sum(collected.used.values()) + reported


def test_other_spellings(tmp_path: Path, folder: Path) -> None:
    escaped = lines(observation("o1")).replace(b"2857-1", b"\\u0032857-1")
    spaced = json.dumps(observation("o2")).encode() + b"\n"
    turned = b'{"id":"o3",' + lines({k: v for k, v in observation("o3").items() if k != "id"})[1:]
    other = lines(observation("o4", code="718-7"))
    number = lines({"resourceType": "Procedure", "id": "p", "code": {"coding": [{"code": 7, "system": "s"}]}})
    (folder / "Procedure.ndjson").write_bytes(
        number.replace(b'"code":{', b'"subject":{"reference":"Patient/a"},"code":{')
    )
    rule = "Procedure.where(code.coding.exists(system = 's' and code = '7')).exists()"
    (folder / "Observation.ndjson").write_bytes(escaped + spaced + turned + other)
    (folder / "Patient.ndjson").write_bytes(lines(patient("a")))
    assert Read(criteria_of(tmp_path), folder).observations() == ["o1", "o2", "o3"]
    assert Read(criteria_of(tmp_path, rule), folder).collected.used["Procedure"] == 1


@pytest.mark.parametrize("ending", [".ndjson", ".ndjson.gz", ".ndjson.zst", ".jsonl"])
def test_packed_files(tmp_path: Path, folder: Path, ending: str) -> None:
    text = lines(patient("a"), observation("o1"), observation("o2", code="718-7"))
    pack = {"gz": gzip.compress, "zst": zstandard.compress}.get(ending.rpartition(".")[2], bytes)
    (folder / f"data{ending}").write_bytes(pack(text))
    assert Read(criteria_of(tmp_path), folder).observations() == ["o1"]


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_a_packed_file_cut_short_gives_what_it_holds(tmp_path: Path, folder: Path, ending: str) -> None:
    noise = [observation(f"x{i}", code=f"{random.Random(i).random()}") for i in range(2000)]
    pack = {"gz": gzip.compress, "zst": zstandard.compress}[ending]
    wanted = [patient("a"), observation("o1")]
    # the first block of a member is small enough to come whole
    (folder / f"a.ndjson.{ending}").write_bytes(pack(lines(*wanted)) + pack(lines(*noise))[:-500])
    read = Read(criteria_of(tmp_path), folder)
    assert read.observations() == ["o1"]
    assert [p.code for p in read.problems] == ["unreadable"]


@pytest.mark.parametrize("size", [40, 200, 700, 100_000])
def test_pieces_and_blocks_of_any_size_give_the_same(
    tmp_path: Path, folder: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(size)
    resources = [patient(f"p{i}") for i in range(20)]
    for i in range(300):
        code = chance.choice(["2857-1", "718-7", "4548-4"])
        resources.append(observation(f"o{i}", f"p{i % 20}", code, note=[{"text": "x" * chance.randrange(90)}]))
    (folder / "all.ndjson").write_bytes(lines(*resources))
    monkeypatch.setattr("fhir_eligibility.data.bulk.scanning.BLOCK", max(64, size // 3))
    monkeypatch.setattr(reading, "pieces_of", lambda files, _=0, cut=reading.pieces_of: cut(files, size))
    read = Read(criteria_of(tmp_path), folder)
    expected: dict[str, list[str]] = {f"p{i}": [] for i in range(20)}
    for resource in resources[20:]:
        if resource["code"]["coding"][0]["code"] == "2857-1":
            expected[resource["subject"]["reference"][8:]].append(resource["id"])
    assert {name: read.observations(name) for name in read.patients} == expected
    assert list(read.patients) == list(expected)
    assert sum(read.collected.used.values()) + sum(read.collected.passed.values()) == 320 == read.collected.lines


def test_many_codes_are_looked_for(tmp_path: Path, folder: Path) -> None:
    codes = [f"{i}-0" for i in range(200)]
    wanted = " | ".join(f"'{code}'" for code in codes)
    rule = f"Observation.where(code.coding.exists(system = '{LOINC}' and code in ({wanted}))).exists()"
    criteria = criteria_of(tmp_path, rule)
    assert reading_plan(criteria.rules).types["Observation"].codes == frozenset(codes)
    some = [observation("o1", code="7-0"), observation("o2", code="7-1"), observation("o3", code="199-0")]
    (folder / "Observation.ndjson").write_bytes(lines(*some))
    (folder / "Patient.ndjson").write_bytes(lines(patient("a")))
    read = Read(criteria, folder)
    assert read.observations() == ["o1", "o3"] and read.collected.passed == {"Observation": 1}


@pytest.mark.parametrize("text", ["\\u00e9", "DELETE", "plain"])
@pytest.mark.parametrize("shape", ["array", "bundle", "odd bundle", "resource"])
def test_documents_of_any_shape(tmp_path: Path, folder: Path, text: str, shape: str) -> None:
    person = patient("a", name=[{"text": "@"}])
    entries: list[Any] = [{"resource": person}, {"resource": observation("o1")}]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    shapes: dict[str, Any] = {"array": [person, observation("o1")], "bundle": bundle, "resource": person}
    shapes["odd bundle"] = {**bundle, "entry": [*entries, {"fullUrl": 7, "resource": observation("o2")}]}
    (folder / "a.json").write_text(json.dumps(shapes[shape]).replace("@", text), "utf-8")
    expected = {"array": ["o1"], "bundle": ["o1"], "odd bundle": ["o1", "o2"], "resource": []}
    assert Read(criteria_of(tmp_path), folder).observations() == expected[shape]


ODD: list[Any] = [7, "x", ["x"], {"x": 1}, [{"value": {"x": 1}}], True]


@pytest.mark.parametrize("element", ["meta", "identifier", "verificationStatus", "status", "subject", "id"])
@pytest.mark.parametrize("form", ["lines", "bundle"])
def test_odd_shapes_stop_nobody_else(tmp_path: Path, folder: Path, element: str, form: str) -> None:
    fine = [patient("fine"), observation("o", "fine")]
    odd = [{**resource, element: value} for value in ODD for resource in (patient("a"), observation("x"))]
    twice = [{**patient("twice"), element: value} for value in ODD]
    pending = observation("y", subject={"identifier": {"system": "s", "value": "7"}})
    resources = [*odd, *twice, pending, *fine]
    if form == "lines":
        (folder / "a.ndjson").write_bytes(lines(*resources))
    else:
        addresses = [value for value in ODD if not isinstance(value, str)]
        entries = [
            {"resource": resource, "fullUrl": addresses[i % len(addresses)], "request": ODD[i % len(ODD)]}
            for i, resource in enumerate(resources)
        ]
        (folder / "a.json").write_text(json.dumps({"resourceType": "Bundle", "entry": entries}), "utf-8")
    criteria = criteria_of(tmp_path)
    verdicts = {v.patient: v.verdict for v in fhir_eligibility.screen(criteria, folder, now="2026-06-01")}
    assert verdicts["Patient/fine"] == "included"
    memory = read_patients([folder], model=load_model("r4"), on_problem=lambda problem: None)
    assert {v.patient: v.verdict for v in fhir_eligibility.screen(criteria, memory, now="2026-06-01")} == verdicts


# -- identity


def test_the_newest_counts_even_if_it_no_longer_matters(tmp_path: Path, folder: Path) -> None:
    old = observation("o1", meta={"lastUpdated": "2026-01-01T00:00:00Z"})
    new = observation("o1", code="718-7", meta={"lastUpdated": "2026-02-01T00:00:00Z"})
    (folder / "1.ndjson").write_bytes(lines(patient("a"), patient("b"), old, observation("o2", "b")))
    (folder / "2.ndjson").write_bytes(lines(observation("x", "b", "718-7"), new))
    read = Read(criteria_of(tmp_path), folder)
    verdicts = {v.patient: v.verdict for v in fhir_eligibility.screen(criteria_of(tmp_path), folder, now="2026-06-01")}
    assert verdicts == {"Patient/a": "excluded", "Patient/b": "included"}
    assert [(p.code, p.resource) for p in read.problems] == [("duplicate", "Observation/o1")]


def test_a_resource_that_moved_to_another_patient_counts_for_that_one_alone(tmp_path: Path, folder: Path) -> None:
    old = observation("o1", "a", meta={"lastUpdated": "2026-01-01T00:00:00Z"})
    new = observation("o1", "b", meta={"lastUpdated": "2026-02-01T00:00:00Z"})
    (folder / "1.ndjson").write_bytes(lines(patient("a"), patient("b"), patient("c"), new))
    (folder / "2.ndjson").write_bytes(lines(old, observation("o3", "c")))
    read = Read(criteria_of(tmp_path), folder)
    assert {name: read.observations(name) for name in read.patients} == {"a": [], "b": ["o1"], "c": ["o3"]}
    assert [p.code for p in read.problems] == ["duplicate"]


def test_patients_named_by_urn_and_by_identifier(tmp_path: Path, folder: Path) -> None:
    urn, system = "urn:uuid:11111111-1111-1111-1111-111111111111", "http://hospital.example/mrn"
    person = patient("a", identifier=[{"system": system, "value": "7"}])
    here = observation("o1", subject={"reference": urn})
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"fullUrl": urn, "resource": person}, {"fullUrl": "urn:uuid:2", "resource": here}],
    }
    (folder / "bundle.json").write_text(json.dumps(bundle), "utf-8")
    elsewhere = observation("o2", subject={"reference": urn})
    by_identifier = observation("o3", subject={"identifier": {"system": system, "value": "7"}})
    unknown = observation("o4", subject={"identifier": {"system": system, "value": "8"}})
    by_id = observation("o5")
    nobody = {k: v for k, v in observation("o6").items() if k != "subject"}
    (folder / "more.ndjson").write_bytes(lines(elsewhere, by_identifier, unknown, by_id, nobody))
    read = Read(criteria_of(tmp_path), folder)
    assert read.observations() == ["o1", "o2", "o3", "o5"]
    assert list(read.patients) == ["a"]
    assert {(p.code, p.resource) for p in read.problems} == {
        ("odd-reference", "Observation/o2"),
        ("no-patient", "Observation/o4"),
        ("no-patient", "Observation/o6"),
    }


def test_what_is_in_error_and_what_was_deleted(tmp_path: Path, folder: Path) -> None:
    wrong = observation("o1", status="entered-in-error")
    (folder / "Observation.ndjson").write_bytes(lines(wrong, observation("o2"), observation("o3", "b")))
    (folder / "Patient.ndjson").write_bytes(lines(patient("a"), patient("b")))
    gone = {"resourceType": "Bundle", "entry": [{"request": {"method": "DELETE", "url": "Observation/o3"}}]}
    (folder / "deleted.ndjson").write_bytes(lines(gone))
    read = Read(criteria_of(tmp_path), folder)
    assert read.observations("a") == ["o2"] and read.observations("b") == []
    assert sorted(p.code for p in read.problems) == ["deleted", "entered-in-error"]


def test_references_may_lead_to_another_patient(tmp_path: Path, folder: Path) -> None:
    mother = patient("mother", gender="female")
    (folder / "Patient.ndjson").write_bytes(lines(mother, patient("child")))
    history = {
        **observation("o1"),
        "subject": {"reference": "Patient/child"},
        "focus": [{"reference": "Patient/mother"}],
    }
    (folder / "Observation.ndjson").write_bytes(lines(history))
    criteria = criteria_of(tmp_path, "Observation.focus.resolve().ofType(Patient).exists(gender = 'female')")
    verdicts = {v.patient: v.verdict for v in fhir_eligibility.screen(criteria, folder, now="2026-06-01")}
    assert verdicts == {"Patient/mother": "excluded", "Patient/child": "included"}
    record = run(criteria, [], [folder], tmp_path / "out", RunOptions(now="2026-06-01")).record
    assert [(a.included, a.excluded) for a in record.artifacts] == [(1, 1)]


# -- plans


def test_what_cannot_be_proved_is_read_whole(tmp_path: Path) -> None:
    def plan(expression: str) -> Any:
        return reading_plan(criteria_of(tmp_path, expression).rules)

    assert plan(PSA).types["Observation"].codes == {"2857-1"}
    assert plan("Observation.where(status = 'final').exists()").types["Observation"].codes is None
    assert plan("Observation.descendants().count() > 3").types["Observation"].elements is None
    assert plan("Observation.where(status = 'final').exists()").types["Observation"].elements is not None
    assert plan("Encounter.subject.resolve().exists()").linked
    both = plan(f"{PSA} or Observation.where(status = 'final').exists()")
    assert both.types["Observation"].codes is None
    component = f"component.exists(code.coding.exists(system = '{LOINC}' and code = '8480-6'))"
    assert plan(f"Observation.where({component}).exists()").types["Observation"].texts == {"component"}
    assert plan(f"Observation.where(status = 'final' and {component}).exists()").types["Observation"].codes is None
    imaging = plan("ImagingStudy.series.instance.where(number > 3).exists()").types["ImagingStudy"]
    assert not imaging.lazy and plan("ImagingStudy.exists()").types["ImagingStudy"].lazy


# -- no verdict is different


@pytest.fixture(scope="module", params=["fhirpath", "cql"])
def flute(request: pytest.FixtureRequest) -> Criteria:
    if request.param == "fhirpath":
        return fhir_eligibility.load_criteria(FLUTE / "mr", FLUTE / "any-modality")
    return fhir_eligibility.load_criteria(FLUTE / "cql" / "mr", libraries=[FLUTE / "cql"])


def both_ways(criteria: Criteria, paths: list[Path]) -> tuple[list[Any], list[Any]]:
    """Verdicts on the patients of some files, all decoded whole and held in memory, and read by plan."""
    whole = list(read_patients(paths, model=load_model(criteria.fhir_version), on_problem=lambda problem: None))
    return (
        [v.model_dump() for v in fhir_eligibility.screen(criteria, whole, now="2026-06-01")],
        [v.model_dump() for v in fhir_eligibility.screen(criteria, paths, now="2026-06-01")],
    )


SOURCES = ("decoded", "probes", "v1-hl7eu-2025-04", "v2-fyrstain-2026-03", "v2-requirements-2026-01", "")


@pytest.mark.parametrize("source", SOURCES)
def test_verdicts_on_the_flute_patients_are_the_same(flute: Criteria, source: str) -> None:
    whole, planned = both_ways(flute, [shared("flute", source)])
    assert whole and planned == whole


def test_verdicts_on_single_files_are_the_same(flute: Criteria) -> None:
    files = sorted([*shared("flute", "probes").glob("*.json"), *(FLUTE / "cohort").glob("*.json")])
    for path in files:
        whole, planned = both_ways(flute, [path])
        assert planned == whole, path.name


def test_a_scattered_export_gives_the_verdicts_of_the_bundles(flute: Criteria, tmp_path: Path) -> None:
    chance = random.Random(3)
    resources: dict[str, Resource] = {}
    for path in sorted((FLUTE / "cohort").glob("*.json")):
        for entry in json.loads(path.read_text("utf-8"))["entry"]:
            resource = entry["resource"]
            resources[f"{resource['resourceType']}/{resource['id']}"] = resource
    scattered = list(resources.values())
    chance.shuffle(scattered)
    for number in range(4):
        (tmp_path / f"part-{number}.ndjson").write_bytes(lines(*scattered[number::4]))
    bundles = {(v.patient, v.artifact): v for v in fhir_eligibility.screen(flute, FLUTE / "cohort", now="2026-06-01")}
    export = list(fhir_eligibility.screen(flute, tmp_path, now="2026-06-01"))
    assert len(export) == len(bundles)
    for verdict in export:
        other = bundles[verdict.patient, verdict.artifact]
        assert (verdict.verdict, verdict.deciding) == (other.verdict, other.deciding)
        assert {(x.criterion, x.study, x.role) for x in verdict.imaging} == {
            (x.criterion, x.study, x.role) for x in other.imaging
        }
    whole, planned = both_ways(flute, [tmp_path])
    assert planned == whole


def test_verdicts_on_the_patients_of_the_measures_are_the_same(flute: Criteria, tmp_path: Path) -> None:
    cases = shared("ecqm", "open", "CMS645FHIRBoneDensityProstateCancerAndrogenDeprivationTherapy", "cases.ndjson")
    for number, line in enumerate(cases.read_text("utf-8").splitlines()):
        resources = json.loads(line)["resources"]
        (tmp_path / f"{number}.json").write_text(json.dumps(resources), "utf-8")
    whole, planned = both_ways(flute, [tmp_path])
    # one patient has no Patient resource, and nothing that a criterion reads is about them: there is no row
    assert whole == planned
    assert "Patient/46464646" not in {verdict["patient"] for verdict in planned}
