"""`python -m tests.benchmarks.fhirpath`: what a compiled FHIRPath expression costs, and what `import fhir_eligibility` does.

Two expressions, one that walks a bundle of 200 resources and one on a patient, each as compiled here, as fhirpathpy (where it is
installed) and as a person would write it in Python. Per call: the median of several repeats, in microseconds.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import statistics
import subprocess
import sys
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from fhir_eligibility.compiler.criteria.fhirpath import compile_fhirpath

ROOT = Path(__file__).resolve().parents[2]
HIGHEST_PSA = (
    "Bundle.entry.resource.ofType(Observation)"
    ".where(code.coding.exists(system = 'http://loinc.org' and code = '2857-1'))"
    ".value.ofType(Quantity).value.max()"
)
OFFICIAL_NAME = "Patient.name.where(use = 'official').given.first()"
Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Contest:
    """One expression on one resource, the result that it must give, the same in plain Python, and the limit that we keep."""

    title: str
    expression: str
    resource: Resource
    result: object
    by_hand: Callable[[Resource], object]
    limit: float


def patient() -> Resource:
    """A patient with two names."""
    return {
        "resourceType": "Patient",
        "id": "p1",
        "active": True,
        "name": [
            {"use": "usual", "given": ["Jim"]},
            {"use": "official", "family": "Chalmers", "given": ["Peter", "James"]},
        ],
        "gender": "male",
        "birthDate": "1954-12-25",
    }


def bundle(size: int = 200) -> Resource:
    """A patient's record: 60% observations (one in twelve of them a PSA), conditions, procedures, encounters."""
    entries: list[Resource] = [patient()]
    codes = [("2857-1", "ng/mL"), *((f"{number}-{number % 10}", "mmol/L") for number in range(8302, 8313))]
    for number in range(1, size):
        subject = {"reference": "Patient/p1"}
        day = f"20{10 + number % 14}-{1 + number % 12:02d}-{1 + number % 28:02d}"
        if number % 5 < 3:
            code, unit = codes[number % len(codes)]
            entries.append(
                {
                    "resourceType": "Observation",
                    "id": f"o{number}",
                    "status": "final",
                    "category": [{"coding": [{"system": "http://example.org/category", "code": "laboratory"}]}],
                    "code": {"coding": [{"system": "http://loinc.org", "code": code, "display": f"Test {code}"}]},
                    "subject": subject,
                    "effectiveDateTime": f"{day}T08:30:00+01:00",
                    "valueQuantity": {
                        "value": Decimal(number) / 10,
                        "unit": unit,
                        "system": "http://unitsofmeasure.org",
                        "code": unit,
                    },
                }
            )
        elif number % 5 == 3:
            concept = {"coding": [{"system": "http://snomed.info/sct", "code": f"{100000 + number}"}]}
            entries.append({"resourceType": "Condition", "id": f"c{number}", "code": concept, "subject": subject})
        else:
            entries.append(
                {
                    "resourceType": "Procedure",
                    "id": f"x{number}",
                    "status": "completed",
                    "code": {"coding": [{"system": "http://snomed.info/sct", "code": "86273004"}]},
                    "subject": subject,
                    "performedDateTime": day,
                }
            )
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"fullUrl": f"http://example.org/{r['resourceType']}/{r['id']}", "resource": r} for r in entries],
    }


def highest_psa(record: Resource) -> object:
    """`HIGHEST_PSA` as a person would write it."""
    highest = None
    for entry in record.get("entry", ()):
        resource = entry.get("resource")
        if resource is None or resource["resourceType"] != "Observation":
            continue
        for coding in resource.get("code", {}).get("coding", ()):
            if coding.get("code") == "2857-1" and coding.get("system") == "http://loinc.org":
                value = resource.get("valueQuantity", {}).get("value")
                if value is not None and (highest is None or value > highest):
                    highest = value
                break
    return highest


def official_name(resource: Resource) -> object:
    """`OFFICIAL_NAME` as a person would write it."""
    for name in resource.get("name", ()):
        if name.get("use") == "official":
            for given in name.get("given", ()):
                return given
    return None


def contests() -> list[Contest]:
    record = bundle()
    return [
        Contest("highest PSA of a bundle of 200", HIGHEST_PSA, record, highest_psa(record), highest_psa, 150.0),
        Contest("first official given name", OFFICIAL_NAME, patient(), "Peter", official_name, 3.0),
    ]


def microseconds(call: Callable[[], object], repeats: int) -> float:
    """Median time of one call, in microseconds; each repeat takes about 0.05 s."""
    timer = timeit.Timer(call)
    number, taken = timer.autorange()
    number = max(1, int(number * 0.05 / taken))
    return statistics.median(timer.repeat(repeats, number)) / number * 1e6


def ours(contest: Contest) -> Callable[[], object]:
    """The compiled expression as a caller uses it: items with their types."""
    compiled = compile_fhirpath(contest.expression, root=contest.resource["resourceType"])

    def call() -> object:
        return compiled.evaluate(contest.resource)[0].value

    return call


def hand_written(contest: Contest) -> Callable[[], object]:
    return lambda: contest.by_hand(contest.resource)


def peer(contest: Contest) -> Callable[[], object]:
    """The expression compiled by fhirpathpy, with doubles for decimals as it expects them."""
    fhirpathpy = importlib.import_module("fhirpathpy")
    models = importlib.import_module("fhirpathpy.models").models
    compiled = fhirpathpy.compile(contest.expression, models["r4"])
    resource = json.loads(json.dumps(contest.resource, default=float))
    return lambda: compiled(resource)[0]


def measure(contest: Contest, make: Callable[[Contest], Callable[[], object]], repeats: int) -> float | str:
    """Microseconds a call, or why there are none: the result must be right to count."""
    try:
        call = make(contest)
        result = call()
    except Exception as error:
        return f"fails: {type(error).__name__}: {str(error).splitlines()[0][:60] if str(error) else ''}"
    if result != contest.result:
        return f"wrong: {result!r} instead of {contest.result!r}"
    return microseconds(call, repeats)


def import_milliseconds(repeats: int) -> float:
    """Median time of `import fhir_eligibility` in a fresh process."""
    code = "import time; t = time.perf_counter(); import fhir_eligibility; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", code]
    times = [
        float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
        for _ in range(repeats)
    ]
    return statistics.median(times) * 1e3


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.fhirpath", description=__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="how often each is measured (default 7)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args(arguments)
    gc.collect()
    figures: dict[str, Any] = {}
    for contest in contests():
        print(f"{contest.title}: {contest.expression}")
        rows = figures[contest.title] = {}
        for name, make in (("compiled", ours), ("hand-written", hand_written), ("fhirpathpy", peer)):
            rows[name] = taken = measure(contest, make, options.repeats)
            limit = f"   (limit {contest.limit:g} us)" if name == "compiled" else ""
            shown = f"{taken:10.2f} us{limit}" if isinstance(taken, float) else f"  {taken}"
            print(f"  {name:14}{shown}")
    figures["import fhir_eligibility, ms"] = taken = import_milliseconds(options.repeats)
    print(f"import fhir_eligibility   {taken:10.1f} ms   (limit 150 ms)")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
