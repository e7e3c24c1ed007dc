"""What a further output format says of itself and is given, and which there are: each module of this folder that has a FORMAT."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from fhir_eligibility.output.criteria_record import CriteriaRecord
from fhir_eligibility.output.folder import OutputFolder

Json = dict[str, Any]


class WrittenVerdicts(Struct, frozen=True):
    """The verdicts of a run, all of which are written: `path` is the verdicts.ndjson, `criteria` what its lines have in common."""

    path: Path
    criteria: CriteriaRecord

    def __iter__(self) -> Iterator[Json]:
        """The verdicts as JSON, in the order of the data, each with all that belongs to it (`eligibility schema verdict`)."""
        completed = self.criteria.completed()
        with self.path.open("rb") as lines:
            for line in lines:
                verdict = msgspec.json.decode(line)
                yield completed[verdict["artifact"], verdict.get("artifact_version")].completed(verdict)


class OutputFormat(Protocol):
    """A further format of the outputs of a screening. The option, its help, the documentation and the claim on file names are made of what it says."""

    @property
    def name(self) -> str:
        """What it is called: `parquet` is asked for by `--parquet`, or by `RunOptions(formats=["parquet"])`."""
        ...

    @property
    def help(self) -> str:
        """What its option does, as the help of the command has it: "write ... too"."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its files in the output folder, none of which another output has."""
        ...

    def check(self) -> None:
        """Whether it can be written here, which is asked before anything is read. Raises ValueError with what to do."""
        ...

    def write(self, verdicts: WrittenVerdicts, folder: OutputFolder) -> None:
        """Write its files, which appear together with the other outputs. Raises OSError."""
        ...


@cache
def output_formats() -> Mapping[str, OutputFormat]:
    """All formats by name."""
    folder = str(Path(__file__).parent)
    modules = [import_module(f"{__package__}.{found.name}") for found in iter_modules([folder])]
    formats: list[OutputFormat] = [module.FORMAT for module in modules if hasattr(module, "FORMAT")]
    return {one.name: one for one in sorted(formats, key=lambda one: one.name)}


def chosen_formats(names: Iterable[str]) -> list[OutputFormat]:
    """The formats of some names, each of which can be written here. Raises ValueError."""
    known = output_formats()
    chosen = []
    for name in names:
        if name not in known:
            raise ValueError(f"unknown output format {name!r}; known are {', '.join(known)}")
        known[name].check()
        chosen.append(known[name])
    return chosen
