"""Archives that send parts without end, boundaries in odd forms, and small files that hold gigabytes."""

from __future__ import annotations

import io
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
import urllib3
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from fhir_eligibility.data.archives import multipart, wado
from fhir_eligibility.data.archives.access import Access
from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.data.archives.failure import ArchiveFailure, FailureCause
from fhir_eligibility.data.archives.multipart import MultipartReader, media_type
from fhir_eligibility.data.archives.wado import NotDicom, Retrieved, retrieve, uids_of
from fhir_eligibility.data.http import answer as answer_module
from fhir_eligibility.data.http.answer import Answer
from fhir_eligibility.evaluation.imaging import archive_address
from tests.imaging.stub import Answerer, Reply, Stub

MakeStub = Callable[[Answerer], Stub]
STUDY, SERIES, INSTANCE = "1.2.3", "1.2.3.4", "1.2.3.4.5"


def dataset() -> pydicom.Dataset:
    found = pydicom.Dataset()
    found.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID = STUDY, SERIES, INSTANCE
    found.PatientID = "P1"
    found.file_meta = pydicom.dataset.FileMetaDataset()
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
    found.file_meta.MediaStorageSOPInstanceUID = INSTANCE
    return found


def deflated(path: Path, zeros: int) -> Path:
    """A deflated file that ends with an element of so many zeros."""
    whole = dataset()
    whole.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    whole.PixelData = b"\0" * 2
    whole["PixelData"].VR = "OB"
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, whole, enforce_file_format=True)
    data = stream.getvalue()
    stream.seek(0)
    pydicom.filereader.read_preamble(stream, force=False)
    pydicom.filereader._read_file_meta_info(stream)
    head, tail = data[: stream.tell()], data[stream.tell() :]
    plain = zlib.decompress(tail, -zlib.MAX_WBITS)
    assert plain.endswith(b"\x02\0\0\0\0\0")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(plain[:-6] + zeros.to_bytes(4, "little"))
    for _ in range(zeros >> 20):
        body += packer.compress(bytes(1 << 20))
    path.write_bytes(head + body + packer.flush())
    return path


def test_a_small_deflated_file_that_holds_much_takes_little_memory(tmp_path: Path) -> None:
    path = deflated(tmp_path / "bomb.dcm", 1 << 30)
    assert path.stat().st_size < 2 << 20
    tracemalloc.start()
    try:
        found = uids_of(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found.study, found.series, found.instance, found.patient_id) == (STUDY, SERIES, INSTANCE, "P1")
    assert peak < 64 << 20


def test_a_deflated_file_reads_as_its_plain_form(tmp_path: Path) -> None:
    whole = dataset()
    whole.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pydicom.dcmwrite(tmp_path / "plain.dcm", whole, enforce_file_format=True)
    assert uids_of(tmp_path / "plain.dcm") == uids_of(deflated(tmp_path / "deflated.dcm", 0))


def test_a_deflated_file_that_is_cut_off_is_not_dicom(tmp_path: Path) -> None:
    path = deflated(tmp_path / "cut.dcm", 0)
    meta = path.read_bytes()
    path.write_bytes(meta[: len(meta) - 150])
    with pytest.raises(NotDicom):
        uids_of(path)


@pytest.mark.parametrize(
    ("text", "boundary"),
    [
        ("multipart/related; boundary*=utf-8''x", "x"),
        ("multipart/related; boundary*0=a; boundary*1=b", "ab"),
        ("multipart/related; BOUNDARY=y", "y"),
        ('multipart/related; boundary="a b"', "a b"),
    ],
)
def test_boundaries_in_every_form_of_the_standard(text: str, boundary: str) -> None:
    assert media_type(text) == ("multipart/related", {"boundary": boundary})


@pytest.mark.parametrize("boundary", ["", "ends with a blank ", "ü", "x" * 71, "a\nb", "€"])
def test_what_is_no_boundary_is_a_failure_in_words(boundary: str) -> None:
    with pytest.raises(ArchiveFailure, match="the boundary between parts") as caught:
        MultipartReader(boundary)
    assert caught.value.cause is FailureCause.MALFORMED_ANSWER


def retrieved(stub: Stub, folder: Path, read_timeout: float = 5.0) -> Retrieved:
    found = Retrieved()
    with Client(Access(own=(stub.url,), retries=0, backoff=0.001, read_timeout=read_timeout)) as client:
        retrieve(client, f"{stub.url}/studies/{STUDY}", folder, study=STUDY, series=SERIES, found=found)
    return found


