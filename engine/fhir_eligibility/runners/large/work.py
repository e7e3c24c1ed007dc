"""What a large run finds out about each patient: a screening, or a measure. It travels to the worker processes, which put patients together and ask it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from fhir_eligibility.data.bulk.records import Position
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.runners.large.judged_file import Entry
from fhir_eligibility.runners.large.questions import Question
from fhir_eligibility.runners.large.taken_file import Known


class Evaluating(Protocol):
    """The work in one process, ready to begin."""

    def begin(self, bucket: int) -> Any:
        """An empty outcome, for the patients of a bucket."""

    def entry(self, place: Position, compartment: Compartment, outcome: Any) -> Entry:
        """The texts of a patient, one an output; what the patient comes to is added to the outcome."""

    def knows(self, fingerprint: bytes) -> bool:
        """Whether the patient with a fingerprint is taken over from an earlier run."""

    def encoded(self, outcome: Any) -> bytes:
        """An outcome as it is kept."""


class TakesOver(Evaluating, Protocol):
    """Work that takes patients over from an earlier run."""

    def taken(self, known: Sequence[Known], outcome: Any) -> list[list[bytes]]:
        """The texts of those of whom it is known that nothing changed which the earlier outputs do not hold, an output each; what they come to is added to the outcome."""


class Asking(Evaluating, Protocol):
    """Work that needs answers from elsewhere, which are kept in the workspace by bucket."""

    def questions(self, patients: Iterable[tuple[Position, Compartment]]) -> Iterable[Question]:
        """What is to be asked about patients."""


class Work(Protocol):
    """What is to be found out. It is pickled where processes share nothing."""

    @property
    def texts(self) -> int:
        """How many texts there are of a patient: outputs that go by patient."""

    @property
    def asks(self) -> bool:
        """Whether others are asked about the patients before they are evaluated; it is then started as `Asking`."""

    def start(self) -> Evaluating:
        """Get ready, in a worker process."""

    def decoded(self, outcome: bytes) -> Any:
        """An outcome that was kept."""
