"""Random well-typed CQL libraries: parameters, codes, functions, fluent ones and overloads, queries of all kinds, values of all types.

A library is built from types: `Generator.expression` writes an expression of a type, out of templates whose holes, `[[Integer]]`, are
expressions of simpler depth, and out of what is in scope. The same seed gives the same library.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

from fhir_eligibility.compiler.elm import types as t
from fhir_eligibility.compiler.elm.types import ChoiceType, IntervalType, ListType, Named, TupleType, Type, substitute

INTEGER, LONG, DECIMAL, STRING, BOOLEAN = t.INTEGER, t.LONG, t.DECIMAL, t.STRING, t.BOOLEAN
DATE, DATETIME, TIME, QUANTITY, CODE, CONCEPT = t.DATE, t.DATETIME, t.TIME, t.QUANTITY, t.CODE, t.CONCEPT
POINTS = (INTEGER, LONG, DECIMAL, DATE, DATETIME, TIME, QUANTITY)
ORDERED = (*POINTS, STRING)
SIMPLE = (*ORDERED, BOOLEAN, CODE, CONCEPT)
HEAD = """library Random version '1'
codesystem "Colours": 'http://example.org/colours'
code "Red": 'red' from "Colours" display 'Red'
code "Blue": 'blue' from "Colours"
concept "Warm": { "Red" } display 'Warm'
parameter Few Integer default 3
parameter Limit Integer
parameter Name String default 'n'
parameter Moment DateTime default @2024-02-01T10:00:00.0
parameter Span Interval<Date> default Interval[@2023-01-01, @2024-12-31]
"""
PARAMETERS: tuple[tuple[str, Type], ...] = (
    ("Few", INTEGER), ("Limit", INTEGER), ("Name", STRING), ("Moment", DATETIME), ("Span", IntervalType(DATE)),
)  # fmt: skip
LITERALS: dict[Type, tuple[str, ...]] = {
    BOOLEAN: ("true", "false", "null as Boolean"),
    INTEGER: ("0", "1", "2", "5", "-3", "2147483647", "null as Integer"),
    LONG: ("0L", "7L", "-2L", "9223372036854775807L", "null as Long"),
    DECIMAL: ("0.5", "1.0", "2.25", "-7.125", "99999999999999999999.99999999", "null as Decimal"),
    STRING: ("'a'", "'bc'", "''", "'12'", "'2024-05'", "null as String"),
    DATE: ("@2024-02-29", "@2024-03", "@2023", "@9999-12-31", "@0001-01-01", "null as Date"),
    DATETIME: (
        "@2024-02-29T12:00:00.000", "@2024-03-01T", "@2024-01-01T00:00:00.000+02:00", "@2024-05T", "Now()", "null as DateTime",
        "@9999-12-31T23:59:59.999",
    ),
    TIME: ("@T12:00", "@T23:59:59.999", "@T00", "@T10:30:15", "null as Time"),
    QUANTITY: ("5 'mg'", "1 'g'", "2 'cm'", "3 days", "ToQuantity(2)", "null as Quantity"),
    CODE: ('"Red"', '"Blue"', "Code { code: 'x', system: 'y' }", "null as Code"),
    CONCEPT: ('"Warm"', "Concept { codes: { \"Blue\" } }", "null as Concept"),
}  # fmt: skip
_NUMBER = (
    "[[T]] + [[T]]",
    "[[T]] - [[T]]",
    "[[T]] * [[T]]",
    "-[[T]]",
    "Abs([[T]])",
    "Sum([[List<T>]])",
    "Product([[List<T>]])",
)
# What gives a value of a type; `T` is the type itself.
TEMPLATES: dict[Type, tuple[str, ...]] = {
    BOOLEAN: (
        "[[Boolean]] and [[Boolean]]", "[[Boolean]] or [[Boolean]]", "[[Boolean]] xor [[Boolean]]", "[[Boolean]] implies [[Boolean]]",
        "not [[Boolean]]", "[[Boolean]] is true", "[[Boolean]] is not false", "[[O]] < [[O]]", "[[O]] >= [[O]]", "[[O]] > [[O]]",
        "[[S]] = [[S]]", "[[S]] != [[S]]", "[[S]] ~ [[S]]", "[[S]] !~ [[S]]", "[[S]] is null", "[[S]] is not null",
        "[[P]] in [[Interval<P>]]", "[[Interval<P>]] contains [[P]]", "[[Interval<P>]] overlaps [[Interval<P>]]",
        "[[Interval<P>]] overlaps before [[Interval<P>]]", "[[Interval<P>]] meets [[Interval<P>]]", "[[Interval<P>]] starts [[Interval<P>]]",
        "[[Interval<P>]] ends [[Interval<P>]]", "[[Interval<P>]] includes [[Interval<P>]]", "[[Interval<P>]] properly includes [[P]]",
        "[[Interval<P>]] properly included in [[Interval<P>]]", "[[Interval<P>]] = [[Interval<P>]]", "[[Interval<P>]] before [[Interval<P>]]",
        "[[Interval<P>]] after [[P]]", "[[Interval<P>]] same as [[Interval<P>]]", "[[P]] before [[Interval<P>]]",
        "[[Interval<P>]] meets after [[Interval<P>]]", "[[Date]] same month or after [[Date]]", "[[DateTime]] before day of [[DateTime]]",
        "[[DateTime]] 3 days or less before [[DateTime]]", "[[Date]] during [[Interval<Date>]]", "[[Time]] same hour as [[Time]]",
        "[[DateTime]] during day of [[Interval<DateTime>]]", "[[Date]] between [[Date]] and [[Date]]",
        "[[Integer]] between [[Integer]] and [[Integer]]", "[[DateTime]] same or before [[Date]]", "[[Date]] < [[DateTime]]",
        "exists [[List<S>]]", "[[S]] in [[List<S>]]", "[[List<S>]] includes [[List<S>]]", "[[List<S>]] contains [[S]]",
        "[[List<S>]] = [[List<S>]]", "[[List<S>]] ~ [[List<S>]]", "[[List<S>]] properly includes [[List<S>]]", "AllTrue([[List<Boolean>]])",
        "AnyTrue([[List<Boolean>]])", "[[C]] is String", "[[C]] is Integer", "[[C]] is List<Integer>", "[[C]] is Interval<Date>",
        "[[C]] is null", "StartsWith([[String]], [[String]])", "Matches([[String]], '[a-z]+')", "ConvertsToInteger([[String]])",
        "ConvertsToDate([[String]])", "ToBoolean([[String]])", "[[Tu]] = [[Tu]]", "[[Tu]] is null", "[[Concept]] ~ [[Code]]",
        "[[Integer]] < [[Decimal]]", "[[Integer]] = [[Long]]", "[[Integer]] in [[Interval<Decimal>]]",
    ),
    INTEGER: (
        *_NUMBER, "[[Integer]] div [[Integer]]", "[[Integer]] mod [[Integer]]", "Power([[Integer]], [[Integer]])", "Count([[List<S>]])",
        "Length([[String]])", "Length([[List<S>]])", "months between [[Date]] and [[Date]]", "days between [[DateTime]] and [[DateTime]]",
        "difference in weeks between [[Date]] and [[Date]]", "years between [[DateTime]] and [[DateTime]]", "month from [[Date]]",
        "hours between [[Time]] and [[Time]]", "hour from [[DateTime]]", "width of [[Interval<Integer>]]", "ToInteger([[String]])",
        "ToInteger([[Boolean]])", "IndexOf([[List<S>]], [[S]])", "PositionOf([[String]], [[String]])", "Ceiling([[Decimal]])",
        "Truncate([[Decimal]])", "convert [[String]] to Integer", "duration in months of [[Interval<Date>]]",
        "difference in days between start of [[Interval<Date>]] and end of [[Interval<Date>]]", "Precision([[Decimal]])",
    ),
    LONG: (*_NUMBER, "ToLong([[Integer]])", "ToLong([[String]])", "[[Integer]] + [[Long]]", "[[Long]] div [[Long]]", "width of [[Interval<Long>]]"),
    DECIMAL: (
        *_NUMBER, "[[Decimal]] / [[Decimal]]", "[[Decimal]] div [[Decimal]]", "[[Decimal]] mod [[Decimal]]", "[[Integer]] / [[Integer]]",
        "[[Decimal]] + [[Integer]]", "Round([[Decimal]])", "Round([[Decimal]], [[Integer]] mod 9)", "Avg([[List<Decimal>]])",
        "Median([[List<Decimal>]])", "StdDev([[List<Decimal>]])", "ToDecimal([[Integer]])", "ToDecimal([[String]])", "Ln([[Decimal]])",
        "Exp([[Decimal]])", "Log([[Decimal]], [[Decimal]])", "Power([[Decimal]], [[Decimal]])", "width of [[Interval<Decimal>]]",
        "timezoneoffset from [[DateTime]]", "Power([[Integer]], -2)", "[[Quantity]].value",
    ),
    STRING: (
        "[[String]] & [[String]]", "[[String]] + [[String]]", "Upper([[String]])", "ToString([[Integer]])", "ToString([[Decimal]])",
        "ToString([[Date]])", "Combine([[List<String>]], ',')", "Substring([[String]], [[Integer]])", "[[String]][ [[Integer]] ]",
        "Substring([[String]], [[Integer]], [[Integer]])", "[[Code]].code", "[[Code]].display", "convert [[Boolean]] to String",
        "ToString([[Quantity]])",
    ),
    DATE: (
        "[[Date]] + 1 month", "[[Date]] - 3 days", "date from [[DateTime]]", "Date(2024, [[Integer]], 1)", "Date([[Integer]])",
        "ToDate([[String]])", "Today()", "[[Date]] + [[Quantity]]", "LowBoundary([[Date]], 6)",
    ),
    DATETIME: (
        "[[DateTime]] + 1 hour", "[[DateTime]] - 2 years", "ToDateTime([[Date]])", "DateTime(2024, [[Integer]], 1, [[Integer]])",
        "DateTime(2024, 1, 1, 0, 0, 0, 0, [[Decimal]])", "ToDateTime([[String]])", "convert [[Date]] to DateTime",
    ),
    TIME: ("[[Time]] + 30 minutes", "time from [[DateTime]]", "Time([[Integer]], 5)", "TimeOfDay()", "ToTime([[String]])"),
    QUANTITY: (
        "[[Quantity]] + [[Quantity]]", "[[Quantity]] - [[Quantity]]", "[[Quantity]] * 2.0", "[[Quantity]] / [[Quantity]]", "-[[Quantity]]",
        "Quantity { value: [[Decimal]], unit: 'mg' }", "ToQuantity([[Integer]])", "Sum([[List<Quantity>]])", "convert 2 'g' to 'mg'",
        "ToQuantity([[String]])", "width of [[Interval<Quantity>]]",
    ),
    CODE: ("Code { code: [[String]], system: [[String]] }", "First([[Concept]].codes)"),
    CONCEPT: ("Concept { codes: [[List<Code>]] }", "ToConcept([[Code]])"),
}  # fmt: skip
# What gives a value of any type.
ANY_TYPE = (
    "if [[Boolean]] then [[T]] else [[T]]", "if [[Boolean]] then [[T]] else if [[Boolean]] then [[T]] else [[T]]", "Coalesce([[T]], [[T]])",
    "Coalesce([[T]], [[T]], [[T]])", "Coalesce([[List<T>]])", "case when [[Boolean]] then [[T]] when [[Boolean]] then [[T]] else [[T]] end",
    "case [[S]] when [[S]] then [[T]] when [[S]] then [[T]] else [[T]] end", "First([[List<T>]])", "Last([[List<T>]])",
    "[[List<T>]][ [[Integer]] ]", "singleton from [[List<T>]]", "(Tuple { x: [[T]], y: [[S]] }).x",
    "Message([[T]], [[Boolean]], 'code', 'Trace', [[String]])", "if [[Boolean]] then [[T]] else null", "([[A]] as [[:T]])",
)  # fmt: skip
LOGIC = (
    "[[Boolean]] and [[Boolean]]",
    "[[Boolean]] or [[Boolean]]",
    "[[Boolean]] implies [[Boolean]]",
    "not [[Boolean]]",
)
COALESCES = (
    "if Coalesce([[V]], [[T]], [[T]]) is null then [[T]] else [[V]]",
    "Coalesce([[T]], [[T]])",
    "Coalesce([[T]], [[T]], [[T]])",
    "Coalesce([[List<T>]])",
)
OF_POINTS = (
    "start of [[Interval<T>]]",
    "end of [[Interval<T>]]",
    "([[Interval<T>]]).low",
    "successor of [[T]]",
    "predecessor of [[T]]",
    "point from [[Interval<T>]]",
)
OF_ORDERED = ("Max([[List<T>]])", "Min([[List<T>]])", "Mode([[List<T>]])")
OF_LISTS = (
    "[[L]] union [[L]]", "[[L]] intersect [[L]]", "[[L]] except [[L]]", "distinct [[L]]", "Skip([[L]], [[Integer]])", "Take([[L]], 2)",
    "Tail([[L]])", "flatten [[List<L>]]", "if [[Boolean]] then [[L]] else { }", "{ [[E]] } union [[L]]",
)  # fmt: skip
OF_INTERVALS = (
    "Interval[ [[P]], [[P]] ]", "Interval( [[P]], [[P]] ]", "Interval[ [[P]], null )", "Interval( null, [[P]] ]", "Interval[ null, [[P]] ]",
    "[[I]] intersect [[I]]", "[[I]] union [[I]]", "[[I]] except [[I]]", "First(collapse [[List<I>]])",
)  # fmt: skip
_HOLE = re.compile(r"\[\[(:?)([A-Za-z<>]+)\]\]")


class Generator:
    """Writes one library. `size` is how deep expressions are nested at most."""

    def __init__(self, seed: int, size: int = 3) -> None:
        self.chance = random.Random(seed)
        self.size = size
        self.scope: list[tuple[str, Type]] = []
        self.defines: list[tuple[str, Type]] = []
        self.functions: list[tuple[str, tuple[Type, ...], Type, bool]] = []
        self.names = 0

    def library(self) -> str:
        """The text of a library with some functions and defines."""
        lines = [HEAD]
        for index in range(self.chance.randint(1, 6)):
            if self.chance.random() < 0.4:
                lines.append(self.function(f"f{index}"))
            else:
                kind = self.type()
                text = self.expression(kind, self.chance.randint(1, self.size))
                lines.append(f"define D{index}: {text}")
                self.defines.append((f"D{index}", kind))
        kind = self.type()
        lines.append(f"define expression: {self.expression(kind, self.size)}")
        return "\n".join(lines) + "\n"

    def function(self, name: str) -> str:
        """A function, sometimes a fluent one, sometimes with an overload of one operand of another type."""
        fluent, result = self.chance.random() < 0.4, self.type()
        lines, taken = [], set()
        for _ in range(self.chance.randint(1, 2)):
            operands = tuple((f"p{i}", self.type()) for i in range(self.chance.randint(1, 3)))
            kinds = tuple(kind for _, kind in operands)
            if len(kinds) in taken:
                continue
            taken.add(len(kinds))
            outer, self.scope = self.scope, list(operands)
            body = self.expression(result, self.size - 1)
            self.scope = outer
            shown = ", ".join(f"{name} {kind}" for name, kind in operands)
            lines.append(f"define {'fluent ' if fluent else ''}function {name}({shown}): {body}")
            lines[-1] = (
                lines[-1] if self.chance.random() < 0.5 else lines[-1].replace("): ", f") returns {result}: ", 1)
            )
            self.functions.append((name, kinds, result, fluent))
        return "\n".join(lines)

    # -- types

    def type(self, depth: int = 2) -> Type:
        """A type at random, simple ones the most."""
        roll = self.chance.random()
        if depth == 0 or roll < 0.5:
            return self.simple(SIMPLE)
        if roll < 0.7:
            return ListType(self.type(depth - 1))
        if roll < 0.82:
            return IntervalType(self.chance.choice(POINTS))
        return self.tuple_type(depth) if roll < 0.91 else self.choice_type()

    def simple(self, kinds: tuple[Type, ...]) -> Type:
        """One of some simple types: that of something in scope, or a common one, more often than another, so that values meet."""
        near = [kind for _, kind in self.scope if kind in kinds]
        if near and self.chance.random() < 0.5:
            return self.chance.choice(near)
        common = [kind for kind in (INTEGER, BOOLEAN, STRING, DATE) if kind in kinds]
        return self.chance.choice(common if self.chance.random() < 0.6 else kinds)

    def tuple_type(self, depth: int = 1) -> TupleType:
        return TupleType(tuple((name, self.type(depth - 1)) for name in ("a", "b", "c")[: self.chance.randint(1, 3)]))

    def choice_type(self) -> Type:
        kinds = [*SIMPLE, ListType(INTEGER), IntervalType(DATE), IntervalType(INTEGER)]
        return ChoiceType(tuple(self.chance.sample(kinds, self.chance.randint(2, 3))))

    def name(self) -> str:
        self.names += 1
        return f"x{self.names}"

    # -- expressions

    def expression(self, kind: Type, depth: int) -> str:
        """An expression of a type, in parentheses where it is no single word."""
        if self.chance.random() < (0.06 if kind == BOOLEAN else 0.02):  # fails where it is evaluated
            text = f"singleton from {{ {self.leaf(kind)}, {self.leaf(kind)} }}"
        else:
            text = self.leaf(kind) if depth <= 0 else self.built(kind, depth - 1)
        return text if text.isidentifier() and text not in ("true", "false") else f"({text})"

    def leaf(self, kind: Type) -> str:
        """A literal, or something in scope."""
        known = [name for name, of in (*self.scope, *self.scope, *self.defines, *PARAMETERS) if of == kind]
        if known and self.chance.random() < 0.7:
            return self.chance.choice(known)
        if kind in LITERALS:
            return self.chance.choice(LITERALS[kind])
        if isinstance(kind, ListType):
            many = self.chance.randint(0, 3)
            items = ", ".join(self.expression(kind.element, 0) for _ in range(many))
            return f"List<{kind.element}>{{ {items} }}" if many == 0 or self.chance.random() < 0.1 else f"{{ {items} }}"
        if isinstance(kind, IntervalType):
            if kind.point in (INTEGER, LONG, DECIMAL) and self.chance.random() < 0.8:
                low, suffix = self.chance.randint(-3, 5), {INTEGER: "", LONG: "L", DECIMAL: ".5"}[kind.point]  # type: ignore[index]
                return f"Interval[{low}{suffix}, {low + self.chance.randint(1, 5)}{suffix}]"
            return self.chance.choice((f"Interval[null as {kind.point}, {self.leaf(kind.point)}]", f"null as {kind}"))
        if isinstance(kind, TupleType):
            return f"Tuple {{ {', '.join(f'{name}: {self.expression(part, 0)}' for name, part in kind.elements)} }}"
        assert isinstance(kind, ChoiceType)
        return f"{self.expression(self.chance.choice(kind.options), 0)} as {kind}"

    def built(self, kind: Type, depth: int) -> str:
        """An expression with others in it."""
        ways: list[Callable[[], str]] = [lambda: self.filled(self.chance.choice(ANY_TYPE), kind, depth)]
        ways += [lambda: self.filled(self.chance.choice(COALESCES), kind, depth)]
        ways += [lambda: self.aggregate(kind, depth), lambda: self.single(kind, depth), lambda: self.leaf(kind)]
        called = [f for f in self.functions if f[2] == kind]
        ways += [lambda f=f: self.call(f, depth) for f in called] * 2  # type: ignore[misc]
        for name, of in self.scope:
            if isinstance(of, TupleType):
                ways += [lambda n=name, e=e: f"{n}.{e}" for e, part in of.elements if part == kind] * 3  # type: ignore[misc]
        for templates, fits in ((OF_POINTS, kind in POINTS), (OF_ORDERED, kind in ORDERED)):
            ways += [lambda x=templates: self.filled(self.chance.choice(x), kind, depth)] * fits  # type: ignore[misc]
        if kind in TEMPLATES:
            ways += [lambda: self.filled(self.chance.choice(TEMPLATES[kind]), kind, depth)] * 5
            ways += [lambda: self.filled(self.chance.choice(LOGIC), kind, depth)] * (3 if kind == BOOLEAN else 0)
        elif isinstance(kind, ListType):
            ways += [lambda: self.query(kind, depth)] * 5 + [
                lambda: self.filled(self.chance.choice(OF_LISTS), kind, depth)
            ] * 3
            ways += [lambda: self.list_of(kind, depth)] * 3
            if isinstance(kind.element, IntervalType):
                expanded = f"expand [[L]]{ {DATE: ' per year', DATETIME: ' per year', TIME: ' per hour'}.get(kind.element.point, '') }"  # type: ignore[call-overload]
                ways += [lambda x=x: self.filled(x, kind, depth) for x in ("collapse [[L]]", expanded)]  # type: ignore[misc]
        elif isinstance(kind, IntervalType):
            ways += [lambda: self.filled(self.chance.choice(OF_INTERVALS), kind, depth)] * 4
        elif isinstance(kind, TupleType):
            parts = lambda: ", ".join(f"{name}: {self.expression(part, depth)}" for name, part in kind.elements)  # noqa: E731
            ways += [lambda: f"Tuple {{ {parts()} }}"] * 3
        else:
            assert isinstance(kind, ChoiceType)
            ways += [lambda: f"{self.expression(self.chance.choice(kind.options), depth)} as {kind}"] * 2
            pair = lambda: [self.expression(option, depth) for option in self.chance.sample(kind.options, 2)]  # noqa: E731
            if any(isinstance(option, IntervalType) for option in kind.options):
                ways += [lambda: self.filled("if [[Boolean]] then Interval[null, null] else [[T]]", kind, depth)]
            ways += [lambda: "if {} then {} else {}".format(self.expression(BOOLEAN, depth), *pair())] * bool(
                len(kind.options) == 2
            )
        return self.chance.choice(ways)()

    def filled(self, template: str, kind: Type, depth: int) -> str:
        """A template with expressions in its holes. Letters stand for types: `T`, `L`, `I` the one wanted, others one at random."""
        bound: dict[str, Type] = {"T": kind, "L": kind, "I": kind}
        bound |= {"E": kind.element} if isinstance(kind, ListType) else {}
        point = kind.point if isinstance(kind, IntervalType) else self.simple(POINTS)
        bound |= {"P": point, "O": self.simple(ORDERED), "S": self.simple(SIMPLE)}
        bound |= {"C": self.choice_type(), "Tu": self.tuple_type()}
        other: Type = self.chance.choice([x for x in SIMPLE if x != kind])
        bound["A"] = kind if isinstance(kind, ChoiceType) else ChoiceType((kind, other))

        def hole(match: re.Match[str]) -> str:
            only_type, name = match.groups()
            if name == "V":
                return self.chance.choice(
                    [known for known, of in self.scope if of == kind] or [self.expression(kind, 0)]
                )
            found = bound[name] if name in bound else substitute(t.signature_type(name), bound)
            return (
                str(found) if only_type else self.expression(found, depth if self.chance.random() < 0.6 else depth - 1)
            )

        return _HOLE.sub(hole, template)

    def call(self, function: tuple[str, tuple[Type, ...], Type, bool], depth: int) -> str:
        name, operands, _, fluent = function
        given = [self.expression(operand, depth) for operand in operands]
        if fluent and self.chance.random() < 0.6:
            return f"{given[0]}.{name}({', '.join(given[1:])})"
        return f"{name}({', '.join(given)})"

    def list_of(self, kind: ListType, depth: int) -> str:
        return f"{{ {', '.join(self.expression(kind.element, depth) for _ in range(self.chance.randint(1, 3)))} }}"

    # -- queries

    def clauses(self, depth: int) -> str:
        """`let`, `with`, `without` and `where`, each now and then; what they name is in scope behind them."""
        text = ""
        if self.chance.random() < 0.3:
            name, kind = self.name(), self.type(1)
            text += f" let {name}: {self.expression(kind, depth)}"
            self.scope.append((name, kind))
        if self.chance.random() < 0.25:
            word, name, kind = self.chance.choice(("with", "without")), self.name(), self.simple(SIMPLE)
            source = self.expression(ListType(kind) if self.chance.random() < 0.85 else kind, depth)
            self.scope.append((name, kind))
            text += f" {word} {source} {name} such that {self.expression(BOOLEAN, depth)}"
            self.scope.remove((name, kind))
        if self.chance.random() < 0.5:
            text += f" where {self.expression(BOOLEAN, depth)}"
        return text

    def inside(self, sources: list[tuple[str, Type]], write: Callable[[], str]) -> str:
        """What is written with the aliases of sources in scope."""
        outer = self.scope
        self.scope = [*outer, *sources]
        text = write()
        self.scope = outer
        return text

    def sources(self, first: Type, depth: int) -> tuple[str, list[tuple[str, Type]]]:
        """`x` or `from x, y`: the text and the aliases; the first is a list of the type given."""
        aliases = [(self.name(), first)]
        whole = ListType(first)
        source = f"({self.aggregate(whole, depth)})" if self.chance.random() < 0.15 else self.expression(whole, depth)
        written = [f"{source} {aliases[0][0]}"]
        if self.chance.random() < 0.25:
            kind = self.simple(SIMPLE)
            aliases.append((self.name(), kind))
            written.append(f"{self.expression(ListType(kind), depth - 1)} {aliases[1][0]}")
        return ("from " if len(aliases) > 1 else "") + ", ".join(written), aliases

    def query(self, kind: ListType, depth: int) -> str:
        """A query that gives a list of a type."""
        same = self.chance.random() < 0.5
        head, aliases = self.sources(kind.element if same else self.type(1), depth)

        def rest() -> str:
            text = self.clauses(depth - 1)
            if not same or len(aliases) > 1 or self.chance.random() < 0.3:
                value = (
                    aliases[0][0] if same and self.chance.random() < 0.5 else self.expression(kind.element, depth - 1)
                )
                text += f" return {self.chance.choice(('', 'all ', 'distinct '))}{value}"
            return text

        return head + self.inside(aliases, rest) + self.sort(kind.element)

    def sort(self, element: Type) -> str:
        if self.chance.random() < 0.7:
            return ""
        direction = self.chance.choice(("asc", "desc", "ascending", "descending"))
        if element in ORDERED:
            return f" sort {direction}"
        if isinstance(element, TupleType):
            names = [name for name, part in element.elements if part in ORDERED]
            return f" sort by {', '.join(f'{name} {direction}' for name in names)}" if names else ""
        return ""

    def aggregate(self, kind: Type, depth: int) -> str:
        """A query that is folded into one value of a type."""
        head, aliases = self.sources(self.type(1), depth - 1)
        total = self.name()

        starting = self.expression(kind, depth - 1)

        def rest() -> str:
            text = self.clauses(depth - 1)
            self.scope.append((total, kind))
            value = self.expression(kind, depth)
            return f"{text} aggregate {self.chance.choice(('', 'all ', 'distinct '))}{total} starting ({starting}): {value}"

        return head + self.inside(aliases, rest)

    def single(self, kind: Type, depth: int) -> str:
        """A query over one value that is no list."""
        alias: Any = (self.name(), self.simple(SIMPLE))
        source = self.expression(alias[1], depth - 1)
        if isinstance(kind, ListType):
            return self.leaf(kind)

        def rest() -> str:
            return f"{self.clauses(depth - 1)} return {self.expression(kind, depth)}"

        return f"{source} {alias[0]}" + self.inside([alias], rest)


__all__ = ["Generator", "Named"]
