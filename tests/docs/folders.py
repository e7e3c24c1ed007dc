"""The table of all folders of the package in ARCHITECTURE.md, from what each says of itself. `python -m tests.docs.folders` writes it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.docs.pages import ROOT
from tests.docs.sentences import sentences

PACKAGE = ROOT / "engine" / "fhir_eligibility"
PAGE = ROOT / "ARCHITECTURE.md"
ORDER = ("algebra", "artifacts", "compiler", "data", "evaluation", "output", "runners", "ui")
BEGIN, END = "<!-- written by `make docs` -->\n", "<!-- to here -->\n"
HEAD = "| folder | what it is for | what it may not know | start with |\n|---|---|---|---|\n"
FOLDERS = sorted(
    (path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE),
    key=lambda folder: (ORDER.index(folder.relative_to(PACKAGE).parts[0]), folder),
)


def said(folder: Path) -> str:
    """What a folder says of itself."""
    return ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""


def row(folder: Path) -> str:
    """The row of a folder. Raises AssertionError where it does not say what it has to."""
    text = said(folder)
    purpose = " ".join(text.partition("\n\n")[0].split())
    unknown = re.search(r"^May not know: (.*?)(?=^Start with |\Z)", text, re.MULTILINE | re.DOTALL)
    start = re.search(r"^Start with (.*)", text, re.MULTILINE | re.DOTALL)
    assert purpose.endswith((".", ":")), f"{folder}: what is it for?"
    assert unknown is not None, f"{folder}: what may it not know?"
    assert start is not None, f"{folder}: where does one start reading?"
    cells = [sentences(purpose)[0], sentences(" ".join(unknown[1].split()))[0], " ".join(start[1].split())]
    name = folder.relative_to(PACKAGE)
    return f"| `{name}/` | {' | '.join(cell.rstrip('.') for cell in cells)} |\n"


def table() -> str:
    """The table of all folders."""
    return HEAD + "".join(map(row, FOLDERS))


def main() -> None:
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
