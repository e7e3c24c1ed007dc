"""`eligibility imaging fetch`: the images behind verdicts as files, a folder a patient, study and series.

Resumable: a file that is there was whole and checked when it took its name, so that only what is missing is asked for.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.data.dicomweb.client import Client
from engine.data.dicomweb.failure import ArchiveFailure, Cause
from engine.data.dicomweb.qido import HeldSeries, find_instances, find_series
from engine.data.dicomweb.wado import FileUids, Retrieved, retrieve
from engine.output.folder import OutputFolder
from engine.output.transfers import SeriesTransfer, TransferState, write_transfers
from engine.runners.bounded import in_order
from engine.runners.images import Places, StudyImages, run_folder, studies_of

NAME = "fetch"
FEW = 20


@dataclass(frozen=True, slots=True)
class SeriesFilter:
    """Which series: modalities, and patterns (`*`, `?`) of which the description has to match one, in any case of letters."""

    modalities: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()

    def takes(self, modality: str | None, description: str | None) -> bool:
        """Whether a series is wanted. One whose modality or description is not known is, only where that was not asked for."""
        if self.modalities and (modality or "").upper() not in {m.upper() for m in self.modalities}:
            return False
        if not self.descriptions:
            return True
        return any(fnmatch.fnmatchcase((description or "").lower(), p.lower()) for p in self.descriptions)


@dataclass(frozen=True, slots=True)
class WantedSeries:
    """A series to transfer: the archives that should have it, and the instances that are listed, perhaps none."""

    patient: str
    study: str
    series: str
    archives: tuple[str, ...]
    identifiers: tuple[str, ...] = ()
    modality: str | None = None
    description: str | None = None
    instances: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where its files belong, below the folder of all downloads."""
        return Path(patient_folder(self.patient)) / self.study / self.series

    def url(self, archive: str) -> str:
        """Its address in an archive."""
        return f"{archive}/studies/{self.study}/series/{self.series}"

    def record(self, state: TransferState, **more: object) -> SeriesTransfer:
        """A record of what came of it."""
        return SeriesTransfer.model_validate(
            {
                "patient": self.patient,
                "study": self.study,
                "series": self.series,
                "modality": self.modality,
                "description": self.description,
                "state": state,
                **more,
            }
        )


@dataclass(slots=True)
class FetchOptions:
    """What to transfer: of included patients what met their criteria, or with `everything` all that verdicts name. `shared` lets others than their owner read the
    files, as the umask says."""

    places: Places = field(default_factory=Places)
    series: SeriesFilter = field(default_factory=SeriesFilter)
    everything: bool = False
    shared: bool = False


def patient_folder(reference: str) -> str:
    """A folder name for a patient: the id; where that is no safe name, with a hash that keeps patients apart."""
    name = reference.removeprefix("Patient/")
    if re.fullmatch(r"[A-Za-z0-9-][A-Za-z0-9.-]{0,63}", name):
        return name
    digest = hashlib.sha256(reference.encode("utf-8")).hexdigest()[:12]
    return re.sub(r"[^A-Za-z0-9-]+", "-", name).strip("-")[:40] + "-" + digest


def fetch(run: Path, out: Path, client: Client, options: FetchOptions) -> Iterator[SeriesTransfer]:
    """Download; yields a record a series, in the run's order, and writes them to fetch.ndjson and fetch.csv in `out`.

    Raises FileNotFoundError and ValueError for a folder that is no run, OSError where files cannot be written.
    """
    run_folder(run)

    def work(study: StudyImages) -> list[SeriesTransfer]:
        return transfer_study(client, study, options.series, lambda wanted: fetch_series(client, wanted, out))

    with OutputFolder(out, "imaging fetch", shared=options.shared) as folder:
        yield from transferred(run, folder, client, options, work, NAME)
        folder.publish()


def transferred(
    run: Path,
    folder: OutputFolder,
    client: Client,
    options: FetchOptions,
    work: Callable[[StudyImages], list[SeriesTransfer]],
    name: str,
) -> Iterator[SeriesTransfer]:
    """Records of all studies of a run in its order, written down as they pass."""
    client.go_on()
    studies = studies_of(run, options.places, included=not options.everything)
    found = in_order(work, studies, client.access.concurrency, client.stop)
    yield from write_transfers(folder, name, (record for records in found for record in records))


