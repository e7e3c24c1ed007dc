"""`eligibility schema`: the JSON Schemas of what is written."""

from __future__ import annotations

import argparse
import json

from fhir_eligibility.output.schema import SCHEMAS, json_schema
from fhir_eligibility.ui.options.command_parser import STATUSES_OF_TEXT, CommandParser
from fhir_eligibility.ui.options.statuses import Status


def add_options(command: CommandParser) -> None:
    """What the command is told."""
    command.add_argument(
        "name",
        nargs="?",
        default="verdict",
        choices=tuple(SCHEMAS),
        metavar="NAME",
        help=f"the output: {', '.join(SCHEMAS)} (default: verdict)",
    )
    command.describe(
        "eligibility schema", "eligibility schema run > run.schema.json", statuses=STATUSES_OF_TEXT, page="verdicts.md"
    )
    command.set_defaults(run=schema_command)


def schema_command(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    print(json.dumps(json_schema(options.name), indent=2))
    return Status.OK
