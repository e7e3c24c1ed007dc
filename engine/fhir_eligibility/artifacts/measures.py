"""FHIR Measure resources (R4, R4B, R5) to neutral records: groups, populations, observations, stratifiers, supplemental data."""

from __future__ import annotations

from typing import Any

from fhir_eligibility.algebra.diagnostic import Diagnostic
from fhir_eligibility.artifacts.parameters import extension_values
from fhir_eligibility.artifacts.records import ArtifactRecord, ParameterValue
from fhir_eligibility.artifacts.shape import checked, pointer

Json = dict[str, Any]
_CQFM = "http://hl7.org/fhir/us/cqfmeasures/StructureDefinition/cqfm-"
_PROPORTION = ("initial-population", "denominator", "numerator")


class Population(ArtifactRecord, frozen=True, kw_only=True):
    """One population of a group: its define, for observations how they are aggregated and over which population."""

    id: str
    code: str
    define: str
    aggregate: str | None = None
    reference: str | None = None
    refused: str | None = None
    """Why the population cannot be evaluated."""


class StratifierComponent(ArtifactRecord, frozen=True, kw_only=True):
    """One value of a stratifier: its define, or a function of the episode; `code` is a CodeableConcept."""

    id: str
    define: str
    code: Json | None = None


class Stratifier(ArtifactRecord, frozen=True, kw_only=True):
    """A stratifier, with one part, or with the components that it has. `applies_to` are the codes of the populations that it is about (none: all)."""

    id: str
    parts: tuple[StratifierComponent, ...]
    components: bool = False
    code: Json | None = None
    applies_to: tuple[str, ...] = ()

    @property
    def defines(self) -> tuple[str, ...]:
        """The defines of its parts."""
        return tuple(part.define for part in self.parts)


class Group(ArtifactRecord, frozen=True, kw_only=True):
    """One group; `basis` is `boolean`, or the type of the episodes that are counted."""

    id: str
    scoring: str
    basis: str = "boolean"
    populations: tuple[Population, ...]
    stratifiers: tuple[Stratifier, ...] = ()


class Supplemental(ArtifactRecord, frozen=True, kw_only=True):
    """A define whose value is reported beside the populations; `usage` tells supplemental data and risk adjustment factors, `code` is a CodeableConcept."""

    id: str
    define: str
    usage: tuple[str, ...] = ()
    code: Json | None = None


class Measure(ArtifactRecord, frozen=True, kw_only=True):
    """A measure; `libraries` are canonical urls, `start` and `end` dates of its effective period."""

    url: str | None = None
    id: str | None = None
    version: str | None = None
    title: str | None = None
    libraries: tuple[str, ...] = ()
    start: str | None = None
    end: str | None = None
    groups: tuple[Group, ...] = ()
    supplemental: tuple[Supplemental, ...] = ()
    parameters: tuple[ParameterValue, ...] = ()
    improvement: Json | None = None
    """What is better, more or less: a CodeableConcept."""

    @property
    def key(self) -> str:
        """What the measure is called in messages and outputs."""
        return self.url or f"Measure/{self.id}"


def read_measure(resource: Json, place: str) -> tuple[Measure, tuple[Diagnostic, ...]]:
    """A Measure resource and what is wrong with it. Raises ValueError for another resource."""
    if resource.get("resourceType") != "Measure":
        raise ValueError(f"{place}: expected a Measure, found {resource.get('resourceType') or 'no resource'}")
    shape = checked(resource)
    resource = shape.resource
    found = [one.diagnostic(f"{place} {pointer('Measure', one.path)}") for one in shape.findings]
    scoring = _code(resource.get("scoring"))
    basis = _extension(resource, "populationBasis", "valueCode") or resource.get("basis")
    groups = []
    for number, item in enumerate(resource.get("group") or (), 1):
        groups.append(_group(item, number, scoring, basis, place, found))
    if not groups:
        found.append(Diagnostic("measure", "the measure has no group, so there is nothing to count", location=place))
    period = resource.get("effectivePeriod") or {}
    supplemental = []
    for number, item in enumerate(resource.get("supplementalData") or (), 1):
        define = _define(item.get("criteria"), f"{place} supplementalData[{number - 1}]", found)
        if define is not None:
            supplemental.append(
                Supplemental(
                    id=str(item.get("id") or _code(item.get("code")) or define),
                    define=define,
                    usage=tuple(code for usage in item.get("usage") or () if (code := _code(usage)) is not None),
                    code=_concept(item.get("code")),
                )
            )
    measure = Measure(
        url=resource.get("url"),
        id=resource.get("id"),
        version=resource.get("version"),
        title=resource.get("title") or resource.get("name"),
        libraries=tuple(map(str, resource.get("library") or ())),
        start=period.get("start"),
        end=period.get("end"),
        groups=tuple(groups),
        supplemental=tuple(supplemental),
        parameters=_parameters(resource, place, found),
        improvement=_improvement(resource),
    )
    return measure, tuple(found)


def _parameters(resource: Json, place: str, found: list[Diagnostic]) -> tuple[ParameterValue, ...]:
    def find(reference: str) -> Json | None:
        return next((r for r in resource.get("contained") or () if f"#{r.get('id')}" == reference), None)

    def warn(code: str, message: str) -> None:
        found.append(Diagnostic(code, message, "warning", location=place))

    return extension_values(resource, "the measure", find, warn)


