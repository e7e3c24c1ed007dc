"""Thresholds of a run: how many patients there must be, and how many may be undetermined or how many problems the data may have."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from fhir_eligibility.ui.options.argument_types import COUNT, LIMIT, Limit


class ArtifactOutcome(NamedTuple):
    """What a run came to for one artifact."""

    name: str
    patients: int
    undetermined: int


def add_threshold_options(group: Any, undetermined: bool = True) -> None:
    """`--max-undetermined`, `--min-patients` and `--max-problems`."""
    if undetermined:
        group.add_argument(
            "--max-undetermined",
            type=LIMIT,
            metavar="N|N%",
            help="exit with 5 where more patients of an artifact are undetermined, a count or a share such as 2%%",
        )
    group.add_argument("--min-patients", type=COUNT, metavar="N", help="exit with 5 where there are fewer patients")
    group.add_argument(
        "--max-problems", type=COUNT, metavar="N", help="exit with 5 where the data has more problems that are errors"
    )


def exceeded(
    options: argparse.Namespace, patients: int, problems: int, judged: Iterable[ArtifactOutcome]
) -> Iterator[str]:
    """A sentence for each threshold that is exceeded: which, what was found, what was allowed."""
    least: int | None = options.min_patients
    if least is not None and patients < least:
        yield f"--min-patients {least}: there {_counted(patients, 'patient', verb=True)}"
    most: int | None = options.max_problems
    if most is not None and problems > most:
        yield f"--max-problems {most}: the data has {_counted(problems, 'problem')}"
    limit: Limit | None = vars(options).get("max_undetermined")
    for one in judged if limit is not None else ():
        if limit is not None and limit.exceeded(one.undetermined, one.patients):
            share = f" ({100 * one.undetermined / one.patients:.3g}%)" if one.patients else ""
            yield (
                f"--max-undetermined {limit}: {one.undetermined:,} of {one.patients:,} patients{share} are undetermined "
                f"in {one.name}"
            )


def _counted(count: int, noun: str, *, verb: bool = False) -> str:
    be = ("is " if count == 1 else "are ") if verb else ""
    return f"{be}{count:,} {noun}{'' if count == 1 else 's'}"
