"""What the problems of some data leave open: of which types records may be missing, for which patients or for all.

The one place that turns problems into gaps (`fhir_eligibility.data.records.gaps`). A problem that is an error has lost something: a record, where it names a place in a file or a
resource, else all or part of a file. Of a record whose patient is told only that patient's data has a gap; of one whose patient nobody can tell, that of all. Of
which type it was is told by the record itself, by the manifest of the export, by the file's name, or by many other lines of its file; where nothing tells, it may be any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

from msgspec import Struct, field

from fhir_eligibility.artifacts.elements import all_resource_types
from fhir_eligibility.data.files.file_names import types_named
from fhir_eligibility.data.files.opening import without_packing
from fhir_eligibility.data.files.problems import (
    ANSWER,
    ENTRIES,
    MATCHES,
    NEXT_PAGE,
    NOT_DESCRIBED,
    NOTHING_LOST,
    SERVER_ERROR,
    SO_FAR,
    Problem,
)
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.records.gaps import EVERY, WHOLE, Gap, Gaps

FIRST = 3
"""Places that are named."""
MOST_PATIENTS = 100_000
"""Patients whose own gaps are kept apart; more of them count as everybody's."""
LINES_THAT_TELL = 10
"""Resources of one type alone in a file of lines that tell, without any name, that all of its lines are of that type. Fewer may be those of one patient."""


class Lost(Struct):
    """What was lost of one type: parts of files (sentences), records of nobody knows whom, and records of known patients."""

    files: list[str] = field(default_factory=list)
    records: int = 0
    places: list[str] = field(default_factory=list)
    of_patients: int = 0
    replaced: bool = False

    def add_file(self, why: str) -> None:
        """Note that a file lacks records."""
        if why not in self.files:
            self.files.append(why)

    def why(self) -> str:
        """All of it in words."""
        parts = self.files[:FIRST]
        if len(self.files) > FIRST:
            parts.append(f"{len(self.files) - FIRST} more files")
        if self.records:
            what = "a record" if self.records == 1 else f"{self.records} records"
            shown = ", ".join(self.places[:FIRST]) + (", ..." if self.records > FIRST else "")
            parts.append(f"{what} whose patient cannot be told ({shown})")
        return "; ".join(parts)


class TypeState(Struct):
    """Whether the records of a type are all there, as far as it is known. `found` are resources of the type that could be read.

    Where it is `narrowed`, only those with some codes were asked for: that none was found does not mean that there is none.
    """

    type: str
    found: int
    lost: Lost
    tolerated: bool = False
    narrowed: bool = False

    @property
    def complete(self) -> bool:
        """Whether nothing of it is known to be missing."""
        return not (self.lost.files or self.lost.records or self.lost.of_patients)


