"""What an option does with what is given for it, and how the usage shows it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


class StoredOption(argparse._StoreAction):
    """Keeps a value; a list that is given in several pieces (`--data a --data b`) is kept whole."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        before = vars(namespace).get(self.dest)
        if option_string is not None and isinstance(values, list) and isinstance(before, list):
            values = [*before, *values]
        setattr(namespace, self.dest, values)


class Switch(argparse.Action):
    """Turned on by its name, turned off by `--no-` and its name."""

    def __init__(
        self,
        option_strings: Sequence[str],
        dest: str,
        default: bool = False,
        required: bool = False,
        help: str | None = None,
    ) -> None:
        super().__init__(option_strings, dest, nargs=0, const=True, default=default, required=required, help=help)

    def opposites(self) -> list[str]:
        """The names that turn it off."""
        return [f"--no-{name.removeprefix('--')}" for name in self.option_strings if name.startswith("--")]

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, option_string in self.option_strings)


def usage_of(action: argparse.Action) -> str:
    """An argument or an option as the usage shows it: `--data PATH`."""
    value = action.metavar or (action.dest if not action.option_strings else action.dest.upper())
    shown = value if isinstance(value, str) else " ".join(value)
    if not action.option_strings:
        return shown
    return action.option_strings[-1] if action.nargs == 0 else f"{action.option_strings[-1]} {shown}"
