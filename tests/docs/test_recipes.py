"""The recipes of CONTRIBUTING.md hold: each is carried out on a copy of the package, and prints what the page says."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from fhir_eligibility.algebra.reasons import Reason
from tests.docs.pages import ROOT
from tests.docs.recipes import TRIED, carried_out, files_touched, recipes

RECIPES = recipes()
COUNTED = re.compile(r"^(No|One|Two|Three|Four) files? of the package\b", re.MULTILINE)
NUMBERS = ("No", "One", "Two", "Three", "Four")


@pytest.mark.slow
@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe(title: str, tmp_path: Path) -> None:
    (tried,) = TRIED.finditer(RECIPES[title])
    shown = textwrap.dedent(tried[3])
    assert shown and carried_out(RECIPES[title], tmp_path) == shown, "`python -m tests.docs.recipes` writes it"


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_touches_as_many_files_as_it_says(title: str) -> None:
    touched = files_touched(RECIPES[title])
    said = COUNTED.search(RECIPES[title])
    assert said is not None, "the first sentence says how many files of the package are touched"
    assert NUMBERS.index(said[1]) == len(touched) <= 1, touched


def test_each_recipe_is_tried() -> None:
    titles = re.findall(r"^### (.*)$", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE)
    assert [title for title in titles if title not in RECIPES] == []


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_is_in_the_page_of_verdicts(reason: Reason) -> None:
    assert f"`{reason.value}`" in (ROOT / "docs" / "verdicts.md").read_text("utf-8")
