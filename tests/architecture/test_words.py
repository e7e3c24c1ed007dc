"""Names are plain words and the field's own terms: none is made of the metaphors that were used once."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.architecture.imports import SOURCE, read_modules

PRIVATE = re.compile(
    r"(?:^|_)(?i:told|bare|solid|settles?|settled|settling|turns?|growths?|short_way)(?:_|$)|Told|Bare|Solid|Settl|Growth"
)


def given_names(tree: ast.Module) -> Iterator[str]:
    """The names that a module gives: of classes, functions, parameters, variables and attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def test_no_name_is_a_private_word() -> None:
    found = {}
    for module in read_modules().values():
        names = {name for name in given_names(ast.parse(module.path.read_text("utf-8"))) if PRIVATE.search(name)}
        if names:
            found[str(module.path.relative_to(SOURCE / "fhir_eligibility"))] = sorted(names)
    assert found == {}


@pytest.mark.parametrize("name", ["told", "_told_of", "MOST_TOLD", "Settled", "turn_of", "mark_bare", "GrowthFinder"])
def test_such_a_name_is_found(name: str) -> None:
    assert PRIVATE.search(name)


@pytest.mark.parametrize("name", ["returned", "barely", "consolidated", "turned", "growing"])
def test_other_names_are_left(name: str) -> None:
    assert not PRIVATE.search(name)
