"""multipart/related, however an answer is cut into chunks."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_eligibility.data.archives.failure import ArchiveFailure
from fhir_eligibility.data.archives.multipart import FileParts, MultipartReader, PartEnd, PartStart, media_type


def parts_of(chunks: list[bytes], boundary: str = "B") -> tuple[list[bytes], int, MultipartReader]:
    """Contents of the parts that began, and how many of them ended."""
    reader = MultipartReader(boundary)
    contents: list[bytes] = []
    ended = 0
    for chunk in chunks:
        for event in reader.feed(chunk):
            if isinstance(event, PartStart):
                contents.append(b"")
            elif isinstance(event, PartEnd):
                ended += 1
            else:
                contents[-1] += event
    return contents, ended, reader


def message(contents: list[bytes], head: bytes = b"Content-Type: application/dicom\r\n") -> bytes:
    return b"".join(b"--B\r\n" + head + b"\r\n" + content + b"\r\n" for content in contents) + b"--B--\r\n"


contents = st.lists(
    st.lists(st.sampled_from([b"\r\n", b"--", b"-", b"--A", b"\r", b"\n", b"x", b"\x00", b"\r\n-"]), max_size=12)
    .map(b"".join)
    .filter(lambda content: b"--B" not in content),
    max_size=4,
)


@given(contents, st.lists(st.integers(1, 9), max_size=200), st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC: d\r\n"]))
def test_any_content_in_any_chunks(content: list[bytes], sizes: list[int], head: bytes) -> None:
    text = b"preamble\r\n" + message(content, head) + b"epilogue"
    chunks, place = [], 0
    for size in sizes:
        chunks.append(text[place : place + size])
        place += size
    chunks.append(text[place:])
    found, ended, reader = parts_of(chunks)
    assert (found, ended, reader.ended) == (content, len(content), True)


@given(st.integers(0, 60))
def test_what_is_cut_off_is_not_whole(place: int) -> None:
    text = message([b"first part", b"second"], b"")
    found, ended, reader = parts_of([text[: min(place, len(text) - 5)]])
    assert ended == sum(
        text[: min(place, len(text) - 5)].count(mark) for mark in (b"first part\r\n--B\r\n", b"second\r\n--B--")
    )
    assert not reader.ended
    with pytest.raises(ArchiveFailure, match="broke off"):
        reader.finish("here")


def test_headers_and_types() -> None:
    reader = MultipartReader("B")
    (start, *_) = reader.feed(b"--B\r\nContent-Type: application/dicom;transfer-syntax=1.2\r\nX-Y:  z \r\n\r\nabc")
    assert start == PartStart({"content-type": "application/dicom;transfer-syntax=1.2", "x-y": "z"})
    assert media_type('multipart/related; type="application/dicom"; boundary="a b"') == (
        "multipart/related",
        {"type": "application/dicom", "boundary": "a b"},
    )
    assert media_type("") == ("", {})


def test_an_upload_is_what_the_reader_reads(tmp_path: Path) -> None:
    for name, content in (("a", b"\r\n--x"), ("b", b""), ("c", b"z" * 200_000)):
        (tmp_path / name).write_bytes(content)
    body = FileParts(sorted(tmp_path.iterdir()))
    for _ in range(2):  # as often as it has to be sent
        sent = list(body)
        assert sum(map(len, sent)) == len(body)
        found, ended, reader = parts_of(sent, body.boundary)
        assert (found, ended, reader.ended) == ([b"\r\n--x", b"", b"z" * 200_000], 3, True)
