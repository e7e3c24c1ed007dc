"""Every define of the measures on every published patient beside what the reference engine answers, up to presentation.

Presentation: a resource is its type and id; a code is its code and system; a date carries `@`; an offset of zero is `+00:00`; milliseconds of zero are
not written.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.compiler.criteria.library import LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Patient
from fhir_eligibility.compiler.runtime.printing import as_json
from fhir_eligibility.runners.measures.measuring import MeasureOptions, run_of
from tests.inputs import SHARED
from tests.shared import shared
from tests.spec.ecqm_suite import NOW, cases, environment, load

_MOMENT = re.compile(r"@?(\d{4}-\d\d(?:-\d\d)?)(?:T([\d:]*)(\.\d+)?(Z|[+-]\d\d:\d\d)?)?")
_OBSERVATION = "obs_func_"
# Where ours differs: the define, how far numbers may lie apart, and the section that decides.
DIFFERENCES = {
    (
        "CMS832HHAKIFHIR",
        "Risk Variable Estimated Glomerular Filtration Rate for Males",
    ): "CQL reference, Decimal: a decimal has at most 8 digits after the point, and so have the steps of a computation",
    (
        "CMS832HHAKIFHIR",
        "Risk Variable Estimated Glomerular Filtration Rate for Females",
    ): "CQL reference, Decimal: a decimal has at most 8 digits after the point, and so have the steps of a computation",
}
APART = 2e-6


def measures() -> list[str]:
    folder = SHARED / "ecqm" / "open"
    return sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else ["CMS349FHIRHIVScreening"]


def identified(value: Any) -> Any:
    """A value with resources as their type and id."""
    if isinstance(value, dict) and "resourceType" in value:
        return f"{value['resourceType']}/{value['id']}"
    return [identified(x) for x in value] if isinstance(value, list) else value


def presented(value: Any) -> Any:
    """JSON with codes and moments in one way of writing."""
    if isinstance(value, dict):
        if isinstance(value.get("code"), str) and "system" in value:
            return {"code": value["code"], "system": value["system"]}
        return {key: presented(x) for key, x in value.items()}
    if isinstance(value, list):
        return [presented(x) for x in value]
    match = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    date, time, fraction, offset = match.groups()
    if time is None:
        return f"@{date}"
    shown = "" if fraction in (None, ".000") else fraction
    return f"@{date}T{time}{shown}{'+00:00' if offset == 'Z' else offset or ''}"


def answer(loaded: LoadedLibrary, name: str, patient: Patient) -> Any:
    """Our value of a define, or of an observation for each episode of the population that its name tells."""
    if not name.startswith(_OBSERVATION):
        return identified(loaded.evaluate(name, patient))
    function, _, population = name.removeprefix(_OBSERVATION).rpartition("_")
    return [
        {"episode": identified(row), "observation": loaded.call(function, patient, row)}
        for row in loaded.evaluate(population, patient)
    ]


def near(ours: Any, theirs: Any, apart: float) -> bool:
    """Equality, numbers as far apart as allowed."""
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return ours is theirs
    if isinstance(ours, (int, float)) and isinstance(theirs, (int, float)):
        return abs(ours - theirs) <= apart
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(near(ours[key], theirs[key], apart) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(near(a, b, apart) for a, b in zip(ours, theirs, strict=True))
    return bool(ours == theirs)


def written(value: Any) -> Any:
    """A value as JSON has it."""
    return presented(
        json.loads(json.dumps(as_json(value), default=lambda x: float(x) if isinstance(x, Decimal) else str(x)))
    )


def differences(path: Path) -> tuple[int, list[str]]:
    """How many values were compared, and those that differ otherwise than listed."""
    lines = (path / "reference.ndjson").read_text("utf-8").splitlines()
    reference = {line["case"]: line["defines"] for line in map(json.loads, lines)}
    measure = load(path)
    loaded, run = LoadedLibrary(measure.compiled), run_of(measure, MeasureOptions(now=NOW))
    compared, found = 0, []
    for case in cases(path):
        patient = environment(run, case)
        for name, theirs in reference[case["case"]].items():
            ours = written(answer(loaded, name, patient))
            compared += 1
            apart = APART if (path.name, name) in DIFFERENCES else 1e-8
            if not near(ours, presented(theirs), apart):
                found.append(f"{case['case']} {name}: {ours} but the reference engine has {theirs}")
    return compared, found


@pytest.mark.parametrize("name", measures())
def test_every_define_on_every_patient(name: str) -> None:
    compared, found = differences(shared("ecqm", "open", name))
    assert compared > 0 and found == []
