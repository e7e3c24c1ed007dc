"""Tells what blocks of the data come to while they are read, and takes those over that an earlier run knows (`fhir_eligibility.data.bulk.blocks`)."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from operator import sub
from typing import Any, Protocol

from msgspec.structs import replace

from fhir_eligibility.data.bulk.block_digests import PLAIN, BlockDigests
from fhir_eligibility.data.bulk.blocks import (
    LARGEST,
    PERSON,
    TARGET,
    Block,
    EarlierBlocks,
    FileBlocks,
    Found,
    Traced,
    encode,
)
from fhir_eligibility.data.bulk.collected import Collected
from fhir_eligibility.data.bulk.fingerprints import SIZE, Fingerprints
from fhir_eligibility.data.bulk.records import AnyShelf, ReadRecord, number_of
from fhir_eligibility.data.files.opening import raw_of
from fhir_eligibility.data.files.other_lines import OtherLines
from fhir_eligibility.data.records.parts import parts_of

COUNTS = ("lines", "blank", "empty", "of_one", "of_several")
"""What of `Collected` is a number that blocks tell."""


def _counts(read: Collected) -> tuple[int, ...]:
    return read.lines, read.blank, read.empty, read.of_one, read.of_several


class Collecting(Protocol):
    """Takes resources as they are read (`fhir_eligibility.data.bulk.collecting.Collector`)."""

    collected: Collected
    others: OtherLines | None

    def keep_again(self, raw: bytes, file: int, offset: int, entry: int, full_url: str | None, home: int) -> None:
        """Keep a resource that is about nobody."""


class _BlockLines:
    """The blocks of a file of lines in the earlier run, as they are looked for: the number of the one that is expected next (-1: none), and the least that may come."""

    def __init__(self, blocks: Sequence[Block], begins: bool) -> None:
        self.blocks = blocks
        self.least = 0
        self._missed = False
        self.next = 0 if begins and blocks else -1
        self._numbers = {block.first: number for number, block in enumerate(blocks)}

    def seek(self, buffer: bytes | bytearray, at: int, end: int) -> int:
        """The first line from a place on with which one of the blocks may begin; the end where there is none."""
        numbers, least = self._numbers.get, self.least + self._missed
        self._missed = False
        while at < end:
            stop = buffer.find(b"\n", at, end)
            number = numbers(number_of(bytes(buffer[at:stop])), -1)
            if number >= least:
                self.next = number
                return at
            at, least = stop + 1, self.least
        return end

    def took(self) -> None:
        """The expected block is there."""
        self.least = self.next + 1
        self.next = self.least if self.least < len(self.blocks) else -1

    def missed(self) -> None:
        """Something else is there; that block may stand further down."""
        self.least, self.next, self._missed = self.next, -1, True


class Reader(Protocol):
    """Reads a run of whole lines (`fhir_eligibility.data.bulk.scanning.LineScanner`)."""

    def share(self, buffer: bytearray | bytes, at: int) -> float:
        """How much larger blocks are best made than others where such a line begins."""

    def block(self, buffer: bytearray | bytes, end: int, base: int) -> None:
        """`buffer` up to `end`, which stands at `base` in the file."""


class BlockTrace:
    """Tells what the blocks of a piece of work come to, and takes those over that an earlier run knows, where there is one."""

    def __init__(self, fingerprints: Fingerprints, salt: bytes = PLAIN, earlier: EarlierBlocks | None = None) -> None:
        """`salt` is the secret for the digests of blocks, that of the earlier run where there is one."""
        self._fingerprints = fingerprints
        self._digests_of_blocks = BlockDigests(fingerprints, salt)
        self._earlier = earlier
        self._files: list[FileBlocks] = []
        self._new: set[bytes] = set()
        self._loose: set[bytes] = set()
        self._known: dict[str, bytes] = {}
        self._open = False
        self._stored = True
        self._target = 0
        """Bytes of the next block of lines, about, where the one before tells that (0: it does not)."""
        self._lines: _BlockLines | None = None
        self._groups: list[bytes] = []
        self._digests: list[bytes] = []
        self._persons: list[bytes] = []
        self._nobodys: list[ReadRecord] = []
        self._base = 0

    def file(self, number: int, path: str, begins: bool) -> None:
        """A file is read, or a part of it; `begins` tells whether from its beginning."""
        self._files.append(FileBlocks(number, False, []))
        earlier = self._earlier.of(path) if self._earlier is not None else None
        self._lines = _BlockLines(earlier[1], begins) if earlier is not None and not earlier[0] else None
        self._stored = parts_of(path) is None
        self._target = 0

    @property
    def stored(self) -> bool:
        """Whether the file is stored as it is read."""
        return self._stored

    def packed(self) -> None:
        """The file is not stored as it is read: no later run can look into it at a place, nor know by its bytes what reading it comes to."""
        self._stored = False
        self._lines = None

    def close(self) -> None:
        """The file is read."""
        self._lines = None
        self._open = False

    def leave(self) -> None:
        """What began is no block."""
        self._open = False

    def encoded(self) -> bytes:
        """What was found, as bytes."""
        return encode(
            Traced(
                [one for one in self._files if one.found], b"".join(sorted(self._new)), b"".join(sorted(self._loose))
            )
        )

    def note(self, group: str, digest: bytes | None, kind: str, offset: int, entry: int, aside: bool = False) -> None:
        """A record was kept, or set aside (`aside`)."""
        known = self._known.get(group)
        if known is None:
            if len(self._known) > 100_000:
                self._known.clear()
            known = self._known[group] = self._fingerprints.of_group(group)
        if not aside:
            self._new.add(known)
        if not self._open:
            self._loose.add(known)
        else:
            self._groups.append(known)
            self._digests.append(digest or bytes(SIZE))
            if kind == "Patient":
                self._persons.append(PERSON.pack(known, offset - self._base, entry))

    def note_nobodys(self, record: ReadRecord) -> None:
        """A record of nobody was found."""
        if self._open:
            self._nobodys.append(record)

    # -- documents

    def takes_document(self, collector: Collecting, path: str) -> bool:
        """Whether a file is a document that the earlier run knows, which is then counted. Raises OSError."""
        earlier = self._earlier.of(path) if self._earlier is not None and self._stored else None
        if earlier is None or not earlier[0]:
            return False
        block = earlier[1][0]
        try:
            text = raw_of(path, block.length)
        except OSError:
            return False  # reading it in the ordinary way tells why
        if text is None or self._digests_of_blocks.of(text) != block.digest:
            return False
        file = self._files[-1]
        _add(collector, self._plain(block), text, file.file, 0)
        file.document = True
        file.found.append(Found(0, block.length, 0, b""))
        return True

    def begin(self, collector: Collecting, base: int) -> tuple[Any, ...]:
        """A block begins; gives what `end` takes."""
        self._open = True
        self._base = base
        self._groups, self._digests, self._persons, self._nobodys = [], [], [], []
        read = collector.collected
        before = dict(read.used), dict(read.passed), _lengths(read.kept), _lengths(read.seen)
        return (*before, _counts(read), _special(collector))

    def end(self, collector: Collecting, before: tuple[Any, ...], text: bytes | bytearray, *, document: bool) -> None:
        """A block ends: so it reads."""
        used, passed, kept, seen, counts, special = before
        self._open = False
        read, file = collector.collected, self._files[-1]
        file.document = document
        found = Found(self._base, len(text), -1, b"")
        file.found.append(found)
        places = [_place_of(record, text, self._base) for record in self._nobodys]
        nobodys = [place for place in places if place is not None]
        if _special(collector) != special or len(nobodys) < len(places) or (len(text) > LARGEST and not document):
            self._new.update(self._groups)
            self._loose.update(self._groups)
            return
        first = 0 if document else number_of(bytes(text[: text.find(b"\n")]))
        digest = self._digests_of_blocks.of(bytes(text))
        found.block = encode(
            Block(
                len(text),
                b"".join(self._groups),
                b"" if document else b"".join(self._digests),
                b"".join(self._persons),
                digest,
                first,
                _more(read.used, used),
                _more(read.passed, passed),
                tuple(map(sub, _counts(read), counts)),
                self._masked(digest, "kept", _new_ids(read.kept, kept)),
                self._masked(digest, "seen", _new_ids(read.seen, seen)),
                nobodys,
            )
        )

    def _masked(self, digest: bytes, which: str, ids: Mapping[str, bytes]) -> dict[str, bytes]:
        """The ids of a block as they are kept, and as they are again where they were kept so: under the key, where there is one."""
        return {
            kind: self._fingerprints.masked(b"%b %b %b" % (digest, which.encode(), kind.encode()), data)
            for kind, data in ids.items()
        }

    def _plain(self, block: Block) -> Block:
        if not self._fingerprints.key:
            return block
        kept, seen = self._masked(block.digest, "kept", block.kept), self._masked(block.digest, "seen", block.seen)
        return replace(block, kept=kept, seen=seen)

    # -- lines

    def lines(
        self, collector: Collecting, reader: Reader, buffer: bytes | bytearray, end: int, base: int, last: bool
    ) -> int:
        """Read whole lines, `buffer` up to `end`, which stands at `base` in the file; gives up to where that was done. `last` tells that no more come."""
        if not self._stored:
            reader.block(buffer, end, base)
            return end
        at, known = 0, self._lines
        while at < end:
            if known is not None and known.next >= 0:
                block = known.blocks[known.next]
                stop = at + block.length
                if stop > end and not last:
                    return at
                if stop <= end and self._digest(buffer, at, stop) == block.digest:
                    text = buffer[at:stop] if block.nobodys else b""
                    _add(collector, self._plain(block), text, self._files[-1].file, base + at)
                    self._files[-1].found.append(Found(base + at, block.length, known.next, b""))
                    known.took()
                    at = stop
                    continue
                known.missed()
            stop = end if known is None else known.seek(buffer, at, end)
            self._read(collector, reader, buffer, at, stop, base)
            at = stop
        return end

    def _digest(self, buffer: bytes | bytearray, at: int, stop: int) -> bytes:
        """The digest of a part of a buffer, which is not copied."""
        with memoryview(buffer) as whole, whole[at:stop] as part:
            return self._digests_of_blocks.of(part)

    def _read(
        self, collector: Collecting, reader: Reader, buffer: bytes | bytearray, at: int, end: int, base: int
    ) -> None:
        target = self._target or int(TARGET * reader.share(buffer, at))
        each = (end - at) // max(1, (end - at) // target)
        while at < end:
            stop = buffer.find(b"\n", min(at + each, end) - 1, end) + 1 or end
            text = bytes(buffer[at:stop])
            before = self.begin(collector, base + at)
            reader.block(text, len(text), base + at)
            self.end(collector, before, text, document=False)
            lines = text.count(b"\n") or 1
            if len(self._groups) * 4 > lines:
                # where most lines are kept, reading those of others in a block again costs most
                self._target = min(max(TARGET // 8, 10 * len(text) // lines), TARGET)
            else:
                self._target = 0
            at = stop


class NotingShelf:
    """Has a trace note what a shelf takes."""

    def __init__(self, shelf: AnyShelf, trace: BlockTrace) -> None:
        self._shelf = shelf
        self._trace = trace

    def add(self, record: ReadRecord) -> None:
        """Take in a record."""
        self._trace.note(record.group, record.digest, record.kind, record.offset, record.entry)
        self._shelf.add(record)


def _special(collector: Collecting) -> tuple[int, ...]:
    """How much was found so far that no block tells of."""
    read = collector.collected
    others = collector.others
    noted = sum(read.noted.parts.values()) + sum(read.noted.tests.values())
    noted += sum(sum(numbers.values()) for numbers in read.noted.modifiers.values())
    return (
        len(read.problems),
        len(getattr(read.problems, "runs", ())),
        0 if others is None else others.held,
        len(read.deleted),
        read.named,
        read.persons,
        read.unsure,
        read.special,
        len(read.pages),
        sum(one.count for one in read.odd),
        noted,
    )


def _lengths(ids: Mapping[str, array[int]]) -> dict[str, int]:
    return {kind: len(numbers) for kind, numbers in ids.items()}


def _more(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {kind: count - before.get(kind, 0) for kind, count in now.items() if count != before.get(kind, 0)}


def _new_ids(now: Mapping[str, array[int]], before: Mapping[str, int]) -> dict[str, bytes]:
    return {
        kind: numbers[before.get(kind, 0) :].tobytes()
        for kind, numbers in now.items()
        if len(numbers) > before.get(kind, 0)
    }


def _place_of(
    record: ReadRecord, text: bytes | bytearray, base: int
) -> tuple[int, int, int, int, int, int, int] | None:
    """Where a record of nobody stands in a block, which stands at `base`; None where it is not found as it was read."""
    at, url, length = text.find(record.raw), 0, 0
    if record.full_url is not None:
        address = record.full_url.encode("utf-8", "surrogatepass")
        url, length = text.find(address), len(address)
    if at < 0 or url < 0:
        return None
    return record.offset - base, record.entry, at, len(record.raw), url, length, record.home


def _add(collector: Collecting, block: Block, text: bytes | bytearray, file: int, base: int) -> None:
    """Count what a block came to, and keep its records of nobody."""
    read = collector.collected
    for offset, entry, at, length, url, size, home in block.nobodys:
        full_url = bytes(text[url : url + size]).decode("utf-8", "surrogatepass") if size else None
        collector.keep_again(bytes(text[at : at + length]), file, base + offset, entry, full_url, home)
    for counts, more in ((read.used, block.used), (read.passed, block.passed)):
        for kind, count in more.items():
            counts[kind] += count
    lines, blank, empty, of_one, of_several = block.counts
    read.lines += lines
    read.blank += blank
    read.empty += empty
    read.of_one += of_one
    read.of_several += of_several
    for ids, some in ((read.kept, block.kept), (read.seen, block.seen)):
        for kind, numbers in some.items():
            found = ids.get(kind)
            if found is None:
                found = ids[kind] = array("Q")
            found.frombytes(numbers)
