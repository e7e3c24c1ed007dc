"""WADO-RS: instances of a series as files, and rendered pictures (PS3.18 section 10.4).

A file takes its name only when it is whole and its UIDs were read from it: nothing is ever half there, or under the wrong name.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from msgspec import Struct, field

from fhir_eligibility.data.archives.access import pydicom_module
from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.data.archives.failure import ArchiveFailure, FailureCause
from fhir_eligibility.data.archives.multipart import MultipartReader, PartEnd, PartStart, media_type
from fhir_eligibility.data.archives.uids import safe_uid
from fhir_eligibility.data.http.address import shown

ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
ONE_PART = "application/dicom; transfer-syntax=*"
"""For single instances, where an archive gives no multipart answers."""
SIGNATURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
MAX_PICTURE = 64 << 20
MAX_INSTANCE = 16 << 30
MAX_INFLATED = 16 << 20
# Deflated Explicit VR Little Endian, and JPIP Referenced Deflate (PS3.5 annex A): the whole data set is deflated.
DEFLATED = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95")
_LAST = 0x0020000E  # Series Instance UID
STALE = 3600.0
_TAGS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID")


class FileUids(Struct, frozen=True):
    """What a DICOM file says of itself; `remark` is what is odd about it."""

    study: str
    series: str
    instance: str
    sop_class: str
    patient_id: str
    remark: str | None = None


class Retrieved(Struct):
    """What answers brought: new files, what was there already, what was rejected and why, and whether the server said it was all.

    `listed_only` tells that the archive lists instances, but gives none of them.
    """

    files: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    size: int = 0
    partial: bool = False
    listed_only: bool = False


class NotDicom(ValueError):
    """A file is no DICOM file (PS3.10), or lacks a UID."""


def uids_of(path: Path) -> FileUids:
    """The UIDs of a DICOM file. Raises NotDicom."""
    try:
        file_meta, dataset = _head(path)
        meta = str(getattr(file_meta, "MediaStorageSOPInstanceUID", "") or "")
        study, series, instance, patient = (_text(dataset, name) for name in _TAGS)
        sop_class = _text(dataset, "SOPClassUID")
    except Exception as error:  # pydicom raises many kinds for what is no DICOM
        raise NotDicom(f"expected a DICOM file ({type(error).__name__})") from None
    for name, value in (("Study Instance UID", study), ("Series Instance UID", series), ("SOP Instance UID", instance)):
        if not safe_uid(value):
            raise NotDicom(
                f"the file has no {name}" if not value else f"the file's {name} does not have the form of a UID"
            )
    remark = None
    if meta and meta != instance:
        # files that were de-identified often keep the old UID there; archives take and give them
        remark = f"the file's header names instance {meta}, its data {instance}: the data counts"
    return FileUids(study, series, instance, sop_class, patient, remark)


def _head(path: Path) -> tuple[Any, Any]:
    """The file meta information of a DICOM file (PS3.10 section 7.1), and the elements that say which instance it is.

    A deflated data set (PS3.5 section A.5) is inflated only as far as these elements can reach: a small file may hold gigabytes.
    """
    pydicom = pydicom_module()
    reader = pydicom.filereader
    with path.open("rb") as stream:
        reader.read_preamble(stream, force=False)
        meta = reader._read_file_meta_info(stream)
        if meta.get("TransferSyntaxUID") in DEFLATED:
            inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            head = inflate.decompress(stream.read(MAX_INFLATED), MAX_INFLATED)
            return meta, reader.read_dataset(
                io.BytesIO(head), False, True, stop_when=lambda tag, vr, length: tag > _LAST, specific_tags=None
            )
    return meta, pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[*_TAGS, "SOPClassUID"])


def _text(dataset: Any, name: str) -> str:
    value = dataset.get(name)
    return "" if value is None else str(value).strip(" \x00")


def retrieve(
    client: Client,
    url: str,
    folder: Path,
    *,
    study: str,
    series: str,
    found: Retrieved,
    refuse: Callable[[FileUids], str | None] = lambda uids: None,
    accept: str = ACCEPT,
) -> None:
    """Retrieve the instances at a URL (of a series, or one instance) into files `<SOP Instance UID>.dcm` of a folder.

    Whatever is of another study or series, or that `refuse` gives a reason against, is rejected. `found` is told of all that came. Raises
    ArchiveFailure; what came whole before that stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)

    def check(part: Path) -> str | None:
        """The name of a file that may stay, None where it was rejected."""
        try:
            uids = uids_of(part)
        except NotDicom as error:
            found.rejected.append(str(error))
            return None
        if (uids.study, uids.series) != (study, series):
            found.rejected.append(f"instance {uids.instance} is of series {uids.series} of study {uids.study}")
            return None
        why = refuse(uids)
        if why is not None:
            found.rejected.append(f"instance {uids.instance}: {why}")
            return None
        if uids.remark is not None:
            found.notes.append(uids.remark)
        return uids.instance

    with client.open(url, accept) as response:
        found.partial = found.partial or response.status == 206
        kind, parameters = media_type(response.headers.get("Content-Type", ""))
        chunks = client.chunks(response)
        if kind == "multipart/related" and parameters.get("boundary"):
            _parts(chunks, parameters["boundary"], folder, check, found, shown(url))
        elif kind in ("application/dicom", "application/octet-stream"):
            framed = "Content-Length" in response.headers or "Transfer-Encoding" in response.headers
            if accept == ACCEPT:
                found.notes.append(f"one part as {kind} where multipart/related was asked for")
            _single(chunks, framed, folder, check, found, shown(url))
        else:
            message = f"{shown(url)}: {kind or 'no content type'} instead of DICOM"
            raise ArchiveFailure(FailureCause.MALFORMED_ANSWER, message, response.status)


