"""Files to the JSON values that stand in them, in whatever form: what `fhir_eligibility.data.bulk` reads in blocks, a value at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from msgspec import Struct

from fhir_eligibility.data.files.forms import (
    RESOURCE_LINE,
    TextForm,
    Values,
    form_of,
    form_of_damaged,
    has_comma,
    line_text,
    named_lines,
)
from fhir_eligibility.data.files.json_text import BAD_JSON, check_encoding, hint_for, syntax_message, whole
from fhir_eligibility.data.files.kinds import BOM, EMPTY, LOOKED_AT, OTHER_JSON, SPACE, certain_kind, kind_of
from fhir_eligibility.data.files.opening import (
    MOST_DOCUMENT,
    MOST_LINE,
    UNREADABLE,
    Opened,
    begin,
    document_in,
    lines_in,
)
from fhir_eligibility.data.files.other_lines import OtherLines
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.records.remains import named_in

OnProblem = Callable[[Problem], None]


class DecodedValue(Struct, frozen=True):
    """A value of a file, decoded, with its text; a line or one of several values has the number of its line and the offset where it begins.

    What is wrong with what it holds is told to `report`.
    """

    data: Any
    text: bytes
    report: OnProblem
    line: int | None = None
    offset: int | None = None


def values_in(path: str, on_problem: OnProblem, opened: Callable[[str], Opened] = begin) -> Iterator[DecodedValue]:
    """The values of a file. What cannot be read is a problem, and the rest goes on."""
    try:
        with opened(path) as found:
            yield from _values(path, found, on_problem)
    except UNREADABLE as error:
        message = f"cannot be read: {error or error.__class__.__name__}"
        on_problem(Problem(file=path, code="unreadable", message=message))


def _values(path: str, opened: Opened, on_problem: OnProblem) -> Iterator[DecodedValue]:
    head, stream = opened.head, opened.stream
    other = other_file(path, head, stream is None)
    if other is not None:
        on_problem(other)
        return
    form = form_of(head, stream is None, named_lines(path))
    if form is not TextForm.DOCUMENT:
        yield from _several(form, head, stream, path, on_problem)
        return
    text = document_in(stream, head)
    if text is None:
        on_problem(too_long_document(path))
        return
    try:
        data = _decode(text.removeprefix(BOM))
    except BAD_JSON as error:
        form = form_of_damaged(text, error)
        if form is TextForm.DOCUMENT:
            on_problem(invalid_document(text, path, error))
        else:
            yield from _several(form, text, None, path, on_problem)
        return
    yield DecodedValue(data, text, on_problem)


def _several(
    form: TextForm, head: bytes, stream: BinaryIO | None, path: str, on_problem: OnProblem
) -> Iterator[DecodedValue]:
    """The values of a file that begins so, of lines or values. Raises UNREADABLE."""
    read = 0
    others = OtherLines(path, on_problem, lambda: read)
    try:
        for offset, number, text in _texts(form, head, stream, path, on_problem):
            read += 1
            try:
                data = _decode(text)
            except BAD_JSON as error:
                where = {"line": number, "offset": offset, "hint": hint_for(error), **named_in(text)}
                others.add(Problem(file=path, code="invalid-json", message=syntax_message(error, text), **where))
                continue
            yield DecodedValue(data, text, others.add, number, offset)
    finally:
        others.finish()


_Text = tuple[int, int, bytes]
"""A line, or one of several values: where it begins, in bytes and as the number of a line, and the text, which should be JSON."""


def _texts(form: TextForm, head: bytes, stream: BinaryIO | None, path: str, on_problem: OnProblem) -> Iterator[_Text]:
    """The texts of a file that begins so, of lines or values. Raises UNREADABLE."""
    values = Values(head, stream)
    found: Iterable[tuple[int, int, bytes | None]] = values
    if form is TextForm.LINES:
        found = ((offset, number, text) for number, (offset, text) in enumerate(lines_in(stream, head), start=1))
    commas = False
    for offset, number, text in found:
        if text is None:
            on_problem(too_long_line(path, offset, number))
        elif line := line_text(text):
            commas = commas or has_comma(text)
            yield offset, number, line
    if commas or values.commas:
        on_problem(commas_in(path))


def other_file(path: str, head: bytes, whole: bool) -> Problem | None:
    """The problem of a file that is, by how it begins, no JSON at all, or empty; None for any other file.

    `whole` tells that the beginning is all of it.
    """
    if head[:1] in (b"{", b"[") and 0 not in head[:4]:
        return None
    kind = certain_kind(head)
    if kind is None and not head[:LOOKED_AT].lstrip(SPACE).startswith((b"{", b"[")):
        kind = kind_of(head, path)
    if kind is not None and RESOURCE_LINE.search(head):
        return None  # one line of several is something else
    if kind is None or kind is OTHER_JSON:
        return None
    if kind is not EMPTY:
        message = f"not valid JSON: this is {kind.what}; nothing of it is used"
        return Problem(file=path, code="invalid-json", message=message, hint=kind.hint, **named_in(head))
    if not whole:
        return None
    message, hint = "the file is empty: it holds no resource", "was it written to its end?"
    return Problem(file=path, code="empty-file", message=message, hint=hint)


def commas_in(path: str) -> Problem:
    """The remark about a file that has commas between resources where it should have line feeds only."""
    message = "commas stand between the resources, where NDJSON has line feeds only; they are read without them"
    return Problem(file=path, code="commas", severity="warning", message=message)


def too_long_document(file: str) -> Problem:
    """The problem of a file that is one JSON document larger than is read."""
    message = f"one JSON document of more than {MOST_DOCUMENT >> 30} GB, which is not read"
    return Problem(file=file, code="too-large", message=message, hint="write it as NDJSON, one resource a line")


def too_long_line(file: str, offset: int, line: int | None = None) -> Problem:
    """The problem of a line that is longer than is read."""
    message = f"the line has more than {MOST_LINE >> 20} MB; it is not read"
    return Problem(file=file, line=line, offset=offset, code="too-large", message=message)


def _decode(raw: bytes) -> Any:
    """What a text holds. Raises BAD_JSON."""
    check_encoding(raw)
    return whole(raw)


def invalid_document(text: bytes, file: str, error: Exception) -> Problem:
    """The problem of a file that is not the one JSON document that it should be."""
    return Problem(
        file=file, code="invalid-json", message=syntax_message(error, text), hint=hint_for(error), **named_in(text)
    )
