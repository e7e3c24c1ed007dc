"""Patients of sources that are not files, each once: the same patient of several sources is put together as the same patient of several files is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count

from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.patients.reader import cohort_of
from fhir_eligibility.data.records.identity import address_of
from fhir_eligibility.data.records.sources import Loaded, OnProblem

Source = tuple[str, Iterable[Compartment]]
"""What a source is called, and its patients."""


def each_once(sources: Sequence[Source], model: Model, on_problem: OnProblem) -> Iterator[Compartment]:
    """The patients of sources, in their order, each once.

    Several sources are read to the end first. Who is in several of them is known by the same address (fullUrl), else by the same `Patient/id`: the records are put
    together by the rule for files, duplicates and conflicts among them are told, and the place is that of the first. Whom one source gives twice is told as an error.
    """
    if len(sources) == 1:
        yield from (one for _, one in _without_repeats(*sources[0], on_problem))
        return
    patients: dict[str, list[tuple[str, Compartment]]] = {}
    for name, compartments in sources:
        for key, compartment in _without_repeats(name, compartments, on_problem):
            patients.setdefault(key, []).append((name, compartment))
    for found in patients.values():
        yield found[0][1] if len(found) == 1 else _joined(found, model, on_problem)


def _without_repeats(
    name: str, compartments: Iterable[Compartment], on_problem: OnProblem
) -> Iterator[tuple[str, Compartment]]:
    """The patients of one source by what they are known by."""
    known: set[int] = set()
    for compartment in compartments:
        key, reference = _key(compartment), compartment.reference
        if hash(key) not in known:
            known.add(hash(key))
            yield key, compartment
            continue
        message = f"{name} gives {reference} more than once; only the first counts, and what else it says of the patient is not used"
        hint = "give every patient once, with all records"
        at = {"file": name, "resource": reference, "patient": reference}
        on_problem(Problem(**at, code="repeated-patient", message=message, hint=hint))


def _key(compartment: Compartment) -> str:
    """What a patient is known by: the address, where there is one."""
    origin = compartment.origin(compartment.patient) if compartment.patient is not None else None
    address = address_of(origin.full_url) if origin is not None else None
    return address or compartment.reference


def _joined(found: Sequence[tuple[str, Compartment]], model: Model, on_problem: OnProblem) -> Compartment:
    """One patient of what several sources give of them."""
    cohort = cohort_of(_loaded(found), model, on_problem)
    wanted = _key(found[0][1])
    first = found[0][1]
    joined = next(one for one in cohort.compartments() if wanted in (_key(one), one.reference))
    joined.reference = first.reference
    joined.others = None  # only this patient is at hand
    joined.gaps = tuple(dict.fromkeys((*joined.gaps, *(gap for _, one in found for gap in one.gaps))))
    joined.doubts = [*joined.doubts, *(doubt for _, one in found for doubt in one.doubts)]
    return joined


def _loaded(found: Sequence[tuple[str, Compartment]]) -> Iterator[Loaded]:
    """The records of compartments as readers of files give them; those that are about no patient are among them."""
    place = count()
    for file_number, (name, compartment) in enumerate(found):
        listed = [compartment.patient] if compartment.patient is not None else []
        listed += [one for resources in compartment.resources.values() for one in resources]
        if compartment.shared is not None:
            listed += [one for resources in compartment.shared.by_type.values() for one in resources]
        for resource in listed:
            origin = compartment.origin(resource)
            full_url = origin.full_url if origin is not None else None
            yield Loaded(resource, name, full_url=full_url, offset=next(place), file_number=file_number)
