"""The command line: `eligibility screen | export | check | fhirpath | cql | compile | measure | requirements | imaging | schema`.

Exit statuses: 0 done; 1 done, with warnings under --strict or with problems under --fail-on-problems; 2 the criteria have errors or
the command cannot be carried out; 130 interrupted.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from engine.ui.visible import visible_output
from engine.version import __version__

OK, ERRORS, INTERRUPTED = 0, 2, 130


class Command(NamedTuple):
    """A command: its module, which is loaded when the command is given, what it is for, and the function that adds its options."""

    module: str
    help: str
    options: str = "add_options"


COMMANDS = {
    "screen": Command("engine.ui.screen", "screen a cohort and write verdicts with evidence and image UIDs"),
    "export": Command("engine.ui.export", "export the patients of a FHIR server (Bulk Data) into a folder"),
    "check": Command("engine.ui.check", "say how criteria were understood, what they read, and what is wrong"),
    "fhirpath": Command("engine.ui.fhirpath", "evaluate one FHIRPath expression on a JSON file"),
    "compile": Command(
        "engine.ui.cql", "compile a CQL library: what it defines, and all that is wrong with it", "add_compile_options"
    ),
    "cql": Command("engine.ui.cql", "evaluate CQL: one expression, the defines of a library, or a conversation"),
    "measure": Command("engine.ui.measure", "evaluate a measure: populations of every patient, and a summary"),
    "requirements": Command("engine.ui.requirements", "say what data criteria read, as FHIR and for a bulk export"),
    "imaging": Command("engine.ui.imaging", "the images behind verdicts: are they held, fetch, show, list, upload"),
    "schema": Command("engine.ui.schema", "print the JSON Schema of an output"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status (the console script exits with it)."""
    with visible_output():
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser(next((text for text in given if not text.startswith("-")), "")).parse_args(given)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        print("interrupted; nothing was left half written", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return OK
    except (FileNotFoundError, ValueError, OSError) as error:
        print(f"eligibility: {error}", file=sys.stderr)
        return ERRORS


def console() -> int:
    """The console script: `main`, and a process that ends without going through all that it holds in search of garbage."""
    status = main()
    gc.freeze()
    return status


def parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The parser of the command line: with the options of one command, or of all."""
    top = argparse.ArgumentParser(
        prog="eligibility", description="Screens patients against eligibility criteria published in FHIR."
    )
    top.add_argument("--version", action="version", version=f"eligibility {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        options = commands.add_parser(name, help=command.help)
        if chosen is None or chosen == name:
            getattr(_loaded(command.module), command.options)(options)
    return top


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
