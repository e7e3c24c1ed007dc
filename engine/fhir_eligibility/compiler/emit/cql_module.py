"""A typed library to the module of its definitions."""

from __future__ import annotations

from fhir_eligibility.compiler.elm.identifiers import identifier
from fhir_eligibility.compiler.emit import cql_nodes, fhir, logic, membership, queries
from fhir_eligibility.compiler.emit.cql_emitter import CqlEmitter
from fhir_eligibility.compiler.emit.python import defined, literal, py
from fhir_eligibility.compiler.translate.cql_library import TypedLibrary

_REGISTERED = (fhir, logic, membership, cql_nodes, queries)


def build_module(typed: TypedLibrary, traced: bool) -> CqlEmitter:
    """The emitter of a typed library with its module. Raises DiagnosticError `too-deep`."""
    emitter = CqlEmitter(typed.types, typed.source, traced=traced)
    with emitter.bounded():
        _definitions(typed, emitter, traced)
    return emitter


def _definitions(typed: TypedLibrary, emitter: CqlEmitter, traced: bool) -> None:
    for parameter in typed.parameters:
        exported = parameter.exported
        given = py("ev.parameter({0}, {1})", literal(typed.symbols.name), literal(exported.name))
        title = f"parameter {exported.name}"
        emitter.parameter(defined(exported.python), given, parameter.node, parameter.span, title)
    for function in typed.functions:
        names = [defined(name) for name in _operand_names(function.exported.operand_names)]
        emitter.names.update(zip(function.scopes, names, strict=True))
        operands = zip(names, function.exported.operands, strict=True)
        emitter.rows = [name for name, kind in operands if traced and emitter.is_resource(kind)]
        name = defined(function.exported.python)
        emitter.define(name, names, function.node, function.span, function.exported.name)
    emitter.rows = []
    for define in typed.defines:
        assert define.node is not None
        emitter.define(defined(define.exported.python), (), define.node, define.span, define.exported.name)


def _operand_names(names: tuple[str, ...]) -> list[str]:
    """Python names that nothing else in the module has: they end in an underscore, and each has its number where several look alike."""
    pythons = [f"{identifier(name)}_" for name in names]
    if len(set(pythons)) == len(pythons):
        return pythons
    return [f"{python}{number}_" for number, python in enumerate(pythons)]
