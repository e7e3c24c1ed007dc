"""ELM JSON to the syntax of a library, so that it is typed and checked like the author's text: nothing in it is trusted.

Each ELM node becomes a line of a listing (`define: node, local id, place in the CQL`); spans point into that listing, so that a diagnostic
names the node. Conversions that a translator has put in are read as what they are, and made again where they are needed.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from engine.algebra.diagnostic import Diagnostic, DiagnosticError, Source, Span
from engine.compiler.cql import syntax as c
from engine.compiler.cql.elm_expressions import ElmExpressions, Json, Malformed

__all__ = ["is_elm", "read_elm"]
_FHIR = "http://hl7.org/fhir"


def is_elm(text: str) -> bool:
    """Whether a library text is ELM in JSON."""
    head = text.lstrip()[:1]
    return head == "{"


def read_elm(source: Source) -> tuple[Source, c.Library]:
    """The listing of an ELM library, and its syntax tree. Raises DiagnosticError for what is no ELM."""
    try:
        data = json.loads(source.text, parse_float=Decimal)
    except ValueError as error:
        raise DiagnosticError([Diagnostic("invalid-json", f"not valid JSON: {error}", location=source.name)]) from None
    library = data.get("library") if isinstance(data, dict) else None
    if not isinstance(library, dict):
        message = "ELM has the library under the key 'library', and this has none"
        raise DiagnosticError([Diagnostic("elm", message, location=source.name)])
    reader = _Reader(source.name, library)
    tree = reader.library()
    listing = Source(source.name, "\n".join(reader.lines) + "\n")
    if reader.problems:
        raise DiagnosticError(
            [Diagnostic(code, text, source=listing, span=span) for code, text, span in reader.problems]
        )
    return listing, tree


class _Reader(ElmExpressions):
    """Definitions; expressions are read by `ElmExpressions`."""

    def __init__(self, name: str, data: Json) -> None:
        super().__init__(name)
        self.data = data

    def defs(self, name: str) -> list[Json]:
        """The definitions of one kind; a malformed group is a problem."""
        group = self.data.get(name) or {}
        found = group.get("def") if isinstance(group, dict) else None
        if found is None:
            return []
        items = [x for x in found if isinstance(x, dict)] if isinstance(found, list) else []
        if not isinstance(found, list) or len(items) != len(found):
            self.problem("elm", f"{name}.def has to be a list of objects", self.line(name, {}))
        return items

    def library(self) -> c.Library:
        identifier = self.data.get("identifier") or {}
        head = self.line("library", identifier)
        usings = self.usings()
        includes = tuple(
            c.Include(self.line("include", x), str(x.get("path")), x.get("version"), str(x.get("localIdentifier")))
            for x in self.defs("includes")
        )
        return c.Library(
            identifier.get("id"),
            identifier.get("version"),
            head,
            usings,
            includes,
            tuple(self.code_system(x) for x in self.defs("codeSystems")),
            tuple(self.value_set(x) for x in self.defs("valueSets")),
            tuple(self.code_definition(x) for x in self.defs("codes")),
            tuple(self.concept_definition(x) for x in self.defs("concepts")),
            tuple(self.parameter(x) for x in self.defs("parameters")),
            self.statements(),
        )

    def usings(self) -> tuple[c.Using, ...]:
        """The models. Profiles such as those of QICore are gone from ELM: its types are those of FHIR, read with its own conversions."""
        found: dict[str, c.Using] = {}
        for item in self.defs("usings"):
            name = str(item.get("localIdentifier"))
            if name == "System":
                continue
            uri, version = str(item.get("uri")), item.get("version")
            if name != "FHIR":
                self.namespaces[_FHIR] = "FHIR"
                name, version = "FHIR", "4.0.1"
            self.namespaces[uri] = name
            found.setdefault(name, c.Using(self.line("using", item), name, version, None))
        return tuple(found.values())

    def head(self, kind: str, item: Json) -> tuple[Span, str, Span, bool]:
        """What every definition begins with."""
        span = self.line(f"{kind} {item.get('name')!r}", item)
        if not isinstance(item.get("name"), str):
            self.problem("elm", f"a {kind} has no name", span)
        return span, str(item.get("name")), span, item.get("accessLevel") == "Private"

    def code_system(self, item: Json) -> c.CodeSystemDefinition:
        return c.CodeSystemDefinition(*self.head("codesystem", item), str(item.get("id")), item.get("version"))

    def value_set(self, item: Json) -> c.ValueSetDefinition:
        head = self.head("valueset", item)
        systems = tuple((self.names(x), head[0]) for x in item.get("codeSystem") or ())
        return c.ValueSetDefinition(*head, str(item.get("id")), item.get("version"), systems)

    def code_definition(self, item: Json) -> c.CodeDefinition:
        head = self.head("code", item)
        system = self.names(item.get("codeSystem") or {})
        return c.CodeDefinition(*head, str(item.get("id")), system, head[0], item.get("display"))

    def concept_definition(self, item: Json) -> c.ConceptDefinition:
        head = self.head("concept", item)
        codes = tuple((self.names(x), head[0]) for x in item.get("code") or ())
        return c.ConceptDefinition(*head, codes, item.get("display"))

    def parameter(self, item: Json) -> c.Parameter:
        head = self.head("parameter", item)
        self.define = head[1]
        specifier = item.get("parameterTypeSpecifier")
        if specifier is None and item.get("parameterType"):
            specifier = {"type": "NamedTypeSpecifier", "name": item["parameterType"]}
        kind = self.attempt(lambda: self.type_of(specifier, head[0])) if specifier else None
        default = self.attempt(lambda: self.read(item["default"])) if item.get("default") else None
        return c.Parameter(*head, kind, default)

    def statements(self) -> tuple[c.Define | c.Function, ...]:
        found: list[c.Define | c.Function] = []
        for item in self.defs("statements"):
            if item.get("type") == "FunctionDef":
                function = self.function_definition(item)
                if function is not None:
                    found.append(function)
                continue
            context = item.get("context")
            body = item.get("expression") or {}
            if item.get("name") == context and body.get("type") == "SingletonFrom":
                continue  # the patient of the context, which every library with that context has
            head = self.head("define", item)
            self.define = head[1]
            expression = self.attempt(lambda body=body: self.read(body))
            if expression is not None:
                found.append(c.Define(*head, context, expression))
        return tuple(found)

    def function_definition(self, item: Json) -> c.Function | None:
        head = self.head("function", item)
        self.define = head[1]
        operands = []
        for operand in item.get("operand") or ():
            specifier = operand.get("operandTypeSpecifier")
            if specifier is None and operand.get("operandType"):
                specifier = {"type": "NamedTypeSpecifier", "name": operand["operandType"]}
            kind = self.attempt(lambda specifier=specifier: self.type_of(specifier, head[0]))
            if kind is None:
                return None
            operands.append(c.Operand(str(operand.get("name")), kind, head[0]))
        body = item.get("expression")
        expression = self.attempt(lambda: self.read(body)) if body else None
        if body and expression is None:
            return None
        return c.Function(*head, item.get("context"), bool(item.get("fluent")), tuple(operands), None, expression)

    def attempt(self, read: Any) -> Any:
        """What `read` gives; where something in it is malformed that is noted, and the rest goes on."""
        try:
            return read()
        except Malformed:
            return None
