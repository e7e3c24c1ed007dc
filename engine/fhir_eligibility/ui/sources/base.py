"""What a source of patients says of itself and gives, and which there are: each module of this folder that has a SOURCE."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Protocol

from msgspec import Struct

from fhir_eligibility.data.http.address import shown
from fhir_eligibility.runners.screening.criteria import Criteria
from fhir_eligibility.runners.screening.run_options import OptionValue
from fhir_eligibility.runners.screening.screening import Data
from fhir_eligibility.ui.options.argument_types import PATH_OR_ADDRESS, ArgumentType
from fhir_eligibility.ui.options.command_parser import CommandParser

FILES = "files and folders"
"""The name of the source that takes what no other takes."""


class OpenedSource(Struct, frozen=True):
    """The FHIR version of the patients (`r4`), and the patients for some criteria: paths, or whatever has a method `compartments`."""

    version: str
    patients: Callable[[Criteria], Sequence[Data]]


class PatientSource(Protocol):
    """A kind of source, told by the values of `--data`."""

    @property
    def name(self) -> str:
        """What it is called in messages: `a FHIR server`."""
        ...

    @property
    def help(self) -> str:
        """What `--data` may be for it, as the help of the command has it."""
        ...

    def takes(self, text: str) -> bool:
        """Whether a value of `--data` names patients of this source."""
        ...

    def add_options(self, command: CommandParser) -> None:
        """Add the options that it alone has; they are refused where patients come from another source.

        `run.json` records their values, but not those of options whose names speak of secrets (`--data-auth`, `--token`), nor of those that the source names in `secrets`.
        """
        ...

    def opened(self, options: argparse.Namespace) -> AbstractContextManager[OpenedSource]:
        """The source that the values of `--data` name, all of which it takes. Raises ValueError, OSError with what to do."""
        ...


@cache
def sources() -> Mapping[str, PatientSource]:
    """All sources by name, that of files first."""
    modules = [import_module(f"{__package__}.{found.name}") for found in iter_modules([str(Path(__file__).parent)])]
    found: list[PatientSource] = [module.SOURCE for module in modules if hasattr(module, "SOURCE")]
    return {one.name: one for one in sorted(found, key=lambda one: (one.name != FILES, one.name))}


def source_of(text: str) -> PatientSource:
    """The source that a value of `--data` names: files, where no other takes it."""
    known = sources()
    return next((one for one in known.values() if one.name != FILES and one.takes(text)), known[FILES])


def _data(text: str) -> str:
    return text if source_of(text).name != FILES else PATH_OR_ADDRESS.read(text)


DATA = ArgumentType(_data, PATH_OR_ADDRESS.expected)


def add_data_option(group: Any) -> None:
    """`--data`."""
    listed = "; or ".join(one.help for one in sources().values())
    group.add_argument("--data", nargs="+", required=True, type=DATA, metavar="PATH", help=f"patients: {listed}")


def add_source_options(command: CommandParser) -> None:
    """The options that only some sources have."""
    own: dict[str, dict[str, str]] = {}
    for one in sources().values():
        before = len(command._actions)
        one.add_options(command)
        own[one.name] = {action.dest: action.option_strings[0] for action in command._actions[before:]}
    command.set_defaults(source_options=own)


def chosen_source(options: argparse.Namespace) -> PatientSource:
    """The one source that all values of `--data` name. Raises ValueError for several, and for options of another."""
    first, *others = {source_of(text).name: source_of(text) for text in options.data}.values()
    if others:
        raise ValueError(
            f"--data is either {first.name} or {others[0].name}: patients of several sources are not joined"
        )
    for name, own in options.source_options.items():
        given = [option for dest, option in own.items() if dest in options.given]
        if given and name != first.name:
            raise ValueError(f"{', '.join(given)}: only for {name}; --data names {first.name}")
    return first


_SECRET = re.compile(
    r"auth|token|secret|passw|passphrase|pwd|credential|key|cookie|header|bearer|login|user", re.IGNORECASE
)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def recorded_options(source: PatientSource, options: argparse.Namespace) -> dict[str, OptionValue]:
    """The options that a source alone has, as `run.json` records them: without credentials. Of an option that takes a secret, whether it was given is all that is told."""
    secrets = {name.lstrip("-") for name in getattr(source, "secrets", ())}
    found: dict[str, OptionValue] = {}
    for dest, option in options.source_options.get(source.name, {}).items():
        name, value = option.lstrip("-"), getattr(options, dest, None)
        if name in secrets or _SECRET.search(name) or _SECRET.search(dest):
            found[name.replace("-", "_")] = value if isinstance(value, bool) else value is not None
        else:
            found[name.replace("-", "_")] = _recorded(value)
    return found


def _recorded(value: Any) -> OptionValue:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [str(_recorded(one)) for one in value]
    text = str(value)
    return shown(text) if _ADDRESS.match(text) else text
