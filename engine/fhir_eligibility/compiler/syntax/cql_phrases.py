"""Timing phrases (official grammar: rule `intervalOperatorPhrase`): `starts 3 days or less before day of end`."""

from __future__ import annotations

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.compiler.syntax import cql_nodes as c
from fhir_eligibility.compiler.syntax.cql_queries import QueryParser
from fhir_eligibility.compiler.syntax.cql_words import PRECISIONS
from fhir_eligibility.compiler.syntax.lexer import Token
from fhir_eligibility.compiler.syntax.nodes import Expression

_STARTERS = frozenset("starts ends occurs same properly includes during before after within meets overlaps".split())


class PhraseParser(QueryParser):
    """Timing phrases and what they are made of."""

    def starts_phrase(self) -> bool:
        """Whether a timing phrase begins at the token at hand."""
        token, following = self.token, self.peek()
        if token.kind in ("integer", "decimal"):
            return True
        if token.kind != "name":
            return False
        if token.text in _STARTERS:
            return True
        second = following.text if following.kind == "name" else ""
        return (
            (token.text == "included" and second == "in")
            or (token.text == "on" and second == "or")
            or (token.text in ("less", "more") and second == "than")
        )

    def phrase(self) -> c.Phrase:
        first = self.token
        left = None
        if self.word("starts", "ends", "occurs"):
            word = self.advance().text
            left = {"starts": "start", "ends": "end", "occurs": None}[word]
            if word != "occurs" and not self.continues_phrase():
                precision = self.precision_of()
                return c.Phrase(self._from(first), word, precision=precision)
        if self.accept("same"):
            return self.concurrent(first, left)
        if self.word("meets", "overlaps"):
            relation = self.advance().text
            direction = self.advance().text if self.word("before", "after") else None
            return c.Phrase(self._from(first), relation, precision=self.precision_of(), direction=direction)
        proper = self.accept("properly")
        if self.accept("includes"):
            precision = self.precision_of()
            return c.Phrase(self._from(first), "includes", left, self.boundary(), precision, proper)
        if self.word("during") or self.words("included", "in"):
            if self.advance().text == "included":
                self.advance()
            return c.Phrase(self._from(first), "included in", left, None, self.precision_of(), proper)
        if self.accept("within"):
            offset = self.quantity()
            self.expect("of")
            return c.Phrase(self._from(first), "within", left, self.boundary(), None, proper, offset=offset)
        return self.before_or_after(first, left)

    def continues_phrase(self) -> bool:
        """Whether `starts` or `ends` only says which side of the left operand is meant."""
        return self.starts_phrase() and not self.word("starts", "ends", "occurs", "includes", "meets", "overlaps")

    def _from(self, first: Token) -> Span:
        return Span(first.start, self.previous.end)

    def boundary(self) -> str | None:
        """`start` or `end` at the end of a phrase, where it is not `start of ...`."""
        if not self.word("start", "end") or self.peek().text == "of":
            return None
        following = self.peek()
        if following.kind in ("end", "operator") and following.text not in ("(", "[", "{", "-", "+"):
            return None
        return self.advance().text

    def precision_of(self) -> str | None:
        """`day of`, where it stands here."""
        if self.word(*PRECISIONS) and self.peek().text == "of" and self.peek().kind == "name":
            word = self.advance().text
            self.advance()
            return word
        return None

    def concurrent(self, first: Token, left: str | None) -> c.Phrase:
        precision = self.advance().text if self.word(*PRECISIONS) else None
        direction = None
        if self.accept("or"):
            if not self.word("before", "after"):
                raise self.unexpected("'before' or 'after'")
            direction = self.advance().text
        elif not self.accept("as"):
            # the precision alone, as in `same year as`, must be followed by `as`
            raise self.unexpected("'as', 'or before' or 'or after'")
        right = self.boundary()
        return c.Phrase(self._from(first), "same", left, right, precision, direction=direction)

    def before_or_after(self, first: Token, left: str | None) -> c.Phrase:
        offset: Expression | None = None
        bound = None
        if self.word("less", "more"):
            bound = f"{self.advance().text} than"
            self.expect("than")
            offset = self.quantity()
        elif self.token.kind in ("integer", "decimal"):
            offset = self.quantity()
            if self.word("or") and self.peek().text in ("more", "less"):
                self.advance()
                bound = f"or {self.advance().text}"
        inclusive = False
        if self.accept("on"):
            self.expect("or")
            inclusive = True
        if not self.word("before", "after"):
            raise self.unexpected("'before' or 'after'")
        relation = self.advance().text
        if not inclusive and self.words("or", "on"):
            self.advance()
            self.advance()
            inclusive = True
        precision = self.precision_of()
        right = self.boundary()
        return c.Phrase(
            self._from(first), relation, left, right, precision, inclusive=inclusive, offset=offset, bound=bound
        )
