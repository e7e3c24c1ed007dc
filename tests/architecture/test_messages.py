"""Messages say what was expected and what was found, and never that something "is no" other thing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.architecture.imports import ROOT, SOURCE, read_modules

# "there is no record" says what is missing, and "is no longer" when something ended.
IS_NO = re.compile(r"(?<!there )\b(?:is|are|was|were) no\b(?! longer| more\b)", re.IGNORECASE)
# Folders whose messages are still to be reworded, with how many lines have such a one.
EXCEPTED = {"compiler/translate": 1}


def messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The texts of a module that are not docstrings, with their lines."""
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Constant) and isinstance(child.value, str) and not isinstance(node, ast.Expr):
                yield child.lineno, child.value


def test_no_message_says_what_something_is_not() -> None:
    found: dict[str, list[str]] = {}
    for module in read_modules().values():
        lines = {line for line, text in messages(ast.parse(module.path.read_text("utf-8"))) if IS_NO.search(text)}
        folder = str(module.path.parent.relative_to(SOURCE / "fhir_eligibility"))
        found.setdefault(folder, []).extend(f"{module.path.relative_to(ROOT)}:{line}" for line in sorted(lines))
    assert {folder: places for folder, places in found.items() if len(places) > EXCEPTED.get(folder, 0)} == {}


@pytest.mark.parametrize("text", ["{} is no Measure", "its members are no patients", "this Is no UID"])
def test_such_a_message_is_found(text: str) -> None:
    assert IS_NO.search(text)


@pytest.mark.parametrize(
    "text", ["There is no record of it", "expected a Measure, found a Group", "it is no longer read"]
)
def test_other_messages_are_left(text: str) -> None:
    assert not IS_NO.search(text)
