"""What a version of FHIR has is asked of its model: nothing in the package compares the name of a version."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from fhir_eligibility.artifacts.models import VERSIONS
from tests.architecture.imports import ROOT, read_modules

# Where a version's own text defines an operator otherwise, no model tells.
EXCEPTED = {"fhir_eligibility.compiler.translate.fhirpath": 1}


def compared(tree: ast.AST) -> Iterator[int]:
    """The lines on which something is compared with the name of a version, or looked for among such names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(_names_a_version(one) for one in (node.left, *node.comparators)):
            yield node.lineno
        if isinstance(node, ast.Dict) and sum(_names_a_version(key) for key in node.keys if key is not None) > 1:
            yield node.lineno


def _names_a_version(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=str(text)):
            return text in VERSIONS
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
            return any(map(_names_a_version, items))
    return False


def test_nothing_compares_the_name_of_a_version() -> None:
    found = {}
    for name, module in read_modules().items():
        if ".artifacts.models" in name:  # where the versions are named, and their tables made
            continue
        lines = list(compared(ast.parse(module.path.read_text("utf-8"))))
        if len(lines) > EXCEPTED.get(name, 0):
            found[str(module.path.relative_to(ROOT))] = lines
    assert found == {}


@pytest.mark.parametrize(
    "text",
    ["x == 'r5'", "'r4' != x.version", "x in ('r4', 'r4b')", "{'r4': 1, 'r5': 2}[x]"],
)
def test_comparisons_are_found(text: str) -> None:
    assert list(compared(ast.parse(text))) == [1]


@pytest.mark.parametrize("text", ["load_model('r4')", "x or 'r4'", "x == 'left'", "def f(version='r4'): pass"])
def test_other_uses_of_a_name_are_left(text: str) -> None:
    assert list(compared(ast.parse(text))) == []
