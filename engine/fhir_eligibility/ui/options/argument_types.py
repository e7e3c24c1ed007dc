"""What options take: amounts of memory, counts, shares, seconds, dates, time zones, addresses, paths. One set for all commands.

Each type says what it expected where it is given something else, on the command line and in a file of options (`--config`), where TOML's own
numbers and dates may stand.
"""

from __future__ import annotations

import argparse
import datetime as dt
import difflib
import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any, Generic, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from msgspec import Struct

from fhir_eligibility.runners.large.machine import cores, machine_memory

T = TypeVar("T")
LEAST_MEMORY = 1_000_000
MOST_JOBS = 1024
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


class ArgumentType(Struct, Generic[T], frozen=True):
    """Reads the text of an option. `expected` goes into messages; `toml` lists the types that a file may give it as."""

    read: Callable[[str], T]
    expected: str
    toml: tuple[type, ...] = (str,)
    write: Callable[[T], Any] = str

    def __call__(self, text: str) -> T:
        """The value. Raises ArgumentTypeError, which says what was expected."""
        try:
            return self.read(text)
        except (ValueError, OverflowError) as error:
            said = str(error) if isinstance(error, RefusedArgument) else f"expected {self.expected}, found {text!r}"
            raise argparse.ArgumentTypeError(said) from None


class RefusedArgument(ValueError):
    """Why a text is refused, in words of its own."""


class Limit(Struct, frozen=True):
    """A count, or a share of all: `5` or `2%`."""

    amount: float
    percent: bool = False

    def exceeded(self, count: int, total: int) -> bool:
        """Whether `count` of `total` is more than this."""
        return count * 100 > self.amount * total if self.percent else count > self.amount

    def __str__(self) -> str:
        return f"{self.amount:g}{'%' if self.percent else ''}"


def _memory(text: str) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)(B?)\s*", text, re.IGNORECASE)
    if match is None:
        raise ValueError(text)
    number, letter, binary, byte = match.groups()
    if not letter and not byte:
        rounded = f"{float(number) / 1e6:.0f}MB" if float(number) >= 1e6 else f"{number}MB"
        raise RefusedArgument(f"{number} bytes? write {rounded}")
    if binary and not letter:
        raise ValueError(text)
    size = int(float(number) * (_BINARY if binary else _UNITS)[letter.upper()])
    if size < LEAST_MEMORY:
        raise RefusedArgument(f"{text} is too little; write 800MB or more")
    if size > machine_memory():
        raise RefusedArgument(f"{text} is more than this machine has ({machine_memory() / 1e9:.1f}GB)")
    return size


def _jobs(text: str) -> int:
    jobs = _whole(text)
    if jobs < 1:
        raise RefusedArgument(f"{jobs} processes cannot run; leave the option out for one a core ({cores()} here)")
    if jobs > MOST_JOBS:
        raise RefusedArgument(f"{jobs} are too many processes; this machine has {cores()} cores")
    return jobs


def too_many_jobs(jobs: int) -> str | None:
    """A sentence where more processes are asked for than help."""
    if jobs <= 4 * cores():
        return None
    return f"--jobs {jobs}: this machine has {cores()} cores; more processes take more memory and are not faster"


def _whole(text: str) -> int:
    if not re.fullmatch(r"\s*[-+]?[0-9]+\s*", text):
        raise ValueError(text)
    return int(text)


def whole_number(least: int, most: int | None = None) -> ArgumentType[int]:
    """A whole number in a range."""

    def read(text: str) -> int:
        value = _whole(text)
        if value < least or (most is not None and value > most):
            raise ValueError(text)
        return value

    expected = f"a whole number of {least} or more" if most is None else f"a whole number from {least} to {most}"
    return ArgumentType(read, expected, (int,), int)


def number(least: float, expected: str, *, above: bool = False, most: float = math.inf) -> ArgumentType[float]:
    """A number of `least` or more, or of more than that (`above`)."""

    def read(text: str) -> float:
        value = float(text)
        if not math.isfinite(value) or value < least or (above and value == least) or value > most:
            raise ValueError(text)
        return value

    return ArgumentType(read, expected, (int, float), float)


