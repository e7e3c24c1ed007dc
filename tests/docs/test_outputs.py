"""What pages say that code prints is what it prints: the walks of ARCHITECTURE.md and the examples of docs/api.md."""

from __future__ import annotations

import re

import pytest

from tests.docs.outputs import PAGES, PAIR, checkout, printed
from tests.docs.pages import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_what_is_shown_is_what_is_printed(page: str) -> None:
    with checkout():
        for kind, code, shown in PAIR.findall((ROOT / page).read_text("utf-8")):
            assert printed(kind, code) == shown, f"{page}: `python -m tests.docs.outputs` writes what is printed now"


@pytest.mark.parametrize("page", PAGES)
def test_no_code_stands_alone(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    shown = PAIR.findall(text)
    assert shown and len(shown) == len(re.findall(r"^```(?:console|python)$", text, re.MULTILINE))
    assert all(output for _, _, output in shown)
