"""`python -m tests.benchmarks.screening`: screening a cohort beside `orjson.loads` over the same bytes and beside the peers.

The cohorts are made by `tests.benchmarks.cohorts` in BENCH_DIR (build/bench), the peers installed by `peers/setup.sh` in BENCH_PEERS_DIR, once.
Everything is measured as a whole process, output included, several times in turn, and the median is taken. The machine may be shared: CPU
seconds stand beside the wall clock, and the ratios are of the CPU seconds. Peers are slow, so they get a cohort of the first patients, and
what they need to start is taken off their time (not off ours).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks import synthea
from tests.benchmarks.answers import answers, compare, verdicts
from tests.benchmarks.cohorts import Options, write
from tests.benchmarks.processes import Measured, last_core, measure
from tests.benchmarks.runners import (
    CRITERIA,
    ROOT,
    Peer,
    bench_folder,
    by_hand_command,
    floor_command,
    install_peers,
    options_of_screen,
    peers,
    screen_command,
    setup_of,
)

RULES = ("fhirpath", "cql")
LIMITS = (
    "to reach on one core: at most 0.5 times orjson.loads; two cores at least 1.8 times one; 20 times the fastest peer"
)


@dataclass(slots=True)
class Cohort:
    """A folder of patients in one form."""

    title: str
    form: str
    folder: Path
    patients: int
    bytes: int


@dataclass(slots=True)
class Row:
    """One command on one cohort, and its runs."""

    title: str
    cohort: Cohort
    command: list[str]
    out: Path | None = None
    core: int | None = None
    runs: list[Measured] = field(default_factory=list)

    def median(self, of: Callable[[Measured], float]) -> float:
        """The median of the runs."""
        return statistics.median(map(of, self.runs))

    @property
    def wall(self) -> float:
        """Median wall seconds."""
        return self.median(lambda run: run.wall)

    @property
    def cpu(self) -> float:
        """Median CPU seconds."""
        return self.median(lambda run: run.cpu)

    @property
    def failed(self) -> str | None:
        """What the command said where it failed."""
        bad = [run for run in self.runs if run.status != 0]
        return (bad[0].error.strip() or f"status {bad[0].status}").splitlines()[-1][:200] if bad else None

    def net(self) -> tuple[float, float]:
        """Median wall and CPU seconds without what a peer says it took to start."""
        return (
            statistics.median(run.wall - setup_of(run)[0] for run in self.runs),
            statistics.median(run.cpu - setup_of(run)[1] for run in self.runs),
        )


def cohort(form: str, patients: int, seed: int) -> Cohort:
    """A cohort of ours, made unless it is there."""
    folder = bench_folder() / f"{form}-{patients}-{seed}"
    if not folder.is_dir():
        print(f"making {folder}", flush=True)
        write(folder, Options(patients, seed, form))
    return Cohort(f"{form}, {patients:,} patients", form, folder, patients, size(folder))


def synthea_cohorts(number: int) -> list[Cohort]:
    """The rows of Synthea's records; none, with a word, where they cannot be had."""
    try:
        files = synthea.fetch(bench_folder() / "synthea")
    except OSError as error:
        print(f"skipped: Synthea's records ({error})")
        return []
    out = []
    for form, make in (("bundles", synthea.write_bundles), ("ndjson", synthea.write_ndjson)):
        folder = bench_folder() / f"synthea-{form}-{number}"
        if not folder.is_dir():
            print(f"making {folder} from {synthea.SOURCE}", flush=True)
            make(files, folder, number)
        patients = number * len(files)
        out.append(Cohort(f"Synthea {form}, {patients:,} patients", form, folder, patients, size(folder)))
    return out


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def floors(found: Cohort, core: int) -> list[Row]:
    """orjson.loads over all bytes, and of an export also over the types that the criteria read; the criteria written by hand."""
    rows = []
    for needed, title in ((False, "orjson.loads"), (True, "orjson.loads, needed types")):
        command = floor_command(found.form, found.folder, needed=needed)
        if command is not None and (not needed or found.form == "ndjson"):
            rows.append(Row(title, found, command, core=core))
    if not found.title.startswith("Synthea"):
        out = bench_folder() / "results" / f"{found.folder.name}-by-hand.ndjson"
        rows.append(Row("by hand", found, by_hand_command(found.form, found.folder, out), out, core))
    return rows


