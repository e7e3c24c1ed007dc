"""What became of everything that was read, so that it adds up: used, not needed, or a problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct, field

from fhir_eligibility.data.files.problems import NO_PATIENT, Problem, is_unread
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.patients.completeness import Completeness
from fhir_eligibility.output.run_record import Resources
from fhir_eligibility.runners.large.bulk import Counts
from fhir_eligibility.runners.screening.patients_digest import PatientsDigest


class Accounting(Struct):
    """Counts problems as they pass by, and gives the account when all have."""

    completeness: Completeness
    count: Counter[str] = field(default_factory=Counter)
    """Problems by severity."""
    _unread: Counter[str] = field(default_factory=Counter)
    _nobodys: Counter[tuple[str, str]] = field(default_factory=Counter)
    _last: tuple[object, ...] = ()

    def through(self, problems: Iterable[Problem]) -> Iterator[Problem]:
        """The same problems, which come in the order of the data."""
        for problem in problems:
            self.count[problem.severity] += 1
            place = problem.file, problem.offset, problem.line, problem.entry, problem.resource
            if is_unread(problem):
                self._unread[self.completeness.types_of(problem)[0]] += 1
            elif problem.code == NO_PATIENT and place != self._last:
                kind = (problem.resource or "").partition("/")[0]
                self._nobodys[kind, problem.severity] += 1
                self._last = place
            yield problem

    def resources(self, counts: Counts, files: int) -> Resources:
        """The account, of so many files."""
        used, passed, problems = counts.used.copy(), counts.passed.copy(), self._unread.copy()
        for (kind, severity), number in self._nobodys.items():
            # these were kept, and then nobody was found whose they are
            moved = min(number, used[kind])
            used[kind] -= moved
            (problems if severity == "error" else passed)[kind] += moved
        return Resources(
            used=_sorted(used),
            passed=_sorted(passed),
            problems=_sorted(problems),
            deletions=counts.deletions,
            empty=counts.empty,
            files=files,
            lines=counts.lines,
            blank=counts.blank,
        )


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return {kind: number for kind, number in sorted(counts.items()) if number}


class CountedPatients:
    """Patients that do not come from files; what they have is counted as they pass by, and told to the completeness when all have; `digest` is that of those who passed.

    A resource about several patients is counted once, as in files.
    """

    def __init__(self, patients: Iterable[Compartment], completeness: Completeness) -> None:
        self.counts = Counts()
        self.digest = PatientsDigest()
        self._patients = patients
        self._completeness = completeness
        self._known: set[int] = set()

    def __iter__(self) -> Iterator[Compartment]:
        for compartment in self._patients:
            self.digest.add(compartment)
            self.counts.used["Patient"] += compartment.patient is not None
            shared = compartment.shared.by_type if compartment.shared is not None else {}
            for by_type in (compartment.resources, shared):
                for kind, resources in by_type.items():
                    self._count(compartment, kind, resources)
            yield compartment
        self._completeness.count(self.counts.used)

    def _count(self, compartment: Compartment, kind: str, resources: Iterable[dict[str, Any]]) -> None:
        for resource in resources:
            origin = compartment.origin(resource)
            name = origin.full_url if origin is not None else None
            if name is None and "id" in resource:
                name = f"{kind}/{resource['id']}"
            known = hash(name)
            if name is None or known not in self._known:
                self.counts.used[kind] += 1
            if name is not None:
                self._known.add(known)
