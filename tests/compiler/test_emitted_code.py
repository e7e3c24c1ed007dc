"""Emitted code is made of templates of ours, names of ours and plain constants, and of nothing else; and the guard sees every way out."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.algebra.diagnostic import DiagnosticError, Source, Span
from fhir_eligibility.algebra.operators.registry import OPERATORS
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria.fhirpath import program_of
from fhir_eligibility.compiler.criteria.library import Compiler
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.shapes import shaped
from fhir_eligibility.compiler.emit import guard, program, python
from fhir_eligibility.compiler.emit.program import Program, placed
from fhir_eligibility.compiler.emit.python import (
    Emitted,
    Template,
    all_of,
    any_of,
    called,
    defined,
    element_of_value,
    head,
    listed,
    literal,
    local,
    mapped,
    name_of,
    py,
    quiet,
    statement,
    template,
    tupled,
)
from fhir_eligibility.compiler.runtime import names as runtime

EMIT = Path(guard.__file__).parent
# what refuses code, and what makes nodes of templates
APART = ("guard.py", "python.py", "program.py", "__init__.py")
EMITTERS = [path for path in sorted(EMIT.glob("*.py")) if path.name not in APART]
# What makes code of a text, the first argument, and the kind of template that it makes.
MAKERS = {"py": template, "template": template, "emit": statement, "made": statement, "block": head}
STEMS = ("name", "name_of", "local", "closure", "temp", "once_a_call")


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", ""), node


def templates(path: Path) -> Iterator[tuple[str, str]]:
    """The templates in a module, each with what makes it."""
    for name, call in calls(path):
        if name in MAKERS and call.args:
            text = call.args[0]
            if isinstance(text, ast.Constant) and text.value != "else:":
                yield name, text.value
        elif name == "map" and isinstance(call.args[0], ast.Name) and call.args[0].id in MAKERS:
            yield from ((call.args[0].id, one.value) for one in call.args[1].elts)  # type: ignore[attr-defined]


WRITTEN = sorted(
    {(name, text) for path in (*EMITTERS, EMIT / "python.py") for name, text in templates(path)}
    | {
        ("py", overload.inline)
        for operator in OPERATORS.values()
        for overload in operator.overloads
        if overload.inline is not None
    }
)


def test_the_emitters_are_found() -> None:
    names = {path.stem for path in EMITTERS}
    assert names >= {"emitter", "values", "logic", "queries", "models", "membership", "fast_paths", "steps", "filters"}
    assert names >= {"utilities", "items", "library", "sites", "doubts"}
    assert len(WRITTEN) > 250


@pytest.mark.parametrize("path", EMITTERS, ids=lambda path: path.stem)
def test_templates_are_plain_texts(path: Path) -> None:
    """The text of a template, and the stem of a name, is written out where it is used: nothing that an author wrote can come into it."""
    for name, call in calls(path):
        if name in MAKERS:
            text = call.args[0]
            inline = path.stem == "module_builder" and ast.unparse(text) in ("overload.inline", "text")
            assert inline or (isinstance(text, ast.Constant) and text.value.__class__ is str), ast.unparse(call)
        if name in STEMS:
            stem = call.args[0 if name in ("name", "name_of", "local", "closure") else 1 :][:1]
            own = path.stem in ("module_builder", "emitter") and stem and ast.unparse(stem[0]) == "stem"
            assert not stem or own or isinstance(stem[0], ast.Constant), ast.unparse(call)


@pytest.mark.parametrize(
    "path", [path for path in EMITTERS if path.stem != "module_builder"], ids=lambda path: path.stem
)
def test_emitters_make_no_nodes_by_themselves(path: Path) -> None:
    asked = {ast.unparse(n) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)}
    assert {text for text in asked if text.startswith("ast.")} <= {"ast.stmt"}
    names = {name for name, _ in calls(path)}
    assert not names & {"Emitted", "Template", "eval", "exec", "parse"}


# -- templates


def holes(text: str) -> str:
    return re.sub(r"\{(\d+)\}", r"h\1", text)


def fillers(found: Template) -> tuple[Emitted, ...]:
    return tuple(python._name(f"h{number}", 0) for number in range(len(found.times)))


PLACE = placed(Source("x", "some text"), Span(5, 9))


@pytest.mark.parametrize(("maker", "text"), WRITTEN)
def test_a_template_makes_what_python_reads(maker: str, text: str) -> None:
    found = MAKERS[maker](text)
    built: Any = found.build(fillers(found), PLACE)
    if maker == "block":
        built.body = [ast.Pass()]
        expected: Any = ast.parse(holes(f"{text.removeprefix('el')}\n pass")).body[0]
    elif MAKERS[maker] is statement:
        expected = ast.parse(holes(text)).body[0]
    else:
        expected = ast.parse(holes(text), mode="eval").body
    assert ast.dump(built) == ast.dump(expected)
    built.body = [] if maker == "block" else getattr(built, "body", None)
    for node in ast.walk(built):
        if isinstance(node, (ast.expr, ast.stmt)):
            assert (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset) == (1, 5, 1, 9)


@pytest.mark.parametrize(("maker", "text"), WRITTEN)
def test_the_names_in_templates_are_those_of_the_runtime(maker: str, text: str) -> None:
    found = MAKERS[maker](text)
    known = {*runtime.NAMES, *guard.BUILTINS, "ev", "ctx", "M", "x"}
    used = {n.id for n in ast.walk(found.build(fillers(found), PLACE)) if isinstance(n, ast.Name)}
    assert {name for name in used if not re.fullmatch(r"h\d", name)} <= known


def test_no_name_of_the_runtime_looks_like_a_name_of_the_counter() -> None:
    names = {*runtime.NAMES, *guard.BUILTINS}
    assert not [name for name in names if re.search(r"\d$", name)]


def test_what_is_asked_of_the_environment_is_what_emitters_write() -> None:
    asked = {name for _, text in WRITTEN for name in re.findall(r"\bev\.([a-z_]+)", text)}
    assert asked | {"retrieve"} == guard.OF_THE_ENVIRONMENT


def test_attributes_of_values_are_what_emitters_write() -> None:
    found = {
        node.attr
        for maker, text in WRITTEN
        for node in ast.walk(MAKERS[maker](text).build(fillers(MAKERS[maker](text)), PLACE))
        if isinstance(node, ast.Attribute)
    }
    assert set(guard.OF_VALUES) <= found
    for name in (*guard.COMPONENTS, *guard.SYSTEM_ELEMENTS):
        assert str(element_of_value(local("x", 1), name)) == f"x_1.{name}"
    for name in ("__class__", "get", "run", "x", ""):
        with pytest.raises(guard.ForeignCode):
            element_of_value(local("x", 1), name)


# -- leaves


def test_only_plain_values_have_a_literal() -> None:
    class Text(str):
        def __repr__(self) -> str:
            return "foreign()"

    class Number(int):
        def __repr__(self) -> str:
            return "foreign()"

    assert [str(literal(x)) for x in (None, True, "a'{0}", 5, -5)] == ["None", "True", '"a\'{0}"', "5", "-5"]
    for value in (Text("a"), Number(5), 1.5, b"a", ["a"], ("a",), {"a": 1}, object(), Ellipsis):
        with pytest.raises(TypeError, match="has no literal"):
            literal(value)


def test_only_code_stands_in_a_template() -> None:
    for foreign in ("t1", 1, None, ast.Name("t1")):
        with pytest.raises(AttributeError):
            py("len({0})", foreign)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shorter|longer"):
        py("len({0})")
    with pytest.raises(TypeError, match="not a name"):
        statement("{0} = {1}").build((literal("a"), literal(1)), PLACE)
    for name in ("a b", "x.y", "", "f()", "1", "define_A", "len", "ev", "define_1_", "x_1", "define_\u0661"):
        with pytest.raises(guard.ForeignCode):
            defined(name)


@settings(deadline=None)
@given(st.text(), st.integers(), st.text())
def test_what_an_author_wrote_is_a_constant(text: str, number: int, other: str) -> None:
    code = called(py("f"), [literal(text), listed([literal(number)]), mapped([(literal(other), literal(text))])])
    tree = ast.parse(ast.unparse(code.template.build(code.operands, PLACE)), mode="eval").body
    assert ast.literal_eval(ast.Tuple(tree.args)) == (text, [number], {other: text})  # type: ignore[attr-defined]
    assert ast.unparse(tree.func) == "f"  # type: ignore[attr-defined]


def test_codes_are_equal_where_they_are_the_same_expression() -> None:
    a, b = name_of("t", 1), name_of("t", 2)
    assert py("f({0}, {1})", a, b) == py("f({0}, {1})", name_of("t", 1), name_of("t", 2))
    assert (
        len(
            {py("f({0})", one) for one in (a, b, literal(1), literal(True), literal("1"), literal("t1"), literal(None))}
        )
        == 7
    )
    assert py("f({0})", a) != py("g({0})", a) and py("len") == py("len")


def test_traits_are_those_of_all_parts() -> None:
    a = name_of("t", 1)
    for code in (
        py("ev.recorded({0})", a),
        py("once(ev.run, {0})", a),
        py("to_period(ev, {0})", a),
        py("{0}.get('a')", a),
    ):
        assert code.is_reusable and not code.asks
    for code in (py("ev.retrieve({0})", a), py("f({0})", py("ev.subject")), called(py("f"), [python.EV, a])):
        assert code.asks and not code.is_reusable
    for code in (
        py("[{0}]", a),
        py("{0}[0]", a),
        py("len({0})", name_of("l", 1)),
        py("{0} + 1", name_of("total", 1)),
        py("{0}", local("i", 3)),
    ):
        assert not code.is_reusable and not code.asks
    assert quiet(called(py("f"), [python.EV, a])).is_reusable
    assert not quiet(called(py("f"), [python.EV, py("ev.retrieve({0})", a)])).is_reusable
    assert py("({0} if ({0} := {1}) else None)", a, a).binds and not a.binds
    assert set(py("f({0}, {1}, x)", a, py("g({0})", local("x", 2))).names()) == {"t1", "x_2"}


def test_any_number_of_operands() -> None:
    a, b, c = (name_of("t", number) for number in (1, 2, 3))
    assert [str(one) for one in (called(a, []), called(a, [b]), called(a, [b, c]))] == ["t1()", "t1(t2)", "t1(t2, t3)"]
    assert [str(one) for one in (listed([]), listed([a, b]), tupled([]), tupled([a]), tupled([a, b]))] == [
        "[]",
        "[t1, t2]",
        "()",
        "(t1,)",
        "(t1, t2)",
    ]
    assert [str(one) for one in (any_of([a]), any_of([a, b, c]), all_of([a, b]))] == [
        "t1",
        "t1 or t2 or t3",
        "t1 and t2",
    ]
    assert [str(mapped([])), str(mapped([(literal("a"), b)]))] == ["{}", "{'a': t2}"]


# -- the guard

FOREIGN = [
    "ev.__class__", "ev.__dict__", "ev.run.__globals__", "ev.now.__class__.__mro__", "(ev.__class__ is str).real", "ev.memo", "ev.subject.items()",
    "lambda: 1", "f'{ev}'", "'{0.x}'.format(ev)", "[x for x in ev if (yield)]", "{x for x in ev}", "{x: x for x in ev}", "(x for x in ev)", "b'x'",
    "1.5", "...", "1j", "{**ev}", "[*ev]", "len(*ev)", "len(obj=ev)", "await ev", "ev.get.__self__", "K0.x", "(ev := ev).x", "[len for len in ev]",
]  # fmt: skip
STATEMENTS = [
    "import os", "from os import path", "global len", "del ev", "raise ev", "assert ev", "with ev: pass", "while ev: pass", "class A: pass",
    "try:\n        pass\n    except ev:\n        pass", "ev.x = 1", "ev['x'] = 1", "len = ev", "x: int = 1", "for ev in ev:\n        pass",
    "for x in ev:\n        pass\n    else:\n        pass", "def g(a=len):\n        pass", "def g(*a):\n        pass", "async def g():\n        pass",
    "@len\n    def g():\n        pass", "ev.x += 1", "for ev.x in ev:\n        pass", "match ev:\n        case _: pass",
]  # fmt: skip
NAMES = [
    "__import__('os')",
    "open('x')",
    "getattr(ev, 'x')",
    "eval('1')",
    "exec('1')",
    "print(1)",
    "undeclared",
    "__builtins__",
]


@pytest.mark.parametrize("text", FOREIGN)
def test_what_no_emitter_writes_is_no_template(text: str) -> None:
    with pytest.raises(guard.ForeignCode):
        template.__wrapped__(text)


@pytest.mark.parametrize("text", STATEMENTS)
def test_what_no_emitter_writes_is_no_statement(text: str) -> None:
    with pytest.raises(guard.ForeignCode):
        statement.__wrapped__(text.replace("\n    ", "\n"))


@pytest.mark.parametrize("text", ["while {0}:", "with {0}:", "try:", "def {0}():", "if ({0} := lambda: 1):"])
def test_only_some_statements_have_a_body(text: str) -> None:
    with pytest.raises((guard.ForeignCode, SyntaxError)):
        head.__wrapped__(text)


def module(text: str, filename: str = "x") -> Program:
    """A program that no emitter wrote."""
    return Program(Source("x", "x"), compile(text, filename, "exec"), {"K0": 1}, "r4")


@pytest.mark.parametrize("text", NAMES)
def test_code_is_held_to_its_names(text: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        module(f"def expression(ev, ctx):\n    return {text}\n").load()
    assert caught.value.diagnostics[0].code == "foreign-code"


def test_emitted_code_runs_without_pythons_builtins() -> None:
    with pytest.raises(NameError):  # the name of an attribute, which code may hold
        module("def expression(ev, ctx):\n    return type(ev)\n").load()["expression"](None, None)
    found = module("def expression(ev, ctx):\n    return [len, all, any, bool, dict, int, list, str]\n").load()
    assert found["__builtins__"] is guard.BUILTINS and set(guard.BUILTINS) == set(
        "len all any bool dict int list str".split()
    )


def test_code_of_a_file_is_held_to_its_names() -> None:
    namespace: dict[str, Any] = {}
    guard.run(compile("def f(ev):\n    return len(ev)\n", "x", "exec"), namespace)
    assert namespace["f"]("abc") == 3
    for text in (
        "import os",
        "def f(ev):\n    return ev.__globals__",
        "open('x')",
        "def f():\n    def g():\n        return exec\n",
    ):
        with pytest.raises(guard.ForeignCode):
            guard.run(compile(text, "x", "exec"), {})


# -- programs

ONE = n.Literal(value=1, result=shaped(("System.Integer",)))


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x\n", "", "é" * 5000])
def test_any_name_of_a_source_will_do(name: str) -> None:
    made = program_of(Source(name, "x"), ONE, load_model("r4"), "expression")
    assert made.load()["expression"](None, None) == 1


def test_a_program_travels_as_code() -> None:
    made = program_of(Source("x", "1"), ONE, load_model("r4"), "expression")
    again = pickle.loads(pickle.dumps(made))
    assert again.code == made.code and again.load()["expression"](None, None) == 1
    data = program.marshalled(made.code)
    assert program.unmarshalled(data) == made.code
    with pytest.raises(ValueError, match="another version of Python"):
        program.unmarshalled(b"\0\0\0\0" + data[4:])


def test_what_is_nested_too_deeply_is_told() -> None:
    deep = name_of("t", 1)
    with pytest.raises(RecursionError):
        for _ in range(1000):
            deep = py("(not {0})", deep)


AUTHORED = """
library Zebra version '1'
parameter Zulu Integer default 3
define function Zorro(zip Integer, zap List<Integer>): zip + Count(zap) + Zulu
define Zoo: from ({1, 2}) zig, ({3}) zag let zed: zig + zag where zed > 3 return Tuple { zen: zed, zero: Zorro(zig, {zag}) } sort by zen
define function zest(zinc Decimal): if zinc > 2.0 then 'zinc' else 'zap'
define Zone: (Zoo zoo where zoo.zen > 1 return zest(zoo.zen)) union {'zebra'}
"""


@pytest.mark.parametrize("traced", [False, True])
def test_no_name_in_emitted_code_is_an_authors(traced: bool) -> None:
    tree = ast.parse(Compiler(traced=traced).compile(Source("Zebra", AUTHORED)).python)
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    names |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    names |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    numbered = {name for name in names if re.fullmatch(r"[a-zA-Z_]+\d+", name)}
    assert names - numbered <= {*runtime.NAMES, *guard.BUILTINS, "ev", "x"}
    assert not [name for name in names if re.search("z[aeiou]", name, re.IGNORECASE)]
    titles = {ast.get_docstring(n) for n in tree.body if isinstance(n, ast.FunctionDef)}
    assert titles == {"parameter Zulu", "default of parameter Zulu", "Zorro", "Zoo", "zest", "Zone"}
