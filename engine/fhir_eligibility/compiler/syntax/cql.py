"""CQL text to syntax tree: the definitions and statements of a library (CQL: "Syntax"; official grammar: rule `library`).

All mistakes of a library are found in one go: after one, parsing goes on at the next statement. The whole input is consumed.
"""

from __future__ import annotations

from typing import TypeVar

from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError, Source, Span
from fhir_eligibility.compiler.syntax import cql_nodes as c
from fhir_eligibility.compiler.syntax.cql_expressions import ExpressionParser
from fhir_eligibility.compiler.syntax.cql_words import KEYWORDS, STATEMENT_WORDS
from fhir_eligibility.compiler.syntax.cursor import Stop
from fhir_eligibility.compiler.syntax.lexer import Token, tokenize
from fhir_eligibility.compiler.syntax.nodes import Expression


def parse_library(source: Source) -> c.Library:
    """Parse a library. Raises DiagnosticError with every problem found; their codes start with `syntax-`."""
    tokens, problems = tokenize(source)
    parser = LibraryParser(source, tokens)
    library = parser.library()
    _raise(problems + parser.problems)
    return library


def parse_expression(source: Source) -> Expression:
    """Parse one whole expression. Raises DiagnosticError."""
    tokens, problems = tokenize(source)
    parser = ExpressionParser(source, tokens)
    tree = None
    try:
        if parser.token.kind == "end" and not problems:
            raise parser.stop("syntax-empty", "there is no expression", parser.token.span)
        tree = parser.expression()
        parser.end()
    except Stop:
        pass
    _raise(problems + parser.problems)
    assert tree is not None
    return tree


def _raise(problems: list[Diagnostic]) -> None:
    if problems:
        raise DiagnosticError(sorted(problems, key=lambda d: d.span.start if d.span else 0))


D = TypeVar("D")


