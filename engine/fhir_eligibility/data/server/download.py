"""The files of an export, each whole or not at all: written to `NAME.part`, checked, then given its name.

A broken download goes on where it stopped where the server allows it: a Range request, guarded by If-Range with the
validator of the first answer (RFC 9110, 13.1.5 and 14.2), so that parts of two different files are never joined. An
address that no longer works is asked for anew from the export's status.
"""

from __future__ import annotations

import gzip
import os
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from fhir_eligibility.data.http.answer import Answer
from fhir_eligibility.data.http.failure import Fault, HttpFailure
from fhir_eligibility.data.server.client import Server, ServerError, Stopped, failure
from fhir_eligibility.data.server.export import CompletedExport, ExportFile, ExportGone, poll

CHUNK = 1 << 20
LONGEST_LINE = 256 << 20
RENEWALS = 3
SUFFIXES = (".ndjson", ".ndjson.gz")
EXPIRED = frozenset((401, 403, 404, 410))


class _BrokenDownload(Exception):
    """A download that broke off, or whose content is not whole: to be tried again."""


class _Expired(Exception):
    """The address of a file no longer works."""

    def __init__(self, error: ServerError) -> None:
        super().__init__(str(error))
        self.error = error


class Written(Struct, frozen=True):
    """A file that is in its place. `problem` says what is odd about it."""

    path: Path
    count: int
    bytes: int
    problem: str | None = None


class ExportLinks:
    """The addresses of an export's files as they are now; threads share it."""

    def __init__(self, server: Server, status_url: str, manifest: CompletedExport) -> None:
        self.server = server
        self.status_url = status_url
        self.manifest = manifest
        self._generation = 0
        self._lock = threading.Lock()

    def current(self, index: int) -> tuple[ExportFile, bool, int]:
        """A file, whether fetching it takes a token, and how often addresses were asked for anew."""
        with self._lock:
            return self.manifest.files[index], self.manifest.requires_token, self._generation

    def renew(self, generation: int) -> None:
        """Ask the status address for the manifest again, unless another thread has done so. Raises ServerError,
        ExportGone.
        """
        with self._lock:
            if self._generation != generation:
                return
            found = poll(self.server, self.status_url, on_progress=lambda said, delay: None)
            if not found.same_files(self.manifest):
                raise ExportGone("the server now lists other files for this export; it must be started again")
            self.manifest = found
            self._generation += 1


def existing(folder: Path, name: str) -> Path | None:
    """A file of the export that is in its place already."""
    return next((path for end in SUFFIXES if (path := folder / f"{name}{end}").is_file()), None)


def download(links: ExportLinks, index: int, folder: Path, name: str, on_bytes: Callable[[int], None]) -> Written:
    """Bring one file into its place. Raises ServerError (also Stopped, ExportGone) and OSError; what was got stays
    as `.part`.
    """
    part, notes = folder / f"{name}.part", folder / f"{name}.part-of"
    patience = links.server.patience
    broken = renewals = 0
    reached = -1
    doubted = False
    while True:
        file, token, generation = links.current(index)
        try:
            encoding = _receive(links.server, file.url, token, part, notes, on_bytes)
            count, problem = _examine(part, encoding, file)
            if problem is not None and not doubted:
                doubted = True
                raise _BrokenDownload(problem)
        except _Expired as expired:
            renewals += 1
            if renewals > RENEWALS:
                raise expired.error from None
            links.renew(generation)
            continue
        except _BrokenDownload as error:
            size = part.stat().st_size if part.exists() and notes.exists() else 0
            broken = 0 if size > reached >= 0 else broken + 1
            reached = size
            if broken >= patience.attempts:
                raise ServerError(f"{name}: {error}") from None
            links.server.wait(patience.delay(broken))
            continue
        path = folder / f"{name}{'.ndjson.gz' if encoding == 'gzip' else '.ndjson'}"
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        size = part.stat().st_size
        os.replace(part, path)
        notes.unlink(missing_ok=True)
        return Written(path, count, size, problem)


