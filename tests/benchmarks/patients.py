"""The patients of the benchmark cohorts: what FLUTE's rule reads, in all the ways in which it can turn out.

`core` makes the resources that decide: Patient, biopsy, rectal examination, PSA, imaging. They depend on the seed and the patient's number alone,
so that every form of a cohort gives the same verdicts. Nothing is about a real person.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from typing import Any, TypeVar

Resource = dict[str, Any]
T = TypeVar("T")

SCT = "http://snomed.info/sct"
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
BASE = "https://hospital.example/fhir/"
SERIES = 4
INSTANCES = 20
WORDS = (
    "Alder Amber Anchor Aspen Basalt Beacon Birch Bramble Brook Canyon Cedar Clover Cobalt Coral Cove Delta Dune Elder Ember Fern "
    "Field Flint Garnet Glade Granite Grove Harbor Hazel Heather Hollow Island Ivory Juniper Lagoon Larch Linden Lowland Maple Marble "
    "Marsh Meadow Mistral Moss Oak Onyx Orchard Pebble Pine Prairie Quarry Quartz Reed Ridge River Rowan Saffron Sage Slate Spruce "
    "Summit Sycamore Thistle Tide Timber Valley Willow"
).split()
# (share of a hundred, kind) of the ways in which each part can turn out.
BIOPSIES = (
    (56, "date"),
    (14, "instant"),
    (9, "period"),
    (3, "year"),
    (3, "month"),
    (3, "undated"),
    (3, "stopped"),
    (3, "twice"),
    (6, "none"),
)
IMAGES = (
    (52, "within"),
    (6, "within and CT"),
    (9, "older"),
    (7, "after"),
    (3, "same day"),
    (3, "year"),
    (4, "month"),
    (4, "undated"),
    (6, "CT"),
    (2, "cancelled"),
    (4, "none"),
)
MEASUREMENTS = (
    (46, "ng/mL"),
    (9, "ug/L"),
    (9, "pg/mL"),
    (4, "unit without code"),
    (3, "no unit"),
    (14, "low"),
    (4, "low and high"),
    (2, "preliminary"),
    (2, "no value"),
    (2, "at most"),
    (5, "none"),
)
# Left out of small patients.
UNREAD = frozenset(
    "category display text endpoint numberOfSeries numberOfInstances number description sopClass type".split()
)
EXAMINATIONS = ((15, "abnormal"), (25, "normal"), (60, "none"))


def pick(chance: random.Random, table: Sequence[tuple[int, T]]) -> T:
    """One of a table of shares that add up to a hundred."""
    left = chance.random() * 100
    for share, kind in table:
        left -= share
        if left < 0:
            return kind
    return table[-1][1]


def concept(system: str, code: str, display: str) -> Resource:
    """A CodeableConcept of one coding."""
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def quantity(value: float, unit: str) -> Resource:
    """A Quantity in UCUM."""
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def name_of(number: int) -> str:
    """The id of a patient."""
    return f"p{number:07}"


def patient(chance: random.Random, name: str, number: int) -> Resource:
    """A Patient as a hospital writes one."""
    given, family, street, city = (chance.choice(WORDS) for _ in range(4))
    born = dt.date(1935, 1, 1) + dt.timedelta(days=chance.randrange(11000))
    return {
        "resourceType": "Patient",
        "id": name,
        "meta": {"versionId": "1", "lastUpdated": "2026-01-05T08:00:00.000+00:00"},
        "text": narrative(f"{given} {family}, born {born}"),
        "identifier": [
            {
                "type": concept("http://terminology.hl7.org/CodeSystem/v2-0203", "MR", "Medical record number"),
                "system": "https://hospital.example/patients",
                "value": f"{10_000_000 + number}",
            }
        ],
        "active": True,
        "name": [{"use": "official", "family": family, "given": [given]}],
        "telecom": [{"system": "phone", "value": f"555-01{number % 100:02}", "use": "home"}],
        "gender": "male",
        "birthDate": born.isoformat(),
        "address": [{"line": [f"{1 + number % 200} {street} Street"], "city": f"{city}ton", "country": "XX"}],
        "communication": [{"language": concept("urn:ietf:bcp:47", "en", "English")}],
    }


def narrative(text: str) -> Resource:
    """A generated Narrative."""
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{text}</p></div>'}


def instant(day: dt.date, chance: random.Random) -> str:
    """A date and time on a day, in the hospital's time zone or UTC."""
    zone = chance.choice(("Z", "+01:00", "-05:00"))
    return f"{day}T{chance.randrange(7, 18):02}:{chance.randrange(60):02}:00{zone}"


