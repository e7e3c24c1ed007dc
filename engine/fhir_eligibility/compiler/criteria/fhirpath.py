"""FHIRPath text to a compiled expression: parse, translate, emit. The door to the compiler for one expression."""

from __future__ import annotations

import ast
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from fhir_eligibility.algebra.arguments import flag, instance_of, named, text_of
from fhir_eligibility.algebra.collector import uncollected
from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError, Source
from fhir_eligibility.algebra.values.element import STRING_TYPES, Element, to_system, type_of
from fhir_eligibility.artifacts.models import Model, load_model
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.emit.emitter import Emitter
from fhir_eligibility.compiler.emit.handlers import HANDLERS
from fhir_eligibility.compiler.emit.program import Program, compile_module, file_name
from fhir_eligibility.compiler.runtime.explaining import ExplainedPart, Explanation
from fhir_eligibility.compiler.runtime.membership import Codes, ValueSetMembership
from fhir_eligibility.compiler.runtime.references import References
from fhir_eligibility.compiler.runtime.runtime import Environment
from fhir_eligibility.compiler.syntax.depth import deep_recursion
from fhir_eligibility.compiler.syntax.fhirpath import parse
from fhir_eligibility.compiler.translate import fhirpath_utilities as translated_utilities
from fhir_eligibility.compiler.translate.abort import Abort
from fhir_eligibility.compiler.translate.fhirpath_functions import FhirPathTranslator

__all__ = ["CompiledExpression", "Item", "compile_fhirpath", "translate_fhirpath"]
_REGISTERED = (HANDLERS, translated_utilities)


class Item(NamedTuple):
    """One item of a result: a Python value (System value, or the JSON object of a complex type) and its type's name."""

    value: Any
    type: str


def translate_fhirpath(
    source: Source,
    model: Model,
    *,
    root: str | None = None,
    variables: Mapping[str, str] | None = None,
    lenient: bool = False,
    strict: bool = False,
    patient_data: bool = False,
) -> tuple[Node, tuple[Diagnostic, ...]]:
    """FHIRPath text to ELM, with the warnings found. Raises DiagnosticError for errors; `strict` makes warnings errors."""
    tree = parse(source)
    translator = FhirPathTranslator(
        source, model, root=root, variables=variables or {}, lenient=lenient, patient_data=patient_data
    )
    try:
        with deep_recursion():
            node: Node | None = translator.translate(tree)
    except Abort:
        node = None
    found = translator.diagnostics
    if node is None or any(d.severity == "error" for d in found) or (strict and found):
        raise DiagnosticError(sorted(found, key=lambda d: d.severity))
    return node, tuple(found)


def program_of(
    source: Source, node: Node, model: Model, name: str, *, traced: bool = False, explained: bool = False
) -> Program:
    """The program of a tree, a function of a name. Raises DiagnosticError `too-deep`."""
    emitter = Emitter(source, traced=traced, explained=explained)
    with uncollected():
        emitter.define_expression(name, node)
        code = compile_module(emitter.module, source, file_name(f"<{source.name}>"))
    return Program(source, code, emitter.constants, model.version, emitter.sites.all)


def shown(source: Source, node: Node, name: str, *, traced: bool = False) -> str:
    """The Python of a tree as text."""
    emitter = Emitter(source, traced=traced)
    emitter.define_expression(name, node)
    with deep_recursion():
        return ast.unparse(emitter.module) + "\n"


