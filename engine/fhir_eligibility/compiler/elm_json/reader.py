"""ELM JSON to the syntax of a library, so that it is typed and checked like the author's text: nothing in it is trusted.

Each ELM node becomes a line of a listing (`define: node, local id, place in the CQL`); spans point into that listing, so that a diagnostic
names the node. Conversions that a translator has put in are read as what they are, and made again where they are needed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import Any

from fhir_eligibility.algebra import limits
from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError, Source, Span
from fhir_eligibility.compiler.elm_json.fields import Json, Malformed
from fhir_eligibility.compiler.elm_json.reader_expressions import ExpressionReader
from fhir_eligibility.compiler.syntax import cql_nodes as c

__all__ = ["is_elm", "read_elm"]
_FHIR = "http://hl7.org/fhir"
_JSON_DEPTH = 4000
_ACCESS = {"Public": "public", "Private": "private"}


def is_elm(text: str) -> bool:
    """Whether a library text is ELM in JSON."""
    head = text.lstrip()[:1]
    return head == "{"


def read_elm(source: Source) -> tuple[Source, c.Library]:
    """The listing of an ELM library, and its syntax tree. Raises DiagnosticError for what is no ELM."""
    try:
        with limited_recursion():
            data = json.loads(source.text, parse_float=Decimal, parse_constant=_no_number)
    except ValueError as error:
        raise DiagnosticError([Diagnostic("invalid-json", f"not valid JSON: {error}", location=source.name)]) from None
    except RecursionError:
        raise DiagnosticError([Diagnostic("syntax-depth", "this is nested too deeply", location=source.name)]) from None
    library = data.get("library") if isinstance(data, dict) else None
    if not isinstance(library, dict):
        message = "ELM has the library under the key 'library', and this has none"
        raise DiagnosticError([Diagnostic("elm", message, location=source.name)])
    if _expressions_in(library) > limits.MAX_TOKENS:
        message = f"this is too large to be compiled: it has more than {limits.MAX_TOKENS:,} expressions"
        raise DiagnosticError([Diagnostic(limits.CODE, message, location=source.name)])
    reader = _LibraryReader(source.name, library)
    tree = reader.library()
    listing = Source(source.name, "\n".join(reader.lines) + "\n")
    if reader.problems:
        raise DiagnosticError(
            [Diagnostic(code, text, source=listing, span=span) for code, text, span in reader.problems]
        )
    return listing, tree


def _expressions_in(library: Json) -> int:
    """How many objects of a library have a type of ELM."""
    count = 0
    stack: list[Any] = [library]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            count += "type" in value
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
    return count


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is not a number of JSON")


@contextmanager
def limited_recursion() -> Iterator[None]:
    """What the reader of JSON, which is no Python, may nest: less than a compiler is given room for."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(min(limit, _JSON_DEPTH))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


