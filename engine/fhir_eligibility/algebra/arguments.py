"""What callers from Python hand over, checked before anything is done with it: TypeError and ValueError say what was expected and what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from os import PathLike as FileSystemPath
from pathlib import Path
from typing import Any

PathLike = str | Path


def found(value: object) -> str:
    """A value in a message: its type, and itself where it is a short text or a number."""
    shown = repr(value) if isinstance(value, (str, int, float, bool, type(None))) else ""
    kind = value.__class__.__name__
    return f"{shown[:60]} ({kind})" if shown and value is not None else shown or f"a value of type {kind}"


def path_of(value: object, what: str) -> Path:
    """A file or folder. Raises TypeError for what is no path, ValueError for an empty one."""
    if isinstance(value, (str, Path)):
        text = str(value)
    elif isinstance(value, FileSystemPath):
        text = value.__fspath__()
    else:
        raise TypeError(f"{what}: expected a path, found {found(value)}")
    if not isinstance(text, str):
        raise TypeError(f"{what}: expected a path as text, found {found(text)}")
    if not text.strip() or value == "" or "\0" in text:
        raise ValueError(
            f"{what}: the path is empty" if not text.strip() else f"{what}: expected a path, found {text!r}"
        )
    return Path(text)


def existing(value: object, what: str) -> Path:
    """A file or folder that is there. Raises FileNotFoundError as well."""
    path = path_of(value, what)
    if not path.exists():
        raise FileNotFoundError(f"{what}: {path} does not exist")
    return path


def paths_of(value: object, what: str) -> list[Path]:
    """Files and folders that are there: one, or several of them."""
    if isinstance(value, (str, FileSystemPath)):
        return [existing(value, what)]
    if isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"{what}: expected a path or several, found {found(value)}")
    return [existing(item, what) for item in value]


def flag(value: object, what: str) -> bool:
    """True or False, and nothing that merely counts as one."""
    if not isinstance(value, bool):
        raise TypeError(f"{what}: expected True or False, found {found(value)}")
    return value


def text_of(value: object, what: str) -> str:
    """A text."""
    if not isinstance(value, str):
        raise TypeError(f"{what}: expected a text, found {found(value)}")
    return value


def one_of(value: object, what: str, allowed: tuple[str, ...]) -> str:
    """One of some words."""
    words = " or ".join(map(repr, allowed))
    if not isinstance(value, str):
        raise TypeError(f"{what}: expected {words}, found {found(value)}")
    if value not in allowed:
        raise ValueError(f"{what}: expected {words}, found {value!r}")
    return value


def function_of(value: object, what: str) -> Callable[..., Any] | None:
    """A function, or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{what}: expected a function, found {found(value)}")
    return value


def instance_of(value: Any, kind: type | tuple[type, ...], what: str, expected: str) -> Any:
    """A value of a type; `expected` says in words which."""
    if not isinstance(value, kind):
        raise TypeError(f"{what}: expected {expected}, found {found(value)}")
    return value


def mapping_of(value: object, what: str) -> dict[Any, Any]:
    """A mapping, or none for None."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{what}: expected a mapping, found {found(value)}")
    return dict(value)


def named(value: object, what: str, values: type | None = None) -> dict[str, Any]:
    """A mapping from names; with `values`, to values of that type."""
    out = mapping_of(value, what)
    for name, content in out.items():
        if not isinstance(name, str):
            raise TypeError(f"{what}: expected names as texts, found {found(name)}")
        if values is not None and not isinstance(content, values):
            raise TypeError(f"{what}: expected {values.__name__} for {name!r}, found {found(content)}")
    return out


def several(value: object, what: str) -> list[Any]:
    """The items of a list or the like; a text is none."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"{what}: expected a list, found {found(value)}")
    return list(value)


def number_of(value: object, what: str) -> float:
    """A positive number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what}: expected a number, found {found(value)}")
    if not 0 < value < float("inf"):
        raise ValueError(f"{what}: expected a positive number, found {value!r}")
    return value
