"""One patient judged: the lines and rows that go into the outputs, in a form that travels between processes and waits on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
from stringzilla import contains

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.compiler.criteria.parameters import check_given
from fhir_eligibility.compiler.criteria.rules import RuleSet, cql_codes
from fhir_eligibility.data.bulk.records import Position
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.evaluation.evaluator import Evaluator, Options
from fhir_eligibility.evaluation.records import CriterionResult, Verdict, lines_of_verdicts
from fhir_eligibility.output.pseudonymous import PseudonymousVerdicts, list_row
from fhir_eligibility.output.pseudonyms import Pseudonyms
from fhir_eligibility.output.summary import Columns, Summary

ERROR = f'"reason":"{Reason.ERROR}"'.encode()


class Judged(msgspec.Struct, array_like=True, gc=False):
    """The verdicts on one patient. `place` orders patients as the data does.

    `verdicts` are (artifact number, verdict, first deciding criterion, types of which records may be missing that an answer rests on).
    """

    place: Position
    patient: str
    verdicts: list[tuple[int, str, str | None, list[str] | None]]
    lines: memoryview
    rows: bytes | memoryview
    listed: str | None = None
    """The row that tells whose a code is, where there is a list of them."""
    fingerprint: bytes | None = None
    """What tells that the answers hold as long as it is the same; None where nothing does."""
    group: str = ""
    """What the records are put together by, where there is a fingerprint."""
    taken: bool = False
    """Whether the texts are those of an earlier run."""
    errors: list[tuple[int, str, str]] | None = None
    """Criteria whose evaluation failed: artifact number, id of the criterion, what went wrong."""


def columns_of(rule_sets: Sequence[RuleSet]) -> list[Columns]:
    """The criteria of every artifact, as the table has them."""
    return [
        Columns(rules.artifact, rules.version, tuple((rule.id, rule.title) for rule in rules.rules))
        for rules in rule_sets
    ]


class Judge:
    """Judges patients by some rule sets."""

    def __init__(
        self,
        rule_sets: Sequence[RuleSet],
        options: Options,
        pseudonyms: Pseudonyms | None = None,
        *,
        listed: bool = False,
    ) -> None:
        """With `pseudonyms`, codes are written; `listed` where it is told whose each is."""
        check_given((code.compiled for code in cql_codes(rule_sets)), options.parameters)
        self.options = options
        self.evaluators = [Evaluator(rule_set, options) for rule_set in rule_sets]
        self._summary = Summary(columns_of(rule_sets))
        self.header = self._summary.header
        self._coded = None if pseudonyms is None else PseudonymousVerdicts(pseudonyms, rule_sets)
        self._listed = listed

    @property
    def listed_by(self) -> Pseudonyms | None:
        """What makes the codes of which there is a list, None where there is none."""
        return self._coded.pseudonyms if self._coded is not None and self._listed else None

    def __call__(self, compartment: Compartment, place: Position = (0, 0, 0)) -> Judged:
        """A patient judged."""
        return self.written(compartment, [evaluator(compartment) for evaluator in self.evaluators], place)

    def written(self, compartment: Compartment, verdicts: Sequence[Verdict], place: Position = (0, 0, 0)) -> Judged:
        """Verdicts on a patient, one a rule set, as they are written."""
        patient, listed = compartment.reference, None
        if self._coded is not None:
            verdicts = [self._coded(verdict, compartment) for verdict in verdicts]
            patient = self._coded.pseudonyms.patient(patient)
            listed = list_row(self._coded.pseudonyms, compartment) if self._listed else None
        found: list[tuple[int, str, str | None, list[str] | None]] = [
            (number, verdict.verdict, verdict.deciding[0] if verdict.deciding else None, verdict.incomplete)
            for number, verdict in enumerate(verdicts)
        ]
        rows = "".join([self._summary.row(verdict, number) for number, verdict in enumerate(verdicts)])
        lines, mark = lines_of_verdicts(verdicts), compartment.fingerprint
        # an error may be one of the moment: a limit of time or of memory
        errors = list(_errors_of(verdicts)) if contains(lines, ERROR) else None
        value = None if mark is None or errors is not None else mark.value
        group = "" if mark is None or value is None else mark.group
        return Judged(
            place, patient, found, memoryview(lines), rows.encode(), listed, value, group, errors=errors or None
        )


def _errors_of(verdicts: Sequence[Verdict]) -> Iterator[tuple[int, str, str]]:
    """The criteria whose evaluation failed, members of combinations among them, each once an artifact."""
    for number, verdict in enumerate(verdicts):
        for criterion, message in failed_criteria(verdict.criteria).items():
            yield number, criterion, message


def failed_criteria(criteria: Iterable[CriterionResult]) -> dict[str, str]:
    """The ids of the criteria among some, and among the members of combinations, whose evaluation failed, and what went wrong."""
    found: dict[str, str] = {}
    for one in criteria:
        if one.members:
            for criterion, message in failed_criteria(one.members).items():
                found.setdefault(criterion, message)
        elif one.reason == Reason.ERROR:
            found.setdefault(one.id, one.detail or "")
    return found
