"""Records that call their patient by a name that is no id, in large runs: placed on disk with that patient, and the same after a run that was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.data.bulk.placing import Bearers, Claim, placed
from fhir_eligibility.data.bulk.records import ReadRecord, is_orphan, name_group
from fhir_eligibility.runners.large import bulk_worker
from fhir_eligibility.runners.screening import run as running
from fhir_eligibility.runners.screening.run import RunOptions, run
from tests.data.every_way import criteria

MRN = "http://h.example/mrn"
OUTPUTS = ("verdicts.ndjson", "summary.csv", "problems.ndjson")


def export(folder: Path, patients: int = 40) -> Path:
    """Studies that name their patients by identifiers; some patients are known by two ids, some records are nobody's."""
    folder.mkdir()
    people: list[dict[str, Any]] = []
    studies: list[dict[str, Any]] = []
    for number in range(patients):
        identifier = [{"system": MRN, "value": str(number)}]
        people.append({"resourceType": "Patient", "id": f"p{number}", "identifier": identifier})
        for place in range(number % 4):
            subject = {"identifier": {"system": MRN, "value": str(number)}}
            study = {"resourceType": "ImagingStudy", "id": f"s{number}.{place}", "status": "available"}
            studies.append({**study, "subject": subject, "started": f"2026-01-{place + 1:02d}"})
        if number % 5 == 0:
            done = {"resourceType": "Procedure", "id": f"d{number}", "status": "completed"}
            studies.append({**done, "subject": {"identifier": {"system": MRN, "value": f"{number}?"}}})
    (folder / "Patient.ndjson").write_text("".join(json.dumps(one) + "\n" for one in people), "utf-8")
    (folder / "ImagingStudy.ndjson").write_text("".join(json.dumps(one) + "\n" for one in studies), "utf-8")
    entry = {"fullUrl": "http://h.example/fhir/Patient/other", "resource": {"resourceType": "Patient", "id": "p1"}}
    bundle = {"resourceType": "Bundle", "type": "searchset", "entry": [entry]}
    (folder / "bundle.json").write_text(json.dumps(bundle), "utf-8")
    return folder


def texts(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


def test_a_run_that_was_stopped_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = criteria(tmp_path / "criteria", "ImagingStudy.count() = 2", "Procedure.exists()")
    data = export(tmp_path / "data")
    run(rules, [], [data], tmp_path / "small", RunOptions(now="2026-06-01"))
    expected = texts(tmp_path / "small")
    assert expected["verdicts.ndjson"].count(b'"verdict":"included"') == 0
    met = [json.loads(line)["criteria"] for line in expected["verdicts.ndjson"].splitlines()]
    assert [one[0]["outcome"] for one in met].count("met") == 10
    assert {(one[1]["outcome"], one[1]["reason"]) for one in met} == {("unknown", "data-incomplete")}
    assert expected["problems.ndjson"].count(b'"no-patient"') == 8
    monkeypatch.setattr(running, "SMALL", 0)
    out = tmp_path / "out"
    judged, done = bulk_worker.Worker.judged, []

    def stopping(self: Any, number: int) -> int:
        if len(done) == 3:
            raise OSError("disk full")
        done.append(number)
        return judged(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(bulk_worker.Worker, "judged", stopping)
        with pytest.raises(OSError, match="disk full"):
            run(rules, [], [data], out, RunOptions(now="2026-06-01", jobs=1))
    for damaged in (None, "placed-1", "moved-1", "placed"):
        again = tmp_path / f"out-{damaged}"
        again.mkdir()
        (work,) = [path for path in out.iterdir() if path.is_dir()]
        copy = again / work.name
        copy.mkdir()
        for path in work.iterdir():
            text = path.read_bytes()
            (copy / path.name).write_bytes(text[: len(text) // 2] if path.name == damaged else text)
        run(rules, [], [data], again, RunOptions(now="2026-06-01", jobs=1, resume=True))
        assert texts(again) == expected, damaged


def record(name: str) -> ReadRecord:
    return ReadRecord(name_group(name), 0, 0, -1, "Condition", "c", None, True, False, False, b"")


@pytest.mark.parametrize(
    ("claims", "joined", "group"),
    [
        ([], {}, None),
        ([Claim("n", "a", "a", False)], {}, "a"),
        ([Claim("n", "a", "a", False), Claim("n", "a", "a", False)], {}, "a"),
        ([Claim("n", "a", "a", False), Claim("n", "b", "b", True)], {}, "a"),
        ([Claim("n", "b", "b", True)], {}, "b"),
        ([Claim("n", "b", "b", True), Claim("n", "b", "b", False), Claim("n", "a", "a", True)], {}, "b"),
        ([Claim("n", "a", "a", False), Claim("n", "b", "b", False)], {}, None),
        ([Claim("n", "a", "http://x/Patient/a", False), Claim("n", "a", "http://y/Patient/a", False)], {}, None),
        ([Claim("n", "a", "a", False), Claim("n", "b", "b", False)], {"a": "a", "b": "a"}, "a"),
        ([Claim("m", "a", "a", False)], {}, None),
    ],
)
def test_a_record_is_placed_with_the_one_who_bears_the_name(
    claims: list[Claim], joined: dict[str, str], group: str | None
) -> None:
    (found,) = placed([record("n")], Bearers(claims, {"n"}), joined)
    assert found.group == group if group is not None else is_orphan(found.group)
    assert found.plain is (group is not None)
