"""Pages have one sentence a line."""

from __future__ import annotations

import pytest

from tests.docs.pages import PAGES, ROOT
from tests.docs.sentences import reflowed, sentences


@pytest.mark.parametrize("page", PAGES)
def test_one_sentence_a_line(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    wrong = [line for line in text.splitlines() if line not in reflowed(text).splitlines()]
    assert text == reflowed(text), f"`python -m tests.docs.sentences` breaks these lines: {wrong[:3]}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One. Two.", ["One.", "Two."]),
        ("It is `x. Y` here. `y` is there.", ["It is `x. Y` here.", "`y` is there."]),
        (
            "Of 1.5 mg, e.g. Aspirin (v. 2.0). **Bold.** More",
            ["Of 1.5 mg, e.g. Aspirin (v. 2.0).", "**Bold.**", "More"],
        ),
        ('"Missing." Then... Else? No', ['"Missing."', "Then... Else?", "No"]),
        ("in lower case. no sentence", ["in lower case. no sentence"]),
    ],
)
def test_sentences(text: str, found: list[str]) -> None:
    assert sentences(text) == found


def test_items_tables_and_code_stay_what_they_are() -> None:
    text = "# A. B\n\n- One. Two\n  goes on.\n\n| a. B | c |\n\n```text\nx. Y\n```\n"
    assert reflowed(text) == "# A. B\n\n- One.\n  Two goes on.\n\n| a. B | c |\n\n```text\nx. Y\n```\n"


@pytest.mark.parametrize("page", PAGES)
def test_no_control_characters(page: str) -> None:
    assert [c for c in (ROOT / page).read_text("utf-8") if c < " " and c != "\n"] == []
