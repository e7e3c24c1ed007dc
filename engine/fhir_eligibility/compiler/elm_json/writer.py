"""A typed library as standard ELM in JSON (CQL: "Logical Specification"), that other engines load.

Nodes of our own become the standard ones: conversions from FHIR are calls of FHIRHelpers, values of several types a Case of Is and As.
What has no standard form is refused with a diagnostic.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError, Span
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.scope import HELPERS
from fhir_eligibility.compiler.elm_json import writer_nodes
from fhir_eligibility.compiler.elm_json.writer_expressions import ElmWriter, Json, Unwritable
from fhir_eligibility.compiler.translate.cql_library import TypedDefine, TypedFunction, TypedLibrary

__all__ = ["elm_text", "to_elm"]
_REGISTERED = writer_nodes


def to_elm(typed: TypedLibrary) -> Json:
    """A library as an ELM JSON object, `{"library": ...}`. Raises DiagnosticError for what is wrong or has no form in ELM."""
    errors = [d for d in typed.diagnostics if d.severity == "error"]
    if errors:
        raise DiagnosticError(errors)
    return {"library": _Writer(typed).library()}


def elm_text(typed: TypedLibrary) -> str:
    """A library as ELM JSON text; decimals keep their digits. Raises DiagnosticError as `to_elm`."""
    encoded = msgspec.json.Encoder(decimal_format="number").encode(to_elm(typed))
    return msgspec.json.format(encoded, indent=2).decode() + "\n"


class _Writer(ElmWriter):
    """Writes definitions; expressions are written by `ElmWriter`."""

    def library(self) -> Json:
        tree, symbols = self.typed.tree, self.typed.symbols
        identifier = {"id": symbols.name} if tree.name else {}
        if symbols.version:
            identifier["version"] = symbols.version
        found: Json = {
            "annotation": [
                {"type": "CqlToElmInfo", "translatorOptions": "EnableAnnotations,EnableLocators,EnableResultTypes"},
                *(self.problem(d) for d in self.typed.diagnostics),
            ],
            "identifier": identifier,
            "schemaIdentifier": {"id": "urn:hl7-org:elm", "version": "r1"},
            "usings": {"def": self.usings()},
        }
        parts: list[tuple[str, list[Json]]] = [
            ("parameters", [self.parameter(p) for p in self.typed.parameters]),
            ("codeSystems", [self.terminology(x, {"id": x.id, "version": x.version}) for x in tree.codesystems]),
            ("valueSets", [self.value_set(x) for x in tree.valuesets]),
            ("codes", [self.code_definition(x) for x in tree.codes]),
            ("concepts", [self.concept_definition(x) for x in tree.concepts]),
            ("contexts", [{"name": name} for name in self.contexts()]),
            ("statements", self.statements()),
        ]
        includes = self.includes()
        if includes:
            found["includes"] = {"def": includes}
        found |= {name: {"def": items} for name, items in parts if items}
        if self.refused:
            raise DiagnosticError(self.refused)
        return found

    def problem(self, found: Diagnostic) -> Json:
        """A warning as the annotation that other tools show."""
        place: Json = {}
        if found.span is not None:
            line, column = self.source.line_column(found.span.start)
            end_line, end_column = self.source.line_column(max(found.span.start, found.span.end - 1))
            place = {"startLine": line, "startChar": column, "endLine": end_line, "endChar": end_column}
        return {
            "type": "CqlToElmError",
            "message": found.message,
            "errorType": "semantic",
            "errorSeverity": found.severity,
            **place,
        }

    def usings(self) -> list[Json]:
        found: list[Json] = [{"localIdentifier": "System", "uri": "urn:hl7-org:elm-types:r1"}]
        for using in self.typed.tree.usings:
            if using.name != "System":
                uri = "http://hl7.org/fhir" if using.name == "FHIR" else self.model_uri(using.name)
                found.append(_without_none(localIdentifier=using.alias or using.name, uri=uri, version=using.version))
        return found

    def includes(self) -> list[Json]:
        found = [
            _without_none(localIdentifier=i.alias, path=i.name, version=i.version) for i in self.typed.tree.includes
        ]
        if self.needs_helpers and not any(i.name.rpartition(".")[2] == HELPERS for i in self.typed.tree.includes):
            found.append({"localIdentifier": HELPERS, "path": HELPERS, "version": self.fhir_version()})
        return found

    # -- definitions

    def terminology(self, tree: Any, fields: Json) -> Json:
        """A code system, value set, code or concept, with what all of them have."""
        access = "Private" if tree.private else "Public"
        return {**self.place(tree.span), "name": tree.name, "accessLevel": access, **_without_none(**fields)}

    def value_set(self, tree: Any) -> Json:
        systems = [self.named(names) for names, _ in tree.codesystems]
        return self.terminology(tree, {"id": tree.id, "version": tree.version, "codeSystem": systems or None})

    def code_definition(self, tree: Any) -> Json:
        return self.terminology(tree, {"id": tree.code, "display": tree.display, "codeSystem": self.named(tree.system)})

    def concept_definition(self, tree: Any) -> Json:
        codes = [self.named(names) for names, _ in tree.codes]
        return self.terminology(tree, {"display": tree.display, "code": codes})

    def parameter(self, found: TypedDefine) -> Json:
        exported = found.exported
        out = {**self.place(found.span), "name": exported.name}
        out["accessLevel"] = "Private" if exported.private else "Public"
        out["parameterTypeSpecifier"] = self.specifier(exported.type)
        if found.node is not None:
            out["default"] = self.guarded(exported.name, found.node)
        return out

    def contexts(self) -> list[str]:
        return list(dict.fromkeys(s.context for s in self.typed.tree.statements if s.context))

    def statements(self) -> list[Json]:
        items: list[tuple[int, Json]] = []
        for context in self.contexts():
            exported = self.typed.symbols.definitions.get(context)
            if exported is not None and exported.value == "context":
                name = self.type_name(exported.type)
                retrieve: Json = {"type": "Retrieve", "dataType": name}
                body = {"type": "SingletonFrom", "operand": retrieve, "signature": []}
                items.append((-1, {"name": context, "context": context, "expression": body}))
        for define in self.typed.defines:
            items.append((define.span.start, self.define(define)))
        for function in self.typed.functions:
            items.append((function.span.start, self.function_def(function)))
        return [item for _, item in sorted(items, key=lambda pair: pair[0])]

    def head(self, name: str, private: bool, context: str | None, span: Span) -> Json:
        out = {**self.place(span), "name": name}
        out["context"] = context or "Unfiltered"
        out["accessLevel"] = "Private" if private else "Public"
        text = self.source.text[span.start : span.end]
        out["annotation"] = [{"type": "Annotation", "s": {"r": out["localId"], "s": [{"value": [text]}]}}]
        return out

    def define(self, found: TypedDefine) -> Json:
        exported = found.exported
        assert found.node is not None
        out = self.head(exported.name, exported.private, exported.context, found.span)
        out["expression"] = self.guarded(exported.name, found.node)
        return out

    def function_def(self, found: TypedFunction) -> Json:
        exported = found.exported
        out = self.head(exported.name, exported.private, exported.context, found.span)
        out["type"] = "FunctionDef"
        out["fluent"] = exported.fluent
        out["operand"] = [
            {"name": name, "operandTypeSpecifier": self.specifier(kind)}
            for name, kind in zip(exported.operand_names, exported.operands, strict=True)
        ]
        out["expression"] = self.guarded(exported.name, found.node)
        return out

    def guarded(self, name: str, node: Node) -> Json:
        """An expression; what has no form in ELM is noted under the definition's name, and the rest goes on."""
        try:
            return self.write(node)
        except Unwritable as error:
            message = f"{name}: {error} has no form in ELM"
            self.refused.append(Diagnostic("not-in-elm", message, source=self.source, span=error.span))
            return {"type": "Null"}


def _without_none(**fields: Any) -> Json:
    return {name: value for name, value in fields.items() if value is not None}
