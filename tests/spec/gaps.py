"""The list of official tests that we do not meet, `gaps.toml`: read, checked, and held against results.

The list can only shrink honestly: a failure that is not in it and a pass that is both fail the build.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.spec.model import Report, Result

GAPS = Path(__file__).with_name("gaps.toml")
DECKS = Path(__file__).with_name("gaps-ecqm-files.toml")
"""The same for cases of measures whose deck is not what it is published for."""
KINDS = frozenset(("bug", "disputed", "invalid-test", "unsupported"))
_KEYS = frozenset(("suite", "test", "kind", "reason", "link"))


@dataclass(frozen=True, slots=True)
class Gap:
    """One test that we do not meet, and why."""

    suite: str
    test: str
    kind: str
    reason: str
    link: str


def load_gaps(*paths: Path) -> dict[tuple[str, str], Gap]:
    """The gaps by (suite, test). Raises ValueError for an entry that lacks a key, has a wrong kind, or stands twice."""
    gaps: dict[tuple[str, str], Gap] = {}
    for path in paths or (GAPS, DECKS):
        _load(path, gaps)
    return gaps


def _load(path: Path, gaps: dict[tuple[str, str], Gap]) -> None:
    for number, entry in enumerate(tomllib.loads(path.read_text(encoding="utf-8")).get("gap", []), 1):
        if set(entry) != _KEYS or not all(isinstance(value, str) and value for value in entry.values()):
            raise ValueError(f"{path.name}: gap {number} must have exactly {', '.join(sorted(_KEYS))}, none empty")
        gap = Gap(**entry)
        if gap.kind not in KINDS:
            raise ValueError(f"{path.name}: gap {number} has kind {gap.kind!r}, not one of {', '.join(sorted(KINDS))}")
        if (gap.suite, gap.test) in gaps:
            raise ValueError(f"{path.name}: {gap.suite} {gap.test} is listed twice")
        gaps[gap.suite, gap.test] = gap


def compare_with_gaps(suite: str, results: list[Result], gaps: Iterable[Gap]) -> Report:
    """Hold the results of a suite against the gaps that are listed for it."""
    listed = {gap.test for gap in gaps if gap.suite == suite}
    names = {result.name for result in results}
    return Report(
        suite,
        results,
        unlisted_failures=[r for r in results if not r.passed and r.name not in listed],
        unexpected_passes=[r for r in results if r.passed and r.name in listed],
        stale_gaps=sorted(listed - names),
    )
