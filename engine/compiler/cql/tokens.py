"""What every part of the CQL parser uses: the token at hand, names, type specifiers, and mistakes (official grammar: `typeSpecifier`)."""

from __future__ import annotations

from engine.algebra.diagnostic import Diagnostic, Source, Span
from engine.compiler.cql import syntax as c
from engine.compiler.cql.words import FUNCTION_WORDS, KEYWORD_IDENTIFIERS, KEYWORDS
from engine.compiler.lexer import Token
from engine.compiler.syntax import Expression

NAMES = ("name", "quoted", "delimited")


class Stop(Exception):
    """Parsing of a statement cannot go on; the reason is in the problems."""


class TokenParser:
    """A cursor over the tokens of a source."""

    def __init__(self, source: Source, tokens: list[Token]) -> None:
        self.source = source
        self.tokens = tokens
        self.position = 0
        self.token = tokens[0]
        self.problems: list[Diagnostic] = []

    # -- tokens

    @property
    def previous(self) -> Token:
        """The token before the one at hand."""
        return self.tokens[max(0, self.position - 1)]

    def peek(self, ahead: int = 1) -> Token:
        return self.tokens[min(self.position + ahead, len(self.tokens) - 1)]

    def advance(self) -> Token:
        token = self.token
        if token.kind != "end":
            self.position += 1
            self.token = self.tokens[self.position]
        return token

    def back_to(self, position: int) -> None:
        self.position = position
        self.token = self.tokens[position]

    def word(self, *texts: str) -> bool:
        """Whether the token at hand is one of these bare words."""
        return self.token.kind == "name" and self.token.text in texts

    def words(self, first: str, second: str) -> bool:
        """Whether two bare words follow one another here."""
        following = self.peek()
        return self.word(first) and following.kind == "name" and following.text == second

    def operator(self, text: str) -> bool:
        return self.token.kind == "operator" and self.token.text == text

    def accept(self, text: str) -> bool:
        """Step over a bare word if it is here."""
        if self.word(text):
            self.advance()
            return True
        return False

    def expect(self, text: str, opened: Token | None = None) -> Token:
        """Step over a word or symbol that must be here."""
        if self.token.kind in ("name", "operator") and self.token.text == text:
            return self.advance()
        hint = None
        if opened is not None:
            line, column = self.source.line_column(opened.start)
            hint = f"{opened.text} was opened at line {line}, column {column}"
        raise self.unexpected(repr(text), hint)

    def stop(self, code: str, message: str, span: Span, hint: str | None = None) -> Stop:
        self.problems.append(Diagnostic(code, message, source=self.source, span=span, hint=hint))
        return Stop()

    def unexpected(self, wanted: str, hint: str | None = None) -> Stop:
        found = "the end of the text" if self.token.kind == "end" else repr(self.token.text)
        if hint is None and self.token.text in ("&&", "||", "==", ";"):
            hint = "CQL writes 'and', 'or', '=', and nothing at the end of a statement"
        return self.stop("syntax-expected", f"expected {wanted} but found {found}", self.token.span, hint)

    def end(self) -> None:
        """The whole text must be consumed here."""
        if self.token.kind != "end":
            raise self.unexpected("an operator or the end of the expression")

    # -- names

    def is_identifier(self, token: Token) -> bool:
        """Whether a token may introduce a name (grammar: identifier)."""
        return token.kind in ("quoted", "delimited") or (token.kind == "name" and token.text not in KEYWORDS)

    def is_referential(self, token: Token) -> bool:
        """Whether a token may refer to a name (grammar: referentialIdentifier)."""
        return self.is_identifier(token) or (token.kind == "name" and token.text in KEYWORD_IDENTIFIERS)

    def identifier(self) -> str:
        if self.is_identifier(self.token):
            return self.advance().value
        hint = None
        if self.token.kind == "name":
            hint = f"{self.token.text!r} is a word of the language; write it in double quotes to use it as a name"
        raise self.unexpected("a name", hint)

    def referential(self) -> str:
        if self.is_referential(self.token):
            return self.advance().value
        return self.identifier()

    def function_name(self) -> str:
        if self.token.kind == "name" and self.token.text in FUNCTION_WORDS:
            return self.advance().value
        return self.identifier()

    def qualified_name(self) -> list[str]:
        names = [self.identifier()]
        while self.operator("."):
            self.advance()
            names.append(self.identifier())
        return names

    # -- types

    def starts_type(self) -> bool:
        return self.is_referential(self.token) or self.word("List", "Interval", "Tuple", "Choice", "Code", "Concept")

    def type_specifier(self) -> Expression:
        first = self.token
        following = self.peek()
        generic = following.kind == "operator" and following.text == "<"
        if self.word("List") and generic:
            element = self.type_arguments(first)[0]
            return c.ListOf(Span(first.start, self.previous.end), element)
        if self.word("Interval") and generic:
            point = self.type_arguments(first)[0]
            return c.IntervalOf(Span(first.start, self.previous.end), point)
        if self.word("Choice") and generic:
            choices = self.type_arguments(first, many=True)
            return c.ChoiceOf(Span(first.start, self.previous.end), choices)
        if self.word("Tuple") and following.text == "{":
            self.advance()
            opened = self.advance()
            elements = []
            while not self.operator("}"):
                name = self.referential()
                elements.append((name, self.type_specifier()))
                if not self.operator(","):
                    break
                self.advance()
            self.expect("}", opened)
            return c.TupleOf(Span(first.start, self.previous.end), tuple(elements))
        return self.named_type()

    def type_arguments(self, first: Token, *, many: bool = False) -> tuple[Expression, ...]:
        self.advance()
        opened = self.advance()
        found = [self.type_specifier()]
        while many and self.operator(","):
            self.advance()
            found.append(self.type_specifier())
        self.expect(">", opened)
        return tuple(found)

    def named_type(self) -> c.NamedType:
        first = self.token
        names = [self.type_word()]
        while self.operator("."):
            self.advance()
            names.append(self.type_word())
        return c.NamedType(Span(first.start, self.previous.end), tuple(names))

    def type_word(self) -> str:
        if self.word("Code", "Concept"):
            return self.advance().value
        if self.is_referential(self.token):
            return self.advance().value
        raise self.unexpected("a type")
