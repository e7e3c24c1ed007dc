"""`imaging store`: what became of each file, whatever the status of the answer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pydicom.data
import pytest
from dicomweb_client.api import DICOMwebClient

from fhir_eligibility.data.archives.access import Access
from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.data.archives.failure import FailureCause
from fhir_eligibility.data.archives.stow import words_of
from fhir_eligibility.output.transfers import FileTransfer
from fhir_eligibility.runners.imaging.store import store_files
from fhir_eligibility.ui.commands.cli import main
from tests.imaging.conftest import lines_of
from tests.imaging.orthanc import PASSWORD, USER, Orthanc
from tests.imaging.stub import Answerer, Asked, Reply, Stub

pytestmark = pytest.mark.slow

MakeStub = Callable[[Answerer], Stub]


def upload(paths: list[Path], url: str, **access: Any) -> list[FileTransfer]:
    with Client(Access(own=(url,), **{"retries": 0, "backoff": 0.001, **access})) as client:
        return list(store_files(paths, client, url))


def test_files_and_folders(files: dict[str, list[Path]], empty_orthanc: Orthanc) -> None:
    folder = files["example-01"][0].parent.parent
    found = upload([folder], empty_orthanc.url)
    assert Counter(record.state for record in found) == Counter({"stored": 48})
    assert [record.file for record in found] == sorted(str(path) for paths in files.values() for path in paths)
    assert len(json.loads(empty_orthanc.request("GET", "/instances"))) == 48
    stored = found[0]
    held = DICOMwebClient(empty_orthanc.url).search_for_instances(stored.study, stored.series)
    assert stored.instance in {dataset["00080018"]["Value"][0] for dataset in held}


def test_what_is_no_dicom_is_not_sent(
    files: dict[str, list[Path]], tmp_path: Path, empty_orthanc: Orthanc, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "notes.txt"
    wrong.write_text("no images")
    out = tmp_path / "out"
    arguments = ["imaging", "store", str(files["example-01"][0]), str(wrong), "--dicomweb", empty_orthanc.url]
    assert main([*arguments, "--out", str(out)]) == 1
    records = lines_of(out / "store.ndjson")
    assert [(record["state"], record.get("status")) for record in records] == [("stored", 200), ("not-dicom", None)]
    assert "notes.txt: not-dicom: expected a DICOM file" in capsys.readouterr().out
    assert main(["imaging", "store", str(tmp_path / "nowhere"), "--dicomweb", empty_orthanc.url]) == 2


def test_a_password_is_needed(
    files: dict[str, list[Path]], orthanc_with_password: Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    (refused,) = upload(files["example-01"][:1], orthanc_with_password.url)
    assert (refused.state, refused.reason) == ("unreachable", "unauthorized")
    monkeypatch.setenv("DICOMWEB_PASSWORD", PASSWORD)
    file, given = str(files["example-01"][0]), f"user={USER},password-env=DICOMWEB_PASSWORD"
    assert (
        main(["imaging", "store", file, "--dicomweb", orthanc_with_password.url, "--dicomweb-auth", given, "--quiet"])
        == 0
    )


def item(path: Path, **more: int) -> dict[str, Any]:
    codes = {"failure": "00081197", "warning": "00081196"}
    entry: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [path.stem]}}
    return entry | {codes[name]: {"vr": "US", "Value": [code]} for name, code in more.items()}


def answer(status: int, taken: list[Any], refused: list[Any]) -> Reply:
    sequences = {"00081199": {"vr": "SQ", "Value": taken}, "00081198": {"vr": "SQ", "Value": refused}}
    return Reply(status, json.dumps(sequences).encode())


def test_accepted_in_part(files: dict[str, list[Path]], stub: MakeStub) -> None:
    one, two, three, four = files["example-01"]
    reply = answer(202, [item(one), item(two, warning=0xB000)], [item(three, failure=0x0122)])
    archive = stub(lambda asked: reply)
    found = upload([one, two, three, four], archive.url)
    assert [(r.state, r.status, r.code, r.detail) for r in found] == [
        ("stored", 202, None, None),
        ("stored-with-warning", 202, "B000", "values were coerced"),
        ("refused", 202, "0122", "the SOP class is not supported"),
        ("unconfirmed", 202, None, "HTTP 202: the answer does not name the instance"),
    ]


def test_a_conflict_is_read_and_not_sent_again(files: dict[str, list[Path]], stub: MakeStub) -> None:
    paths = files["example-01"][:2]
    reply = answer(409, [], [item(path, failure=code) for path, code in zip(paths, (0x0111, 0xC123), strict=True)])
    archive = stub(lambda asked: reply)
    found = upload(paths, archive.url, retries=3)
    assert [(r.state, r.status, r.code) for r in found] == [("refused", 409, "0111"), ("refused", 409, "C123")]
    assert found[0].detail == "there is already such an instance"
    assert len(archive.asked) == 1


def test_an_instance_both_taken_and_refused_is_refused(files: dict[str, list[Path]], stub: MakeStub) -> None:
    path = files["example-01"][0]
    archive = stub(lambda asked: answer(202, [item(path)], [item(path, failure=0x0110)]))
    assert upload([path], archive.url)[0].state == "refused"


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        (Reply(200, b"<NativeDicomModel/>", "application/dicom+xml"), "HTTP 200: the answer is application/dicom+xml,"),
        (Reply(500, b"", "text/plain"), "HTTP 500: the answer is text/plain, which does not tell"),
        (Reply(202, b"{}", "application/dicom+json"), "HTTP 202: the answer does not name the instance"),
    ],
)
def test_an_answer_that_tells_nothing(reply: Reply, detail: str, files: dict[str, list[Path]], stub: MakeStub) -> None:
    (found,) = upload(files["example-01"][:1], stub(lambda asked: reply).url)
    assert (found.state, found.status) == ("unconfirmed", reply.status)
    assert found.detail is not None and found.detail.startswith(detail)


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422])
@pytest.mark.parametrize("body", [b"{}", b"", b"<html>"])
def test_a_request_that_is_refused_whole(
    status: int, body: bytes, files: dict[str, list[Path]], stub: MakeStub, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = stub(lambda asked: Reply(status, body))
    (found,) = upload(files["example-01"][:1], archive.url)
    detail = f"HTTP {status}: nothing was stored, and the archive gives no reason"
    assert (found.state, found.status, found.code, found.detail) == ("refused", status, None, detail)
    main(["imaging", "store", str(files["example-01"][0]), "--dicomweb", archive.url])
    assert f"refused: HTTP {status}" in capsys.readouterr().out


def test_a_file_that_spoils_a_request_is_found_out(files: dict[str, list[Path]], stub: MakeStub) -> None:
    """The archive refuses a request with a bad file, and names neither it nor all others: what is not named is sent by itself."""
    bad, good, named = files["example-01"][:3]
    marks = {path: f"{path.stem}".encode() for path in (bad, good, named)}

    def judge(asked: Asked) -> Reply:
        sent = [path for path, mark in marks.items() if mark in asked.body]
        if len(sent) > 1:
            return answer(400, [item(named)], [])
        return Reply(400, b"{}") if sent == [bad] else answer(200, [item(good)], [])

    archive = stub(judge)
    found = upload([bad, good, named], archive.url, concurrency=1)
    assert [(r.state, r.status) for r in found] == [("refused", 400), ("stored", 200), ("stored", 400)]
    assert len(archive.asked) == 3


@pytest.mark.parametrize(("code", "words"), [(0x0110, "processing failure"), (None, "the archive gives no reason")])
def test_failures_without_a_uid(code: int | None, words: str, files: dict[str, list[Path]], stub: MakeStub) -> None:
    reason = {"00081197": {"vr": "US", "Value": [code]}} if code is not None else {}
    body = json.dumps({"0008119A": {"vr": "SQ", "Value": [reason]}}).encode()
    (found,) = upload(files["example-01"][:1], stub(lambda asked: Reply(202, body)).url)
    assert found.state == "refused" and found.detail is not None and words in found.detail


def test_files_of_which_orthanc_refuses_some(
    tmp_path: Path, empty_orthanc: Orthanc, recwarn: pytest.WarningsRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Orthanc stores the good files of a request, answers 400, and names those; pydicom's own complaints are not shown."""
    folder = Path(pydicom.data.__file__).parent / "test_files"
    names = ["CT_small.dcm", "SC_rgb_jpeg.dcm", "MR_small_implicit.dcm", "rtdose_rle.dcm"]
    paths = [str(folder / name) for name in names]
    assert main(["imaging", "store", *paths, "--dicomweb", empty_orthanc.url, "--out", str(tmp_path)]) == 1
    records = {Path(line["file"]).name: line for line in lines_of(tmp_path / "store.ndjson")}
    assert {name: records[name]["state"] for name in names} == {
        "CT_small.dcm": "stored",
        "SC_rgb_jpeg.dcm": "refused",
        "MR_small_implicit.dcm": "stored",
        "rtdose_rle.dcm": "refused",
    }
    assert "SC_rgb_jpeg.dcm: refused: HTTP 400: nothing was stored" in capsys.readouterr().out
    assert not [w for w in recwarn if "pydicom" in str(w.filename)]


