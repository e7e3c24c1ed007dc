"""Code of the documentation that stands before what it prints: a block of commands or Python, and behind it a block of text.

`python -m tests.docs.outputs` writes what is printed now into the pages; tests/docs/test_outputs.py holds them to it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import ROOT

PAGES = ("ARCHITECTURE.md", "docs/api.md")
PAIR = re.compile(r"^```(console|python)\n(.*?)^```\n\n```text\n(.*?)^```\n", re.DOTALL | re.MULTILINE)


@contextlib.contextmanager
def checkout() -> Iterator[Path]:
    """A folder that looks like the checkout, for commands that write into the current folder."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        programs(Path(name))
        for each in ("criteria", "engine", "tests", "docs", "examples", "pyproject.toml"):
            (Path(name) / each).symlink_to(ROOT / each)
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


def programs(folder: Path) -> None:
    """`eligibility` and `python` in `folder/bin`: those of this environment, whatever package PYTHONPATH leads to."""
    (folder / "bin").mkdir()
    for name, call in (("eligibility", "-m fhir_eligibility.ui.commands.cli"), ("python", "")):
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {call} "$@"\n', "utf-8")
        script.chmod(0o755)


def printed(kind: str, code: str) -> str:
    """What commands or Python print, in the current folder."""
    if kind == "python":
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, "example", "exec"), {"__name__": "example"})
        return out.getvalue()
    found = []
    for line in re.sub(r"\\\n\s*", "", code).splitlines():
        path = f"{Path('bin').resolve()}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "COLUMNS": "120", "NO_COLOR": "1", "FHIR_ELIGIBILITY_CACHE": "off"}
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line.removeprefix("$ ")], env=environment, capture_output=True, text=True
        )
        assert done.returncode in (0, 1), f"{line}\n{done.stdout}\n{done.stderr}"
        found.append(done.stdout + done.stderr)
    lines = "".join(found).replace(str(ROOT) + "/", "").splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def refreshed(text: str) -> str:
    """A page with what its code prints now, block after block in one folder."""

    def again(match: re.Match[str]) -> str:
        kind, code, _ = match.groups()
        return f"```{kind}\n{code}```\n\n```text\n{printed(kind, code)}```\n"

    return PAIR.sub(again, text)


def main() -> None:
    for page in PAGES:
        path = ROOT / page
        with checkout():
            text = refreshed(path.read_text("utf-8"))
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
