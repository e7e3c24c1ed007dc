"""`eligibility imaging store`: files to an archive by STOW-RS, and what came of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.data.archives.failure import ArchiveFailure
from fhir_eligibility.data.archives.stow import UploadAnswer, store, words_of
from fhir_eligibility.data.archives.wado import FileUids, NotDicom, uids_of
from fhir_eligibility.output.transfers import FileTransfer, StoreState
from fhir_eligibility.runners.large.bounded import in_order

FILES = 25
BYTES = 64 << 20


class _File(Struct, frozen=True):
    path: Path
    uids: FileUids | None
    why: str | None = None


def store_files(paths: Iterable[Path], client: Client, base: str) -> Iterator[FileTransfer]:
    """Upload files, and the files of folders; yields what came of each, in order.

    Raises FileNotFoundError for a path that does not exist; all else is said of the file.
    """
    found = list(paths)
    for path in found:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
    client.go_on()
    batches = _batches(_read(path) for path in _files(found))
    for records in in_order(lambda batch: _sent(batch, client, base), batches, client.access.concurrency, client.stop):
        yield from records


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
        else:
            yield path


def _read(path: Path) -> _File:
    try:
        return _File(path, uids_of(path))
    except NotDicom as error:
        return _File(path, None, str(error))


def _batches(files: Iterable[_File]) -> Iterator[list[_File]]:
    """Files that go into one request: few, not too large together, and no instance twice."""
    batch: list[_File] = []
    size, instances = 0, set[str]()
    for file in files:
        length = file.path.stat().st_size if file.uids is not None else 0
        again = file.uids is not None and file.uids.instance in instances
        if batch and (len(batch) == FILES or size + length > BYTES or again):
            yield batch
            batch, size, instances = [], 0, set()
        batch.append(file)
        size += length
        if file.uids is not None:
            instances.add(file.uids.instance)
    if batch:
        yield batch


def _sent(batch: list[_File], client: Client, base: str) -> list[FileTransfer]:
    """Send files in one request; where it refuses without saying which, those that it does not name each by itself."""
    sendable = [file for file in batch if file.uids is not None]
    answer = _answer(sendable, client, base)
    records = []
    for file in batch:
        found = answer
        if len(sendable) > 1 and isinstance(answer, UploadAnswer) and answer.refuses and not _named(file, answer):
            found = _answer([file], client, base) if file.uids is not None else None
        records.append(_judged(file, found, len(sendable) == 1 or found is not answer))
    return records


def _answer(files: Sequence[_File], client: Client, base: str) -> UploadAnswer | ArchiveFailure | None:
    if not files:
        return None
    try:
        return store(client, base, [file.path for file in files])
    except ArchiveFailure as failure:
        return failure


def _named(file: _File, answer: UploadAnswer) -> bool:
    return file.uids is not None and (file.uids.instance in answer.taken or file.uids.instance in answer.refused)


def _judged(file: _File, answer: UploadAnswer | ArchiveFailure | None, alone: bool) -> FileTransfer:
    """What became of a file. `alone` tells that it was the only one of its request."""
    name = str(file.path)
    if file.uids is None or answer is None:
        return FileTransfer(file=name, state=StoreState.NOT_DICOM, detail=file.why)
    state, code, reason, status = StoreState.UNCONFIRMED, None, None, answer.status
    detail: str | None = None
    uid = file.uids.instance
    if isinstance(answer, ArchiveFailure):
        state, reason, detail = StoreState.UNREACHABLE, answer.cause, answer.message
    elif uid in answer.refused:
        state, code, detail = StoreState.REFUSED, answer.refused[uid], "the archive gives no reason"
    elif uid in answer.taken:
        code = answer.taken[uid]
        state = StoreState.STORED if code is None else StoreState.STORED_WITH_WARNING
    elif alone and (answer.refuses or answer.unnamed):
        state = StoreState.REFUSED
        code = next((one for one in answer.unnamed if one is not None), None)
        detail = f"HTTP {status}: nothing was stored, and the archive gives no reason"
    elif not answer.readable:
        detail = f"HTTP {status}: the answer is {answer.content_type or 'empty'}, which does not tell what became of the file"
    else:
        more = f"; {len(answer.unnamed)} failures without a UID" if answer.unnamed else ""
        detail = f"HTTP {status}: the answer does not name the instance{more}"
    if code is not None:
        detail = words_of(code)
    return FileTransfer(
        file=name,
        state=state,
        study=file.uids.study,
        series=file.uids.series,
        instance=uid,
        status=status or None,
        code=None if code is None else f"{code:04X}",
        reason=reason,
        detail="; ".join(text for text in (detail, file.uids.remark) if text) or None,
    )
