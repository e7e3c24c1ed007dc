"""The end of a command that found no patient: what is wrong with the data, what to do, and a status of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.ui.options.statuses import Status
from fhir_eligibility.ui.terminal.logs import say, say_error, say_problem

SHOWN = 10


def nothing_done(problems: Sequence[Problem], out: str, done: str = "screened") -> Status:
    """Say that there is no patient, and the first problems; `done` is what would have been done."""
    for problem in problems[:SHOWN]:
        say_problem(problem)
    if len(problems) > SHOWN:
        say(f"... and {len(problems) - SHOWN} problems more", step="data")
    kept = f"; what {out} holds stays as it is" if out != "-" and any(Path(out).glob("[!.]*")) else ""
    why = "the problems above say why" if problems else "is --data what it should be?"
    say_error(f"eligibility: nothing was {done}: there is no patient in the data ({why}){kept}")
    return Status.NOTHING_SCREENED
