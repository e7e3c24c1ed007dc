"""FHIRPath text to syntax tree: precedence climbing over the tokens (FHIRPath: "Grammar", "Operator Precedence").

The whole input is consumed. Problems are collected as diagnostics whose codes start with `syntax-`; a tree is returned only when
there are none.
"""

from __future__ import annotations

from msgspec import structs

from fhir_eligibility.algebra.diagnostic import DiagnosticError, Source, Span
from fhir_eligibility.algebra.values.quantity import CALENDAR_WORDS
from fhir_eligibility.compiler.syntax import nodes as s
from fhir_eligibility.compiler.syntax.cursor import Cursor, Stop
from fhir_eligibility.compiler.syntax.depth import deep_recursion
from fhir_eligibility.compiler.syntax.lexer import Token, tokenize

# Binding power of the binary operators, loosest first.
PRECEDENCE = {
    "implies": 1,
    "or": 2,
    "xor": 2,
    "and": 3,
    "in": 4,
    "contains": 4,
    "=": 5,
    "~": 5,
    "!=": 5,
    "!~": 5,
    "<": 6,
    "<=": 6,
    ">": 6,
    ">=": 6,
    "|": 7,
    "is": 8,
    "as": 8,
    "+": 9,
    "-": 9,
    "&": 9,
    "*": 10,
    "/": 10,
    "div": 10,
    "mod": 10,
}
_WORD_OPERATORS = frozenset(word for word in PRECEDENCE if word.isalpha())
# Words that no expression begins with. Behind a dot they are names all the same: `text.div` is written everywhere.
_KEYWORDS = frozenset(("and", "or", "xor", "implies", "div", "mod", *CALENDAR_WORDS))

MAX_DEPTH = 200
# a chain of operators or calls (`a | b | c`) is deep without being nested by its author
MAX_CHAIN = 1000
_SHORTER = "many alternatives are a value set, which memberOf asks; parts of an expression are criteria of their own"


def parse(source: Source) -> s.Expression:
    """Parse one whole FHIRPath expression.

    Raises DiagnosticError with every problem found; their codes start with `syntax-`.
    """
    tokens, problems = tokenize(source)
    parser = _Parser(source, tokens)
    try:
        with deep_recursion():
            tree = parser.whole_expression()
        if depth_of(tree) > MAX_CHAIN:
            raise parser.stop(
                "syntax-depth", f"this has more than {MAX_CHAIN} parts in each other", tree.span, _SHORTER
            )
    except Stop:
        tree = None
    problems = sorted(problems + parser.problems, key=lambda d: d.span.start if d.span else 0)
    if problems or tree is None:
        raise DiagnosticError(problems)
    return tree


def depth_of(tree: s.Expression) -> int:
    """How many expressions stand in each other: operands, inputs of functions and elements, and arguments."""
    deepest, stack = 0, [(tree, 1)]
    while stack:
        found, depth = stack.pop()
        deepest = max(deepest, depth)
        for value in structs.astuple(found):
            parts = value if isinstance(value, tuple) else (value,)
            stack.extend((part, depth + 1) for part in parts if isinstance(part, s.Expression))
    return deepest


