"""`python -m tests.benchmarks.nights --patients 20000 --changed 1`: a night in which few patients changed, by `--since` beside a full run.

A cohort is screened with `--keep-fingerprints`; then the records of some patients change, spread over all of the data, and it is screened again: in full, and with `--since` the
first run. Both must give the same bytes, but for run.json and blocks.bin. Measured are CPU seconds of whole processes, several times in turn, and what a run of no patients takes, which is no less
for a night without changes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from pathlib import Path

from tests.benchmarks.cohorts import Options, write
from tests.benchmarks.kills import differences, digests
from tests.benchmarks.processes import Measured, last_core, measure
from tests.benchmarks.runners import CRITERIA, ROOT, bench_folder, screen_command

CHANGED = ("Patient", "ImagingStudy", "Observation", "Procedure")
"""The types of which all records of a patient change."""
OWN = ("run.json", "blocks.bin")
"""Outputs that tell how a run went."""


def change(folder: Path, form: str, every: int) -> int:
    """Change the records of each patient whose number is divisible; gives how many patients these are."""
    changed = 0
    for path in sorted(folder.rglob("*.json" if form == "bundles" else "*.ndjson")):
        if form == "bundles":
            bundle = json.loads(path.read_bytes())
            names = {_patient(entry["resource"]) for entry in bundle["entry"]} - {None}
            if not any(_is_changed(name, every) for name in names):
                continue
            changed += 1
            for entry in bundle["entry"]:
                if entry["resource"]["resourceType"] in CHANGED:
                    _alter(entry["resource"])
            path.write_text(json.dumps(bundle, separators=(",", ":")))
        elif path.name.partition(".")[0] in CHANGED:
            lines = path.read_bytes().splitlines()
            for number, line in enumerate(lines):
                resource = json.loads(line)
                if _is_changed(_patient(resource), every):
                    changed += resource["resourceType"] == "Patient"
                    _alter(resource)
                    lines[number] = json.dumps(resource, separators=(",", ":")).encode()
            path.write_bytes(b"\n".join(lines) + b"\n")
    return changed


def _patient(resource: dict[str, object]) -> str | None:
    """The id of the patient that a resource is about."""
    if resource["resourceType"] == "Patient":
        return str(resource["id"])
    about = resource.get("subject") or resource.get("patient")
    return str(about["reference"]).removeprefix("Patient/") if isinstance(about, dict) else None


def _is_changed(name: str | None, every: int) -> bool:
    digits = "".join(filter(str.isdigit, name or ""))
    return bool(digits) and int(digits) % every == 0


def _alter(resource: dict[str, object]) -> None:
    resource["language"] = "en"


def run(command: list[str], out: Path) -> Measured:
    """A run into a new folder. Raises RuntimeError where it fails."""
    shutil.rmtree(out, ignore_errors=True)
    done = measure(command, cwd=ROOT, core=last_core())
    if done.status:
        raise RuntimeError(done.error)
    return done


def night(form: str, patients: int, percent: float, rule: str, runs: int) -> int:
    """One night; gives 1 where the results differ."""
    folder, results = bench_folder() / f"nights-{form}-{patients}", bench_folder() / "results"
    shutil.rmtree(folder, ignore_errors=True)
    write(folder, Options(patients, 1, form))
    criteria, none = CRITERIA / rule, bench_folder() / "nights-one"
    shutil.rmtree(none, ignore_errors=True)
    write(none, Options(1, 1, form, small=True))
    first, full, since = (results / f"{folder.name}-{name}" for name in ("first", "full", "since"))
    kept = run(screen_command(criteria, folder, first, more=["--keep-fingerprints"]), first)
    plain = [run(screen_command(criteria, folder, full), full).cpu for _ in range(runs)]
    changed = change(folder, form, round(100 / percent))
    taken, whole, least = [], [], []
    for _ in range(runs):
        whole.append(run(screen_command(criteria, folder, full, more=["--keep-fingerprints"]), full).cpu)
        taken.append(run(screen_command(criteria, folder, since, more=["--since", str(first)]), since).cpu)
        least.append(run(screen_command(criteria, none, results / "nights-none"), results / "nights-none").cpu)
    record = json.loads((since / "run.json").read_bytes())["since"]
    median = statistics.median
    start, all_of_it, some = median(least), median(whole), median(taken)
    print(f"\n{form}, {patients:,} patients, {changed:,} of them changed; {record['taken']:,} taken over; {rule}")
    print(
        f"full run            {median(plain):8.2f} CPU s;  with --keep-fingerprints {kept.cpu:.2f} and {all_of_it:.2f}"
    )
    print(f"--since             {some:8.2f} CPU s,  {some / median(plain):.0%} of a full run")
    print(
        f"without the start   {some - start:8.2f} CPU s,  {(some - start) / (median(plain) - start):.0%} (a run of one patient takes {start:.2f})"
    )
    different = [one for one in differences(digests(full), digests(since)) if not any(name in one for name in OWN)]
    print("the outputs are the same" if not different else f"the outputs differ: {different}")
    return int(bool(different))


def main(arguments: list[str] | None = None) -> int:
    """Make, run, and print."""
    out = argparse.ArgumentParser(prog="python -m tests.benchmarks.nights", description=__doc__)
    out.add_argument("--patients", type=int, default=20_000, help="size of the cohorts (default 20000)")
    out.add_argument("--changed", type=float, default=1.0, help="percent of the patients that change (default 1)")
    out.add_argument("--runs", type=int, default=3, help="runs of each, of which the median is taken (default 3)")
    out.add_argument("--form", choices=("ndjson", "bundles"), action="append", help="only this form of the cohort")
    out.add_argument("--rule", choices=("fhirpath", "cql"), default="fhirpath", help="the form of the criteria")
    options = out.parse_args(arguments)
    forms = options.form or ("ndjson", "bundles")
    return max(night(form, options.patients, options.changed, options.rule, options.runs) for form in forms)


if __name__ == "__main__":
    sys.exit(main())
