"""Problems of a large run, in any number: kept in files of the workspace, each sorted, and read from all of them in the order of the data."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fhir_eligibility.data.bulk.records import SummedFile
from fhir_eligibility.data.files.problems import Problem

HELD = 5_000
"""So many problems are held before they are written."""
MERGED = 200
"""So many files are read together."""

Place = tuple[int, int, int, str, str]


class _Placed(msgspec.Struct, array_like=True, gc=False):
    """A problem with what orders it."""

    place: Place
    problem: dict[str, Any]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Placed).decode


def place_of(problem: Problem, order: Mapping[str, int]) -> Place:
    """What problems are sorted by: the number of their file (-1: none of the input), and where in it."""
    entry = -1 if problem.entry is None else problem.entry
    return order.get(problem.file or "", -1), problem.offset or 0, entry, problem.code, problem.message


class ProblemShelf(list[Problem]):
    """Problems of one piece of work, or of one bucket; what cannot be held is written to files `NAME-0`, `NAME-1` and so on.

    `runs` tells size and CRC-32 of those that were written. Raises OSError.
    """

    def __init__(self, path: Path, files: Sequence[str], held: int | None = None) -> None:
        super().__init__()
        self.runs: list[tuple[int, int]] = []
        self._path = path
        self._files = files
        self._held = HELD if held is None else held
        self._order: dict[str, int] = {}

    def append(self, problem: Problem) -> None:
        """Take in a problem."""
        super().append(problem)
        if len(self) >= self._held:
            self.spill()

    def spill(self) -> None:
        """Write what is held."""
        if not self:
            return
        self._order = self._order or {path: number for number, path in enumerate(self._files)}
        found = [_Placed(place_of(problem, self._order), problem.model_dump()) for problem in self]
        found.sort(key=_place)
        self.runs.append(_write(run_path(self._path, len(self.runs)), found))
        self.clear()


def run_path(path: Path, number: int) -> Path:
    """Where a file of problems is."""
    return path.with_name(f"{path.name}-{number}")


def _place(placed: _Placed) -> Place:
    return placed.place


def _write(path: Path, problems: Iterable[_Placed]) -> tuple[int, int]:
    part = path.with_name(f"{path.name}.part")
    waiting: list[bytes] = []
    with SummedFile(part) as out:
        for placed in problems:
            packed = _encode(placed)
            waiting += (len(packed).to_bytes(4, "little"), packed)
            if len(waiting) > 1000:
                out.write(b"".join(waiting))
                waiting.clear()
        out.write(b"".join(waiting))
    part.replace(path)
    return out.size, out.sum


def _read(path: Path) -> Iterator[_Placed]:
    with path.open("rb", buffering=1 << 14) as stream:
        while head := stream.read(4):
            yield _decode(stream.read(int.from_bytes(head, "little")))


def in_order(runs: Sequence[Path], merged: Path, together: int | None = None) -> Iterator[Problem]:
    """The problems of files in the order of the data, each once; of those at the same place the ones of the first file come first.

    Where there are too many files to be read together, larger ones are made of them, named after `merged`.
    """
    together = MERGED if together is None else together
    left = list(runs)
    level = 0
    while len(left) > together:
        larger = []
        for number, start in enumerate(range(0, len(left), together)):
            path = merged.with_name(f"{merged.name}-{level}-{number}")
            _write(path, _merge(left[start : start + together]))
            larger.append(path)
        left, level = larger, level + 1
    here: Place | None = None
    shown: set[tuple[Any, ...]] = set()
    for placed in _merge(left):
        if placed.place != here:
            here = placed.place
            shown.clear()
        problem = placed.problem
        same = problem["file"], problem["offset"], problem["entry"], problem["resource"]
        if same not in shown:
            shown.add(same)
            yield Problem(**problem)


def _merge(runs: Iterable[Path]) -> Iterator[_Placed]:
    return heapq.merge(*map(_read, runs), key=_place)
