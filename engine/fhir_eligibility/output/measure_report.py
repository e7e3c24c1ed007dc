"""Results of a measure as FHIR MeasureReport: one a patient, and a summary over all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from fhir_eligibility.artifacts.measures import Group, Measure, Stratifier, Supplemental
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.evaluation.measures import OBSERVATION, GroupResult, MeasureResult, aggregate, canonical
from fhir_eligibility.output.measure_totals import Strata, Stratum, Totals, score_of, values_of
from fhir_eligibility.output.measure_values import concept_of, has_link_ids, observed_value, quantity_of, stratum_value

Json = dict[str, Any]
_POPULATIONS = "http://terminology.hl7.org/CodeSystem/measure-population"
_USAGE = "http://terminology.hl7.org/CodeSystem/measure-data-usage"
_SUPPLEMENTAL = "http://hl7.org/fhir/5.0/StructureDefinition/extension-MeasureReport.supplementalDataElement.reference"


def individual(measure: Measure, result: MeasureResult, period: tuple[str, str], date: str, version: str) -> Json:
    """The MeasureReport of one patient."""
    report = _report(measure, "individual", period, date)
    report["subject"] = {"reference": result.patient}
    report["group"] = []
    for group, found in zip(measure.groups, result.groups, strict=True):
        counts = {p.id: p.count for p in found.populations}
        entry = _group(group, counts, _observed(group, found), None, found, version)
        _add_strata(entry, group, Strata(found.strata), version)
        report["group"].append(entry)
    outcome = [
        {"severity": "warning", "code": "incomplete", "diagnostics": f"{group.id} {p.code}: {p.unknown}"}
        for group in result.groups
        for p in group.populations
        if p.unknown is not None
    ]
    outcome += [
        {"severity": "warning", "code": "incomplete", "diagnostics": f"{name}: {value['unknown']}"}
        for name, value in result.supplemental.items()
        if isinstance(value, dict) and value.keys() == {"unknown"}
    ]
    if outcome:
        report["contained"] = [{"resourceType": "OperationOutcome", "id": "unknown", "issue": outcome}]
    items = [
        (item, one, None)
        for item in measure.supplemental
        if item.id in result.supplemental
        for one in values_of(result.supplemental[item.id])
    ]
    _add_supplemental(report, items, version)
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
        _add_strata(entry, group, totals.strata[group.id], version)
        report["group"].append(entry)
    refused = [(group, p) for group in measure.groups for p in group.populations if p.refused is not None]
    if refused:
        issues = [
            {"severity": "error", "code": "not-found", "diagnostics": f"{group.id} {p.code}: {p.refused}"}
            for group, p in refused
        ]
        report["contained"] = [{"resourceType": "OperationOutcome", "id": "refused", "issue": issues}]
    items = [(item, *found) for item in measure.supplemental for found in totals.supplemental[item.id]]
    _add_supplemental(report, items, version)
    return report


def _add_supplemental(report: Json, items: Iterable[tuple[Supplemental, Any, int | None]], version: str) -> None:
    """Supplemental data as contained Observations: the value of a patient, or how many have a value; a resource of a patient is referred to."""
    references: list[Json] = []
    for item, value, count in items:
        if count is None and isinstance(value, dict) and "resourceType" in value and value.get("id"):
            references.append({"reference": f"{value['resourceType']}/{value['id']}"})
            continue
        name = hashlib.sha256(canonical([item.id, value]).encode()).hexdigest()[:16]
        usage = [{"coding": [{"system": _USAGE, "code": code}]} for code in item.usage or ("supplemental-data",)]
        observation: Json = {
            "resourceType": "Observation",
            "id": f"sde-{name}",
            "status": "final",
            "category": usage,
            "code": item.code or {"text": item.id},
        }
        if count is None:
            observation |= observed_value(value)
        else:
            observation["component"] = [{"code": concept_of(value), "valueInteger": count}]
        report.setdefault("contained", []).append(observation)
        references.append({"reference": f"#sde-{name}"})
    unique = list({one["reference"]: one for one in references}.values())
    if unique and load_model(version).has_element("MeasureReport", "supplementalData"):
        report["supplementalData"] = unique
    elif unique:
        report["extension"] = [{"url": _SUPPLEMENTAL, "valueReference": one} for one in unique]


def _report(measure: Measure, kind: str, period: tuple[str, str], date: str) -> Json:
    url = measure.url or f"Measure/{measure.id}"
    return {
        "resourceType": "MeasureReport",
        "status": "complete",
        "type": kind,
        "measure": f"{url}|{measure.version}" if measure.version else url,
        "date": date,
        "period": {"start": period[0], "end": period[1]},
        **({"improvementNotation": measure.improvement} if measure.improvement is not None else {}),
    }


def _observed(group: Group, found: GroupResult) -> dict[str, Any]:
    return {o.id: aggregate(o.aggregate, o.values) for o in found.observations}


def _group(
    group: Group, counts: dict[str, int], observed: dict[str, Any], result: Any, found: GroupResult | None, version: str
) -> Json:
    entry: Json = {"id": group.id}
    if has_link_ids(version):
        entry["linkId"] = group.id
    populations = []
    for p in group.populations:
        item: Json = {"id": p.id, "code": {"coding": [{"system": _POPULATIONS, "code": p.code}]}}
        if has_link_ids(version):
            item["linkId"] = p.id
        if p.code != OBSERVATION:
            item["count"] = counts[p.id]
        elif found is not None:
            item["count"] = sum(v is not None for o in found.observations if o.id == p.id for v in o.values)
        populations.append(item)
    entry["population"] = populations
    value = next(iter(observed.values())) if result is None and found is not None and len(observed) == 1 else result
    _add_score(entry, value, version)
    return entry


def _add_score(entry: Json, value: Any, version: str) -> None:
    """The score of a group or a stratum, where there is one."""
    quantity = quantity_of(value)
    if quantity is not None:
        entry["measureScoreQuantity" if has_link_ids(version) else "measureScore"] = quantity


def _add_strata(entry: Json, group: Group, strata: Strata, version: str) -> None:
    """The stratifiers of a group with the strata that are known."""
    listed = []
    for stratifier in group.stratifiers:
        found = [_stratum(group, stratifier, one, version) for one in strata.in_order(stratifier.id)]
        if found:
            code = stratifier.code or {"text": stratifier.id}
            item = {"id": stratifier.id, "code": code if has_link_ids(version) else [code], "stratum": found}
            listed.append({**item, "linkId": stratifier.id} if has_link_ids(version) else item)
    if listed:
        entry["stratifier"] = listed


def _stratum(group: Group, stratifier: Stratifier, found: Stratum, version: str) -> Json:
    item: Json = {}
    if not stratifier.components:
        item |= stratum_value(found.value, found.unknown, version)
    else:
        values = found.value if isinstance(found.value, list) else [None] * len(stratifier.parts)
        item["component"] = [
            {
                **({"linkId": part.id} if has_link_ids(version) else {}),
                "code": part.code or {"text": part.id},
                **stratum_value(value, found.unknown, version),
            }
            for part, value in zip(stratifier.parts, values, strict=True)
        ]
    item["population"] = [
        {
            **({"linkId": p.id} if has_link_ids(version) else {}),
            "id": p.id,
            "code": {"coding": [{"system": _POPULATIONS, "code": p.code}]},
            "count": found.counts.get(p.id, 0),
        }
        for p in group.populations
        if p.code != OBSERVATION and (not stratifier.applies_to or p.code in stratifier.applies_to)
    ]
    if not stratifier.applies_to:
        _add_score(item, score_of(group, found.counts, found.observations), version)
    return item