def transfer_study(
    client: Client, study: StudyImages, chosen: SeriesFilter, transfer: Callable[[WantedSeries], SeriesTransfer]
) -> list[SeriesTransfer]:
    """Transfer the wanted series of one study."""
    expected = study.expected
    if expected.study is None:
        detail = "; ".join(expected.remarks) or "no Study Instance UID"
        return [SeriesTransfer(patient=expected.patient, state=TransferState.UNIDENTIFIED, detail=detail)]
    try:
        wanted = list(wanted_series(client, study))
    except ArchiveFailure as failure:
        return [
            SeriesTransfer(
                patient=expected.patient,
                study=expected.study,
                state=TransferState.UNREACHABLE,
                reason=failure.cause,
                detail=failure.message,
            )
        ]
    if not wanted:
        return [SeriesTransfer(patient=expected.patient, study=expected.study, state=TransferState.ABSENT)]
    return [transfer(one) for one in wanted if chosen.takes(one.modality, one.description)]


def wanted_series(client: Client, study: StudyImages) -> Iterator[WantedSeries]:
    """The series of a study: those that verdicts list, else all that the archive has. Raises ArchiveFailure."""
    expected = study.expected
    assert expected.study is not None
    described = {series.uid: series for _, link in study.links for series in link.series if series.uid}
    for part in expected.parts:
        for one in part.series:
            description = described[one.uid].description if one.uid in described else None
            yield WantedSeries(
                expected.patient,
                expected.study,
                one.uid,
                part.archives,
                expected.identifiers,
                one.modality,
                description,
                one.instances,
            )
    if described:
        return
    archives = expected.parts[0].archives if expected.parts else ()
    found, archive = _series_held(client, archives, expected.study)
    for held in found:
        yield WantedSeries(
            expected.patient,
            expected.study,
            held.uid,
            (archive,),
            expected.identifiers,
            held.modality,
            held.description,
        )


def _series_held(client: Client, archives: Sequence[str], study: str) -> tuple[list[HeldSeries], str]:
    """The series of a study in the first archive that has some. Raises ArchiveFailure where none has and one was not reached."""
    failure = ArchiveFailure(Cause.NO_ARCHIVE, "the data names no archive, and none was given (--dicomweb)")
    answered = False
    for archive in archives:
        try:
            found = list(find_series(client, archive, [study]))
            answered = True
        except ArchiveFailure as error:
            failure = error
            continue
        if found:
            return found, archive
    if archives and answered and failure.cause is Cause.NO_ARCHIVE:
        return [], archives[0]
    raise failure


def fetch_series(client: Client, wanted: WantedSeries, out: Path) -> SeriesTransfer:
    """One series into its folder; the archives are tried until one has all of it."""
    folder = out / wanted.folder
    if not wanted.archives:
        detail = "the data names no archive, and none was given (--dicomweb)"
        return wanted.record(TransferState.UNREACHABLE, reason=Cause.NO_ARCHIVE, detail=detail)
    records = []
    for archive in wanted.archives:
        record = _from_archive(client, wanted, archive, folder)
        records.append(record)
        if record.state == TransferState.COMPLETE:
            break
    best = min(records, key=lambda record: _BEST.index(TransferState(record.state)))
    fetched, size = sum(r.fetched for r in records), sum(r.bytes for r in records)
    return best.model_copy(update={"fetched": fetched, "bytes": size, "folder": wanted.folder.as_posix()})


_BEST = (
    TransferState.COMPLETE,
    TransferState.INCOMPLETE,
    TransferState.NOT_RETRIEVABLE,
    TransferState.UNREACHABLE,
    TransferState.PATIENT_MISMATCH,
    TransferState.ABSENT,
    TransferState.UNIDENTIFIED,
)


