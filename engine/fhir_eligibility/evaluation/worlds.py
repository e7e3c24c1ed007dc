"""Which rows in doubt to keep together: every combination of a few, the telling ones of many."""

from __future__ import annotations

from itertools import combinations

from fhir_eligibility.evaluation.tracing import DoubtKey

EXHAUSTIVE = 6
"""Of so many rows every combination is tried."""


def choices(keys: list[DoubtKey]) -> list[frozenset[DoubtKey]]:
    """Which doubts to keep: all, every number of them, each alone, all but one; of few every combination."""
    everything = frozenset(keys)
    out = [everything, *(frozenset((key,)) for key in keys[:1])]
    out.extend(frozenset(keys[:size]) for size in range(2, len(keys)))
    out.extend(frozenset((key,)) for key in keys[1:])
    if len(keys) <= EXHAUSTIVE:
        for size in range(2, len(keys)):
            out.extend(frozenset(chosen) for chosen in combinations(keys, size))
    else:
        out.extend(everything - {key} for key in keys)
    return out
