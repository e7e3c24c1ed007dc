"""`--pseudonyms`: no name, number or text of a patient is in any output, while everything is still told apart as without codes."""

from __future__ import annotations

import csv
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from fhir_eligibility.compiler.criteria.rules import RuleSet
from fhir_eligibility.data.archives.uids import valid_uid
from fhir_eligibility.output.criteria_record import read_verdicts
from fhir_eligibility.output.pseudonyms import Pseudonyms, make_key, read_key
from fhir_eligibility.runners.imaging.images import Places, studies_of
from fhir_eligibility.ui.commands.cli import main
from tests.outputs import group_files, visible
from tests.paths.patients import patients
from tests.paths.test_runs import criteria as random_criteria
from tests.spec.model import ROOT

FLUTE = ROOT / "criteria" / "flute"
NOW = ("--now", "2026-06-01")
SECRET = "ZZsecret"
NUMBER = "7731234567"
# Elements that hold no text: words of closed lists, addresses of code systems, codes.
_PLAIN = frozenset(
    "resourceType url system code status gender use comparator type mode intent fullUrl address connectionType".split()
)
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}.*)?")


def marked(value: Any, key: str = "", within: str = "") -> Any:
    """A resource in which every id, reference, identifier and text is a secret, and every identifier a number too."""
    if isinstance(value, dict):
        return {name: marked(one, name, key if name == "coding" else key or within) for name, one in value.items()}
    if isinstance(value, list):
        return [marked(one, key, within) for one in value]
    if not isinstance(value, str) or _DATE.fullmatch(value):
        return value
    if key == "reference":
        kind, _, name = value.rpartition("/")
        return f"{kind}/{SECRET}-{name}" if kind else f"{SECRET}-{value}"
    if key == "id":
        return f"{SECRET}-{value}"
    return value if key in _PLAIN else f"{value} {SECRET}"


def person(name: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": f"{SECRET}-{name}",
        "active": True,
        "gender": "male",
        "birthDate": "1950-05-06",
        "identifier": [{"system": f"http://hospital.example/{SECRET}", "value": NUMBER}, {"value": f"{SECRET}-mrn"}],
        "name": [{"family": f"{SECRET}-family", "given": [f"{SECRET}-given"], "text": f"{SECRET} {SECRET}"}],
        "telecom": [{"system": "phone", "value": NUMBER}],
        "address": [{"line": [f"{SECRET}-street"], "city": f"{SECRET}-city"}],
        "contact": [{"name": {"family": f"{SECRET}-mother"}}],
        **more,
    }


def observation(name: str, patient: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": f"{SECRET}-{name}",
        "status": "final",
        "subject": {"reference": f"Patient/{SECRET}-{patient}", "display": f"{SECRET}"},
        "code": {
            "coding": [{"system": "http://loinc.org", "code": "2857-1", "display": f"{SECRET}"}],
            "text": f"{SECRET}",
        },
        "effectiveDateTime": "2026-02-03",
        "note": [{"text": f"{SECRET}"}],
        **more,
    }


def hand_made() -> list[dict[str, Any]]:
    """Values of every kind that evidence shows, and what makes criteria unknown and errors."""
    ucum = "http://unitsofmeasure.org"
    values: list[dict[str, Any]] = [
        {"valueQuantity": {"value": 5.25, "unit": "ng/mL", "system": ucum, "code": "ng/mL"}},
        {"valueQuantity": {"value": 5, "comparator": "<", "unit": f"{SECRET}"}},
        {"valueQuantity": {"value": 5, "unit": f"ng/mL{{{SECRET}}}"}},
        {"valueQuantity": {"value": 5, "code": f"{SECRET}", "system": f"http://{SECRET}"}},
        {"valueString": NUMBER},
        {"valueString": f"{SECRET}"},
        {"valueInteger": 7},
        {"valueBoolean": True},
        {"valueDateTime": "2026-01-02"},
        {"valueTime": "10:00:00"},
        {
            "valueCodeableConcept": {
                "coding": [{"system": "http://x.org", "code": "c", "display": SECRET}],
                "text": SECRET,
            }
        },
        {"valueCodeableConcept": {"text": f"{SECRET}"}},
        {"valueRange": {"low": {"value": 1, "unit": f"{SECRET}"}}},
        {"code": {"text": f"{SECRET}"}, "valueQuantity": {"value": 1}},
        {"code": {"coding": [{"system": f"http://a.org/ {SECRET}", "code": f"{SECRET} x"}]}},
        {"code": {"coding": [{"code": "2857-1"}]}, "effectiveDateTime": f"{SECRET}"},
        {"effectiveDateTime": "2026"},
        {"effectivePeriod": {"start": "2026-01-01"}, "effectiveDateTime": None},
        {"subject": {"reference": f"Patient/{SECRET}-nobody"}},
        {"encounter": {"reference": f"Encounter/{SECRET}-e"}, "method": {"text": f"{SECRET}"}},
    ]
    out: list[dict[str, Any]] = [person("a"), person("b", birthDate="1950"), person("c", gender=f"{SECRET}")]
    for number, value in enumerate(values):
        out.append(observation(f"o{number}", "abc"[number % 3], **value))
    out += [observation("twice", "a", valueInteger=number) for number in (8, 9)] + [person("a", active=False)]
    out.append({"resourceType": f"{SECRET}Type", "id": f"{SECRET}", "subject": {"reference": f"Patient/{SECRET}-a"}})
    return out


