"""A place in a list of tokens, and the mistakes found on the way: what the parsers of both languages stand on."""

from __future__ import annotations

from fhir_eligibility.algebra.diagnostic import Diagnostic, Source, Span
from fhir_eligibility.compiler.syntax.lexer import Token


class Stop(Exception):
    """Parsing cannot go on here; the reason is in the problems."""


class Cursor:
    """The token at hand; `whole` is what the text is called in messages."""

    whole = "expression"

    def __init__(self, source: Source, tokens: list[Token]) -> None:
        self.source = source
        self.tokens = tokens
        self.position = 0
        self.token = tokens[0]
        self.problems: list[Diagnostic] = []

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

    def is_operator(self, text: str) -> bool:
        return self.token.kind == "operator" and self.token.text == text

    def expect(self, text: str, opened: Token | None = None) -> Token:
        """Step over a word or symbol that must be here."""
        if self.token.kind in ("name", "operator") and self.token.text == text:
            return self.advance()
        hint = None
        if opened is not None:
            line, column = self.source.line_column(opened.start)
            below = self.source.line_column(self.token.start)[0] - line
            # relative, as the text may stand below a head that is not the author's
            above = f"{below} line{'' if below == 1 else 's'} above, " if below else ""
            hint = f"{opened.text} was opened {above}in column {column}"
        raise self.unexpected(repr(text), hint)

    def stop(self, code: str, message: str, span: Span, hint: str | None = None) -> Stop:
        self.problems.append(Diagnostic(code, message, source=self.source, span=span, hint=hint))
        return Stop()

    def unexpected(self, wanted: str, hint: str | None = None, code: str = "syntax-expected") -> Stop:
        found = f"the end of the {self.whole}" if self.token.kind == "end" else repr(self.token.text)
        return self.stop(code, f"expected {wanted} but found {found}", self.token.span, hint)
