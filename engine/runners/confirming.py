"""`screen --require-images`: archives are asked for the imaging studies of patients, some patients ahead of the verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from engine.compiler.rules import RuleSet
from engine.data.compartment import Compartment
from engine.data.dicomweb.client import Client
from engine.data.dicomweb.presence import BATCH
from engine.evaluation.confirming import IMAGING, ConfirmingEvaluator
from engine.evaluation.evaluator import Options
from engine.evaluation.holdings import Expected, expected_of
from engine.evaluation.imaging import identifiers_of, imaging_link
from engine.evaluation.records import Verdict
from engine.evaluation.verdict import Holding
from engine.runners.asking import Asker
from engine.runners.bounded import in_order
from engine.runners.images import Places

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
        batch: list[Waiting] = []
        count = 0
        for compartment in compartments:
            studies = [(id(study), self._expected(compartment, study)) for study in compartment.of_type(IMAGING)]
            batch.append((compartment, studies))
            count += len(studies)
            if count >= BATCH or len(batch) >= PATIENTS:
                yield batch
                batch, count = [], 0
        if batch:
            yield batch

    def _expected(self, compartment: Compartment, study: dict[str, Any]) -> Expected:
        link = imaging_link(study, criterion="", role="examined", failed=None, resolve=compartment.resolver(study))
        identifiers = [identifier.value for identifier in identifiers_of(compartment.patient)]
        return expected_of(
            compartment.reference,
            [link],
            identifiers,
            dicomweb=self.places.dicomweb,
            ignore_endpoints=self.places.ignore_endpoints,
        )


def _without_time(holding: Holding) -> Holding:
    """Verdicts on the same data and archive are the same, whenever they are made."""
    return holding.model_copy(update={"asked": None})
