"""What one piece of the work of reading an export came to, besides its records."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping

from msgspec import Struct, field

from fhir_eligibility.data.bulk.records import ReadRecord
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.records.deletions import Deletion
from fhir_eligibility.data.records.identity import stands_alone
from fhir_eligibility.data.records.marks import Noted
from fhir_eligibility.data.records.oddities import Oddities
from fhir_eligibility.data.records.pages import Page


class Collected(Struct):
    """What one piece of work came to, without its records.

    `kept` and `seen` are numbers of ids by type: of the records kept, and of all resources of the types that are not read whole. `named` is the number of records
    whose patient is called by a name that is not an id: only the whole export can tell who that is; `unsure` are those that may be nobody's, `persons` Patients that may be one person with others. `aliases` are pairs of
    groups that are one patient's, `odd` is what is spelled otherwise than FHIR has it, `noted` are marks of what is read of the data. `by_file` are how many
    resources of each type stand in a file of lines, by its number.
    """

    used: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    lines: int = 0
    blank: int = 0
    empty: int = 0
    """Entries of bundles without a resource: answers of a server alone, deletions that a later entry undid, and those that should have one."""
    by_file: dict[int, dict[str, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    deleted: list[Deletion] = field(default_factory=list)
    kept: dict[str, array[int]] = field(default_factory=dict)
    seen: dict[str, array[int]] = field(default_factory=dict)
    named: int = 0
    persons: int = 0
    unsure: int = 0
    special: int = 0
    """How often a Patient was found that goes by another name, too."""
    aliases: set[tuple[str, str]] = field(default_factory=set)
    shared: list[ReadRecord] = field(default_factory=list)
    odd: Oddities = field(default_factory=Oddities)
    noted: Noted = field(default_factory=Noted)
    pages: list[Page] = field(default_factory=list)
    """What bundles say of the pages before and after them."""
    of_one: int = 0
    of_several: int = 0
    """How many bundles stand for themselves and hold one Patient, and how many of any type hold several."""

    def note_bundle(self, patients: int, home: int) -> None:
        """Note how many Patients a bundle holds; `home` is that of what stands in it."""
        self.of_one += stands_alone(home)
        self.of_several += patients > 1

    def found(self) -> Counter[str]:
        """How many resources of each type there were so far."""
        return self.used + self.passed

    def note_file(self, number: int, used: Mapping[str, int], passed: Mapping[str, int]) -> None:
        """Note what was found in a file of lines, since so many of each type were used and passed over."""
        known = self.by_file.setdefault(number, {})
        for now, before in ((self.used, used), (self.passed, passed)):
            for kind, count in now.items():
                more = count - before.get(kind, 0)
                if more:
                    known[kind] = known.get(kind, 0) + more
