"""`archive.ndjson` and `archive.csv`: what archives hold of the studies of a run; and the journal that they are made from.

The journal gets each answer as it comes, so that an interrupted check goes on where it stopped.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

from pydantic import ValidationError

from fhir_eligibility.evaluation.verdict import Holding
from fhir_eligibility.output.folder import About, OutputFolder
from fhir_eligibility.output.lines import line_of
from fhir_eligibility.output.summary import safe

NAME = "archive.ndjson"
TABLE = "archive.csv"
JOURNAL = "archive.journal.ndjson"
EARLIER = "archive.earlier.ndjson"
"""The answers of a check of an earlier run in the same folder, which may be used again."""
COMMAND = "imaging verify"
ABOUT_IMAGES = About(COMMAND, {NAME: EARLIER})
COLUMNS = (
    "patient",
    "resource",
    "study",
    "state",
    "reason",
    "archive",
    "missing series",
    "missing instances",
    "differences",
    "detail",
    "asked",
)


class Journal:
    """Answers in the order in which they came, found again by the hash of their question. Only places are kept in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, int] = {}
        self._stream: IO[bytes] = path.open("a+b")

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stream.close()

    def __contains__(self, question: str) -> bool:
        return question in self._places

    def old(self) -> Iterator[Holding]:
        """What stood in the journal before; a line that was torn off is passed over, and the next one starts afresh."""
        self._stream.seek(0)
        place, torn = 0, False
        for line in self._stream:
            holding = holding_of_line(line)
            torn = not line.endswith(b"\n")
            if holding is not None and holding.question is not None and not torn:
                self._places[holding.question] = place
                yield holding
            place += len(line)
        if torn:
            self._stream.seek(0, os.SEEK_END)
            self._stream.write(b"\n")

    def forget(self, question: str) -> None:
        """Do not count an answer any longer."""
        self._places.pop(question, None)

    def add(self, holdings: Iterable[Holding]) -> None:
        """Write answers down, on the disk when this returns."""
        self._stream.seek(0, os.SEEK_END)
        for holding in holdings:
            if holding.question is not None:
                self._places[holding.question] = self._stream.tell()
            self._stream.write(line_of(holding).encode("utf-8"))
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def answer(self, question: str) -> Holding:
        """The answer to a question. Raises KeyError where there is none."""
        self._stream.seek(self._places[question])
        return Holding.model_validate_json(self._stream.readline())

    def remove(self) -> None:
        """Take the journal away: what it held stands in the outputs."""
        self._stream.close()
        self.path.unlink(missing_ok=True)


def holding_of_line(line: bytes) -> Holding | None:
    """A line of a journal or of archive.ndjson, None where it is none."""
    try:
        return Holding.model_validate_json(line)
    except ValidationError:
        return None


def read_holdings(path: Path) -> Iterator[Holding]:
    """The lines of an archive.ndjson. Raises ValueError for a line that is none."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            holding = holding_of_line(line)
            if holding is None:
                raise ValueError(f"{path}, line {number}: no record of `eligibility imaging verify`")
            yield holding


def write_holdings(folder: OutputFolder, holdings: Iterable[Holding]) -> None:
    """Write both files."""
    lines, rows = folder.stage(NAME).stream, csv.writer(folder.stage(TABLE, "w").stream, lineterminator="\r\n")
    rows.writerow(COLUMNS)
    for holding in holdings:
        lines.write(line_of(holding).encode("utf-8"))
        rows.writerow(map(safe, row_of(holding)))


def row_of(holding: Holding) -> list[str]:
    """One row of the table."""
    return [
        holding.patient,
        holding.resource,
        holding.study or "",
        holding.state,
        holding.reason or "",
        holding.archive or "",
        " ".join(holding.missing_series),
        " ".join(uid for item in holding.missing_instances for uid in item.instances),
        "; ".join(holding.differences),
        holding.detail or "",
        holding.asked or "",
    ]
