"""`screen --require-images`: archives are asked for the imaging studies of patients, some patients ahead of the verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from fhir_eligibility.compiler.criteria.rules import RuleSet
from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.data.archives.presence import BATCH
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.evaluation.confirming import IMAGING, ConfirmingEvaluator
from fhir_eligibility.evaluation.evaluator import Options
from fhir_eligibility.evaluation.holdings import Expected, expected_of
from fhir_eligibility.evaluation.imaging import identifiers_of, imaging_link
from fhir_eligibility.evaluation.records import Verdict
from fhir_eligibility.evaluation.verdict import Holding
from fhir_eligibility.runners.imaging.asking import Asker
from fhir_eligibility.runners.imaging.images import Places
from fhir_eligibility.runners.large.bounded import as_they_come, in_order
from fhir_eligibility.runners.large.questions import HeldStudies, Question, add_answers, drop_unfinished, read_answers
from fhir_eligibility.runners.large.workspace import Workspace

A = TypeVar("A")
PATIENTS = 500
# A patient with what is expected of each imaging study, by `id()` of the resource.
Waiting = tuple[Compartment, list[tuple[int, Expected]]]


class RequiredImages:
    """Images count only where the archive holds them. Give it to `screen` as `images`."""

    def __init__(self, client: Client, places: Places) -> None:
        self.client = client
        self.places = places
        self.asker = Asker(client)

    def verdicts(
        self, rules: Sequence[RuleSet], options: Options, compartments: Iterable[Compartment]
    ) -> Iterator[tuple[Compartment, list[Verdict]]]:
        """Patients in the order of the data, each with a verdict a rule set."""
        evaluators = [ConfirmingEvaluator(rule_set, options) for rule_set in rules]
        self.client.go_on()
        batches = self._batches(compartments)
        for batch in in_order(self._asked, batches, self.client.access.concurrency, self.client.stop):
            for compartment, holdings in batch:
                yield compartment, [evaluator.confirmed(compartment, holdings) for evaluator in evaluators]

    def _asked(self, batch: list[Waiting]) -> list[tuple[Compartment, dict[int, Holding]]]:
        """A batch with what archives hold; runs beside the reading of the next."""
        found = iter(self.asker.holdings([expected for _, studies in batch for _, expected in studies]))
        return [
            (compartment, {key: _without_time(next(found)) for key, _ in studies}) for compartment, studies in batch
        ]

    def _batches(self, compartments: Iterable[Compartment]) -> Iterator[list[Waiting]]:
        """Patients together until they have as many studies as one request asks for."""

        def waiting() -> Iterator[Waiting]:
            for compartment in compartments:
                keys = map(id, compartment.of_type(IMAGING))
                yield compartment, list(zip(keys, expected_studies(compartment, self.places), strict=True))

        return together(waiting(), lambda one: len(one[1]))

    def answer(self, workspace: Workspace, buckets: Iterable[int], progress: Callable[[int], None]) -> None:
        """Have the questions of buckets answered that are not answered yet. `progress` is told how many patients are. Raises OSError."""
        self.client.go_on()
        done = 0

        def batches() -> Iterator[tuple[int, list[Question]]]:
            nonlocal done
            for bucket in buckets:
                path = workspace.questions.answers(bucket)
                drop_unfinished(path)
                # where an archive was not reached it is asked again
                known = {one.key for one in read_answers(path) if one.reached}
                done += len(known)
                left = (one for one in workspace.questions.questions(bucket) if one.key not in known)
                for batch in together(left, lambda one: len(one.studies)):
                    yield bucket, batch

        def ask(about: tuple[int, list[Question]]) -> tuple[int, list[HeldStudies]]:
            bucket, batch = about
            found = iter(self.asker.holdings([expected for one in batch for expected in one.studies]))
            return bucket, [HeldStudies.of(one, [next(found) for _ in one.studies]) for one in batch]

        for bucket, answers in as_they_come(ask, batches(), self.client.access.concurrency, self.client.stop):
            add_answers(workspace.questions.answers(bucket), answers)
            done += len(answers)
            progress(done)


def expected_studies(compartment: Compartment, places: Places) -> list[Expected]:
    """What is expected of each imaging study of a patient, in the order of the record."""
    identifiers = [identifier.value for identifier in identifiers_of(compartment.patient)]
    out = []
    for study in compartment.of_type(IMAGING):
        link = imaging_link(study, criterion="", role="examined", failed=None, resolve=compartment.resolver(study))
        dicomweb, ignored = places.dicomweb, places.ignore_endpoints
        out.append(expected_of(compartment.reference, [link], identifiers, dicomweb=dicomweb, ignore_endpoints=ignored))
    return out


def together(patients: Iterable[A], studies_of: Callable[[A], int]) -> Iterator[list[A]]:
    """Patients in batches, each with as many studies as one request asks for, about."""
    batch: list[A] = []
    count = 0
    for one in patients:
        batch.append(one)
        count += studies_of(one)
        if count >= BATCH or len(batch) >= PATIENTS:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def _without_time(holding: Holding) -> Holding:
    """Verdicts on the same data and archive are the same, whenever they are made."""
    return holding.model_copy(update={"asked": None})
