"""What came of downloads and uploads, a record a series or file: `fetch.ndjson`, `thumbnails.ndjson`, `store.ndjson`, each as CSV too."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from fhir_eligibility.data.archives.failure import FailureCause
from fhir_eligibility.evaluation.verdict import Record
from fhir_eligibility.output.folder import OutputFolder
from fhir_eligibility.output.lines import line_of
from fhir_eligibility.output.summary import safe

T = TypeVar("T", bound=Record)


class TransferState(StrEnum):
    """What came of a series. The list is closed."""

    COMPLETE = "complete"
    """All that is listed is there."""
    INCOMPLETE = "incomplete"
    """Some of it; what is missing is named."""
    ABSENT = "absent"
    """The archive does not have it."""
    NOT_RETRIEVABLE = "not-retrievable"
    """It exists, but the archive does not give it, or not in the requested encoding."""
    PATIENT_MISMATCH = "patient-mismatch"
    """It is held for another patient; nothing was kept."""
    UNREACHABLE = "unreachable"
    """There was no usable answer; `reason` tells why."""
    UNIDENTIFIED = "unidentified"
    """The record has no valid UID to ask for."""


class SeriesTransfer(Record):
    """One series (or a study, where its series could not be found out)."""

    patient: str
    study: str | None = None
    series: str | None = None
    modality: str | None = None
    description: str | None = None
    state: TransferState
    reason: FailureCause | None = None
    detail: str | None = None
    archive: str | None = None
    folder: str | None = Field(None, description="where the files are, relative to this file")
    files: int = Field(0, description="files of the series that are there now")
    fetched: int = Field(0, description="files that came this time")
    bytes: int = Field(0, description="bytes that came this time")
    missing: list[str] = Field(default_factory=list, description="SOP Instance UIDs that are listed and not there")
    rejected: list[str] = Field(default_factory=list, description="what came and was not kept, and why")


class StoreState(StrEnum):
    """What came of a file that was uploaded. The list is closed."""

    STORED = "stored"
    STORED_WITH_WARNING = "stored-with-warning"
    """The archive took it, with changes; `code` tells which."""
    REFUSED = "refused"
    """The archive did not take it; `code` tells why."""
    UNCONFIRMED = "unconfirmed"
    """The answer does not name it: whether it was taken is not known."""
    UNREACHABLE = "unreachable"
    """There was no answer; `reason` tells why."""
    NOT_DICOM = "not-dicom"
    """The file was not sent: it is no DICOM file."""


class FileTransfer(Record):
    """One file that was to be uploaded."""

    file: str
    state: StoreState
    study: str | None = None
    series: str | None = None
    instance: str | None = None
    status: int | None = Field(None, description="HTTP status of the answer")
    code: str | None = Field(None, description="failure or warning reason, hexadecimal (PS3.18 table I.2-2)")
    reason: FailureCause | None = None
    detail: str | None = None


def write_transfers(folder: OutputFolder, name: str, records: Iterable[SeriesTransfer]) -> Iterator[SeriesTransfer]:
    """Write records as they pass to `name`.ndjson and `name`.csv."""
    yield from _written(folder, name, list(SeriesTransfer.model_fields), records)


def write_uploads(out: Path, records: Iterable[FileTransfer], *, shared: bool = False) -> Iterator[FileTransfer]:
    """Write records as they pass to store.ndjson and store.csv in a folder; `shared` lets others than their owner read them, as the umask says."""
    with OutputFolder(out, "imaging store", shared=shared) as folder:
        yield from _written(folder, "store", list(FileTransfer.model_fields), records)
        folder.publish()


def _written(folder: OutputFolder, name: str, columns: list[str], records: Iterable[T]) -> Iterator[T]:
    lines = folder.stage(f"{name}.ndjson", "w").stream
    rows = csv.writer(folder.stage(f"{name}.csv", "w").stream, lineterminator="\r\n")
    rows.writerow(columns)
    for record in records:
        lines.write(line_of(record))
        values = record.model_dump(mode="json")
        rows.writerow([safe(_cell(values[column])) for column in columns])
        yield record


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " | ".join(map(str, value)) if any(" " in str(item) for item in value) else " ".join(map(str, value))
    return "" if value is None else str(value)
