"""Cohorts that change from one night to the next, for runs that take patients over from an earlier one: NDJSON or a bundle a patient, and random changes of every kind."""

from __future__ import annotations

import copy
import gzip
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fhir_eligibility.runners.screening import run as running
from fhir_eligibility.runners.screening.criteria import Criteria, load_criteria
from fhir_eligibility.runners.screening.run import RunOptions, RunResult, run

NOW, LATER = "2026-06-01T08:00:00+00:00", "2026-06-02T08:00:00+00:00"
SYSTEM = "http://example.org/codes"
CODES = ("psa", "biopsy", "cancer", "other")
# What stays the same from run to run is not in this list; how a run went is.
HOW = ("started", "finished", "since", "digests")

Resource = dict[str, Any]


def concept(code: str) -> Resource:
    """A CodeableConcept."""
    return {"coding": [{"system": SYSTEM, "code": code}]}


def record(chance: random.Random, patient: str, number: int) -> Resource:
    """A record of a patient."""
    subject = {"reference": f"Patient/{patient}"}
    kind = chance.choice(("Observation", "Observation", "Condition", "Procedure", "MedicationRequest"))
    found: Resource = {"resourceType": kind, "id": f"{patient}-{number}", "subject": subject}
    day = f"20{chance.randrange(18, 26)}-0{chance.randrange(1, 10)}-11"
    if kind == "Observation":
        value = {"value": chance.randrange(1, 9), "code": "ng/mL", "system": "http://unitsofmeasure.org"}
        return {**found, "status": "final", "code": concept("psa"), "valueQuantity": value, "effectiveDateTime": day}
    if kind == "Condition":
        return {**found, "code": concept(chance.choice(CODES)), "onsetDateTime": day}
    if kind == "Procedure":
        return {**found, "status": "completed", "code": concept("biopsy"), "performedDateTime": day}
    drug = {"reference": f"Medication/m{chance.randrange(2)}"}
    return {**found, "status": "active", "intent": "order", "medicationReference": drug}


def patient(chance: random.Random, name: str) -> list[Resource]:
    """A patient with some records."""
    birth = f"{chance.randrange(1940, 2012)}-05-0{chance.randrange(1, 10)}"
    found: list[Resource] = [{"resourceType": "Patient", "id": name, "birthDate": birth}]
    return [*found, *(record(chance, name, number) for number in range(chance.randrange(6)))]


