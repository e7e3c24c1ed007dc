"""`eligibility completion`: what a shell has to read so that the tab key completes commands, options, values and paths (the package argcomplete)."""

from __future__ import annotations

import argparse
import os

from fhir_eligibility.ui.options.command_parser import STATUSES_OF_TEXT, CommandParser
from fhir_eligibility.ui.options.statuses import Status

SHELLS = ("bash", "zsh", "fish")


def add_options(command: CommandParser) -> None:
    """What the command is told."""
    command.add_argument(
        "shell", choices=SHELLS, metavar="SHELL", help=f"the shell that the text is for: {', '.join(SHELLS)}"
    )
    command.describe(
        "eligibility completion bash > ~/.local/share/bash-completion/completions/eligibility",
        "eligibility completion zsh > ~/.zfunc/_eligibility",
        "eligibility completion fish > ~/.config/fish/completions/eligibility.fish",
        statuses=STATUSES_OF_TEXT,
        page="unattended.md",
    )
    command.set_defaults(run=completion_command)


def completion_command(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["eligibility"], shell=options.shell), end="")
    return Status.OK


def command_in(line: str) -> str:
    """The command in a line that is being completed; empty where it is not written yet."""
    words = line.split()
    return words[1] if len(words) > 1 and (len(words) > 2 or line.endswith(" ")) else ""


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell that asks how a line goes on; ends the process."""
    import argcomplete

    argcomplete.autocomplete(parser)
    os._exit(Status.FAILED)  # where the shell did not ask after all
