"""A typed library to the module of its definitions."""

from __future__ import annotations

from fhir_eligibility.compiler.emit.emitter import Emitter
from fhir_eligibility.compiler.emit.handlers import HANDLERS
from fhir_eligibility.compiler.emit.python import defined, literal, local, py
from fhir_eligibility.compiler.translate.cql_library import TypedLibrary

_REGISTERED = HANDLERS


def build_module(typed: TypedLibrary, traced: bool, explained: bool = False) -> Emitter:
    """The emitter of a typed library with its module. Raises DiagnosticError `too-deep`."""
    emitter = Emitter(typed.source, typed.types, traced=traced, explained=explained)
    with emitter.bounded():
        _definitions(typed, emitter, traced)
    return emitter


def _definitions(typed: TypedLibrary, emitter: Emitter, traced: bool) -> None:
    for parameter in typed.parameters:
        exported = parameter.exported
        given = py("ev.parameter({0}, {1})", literal(typed.symbols.name), literal(exported.name))
        title = f"parameter {exported.name}"
        emitter.parameter(defined(exported.python), given, parameter.node, parameter.span, title)
    for function in typed.functions:
        names = [local("o", scope) for scope in function.scopes]
        emitter.names.update(zip(function.scopes, names, strict=True))
        operands = zip(names, function.exported.operands, strict=True)
        emitter.rows = [name for name, kind in operands if traced and emitter.is_resource(kind)]
        name = defined(function.exported.python)
        emitter.define(name, names, function.node, function.span, function.exported.name)
    emitter.rows = []
    for define in typed.defines:
        assert define.node is not None
        emitter.define(defined(define.exported.python), (), define.node, define.span, define.exported.name)
