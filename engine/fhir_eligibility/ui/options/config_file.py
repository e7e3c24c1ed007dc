"""Options from a file: TOML, a section a command (`[screen]`, `[imaging.verify]`), and keys that are the long options without `--`.

A value means what it means on the command line (paths are from the current folder), and is checked in the same way. Secrets do not belong into
the file: they come from environment variables and from files of their own.
"""

from __future__ import annotations

import argparse
import datetime as dt
import difflib
import json
import re
import textwrap
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fhir_eligibility.data.http.credentials import SHAPE
from fhir_eligibility.ui.options.actions import Switch, usage_of
from fhir_eligibility.ui.options.argument_types import ArgumentType

SECRETS = ("password", "passwd", "secret", "token", "api-key", "apikey", "bearer", "authorization", "private-key")
NO_SECRETS = (
    "secrets do not belong into this file; credentials come from environment variables or from files of their own, which "
    "--auth, --data-auth, --terminology-auth and --dicomweb-auth name"
)
_SERVER = re.compile(f"{SHAPE.pattern}|client-id=[^,=]+,key=.+")
# Options whose value says where a credential is: what it may look like. Anything else could be the credential itself.
_NAMES_OF_CREDENTIALS = {
    "terminology_auth": _SERVER,
    "server_auth": _SERVER,
    "dicomweb_auth": SHAPE,
}
_KINDS: dict[type, str] = {
    str: 'text in quotes, such as "..."',
    int: "a whole number without quotes",
    float: "a number without quotes",
    bool: "true or false",
    list: 'a list, such as ["...", "..."]',
    dict: "a section",
    dt.date: "a date",
    dt.datetime: "a date and time",
    dt.time: "a time of day",
}


