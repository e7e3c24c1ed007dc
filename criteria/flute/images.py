"""Writes tiny DICOM studies that match the example cohort: `python criteria/flute/images.py FOLDER [COHORT]`.

Every series and instance that an ImagingStudy of the cohort lists becomes a file of 64 x 64 pixels with the UIDs, the patient's identifier,
the modality and the date that the record gives. Nothing in them is about a real person. Needs pydicom (the extra `imaging`).
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

COHORT = Path(__file__).parent / "cohort"
SIZE = 64
STORAGE = {"MR": "1.2.840.10008.5.1.4.1.1.4", "CT": "1.2.840.10008.5.1.4.1.1.2"}
Resource = dict[str, Any]


def picture(brightness: int) -> bytes:
    """A bright disc on a slope of grey, unsigned 16 bits a pixel."""
    half = SIZE // 2
    values = []
    for y in range(SIZE):
        for x in range(SIZE):
            inside = (x - half) ** 2 + (y - half) ** 2 < (half * 2 // 3) ** 2
            values.append(4 * (x + y) + (600 + 300 * brightness if inside else 0))
    return struct.pack(f"<{SIZE * SIZE}H", *values)


def bare(uid: str) -> str:
    return uid.removeprefix("urn:oid:")


def instances(patient: Resource, study: Resource) -> Iterator[Dataset]:
    """The instances of one ImagingStudy as DICOM datasets."""
    day = (study.get("started") or "")[:10].replace("-", "")
    accession = next((i["value"] for i in study["identifier"] if i.get("type")), "")
    uid = next(bare(i["value"]) for i in study["identifier"] if i.get("system") == "urn:dicom:uid")
    identifier = (patient.get("identifier") or [{}])[0].get("value", "")
    for number, series in enumerate(study.get("series") or (), start=1):
        modality = series["modality"]["code"]
        for index, instance in enumerate(series.get("instance") or (), start=1):
            dataset = Dataset()
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            dataset.file_meta.MediaStorageSOPClassUID = STORAGE[modality]
            dataset.file_meta.MediaStorageSOPInstanceUID = bare(instance["uid"])
            dataset.SOPClassUID, dataset.SOPInstanceUID = STORAGE[modality], bare(instance["uid"])
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid, bare(series["uid"])
            dataset.PatientID, dataset.PatientName, dataset.PatientSex = identifier, f"EXAMPLE^{identifier}", "M"
            dataset.PatientBirthDate = ""
            dataset.StudyDate = day if len(day) == 8 else day + "14" if len(day) == 6 else ""
            dataset.StudyTime = "090000" if len(day) == 8 else ""
            dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = str(number), accession, ""
            dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = modality, number, index
            dataset.SeriesDescription = series.get("description", "")
            dataset.Rows = dataset.Columns = SIZE
            dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
            dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
            dataset.PixelRepresentation = 0
            dataset.WindowCenter, dataset.WindowWidth = 700, 1400
            dataset.PixelData = picture(index)
            dataset["PixelData"].VR = "OW"
            yield dataset


def studies(cohort: Path = COHORT) -> Iterator[tuple[str, list[Dataset]]]:
    """For each imaging study of the bundles in a folder: the id of the patient, and the instances."""
    for path in sorted(cohort.glob("*.json")):
        resources = [entry["resource"] for entry in json.loads(path.read_text("utf-8"))["entry"]]
        patient = next(r for r in resources if r["resourceType"] == "Patient")
        for resource in resources:
            if resource["resourceType"] == "ImagingStudy":
                yield patient["id"], list(instances(patient, resource))


def write(folder: Path, cohort: Path = COHORT) -> list[Path]:
    """Write the files, one folder a patient; returns their paths."""
    out = []
    for patient, found in studies(cohort):
        (folder / patient).mkdir(parents=True, exist_ok=True)
        for dataset in found:
            path = folder / patient / f"{dataset.SOPInstanceUID}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            out.append(path)
    return out


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("python criteria/flute/images.py FOLDER [COHORT]: name the folder that the files go into")
    written = write(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else COHORT)
    print(f"{len(written)} files written to {sys.argv[1]}")
