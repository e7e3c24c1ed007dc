"""`imaging fetch` and `thumbnails`: files appear whole and under their own names, or not at all."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient

from fhir_eligibility.data.archives.access import Access
from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.data.archives.wado import ACCEPT
from fhir_eligibility.output.transfers import SeriesTransfer
from fhir_eligibility.runners.imaging.fetch import FetchOptions, SeriesFilter, fetch
from fhir_eligibility.runners.imaging.images import Places
from fhir_eligibility.runners.imaging.one_series import patient_folder
from fhir_eligibility.runners.imaging.thumbnails import thumbnails
from fhir_eligibility.ui.commands.cli import main
from tests.imaging.conftest import lines_of, link_of
from tests.imaging.orthanc import Orthanc
from tests.imaging.stub import Answerer, Asked, Reply, Stub
from tests.shared import reported

pytestmark = pytest.mark.slow

MakeStub = Callable[[Answerer], Stub]
ALL = SeriesFilter()
INCLUDED = ("example-01", "example-06", "example-09", "example-10")


def download(run: Path, out: Path, url: str, *, chosen: SeriesFilter = ALL, **access: Any) -> list[SeriesTransfer]:
    settings = Access(own=(url,), **{"retries": 0, "backoff": 0.001, **access})
    with Client(settings) as client:
        return list(fetch(run, out, client, FetchOptions(places=Places(url, True), series=chosen)))


def files_below(out: Path) -> list[Path]:
    """Every file that is there, hidden ones included, besides the reports."""
    return sorted(p for p in out.rglob("*") if p.is_file() and not p.name.startswith(("fetch.", ".eligibility-")))


def test_the_images_of_included_patients(
    run: Path, tmp_path: Path, orthanc: Orthanc, files: dict[str, list[Path]]
) -> None:
    out = tmp_path / "out"
    found = download(run, out, orthanc.url)
    assert Counter(record.state for record in found) == Counter({"complete": 8})
    assert [(r.fetched, r.files) for r in found] == [(2, 2)] * 8
    here = files_below(out)
    assert {path.stem for path in here} == {path.stem for name in INCLUDED for path in files[name]}
    for path in here:
        original = next(p for p in files[path.relative_to(out).parts[0]] if p.stem == path.stem)
        dataset = pydicom.dcmread(path)
        assert (dataset.StudyInstanceUID, dataset.SeriesInstanceUID) == path.relative_to(out).parts[1:3]
        assert dataset.PixelData == pydicom.dcmread(original).PixelData
    assert [SeriesTransfer.model_validate(line) for line in lines_of(out / "fetch.ndjson")] == found
    assert sum(r.bytes for r in found) == sum(path.stat().st_size for path in here)


def test_what_is_there_is_not_asked_for_again(run: Path, tmp_path: Path, orthanc: Orthanc) -> None:
    out = tmp_path / "out"
    download(run, out, orthanc.url)
    gone, *others = files_below(out)
    times = [path.stat().st_mtime_ns for path in others]
    gone.unlink()
    with Client(Access(own=(orthanc.url,))) as client:
        again = list(fetch(run, out, client, FetchOptions(places=Places(orthanc.url, True))))
        assert client.requests == 1
    assert sum(record.fetched for record in again) == 1
    assert gone.is_file() and [path.stat().st_mtime_ns for path in others] == times


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        (SeriesFilter(("MR",)), 8),
        (SeriesFilter(("CT",)), 0),
        (SeriesFilter(("mr",), ("t2*",)), 4),
        (SeriesFilter((), ("DW?", "*ax*")), 8),
        (SeriesFilter((), ("T2",)), 0),
    ],
)
def test_series_by_modality_and_description(
    chosen: SeriesFilter, count: int, run: Path, tmp_path: Path, orthanc: Orthanc
) -> None:
    assert len(download(run, tmp_path / "out", orthanc.url, chosen=chosen)) == count


def test_series_that_the_record_does_not_list_are_looked_up(run: Path, tmp_path: Path, orthanc: Orthanc) -> None:
    path = run / "verdicts.ndjson"
    verdicts = lines_of(path)
    for verdict in verdicts:
        for link in verdict["imaging"]:
            link["series"] = []
    path.write_text("".join(json.dumps(verdict) + "\n" for verdict in verdicts))
    found = download(run, tmp_path / "out", orthanc.url, chosen=SeriesFilter(descriptions=("dwi",)))
    assert [(r.state, r.description, r.files) for r in found] == [("complete", "DWI", 2)] * 4


def test_absent_images(run: Path, tmp_path: Path, empty_orthanc: Orthanc) -> None:
    found = download(run, tmp_path / "out", empty_orthanc.url)
    assert {record.state for record in found} == {"absent"}
    assert files_below(tmp_path / "out") == []


# -- answers that are not as they should be


def multipart(contents: list[bytes], boundary: str = "B") -> bytes:
    parts = (f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + c + b"\r\n" for c in contents)
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


def dicom(contents: list[bytes], status: int = 200, **more: Any) -> Reply:
    return Reply(status, multipart(contents), 'multipart/related; type="application/dicom"; boundary=B', **more)


class Archive:
    """A stub that gives the files of one series of the first patient; what it gives can be changed."""

    def __init__(self, run: Path, files: dict[str, list[Path]], stub: MakeStub) -> None:
        link = link_of(run, "example-01")
        self.series = link["series"][0]["uid"]
        self.instances = link["series"][0]["instances"]
        self.other = link["series"][1]["instances"]
        self.contents = {path.stem: path.read_bytes() for path in files["example-01"]}
        self.chosen = SeriesFilter(descriptions=("T2*",))
        self.reply: Callable[[Asked], Reply] = lambda asked: dicom([self.contents[uid] for uid in self.instances])
        self.server = stub(lambda asked: self.reply(asked) if self.series in asked.path else Reply(404))

    def download(self, run: Path, out: Path, **access: Any) -> SeriesTransfer:
        found = download(run, out, self.server.url, chosen=self.chosen, **access)
        return found[0]


@pytest.fixture
def archive(run: Path, files: dict[str, list[Path]], stub: MakeStub) -> Archive:
    return Archive(run, files, stub)


def test_an_answer_that_breaks_off(run: Path, tmp_path: Path, archive: Archive) -> None:
    out = tmp_path / "out"
    first, second = archive.instances
    whole = len(multipart([archive.contents[first], archive.contents[second]]))
    archive.reply = lambda asked: dicom([archive.contents[uid] for uid in archive.instances], cut=whole - 2000)
    record = archive.download(run, out)
    assert (record.state, record.files, record.missing, record.reason) == ("incomplete", 1, [second], "connection")
    assert [path.stem for path in files_below(out)] == [first]
    archive.reply = lambda asked: dicom([archive.contents[asked.path.rpartition("/")[2]]])
    again = archive.download(run, out)
    assert (again.state, again.fetched) == ("complete", 1)
    asked = [one.path for one in archive.server.asked if archive.series in one.path]
    assert [path.rpartition("/")[2] for path in asked] == [archive.series, second]


def test_a_broken_answer_is_asked_for_again(run: Path, tmp_path: Path, archive: Archive) -> None:
    replies = [dicom([archive.contents[archive.instances[0]], b"x" * 9000], cut=12_000)]
    archive.reply = lambda asked: replies.pop() if replies else dicom([archive.contents[archive.instances[1]]])
    record = archive.download(run, tmp_path / "out", retries=1)
    assert (record.state, record.fetched) == ("complete", 2)


def test_a_multipart_answer_without_its_end(run: Path, tmp_path: Path, archive: Archive) -> None:
    whole = multipart([archive.contents[uid] for uid in archive.instances])
    kind = 'multipart/related; type="application/dicom"; boundary=B'
    archive.reply = lambda asked: Reply(200, whole[:-5000], kind, length=False)
    record = archive.download(run, tmp_path / "out")
    assert (record.state, record.files, record.reason) == ("incomplete", 1, "malformed-answer")
    assert len(files_below(tmp_path / "out")) == 1


def test_instances_of_another_series_are_rejected(run: Path, tmp_path: Path, archive: Archive) -> None:
    archive.reply = lambda asked: dicom([archive.contents[archive.instances[0]], archive.contents[archive.other[0]]])
    record = archive.download(run, tmp_path / "out")
    assert (record.state, record.missing) == ("incomplete", [archive.instances[1]])
    assert len(record.rejected) == 1 and f"instance {archive.other[0]} is of series" in record.rejected[0]
    assert [path.stem for path in files_below(tmp_path / "out")] == [archive.instances[0]]


def test_what_is_no_dicom_is_rejected(run: Path, tmp_path: Path, archive: Archive) -> None:
    archive.reply = lambda asked: dicom([b"<html>not found</html>", b""])
    record = archive.download(run, tmp_path / "out")
    assert (record.state, record.files) == ("incomplete", 0)
    assert all(text.startswith("expected a DICOM file") for text in record.rejected)
    assert files_below(tmp_path / "out") == []


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_name_that_leads_out_of_the_folder_is_rejected(
    run: Path, tmp_path: Path, archive: Archive, files: dict[str, list[Path]]
) -> None:
    dataset = pydicom.dcmread(files["example-01"][0])
    dataset.SeriesInstanceUID = archive.series
    dataset.add_new(0x00080018, "UI", "../../../evil")
    dataset.file_meta.MediaStorageSOPInstanceUID = "../../../evil"
    dataset.save_as(tmp_path / "evil.dcm")
    archive.reply = lambda asked: dicom([(tmp_path / "evil.dcm").read_bytes()])
    record = archive.download(run, tmp_path / "out")
    assert record.rejected == ["the file's SOP Instance UID does not have the form of a UID"]
    assert files_below(tmp_path / "out") == [] and not list(tmp_path.rglob("evil.dcm.dcm"))


def test_images_of_another_patient_are_not_kept(run: Path, tmp_path: Path, archive: Archive) -> None:
    path = run / "verdicts.ndjson"
    path.write_text(path.read_text().replace('"value":"EX0001"', '"value":"EX9999"'))
    record = archive.download(run, tmp_path / "out")
    assert (record.state, record.files) == ("patient-mismatch", 0)
    assert "held for Patient ID EX0001" in record.rejected[0]
    assert files_below(tmp_path / "out") == []


def test_the_stored_transfer_syntax_is_asked_for(run: Path, tmp_path: Path, archive: Archive) -> None:
    case = reported("DCM-WADO-TRANSFER-SYNTAX")
    refused, accepted = case["input"]["server_behaviour"]
    assert accepted["accept"] == ACCEPT == case["expected"]["manifest_accept_header"]

    def answer(asked: Asked) -> Reply:
        if asked.headers["accept"] == accepted["accept"]:
            return dicom([archive.contents[uid] for uid in archive.instances])
        return Reply(refused["status"])

    archive.reply = answer
    assert archive.download(run, tmp_path / "out").state == "complete"
    archive.reply = lambda asked: Reply(406)
    record = archive.download(run, tmp_path / "other")
    assert record.state == "not-retrievable"
    assert record.detail is not None and record.detail.startswith(
        "it exists, but is not retrievable in the requested encoding"
    )


def test_partial_answers_are_marked(tmp_path: Path, stub: MakeStub, run: Path, files: dict[str, list[Path]]) -> None:
    partial, single = reported("DCM-WADO-PARTIAL")["input"]["responses"]
    link = link_of(run, "example-01")
    series = link["series"][0]
    made = []
    for number in range(partial["expected_instances"]):
        dataset = pydicom.dcmread(files["example-01"][0])
        dataset.SeriesInstanceUID = series["uid"]
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.77{number}"
        dataset.save_as(tmp_path / f"{number}.dcm")
        made.append((f"2.25.77{number}", (tmp_path / f"{number}.dcm").read_bytes()))
    path = run / "verdicts.ndjson"
    listed = ",".join(f'"{uid}"' for uid in series["instances"])
    five = ",".join(f'"{uid}"' for uid, _ in made)
    original = path.read_text()
    path.write_text(original.replace(listed, five))
    archive = stub(lambda asked: dicom([content for _, content in made[: partial["parts"]]], partial["status"]))
    chosen = SeriesFilter(descriptions=("T2*",))
    record = download(run, tmp_path / "out", archive.url, chosen=chosen)[0]
    assert (record.state, record.files, len(record.missing)) == ("incomplete", 3, 2)
    assert record.detail is not None and record.detail.startswith("3 of 5 instances") and "206" in record.detail

    path.write_text(original.replace(listed, '"2.25.770"'))
    archive.answer = lambda asked: Reply(single["status"], made[0][1], single["content_type"])
    record = download(run, tmp_path / "single", archive.url, chosen=chosen)[0]
    assert (record.state, record.files) == ("complete", 1)
    assert record.detail == "one part as application/dicom where multipart/related was asked for"
    archive.answer = lambda asked: Reply(200, made[0][1][:-100], single["content_type"], length=False)
    record = download(run, tmp_path / "unknown", archive.url, chosen=chosen)[0]
    assert (record.state, record.files) == ("unreachable", 0)


def test_what_a_killed_download_left_is_swept_up(run: Path, tmp_path: Path, archive: Archive) -> None:
    folder = tmp_path / "out" / "example-01" / link_of(run, "example-01")["study"] / archive.series
    folder.mkdir(parents=True)
    for name, age in ((".old.part", 7200), (".new.part", 60)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    assert archive.download(run, tmp_path / "out").state == "complete"
    assert [path.name for path in folder.iterdir() if path.suffix == ".part"] == [".new.part"]


def test_what_is_not_answered_is_unreachable(run: Path, tmp_path: Path, archive: Archive) -> None:
    archive.reply = lambda asked: Reply(401)
    record = archive.download(run, tmp_path / "out")
    assert (record.state, record.reason) == ("unreachable", "unauthorized")
    archive.reply = lambda asked: Reply(200, b"<html>", "text/html")
    assert archive.download(run, tmp_path / "out").reason == "malformed-answer"


def test_the_commands(run: Path, tmp_path: Path, orthanc: Orthanc, capsys: pytest.CaptureFixture[str]) -> None:
    archive = ["--dicomweb", orthanc.url, "--ignore-endpoints"]
    orthanc.remove("Series", link_of(run, "example-01")["series"][0]["uid"])
    assert main(["imaging", "fetch", str(run), "--out", str(tmp_path / "out"), *archive]) == 1
    shown = capsys.readouterr().out
    assert "7  series complete" in shown and "1  series absent" in shown
    narrow = ["--modality", "MR", "--description", "dwi"]
    assert main(["imaging", "fetch", str(run), "--out", str(tmp_path / "out"), *archive, *narrow]) == 0


@pytest.mark.parametrize(("kind", "signature"), [("png", b"\x89PNG\r\n\x1a\n"), ("jpeg", b"\xff\xd8\xff")])
def test_thumbnails(kind: str, signature: bytes, run: Path, tmp_path: Path, orthanc: Orthanc) -> None:
    out = tmp_path / "out"
    arguments = ["imaging", "thumbnails", str(run), "--out", str(out), "--format", kind, "--size", "32"]
    arguments += ["--dicomweb", orthanc.url, "--ignore-endpoints", "--quiet"]
    assert main(arguments) == 0
    pictures = sorted(out.rglob(f"*.{kind}"))
    assert len(pictures) == 8 and all(path.read_bytes().startswith(signature) for path in pictures)
    assert len({path.read_bytes() for path in pictures}) == 1  # the pictures of all patients are alike
    page = (out / "index.html").read_text()
    assert page.count("<img") == 8 and all(f'src="{path.relative_to(out).as_posix()}"' in page for path in pictures)
    again = lines_of(out / "thumbnails.ndjson")
    assert {record["fetched"] for record in again} == {1}
    assert main(arguments) == 0
    assert {record["fetched"] for record in lines_of(out / "thumbnails.ndjson")} == {0}


def test_no_picture(run: Path, tmp_path: Path, stub: MakeStub) -> None:
    archive = stub(lambda asked: Reply(200, b"<html>", "text/html"))
    with Client(Access(retries=0)) as client:
        found = list(thumbnails(run, tmp_path, client, FetchOptions(places=Places(archive.url, True))))
    assert {(record.state, record.reason) for record in found} == {("unreachable", "malformed-answer")}
    assert list(tmp_path.rglob("*.png")) == []
    archive.answer = lambda asked: Reply(406)
    with Client(Access(retries=0)) as client:
        found = list(thumbnails(run, tmp_path, client, FetchOptions(places=Places(archive.url, True))))
    assert {record.state for record in found} == {"not-retrievable"}


def test_folders_of_patients() -> None:
    assert patient_folder("Patient/example-01") == "example-01"
    for reference in ("..", "Patient/..", "urn:uuid:6f3", "https://h.example/fhir/Patient/a b", "Patient/" + "x" * 99):
        name = patient_folder(reference)
        assert "/" not in name and not name.startswith(".") and len(name) <= 64
    assert patient_folder("https://a.example/Patient/1") != patient_folder("https://b.example/Patient/1")


def test_another_client_finds_the_same(run: Path, tmp_path: Path, orthanc: Orthanc) -> None:
    download(run, tmp_path / "out", orthanc.url)
    other = DICOMwebClient(orthanc.url)
    for path in (tmp_path / "out").glob("*/*/*"):
        _, study, series = path.relative_to(tmp_path / "out").parts
        held = {dataset["00080018"]["Value"][0] for dataset in other.search_for_instances(study, series)}
        assert {file.stem for file in path.glob("*.dcm")} == held
        for dataset in other.retrieve_series(study, series):
            ours = pydicom.dcmread(path / f"{dataset.SOPInstanceUID}.dcm")
            assert ours.PixelData == dataset.PixelData and ours.PatientID == dataset.PatientID
