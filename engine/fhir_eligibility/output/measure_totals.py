"""Counts and observations of a measure over many patients, in memory that does not grow with their number: equal values are held once, with how often they occur.

Totals of some patients can be added to those of others, in any order: what is listed is in the order in which it first occurs in the data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from fhir_eligibility.artifacts.measures import Group, Measure
from fhir_eligibility.evaluation.measures import (
    OBSERVATION,
    MeasureResult,
    StratumResult,
    aggregate_counted,
    canonical,
    score,
)

Place = tuple[int, ...]
"""Where something first occurs: places are in the order of the data."""


class ValueCounts:
    """Values with how often they occur."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[Place, Any, int]] = {}

    def add(self, value: Any, place: Place, count: int = 1) -> None:
        """Add a value that occurs so often, first at a place."""
        key = canonical(value)
        known = self._found.get(key)
        if known is None:
            self._found[key] = place, value, count
        else:
            first = known[:2] if known[0] <= place else (place, value)
            self._found[key] = *first, known[2] + count

    def extend(self, listed: Iterable[tuple[Place, Any, int]]) -> None:
        """Add what was `listed` of others."""
        for place, value, count in listed:
            self.add(value, tuple(place), count)

    def listed(self) -> list[tuple[Place, Any, int]]:
        """Place, value and number of all, in order."""
        return sorted(self._found.values(), key=lambda one: one[0])

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        """Values with how often they occur, in order."""
        return ((value, count) for _, value, count in self.listed())


class Stratum(Struct):
    """A stratum over all patients: where it first occurs, its value, and the counts and observations there."""

    place: Place
    value: Any
    unknown: str | None
    counts: dict[str, int] = field(default_factory=dict)
    observations: dict[str, ValueCounts] = field(default_factory=dict)

    def add(self, counts: Mapping[str, int], observations: Mapping[str, Iterable[tuple[Place, Any, int]]]) -> None:
        """Add those of others."""
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        for name, values in observations.items():
            self.observations.setdefault(name, ValueCounts()).extend(values)


class Strata:
    """Strata by stratifier and value."""

    def __init__(self, results: Iterable[StratumResult] = ()) -> None:
        self._found: dict[str, dict[str, Stratum]] = {}
        for number, found in enumerate(results):
            self.add(found, (number,))

    def of(self, stratifier: str, value: Any, unknown: str | None, place: Place) -> Stratum:
        """The stratum of a value, which occurs at a place."""
        listed = self._found.setdefault(stratifier, {})
        key = canonical([value, unknown])
        known = listed.get(key)
        if known is None:
            known = listed[key] = Stratum(place, value, unknown)
        elif place < known.place:
            known.place, known.value, known.unknown = place, value, unknown
        return known

    def add(self, found: StratumResult, place: Place) -> None:
        """Add that of a patient."""
        observed = {
            name: [((*place, number), value, 1) for number, value in enumerate(values)]
            for name, values in found.observations.items()
        }
        self.of(found.id, found.value, found.unknown, place).add(found.populations, observed)

    def extend(self, listed: Iterable[tuple[str, list[Any]]]) -> None:
        """Add what was `listed` of others."""
        for stratifier, (place, value, unknown, counts, observations) in listed:
            self.of(stratifier, value, unknown, tuple(place)).add(counts, observations)

    def listed(self) -> list[tuple[str, list[Any]]]:
        """All of them, as plain data."""
        return [
            (
                name,
                [one.place, one.value, one.unknown, one.counts, {k: v.listed() for k, v in one.observations.items()}],
            )
            for name, found in self._found.items()
            for one in found.values()
        ]

    def in_order(self, stratifier: str) -> list[Stratum]:
        """Those of a stratifier, in the order of the data."""
        return sorted(self._found.get(stratifier, {}).values(), key=lambda one: one.place)


