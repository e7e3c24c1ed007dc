"""A measure on one patient: who, or which episodes, are in its populations, with observations, strata and supplemental data.

Populations that depend on a define without an answer count as not in them, as measures have it; that there was no answer, and why, is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from statistics import median
from typing import Any

from pydantic import Field

from engine.algebra.diagnostic import EvaluationError
from engine.algebra.quantity import Quantity
from engine.artifacts.measures import Group, Measure, Population
from engine.compiler.cql.compiled import Loaded
from engine.compiler.cql.printing import as_json
from engine.compiler.cql.runtime import Run
from engine.evaluation.time_limit import SECONDS, limited
from engine.evaluation.verdict import Record

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
    unknown: str | None = Field(None, description="why the define had no answer; it counts as not met")


class ObservationResult(Record):
    """The values of a measure observation."""

    id: str
    aggregate: str | None
    values: list[Any]
    unknown: str | None = None


class StratumResult(Record):
    """The value of a stratifier, for the patient or for an episode, and the populations there."""

    id: str
    value: Any
    populations: dict[str, int]


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

    def __init__(self, measure: Measure, loaded: Loaded, seconds: float = SECONDS) -> None:
        """A define that takes longer than `seconds` for a patient has no answer (0: no limit)."""
        self.measure = measure
        self.loaded = loaded
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
        """The value of a define, or None and why there is none."""
        try:
            what = f"the define {define!r}"
            return limited(self.seconds, what, self.loaded.evaluate, define, environment), None
        except (EvaluationError, LookupError) as error:
            return None, str(error)

    def group(self, group: Group, environment: Run) -> GroupResult:
        populations = [p for p in group.populations if p.code != OBSERVATION]
        values = {p.id: self.value(p.define, environment) for p in populations}
        if group.basis == "boolean":
            found = self.boolean(group, populations, values)
        else:
            found = self.episodes(group, populations, values)
        result = GroupResult(id=group.id, populations=[found[p.id][0] for p in populations])
        rows = {p.id: found[p.id][1] for p in populations}
        for population in group.populations:
            if population.code == OBSERVATION:
                result.observations.append(self.observation(group, population, rows, environment))
        for stratifier in group.stratifiers:
            parts = [self.value(define, environment) for define in stratifier.defines]
            result.strata.extend(_strata(stratifier.id, parts, populations, rows))
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
    ) -> ObservationResult:
        """The observation of each episode, or of the patient, in the population that it refers to."""
        source = population.reference
        if source not in rows:
            code = MEASURE_POPULATION if group.scoring == "continuous-variable" else NUMERATOR
            source = next((p.id for p in group.populations if p.code == code), None)
        excluded = {EXCLUSION: DENOMINATOR, NUMERATOR_EXCLUSION: NUMERATOR, MEASURE_EXCLUSION: MEASURE_POPULATION}
        own = next((p.code for p in group.populations if p.id == source), "")
        out = [episode_key(r) for p in group.populations if excluded.get(p.code) == own for r in rows.get(p.id, ())]
        values: list[Any] = []
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
            values.append(as_json(value.value if isinstance(value, Quantity) else value))
        return ObservationResult(id=population.id, aggregate=population.aggregate, values=values, unknown=problem)


def _by_code(populations: list[Population], test: Callable[[Population], bool]) -> dict[str, bool]:
    """Membership by code; of two populations of one code either counts (two initial populations of a ratio)."""
    found: dict[str, bool] = {}
    for p in populations:
        found[p.code] = found.get(p.code, False) or test(p)
    return found


def _strata(
    name: str, parts: list[tuple[Any, str | None]], populations: list[Population], rows: dict[str, list[Any]]
) -> list[StratumResult]:
    """Strata of the patient; a stratifier that lists episodes makes one stratum of those and one of the others."""
    if len(parts) == 1 and isinstance(parts[0][0], list):
        chosen = {episode_key(row) for row in parts[0][0] if row is not None}
        strata = []
        for value in (True, False):
            counts = {p.id: sum((episode_key(r) in chosen) is value for r in rows[p.id]) for p in populations}
            if any(counts.values()):
                strata.append(StratumResult(id=name, value=value, populations=counts))
        return strata
    values = [as_json(value) if problem is None else {"unknown": problem} for value, problem in parts]
    counts = {p.id: len(rows[p.id]) for p in populations}
    return [StratumResult(id=name, value=values[0] if len(values) == 1 else values, populations=counts)]


def episode_key(row: Any) -> str:
    """What tells an episode from others: type and id of a resource, else its content."""
    if isinstance(row, dict) and "resourceType" in row:
        return f"{row['resourceType']}/{row.get('id', '')}"
    return json.dumps(as_json(row), sort_keys=True, default=str)


def aggregate(method: str | None, values: list[Any]) -> Any:
    """Observations of all patients as one number (FHIR: aggregateMethod); None where there are none, or no numbers."""
    numbers = [Decimal(str(value)) for value in values if isinstance(value, (int, float)) and value is not True]
    kind = (method or "").lower()
    if kind == "count":
        return len(values)
    if not numbers:
        return None
    computed: dict[str, Callable[[list[Decimal]], Any]] = {
        "sum": sum,
        "average": lambda found: sum(found) / len(found),
        "median": median,
        "minimum": min,
        "maximum": max,
    }
    method_of = computed.get(kind)
    return None if method_of is None else as_json(Decimal(method_of(numbers)))


def score(group: Group, totals: dict[str, int], observations: dict[str, Any]) -> Any:
    """The score of a group over all patients: a proportion, or an aggregate; None where it is not defined."""
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
        return as_json(Decimal(str(top)) / Decimal(str(bottom))) if top is not None and bottom else None
    return None
