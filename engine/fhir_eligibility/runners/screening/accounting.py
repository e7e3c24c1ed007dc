"""What became of everything that was read, so that it adds up: used, not needed, or a problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from msgspec import Struct, field

from fhir_eligibility.data.files.problems import NO_PATIENT, Problem, is_unread
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.patients.completeness import Completeness
from fhir_eligibility.output.run_record import Resources
from fhir_eligibility.runners.large.bulk import Counts


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
    """Patients that do not come from files; what they have is counted as they pass by."""

    def __init__(self, patients: Iterable[Compartment]) -> None:
        self.counts = Counts()
        self._patients = patients
        self._shared: set[tuple[str, str]] = set()

    def __iter__(self) -> Iterator[Compartment]:
        used = self.counts.used
        for compartment in self._patients:
            used["Patient"] += compartment.patient is not None
            for kind, resources in compartment.resources.items():
                used[kind] += len(resources)
            for kind, resources in compartment.shared.by_type.items() if compartment.shared is not None else ():
                for resource in resources:
                    name = kind, str(resource.get("id", id(resource)))
                    if name not in self._shared:
                        self._shared.add(name)
                        used[kind] += 1
            yield compartment
