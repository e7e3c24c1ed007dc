"""How a run over patients ends: what of it counts for the exit status, and the last words about it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from fhir_eligibility.algebra.numbers_in_words import so_many
from fhir_eligibility.ui.options.statuses import Status, worst
from fhir_eligibility.ui.options.thresholds import ArtifactOutcome, exceeded
from fhir_eligibility.ui.terminal.logs import say, say_error


def ended(
    options: argparse.Namespace,
    found: Iterable[Status],
    done: str,
    patients: int,
    *,
    problems: int,
    errors: int,
    judged: Sequence[ArtifactOutcome] = (),
    **fields: Any,
) -> Status:
    """The exit status of a run that is `done` ("screened"), said with the thresholds that are exceeded.

    `found` is what happened besides; of the problems with the data so many are errors; the log has `fields`, too.
    """
    statuses = [*found, *([Status.INCOMPLETE] if errors else [])]
    for sentence in exceeded(options, patients, errors, judged):
        say_error(f"eligibility: {sentence}")
        statuses.append(Status.THRESHOLD_EXCEEDED)
    status = worst(statuses)
    said = f"{done} {so_many(patients, 'patient')}; {so_many(problems, 'problem')}; exit status {int(status)}"
    counted = {"status": int(status), "patients": patients, "problems": problems, "errors": errors}
    say(said, step="done", log_only=True, **counted, **fields)
    return status