class LibraryParser(ExpressionParser):
    """Definitions and statements."""

    context: str | None = None

    def library(self) -> c.Library:
        name = version = name_span = None
        found: list[object] = []
        statements: list[c.Define | c.Function] = []
        begun = False
        while self.token.kind != "end":
            start = self.position
            try:
                if self.word("library") and not begun:
                    first = self.advance()
                    names = self.qualified_name()
                    name, name_span = ".".join(names), first.span.to(self.previous.span)
                    version = self.version()
                    begun = True
                    continue
                begun = True
                item = self.definition(bool(statements))
            except Stop:
                self.recover(start)
                continue
            if isinstance(item, (c.Define, c.Function)):
                statements.append(item)
            else:
                found.append(item)

        def of(kind: type[D]) -> tuple[D, ...]:
            return tuple(item for item in found if isinstance(item, kind))

        return c.Library(
            name,
            version,
            name_span,
            of(c.Using),
            of(c.Include),
            of(c.CodeSystemDefinition),
            of(c.ValueSetDefinition),
            of(c.CodeDefinition),
            of(c.ConceptDefinition),
            of(c.ParameterDefinition),
            tuple(statements),
        )

    def recover(self, start: int) -> None:
        """Go on at the next word that begins a statement at the start of a line."""
        if self.position == start:
            self.advance()
        while self.token.kind != "end":
            token = self.token
            if token.kind == "name" and token.text in STATEMENT_WORDS:
                before = self.source.text[self.previous.end : token.start] if self.position else "\n"
                if "\n" in before or token.text == "define":
                    return
            self.advance()

    def version(self) -> str | None:
        return self.string("version") if self.accept("version") else None

    def string(self, what: str) -> str:
        if self.token.kind != "string":
            hint = "it is written in single quotes" if self.token.kind in ("quoted", "name") else None
            raise self.unexpected(f"the {what}", hint)
        return self.advance().value

    def definition(self, late: bool) -> object:
        """One definition or statement."""
        first = self.token
        if first.kind != "name" or (first.text not in STATEMENT_WORDS and first.text not in ("public", "private")):
            hint = None
            if first.text in ("exclude", "case", "where", "return", "and", "or"):
                hint = "does it belong to the expression before?"
            raise self.unexpected("a definition (define, parameter, include, ...)", hint)
        if first.text == "define":
            return self.statement()
        if first.text == "context":
            self.context_definition()
            return None
        private = False
        if self.token.text in ("public", "private"):
            private = self.advance().text == "private"
        kind = self.token.text
        if late and kind in STATEMENT_WORDS:
            self.problems.append(
                Diagnostic(
                    "syntax-order",
                    f"{kind!r} must stand before the first define or context",
                    source=self.source,
                    span=self.token.span,
                    hint="move it up",
                )
            )
        word = self.advance()
        if kind == "using":
            name, version = ".".join(self.qualified_name()), self.version()
            alias = self.identifier() if self.accept("called") else None
            return c.Using(self.since(first), name, version, alias)
        if kind == "include":
            names, version = self.qualified_name(), self.version()
            alias = self.identifier() if self.accept("called") else names[-1]
            return c.Include(self.since(first), ".".join(names), version, alias)
        if kind == "parameter":
            name, name_span = self.named()
            type_ = None
            if not self.word("default") and self.starts_type():
                type_ = self.type_specifier()
            default = self.expression() if self.accept("default") else None
            if type_ is None and default is None:
                raise self.unexpected("the parameter's type or default")
            return c.ParameterDefinition(self.since(first), name, name_span, private, type_, default)
        if kind == "codesystem":
            name, name_span = self.named()
            self.expect(":")
            id_, version = self.string("code system's url"), self.version()
            return c.CodeSystemDefinition(self.since(first), name, name_span, private, id_, version)
        if kind == "valueset":
            return self.valueset(first, private)
        if kind == "code":
            name, name_span = self.named()
            self.expect(":")
            code = self.string("code")
            self.expect("from")
            system, system_span = self.reference()
            display = self.display()
            return c.CodeDefinition(self.since(first), name, name_span, private, code, system, system_span, display)
        if kind == "concept":
            return self.concept(first, private)
        self.position -= 1
        self.token = word
        raise self.unexpected("a definition")

    def since(self, first: Token) -> Span:
        return Span(first.start, self.previous.end)

    def named(self) -> tuple[str, Span]:
        token = self.token
        return self.identifier(), token.span

    def reference(self) -> tuple[tuple[str, ...], Span]:
        """A name, or a name in an included library."""
        first = self.token
        names = [self.identifier()]
        if self.is_operator("."):
            self.advance()
            names.append(self.identifier())
        return tuple(names), self.since(first)

    def references(self) -> tuple[tuple[tuple[str, ...], Span], ...]:
        opened = self.expect("{")
        found = []
        if not self.is_operator("}"):
            found.append(self.reference())
            while self.is_operator(","):
                self.advance()
                found.append(self.reference())
        self.expect("}", opened)
        return tuple(found)

    def valueset(self, first: Token, private: bool) -> c.ValueSetDefinition:
        name, name_span = self.named()
        self.expect(":")
        id_, version = self.string("value set's url"), self.version()
        systems = self.references() if self.accept("codesystems") else ()
        return c.ValueSetDefinition(self.since(first), name, name_span, private, id_, version, systems)

    def concept(self, first: Token, private: bool) -> c.ConceptDefinition:
        name, name_span = self.named()
        self.expect(":")
        codes, display = self.references(), self.display()
        return c.ConceptDefinition(self.since(first), name, name_span, private, codes, display)

    def context_definition(self) -> None:
        self.advance()
        names = self.qualified_name()
        self.context = None if names[-1] == "Unfiltered" else names[-1]

    def statement(self) -> c.Define | c.Function:
        first = self.advance()
        private = False
        if self.token.text in ("public", "private") and self.token.kind == "name":
            private = self.advance().text == "private"
        fluent = False
        if self.word("fluent") and self.peek().text == "function":
            self.advance()
            fluent = True
        if self.word("function") and not (self.peek().kind == "operator" and self.peek().text == ":"):
            self.advance()
            return self.function(first, private, fluent)
        name, name_span = self.named()
        self.expect(":")
        if self.token.kind == "end" or (self.token.text in ("define", "context") and self.token.kind == "name"):
            raise self.unexpected(f"the expression that defines {name!r}")
        body = self.expression()
        define = c.Define(self.since(first), name, name_span, private, self.context, body)
        self.end_of_statement()
        return define

    def end_of_statement(self) -> None:
        token = self.token
        if token.kind == "end" or (token.kind == "name" and token.text in STATEMENT_WORDS | {"public", "private"}):
            return
        hint = None
        if token.kind in ("name", "quoted", "delimited") and token.text not in KEYWORDS:
            hint = "is an operator missing before it?"
        raise self.unexpected("an operator or the next statement", hint)

    def function(self, first: Token, private: bool, fluent: bool) -> c.Function:
        token = self.token
        name = self.function_name()
        opened = self.expect("(")
        operands = []
        while not self.is_operator(")"):
            operand = self.token
            operand_name = self.referential()
            type_ = self.type_specifier()
            operands.append(c.Operand(operand_name, type_, self.since(operand)))
            if not self.is_operator(","):
                break
            self.advance()
        self.expect(")", opened)
        returns = self.type_specifier() if self.accept("returns") else None
        self.expect(":")
        body = None
        if self.word("external"):
            self.advance()
        else:
            body = self.expression()
        function = c.Function(
            self.since(first), name, token.span, private, self.context, fluent, tuple(operands), returns, body
        )
        self.end_of_statement()
        return function
