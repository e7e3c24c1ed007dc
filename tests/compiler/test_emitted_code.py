"""Emitted code holds what the emitters and the runtime declare, and nothing else; and the guard that says so sees every way out."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, Source, Span
from fhir_eligibility.compiler.emit import guard, module_text
from fhir_eligibility.compiler.emit.cql_nodes import _COMPONENTS, _INTERVAL, _SYSTEM_ELEMENTS
from fhir_eligibility.compiler.emit.program import Program, positioned

COMPILER = Path(guard.__file__).parent
# the two that refuse code, and write constants
APART = ("guard.py", "module_text.py")
EMITTERS = (
    *(path for path in sorted(COMPILER.glob("*.py")) if path.name not in APART),
    COMPILER.parent / "criteria" / "library.py",
)


def written(path: Path) -> list[str]:
    """The fixed parts of all texts in a module."""
    return [
        n.value
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.Constant) and isinstance(n.value, str)
    ]


def test_the_emitters_are_found() -> None:
    names = {path.stem for path in EMITTERS}
    assert names >= {"fhirpath_emitter", "fhirpath_nodes", "fhirpath_filters", "fhirpath_utilities", "library"}
    assert names >= {"cql_emitter", "cql_nodes", "fhir", "logic", "membership", "queries", "fast_paths"}


def test_what_is_asked_of_the_environment_is_what_emitters_write() -> None:
    asked = {name for path in EMITTERS for text in written(path) for name in re.findall(r"\bev\.([a-z_]+)", text)}
    assert asked | {"retrieve", "bare"} == guard.OF_THE_ENVIRONMENT


def test_attributes_of_values_are_what_emitters_write() -> None:
    found = {
        name for path in EMITTERS for text in written(path) for name in re.findall(r"^\.([a-z_]+)\b|\bx\.([a-z_]+)", text)
        for name in name if name
    }  # fmt: skip
    tables = {*_COMPONENTS.values(), *_SYSTEM_ELEMENTS.values(), *_INTERVAL.values()}
    assert guard.ATTRIBUTES - guard.OF_THE_ENVIRONMENT - tables <= found | {"get", "append"}
    assert set(_COMPONENTS) == set(guard.COMPONENTS) and set(_SYSTEM_ELEMENTS) == guard.SYSTEM_ELEMENTS


@pytest.mark.parametrize("path", EMITTERS, ids=lambda path: path.stem)
def test_no_text_of_an_author_is_put_into_a_template(path: Path) -> None:
    """No `!r`, `repr` or `format`: constants go through `literal`, and only `filled` fills a template."""
    for node in ast.walk(ast.parse(path.read_text())):
        if path.stem != "library" and isinstance(node, ast.FormattedValue):
            assert node.conversion == -1, ast.unparse(node)
            inner = [n for n in ast.walk(node.value) if isinstance(n, ast.Attribute) and n.attr == "attrs"]
            calls = [n for n in ast.walk(node.value) if isinstance(n, ast.Call)]
            assert not inner or calls, f"{ast.unparse(node)} stands in the text as it is"
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            assert name not in ("repr", "format", "format_map", "vformat"), ast.unparse(node)


def test_only_plain_values_have_a_literal() -> None:
    class Text(str):
        def __repr__(self) -> str:
            return "foreign()"

    class Number(int):
        def __repr__(self) -> str:
            return "foreign()"

    assert [module_text.literal(x) for x in (None, True, "a'{0}", 5, -5)] == ["None", "True", '"a\'{0}"', "5", "(-5)"]
    for value in (Text("a"), Number(5), 1.5, b"a", ["a"], ("a",), {"a": 1}, object(), Ellipsis):
        with pytest.raises(TypeError, match="has no literal"):
            module_text.literal(value)


FOREIGN = [
    "__import__('os')", "open('x')", "getattr(ev, 'x')", "eval('1')", "exec('1')", "print(1)", "type(ev)", "ev.__class__", "ev.__dict__",
    "ev.run.__globals__", "ev.now.__class__.__mro__", "(ev.__class__ is str).real", "ev.memo", "ev.subject.items()", "lambda: 1",
    "f'{ev}'", "'{0.x}'.format(ev)", "[x for x in ev if (yield)]", "{x for x in ev}", "{x: x for x in ev}", "(x for x in ev)", "b'x'", "1.5",
    "...", "1j", "{**ev}", "[*ev]", "len(*ev)", "len(obj=ev)", "await ev", "ev.get.__self__", "undeclared", "K0.x", "(ev := ev).x", "__builtins__",
]  # fmt: skip
STATEMENTS = [
    "import os", "from os import path", "global len", "del ev", "raise ev", "assert ev", "with ev: pass", "while ev: pass", "class A: pass",
    "try:\n        pass\n    except ev:\n        pass", "ev.x = 1", "ev['x'] = 1", "len = ev", "retrieve = 1\n    K0 = 2", "x: int = 1",
    "for x in ev:\n        pass\n    else:\n        pass", "def g(a=len):\n        pass", "def g(*a):\n        pass", "async def g():\n        pass",
    "@len\n    def g():\n        pass", "ev.x += 1", "for ev.x in ev:\n        pass", "print = 1\n    print(1)\n    box = 1", "match ev:\n        case _: pass",
]  # fmt: skip


@pytest.mark.parametrize("line", [*(f"return {text}" for text in FOREIGN), *STATEMENTS])
def test_what_no_emitter_writes_is_refused(line: str) -> None:
    text = f"def expression(ev, ctx):\n    {line}\n"
    program = Program(Source("x", "x"), text, (Span(0, 1),) * 20, {"K0": 1}, "r4")
    with pytest.raises(DiagnosticError) as caught:
        program.load()
    assert caught.value.diagnostics[0].code == "foreign-code"


def test_emitted_code_runs_without_pythons_builtins() -> None:
    text = "def expression(ev, ctx):\n    return [len, all, any, bool, dict, int, list, str]\n"
    module = Program(Source("x", "x"), text, (None,) * 2, {}, "r4").load()
    assert module["__builtins__"] is guard.BUILTINS and set(guard.BUILTINS) == set(
        "len all any bool dict int list str".split()
    )


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x\n", "", "é" * 5000])
def test_any_name_of_a_source_will_do(name: str) -> None:
    program = Program(Source(name, "x"), "def expression(ev, ctx):\n    return 1\n", (Span(0, 1),) * 2, {}, "r4")
    assert program.load()["expression"](None, None) == 1


def test_code_of_a_file_is_held_to_its_names() -> None:
    namespace: dict[str, Any] = {}
    guard.run(positioned("def f(ev):\n    return len(ev)\n", (None,) * 2, Source("x", ""), "x", namespace), namespace)
    assert namespace["f"]("abc") == 3
    for text in (
        "import os",
        "def f(ev):\n    return ev.__globals__",
        "open('x')",
        "def f():\n    def g():\n        return exec\n",
    ):
        with pytest.raises(guard.ForeignCode):
            guard.run(compile(text, "x", "exec"), {})