class Cohort:
    """Patients, the records of nobody, and lines that are no plain resources, as they stand in files: `ndjson`, `bundles`, a file each, or `bundle-lines`."""

    def __init__(self, seed: int, size: int) -> None:
        chance = random.Random(seed)
        self.patients = {f"p{number}": patient(chance, f"p{number}") for number in range(size)}
        self.nobodys: list[Resource] = [
            {"resourceType": "Medication", "id": f"m{number}", "code": concept("drug")} for number in range(2)
        ]
        self.parts: dict[tuple[str, str], int] = {}
        self.lines: dict[str, list[str]] = {}
        self.shuffled = 0
        self.together: dict[str, str] = {}
        """Whose bundle also holds the records of another patient."""
        self.alone = False
        """Whether bundles hold no records of nobody."""
        self.blank: list[str] = []
        self.unended: list[str] = []
        self.packed: list[str] = []
        """Files with blank lines, without a line feed at the end, and packed."""

    def write(self, folder: Path, form: str) -> None:
        """Write the files in the place of those that are there."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        files: dict[str, list[str]] = {}
        others = {one for one in self.together.values() if one in self.patients}
        for name, resources in self.patients.items():
            if form != "ndjson" and name in others:
                continue
            if form != "ndjson":
                resources = [*resources, *self.patients.get(self.together.get(name, ""), ())]
            if form != "ndjson":
                entries = [
                    {"fullUrl": f"http://example.org/fhir/{one['resourceType']}/{one['id']}", "resource": one}
                    for one in (*resources, *(() if self.alone else self.nobodys))
                ]
                bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
                part = self.parts.get(("Patient", name), 0)
                path = f"{part}-{name}.json" if form == "bundles" else f"{part}.ndjson"
                files.setdefault(path, []).append(json.dumps(bundle))
                continue
            for one in resources:
                part = self.parts.get((one["resourceType"], one["id"]), 0)
                files.setdefault(f"{one['resourceType']}.{part}.ndjson", []).append(json.dumps(one))
        if form == "ndjson":
            for one in self.nobodys:
                files.setdefault("Medication.ndjson", []).append(json.dumps(one))
        for path, lines in self.lines.items():
            files.setdefault(path, []).extend(lines)
        if self.shuffled:
            for path, lines in files.items():
                if path.endswith(".ndjson"):
                    random.Random(self.shuffled).shuffle(lines)
        for path, lines in files.items():
            text = "".join(f"{line}\n" for line in lines)
            if path in self.blank:
                text = "\n".join(text.splitlines(keepends=True)) + "\n"
            if path in self.unended:
                text = text.rstrip("\n")
            data = gzip.compress(text.encode(), mtime=0) if path in self.packed else text.encode()
            (folder / path).write_bytes(data)


Change = Callable[[Cohort, random.Random], None]


def _some(cohort: Cohort, chance: random.Random) -> tuple[str, list[Resource]]:
    return chance.choice(sorted(cohort.patients.items()))


def _nothing(cohort: Cohort, chance: random.Random) -> None:
    pass


def _add_patient(cohort: Cohort, chance: random.Random) -> None:
    name = f"n{chance.randrange(1000)}"
    cohort.patients = {name: patient(chance, name), **cohort.patients}


def _remove_patient(cohort: Cohort, chance: random.Random) -> None:
    if len(cohort.patients) > 2:
        del cohort.patients[_some(cohort, chance)[0]]


def _add_record(cohort: Cohort, chance: random.Random) -> None:
    name, resources = _some(cohort, chance)
    resources.append(record(chance, name, chance.randrange(100, 1000)))


def _remove_record(cohort: Cohort, chance: random.Random) -> None:
    _, resources = _some(cohort, chance)
    if len(resources) > 1:
        resources.pop(chance.randrange(1, len(resources)))


def _remove_person(cohort: Cohort, chance: random.Random) -> None:
    _some(cohort, chance)[1][:1] = []
    cohort.patients = {name: one for name, one in cohort.patients.items() if one}


def _change_record(cohort: Cohort, chance: random.Random) -> None:
    name, resources = _some(cohort, chance)
    number = chance.randrange(len(resources))
    one = resources[number]
    new = patient(chance, name)[0] if one["resourceType"] == "Patient" else record(chance, name, 0)
    resources[number] = {**new, "id": one["id"]}


def _move_record(cohort: Cohort, chance: random.Random) -> None:
    one = chance.choice(_some(cohort, chance)[1])
    cohort.parts[one["resourceType"], one["id"]] = chance.randrange(3)


def _reorder(cohort: Cohort, chance: random.Random) -> None:
    cohort.shuffled = chance.randrange(1, 1000)


def _reorder_patient(cohort: Cohort, chance: random.Random) -> None:
    chance.shuffle(_some(cohort, chance)[1])


def _damage(cohort: Cohort, chance: random.Random) -> None:
    name, _ = _some(cohort, chance)
    whole = json.dumps(record(chance, name, 7))
    told = whole.index("Patient/") + 20
    cut = whole[: chance.choice((chance.randrange(5, len(whole)), chance.randrange(told, len(whole)), len(whole) - 1))]
    cohort.lines.setdefault(chance.choice(("Observation.0.ndjson", "Condition.0.ndjson")), []).append(cut)


def _mend(cohort: Cohort, chance: random.Random) -> None:
    cohort.lines.clear()


def _delete(cohort: Cohort, chance: random.Random) -> None:
    one = chance.choice(_some(cohort, chance)[1])
    entry = {"request": {"method": "DELETE", "url": f"{one['resourceType']}/{one['id']}"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    cohort.lines["deleted.ndjson"] = [json.dumps(bundle)]


def _version(cohort: Cohort, chance: random.Random) -> None:
    name, resources = _some(cohort, chance)
    one = copy.deepcopy(chance.choice(resources))
    if chance.random() < 0.7:
        one["meta"] = {"lastUpdated": "2026-01-01T00:00:00Z"}
    if chance.random() < 0.7:
        one["note"] = [{"text": "again"}]
    cohort.lines.setdefault(f"{one['resourceType']}.9.ndjson", []).append(json.dumps(one))


def _nobodys_record(cohort: Cohort, chance: random.Random) -> None:
    chance.choice(cohort.nobodys)["code"] = concept(chance.choice(("drug", "psa", "other")))


def _link(cohort: Cohort, chance: random.Random) -> None:
    (_, resources), (other, _) = _some(cohort, chance), _some(cohort, chance)
    if resources[0]["resourceType"] == "Patient":
        resources[0]["link"] = [{"other": {"reference": f"Patient/{other}"}, "type": "seealso"}]


def _mark(cohort: Cohort, chance: random.Random) -> None:
    one = chance.choice(_some(cohort, chance)[1])
    one["meta"] = {
        "tag": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}]
    }


def _stranger(cohort: Cohort, chance: random.Random) -> None:
    chance.choice(_some(cohort, chance)[1])["subject"] = {
        "reference": chance.choice(("Patient/nobody", "Group/g", "x"))
    }


def _other_patient(cohort: Cohort, chance: random.Random) -> None:
    _, resources = _some(cohort, chance)
    if len(resources) > 1:
        resources[-1]["subject"] = {"reference": f"Patient/{_some(cohort, chance)[0]}"}


def _by_identifier(cohort: Cohort, chance: random.Random) -> None:
    name, resources = _some(cohort, chance)
    for one in resources:
        if one["resourceType"] == "Patient":
            one["identifier"] = [{"system": "http://example.org/ids", "value": name}]
        elif chance.random() < 0.5:
            one["subject"] = {"identifier": {"system": "http://example.org/ids", "value": name}}


def _odd_reference(cohort: Cohort, chance: random.Random) -> None:
    name, resources = _some(cohort, chance)
    resources[-1]["subject"] = {
        "reference": chance.choice((f"/Patient/{name}", f" Patient/{name}", f"Patient/{name}/"))
    }


def _twice_the_id(cohort: Cohort, chance: random.Random) -> None:
    resources = _some(cohort, chance)[1]
    resources[-1]["id"] = _some(cohort, chance)[1][-1]["id"]


def _unneeded(cohort: Cohort, chance: random.Random) -> None:
    name, _ = _some(cohort, chance)
    claim = {"resourceType": "Claim", "id": f"c{chance.randrange(1000)}", "patient": {"reference": f"Patient/{name}"}}
    other = {**record(chance, name, chance.randrange(100, 1000)), "resourceType": "Observation", "code": concept("no")}
    kind = chance.choice(("Claim.ndjson", "Observation.0.ndjson"))
    lines = cohort.lines.setdefault(kind, [])
    lines.insert(chance.randrange(len(lines) + 1), json.dumps(claim if kind.startswith("Claim") else other))


def _two_in_a_bundle(cohort: Cohort, chance: random.Random) -> None:
    (one, _), (other, _) = _some(cohort, chance), _some(cohort, chance)
    names = {*cohort.together, *cohort.together.values()}
    if one != other and not {one, other} & names:
        cohort.together[one] = other


def _apart_again(cohort: Cohort, chance: random.Random) -> None:
    cohort.together.clear()


def _without_nobodys(cohort: Cohort, chance: random.Random) -> None:
    cohort.alone = not cohort.alone


def _a_file(chance: random.Random) -> str:
    return f"{chance.choice(('Patient', 'Observation', 'Condition', 'Procedure'))}.{chance.randrange(2)}.ndjson"


def _blank_lines(cohort: Cohort, chance: random.Random) -> None:
    cohort.blank = [_a_file(chance)]


def _no_line_feed(cohort: Cohort, chance: random.Random) -> None:
    cohort.unended = [_a_file(chance)]


def _packed(cohort: Cohort, chance: random.Random) -> None:
    cohort.packed = [_a_file(chance)]


def _first_file(cohort: Cohort, chance: random.Random) -> None:
    name, _ = _some(cohort, chance)
    cohort.lines["A.ndjson"] = [json.dumps(record(chance, name, chance.randrange(100, 1000)))]


def _copied_record(cohort: Cohort, chance: random.Random) -> None:
    _, resources = _some(cohort, chance)
    resources.append(copy.deepcopy(chance.choice(resources)))


def _moved_record(cohort: Cohort, chance: random.Random) -> None:
    _, resources = _some(cohort, chance)
    resources.insert(chance.randrange(len(resources)), resources.pop())


PLAIN_CHANGES: tuple[Change, ...] = (
    _nothing, _add_patient, _remove_patient, _add_record, _remove_record, _change_record, _move_record, _reorder,
    _reorder_patient, _unneeded, _two_in_a_bundle, _apart_again, _without_nobodys, _blank_lines, _no_line_feed, _packed,
    _first_file, _moved_record,
)  # fmt: skip
"""Changes after which the data is as most data is."""


CHANGES: tuple[Change, ...] = (
    _nothing, _add_patient, _remove_patient, _add_record, _remove_record, _remove_person, _change_record, _move_record,
    _reorder, _reorder_patient, _damage, _mend, _delete, _version, _nobodys_record, _link, _mark, _stranger, _other_patient,
    _by_identifier, _odd_reference, _twice_the_id, _unneeded, _two_in_a_bundle, _apart_again, _without_nobodys, _blank_lines,
    _no_line_feed, _packed, _first_file, _copied_record, _moved_record,
)  # fmt: skip


def criteria(folder: Path, *, clock: bool = False, more: str = "") -> Criteria:
    """A trial whose answers rest on values, on absence, and on a record of nobody; with `clock` one more goes by the age."""
    code = f"code.coding.exists(system = '{SYSTEM}' and code = '{{}}')"
    texts = [
        f"Observation.where({code.format('psa')} and value.where(value >= 4).exists()).exists()",
        f"Condition.where({code.format('cancer')}).exists().not()",
        f"Procedure.where({code.format('biopsy')} and performed > @2020-01-01).exists()",
        f"MedicationRequest.where(medication.resolve().ofType(Medication).{code.format('drug')}).exists().not()",
        *(["Patient.birthDate <= today() - 18 years"] if clock else []),
        *([more] if more else []),
    ]
    found = [
        {"linkId": f"c{number}", "definitionExpression": {"language": "text/fhirpath", "expression": text}}
        for number, text in enumerate(texts)
    ]
    variable = {"resourceType": "EvidenceVariable", "id": "e", "status": "active", "characteristic": found}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "criteria.json").write_text(json.dumps(variable))
    return load_criteria(folder / "criteria.json")


def outputs(folder: Path) -> dict[str, Any]:
    """The bytes of all outputs; run.json without what tells how it ran."""
    found: dict[str, Any] = {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
    found.pop("blocks.bin", None)  # goes by how the data was read
    record = json.loads(found["run.json"])
    found["run.json"] = {name: value for name, value in record.items() if name not in HOW}
    return found


def screened(found: Criteria, data: Path, out: Path, way: str, **options: Any) -> RunResult:
    """A run by a way: `memory`, or `files` of any size with one or two jobs."""
    before = running.SMALL
    running.SMALL = before if way == "memory" else 0
    try:
        means = {"jobs": 2 if way == "files-2" else 1, "memory": 1 << 20 if way != "memory" else None}
        paths = [data.parent / "criteria"]
        return run(found, paths, [data], out, RunOptions(**{"now": NOW, "keep_fingerprints": True, **means, **options}))
    finally:
        running.SMALL = before
