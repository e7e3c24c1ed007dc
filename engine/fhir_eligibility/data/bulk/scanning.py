"""NDJSON in large blocks: lines that cannot matter are never looked at one by one where a block holds resources of one type only.

A block is a run of whole lines. Where every line of it begins as a resource of the same type does, searches over the block find the lines that may matter,
and one search takes the ids of all. Anything else - blank lines, other spellings, bundles in a line, invalid JSON - is read line by line.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import BinaryIO

import msgspec
import stringzilla as sz

from fhir_eligibility.data.bulk.collecting import CONTAINERS, Collector, TypeReader
from fhir_eligibility.data.bulk.decoding import Head
from fhir_eligibility.data.bulk.documents import read_document
from fhir_eligibility.data.bulk.needles import Needles
from fhir_eligibility.data.bulk.records import number_of
from fhir_eligibility.data.files.file_names import type_named
from fhir_eligibility.data.files.forms import Values, has_comma, line_text
from fhir_eligibility.data.files.json_text import (
    BAD_JSON,
    check_encoding,
    is_utf_8,
    lines_are_whole,
    lines_end_in_braces,
    whole,
)
from fhir_eligibility.data.files.opening import MOST_LINE
from fhir_eligibility.data.records.marks import marks_in, may_be_marked
from fhir_eligibility.data.records.parts import parts_of
from fhir_eligibility.data.records.record_shape import DAMAGED, DAMAGED_HINT, TYPE, states_another_type, stray
from fhir_eligibility.data.records.remains import named_in, remains_of
from fhir_eligibility.data.records.values import commas_in, too_long_line

BLOCK = 1 << 20
_BEGINNING = re.compile(rb'\{\s*"resourceType"\s*:\s*"([A-Za-z]+)"')
_head = msgspec.json.Decoder(Head)


class LineScanner:
    """Reads the lines of one stretch of an NDJSON file into a collector."""

    def __init__(self, collector: Collector, file: int, path: str) -> None:
        self.collector = collector
        self.file = file
        self.path = path
        self.commas = False
        self.expected = type_named(path)
        self.parts = parts_of(path)

    def scan(self, stream: BinaryIO, offset: int, end: int | None, head: bytes = b"") -> None:
        """Read the lines that begin from `offset` on and before `end` (None: to the end of the file).

        The stream stands there, or behind `head`, which was read from there.
        """
        if end is not None and offset >= end:
            return
        buffer = bytearray(max(BLOCK, len(head)))
        buffer[: len(head)] = head
        held = len(head)
        base = offset
        while True:
            if held > MOST_LINE:
                self.collector.collected.problems.append(too_long_line(self.path, base))
                self.collector.collected.lines += 1
                found = after_line(stream, base + held)
                if found is None or (end is not None and found[0] >= end):
                    return
                base, rest = found
                held = len(rest)
                buffer[:held] = rest
            if held == len(buffer):
                buffer.extend(bytes(len(buffer)))
            if base == offset and held == len(head) > 0:
                filled, head = held, b""  # the lines of the beginning come first
            else:
                with memoryview(buffer) as view:
                    got = stream.readinto(view[held:])  # type: ignore[attr-defined]
                if not got:
                    last = buffer.rfind(b"\n", 0, held) + 1 if self.collector.trace is not None else 0
                    if last:
                        self.lines(buffer, last, base, last=True)
                        del buffer[:last]
                        base, held = base + last, held - last
                    for text in re.findall(rb"[^\n]*\n|[^\n]+", bytes(buffer[:held])):
                        if end is None or base < end:
                            self.line(text.removesuffix(b"\n"), base)
                        base += len(text)
                    return
                filled = held + got
            # whole lines only, and no line that begins at or after `end`
            last = buffer.rfind(b"\n", 0, filled) + 1
            done = False
            if end is not None and base + last >= end:
                # the line that holds byte `end - 1` is the last one
                close = buffer.find(b"\n", max(end - 1 - base, 0), filled) + 1
                if close:
                    last, done = close, True
            if last:
                last = self.lines(buffer, last, base, last=done)
            if done:
                return
            held = filled - last
            if last and held:
                buffer[:held] = buffer[last:filled]
            base += last

    def text(self, text: bytes) -> None:
        """Read the lines of a whole file."""
        last = text.rfind(b"\n") + 1
        if last:
            self.lines(text, last, 0, last=True)
        if last < len(text):
            self.line(text[last:], last)

    def values(self, values: Values) -> None:
        """Read the values of a whole file."""
        for offset, _, text in values:
            if text is None:
                self.collector.collected.problems.append(too_long_line(self.path, offset))
                self.collector.collected.lines += 1
            else:
                self.line(text, offset)
        if values.commas:
            self.collector.collected.problems.append(commas_in(self.path))

    def lines(self, buffer: bytearray | bytes, end: int, base: int, *, last: bool) -> int:
        """Whole lines, as `block` takes them, but for those that an earlier run knows; gives up to where that was done. `last` tells that no more come."""
        trace = self.collector.trace
        if trace is None:
            self.block(buffer, end, base)
            return end
        return trace.lines(self.collector, self, buffer, end, base, last)

    def share(self, buffer: bytearray | bytes, at: int) -> float:
        """How much larger blocks are best made than others where such a line begins: where every line is kept, reading the others of a block again costs most."""
        match = _BEGINNING.match(buffer, at)
        reader = self.collector.named(match[1]) if match is not None else None
        if reader is None or reader.unread:
            return 4.0
        return 1.0 if reader.needles is not None else 0.25

    def block(self, buffer: bytearray | bytes, end: int, base: int) -> None:
        """A run of whole lines: `buffer` up to `end`, which stands at `base` in the file."""
        match = _BEGINNING.match(buffer)
        if match is not None and self.parts is None and self.uniform(buffer, end, base, match):
            return
        start = 0
        while start < end:
            stop = buffer.find(b"\n", start, end)
            self.line(bytes(buffer[start:stop]), base + start)
            start = stop + 1

    def uniform(self, buffer: bytearray | bytes, end: int, base: int, match: re.Match[bytes]) -> bool:
        """Read a block whose lines all begin alike, the first as it was matched; False, having done nothing, where they do not."""
        collector = self.collector
        reader = collector.named(match[1])
        if collector.validate or reader.container or not reader.known:
            return False
        beginning: bytes | bytearray = match[0]
        if reader.needles is not None:
            first = reader.beginning.match(buffer)
            if first is None:
                return False
            beginning = buffer[: first.start(1)]
        with memoryview(buffer) as view:
            text = bytes(view[:end])
        lines = sz.count(text, b"\n")
        if sz.count(text, b"\n" + beginning) != lines - 1:
            return False
        if sz.count(text, TYPE) != lines and any(
            states_another_type(reader.kind, line) for line in text.split(b"\n") if line.count(TYPE) > 1
        ):
            return False
        collector.look = not reader.unread and may_be_marked(text)
        if reader.needles is None and not reader.unread:
            if not lines_end_in_braces(text, lines) or not is_utf_8(text):
                return False
            self.every(text, base, reader)
        elif not lines_are_whole(text, lines):
            return False
        elif reader.unread:
            collector.collected.passed[reader.kind] += lines
        elif reader.needles is not None and not self.some(text, base, reader, reader.needles, beginning, lines):
            return False
        collector.collected.lines += lines
        return True

    def every(self, text: bytes, base: int, reader: TypeReader) -> None:
        """Keep all lines of a block."""
        keep, file, path = self.collector.keep, self.file, self.path
        start, end = 0, len(text)
        with memoryview(text) as view:
            while start < end:
                stop = text.find(b"\n", start)
                keep(reader, view[start:stop], file, base + start, -1, None, path)
                start = stop + 1

    def some(
        self, text: bytes, base: int, reader: TypeReader, needles: Needles, beginning: bytes | bytearray, lines: int
    ) -> bool:
        """Keep the lines of a block that may matter, and note the ids of all, which follow the beginning; False, having done nothing, for odd ids."""
        pieces = text[len(beginning) :].split(b"\n" + beginning)
        try:
            ids = [piece[: piece.index(b'"')] for piece in pieces]
        except ValueError:
            return False
        if b"" in ids or b"\\" in b"".join(ids):
            return False
        collector = self.collector
        found = chain(needles.starts(text), marks_in(text)) if collector.look else needles.starts(text)
        starts = {text.rfind(b"\n", 0, at) + 1 for at in found}
        collector.collected.passed[reader.kind] += lines - len(starts)
        collector.seen_ids(reader.kind).extend(map(number_of, ids))
        with memoryview(text) as view:
            for start in sorted(starts):
                line = view[start : text.find(b"\n", start)]
                collector.keep(reader, line, self.file, base + start, -1, None, self.path, seen=True)
        return True

    def line(self, text: bytes, offset: int) -> None:
        """One line, or one value, of any kind."""
        collector = self.collector
        collector.collected.lines += 1
        if not self.commas and has_comma(text):
            self.commas = True
            collector.collected.problems.append(commas_in(self.path))
        text = line_text(text)
        if not text:
            collector.collected.blank += 1
            return
        if self.parts is not None:
            text = self.parts.marked(text)
        match = _BEGINNING.match(text)
        kind = match[1].decode() if match is not None else self.kind_of(text, offset)
        if kind in CONTAINERS:
            self.several(text, offset)
        elif kind is not None:
            wrong = stray(kind, self.expected, text) if kind != self.expected else None
            if wrong is not None and is_utf_8(text):
                meant = remains_of({**whole(text), "resourceType": self.expected}).named()
                collector.problem(self.path, offset, -1, DAMAGED, wrong, hint=DAMAGED_HINT, **meant)
                return
            collector.offer(kind, text, self.file, offset, -1, None, self.path)

    def kind_of(self, text: bytes, offset: int) -> str | None:
        """The type of a resource that does not begin with it; None where the line is no resource, which is reported, or holds several."""
        collector = self.collector
        try:
            check_encoding(text)
            kind = _head.decode(text).resourceType
        except msgspec.ValidationError:
            self.several(text, offset)
            return None
        except BAD_JSON as error:
            collector.invalid(text, self.path, offset, -1, error)
            return None
        if kind is None:
            message = "not a FHIR resource: resourceType is missing"
            collector.problem(self.path, offset, -1, "not-a-resource", message, **named_in(text))
        return kind

    def several(self, text: bytes, offset: int) -> None:
        """A line that holds several resources, or something else than a resource."""
        error = read_document(self.collector, text, self.file, self.path, offset, several=True)
        if error is not None:
            self.collector.invalid(text, self.path, offset, -1, error)


def after_line(stream: BinaryIO, offset: int) -> tuple[int, bytes] | None:
    """Where the next line begins, in a stream that stands at an offset within a line, and what was read of it; None at the end of the file."""
    while chunk := stream.read(BLOCK):
        found = chunk.find(b"\n")
        if found >= 0:
            return offset + found + 1, chunk[found + 1 :]
        offset += len(chunk)
    return None
