"""`python -m tests.benchmarks.kills --size 2GB --kills 10`: runs that are killed at random moments and resumed, against one that is not.

A cohort is screened undisturbed; then again, killed (SIGKILL, all its processes) after a random part of the time that the first run took, and
resumed with `--resume`, as often as `--kills` says, each time from an empty folder; then once more with all kills in one run. Every file
of the results must be the same byte for byte, but for `run.json`, where the times and the folder differ.

`--kills 0` is the undisturbed run alone: its time, and the peak memory of all its processes together. `--memory` is handed on to the command,
`--small --patients 1000000` are a million patients of about 1.3 kB.

With `--require-images` images count only where an archive holds them: Orthanc, which is started, and holds nine of ten studies of the cohort, of some not all series.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any

from tests.benchmarks.cohorts import Options, size_of, write
from tests.benchmarks.dicomweb import instance_file
from tests.benchmarks.processes import measure
from tests.benchmarks.runners import CRITERIA, ROOT, bench_folder, options_of_screen, screen_command
from tests.imaging.orthanc import PLUGIN, PROGRAM, Orthanc

RECORD = "run.json"
FEW = 2
"""Series of a study, and instances of a series, where an archive holds them."""
# What a run says of itself and not of the data.
VOLATILE = frozenset({"started", "finished", "seconds", "resumed", "rate"})


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of some results, hidden ones left out; of run.json without what a run says of itself."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or name.startswith("."):
            continue
        raw = json.dumps(steady(json.loads(path.read_bytes()))).encode() if name == RECORD else path.read_bytes()
        found[name] = hashlib.sha256(raw).hexdigest()
    return found


def steady(value: Any) -> Any:
    """A run record without times and the like."""
    if isinstance(value, dict):
        return {key: steady(item) for key, item in value.items() if key not in VOLATILE}
    return [steady(item) for item in value] if isinstance(value, list) else value


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """The names of files that are missing, too many, or not the same."""
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def killed_after(command: Sequence[str], seconds: float) -> bool:
    """Run a command and kill it and all that it started after so long. Whether it was still running."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, cwd=ROOT, start_new_session=True, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        end = monotonic() + seconds
        while process.poll() is None and monotonic() < end:
            sleep(min(0.002, max(0.0, end - monotonic())))
        if process.poll() is not None:
            if process.returncode != 0:
                said.seek(0)
                raise RuntimeError(f"status {process.returncode}: {said.read().decode('utf-8', 'replace')[-1000:]}")
            return False
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def disturbed(command: Sequence[str], out: Path, moments: Sequence[float]) -> tuple[int, float]:
    """Screen into an empty folder, killed once at each moment (seconds from its start) and resumed; how often that was in time, and the seconds
    of the last run. Raises RuntimeError where a run fails."""
    shutil.rmtree(out, ignore_errors=True)
    in_time = 0
    resumed = [*command]
    for moment in moments:
        in_time += killed_after(resumed, moment)
        resumed = [*command, "--resume"]
    begun = perf_counter()
    last = subprocess.run(resumed, cwd=ROOT, capture_output=True, text=True, check=False)
    if last.returncode != 0:
        raise RuntimeError(f"status {last.returncode}: {last.stderr[-1000:]}")
    return in_time, perf_counter() - begun


def with_few_images(folder: Path) -> Path:
    """A cohort beside another, the same but for its studies, which have few series and instances each."""
    thin = folder.with_name(f"{folder.name}-few-images")
    if thin.is_dir():
        return thin
    shutil.copytree(folder, part := thin.with_name(f"{thin.name}.part"))
    lines = []
    for study in map(json.loads, (folder / "ImagingStudy.ndjson").read_bytes().splitlines()):
        study["series"] = [
            {**one, "instance": one["instance"][:FEW], "numberOfInstances": FEW} for one in study["series"][:FEW]
        ]
        lines.append(json.dumps({**study, "numberOfSeries": FEW, "numberOfInstances": FEW * FEW}) + "\n")
    (part / "ImagingStudy.ndjson").write_text("".join(lines), "utf-8")
    return part.rename(thin)


