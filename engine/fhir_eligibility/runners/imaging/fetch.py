"""`eligibility imaging fetch`: the images behind verdicts as files, a folder a patient, study and series.

Resumable: a file that is there was whole and checked when it took its name, so that only what is missing is asked for.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct, field

from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.data.archives.failure import ArchiveFailure, FailureCause
from fhir_eligibility.data.archives.qido import ArchiveListing, HeldSeries, find_series, find_studies
from fhir_eligibility.output.folder import OutputFolder
from fhir_eligibility.output.transfers import SeriesTransfer, TransferState, write_transfers
from fhir_eligibility.runners.imaging.images import Places, StudyImages, run_folder, studies_of, uids_of_codes
from fhir_eligibility.runners.imaging.one_series import WantedSeries, series_from
from fhir_eligibility.runners.large.bounded import in_order

NAME = "fetch"


class SeriesFilter(Struct, frozen=True):
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


class FetchOptions(Struct, frozen=True, kw_only=True):
    """What to transfer: of included patients what met their criteria, or with `everything` all that verdicts name. `shared` lets others than their owner read the
    files, as the umask says."""

    places: Places = field(default_factory=Places)
    series: SeriesFilter = field(default_factory=SeriesFilter)
    everything: bool = False
    shared: bool = False


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
    records: Iterator[SeriesTransfer] = (record for records in found for record in records)
    if uids_of_codes(run_folder(run)) is not None:  # what the archive calls a series may name the patient
        records = (record.model_copy(update={"description": None}) for record in records)
    yield from write_transfers(folder, name, records)


def transfer_study(
    client: Client, study: StudyImages, chosen: SeriesFilter, transfer: Callable[[WantedSeries], SeriesTransfer]
) -> list[SeriesTransfer]:
    """Transfer the wanted series of one study."""
    expected = study.expected
    if expected.study is None:
        detail = "; ".join(expected.remarks) or "no Study Instance UID"
        return [SeriesTransfer(patient=expected.patient, state=TransferState.UNIDENTIFIED, detail=detail)]
    try:
        wanted, doubt = wanted_series(client, study)
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
    if not wanted and doubt is None:
        return [SeriesTransfer(patient=expected.patient, study=expected.study, state=TransferState.ABSENT)]
    records = [transfer(one) for one in wanted if chosen.takes(one.modality, one.description)]
    if doubt is not None:
        records.append(
            SeriesTransfer(
                patient=expected.patient,
                study=expected.study,
                state=TransferState.UNREACHABLE,
                reason=FailureCause.MALFORMED_ANSWER,
                detail=f"there may be more series: {doubt}",
            )
        )
    return records


def wanted_series(client: Client, study: StudyImages) -> tuple[list[WantedSeries], str | None]:
    """The series of a study: those that verdicts list, else all that the archive lists, and why there may be more of these.

    Raises ArchiveFailure.
    """
    expected = study.expected
    assert expected.study is not None
    described = {series.uid: series for _, link in study.links for series in link.series if series.uid}
    out = [
        WantedSeries(
            expected.patient,
            expected.study,
            one.uid,
            part.archives,
            expected.identifiers,
            one.modality,
            described[one.uid].description if one.uid in described else None,
            one.instances,
        )
        for part in expected.parts
        for one in part.series
    ]
    if described:
        return out, None
    archives = expected.parts[0].archives if expected.parts else ()
    found, archive = _series_held(client, archives, expected.study)
    out += [
        WantedSeries(
            expected.patient,
            expected.study,
            held.uid,
            (archive,),
            expected.identifiers,
            held.modality,
            held.description,
            count=held.instance_count,
        )
        for held in found
    ]
    return out, found.doubt


def _series_held(client: Client, archives: Sequence[str], study: str) -> tuple[ArchiveListing[HeldSeries], str]:
    """The series of a study in the first archive that has some. Raises ArchiveFailure where none has and one was not reached."""
    failure = ArchiveFailure(FailureCause.NO_ARCHIVE, "the data names no archive, and none was given (--dicomweb)")
    answered = False
    for archive in archives:
        try:
            found = find_series(client, archive, [study])
            if found.unsure is not None:
                held = find_studies(client, archive, [study]).get(study)
                if held is not None and held.series_count == len(found.rows):
                    found.unsure = None
            answered = True
        except ArchiveFailure as error:
            failure = error
            continue
        if found.rows or found.doubt:
            return found, archive
    if archives and answered and failure.cause is FailureCause.NO_ARCHIVE:
        return ArchiveListing(), archives[0]
    raise failure


def fetch_series(client: Client, wanted: WantedSeries, out: Path) -> SeriesTransfer:
    """One series into its folder; the archives are tried until one has all of it."""
    folder = out / wanted.folder
    if not wanted.archives:
        detail = "the data names no archive, and none was given (--dicomweb)"
        return wanted.record(TransferState.UNREACHABLE, reason=FailureCause.NO_ARCHIVE, detail=detail)
    records = []
    for archive in wanted.archives:
        record = series_from(client, wanted, archive, folder)
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
