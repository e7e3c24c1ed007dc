"""The screening of a large run, as its workers do it, and what some patients come to."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct

from fhir_eligibility.compiler.criteria.rules import RuleSet
from fhir_eligibility.data.bulk.fingerprints import NO_GROUP, Fingerprints
from fhir_eligibility.data.bulk.records import Position
from fhir_eligibility.data.patients.compartment import Compartment, Unchanged
from fhir_eligibility.evaluation.evaluator import Options
from fhir_eligibility.output.fhir_group import VALIDATED, member_of
from fhir_eligibility.output.pseudonyms import Pseudonyms
from fhir_eligibility.runners.large.earlier import EarlierPatients, Row, row_of
from fhir_eligibility.runners.large.judged_file import Entry, place_of
from fhir_eligibility.runners.screening.judging import Judge, Judged
from fhir_eligibility.runners.screening.taking import come_to, taken_over

TEXTS = 2
"""Outputs that go by patient, besides the list of codes and the Group of each artifact: lines of verdicts, rows of the table."""


class ScreeningTotals(Struct):
    """What some patients came to, an item an artifact: verdicts, the criteria that removed patients first, and some of those that are included.

    `lacking` are the undetermined verdicts, by the types of which records may be missing that some answer rests on, `resting` the others of that kind.
    """

    patients: int
    verdicts: list[dict[str, int]]
    removed: list[dict[str, int]]
    some: list[list[str]]
    lacking: list[dict[str, int]]
    resting: list[dict[str, int]]
    taken: int = 0
    """Patients who were taken over from an earlier run."""

    @classmethod
    def empty(cls, artifacts: int) -> ScreeningTotals:
        """Of no patients."""
        counts: list[list[dict[str, int]]] = [[{} for _ in range(artifacts)] for _ in range(4)]
        verdicts, removed, lacking, resting = counts
        return cls(0, verdicts, removed, [[] for _ in range(artifacts)], lacking, resting)


class ScreeningWork(Struct, frozen=True):
    """All patients against some rule sets."""

    rule_sets: tuple[RuleSet, ...]
    options: Options
    pseudonyms: Pseudonyms | None = None
    listed: bool = False
    keep: Fingerprints | None = None
    """What makes the fingerprints of patients, where they are kept."""
    earlier: EarlierPatients | None = None
    """Whom an earlier run knows, where there is one that helps."""

    @property
    def texts(self) -> int:
        """Lines of verdicts, rows of the table, a row of the list of codes and one of fingerprints where there are such, and a member of the Group of each artifact."""
        return TEXTS + self.listed + (self.keep is not None) + len(self.rule_sets)

    @property
    def asks(self) -> bool:
        """Nobody."""
        return False

    def start(self) -> ScreeningEvaluation:
        """Get ready."""
        return ScreeningEvaluation(self.judge(), self.keep, self.earlier)

    def judge(self) -> Judge:
        """What judges patients."""
        return Judge(self.rule_sets, self.options, self.pseudonyms, listed=self.listed)

    def decoded(self, outcome: bytes) -> ScreeningTotals:
        """An outcome that was kept."""
        return _decode(outcome)


class ScreeningEvaluation:
    """The same in one process."""

    def __init__(self, judge: Judge, keep: Fingerprints | None = None, earlier: EarlierPatients | None = None) -> None:
        self.judge = judge
        self.keep = keep
        self.earlier = earlier
        self.encoded: Callable[[ScreeningTotals], bytes] = _encode

    def begin(self, bucket: int) -> ScreeningTotals:
        """An outcome of no patients."""
        return ScreeningTotals.empty(len(self.judge.evaluators))

    def entry(self, place: Position, compartment: Compartment, outcome: ScreeningTotals) -> Entry:
        """A patient judged."""
        return entry_of(self.judged(compartment, place), outcome, self.keep)

    def judged(self, compartment: Compartment, place: Position) -> Judged:
        """A patient judged, or taken over."""
        if isinstance(compartment, Unchanged):
            assert self.earlier is not None
            return taken_over(self.judge, self.earlier, compartment, place)
        return self.judge(compartment, place)

    def taken(self, place: Position, row: Row, outcome: ScreeningTotals) -> Entry:
        """A patient of whom it is known that nothing changed: as of `entry`."""
        assert self.earlier is not None
        fingerprint, group, *at = row
        lines, rows = self.earlier.texts_at(*at)
        patient, verdicts = come_to(lines)
        texts: list[bytes | memoryview] = [lines, rows, row_of(fingerprint, group, len(lines), len(rows))]
        outcome.taken += 1
        _count(outcome, patient, verdicts, texts)
        return Entry(place_of(place), texts)

    def knows(self, fingerprint: bytes) -> bool:
        """Whether the patient with a fingerprint is taken over from an earlier run."""
        return self.earlier is not None and self.earlier.knows(fingerprint)


def entry_of(judged: Judged, outcome: ScreeningTotals, keep: Fingerprints | None = None) -> Entry:
    """A judged patient as it goes into a file, with `keep` with the fingerprint; what it comes to is counted."""
    texts: list[bytes | memoryview] = [judged.lines, judged.rows]
    if judged.listed is not None:
        texts.append(judged.listed.encode())
    if keep is not None:
        known = NO_GROUP if judged.fingerprint is None else keep.of_group(judged.group)
        texts.append(row_of(judged.fingerprint, known, len(judged.lines), len(judged.rows)))
    outcome.taken += judged.taken
    _count(outcome, judged.patient, judged.verdicts, texts)
    return Entry(place_of(judged.place), texts)


def _count(
    outcome: ScreeningTotals,
    patient: str,
    verdicts: Iterable[tuple[int, str, str | None, list[str] | None]],
    texts: list[bytes | memoryview],
) -> None:
    """Count what a patient comes to, as `Judged.verdicts` have it, and add the texts for the Group of each artifact."""
    outcome.patients += 1
    for number, verdict, deciding, incomplete in verdicts:
        if incomplete is not None:
            hanging = (outcome.lacking if verdict == "undetermined" else outcome.resting)[number]
            for kind in incomplete:
                hanging[kind] = hanging.get(kind, 0) + 1
        counts = outcome.verdicts[number]
        counts[verdict] = counts.get(verdict, 0) + 1
        if verdict == "included":
            texts.append(member_of(patient))
            if len(outcome.some[number]) < VALIDATED:
                outcome.some[number].append(patient)
            continue
        texts.append(b"")
        if verdict == "excluded" and deciding is not None:
            counts = outcome.removed[number]
            counts[deciding] = counts.get(deciding, 0) + 1


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ScreeningTotals).decode
