"""What commands say while they run, as records of Python's `logging`: on standard error, in a file, as text or as JSON lines.

The logger is `fhir_eligibility`; a program that calls `fhir_eligibility.ui.commands.cli.main` can attach handlers of its own to it. Each record has the
attributes `step` (one of `STEPS`) and `facts` (counts and places, by name).
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from fhir_eligibility.algebra.diagnostic import Diagnostic
from fhir_eligibility.output.atomic import error_in_words
from fhir_eligibility.ui.terminal.visible import plain, visible

if TYPE_CHECKING:
    from fhir_eligibility.data.files.problems import Problem

Step = Literal["start", "criteria", "reading", "judging", "writing", "downloading", "asking", "data", "done"]
STEPS: tuple[Step, ...] = (
    "start",
    "criteria",
    "reading",
    "judging",
    "writing",
    "downloading",
    "asking",
    "data",
    "done",
)
LOGGER = logging.getLogger("fhir_eligibility")
LEVELS = {"error": logging.ERROR, "warning": logging.WARNING}
# A record that only a log is for: the table on the terminal, or its progress line, says the same.
LOG_ONLY = "log_only"


def add_log_options(command: argparse.ArgumentParser, quiet: str = "print nothing but errors") -> None:
    """`--log-format`, `--log-file` and `--quiet`."""
    group = command.add_argument_group("what is said while it runs")
    group.add_argument("--quiet", action="store_true", help=quiet)
    group.add_argument(
        "--log-format",
        choices=("text", "json"),
        help="write messages with time, level and step, as text or as a JSON object a line (default: messages alone)",
    )
    group.add_argument(
        "--log-file",
        type=Path,
        metavar="FILE",
        help="append the log to this file, with times, besides what standard error shows (readable by its owner alone)",
    )


def say(text: str, level: int = logging.INFO, *, step: Step = "start", log_only: bool = False, **facts: Any) -> None:
    """Say a sentence, with counts and places that a log keeps beside it."""
    LOGGER.log(level, "%s", text, extra={"step": step, "facts": facts, LOG_ONLY: log_only})


def say_failure(error: OSError) -> None:
    """Say what the system did not do, as `say_error` does."""
    say_error(f"eligibility: {error_in_words(error)}")


def say_error(text: str) -> None:
    """Say why a command ends."""
    say(text, logging.ERROR, step="done")


def say_diagnostics(diagnostics: Iterable[Diagnostic]) -> None:
    """Say what is wrong with criteria."""
    for found in diagnostics:
        where = found.location or (found.source.name if found.source is not None else None)
        say(found.render(), LEVELS.get(found.severity, logging.INFO), step="criteria", code=found.code, location=where)


def say_problem(problem: Problem) -> None:
    """Say what is wrong with data."""
    facts = problem.model_dump(exclude_none=True, exclude={"message", "severity"})
    say(f"problem: {problem}", LEVELS[problem.severity], step="data", **facts)


class TextFormat(logging.Formatter):
    """A line with time (ISO 8601, with zone), level and step; further lines of a message are indented, so that none looks like another record."""

    def format(self, record: logging.LogRecord) -> str:
        step: str = vars(record).get("step", "")
        text = visible(record.getMessage()).replace("\n", "\n    ")
        return f"{_time(record)} {record.levelname.lower():<7} {step + ': ' if step else ''}{text}"


class JsonFormat(logging.Formatter):
    """A JSON object: time, level, step, message, and counts and places by name."""

    def format(self, record: logging.LogRecord) -> str:
        facts: dict[str, Any] = vars(record).get("facts", {})
        named = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "step": vars(record).get("step"),
            "message": record.getMessage(),
        }
        return visible(
            json.dumps({**named, **{k: v for k, v in facts.items() if k not in named}}, ensure_ascii=False, default=str)
        )


class StandardError(logging.StreamHandler[TextIO]):
    """Writes to standard error as it is at that moment."""

    def __init__(self, level: int) -> None:
        logging.Handler.__init__(self, level)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr

    def flush(self) -> None:
        pass


def _time(record: logging.LogRecord) -> str:
    return dt.datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


@contextmanager
def logging_as(options: argparse.Namespace) -> Iterator[None]:
    """Send what is said where the options say. Raises OSError for a file that cannot be written."""
    given = vars(options)
    form: str | None = given.get("log_format")
    shown = StandardError(logging.ERROR if given.get("quiet") else logging.INFO)
    if form is None:
        shown.addFilter(lambda record: not vars(record).get(LOG_ONLY))
    else:
        shown.setFormatter(JsonFormat() if form == "json" else TextFormat())
    handlers: list[logging.Handler] = [shown]
    path: Path | None = given.get("log_file")
    if path is not None:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        kept = logging.StreamHandler(os.fdopen(opened, "a", encoding="utf-8", errors="backslashreplace"))
        kept.setFormatter(JsonFormat() if form == "json" else TextFormat())
        handlers.append(kept)
    level = LOGGER.level
    LOGGER.setLevel(logging.INFO)
    for handler in handlers:
        LOGGER.addHandler(handler)
    try:
        yield
    finally:
        LOGGER.setLevel(level)
        for handler in handlers:
            LOGGER.removeHandler(handler)
        if path is not None:
            kept.stream.close()


def on_terminal(options: argparse.Namespace) -> bool:
    """Whether a line that is rewritten may show how far the run is."""
    return not vars(options).get("quiet") and vars(options).get("log_format") != "json" and plain(sys.stderr).isatty()
