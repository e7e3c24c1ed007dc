"""A measure as the workers of a large run evaluate it, a patient at a time, and what some patients come to."""

from __future__ import annotations

import datetime as dt
import json
from typing import NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from fhir_eligibility.artifacts.measures import Measure
from fhir_eligibility.compiler.criteria.library import Compiled, LoadedLibrary
from fhir_eligibility.data.bulk.records import Position
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.evaluation.cql_patient import CompartmentPatient
from fhir_eligibility.evaluation.measures import MeasureEvaluator
from fhir_eligibility.evaluation.undecided_defines import Undecided, UndecidedDefines
from fhir_eligibility.output.lines import line_of
from fhir_eligibility.output.measure_report import individual
from fhir_eligibility.output.measure_totals import Totals
from fhir_eligibility.output.pseudonymous import list_row
from fhir_eligibility.output.pseudonymous_measure import UNTOLD, PseudonymousResults
from fhir_eligibility.output.pseudonyms import Pseudonyms
from fhir_eligibility.runners.large.judged_file import Entry, place_of
from fhir_eligibility.runners.measures.measuring import LoadedMeasure, MeasureOptions, period_of, run_of, undecided_of


class UndecidedOf(NamedTuple):
    """What of a patient's answers a screening would leave undetermined."""

    place: Position
    patient: str
    found: Undecided


class MeasureOutcome(Struct):
    """What some patients came to: totals, and what a screening would leave undetermined of those that were `looked` at."""

    totals: Totals
    undecided: list[UndecidedOf] = field(default_factory=list)
    looked: int = 0

    def extend(self, more: bytes) -> None:
        """Add that of other patients, as it was `encoded`."""
        found = json.loads(more)
        self.totals.extend(found["totals"].encode())
        self.looked += found["looked"]
        for place, patient, define, plain, detail in found["undecided"]:
            file, offset, entry = place
            self.undecided.append(UndecidedOf((file, offset, entry), patient, Undecided(define, plain, detail)))

    def encoded(self) -> bytes:
        """The same as JSON text."""
        undecided = [[one.place, one.patient, *one.found] for one in self.undecided]
        found = {"totals": self.totals.encoded().decode(), "looked": self.looked, "undecided": undecided}
        return json.dumps(found).encode()


class Reporting(Struct, frozen=True):
    """What every MeasureReport tells: the period, the date, and the version of FHIR that it is written in."""

    period: tuple[str, str]
    date: str
    version: str

    @classmethod
    def of(cls, loaded: LoadedMeasure, options: MeasureOptions, version: str) -> Reporting:
        """That of a measure, evaluated with some options."""
        day = options.now.date().isoformat()
        date = options.now.astimezone(dt.UTC).isoformat(timespec="seconds")
        return cls(period_of(loaded, options) or (day, day), date, version)


class MeasureWork(Struct, frozen=True):
    """All patients against a measure. The first patients of each bucket, `look_at` of them, are looked at for answers that hang on rows which cannot be
    decided, where the library was `traced`."""

    loaded: LoadedMeasure
    options: MeasureOptions
    version: str
    traced: Compiled | None = None
    look_at: int = 0
    pseudonyms: Pseudonyms | None = None
    listed: bool = False

    @property
    def texts(self) -> int:
        """A line of results, a report, and a row of the list of codes where there is one."""
        return 2 + self.listed

    @property
    def asks(self) -> bool:
        """Nobody."""
        return False

    def start(self) -> MeasureEvaluation:
        """Get ready."""
        return MeasureEvaluation(self)

    def decoded(self, outcome: bytes) -> bytes:
        """An outcome that was kept, to be added to a `MeasureOutcome`."""
        return outcome

    def at(self, moment: dt.datetime) -> MeasureWork:
        """The same at a moment of evaluation, without what cannot travel to other processes."""
        return replace(self, loaded=replace(self.loaded, traced=None), options=replace(self.options, now=moment))


class MeasureEvaluation:
    """The same in one process."""

    def __init__(self, work: MeasureWork) -> None:
        loaded, options = work.loaded, work.options
        self.work = work
        self.measure: Measure = loaded.measure
        self._evaluator = MeasureEvaluator(loaded.measure, LoadedLibrary(loaded.compiled), options.criterion_seconds)
        self._run = run_of(loaded, options)
        self._reporting = Reporting.of(loaded, options, work.version)
        self._coded = None if work.pseudonyms is None else PseudonymousResults(work.pseudonyms)
        self._look: UndecidedDefines | None = None
        if work.look_at:
            self._look = undecided_of(loaded, work.traced, options, self._run, work.version)

    def begin(self, bucket: int) -> MeasureOutcome:
        """An outcome of no patients."""
        return MeasureOutcome(Totals(self.measure))

    def entry(self, place: Position, compartment: Compartment, outcome: MeasureOutcome) -> Entry:
        """A patient evaluated."""
        result = self._evaluator(compartment.reference, CompartmentPatient(self._run, compartment))
        patient, codes = compartment.reference, self.work.pseudonyms
        if self._coded is not None and codes is not None:
            result, patient = self._coded(result), codes.patient(patient)
        outcome.totals.add(result, place)
        if outcome.looked < self.work.look_at:
            outcome.looked += 1
            for found in self._look(compartment) if self._look is not None else ():
                shown = found if codes is None else found._replace(detail=UNTOLD)
                outcome.undecided.append(UndecidedOf(place, patient, shown))
        reporting = self._reporting
        report = individual(self.measure, result, reporting.period, reporting.date, reporting.version)
        text = json.dumps(report, ensure_ascii=False, default=str) + "\n"
        texts: list[bytes | memoryview] = [line_of(result).encode(), text.encode()]
        if self.work.listed and codes is not None:
            texts.append(list_row(codes, compartment).encode())
        return Entry(place_of(place), texts)

    def knows(self, fingerprint: bytes) -> bool:
        """Nobody is taken over from an earlier run."""
        return False

    def encoded(self, outcome: MeasureOutcome) -> bytes:
        """An outcome as it is kept."""
        return outcome.encoded()