def ours(found: Cohort, rules: Sequence[str], core: int) -> list[Row]:
    """This program with each form of the criteria, on one core and on two."""
    rows = []
    for rule in rules:
        for jobs in (1, 2) if "--jobs" in options_of_screen() else (1,):
            out = bench_folder() / "results" / f"{found.folder.name}-{rule}-{jobs}"
            command = screen_command(CRITERIA / rule, found.folder, out, jobs=jobs)
            rows.append(Row(f"{rule}, {jobs} core{'s' * (jobs > 1)}", found, command, out, core if jobs == 1 else None))
    return rows


def theirs(found: Cohort, installed: Sequence[Peer], core: int) -> list[Row]:
    """The peers."""
    rows = []
    for peer in installed:
        out = bench_folder() / "results" / f"{found.folder.name}-{peer.name}.ndjson"
        rows.append(Row(peer.name, found, peer.arguments(found.form, found.folder, out), out, core))
    return rows


def run(rows: Sequence[Row], runs: int, budget: float) -> None:
    """Run every row in turn, `runs` times, or as often as fits into `budget` seconds a row."""
    for number in range(runs):
        for row in rows:
            if number and (sum(one.wall for one in row.runs) > budget or row.failed):
                continue
            if row.out is not None and row.out.is_dir():
                shutil.rmtree(row.out)
            elif row.out is not None:
                row.out.parent.mkdir(parents=True, exist_ok=True)
            row.runs.append(measure(row.command, cwd=ROOT, core=row.core))
            print(f"  {row.cohort.title:32} {row.title:28} {row.runs[-1].wall:8.2f} s", file=sys.stderr, flush=True)


HEAD = f"{'':28} {'wall s':>8} {'CPU s':>8} {'patients/s':>11} {'MB/s':>8} {'peak MB':>8} {'of orjson':>10} {'of needed':>10}"


def table(rows: Sequence[Row]) -> None:
    """One cohort's rows: rates by the wall clock, ratios of CPU seconds to the floor's."""
    found = rows[0].cohort
    print(f"\n{found.title}, {found.bytes / 1e6:,.0f} MB\n{HEAD}")
    floor = {row.title: row.cpu for row in rows if row.title.startswith("orjson") and not row.failed}
    whole, needed = floor.get("orjson.loads"), floor.get("orjson.loads, needed types")
    one: dict[str, Row] = {}
    for row in rows:
        if row.failed:
            print(f"{row.title:28} failed: {row.failed}")
            continue
        ratios = [f"{row.cpu / base:10.2f}" if base else f"{'':10}" for base in (whole, needed)]
        peak = max(measured.peak for measured in row.runs) / 1e6
        line = f"{row.title:28} {row.wall:8.2f} {row.cpu:8.2f} {found.patients / row.wall:11,.0f} {found.bytes / 1e6 / row.wall:8.0f}"
        rule, _, cores = row.title.partition(", ")
        scaling = ""
        if cores == "1 core":
            one[rule] = row
        elif cores == "2 cores" and rule in one:
            scaling = f"  {one[rule].wall / row.wall:.2f} times one core"
        print(f"{line} {peak:8.0f} {' '.join(ratios)}{scaling}")


