"""Results of a measure as FHIR MeasureReport: one a patient, and a summary over all of them."""

from __future__ import annotations

from typing import Any

from engine.artifacts.measures import Group, Measure
from engine.evaluation.measures import OBSERVATION, GroupResult, MeasureResult, aggregate, score

Json = dict[str, Any]
_POPULATIONS = "http://terminology.hl7.org/CodeSystem/measure-population"


class Totals:
    """Counts and observations of a measure over all patients."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self.patients = 0
        self.counts: dict[str, dict[str, int]] = {g.id: {p.id: 0 for p in g.populations} for g in measure.groups}
        self.unknown: dict[str, dict[str, int]] = {g.id: {} for g in measure.groups}
        self.observations: dict[str, dict[str, list[Any]]] = {g.id: {} for g in measure.groups}
        self.strata: dict[str, dict[tuple[str, str], dict[str, int]]] = {g.id: {} for g in measure.groups}

    def add(self, result: MeasureResult) -> None:
        """Count one patient."""
        self.patients += 1
        for group in result.groups:
            for population in group.populations:
                self.counts[group.id][population.id] += population.count
                if population.unknown is not None:
                    unknown = self.unknown[group.id]
                    unknown[population.id] = unknown.get(population.id, 0) + 1
            for observation in group.observations:
                self.observations[group.id].setdefault(observation.id, []).extend(observation.values)
            for stratum in group.strata:
                counts = self.strata[group.id].setdefault((stratum.id, str(stratum.value)), {})
                for name, count in stratum.populations.items():
                    counts[name] = counts.get(name, 0) + count

    def aggregates(self, group: Group) -> dict[str, Any]:
        """The observations of a group, each as one number."""
        return {
            p.id: aggregate(p.aggregate, self.observations[group.id].get(p.id, []))
            for p in group.populations
            if p.code == OBSERVATION
        }

    def score(self, group: Group) -> Any:
        """The score of a group."""
        totals: dict[str, int] = {}
        for p in group.populations:
            totals[p.code] = totals.get(p.code, 0) + self.counts[group.id][p.id]
        return score(group, totals, self.aggregates(group))


def individual(measure: Measure, result: MeasureResult, period: tuple[str, str], date: str, version: str) -> Json:
    """The MeasureReport of one patient."""
    report = _report(measure, "individual", period, date)
    report["subject"] = {"reference": result.patient}
    report["group"] = [
        _group(group, {p.id: p.count for p in found.populations}, _observed(group, found), None, found, version)
        for group, found in zip(measure.groups, result.groups, strict=True)
    ]
    outcome = [
        {"severity": "warning", "code": "incomplete", "diagnostics": f"{group.id} {p.code}: {p.unknown}"}
        for group in result.groups
        for p in group.populations
        if p.unknown is not None
    ]
    if outcome:
        report["contained"] = [{"resourceType": "OperationOutcome", "id": "unknown", "issue": outcome}]
    episodes = sorted({e for g in result.groups for p in g.populations for e in p.episodes if "/" in e})
    if episodes:
        report["evaluatedResource"] = [{"reference": reference} for reference in episodes]
    return report


def summary(measure: Measure, totals: Totals, period: tuple[str, str], date: str, version: str) -> Json:
    """The MeasureReport over all patients."""
    report = _report(measure, "summary", period, date)
    report["group"] = []
    for group in measure.groups:
        entry = _group(group, totals.counts[group.id], totals.aggregates(group), totals.score(group), None, version)
        strata = totals.strata[group.id]
        if strata:
            entry["stratifier"] = _stratifiers(group, strata, version)
        report["group"].append(entry)
    return report


def _report(measure: Measure, kind: str, period: tuple[str, str], date: str) -> Json:
    canonical = measure.url or f"Measure/{measure.id}"
    return {
        "resourceType": "MeasureReport",
        "status": "complete",
        "type": kind,
        "measure": f"{canonical}|{measure.version}" if measure.version else canonical,
        "date": date,
        "period": {"start": period[0], "end": period[1]},
    }


def _observed(group: Group, found: GroupResult) -> dict[str, Any]:
    return {o.id: aggregate(o.aggregate, o.values) for o in found.observations}


def _group(
    group: Group, counts: dict[str, int], observed: dict[str, Any], result: Any, found: GroupResult | None, version: str
) -> Json:
    entry: Json = {"id": group.id}
    if version == "r5":
        entry["linkId"] = group.id
    populations = []
    for p in group.populations:
        item: Json = {"id": p.id, "code": {"coding": [{"system": _POPULATIONS, "code": p.code}]}}
        if version == "r5":
            item["linkId"] = p.id
        if p.code != OBSERVATION:
            item["count"] = counts[p.id]
        elif found is not None:
            item["count"] = sum(len(o.values) for o in found.observations if o.id == p.id)
        populations.append(item)
    entry["population"] = populations
    if result is not None:
        entry["measureScore" if version != "r5" else "measureScoreQuantity"] = {"value": result}
    elif found is not None and len(observed) == 1:
        value = next(iter(observed.values()))
        if isinstance(value, (int, float)):
            entry["measureScore" if version != "r5" else "measureScoreQuantity"] = {"value": value}
    return entry


def _stratifiers(group: Group, strata: dict[tuple[str, str], dict[str, int]], version: str) -> list[Json]:
    found: dict[str, list[Json]] = {}
    for (name, value), counts in strata.items():
        populations = [
            {"code": {"coding": [{"system": _POPULATIONS, "code": p.code}]}, "count": counts.get(p.id, 0)}
            for p in group.populations
            if p.code != OBSERVATION
        ]
        key = "value" if version != "r5" else "valueCodeableConcept"
        found.setdefault(name, []).append({key: {"text": value}, "population": populations})
    return [{"id": name, "code": _coded(name, version), "stratum": items} for name, items in found.items()]


def _coded(name: str, version: str) -> Any:
    return {"text": name} if version == "r5" else [{"text": name}]
