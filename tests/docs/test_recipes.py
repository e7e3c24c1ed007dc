"""The recipes of CONTRIBUTING.md hold: each is carried out on a copy of the package, and prints what the page says."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from fhir_eligibility.algebra.reasons import Reason
from tests.docs.pages import ROOT
from tests.docs.recipes import TRIED, carried_out, files_touched, put, recipes

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
    assert NUMBERS.index(said[1]) == len(touched), touched
    # a reason is in the closed list, and is given somewhere else
    assert len(touched) <= 1 or title == "Add a reason", touched


def test_each_recipe_is_tried() -> None:
    titles = re.findall(r"^### (.*)$", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE)
    assert [title for title in titles if title not in RECIPES] == []


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_is_in_the_page_of_verdicts(reason: Reason) -> None:
    assert f"`{reason.value}`" in (ROOT / "docs" / "verdicts.md").read_text("utf-8")


def test_what_a_recipe_makes_may_be_there_already(tmp_path: Path) -> None:
    module = tmp_path / "arithmetic.py"
    module.write_text("first = 1\n", "utf-8")
    for _ in range(2):
        put("Add to `arithmetic.py`:", "second = 2\n", tmp_path)
        put("In `arithmetic.py`, behind `first = 1`, add:", "between = 1.5\n", tmp_path)
    assert module.read_text("utf-8") == "first = 1\nbetween = 1.5\n\n\nsecond = 2\n"


def test_a_form_that_another_module_has_gives_way_to_that_of_the_recipe(tmp_path: Path) -> None:
    other = tmp_path / "other.py"
    other.write_text('FORMS = {"definitionA": a_form, "definitionB": b_form}\n', "utf-8")
    put("Write `page.py`:", 'FORMS = {"definitionA": page_form}\n', tmp_path)
    assert other.read_text("utf-8") == 'FORMS = {"definitionB": b_form}\n'
    assert (tmp_path / "page.py").read_text("utf-8") == 'FORMS = {"definitionA": page_form}\n'