def test_a_header_that_names_another_instance(tmp_path: Path, empty_orthanc: Orthanc) -> None:
    """De-identified files often keep the old UID in their header: they are sent, with a remark."""
    folder = Path(pydicom.data.__file__).parent / "test_files"
    (found,) = upload([folder / "rtplan.dcm"], empty_orthanc.url)
    dataset = pydicom.dcmread(folder / "rtplan.dcm", stop_before_pixels=True)
    assert (found.state, found.instance) == ("stored", dataset.SOPInstanceUID)
    assert found.detail == (
        f"the file's header names instance {dataset.file_meta.MediaStorageSOPInstanceUID}, "
        f"its data {dataset.SOPInstanceUID}: the data counts"
    )
    assert len(json.loads(empty_orthanc.request("GET", "/instances"))) == 1


def test_a_busy_archive_gets_the_same_body_again(files: dict[str, list[Path]], stub: MakeStub) -> None:
    path = files["example-01"][0]
    replies = [Reply(503, headers={"Retry-After": "0"}), answer(200, [item(path)], [])]
    archive = stub(lambda asked: replies.pop(0))
    assert upload([path], archive.url, retries=1)[0].state == "stored"
    first, second = archive.asked
    assert first.body == second.body and path.read_bytes() in second.body
    assert second.headers["content-type"].startswith('multipart/related; type="application/dicom"; boundary=')
    assert int(second.headers["content-length"]) == len(second.body)


