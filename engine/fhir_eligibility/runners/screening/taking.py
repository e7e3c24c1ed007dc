"""Patients who are taken over: what their lines in the outputs of an earlier run come to."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

import msgspec
from stringzilla import contains

from fhir_eligibility.compiler.criteria.rules import RuleSet
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


Verdicts = list[tuple[int, str, str | None, list[str] | None]]
"""As `Judged.verdicts` has them."""
_VERDICTS = ("included", "excluded", "undetermined")
_MOST = 0xFFFF
_PATIENT, _HEAD = b'{"patient":"', 200
_decode = msgspec.json.Decoder(_Line).decode
_CRITERIA, _INCOMPLETE = b',"criteria":[', b'"incomplete":['
# Quotes within texts are escaped, so that these are names of members.


def _come_to(line: bytes) -> _Line:
    """What a line comes to: as a rule its beginning tells, and the long rest is not decoded."""
    end = line.find(_CRITERIA)
    if end < 0 or contains(line, _INCOMPLETE):
        return _decode(line)
    return _decode(line[:end] + b"}")


def come_to(lines: memoryview) -> tuple[str, Verdicts]:
    """The patient of some lines, and what each comes to, as `Judged.verdicts` have it."""
    found = [_come_to(line) for line in bytes(lines).split(b"\n") if line]
    verdicts = [
        (number, one.verdict, one.deciding[0] if one.deciding else None, one.incomplete)
        for number, one in enumerate(found)
    ]
    return found[0].patient, verdicts


class VerdictCodes:
    """What the verdicts on a patient are, in two bytes an artifact: the verdict, and which of the criteria decided it first.

    All are zero where that does not tell it all, because a criterion that decided is not one of the artifact's own, or some answer rests on what may be missing.
    """

    def __init__(self, rule_sets: Sequence[RuleSet]) -> None:
        self._ids = [list(dict.fromkeys(rule.id for rule in rules.rules)) for rules in rule_sets]
        self._numbers = [{name: number for number, name in enumerate(ids, start=1)} for ids in self._ids]
        self._packing = Struct(f"<{len(rule_sets)}H")
        self._none = bytes(self._packing.size)
        self.size = self._packing.size

    def of(self, verdicts: Verdicts) -> bytes:
        """The codes of verdicts, one an artifact, in order."""
        found: list[int] = []
        for (number, verdict, deciding, incomplete), numbers in zip(verdicts, self._numbers, strict=True):
            place = 0 if deciding is None else numbers.get(deciding, _MOST)
            code = 1 + _VERDICTS.index(verdict) + len(_VERDICTS) * place
            if incomplete is not None or code > _MOST or number != len(found):
                return self._none
            found.append(code)
        return self._packing.pack(*found)

    def verdicts(self, codes: bytes) -> Verdicts | None:
        """The verdicts that have such codes, None where the codes do not tell them."""
        if codes == self._none:
            return None
        found: Verdicts = []
        for number, (code, ids) in enumerate(zip(self._packing.unpack(codes), self._ids, strict=True)):
            place, verdict = divmod(code - 1, len(_VERDICTS))
            found.append((number, _VERDICTS[verdict], ids[place - 1] if place else None, None))
        return found


def patient_of(lines: memoryview) -> str:
    """Who some lines are about, as they name the patient: the first member tells, as a rule as it stands."""
    head = bytes(lines[:_HEAD])
    end = head.find(b'"', len(_PATIENT))
    name = head[len(_PATIENT) : end]
    if end < 0 or not head.startswith(_PATIENT) or b"\\" in name:
        return come_to(lines)[0]
    return name.decode()


def taken_over(judge: Judge, earlier: EarlierPatients, unchanged: Unchanged, place: Position) -> Judged:
    """A patient with the lines and rows of an earlier run."""
    lines, rows = earlier.texts(unchanged.taken)
    patient, verdicts = come_to(lines)
    listed = None
    codes = judge.listed_by
    if codes is not None and unchanged.read is not None:
        listed = list_row(codes, Unchanged(unchanged.read(), unchanged.reference))
    return Judged(place, patient, verdicts, lines, rows, listed, unchanged.taken, unchanged.group, True)