def _from_archive(client: Client, wanted: WantedSeries, archive: str, folder: Path) -> SeriesTransfer:
    found = Retrieved()
    failure: ArchiveFailure | None = None
    try:
        listed = _listed(client, wanted, archive)
    except ArchiveFailure as error:
        listed, failure = wanted.instances, error
    strangers: list[str] = []

    def refuse(uids: FileUids) -> str | None:
        if uids.patient_id and wanted.identifiers and uids.patient_id not in wanted.identifiers:
            strangers.append(uids.instance)
            return f"held for Patient ID {uids.patient_id}, which is none of the patient's identifiers"
        return None

    def missing() -> list[str]:
        here = files_in(folder)
        return [uid for uid in listed if uid not in here]

    rounds = 1 + client.access.retries
    lacking = missing()
    if failure is None and lacking:
        for _ in range(rounds):
            failure = _round(client, wanted, archive, folder, listed, lacking, found, refuse)
            before, lacking = lacking, missing()
            if not lacking or strangers or (failure is None and lacking == before):
                break
            if failure is not None and failure.cause not in (Cause.CONNECTION, Cause.TIMEOUT, Cause.MALFORMED_ANSWER):
                break
    return _judged(wanted, archive, folder, listed, found, failure, strangers)


def _round(
    client: Client,
    wanted: WantedSeries,
    archive: str,
    folder: Path,
    listed: Sequence[str],
    lacking: Sequence[str],
    found: Retrieved,
    refuse: Callable[[FileUids], str | None],
) -> ArchiveFailure | None:
    """Ask for what is lacking: for the series whole, or where little of it is lacking for each instance."""
    single = len(lacking) < len(listed) and len(lacking) <= FEW
    urls = [f"{wanted.url(archive)}/instances/{uid}" for uid in lacking] if single else [wanted.url(archive)]
    failure: ArchiveFailure | None = None
    for url in urls:
        try:
            retrieve(client, url, folder, study=wanted.study, series=wanted.series, found=found, refuse=refuse)
        except ArchiveFailure as error:
            failure = error
            if error.cause not in (Cause.NOT_FOUND, Cause.MALFORMED_ANSWER):
                break
    return failure


def _listed(client: Client, wanted: WantedSeries, archive: str) -> tuple[str, ...]:
    """The instances that should come: those of the record, else those that the archive lists."""
    if wanted.instances:
        return wanted.instances
    found = find_instances(client, archive, [wanted.study], wanted.series)
    return tuple(dict.fromkeys(one.uid for one in found))


def _judged(
    wanted: WantedSeries,
    archive: str,
    folder: Path,
    listed: Sequence[str],
    found: Retrieved,
    failure: ArchiveFailure | None,
    strangers: Sequence[str],
) -> SeriesTransfer:
    here = files_in(folder)
    lacking = [uid for uid in listed if uid not in here]
    notes = list(dict.fromkeys(found.notes))
    state = TransferState.COMPLETE
    reason: Cause | None = None
    if lacking or failure is not None and not listed:
        if failure is not None:
            notes.append(failure.message)
        if len(lacking) < len(listed):
            state = TransferState.INCOMPLETE
            notes.insert(0, f"{len(listed) - len(lacking)} of {len(listed)} instances")
        elif strangers:
            state = TransferState.PATIENT_MISMATCH
        elif failure is None:
            state = TransferState.INCOMPLETE if found.rejected else TransferState.ABSENT
        elif failure.cause is Cause.NOT_FOUND:
            state = TransferState.ABSENT
        elif failure.cause is Cause.NOT_ACCEPTABLE:
            state = TransferState.NOT_RETRIEVABLE
            notes.insert(0, "it exists, but is not retrievable in the requested encoding")
        else:
            state, reason = TransferState.UNREACHABLE, failure.cause
        if state is TransferState.INCOMPLETE and failure is not None:
            reason = failure.cause
    elif not listed:
        state = TransferState.ABSENT
    if found.partial:
        notes.append("the archive answered 206: it could not give all of it")
    return wanted.record(
        state,
        reason=reason,
        detail="; ".join(notes) or None,
        archive=archive,
        files=len(here),
        fetched=len(found.files),
        bytes=found.size,
        missing=lacking,
        rejected=list(dict.fromkeys(found.rejected)),
    )


def files_in(folder: Path) -> set[str]:
    """The SOP Instance UIDs of the files in a series' folder."""
    return {path.stem for path in folder.glob("[0-9]*.dcm")} if folder.is_dir() else set()
