"""The door to patient data: paths in, compartments out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from fhir_eligibility.algebra.arguments import flag, function_of, instance_of, several
from fhir_eligibility.artifacts.models import Model, load_model
from fhir_eligibility.data.files.listing import list_data
from fhir_eligibility.data.files.opening import begin, begin_text
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.cohort import Cohort
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.patients.completeness import Completeness, reporting_to
from fhir_eligibility.data.patients.manifest_facts import manifest_facts
from fhir_eligibility.data.records.identity import id_of, stands_alone
from fhir_eligibility.data.records.marks import Noted, test_patient
from fhir_eligibility.data.records.oddities import Oddities
from fhir_eligibility.data.records.pages import Page
from fhir_eligibility.data.records.pages import lacking as pages_lacking
from fhir_eligibility.data.records.sources import Loaded, OnProblem, read_listed, unpack
from fhir_eligibility.data.records.values import values_in

__all__ = ["compartments_of", "read_patients"]


def cohort_of(
    loaded: Iterable[Loaded],
    model: Model,
    on_problem: OnProblem,
    noted: Noted | None = None,
    *,
    merge_linked: bool = False,
) -> Cohort:
    """A cohort of everything read. What is marked among it is told, or `noted` for whoever reads more of it. `merge_linked` is as in `read_patients`."""
    cohort = Cohort(model, on_problem, oddities=Oddities(), merge=merge_linked)
    found = noted if noted is not None else Noted()
    for item in loaded:
        if item.marked and item.resource is not None and found.add(item.resource):
            where = {"file": item.file, "line": item.line, "offset": item.offset, "entry": item.entry}
            on_problem(test_patient(item.resource, where))
        cohort.add(item)
    for problem in found.problems() if noted is None else ():
        on_problem(problem)
    return cohort


def read_patients(
    paths: Iterable[str | Path],
    *,
    model: Model,
    on_problem: OnProblem,
    tolerate: int = 0,
    merge_linked: bool = False,
    completeness: Completeness | None = None,
) -> Iterator[Compartment]:
    """Patients of bundles, arrays, single resources, NDJSON, and folders of these (`.gz` too), in order of appearance.

    A patient's resources may be spread over files, and a file may hold several patients. What cannot be read is handed to
    `on_problem`, and the rest goes on; what may be missing for it of a patient's data, the compartment tells. Of each type `tolerate` damaged records are tolerated
    whose patients nobody can tell. A `completeness` that is given learns all of that. With `merge_linked`, Patients that are linked as one person (Patient.link) are one patient.
    """
    paths = list(paths)
    odd: list[Problem] = []
    listing = list_data(paths, odd.append)
    facts = manifest_facts(listing.manifests)
    completeness = completeness if completeness is not None else Completeness(tolerate)
    completeness.listed(facts.types)
    facts.narrow(completeness)
    report = reporting_to(completeness, on_problem)
    for problem in odd:
        report(problem)
    counts: dict[str, dict[str, int]] = {}
    lines: dict[str, dict[str, int]] = {}
    pages: list[Page] = []
    described: set[str] = set()
    read = _without_pages(read_listed(listing, report), pages)
    loaded = _noted(_counted(_by_bundle(read, completeness), counts, lines), described)
    cohort = cohort_of(loaded, model, report, merge_linked=merge_linked)
    for types in counts.values():
        completeness.count(types)
    for path, types in lines.items():
        completeness.file(path, types)
    for problem in facts.lacking({path: sum(types.values()) for path, types in counts.items()}):
        report(problem)
    for problem in pages_lacking(pages):
        report(problem)
    yield from _with_gaps(cohort, completeness, described)


def _noted(loaded: Iterable[Loaded], described: set[str]) -> Iterator[Loaded]:
    """The same; notes the patients of whom there is a Patient resource."""
    for one in loaded:
        if one.resource is not None and one.resource["resourceType"] == "Patient" and id_of(one.resource) is not None:
            described.add(f"Patient/{id_of(one.resource)}")
        yield one


def _by_bundle(loaded: Iterable[Loaded], completeness: Completeness) -> Iterator[Loaded]:
    """The same; notes how many Patients bundles hold."""
    known: object = None
    for one in loaded:
        if one.patients is not known:
            known = one.patients
            completeness.bundles(int(stands_alone(one.home)), int(len(one.patients) > 1))
        yield one


def _without_pages(loaded: Iterable[Loaded], pages: list[Page]) -> Iterator[Loaded]:
    """The same, but for what bundles say of their pages."""
    for one in loaded:
        if one.page is None:
            yield one
        else:
            pages.append(msgspec.structs.replace(one.page, file=one.file, offset=one.offset, line=one.line))


def _counted(
    loaded: Iterable[Loaded], counts: dict[str, dict[str, int]], lines: dict[str, dict[str, int]]
) -> Iterator[Loaded]:
    """The same, counted by file and type; what stands in lines once more by itself."""
    for one in loaded:
        if one.resource is not None:
            kind = one.resource["resourceType"]
            for counted in (counts,) if one.line is None else (counts, lines):
                types = counted.setdefault(one.file, {})
                types[kind] = types.get(kind, 0) + 1
        yield one


def _with_gaps(cohort: Cohort, completeness: Completeness, described: set[str]) -> Iterator[Compartment]:
    """The patients of a cohort; all that is wrong with it is known before the first. `described` are the patients of whom there is a Patient resource."""
    patients = list(cohort.patients())
    for patient, reference in patients:
        cohort.report_undescribed(patient, reference)
    # without any Patient, those whom records name are the patients
    completeness.finish(described.intersection if described else None)
    for patient, reference in patients:
        found = cohort.compartment(patient, reference)
        found.gaps = (*completeness.gaps(found), *found.gaps)
        yield found


def read_value(path: str, text: bytes | None = None) -> Any:
    """The one JSON value of a file - a resource, a bundle - as it stands; of a `text` that was given in its place, which the path is the name of.

    Raises ValueError, which says what is wrong and what to do, where there is none, or several.
    """
    problems: list[Problem] = []
    opened = begin if text is None else lambda _: begin_text(text)
    found = list(islice(values_in(path, problems.append, opened), 2))
    if len(found) == 1 and not problems:
        return found[0].data
    if len(found) == 2:
        raise ValueError(f"{path} holds several resources, one behind the other; give one of them")
    problem = problems[0] if problems else Problem(code="empty-file", message="the file is empty")
    hint = f"; {problem.hint}" if problem.hint else ""
    line = f", line {problem.line}" if problem.line is not None else ""
    raise ValueError(f"{path}{line}: {problem.message}{hint}")


def compartments_of(
    resources: Iterable[dict[str, Any]],
    *,
    model: Model | None = None,
    on_problem: OnProblem | None = None,
    merge_linked: bool = False,
) -> Iterator[Compartment]:
    """Patients of resources already decoded (decimals as Decimal); bundles among them are unpacked.

    With `merge_linked`, Patients that are linked as one person (Patient.link) are one patient.

    Raises TypeError where `resources` are no dictionaries, or one alone.
    """
    if isinstance(resources, Mapping):
        raise TypeError(f"resources: expected a list, found one {resources.get('resourceType', 'mapping')}; write [it]")
    listed = several(resources, "resources")
    for index, resource in enumerate(listed):
        instance_of(resource, dict, f"resources[{index}]", "a resource as a dict")
    if model is not None:
        instance_of(model, Model, "model", "what load_model gives")
    function_of(on_problem, "on_problem")
    flag(merge_linked, "merge_linked")
    return _in_memory(listed, model, on_problem, merge_linked)


def _in_memory(
    resources: list[dict[str, Any]], model: Model | None, on_problem: OnProblem | None, merge_linked: bool
) -> Iterator[Compartment]:
    from_memory: list[Loaded] = []
    completeness = Completeness()
    report = reporting_to(completeness, on_problem if on_problem is not None else _ignore)
    for index, resource in enumerate(resources):
        for loaded in unpack(resource, "(memory)", report, None):
            if loaded.resource is resource:
                loaded.entry = index
            else:
                loaded.offset = index
            from_memory.append(loaded)
    pages: list[Page] = []
    from_memory = list(_without_pages(from_memory, pages))
    for problem in pages_lacking(pages):
        report(problem)
    described: set[str] = set()
    noted = _noted(_by_bundle(from_memory, completeness), described)
    cohort = cohort_of(noted, model or load_model("r4"), report, merge_linked=merge_linked)
    yield from _with_gaps(cohort, completeness, described)


def _ignore(problem: object) -> None:
    return None
