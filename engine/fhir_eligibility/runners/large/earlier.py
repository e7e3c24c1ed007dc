"""The patients of an earlier run whose outputs are still as it wrote them: what they were judged from, as fingerprints, and the texts that they have in its outputs.

`fingerprints.bin` has a row a patient, in the order of the outputs: the fingerprint (`fhir_eligibility.data.bulk.fingerprints`; zeros: to be judged anew in any case), a digest of the id, how long
the patient's texts are in verdicts.ndjson and in summary.csv, and what the verdicts are, as the screening encodes that. Behind the rows stands what else the verdicts depend on, and what the outputs were when they were written.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from struct import Struct

import msgspec
import stringzilla as sz
from isal.isal_zlib import crc32

from fhir_eligibility.data.bulk.blocks import stamp_of
from fhir_eligibility.data.bulk.fingerprints import GROUP, NONE, SIZE
from fhir_eligibility.output.criteria_record import VERDICTS
from fhir_eligibility.output.folder import RUN, StagedFile

FINGERPRINTS, BLOCKS, SUMMARY, PROBLEMS = "fingerprints.bin", "blocks.bin", "summary.csv", "problems.ndjson"
ROW = Struct(f"<16s{GROUP}sQQ")
"""A row without what the verdicts are, which stands behind it."""
Row = tuple[bytes, bytes, int, int, int, int, int, bytes]
"""Of a patient the fingerprint, the digest of what the records are put together by, where the texts begin in each output and how long they are, the number of the row, and what the verdicts are."""
_PLACE = Struct("<16sQQQQ")
"""A patient in the index: fingerprint, then where the texts begin and how long they are in each output."""
_END = Struct("<32sQ8s")
_MAGIC, _FORMAT = b"FEFINGER", 3
_PART = 1 << 18
_AT_ONCE = 1 << 19
"""Patients whose places are put in order at a time."""


class Unusable(ValueError):
    """Nothing can be taken over from an earlier run; the message says why."""


class Described(msgspec.Struct):
    """What stands behind the rows. `state` is what verdicts depend on besides a patient's records, by what it is called; `files` are sizes and sums of the outputs
    that rows tell of, `header` how long the first row of the table is, `codes` how many bytes of a row tell what the verdicts are, `rows` the sum of the rows."""

    format: int
    patients: int
    state: dict[str, str]
    header: int
    codes: int
    rows: str
    files: dict[str, tuple[int, str]]

    @property
    def size(self) -> int:
        """Bytes of a row."""
        return ROW.size + self.codes


def row_of(fingerprint: bytes | None, group: bytes, lines: int, rows: int, codes: bytes) -> bytes:
    """The row of a patient whose texts are so long; `group` is the digest of what the records are put together by, `codes` what the verdicts are."""
    return ROW.pack(fingerprint or NONE, group, lines, rows) + codes


def finish(
    rows: StagedFile, outputs: Sequence[tuple[str, StagedFile]], header: int, codes: int, state: dict[str, str]
) -> str:
    """Write what stands behind the rows, all of which are written, and give the sum of these. Raises OSError."""
    for _, file in (("", rows), *outputs):
        file.stream.flush()
    size, found = _sum_of(rows.part)
    files = {name: _sum_of(file.part) for name, file in outputs}
    trailer = msgspec.json.encode(Described(_FORMAT, size // (ROW.size + codes), state, header, codes, found, files))
    rows.stream.seek(0, os.SEEK_END)
    rows.stream.write(trailer + _END.pack(sha256(trailer).digest(), len(trailer), _MAGIC))
    return found


def _sum_of(path: Path, length: int | None = None) -> tuple[int, str]:
    """Size of a file, or of its beginning, and a sum of 96 bits: whether it was damaged, or written over, since. Raises OSError.

    Who would change a file on purpose could change the sum as well, so that it need not be one that nobody can make another text for. What tells whether patients'
    data is the same is another matter (`fhir_eligibility.data.bulk.fingerprints`).
    """
    size = some = more = 0
    with path.open("rb") as stream, memoryview(bytearray(_PART)) as view:
        while count := stream.readinto(view if length is None else view[: length - size]):
            part = view[:count]
            some, more = crc32(part, some), sz.hash(part, more)
            size += count
    return size, f"{some:08x}{more:016x}"


def described(folder: Path) -> Described:
    """What an earlier run tells of itself, all of whose outputs that matter are as it wrote them. Raises Unusable, OSError."""
    path = folder / FINGERPRINTS
    if not (folder / RUN).exists():
        raise Unusable(f"{folder} holds no run that was finished ({RUN} is missing)")
    if not path.exists():
        raise Unusable(f"{folder} holds no {FINGERPRINTS}: that run was made without --keep-fingerprints")
    found = _described(path)
    rows = found.patients * found.size
    if _sum_of(path, rows) != (rows, found.rows):
        raise Unusable(f"{path} is damaged")
    for name in (VERDICTS, SUMMARY):
        if not (folder / name).exists():
            raise Unusable(f"{folder / name} is missing")
        if _sum_of(folder / name) != found.files.get(name):
            raise Unusable(f"{folder / name} is not as the run wrote it")
    return found


def _described(path: Path) -> Described:
    size = path.stat().st_size
    with path.open("rb") as stream:
        if size < _END.size:
            raise Unusable(f"{path} is cut short")
        stream.seek(size - _END.size)
        digest, length, magic = _END.unpack(stream.read(_END.size))
        if magic != _MAGIC or length > size - _END.size:
            raise Unusable(f"{path} is damaged")
        stream.seek(size - _END.size - length)
        text = stream.read(length)
    if sha256(text).digest() != digest:
        raise Unusable(f"{path} is damaged")
    try:
        found = msgspec.json.decode(text, type=Described)
    except msgspec.DecodeError:
        raise Unusable(f"{path} was written by another version of the program") from None
    if found.format != _FORMAT or size != found.patients * found.size + length + _END.size:
        raise Unusable(f"{path} was written by another version of the program")
    return found


def write_index(folder: Path, found: Described, to: Path) -> None:
    """Write the places of all patients who have a fingerprint, in the order of these. Raises OSError."""
    batches = -(-found.patients // _AT_ONCE) or 1
    with to.open("wb") as out:
        for batch in range(batches):
            mine = [
                row
                for row in (_PLACE.pack(row[0], *row[2:6]) for row in _places(folder, found) if row[0] != NONE)
                if int.from_bytes(row[:4], "big") * batches >> 32 == batch
            ]
            mine.sort()
            out.write(b"".join(mine))


def _places(folder: Path, found: Described) -> Iterator[Row]:
    lines, rows, number = 0, found.header, 0
    packing = Struct(f"{ROW.format}{found.codes}s")
    with (folder / FINGERPRINTS).open("rb") as stream:
        left = found.patients
        while left:
            together = min(left, 1 << 14)
            for fingerprint, group, some, more, codes in packing.iter_unpack(stream.read(together * packing.size)):
                yield fingerprint, group, lines, some, rows, more, number, codes
                lines += some
                rows += more
                number += 1
            left -= together


class EarlierPatients:
    """The patients of an earlier run by their fingerprints. It travels to worker processes, which open its files when they first ask."""

    def __init__(self, folder: Path, found: Described, index: Path) -> None:
        self._folder, self._found = folder, found
        self._paths = (index, folder / VERDICTS, folder / SUMMARY, folder / FINGERPRINTS)
        self._stamps = tuple(stamp_of(os.stat(path)) for path in self._paths)
        self._open: tuple[memoryview, ...] = ()
        self._last: tuple[bytes, tuple[bytes, int, int, int, int] | None] = (b"", None)

    def __getstate__(self) -> tuple[object, ...]:
        return self._folder, self._found, self._paths, self._stamps

    def __setstate__(self, state: tuple[object, ...]) -> None:
        self._folder, self._found, self._paths, self._stamps = state  # type: ignore[assignment]
        self._open, self._last = (), (b"", None)

    def knows(self, fingerprint: bytes) -> bool:
        """Whether a patient has a fingerprint. Raises OSError."""
        self._last = fingerprint, self._place(fingerprint)
        return self._last[1] is not None

    def rows(self) -> Iterator[Row]:
        """All of them, in the order of the outputs. Raises OSError."""
        return _places(self._folder, self._found)

    @property
    def codes(self) -> int:
        """How many bytes tell what the verdicts on a patient are."""
        return self._found.codes

    @property
    def row_size(self) -> int:
        """Bytes of a row of the fingerprints."""
        return self._found.size

    def outputs(self) -> tuple[memoryview, memoryview, memoryview]:
        """The outputs that rows tell of, and these: verdicts.ndjson, summary.csv, fingerprints.bin. Raises OSError."""
        _, verdicts, table, prints = self._opened()
        return verdicts, table, prints

    def _opened(self) -> tuple[memoryview, ...]:
        if not self._open:
            self._open = tuple(map(self._mapped, self._paths, self._stamps))
        return self._open

    def texts(self, fingerprint: bytes) -> tuple[memoryview, memoryview]:
        """The lines and rows of the patient who has a fingerprint, which is known."""
        asked, place = self._last
        if asked != fingerprint:
            place = self._place(fingerprint)
        assert place is not None
        _, lines, some, rows, more = place
        verdicts, table, _ = self.outputs()
        return verdicts[lines : lines + some], table[rows : rows + more]

    def _place(self, fingerprint: bytes) -> tuple[bytes, int, int, int, int] | None:
        index, size = self._opened()[0], _PLACE.size
        count = len(index) // size
        at = bisect_left(range(count), fingerprint, key=lambda i: index[i * size : i * size + SIZE].tobytes())
        if at == count or index[at * size : at * size + SIZE] != fingerprint:
            return None
        if at + 1 < count and index[(at + 1) * size : (at + 1) * size + SIZE] == fingerprint:
            return None  # two patients with the same records: nobody can tell which of them this is
        return _PLACE.unpack_from(index, at * size)

    def _mapped(self, path: Path, stamp: tuple[int, int, int]) -> memoryview:
        with path.open("rb") as stream:
            found = os.fstat(stream.fileno())
            if stamp_of(found) != stamp:
                raise OSError(f"{path} was changed while the run that goes by it was under way; run again")
            if not found.st_size:
                return memoryview(b"")
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