class Completeness:
    """Takes in problems while data is read; when all is read, `finish`, and ask for the gaps of patients.

    Of each type `tolerate` damaged records are tolerated whose patients nobody can tell: answers stay, and how many rest on them is counted.
    """

    def __init__(self, tolerate: int = 0, types_of_files: Mapping[str, str] | None = None) -> None:
        """`types_of_files` are the types that a manifest tells of files."""
        self.tolerate = tolerate
        self.found: dict[str, int] = {}
        self.lost: dict[str, Lost] = {}
        self._listed = dict(types_of_files or {})
        self._seen: dict[str, tuple[frozenset[str], int]] = {}
        self._of_one = self._of_several = 0
        self._filtered: list[Gap] = []
        self._narrowed: set[str] = set()
        self._waiting: list[Problem] = []
        self._own: dict[str, dict[str, list[str]]] = {}
        self._gaps: Gaps = WHOLE
        self._finished = False

    # -- while data is read

    def problem(self, problem: Problem) -> None:
        """Take in a problem; warnings lose nothing."""
        if problem.severity != "error" or problem.code in NOTHING_LOST:
            return
        if self._finished:
            self._take(problem)
        else:
            self._waiting.append(problem)

    def listed(self, types: Mapping[str, str]) -> None:
        """Take in the types that manifests tell of files."""
        self._listed.update(types)

    def file(self, path: str, types: Mapping[str, int]) -> None:
        """Take in how many resources of each type a file of lines holds."""
        counts = {name: number for name, number in types.items() if name != "OperationOutcome"}
        known, lines = self._seen.get(path, (frozenset[str](), 0))
        self._seen[path] = known | counts.keys(), lines + sum(counts.values())

    def count(self, types: Mapping[str, int]) -> None:
        """Take in how many resources of each type there are, of files that hold several types."""
        for name, number in types.items():
            self.found[name] = self.found.get(name, 0) + number

    def narrow(self, types: Iterable[str]) -> None:
        """Take in the types of which a source gives only the records with some codes."""
        self._narrowed.update(types)

    def bundles(self, of_one: int, of_several: int) -> None:
        """Take in how many bundles are whole that stand for themselves and hold one Patient, and how many of any type hold several."""
        self._of_one += of_one
        self._of_several += of_several

    def filtered(self, kind: str, why: str, filters: tuple[str, ...]) -> None:
        """Take in that of a type only those records were exported which some searches find."""
        self._filtered.append(Gap(kind, why, filters=filters))

    # -- when all is read

    def finish(self, known: Callable[[set[str]], set[str]] | None = None) -> Completeness:
        """All is read. `known` tells of patients, as `Patient/id`, which of them are among the data; a record of any other is one of nobody knows whom."""
        if not self._of_one or self._of_several:
            # nothing shows that bundles of these data are one patient's each
            self._waiting = [
                problem.model_copy(update={"patient": None}) if problem.element == SO_FAR else problem
                for problem in self._waiting
            ]
        if known is not None:
            # what is said of a patient whom no Patient resource describes is about nobody else
            named = {name for p in self._waiting if _may_be_anybodys(p) and (name := _person(p.patient)) is not None}
            strangers = named - known(named) if named else set()
            self._waiting = [
                p.model_copy(update={"patient": None}) if _may_be_anybodys(p) and _person(p.patient) in strangers else p
                for p in self._waiting
            ]
        for problem in self._waiting:
            self._take(problem)
        self._waiting.clear()
        self._finished = True
        self._gaps = (*self._global(), *self._filtered)
        return self

    def _take(self, problem: Problem) -> None:
        if problem.code == NOT_DESCRIBED:
            self._lost("Patient").of_patients += 1  # criteria see by themselves that there is no Patient
            return
        kinds = self.types_of(problem)
        patient = _person(problem.patient)
        if patient is not None and (patient in self._own or len(self._own) < MOST_PATIENTS):
            own = self._own.setdefault(patient, {})
            for kind in kinds:
                where = _place(problem) if self._is_record(problem) else f"{_name(problem.file)}: {problem.message}"
                own.setdefault(kind, []).append(where)
                self._lost(kind).of_patients += 1
            return
        for kind in kinds:
            lost = self._lost(kind)
            if self._is_record(problem):
                lost.records += 1
                if len(lost.places) < FIRST:
                    lost.places.append(_place(problem))
            else:
                # of what servers say there may be a line a record
                what = (
                    "a server reports errors in the place of data" if problem.code == SERVER_ERROR else problem.message
                )
                lost.add_file(f"{_name(problem.file)}: {what}")

    def _is_record(self, problem: Problem) -> bool:
        """Whether a problem is about one record, and not about a file, or about nobody knows how many records."""
        if problem.code in (NEXT_PAGE, MATCHES) or (problem.code == SERVER_ERROR and problem.element != ANSWER):
            return False
        if problem.resource is not None or problem.line is not None or problem.entry is not None:
            return True
        return bool(problem.offset) or (problem.offset is not None and problem.file in self._seen)

    def _lost(self, kind: str) -> Lost:
        found = self.lost.get(kind)
        if found is None:
            found = self.lost[kind] = Lost()
        return found

    def types_of(self, problem: Problem) -> tuple[str, ...]:
        """The types of which a problem may have lost records."""
        if problem.type is not None:
            return (problem.type,)
        if problem.resource is not None:
            kind = problem.resource.partition("/")[0]
            if kind in all_resource_types():
                return (kind,)
        return self.types_in(problem.file)

    def types_in(self, path: str | None) -> tuple[str, ...]:
        """The types of the resources in a file, (EVERY,) where nothing tells."""
        if path is None:
            return (EVERY,)
        listed = self._listed.get(path)
        if listed is not None:
            return (listed,)
        (seen, lines), name = self._seen.get(path, (frozenset[str](), 0)), type_by_name(path)
        if name == "OperationOutcome":
            return (EVERY,)  # what a server says there may be of records of any type
        if len(seen) > 1 or (name is None and lines < LINES_THAT_TELL):
            return (EVERY,)
        return tuple(sorted(seen if name is None else seen | {name}))

    def _global(self) -> Iterator[Gap]:
        anything = self.lost.get(EVERY)
        any_records = anything.records if anything is not None else 0
        for kind in sorted(self.lost):
            lost = self.lost[kind]
            if not lost.files and not lost.records:
                continue
            records = lost.records + (any_records if kind != EVERY else 0)
            yield Gap(kind, lost.why(), lost.replaced, tolerated=not lost.files and records <= self.tolerate)

    # -- asked

    def gaps(self, compartment: Compartment) -> Gaps:
        """The gaps in the data of a patient."""
        if not self._own:
            return self._gaps
        own = [self._own[name] for name in _names(compartment) if name in self._own]
        if not own:
            return self._gaps
        return (*(Gap(kind, _of_patient(records)) for one in own for kind, records in one.items()), *self._gaps)

    def everybodys(self) -> Gaps:
        """The gaps in the data of all patients."""
        return self._gaps

    @property
    def some_lack(self) -> bool:
        """Whether records are known to be missing of single patients."""
        return bool(self._own)

    def lacks(self, reference: str, identifier: str | None) -> bool:
        """Whether records are known to be missing of a patient, of whom a reference and the id are given."""
        if not self._own:
            return False
        return any(name in self._own for name in _names(Compartment({"id": identifier}, reference)))

    def state(self, kind: str) -> TypeState:
        """How complete a type is."""
        tolerated = any(gap.type == kind and gap.tolerated for gap in self._gaps)
        lost = self.lost.get(kind, Lost())
        return TypeState(kind, self.found.get(kind, 0), lost, tolerated, kind in self._narrowed)

    # -- kept in a workspace

    def kept(self) -> dict[str, Any]:
        """What `restored` takes, in plain values: what is asked for patients."""
        return {
            "gaps": [(gap.type, gap.why, gap.replaced, gap.tolerated, gap.others, gap.filters) for gap in self._gaps],
            "own": self._own,
        }

    @classmethod
    def restored(cls, kept: Mapping[str, Any], tolerate: int = 0) -> Completeness:
        """What was kept; further problems of single patients can be taken in."""
        found = cls(tolerate)
        found._gaps = tuple(
            Gap(kind, why, replaced, tolerated, others, tuple(filters))
            for kind, why, replaced, tolerated, others, filters in kept["gaps"]
        )
        found._own = kept["own"]
        found._finished = True
        return found


