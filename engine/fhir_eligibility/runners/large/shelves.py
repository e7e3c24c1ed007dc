"""The records of a large run bucket by bucket: as they were read, placed with patients whom they call by a name that is not an id, and moved to those looked at together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fhir_eligibility.compiler.criteria.reading import ReadPlan
from fhir_eligibility.data.bulk.decoding import Decoders
from fhir_eligibility.data.bulk.name_index import IndexedShelf
from fhir_eligibility.data.bulk.placing import (
    Bearers,
    ClaimShelf,
    claims_of,
    decode_claims,
    joined_by_names,
    names_wanted,
    placed,
)
from fhir_eligibility.data.bulk.records import ReadRecord, Shelf, bucket_of, name_of_group
from fhir_eligibility.runners.large.kept import Joint, Shelved
from fhir_eligibility.runners.large.kept_of_earlier import sifted, untouched
from fhir_eligibility.runners.large.workspace import CLAIMS, MOVED, PLACED, SIFTED, Workspace

HELD = 8
"""How much more memory records take than their bytes on disk, at most."""
SPREAD = 3
"""How much larger than the mean a bucket may be without being looked at."""
TASKS = frozenset(("claim", "join", "place", "move", "names"))
"""What a worker does by way of `Shelves`."""


class Shelves:
    """The records of a workspace that was read in so many `pieces`."""

    def __init__(
        self,
        workspace: Workspace,
        decoders: Decoders,
        pieces: Sequence[int],
        buckets: int,
        plan: ReadPlan,
        sifts: bool = False,
    ) -> None:
        """With `sifts`, there are records besides that were set aside at first, of patients who are not taken over from an earlier run."""
        self._sifts = sifts
        self._sifted: list[Shelved] | None = None
        self.workspace = workspace
        self.decoders = decoders
        self.pieces = pieces
        self.buckets = buckets
        self.plan = plan
        self._tables: list[tuple[int, int]] = []
        self._placed: list[Shelved] | None = None
        self._joined: tuple[str, dict[str, str]] = ("", {})

    def new(self) -> Shelf:
        """An empty shelf; its records are found by their names where criteria follow references."""
        return IndexedShelf(self.buckets, self.plan.together) if self.plan.follows else Shelf(self.buckets)

    # -- what is done with all records, a bucket at a time

    def claim(self, about: tuple[int, None]) -> Shelved:
        """Gather the names of the Patients of a bucket."""
        number, _ = about
        shelf = ClaimShelf(self.buckets)
        for claim in claims_of(self._read(number), self.decoders):
            shelf.take(claim)
        return self.workspace.shelves.put(CLAIMS, number, shelf)

    def place(self, about: tuple[int, Sequence[Shelved]]) -> Shelved:
        """Place the records of a bucket that call their patient by a name that is not an id; where the Patients' names were gathered is given."""
        number, claims = about
        found = (
            claim for data in self.workspace.shelves.sections(CLAIMS, claims, number) for claim in decode_claims(data)
        )
        bearers = Bearers(found, names_wanted(self._read(number)))
        shelf = self.new()
        for record in placed(self._read(number), bearers, self._together("place")):
            shelf.add(record)
        return self.workspace.shelves.put(PLACED, number, shelf, len(self.pieces) + number)

    def join(self, about: tuple[int, Sequence[Shelved]]) -> list[tuple[str, str]]:
        """Pairs of groups whose Patients may be one person, by a part of all names; where these were gathered is given."""
        number, claims = about
        return joined_by_names(
            claim for data in self.workspace.shelves.sections(CLAIMS, claims, number) for claim in decode_claims(data)
        )

    def move(self, about: tuple[int, None]) -> Shelved:
        """Put the records of a bucket that are of patients who are looked at together into the buckets of these."""
        number, _ = about
        joined = self._together("move")
        shelf = Shelf(self.buckets)
        for record in self.records(number):
            name = joined.get(record.group)
            if name is not None:
                shelf.add_to(bucket_of(name, self.buckets), record)
        return self.workspace.shelves.put(MOVED, number, shelf)

    def names(self, part: int) -> int:
        """Make a part of the index of names."""
        self.workspace.put_names(part, len(self.pieces))
        return 0

    def _together(self, task: str) -> dict[str, str]:
        """Which groups are looked at together, as far as it is known when a task is done."""
        if self._joined[0] != task:
            self._joined = task, self.workspace.joined()
        return self._joined[1]

    # -- records

    def records(self, number: int) -> Iterator[ReadRecord]:
        """The records of a bucket, each with its patient as far as that is known."""
        if self._sifts:
            if self._sifted is None:
                self._sifted = sifted(self.workspace)
            yield from self.workspace.shelves.records(SIFTED, self._sifted[number : number + 1], number, number)
        shelves = self._places()
        if not shelves:
            yield from self._read(number)
            return
        yield from (record for record in self._read(number) if name_of_group(record.group) is None)
        yield from self.workspace.shelves.records(PLACED, shelves, number)

    def as_read(self, number: int) -> Iterator[ReadRecord]:
        """The records of a bucket as they were read, but for those that were set aside."""
        return self._read(number)

    def undescribed(self, number: int) -> Iterator[ReadRecord]:
        """The records of a bucket that are kept for no patient, or for one whom no Patient resource describes."""
        described = {record.group for record in self.records(number) if record.kind == "Patient"}
        return (record for record in self.records(number) if record.group not in described)

    def together(self, number: int, joint: Joint) -> Iterator[ReadRecord]:
        """The records of the patients of a bucket who are looked at together, and those that only the whole export could place."""
        yield from self.workspace.shelves.records(MOVED, joint.moved, number)
        for record in joint.extra:
            if bucket_of(joint.joined.get(record.group, record.group), self.buckets) == number:
                yield record

    def batches(self, number: int, memory: int) -> int:
        """In how many batches a bucket must be looked at for the memory there is."""
        if SPREAD * HELD * sum(table for _, table in self._stands()) <= memory * self.buckets:
            return 1  # patients are spread evenly
        size = sum(self.workspace.records_size(piece, table, number) for piece, table in self._stands())
        size += sum(map(len, self.workspace.shelves.sections(PLACED, self._places(), number)))
        return -(-size * HELD // memory) or 1

    def _places(self) -> list[Shelved]:
        if self._placed is None:
            self._placed = self.workspace.placed()
        return self._placed

    def _read(self, number: int) -> Iterator[ReadRecord]:
        """The records of a bucket as they were read."""
        for piece, table in self._stands():
            yield from self.workspace.records(piece, table, number)

    def _stands(self) -> list[tuple[int, int]]:
        """The pieces, those that were read again among them, each with where the table of its records stands, which is how long these are."""
        if not self._tables:
            again = untouched(self.workspace)[1] if self._sifts else 0
            pieces = [*self.pieces, *range(len(self.pieces), len(self.pieces) + again)]
            self._tables = [(piece, self.workspace.table(piece)) for piece in pieces]
        return self._tables
