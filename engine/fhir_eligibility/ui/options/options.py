"""Options that several commands have: the values of CQL parameters, the clock, what criteria name, the FHIR version, the file of options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fhir_eligibility.artifacts.models import VERSIONS
from fhir_eligibility.evaluation.time_limit import SECONDS
from fhir_eligibility.ui.options.argument_types import COUNT, MOMENT, PATH, ZONE, number
from fhir_eligibility.ui.options.argument_types import SECONDS as SECONDS_TYPE

FHIR_NAMES = tuple(VERSIONS)


def add_criteria_argument(
    command: Any, what: str = "files, folders or bundles with EvidenceVariable, Group or ResearchStudy"
) -> None:
    """The criteria that a command is about."""
    command.add_argument("criteria", nargs="+", type=PATH, metavar="CRITERIA", help=what)


def add_parameter_options(command: Any) -> None:
    """`--parameter` and `--parameters`."""
    command.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=CQL", help="value of a CQL parameter, in CQL"
    )
    command.add_argument(
        "--parameters",
        action="append",
        default=[],
        type=PATH,
        metavar="FILE",
        help="a FHIR Parameters resource with values of parameters",
    )


def add_limit_option(command: Any, what: str, where: str = "") -> None:
    """The option of how long something may take for one patient."""
    command.add_argument(
        "--criterion-seconds",
        type=SECONDS_TYPE,
        default=SECONDS,
        metavar="N",
        help=f"seconds that {what} may take{where} (default: {SECONDS:g}; 0: no limit)",
    )


def add_time_options(command: Any, now: str = "time of evaluation, ISO 8601 (default: the clock)") -> None:
    """`--now` and `--timezone`."""
    command.add_argument("--now", type=MOMENT, metavar="TIME", help=now)
    command.add_argument(
        "--timezone", type=ZONE, default="UTC", metavar="ZONE", help="time zone of the evaluation (default: UTC)"
    )


def add_libraries_option(
    command: Any, what: str = "CQL libraries and data models (ModelInfo): files and folders"
) -> None:
    """`--libraries`."""
    command.add_argument("--libraries", nargs="+", default=[], type=PATH, metavar="PATH", help=what)


def add_sharing_option(command: Any) -> None:
    """`--shared-outputs`."""
    command.add_argument(
        "--shared-outputs",
        action="store_true",
        help="let others read the outputs, as far as the umask allows (default: only their owner; they hold patients' data)",
    )


def add_study_option(command: Any) -> None:
    """`--study-start`."""
    command.add_argument(
        "--study-start",
        type=MOMENT,
        metavar="DATE",
        help="when the study starts and patients enrol, for criteria that count time from there (default: the time of evaluation)",
    )


def add_version_option(command: Any, force: bool = True) -> None:
    """`--fhir` and `--force-fhir`."""
    command.add_argument(
        "--fhir",
        metavar="VERSION",
        help=f"FHIR version of the patients: {', '.join(FHIR_NAMES[:-1])} or {FHIR_NAMES[-1]} (default: from the data)",
    )
    if not force:
        return
    command.add_argument(
        "--force-fhir",
        action="store_true",
        help="go on although the data, or a CQL library, is written in another version of FHIR",
    )


def add_config_options(command: argparse.ArgumentParser) -> None:
    """`--config` and `--write-config`."""
    group = command.add_argument_group("options from a file")
    group.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML with options of this command; those given here win"
    )
    group.add_argument(
        "--write-config",
        action="store_true",
        help="print such a file, with all options, what they are for, and their values; then end",
    )


MINUTES = number(0, "a number of minutes above 0", above=True)


def add_merging(group: Any) -> None:
    """`--merge-linked`"""
    group.add_argument(
        "--merge-linked",
        action="store_true",
        help="count Patients that are linked as one person (Patient.link) as one patient, with the records of all; without it they are told, and what one has is missing of the others",
    )


def add_tolerance(group: Any) -> None:
    """`--tolerate`"""
    group.add_argument(
        "--tolerate",
        type=COUNT,
        default=0,
        metavar="N",
        help="damaged records of each resource type that may be missing of nobody knows whom, without an answer being unknown for that (default: 0)",
    )