def _receive(server: Server, url: str, token: bool, part: Path, notes: Path, on_bytes: Callable[[int], None]) -> str:
    """Receive a file, or the rest of it; how it is encoded (`gzip` or nothing)."""
    known = _read_notes(part, notes)
    headers = {"Accept": "application/fhir+ndjson", "Accept-Encoding": "gzip, identity"}
    if known is not None:
        headers |= {"Range": f"bytes={part.stat().st_size}-", "If-Range": known[0]}
    response = server.request("GET", url, headers=headers, token=token, stream=True)
    try:
        status = response.status
        if status == 416 and known is not None:
            total = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
            if total is not None and int(total[1]) == part.stat().st_size:
                return known[1]
            _forget(part, notes)
            raise _BrokenDownload("the server has no more bytes of it, but fewer than were got")
        if status in EXPIRED:
            raise _Expired(failure(response, "file of the export"))
        if status not in (200, 206):
            raise failure(response, "file of the export")
        start = 0
        if status == 206:
            place = re.fullmatch(r"bytes (\d+)-\d+/(?:\d+|\*)", response.headers.get("Content-Range", ""))
            if known is None or place is None or int(place[1]) != part.stat().st_size:
                _forget(part, notes)
                raise _BrokenDownload("the server sent another part than was asked for")
            start = int(place[1])
        encoding = known[1] if status == 206 and known is not None else _encoding(response)
        if status == 200:
            _write_notes(response, encoding, notes)
        with part.open("ab" if start else "wb") as stream:
            _copy(response, stream, on_bytes)
        return encoding
    except HttpFailure as found:
        if found.fault is Fault.STOPPED:
            raise Stopped("stopped") from None
        raise _BrokenDownload(found.words) from None
    finally:
        response.close()


def _copy(response: Answer, stream: IO[bytes], on_bytes: Callable[[int], None]) -> None:
    for chunk in response.chunks(unpack=False):  # as it comes: what was received before a connection breaks is kept
        stream.write(chunk)
        on_bytes(len(chunk))


def _encoding(response: Answer) -> str:
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return ""
    if encoding in ("gzip", "x-gzip"):
        return "gzip"
    raise ServerError(f"the server sends the file as {encoding}, which was not asked for")


def _write_notes(response: Answer, encoding: str, notes: Path) -> None:
    """Keep what allows to go on later: a strong ETag, else the date of the last change (RFC 9110, 13.1.5)."""
    etag = response.headers.get("ETag", "")
    validator = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
    if validator and response.headers.get("Accept-Ranges", "").lower() != "none":
        notes.write_bytes(msgspec.json.encode([validator, encoding]))
    else:
        notes.unlink(missing_ok=True)


def _read_notes(part: Path, notes: Path) -> tuple[str, str] | None:
    try:
        validator, encoding = msgspec.json.decode(notes.read_bytes(), type=tuple[str, str])
    except (OSError, msgspec.DecodeError):
        return None
    return (validator, encoding) if part.exists() and part.stat().st_size else None


def _forget(part: Path, notes: Path) -> None:
    part.unlink(missing_ok=True)
    notes.unlink(missing_ok=True)


def _examine(part: Path, encoding: str, file: ExportFile) -> tuple[int, str | None]:
    """Count the resources of a file that was received, and say what is odd. Raises _Broken where it is not whole."""
    notes = part.with_name(f"{part.name}-of")
    try:
        count, last = count_lines(part, encoding == "gzip")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        _forget(part, notes)
        raise _BrokenDownload(f"its compressed content is not whole: {error}") from None
    if last.strip():
        try:
            msgspec.json.decode(last)
        except (msgspec.DecodeError, UnicodeDecodeError):
            _forget(part, notes)
            raise _BrokenDownload("its last line is cut off") from None
    if file.count is not None and file.count != count:
        # Kept until it is fetched again: should that fail, the next run starts from nothing.
        notes.unlink(missing_ok=True)
        return count, f"the manifest says {file.count} resources, the file has {count}"
    return count, None


def count_lines(path: Path, compressed: bool) -> tuple[int, bytes]:
    """The number of lines that are not blank, and the last one."""
    count, last = 0, b""
    for line in _lines(path, compressed):
        if line.strip():
            count += 1
            last = line
    return count, last


def _lines(path: Path, compressed: bool) -> Iterator[bytes]:
    """The lines of a file. Raises ServerError for a line that no resource fills, before it fills the memory."""
    with gzip.open(path, "rb") if compressed else path.open("rb", buffering=CHUNK) as stream:
        while line := stream.readline(LONGEST_LINE + 1):
            if len(line) > LONGEST_LINE:
                raise ServerError(
                    f"{path.name}: a line is longer than {LONGEST_LINE >> 20} MiB; it is not a FHIR resource"
                )
            yield line
