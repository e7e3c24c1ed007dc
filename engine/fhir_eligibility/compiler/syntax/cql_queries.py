"""Queries, retrieves, selectors and literals (official grammar: rules `query`, `retrieve` and `term`)."""

from __future__ import annotations

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.compiler.syntax import cql_nodes as c
from fhir_eligibility.compiler.syntax import nodes as s
from fhir_eligibility.compiler.syntax.cql_tokens import TokenParser
from fhir_eligibility.compiler.syntax.cql_words import KEYWORDS, UNITS
from fhir_eligibility.compiler.syntax.cursor import Stop
from fhir_eligibility.compiler.syntax.lexer import Token
from fhir_eligibility.compiler.syntax.nodes import Expression

_KINDS = {"decimal": "Decimal", "integer": "Integer", "long": "Long", "string": "String"}
_TEMPORAL = {"date": "Date", "datetime": "DateTime", "time": "Time"}
_SORT = {"asc": "asc", "ascending": "ascending", "desc": "desc", "descending": "descending"}


class QueryParser(TokenParser):
    """Queries and terms. `expression` and `term` come from the class below."""

    def expression(self, level: int = 0) -> Expression:
        raise NotImplementedError

    def term(self, level: int = 0) -> Expression:
        raise NotImplementedError

    def term_from(self, left: Expression, level: int = 0) -> Expression:
        raise NotImplementedError

    def arguments(self) -> tuple[Expression, ...]:
        raise NotImplementedError

    # -- queries

    def query_or_source(self) -> Expression | None:
        """A query, a retrieve, or a parenthesis with what follows it; None where none of them begins here."""
        token = self.token
        if token.kind == "operator":
            if token.text == "[":
                retrieve = self.retrieve()
                return self.query(retrieve) if self.is_identifier(self.token) else retrieve
            if token.text == "(":
                inner = self.parenthesis()
                if self.is_alias():
                    return self.query(inner)
                return self.term_from(self.term_from(inner, 4))
            return None
        if token.kind in ("name", "quoted", "delimited") and self.qualified_source():
            return self.query()
        return None

    def is_alias(self) -> bool:
        """Whether the token at hand is an alias: a name, and not the word of a phrase such as `on or before`."""
        if not self.is_identifier(self.token):
            return False
        if self.token.kind != "name":
            return True
        following = self.peek()
        second = following.text if following.kind == "name" else ""
        phrases = {"included": "in", "on": "or", "less": "than", "more": "than", "such": "that"}
        return phrases.get(self.token.text) != second or not second

    def qualified_source(self) -> bool:
        """Whether a qualified name with an alias behind it begins here."""
        position = self.position
        try:
            if not self.is_referential(self.token):
                return False
            if self.word("start", "end", "width", "successor", "predecessor") and self.peek().text == "of":
                return False
            self.advance()
            while self.is_operator("."):
                self.advance()
                if not self.is_referential(self.token):
                    return False
                self.advance()
            return self.is_alias() and not self.is_operator("(")
        finally:
            self.back_to(position)

    def parenthesis(self) -> c.Parenthesized:
        opened = self.expect("(")
        inner = self.expression()
        closed = self.expect(")", opened)
        return c.Parenthesized(Span(opened.start, closed.end), inner)

    def aliased(self, source: Expression | None = None) -> c.Aliased:
        """`source alias`."""
        if source is None:
            source = self.source_of()
        token = self.token
        alias = self.identifier()
        return c.Aliased(Span(source.span.start, token.end), source, alias, token.span)

    def source_of(self) -> Expression:
        if self.is_operator("["):
            return self.retrieve()
        if self.is_operator("("):
            return self.parenthesis()
        token = self.token
        tree: Expression = s.Member(token.span, None, self.referential(), token.span)
        while self.is_operator("."):
            self.advance()
            token = self.token
            tree = s.Member(Span(tree.span.start, token.end), tree, self.referential(), token.span)
        return tree

    def query(self, first: Expression | None = None) -> c.QueryExpression:
        start = first.span.start if first is not None else self.token.start
        explicit = first is None and self.accept("from")
        sources = [self.aliased(first)]
        while self.is_operator(","):
            if explicit:
                self.advance()
                sources.append(self.aliased())
                continue
            further = self.further_source()
            if further is None:
                break
            sources.append(further)
        lets = self.let_clause()
        relations = []
        while self.word("with", "without"):
            relations.append(self.relation())
        where = self.expression() if self.accept("where") else None
        returned = aggregate = None
        if self.word("return"):
            returned = self.return_clause()
        elif self.word("aggregate"):
            aggregate = self.aggregate_clause()
        sort = self.sort_clause()
        span = Span(start, self.previous.end)
        return c.QueryExpression(span, tuple(sources), lets, tuple(relations), where, returned, aggregate, sort)

    def further_source(self) -> c.Aliased | None:
        """Another source after a comma that might as well separate list elements or arguments."""
        position, problems = self.position, len(self.problems)
        self.advance()
        if self.is_operator("[") or self.is_operator("(") or self.qualified_source():
            try:
                source = self.source_of()
            except Stop:
                del self.problems[problems:]
                self.back_to(position)
                return None
            if self.is_alias():
                return self.aliased(source)
        self.back_to(position)
        return None

    def let_clause(self) -> tuple[c.LetClause, ...]:
        if not self.accept("let"):
            return ()
        found = []
        while True:
            token = self.token
            name = self.identifier()
            self.expect(":")
            value = self.expression()
            found.append(c.LetClause(Span(token.start, value.span.end), name, value, token.span))
            if not self.is_operator(","):
                return tuple(found)
            self.advance()

    def relation(self) -> c.RelationClause:
        first = self.advance()
        source = self.aliased()
        self.expect("such")
        self.expect("that")
        condition = self.expression()
        return c.RelationClause(Span(first.start, condition.span.end), first.text, source, condition)

    def return_clause(self) -> c.Returned:
        first = self.advance()
        distinct = None
        if self.word("all", "distinct"):
            distinct = self.advance().text == "distinct"
        value = self.expression()
        return c.Returned(Span(first.start, value.span.end), value, distinct)

    def aggregate_clause(self) -> c.Aggregated:
        first = self.advance()
        distinct = False
        if self.word("all", "distinct"):
            distinct = self.advance().text == "distinct"
        token = self.token
        name = self.identifier()
        starting = None
        if self.accept("starting"):
            starting = self.parenthesis() if self.is_operator("(") else self.literal()
        self.expect(":")
        value = self.expression()
        return c.Aggregated(Span(first.start, value.span.end), name, starting, value, distinct, token.span)

    def sort_clause(self) -> tuple[c.SortClause, ...]:
        if not self.word("sort"):
            return ()
        first = self.advance()
        if self.word(*_SORT):
            direction = self.advance()
            return (c.SortClause(Span(first.start, direction.end), None, direction.text),)
        self.expect("by")
        found = []
        while True:
            key = self.term()
            direction_text = self.advance().text if self.word(*_SORT) else "asc"
            found.append(c.SortClause(Span(key.span.start, self.previous.end), key, direction_text))
            if not self.is_operator(","):
                return tuple(found)
            self.advance()

    # -- retrieves

    def retrieve(self) -> c.RetrieveExpression:
        opened = self.expect("[")
        context = None
        position = self.position
        if self.is_referential(self.token):
            tree = self.source_of()
            if self.is_operator("-") and self.peek().text == ">":
                self.advance()
                self.advance()
                context = tree
            else:
                self.back_to(position)
        type_ = self.named_type()
        path = comparator = terminology = path_span = None
        if self.is_operator(":"):
            self.advance()
            found = self.code_path()
            if found is not None:
                path, path_span, comparator = found
            terminology = self.expression()
        closed = self.expect("]", opened)
        span = Span(opened.start, closed.end)
        return c.RetrieveExpression(span, context, type_, path, comparator, terminology, path_span)

    def code_path(self) -> tuple[tuple[str, ...], Span, str] | None:
        """`path in`, `path ~` or `path =` before a terminology."""
        position, first = self.position, self.token
        names = []
        while self.is_referential(self.token):
            names.append(self.advance().value)
            if not self.is_operator("."):
                break
            self.advance()
        span = Span(first.start, self.previous.end)
        if names and (self.word("in") or self.is_operator("~") or self.is_operator("=")):
            return tuple(names), span, self.advance().text
        self.back_to(position)
        return None

    # -- terms

    def primary(self) -> Expression:
        """A term without operators."""
        token = self.token
        if token.kind == "operator":
            if token.text == "(":
                return self.parenthesis()
            if token.text == "{":
                return self.braces(token, None)
            if token.text == "%":
                self.advance()
                if self.token.kind == "string":
                    return s.Variable(Span(token.start, self.token.end), self.advance().value)
                name = self.token
                return s.Variable(Span(token.start, name.end), self.referential())
            if token.text == "$":
                name = self.peek()
                if name.text in ("this", "index", "total") and name.start == token.end:
                    self.advance()
                    self.advance()
                    return s.Special(Span(token.start, name.end), name.text)
            if token.text == "[":
                raise self.stop(
                    "syntax-retrieve",
                    "a retrieve cannot stand inside a term",
                    token.span,
                    "put it in parentheses: ([Type: code])",
                )
            raise self.unexpected("an expression")
        if token.kind in _KINDS or token.kind in _TEMPORAL:
            return self.literal()
        if token.kind == "end":
            raise self.unexpected("an expression")
        if token.kind == "name":
            selector = self.selector(token)
            if selector is not None:
                return selector
        return self.named_term(token)

    def selector(self, token: Token) -> Expression | None:
        """Terms that begin with a word of the language."""
        text, following = token.text, self.peek()
        if text == "null":
            self.advance()
            return c.NullLiteral(token.span)
        if text in ("true", "false"):
            self.advance()
            return s.LiteralTerm(token.span, "Boolean", text)
        if text == "Interval" and following.text in ("[", "("):
            return self.interval()
        if text == "Tuple" and following.text == "{":
            self.advance()
            return self.tuple_(token)
        if text == "List" and following.text in ("<", "{"):
            type_ = None
            self.advance()
            if self.is_operator("<"):
                opened = self.advance()
                type_ = self.type_specifier()
                self.expect(">", opened)
            return self.list_(token, type_)
        if text == "Code" and following.kind == "string":
            return self.code_selector()
        if text == "Concept" and following.text == "{":
            inner = self.peek(2)
            if inner.text == "}" or (inner.text == "Code" and self.peek(3).kind == "string"):
                return self.concept_selector()
        return None

    def named_term(self, token: Token) -> Expression:
        """A name, a function call, or an instance of a named type."""
        instance = self.instance()
        if instance is not None:
            return instance
        following = self.peek()
        if following.kind == "operator" and following.text == "(" and self.is_referential(token):
            name = self.referential()
            arguments = self.arguments()
            return s.Call(Span(token.start, self.previous.end), None, name, arguments, token.span)
        if token.kind == "name" and token.text in KEYWORDS and not self.is_referential(token):
            raise self.unexpected(
                "an expression", f"{token.text!r} is a word of the language; quote it to use it as a name"
            )
        return s.Member(token.span, None, self.referential(), token.span)

    def instance(self) -> Expression | None:
        """`Type { name: value }`, where a type's name with a brace behind it stands here."""
        ahead = 0
        while True:
            token = self.peek(ahead)
            named = self.is_referential(token) or (token.kind == "name" and token.text in ("Code", "Concept"))
            if not named:
                return None
            following = self.peek(ahead + 1)
            if following.kind != "operator":
                return None
            if following.text == ".":
                ahead += 2
                continue
            if following.text != "{":
                return None
            break
        first = self.token
        type_ = self.named_type()
        elements, end = self.elements()
        return c.InstanceSelector(Span(first.start, end), type_, elements)

    def elements(self) -> tuple[tuple[tuple[str, Expression, Span], ...], int]:
        """`{ name: value, ... }` or `{:}`."""
        opened = self.expect("{")
        found = []
        if self.is_operator(":"):
            self.advance()
        else:
            while True:
                token = self.token
                name = self.referential()
                self.expect(":")
                found.append((name, self.expression(), token.span))
                if not self.is_operator(","):
                    break
                self.advance()
        closed = self.expect("}", opened)
        return tuple(found), closed.end

    def tuple_(self, first: Token) -> Expression:
        elements, end = self.elements()
        return c.InstanceSelector(Span(first.start, end), None, elements)

    def braces(self, first: Token, type_: Expression | None) -> Expression:
        """A tuple or a list without a word before it."""
        inner, following = self.peek(), self.peek(2)
        colon = following.kind == "operator" and following.text == ":"
        if (inner.kind == "operator" and inner.text == ":") or (colon and self.is_referential(inner)):
            return self.tuple_(first)
        return self.list_(first, type_)

    def list_(self, first: Token, type_: Expression | None) -> Expression:
        opened = self.expect("{")
        found = []
        if not self.is_operator("}"):
            found.append(self.expression())
            while self.is_operator(","):
                self.advance()
                found.append(self.expression())
        closed = self.expect("}", opened)
        return c.ListSelector(Span(first.start, closed.end), type_, tuple(found))

    def interval(self) -> Expression:
        first = self.advance()
        opened = self.advance()
        low = self.expression()
        self.expect(",")
        high = self.expression()
        if not (self.is_operator("]") or self.is_operator(")")):
            raise self.unexpected("']' or ')'")
        closed = self.advance()
        span = Span(first.start, closed.end)
        return c.IntervalSelector(span, low, high, opened.text == "[", closed.text == "]")

    def display(self) -> str | None:
        if not self.accept("display"):
            return None
        if self.token.kind != "string":
            raise self.unexpected("the display text in single quotes")
        return self.advance().value

    def code_selector(self) -> c.CodeSelector:
        first = self.expect("Code")
        if self.token.kind != "string":
            raise self.unexpected("a code in single quotes")
        code = self.advance().value
        self.expect("from")
        start = self.token
        names = [self.identifier()]
        if self.is_operator("."):
            self.advance()
            names.append(self.identifier())
        span = Span(start.start, self.previous.end)
        display = self.display()
        return c.CodeSelector(Span(first.start, self.previous.end), code, tuple(names), display, span)

    def concept_selector(self) -> Expression:
        first = self.advance()
        opened = self.advance()
        codes = []
        while not self.is_operator("}"):
            codes.append(self.code_selector())
            if not self.is_operator(","):
                break
            self.advance()
        self.expect("}", opened)
        display = self.display()
        return c.ConceptSelector(Span(first.start, self.previous.end), tuple(codes), display)

    # -- literals

    def literal(self) -> Expression:
        token = self.token
        if token.kind in ("integer", "decimal"):
            quantity = self.quantity()
            if self.is_operator(":") and self.peek().kind in ("integer", "decimal"):
                self.advance()
                other = self.quantity()
                return c.RatioLiteral(quantity.span.to(other.span), quantity, other)
            return quantity
        if token.kind in ("string", "long"):
            self.advance()
            return s.LiteralTerm(token.span, _KINDS[token.kind], token.value)
        if token.kind in _TEMPORAL:
            self.advance()
            return s.LiteralTerm(token.span, _TEMPORAL[token.kind], token.value)
        if self.word("true", "false"):
            self.advance()
            return s.LiteralTerm(token.span, "Boolean", token.text)
        if self.word("null"):
            self.advance()
            return c.NullLiteral(token.span)
        raise self.unexpected("a literal")

    def quantity(self) -> Expression:
        """A number with a unit, or the bare number."""
        token = self.token
        if token.kind not in ("integer", "decimal"):
            raise self.unexpected("a quantity")
        self.advance()
        unit = self.token
        if unit.kind == "string":
            self.advance()
            return s.QuantityLiteral(token.span.to(unit.span), token.text, unit.value, False)
        if unit.kind == "name" and unit.text in UNITS:
            following = self.peek()
            if not (following.kind == "name" and following.text in ("between", "from")):
                self.advance()
                return s.QuantityLiteral(token.span.to(unit.span), token.text, UNITS[unit.text], True)
        return s.LiteralTerm(token.span, _KINDS[token.kind], token.text)
