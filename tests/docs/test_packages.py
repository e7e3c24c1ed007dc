"""Each folder of the package says what it is for, what it may not know, and where to start reading: in files that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.folders import BEGIN, FOLDERS, PACKAGE, PAGE, row, said, table


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_folder_says_what_it_is_for(folder: Path) -> None:
    assert row(folder)
    for named in re.findall(r"`([\w/]+(?:\.py|/))`", said(folder)):
        assert any((base / named).exists() for base in (folder, PACKAGE)), f"there is no {named}"


def test_the_map_has_each_folder() -> None:
    assert BEGIN + table() in PAGE.read_text("utf-8"), "`make docs` writes the table"
