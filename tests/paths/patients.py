"""Random patients with holes: every element is present, missing, there with extensions alone, of another type, or a date that is only partly known.

The same seed gives the same patients. With `odd`, some elements are not of the JSON type that FHIR demands.
"""

from __future__ import annotations

import random
from typing import Any

Resource = dict[str, Any]
LOINC, SCT, DCM, UCUM = (
    "http://loinc.org",
    "http://snomed.info/sct",
    "http://dicom.nema.org/resources/ontology/DCM",
    "http://unitsofmeasure.org",
)
DATES = ("2024", "2024-05", "2024-05-06", "2023-12-31", "1980-02-29", "2024-05-06")
MOMENTS = (
    *DATES,
    "2024-05-06T10:00:00Z",
    "2024-05-06T23:30:00-05:00",
    "2024-05-07T04:30:00.250Z",
    "2020-01-01T00:00:00+14:00",
)
ABSENT = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}
MARK = {"extension": [{"url": "http://x", "valueString": "A"}]}


class Maker:
    """Makes the resources of one patient."""

    def __init__(self, chance: random.Random, odd: bool = False) -> None:
        self.chance = chance
        self.odd = odd
        self.count = 0

    def one_of(self, *values: Any) -> Any:
        return self.chance.choice(values)

    def put(self, owner: Resource, name: str, value: Any, likely: float = 0.6) -> None:
        """An element with a hole or without: primitives may be there by their sibling alone or beside it."""
        roll = self.chance.random()
        primitive = not isinstance(value, (dict, list))
        if roll < likely:
            owner[name] = value
            if primitive and self.chance.random() < 0.15:
                owner[f"_{name}"] = self.one_of(MARK, {"id": "i1"})
        elif roll < likely + 0.15:
            if primitive:
                owner[f"_{name}"] = self.one_of(ABSENT, MARK)
            elif isinstance(value, dict):
                owner[name] = self.one_of(ABSENT, {"id": "e"}, dict(ABSENT))
        elif roll < likely + 0.2 and self.odd:
            owner[name] = self.one_of(5, True, "odd", {"x": 1}, ["odd"], [], None, "", [None])

    def texts(self, owner: Resource, name: str, *choices: str) -> None:
        """A repeating text, in which single values may be missing."""
        values: list[Any] = [self.one_of(*choices) for _ in range(self.chance.randrange(3))]
        if not values:
            return
        owner[name] = values
        if self.chance.random() < 0.35:
            siblings: list[Any] = [self.one_of(None, MARK, {"id": f"i{n}"}) for n in range(len(values))]
            hole = self.chance.randrange(len(values))
            if siblings[hole] is not None:
                values[hole] = None
            if any(x is not None for x in siblings):
                owner[f"_{name}"] = siblings
        if all(x is None for x in values):
            del owner[name]

    def coding(self, system: str, *codes: str) -> Resource:
        found: Resource = {}
        self.put(found, "system", system, 0.75)
        self.put(found, "code", self.one_of(*codes), 0.85)
        return found

    def concept(self, system: str, *codes: str) -> Resource:
        roll = self.chance.random()
        if roll < 0.1:
            return {"text": self.one_of(*codes)}
        return {"coding": [self.coding(system, *codes) for _ in range(1 if roll < 0.8 else 2)]}

    def quantity(self) -> Resource:
        found: Resource = {}
        self.put(found, "value", self.one_of(1, 3, 5, 7.5), 0.85)
        unit = self.one_of("ng/mL", "ug/L", "pg/mL")
        found |= self.one_of(
            {"code": unit, "system": UCUM, "unit": unit}, {"code": unit, "system": UCUM}, {"unit": unit}, {}
        )
        return found

    def period(self) -> Resource:
        found: Resource = {}
        self.put(found, "start", self.one_of(*MOMENTS), 0.8)
        self.put(found, "end", self.one_of(*MOMENTS), 0.6)
        return found

    def choice(self, owner: Resource, name: str, **values: Any) -> None:
        """One of the ways in which a choice element is written."""
        kind = self.one_of(*values)
        self.put(owner, f"{name}{kind[0].upper()}{kind[1:]}", values[kind], 0.75)

    def resource(self, kind: str) -> Resource:
        self.count += 1
        return {"resourceType": kind, "id": f"{kind[:3].lower()}{self.count}"}

    def name(self) -> Resource:
        found: Resource = {}
        self.put(found, "family", self.one_of("A", "B"))
        self.texts(found, "given", "A", "B", "C")
        self.put(found, "use", self.one_of("official", "usual"), 0.4)
        self.put(found, "period", self.period(), 0.3)
        return found

    def patient(self, name: str) -> Resource:
        found: Resource = {"resourceType": "Patient", "id": name}
        self.put(found, "gender", self.one_of("male", "female", "other"))
        self.put(found, "birthDate", self.one_of(*DATES))
        self.put(found, "active", self.one_of(True, False))
        self.choice(found, "deceased", boolean=self.one_of(True, False), dateTime=self.one_of(*MOMENTS))
        self.choice(found, "multipleBirth", boolean=self.one_of(True, False), integer=self.one_of(1, 2))
        self.put(found, "maritalStatus", self.concept(SCT, "A", "B"), 0.4)
        if self.chance.random() < 0.7:
            found["name"] = [self.name() for _ in range(self.chance.randrange(1, 3))]
        if self.chance.random() < 0.5:
            contacts = []
            for _ in range(self.chance.randrange(1, 3)):
                contact: Resource = {}
                self.put(contact, "name", self.name())
                self.put(contact, "gender", self.one_of("male", "female"))
                contacts.append(contact or {"id": "c"})
            found["contact"] = contacts
        if self.chance.random() < 0.3:
            found["extension"] = [{"url": self.one_of("http://x", "http://y"), "valueString": self.one_of("A", "B")}]
        return found

    def observation(self, subject: str) -> Resource:
        found = self.resource("Observation") | {"subject": {"reference": subject}}
        self.put(found, "status", self.one_of("final", "amended", "preliminary"))
        self.put(found, "code", self.concept(LOINC, "2857-1", "718-7"), 0.8)
        self.choice(
            found, "value", Quantity=self.quantity(), string=self.one_of("A", "B"), CodeableConcept=self.concept(SCT, "A", "B"),
            integer=self.one_of(1, 5), boolean=self.one_of(True, False), dateTime=self.one_of(*MOMENTS),
        )  # fmt: skip
        self.choice(found, "effective", dateTime=self.one_of(*MOMENTS), Period=self.period())
        self.put(found, "issued", self.one_of("2024-05-06T10:00:00Z", "2023-01-01T00:00:00.000+02:00"), 0.4)
        if self.chance.random() < 0.4:
            components = []
            for _ in range(self.chance.randrange(1, 3)):
                component: Resource = {}
                self.put(component, "code", self.concept(LOINC, "A", "B"), 0.8)
                self.choice(component, "value", Quantity=self.quantity(), string=self.one_of("A", "B"))
                components.append(component or {"id": "c"})
            found["component"] = components
        return found

    def condition(self, subject: str) -> Resource:
        found = self.resource("Condition") | {"subject": {"reference": subject}}
        self.put(found, "code", self.concept(SCT, "A", "B"), 0.8)
        self.put(
            found,
            "clinicalStatus",
            self.concept("http://terminology.hl7.org/CodeSystem/condition-clinical", "active", "resolved"),
        )
        self.choice(found, "onset", dateTime=self.one_of(*MOMENTS), Period=self.period(), string="long ago")
        self.put(found, "recordedDate", self.one_of(*MOMENTS), 0.4)
        return found

    def procedure(self, subject: str) -> Resource:
        found = self.resource("Procedure") | {"subject": {"reference": subject}}
        self.put(found, "status", self.one_of("completed", "in-progress"))
        self.put(found, "code", self.concept(SCT, "A", "B"), 0.8)
        self.choice(found, "performed", dateTime=self.one_of(*MOMENTS), Period=self.period())
        return found

    def imaging_study(self, subject: str) -> Resource:
        found = self.resource("ImagingStudy") | {"subject": {"reference": subject}}
        self.put(found, "status", self.one_of("available", "registered"))
        self.put(found, "started", self.one_of(*MOMENTS))
        self.put(found, "numberOfSeries", self.one_of(1, 2, 3))
        if self.chance.random() < 0.7:
            found["modality"] = [self.coding(DCM, "MR", "CT")]
        if self.chance.random() < 0.7:
            found["series"] = [self.series(number) for number in range(self.chance.randrange(1, 3))]
        return found

    def series(self, number: int) -> Resource:
        found: Resource = {"uid": f"1.2.{self.count}.{number}"}
        self.put(found, "modality", self.coding(DCM, "MR", "CT"), 0.8)
        self.put(found, "started", self.one_of(*MOMENTS), 0.4)
        self.put(found, "numberOfInstances", self.one_of(1, 20), 0.5)
        if self.chance.random() < 0.5:
            instance: Resource = {"uid": f"1.2.{self.count}.{number}.1", "sopClass": {"code": "A"}}
            self.put(instance, "number", self.one_of(1, 2))
            self.put(instance, "title", self.one_of("A", "B"))
            found["instance"] = [instance]
        return found


KINDS = ("observation", "condition", "procedure", "imaging_study")


def patients(seed: int, count: int, odd: bool = False) -> list[list[Resource]]:
    """Some patients, each as the list of its resources; the resources of a patient are few, so that every world of doubts can be tried."""
    out = []
    for number in range(count):
        maker = Maker(random.Random(f"{seed} {number}"), odd)
        name = f"p{number}"
        found = [maker.patient(name)]
        for kind in KINDS:
            found += [getattr(maker, kind)(f"Patient/{name}") for _ in range(maker.chance.choice((0, 1, 1, 2)))]
        for resource in found:
            resource["id"] = f"{name}-{resource['id']}" if resource["resourceType"] != "Patient" else name
        out.append(found)
    return out
