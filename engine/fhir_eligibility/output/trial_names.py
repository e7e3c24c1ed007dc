"""Names of files by trial: told from the trial's own name and version alone, so that they stay the same whatever else is screened with it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

LONGEST = 60
_DIGITS = 8
_OTHER = re.compile(r"[^A-Za-z0-9.-]+")


def trial_names(keys: Sequence[str]) -> list[str]:
    """A name for each of some trials, given by `url|version`: readable words, and digits of a hash that keep trials of the same words apart.

    They hold ASCII letters, digits, `.` and `-`, which every file system takes, and differ in more than capitals.
    """
    found = [_name(key, _DIGITS) for key in keys]
    often = Counter(name.lower() for name in found)
    return [name if often[name.lower()] == 1 else _name(key, 64) for key, name in zip(keys, found, strict=True)]


def _name(key: str, digits: int) -> str:
    name, _, version = key.partition("|")
    words = _OTHER.sub("-", f"{name.rstrip('/').rpartition('/')[2]}-{version}")[:LONGEST].strip(".-")
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:digits]
    return f"{words}-{digest}" if words else digest
