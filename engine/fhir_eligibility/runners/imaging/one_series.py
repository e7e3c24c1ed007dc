"""One series from one archive into a folder: whole, or instance by instance where the archive gives no series."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.data.archives.failure import ArchiveFailure, FailureCause
from fhir_eligibility.data.archives.qido import find_instances
from fhir_eligibility.data.archives.wado import ACCEPT, ONE_PART, FileUids, Retrieved, retrieve
from fhir_eligibility.data.http.address import shown
from fhir_eligibility.output.transfers import SeriesTransfer, TransferState

FEW = 20


class WantedSeries(Struct, frozen=True):
    """A series to transfer: the archives that should have it, and the instances that are listed, perhaps none.

    `count` is the number of its instances as an archive tells it.
    """

    patient: str
    study: str
    series: str
    archives: tuple[str, ...]
    identifiers: tuple[str, ...] = ()
    modality: str | None = None
    description: str | None = None
    instances: tuple[str, ...] = ()
    count: int | None = None

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


def patient_folder(reference: str) -> str:
    """A folder name for a patient: the id; where that is no safe name, with a hash that keeps patients apart."""
    name = reference.removeprefix("Patient/")
    if re.fullmatch(r"[A-Za-z0-9-][A-Za-z0-9.-]{0,63}", name):
        return name
    digest = hashlib.sha256(reference.encode("utf-8")).hexdigest()[:12]
    return re.sub(r"[^A-Za-z0-9-]+", "-", name).strip("-")[:40] + "-" + digest


def series_from(client: Client, wanted: WantedSeries, archive: str, folder: Path) -> SeriesTransfer:
    """Bring what a folder lacks of a series from one archive; the record says what came of it."""
    download = _Download(client, wanted, archive, folder)
    malformed: str | None = None
    failure: ArchiveFailure | None = None
    try:
        download.listed, malformed = _listed(client, wanted, archive, download.found)
    except ArchiveFailure as error:
        failure = error
    else:
        failure = download.run()
    record = _judged(wanted, archive, folder, download.listed, download.found, failure, download.strangers)
    if malformed is None or record.state not in (TransferState.COMPLETE, TransferState.ABSENT):
        return record
    details = [f"there may be more instances: {malformed}", *([record.detail] if record.detail else [])]
    state = TransferState.INCOMPLETE if download.listed else TransferState.UNREACHABLE
    update = {"state": state.value, "reason": FailureCause.MALFORMED_ANSWER.value, "detail": "; ".join(details)}
    return record.model_copy(update=update)


class _Download:
    """What is under way for one series from one archive. `strangers` are instances that are held for another patient."""

    def __init__(self, client: Client, wanted: WantedSeries, archive: str, folder: Path) -> None:
        self.client, self.wanted, self.archive, self.folder = client, wanted, archive, folder
        self.listed: Sequence[str] = wanted.instances
        self.found = Retrieved()
        self.strangers: list[str] = []

    def run(self) -> ArchiveFailure | None:
        """Ask until nothing is lacking, or asking again does not help; the last failure."""
        failure: ArchiveFailure | None = None
        lacking = self.missing()
        for _ in range(1 + self.client.access.retries if lacking else 0):
            failure = self.round(lacking)
            before, lacking = lacking, self.missing()
            if not lacking or self.strangers or (failure is None and lacking == before):
                break
            if failure is not None and failure.cause not in (
                FailureCause.CONNECTION,
                FailureCause.TIMEOUT,
                FailureCause.MALFORMED_ANSWER,
            ):
                break
        return failure

    def missing(self) -> list[str]:
        """The instances that are listed and not in the folder."""
        here = files_in(self.folder)
        return [uid for uid in self.listed if uid not in here]

    def round(self, lacking: Sequence[str]) -> ArchiveFailure | None:
        """Ask for the series whole, or where little of it is lacking, or the archive gives no series, for each instance."""
        if len(lacking) < len(self.listed) and len(lacking) <= FEW:
            return self.singly(lacking)[0]
        failure: ArchiveFailure | None = None
        if self.archive not in self.client.single_instances:
            failure = self.get(self.wanted.url(self.archive))
            if failure is None or not _may_give_instances(failure):
                return failure
        # before each instance is asked for, whether the archive has any of them; where it does not tell, the first one tells
        held = _held_of(self.client, self.wanted, self.archive, lacking)
        if held is not None and not held:
            where = shown(self.wanted.url(self.archive)) if failure is None else failure.message
            return ArchiveFailure(FailureCause.NOT_FOUND, f"{where}: the archive lists none of its instances", 404)
        error, came = self.singly(lacking[:1] if held is None else held)
        if not came:
            error = failure or error
            self.found.listed_only = bool(held) and error is not None and error.cause is FailureCause.NOT_FOUND
            return error
        self.client.single_instances.setdefault(self.archive, ACCEPT)
        self.found.notes.append("the archive gives no series; its instances were asked for one by one")
        return (self.singly(lacking[1:])[0] if held is None else None) or error

    def singly(self, uids: Sequence[str]) -> tuple[ArchiveFailure | None, int]:
        """Ask for instances one by one: the last failure, and how many answers came."""
        failure, came = None, 0
        accept = self.client.single_instances.get(self.archive, ACCEPT)
        for uid in uids:
            url = f"{self.wanted.url(self.archive)}/instances/{uid}"
            error = self.get(url, accept)
            if error is not None and error.cause is FailureCause.NOT_ACCEPTABLE and accept == ACCEPT:
                error = self.get(url, ONE_PART)
                if error is None:
                    accept = self.client.single_instances[self.archive] = ONE_PART
            if error is None:
                came += 1
                continue
            failure = error
            if error.cause not in (FailureCause.NOT_FOUND, FailureCause.MALFORMED_ANSWER):
                break
        return failure, came

    def get(self, url: str, accept: str = ACCEPT) -> ArchiveFailure | None:
        """Retrieve what is at a URL into the folder; why that failed."""
        study, series = self.wanted.study, self.wanted.series
        try:
            retrieve(
                self.client,
                url,
                self.folder,
                study=study,
                series=series,
                found=self.found,
                refuse=self.refuse,
                accept=accept,
            )
        except ArchiveFailure as failure:
            return failure
        return None

    def refuse(self, uids: FileUids) -> str | None:
        """Why an instance is not for this patient, None where it may be."""
        if uids.patient_id and self.wanted.identifiers and uids.patient_id not in self.wanted.identifiers:
            self.strangers.append(uids.instance)
            return f"held for Patient ID {uids.patient_id}, which is none of the patient's identifiers"
        return None


def _may_give_instances(failure: ArchiveFailure) -> bool:
    """Whether an archive that gives no series may give the instances of it one by one."""
    return failure.status == 501 or failure.cause in (
        FailureCause.NOT_FOUND,
        FailureCause.REQUEST_REFUSED,
        FailureCause.NOT_ACCEPTABLE,
    )


def _held_of(client: Client, wanted: WantedSeries, archive: str, uids: Sequence[str]) -> Sequence[str] | None:
    """Those of some instances that the archive lists; None where it does not tell."""
    try:
        listing = find_instances(client, archive, [wanted.study], wanted.series)
    except ArchiveFailure:
        return None
    here = {one.uid for one in listing}
    return [uid for uid in uids if uid in here] if listing.doubt is None or here.issuperset(uids) else None


def _listed(client: Client, wanted: WantedSeries, archive: str, found: Retrieved) -> tuple[tuple[str, ...], str | None]:
    """The instances that should come: those of the record, else those that the archive lists; and why that cannot be all."""
    if wanted.instances:
        return wanted.instances, None
    listing = find_instances(client, archive, [wanted.study], wanted.series, wanted.count, last_page=True)
    if listing.unsure is not None:
        found.notes.append(f"there may be more instances: {listing.unsure}")
    return tuple(dict.fromkeys(one.uid for one in listing)), listing.malformed


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
    reason: FailureCause | None = None
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
        elif found.listed_only:
            state = TransferState.NOT_RETRIEVABLE
            notes.insert(0, "the archive lists it, but does not give it")
        elif failure.cause is FailureCause.NOT_FOUND:
            state = TransferState.ABSENT
        elif failure.cause is FailureCause.NOT_ACCEPTABLE:
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
