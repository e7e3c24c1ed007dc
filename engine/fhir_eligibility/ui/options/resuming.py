"""Runs that can be gone on with: their options, and what is said where one is stopped."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from logging import WARNING
from pathlib import Path
from typing import Any

from fhir_eligibility.output.atomic import error_in_words
from fhir_eligibility.runners.large.workers import WorkerLost
from fhir_eligibility.runners.large.workspace import Workspace
from fhir_eligibility.runners.screening.large import Means
from fhir_eligibility.ui.options.argument_types import JOBS, MEMORY, too_many_jobs
from fhir_eligibility.ui.options.command_parser import CommandParser
from fhir_eligibility.ui.terminal.logs import on_terminal, say
from fhir_eligibility.ui.terminal.progress import ProgressLine


def add_means_options(command: CommandParser) -> Any:
    """What a run over large data may take."""
    group = command.add_argument_group("large data")
    group.add_argument("--jobs", type=JOBS, metavar="N", help="processes for large data (default: one a core)")
    group.add_argument(
        "--memory",
        type=MEMORY,
        metavar="SIZE",
        help="memory that large data may take, such as 800MB (default: a quarter of the machine)",
    )
    group.add_argument("--resume", action="store_true", help="go on with a run into the same folder that was stopped")
    group.add_argument(
        "--validate",
        action="store_true",
        help="check every line by itself (lines are proved to be whole without it, too), and hold Group and MeasureReport to fhir.resources",
    )
    return group


def means_of(options: argparse.Namespace) -> Means:
    """What the options give a run."""
    return Means(
        jobs=options.jobs or 0,
        memory=options.memory,
        validate=options.validate,
        resume=options.resume,
        tolerate=options.tolerate,
        merge_linked=options.merge_linked,
    )


def warn_of_jobs(options: argparse.Namespace) -> None:
    """Say so where there are more processes than cores."""
    many = too_many_jobs(options.jobs) if options.jobs is not None else None
    if many:
        say(many, WARNING)


@contextmanager
def resumable(options: argparse.Namespace) -> Iterator[ProgressLine]:
    """A run into the output folder, with a line of progress. Errors that stop it say that it can be gone on with, where it can; so does KeyboardInterrupt."""
    out = Path(options.out)
    if options.resume and not Workspace(out).exists():
        say(f"--resume: {out} holds no run that was stopped; a new one begins", WARNING)
    progress = ProgressLine(shown=on_terminal(options))
    try:
        yield progress
    except WorkerLost as error:
        raise ValueError(f"{error}; what is done is kept, and --resume goes on") from None
    except (KeyboardInterrupt, OSError) as error:
        if not Workspace(out).exists():
            raise
        kept = "what is done is kept, and the same command with --resume goes on"
        if isinstance(error, OSError):
            raise OSError(f"{error_in_words(error)}; {kept}") from None
        raise KeyboardInterrupt(f"interrupted; {kept}") from None
    finally:
        progress.done()
