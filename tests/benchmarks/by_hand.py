"""`python -m tests.benchmarks.by_hand ndjson|bundles FOLDER OUT`: the benchmark's criteria as a program of their own, written by hand.

It tells how much of the time any program needs that reads these cohorts with the same libraries and writes the UIDs of the images. It has none of what
the engine is for: two values instead of three, dates compared as text, three units, UIDs as they are written, no reasons, no resource twice, no patient
in several files but in the folder's order, no resuming, and everything in memory.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import stringzilla as sz

ARCHIVE = "https://archive.example/dicom-web"
FACTORS = {"ng/mL": 1.0, "ug/L": 1.0, "pg/mL": 0.001}


class Coding(msgspec.Struct, gc=False):
    code: str | None = None
    display: str | None = None


class Concept(msgspec.Struct, gc=False):
    coding: list[Coding] = []


class Reference(msgspec.Struct, gc=False):
    reference: str = ""


class Identifier(msgspec.Struct, gc=False):
    system: str | None = None
    value: str | None = None


class Period(msgspec.Struct, gc=False):
    start: str | None = None


class Quantity(msgspec.Struct, gc=False):
    value: float | None = None
    code: str | None = None


class Patient(msgspec.Struct, gc=False):
    id: str
    identifier: list[Identifier] = []


class Procedure(msgspec.Struct, gc=False):
    id: str
    status: str
    subject: Reference
    code: Concept
    performedDateTime: str | None = None
    performedPeriod: Period | None = None

    @property
    def began(self) -> str | None:
        return self.performedDateTime or (self.performedPeriod.start if self.performedPeriod is not None else None)


class Observation(msgspec.Struct, gc=False):
    id: str
    status: str
    subject: Reference
    code: Concept
    effectiveDateTime: str | None = None
    valueQuantity: Quantity | None = None


class Instance(msgspec.Struct, gc=False):
    uid: str


class Series(msgspec.Struct, gc=False):
    uid: str
    modality: Coding | None = None
    description: str | None = None
    instance: list[Instance] = []


class ImagingStudy(msgspec.Struct, gc=False):
    id: str
    status: str
    subject: Reference
    identifier: list[Identifier] = []
    started: str | None = None
    modality: list[Coding] = []
    series: list[Series] = []
    numberOfSeries: int | None = None
    numberOfInstances: int | None = None


class Entry(msgspec.Struct, gc=False):
    resource: msgspec.Raw


class Bundle(msgspec.Struct, gc=False):
    entry: list[Entry]


class Facts:
    """What is known of one patient."""

    __slots__ = ("patient", "procedures", "observations", "studies")

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        self.procedures: list[Procedure] = []
        self.observations: list[Observation] = []
        self.studies: list[ImagingStudy] = []


DECODERS: dict[str, Callable[..., Any]] = {
    kind.__name__: msgspec.json.Decoder(kind).decode for kind in (Patient, Procedure, Observation, ImagingStudy)
}
CODES = {"Procedure": b"86273004", "Observation": b"2857-1"}
_bundle = msgspec.json.Decoder(Bundle).decode
_encode = msgspec.json.Encoder().encode


def lines_of(data: bytes, code: bytes | None) -> Iterator[memoryview]:
    """The lines of a file, or those that hold a code."""
    view = memoryview(data)
    at = 0
    while True:
        hit = at if code is None else sz.find(data, code, at)
        if hit < 0:
            return
        begin = at if code is None else data.rfind(b"\n", 0, hit) + 1
        end = data.find(b"\n", hit)
        if end < 0:
            return
        yield view[begin:end]
        at = end + 1


def place(known: dict[str, Facts], kind: str, text: Any) -> None:
    """Take in one resource."""
    found = DECODERS[kind](text)
    if kind == "Patient":
        known[found.id] = Facts(found)
        return
    facts = known[found.subject.reference[8:]]
    if kind == "Procedure":
        facts.procedures.append(found)
    elif kind == "Observation":
        facts.observations.append(found)
    else:
        facts.studies.append(found)


def export(folder: Path) -> Iterator[Facts]:
    """The patients of an export; what is not read is counted."""
    known: dict[str, Facts] = {}
    for kind in DECODERS:
        for text in lines_of((folder / f"{kind}.ndjson").read_bytes(), CODES.get(kind)):
            place(known, kind, text)
    for path in folder.iterdir():
        if path.stem not in DECODERS:
            sz.count(path.read_bytes(), b"\n")
    yield from known.values()


def bundles(folder: Path) -> Iterator[Facts]:
    """The patients of bundles."""
    for path in sorted(folder.rglob("*.json")):
        known: dict[str, Facts] = {}
        for entry in _bundle(path.read_bytes()).entry:
            text = bytes(entry.resource)
            kind = text[17 : text.find(b'"', 17)].decode()
            if kind in DECODERS and (kind not in CODES or sz.contains(text, CODES[kind])):
                place(known, kind, text)
        yield from known.values()


def verdict(facts: Facts) -> dict[str, Any]:
    """The verdict on a patient, in the form of verdicts.ndjson."""
    biopsies = [found for found in facts.procedures if found.status == "completed"]
    images = []
    for study in facts.studies:
        kinds = {coding.code for coding in study.modality} | {s.modality.code for s in study.series if s.modality}
        met = study.status == "available" and "MR" in kinds and any(within(study.started, b.began) for b in biopsies)
        uid = next((i.value[8:] for i in study.identifier if i.value and i.value.startswith("urn:oid:")), None)
        url = f"{ARCHIVE}/studies/{uid}"
        series = [
            {
                "uid": one.uid,
                "modality": one.modality.code if one.modality is not None else None,
                "description": one.description,
                "instances": [instance.uid for instance in one.instance],
                "url": f"{url}/series/{one.uid}",
            }
            for one in study.series
        ]
        images.append(
            {
                "criterion": "images",
                "role": "met" if met else "examined",
                "resource": f"ImagingStudy/{study.id}",
                "study": uid,
                "series": series,
                "series_count": study.numberOfSeries,
                "instance_count": study.numberOfInstances,
                "started": study.started,
                "status": study.status,
                "url": url,
            }
        )
    counted = [found for found in facts.observations if found.status in ("final", "amended", "corrected")]
    truth = {
        "biopsy": bool(biopsies),
        "images": any(image["role"] == "met" for image in images),
        "psa": any(high(found.valueQuantity) for found in counted),
    }
    evidence = {
        "biopsy": [shown("Procedure", found.id, found.began, found.code) for found in biopsies],
        "images": [shown("ImagingStudy", study.id, study.started, None) for study in facts.studies],
        "psa": [shown("Observation", found.id, found.effectiveDateTime, found.code) for found in counted],
    }
    return {
        "patient": f"Patient/{facts.patient.id}",
        "verdict": "included" if all(truth.values()) else "excluded",
        "criteria": [{"id": name, "outcome": met, "evidence": evidence[name]} for name, met in truth.items()],
        "imaging": images,
        "identifiers": facts.patient.identifier,
    }


def within(started: str | None, began: str | None) -> bool:
    """Whether images were made in the year before."""
    if started is None or began is None or len(began) < 10:
        return False
    return f"{int(began[:4]) - 1}{began[4:10]}" <= started <= began + "~"


def high(value: Quantity | None) -> bool:
    """Whether a measurement is at least 3 ng/mL."""
    return value is not None and value.value is not None and value.value * FACTORS.get(value.code or "", 0.0) >= 3


def shown(kind: str, identifier: str, date: str | None, concept: Concept | None) -> dict[str, Any]:
    """A resource as evidence."""
    coding = concept.coding[0] if concept is not None and concept.coding else Coding()
    return {"resource": f"{kind}/{identifier}", "date": date, "code": coding.code, "display": coding.display}


def main(arguments: list[str]) -> int:
    """Screen a cohort."""
    gc.disable()
    form, folder, out = arguments
    patients = export(Path(folder)) if form == "ndjson" else bundles(Path(folder))
    with open(out, "wb", 1 << 20) as stream:
        for facts in patients:
            stream.write(_encode(verdict(facts)))
            stream.write(b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
