"""A large screening whose images count only where archives hold them: what is asked about patients, and the verdicts on the answers."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from fhir_eligibility.data.bulk.records import Position
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.evaluation.confirming import IMAGING, ConfirmingEvaluator
from fhir_eligibility.evaluation.verdict import Holding
from fhir_eligibility.runners.imaging.confirming import expected_studies
from fhir_eligibility.runners.imaging.images import Places
from fhir_eligibility.runners.large.judged_file import Entry
from fhir_eligibility.runners.large.questions import Key, Question, read_answers
from fhir_eligibility.runners.large.workspace import Workspace
from fhir_eligibility.runners.screening.screening_work import (
    ScreeningEvaluation,
    ScreeningTotals,
    ScreeningWork,
    entry_of,
)


class ConfirmingWork(Struct, frozen=True):
    """A screening with the answers that a workspace keeps. `places` are where images are looked for."""

    screening: ScreeningWork
    workspace: Workspace
    places: Places

    @property
    def texts(self) -> int:
        """As of any screening."""
        return self.screening.texts

    @property
    def asks(self) -> bool:
        """Archives."""
        return True

    def start(self) -> ConfirmingEvaluation:
        """Get ready."""
        return ConfirmingEvaluation(self)

    def decoded(self, outcome: bytes) -> ScreeningTotals:
        """As of any screening."""
        return self.screening.decoded(outcome)


class ConfirmingEvaluation(ScreeningEvaluation):
    """The same in one process."""

    def __init__(self, work: ConfirmingWork) -> None:
        super().__init__(work.screening.judge())
        self._work = work
        rule_sets, options = work.screening.rule_sets, work.screening.options
        self._evaluators = [ConfirmingEvaluator(rule_set, options) for rule_set in rule_sets]
        self._answers: dict[Key, list[Holding]] = {}

    def questions(self, patients: Iterable[tuple[Position, Compartment]]) -> Iterable[Question]:
        """What archives are to be asked about patients; nothing about those without imaging studies."""
        for place, compartment in patients:
            studies = expected_studies(compartment, self._work.places)
            if studies:
                yield Question(place, compartment.reference, studies)

    def begin(self, bucket: int) -> ScreeningTotals:
        """An outcome of no patients."""
        answers = read_answers(self._work.workspace.questions.answers(bucket))
        self._answers = {one.key: [Holding.model_validate(x) for x in one.holdings] for one in answers}
        return super().begin(bucket)

    def entry(self, place: Position, compartment: Compartment, outcome: ScreeningTotals) -> Entry:
        """A patient judged."""
        studies = compartment.of_type(IMAGING)
        found = self._answers[place, compartment.reference] if studies else []
        holdings = {id(study): holding for study, holding in zip(studies, found, strict=True)}
        verdicts = [evaluator.confirmed(compartment, holdings) for evaluator in self._evaluators]
        return entry_of(self.judge.written(compartment, verdicts, place), outcome)
