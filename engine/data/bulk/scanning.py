"""NDJSON in large blocks: lines that cannot matter are never looked at one by one where a block holds resources of one type only.

A block is a run of whole lines. Where every line of it begins as a resource of the same type does, searches over the block find the lines that may matter,
and one search takes the ids of all. Anything else - blank lines, other spellings, bundles in a line, invalid JSON - is read line by line.
"""

from __future__ import annotations

import re
from typing import Any, BinaryIO

import msgspec

from engine.data.bulk.collecting import ID, Collector
from engine.data.bulk.decoding import Head, whole
from engine.data.problems import Problem
from engine.data.sources import Loaded, unpack

BLOCK = 1 << 20
_BEGINNING = re.compile(rb'\{\s*"resourceType"\s*:\s*"([A-Za-z]+)"')
_head = msgspec.json.Decoder(Head)
_encode = msgspec.json.Encoder(decimal_format="number").encode
_CONTAINERS = frozenset(("Bundle", "Parameters"))


class LineScanner:
    """Reads the lines of one stretch of an NDJSON file into a collector."""

    def __init__(self, collector: Collector, file: int, path: str) -> None:
        self.collector = collector
        self.file = file
        self.path = path
        self._block_ids: dict[bytes, re.Pattern[bytes]] = {}

    def scan(self, stream: BinaryIO, offset: int, end: int | None) -> None:
        """Read the lines that begin from `offset` on (where the stream stands) and before `end` (None: to the end of the file)."""
        if end is not None and offset >= end:
            return
        buffer = bytearray(BLOCK)
        held = 0
        base = offset
        while True:
            if held == len(buffer):
                buffer.extend(bytes(len(buffer)))
            with memoryview(buffer) as view:
                got = stream.readinto(view[held:])  # type: ignore[attr-defined]
            if not got:
                if held:
                    self.line(bytes(buffer[:held]), base)
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
                self.block(buffer, last, base)
            if done:
                return
            held = filled - last
            if last and held:
                buffer[:held] = buffer[last:filled]
            base += last

    def block(self, buffer: bytearray, end: int, base: int) -> None:
        """A run of whole lines: `buffer` up to `end`, which stands at `base` in the file."""
        match = _BEGINNING.match(buffer)
        if match is not None and self.uniform(buffer, end, base, match[1].decode(), match[0]):
            return
        start = 0
        while start < end:
            stop = buffer.find(b"\n", start, end)
            self.line(bytes(buffer[start:stop]), base + start)
            start = stop + 1

    def uniform(self, buffer: bytearray, end: int, base: int, kind: str, beginning: bytes) -> bool:
        """Read a block whose lines all begin alike; False, having done nothing, where they do not."""
        collector = self.collector
        if collector.validate or kind in _CONTAINERS:
            return False
        lines = buffer.count(b"\n", 0, end)
        if buffer.count(b"\n" + beginning, 0, end) != lines - 1:
            return False
        if not collector.reads(kind):
            collector.collected.lines += lines
            collector.collected.passed[kind] += lines
            return True
        needles = collector.needles(kind)
        if needles is None:
            return False
        pattern = self._block_ids.get(beginning)
        if pattern is None:
            # a literal to begin with makes the search fast
            pattern = self._block_ids[beginning] = re.compile(re.escape(b"\n" + beginning) + ID)
        first = collector.id_pattern(kind).match(buffer)
        if first is None:
            return False
        with memoryview(buffer) as view, view[:end] as block:
            found = pattern.findall(block)
        if len(found) != lines - 1:
            return False
        ids = [hash(int.from_bytes(one, "big")) for one in found]
        ids.append(hash(int.from_bytes(first[1], "big")))
        starts = {buffer.rfind(b"\n", 0, at) + 1 for at in needles.starts(buffer, end)}
        collector.collected.lines += lines
        collector.collected.passed[kind] += lines - len(starts)
        collector.seen_ids(kind).extend(ids)
        for start in sorted(starts):
            stop = buffer.find(b"\n", start, end)
            line = bytes(buffer[start:stop]).rstrip(b"\r")
            collector.keep(kind, line, self.file, base + start, -1, None, self.path, seen=True)
        return True

    def line(self, text: bytes, offset: int) -> None:
        """One line of any kind."""
        collector = self.collector
        collector.collected.lines += 1
        if offset == 0 and text.startswith(b"\xef\xbb\xbf"):
            text = text[3:]
        text = text.strip()
        if not text:
            collector.collected.blank += 1
            return
        match = _BEGINNING.match(text)
        kind: str | None = match[1].decode() if match is not None else None
        if kind is None:
            kind = self.kind_of(text, offset)
            if kind is None:
                return
        if kind in _CONTAINERS:
            self.several(text, offset)
        else:
            collector.offer(kind, text, self.file, offset, -1, None, self.path)

    def kind_of(self, text: bytes, offset: int) -> str | None:
        """The type of a resource that does not begin with it; None, and reported, where the line is no resource."""
        try:
            kind = _head.decode(text).resourceType
        except msgspec.ValidationError:
            self.several(text, offset)
            return None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            message = f"not valid JSON: {error or 'nested too deeply'}"
            self.collector.problem(self.path, offset, -1, "invalid-json", message)
            return None
        if kind is None:
            message = "not a FHIR resource: resourceType is missing"
            self.collector.problem(self.path, offset, -1, "not-a-resource", message)
        return kind

    def several(self, text: bytes, offset: int) -> None:
        """A line that holds several resources, or something else than a resource."""
        try:
            data: Any = whole(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            message = f"not valid JSON: {error or 'nested too deeply'}"
            self.collector.problem(self.path, offset, -1, "invalid-json", message)
            return
        offer_all(self.collector, data, self.file, offset, self.path)


def offer_all(collector: Collector, data: Any, file: int, offset: int, path: str) -> None:
    """Give a collector every resource of something decoded: bundles, arrays and Parameters opened."""

    def report(problem: Problem) -> None:
        collector.collected.problems.append(problem.model_copy(update={"offset": offset}))

    for loaded in unpack(data, path, report, None):
        offer_loaded(collector, loaded, file, offset, path)


def offer_loaded(collector: Collector, loaded: Loaded, file: int, offset: int, path: str) -> None:
    """Give a collector one resource that was decoded."""
    entry = loaded.entry if loaded.entry is not None else -1
    if loaded.resource is None:
        collector.collected.deleted.append(loaded.deleted or "")
        return
    kind = loaded.resource["resourceType"]
    collector.offer(kind, _encode(loaded.resource), file, offset, entry, loaded.full_url, path)