def against_peers(rows: Sequence[Row], big: Sequence[Row], notes: dict[str, str], said: dict[str, list[str]]) -> None:
    """How many times faster we are than each peer, a patient, and where its answers differ.

    `notes` say for each peer why; `said` keeps what was said of it, so that it is not said twice.
    """
    found = rows[0].cohort
    ran = {row.title: row for row in rows if row.runs}
    reference = {row.title: row for row in big if row.runs and not row.failed}
    own = reference.get("fhirpath, 1 core") or reference.get("cql, 1 core")
    print(f"\nPeers on {found.title}; net of what they take to start, a patient")
    print(f"{'':16} {'wall ms':>9} {'CPU ms':>9} {'start s':>8} {'peak MB':>8} {'times ours, wall':>17} {'CPU':>8}")
    for row in (row for row in ran.values() if row.title not in reference and not row.title.startswith("orjson")):
        if row.failed:
            print(f"{row.title:16} failed: {row.failed}")
            continue
        wall, cpu = (1000 * seconds / found.patients for seconds in row.net())
        start = statistics.median(setup_of(one)[0] for one in row.runs)
        peak = max(one.peak for one in row.runs) / 1e6
        ratios = ""
        if own is not None:
            ratios = f"{wall / (1000 * own.wall / own.cohort.patients):17.1f} {cpu / (1000 * own.cpu / own.cohort.patients):8.1f}"
        print(f"{row.title:16} {wall:9.3f} {cpu:9.3f} {start:8.1f} {peak:8.0f} {ratios}")
    base = next((row for row in ran.values() if row.title == "fhirpath, 1 core" and not row.failed), None)
    if base is None or base.out is None:
        return
    mine = verdicts(base.out)
    for row in ran.values():
        if row.title in reference or row.failed or row.out is None or not row.out.exists():
            continue
        lines = compare(mine, answers(row.out)).lines()
        if said.get(row.title) == lines:
            print(f"\nanswers of {row.title} on {found.title}: the same")
            continue
        said[row.title] = lines
        print(f"\nanswers of {row.title} on {found.title} ({notes[row.title]}):")
        print("\n".join(f"  {line}" for line in lines))


def load_average() -> str:
    """How many processes wanted to run of late: where it is more than there are cores, the wall clock says little."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.screening",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    out.add_argument("--patients", type=int, default=20_000, help="size of the cohorts (default 20000)")
    out.add_argument("--peer-patients", type=int, default=1000, help="size of the peers' (default 1000; 0: no peers)")
    out.add_argument(
        "--synthea", type=int, default=300, help="copies of each of Synthea's records (default 300; 0: none)"
    )
    out.add_argument("--seed", type=int, default=1)
    out.add_argument("--runs", type=int, default=3, help="runs of each, of which the median is taken (default 3)")
    out.add_argument(
        "--budget", type=float, default=60.0, help="seconds after which a row is not run again (default 60)"
    )
    out.add_argument("--form", choices=("bundles", "ndjson"), action="append", help="only this form of the cohort")
    out.add_argument("--rule", choices=RULES, action="append", help="only this form of the criteria")
    return out


def main(arguments: list[str] | None = None) -> int:
    """Make, install, run, and print."""
    options = parser().parse_args(arguments)
    bench_folder().mkdir(parents=True, exist_ok=True)
    install_peers()
    core, rules, forms = last_core(), options.rule or RULES, options.form or ("bundles", "ndjson")
    installed = [peer for peer in peers() if peer.missing is None] if options.peer_patients else []
    for peer in peers() if options.peer_patients else ():
        if peer.missing is not None:
            print(f"skipped: {peer.name} ({peer.missing})")
    found = [cohort(form, options.patients, options.seed) for form in forms]
    if options.synthea:
        found += [one for one in synthea_cohorts(options.synthea) if one.form in forms]
    big = [[*floors(one, core), *ours(one, rules, core)] for one in found]
    small = []
    for form in forms if installed else ():
        one = cohort(form, options.peer_patients, options.seed)
        small.append([*ours(one, rules[:1], core)[:1], *theirs(one, installed, core)])
    if floor_command("ndjson", ROOT) is None:
        print("skipped: the floor (orjson is not installed)")
    load = f"{os.cpu_count()} cores; load average at the beginning {load_average()}"
    run([row for rows in (*big, *small) for row in rows], options.runs, options.budget)
    print(f"{load}; at the end {load_average()}")
    print(f"criteria: a biopsy, MR images within the year before one, PSA of at least 3 ng/mL\n{LIMITS}")
    if options.synthea:
        print(f"Synthea's records: {synthea.SOURCE}, {options.synthea} copies of each")
    for rows in big:
        table(rows)
    notes, said = {peer.name: peer.note for peer in installed}, dict[str, list[str]]()
    for rows, reference in zip(small, big, strict=False):
        against_peers(rows, reference, notes, said)
    return 1 if any(row.failed for rows in big for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
