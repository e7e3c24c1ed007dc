"""Each folder of the package says what it is for, what it may not know, and where to start reading: in files that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

PACKAGE = ROOT / "engine" / "fhir_eligibility"
FOLDERS = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_folder_says_what_it_is_for(folder: Path) -> None:
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
    paragraphs = said.split("\n\n")
    assert paragraphs[0] and paragraphs[0].rstrip().endswith((".", ":")), "what it is for"
    assert re.search(r"^May not know: ", said, re.MULTILINE), "what it may not know"
    start = re.search(r"^Start with .*", said, re.MULTILINE | re.DOTALL)
    assert start, "where to start reading"
    for named in re.findall(r"`([\w/]+(?:\.py|/))`", said):
        assert any((base / named).exists() for base in (folder, PACKAGE)), f"there is no {named}"
