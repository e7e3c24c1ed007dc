"""`python -m tests.benchmarks.dicomweb`: studies verified and series fetched a second against a real archive, and whether memory stays flat.

Starts Orthanc with a folder of its own, fills it with small studies (one series of two instances without pixels), writes a run that names them
all, and verifies it at several concurrencies; then a run ten times as long, of which the archive holds a tenth, for the memory.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from fhir_eligibility.data.archives.access import Access
from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.evaluation.verdict import Evaluated, ImagingLink, PatientIdentifier, Series, Verdict
from fhir_eligibility.output.lines import line_of
from fhir_eligibility.runners.imaging.fetch import FetchOptions, fetch
from fhir_eligibility.runners.imaging.images import Places
from fhir_eligibility.runners.imaging.verify import VerifyResult, verify
from tests.imaging.orthanc import PLUGIN, PROGRAM, Orthanc

MR = UID("1.2.840.10008.5.1.4.1.1.4")
EVALUATED = Evaluated(now="2026-01-01", timezone="UTC", engine="benchmark", fhir_version="r4")


def uids(number: int) -> tuple[str, str, tuple[str, str]]:
    """Study, series and instances of the n-th patient."""
    study = f"1.2.826.0.1.3680043.10.777.{number + 1}"
    return study, f"{study}.1", (f"{study}.1.1", f"{study}.1.2")


def datasets(number: int) -> Iterator[bytes]:
    """The n-th study as files."""
    study, series, instances = uids(number)
    for index, instance in enumerate(instances, start=1):
        yield instance_file(study, series, instance, f"P{number}", index)


def instance_file(study: str, series: str, instance: str, patient: str, number: int = 1) -> bytes:
    """An MR image without pixels, as a file."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = MR
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID(instance)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.PatientID, dataset.PatientName, dataset.Modality = patient, f"BENCH^{patient}", "MR"
    dataset.StudyDate, dataset.StudyTime, dataset.InstanceNumber = "20260120", "090000", number
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def write_run(folder: Path, count: int) -> Path:
    """A run of `count` included patients with a study each."""
    folder.mkdir()
    with (folder / "verdicts.ndjson").open("w") as stream:
        for number in range(count):
            study, series, instances = uids(number)
            link = ImagingLink(
                criterion="images",
                role="met",
                resource=f"ImagingStudy/{number}",
                study=study,
                series=[Series(uid=series, modality="MR", instances=list(instances))],
                started="2026-01-20",
                modality=["MR"],
            )
            verdict = Verdict(
                patient=f"Patient/{number}",
                artifact="benchmark",
                verdict="included",
                deciding=[],
                criteria=[],
                imaging=[link],
                identifiers=[PatientIdentifier(value=f"P{number}")],
                evaluated=EVALUATED,
            )
            stream.write(line_of(verdict))
    return folder


def resident() -> float:
    """Memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def timed(run: Path, url: str, concurrency: int) -> tuple[VerifyResult, float, list[float]]:
    """One verification: result, seconds, and the memory after each batch."""
    memory: list[float] = []
    begun = time.perf_counter()
    with Client(Access(own=(url,), concurrency=concurrency)) as client:
        result = verify(run, client, Places(url, True), afresh=True, progress=lambda _: memory.append(resident()))
    return result, time.perf_counter() - begun, memory


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.dicomweb", description=__doc__)
    parser.add_argument("--studies", type=int, default=2000)
    options = parser.parse_args()
    if not Path(PROGRAM).exists() or not PLUGIN.exists():
        print("skipped: Orthanc with its DICOMweb plug-in is not installed")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        archive = Orthanc(folder / "archive")
        archive.start()
        try:
            with ThreadPoolExecutor(4) as threads:
                contents = (content for number in range(options.studies) for content in datasets(number))
                list(threads.map(lambda content: archive.request("POST", "/instances", content), contents))
            measure(folder, archive, options.studies)
        finally:
            archive.stop()
    return 0


def measure(folder: Path, archive: Orthanc, count: int) -> None:
    """Print the figures."""
    run = write_run(folder / "run", count)
    print("verify        studies  at once  requests  seconds  requests/s  studies/s    MB first  MB last")
    for concurrency in (1, 2, 4, 8):
        result, seconds, memory = timed(run, archive.url, concurrency)
        assert result.states["present"] == count, result.states
        show(result, seconds, memory, concurrency)
    long = write_run(folder / "long", 10 * count)
    result, seconds, memory = timed(long, archive.url, 4)
    assert result.states["present"] == count and result.states["absent"] == 9 * count, result.states
    show(result, seconds, memory, 4)
    begun = time.perf_counter()
    before = resident()
    with Client(Access(own=(archive.url,), concurrency=4)) as client:
        records = 0
        for record in fetch(run, folder / "images", client, FetchOptions(places=Places(archive.url, True))):
            assert record.state == "complete", record
            records += 1
        requests = client.requests
    seconds = time.perf_counter() - begun
    print(
        f"fetch: {records} series, {requests / seconds:.0f} requests/s, {before:.0f} MB before, {resident():.0f} MB after"
    )


def show(result: VerifyResult, seconds: float, memory: list[float], concurrency: int) -> None:
    """One line of the table."""
    print(
        f"           {result.studies:>10,} {concurrency:>8} {result.requests:>9,} {seconds:>8.1f} {result.requests / seconds:>11.0f} "
        f"{result.studies / seconds:>10.0f} {memory[0]:>11.0f} {memory[-1]:>8.0f}"
    )


if __name__ == "__main__":
    sys.exit(main())
