"""Parts of the benchmarks that have to be right for their numbers to mean something."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from tests.benchmarks.answers import answers, compare, verdicts
from tests.benchmarks.cohorts import Options, write
from tests.benchmarks.kills import differences, digests, disturbed
from tests.benchmarks.processes import measure
from tests.benchmarks.runners import CRITERIA, NOW, ROOT, screen_command
from tests.benchmarks.screening import Row, cohort
from tests.benchmarks.synthea import write_bundles, write_ndjson


def criterion(identifier: str, outcome: str, **more: Any) -> dict[str, Any]:
    return {"id": identifier, "outcome": outcome, **more}


def test_both_forms_of_the_criteria_give_the_same_outcomes(tmp_path: Path) -> None:
    write(tmp_path / "cohort", Options(150, small=True))
    found = []
    for form in ("fhirpath", "cql"):
        criteria = fhir_eligibility.load_criteria(CRITERIA / form, libraries=[CRITERIA / "cql"])
        assert criteria.errors == ()
        screened = fhir_eligibility.screen(criteria, tmp_path / "cohort", now=NOW)
        found.append({v.patient: (v.verdict, [c.outcome for c in v.criteria]) for v in screened})
    assert found[0] == found[1]
    assert {verdict for verdict, _ in found[0].values()} == {"included", "excluded", "undetermined"}


def test_answers_are_compared_criterion_by_criterion(tmp_path: Path) -> None:
    evidence = [{"resource": "Observation/o", "value": "4800", "unit": "pg/mL", "date": "2026-01-02"}]
    ours = [
        (
            "p1",
            [criterion("biopsy", "met"), criterion("images", "not met"), criterion("psa", "met", evidence=evidence)],
        ),
        (
            "p2",
            [
                criterion("biopsy", "met"),
                criterion("images", "unknown", reason="imprecise-date", detail="which day?"),
                criterion("psa", "unknown", reason="no-data"),
            ],
        ),
        ("p3", [criterion("biopsy", "met"), criterion("images", "met"), criterion("psa", "met")]),
    ]
    (tmp_path / "verdicts.ndjson").write_text(
        "".join(json.dumps({"patient": f"Patient/{name}", "criteria": found}) + "\n" for name, found in ours)
    )
    (tmp_path / "peer.ndjson").write_text(
        '{"patient": "p1", "biopsy": true, "images": false, "psa": false}\n'
        '{"patient": "p2", "biopsy": true, "images": false, "psa": null, "error": "psa: no unit"}\n'
    )
    found = compare(verdicts(tmp_path), answers(tmp_path / "peer.ndjson"))
    assert (found.same, found.missing) == (4, 3)
    assert dict(found.errors) == {"psa: no unit": 1}
    assert dict(found.differences) == {
        "psa: met here, false there": 1,
        "images: unknown (imprecise-date) here, false there": 1,
    }
    assert found.examples["psa: met here, false there"] == "p1 (Observation, 4800 pg/mL, 2026-01-02)"
    assert found.lines()[0] == "4 of 9 answers are the same"


def synthetic(folder: Path) -> list[Path]:
    """A bundle as Synthea writes them, in small."""
    patient, encounter = "11111111-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "ffffffff-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"fullUrl": f"urn:uuid:{patient}", "resource": {"resourceType": "Patient", "id": patient}},
            {
                "fullUrl": f"urn:uuid:{encounter}",
                "resource": {
                    "resourceType": "Encounter",
                    "id": encounter,
                    "subject": {"reference": f"urn:uuid:{patient}"},
                },
            },
        ],
    }
    path = folder / "one.json"
    path.write_text(json.dumps(bundle, indent=2))
    return [path]


def test_copies_of_a_bundle_are_patients_of_their_own(tmp_path: Path) -> None:
    write_bundles(synthetic(tmp_path), tmp_path / "copies", 3)
    bundles = [json.loads(path.read_text()) for path in sorted((tmp_path / "copies").iterdir())]
    assert [b["entry"][0]["resource"]["id"][:8] for b in bundles] == ["11111111", "11111112", "11111113"]
    assert [b["entry"][1]["resource"]["id"][:8] for b in bundles] == ["ffffffff", "00000000", "00000001"]
    for bundle in bundles:
        assert bundle["entry"][1]["resource"]["subject"]["reference"] == bundle["entry"][0]["fullUrl"]


def test_copies_as_an_export_refer_by_type_and_id(tmp_path: Path) -> None:
    write_ndjson(synthetic(tmp_path), tmp_path / "copies", 2)
    assert sorted(path.name for path in (tmp_path / "copies").iterdir()) == ["Encounter.ndjson", "Patient.ndjson"]
    encounters = [json.loads(line) for line in (tmp_path / "copies" / "Encounter.ndjson").read_text().splitlines()]
    assert [e["subject"]["reference"] for e in encounters] == [
        f"Patient/{first}-aaaa-4aaa-8aaa-aaaaaaaaaaaa" for first in ("11111111", "11111112")
    ]


def test_results_are_compared_but_for_what_a_run_says_of_itself(tmp_path: Path) -> None:
    for name, started, patients in (("a", "2026-01-01", 3), ("b", "2026-01-02", 3), ("c", "2026-01-01", 4)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"started": started, "patients": patients}))
        (tmp_path / name / "verdicts.ndjson").write_text("{}\n")
    (tmp_path / "b" / ".checkpoint").write_text("of no account")
    (tmp_path / "c" / "extra.csv").write_text("")
    assert differences(digests(tmp_path / "a"), digests(tmp_path / "b")) == []
    assert differences(digests(tmp_path / "a"), digests(tmp_path / "c")) == ["extra.csv", "run.json"]
    (tmp_path / "b" / "verdicts.ndjson").write_text("{} \n")
    assert differences(digests(tmp_path / "a"), digests(tmp_path / "b")) == ["verdicts.ndjson"]


RESUMABLE = """
import pathlib, sys, time
out = pathlib.Path(sys.argv[1]); out.mkdir(exist_ok=True)
done = out / "done"
if "--resume" not in sys.argv: done.unlink(missing_ok=True)
while len(done.read_text() if done.exists() else "") < 4:
    with done.open("a") as stream: stream.write("x")
    time.sleep(0.2)
