"""Many criteria in one run - coded forms, FHIRPath and CQL - by every way that data can go: memory, a bundle, NDJSON, two workers with little memory."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError
from fhir_eligibility.evaluation.verdict import Verdict
from fhir_eligibility.output.criteria_record import read_verdicts
from fhir_eligibility.runners.screening import run as running
from fhir_eligibility.runners.screening.criteria import Criteria, load_criteria
from fhir_eligibility.runners.screening.run import RunOptions, run
from fhir_eligibility.runners.screening.screening import screen
from tests.paths import cql_generator, fhirpath_generator
from tests.paths.patients import LOINC, SCT, UCUM, patients
from tests.paths.test_cql_ways import compiled as compiled_cql
from tests.paths.test_fhirpath_ways import compiled
from tests.paths.ways import NOW, Cohort

COMPARATORS = ("<", "<=", ">", ">=")


def coded(chance: random.Random) -> dict[str, Any]:
    """A characteristic in a coded form, perhaps with a time and excluding."""
    found: dict[str, Any] = {}
    roll = chance.randrange(4)
    psa = {"coding": [{"system": LOINC, "code": chance.choice(("2857-1", "718-7"))}]}
    if roll == 0:
        found["definitionCodeableConcept"] = {
            "coding": [{"system": SCT, "code": code} for code in chance.sample("AB", chance.choice((1, 2)))]
        }
    elif roll == 1:
        quantity = {
            "value": chance.choice((3, 5)),
            "comparator": chance.choice(COMPARATORS),
            "code": "ng/mL",
            "system": UCUM,
            "unit": "ng/mL",
        }
        found["definitionByTypeAndValue"] = {"type": psa, "valueQuantity": quantity}
    elif roll == 2:
        low, high = (
            {"value": value, "code": "ng/mL", "system": UCUM, "unit": "ng/mL"} for value in (1, chance.choice((4, 6)))
        )
        found["definitionByTypeAndValue"] = {"type": psa, "valueRange": {"low": low, "high": high}}
    else:
        concept = {"coding": [{"system": SCT, "code": chance.choice("AB")}]}
        found["definitionByTypeAndValue"] = {"type": psa, "valueCodeableConcept": concept}
    if chance.random() < 0.3:
        found["exclude"] = True
    return found


def characteristics(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Characteristics of all kinds; expressions that do not compile are left out."""
    out = []
    while len(out) < count:
        roll, seed = chance.random(), chance.randrange(1_000_000)
        if roll < 0.4:
            out.append(coded(chance))
            continue
        if roll < 0.7:
            text, language = fhirpath_generator.expression(seed), "text/fhirpath"
            fits = compiled(text) is not None
        else:
            text, language = cql_generator.expression(seed), "text/cql-identifier"
            try:
                fits = compiled_cql(text) is not None
            except DiagnosticError:
                fits = False
        if fits:
            out.append({"definitionExpression": {"language": language, "expression": text}})
    return [{"linkId": f"c{number}", **one} for number, one in enumerate(out)]


def criteria(folder: Path, seed: int, count: int) -> Criteria:
    """An EvidenceVariable of R5 with the library that its criteria in CQL are defines of."""
    folder.mkdir(parents=True)
    found = characteristics(random.Random(seed), count)
    library = cql_generator.HEAD
    for one in found:
        expression = one.get("definitionExpression")
        if expression is not None and "cql" in expression["language"]:
            library += f"define {one['linkId']}: {expression['expression']}\n"
            expression["expression"] = one["linkId"]
    (folder / "Random.cql").write_text(library)
    variable = {"resourceType": "EvidenceVariable", "id": f"e{seed}", "status": "active", "characteristic": found}
    (folder / "criteria.json").write_text(json.dumps(variable))
    return load_criteria(folder / "criteria.json", libraries=[folder / "Random.cql"])


def without_files(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    """Verdicts by patient, without what tells the files that they were made of."""

    def cleaned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cleaned(one) for key, one in value.items() if key != "file"}
        return [cleaned(one) for one in value] if isinstance(value, list) else value

    return [cleaned(v.model_dump(mode="json")) for v in sorted(verdicts, key=lambda v: v.patient)]


@pytest.mark.parametrize("seed", range(2))
def test_every_way_of_a_run_gives_the_same_verdicts(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outcome, reason, detail, evidence and images of each criterion, not the outcome alone."""
    cohort = Cohort(patients(500 + seed, 10), tmp_path / "cohort")
    found = criteria(tmp_path / "criteria", seed, 20)
    now = NOW.isoformat()
    expected = without_files(list(screen(found, cohort.compartments, now=now)))
    outcomes = [criterion["outcome"] for verdict in expected for criterion in verdict["criteria"]]
    assert all(outcomes.count(word) > len(outcomes) / 20 for word in ("met", "not met", "unknown"))
    for data in (cohort.bundle, cohort.lines):
        assert without_files(list(screen(found, data, now=now))) == expected
    monkeypatch.setattr(running, "SMALL", 0)  # files of any size take the way of large ones
    out = tmp_path / "out"
    run(found, [], [cohort.lines], out, RunOptions(now=now, jobs=2, memory=1 << 20))
    written = list(read_verdicts(out))
    assert without_files(written) == expected
