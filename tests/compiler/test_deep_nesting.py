"""What is nested deeply has a value, or is refused when it is compiled, and never later."""

from __future__ import annotations

import ast
import pickle
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, Source
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria.fhirpath import compile_fhirpath
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.criteria.rules import compile_code
from fhir_eligibility.compiler.emit import program
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from fhir_eligibility.compiler.syntax import nesting
from tests.compiler import hostile, wide


def nested(count: int, before: str, inside: str, after: str) -> str:
    return before * count + inside + after * count


def extensions(depth: int) -> dict[str, Any]:
    """Two extensions on every level, down to texts."""
    found: list[dict[str, Any]] = [{"url": "u", "valueString": "a"}, {"url": "u", "valueString": "b"}]
    for _ in range(depth - 1):
        found = [{"url": "u", "extension": found}]
    return {"resourceType": "Patient", "id": "p", "extension": found}


@pytest.mark.parametrize("steps", [5, 15, 16, 20, 21, 30, 45])
def test_a_path_of_many_repeating_steps_has_its_values(steps: int) -> None:
    patient = extensions(steps)
    path = ".".join(["extension"] * steps)
    assert [i.value for i in compile_fhirpath(f"{path}.value", root="Patient").evaluate(patient)] == ["a", "b"]
    assert compile_fhirpath(f"{path}.exists(value = 'b')", root="Patient").evaluate(patient)[0].value is True
    assert compile_fhirpath(f"{path}.all(value = 'b')", root="Patient").evaluate(patient)[0].value is False
    assert compile_fhirpath(f"{path}.value.first()", root="Patient").evaluate(patient)[0].value == "a"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (" or ".join(["active"] * 900), 1),
        ("name" + ".union(name)" * 300, 1),
        (" | ".join(f"'{number}'" for number in range(600)), 600),
        ("active" + ".not()" * 400, 1),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_a_long_chain_has_its_value(text: str, count: int) -> None:
    patient = {"resourceType": "Patient", "id": "p", "active": True, "name": [{"family": "x"}]}
    assert len(compile_fhirpath(text, root="Patient").evaluate(patient)) == count


@pytest.mark.parametrize("depth", [5, 20, 25, 45])
def test_select_in_select_has_its_values(depth: int) -> None:
    text = nested(depth - 1, "extension.select(", "extension.value", ")")
    assert [i.value for i in compile_fhirpath(text, root="Patient").evaluate(extensions(depth))] == ["a", "b"]
    text = nested(depth - 1, "extension.where(", "extension.value = 'b'", ").exists()").replace(
        "extension.value =", "extension.value.first() ="
    )
    assert compile_fhirpath(text, root="Patient").evaluate(extensions(depth))[0].value is False


@pytest.mark.parametrize("depth", [5, 19, 25, 30])
def test_a_query_in_a_query_has_its_values(depth: int) -> None:
    inner = "{ 1, 2 }"
    for level in range(depth):
        inner = (
            f"({{ 1 }}) X{level} return all First(({inner}) Y{level} where Y{level} >= X{level} return Y{level} + 1)"
        )
    loaded = LoadedLibrary(
        Compiler().compile(
            Source(
                "deep.cql",
                f"define A: {inner}\ndefine B: from {', '.join(f'({{ 1, 2 }}) A{i}' if i < 2 else f'({{ 3 }}) A{i}' for i in range(depth))} return A0 * A1",
            )
        )
    )
    assert loaded.evaluate("A", Run(wide.NOW)) == [1 + depth]
    assert sorted(loaded.evaluate("B", Run(wide.NOW))) == [1, 2, 4]


@pytest.mark.parametrize(
    "text",
    [
        nested(250, "(", "1", ")"),
        nested(10_000, "(", "1", ")"),
        nested(150, "iif(true, ", "1", ", 2)"),
        nested(200, "iif(true, ", "1", ", 2)"),
        "name" + ".union(name)" * 2000,
        nested(3000, "name.union(", "name", ")"),
        "extension" + ".extension" * 150,
        "extension" + ".extension" * 5000,
        " or ".join(["active"] * 5000),
        "-" * 1000 + "1",
        "active" + ".not()" * 2000,
    ],
)
def test_what_is_too_deep_is_refused_with_a_diagnostic(text: str) -> None:
    for attempt in (
        lambda: compile_fhirpath(text, root="Patient"),
        lambda: compile_code(text, load_model("r4"), name="criterion"),
    ):
        with pytest.raises(DiagnosticError) as caught:
            attempt()
        assert caught.value.diagnostics[0].code in ("syntax-depth", "too-deep")
        assert caught.value.diagnostics[0].render()


