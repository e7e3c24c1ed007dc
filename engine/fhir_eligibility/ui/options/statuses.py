"""The exit statuses of the commands, as a scheduler reads them; `docs/verdicts.md` has them as a table."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class Status(IntEnum):
    """How a command ended. The members stand in the order of their numbers; `worst` says which one is told where several apply."""

    OK = 0
    """All is well; warnings do not change that."""
    INCOMPLETE = 1
    """Done, but the data is incomplete or there are problems with it."""
    FAILED = 2
    """Could not be carried out: wrong options, input that cannot be read, a full disk, an error of the program. Nothing is written."""
    CRITERIA_ERRORS = 3
    """Done, but some criteria, libraries or parts of a measure had errors: what they say is unknown, or left out."""
    NOTHING_SCREENED = 4
    """Nothing was screened; an earlier result in the folder stays."""
    THRESHOLD_EXCEEDED = 5
    """Done, but a threshold that was given is exceeded."""
    INTERRUPTED = 130
    """Interrupted by the user or by a signal."""


_ORDER = (
    Status.INTERRUPTED,
    Status.FAILED,
    Status.NOTHING_SCREENED,
    Status.CRITERIA_ERRORS,
    Status.THRESHOLD_EXCEEDED,
    Status.INCOMPLETE,
    Status.OK,
)


def worst(statuses: Iterable[Status]) -> Status:
    """The status that a command ends with where several apply; `OK` for none."""
    found = {*statuses, Status.OK}
    return next(status for status in _ORDER if status in found)


MEANINGS = {
    Status.OK: "all is well",
    Status.INCOMPLETE: "done, but the data is incomplete or there are problems with it",
    Status.FAILED: "could not be carried out: wrong options, input that cannot be read, a full disk; nothing is written",
    Status.CRITERIA_ERRORS: "done, but some criteria had errors (with --strict, or warnings): they are unknown, or were left out",
    Status.NOTHING_SCREENED: "nothing was screened; an earlier result in the folder stays",
    Status.THRESHOLD_EXCEEDED: "done, but a threshold that was given is exceeded",
    Status.INTERRUPTED: "interrupted",
}
OF_TEXT = (Status.OK, Status.FAILED, Status.CRITERIA_ERRORS, Status.INTERRUPTED)
"""Those of commands that look at criteria and libraries only."""


def listed(statuses: Iterable[Status] = tuple(Status)) -> str:
    """Statuses with what they mean, as help ends with them."""
    return "\n".join(["exit statuses:", *(f"  {status:<4} {MEANINGS[status]}" for status in statuses)])
