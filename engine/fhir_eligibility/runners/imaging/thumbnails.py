"""`eligibility imaging thumbnails`: a rendered picture of each series, and a page that shows them all.

The picture is of the instance in the middle. Resumable: a picture that is there is not asked for again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.data.archives.failure import ArchiveFailure, FailureCause
from fhir_eligibility.data.archives.qido import find_instances, find_series
from fhir_eligibility.data.archives.wado import rendered, sweep
from fhir_eligibility.output.atomic import AtomicFile
from fhir_eligibility.output.folder import OutputFolder
from fhir_eligibility.output.gallery import gallery
from fhir_eligibility.output.transfers import SeriesTransfer, TransferState
from fhir_eligibility.runners.imaging.fetch import FetchOptions, transfer_study, transferred
from fhir_eligibility.runners.imaging.images import StudyImages, run_folder
from fhir_eligibility.runners.imaging.one_series import WantedSeries, patient_folder

NAME = "thumbnails"
KINDS = {"png": "image/png", "jpeg": "image/jpeg"}
_MAKES_NONE = (FailureCause.NOT_FOUND, FailureCause.NOT_ACCEPTABLE, FailureCause.REQUEST_REFUSED)


def thumbnails(
    run: Path, out: Path, client: Client, options: FetchOptions, *, kind: str = "png", size: int | None = None
) -> Iterator[SeriesTransfer]:
    """Pictures as `patient/study/series.png` in `out`, with thumbnails.ndjson, thumbnails.csv and index.html. `size` bounds both sides.

    Raises what `fetch` raises.
    """
    run_folder(run)

    def work(study: StudyImages) -> list[SeriesTransfer]:
        return transfer_study(client, study, options.series, lambda wanted: picture(client, wanted, out, kind, size))

    shown: list[SeriesTransfer] = []
    with OutputFolder(out, "imaging thumbnails", shared=options.shared) as folder:
        for record in transferred(run, folder, client, options, work, NAME):
            if record.folder is not None and record.state == TransferState.COMPLETE:
                shown.append(record)
            yield record
        folder.write_text("index.html", gallery(shown))
        folder.publish()


def picture(client: Client, wanted: WantedSeries, out: Path, kind: str, size: int | None) -> SeriesTransfer:
    """One picture of a series from the first archive that gives one."""
    place = Path(patient_folder(wanted.patient)) / wanted.study / f"{wanted.series}.{kind}"
    done = {"folder": place.as_posix(), "files": 1}
    if (out / place).is_file():
        return wanted.record(TransferState.COMPLETE, **done)
    failure = ArchiveFailure(FailureCause.NO_ARCHIVE, "the data names no archive, and none was given (--dicomweb)")
    for archive in wanted.archives:
        try:
            image = _rendered(client, wanted, archive, KINDS[kind], size)
        except ArchiveFailure as error:
            failure = error
            continue
        if (out / place).parent.is_dir():
            sweep((out / place).parent)
        with AtomicFile(out / place, "wb") as file:
            file.stream.write(image)  # type: ignore[arg-type]
        return wanted.record(TransferState.COMPLETE, archive=archive, fetched=1, bytes=len(image), **done)
    return _without_picture(client, wanted, failure)


def _without_picture(client: Client, wanted: WantedSeries, failure: ArchiveFailure) -> SeriesTransfer:
    """Why there is no picture: the images are not there, or the archive makes none of them."""
    if not (failure.status == 501 or failure.cause in _MAKES_NONE):
        return wanted.record(TransferState.UNREACHABLE, reason=failure.cause, detail=failure.message)
    if failure.cause is FailureCause.NOT_FOUND:
        try:
            held = any(_held(client, wanted, archive) for archive in wanted.archives)
        except ArchiveFailure as error:
            detail = f"whether the archive has the images is not known: {error.message}; {failure.message}"
            return wanted.record(TransferState.UNREACHABLE, reason=error.cause, detail=detail)
        if not held:
            return wanted.record(TransferState.ABSENT, detail=failure.message)
    detail = f"the archive makes no picture of it: {failure.message}"
    return wanted.record(TransferState.NOT_RETRIEVABLE, reason=failure.cause, detail=detail)


def _held(client: Client, wanted: WantedSeries, archive: str) -> bool:
    """Whether an archive lists a series. Raises ArchiveFailure."""
    listing = find_series(client, archive, [wanted.study], 1, wanted.series)
    if any(one.uid == wanted.series for one in listing):
        return True
    if listing.malformed is not None:
        raise ArchiveFailure(FailureCause.MALFORMED_ANSWER, listing.malformed)
    return False


def _rendered(client: Client, wanted: WantedSeries, archive: str, kind: str, size: int | None) -> bytes:
    """The picture of the instance in the middle, else of its first frame, else of the series. Raises ArchiveFailure."""
    instances: Sequence[str] = wanted.instances
    if not instances:
        found = sorted(find_instances(client, archive, [wanted.study], wanted.series), key=lambda one: one.number or 0)
        instances = [one.uid for one in found]
    series = wanted.url(archive)
    places = [series]
    if instances:
        middle = f"{series}/instances/{instances[len(instances) // 2]}"
        places = [middle, f"{middle}/frames/1", series]
    view = f"?viewport={size},{size}" if size is not None else ""
    failure: ArchiveFailure | None = None
    for place in places:
        try:
            return rendered(client, f"{place}/rendered{view}", kind)
        except ArchiveFailure as error:
            if error.cause in (
                FailureCause.CONNECTION,
                FailureCause.TIMEOUT,
                FailureCause.UNAUTHORIZED,
                FailureCause.FORBIDDEN,
                FailureCause.TLS,
            ):
                raise
            failure = failure or error
    assert failure is not None
    raise failure
