"""Values are reached through the elements of their types: no Python attribute is ever chosen by a name from an author or from data."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What is on the way from a definition and a record to a verdict.
FOLDERS = ("algebra", "artifacts", "compiler", "data", "evaluation", "output")
# Ways to an attribute whose name is a value.
BY_NAME = frozenset(("getattr", "setattr", "delattr", "hasattr", "vars", "eval", "attrgetter", "methodcaller"))
DUNDERS = frozenset(("__dict__", "__getattribute__", "__globals__", "__builtins__", "__subclasses__"))
# Each with the reason why its name is neither an author's nor a record's.
ALLOWED = {
    (
        "compiler/criteria/fhirpath_code.py",
        "getattr(self, one.name)",
    ): "pickles itself: the names are those of its own fields",
    (
        "compiler/criteria/fhirpath_code.py",
        "setattr(self, name, value)",
    ): "unpickles itself: the names are those of its own fields",
    ("compiler/criteria/library.py", "getattr(self, name)"): "pickles itself: the names are those of its own fields",
    (
        "compiler/emit/guard.py",
        "getattr(node, field)",
    ): "walks a syntax tree: the fields are those of a closed table in this file",
    (
        "compiler/runtime/membership.py",
        "getattr(self.source, name, None)",
    ): "asks a terminology for one of three methods named in this file",
    (
        "data/records/record_shape.py",
        "attrgetter(*names)",
    ): "looks at structs that this file makes, whose attributes are numbered by it",
    (
        "data/records/record_shape.py",
        "attrgetter(attributes[name])",
    ): "looks at structs that this file makes, whose attributes are numbered by it",
    ("data/server/folder.py", "getattr(state, name)"): "writes its own state: the names are its own __slots__",
}


def uses(path: Path) -> list[str]:
    """Each use of an attribute by a name that does not stand in the text as a constant, as text."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
            constant = len(node.args) > 1 and isinstance(node.args[1], ast.Constant)
            if name in BY_NAME and not (constant and name in ("getattr", "hasattr")):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Attribute) and node.attr in DUNDERS:
            found.append(ast.unparse(node))
    return found


def all_uses() -> set[tuple[str, str]]:
    return {
        (str(path.relative_to(ROOT / "engine" / "fhir_eligibility")), use)
        for folder in FOLDERS
        for path in sorted((ROOT / "engine" / "fhir_eligibility" / folder).rglob("*.py"))
        for use in uses(path)
    }


def test_no_attribute_is_reached_by_a_name_that_is_a_value() -> None:
    assert all_uses() - ALLOWED.keys() == set()


def test_every_exception_is_needed() -> None:
    assert ALLOWED.keys() - all_uses() == set()


@pytest.mark.parametrize(
    "text",
    [
        "getattr(value, name)",
        "getattr(value, name, None)",
        "setattr(value, 'x', 1)",
        "vars(value)[name]",
        "value.__dict__[name]",
        "operator.attrgetter(name)(value)",
        "object.__getattribute__(value, name)",
        "eval(text)",
    ],
)
def test_the_rule_sees_every_way(tmp_path: Path, text: str) -> None:
    file = tmp_path / "module.py"
    file.write_text(text)
    assert uses(file)
