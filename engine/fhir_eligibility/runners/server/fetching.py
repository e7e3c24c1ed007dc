"""What to fetch from a server for criteria: the types and filters of an export, and the searches for a screening.

Both come from the data requirements of the compiled rules. References that a rule follows with resolve(), and the
Endpoints that say where images are, are part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlsplit

from fhir_eligibility.algebra.arguments import instance_of, several
from fhir_eligibility.artifacts.models import Model, load_model
from fhir_eligibility.compiler.analysis.requirements import DataRequirement
from fhir_eligibility.compiler.criteria.cql import CqlCode
from fhir_eligibility.compiler.criteria.rules import FhirPathCriterion, RuleSet
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.data.records.identity import shared_types
from fhir_eligibility.data.server.client import Server, ServerError
from fhir_eligibility.data.server.patients import SearchPlan, ServerPatients
from fhir_eligibility.output.date_filters import date_search
from fhir_eligibility.output.requirements import type_filters, type_parameter
from fhir_eligibility.runners.screening.criteria import Criteria

LONGEST_FILTER = 1500  # characters of a search's value; longer ones are left out, so that addresses stay short enough
_DATES = re.compile(r"&(?=[a-z-]+=(?:ge|le)\d{4}-\d\d-\d\d)")  # where the dates of a filter begin that has codes too
_RESULTS = frozenset("_summary _elements _include _revinclude _sort _count _format _total _contained".split())


def requirements_of(rules: Iterable[RuleSet], run: Run | None = None) -> dict[str, DataRequirement]:
    """What several rule sets read, by resource type; with the dates that a run asks for, where one is given."""
    merged: dict[str, DataRequirement] = {"Patient": DataRequirement("Patient")}
    for rule_set in rules:
        for name, found in rule_set.requirements(run).items():
            merged.setdefault(name, DataRequirement(name)).add(found)
    return merged


def followed_types(rules: Iterable[RuleSet], model: Model) -> frozenset[str] | None:
    """Types of the resources that rules reach by references, None where it can be any type."""
    out: set[str] = set()
    for rule_set in rules:
        if "ImagingStudy" in rule_set.requirements():
            out.add("Endpoint")  # where the images of the evidence are
        for rule in rule_set.walk():
            for code in (rule.code, rule.presence):
                if isinstance(code, CqlCode):
                    for _, uses in code.compiled.reached([code.define]):
                        out |= {r.spec.target for r in uses.retrievals if r.spec.target}
                if not isinstance(code, FhirPathCriterion):
                    continue
                for node in code.node.walk():
                    if isinstance(node, n.Resolve):
                        names = {name.removeprefix("FHIR.") for name in node.types}
                        if not names <= model.resource_types:
                            return None
                        out |= names
    return frozenset(out)


def _read_whole(rules: Iterable[RuleSet], found: dict[str, DataRequirement], model: Model) -> set[str]:
    """Types of which a search by code would miss some that rules ask for by code.

    The code may stand in a resource that is referred to (a Medication), or a record of what was not done may name a
    whole value set.
    """
    out = set()
    for name, requirement in found.items():
        for path in {p for p, _, _ in requirement.codes} | {p for p, _ in requirement.value_sets}:
            element = model.element(name, path)
            if element is None or {"Reference", "CodeableReference"} & set(element.types):
                out.add(name)
    for rule_set in rules:
        for rule in rule_set.walk():
            for code in (rule.code, rule.presence):
                if isinstance(code, CqlCode):
                    for _, uses in code.compiled.reached([code.define]):
                        out |= {r.spec.resource_type for r in uses.retrievals if r.spec.negated}
    return out


def export_parameters(
    rules: Iterable[RuleSet], version: str, *, value_sets: bool = False, dates: Run | None = None
) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """The `_type`s and `_typeFilter`s of an export for rules, and whether rules follow references to any type.

    A filter names one code each: filters of a type are alternatives, and a comma inside of one is read in two ways by
    servers. A type that is asked for by value set is exported whole, unless `value_sets` says that the server's
    copies are the right ones. Filters narrow by date too where `dates` is a run to tell them by; records without a
    date are lost then.
    """
    listed = list(rules)
    found = requirements_of(listed, dates)
    model = load_model(version)
    follow = followed_types(listed, model)
    types = set(type_parameter(found).split(",")) | (follow or set())
    filters: list[str] = []
    listed_filters = type_filters(found, dates=dates is not None)
    whole = _read_whole(listed, found, model)
    if not value_sets:
        whole |= {text.partition("?")[0] for text in listed_filters if ":in=" in text}
    if dates is not None and follow is not None:
        by_date = ((name, date_search(name, found[name].dates_of_all)) for name in sorted(whole - follow))
        filters += [f"{name}?{search}" for name, search in by_date if search]
    for text in listed_filters:
        head, _, query = text.partition("?")
        query, *within = _DATES.split(query, maxsplit=1)
        name, _, values = query.partition("=")
        if follow is None or head in follow or head in whole:
            continue  # a reference may lead to one with any code
        filters.extend(
            "&".join((f"{head}?{name}={value}", *within))
            for value in ([values] if ":in" in name else re.split(r"(?<!\\),", values))
        )
    return tuple(sorted(types)), tuple(filters), follow is None


def search_plan(rules: Iterable[RuleSet], version: str) -> SearchPlan:
    """The searches for a screening by rules. Filters by value set are left out: not every server knows the value
    set.
    """
    listed = list(rules)
    model = load_model(version)
    found = requirements_of(listed)
    types = tuple(sorted(name for name in found if name != "Patient" and model.patient_paths(name)))
    narrowed = {}
    for name in set(types) - _read_whole(listed, found, model):
        filters = type_filters({name: found[name]})
        if len(filters) == 1 and ":in=" not in filters[0]:
            parameter, _, value = filters[0].partition("?")[2].partition("=")
            if len(value) <= LONGEST_FILTER:
                narrowed[name] = (parameter, value)
    shared = sorted(kind for kind in _retrieved(listed) & shared_types(model) if not model.patient_paths(kind))
    return SearchPlan(types, narrowed, followed_types(listed, model), tuple(shared))


def _retrieved(rules: Iterable[RuleSet]) -> set[str]:
    """The types that rules retrieve themselves."""
    out: set[str] = set()
    for rule_set in rules:
        for rule in rule_set.walk():
            for code in (rule.code, rule.presence):
                if isinstance(code, CqlCode):
                    for _, uses in code.compiled.reached([code.define]):
                        out |= {r.spec.resource_type for r in uses.retrievals}
                elif isinstance(code, FhirPathCriterion):
                    out |= {str(node.data_type) for node in code.node.walk() if isinstance(node, n.Retrieve)}
    return out


def base_of(address: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The base address of a server, and the patients to take: `BASE/Patient?gender=male` restricts them. Raises
    ServerError.
    """
    parts = urlsplit(address)
    base, _, last = parts.path.rstrip("/").rpartition("/")
    if last != "Patient":
        if parts.query:
            raise ServerError("only BASE or BASE/Patient?... can be screened; this address has a query of another kind")
        return address.rstrip("/"), ()
    restriction = tuple(parse_qsl(parts.query, keep_blank_values=True))
    wrong = sorted({name.partition(":")[0] for name, _ in restriction} & _RESULTS)
    if wrong:
        raise ServerError(f"{', '.join(wrong)} cannot be given here; only parameters that choose patients can")
    return f"{parts.scheme}://{parts.netloc}{base}", restriction


def server_patients(
    server: Server, criteria: Criteria, restriction: tuple[tuple[str, str], ...] = ()
) -> ServerPatients:
    """The patients of a server with what criteria read, for `screen`.

    `restriction` are search parameters that choose patients. Raises TypeError for values of another type.
    """
    instance_of(server, Server, "server", "a Server")
    instance_of(criteria, Criteria, "criteria", "what load_criteria gives")
    for item in several(restriction, "restriction"):
        if not (isinstance(item, tuple) and len(item) == 2 and all(isinstance(part, str) for part in item)):
            raise TypeError(f"restriction: expected pairs of texts (name, value), found {item!r:.60}")
    version = criteria.fhir_version
    return ServerPatients(server, load_model(version), search_plan(criteria.rules, version), restriction=restriction)