def read_config(path: Path, parser: argparse.ArgumentParser, actions: Iterable[argparse.Action]) -> dict[str, Any]:
    """The options that a file has for a command, of those it has, by destination. Raises ValueError that names file and line, and OSError."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; --write-config prints such a file") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8") from None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {error}; --write-config prints a file to begin with") from None
    return _Section(path, text, parser, actions).values(content)


class _Section:
    """The part of a file that is about one command."""

    def __init__(
        self, path: Path, text: str, parser: argparse.ArgumentParser, actions: Iterable[argparse.Action]
    ) -> None:
        self.path, self.lines, self.parser = path, text.splitlines(), parser
        self.names = tuple(parser.prog.split()[1:])
        self.actions = {key_of(action): action for action in actions}

    def values(self, content: dict[str, Any]) -> dict[str, Any]:
        found: Any = content
        for depth, name in enumerate(self.names):
            if name not in found:
                header, known = (
                    f"[{'.'.join(self.names)}]",
                    [f"[{'.'.join((*self.names[:depth], key))}]" for key in found],
                )
                holds = f"; it has {', '.join(known)}" if known else ""
                near = difflib.get_close_matches(header, known, n=1, cutoff=0.7)
                meant = f"; did you mean {header} where {near[0]} stands?" if near else holds
                raise ValueError(f"{self.path} has no section {header}{meant}")
            found = found[name]
            if not isinstance(found, dict):
                raise self._error(name, f"expected a section [{name}], found {_kind(found)}")
        values: dict[str, Any] = {}
        for key, value in found.items():
            action = self.actions.get(key)
            if action is None:
                raise self._unknown(key)
            self._check_secret(action, key, value)
            values[action.dest] = self._value(action, key, value)
        for group in self.parser._mutually_exclusive_groups:
            both = [key_of(action) for action in group._group_actions if values.get(action.dest)]
            if len(both) > 1:
                raise self._error(both[1], f"does not go with {both[0]}")
        return values

    def _unknown(self, key: str) -> ValueError:
        plain = key.removeprefix("--")
        near = [plain.replace("_", "-")] if plain.replace("_", "-") in self.actions else []
        near = near or difflib.get_close_matches(plain.lower(), list(self.actions), n=1, cutoff=0.6)
        if any(word in plain.lower().replace("_", "-") for word in SECRETS):
            return self._error(key, NO_SECRETS)
        meant = f"did you mean {near[0]}?" if near else "--write-config prints all keys"
        instead = getattr(self.parser, "replaced", {}).get(f"--{plain}")
        if instead is not None:
            option, _, value = instead.removeprefix("--").partition(" ")
            meant = f'write {option} = "{value}"'
        return self._error(key, f"`{' '.join(('eligibility', *self.names))}` has no such option; {meant}")

    def _check_secret(self, action: argparse.Action, key: str, value: Any) -> None:
        """Refuse credentials; they are not repeated in the message."""
        shape = _NAMES_OF_CREDENTIALS.get(action.dest)
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                continue
            if shape is not None and not shape.fullmatch(text):
                raise self._error(
                    key, f"expected the name of where the credential is, not the credential: {NO_SECRETS}"
                )
            if "://" in text and "@" in text:
                try:
                    held = urlsplit(text).password or urlsplit(text).username
                except ValueError:
                    continue
                if held:
                    raise self._error(key, f"the address holds credentials: {NO_SECRETS}")

    def _value(self, action: argparse.Action, key: str, value: Any) -> Any:
        if isinstance(action, Switch):
            if not isinstance(value, bool):
                raise self._error(key, f"expected true or false, found {_kind(value)}")
            return value
        if not is_list(action):
            return self._one(action, key, value)
        items = value if isinstance(value, list) else [value]
        if not items and action.nargs == "+":
            raise self._error(key, "the list is empty; leave the key out instead")
        return [self._one(action, key, item) for item in items]

    def _one(self, action: argparse.Action, key: str, value: Any) -> Any:
        kind = action.type
        allowed = kind.toml if isinstance(kind, ArgumentType) else (str,)
        expected = kind.expected if isinstance(kind, ArgumentType) else _KINDS[str]
        if isinstance(value, bool) or not isinstance(value, allowed):
            raise self._error(key, f"expected {expected}, found {_kind(value)}")
        text = value.isoformat() if isinstance(value, (dt.date, dt.time)) else str(value)
        try:
            found = self.parser._get_value(action, text)
            self.parser._check_value(action, found)
        except argparse.ArgumentError as error:
            raise self._error(key, error.message) from None
        return found

    def _error(self, key: str, message: str) -> ValueError:
        line = self._line(key)
        return ValueError(f"{self.path}{f':{line}' if line else ''}: {key}: {message}")

    def _line(self, key: str) -> int | None:
        """The line of a key in this section; of its first mention where the section is written in another way."""
        word = rf"(?:{re.escape(key)}|\"{re.escape(key)}\"|'{re.escape(key)}')"
        header = re.compile(
            r"\s*\[\s*" + r"\s*\.\s*".join(rf"[\"']?{re.escape(n)}[\"']?" for n in self.names) + r"\s*\]"
        )
        inside, elsewhere = False, None
        for number, line in enumerate(self.lines, 1):
            if re.match(r"\s*\[[^\[\],]*\]\s*(#.*)?$", line):
                inside = header.match(line) is not None
            elif inside and re.match(rf"\s*{word}\s*=", line):
                return number
            elif elsewhere is None and re.search(rf"(?:^|[\s.{{,]){word}\s*=", line):
                elsewhere = number
        return elsewhere


def key_of(action: argparse.Action) -> str:
    """The key of an option in the file: its long name without `--`; the name of an argument."""
    long = [name for name in action.option_strings if name.startswith("--")]
    return long[0].removeprefix("--") if long else action.dest.replace("_", "-")


def is_list(action: argparse.Action) -> bool:
    """Whether an option takes several values."""
    return action.nargs in ("+", "*") or isinstance(action, argparse._AppendAction)


def write_config(
    program: str, sections: Iterable[tuple[str | None, Sequence[argparse.Action]]], options: argparse.Namespace
) -> str:
    """A file with all options of a command: those that were given as they are, the others as comments with what they are by default.

    Raises ValueError for a value that TOML cannot hold.
    """
    lines = [
        f"# Options of `{program}`: {program} --config FILE",
        "# A key is a long option without --. What is given on the command line wins. Paths are from the current folder.",
        "# Secrets do not belong here: they come from environment variables and files of their own.",
        "",
        f"[{'.'.join(program.split()[1:])}]",
    ]
    for title, actions in sections:
        lines += ["", f"# -- {title}"] if title else [""]
        for action in actions:
            lines += [""] + [f"# {line}" for line in textwrap.wrap(_help(action), 118)]
            value = vars(options).get(action.dest)
            if action.dest in options.given:
                lines.append(f"{key_of(action)} = {_toml(action, value)}")
            elif value in (None, []):
                lines.append(f"# {key_of(action)} = {_example(action)}")
            else:
                lines.append(f"# {key_of(action)} = {_toml(action, value)}")
    return "\n".join(lines) + "\n"


def _help(action: argparse.Action) -> str:
    text = (action.help or action.dest.replace("_", " ")) % {"default": action.default, "prog": ""}
    shown = "" if isinstance(action, Switch) else f" ({usage_of(action)})"
    return f"{text}{shown}"


def _example(action: argparse.Action) -> str:
    """What stands where there is no value; it is a comment."""
    shown = str(action.metavar or action.dest.upper())
    return f'["{shown}"]' if is_list(action) else f'"{shown}"'


def _toml(action: argparse.Action, value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_toml(action, item) for item in value)}]"
    if isinstance(action.type, ArgumentType):
        value = action.type.write(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value!r}"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    if any(0xD800 <= ord(character) < 0xE000 for character in text):
        raise ValueError(f"{text!r} cannot be written into a file of options: it is not text")
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _kind(value: Any) -> str:
    found = next((name for kind, name in _KINDS.items() if type(value) is kind), "another value")
    return f"{found.partition(',')[0]}" if not isinstance(value, (str, int, float)) else f"{json.dumps(value)}"
