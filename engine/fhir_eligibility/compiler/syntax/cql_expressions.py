"""CQL expressions to syntax trees, by precedence climbing (official grammar: rules `expression` and `expressionTerm`)."""

from __future__ import annotations

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.compiler.syntax import cql_nodes as c
from fhir_eligibility.compiler.syntax import nodes as s
from fhir_eligibility.compiler.syntax.cql_phrases import PhraseParser
from fhir_eligibility.compiler.syntax.cql_tokens import MAX_DEPTH
from fhir_eligibility.compiler.syntax.cql_words import COMPONENTS, PLURALS, PRECISIONS
from fhir_eligibility.compiler.syntax.nodes import Expression

# Binding power of `expression` operators, loosest first.
IMPLIES, OR, AND, MEMBERSHIP, EQUALITY, TIMING, INEQUALITY, SET, BETWEEN, PREFIX, TYPE, TEST = range(1, 13)
_BINARY = {
    "implies": IMPLIES,
    "or": OR,
    "xor": OR,
    "and": AND,
    "=": EQUALITY,
    "!=": EQUALITY,
    "~": EQUALITY,
    "!~": EQUALITY,
    "<": INEQUALITY,
    "<=": INEQUALITY,
    ">": INEQUALITY,
    ">=": INEQUALITY,
    "|": SET,
    "union": SET,
    "intersect": SET,
    "except": SET,
}
_WORDS = frozenset(word for word in _BINARY if word.isalpha())
# Binding power of `expressionTerm` operators.
_TERM = {"+": 1, "-": 1, "&": 1, "*": 2, "/": 2, "div": 2, "mod": 2, "^": 3}
_OF = ("start", "end", "width", "successor", "predecessor")
_FROM = ("singleton", "point")


