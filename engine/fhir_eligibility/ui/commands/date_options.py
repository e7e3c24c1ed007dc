"""Options of commands that say what criteria read: the clock and the parameters that dates are told by, and filters by date."""

from __future__ import annotations

import argparse
from typing import Any

from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.runners.screening.screening import evaluation_time
from fhir_eligibility.ui.commands.cql_session import parameters_of
from fhir_eligibility.ui.options.options import add_parameter_options, add_study_option, add_time_options

LOSES = "records that have no date there, or one that cannot be compared, are lost, and patients whom they would leave undetermined are decided"


def add_date_options(command: Any) -> None:
    """Add the options to a command."""
    command.add_argument(
        "--date-filters", action="store_true", help=f"narrow _typeFilter by the dates that criteria ask for: {LOSES}"
    )
    add_time_options(command, "time that dates are counted from, ISO 8601 (default: the clock)")
    add_study_option(command)
    add_parameter_options(command)


def run_of_options(options: argparse.Namespace) -> Run:
    """The run that the options speak of. Raises ValueError."""
    parameters = parameters_of(options.parameter, options.now, options.timezone)
    return Run(evaluation_time(options.now, options.timezone), options.timezone, parameters)
