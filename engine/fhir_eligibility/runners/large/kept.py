"""What a large run keeps of what it has done, as it stands in the files of its workspace (`fhir_eligibility.runners.large.workspace`)."""

from __future__ import annotations

from typing import Any

import msgspec

from fhir_eligibility.data.bulk.records import Position, ReadRecord
from fhir_eligibility.data.records.deletions import Deletion
from fhir_eligibility.data.records.marks import Noted
from fhir_eligibility.data.records.oddities import Oddity
from fhir_eligibility.data.records.pages import Page

Stretch = tuple[int, int]
"""Where numbers stand in a file: the first byte, and how many bytes."""


class PieceDone(msgspec.Struct, gc=False):
    """What a piece of the input came to (see `Collected`), and where its records and the ids of its resources stand.

    `table` is as `read_section` takes it; `problems` are sizes and sums of files.
    """

    size: int
    sum: int
    table: int
    used: dict[str, int]
    passed: dict[str, int]
    lines: int
    blank: int
    empty: int
    by_file: dict[int, dict[str, int]]
    problems: list[tuple[int, int]]
    deleted: list[Deletion]
    kept: dict[str, Stretch]
    seen: dict[str, Stretch]
    named: int
    persons: int
    unsure: int
    aliases: list[tuple[str, str]]
    shared: list[ReadRecord]
    odd: list[Oddity]
    noted: Noted
    pages: list[Page] = []
    names: int | None = None
    """Where the names of the records stand, as `section_bytes` takes it, where they are kept."""
    of_one: int = 0
    of_several: int = 0
    traced: Stretch | None = None
    """Where it stands what blocks of the data came to, where that is kept."""


class Tables(msgspec.Struct, gc=False):
    """Of these where the records and their names stand."""

    table: int
    names: int | None = None


class Traces(msgspec.Struct, gc=False):
    """Of these where it stands what blocks came to."""

    traced: Stretch | None = None


class Ids(msgspec.Struct, gc=False):
    """Of these where the ids stand."""

    kept: dict[str, Stretch]
    seen: dict[str, Stretch]


Shelved = tuple[int, int, int, int | None]
"""A file of sections: size, sum, where the table of the sections stands, and that of the names of its records, where these are kept."""


class Joint(msgspec.Struct, gc=False):
    """What only the whole export could tell (see `Resolved`), with what is no patient's.

    `placed` and `moved` are files of records, one a bucket that they come from: those that were placed with the patient whom they call by a name that is not an id,
    and those of patients that are looked at together, in the bucket of the name for all of them.
    """

    joined: dict[str, str]
    extra: list[ReadRecord]
    shared: list[ReadRecord]
    deleted: list[Deletion]
    marked: list[str]
    digests: list[tuple[Position, bytes]]
    problems: list[dict[str, Any]]
    placed: list[Shelved]
    moved: list[Shelved]


class TakenDone(msgspec.Struct, gc=False):
    """Patients of a bucket who are taken over without a look at their records: how many, and how long their texts are, by output; size and sum of the file that tells of them."""

    patients: int
    lengths: tuple[int, ...]
    size: int = 0
    sum: int = 0


class BucketDone(msgspec.Struct, gc=False):
    """What a bucket came to, besides the texts of its patients; `lengths` are of these, by output, `problems` sizes and sums of files, `outcome` is what the
    work at hand makes of it (`fhir_eligibility.runners.large.work`)."""

    size: int
    sum: int
    patients: int
    lengths: tuple[int, ...]
    problems: list[tuple[int, int]]
    outcome: bytes
    taken: TakenDone | None = None
    """Those who are in a file of their own (`fhir_eligibility.runners.large.taken_file`), where there are such."""

    @property
    def total(self) -> int:
        """How many patients the bucket has, those who are taken over among them."""
        return self.patients + (self.taken.patients if self.taken is not None else 0)


class FileDone(msgspec.Struct, gc=False):
    """Size and sum of a file: a part of the index of names, the questions about a bucket."""

    size: int
    sum: int
    problems: tuple[tuple[int, int], ...] = ()
