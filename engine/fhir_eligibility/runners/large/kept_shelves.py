"""Records, claims and lines of a workspace that stand elsewhere than where they were read, in files by name and number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fhir_eligibility.data.bulk.name_index import IndexedShelf
from fhir_eligibility.data.bulk.records import ReadRecord, Shelf, decode_records, section_bytes
from fhir_eligibility.runners.large.kept import Shelved
from fhir_eligibility.runners.large.whole_files import WholeFiles


class KeptShelves:
    """Keeps shelves. All methods raise OSError where the folder cannot be read or written."""

    def __init__(self, files: WholeFiles) -> None:
        self.files = files

    def put(self, name: str, number: int, shelf: Shelf, piece: int = -1) -> Shelved:
        """Keep sections under a name (`PLACED`, `MOVED`, `CLAIMS`) and a number; `piece` is the number by which the index of names knows the file."""
        names: int | None = None
        with self.files.whole(f"{name}-{number}") as out:
            table, starts = shelf.write(out)
            if isinstance(shelf, IndexedShelf):
                names = shelf.write_names(out, piece, starts)
        return out.size, out.sum, table, names

    def sections(self, name: str, shelves: Sequence[Shelved], section: int, first: int = 0) -> Iterator[bytes]:
        """One section of all files under a name, the first of which has a number."""
        for number, (_, _, table, _) in enumerate(shelves, first):
            data = section_bytes(self.files.folder / f"{name}-{number}", table, section)
            if data:
                yield data

    def records(self, name: str, shelves: Sequence[Shelved], bucket: int, first: int = 0) -> Iterator[ReadRecord]:
        """The records of a bucket in all files under a name, the first of which has a number."""
        for data in self.sections(name, shelves, bucket, first):
            yield from decode_records(data)

    def drop(self, name: str, count: int) -> None:
        """Remove the files under a name."""
        for number in range(count):
            self.files.drop(f"{name}-{number}")
