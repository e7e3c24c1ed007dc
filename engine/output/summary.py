"""`summary.csv`: one row a patient and artifact, one column a criterion; opens in a spreadsheet as it is."""

from __future__ import annotations

import csv
import io
import re

from engine.evaluation.verdict import Verdict

FIXED = ("patient", "artifact", "verdict", "deciding", "reasons", "studies")

# What makes a cell one that has to stand in quotes, besides a comma.
_QUOTED = re.compile(r'["\r\n]')


def safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe is put before `=`, `+`, `-`, `@`, tab and return."""
    return "'" + text if text[:1] in "=+-@\t\r" and text else text


def row_of(cells: list[str]) -> str:
    """A row with the end of its line; cells are in quotes where they have to be."""
    line = ",".join(cells)
    if line.count(",") == len(cells) - 1 and not _QUOTED.search(line):
        return line + "\r\n"
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\r\n").writerow(cells)
    return stream.getvalue()


class Summary:
    """Rows of verdicts; the columns of criteria are those of the rule sets, known beforehand."""

    def __init__(self, criteria: list[tuple[str, str, str]]) -> None:
        """`criteria` are (artifact, criterion id, title) in order."""
        self._columns = [(artifact, identifier) for artifact, identifier, _ in criteria]
        several = len({artifact for artifact, _, _ in criteria}) > 1
        titles = [f"{artifact.rpartition('/')[2]}: {title}" if several else title for artifact, _, title in criteria]
        self.header = row_of([*FIXED, *map(safe, titles)])

    def row(self, verdict: Verdict) -> str:
        """One row."""
        outcomes: dict[str, str] = {}
        reasons: list[str] = []
        for criterion in verdict.criteria:
            outcomes[criterion.id] = criterion.outcome
            if criterion.reason is not None:
                reasons.append(f"{criterion.id}: {criterion.reason}")
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
        return row_of(row)