def test_a_preamble_without_end(stub: MakeStub, tmp_path: Path) -> None:
    kind = "multipart/related; boundary=b"
    archive = stub(lambda asked: Reply(body=b"x" * (3 << 20), content_type=kind))
    with pytest.raises(ArchiveFailure, match="no part begins within"):
        retrieved(archive, tmp_path)


def test_parts_without_end(stub: MakeStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "MAX_PARTS", 10)
    kind = "multipart/related; boundary=b"
    archive = stub(lambda asked: Reply(body=b"--b\r\n\r\nx\r\n" * 40, content_type=kind))
    with pytest.raises(ArchiveFailure, match="more than 10 parts"):
        retrieved(archive, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_instance_that_is_too_large(stub: MakeStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wado, "MAX_INSTANCE", 1 << 20)
    kind = "multipart/related; boundary=b"
    archive = stub(lambda asked: Reply(body=b"--b\r\n\r\n" + b"x" * (2 << 20) + b"\r\n--b--", content_type=kind))
    with pytest.raises(ArchiveFailure, match="an instance is larger than"):
        retrieved(archive, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_trickles(monkeypatch: pytest.MonkeyPatch) -> None:
    class Response:
        status, reason, headers = 200, "OK", {}

        def read1(self, size: int, decode_content: bool) -> bytes:
            time.sleep(0.01)
            return b"x"

    monkeypatch.setattr(answer_module, "SLOWEST", 1 << 20)
    answer = Answer(Response(), "https://archive/studies/1", urllib3.exceptions, threading.Event(), 0.02)  # type: ignore[arg-type]
    with Client(Access(read_timeout=0.02)) as client:
        with pytest.raises(ArchiveFailure, match="fewer than") as caught:
            for _ in client.chunks(answer):
                pass
    assert caught.value.cause is FailureCause.TIMEOUT


NOT_USED = "is not of the form https://host/path and is not used"
GOES_ON = "goes on to /studies; the part before that is the archive's"


@pytest.mark.parametrize(
    ("address", "base", "remark"),
    [
        ("https://a.example/dicom-web", "https://a.example/dicom-web", None),
        ("https://a.example/dicom-web/", "https://a.example/dicom-web", None),
        (" https://a.example/dicom-web ", "https://a.example/dicom-web", None),
        ("HTTPS://a.example:8443/rs", "https://a.example:8443/rs", None),
        ("https://a.example/dicom-web/studies", "https://a.example/dicom-web", GOES_ON),
        ("https://a.example/dicom-web/studies/", "https://a.example/dicom-web", GOES_ON),
        ("https://a.example/dicom-web/studies/1.2.3", "https://a.example/dicom-web", GOES_ON),
        ("https://a.example/dicom-web/studies/1.2.3/series/1.2/instances/4", "https://a.example/dicom-web", GOES_ON),
        ("https://a.example/studies/dicom-web", "https://a.example/studies/dicom-web", None),
        ("https://a.example/studies/dicom-web/studies", "https://a.example/studies/dicom-web", GOES_ON),
        ("https://a.example/rs/studies/{study}/series/{series}", "https://a.example/rs", GOES_ON),
        ("https://a.example/rs/studies/{StudyInstanceUID}/", "https://a.example/rs", GOES_ON),
        ("https://a.example/studies", "https://a.example", GOES_ON),
        ("https://a.example/rs/series", "https://a.example/rs", GOES_ON.replace("studies", "series")),
        ("https://u:p@a.example/rs?t=1", "https://a.example/rs", "is used without the credentials or the query in it"),
        ("ftp://a.example/rs", None, NOT_USED),
        ("javascript:alert(1)", None, NOT_USED),
        ("a.example/rs", None, NOT_USED),
        ("/dicom-web", None, NOT_USED),
        ("https:///rs", None, NOT_USED),
        ("https://a.example/dicom web", None, NOT_USED),
        ("https://a.example/\x1b[2J", None, NOT_USED),
        ("https://a.example:port/rs", None, NOT_USED),
        ("http://[bad/rs", None, NOT_USED),
        ("", None, NOT_USED),
    ],
)
def test_the_address_of_an_endpoint(address: str, base: str | None, remark: str | None) -> None:
    assert archive_address(address) == (base, remark)
