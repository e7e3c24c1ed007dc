"""The work of reading an export in pieces: what is read together, and each piece read into a collector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from fhir_eligibility.data.bulk.collecting import Collector
from fhir_eligibility.data.bulk.documents import read_document
from fhir_eligibility.data.bulk.records import read_bytes
from fhir_eligibility.data.bulk.scanning import LineScanner
from fhir_eligibility.data.files.files import found_file
from fhir_eligibility.data.files.forms import TextForm, Values, form_of, form_of_damaged, named_lines
from fhir_eligibility.data.files.opening import UNREADABLE, begin, document_in, open_file, packing_of, raw_of
from fhir_eligibility.data.files.other_lines import OtherLines
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.records.values import invalid_document, other_file, too_long_document

RESOURCE_TYPE = b'"resourceType"'
PIECE = 64 << 20


class Stretch(Struct, frozen=True):
    """Part of one file: the lines that begin from `start` on and before `end`, or all of it where `end` is None."""

    file: int
    path: str
    start: int = 0
    end: int | None = None
    bytes: int = 0


class Piece(Struct, frozen=True):
    """One piece of work, in the order of the data."""

    number: int
    stretches: tuple[Stretch, ...]

    @property
    def bytes(self) -> int:
        """How much of the input it is, as stored."""
        return sum(one.bytes for one in self.stretches)


def pieces_of(files: Sequence[str], size: int = PIECE, lengths: Mapping[str, int] | None = None) -> list[Piece]:
    """The work of reading files, in pieces of about `size` bytes: large NDJSON is cut, small files are read together.

    `lengths` of files are told where they are known; the system is asked for others.
    """
    known = lengths or {}
    out: list[Piece] = []
    together: list[Stretch] = []
    held = 0

    def close() -> None:
        nonlocal held
        if together:
            out.append(Piece(len(out), tuple(together)))
            together.clear()
            held = 0

    for number, path in enumerate(files):
        length = known[path] if path in known else found_file(path).bytes
        if length > size and _is_cut(path):
            close()
            for start in range(0, length, size):
                end = min(start + size, length)
                out.append(Piece(len(out), (Stretch(number, path, start, end, end - start),)))
            continue
        together.append(Stretch(number, path, 0, None, length))
        held += length
        if held >= size:
            close()
    close()
    return out


def _is_cut(path: str) -> bool:
    """Whether a large file can be read from any line on: it is not packed, and holds one resource a line."""
    try:
        if packing_of(path) is not None or _form(path) is not TextForm.LINES:
            return False
        with begin(path) as opened:
            # what holds no resource is told as one file
            return RESOURCE_TYPE in opened.head
    except UNREADABLE:
        return False  # reading it whole tells why


def is_plain_lines(path: str) -> bool:
    """Whether a file is NDJSON that is not packed, so that the offsets of lines are those of its bytes."""
    if not named_lines(path):
        return False  # which spares opening each of many bundles
    try:
        if packing_of(path) is not None or _form(path) is not TextForm.LINES:
            return False
        with open_file(path) as stream:
            return stream.read(1) == b"{"
    except UNREADABLE:
        return False


def is_document(path: str) -> bool:
    """Whether a file is one document, as far as its beginning tells, or cannot be read (any more)."""
    try:
        return _form(path) is TextForm.DOCUMENT
    except UNREADABLE:
        return True


def _form(path: str) -> TextForm:
    """The form of a file; that of one that is not JSON is a document. Raises UNREADABLE."""
    with begin(path) as opened:
        if other_file(path, opened.head, opened.stream is None) is not None:
            return TextForm.DOCUMENT
        return form_of(opened.head, opened.stream is None, named_lines(path))


def read_piece(piece: Piece, collector: Collector) -> None:
    """Read a piece of work into a collector. A file that cannot be read is a problem, and the rest goes on."""
    collected = collector.collected
    for stretch in piece.stretches:
        before = dict(collected.used), dict(collected.passed)
        document, trace = False, collector.trace
        try:
            if trace is not None:
                trace.file(stretch.file, stretch.path, begins=stretch.start == 0)
            if stretch.end is None and trace is not None and trace.takes_document(collector, stretch.path):
                document = True
            elif stretch.end is None:
                document = _read_file(collector, stretch.file, stretch.path)
            else:
                with open_file(stretch.path) as stream:
                    start = _line_start(stream, stretch.start)
                    LineScanner(collector, stretch.file, stretch.path).scan(stream, start, stretch.end)
        except UNREADABLE as error:
            message = f"cannot be read: {error or error.__class__.__name__}"
            collected.problems.append(Problem(file=stretch.path, code="unreadable", message=message))
        except Exception as error:
            # an error of this program, which shall not cost what is in other files
            message = f"reading stopped unexpectedly, and what follows in this file is not used: {error!r:.300}"
            collected.problems.append(Problem(file=stretch.path, code="not-read", message=message))
        if trace is not None:
            trace.close()
        if not document:
            collected.note_file(stretch.file, *before)


def _read_file(collector: Collector, file: int, path: str) -> bool:
    """Read all of a file, in whatever form resources stand there; gives whether it is one document. Raises UNREADABLE."""
    with begin(path) as opened:
        head, stream = opened.head, opened.stream
        other = other_file(path, head, stream is None)
        if other is not None:
            collector.collected.problems.append(other)
            return True
        form = form_of(head, stream is None, named_lines(path))
        if form is TextForm.DOCUMENT:
            text = document_in(stream, head)
            if text is None:
                collector.collected.problems.append(too_long_document(path))
                return True
            error = _document(collector, text, file, path, stored=opened.stored)
            if error is None:
                return True
            form, head, stream = form_of_damaged(text, error), text, None
            if form is TextForm.DOCUMENT:
                collector.collected.problems.append(invalid_document(text, path, error))
                return True
        if collector.trace is not None and not opened.stored:
            collector.trace.packed()
        scanner, read = LineScanner(collector, file, path), collector.collected
        before = read.lines - read.blank
        others = OtherLines(path, read.problems.append, lambda: read.lines - read.blank - before)
        collector.others = others
        try:
            if form is TextForm.VALUES:
                scanner.values(Values(head, stream))
            elif stream is None:
                scanner.text(head)
            else:
                scanner.scan(stream, 0, None, head)
        finally:
            collector.others = None
            others.finish()
    return False


def reread(collector: Collector, file: int, offset: int, length: int, document: bool, path: str) -> bool:
    """Read a block again that was read before, all of a document or some lines; gives whether nothing is odd about it. Raises OSError."""
    try:
        text = raw_of(path, length) if document else read_bytes(Path(path), offset, length)
    except ValueError:
        return False  # the file became shorter
    if text is None:
        return False
    if document:
        if read_document(collector, text, file, path) is not None:
            return False
    else:
        LineScanner(collector, file, path).block(text, len(text), offset)
    read = collector.collected
    return not (read.problems or read.deleted or read.named or read.persons or read.unsure or read.special)


def _document(collector: Collector, text: bytes, file: int, path: str, *, stored: bool) -> Exception | None:
    """As `read_document`; what is `stored` so may be known to a later run."""
    trace = collector.trace
    if trace is None or not stored or not trace.stored:
        return read_document(collector, text, file, path)
    before = trace.begin(collector, 0)
    error = read_document(collector, text, file, path)
    if error is None:
        trace.end(collector, before, text, document=True)
    else:
        trace.leave()
    return error


def _line_start(stream: BinaryIO, start: int) -> int:
    """Move to the first line that begins at or after a place."""
    if start == 0:
        return 0
    stream.seek(start - 1)
    at = start - 1
    while chunk := stream.read(1 << 16):
        found = chunk.find(b"\n")
        if found >= 0:
            stream.seek(at + found + 1)
            return at + found + 1
        at += len(chunk)
    return at