@pytest.mark.parametrize(
    "text",
    [
        nested(199, "(", "true", ")"),
        "active" + ".not()" * 199,
        " or ".join(["active"] * 199),
        "name" + ".union(name)" * 198 + ".exists()",
    ],
)
def test_what_is_just_allowed_travels_to_other_processes(text: str) -> None:
    code, _ = compile_code(text, load_model("r4"), name="criterion")
    again = pickle.loads(pickle.dumps(code))
    assert again.node == code.node
    assert (again.monotone, again.reads()) == (code.monotone, code.reads())


def test_nodes_keep_their_form_when_they_travel() -> None:
    for text in (*wide.EXPRESSIONS, *wide.TRACED):
        node = compile_code(text, load_model("r4"), name="x", variables={"v": "System.String"})[0].node
        assert pickle.loads(pickle.dumps(node)) == node


def test_a_cut_loop_does_what_the_whole_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every module, with its loops in functions of their own, has the values that it has without."""
    expected = answers()
    cuts = 0
    compiled = compile

    def cut(tree: ast.Module, *rest: Any) -> Any:
        nonlocal cuts
        before = sum(isinstance(node, ast.For) for node in ast.walk(tree))
        tree = nesting.flattened(tree)
        cuts += sum(isinstance(node, ast.For) for node in ast.walk(tree)) - before
        return compiled(tree, *rest)

    monkeypatch.setattr(nesting, "LOOPS", 2)
    monkeypatch.setattr(program, "compile", cut, raising=False)
    assert answers() == expected
    assert cuts > 20


def answers() -> list[Any]:
    """The values of the wide definitions, plain and traced."""
    found: list[Any] = []
    for traced in (False, True):
        for text in (wide.libraries()[0], *MANY_LOOPS):
            compiled = hostile.compiler(traced).compile_once(Source("L", text))
            loaded = LoadedLibrary(compiled)
            environment = Patient(Run(wide.NOW), wide.PATIENT, [wide.PATIENT, *wide.RESOURCES])
            found += [hostile.value_of(loaded, name, environment) for name in compiled.defines]
    for text in (*wide.EXPRESSIONS, "name.select(given.select($this & 'x').join('-') & family)"):
        expression = compile_fhirpath(text, root="Patient", variables={"v": "System.String"})
        found.append([str(i) for i in expression.evaluate(wide.PATIENT, variables={"v": "x"}, now=wide.NOW)])
    for depth in (4, 17):
        path = ".".join(["extension"] * depth)
        for end in (
            ".value",
            ".exists(value = 'b')",
            ".all(value = 'a')",
            ".all(extension.exists() or value = 'b')",
            ".value.aggregate($total & $this, '')",
        ):
            found.append([str(i) for i in compile_fhirpath(path + end, root="Patient").evaluate(extensions(depth))])
    return found


MANY_LOOPS = (
    "define A: from ({ 1, 2, 3 }) A, ({ 1, 2 }) B, ({ 4, 5 }) C where A > B and exists (({ 1, 2 }) D where D = A and exists (({ 2 }) E where E <= D)) return A * B + C",
    "define A: ({ 1, 2, 3 }) A with ({ 2, 3 }) B such that A = B and exists (({ 1, 3 }) C with ({ 3 }) D such that C = D and D >= A) return A",
    "define A: from ({ 1, 2 }) A, ({ 3, 4 }) B aggregate R starting 0: R + A * B + Sum((from ({ 1 }) C, ({ A, B }) D return all C + D))",
    "define A: First(from ({ 1, 2 }) A, ({ 3, 4 }) B where A + B > 4 return Tuple { a: A, b: B })",
)