EXPRESSIONS = [
    "Observation.where(value.ofType(Quantity) > 3 'ng/mL').exists()",
    "Observation.where(effective > @2026-01-15).exists()",
    "Observation.where(code.coding.where(system = 'http://loinc.org').code = '2857-1').exists()",
    "Observation.value.ofType(string).exists(length() > 2)",
    "Observation.where(encounter.resolve().exists()).exists()",
    "(Patient.name.given | Patient.identifier.value).single().length() > 2",
    "Patient.name.family.toInteger() > 2",
    "Patient.birthDate <= @1950-03-03",
    "Patient.gender = 'male' and Patient.id.exists()",
    "Observation.method.coding.single().code = 'x'",
    "Patient.identifier.value.single() = 'x'",
]


def crit(folder: Path) -> Path:
    folder.mkdir(parents=True)
    found: list[dict[str, Any]] = [
        {"linkId": f"c{n}", "definitionExpression": {"language": "text/fhirpath", "expression": text}}
        for n, text in enumerate(EXPRESSIONS)
    ]
    psa = {"coding": [{"system": "http://snomed.info/sct", "code": "63476009"}]}
    found.append({"linkId": "other", "definitionCodeableConcept": psa})
    loinc = {"coding": [{"system": "http://loinc.org", "code": "2857-1"}]}
    for number, value in enumerate(({"valueCodeableConcept": psa}, {"valueQuantity": {"value": 3, "comparator": ">"}})):
        found.append({"linkId": f"t{number}", "definitionByTypeAndValue": {"type": loinc, **value}})
    found.append({"linkId": "text", "definitionCodeableConcept": {"text": "a person reads it"}})
    trial = {
        "resourceType": "EvidenceVariable",
        "id": "t",
        "url": "http://example.org/t",
        "version": "1",
        "status": "draft",
    }
    (folder / "t.json").write_text(json.dumps({**trial, "title": "The trial", "characteristic": found}))
    return folder


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, str):
        yield value


def cohort(folder: Path, form: str) -> set[str]:
    """Patients of all kinds in files; gives their UIDs and accession numbers."""
    folder.mkdir(parents=True)
    resources = [marked(one) for listed in patients(77, 12) for one in listed] + hand_made()
    secrets: set[str] = set()
    for path in sorted((FLUTE / "cohort").glob("*.json")):
        bundle = json.loads(path.read_text())
        for entry in bundle["entry"]:
            resource = entry["resource"]
            if resource["resourceType"] == "ImagingStudy":
                found = [text.removeprefix("urn:oid:") for text in texts(resource)]
                secrets |= {text for text in found if text.startswith("2.25.")}
                secrets |= {one["value"] for one in resource["identifier"] if "type" in one}
                for series in resource["series"]:
                    series["bodySite"] = {"display": f"{SECRET} knee"}
            keep = {key: resource[key] for key in ("identifier", "series", "endpoint") if key in resource}
            resources.append({**marked(resource), **keep_uids(keep)})
    if form == "bundle":
        entries = [{"resource": one} for one in resources]
        whole = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        (folder / f"{SECRET}.json").write_text(json.dumps(whole))
    else:
        lines = [json.dumps(one) for one in resources]
        lines.insert(5, f'{{"resourceType":"Patient","id":"{SECRET}-x","name":[{{"family":"{SECRET}')
        lines.append(f"{SECRET} is not JSON")
        (folder / f"{SECRET}.ndjson").write_text("\n".join(lines) + "\n")
    return secrets


def keep_uids(study: dict[str, Any]) -> dict[str, Any]:
    """UIDs are valid as they are; what stands beside them is a secret."""
    out = json.loads(json.dumps(study))
    for series in out.get("series", ()):
        series["description"] = f"{series.get('description')} {SECRET}"
    for endpoint in out.get("endpoint", ()):
        endpoint["reference"] = marked(endpoint["reference"], "reference")
    return out  # type: ignore[no-any-return]


