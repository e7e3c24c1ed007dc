"""The peers' answers beside ours, criterion by criterion, with the reason that we give where we say that it is unknown."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CRITERIA = ("biopsy", "images", "psa")
_TRUTH = {"met": True, "not met": False}


@dataclass(slots=True)
class Comparison:
    """Counts of a peer's answers: the same, and otherwise by what differs, each with one example."""

    same: int = 0
    missing: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    differences: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The comparison in words."""
        total = self.same + self.missing + self.differences.total()
        out = [f"{self.same:,} of {total:,} answers are the same"]
        if self.missing:
            out.append(f"{self.missing:,} are missing")
        out += [f"{n:6,}  {what}; such as {self.examples[what]}" for what, n in self.differences.most_common()]
        out += [f"{n:6,}  thrown: {what}" for what, n in self.errors.most_common(3)]
        return out


def verdicts(folder: Path) -> dict[str, dict[str, Any]]:
    """Our verdicts by patient id, from a folder of results."""
    found = {}
    with (folder / "verdicts.ndjson").open("rb") as stream:
        for line in stream:
            verdict = json.loads(line)
            found[verdict["patient"].rpartition("/")[2]] = verdict
    return found


def answers(path: Path) -> dict[str, dict[str, Any]]:
    """A peer's answers by patient id."""
    with path.open("rb") as stream:
        return {row["patient"]: row for row in map(json.loads, stream)}


def compare(ours: dict[str, dict[str, Any]], theirs: dict[str, dict[str, Any]]) -> Comparison:
    """Every criterion of every patient."""
    out = Comparison()
    for patient, verdict in ours.items():
        row = theirs.get(patient)
        if row is not None and "error" in row:
            out.errors[row["error"]] += 1
        for criterion in verdict["criteria"]:
            key = criterion["id"]
            if row is None:
                out.missing += 1
                continue
            said = row[key]
            if said == _TRUTH.get(criterion["outcome"]):
                out.same += 1
                continue
            why = f" ({criterion['reason']})" if criterion["outcome"] == "unknown" else ""
            what = f"{key}: {criterion['outcome']}{why} here, {json.dumps(said)} there"
            out.differences[what] += 1
            out.examples.setdefault(what, f"{patient}{seen(criterion)}")
    return out


def seen(criterion: dict[str, Any]) -> str:
    """The values and dates of the evidence behind a criterion, in short."""
    parts = []
    for evidence in criterion.get("evidence", ())[:2]:
        value = " ".join(filter(None, (evidence.get("value"), evidence.get("unit"))))
        parts.append(", ".join(filter(None, (evidence["resource"].partition("/")[0], value, evidence.get("date")))))
    detail = criterion.get("detail")
    return (f" ({'; '.join(parts)})" if parts else "") + (f": {detail}"[:160] if detail else "")