Check = Callable[[Path], str | None]


def sweep(folder: Path) -> None:
    """Remove what a download that was killed left behind; what is younger may be another's that is under way."""
    for part in folder.glob(".*.part"):
        try:
            if time.time() - part.stat().st_mtime > STALE:
                part.unlink()
        except FileNotFoundError:
            continue


def _parts(chunks: Iterator[bytes], boundary: str, folder: Path, check: Check, found: Retrieved, where: str) -> None:
    reader = MultipartReader(boundary)
    with _Incoming(folder, check, found) as incoming:
        for chunk in chunks:
            for event in reader.feed(chunk):
                if isinstance(event, PartStart):
                    incoming.begin()
                elif isinstance(event, PartEnd):
                    incoming.end()
                else:
                    incoming.write(event)
        reader.finish(where)


def _single(chunks: Iterator[bytes], framed: bool, folder: Path, check: Check, found: Retrieved, where: str) -> None:
    if not framed:
        message = f"{where}: an answer in one part that does not tell its length cannot be known to be whole"
        raise ArchiveFailure(FailureCause.MALFORMED_ANSWER, message)
    with _Incoming(folder, check, found) as incoming:
        incoming.begin()
        for chunk in chunks:
            incoming.write(chunk)
        incoming.end()


class _Incoming:
    """The part that is being received: a hidden file that takes its name when it is whole and checked."""

    def __init__(self, folder: Path, check: Check, found: Retrieved) -> None:
        self.folder, self.check, self.found = folder, check, found
        self._path: Path | None = None
        self._stream: IO[bytes] | None = None
        self._size = 0

    def __enter__(self) -> _Incoming:
        return self

    def __exit__(self, *exc: object) -> None:
        self._discard()

    def begin(self) -> None:
        self._discard()
        self._path, self._size = self.folder / f".{secrets.token_hex(8)}.part", 0
        self._stream = self._path.open("xb")

    def write(self, chunk: bytes) -> None:
        if self._stream is not None:
            self._size += len(chunk)
            if self._size > MAX_INSTANCE:
                raise ArchiveFailure(
                    FailureCause.MALFORMED_ANSWER, f"an instance is larger than {MAX_INSTANCE >> 30} GiB"
                )
            self._stream.write(chunk)

    def end(self) -> None:
        if self._stream is None or self._path is None:
            return
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        self._stream = None
        name = self.check(self._path)
        target = self.folder / f"{name}.dcm"
        if name is not None and not target.exists():
            os.replace(self._path, target)
            self.found.files.append(name)
            self.found.size += self._size
        self._discard()

    def _discard(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):  # on a full disk: what was not written yet is not needed any more
                self._stream.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self._path = self._stream = None


def rendered(client: Client, url: str, kind: str) -> bytes:
    """A picture (image/png or image/jpeg) at a `rendered` address. Raises ArchiveFailure, also where it is none."""
    with client.open(url, kind) as response:
        parts, size = [], 0
        for chunk in client.chunks(response):
            size += len(chunk)
            if size > MAX_PICTURE:
                raise ArchiveFailure(FailureCause.MALFORMED_ANSWER, f"{shown(url)}: the picture is larger than 64 MiB")
            parts.append(chunk)
    picture = b"".join(parts)
    if not picture.startswith(SIGNATURES[kind]):
        raise ArchiveFailure(
            FailureCause.MALFORMED_ANSWER, f"{shown(url)}: expected a picture ({kind}), found other bytes"
        )
    return picture
