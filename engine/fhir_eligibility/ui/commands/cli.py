"""The command line: `eligibility screen | show | export | check | fhirpath | cql | compile | measure | requirements | imaging | completion | schema`.

`engine/fhir_eligibility/ui/options/statuses.py` lists the exit statuses.
"""

from __future__ import annotations

import argparse
import difflib
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from fhir_eligibility.ui.options.command_parser import CommandParser, where_to_read
from fhir_eligibility.ui.options.statuses import Status
from fhir_eligibility.ui.terminal.visible import visible_output
from fhir_eligibility.version import __version__

# A variable of the environment: where it is set, an error of the program is shown with all of its steps.
TRACEBACK = "FHIR_ELIGIBILITY_TRACEBACK"
# Loaded where a command runs.
LOGS, CONFIG_FILE, COMPLETION = (
    "fhir_eligibility.ui.terminal.logs",
    "fhir_eligibility.ui.options.config_file",
    "fhir_eligibility.ui.commands.completion",
)


class Command(NamedTuple):
    """A command: its module, which is loaded when the command is given, what it is for, and the function that adds its options."""

    module: str
    help: str
    options: str = "add_options"


COMMANDS = {
    "screen": Command(
        "fhir_eligibility.ui.commands.screen", "screen a cohort and write verdicts with evidence and image UIDs"
    ),
    "show": Command(
        "fhir_eligibility.ui.commands.show", "show the verdicts of a run as a table: who is in, who is out, and why"
    ),
    "export": Command(
        "fhir_eligibility.ui.commands.export", "export the patients of a FHIR server (Bulk Data) into a folder"
    ),
    "check": Command(
        "fhir_eligibility.ui.commands.check", "say how criteria were understood, what they read, and what is wrong"
    ),
    "fhirpath": Command("fhir_eligibility.ui.commands.fhirpath", "evaluate one FHIRPath expression on a JSON file"),
    "compile": Command(
        "fhir_eligibility.ui.commands.cql",
        "compile CQL libraries: what they define, and all that is wrong with them",
        "add_compile_options",
    ),
    "cql": Command(
        "fhir_eligibility.ui.commands.cql", "evaluate CQL: one expression, the defines of a library, or a conversation"
    ),
    "measure": Command(
        "fhir_eligibility.ui.commands.measure", "evaluate a measure: populations of every patient, and a summary"
    ),
    "requirements": Command(
        "fhir_eligibility.ui.commands.requirements", "say what data criteria read, as FHIR and for a bulk export"
    ),
    "imaging": Command(
        "fhir_eligibility.ui.commands.imaging", "the images behind verdicts: are they held, fetch, show, list, upload"
    ),
    "completion": Command(
        "fhir_eligibility.ui.commands.completion", "print what a shell needs to complete commands and options"
    ),
    "schema": Command("fhir_eligibility.ui.commands.schema", "print the JSON Schema of an output"),
}
BEGIN = """\
to begin:
  eligibility check  CRITERIA                                # how was each criterion understood, and what is wrong with it?
  eligibility screen CRITERIA --data PATIENTS --out results  # who is included, who is not, and why
  eligibility COMMAND --help                                 # the options of a command, with examples"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status (the console script exits with it)."""
    with visible_output():
        try:
            return _run(list(sys.argv[1:] if arguments is None else arguments))
        except SystemExit as ended:  # argparse ends so, after help and where an option is wrong
            return ended.code if isinstance(ended.code, int) else Status.OK


def _run(given: list[str]) -> int:
    name = next((text for text in given if not text.startswith("-")), "")
    if not given:
        print(parser("").format_help(), end="", file=sys.stderr)
        return Status.FAILED
    if name and name not in COMMANDS and not given[0].startswith("-"):
        print(f"eligibility: there is no command {name!r}{_meant(name)}", file=sys.stderr)
        return Status.FAILED
    options = parser(name).parse_args(given)
    if vars(options).get("write_config"):
        return _write_config(options)
    logs = import_module(LOGS)
    try:
        with logs.logging_as(options):
            return _command(options, logs)
    except OSError as error:
        print(f"eligibility: {error}", file=sys.stderr)
        return Status.FAILED


def _command(options: argparse.Namespace, logs: ModuleType) -> int:
    try:
        return int(options.run(options))
    except KeyboardInterrupt as stopped:
        logs.say_error(str(stopped) or "interrupted; nothing was left half written")
        return Status.INTERRUPTED
    except BrokenPipeError:
        return Status.OK
    except OSError as error:
        logs.say_failure(error)
        return Status.FAILED
    except ValueError as error:
        logs.say_error(f"eligibility: {error}")
        return Status.FAILED
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        what = " ".join(str(error).split())[:300]
        logs.say_error(
            f"eligibility: an error of this program ({type(error).__name__}{': ' if what else ''}{what}); nothing was written. "
            f"With {TRACEBACK}=1 in the environment the same command shows where"
        )
        return Status.FAILED


def _write_config(options: argparse.Namespace) -> int:
    try:
        own: CommandParser = options.parser
        print(import_module(CONFIG_FILE).write_config(own.prog, own.sections(), options), end="")
    except ValueError as error:
        print(f"eligibility: {error}", file=sys.stderr)
        return Status.FAILED
    return Status.OK


def _meant(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), list(COMMANDS), n=1, cutoff=0.6)
    meant = f"; did you mean `eligibility {near[0]}`?" if near else f"; there are {', '.join(COMMANDS)}."
    return f"{meant} `eligibility --help` tells what each is for"


def console() -> int:
    """The console script: `main`, and a process that ends without going through all that it holds in search of garbage."""
    if "_ARGCOMPLETE" in os.environ:  # a shell asks how a line goes on
        completion = import_module(COMPLETION)
        completion.complete(parser(completion.command_in(os.environ.get("COMP_LINE", ""))))
    status = main()
    gc.freeze()
    return status


def parser(chosen: str | None = None) -> CommandParser:
    """The parser of the command line: with the options of one command, or of all."""
    top = CommandParser(
        prog="eligibility", description="Screens patients against eligibility criteria published in FHIR."
    )
    top.add_argument("--version", action="version", version=f"eligibility {__version__}")
    top.epilog = f"{BEGIN}\n\n{where_to_read(None)}"
    commands = top.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for name, command in COMMANDS.items():
        options = commands.add_parser(name, help=command.help, description=_sentence(command.help))
        if chosen is None or chosen == name:
            getattr(_loaded(command.module), command.options)(options)
    return top


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _loaded(module: str) -> ModuleType:
    """A module; meanwhile no garbage is looked for, as there is none."""
    looking = gc.isenabled()
    gc.disable()
    try:
        return import_module(module)
    finally:
        if looking:
            gc.enable()


if __name__ == "__main__":
    sys.exit(console())