@contextlib.contextmanager
def archive_of(folder: Path) -> Iterator[Orthanc]:
    """Orthanc with nine of ten studies of a cohort, every fourth of them without its first series."""
    with tempfile.TemporaryDirectory() as place:
        orthanc = Orthanc(Path(place))
        orthanc.start()
        try:
            for number, study in enumerate(map(json.loads, (folder / "ImagingStudy.ndjson").read_bytes().splitlines())):
                uid, who = study["identifier"][0]["value"].removeprefix("urn:oid:"), study["subject"]["reference"]
                for one in study["series"][number % 4 == 2 :] if number % 10 != 7 else ():
                    for instance in one["instance"]:
                        orthanc.request("POST", "/instances", instance_file(uid, one["uid"], instance["uid"], who[8:]))
            yield orthanc
        finally:
            orthanc.stop()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.kills", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    out.add_argument("--size", type=size_of, default=size_of("2GB"), help="size of the cohort (default 2GB)")
    out.add_argument("--patients", type=int, help="number of patients, instead of a size")
    out.add_argument("--small", action="store_true", help="patients of about 1.3 kB")
    out.add_argument("--form", choices=("ndjson", "bundles"), default="ndjson")
    out.add_argument("--scatter", action="store_true", help="resources of a patient over all files, in random order")
    out.add_argument("--rule", choices=("fhirpath", "cql"), default="fhirpath")
    out.add_argument("--kills", type=int, default=10)
    out.add_argument("--seed", type=int, default=1, help="of the cohort and of the moments (default 1)")
    out.add_argument("--jobs", type=int, default=2)
    out.add_argument("--require-images", action="store_true", help="images count only where an archive holds them")
    out.add_argument("--memory", help="bound that is handed to the command; its peak memory is printed")
    return out


def main(arguments: list[str] | None = None) -> int:
    """Run, kill, resume, compare; 1 where anything differs."""
    given = parser().parse_args(arguments)
    if given.require_images and not (Path(PROGRAM).exists() and PLUGIN.exists()):
        print("skipped: Orthanc with its DICOMweb plug-in is not installed (apt-get install orthanc orthanc-dicomweb)")
        return 0
    used = [option for option, value in (("--resume", given.kills), ("--memory", given.memory)) if value]
    lacking = [option for option in used if option not in options_of_screen()]
    if lacking:
        print(f"skipped: eligibility screen has no {' and no '.join(lacking)}")
        return 0
    wanted = Options(1, given.seed, given.form, small=given.small, scatter=given.scatter)
    wanted = replace(wanted, patients=given.patients or max(1, round(given.size / wanted.target)))
    kind = given.form + "-small" * given.small + "-scattered" * given.scatter
    folder = bench_folder() / f"{kind}-{wanted.patients}-{given.seed}"
    if not folder.is_dir():
        print(f"making {folder}", flush=True)
        bench_folder().mkdir(parents=True, exist_ok=True)
        write(folder, wanted)
    more = ["--memory", given.memory] if given.memory else []
    if not given.require_images:
        return killed_runs(given, folder, wanted.patients, more)
    folder = with_few_images(folder)
    with archive_of(folder) as orthanc:
        studies = len(json.loads(orthanc.request("GET", "/studies")))
        print(f"Orthanc holds {studies:,} studies", flush=True)
        more += ["--require-images", "--dicomweb", orthanc.url, "--ignore-endpoints"]
        return killed_runs(given, folder, wanted.patients, more)


def killed_runs(given: argparse.Namespace, folder: Path, patients: int, more: list[str]) -> int:
    """Screen a cohort undisturbed, and killed and resumed; 1 where anything differs."""
    results = bench_folder() / "kills"
    whole, again = results / "undisturbed", results / "killed"
    shutil.rmtree(results, ignore_errors=True)
    command = screen_command(CRITERIA / given.rule, folder, whole, jobs=given.jobs, more=more)
    undisturbed = measure(command, cwd=ROOT)
    if undisturbed.status != 0:
        print(f"the undisturbed run failed: {undisturbed.error[-1000:]}", file=sys.stderr)
        return 1
    print(
        f"{patients:,} patients undisturbed: {undisturbed.wall:.1f} s, {undisturbed.cpu:.1f} CPU s, "
        f"peak {undisturbed.peak / 1e6:.0f} MB{f' under --memory {given.memory}' if given.memory else ''}",
        flush=True,
    )
    expected = digests(whole)
    chance = random.Random(given.seed)
    moments = sorted(undisturbed.wall * chance.uniform(0.005, 0.98) for _ in range(given.kills))
    trials = [[moment] for moment in moments]
    if given.kills > 1:
        trials.append([undisturbed.wall * chance.uniform(0.05, 0.4) for _ in range(given.kills)])
    bad = 0
    for trial in trials:
        command = screen_command(CRITERIA / given.rule, folder, again, jobs=given.jobs, more=more)
        when = ", ".join(f"{moment:.1f}" for moment in trial)
        try:
            in_time, seconds = disturbed(command, again, trial)
        except RuntimeError as error:
            print(f"killed at {when} s: FAILED: {error}", flush=True)
            bad += 1
            continue
        unlike = differences(expected, digests(again))
        bad += bool(unlike)
        late = f" ({len(trial) - in_time} too late to interrupt it)" if in_time < len(trial) else ""
        said = f"DIFFERENT: {', '.join(unlike)}" if unlike else "the same bytes"
        print(f"killed at {when} s{late}, resumed in {seconds:.1f} s: {said}", flush=True)
    if not trials:
        return 0
    print(f"{len(trials) - bad} of {len(trials)} resumed runs equal the undisturbed one")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
