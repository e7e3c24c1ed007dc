"""Judged patients in files: they can be put in order range by range, and what is written is whole."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.data.bulk.records import Position, SummedFile
from fhir_eligibility.runners.large.judged_file import (
    Entry,
    JudgedFile,
    JudgedWriter,
    RangeWriter,
    merge,
    place_of,
    ranges_of,
)
from fhir_eligibility.runners.large.taken_file import TakenFile, known_packing, write_taken


def judged_files(folder: Path, patients: list[tuple[Position, list[bytes]]], files: int) -> list[JudgedFile]:
    """Patients in the order of the data, spread over some files by chance."""
    chance = random.Random(len(patients))
    spread: list[list[Entry]] = [[] for _ in range(files)]
    for place, texts in patients:
        chance.choice(spread).append(Entry(place_of(place), texts))
    out = []
    for number, mine in enumerate(spread):
        with SummedFile(folder / str(number)) as stream:
            writer = JudgedWriter(stream, 3)
            for entry in mine:
                writer.add(entry)
            writer.finish()
        out.append(JudgedFile(folder / str(number), writer.patients, tuple(writer.lengths)))
    return out


def made_patients(count: int) -> list[tuple[Position, list[bytes]]]:
    chance = random.Random(count)
    places = sorted((chance.randrange(3), chance.randrange(10**9), chance.randrange(-1, 2)) for _ in range(count))
    return [
        (place, [b"%d" % n * chance.randrange(40), b"r%d" % n, b"m%d" % n if n % 3 else b""])
        for n, place in enumerate(places)
    ]


def test_places_sort_as_bytes() -> None:
    places = [(0, 0, -1), (0, 0, 0), (0, 0, 255), (0, 0, 256), (0, 1, -1), (0, 1 << 40, 3), (1, 0, -1), (256, 5, 0)]
    assert sorted(map(place_of, reversed(places))) == list(map(place_of, places))


@pytest.mark.parametrize("count", [0, 1, 2, 500])
@pytest.mark.parametrize("files", [1, 7])
@pytest.mark.parametrize("size", [1, 300, 10**6])
def test_ranges_put_together_are_all_patients_in_order(tmp_path: Path, count: int, files: int, size: int) -> None:
    patients = made_patients(count)
    written = judged_files(tmp_path, patients, files)
    outputs = [bytearray(), bytearray(), bytearray()]
    ranges = ranges_of(written, size)
    assert sum(one.patients for one in ranges) == count
    assert count < 500 or (len(ranges) > 5) == (size < 10**6)
    expected = [b"".join(texts[n] for _, texts in patients) for n in range(3)]
    writer = RangeWriter(written)
    for one in ranges:
        assert one.offsets == tuple(map(len, outputs))
        for output, texts in zip(outputs, writer.columns(one.cuts), strict=True):
            output += b"".join(texts)
    assert [bytes(output) for output in outputs] == expected
    paths = [tmp_path / f"out-{number}" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(b"head"[:number])
    for one in reversed(ranges):
        writer.write(one, [(path, number) for number, path in enumerate(paths)])
    assert [path.read_bytes() for path in paths] == [b"head"[:number] + expected[number] for number in range(3)]


class Outputs:
    """The outputs of an earlier run, as `EarlierPatients` gives them: other patients stand there, too, and in another order."""

    codes, row_size = 2, 5

    def __init__(self) -> None:
        self.texts = bytearray(b"other lines"), bytearray(b"header"), bytearray(b"other")

    def add(self, lines: bytes, rows: bytes, row: bytes) -> tuple[int, int, int, int, int]:
        found = len(self.texts[0]), len(lines), len(self.texts[1]), len(rows), len(self.texts[2]) // self.row_size
        for held, text in zip(self.texts, (lines, rows, row), strict=True):
            held += text
        return found

    def outputs(self) -> tuple[memoryview, ...]:
        return tuple(memoryview(bytes(held)) for held in self.texts)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.binary(max_size=9),
            st.binary(max_size=3),
            st.lists(st.binary(max_size=4), min_size=2, max_size=2),
        ),
        max_size=30,
    ),
    st.randoms(use_true_random=False),
    st.integers(1, 60),
)
def test_patients_who_are_taken_over_stand_among_those_who_are_judged(
    patients: list[tuple[bool, bytes, bytes, list[bytes]]], chance: random.Random, size: int
) -> None:
    earlier, known = Outputs(), [[], []]
    members: list[list[list[bytes]]] = [[[], []], [[], []]]
    expected = [b"", b"", b"", b"", b""]
    pack = known_packing(earlier.codes).pack
    with tempfile.TemporaryDirectory() as name:
        folder, files = Path(name), []
        with SummedFile(folder / "judged") as stream:
            writer = JudgedWriter(stream, 5)
            for number in sorted(range(len(patients)), key=lambda number: chance.random()):
                taken, lines, rows, _ = patients[number]
                if taken:
                    bucket = chance.randrange(2)
                    told = earlier.add(lines, rows, b"%05d" % number)
                    known[bucket].append((place_of((0, number, -1)), *told, b"xy", number))
            for number, (taken, lines, rows, texts) in enumerate(patients):
                expected = [
                    held + text for held, text in zip(expected, (lines, rows, b"%05d" % number, *texts), strict=True)
                ]
                if not taken:
                    writer.add(Entry(place_of((0, number, -1)), [lines, rows, b"%05d" % number, *texts]))
            writer.finish()
        files.append(JudgedFile(folder / "judged", writer.patients, tuple(writer.lengths)))
        for bucket, some in enumerate(known):
            some.sort()
            for column, output in zip(members[bucket], range(2), strict=True):
                column += [patients[one[-1]][3][output] for one in some]
            if some:
                with SummedFile(folder / str(bucket)) as stream:
                    mine = [one[:-1] for one in some]
                    packed = b"".join(pack(*one) for one in mine)
                    done = write_taken(stream, mine, packed, members[bucket], earlier.row_size)
                files.append(TakenFile(folder / str(bucket), done.patients, done.lengths, earlier))
        ranges = ranges_of(files, size)
        assert sum(one.patients for one in ranges) == len(patients)
        found = [b"", b"", b"", b"", b""]
        for one in ranges:
            assert one.offsets == tuple(map(len, found))
            columns = RangeWriter(files).columns(one.cuts)
            found = [held + b"".join(texts) for held, texts in zip(found, columns, strict=True)]
        assert found == expected


@pytest.mark.parametrize("written", [None, 0, 5])
def test_texts_are_whole_however_the_system_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int | None
) -> None:
    """Without a way to write several texts at once, and where it writes only some bytes of them."""
    patients = made_patients(50)
    files = judged_files(tmp_path, patients, 2)
    if written is None:
        monkeypatch.delattr(os, "pwritev")
    else:
        monkeypatch.setattr(os, "pwritev", lambda handle, texts, at: os.pwrite(handle, b"".join(texts)[:written], at))
    paths = [tmp_path / f"out-{number}" for number in range(3)]
    for path in paths:
        path.touch()
    writer = RangeWriter(files)
    for one in ranges_of(files, 300):
        writer.write(one, [(path, 0) for path in paths])
    assert [path.read_bytes() for path in paths] == [b"".join(texts[n] for _, texts in patients) for n in range(3)]


def test_files_merged_are_all_patients_in_order(tmp_path: Path) -> None:
    patients = made_patients(300)
    merged = list(merge(judged_files(tmp_path, patients, 5), 1))
    assert [(one.place, list(map(bytes, one.texts))) for one in merged] == [
        (place_of(place), texts) for place, texts in patients
    ]


def test_judged_patients_that_are_cut_short_are_told(tmp_path: Path) -> None:
    (file,) = judged_files(tmp_path, made_patients(9), 1)
    assert len(list(file.entries(100))) == 9
    file.path.write_bytes(file.path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is cut short"):
        list(file.entries(100))
    with pytest.raises(ValueError, match="is cut short"):
        ranges_of([file], 10)
