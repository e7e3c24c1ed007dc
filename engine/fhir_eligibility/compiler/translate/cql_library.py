"""A whole library to typed ELM: its definitions in any order, each once, and what is wrong with any of them (CQL: "Libraries").

Definitions are translated when first referred to, so that their order does not matter; one that refers to itself is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct, field

from fhir_eligibility.algebra.diagnostic import Diagnostic, Source, Span
from fhir_eligibility.algebra.values.clinical import Code, CodeSystem, Concept, ValueSet
from fhir_eligibility.compiler.elm import types as t
from fhir_eligibility.compiler.elm.models import CqlModel
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.scope import Exported, ExportedFunction, Local, Scope, Symbols
from fhir_eligibility.compiler.elm.types import Named, Type, TypeSystem
from fhir_eligibility.compiler.syntax import cql_nodes as c
from fhir_eligibility.compiler.translate.abort import Abort
from fhir_eligibility.compiler.translate.cql_expressions import CqlTranslator

_UNFILTERED = ("Unfiltered", "Population", "Unspecified")


class TranslationOptions(Struct):
    """How text is read: whether a list of one stands for its element (`list_demotion`) and an element for a list (`list_promotion`)."""

    list_demotion: bool = False
    list_promotion: bool = False


class TypedDefine(Struct):
    """An expression definition or parameter default, typed."""

    exported: Exported
    node: Node | None
    span: Span


class TypedFunction(Struct):
    """A function definition, typed; `scopes` are the numbers of its operands."""

    exported: ExportedFunction
    node: Node
    scopes: tuple[int, ...]
    span: Span


class TypedLibrary(Struct):
    """What translation makes of a library."""

    source: Source
    tree: c.Library
    symbols: Symbols
    types: TypeSystem
    included: dict[str, Symbols]
    defines: list[TypedDefine] = field(default_factory=list)
    parameters: list[TypedDefine] = field(default_factory=list)
    functions: list[TypedFunction] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)


ModelFinder = Callable[[str, str | None], CqlModel | None]


def model_types(usings: tuple[c.Using, ...], find: ModelFinder, fail: Callable[..., Abort]) -> dict[str, Any]:
    """The models that a library uses, by namespace. Reports `unknown-model`."""
    models: dict[str, Any] = {}
    for using in usings:
        if using.name == "System":
            continue
        try:
            model = find(using.name, using.version)
        except ValueError as error:
            fail("unknown-model", str(error), using.span)
            continue
        if model is None:
            hint = "FHIR is known; for another model give its ModelInfo file (XML)"
            fail("unknown-model", f"the model {using.name!r} is not known", using.span, hint)
            continue
        models[model.namespace] = model
    return models


class LibraryTranslator(CqlTranslator):
    """Translates one library. `included` holds the symbols of its includes by local name."""

    def __init__(
        self,
        source: Source,
        tree: c.Library,
        included: dict[str, Symbols],
        options: TranslationOptions,
        find_model: ModelFinder,
    ) -> None:
        name = tree.name or "expression"
        super().__init__(source, TypeSystem(), Symbols(name, tree.version), included)
        models = model_types(tree.usings, find_model, self.fail)
        self.types = TypeSystem(models, list_demotion=options.list_demotion, list_promotion=options.list_promotion)
        self.tree = tree
        self.typed = TypedLibrary(source, tree, self.symbols, self.types, included)
        self.owner = self.symbols.key
        self._named = 0  # definitions that have a name in Python
        self._signatures: set[tuple[str, tuple[Type, ...]]] = set()
        self.unavailable = {include.alias for include in tree.includes} - set(included)
        self._defines: dict[str, c.Define] = {}
        self._on_bound_codes: set[tuple[str, tuple[Type, ...]]] = set()
        self._functions: dict[int, c.Function] = {}
        self._state: dict[Any, str] = {}

    # -- names for Python

    def python_name(self, kind: str) -> str:
        """The name of a function in the module that is made of the library: nothing of what the author calls the definition is in it."""
        self._named += 1
        return f"{kind}_{self._named}"

    # -- definitions

    def translate(self) -> TypedLibrary:
        """Everything in the library; what is wrong stands in `diagnostics`."""
        for step in (self.terminologies, self.contexts, self.declare_parameters, self.declare_statements):
            step()
        for name in list(self._defines):
            self.attempt(self.translate_define, name)
        for functions in list(self.symbols.functions.values()):
            for function in functions:
                if not function.external:
                    self.attempt(self.translate_function, function)
        order = {id(tree): index for index, tree in enumerate(self.tree.statements)}
        self.typed.defines.sort(key=lambda d: order.get(id(self._defines.get(d.exported.name)), 0))
        self.typed.diagnostics = self.diagnostics
        return self.typed

    def attempt(self, step: Callable[[Any], Any], what: Any) -> None:
        try:
            step(what)
        except Abort:
            return
        except RecursionError:
            span = self._defines[what].span if isinstance(what, str) else None
            self.report("too-deep", "this is nested too deeply", span or Span(0, 0))

    def export(self, exported: Exported, span: Span) -> None:
        """Make a definition known. Reports `duplicate`."""
        if exported.name in self.symbols.definitions or exported.name in self.included:
            self.report("duplicate", f"{exported.name!r} is defined twice", span, "every name of a library is its own")
            return
        self.symbols.definitions[exported.name] = exported

    def terminologies(self) -> None:
        tree = self.tree
        for system in tree.codesystems:
            self.terminology_definition(
                system, "CodeSystemRef", t.CODESYSTEM, CodeSystem(system.id, system.version, system.name)
            )
        for values in tree.valuesets:
            systems = []
            for names, span in values.codesystems:
                try:
                    systems.append(self.code_system(names, span))
                except Abort:
                    continue
            value = ValueSet(values.id, values.version, values.name, tuple(systems))
            self.terminology_definition(values, "ValueSetRef", t.VALUESET, value)
        for code in tree.codes:
            try:
                system = self.code_system(code.system, code.system_span)
            except Abort:
                continue
            self.terminology_definition(
                code, "CodeRef", t.CODE, Code(code.code, system.id, system.version, code.display)
            )
        for concept in tree.concepts:
            codes: list[Code] = []
            for names, span in concept.codes:
                try:
                    codes.append(self.terminology(names, span, "CodeRef", "code").value)
                except Abort:
                    continue
            self.terminology_definition(concept, "ConceptRef", t.CONCEPT, Concept(tuple(codes), concept.display))

    def terminology_definition(self, tree: c.Definition, kind: str, type_: Type, value: Any) -> None:
        self.export(Exported(tree.name, kind, type_, "", self.owner, tree.private, None, value), tree.name_span)

    def contexts(self) -> None:
        """The patient of `context Patient`, under that name."""
        for statement in self.tree.statements:
            context = _context(statement.context)
            if context is None or context in self.symbols.definitions:
                continue
            kind: Type = t.ANY
            for namespace, model in self.types.models.items():
                if model.has_type(context):
                    kind = Named(f"{namespace}.{context}")
            if kind == t.ANY:
                hint = "name the model that has it: using FHIR version '4.0.1'"
                self.report("unknown-type", f"there is no type {context!r} for this context", statement.span, hint)
            exported = Exported(context, "ExpressionRef", kind, "", self.owner, True, context, "context")
            self.symbols.definitions[context] = exported

    def declare_parameters(self) -> None:
        for parameter in self.tree.parameters:
            try:
                node = self.expression(parameter.default, Scope()) if parameter.default is not None else None
                kind = self.type_of(parameter.type) if parameter.type is not None else None
                if kind is not None and node is not None:
                    node = self.to(node, kind, f"the default of {parameter.name}")
            except Abort:
                self.unavailable.add(parameter.name)
                continue
            if kind is None:
                kind = node.result if node is not None else t.ANY
            python = self.python_name("parameter")
            exported = Exported(parameter.name, "ParameterRef", kind, python, self.owner, parameter.private)
            self.export(exported, parameter.name_span)
            self.typed.parameters.append(TypedDefine(exported, node, parameter.span))

    def declare_statements(self) -> None:
        for statement in self.tree.statements:
            if isinstance(statement, c.Function):
                try:
                    self.declare_function(statement)
                except Abort:
                    continue
            elif statement.name in self._defines or statement.name in self.symbols.definitions:
                self.report("duplicate", f"{statement.name!r} is defined twice", statement.name_span)
            else:
                self._defines[statement.name] = statement

    def declare_function(self, tree: c.Function) -> None:
        operands = tuple(self.type_of(operand.type) for operand in tree.operands)
        bound = any(self.is_bound_code(operand.type) for operand in tree.operands)
        if (tree.name, operands) in self._signatures:
            if bound or (tree.name, operands) in self._on_bound_codes:
                raise Abort  # FHIR's ModelInfo has types of their own for them; each is a FHIR.code, and the first function takes all
            shown = ", ".join(map(str, operands))
            raise self.fail("duplicate", f"the function {tree.name}({shown}) is defined twice", tree.name_span)
        returns = self.type_of(tree.returns) if tree.returns is not None else None
        if bound:
            self._on_bound_codes.add((tree.name, operands))
        names = tuple(operand.name for operand in tree.operands)
        for operand in tree.operands:
            if names.count(operand.name) > 1:
                raise self.fail("duplicate", f"the operand {operand.name!r} is there twice", operand.span)
        function = ExportedFunction(
            tree.name,
            operands,
            returns,
            self.python_name("function"),
            self.owner,
            tree.fluent,
            tree.private,
            tree.body is None,
            _context(tree.context),
            names,
        )
        if tree.fluent and not operands:
            raise self.fail("arguments", "a fluent function takes at least its input", tree.name_span)
        self._functions[id(function)] = tree
        self._signatures.add((tree.name, operands))
        self.symbols.functions.setdefault(tree.name, []).append(function)

    def definition(self, name: str, span: Span) -> Exported | None:
        found = self.symbols.definitions.get(name)
        if found is not None or name not in self._defines:
            return found
        if self._state.get(name) == "begun":
            message = f"{name!r} refers to itself, directly or through others"
            raise self.fail("circular", message, span, "a definition cannot need its own value")
        return self.translate_define(name)

    def known_names(self) -> list[str]:
        return list({**self.symbols.definitions, **self._defines})

    def translate_define(self, name: str) -> Exported:
        """A define by its name, translated once. Raises Abort where it cannot be."""
        state = self._state.get(name)
        if state == "done":
            return self.symbols.definitions[name]
        if state is not None:
            raise Abort
        tree = self._defines[name]
        self._state[name] = "begun"
        outer = self.context, self.in_function, self.needs
        self.context, self.in_function = _context(tree.context), False
        try:
            node = self.expression(tree.expression, Scope())
        except Abort:
            self._state[name] = "failed"
            raise
        finally:
            inner = self.context
            self.context, self.in_function, self.needs = outer
        python = self.python_name("define")
        exported = Exported(name, "ExpressionRef", node.result, python, self.owner, tree.private, inner)
        self.symbols.definitions[name] = exported
        self.typed.defines.append(TypedDefine(exported, node, tree.span))
        self._state[name] = "done"
        return exported

    def function_result(self, function: ExportedFunction, span: Span) -> Type:
        """The result type of a function; of one of this library by translating its body."""
        if id(function) not in self._functions or function.external:
            return function.result or t.ANY
        if self._state.get(id(function)) == "begun":
            message = f"the function {function.name!r} calls itself, directly or through others"
            raise self.fail("circular", message, span, "functions cannot be recursive")
        self.translate_function(function)
        assert function.result is not None
        return function.result

    def translate_function(self, function: ExportedFunction) -> None:
        key = id(function)
        state = self._state.get(key)
        if state == "done":
            return
        if state is not None:
            raise Abort
        tree = self._functions[key]
        assert tree.body is not None
        self._state[key] = "begun"
        outer = self.context, self.in_function, self.needs
        self.context, self.in_function, self.needs = function.context, True, None
        locals_ = [
            Local(name, "OperandRef", kind, self.new_id())
            for name, kind in zip(function.operand_names, function.operands, strict=True)
        ]
        try:
            node = self.expression(tree.body, Scope(tuple(locals_)))
            if function.result is not None:
                node = self.to(node, function.result, f"the result of {function.name}")
        except Abort:
            self._state[key] = "failed"
            raise
        finally:
            needs = self.needs
            self.context, self.in_function, self.needs = outer
        function.result, function.needs = node.result, needs
        self.typed.functions.append(TypedFunction(function, node, tuple(x.scope for x in locals_), tree.span))
        self._state[key] = "done"


def _context(name: str | None) -> str | None:
    return None if name is None or name in _UNFILTERED else name
