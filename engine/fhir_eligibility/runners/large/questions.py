"""What archives are asked in a large run, and what they answered: kept in files of the workspace, so that nothing that was answered is asked again.

Each bucket of patients has a file of questions, which is whole or not there, and one of answers, to which each batch is added as soon as it is there. What a
run that was killed did not write to its end is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from isal.isal_zlib import crc32

from fhir_eligibility.data.bulk.records import Position, SummedFile
from fhir_eligibility.evaluation.holdings import Expected
from fhir_eligibility.evaluation.verdict import Holding, HoldingState

_HEAD = 8
"""Bytes before each part of a file of answers: how long it is, and its CRC-32."""
Key = tuple[Position, str]
"""A patient: the place in the data, and the reference."""


class Question(msgspec.Struct, array_like=True, gc=False):
    """What is expected of the imaging studies of a patient, in the order of the record."""

    place: Position
    patient: str
    studies: list[Expected]

    @property
    def key(self) -> Key:
        """The patient."""
        return self.place, self.patient


class HeldStudies(msgspec.Struct, array_like=True, gc=False):
    """What archives hold of the imaging studies of a patient, in the same order, as plain data."""

    place: Position
    patient: str
    holdings: list[dict[str, Any]]

    @classmethod
    def of(cls, question: Question, holdings: Iterable[Holding]) -> HeldStudies:
        """The answer to a question. When it was asked is left out: verdicts on the same data and archive are the same, whenever they are made."""
        found = [one.model_dump(mode="json", exclude_none=True, exclude={"asked"}) for one in holdings]
        return cls(question.place, question.patient, found)

    @property
    def key(self) -> Key:
        """The patient."""
        return self.place, self.patient

    @property
    def reached(self) -> bool:
        """Whether every study was told of by an archive."""
        return all(one["state"] != HoldingState.UNREACHABLE.value for one in self.holdings)


_encode = msgspec.msgpack.Encoder().encode
_question = msgspec.msgpack.Decoder(Question).decode
_answers = msgspec.msgpack.Decoder(list[HeldStudies]).decode


def write_questions(out: SummedFile, questions: Iterable[Question]) -> None:
    """Write questions one after the other. Raises OSError."""
    for question in questions:
        text = _encode(question)
        out.write(len(text).to_bytes(4, "little") + text)


def read_questions(path: Path) -> Iterator[Question]:
    """The questions of a file. Raises OSError."""
    with path.open("rb") as stream:
        while head := stream.read(4):
            yield _question(stream.read(int.from_bytes(head, "little")))


def add_answers(path: Path, answers: list[HeldStudies]) -> None:
    """Add answers to a file. Raises OSError."""
    text = _encode(answers)
    with path.open("ab", buffering=0) as stream:
        left = memoryview(len(text).to_bytes(4, "little") + crc32(text).to_bytes(4, "little") + text)
        while left:
            left = left[stream.write(left) :]


def read_answers(path: Path) -> Iterator[HeldStudies]:
    """The answers of a file up to the first part that is not whole; of two to one question the later counts. Raises OSError."""
    for answers, _ in _parts(path):
        yield from answers


def drop_unfinished(path: Path) -> None:
    """Cut off what stands after the last whole part of a file of answers. Raises OSError."""
    if path.exists():
        end = max((end for _, end in _parts(path)), default=0)
        if end < path.stat().st_size:
            with path.open("r+b") as stream:
                stream.truncate(end)


def _parts(path: Path) -> Iterator[tuple[list[HeldStudies], int]]:
    """The parts of a file of answers, each with where it ends."""
    if not path.exists():
        return
    end = 0
    with path.open("rb") as stream:
        while len(head := stream.read(_HEAD)) == _HEAD:
            length = int.from_bytes(head[:4], "little")
            text = stream.read(length)
            if len(text) != length or crc32(text) != int.from_bytes(head[4:], "little"):
                return
            end += _HEAD + length
            yield _answers(text), end