class Totals:
    """Counts and observations of a measure over all patients."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self.patients = 0
        self.counts: dict[str, dict[str, int]] = {g.id: {p.id: 0 for p in g.populations} for g in measure.groups}
        self.unknown: dict[str, dict[str, int]] = {g.id: {} for g in measure.groups}
        self.observations: dict[str, dict[str, ValueCounts]] = {g.id: {} for g in measure.groups}
        self.strata: dict[str, Strata] = {g.id: Strata() for g in measure.groups}
        self.supplemental: dict[str, ValueCounts] = {item.id: ValueCounts() for item in measure.supplemental}

    def add(self, result: MeasureResult, place: Place) -> None:
        """Count one patient, who is at a place in the data."""
        self.patients += 1
        for group in result.groups:
            for population in group.populations:
                self.counts[group.id][population.id] += population.count
                if population.unknown is not None:
                    unknown = self.unknown[group.id]
                    unknown[population.id] = unknown.get(population.id, 0) + 1
            for observation in group.observations:
                held = self.observations[group.id].setdefault(observation.id, ValueCounts())
                for number, value in enumerate(observation.values):
                    held.add(value, (*place, number))
            for number, stratum in enumerate(group.strata):
                self.strata[group.id].add(stratum, (*place, number))
        for name, value in result.supplemental.items():
            for number, one in enumerate(values_of(value)):
                self.supplemental[name].add(_without_identity(one), (*place, number))

    def encoded(self) -> bytes:
        """The same as JSON text, for `extend`."""
        found = {
            "patients": self.patients,
            "counts": self.counts,
            "unknown": self.unknown,
            "observations": {
                group: {name: one.listed() for name, one in by_name.items()}
                for group, by_name in self.observations.items()
            },
            "strata": {group: strata.listed() for group, strata in self.strata.items()},
            "supplemental": {name: one.listed() for name, one in self.supplemental.items()},
        }
        return json.dumps(found, default=str).encode()

    def extend(self, encoded: bytes) -> None:
        """Add the totals of other patients."""
        found = json.loads(encoded)
        self.patients += found["patients"]
        for mine, theirs in ((self.counts, found["counts"]), (self.unknown, found["unknown"])):
            for group, counts in theirs.items():
                for name, count in counts.items():
                    mine[group][name] = mine[group].get(name, 0) + count
        for group, by_name in found["observations"].items():
            for name, listed in by_name.items():
                self.observations[group].setdefault(name, ValueCounts()).extend(listed)
        for group, strata in found["strata"].items():
            self.strata[group].extend(strata)
        for name, listed in found["supplemental"].items():
            self.supplemental[name].extend(listed)

    def aggregates(self, group: Group) -> dict[str, Any]:
        """The observations of a group, each as one number."""
        return _aggregates(group, self.observations[group.id])

    def score(self, group: Group) -> Any:
        """The score of a group."""
        return score_of(group, self.counts[group.id], self.observations[group.id])


def _aggregates(group: Group, observations: Mapping[str, Iterable[tuple[Any, int]]]) -> dict[str, Any]:
    return {
        p.id: aggregate_counted(p.aggregate, observations.get(p.id, ()))
        for p in group.populations
        if p.code == OBSERVATION
    }


def score_of(group: Group, counts: Mapping[str, int], observations: Mapping[str, Iterable[tuple[Any, int]]]) -> Any:
    """The score of a group, or of a stratum of it."""
    totals: dict[str, int] = {}
    for p in group.populations:
        totals[p.code] = totals.get(p.code, 0) + counts.get(p.id, 0)
    return score(group, totals, _aggregates(group, observations))


def values_of(value: Any) -> Iterator[Any]:
    """The values of supplemental data, a list opened; none where it has none."""
    for one in value if isinstance(value, list) else [value]:
        if one is not None and not (isinstance(one, dict) and one.keys() == {"unknown"}):
            yield one


def _without_identity(value: Any) -> Any:
    """A value as a summary counts it: of a resource its type, so that a summary names nobody's records."""
    return value["resourceType"] if isinstance(value, dict) and "resourceType" in value else value
