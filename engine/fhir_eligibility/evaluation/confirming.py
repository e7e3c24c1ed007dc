"""Verdicts where images count only if the archive holds them.

What is not held is taken out of the patient's record before criteria run. Studies that could not be confirmed - not reached, without a
UID, held for another patient - are judged both ways; a criterion whose answer depends on them is unknown, `images-unconfirmed`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from msgspec.structs import replace

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.compiler.criteria.rules import Rule
from fhir_eligibility.data.patients.compartment import Compartment, Resource
from fhir_eligibility.data.records.in_doubt import Doubtful, InDoubt
from fhir_eligibility.evaluation.evaluator import Evaluator, Outcome
from fhir_eligibility.evaluation.imaging import instances_of
from fhir_eligibility.evaluation.records import Verdict, changed
from fhir_eligibility.evaluation.tracing import PatientEnvironment
from fhir_eligibility.evaluation.verdict import Holding, HoldingState
from fhir_eligibility.evaluation.worlds import EXHAUSTIVE

HELD = frozenset((HoldingState.PRESENT.value, HoldingState.MISMATCH.value))
UNCONFIRMED = frozenset(
    (HoldingState.UNREACHABLE.value, HoldingState.UNIDENTIFIED.value, HoldingState.PATIENT_MISMATCH.value)
)
IMAGING = "ImagingStudy"


class ConfirmingEvaluator(Evaluator):
    """An evaluator that is told what archives hold of each imaging study, by `id()` of the resource."""

    _worlds: Sequence[tuple[PatientEnvironment, list[Holding]]] = ()
    _not_held: Sequence[Holding] = ()

    def confirmed(self, compartment: Compartment, holdings: Mapping[int, Holding]) -> Verdict:
        """The verdict on one patient; studies without a holding count as they stand in the record."""
        studies = compartment.of_type(IMAGING)
        doubtful = [id(study) for study in studies if (h := holdings.get(id(study))) and h.state in UNCONFIRMED]
        self._worlds = [
            (self._environment(held_part(compartment, holdings, frozenset(gone))), [holdings[key] for key in gone])
            for gone in _removals(doubtful)
        ]
        found = [holdings[id(study)] for study in studies if id(study) in holdings]
        self._not_held = [
            holding for holding in found if holding.state not in HELD and holding.state not in UNCONFIRMED
        ]
        try:
            verdict = self(held_part(compartment, holdings, frozenset()))
        finally:
            self._worlds = self._not_held = ()
        return changed(verdict, holdings=[holding.model_dump(mode="json", exclude_none=True) for holding in found])

    def rule(self, rule: Rule, environment: PatientEnvironment) -> Outcome:
        """Truth of one rule, unknown where it depends on images that were not confirmed."""
        outcome = super().rule(rule, environment)
        if rule.code is None or IMAGING not in rule.code.reads():
            return outcome
        if self._not_held and outcome.detail is None:
            outcome.detail = "images that are not held do not count: " + holdings_in_words(self._not_held)
        if outcome.value is None or not self._worlds:
            return outcome
        worlds, self._worlds = self._worlds, ()  # a rule inside this one is judged as part of it
        try:
            for other, gone in worlds:
                if super().rule(rule, other).value is not outcome.value:
                    outcome.value, outcome.reason, outcome.plain = None, Reason.IMAGES_UNCONFIRMED, None
                    outcome.detail = "the answer depends on images that are not confirmed: " + holdings_in_words(gone)
                    return outcome
        finally:
            self._worlds = worlds
        return outcome

    def _environment(self, compartment: Compartment) -> PatientEnvironment:
        return PatientEnvironment(compartment, now=self.options.now, variables=self.options.variables, run=self.cql)


def holdings_in_words(holdings: Sequence[Holding]) -> str:
    """Studies and why they are not confirmed, in words."""
    out = []
    for holding in holdings:
        why = f" ({holding.reason})" if holding.reason else ""
        more = f": {holding.detail}" if holding.detail else ""
        out.append(f"{holding.resource} is {holding.state}{why}{more}")
    return "; ".join(out)


def held_part(compartment: Compartment, holdings: Mapping[int, Holding], gone: frozenset[int]) -> Compartment:
    """A patient's record with the images that are held: absent studies and those in `gone` left out, partial ones cut."""
    kept: list[Resource] = []
    originals: dict[int, Resource] = {}
    origins = dict(compartment.origins)
    changed = False
    for study in compartment.of_type(IMAGING):
        holding = holdings.get(id(study))
        if id(study) in gone or (holding is not None and holding.state == HoldingState.ABSENT.value):
            changed = True
            continue
        if holding is not None and (holding.missing_series or holding.missing_instances) and holding.state not in HELD:
            cut = without_missing(study, holding)
            if cut is None:
                changed = True
                continue
            originals[id(cut)] = study
            if id(study) in origins:
                origins[id(cut)] = origins[id(study)]
            study, changed = cut, True
        kept.append(study)
    if not changed:
        return compartment

    def find(reference: str, holder: Resource | None) -> Resource | None:
        if compartment.find is None:
            return None
        return compartment.find(reference, originals.get(id(holder), holder))

    resources = {**compartment.resources, IMAGING: kept}
    doubts = [one for doubt in compartment.doubts for one in _about_held(doubt, kept, originals)]
    return replace(compartment, resources=resources, origins=origins, find=find, doubts=doubts, _indexes={})


