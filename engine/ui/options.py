"""Options that several commands have: the values of CQL parameters, and the clock."""

from __future__ import annotations

from typing import Any


def add_parameter_options(command: Any) -> None:
    """`--parameter` and `--parameters`."""
    command.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=CQL", help="value of a CQL parameter, in CQL"
    )
    command.add_argument(
        "--parameters",
        action="append",
        default=[],
        metavar="FILE",
        help="a FHIR Parameters resource with values of parameters",
    )


def add_time_options(command: Any, now: str = "time of evaluation, ISO 8601 (default: the clock)") -> None:
    """`--now` and `--timezone`."""
    command.add_argument("--now", metavar="TIME", help=now)
    command.add_argument("--timezone", default="UTC", help="time zone of the evaluation (default: UTC)")
