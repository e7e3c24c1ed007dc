"""What tells that a patient's records are the same as in an earlier run: a digest of their bytes, in the order of the data, with the places that outputs name.

A record's digest is of its text as it was read, and so is the same however files are cut into pieces, by whatever number of processes, in memory or on disk.
Where codes stand in the place of patients, digests are made with the key of the codes, so that nobody without it can try whose they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256, shake_256
from typing import Any

import msgspec

from fhir_eligibility.data.bulk.records import ReadRecord
from fhir_eligibility.data.files.export_manifest import ExportTimes
from fhir_eligibility.data.patients.compartment import Unchanged
from fhir_eligibility.data.records.deletions import Deletion, Deletions

SIZE = 16
"""Bytes of a fingerprint."""
GROUP = 8
"""Bytes of the digest of a patient's id."""
NO_GROUP = bytes(GROUP)
NONE = bytes(SIZE)
"""In the place of a fingerprint: of a patient who is always to be judged anew."""
_encode = msgspec.msgpack.Encoder(enc_hook=repr).encode


class Fingerprints:
    """Makes digests with a key, which may be empty."""

    def __init__(self, key: bytes = b"") -> None:
        self.key = key
        # of a fixed length, so that key and text cannot be mistaken for each other
        self._begun = sha256(sha256(key).digest())

    def __reduce__(self) -> tuple[type[Fingerprints], tuple[bytes]]:
        return Fingerprints, (self.key,)

    def of_text(self, text: bytes | bytearray | memoryview) -> bytes:
        """The digest of a record's text."""
        found = self._begun.copy()
        found.update(text)
        return found.digest()[:SIZE]

    def of_group(self, group: str) -> bytes:
        """A short digest of what a patient's records are put together by: two patients may have the same."""
        return self.of_text(b"group " + group.encode("utf-8", "surrogatepass"))[:GROUP]

    def masked(self, name: bytes, data: bytes) -> bytes:
        """Data that only who has the key can read, and what it was, given what came of it: as it is where there is no key. `name` tells it from other data."""
        if not self.key:
            return data
        stream = shake_256(sha256(self.key).digest() + name).digest(len(data))
        return (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(data), "big")

    def of_path(self, path: str) -> bytes:
        """The digest of the path of a file."""
        return self.of_text(b"path " + path.encode("utf-8", "surrogateescape"))

    def of(self, value: Any) -> bytes:
        """The digest of plain values: texts, numbers, bytes, lists."""
        return self.of_text(_encode(value))

    def of_records(self, records: Sequence[ReadRecord], paths: Sequence[str]) -> bytes | None:
        """The fingerprint of a patient's records, which stand in the order of the data; None where one has no digest."""
        found = []
        for record in records:
            if record.digest is None:
                return None
            found.append((record.digest, paths[record.file], record.entry, record.full_url, record.regular))
        return self.of(found)


def state_of_nobodys(
    fingerprints: Fingerprints, shared: Iterable[ReadRecord], deleted: Iterable[Deletion], paths: Sequence[str]
) -> bytes:
    """A digest of all that patients see of the records of no patient (`shared`), some of which may be `deleted`."""
    records = sorted(shared, key=lambda record: record.position)
    deletions, times = Deletions(deleted), ExportTimes()
    found = []
    several, gone = len({(record.kind, record.id) for record in records}) < len(records), False
    for record in records:
        name = record.kind, record.id, record.full_url
        gone = gone or (bool(deletions) and (deletions.has(*name) or bool(deletions.of(*name))))
        found.append((paths[record.file], record.entry, record.full_url, record.home, record.raw))
    written = sorted({(path, times.of(path)) for path, *_ in found}) if several or gone else []
    return fingerprints.of((found, written, deletions.by_name() if gone else []))


class Takeover:
    """What takes patients over whose records did not change. `known` tells whether an earlier run has a fingerprint, `lacking` whether records are known to be
    missing of a patient, by the reference and the id: such a one is judged anew."""

    def __init__(self, known: Callable[[bytes], bool], lacking: Callable[[str, str | None], bool]) -> None:
        self._known = known
        self._lacking = lacking

    def taken(self, fingerprint: bytes, patient: ReadRecord, read: Callable[[], Any]) -> Unchanged | None:
        """The patient, if they are taken over; `read` gives the Patient resource."""
        reference = f"Patient/{patient.id}" if patient.id else patient.full_url or ""
        if self._lacking(reference, patient.id) or not self._known(fingerprint):
            return None
        return Unchanged(None, reference, taken=fingerprint, read=read, group=patient.group)
