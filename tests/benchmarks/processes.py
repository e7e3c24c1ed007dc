"""Whole processes, measured: wall and CPU seconds, and the most memory that the process and its children held at one time."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

PAGE = resource.getpagesize()
EVERY = 0.25  # seconds between two looks at the memory, which is not free


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of a command. `cpu` is of the process and the children that it waited for; `peak` in bytes."""

    wall: float
    cpu: float
    peak: int
    status: int
    output: str
    error: str


def pinned(command: Sequence[str], core: int | None) -> list[str]:
    """The command on one core, where `taskset` is there and a core is given."""
    return ["taskset", "-c", str(core), *command] if core is not None and shutil.which("taskset") else list(command)


def last_core() -> int:
    """A core that this process may use: the last one."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def measure(
    command: Sequence[str], *, cwd: Path, core: int | None = None, environment: Mapping[str, str] | None = None
) -> Measured:
    """Run a command to its end. The peak is the larger of the process's own (`ru_maxrss`) and the sum over the tree, looked at 4 times a second."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        begun = perf_counter()
        process = subprocess.Popen(
            pinned(command, core), cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=error, env=environment
        )
        watch = _Watch(process.pid)
        watch.start()
        _, status, used = os.wait4(process.pid, 0)
        wall = perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.done.set()
        watch.join()
        texts = []
        for stream in (out, error):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "replace"))
    peak = max(used.ru_maxrss * 1024, watch.peak)
    return Measured(wall, used.ru_utime + used.ru_stime, peak, process.returncode, *texts)


class _Watch(threading.Thread):
    """Looks at the resident memory of a process and all below it."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.peak = 0
        self.done = threading.Event()

    def run(self) -> None:
        """Look until done."""
        while not self.done.wait(EVERY):
            found = family(self.pid)
            if len(found) > 1:  # of a process alone the system tells the peak by itself
                self.peak = max(self.peak, sum(map(_resident, found)))


def family(pid: int) -> list[int]:
    """A process and all that it started, by id; only the process itself where /proc does not tell."""
    found = [pid]
    for one in found:
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                found += map(int, Path(f"/proc/{one}/task/{task}/children").read_text().split())
        except (OSError, ValueError):
            continue
    return found


def _resident(pid: int) -> int:
    """Resident bytes; pages that processes share are counted with each of them in equal parts where /proc says so."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError, ValueError):
        return 0
