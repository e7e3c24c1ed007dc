"""Reads the imports of the package with `ast`, without importing anything.

What the architecture test knows of a module: its name, its length, which modules of `fhir_eligibility` it imports, and which imports stand
inside functions.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "engine"
PACKAGE = "fhir_eligibility"


@dataclass(frozen=True, slots=True)
class Import:
    """One name that a module imports: `target` is dotted; `inside` tells whether it stands in a function."""

    target: str
    line: int
    inside: bool


@dataclass(frozen=True, slots=True)
class Module:
    """One module of the package, as its source text says."""

    name: str
    path: Path
    lines: int
    imports: tuple[Import, ...]


def read_modules(root: Path = SOURCE, package: str = PACKAGE) -> dict[str, Module]:
    """All modules of a package by name; targets of imports are resolved to modules where they name one."""
    files = {_module_name(path, root): path for path in sorted((root / package).rglob("*.py"))}
    modules = {}
    for name, path in files.items():
        text = path.read_text(encoding="utf-8")
        here = name if path.name == "__init__.py" else name.rpartition(".")[0]
        tree = ast.parse(text, str(path))
        found = _imports(tree, here, False, _texts(tree))
        resolved = (Import(_resolve(i.target, files), i.line, i.inside) for i in found)
        modules[name] = Module(name, path, text.count("\n") + (not text.endswith("\n") and text != ""), tuple(resolved))
    return modules


def _module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _texts(tree: ast.Module) -> dict[str, str]:
    """The names at the top of a module that stand for one text each: an import may be called by them."""
    found: dict[str, str] = {}
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))):
                found[name] = text
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                for target, value in zip(names, values, strict=False):
                    if (
                        isinstance(target, ast.Name)
                        and isinstance(value, ast.Constant)
                        and isinstance(value.value, str)
                    ):
                        found[target.id] = value.value
    return found


def _imports(node: ast.AST, here: str, inside: bool, texts: dict[str, str]) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(alias.name, child.lineno, inside)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = module or ""
                if level:
                    above = here.split(".")[: len(here.split(".")) - level + 1]
                    base = ".".join([*above, *([module] if module else [])])
                for alias in names:
                    yield Import(f"{base}.{alias.name}", child.lineno, inside)
            case ast.Call(func=function, args=[ast.Constant(value=str(target)), *_]) if _is_import_call(function):
                yield Import(target, child.lineno, inside)
            case ast.Call(func=function, args=[ast.Name(id=name), *_]) if _is_import_call(function) and name in texts:
                yield Import(texts[name], child.lineno, inside)
        enters = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield from _imports(child, here, inside or enters, texts)


def _is_import_call(function: ast.expr) -> bool:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in ("import_module", "__import__")
    return False


def _resolve(target: str, files: dict[str, Path]) -> str:
    """`fhir_eligibility.a.b.name` -> `fhir_eligibility.a.b` where that is the module; names from outside stay as they are."""
    while target not in files and "." in target and target.partition(".")[0] == PACKAGE:
        target = target.rpartition(".")[0]
    return target


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other in a circle (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in sorted(graph[name]):
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1 or name in graph[name]:
                found.append(sorted(group))

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return found
