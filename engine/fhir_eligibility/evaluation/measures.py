"""A measure on one patient: who, or which episodes, are in its populations, with observations, strata and supplemental data.

Populations that depend on a define without an answer count as not in them, as measures have it; that there was no answer, and why, is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from pydantic import Field

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.values.element import unit_of
from fhir_eligibility.algebra.values.quantity import CALENDAR_WORDS, Quantity
from fhir_eligibility.artifacts.measures import Group, Measure, Population, Stratifier
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria.library import LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.compiler.runtime.printing import as_json
from fhir_eligibility.evaluation.cql_patient import CompartmentPatient
from fhir_eligibility.evaluation.in_doubt import Certainty
from fhir_eligibility.evaluation.incomplete import with_gaps
from fhir_eligibility.evaluation.time_limit import SECONDS, limited
from fhir_eligibility.evaluation.verdict import Record

IP, DENOMINATOR, NUMERATOR = "initial-population", "denominator", "numerator"
EXCLUSION, EXCEPTION, NUMERATOR_EXCLUSION = "denominator-exclusion", "denominator-exception", "numerator-exclusion"
MEASURE_POPULATION, MEASURE_EXCLUSION = "measure-population", "measure-population-exclusion"
OBSERVATION = "measure-observation"


class PopulationResult(Record):
    """How many of one patient are in a population; `unknown` says why its define had no answer."""

    id: str
    code: str
    count: int
    episodes: list[str] = Field(
        default_factory=list, description="the episodes, as Type/id, where the basis is not boolean"
    )
    unknown: str | None = Field(
        None, description="why the define had no answer (it counts as not met), or why there may be more episodes"
    )


class ObservationResult(Record):
    """The values of a measure observation."""

    id: str
    aggregate: str | None
    values: list[Any]
    unknown: str | None = None


class StratumResult(Record):
    """The value of a stratifier (a list of those of its components), for the patient or for episodes, and the populations and observations there."""

    id: str
    value: Any
    populations: dict[str, int]
    observations: dict[str, list[Any]] = Field(default_factory=dict)
    unknown: str | None = Field(None, description="why the stratifier has no value")


class GroupResult(Record):
    """One group of a measure for one patient."""

    id: str
    populations: list[PopulationResult]
    observations: list[ObservationResult] = Field(default_factory=list)
    strata: list[StratumResult] = Field(default_factory=list)


class MeasureResult(Record):
    """One patient against one measure."""

    patient: str
    measure: str
    groups: list[GroupResult]
    supplemental: dict[str, Any] = Field(default_factory=dict)


def apply_hierarchy(members: dict[str, bool], scoring: str) -> dict[str, bool]:
    """Membership of one patient or episode as the populations depend on each other (FHIR: Clinical Quality Measures)."""
    found = dict(members)

    def leave(*codes: str) -> None:
        for code in codes:
            if code in found:
                found[code] = False

    if not found.get(IP, True):
        return dict.fromkeys(found, False)
    if scoring == "continuous-variable":
        if not found.get(MEASURE_POPULATION):
            leave(MEASURE_EXCLUSION)
        return found
    if scoring == "cohort":
        return found
    if scoring == "ratio":
        if not found.get(DENOMINATOR, True):
            leave(EXCLUSION, EXCEPTION)
        elif found.get(EXCLUSION):
            leave(EXCEPTION)
        if not found.get(NUMERATOR):
            leave(NUMERATOR_EXCLUSION)
        return found
    if not found.get(DENOMINATOR, True):
        leave(EXCLUSION, EXCEPTION, NUMERATOR, NUMERATOR_EXCLUSION)
    elif found.get(EXCLUSION):
        leave(NUMERATOR, NUMERATOR_EXCLUSION, EXCEPTION)
    elif not found.get(NUMERATOR):
        leave(NUMERATOR_EXCLUSION)
    else:
        leave(EXCEPTION)
    return found


class MeasureEvaluator:
    """Evaluates one measure; make one and call it for every patient."""

    def __init__(self, measure: Measure, loaded: LoadedLibrary, seconds: float = SECONDS) -> None:
        """A define that takes longer than `seconds` for a patient has no answer (0: no limit)."""
        self.measure = measure
        self.loaded = loaded
        self._certainty = Certainty(load_model(loaded.compiled.fhir or "r4"))
        self.seconds = seconds

    def __call__(self, patient: str, environment: Run) -> MeasureResult:
        """The result for one patient. Never raises for data: what fails has no answer, and says why."""
        groups = [self.group(group, environment) for group in self.measure.groups]
        supplemental = {}
        for item in self.measure.supplemental:
            value, problem = self.value(item.define, environment)
            supplemental[item.id] = as_json(value) if problem is None else {"unknown": problem}
        return MeasureResult(patient=patient, measure=self.measure.key, groups=groups, supplemental=supplemental)

    def value(self, define: str, environment: Run) -> tuple[Any, str | None]:
        """The value of a define, or None and why there is none; of a list to which records may be missing, what is there and why there may be more."""
        try:
            what = f"the define {define!r}"
            value = limited(self.seconds, what, self.loaded.evaluate, define, environment)
        except (EvaluationError, LookupError) as error:
            return None, str(error)
        if not isinstance(environment, CompartmentPatient):
            return value, None
        certain, why = with_gaps(self.loaded.compiled, define, value, environment.compartment)
        doubt = self.doubt(define, value, environment) if environment.doubts() else None
        return (certain, why) if doubt is None else (None, doubt)

    def doubt(self, define: str, value: Any, patient: CompartmentPatient) -> str | None:
        """Why a define has another value where a record in doubt says something else, None where it has not."""

        def evaluate(other: CompartmentPatient) -> Any:
            try:
                return _comparable(self.loaded.evaluate(define, other))
            except (EvaluationError, LookupError) as error:
                return str(error)

        what = f"the define {define!r}"
        try:
            return limited(
                self.seconds,
                what,
                self._certainty.of_define,
                self.loaded,
                define,
                _comparable(value),
                patient,
                evaluate,
            )
        except EvaluationError as error:
            return str(error)

    def group(self, group: Group, environment: Run) -> GroupResult:
        populations = [p for p in group.populations if p.code != OBSERVATION]
        values = {
            p.id: self.value(p.define, environment) if p.refused is None else (None, p.refused) for p in populations
        }
        if group.basis == "boolean":
            found = self.boolean(group, populations, values)
        else:
            found = self.episodes(group, populations, values)
        result = GroupResult(id=group.id, populations=[found[p.id][0] for p in populations])
        rows = {p.id: found[p.id][1] for p in populations}
        observed: dict[str, list[tuple[str, Any]]] = {}
        for population in group.populations:
            if population.code == OBSERVATION:
                observed[population.id], problem = self.observation(group, population, rows, environment)
                values_of = [value for _, value in observed[population.id]]
                result.observations.append(
                    ObservationResult(
                        id=population.id, aggregate=population.aggregate, values=values_of, unknown=problem
                    )
                )
        for stratifier in group.stratifiers:
            result.strata.extend(self.strata(group, stratifier, rows, observed, environment))
        return result

    def boolean(
        self, group: Group, populations: list[Population], values: dict[str, tuple[Any, str | None]]
    ) -> dict[str, tuple[PopulationResult, list[Any]]]:
        own = _by_code(populations, lambda p: values[p.id][0] is True)
        members = apply_hierarchy(own, group.scoring)
        found = {}
        for p in populations:
            value, problem = values[p.id]
            if problem is None and value is not True and value is not False:
                problem = "the define has no answer (null)" if value is None else "the define is not true or false"
            inside = members[p.code] and value is True
            found[p.id] = (
                PopulationResult(id=p.id, code=p.code, count=int(inside), unknown=problem),
                [True] if inside else [],
            )
        return found

    def episodes(
        self, group: Group, populations: list[Population], values: dict[str, tuple[Any, str | None]]
    ) -> dict[str, tuple[PopulationResult, list[Any]]]:
        rows: dict[str, dict[str, Any]] = {}
        for p in populations:
            listed = values[p.id][0]
            listed = listed if isinstance(listed, list) else [] if listed is None else [listed]
            rows[p.id] = {episode_key(row): row for row in listed if row is not None}
        everything = list(dict.fromkeys(key for found in rows.values() for key in found))
        inside: dict[str, list[str]] = {p.id: [] for p in populations}
        for key in everything:
            own = _by_code(populations, lambda p, key=key: key in rows[p.id])  # type: ignore[misc]
            members = apply_hierarchy(own, group.scoring)
            for p in populations:
                if members[p.code] and key in rows[p.id]:
                    inside[p.id].append(key)
        return {
            p.id: (
                PopulationResult(
                    id=p.id, code=p.code, count=len(inside[p.id]), episodes=inside[p.id], unknown=values[p.id][1]
                ),
                [rows[p.id][key] for key in inside[p.id]],
            )
            for p in populations
        }

    def observation(
        self, group: Group, population: Population, rows: dict[str, list[Any]], environment: Run
    ) -> tuple[list[tuple[str, Any]], str | None]:
        """The observation of each episode, or of the patient, in the population that it refers to; and why there is none of some."""
        if population.refused is not None:
            return [], population.refused
        source = population.reference
        if source not in rows:
            code = MEASURE_POPULATION if group.scoring == "continuous-variable" else NUMERATOR
            source = next((p.id for p in group.populations if p.code == code), None)
        excluded = {EXCLUSION: DENOMINATOR, NUMERATOR_EXCLUSION: NUMERATOR, MEASURE_EXCLUSION: MEASURE_POPULATION}
        own = next((p.code for p in group.populations if p.id == source), "")
        out = [episode_key(r) for p in group.populations if excluded.get(p.code) == own for r in rows.get(p.id, ())]
        values: list[tuple[str, Any]] = []
        problem: str | None = None
        for row in rows.get(source or "", ()):
            if episode_key(row) in out:
                continue
            arguments = () if group.basis == "boolean" else (row,)
            try:
                what = f"the function {population.define!r}"
                value = limited(self.seconds, what, self.loaded.call, population.define, environment, *arguments)
            except (EvaluationError, LookupError) as error:
                problem = str(error)
                continue
            values.append((episode_key(row), as_json(value)))
        return values, problem

    def strata(
        self,
        group: Group,
        stratifier: Stratifier,
        rows: dict[str, list[Any]],
        observed: dict[str, list[tuple[str, Any]]],
        environment: Run,
    ) -> list[StratumResult]:
        """The strata of a stratifier in which the patient, or some of the episodes, are.

        A define that lists episodes tells of each whether it is among them; a function tells its value for each; any other is one value of the patient.
        """
        parts = [self.part(group, part.define, environment) for part in stratifier.parts]
        if not any(callable(part) for part in parts):
            keys: dict[str, Any] = {"": None}
        else:
            keys = {episode_key(row): row for found in rows.values() for row in found}
        members: dict[str, tuple[Any, str | None, list[str]]] = {}
        for key, row in keys.items():
            found = [part(row) if callable(part) else part for part in parts]
            problem = next((why for _, why in found if why is not None), None)
            values = [value for value, _ in found]
            value = None if problem is not None else values if stratifier.components else values[0]
            members.setdefault(canonical([value, problem]), (value, problem, []))[2].append(key)
        strata = []
        for value, problem, inside in members.values():
            counts = {name: len(found) for name, found in rows.items()}
            seen = {name: [v for _, v in found] for name, found in observed.items()}
            if inside != [""]:
                among = set(inside)
                counts = {name: sum(episode_key(r) in among for r in found) for name, found in rows.items()}
                seen = {name: [v for key, v in found if key in among] for name, found in observed.items()}
            strata.append(
                StratumResult(id=stratifier.id, value=value, populations=counts, observations=seen, unknown=problem)
            )
        return strata

    def part(self, group: Group, define: str, environment: Run) -> Any:
        """The value of a part of a stratifier, and why there is none; for episodes a function that gives both for each."""
        if define in self.loaded.compiled.defines:
            value, problem = self.value(define, environment)
            if problem is None and isinstance(value, list) and group.basis != "boolean":
                chosen = {episode_key(row) for row in value if row is not None}
                return lambda row: (episode_key(row) in chosen, None)
            if isinstance(value, list) and len(value) > 1:
                return None, f"{define!r} lists {len(value)} values for a patient, who is in one stratum"
            if isinstance(value, list):
                value = value[0] if value else None
            return as_json(value), problem

        def of_episode(row: Any) -> tuple[Any, str | None]:
            try:
                what = f"the function {define!r}"
                return as_json(limited(self.seconds, what, self.loaded.call, define, environment, row)), None
            except (EvaluationError, LookupError) as error:
                return None, str(error)

        return of_episode


def _by_code(populations: list[Population], test: Callable[[Population], bool]) -> dict[str, bool]:
    """Membership by code; of two populations of one code either counts (two initial populations of a ratio)."""
    found: dict[str, bool] = {}
    for p in populations:
        found[p.code] = found.get(p.code, False) or test(p)
    return found


def canonical(value: Any) -> str:
    """A value as JSON text that is the same for equal values."""
    return json.dumps(value, sort_keys=True, default=str)


def _comparable(value: Any) -> Any:
    """The value of a define in a form to compare: records by type and id."""
    if value.__class__ is list:
        return sorted(episode_key(row) for row in value if row is not None)
    return value if value is None or value is True or value is False else episode_key(value)


def episode_key(row: Any) -> str:
    """What tells an episode from others: type and id of a resource, else its content."""
    if isinstance(row, dict) and "resourceType" in row:
        return f"{row['resourceType']}/{row.get('id', '')}"
    return json.dumps(as_json(row), sort_keys=True, default=str)


def aggregate(method: str | None, values: list[Any]) -> Any:
    """Observations of all patients as one number, as `aggregate_counted` has it."""
    return aggregate_counted(method, ((value, 1) for value in values))


def aggregate_counted(method: str | None, values: Iterable[tuple[Any, int]]) -> Any:
    """Observations, each with how often it occurs, as one number, or a quantity in the unit of the first (FHIR: aggregateMethod); nulls do not count.

    None where there are none, where some are no numbers, and for quantities that have no common unit (CR 3.14: an observation is an Integer, a Decimal
    or a Quantity).
    """
    known = [(value, times) for value, times in values if value is not None]
    count = sum(times for _, times in known)
    kind = (method or "").lower()
    if kind == "count":
        return count
    quantities = [_quantity(value) for value, _ in known]
    if not quantities or None in quantities:
        return None
    first = quantities[0]
    assert first is not None
    numbers = [one.to_unit(first.unit) if first.unit != one.unit else one for one in quantities if one is not None]
    method_of = _AGGREGATES.get(kind)
    if method_of is None or None in numbers:
        return None
    pairs = [(one.value, times) for one, (_, times) in zip(numbers, known, strict=True) if one is not None]
    found = as_json(Decimal(method_of(pairs)))
    return found if not any(isinstance(value, dict) for value, _ in known) else {"value": found, "unit": first.unit}


def _sum(pairs: list[tuple[Decimal, int]]) -> Decimal:
    return sum((value * times for value, times in pairs), Decimal())


def _average(pairs: list[tuple[Decimal, int]]) -> Decimal:
    return _sum(pairs) / sum(times for _, times in pairs)


def _median(pairs: list[tuple[Decimal, int]]) -> Decimal:
    """The middle one, or the mean of the two in the middle."""
    count = sum(times for _, times in pairs)
    middle, before = [], 0
    for value, times in sorted(pairs):
        # a value takes the places from `before` on
        middle += [value for place in {(count - 1) // 2, count // 2} if before <= place < before + times]
        before += times
    return sum(middle, Decimal()) / len(middle)


_AGGREGATES: dict[str, Callable[[list[tuple[Decimal, int]]], Decimal]] = {
    "sum": _sum,
    "average": _average,
    "median": _median,
    "minimum": lambda pairs: min(value for value, _ in pairs),
    "maximum": lambda pairs: max(value for value, _ in pairs),
}


def _quantity(value: Any) -> Quantity | None:
    """A number or a quantity of an observation, as JSON has it; None for anything else."""
    if isinstance(value, dict) and _number(value.get("value")) is not None and not value.get("comparator"):
        unit, _ = unit_of(value)
        word = str(value.get("unit"))
        calendar = value.get("code") is None and word in CALENDAR_WORDS
        number = _number(value["value"])
        if number is None or unit is None and not calendar:
            return None
        return Quantity(number, CALENDAR_WORDS[word], True) if calendar else Quantity(number, unit or "1")
    number = _number(value)
    return None if number is None else Quantity(number)


def _number(value: Any) -> Decimal | None:
    return Decimal(str(value)) if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) else None


def score(group: Group, totals: dict[str, int], observations: dict[str, Any]) -> Any:
    """The score of a group over all patients: a proportion, or an aggregate; None where it is not defined, or a population was refused."""
    if any(p.refused is not None for p in group.populations):
        return None
    if group.scoring == "proportion":
        below = totals.get(DENOMINATOR, 0) - totals.get(EXCLUSION, 0) - totals.get(EXCEPTION, 0)
        above = totals.get(NUMERATOR, 0) - totals.get(NUMERATOR_EXCLUSION, 0)
        return as_json(Decimal(above) / Decimal(below)) if below > 0 else None
    if group.scoring == "continuous-variable":
        return next(iter(observations.values()), None)
    if group.scoring == "ratio":
        parts = {p.code: p.id for p in group.populations}
        refs = {p.reference: observations.get(p.id) for p in group.populations if p.code == OBSERVATION}
        top = refs.get(parts.get(NUMERATOR), totals.get(NUMERATOR, 0) - totals.get(NUMERATOR_EXCLUSION, 0))
        bottom = refs.get(parts.get(DENOMINATOR), totals.get(DENOMINATOR, 0) - totals.get(EXCLUSION, 0))
        return _ratio(top, bottom)
    return None


def _ratio(top: Any, bottom: Any) -> Any:
    """A ratio of two aggregates: a number where both are numbers or of one kind of quantity, None where it is not defined."""
    above, below = _quantity(top), _quantity(bottom)
    if above is None or below is None or not below.value:
        return None
    same = above if above.unit == below.unit else above.to_unit(below.unit)
    if same is not None:
        return as_json(same.value / below.value)
    if below.unit == "1" and not below.calendar:
        return {"value": as_json(above.value / below.value), "unit": above.unit}
    return None
