"""A DICOMweb archive in a few lines: it holds the images of the example cohort, and answers searches, files and pictures."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.imaging.stub import Asked, Reply, Stub, rows

STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
BOUNDARY = "B"


@contextmanager
def running_archive(folder: Path) -> Iterator[str]:
    """The address of an archive that runs while the block does; its files are written into `folder`."""
    from pydicom import dcmread

    write = import_module("criteria.flute.images").write
    held = [(dcmread(path), path.read_bytes()) for path in write(folder)]
    stub = Stub(lambda asked: _answer(asked, held))
    try:
        yield stub.url
    finally:
        stub.close()


def _answer(asked: Asked, held: list[tuple[Any, bytes]]) -> Reply:
    words = asked.path.removeprefix("/dicom-web").strip("/").split("/")
    named = dict(zip(words[::2], words[1::2], strict=False))
    found = [
        (dataset, raw)
        for dataset, raw in held
        if named.get("studies", dataset.StudyInstanceUID) == dataset.StudyInstanceUID
        and named.get("series", dataset.SeriesInstanceUID) == dataset.SeriesInstanceUID
        and named.get("instances", dataset.SOPInstanceUID) == dataset.SOPInstanceUID
    ]
    if words[-1] == "rendered":
        return Reply(200, _picture(), "image/png")
    if "json" in asked.headers["accept"]:
        return _search(asked, words[-1], [dataset for dataset, _ in found])
    if not found:
        return Reply(404, b"", "text/plain")
    parts = b"".join(
        f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + raw + b"\r\n" for _, raw in found
    )
    return Reply(
        200, parts + f"--{BOUNDARY}--\r\n".encode(), f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
    )


def _search(asked: Asked, level: str, found: list[Any]) -> Reply:
    wanted = [
        uid for text in asked.query.get("StudyInstanceUID", asked.query.get(STUDY, [])) for uid in text.split(",")
    ]
    out: dict[str, dict[str, Any]] = {}
    for dataset in found:
        if wanted and dataset.StudyInstanceUID not in wanted:
            continue
        row: dict[str, Any] = {
            STUDY: dataset.StudyInstanceUID,
            "00100020": dataset.PatientID,
            "00080020": dataset.StudyDate,
        }
        own = dataset.StudyInstanceUID
        if level in ("series", "instances"):
            own = dataset.SeriesInstanceUID
            row |= {SERIES: own, "00080060": dataset.Modality}
        if level == "instances":
            own = dataset.SOPInstanceUID
            row |= {INSTANCE: own, "00080016": dataset.SOPClassUID}
        out[own] = row
    begin = int(asked.query.get("offset", ["0"])[0])
    return rows(*list(out.values())[begin : begin + int(asked.query.get("limit", ["1000"])[0])])


def _picture() -> bytes:
    """A grey PNG of one pixel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")
