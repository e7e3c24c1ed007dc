"""One node process for any number of questions: JSON lines in, JSON lines out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class NodeFolder:
    """A folder that a setup.sh made, and the node to run its scripts with."""

    directory: Path
    node: str

    @classmethod
    def named(cls, variable: str, needed: Iterable[str]) -> Self | None:
        """The folder that an environment variable names; None without it, without what it must hold, or without node."""
        node, named = shutil.which("node"), os.environ.get(variable)
        if node is None or not named:
            return None
        directory = Path(named).resolve()
        return cls(directory, node) if all((directory / name).exists() for name in needed) else None

    def run(self, script: str, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """The answers of a script to some rows. Raises RuntimeError with what it said where it fails."""
        run = subprocess.run(
            [self.node, str(self.directory / script)],
            input="".join(json.dumps(row) + "\n" for row in rows),
            capture_output=True,
            encoding="utf-8",
            cwd=self.directory,
        )
        if run.returncode != 0:
            raise RuntimeError(f"{script} ended with code {run.returncode}: {run.stderr}")
        return [json.loads(line) for line in run.stdout.split("\n") if line]