class ExpressionParser(PhraseParser):
    """Expressions; see `queries` and `selectors` for what stands in them."""

    def expression(self, level: int = 0) -> Expression:
        """An expression whose operators bind at least as tightly as `level`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.stop(
                "syntax-depth", f"the expression is nested more than {MAX_DEPTH} levels deep", self.token.span
            )
        try:
            left = self.prefix()
            while True:
                following = self.operation(left, level)
                if following is None:
                    return left
                left = following
        finally:
            self.depth -= 1

    def prefix(self) -> Expression:
        """What may stand before any operator of `expression`."""
        token = self.token
        if token.kind == "name":
            text = token.text
            if text in ("not", "exists"):
                self.advance()
                operand = self.expression(PREFIX)
                return c.Prefix(Span(token.start, operand.span.end), text, operand)
            if text == "cast":
                self.advance()
                operand = self.cast_operand()
                self.expect("as")
                type_ = self.type_specifier()
                return c.Cast(Span(token.start, type_.span.end), "cast", operand, type_)
            if text in PLURALS and self.peek().text == "between":
                self.advance()
                return self.elapsed(token.start, "duration", PLURALS[text])
            if text in ("duration", "difference") and self.peek().text == "in" and self.peek(3).text == "between":
                return self.elapsed_in(token.start)
            if text == "from":
                return self.query()
        found = self.query_or_source()
        return self.term() if found is None else found

    def cast_operand(self) -> Expression:
        """The operand of `cast`: the `as` that ends it is not its own."""
        return self.expression(TEST)

    def elapsed_in(self, start: int) -> Expression:
        kind = self.advance().text
        self.advance()
        word = self.token
        if word.text not in PLURALS:
            raise self.unexpected("a plural unit of time such as 'years'")
        self.advance()
        if self.accept("of"):
            operand = self.term(4)
            return c.Elapsed(Span(start, operand.span.end), kind, PLURALS[word.text], operand, None)
        return self.elapsed(start, kind, PLURALS[word.text])

    def elapsed(self, start: int, kind: str, precision: str) -> Expression:
        self.expect("between")
        low = self.term()
        self.expect("and")
        high = self.term()
        return c.Elapsed(Span(start, high.span.end), kind, precision, low, high)

    def operation(self, left: Expression, level: int) -> Expression | None:
        """The operation that goes on from `left`, None where nothing binds tightly enough."""
        token = self.token
        if token.kind == "name":
            text = token.text
            if text == "is" or text == "as":
                return self.type_operation(left, level)
            if text == "between" or (text == "properly" and self.peek().text == "between"):
                if level > BETWEEN:
                    return None
                proper = self.accept("properly")
                self.advance()
                low = self.term()
                self.expect("and")
                high = self.term()
                return c.Between(left.span.to(high.span), left, low, high, proper)
            if text in ("in", "contains"):
                if level > MEMBERSHIP:
                    return None
                self.advance()
                precision = self.precision_of()
                right = self.expression(MEMBERSHIP + 1)
                return c.Membership(left.span.to(right.span), text, precision, left, right)
            if text in _WORDS:
                return self.binary(left, level, text)
            if level <= TIMING and self.starts_phrase():
                return self.timing(left)
            return None
        if token.kind == "operator":
            return self.binary(left, level, token.text) if token.text in _BINARY else None
        if token.kind in ("integer", "decimal") and level <= TIMING and self.starts_phrase():
            return self.timing(left)
        return None

    def timing(self, left: Expression) -> Expression:
        phrase = self.phrase()
        right = self.expression(TIMING + 1)
        return c.Timing(left.span.to(right.span), phrase, left, right)

    def type_operation(self, left: Expression, level: int) -> Expression | None:
        test = self.peek(2) if self.peek().text == "not" else self.peek()
        if self.word("is") and test.kind == "name" and test.text in ("null", "true", "false"):
            if level > TEST:
                return None
            self.advance()
            negated = self.accept("not")
            what = self.advance()
            return c.IsTest(left.span.to(what.span), left, negated, what.text)
        if level > TYPE:
            return None
        word = self.advance()
        type_ = self.type_specifier()
        return c.Cast(left.span.to(type_.span), word.text, left, type_)

    def binary(self, left: Expression, level: int, text: str) -> Expression | None:
        power = _BINARY[text]
        if power < level:
            return None
        self.advance()
        right = self.expression(power + 1)
        return s.Binary(left.span.to(right.span), text, left, right)

    # -- terms

    def term(self, level: int = 0) -> Expression:
        """A term whose operators bind at least as tightly as `level`."""
        return self.term_from(self.term_prefix(), level)

    def term_from(self, left: Expression, level: int = 0) -> Expression:
        while True:
            token = self.token
            if token.kind == "operator":
                if token.text == "." and level <= 5:
                    left = self.invocation_on(left)
                    continue
                if token.text == "[" and level <= 5:
                    self.advance()
                    index = self.expression()
                    closed = self.expect("]", token)
                    left = s.Index(Span(left.span.start, closed.end), left, index)
                    continue
            elif token.kind != "name" or token.text not in ("div", "mod"):
                return left
            power = _TERM.get(token.text, 0)
            if not power or power < level:
                return left
            self.advance()
            right = self.term(power + 1)
            left = s.Binary(left.span.to(right.span), token.text, left, right)

    def term_prefix(self) -> Expression:
        """What may stand before any operator of a term; its own operand takes only `.` and `[ ]`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.stop(
                "syntax-depth", f"the expression is nested more than {MAX_DEPTH} levels deep", self.token.span
            )
        try:
            return self.term_start()
        finally:
            self.depth -= 1

    def term_start(self) -> Expression:
        token = self.token
        if token.kind == "operator" and token.text in ("+", "-"):
            self.advance()
            operand = self.term(4)
            return s.Unary(Span(token.start, operand.span.end), token.text, operand)
        if token.kind != "name":
            return self.postfix(self.primary())
        text, following = token.text, self.peek()
        if following.kind == "name":
            if following.text == "of" and text in _OF:
                return self.prefixed(f"{text} of")
            if following.text == "from" and text in _FROM:
                return self.prefixed(f"{text} from")
            if following.text == "from" and text in COMPONENTS:
                return self.prefixed(f"{text} from")
            if text in ("duration", "difference") and following.text == "in":
                return self.elapsed_in(token.start)
        if text in ("minimum", "maximum"):
            self.advance()
            type_ = self.named_type()
            return c.Extent(Span(token.start, type_.span.end), text, type_)
        if text == "convert":
            return self.conversion()
        if text == "if":
            return self.if_expression()
        if text == "case":
            return self.case_expression()
        if text in ("distinct", "flatten"):
            self.advance()
            operand = self.expression()
            return c.Prefix(Span(token.start, operand.span.end), text, operand)
        if text in ("expand", "collapse"):
            return self.set_aggregate()
        return self.postfix(self.primary())

    def prefixed(self, operator: str) -> Expression:
        first = self.advance()
        self.advance()
        operand = self.term(4)
        return c.Prefix(Span(first.start, operand.span.end), operator, operand)

    def postfix(self, left: Expression) -> Expression:
        """A term with the invocations and indexes that follow it."""
        return self.term_from(left, 4)

    def invocation_on(self, left: Expression) -> Expression:
        self.advance()
        token = self.token
        following = self.peek()
        if following.kind == "operator" and following.text == "(":
            name = self.function_name()
            arguments = self.arguments()
            return s.Call(Span(left.span.start, self.previous.end), left, name, arguments, token.span)
        name = self.referential()
        return s.Member(Span(left.span.start, token.end), left, name, token.span)

    def arguments(self) -> tuple[Expression, ...]:
        opened = self.expect("(")
        found = []
        if not self.is_operator(")"):
            found.append(self.expression())
            while self.is_operator(","):
                self.advance()
                found.append(self.expression())
        self.expect(")", opened)
        return tuple(found)

    def conversion(self) -> Expression:
        first = self.advance()
        operand = self.expression()
        self.expect("to")
        if self.token.kind == "string" or self.word(*PRECISIONS, *PLURALS):
            unit = self.advance()
            return c.Convert(Span(first.start, unit.end), operand, None, unit.value)
        type_ = self.type_specifier()
        return c.Convert(Span(first.start, type_.span.end), operand, type_, None)

    def if_expression(self) -> Expression:
        """`if a then b else if c then d ... else e`: however long the chain, it is read in one loop."""
        branches = []
        while True:
            first = self.advance()
            condition = self.expression()
            self.expect("then")
            branches.append((first.start, condition, self.expression()))
            self.expect("else")
            if not self.word("if"):
                break
        otherwise = self.expression()
        for start, condition, then in reversed(branches):
            otherwise = c.IfThenElse(Span(start, otherwise.span.end), condition, then, otherwise)
        return otherwise

    def case_expression(self) -> Expression:
        first = self.advance()
        comparand = None if self.word("when") else self.expression()
        items = []
        while self.accept("when"):
            condition = self.expression()
            self.expect("then")
            items.append((condition, self.expression()))
        if not items:
            raise self.unexpected("'when'")
        self.expect("else")
        otherwise = self.expression()
        last = self.expect("end", first)
        return c.CaseExpression(Span(first.start, last.end), comparand, tuple(items), otherwise)

    def set_aggregate(self) -> Expression:
        first = self.advance()
        operand = self.expression()
        per: Expression | str | None = None
        if self.accept("per"):
            following = self.peek()
            if self.word(*PRECISIONS) and not (following.kind == "operator" and following.text in "(."):
                per = self.advance().text
            else:
                per = self.expression()
        return c.SetAggregate(Span(first.start, self.previous.end), first.text, operand, per)