class _LibraryReader(ExpressionReader):
    """Definitions; expressions are read by `ExpressionReader`."""

    def __init__(self, name: str, data: Json) -> None:
        super().__init__(name)
        self.data = data

    def defs(self, name: str) -> list[Json]:
        """The definitions of one kind; a malformed group is a problem."""
        span = Span(0, len(self.lines[0]))
        found: list[Json] = []
        try:
            found = self.objects(self.some_object(self.data, name, span) or {}, "def", span)
        except Malformed:
            code, message, _ = self.problems.pop()
            self.problem(code, f"{name}: {message}", span)
        return found

    def group(self, name: str, read: Callable[[Json], Any]) -> tuple[Any, ...]:
        """The definitions of one kind, read one by one: those that are malformed are left out, each with its problem."""
        found = [self.attempt(partial(read, item)) for item in self.defs(name)]
        return tuple(item for item in found if item is not None)

    def library(self) -> c.Library:
        head = self.line("library", {})
        identifier = self.attempt(lambda: self.some_object(self.data, "identifier", head)) or {}
        usings = self.usings()
        return c.Library(
            self.attempt(lambda: self.some_text(identifier, "id", head)),
            self.attempt(lambda: self.some_text(identifier, "version", head)),
            head,
            usings,
            self.group("includes", self.include),
            self.group("codeSystems", self.code_system),
            self.group("valueSets", self.value_set),
            self.group("codes", self.code_definition),
            self.group("concepts", self.concept_definition),
            self.group("parameters", self.parameter),
            self.group("statements", self.statement),
        )

    def include(self, item: Json) -> c.Include:
        span = self.line("include", item)
        version = self.some_text(item, "version", span)
        return c.Include(span, self.text(item, "path", span), version, self.text(item, "localIdentifier", span))

    def usings(self) -> tuple[c.Using, ...]:
        """The models. Profiles such as those of QICore are gone from ELM: its types are those of FHIR, read with its own conversions."""
        found: dict[str, c.Using] = {}
        for using in self.group("usings", self.using):
            if using is not None:
                found.setdefault(using.name, using)
        return tuple(found.values())

    def using(self, item: Json) -> c.Using | None:
        span = self.line("using", item)
        name = self.text(item, "localIdentifier", span)
        if name == "System":
            return None
        uri, version = self.text(item, "uri", span), self.some_text(item, "version", span)
        if name != "FHIR":
            self.namespaces[_FHIR] = "FHIR"
            name, version = "FHIR", "4.0.1"
        self.namespaces[uri] = name
        return c.Using(span, name, version, None)

    def head(self, kind: str, item: Json) -> tuple[Span, str, Span, bool]:
        """What every definition begins with."""
        span = self.line(f"{kind} {item.get('name')!r}"[:200], item)
        access = self.word(item, "accessLevel", _ACCESS, span)
        return span, self.text(item, "name", span), span, access == "private"

    def code_system(self, item: Json) -> c.CodeSystemDefinition:
        head = self.head("codesystem", item)
        return c.CodeSystemDefinition(*head, self.text(item, "id", head[0]), self.some_text(item, "version", head[0]))

    def value_set(self, item: Json) -> c.ValueSetDefinition:
        head = self.head("valueset", item)
        span = head[0]
        systems = tuple((self.names(x, span), span) for x in self.objects(item, "codeSystem", span))
        return c.ValueSetDefinition(*head, self.text(item, "id", span), self.some_text(item, "version", span), systems)

    def code_definition(self, item: Json) -> c.CodeDefinition:
        head = self.head("code", item)
        span = head[0]
        system = self.names(self.object(item, "codeSystem", span), span)
        return c.CodeDefinition(*head, self.text(item, "id", span), system, span, self.some_text(item, "display", span))

    def concept_definition(self, item: Json) -> c.ConceptDefinition:
        head = self.head("concept", item)
        span = head[0]
        codes = tuple((self.names(x, span), span) for x in self.objects(item, "code", span))
        return c.ConceptDefinition(*head, codes, self.some_text(item, "display", span))

    def declared(self, item: Json, word: str, span: Span) -> Any:
        """The type that a parameter or operand is declared with, None where it is not."""
        if item.get(f"{word}TypeSpecifier") is None and item.get(f"{word}Type") is None:
            return None
        if item.get(f"{word}TypeSpecifier") is not None:
            return self.type_of(self.object(item, f"{word}TypeSpecifier", span), span)
        return self.named(item, f"{word}Type", span)

    def parameter(self, item: Json) -> c.ParameterDefinition:
        head = self.head("parameter", item)
        self.define = head[1]
        return c.ParameterDefinition(*head, self.declared(item, "parameter", head[0]), self.some(item, "default"))

    def statement(self, item: Json) -> c.Define | c.Function | None:
        if item.get("type") == "FunctionDef":
            return self.function_definition(item)
        head = self.head("define", item)
        context = self.some_name(item, "context", head[0])
        body = self.object(item, "expression", head[0])
        if head[1] == context and body.get("type") == "SingletonFrom":
            return None  # the patient of the context, which every library with that context has
        self.define = head[1]
        return c.Define(*head, context, self.read(body))

    def function_definition(self, item: Json) -> c.Function:
        head = self.head("function", item)
        self.define = head[1]
        operands = tuple(self.operand(x, head[0]) for x in self.objects(item, "operand", head[0]))
        context, fluent = self.some_name(item, "context", head[0]), self.flag(item, "fluent", False, head[0])
        return c.Function(*head, context, fluent, operands, None, self.some(item, "expression"))

    def operand(self, item: Json, span: Span) -> c.Operand:
        kind = self.declared(item, "operand", span)
        if kind is None:
            raise self.fail("the type of an operand is missing", span)
        return c.Operand(self.text(item, "name", span), kind, span)

    def attempt(self, read: Callable[[], Any]) -> Any:
        """What `read` gives; where something in it is malformed that is noted, and the rest goes on."""
        try:
            return read()
        except Malformed:
            return None
