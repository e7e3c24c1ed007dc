"""`python -m tests.benchmarks.measures`: patients per second for three measures, beside the reference engine on the same patients and libraries.

One core, after a warm-up, loading included: reading the records, building the environment, every define of the library. The reference engine runs where
`CQL_REFERENCE_DIR` names its folder (tests/differential/reference/setup.sh) and its ELM stands in `CQL_REFERENCE_ELM`, a folder of
`<library>-<version>.json`. To reach: ten times its speed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.compiler.criteria.library import LoadedLibrary
from fhir_eligibility.runners.measures.measuring import LoadedMeasure, MeasureOptions, run_of
from tests.spec import ecqm_suite

MEASURES = ("CMS68", "CMS104", "CMS832")


def ours(path: Path, loaded: LoadedMeasure) -> tuple[int, float]:
    """Patients and seconds: lines of JSON to the values of every define."""
    library = LoadedLibrary(loaded.compiled)
    names = list(loaded.compiled.defines)
    lines = (path / "cases.ndjson").read_bytes().splitlines()

    def once(found: list[bytes]) -> None:
        decoder = msgspec.json.Decoder(float_hook=Decimal)
        run = run_of(loaded, MeasureOptions(now=ecqm_suite.NOW))
        for line in found:
            patient = ecqm_suite.environment(run, decoder.decode(line))
            for name in names:
                try:
                    library.evaluate(name, patient)
                except EvaluationError:
                    continue

    once(lines[:3])
    begun = time.perf_counter()
    once(lines)
    return len(lines), time.perf_counter() - begun


def reference(path: Path) -> tuple[int, float] | None:
    """The same with the reference engine, None where it is not set up."""
    folder, elm = os.environ.get("CQL_REFERENCE_DIR"), os.environ.get("CQL_REFERENCE_ELM")
    if not folder or not elm:
        return None
    described = json.loads((path / "measure.json").read_text("utf-8"))
    files = [Path(elm) / f"{x['name']}-{x['version']}.json" for x in described["libraries"]]
    if not all(file.is_file() for file in files):
        return None
    sets: dict[str, dict[str, list[dict[str, str]]]] = {}
    for entry in json.loads((path / "valuesets.json").read_text("utf-8"))["valuesets"]:
        codes = [{"code": code, "system": system} for system, found in entry["codes"].items() for code in found]
        sets[entry["url"]] = {entry["version"]: codes}
    request: dict[str, Any] = {
        "libraries": [json.loads(file.read_text("utf-8")) for file in files],
        "name": described["library"]["name"],
        "valuesets": sets,
        "cases": [json.loads(line)["resources"] for line in (path / "cases.ndjson").read_bytes().splitlines()],
        "period": [f"{described['period']['start']}T00:00:00.000Z", f"{described['period']['end']}T23:59:59.999Z"],
    }
    script = Path(__file__).parents[1] / "differential" / "reference" / "measure.mjs"
    target = Path(folder) / script.name
    target.write_bytes(script.read_bytes())
    run = subprocess.run(
        ["node", target.name], cwd=folder, input=json.dumps(request), capture_output=True, text=True, check=False
    )
    if run.returncode:
        print(run.stderr.strip().splitlines()[-1:] or "the reference engine failed", file=sys.stderr)
        return None
    found = json.loads(run.stdout.strip().splitlines()[-1])
    return found["patients"], found["seconds"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.measures", description=__doc__)
    parser.add_argument("measures", nargs="*", default=list(MEASURES), help="beginnings of the names of measures")
    options = parser.parse_args()
    root = ecqm_suite.folder() / "open"
    if not root.is_dir():
        print(f"skipped: {root} is not there")
        return 0
    print("measure                        patients      ours/s  reference/s   ratio")
    for path in sorted(root.iterdir()):
        if not path.name.startswith(tuple(options.measures)):
            continue
        count, seconds = ours(path, ecqm_suite.load(path))
        other = reference(path)
        line = f"{path.name[:30]:30} {count:8} {count / seconds:11.0f}"
        if other is not None:
            line += f" {other[0] / other[1]:12.0f} {(count / seconds) / (other[0] / other[1]):7.1f}"
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
