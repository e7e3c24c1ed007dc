"""Odd values anywhere in resources: no way of reading ends in a traceback, and all ways agree."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.data.bulk.collecting import Collector
from fhir_eligibility.data.bulk.grouping import Grouping
from tests.data.every_way import criteria, screened

Resource = dict[str, Any]
EXPRESSIONS = (
    "Observation.where(code.coding.exists(system = 'http://loinc.org' and code = '2857-1')).value.ofType(Quantity).value > 3",
    "Patient.name.given.exists() and Patient.birthDate < today() - 18 years",
    "Encounter.where(status = 'finished').exists()",
    "ImagingStudy.where(series.exists(modality.code = 'MR')).exists()",
)
ODD: tuple[Any, ...] = (
    None,
    True,
    7,
    1.5,
    "",
    "x",
    [],
    {},
    [[]],
    [None],
    [7],
    {"a": 1},
    [{"a": [1]}],
    "Patient/p1",
    "\u0000",
)


def resources(number: int) -> list[Resource]:
    about = {"reference": f"Patient/p{number}"}
    uid = f"1.2.3.{number}"
    return [
        {
            "resourceType": "Patient",
            "id": f"p{number}",
            "meta": {"lastUpdated": "2024-01-01T00:00:00Z", "profile": ["http://example.org/p"]},
            "identifier": [{"system": "urn:mrn", "value": f"{number}"}],
            "name": [{"family": "A", "given": ["B"]}],
            "birthDate": "1950-01-01",
            "link": [{"other": {"reference": "Patient/p1"}, "type": "seealso"}],
        },
        {
            "resourceType": "Observation",
            "id": f"o{number}",
            "meta": {"lastUpdated": "2024-01-01T00:00:00Z"},
            "status": "final",
            "subject": about,
            "code": {"coding": [{"system": "http://loinc.org", "code": "2857-1"}]},
            "valueQuantity": {"value": 4.5, "unit": "ng/mL"},
            "effectiveDateTime": "2024-01-01",
        },
        {
            "resourceType": "Encounter",
            "id": f"e{number}",
            "status": "finished",
            "subject": {"identifier": {"system": "urn:mrn", "value": f"{number}"}},
        },
        {
            "resourceType": "ImagingStudy",
            "id": f"i{number}",
            "status": "available",
            "subject": about,
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
            "series": [{"uid": f"{uid}.1", "modality": {"code": "MR"}, "instance": [{"uid": f"{uid}.1.1"}]}],
        },
        {"resourceType": "Organization", "id": "org", "name": "X"},
    ]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every member and item below a value, each with what holds it."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def mutated(listed: list[Resource], chance: random.Random) -> list[Resource]:
    found = copy.deepcopy(listed)
    for _ in range(chance.choice((1, 1, 2, 4))):
        holder, key = chance.choice(list(places(found)))
        holder[key] = copy.deepcopy(chance.choice(ODD))
    return found


@pytest.mark.parametrize("form", ["ndjson", "bundles", "transactions"])
@pytest.mark.parametrize("seed", range(12))
def test_no_odd_value_sinks_a_run(tmp_path: Path, seed: int, form: str) -> None:
    chance = random.Random(seed)
    data = tmp_path / "data"
    data.mkdir()
    for number in range(40):
        listed = mutated(resources(number), chance) if number % 8 else resources(number)
        if form == "ndjson":
            # twice, so that what occurs several times is compared
            text = "".join(json.dumps(one, separators=(",", ":")) + "\n" for one in listed * 2)
            (data / f"{number}.ndjson").write_text(text, "utf-8")
            continue
        entries = [
            {"fullUrl": f"urn:uuid:{number}-{index}", "resource": one, "request": {"method": "PUT", "url": "x"}}
            for index, one in enumerate(listed)
        ]
        bundle = {
            "resourceType": "Bundle",
            "type": "transaction" if form == "transactions" else "searchset",
            "entry": entries,
        }
        if form == "transactions" and number % 8:
            (bundle,) = mutated([bundle], chance)
        (data / f"{number}.json").write_text(json.dumps(bundle), "utf-8")
    rules = criteria(tmp_path / "criteria", *EXPRESSIONS)
    ways = {name: found for name, found, _ in screened(rules, data, tmp_path)}
    expected = ways["memory"]
    assert {f"Patient/p{number}" for number in range(0, 40, 8)} <= expected.keys()
    by_plan = ways["by plan"]
    assert ways["one process"] == ways["two processes"] == by_plan
    # without a Patient, and with nothing that a criterion may need, nobody is a patient by plan
    assert by_plan.items() <= expected.items()


def test_an_error_of_the_program_costs_one_file_or_one_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an error that is made for this test: whatever is not foreseen is a problem, and everybody else is judged."""
    data = tmp_path / "data"
    data.mkdir()
    for number in range(3):
        # linked Patients are put together by another function
        plain = (
            {k: v for k, v in one.items() if k != "link"}
            for one in resources(number)
            if one["resourceType"] != "Encounter"
        )
        text = "".join(json.dumps(one) + "\n" for one in plain)
        (data / f"{number}.ndjson").write_text(text, "utf-8")
    rules = criteria(tmp_path / "criteria", *EXPRESSIONS)
    place, simple = Collector._place, Grouping._simple

    def of_a_file(
        self: Any, reader: Any, facts: Any, compact: Any, raw: Any, file: int, *more: Any, **named: Any
    ) -> None:
        if file == 0:
            raise ZeroDivisionError("of a file")
        place(self, reader, facts, compact, raw, file, *more, **named)

    def of_a_patient(self: Any, records: Any) -> Any:
        if records[0].group == "p1":
            raise KeyError("of a patient")
        return simple(self, records)

    monkeypatch.setattr(Collector, "_place", of_a_file)
    monkeypatch.setattr(Grouping, "_simple", of_a_patient)
    for way, found, problems in screened(rules, data, tmp_path):
        if way in ("by plan", "one process"):
            assert list(found) == ["Patient/p2"], way
            told = {(p.code, Path(p.file or "").name, p.patient) for p in problems if p.code == "not-read"}
            assert told == {("not-read", "0.ndjson", None), ("not-read", "1.ndjson", "Patient/p1")}, way