def reporting_to(completeness: Completeness, on_problem: Callable[[Problem], None]) -> Callable[[Problem], None]:
    """Takes problems, and has them leave gaps."""

    def report(problem: Problem) -> None:
        completeness.problem(problem)
        on_problem(problem)

    return report


def gaps_of_nobodys(problems: Iterable[Problem]) -> Gaps:
    """The gaps of patients who bear the name by which records that are nobody's call theirs."""
    return tuple(
        Gap(kind_of(problem), f"a record whose patient cannot be told ({_place(problem)})") for problem in problems
    )


def kind_of(problem: Problem) -> str:
    """The type of the resource that a problem is about; EVERY where it is about none."""
    kind = problem.type or (problem.resource or "").partition("/")[0]
    return kind if kind in all_resource_types() else EVERY


def type_by_name(path: str) -> str | None:
    """The resource type that the name of a file tells (`Condition.ndjson`, `1.Condition.ndjson`, `Condition.labs.here.ndjson`), else that of its folder."""
    found = PurePath(path)
    for name in (without_packing(found.name.lower()) and found.name, found.parent.name):
        types = types_named(name)
        if len(types) == 1:
            return types[0]
        if types:
            return None
    return None


def _may_be_anybodys(problem: Problem) -> bool:
    """Whether the patient whom a problem names may be another one than the text meant: what was lost neither is the Patient, nor holds it, as a bundle of all that is known of one does."""
    return problem.resource != problem.patient and problem.element not in (ENTRIES, SO_FAR)


def _person(reference: str | None) -> str | None:
    """A patient as `Patient/id`; None where a text names none."""
    parts = (reference or "").partition("/_history/")[0].split("/")
    return f"Patient/{parts[-1]}" if len(parts) > 1 and parts[-2] == "Patient" and parts[-1] else None


def _names(compartment: Compartment) -> Iterable[str]:
    names = {_person(compartment.reference), f"Patient/{compartment.id}"}
    if compartment.patient is not None:
        names.add(f"Patient/{compartment.patient.get('id')}")
    return filter(None, sorted(filter(None, names)))


def _name(file: str | None) -> str:
    return PurePath(file).name if file else "the data"


def _place(problem: Problem) -> str:
    """Which record it was, or where it stood, in a few words that are the same on every way of reading."""
    if problem.resource is not None:
        return f"{problem.resource} in {_name(problem.file)}"
    if problem.entry is not None:
        return f"{_name(problem.file)}, entry {problem.entry}"
    return f"{_name(problem.file)}, byte {problem.offset or 0}"


def _of_patient(records: list[str]) -> str:
    """Records of one patient that are lost, in words."""
    what = "a record" if len(records) == 1 else f"{len(records)} records"
    shown = "; ".join(records[:FIRST]) + ("; ..." if len(records) > FIRST else "")
    return f"{what} of the patient cannot be used ({shown})"