def procedure(name: str, kind: str, code: Resource, performed: Resource, status: str = "completed") -> Resource:
    """A Procedure on a patient."""
    return {
        "resourceType": "Procedure",
        "id": f"{name}-{kind}",
        "status": status,
        "code": code,
        "subject": {"reference": f"Patient/{name}"},
        **performed,
    }


def biopsies(chance: random.Random, name: str, day: dt.date) -> list[Resource]:
    """The biopsies of a patient, about `day`."""
    kind = pick(chance, BIOPSIES)
    code = concept(SCT, "86273004", "Biopsy")
    on_day = {"performedDateTime": day.isoformat()}
    if kind == "none":
        return []
    if kind == "stopped":
        return [procedure(name, "biopsy", code, on_day, "stopped")]
    if kind == "twice":
        earlier = {"performedDateTime": (day - dt.timedelta(days=700)).isoformat()}
        return [procedure(name, "biopsy-1", code, earlier), procedure(name, "biopsy-2", code, on_day)]
    if kind == "instant":
        on_day = {"performedDateTime": instant(day, chance)}
    elif kind == "period":
        start = f"{day}T{chance.randrange(7, 18):02}"
        return [
            procedure(name, "biopsy", code, {"performedPeriod": {"start": f"{start}:05:00Z", "end": f"{start}:40:00Z"}})
        ]
    elif kind == "year":
        on_day = {"performedDateTime": f"{day.year}"}
    elif kind == "month":
        on_day = {"performedDateTime": f"{day:%Y-%m}"}
    elif kind == "undated":
        on_day = {}
    return [procedure(name, "biopsy", code, on_day)]


def examinations(chance: random.Random, name: str, day: dt.date) -> list[Resource]:
    """The digital rectal examination of a patient, some weeks before `day`."""
    kind = pick(chance, EXAMINATIONS)
    if kind == "none":
        return []
    code = concept(SCT, "410006001", "Digital examination of rectum")
    when = {"performedDateTime": (day - dt.timedelta(days=chance.randrange(20, 90))).isoformat()}
    found = procedure(name, "dre", code, when)
    found["outcome"] = (
        concept(SCT, "131196009", "Susceptible") if kind == "abnormal" else concept(SCT, "17621005", "Normal")
    )
    return [found]


def measurement(name: str, number: int, day: dt.date, value: Resource | None, status: str = "final") -> Resource:
    """A PSA Observation."""
    return {
        "resourceType": "Observation",
        "id": f"{name}-psa-{number}",
        "status": status,
        "category": [concept("http://terminology.hl7.org/CodeSystem/observation-category", "laboratory", "Laboratory")],
        "code": concept(LOINC, "2857-1", "Prostate specific Ag [Mass/volume] in Serum or Plasma"),
        "subject": {"reference": f"Patient/{name}"},
        "effectiveDateTime": f"{day}T07:30:00Z",
        **({"valueQuantity": value} if value is not None else {}),
    }


def measurements(chance: random.Random, name: str, day: dt.date) -> list[Resource]:
    """The PSA measurements of a patient before `day`; two thirds and more at least 3 ng/mL."""
    kind = pick(chance, MEASUREMENTS)
    before = day - dt.timedelta(days=chance.randrange(10, 120))
    high = round(3 + chance.random() * 12, 1)
    low = round(chance.random() * 2.9, 1)
    found: list[tuple[Resource | None, str]]
    match kind:
        case "none":
            found = []
        case "ug/L":
            found = [(quantity(high, "ug/L"), "final")]
        case "pg/mL":
            found = [(quantity(round(high * 1000), "pg/mL"), "final")]
        case "unit without code":
            found = [({"value": high, "unit": "ng/mL"}, "final")]
        case "no unit":
            found = [({"value": high}, "final")]
        case "low":
            found = [(quantity(low, "ng/mL"), "final")]
        case "low and high":
            found = [(quantity(low, "ng/mL"), "final"), (quantity(high, "ng/mL"), "corrected")]
        case "preliminary":
            found = [(quantity(high, "ng/mL"), "preliminary")]
        case "no value":
            found = [(None, "final")]
        case "at most":
            found = [({**quantity(10.0, "ng/mL"), "comparator": "<"}, "final")]
        case _:
            found = [(quantity(high, "ng/mL"), "final")]
    return [
        measurement(name, number, before + dt.timedelta(days=number), value, status)
        for number, (value, status) in enumerate(found, start=1)
    ]