def _about_held(doubt: InDoubt, kept: Sequence[Resource], originals: Mapping[int, Resource]) -> Iterator[InDoubt]:
    """A doubt about a study as it is about what is held of it; of other versions of the study nobody asked the archive."""
    record = doubt.record
    if record is None or record.get("resourceType") != IMAGING or any(study is record for study in kept):
        yield doubt
        return
    cut = next((study for study in kept if originals.get(id(study)) is record), None)
    if doubt.kind is Doubtful.VERSIONS:
        yield replace(doubt, record=cut or record, forms=())
    elif cut is not None:
        yield replace(doubt, record=cut)


def without_missing(study: Resource, holding: Holding) -> Resource | None:
    """An ImagingStudy without the series and instances that are not held, None where nothing of what it lists is held.

    Its modality and its counts are those of what is left.
    """
    series_gone = set(holding.missing_series)
    instances_gone = {item.series: set(item.instances) for item in holding.missing_instances}
    listed = study.get("series") or []
    kept: list[Any] = []
    lost = 0
    for series in listed:
        uid = without_prefix(series.get("uid"))
        instances = instances_of(series)
        if uid in series_gone:
            lost += len(instances)
            continue
        lacking = instances_gone.get(uid or "")
        if lacking:
            left = [x for x in instances if without_prefix(x.get("uid")) not in lacking]
            lost += len(instances) - len(left)
            if not left:
                continue
            series = {**series, "instance": left}
        kept.append(series)
    if listed and not kept:
        return None
    cut = {**study, "series": kept}
    if isinstance(study.get("modality"), list):
        before, after = _modalities(listed), _modalities(kept)
        cut["modality"] = [m for m in study["modality"] if not (_codes(m) & (before - after))]
    for name, less in (("numberOfSeries", len(listed) - len(kept)), ("numberOfInstances", lost)):
        if isinstance(study.get(name), int):
            cut[name] = max(0, study[name] - less)
    return cut


def _modalities(series: Sequence[Resource]) -> set[str]:
    return {code for one in series for code in _codes(one.get("modality"))}


def _codes(modality: Any) -> set[str]:
    """The codes of a modality, a Coding (R4, R4B) or a CodeableConcept (R5)."""
    if not isinstance(modality, dict):
        return set()
    codings = modality["coding"] if isinstance(modality.get("coding"), list) else [modality]
    return {coding["code"] for coding in codings if isinstance(coding, dict) and isinstance(coding.get("code"), str)}


def without_prefix(uid: Any) -> str | None:
    """A UID as the archive writes it."""
    return uid.removeprefix("urn:oid:").rstrip("\x00 ") if isinstance(uid, str) else None


def _removals(doubtful: list[int]) -> list[tuple[int, ...]]:
    """Which unconfirmed studies to leave out: few: every combination; many: all, each alone, all but one, and every number of them."""
    if not doubtful:
        return []
    if len(doubtful) <= EXHAUSTIVE:
        sizes = range(len(doubtful), 0, -1)
        return [gone for size in sizes for gone in combinations(doubtful, size)]
    some = [tuple(doubtful), *((key,) for key in doubtful)]
    some += [tuple(other for other in doubtful if other != key) for key in doubtful]
    some += [tuple(doubtful[:size]) for size in range(2, len(doubtful) - 1)]
    return some
