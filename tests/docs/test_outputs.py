"""What pages say that code prints is what it prints: the walks of ARCHITECTURE.md and the examples of docs/api.md."""

from __future__ import annotations

import pytest

from tests.docs.outputs import ALONE, PAGES, PAIR, checkout, printed
from tests.docs.pages import ROOT

SHOWN = [(page, match) for page in PAGES for match in PAIR.finditer((ROOT / page).read_text("utf-8"))]
# Code behind which no output stands, by page: how many blocks there are, so that none is passed over unseen.
WITHOUT_OUTPUT = {"ARCHITECTURE.md": 0, "CONTRIBUTING.md": 0, "docs/api.md": 0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "match"), SHOWN, ids=[f"{page}-{match[2].splitlines()[0][:60]}" for page, match in SHOWN]
)
def test_what_is_shown_is_what_is_printed(page: str, match: object) -> None:
    kind, code, shown = match.groups()  # type: ignore[attr-defined]
    with checkout():
        assert printed(kind, code) == shown, f"{page}: `python -m tests.docs.outputs` writes what is printed now"


@pytest.mark.parametrize("page", PAGES)
def test_no_code_stands_alone(page: str) -> None:
    assert len(ALONE.findall((ROOT / page).read_text("utf-8"))) == WITHOUT_OUTPUT[page]
    assert PAIR.findall((ROOT / page).read_text("utf-8"))
