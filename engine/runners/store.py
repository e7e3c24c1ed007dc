"""`eligibility imaging store`: files to an archive by STOW-RS, and what came of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.data.dicomweb.client import Client
from engine.data.dicomweb.failure import ArchiveFailure
from engine.data.dicomweb.stow import Stored, store, words_of
from engine.data.dicomweb.wado import FileUids, NotDicom, uids_of
from engine.output.transfers import FileTransfer, StoreState
from engine.runners.bounded import in_order

FILES = 25
BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class _File:
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
    sendable = [file for file in batch if file.uids is not None]
    answer: Stored | ArchiveFailure | None = None
    if sendable:
        try:
            answer = store(client, base, [file.path for file in sendable])
        except ArchiveFailure as failure:
            answer = failure
    return [_judged(file, answer) for file in batch]


def _judged(file: _File, answer: Stored | ArchiveFailure | None) -> FileTransfer:
    name = str(file.path)
    if file.uids is None or answer is None:
        return FileTransfer(file=name, state=StoreState.NOT_DICOM, detail=file.why)
    state, code, reason, status = StoreState.UNCONFIRMED, None, None, answer.status
    detail: str | None = None
    uid = file.uids.instance
    if isinstance(answer, ArchiveFailure):
        state, reason, detail = StoreState.UNREACHABLE, answer.cause, answer.message
    elif uid in answer.refused:
        state, code = StoreState.REFUSED, answer.refused[uid]
    elif uid in answer.taken:
        code = answer.taken[uid]
        state = StoreState.STORED if code is None else StoreState.STORED_WITH_WARNING
    elif not answer.readable:
        detail = f"the answer is {answer.content_type or 'empty'}, which does not tell what became of the file"
    else:
        more = f"; {answer.unnamed_failures} failures without a UID" if answer.unnamed_failures else ""
        detail = f"the answer does not name the instance{more}"
    return FileTransfer(
        file=name,
        state=state,
        study=file.uids.study,
        series=file.uids.series,
        instance=uid,
        status=status or None,
        code=None if code is None else f"{code:04X}",
        reason=reason,
        detail=detail if code is None else words_of(code),
    )
