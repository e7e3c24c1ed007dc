"""What the machine has: cores and memory, as far as this process may use them."""

from __future__ import annotations

import os
from pathlib import Path

_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_ELSEWHERE = 8 << 30  # where the system does not tell


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not every system has it
        return os.cpu_count() or 1


def machine_memory() -> int:
    """Memory of the machine, or of the container that this runs in, in bytes."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        whole = _ELSEWHERE
    for path in _LIMITS:
        try:
            whole = min(whole, int(path.read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return whole
