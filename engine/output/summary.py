"""`summary.csv`: one row a patient and artifact, one column a criterion; opens in a spreadsheet as it is."""

from __future__ import annotations

import csv
import re
from typing import IO

from engine.evaluation.verdict import Verdict

FIXED = ("patient", "artifact", "verdict", "deciding", "reasons", "studies")

# What makes a cell one that has to stand in quotes, besides a comma.
_QUOTED = re.compile(r'["\r\n]')


def safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe is put before `=`, `+`, `-`, `@`, tab and return."""
    return "'" + text if text[:1] in "=+-@\t\r" and text else text


class SummaryWriter:
    """Writes rows as verdicts come; the columns of criteria are those of the rule sets, known beforehand."""

    def __init__(self, stream: IO[str], criteria: list[tuple[str, str, str]]) -> None:
        """`criteria` are (artifact, criterion id, title) in order."""
        self._stream = stream
        self._rows = csv.writer(stream, lineterminator="\r\n")
        self._columns = [(artifact, identifier) for artifact, identifier, _ in criteria]
        several = len({artifact for artifact, _, _ in criteria}) > 1
        titles = [f"{artifact.rpartition('/')[2]}: {title}" if several else title for artifact, _, title in criteria]
        self._rows.writerow([*FIXED, *map(safe, titles)])

    def write(self, verdict: Verdict) -> None:
        """One row."""
        outcomes = {criterion.id: criterion.outcome for criterion in verdict.criteria}
        reasons = [f"{c.id}: {c.reason}" for c in verdict.criteria if c.reason is not None]
        studies = [link.study for link in verdict.imaging if link.role == "met" and link.study]
        row = [
            safe(verdict.patient),
            safe(verdict.artifact),
            verdict.verdict,
            safe("; ".join(verdict.deciding)),
            safe("; ".join(reasons)) if reasons else "",
            safe(" ".join(dict.fromkeys(studies))) if studies else "",
        ]
        for artifact, identifier in self._columns:
            row.append(outcomes.get(identifier, "") if artifact == verdict.artifact else "")
        line = ",".join(row)
        if line.count(",") == len(row) - 1 and not _QUOTED.search(line):
            self._stream.write(line + "\r\n")
        else:
            self._rows.writerow(row)
