"""The commands that the screening benchmark runs: this program, the floor, and the peers with where they are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.benchmarks.processes import Measured

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
CRITERIA = HERE / "criteria"
NOW = "2026-06-01T00:00:00+00:00"
NEEDED = ("Patient", "Procedure", "Observation", "ImagingStudy")
"""The types that the criteria read."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another program: the interpreter and the arguments before FORM FOLDER OUT, those after them, and a word where it is not there."""

    name: str
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    missing: str | None = None
    note: str = ""
    """Why its answers differ, as far as the criteria had to be written otherwise for it or it is known to differ."""

    def arguments(self, form: str, folder: Path, out: Path) -> list[str]:
        """The whole command."""
        return [*self.command, form, str(folder), str(out), *self.after]


def bench_folder() -> Path:
    """Where cohorts and results go: BENCH_DIR, else build/bench."""
    return Path(os.environ.get("BENCH_DIR") or ROOT / "build" / "bench").resolve()


def peers_folder() -> Path:
    """Where the peers are installed: BENCH_PEERS_DIR, else a folder beside the cohorts."""
    return Path(os.environ.get("BENCH_PEERS_DIR") or bench_folder() / "peers").resolve()


def install_peers() -> None:
    """Run peers/setup.sh, which says what cannot be installed."""
    subprocess.run(["sh", str(HERE / "peers" / "setup.sh"), str(peers_folder())], check=False)


@cache
def options_of_screen() -> str:
    """What `eligibility screen --help` says."""
    command = [sys.executable, "-m", "fhir_eligibility.ui.commands.cli", "screen", "--help"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout


def screen_command(criteria: Path, data: Path, out: Path, *, jobs: int = 1, more: Sequence[str] = ()) -> list[str]:
    """This program over a cohort. `--jobs` is left out where the command does not know it."""
    command = [
        sys.executable,
        "-m",
        "fhir_eligibility.ui.commands.cli",
        "screen",
        str(criteria),
        "--data",
        str(data),
        "--out",
        str(out),
    ]
    command += ["--libraries", str(CRITERIA / "cql"), "--now", NOW, "--quiet", *more]
    return [*command, "--jobs", str(jobs)] if "--jobs" in options_of_screen() else command


def floor_command(form: str, data: Path, *, needed: bool = False) -> list[str] | None:
    """`orjson.loads` over the cohort, of an export only over the types that are needed if so wanted; None where orjson is not installed."""
    python = peers_folder() / "floor" / "bin" / "python"
    if not (peers_folder() / "floor" / ".installed").exists():
        return None
    return [str(python), str(HERE / "peers" / "floor.py"), form, str(data), *(NEEDED if needed else ())]


def by_hand_command(form: str, data: Path, out: Path) -> list[str]:
    """The criteria as a program of their own over the cohort."""
    return [sys.executable, "-m", "tests.benchmarks.by_hand", form, str(data), str(out)]


def peers() -> list[Peer]:
    """All peers, installed or not."""
    folder, here, library = peers_folder(), HERE / "peers", str(CRITERIA / "cql" / "Screening.cql")
    node, script = shutil.which("node"), folder / "cql-execution" / "cql_execution.mjs"
    missing = _missing(folder / "cql-execution") if node else "node is not there"
    if missing is None:
        script.write_bytes((here / "cql_execution.mjs").read_bytes())
    return [
        Peer(
            "fhirpathpy",
            (str(folder / "fhirpathpy" / "bin" / "python"), str(here / "fhirpathpy_peer.py")),
            (),
            _missing(folder / "fhirpathpy"),
            "it compares no FHIR Quantity: the units are written out for it, by their codes, and a comparator is not looked at",
        ),
        Peer(
            "fhir4ds",
            (str(folder / "fhir4ds" / "bin" / "python"), str(here / "fhir4ds_peer.py")),
            (library,),
            _missing(folder / "fhir4ds"),
            "it compares dates as text, converts no units, and does not look at a comparator",
        ),
        Peer(
            "cql-execution",
            (node or "node", str(script)),
            (library, str(here / "FHIRHelpers.cql")),
            missing,
            "plain CQL: what cannot be decided is dropped, which makes it false",
        ),
    ]


def setup_of(measured: Measured) -> tuple[float, float]:
    """Wall and CPU seconds that a peer says it took before it read anything."""
    for line in measured.output.splitlines():
        if line.startswith('{"setup"'):
            said = json.loads(line)
            return float(said["setup"]), float(said["setup_cpu"])
    return 0.0, 0.0


def _missing(folder: Path) -> str | None:
    return None if (folder / ".installed").exists() else f"it is not installed in {folder}"
