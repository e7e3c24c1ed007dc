"""The screening of a large run, as its workers do it, and what some patients come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from fhir_eligibility.compiler.criteria.rules import RuleSet
from fhir_eligibility.data.bulk.fingerprints import NO_GROUP, Fingerprints
from fhir_eligibility.data.bulk.records import Position
from fhir_eligibility.data.patients.compartment import Compartment, Unchanged
from fhir_eligibility.evaluation.evaluator import Options
from fhir_eligibility.output.fhir_group import VALIDATED, member_of
from fhir_eligibility.output.pseudonyms import Pseudonyms
from fhir_eligibility.runners.large.earlier import EarlierPatients, row_of
from fhir_eligibility.runners.large.judged_file import Entry, place_of
from fhir_eligibility.runners.large.taken_file import Known
from fhir_eligibility.runners.screening.judging import Judge, Judged
from fhir_eligibility.runners.screening.taking import VerdictCodes, Verdicts, come_to, patient_of, taken_over

TEXTS = 2
"""Outputs that go by patient, besides the list of codes and the Group of each artifact: lines of verdicts, rows of the table."""


class FailedCriterion(Struct):
    """A criterion whose evaluation failed: for how many patients, and the place and what went wrong of the first of them."""

    patients: int
    place: Position
    message: str

    def add(self, other: FailedCriterion) -> None:
        """Count further patients."""
        self.patients += other.patients
        if other.place < self.place:
            self.place, self.message = other.place, other.message


class ScreeningTotals(Struct):
    """What some patients came to, an item an artifact: verdicts, the criteria that removed patients first, and some of those that are included.

    `failed` are the criteria whose evaluation failed, by id. `lacking` are the undetermined verdicts, by the types of which records may be missing that some answer rests on, `resting` the others of that kind.
    """

    patients: int
    verdicts: list[dict[str, int]]
    removed: list[dict[str, int]]
    some: list[list[str]]
    lacking: list[dict[str, int]]
    resting: list[dict[str, int]]
    taken: int = 0
    """Patients who were taken over from an earlier run."""
    failed: list[dict[str, FailedCriterion]] = []

    @classmethod
    def empty(cls, artifacts: int) -> ScreeningTotals:
        """Of no patients."""
        counts: list[list[dict[str, int]]] = [[{} for _ in range(artifacts)] for _ in range(4)]
        verdicts, removed, lacking, resting = counts
        failed: list[dict[str, FailedCriterion]] = [{} for _ in range(artifacts)]
        return cls(0, verdicts, removed, [[] for _ in range(artifacts)], lacking, resting, failed=failed)


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
        self.codes = VerdictCodes([evaluator.rules for evaluator in judge.evaluators])
        self.encoded: Callable[[ScreeningTotals], bytes] = _encode

    def begin(self, bucket: int) -> ScreeningTotals:
        """An outcome of no patients."""
        return ScreeningTotals.empty(len(self.judge.evaluators))

    def entry(self, place: Position, compartment: Compartment, outcome: ScreeningTotals) -> Entry:
        """A patient judged."""
        return entry_of(self.judged(compartment, place), outcome, self.keep, self.codes)

    def judged(self, compartment: Compartment, place: Position) -> Judged:
        """A patient judged, or taken over."""
        if isinstance(compartment, Unchanged):
            assert self.earlier is not None
            return taken_over(self.judge, self.earlier, compartment, place)
        return self.judge(compartment, place)

    def taken(self, known: Sequence[Known], outcome: ScreeningTotals) -> list[list[bytes]]:
        """Patients of whom it is known that nothing changed: they are counted, and their texts given for the Group of each artifact.

        Those who are in no Group are counted together, by the codes of their verdicts, without a look at their lines.
        """
        assert self.earlier is not None
        lines, _, _ = self.earlier.outputs()
        members: list[list[bytes]] = [[] for _ in self.judge.evaluators]
        verdicts_of = {codes: self.codes.verdicts(codes) for codes in {one[-1] for one in known}}
        apart = {codes for codes, found in verdicts_of.items() if found is not None and not _are_included(found)}
        nothing: list[bytes] = [b""] * len(members)
        times: dict[bytes, int] = {}
        for _, begin, length, _, _, _, codes in known:
            texts = nothing
            if codes in apart:
                times[codes] = times.get(codes, 0) + 1
            else:
                mine, verdicts = lines[begin : begin + length], verdicts_of[codes]
                patient, verdicts = come_to(mine) if verdicts is None else (patient_of(mine), verdicts)
                texts = _count(outcome, patient, verdicts)
            for column, text in zip(members, texts, strict=True):
                column.append(text)
        for codes, number in times.items():
            _count(outcome, "", verdicts_of[codes] or [], number)
        outcome.taken += len(known)
        return members

    def knows(self, fingerprint: bytes) -> bool:
        """Whether the patient with a fingerprint is taken over from an earlier run."""
        return self.earlier is not None and self.earlier.knows(fingerprint)


def entry_of(
    judged: Judged, outcome: ScreeningTotals, keep: Fingerprints | None = None, codes: VerdictCodes | None = None
) -> Entry:
    """A judged patient as it goes into a file, with `keep` with the fingerprint, and the `codes` of the verdicts; what it comes to is counted."""
    texts: list[bytes | memoryview] = [judged.lines, judged.rows]
    if judged.listed is not None:
        texts.append(judged.listed.encode())
    if keep is not None and codes is not None:
        known = NO_GROUP if judged.fingerprint is None else keep.of_group(judged.group)
        texts.append(row_of(judged.fingerprint, known, len(judged.lines), len(judged.rows), codes.of(judged.verdicts)))
    outcome.taken += judged.taken
    for number, criterion, message in judged.errors or ():
        add_failed(outcome.failed[number], criterion, FailedCriterion(1, judged.place, message))
    texts += _count(outcome, judged.patient, judged.verdicts)
    return Entry(place_of(judged.place), texts)


def add_failed(failed: dict[str, FailedCriterion], criterion: str, found: FailedCriterion) -> None:
    """Count patients for whom the evaluation of a criterion failed."""
    known = failed.get(criterion)
    if known is None:
        failed[criterion] = FailedCriterion(found.patients, found.place, found.message)
    else:
        known.add(found)


def _are_included(verdicts: Verdicts) -> bool:
    return any(verdict == "included" for _, verdict, _, _ in verdicts)


def _count(outcome: ScreeningTotals, patient: str, verdicts: Verdicts, times: int = 1) -> list[bytes]:
    """Count what a patient comes to, or several who come to the same and are included nowhere, and give the texts for the Group of each artifact."""
    outcome.patients += times
    texts = []
    for number, verdict, deciding, incomplete in verdicts:
        if incomplete is not None:
            hanging = (outcome.lacking if verdict == "undetermined" else outcome.resting)[number]
            for kind in incomplete:
                hanging[kind] = hanging.get(kind, 0) + times
        counts = outcome.verdicts[number]
        counts[verdict] = counts.get(verdict, 0) + times
        if verdict == "included":
            texts.append(member_of(patient))
            if len(outcome.some[number]) < VALIDATED:
                outcome.some[number].append(patient)
            continue
        texts.append(b"")
        if verdict == "excluded" and deciding is not None:
            counts = outcome.removed[number]
            counts[deciding] = counts.get(deciding, 0) + times
    return texts


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ScreeningTotals).decode