def _limit(text: str) -> Limit:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", text)
    if match is None:
        raise ValueError(text)
    amount, percent = float(match[1]), bool(match[2])
    if not percent and not amount.is_integer():
        raise RefusedArgument(f"expected a count such as 20, or a share: did you mean {match[1]}%?")
    if percent and amount > 100:
        raise RefusedArgument(f"{text} is more than all; a share is at most 100%")
    return Limit(amount, percent)


def _moment(text: str) -> str:
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        raise RefusedArgument(
            f"{text!r} is not a date or time; write 2026-03-01 or 2026-03-01T09:00:00+01:00"
        ) from None
    return text


def _instant(text: str) -> str:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise RefusedArgument(f"{text!r} is not a point in time; write 2026-03-01T00:00:00Z") from None
    if moment.tzinfo is None or "T" not in text:
        raise RefusedArgument(f"{text!r} must be whole and have a time zone, as 2026-03-01T00:00:00Z")
    return text


@cache
def _zones() -> dict[str, str]:
    """The names of all time zones, by the name in small letters."""
    return {name.lower(): name for name in available_timezones()}


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        names = _zones()
        near = difflib.get_close_matches(text.lower(), list(names), n=1, cutoff=0.7)
        meant = f"did you mean {names[near[0]]}?" if near else "write a name such as Europe/Paris or UTC"
        raise RefusedArgument(f"unknown time zone {text!r}; {meant}") from None
    return text


def _address(text: str) -> str:
    if not re.match(r"https?://[^/\s]", text, re.IGNORECASE):
        raise RefusedArgument(
            _about_scheme(text) or f"{_without_credentials(text)!r} is not an address; write https://host/..."
        )
    return text


def _about_scheme(text: str) -> str | None:
    """What is wrong with an address of another scheme; None for what is not an address. `C:/folder` on Windows is none."""
    match = _ADDRESS.match(text)
    text = _without_credentials(text)
    if match is None or re.match(r"https?://[^/\s]", text, re.IGNORECASE):
        return None
    scheme, rest = match[1].lower(), text[text.index(":/") + 2 :].lstrip("/")
    if scheme in ("http", "https"):
        return f"{text!r}: an address has two slashes and a host after the colon; did you mean {scheme}://{rest or 'host'}?"
    near = difflib.get_close_matches(scheme, ["https", "http"], n=1, cutoff=0.5)
    meant = f"; did you mean {near[0]}://{rest}?" if near else ""
    return f"{text!r}: addresses begin with https:// or http://{meant}"


def _without_credentials(text: str) -> str:
    return re.sub(r"//[^/]*@", "//...@", text)


def _path(text: str) -> str:
    if not text.strip():
        raise RefusedArgument("a path is empty; write . for the current folder")
    return text


def _path_or_address(text: str) -> str:
    about = _about_scheme(text)
    if about is not None:
        raise RefusedArgument(about)
    return _path(text)


MEMORY = ArgumentType(_memory, "an amount of memory such as 800MB or 6GB", (str, int), lambda size: f"{size}B")
JOBS = ArgumentType(_jobs, "a whole number of processes", (int,), int)
COUNT = whole_number(0)
LIMIT = ArgumentType(_limit, "a count such as 20, or a share such as 2%", (str, int))
SECONDS = number(0, "a number of seconds, 0 or more")
MOMENT = ArgumentType(_moment, "a date or time such as 2026-03-01", (str, dt.date, dt.datetime))
INSTANT = ArgumentType(_instant, "a point in time with its zone, such as 2026-03-01T00:00:00Z", (str, dt.datetime))
ZONE = ArgumentType(_zone, "a time zone such as Europe/Paris or UTC")
ADDRESS = ArgumentType(_address, "an address that begins with https:// or http://")
PATH = ArgumentType(_path, "a path")
PATH_OR_ADDRESS = ArgumentType(_path_or_address, "a path, or an address that begins with https:// or http://")
