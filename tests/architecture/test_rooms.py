"""The rooms of the house: a folder's own modules and its sub-folders import each other one way only; functions fit a screen, and a class name occurs once."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

from tests.architecture.imports import PACKAGE, SOURCE, Module, circles, read_modules

MODULES = read_modules()
HOUSE = SOURCE / PACKAGE
MOST_LINES = 80
MOST_METHODS = 40


def room(module: Module) -> str:
    """The folder that a module stands in, from the package on; empty for the package itself."""
    return "/".join(module.path.relative_to(HOUSE).parts[:-1])


def rooms(modules: dict[str, Module]) -> dict[str, set[str]]:
    """Which rooms each room imports from."""
    found: dict[str, set[str]] = {room(module): set() for module in modules.values()}
    for module in modules.values():
        for one in module.imports:
            if one.target in modules and room(modules[one.target]) != room(module):
                found[room(module)].add(room(modules[one.target]))
    # the package's front door opens on everything, and its version is known everywhere
    return {name: targets - {""} for name, targets in found.items() if name}


def test_rooms_form_no_circle() -> None:
    assert circles(rooms(MODULES)) == []


def test_there_are_rooms() -> None:
    found = rooms(MODULES)
    assert {name for name in found if name.startswith("compiler/")} == {
        f"compiler/{name}" for name in "analysis criteria elm elm_json emit forms runtime syntax translate".split()
    }
    assert found["compiler/emit"] >= {"compiler/elm", "compiler/runtime"}


def test_the_compiler_is_entered_by_its_rooms_alone() -> None:
    assert [module.name for module in MODULES.values() if room(module) == "compiler" and module.lines > 10] == []


def definitions(*kinds: type[ast.AST]) -> list[tuple[Path, ast.AST]]:
    """All definitions of some kinds in the package."""
    return [
        (module.path, node)
        for module in MODULES.values()
        for node in ast.walk(ast.parse(module.path.read_text(encoding="utf-8")))
        if isinstance(node, kinds)
    ]


def test_functions_fit_a_screen() -> None:
    found = {
        f"{path.relative_to(HOUSE)}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path, node in definitions(ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert {name for name, lines in found.items() if lines > MOST_LINES} == set()
    assert len(found) > 3000


def test_classes_have_no_more_methods_than_one_can_know() -> None:
    long = {
        node.name
        for _, node in definitions(ast.ClassDef)
        if isinstance(node, ast.ClassDef)
        and sum(isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)) for one in node.body) > MOST_METHODS
    }
    assert long == set()


def test_a_class_name_occurs_once() -> None:
    names = Counter(node.name for _, node in definitions(ast.ClassDef) if isinstance(node, ast.ClassDef))
    assert {name for name, times in names.items() if times > 1} == set()
    assert len(names) > 300
