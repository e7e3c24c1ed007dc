"""`summary.csv`: one row a patient and artifact, one column a criterion; opens in a spreadsheet as it is."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from fhir_eligibility.algebra.visible_text import visible
from fhir_eligibility.evaluation.verdict import Verdict

FIXED = ("patient", "artifact", "version", "verdict", "deciding", "reasons", "studies")

# What makes a cell one that has to stand in quotes, besides a comma.
_SIGNS = ("", *"=+-@\t\r\uff1d\uff0b\uff0d\uff20")
_FORMULA = re.compile(r"(?:^|(?<=[;\r\n]))(?=[=+\-@\t\r\uFF1D\uFF0B\uFF0D\uFF20])")
_QUOTED = re.compile(r'["\r\n]')


def safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe is put before `=`, `+`, `-`, `@` of any width, tab and return.

    They begin a cell also behind a semicolon or the end of a line, where the spreadsheet takes a semicolon for the end of a cell. What would steer
    a terminal that the table is shown on is shown instead (`visible`).
    """
    return visible(_defused(text))


def _defused(text: str) -> str:
    if text[:1] in _SIGNS or ";" in text or "\n" in text or "\r" in text:
        return _FORMULA.sub("'", text)
    return text


def row_of(cells: list[str]) -> str:
    """A row with the end of its line; cells are in quotes where they have to be."""
    line = ",".join(cells)
    if line.count(",") == len(cells) - 1 and not _QUOTED.search(line):
        return line + "\r\n"
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\r\n").writerow(cells)
    return stream.getvalue()


class Columns(NamedTuple):
    """The criteria of one artifact: their ids and titles, in order."""

    artifact: str
    version: str | None
    criteria: tuple[tuple[str, str], ...]


class Summary:
    """Rows of verdicts; the columns of criteria are those of the rule sets, known beforehand."""

    def __init__(self, artifacts: Sequence[Columns]) -> None:
        """`artifacts` are those of the run, in order; a row is of one of them."""
        titles: list[str] = []
        versions = Counter(one.artifact for one in artifacts)
        for one in artifacts:
            name = one.artifact.rpartition("/")[2]
            if versions[one.artifact] > 1 and one.version:
                name = f"{name}|{one.version}"
            titles += [f"{name}: {title}" if len(artifacts) > 1 else title for _, title in one.criteria]
        self.header = row_of([*FIXED, *map(safe, titles)])
        counts = [len(one.criteria) for one in artifacts]
        self._own = [[identifier for identifier, _ in one.criteria] for one in artifacts]
        self._around = [([""] * sum(counts[:n]), [""] * sum(counts[n + 1 :])) for n in range(len(artifacts))]
        self._names = [(safe(one.artifact), safe(one.version or "")) for one in artifacts]

    def row(self, verdict: Verdict, number: int) -> str:
        """One row, of the artifact with a number."""
        outcomes: dict[str, str] = {}
        reasons: list[str] = []
        for criterion in verdict.criteria:
            outcomes[criterion.id] = criterion.outcome
            if criterion.reason is not None:
                reasons.append(f"{criterion.id}: {criterion.reason}")
        studies = [link.study for link in verdict.imaging if link.role == "met" and link.study]
        before, after = self._around[number]
        return row_of(
            [
                safe(verdict.patient),
                *self._names[number],
                verdict.verdict,
                safe("; ".join(verdict.deciding)),
                safe("; ".join(reasons)) if reasons else "",
                safe(" ".join(dict.fromkeys(studies))) if studies else "",
                *before,
                *[outcomes.get(identifier, "") for identifier in self._own[number]],
                *after,
            ]
        )