def test_an_upload_without_an_answer_is_not_sent_again(files: dict[str, list[Path]], stub: MakeStub) -> None:
    archive = stub(lambda asked: Reply(200, b"{" * 100, cut=10))
    (found,) = upload(files["example-01"][:1], archive.url, retries=3)
    assert (found.state, found.reason, len(archive.asked)) == ("unreachable", "connection", 1)


def test_no_archive(files: dict[str, list[Path]]) -> None:
    found = upload(files["example-01"], "http://127.0.0.1:1/rs")
    assert [(r.state, r.reason) for r in found] == [("unreachable", FailureCause.CONNECTION.value)] * 4


def test_an_instance_twice_goes_into_two_requests(files: dict[str, list[Path]], tmp_path: Path, stub: MakeStub) -> None:
    path = files["example-01"][0]
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(path.read_bytes())
    seen: list[Asked] = []

    def once(asked: Asked) -> Reply:
        seen.append(asked)
        return answer(200, [item(path)], []) if len(seen) == 1 else answer(409, [], [item(path, failure=0x0111)])

    found = upload([path, copy], stub(once).url, concurrency=1)
    assert [record.state for record in found] == ["stored", "refused"]


def test_words() -> None:
    assert words_of(0xA7FF) == "out of resources"
    assert words_of(0xC001) == "the archive does not understand it"
    assert words_of(0x1234) == "a reason of the archive's own"