def everything_in(out: Path) -> Iterator[tuple[str, str]]:
    """All texts of a folder; of tables what their cells hold."""
    for path in sorted(out.rglob("*")):
        yield "name", path.name
        if path.suffix == ".parquet":
            yield path.name, json.dumps(parquet.read_table(path).to_pylist())
        elif path.is_file():
            yield path.name, path.read_text("utf-8")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    crit(tmp_path / "crit")
    make_key(tmp_path / "key")
    return tmp_path


def screen(place: Path, out: Path, data: Path, *more: str, trials: tuple[Path, ...] = ()) -> int:
    given = ["screen", str(place / "crit"), str(FLUTE / "mr"), *map(str, trials), "--data", str(data)]
    status = main([*given, "--out", str(out), *NOW, *more])
    assert status in (0, 1, 3), status
    return status


@pytest.mark.parametrize("way", ["lines", "bundle", "large"])
def test_nothing_that_tells_who_a_patient_is_leaves(
    place: Path, way: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    secrets = cohort(place / "data", way)
    found = random_criteria(place / "random", 5, 12)
    assert isinstance(found.rules[0], RuleSet)
    if way == "large":
        monkeypatch.setattr("fhir_eligibility.runners.screening.run.SMALL", 0)
    trials = (place / "random",)
    plain, out, listed = place / "plain", place / "out", place / "apart" / "list.csv"
    screen(place, plain, place / "data", "--parquet", "--jobs", "2", trials=trials)
    before = "".join(text for _, text in everything_in(plain))
    assert before.count(SECRET) > 1000 and all(text in before for text in secrets), "there is much to be left out"
    capfd.readouterr()
    words = ["--pseudonyms", str(place / "key"), "--pseudonym-list", str(listed), "--log-file", str(place / "log")]
    screen(place, out, place / "data", "--parquet", "--jobs", "2", *words, trials=trials)
    said = capfd.readouterr()
    shown = [("stdout", said.out), ("stderr", said.err), ("log", (place / "log").read_text())]
    for name, text in (*everything_in(out), *shown):
        for secret in (SECRET, NUMBER, *secrets):
            assert secret not in text, (name, text[max(text.index(secret) - 200, 0) :][:400])
    assert visible(out) == visible(plain) and not (out / ".work").exists()
    compare(plain, out, listed)


def compare(plain: Path, out: Path, listed: Path) -> None:
    """Everything is told apart as without codes."""
    assert stat.S_IMODE(listed.stat().st_mode) == 0o600
    rows = list(csv.DictReader(listed.open(newline="")))
    names = {row["pseudonym"]: row["patient"] for row in rows}
    codes: dict[str, str] = {}
    count = 0
    for first, second in zip(read_verdicts(plain), read_verdicts(out), strict=True):
        assert names[second.patient] == first.patient
        assert (first.verdict, first.deciding, first.artifact) == (second.verdict, second.deciding, second.artifact)
        for name, code in pairs(first.model_dump(), second.model_dump()):
            assert codes.setdefault(name, code) == code
            count += 1
    assert len(set(codes.values())) == len(codes) and count > 500
    assert all(valid_uid(code) == valid_uid(name) for name, code in codes.items())
    ours = [
        [one["entity"]["reference"] for one in json.loads(path.read_text()).get("member", ())]
        for path in group_files(out)
    ]
    theirs = [
        [one["entity"]["reference"] for one in json.loads(path.read_text()).get("member", ())]
        for path in group_files(plain)
    ]
    assert [[names[one] for one in listed_here] for listed_here in ours] == theirs
    for first_row, second_row in zip(
        *(csv.DictReader((x / "summary.csv").open(newline="")) for x in (plain, out)), strict=True
    ):
        assert first_row["patient"] == names[second_row["patient"]]
        assert {k: v for k, v in first_row.items() if k not in ("patient", "studies")} == {
            k: v for k, v in second_row.items() if k not in ("patient", "studies")
        }
    problems = [
        [json.loads(x) for x in (folder / "problems.ndjson").read_text().splitlines()] for folder in (plain, out)
    ]
    kept = ("code", "severity", "line", "offset", "entry")
    assert [[one.get(name) for name in kept] for one in problems[0]] == [
        [one.get(name) for name in kept] for one in problems[1]
    ]
    assert all(one["message"].startswith("left out") and "hint" not in one for one in problems[1])


KEPT = ("outcome", "reason", "role", "id", "plain_cql", "date", "started", "criterion", "kind", "title", "expression")


def pairs(first: Any, second: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Names with their codes, from the same places of two verdicts; what is no name must be the same, or left out."""
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for name in first:
            yield from pairs(first[name], second[name], name)
    elif isinstance(first, list) and key not in ("urls", "warnings", "modality"):
        assert len(first) == len(second), key
        for one, other in zip(first, second, strict=True):
            yield from pairs(one, other, key)
    elif key in ("resource", "patient", "study", "uid", "instances", "accession", "file", "value") and isinstance(
        first, str
    ):
        if key == "value" or first == second and key == "study":
            return
        assert second != first and isinstance(second, str)
        yield first, second
    elif key in KEPT and not (key == "date" and SECRET in str(first)):
        assert first == second, key


def test_values_that_say_nothing_of_who_it_is_stay(place: Path) -> None:
    (place / "data").mkdir()
    lines = [json.dumps(one) for one in hand_made()]
    (place / "data" / "x.ndjson").write_text("\n".join(lines))
    screen(place, place / "out", place / "data", "--pseudonyms", str(place / "key"))
    shown = [
        (one.value, one.unit, one.date, one.code)
        for verdict in read_verdicts(place / "out")
        for criterion in verdict.criteria
        for one in criterion.evidence
    ]
    values = {value for value, _, _, _ in shown}
    assert values >= {"5.25", "<5", "7", "true", "2026-01-02", "10:00:00", "http://x.org|c"}
    assert {unit for _, unit, _, _ in shown} == {None, "ng/mL"}
    assert {date for _, _, date, _ in shown} >= {"2026-02-03", "2026"}
    assert {code for _, _, _, code in shown} >= {"http://loinc.org|2857-1", None}
    assert any(value and "birthDate 1950-05-06" in value for value in values)
    details = [c.detail for v in read_verdicts(place / "out") for c in v.criteria if c.outcome == "unknown"]
    key = Pseudonyms(read_key(place / "key"))
    bound = key.resource(f"Observation/{SECRET}-o1")
    assert f"{bound} `value.ofType(Quantity) > 3 'ng/mL'`" in details, (
        "the record, and the clause as its author wrote it"
    )
    assert "the concept 'a person reads it' is text without a code" in details, "what is the same for everybody"


def test_the_same_key_gives_the_same_codes_and_another_key_others(place: Path) -> None:
    cohort(place / "data", "lines")
    make_key(place / "other")
    for name, key in (("one", "key"), ("two", "key"), ("three", "other")):
        screen(place, place / name, place / "data", "--pseudonyms", str(place / key))
    one, two, three = ((place / name / "verdicts.ndjson").read_bytes() for name in ("one", "two", "three"))
    assert one == two
    patients_of = [{json.loads(line)["patient"] for line in text.splitlines()} for text in (one, three)]
    assert not patients_of[0] & patients_of[1] and len(patients_of[0]) == len(patients_of[1])
    records = [json.loads((place / name / "run.json").read_text())["pseudonyms"] for name in ("one", "two", "three")]
    assert records[0] == records[1] != records[2] and records[0]["uids"] == "coded"


def test_uids_can_be_kept_so_that_images_are_found(place: Path) -> None:
    secrets = cohort(place / "data", "lines")
    screen(place, place / "out", place / "data", "--pseudonyms", str(place / "key"), "--keep-uids")
    text = (place / "out" / "verdicts.ndjson").read_text()
    assert sum(secret in text for secret in secrets if secret.startswith("2.25.")) > 20
    assert SECRET not in text and NUMBER not in text and not any(s in text for s in secrets if s.startswith("A0"))
    studies = list(studies_of(place / "out", Places()))
    assert sum(one.expected.study in secrets for one in studies) == 12
    assert all(one.expected.identifiers == () for one in studies), "no archive knows their codes"


@pytest.mark.parametrize("command", ["verify", "manifest", "fetch", "thumbnails"])
def test_images_are_not_looked_for_by_codes(place: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    screen(place, place / "out", FLUTE / "cohort", "--pseudonyms", str(place / "key"))
    words = ["imaging", command, str(place / "out")]
    words += [] if command == "verify" else ["--out", str(place / "images")]
    words += [] if command == "manifest" else ["--dicomweb", "http://localhost:1/dicom-web"]
    assert main(words) == 2
    assert "holds codes in the place of UIDs (--pseudonyms), by which no images are found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--pseudonyms", "{place}/none"], "none does not exist; --new-key makes a key there"),
        (
            ["--pseudonyms", "{place}/open"],
            "others may read this key, which tells who patients are; make it yours: chmod 600",
        ),
        (["--pseudonyms", "{place}/short"], "short holds no key: expected 64 hexadecimal digits or more"),
        (["--pseudonyms", "{place}/out/key", "--new-key"], "is in the output folder, where whoever reads the outputs"),
        (
            ["--pseudonyms", "{place}/key", "--pseudonym-list", "{place}/out/x/l.csv"],
            "is in the output folder, where whoever",
        ),
        (
            ["--pseudonyms", "{place}/key", "--pseudonym-list", "{place}/mine"],
            "is not a list of pseudonyms; name another file",
        ),
        (["--new-key"], "--new-key: only with --pseudonyms KEYFILE are there codes"),
        (["--pseudonym-list", "x", "--keep-uids"], "--pseudonym-list, --keep-uids: only with --pseudonyms"),
    ],
)
def test_what_does_not_fit_is_refused(
    place: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text, mode in (("open", "a" * 64, 0o644), ("short", "a" * 63, 0o600), ("mine", "mine", 0o600)):
        (place / name).write_text(text)
        (place / name).chmod(mode)
    given = ["screen", str(place / "crit"), "--data", str(FLUTE / "cohort"), "--out", str(place / "out"), *NOW]
    assert main([*given, *(word.format(place=place) for word in words)]) == 2
    assert says in capsys.readouterr().err
    assert not (place / "out").exists() or visible(place / "out") == []
    assert (place / "mine").read_text() == "mine"


def test_a_new_key_is_made_once_and_is_yours(place: Path) -> None:
    key, before = place / "keys" / "key", os.umask(0)
    try:
        for name in ("one", "two"):
            words = [
                "--pseudonyms",
                str(key),
                "--new-key",
                "--pseudonym-list",
                str(place / "l.csv"),
                "--shared-outputs",
            ]
            screen(place, place / name, FLUTE / "cohort", *words)
    finally:
        os.umask(before)
    assert len(read_key(key)) == 32
    assert [stat.S_IMODE(path.stat().st_mode) for path in (key, place / "l.csv")] == [0o600, 0o600]
    assert (place / "one" / "verdicts.ndjson").read_bytes() == (place / "two" / "verdicts.ndjson").read_bytes()
    with pytest.raises(FileExistsError):
        make_key(key)


def test_a_run_is_not_resumed_with_other_codes(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(self: Any, outputs: Any) -> None:
        raise KeyboardInterrupt

    make_key(place / "other")
    data, out = FLUTE / "cohort", place / "out"
    given = ["screen", str(place / "crit"), "--data", str(data), "--out", str(out), *NOW, "--quiet"]
    first = [*given, "--pseudonyms", str(place / "key"), "--pseudonym-list", str(place / "l.csv")]
    assert main([*first[:-4], "--out", str(place / "expected"), *first[-4:]]) == 0
    (place / "l.csv").rename(place / "expected.csv")
    monkeypatch.setattr("fhir_eligibility.runners.screening.run.SMALL", 0)
    with monkeypatch.context() as patch:
        patch.setattr("fhir_eligibility.runners.large.bulk.BulkRun.write", stop)
        assert main(first) == 130
    for more in ([], ["--pseudonyms", str(place / "other"), *first[-2:]], [*first[-4:], "--keep-uids"], first[-4:-2]):
        capsys.readouterr()
        assert main([*given, *more, "--resume"]) == 2
        assert "--pseudonym" in capsys.readouterr().err
    assert main([*first, "--resume"]) == 0
    for name in ("verdicts.ndjson", "summary.csv"):
        assert (out / name).read_bytes() == (place / "expected" / name).read_bytes()
    assert (place / "l.csv").read_bytes() == (place / "expected.csv").read_bytes()


def test_codes_are_apart_by_kind_and_text() -> None:
    codes = Pseudonyms(b"k" * 32)
    found = [
        codes.patient("Patient/1"),
        codes.resource("Observation/1"),
        codes.file("1"),
        codes.uid("1.2"),
        codes.code("x", "1"),
    ]
    assert len(set(found)) == len(found)
    assert codes.patient("Patient/1") == codes.resource("Patient/1")
    assert re.fullmatch(r"Patient/[a-z2-7]{26}", codes.patient("urn:uuid:x"))
    assert re.fullmatch(r"Resource/[a-z2-7]{26}", codes.resource("urn:uuid:\ud800"))
    assert valid_uid(codes.uid("1.2.3")) and codes.uid("1.2.3").startswith("2.25.")
    assert Pseudonyms(b"k" * 32, keep_uids=True).uid("1.2.3") == "1.2.3"
    assert "kkkk" not in repr(codes)
