"""The parser of a command: like argparse's, but a wrong option is named with what was probably meant, lists may be given in several pieces,
options may come from a file, and the help ends with examples, exit statuses and the page to read on.

Where an option stands both on the command line and in the file of `--config`, the command line wins. A switch (`--resume`) that a file turns
on is turned off by `--no-` and its name (`--no-resume`).
"""

from __future__ import annotations

import argparse
import difflib
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from fhir_eligibility.ui.options.actions import StoredOption, Switch, usage_of
from fhir_eligibility.ui.options.statuses import OF_TEXT, listed

# Loaded where a file is given or written.
CONFIG_FILE = "fhir_eligibility.ui.options.config_file"
NOT_IN_FILE = ("help", "version", "config", "write_config")
SUPPRESSED: Any = argparse.SUPPRESS

STATUSES, STATUSES_OF_TEXT = listed(), listed(OF_TEXT)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help in the width of the terminal, at most 110 characters."""

    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size().columns, 112) - 2
        super().__init__(prog, max_help_position=30, width=max(width, 60))


class CommandParser(argparse.ArgumentParser):
    """A parser that says in a sentence what is wrong, and what was probably meant."""

    def __init__(self, *positional: Any, **named: Any) -> None:
        named = {"allow_abbrev": False, "formatter_class": HelpFormatter, **named}
        super().__init__(*positional, **named)
        for name in (None, "store"):
            self.register("action", name, StoredOption)
        self.register("action", "store_true", Switch)
        self._positionals.title, self._optionals.title = "arguments", "help"
        self.has_commands = False
        self.needed: dict[str, argparse.Action] = {}
        self.own_defaults: dict[str, Any] = {}
        self.examples: tuple[str, ...] = ()
        self.statuses = STATUSES
        self.page: str | None = None
        self.replaced: dict[str, str] = {}
        """Options of earlier versions, and what is written instead."""

    def add_subparsers(self, **named: Any) -> Any:
        self.has_commands = True
        return super().add_subparsers(**named)

    def describe(self, *examples: str, page: str | None = None, statuses: str = STATUSES) -> None:
        """What stands at the end of the help: command lines to copy, exit statuses, and a page of the documentation."""
        self.examples, self.page, self.statuses = examples, page, statuses

    # -- parsing

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Options as given, then as a file has them, then as they are by default; what is missing or unknown ends the program."""
        if self.has_commands:
            return super().parse_known_args(args, namespace)
        self.prepare()
        found, strays = super().parse_known_args(args, namespace)
        if strays:
            self.error(self._about_strays(strays))
        values = vars(found)
        given = {name for name in values if name in self.own_defaults}
        if values.get("config") is not None:
            self._read_config(values, given)
        missing = [action for name, action in self.needed.items() if name not in values]
        if missing and not values.get("write_config"):
            self.error(self._about_missing(missing))
        for name, default in self.own_defaults.items():
            values.setdefault(name, list(default) if isinstance(default, list) else default)
        found.given, found.parser = frozenset(given), self
        return found, []

    def prepare(self) -> None:
        """Take defaults and requirements out of argparse's hands: only what is given is then found."""
        for action in self._actions:
            if action.dest in self.own_defaults or action.dest in ("help", "version"):
                continue
            self.own_defaults[action.dest] = None if action.default is argparse.SUPPRESS else action.default
            action.default = argparse.SUPPRESS
            if action.required:
                self.needed[action.dest] = action
                action.required = False
                if not action.option_strings:
                    action.nargs = "*" if action.nargs == "+" else "?"
            if isinstance(action, Switch):
                for name in action.opposites():
                    self._option_string_actions.setdefault(name, action)

    def settings(self) -> list[argparse.Action]:
        """What a file may hold."""
        self.prepare()
        return [action for action in self._actions if action.dest not in NOT_IN_FILE]

    def sections(self) -> list[tuple[str | None, list[argparse.Action]]]:
        """What a file may hold, in the groups and the order of the help."""
        self.prepare()
        found = [
            (group.title, [action for action in group._group_actions if action.dest not in NOT_IN_FILE])
            for group in self._action_groups
        ]
        return [(title, actions) for title, actions in found if actions]

    def _read_config(self, values: dict[str, Any], given: set[str]) -> None:
        read = import_module(CONFIG_FILE).read_config
        try:
            config: dict[str, Any] = read(Path(values["config"]), self, self.settings())
        except (ValueError, OSError) as error:
            self.error(str(error))
        # an option of which only one may be given, given on the command line, takes the place of the other
        for group in self._mutually_exclusive_groups:
            names = {action.dest for action in group._group_actions}
            if names & given:
                config = {name: value for name, value in config.items() if name not in names}
        for name, value in config.items():
            if name not in values:
                values[name] = value
                given.add(name)

    # -- messages

    def error(self, message: str) -> NoReturn:
        """End with 2 and a sentence."""
        text = re.sub(r"^argument ", "", message)
        text = re.sub(r": expected (one|at least one) argument$", ": its value is missing", text)
        text = re.sub(r": not allowed with argument ", " does not go with ", text)
        self.exit(2, f"{self.prog}: {text}\n`{self.prog} --help` lists the options, with examples\n")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        return arg_string if arg_string is SUPPRESSED else super()._get_value(action, arg_string)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if value is not SUPPRESSED and action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            near = _near(str(value), known)
            one = f"; did you mean {near}?" if near else f"; expected {_listed(known)}"
            raise argparse.ArgumentError(action, f"{str(value)!r} is not known{one}")

    def _about_strays(self, strays: list[str]) -> str:
        wrong = [text.partition("=")[0] for text in strays if re.match(r"--?[A-Za-z]", text)]
        if not wrong:
            return f"{strays[0]!r} is not expected here"
        return "; ".join(f"unknown option {text}{self._meant(text)}" for text in wrong)

    def _meant(self, text: str) -> str:
        if text in self.replaced:
            return f"; write {self.replaced[text]}"
        known = [name.removeprefix("--") for name in self._option_string_actions if name.startswith("--")]
        begun = [name for name in known if name.startswith(text.lstrip("-"))]
        near = begun[0] if len(begun) == 1 else _near(text.lstrip("-"), known)
        return f"; did you mean --{near}?" if near else ""

    def _about_missing(self, missing: list[argparse.Action]) -> str:
        names = [usage_of(action) for action in missing]
        return f"{_listed(names, 'and')} {'is' if len(names) == 1 else 'are'} missing\n{self.format_usage().strip()}"

    # -- help

    def format_usage(self) -> str:
        self._prepare_help()
        return super().format_usage()

    def format_help(self) -> str:
        self._prepare_help()
        return super().format_help()

    def _prepare_help(self) -> None:
        if self.has_commands:
            return
        self.prepare()
        if self.usage is None:
            words = [usage_of(action) for action in self.needed.values()]
            optional = [a for a in self._actions if not a.option_strings and a.dest not in self.needed]
            words += [f"[{usage_of(action)}]" for action in optional]
            self.usage = " ".join(["%(prog)s", *words, "[options]"]).replace("%", "%%").replace("%%(prog)s", "%(prog)s")
        if self._action_groups[-1] is not self._optionals:
            self._action_groups.remove(self._optionals)
            self._action_groups.append(self._optionals)
        parts = []
        if self.examples:
            parts.append("\n".join(["examples:", *(f"  {line}" for line in self.examples)]))
        parts.append(self.statuses)
        parts.append(where_to_read(self.page))
        self.epilog = "\n\n".join(parts)


def where_to_read(page: str | None) -> str:
    """The sentence that says where the documentation is on this machine."""
    folder = documentation()
    if folder is None:
        return "The documentation is in docs/ of the source."
    return f"More: {folder / page if page else folder}"


def documentation() -> Path | None:
    """The folder of the documentation: of the checkout, or beside the installed package; None where there is none."""
    beside = Path(__file__).resolve().parents[4] / "docs"
    installed = Path(sys.prefix) / "share" / "fhir-eligibility" / "docs"
    return next((folder for folder in (beside, installed) if (folder / "verdicts.md").is_file()), None)


def _near(text: str, known: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(text.lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def _listed(words: Sequence[str], joined: str = "or") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {joined} {words[-1]}"
