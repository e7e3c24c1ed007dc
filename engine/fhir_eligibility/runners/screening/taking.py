"""Patients who are taken over: what their lines in the outputs of an earlier run come to."""

from __future__ import annotations

import msgspec
from stringzilla import contains

from fhir_eligibility.data.bulk.records import Position
from fhir_eligibility.data.patients.compartment import Unchanged
from fhir_eligibility.output.pseudonymous import list_row
from fhir_eligibility.runners.large.earlier import EarlierPatients
from fhir_eligibility.runners.screening.judging import Judge, Judged


class _Line(msgspec.Struct):
    """What a line of verdicts.ndjson comes to."""

    patient: str
    verdict: str
    deciding: list[str] = []
    incomplete: list[str] | None = None


_decode = msgspec.json.Decoder(_Line).decode
_CRITERIA, _INCOMPLETE = b',"criteria":[', b'"incomplete":['
# Quotes within texts are escaped, so that these are names of members.


def _come_to(line: bytes) -> _Line:
    """What a line comes to: as a rule its beginning tells, and the long rest is not decoded."""
    end = line.find(_CRITERIA)
    if end < 0 or contains(line, _INCOMPLETE):
        return _decode(line)
    return _decode(line[:end] + b"}")


def come_to(lines: memoryview) -> tuple[str, list[tuple[int, str, str | None, list[str] | None]]]:
    """The patient of some lines, and what each comes to, as `Judged.verdicts` have it."""
    found = [_come_to(line) for line in bytes(lines).split(b"\n") if line]
    verdicts = [
        (number, one.verdict, one.deciding[0] if one.deciding else None, one.incomplete)
        for number, one in enumerate(found)
    ]
    return found[0].patient, verdicts


def taken_over(judge: Judge, earlier: EarlierPatients, unchanged: Unchanged, place: Position) -> Judged:
    """A patient with the lines and rows of an earlier run."""
    lines, rows = earlier.texts(unchanged.taken)
    patient, verdicts = come_to(lines)
    listed = None
    codes = judge.listed_by
    if codes is not None and unchanged.read is not None:
        listed = list_row(codes, Unchanged(unchanged.read(), unchanged.reference))
    return Judged(place, patient, verdicts, lines, rows, listed, unchanged.taken, unchanged.group, True)
