"""The options of `eligibility screen`, in the order in which one needs them."""

from __future__ import annotations

import argparse

from fhir_eligibility.output.formats.base import output_formats
from fhir_eligibility.ui.options.archive_options import add_required_images
from fhir_eligibility.ui.options.argument_types import ADDRESS, PATH
from fhir_eligibility.ui.options.command_parser import CommandParser
from fhir_eligibility.ui.options.options import (
    add_config_options,
    add_criteria_argument,
    add_libraries_option,
    add_limit_option,
    add_merging,
    add_parameter_options,
    add_sharing_option,
    add_study_option,
    add_time_options,
    add_tolerance,
    add_version_option,
)
from fhir_eligibility.ui.options.pseudonym_options import add_pseudonym_options
from fhir_eligibility.ui.options.resuming import add_means_options
from fhir_eligibility.ui.options.terminology import add_terminology_options
from fhir_eligibility.ui.options.thresholds import add_threshold_options
from fhir_eligibility.ui.sources.base import add_data_option, add_source_options
from fhir_eligibility.ui.terminal.logs import add_log_options


def add_screen_options(command: CommandParser) -> None:
    """What the command is told."""
    add_criteria_argument(command)
    group = command.add_argument_group("what goes in and out")
    add_data_option(group)
    group.add_argument(
        "--out",
        required=True,
        type=PATH,
        metavar="DIR",
        help="output folder; - writes verdicts to standard output only",
    )
    for name, one in output_formats().items():
        group.add_argument(f"--{name}", dest=f"format {name}", action="store_true", help=one.help)
    add_sharing_option(group)
    add_version_option(group)
    add_pseudonym_options(command)
    _judging(command)
    group = command.add_argument_group("what criteria in CQL name")
    add_libraries_option(group)
    add_parameter_options(group)
    add_terminology_options(command)
    _large_data(command)
    add_source_options(command)
    add_required_images(command)
    group = command.add_argument_group("what the exit status tells")
    group.add_argument("--strict", action="store_true", help="take warnings about criteria as errors: exit with 3")
    add_threshold_options(group)
    add_log_options(command)
    add_config_options(command)
    command.describe(
        "eligibility screen criteria/flute/mr --data criteria/flute/cohort --out results",
        "eligibility screen trial.json --libraries cql --valuesets valuesets --data export --out results --memory 4GB",
        "eligibility screen trial.json --data https://server/fhir --data-auth bearer-env=TOKEN --out results",
        "eligibility screen --config nightly.toml --log-format json --max-undetermined 10% --min-patients 1000",
        page="verdicts.md",
    )


def formats_of(options: argparse.Namespace) -> list[str]:
    """The names of the further output formats that options ask for."""
    return [name for name in output_formats() if getattr(options, f"format {name}")]


def _judging(command: CommandParser) -> None:
    group = command.add_argument_group("how patients are judged")
    add_time_options(group)
    add_study_option(group)
    group.add_argument(
        "--absent",
        choices=("default", "unknown", "not-met"),
        default="default",
        help="what it means that there is no record at all, for coded criteria (default: measurements unknown, the rest not met)",
    )
    group.add_argument(
        "--strict-cql",
        action="store_true",
        help="give CQL's own answer where rows that cannot be decided would change it",
    )
    add_limit_option(group, "a criterion", " for one patient, which else is unknown")
    add_tolerance(group)
    add_merging(group)
    group.add_argument(
        "--dicomweb",
        type=ADDRESS,
        metavar="URL",
        help="DICOMweb base to link images to where the data names no archive",
    )


def _large_data(command: CommandParser) -> None:
    group = add_means_options(command)
    group.add_argument(
        "--keep-fingerprints",
        action="store_true",
        help="keep what tells a later run whose records did not change (fingerprints.bin, blocks.bin), for its --since",
    )
    group.add_argument(
        "--since",
        type=PATH,
        metavar="DIR",
        help="take over the verdicts of patients whose records did not change since the run in this output folder, which kept fingerprints; the outputs are those of a full run (keeps fingerprints, too)",
    )
    group.add_argument(
        "--hash-data", action="store_true", help="record the SHA-256 of data files, however large they are"
    )
