"""What every suite has in common: what became of its cases, and where it is found."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.inputs import ROOT as ROOT
from tests.inputs import SHARED, unpacked

Invalid = Literal["syntax", "semantic", "execution"]


def conformance_dir() -> Path:
    """The folder of the official suites: that of the archives beside the tests, or another edition, which `CONFORMANCE_DIR` names."""
    named = os.environ.get("CONFORMANCE_DIR")
    return Path(named) if named else unpacked() / "conformance"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one case; `detail` says what was expected and what came instead, and is empty for a pass."""

    name: str
    group: str
    expression: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite: the file or folder that must be there, and the function that runs it.

    Where its content may not be handed on (not `bundled`), it is looked for in the folder `SHARED_DIR`.
    """

    name: str
    file: str
    run: Callable[[Path], list[Result]]
    bundled: bool = True

    def path(self) -> Path:
        return (conformance_dir() if self.bundled else SHARED) / self.file

    def missing(self) -> str | None:
        """Why the suite cannot run here, or None."""
        path = self.path()
        if path.exists():
            return None
        why = (
            "CONFORMANCE_DIR names it"
            if self.bundled
            else "it may not be handed on; SHARED_DIR names a folder that has it"
        )
        return f"{path} is not there ({why})"


@dataclass(frozen=True, slots=True)
class Report:
    """The results of one suite, held against the known gaps."""

    suite: str
    results: list[Result]
    unlisted_failures: list[Result] = field(default_factory=list)
    unexpected_passes: list[Result] = field(default_factory=list)
    stale_gaps: list[str] = field(default_factory=list)

    @property
    def passed(self) -> int:
        return sum(result.passed for result in self.results)

    @property
    def as_expected(self) -> bool:
        """Whether exactly the listed gaps fail; a suite that ran no case is not as expected."""
        return bool(self.results) and not (self.unlisted_failures or self.unexpected_passes or self.stale_gaps)

    def surprises(self) -> list[str]:
        """One line for each thing that does not agree with the list of gaps."""
        return [
            *(() if self.results else (f"the suite {self.suite} ran no case",)),
            *(
                f"fails, and is not listed: {r.name}: {r.expression.strip()} -- {r.detail}"
                for r in self.unlisted_failures
            ),
            *(f"passes, but is listed as a gap: {r.name}" for r in self.unexpected_passes),
            *(f"is listed as a gap, but the suite has no such test: {name}" for name in self.stale_gaps),
        ]