class _Parser(Cursor):
    depth = 0

    # -- expressions

    def whole_expression(self) -> s.Expression:
        if self.token.kind == "end":
            raise self.stop("syntax-empty", "there is no expression", self.token.span)
        tree = self.expression(0)
        if self.token.kind != "end":
            token = self.token
            hint = None
            if token.kind in ("name", "integer", "string", "quoted"):
                hint = "is an operator such as 'and', '|' or '.' missing before it?"
            if token.text in ("&&", "||", "=="):
                hint = "write 'and', 'or' or '='"
            raise self.stop("syntax-trailing", f"unexpected {token.text!r} after the expression", token.span, hint)
        return tree

    def operator_here(self) -> str | None:
        token = self.token
        if token.kind == "operator" and token.text in PRECEDENCE:
            return token.text
        if token.kind == "name" and token.text in _WORD_OPERATORS:
            return token.text
        return None

    def expression(self, minimum: int) -> s.Expression:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.stop("syntax-depth", f"nested more than {MAX_DEPTH} levels deep", self.token.span)
        left = self.unary()
        while True:
            operator = self.operator_here()
            if operator is None or PRECEDENCE[operator] <= minimum:
                break
            sign = self.advance()
            if operator in ("is", "as"):
                name, span = self.type_specifier()
                left = s.TypeTest(left.span.to(span), operator, left, name, span)
                continue
            if self.token.kind == "end":
                raise self.stop("syntax-operand", f"the operator {sign.text!r} has no right operand", sign.span)
            right = self.expression(PRECEDENCE[operator])
            left = s.Binary(left.span.to(right.span), operator, left, right)
        self.depth -= 1
        return left

    def type_specifier(self) -> tuple[tuple[str, ...], Span]:
        first = self.name_token("a type name")
        names, end = [first.value], first
        while self.is_operator("."):
            self.advance()
            end = self.name_token("a type name")
            names.append(end.value)
        return tuple(names), first.span.to(end.span)

    def name_token(self, what: str) -> Token:
        if self.token.kind in ("name", "delimited") and self.token.value:
            return self.advance()
        hint = None
        if self.token.kind == "quoted":
            hint = "delimit names with backticks: `name`"
        raise self.unexpected(what, hint, "syntax-name")

    def unary(self) -> s.Expression:
        signs: list[Token] = []
        while self.token.kind == "operator" and self.token.text in "+-":
            signs.append(self.advance())
            if len(signs) > MAX_DEPTH:
                raise self.stop("syntax-depth", f"more than {MAX_DEPTH} signs in a row", self.token.span)
        operand = self.postfix()
        for sign in reversed(signs):
            operand = s.Unary(sign.span.to(operand.span), sign.text, operand)
        return operand

    def postfix(self) -> s.Expression:
        tree = self.term()
        while True:
            if self.is_operator("."):
                self.advance()
                if self.is_operator("$"):
                    raise self.stop(
                        "syntax-name", "a special variable cannot follow '.'", self.token.span, "use select($this ...)"
                    )
                tree = self.invocation(tree)
            elif self.is_operator("["):
                opened = self.advance()
                index = self.expression(0)
                closed = self.expect("]", opened)
                tree = s.Index(tree.span.to(closed.span), tree, index)
            else:
                return tree

    def invocation(self, source: s.Expression | None) -> s.Expression:
        name = self.name_token("a name")
        start = source.span if source is not None else name.span
        if self.is_operator("("):
            opened = self.advance()
            arguments: list[s.Expression] = []
            if not self.is_operator(")"):
                while True:
                    argument = self.expression(0)
                    if name.value == "sort" and self.token.kind == "name" and self.token.text in ("asc", "desc"):
                        word = self.advance()
                        argument = s.SortKey(argument.span.to(word.span), argument, word.text)
                    arguments.append(argument)
                    if not self.is_operator(","):
                        break
                    self.advance()
            closed = self.expect(")", opened)
            return s.Call(start.to(closed.span), source, name.value, tuple(arguments), name.span)
        return s.Member(start.to(name.span), source, name.value, name.span)

    def term(self) -> s.Expression:
        token = self.token
        kind = token.kind
        if kind == "operator":
            return self.term_by_sign(token)
        if kind == "name" and token.text in ("true", "false"):
            self.advance()
            return s.LiteralTerm(token.span, "Boolean", token.text)
        if kind == "name" and token.text in _KEYWORDS:
            message = f"an expression is missing before {token.text!r}, which is a keyword"
            raise self.stop("syntax-operand", message, token.span, f"an element of that name is written `{token.text}`")
        if kind in ("name", "delimited"):
            return self.invocation(None)
        if kind == "string":
            self.advance()
            return s.LiteralTerm(token.span, "String", token.value)
        if kind in ("integer", "decimal"):
            return self.number(self.advance())
        if kind == "long":
            self.advance()
            return s.LiteralTerm(token.span, "Long", token.value)
        if kind in ("date", "datetime", "time"):
            self.advance()
            names = {"date": "Date", "datetime": "DateTime", "time": "Time"}
            return s.LiteralTerm(token.span, names[kind], token.value)
        if kind == "quoted":
            raise self.stop(
                "syntax-quote", "FHIRPath strings stand in single quotes", token.span, f"write '{token.value}'"
            )
        raise self.stop("syntax-operand", "an expression is missing here", token.span)

    def term_by_sign(self, token: Token) -> s.Expression:
        if token.text == "(":
            opened = self.advance()
            tree = self.expression(0)
            closed = self.expect(")", opened)
            return structs.replace(tree, span=opened.span.to(closed.span))
        if token.text == "{":
            opened = self.advance()
            closed = self.expect("}", opened)
            return s.EmptyCollection(opened.span.to(closed.span))
        if token.text == "$":
            sign = self.advance()
            name = self.name_token("this, index or total")
            if name.value not in ("this", "index", "total"):
                raise self.stop("syntax-name", f"unknown special variable ${name.value}", sign.span.to(name.span))
            return s.Special(sign.span.to(name.span), name.value)
        if token.text == "%":
            sign = self.advance()
            if self.token.kind == "string":
                name = self.advance()
            else:
                name = self.name_token("the name of a variable")
            return s.Variable(sign.span.to(name.span), name.value)
        raise self.stop("syntax-operand", f"an expression is missing before {token.text!r}", token.span)

    def number(self, token: Token) -> s.Expression:
        after = self.token
        if after.kind == "string":
            self.advance()
            return s.QuantityLiteral(token.span.to(after.span), token.text, after.value, False)
        if after.kind == "name" and after.text in CALENDAR_WORDS:
            self.advance()
            return s.QuantityLiteral(token.span.to(after.span), token.text, CALENDAR_WORDS[after.text], True)
        return s.LiteralTerm(token.span, "Integer" if token.kind == "integer" else "Decimal", token.text)