class CompiledExpression(Struct):
    """A compiled FHIRPath expression."""

    source: Source
    node: Node
    program: Program
    diagnostics: tuple[Diagnostic, ...]
    model: Model
    _function: Callable[[Environment, Any], Any]
    _resolves: bool
    _text_type: str | None

    def __repr__(self) -> str:
        text = " ".join(self.source.text.split())
        return f"<Expression {text if len(text) <= 80 else text[:77] + '...'}>"

    @property
    def python(self) -> str:
        """The emitted Python as text, made anew for readers."""
        return shown(self.source, self.node, "expression")

    def evaluate(
        self,
        resource: dict[str, Any] | None,
        *,
        variables: Mapping[str, Any] | None = None,
        now: dt.datetime | None = None,
        timezone: str = "UTC",
        resolve: Callable[[str], dict[str, Any] | None] | None = None,
        trace: list[tuple[str, list[Any]]] | None = None,
        terminology: Codes | None = None,
    ) -> list[Item]:
        """Evaluate on one resource (decoded JSON; decimals as Decimal) and return the items with their types.

        `now` defaults to the clock in `timezone`. `resolve` finds references beyond the resource itself (contained
        resources, and the entries of a Bundle, are found without). `terminology` answers memberOf, subsumes and subsumedBy.
        Raises EvaluationError.
        """
        resolver = References(resource, resolve).find if self._resolves else None
        membership = None if terminology is None else ValueSetMembership(terminology)
        environment = Environment(now, timezone, variables, resolver, trace, membership)
        return self._run(self.program, self._function, environment, resource)

    def explain(
        self,
        resource: dict[str, Any] | None,
        *,
        variables: Mapping[str, Any] | None = None,
        now: dt.datetime | None = None,
        timezone: str = "UTC",
        resolve: Callable[[str], dict[str, Any] | None] | None = None,
        terminology: Codes | None = None,
    ) -> tuple[list[Item], list[ExplainedPart]]:
        """What `evaluate` gives, and the values of all parts of the text in the order of their evaluation; arguments and errors as there."""
        program = program_of(self.source, self.node, self.model, "expression", explained=True)
        resolver = References(resource, resolve).find if self._resolves else None
        membership = None if terminology is None else ValueSetMembership(terminology)
        environment = _Explaining(program, now, timezone, variables, resolver, None, membership)
        items = self._run(program, program.load()["expression"], environment, resource)
        return items, environment.explanation.parts

    def _run(
        self, program: Program, function: Callable[..., Any], environment: Environment, resource: dict[str, Any] | None
    ) -> list[Item]:
        try:
            result = function(environment, resource)
        except Exception as error:
            raise program.bind(error) from error
        if self.node.many:
            return [self.item(value) for value in result]
        if result is None:
            return []
        if result.__class__ is str and self._text_type is not None:
            return [Item(result, self._text_type)]
        return [self.item(result)]

    def item(self, value: Any) -> Item:
        """A raw result value as an Item."""
        if value.__class__ is str and self._text_type is not None:
            return Item(value, self._text_type)
        if self.node.type is not None and value.__class__ is not Element:
            namespace, _, name = self.node.type.partition(".")
            if namespace == "FHIR" and not (value.__class__ is dict and "resourceType" in value):
                value = Element(value, name)
        namespace, name = type_of(value)
        if self.node.type is not None and self.node.type in ("System.Long", "System.TypeInfo"):
            name = self.node.type.partition(".")[2]
        shown = to_system(value)
        return Item(shown.value if shown.__class__ is Element else shown, f"{namespace}.{name}")


class _Explaining(Environment):
    """Takes the values of the parts of a program."""

    def __init__(self, program: Program, *given: Any) -> None:
        super().__init__(*given)
        self.program = program
        self.explanation = Explanation()

    def explained(self, site: int, value: Any) -> None:
        span = self.program.sites[site].span
        assert span is not None
        self.explanation.add(self.program.source, span, value)


def compile_fhirpath(
    text: str,
    *,
    model: str | Model = "r4",
    root: str | None = None,
    variables: Mapping[str, str] | None = None,
    lenient: bool = False,
    strict: bool = False,
    name: str = "expression",
) -> CompiledExpression:
    """Compile a FHIRPath expression.

    `root` names the type of the input; without it the type is taken from the data and paths are not checked. `variables` declares
    environment variables with their types (`{"start": "System.Date"}`). `lenient` lets unknown elements pass as empty;
    `strict` turns warnings into errors. Raises DiagnosticError, ValueError for an unknown version, and TypeError for values of another type.
    """
    text_of(text, "text")
    instance_of(model, (str, Model), "model", "a version of FHIR such as 'r4'")
    if root is not None:
        text_of(root, "root")
    named(variables, "variables", str)
    flag(lenient, "lenient")
    flag(strict, "strict")
    text_of(name, "name")
    loaded = model if isinstance(model, Model) else load_model(model)
    source = Source(name, text)
    node, found = translate_fhirpath(source, loaded, root=root, variables=variables, lenient=lenient, strict=strict)
    program = program_of(source, node, loaded, "expression")
    resolves = any(isinstance(below, n.Resolve) for below in node.walk())
    namespace, _, short = (node.type or "").partition(".")
    is_text = short in STRING_TYPES if namespace == "FHIR" else short == "String"
    function = program.load()["expression"]
    return CompiledExpression(source, node, program, found, loaded, function, resolves, node.type if is_text else None)
