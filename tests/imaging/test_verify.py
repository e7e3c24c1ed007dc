"""`eligibility imaging verify` against Orthanc: each way in which images can be there or not, and runs that are interrupted."""

from __future__ import annotations

import csv
import datetime as dt
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pydicom
import pytest

from fhir_eligibility.data.archives.access import Access
from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.data.http.credentials import basic
from fhir_eligibility.evaluation.verdict import Holding
from fhir_eligibility.runners.imaging.images import Places
from fhir_eligibility.runners.imaging.verify import VerifyResult, verify
from fhir_eligibility.ui.commands.cli import main
from tests.imaging.conftest import lines_of, link_of
from tests.imaging.orthanc import PASSWORD, USER, Orthanc
from tests.imaging.stub import Reply
from tests.outputs import visible

pytestmark = pytest.mark.slow

NOW = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)


def check(run: Path, url: str, *, now: dt.datetime = NOW, afresh: bool = False, **access: Any) -> VerifyResult:
    settings = Access(own=(url,), **{"retries": 0, "backoff": 0.01, **access})
    with Client(settings) as client:
        return verify(run, client, Places(url, True), afresh=afresh, clock=lambda: now)


def holdings(run: Path) -> dict[str, Holding]:
    return {h["patient"].removeprefix("Patient/"): Holding.model_validate(h) for h in lines_of(run / "archive.ndjson")}


def test_all_present(run: Path, orthanc: Orthanc) -> None:
    result = check(run, orthanc.url)
    assert result.states == Counter({"present": 12})
    assert result.requests == 3  # studies, series, instances: once for all of them
    found = holdings(run)
    assert list(found) == [f"example-{n:02}" for n in range(1, 13)]
    assert found["example-01"].archive == orthanc.url
    assert found["example-01"].asked == "2026-06-01T12:00:00+00:00"
    rows = list(csv.DictReader((run / "archive.csv").open(newline="")))
    assert [row["state"] for row in rows] == ["present"] * 12
    assert visible(run) == ["archive.csv", "archive.ndjson", "verdicts.ndjson"]


def test_what_is_missing_is_named(run: Path, orthanc: Orthanc, files: dict[str, list[Path]]) -> None:
    series = link_of(run, "example-01")["series"][1]["uid"]
    orthanc.remove("Series", series)
    instance = link_of(run, "example-02")["series"][0]["instances"][1]
    orthanc.remove("Instance", instance)
    orthanc.remove("Study", link_of(run, "example-03")["study"])
    orthanc.remove("Study", link_of(run, "example-04")["study"])
    for path in files["example-04"]:
        dataset = pydicom.dcmread(path)
        dataset.PatientID = "SOMEBODY-ELSE"
        dataset.save_as(run / "other.dcm")
        orthanc.put([run / "other.dcm"])
    assert check(run, orthanc.url).states == Counter({"present": 8, "partial": 2, "absent": 1, "patient-mismatch": 1})
    found = holdings(run)
    assert (found["example-01"].state, found["example-01"].missing_series) == ("partial", [series])
    assert found["example-01"].missing_instances == []
    assert [(m.series, m.instances) for m in found["example-02"].missing_instances] == [
        (link_of(run, "example-02")["series"][0]["uid"], [instance])
    ]
    assert found["example-03"].state == "absent"
    assert found["example-04"].state == "patient-mismatch"
    assert found["example-04"].detail == "held for Patient ID SOMEBODY-ELSE, which is none of the patient's identifiers"


def test_a_rerun_asks_only_for_what_was_not_present(run: Path, orthanc: Orthanc, files: dict[str, list[Path]]) -> None:
    orthanc.remove("Study", link_of(run, "example-03")["study"])
    assert check(run, orthanc.url).asked == 12
    orthanc.put(files["example-03"])
    later = check(run, orthanc.url, now=NOW + dt.timedelta(hours=1))
    assert (later.asked, later.states) == (1, Counter({"present": 12}))
    assert holdings(run)["example-01"].asked == "2026-06-01T12:00:00+00:00"
    assert check(run, orthanc.url, now=NOW + dt.timedelta(hours=2)).asked == 0
    assert check(run, orthanc.url, now=NOW + dt.timedelta(hours=24, minutes=30)).asked == 11
    assert check(run, orthanc.url, now=NOW, afresh=True).asked == 12


def test_other_expectations_are_other_questions(run: Path, orthanc: Orthanc) -> None:
    check(run, orthanc.url)
    path = run / "verdicts.ndjson"
    path.write_text(path.read_text().replace('"value":"EX0001"', '"value":"EX9999"'))
    again = check(run, orthanc.url)
    assert (again.asked, again.states) == (1, Counter({"present": 11, "patient-mismatch": 1}))


