"""Line numbers of problems, which the reader knows by byte offset only: a file is read again up to its last problem."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from fhir_eligibility.data.bulk.pieces import is_document
from fhir_eligibility.data.files.opening import UNREADABLE, open_file
from fhir_eligibility.data.files.problems import Problem


def with_lines(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Problems with the number of their line, where they have an offset; in the order of the data, which spares reading a file twice."""
    numbers: _Lines | None = None
    documents: dict[str, bool] = {}
    for problem in problems:
        if problem.offset is None or problem.line is not None or problem.file is None:
            yield problem
        else:
            if problem.file not in documents:
                documents = {problem.file: is_document(problem.file)}
            if documents[problem.file] and not problem.offset:
                yield problem.model_copy(update={"offset": None})
                continue
            if numbers is None or numbers.path != problem.file or numbers.offset > problem.offset:
                if numbers is not None:
                    numbers.close()
                numbers = _Lines(problem.file)
            yield problem.model_copy(update={"line": numbers.at(problem.offset)})
    if numbers is not None:
        numbers.close()


class _Lines:
    """Counts lines forward through a file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.offset = 0
        self.line = 1
        self._stream: BinaryIO | None = None

    def at(self, offset: int) -> int | None:
        """The number of the line that begins at an offset; None where the file can no longer be read."""
        try:
            if self._stream is None:
                self._stream = open_file(self.path)
            while self.offset < offset:
                chunk = self._stream.read(min(1 << 20, offset - self.offset))
                if not chunk:
                    return None
                self.offset += len(chunk)
                self.line += chunk.count(b"\n")
        except UNREADABLE:
            return None
        return self.line

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
