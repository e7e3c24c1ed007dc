"""What every part of the CQL parser uses: the token at hand, names, type specifiers, and mistakes (official grammar: `typeSpecifier`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.compiler.syntax import cql_nodes as c
from fhir_eligibility.compiler.syntax.cql_words import FUNCTION_WORDS, KEYWORD_IDENTIFIERS, KEYWORDS
from fhir_eligibility.compiler.syntax.cursor import Cursor, Stop
from fhir_eligibility.compiler.syntax.lexer import Token
from fhir_eligibility.compiler.syntax.nodes import Expression

NAMES = ("name", "quoted", "delimited")
MAX_DEPTH = 150


class TokenParser(Cursor):
    """A cursor that knows the words of CQL."""

    whole = "text"
    depth = 0

    @contextmanager
    def deeper(self, what: str) -> Iterator[None]:
        """One level further in. Raises Stop after reporting `syntax-depth` where that is too deep."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.stop("syntax-depth", f"{what} is nested more than {MAX_DEPTH} levels deep", self.token.span)
        try:
            yield
        finally:
            self.depth -= 1

    def word(self, *texts: str) -> bool:
        """Whether the token at hand is one of these bare words."""
        return self.token.kind == "name" and self.token.text in texts

    def words(self, first: str, second: str) -> bool:
        """Whether two bare words follow one another here."""
        following = self.peek()
        return self.word(first) and following.kind == "name" and following.text == second

    def accept(self, text: str) -> bool:
        """Step over a bare word if it is here."""
        if self.word(text):
            self.advance()
            return True
        return False

    def unexpected(self, wanted: str, hint: str | None = None, code: str = "syntax-expected") -> Stop:
        if hint is None and self.token.text in ("&&", "||", "==", ";"):
            hint = "CQL writes 'and', 'or', '=', and nothing at the end of a statement"
        return super().unexpected(wanted, hint, code)

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
        while self.is_operator("."):
            self.advance()
            names.append(self.identifier())
        return names

    # -- types

    def starts_type(self) -> bool:
        return self.is_referential(self.token) or self.word("List", "Interval", "Tuple", "Choice", "Code", "Concept")

    def type_specifier(self) -> Expression:
        """A type. Raises Stop, also for one that is nested too deeply."""
        with self.deeper("the type"):
            return self.type_start()

    def type_start(self) -> Expression:
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
            while not self.is_operator("}"):
                name = self.referential()
                elements.append((name, self.type_specifier()))
                if not self.is_operator(","):
                    break
                self.advance()
            self.expect("}", opened)
            return c.TupleOf(Span(first.start, self.previous.end), tuple(elements))
        return self.named_type()

    def type_arguments(self, first: Token, *, many: bool = False) -> tuple[Expression, ...]:
        self.advance()
        opened = self.advance()
        found = [self.type_specifier()]
        while many and self.is_operator(","):
            self.advance()
            found.append(self.type_specifier())
        self.expect(">", opened)
        return tuple(found)

    def named_type(self) -> c.NamedType:
        first = self.token
        names = [self.type_word()]
        while self.is_operator("."):
            self.advance()
            names.append(self.type_word())
        return c.NamedType(Span(first.start, self.previous.end), tuple(names))

    def type_word(self) -> str:
        if self.word("Code", "Concept"):
            return self.advance().value
        if self.is_referential(self.token):
            return self.advance().value
        raise self.unexpected("a type")