def test_stopped_half_way_and_started_again(
    run: Path, tmp_path: Path, running_orthanc: Orthanc, files: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    orthanc = Orthanc(tmp_path / "own")
    orthanc.start()
    try:
        orthanc.put(path for found in files.values() for path in found)
        monkeypatch.setattr("fhir_eligibility.runners.imaging.asking.BATCH", 4)
        count = 0

        def stop_after_a_batch(_: int) -> None:
            nonlocal count
            count += 1
            if count == 1:
                orthanc.stop()

        with Client(Access(retries=0, concurrency=1)) as client:
            # one batch is under way while the first is written down
            first = verify(run, client, Places(orthanc.url, True), progress=stop_after_a_batch, clock=lambda: NOW)
        assert first.states.total() == 12
        assert first.states["present"] in (4, 8)
        assert first.states["unreachable"] == 12 - first.states["present"]
        assert set(first.reasons) == {"connection"}
        orthanc.start()
        second = check(run, orthanc.url)
        assert second.asked == first.states["unreachable"]
        assert second.states == Counter({"present": 12})
    finally:
        orthanc.stop()


def test_interrupted(run: Path, orthanc: Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fhir_eligibility.runners.imaging.asking.BATCH", 5)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with Client(Access(concurrency=1)) as client, pytest.raises(KeyboardInterrupt):
        verify(run, client, Places(orthanc.url, True), progress=interrupt, clock=lambda: NOW)
    assert not (run / "archive.ndjson").exists()
    journal = run / "archive.journal.ndjson"
    assert len(lines_of(journal)) == 5
    with journal.open("a") as stream:
        stream.write('{"patient": "Patient/torn')
    result = check(run, orthanc.url)
    assert (result.asked, result.states) == (7, Counter({"present": 12}))
    assert not journal.exists()


def test_passwords(
    run: Path, orthanc_with_password: Orthanc, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = orthanc_with_password.url
    refused = check(run, url)
    assert (refused.states, refused.reasons) == (Counter({"unreachable": 12}), Counter({"unauthorized": 12}))
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    arguments = ["imaging", "verify", str(run), "--dicomweb", url, "--ignore-endpoints"]
    arguments += ["--dicomweb-auth", f"user={USER},password-file={secret}"]
    assert main(arguments) == 1
    assert "unauthorized: 12" in capsys.readouterr().out
    secret.write_text(PASSWORD + "\n")
    assert main(arguments) == 0
    assert "12  present" in capsys.readouterr().out
    written = "".join(path.read_text() for path in run.iterdir())
    assert PASSWORD not in written and "wrong" not in written


def test_credentials_do_not_go_to_an_archive_that_only_the_data_names(
    run: Path, orthanc_with_password: Orthanc, stub: Any
) -> None:
    other = stub()
    path = run / "verdicts.ndjson"
    path.write_text(path.read_text().replace("https://archive.example/dicom-web", other.url))
    settings = Access(own=(orthanc_with_password.url,), authorization=basic(USER, PASSWORD), retries=0)
    with Client(settings) as client:
        verify(run, client, Places(orthanc_with_password.url), clock=lambda: NOW)
    assert other.asked and all("authorization" not in asked.headers for asked in other.asked)
    trusted = Access(own=(orthanc_with_password.url, other.url), authorization=basic(USER, PASSWORD), retries=0)
    with Client(trusted) as client:
        verify(run, client, Places(orthanc_with_password.url), afresh=True, clock=lambda: NOW)
    assert other.asked[-1].headers["authorization"].startswith("Basic ")


def test_slow_answers(run: Path, orthanc: Orthanc, stub: Any) -> None:
    never = threading.Event()
    slow = stub(lambda asked: Reply(wait=never))
    path = run / "verdicts.ndjson"
    named = path.read_text().replace("https://archive.example/dicom-web", slow.url)
    path.write_text(named)
    with Client(Access(read_timeout=0.2, retries=0)) as client:
        result = verify(run, client, Places(), clock=lambda: NOW)
    assert (result.states, result.reasons) == (Counter({"unreachable": 12}), Counter({"timeout": 12}))
    never.set()
    path.write_text(named.replace(slow.url, orthanc.url))
    with Client(Access()) as client:
        assert verify(run, client, Places(), clock=lambda: NOW).states == Counter({"present": 12})


def test_a_busy_archive_is_asked_again(run: Path, stub: Any) -> None:
    waiting = [Reply(429, headers={"Retry-After": "0"}), Reply(503)]
    archive = stub(lambda asked: waiting.pop() if waiting else Reply(204, b""))
    result = check(run, archive.url, retries=2)
    assert result.states == Counter({"absent": 12})
    assert result.requests == 1 + 2 + 12


def test_no_archive_is_named(run: Path) -> None:
    path = run / "verdicts.ndjson"
    path.write_text(path.read_text().replace("https://archive.example/dicom-web/studies/", "urn:none:"))
    with Client(Access()) as client:
        result = verify(run, client, Places(), clock=lambda: NOW)
    assert (result.states, result.reasons) == (Counter({"unreachable": 12}), Counter({"no-archive": 12}))
    assert result.requests == 0


def test_no_study_uid(run: Path, orthanc: Orthanc) -> None:
    path = run / "verdicts.ndjson"
    path.write_text(path.read_text().replace(f'"study":"{link_of(run, "example-01")["study"]}",', ""))
    assert check(run, orthanc.url).states == Counter({"present": 11, "unidentified": 1})


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ('"modality":["MR"]', '"modality":["CT"]', "modality: the record says CT, the archive has MR"),
        (
            '"started":"2026-01-20',
            '"started":"2026-02-20',
            "date: the record says 2026-02-20T09:00:00Z, the archive has 20260120",
        ),
        ('"started":"', '"series_count":3,"started":"', "number of series: the record says 3, the archive has 2"),
    ],
)
def test_differences_from_the_record(run: Path, orthanc: Orthanc, old: str, new: str, difference: str) -> None:
    path = run / "verdicts.ndjson"
    first, rest = path.read_text().split("\n", 1)
    assert old in first
    path.write_text(first.replace(old, new) + "\n" + rest)
    check(run, orthanc.url)
    found = holdings(run)["example-01"]
    assert (found.state, found.differences) == ("mismatch", [difference])


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["imaging", "verify", str(tmp_path)]) == 2
    assert "holds no verdicts.ndjson" in capsys.readouterr().err
    (tmp_path / "verdicts.ndjson").write_text('{"patient": "Patient/p"}\n')
    assert main(["imaging", "verify", str(tmp_path)]) == 2
    assert "verdicts.ndjson, line 1: not a verdict: artifact" in capsys.readouterr().err