"""


def test_a_killed_run_is_resumed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RESUMABLE, str(tmp_path / "out")]
    killed, _ = disturbed(command, tmp_path / "out", [0.5])
    assert killed == 1
    assert (tmp_path / "out" / "done").read_text() == "xxxx"


def test_a_run_that_fails_by_itself_is_not_taken_for_a_killed_one(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a word about it"):
        disturbed([sys.executable, "-c", "import sys; sys.exit('a word about it')"], tmp_path / "out", [30])


def test_memory_of_the_processes_below_is_counted() -> None:
    one = "import time; x = bytearray(60_000_000); time.sleep(1.5)"
    two = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {one!r}])"
    found = measure([sys.executable, "-c", f"x = bytearray(60_000_000)\n{two}"], cwd=ROOT)
    assert found.status == 0
    assert found.peak > 115_000_000
    assert measure([sys.executable, "-c", "import sys; print('out'); sys.exit('bad')"], cwd=ROOT).output == "out\n"


def test_a_row_says_why_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DIR", str(tmp_path))
    found = cohort("bundles", 3, 1)
    assert (found.patients, found.bytes) == (3, sum(p.stat().st_size for p in tmp_path.rglob("*.json")))
    row = Row("it", found, screen_command(tmp_path / "nowhere", found.folder, tmp_path / "out"))
    row.runs.append(measure(row.command, cwd=ROOT))
    assert row.failed is not None
    assert "nowhere does not exist" in row.failed