def study(
    chance: random.Random, name: str, kind: str, started: str | None, *, small: bool, status: str = "available"
) -> Resource:
    """An ImagingStudy of 4 series of 20 instances (`small`: one of one)."""
    modality = {"system": DCM, "code": "CT" if kind == "ct" else "MR"}
    sop = {
        "system": "urn:ietf:rfc:3986",
        "code": f"urn:oid:1.2.840.10008.5.1.4.1.1.{2 if kind == 'ct' else 4}",
    }
    uid = _uid(chance)
    series: list[Resource] = []
    for number in range(1 if small else SERIES):
        instances = [
            {"uid": _uid(chance), "sopClass": sop, "number": index}
            for index in range(1, (1 if small else INSTANCES) + 1)
        ]
        series.append(
            {
                "uid": _uid(chance),
                "number": number + 1,
                "modality": modality,
                "description": ("T2 axial", "DWI", "ADC", "DCE")[number] if kind == "mr" else f"Series {number + 1}",
                "numberOfInstances": len(instances),
                "instance": instances,
            }
        )
    return {
        "resourceType": "ImagingStudy",
        "id": f"{name}-{kind}",
        "identifier": [
            {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"},
            {
                "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]},
                "value": f"A{uid[-9:]}",
            },
        ],
        "status": status,
        "modality": [modality],
        "subject": {"reference": f"Patient/{name}"},
        **({"started": started} if started else {}),
        "endpoint": [{"reference": "Endpoint/archive"}],
        "numberOfSeries": len(series),
        "numberOfInstances": sum(one["numberOfInstances"] for one in series),
        "series": series,
    }


def _uid(chance: random.Random) -> str:
    """A DICOM UID made of a random UUID (PS3.5 annex B.2)."""
    return f"2.25.{chance.getrandbits(122) | 1 << 126}"


def images(chance: random.Random, name: str, day: dt.date, small: bool) -> list[Resource]:
    """The imaging studies of a patient, before, about or after `day`."""
    kind = pick(chance, IMAGES)
    within = day - dt.timedelta(days=chance.randrange(5, 340))
    match kind:
        case "none":
            return []
        case "older":
            when = instant(day - dt.timedelta(days=chance.randrange(400, 1200)), chance)
        case "after":
            when = instant(day + dt.timedelta(days=chance.randrange(2, 300)), chance)
        case "same day":
            when = f"{day}T{chance.randrange(24):02}:30:00Z"
        case "year":
            when = f"{within.year}"
        case "month":
            when = f"{within:%Y-%m}"
        case "undated":
            when = ""
        case _:
            when = instant(within, chance)
    if kind == "CT":
        return [study(chance, name, "ct", when, small=small)]
    if kind == "cancelled":
        return [study(chance, name, "mr", when, small=small, status="cancelled")]
    found = [study(chance, name, "mr", when, small=small)]
    if kind == "within and CT":
        found.append(study(chance, name, "ct", instant(within - dt.timedelta(days=30), chance), small=small))
    return found


def core(chance: random.Random, number: int, small: bool = False) -> list[Resource]:
    """The resources of one patient that the rule reads, Patient first."""
    name = name_of(number)
    day = dt.date(2021, 1, 4) + dt.timedelta(days=chance.randrange(1800))
    first = patient(chance, name, number)
    if small:
        first = {key: first[key] for key in ("resourceType", "id", "gender", "birthDate")}
    found = [
        first,
        *biopsies(chance, name, day),
        *examinations(chance, name, day),
        *measurements(chance, name, day),
        *images(chance, name, day, small),
    ]
    return [_lean(resource) for resource in found] if small else found


def _lean(value: Any) -> Any:
    """Without what no rule reads."""
    if isinstance(value, dict):
        return {key: _lean(item) for key, item in value.items() if key not in UNREAD}
    return [_lean(item) for item in value] if isinstance(value, list) else value


def archive() -> Resource:
    """The DICOMweb endpoint that all imaging studies name."""
    return {
        "resourceType": "Endpoint",
        "id": "archive",
        "status": "active",
        "connectionType": {
            "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
            "code": "dicom-wado-rs",
        },
        "payloadType": [{"text": "DICOM"}],
        "address": "https://archive.example/dicom-web",
    }