def _group(
    item: Json, number: int, scoring: str | None, basis: str | None, place: str, found: list[Diagnostic]
) -> Group:
    where = f"{place} group[{number - 1}]"
    populations = []
    for index, entry in enumerate(item.get("population") or (), 1):
        define = _define(entry.get("criteria"), f"{where}.population[{index - 1}]", found)
        if define is None:
            continue
        code = _code(entry.get("code")) or "unknown"
        populations.append(
            Population(
                id=str(entry.get("id") or f"{code}-{index}"),
                code=code,
                define=define,
                aggregate=_extension(entry, "aggregateMethod", "valueCode", "valueString")
                or _code(entry.get("aggregateMethod")),
                reference=_extension(entry, "criteriaReference", "valueString", "valueCode")
                or entry.get("inputPopulationId"),
            )
        )
    stratifiers = [
        stratifier
        for index, entry in enumerate(item.get("stratifier") or (), 1)
        if (stratifier := _stratifier(entry, index, f"{where}.stratifier[{index - 1}]", found)) is not None
    ]
    own = _extension(item, "scoring", "valueCodeableConcept") or _code(item.get("scoring")) or scoring or "proportion"
    kind = _extension(item, "populationBasis", "valueCode") or item.get("basis") or basis or "boolean"
    if own == "proportion":
        for code in _PROPORTION:
            if not any(p.code == code for p in populations):
                found.append(
                    Diagnostic("measure", f"a proportion needs a population {code!r}", "warning", location=where)
                )
    return Group(
        id=str(item.get("id") or f"group-{number}"),
        scoring=own,
        basis=str(kind),
        populations=tuple(_referring(populations, own, where, found)),
        stratifiers=tuple(stratifiers),
    )


def _stratifier(entry: Json, number: int, place: str, found: list[Diagnostic]) -> Stratifier | None:
    components = not entry.get("criteria")
    parts = []
    for index, part in enumerate((entry.get("component") or ()) if components else [entry], 1):
        define = _define(part.get("criteria"), f"{place}.component[{index - 1}]" if components else place, found)
        if define is not None:
            own = str(part.get("id") or part.get("linkId") or define)
            parts.append(StratifierComponent(id=own, define=define, code=_concept(part.get("code"))))
    if not parts:
        return None
    applies = [
        code
        for extension in entry.get("extension") or ()
        if str(extension.get("url", "")).endswith("cqfm-appliesTo")
        and (code := _code(extension.get("valueCodeableConcept"))) is not None
    ]
    return Stratifier(
        id=str(entry.get("id") or entry.get("linkId") or f"stratifier-{number}"),
        parts=tuple(parts),
        components=components,
        code=_concept(entry.get("code")),
        applies_to=tuple(applies),
    )


def _improvement(resource: Json) -> Json | None:
    """The improvement notation of a measure, or the one that all of its groups have."""
    own = _concept(resource.get("improvementNotation"))
    if own is not None:
        return own
    of_groups = []
    for item in resource.get("group") or ():
        named = [
            extension.get("valueCodeableConcept")
            for extension in item.get("extension") or ()
            if str(extension.get("url", "")).endswith("cqfm-improvementNotation")
        ]
        of_groups.append(_concept(item.get("improvementNotation") or (named[0] if named else None)))
    return of_groups[0] if of_groups and all(one == of_groups[0] for one in of_groups) else None


def _concept(value: Any) -> Json | None:
    """A CodeableConcept that says something."""
    return value if isinstance(value, dict) and (value.get("coding") or value.get("text")) else None


def _referring(populations: list[Population], scoring: str, place: str, found: list[Diagnostic]) -> list[Population]:
    """Populations whose observations refer to one of them: where a reference names none, to the one that the scoring observes.

    A ratio observes its denominator and its numerator; two observations stand for them in the order of the populations.
    """
    observed = ("measure-population",) if scoring == "continuous-variable" else ("denominator", "numerator")
    sources = [p for p in populations if p.code in observed]
    ids = {p.id for p in populations}
    out = list(populations)
    lost = [i for i, p in enumerate(out) if p.code == "measure-observation" and p.reference not in ids]
    for number, index in enumerate(lost):
        own = out[index]
        meant = sources[number].id if len(lost) == len(sources) else sources[0].id if len(sources) == 1 else None
        if own.reference is not None:
            message = (
                f"the observation {own.id!r} refers to {own.reference!r}, and no population of its group has that id"
            )
            message += f"; it is taken to observe {meant!r}" if meant else ""
            found.append(Diagnostic("measure", message, "warning", location=place))
        if meant is not None:
            out[index] = own.changed(reference=meant)
    return out


def _define(criteria: Any, place: str, found: list[Diagnostic]) -> str | None:
    criteria = criteria if isinstance(criteria, dict) else {}
    text = criteria.get("expression")
    if not text:
        found.append(Diagnostic("measure", "the criteria have no expression", location=place))
        return None
    language = str(criteria.get("language") or "text/cql-identifier").lower()
    if "cql" not in language:
        found.append(Diagnostic("measure", f"criteria in {language} are not computed", location=place))
        return None
    return str(text).strip().strip('"')


def _code(concept: Any) -> str | None:
    for coding in (concept or {}).get("coding") or ():
        if coding.get("code"):
            return str(coding["code"])
    return None


def _extension(item: Json, name: str, *keys: str) -> str | None:
    for extension in item.get("extension") or ():
        if str(extension.get("url", "")).endswith(f"cqfm-{name}"):
            for key in keys:
                value = extension.get(key)
                if value is not None:
                    return _code(value) if isinstance(value, dict) else str(value)
    return None
