"""ELM JSON expressions as CQL syntax: what `elm_reader` puts into definitions (CQL: "Logical Specification")."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from engine.algebra.diagnostic import Span
from engine.algebra.operators.table import OPERATORS
from engine.algebra.quantity import CALENDAR_WORDS
from engine.compiler import syntax as s
from engine.compiler.cql import syntax as c
from engine.compiler.cql.elm_nodes import NAMED_OPERANDS
from engine.compiler.syntax import Expression

Json = dict[str, Any]
_NAME = re.compile(r"\{([^}]*)\}(.+)")
_REFERENCES = frozenset(
    "AliasRef QueryLetRef OperandRef ExpressionRef ParameterRef CodeRef ConceptRef ValueSetRef CodeSystemRef IdentifierRef".split()
)
_SYSTEM = "urn:hl7-org:elm-types:r1"


class Malformed(Exception):
    """A node that cannot be read; the reason is among the problems."""


class ElmExpressions:
    """Expressions of one library; `namespaces` gives the local name of a model by its uri."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.define = ""
        self.lines: list[str] = []
        self.problems: list[tuple[str, str, Span]] = []
        self.namespaces: dict[str, str] = {_SYSTEM: "System"}
        self._length = 0

    def line(self, what: str, data: Json) -> Span:
        """A line of the listing for a node; its span."""
        place = [f"local id {data['localId']}"] if data.get("localId") else []
        place += [f"CQL {data['locator']}"] if data.get("locator") else []
        text = what + (f"  ({', '.join(place)})" if place else "")
        start = self._length
        self.lines.append(text)
        self._length += len(text) + 1
        return Span(start, start + len(what))

    def problem(self, code: str, message: str, span: Span) -> None:
        self.problems.append((code, message, span))

    def fail(self, message: str, span: Span) -> Malformed:
        self.problem("elm", message, span)
        return Malformed()

    def names(self, data: Json) -> tuple[str, ...]:
        """The name that a reference gives, after its library."""
        library = data.get("libraryName")
        return (str(library), str(data.get("name"))) if library else (str(data.get("name")),)

    # -- types

    def type_of(self, data: Any, span: Span) -> Expression:
        """A type specifier."""
        if not isinstance(data, dict):
            raise self.fail("a type specifier is missing", span)
        kind = data.get("type", "NamedTypeSpecifier")
        if kind == "ListTypeSpecifier":
            return c.ListOf(span, self.type_of(data.get("elementType"), span))
        if kind == "IntervalTypeSpecifier":
            return c.IntervalOf(span, self.type_of(data.get("pointType"), span))
        if kind == "ChoiceTypeSpecifier":
            return c.ChoiceOf(span, tuple(self.type_of(x, span) for x in data.get("choice") or data.get("type") or ()))
        if kind == "TupleTypeSpecifier":
            elements = []
            for element in data.get("element") or ():
                elements.append(
                    (str(element.get("name")), self.type_of(element.get("elementType") or element.get("type"), span))
                )
            return c.TupleOf(span, tuple(elements))
        return self.named(data.get("name"), span)

    def named(self, name: Any, span: Span) -> c.NamedType:
        """A type by its qualified name, `{uri}Name`."""
        match = _NAME.fullmatch(str(name))
        if match is None:
            raise self.fail(f"{name!r} is no qualified type name, {{uri}}Name", span)
        namespace = self.namespaces.get(match[1])
        if namespace is None:
            raise self.fail(f"no model of the library has the uri {match[1]!r}", span)
        return c.NamedType(span, (namespace, match[2]))

    def type_in(self, data: Json, word: str, span: Span) -> Expression:
        """`asType` or `asTypeSpecifier`, and so on."""
        if data.get(f"{word}Type"):
            return self.named(data[f"{word}Type"], span)
        return self.type_of(data.get(f"{word}TypeSpecifier"), span)

    # -- expressions

    def read(self, data: Any) -> Expression:
        """One expression."""
        if not isinstance(data, dict) or not isinstance(data.get("type"), str):
            raise self.fail("an expression is missing or has no type", self.line(f"{self.define}: ?", {}))
        kind = data["type"]
        span = self.line(f"{self.define}: {kind}", data)
        if kind in _REFERENCES:
            return self.reference(data, span)
        handler = _READERS.get(kind)
        if handler is not None:
            return handler(self, data, span)
        return self.operation(data, span)

    def operands(self, data: Json, span: Span) -> list[Any]:
        found = data.get("operand")
        if found is None:
            return []
        return found if isinstance(found, list) else [found]

    def operation(self, data: Json, span: Span) -> Expression:
        kind = data["type"]
        if kind not in OPERATORS and kind not in ("And", "Or", "Xor", "Implies", "Not", "ToList"):
            raise self.fail(f"there is no ELM node {kind!r} that is understood", span)
        names = NAMED_OPERANDS.get(kind)
        raw = (
            self.operands(data, span) if names is None else [data[name] for name in names if data.get(name) is not None]
        )
        precision = data.get("precision")
        precision = precision.lower() if isinstance(precision, str) else None
        return c.Operation(span, kind, tuple(self.read(x) for x in raw), precision)

    def reference(self, data: Json, span: Span) -> Expression:
        name = str(data.get("name"))
        if name == "$this":
            return s.Special(span, "this") if data["type"] == "IdentifierRef" else s.Member(span, None, "$this", span)
        library = data.get("libraryName")
        source = s.Member(span, None, str(library), span) if library else None
        return s.Member(span, source, name, span)

    def null(self, data: Json, span: Span) -> Expression:
        return c.Null(span)

    def literal(self, data: Json, span: Span) -> Expression:
        match = _NAME.fullmatch(str(data.get("valueType")))
        text = str(data.get("value"))
        kind = match[2] if match is not None else ""
        if kind not in ("Boolean", "Integer", "Long", "Decimal", "String"):
            raise self.fail(f"a literal of type {data.get('valueType')!r} is not understood", span)
        if kind == "Boolean":
            text = text.lower()
        if kind == "Decimal" and re.fullmatch(r"-?\d+", text):
            text += ".0"
        if kind in ("Integer", "Long", "Decimal"):
            if not re.fullmatch(r"-?\d+(\.\d+)?", text):
                raise self.fail(f"{text!r} is no {kind}", span)
            if text.startswith("-"):
                return s.Unary(span, "-", s.Literal(span, kind, text[1:]))
        return s.Literal(span, kind, text)

    def quantity(self, data: Json, span: Span) -> Expression:
        value = data.get("value")
        number = format(value, "f") if isinstance(value, Decimal) else str(value)
        if not re.fullmatch(r"-?\d+(\.\d+)?", number):
            raise self.fail(f"{number!r} is no number", span)
        unit = str(data.get("unit") or "1")
        calendar = unit in CALENDAR_WORDS
        negative = number.startswith("-")
        tree = s.QuantityLiteral(span, number.lstrip("-"), CALENDAR_WORDS.get(unit, unit), calendar)
        return s.Unary(span, "-", tree) if negative else tree

    def ratio(self, data: Json, span: Span) -> Expression:
        parts = (self.quantity(data.get(name) or {}, span) for name in ("numerator", "denominator"))
        return c.RatioLiteral(span, *parts)

    def code(self, data: Json, span: Span) -> c.CodeSelector:
        return c.CodeSelector(
            span, str(data.get("code")), self.names(data.get("system") or {}), data.get("display"), span
        )

    def concept(self, data: Json, span: Span) -> Expression:
        return c.ConceptSelector(span, tuple(self.code(x, span) for x in data.get("code") or ()), data.get("display"))

    def moment(self, data: Json, span: Span) -> Expression:
        """A constructor of a Date, DateTime or Time from its components."""
        names = ["year", "month", "day", "hour", "minute", "second", "millisecond", "timezoneOffset"]
        names = names[3:7] if data["type"] == "Time" else names[:3] if data["type"] == "Date" else names
        parts = [self.read(data[name]) if data.get(name) is not None else c.Null(span) for name in names]
        while len(parts) > 1 and isinstance(parts[-1], c.Null):
            parts.pop()
        return s.Call(span, None, data["type"], tuple(parts), span)

    def interval(self, data: Json, span: Span) -> Expression:
        for side in ("low", "high"):
            if data.get(f"{side}ClosedExpression") is not None:
                return self.converted_interval(data, span)
        low, high = (self.read(data[x]) if data.get(x) is not None else c.Null(span) for x in ("low", "high"))
        return c.IntervalSelector(span, low, high, data.get("lowClosed", True), data.get("highClosed", True))

    def converted_interval(self, data: Json, span: Span) -> Expression:
        """An interval made of the bounds of another: a conversion, which is made again where it is needed."""
        stack: list[Any] = [data.get("lowClosedExpression") or data.get("highClosedExpression")]
        while stack:
            item = stack.pop()
            if isinstance(item, dict):
                if item.get("type") == "Property" and str(item.get("path")) in ("lowClosed", "highClosed"):
                    return self.read(item["source"]) if item.get("source") else self.scoped(item, span)
                stack.extend(item.values())
            elif isinstance(item, list):
                stack.extend(item)
        raise self.fail("an interval whose closedness is computed is not understood", span)

    def scoped(self, data: Json, span: Span) -> Expression:
        return s.Member(span, None, str(data.get("scope")), span)

    def list_of(self, data: Json, span: Span) -> Expression:
        kind = self.type_of(data["typeSpecifier"], span) if data.get("typeSpecifier") else None
        elements = tuple(self.read(x) for x in data.get("element") or ())
        return c.ListSelector(span, kind, elements)

    def tuple_of(self, data: Json, span: Span) -> Expression:
        kind = self.named(data["classType"], span) if data.get("classType") else None
        elements = tuple((str(x.get("name")), self.read(x.get("value")), span) for x in data.get("element") or ())
        return c.Instance(span, kind, elements)

    def property(self, data: Json, span: Span) -> Expression:
        source = self.scoped(data, span) if data.get("scope") else self.read(data.get("source"))
        for step in str(data.get("path")).split("."):
            source = s.Member(span, source, step, span)
        return source

    def function(self, data: Json, span: Span) -> Expression:
        library = data.get("libraryName")
        source = s.Member(span, None, str(library), span) if library else None
        return s.Call(span, source, str(data.get("name")), tuple(self.read(x) for x in self.operands(data, span)), span)

    def cast(self, data: Json, span: Span) -> Expression:
        operand = self.read(data.get("operand"))
        word = "is" if data["type"] == "Is" else "as"
        kind = self.type_in(data, word, span)
        return c.Cast(span, "cast" if data.get("strict") else word, operand, kind)

    def convert(self, data: Json, span: Span) -> Expression:
        return c.Convert(span, self.read(data.get("operand")), self.type_in(data, "to", span), None)

    def converts(self, data: Json, span: Span) -> Expression:
        return s.Call(span, None, data["type"], (self.read(data.get("operand")),), span)

    def component(self, data: Json, span: Span) -> Expression:
        return c.Prefix(span, f"{str(data.get('precision')).lower()} from", self.read(data.get("operand")))

    def clock(self, data: Json, span: Span) -> Expression:
        return s.Call(span, None, data["type"], (), span)

    def limit(self, data: Json, span: Span) -> Expression:
        word = "minimum" if data["type"] == "MinValue" else "maximum"
        return c.Extent(span, word, self.named(data.get("valueType"), span))

    def if_then(self, data: Json, span: Span) -> Expression:
        return c.If(span, *(self.read(data.get(name)) for name in ("condition", "then", "else")))

    def case(self, data: Json, span: Span) -> Expression:
        comparand = self.read(data["comparand"]) if data.get("comparand") else None
        items = tuple((self.read(x.get("when")), self.read(x.get("then"))) for x in data.get("caseItem") or ())
        return c.Case(span, comparand, items, self.read(data.get("else") or {"type": "Null"}))

    def coalesce(self, data: Json, span: Span) -> Expression:
        return s.Call(span, None, "Coalesce", tuple(self.read(x) for x in self.operands(data, span)), span)

    def message(self, data: Json, span: Span) -> Expression:
        names = ("source", "condition", "code", "severity", "message")
        return s.Call(span, None, "Message", tuple(self.read(data.get(x) or {"type": "Null"}) for x in names), span)

    def membership(self, data: Json, span: Span) -> Expression:
        code = self.read(data.get("code") or data.get("codes"))
        name = "codesystem" if data["type"].endswith("InCodeSystem") else "valueset"
        values = data.get(f"{name}Expression")
        terminology = self.read(values) if values is not None else self.reference(data.get(name) or {}, span)
        return c.Membership(span, "in", None, code, terminology)

    def descendents(self, data: Json, span: Span) -> Expression:
        return s.Call(span, self.read(data.get("source")), data["type"].lower(), (), span)

    def retrieve(self, data: Json, span: Span) -> Expression:
        kind = self.named(data.get("dataType"), span)
        codes = data.get("codes")
        terminology = None
        if isinstance(codes, dict):
            inner = codes.get("operand")
            if codes.get("type") in ("ToList", "ExpandValueSet") and isinstance(inner, dict):
                codes = inner
            elif codes.get("type") == "Property" and codes.get("path") == "codes" and codes.get("source"):
                codes = codes["source"]
            terminology = self.read(codes)
        path = data.get("codeProperty")
        context = data.get("context")
        return c.Retrieve(
            span,
            self.read(context) if context is not None else None,
            kind,
            tuple(path.split(".")) if path else None,
            data.get("codeComparator"),
            terminology,
            span,
            data.get("templateId"),
        )

    # -- queries

    def aliased(self, data: Json) -> c.Aliased:
        span = self.line(f"{self.define}: source {data.get('alias')}", data)
        return c.Aliased(span, self.read(data.get("expression")), str(data.get("alias")), span)

    def query(self, data: Json, span: Span) -> Expression:
        sources = tuple(self.aliased(x) for x in data.get("source") or ())
        if not sources:
            raise self.fail("a query has no source", span)
        lets = tuple(
            c.Let(span, str(x.get("identifier")), self.read(x.get("expression")), span) for x in data.get("let") or ()
        )
        relations = tuple(
            c.Relation(span, str(x.get("type")).lower(), self.aliased(x), self.read(x.get("suchThat")))
            for x in data.get("relationship") or ()
        )
        where = self.read(data["where"]) if data.get("where") else None
        returned = aggregate = None
        if data.get("return"):
            inner = data["return"]
            returned = c.Returned(span, self.read(inner.get("expression")), bool(inner.get("distinct", True)))
        if data.get("aggregate"):
            inner = data["aggregate"]
            starting = self.read(inner["starting"]) if inner.get("starting") else None
            value = self.read(inner.get("expression"))
            aggregate = c.Aggregated(
                span, str(inner.get("identifier")), starting, value, bool(inner.get("distinct")), span
            )
        by = (data.get("sort") or {}).get("by") or ()
        return c.Query(
            span, sources, lets, relations, where, returned, aggregate, tuple(self.sort_item(x, span) for x in by)
        )

    def sort_item(self, data: Json, span: Span) -> c.SortItem:
        direction = str(data.get("direction", "asc"))
        key: Expression | None = None
        if data.get("type") == "ByColumn":
            for step in str(data.get("path")).split("."):
                key = s.Member(span, key, step, span)
        elif data.get("type") == "ByExpression":
            key = self.read(data.get("expression"))
        return c.SortItem(span, key, direction)


R = ElmExpressions
_READERS: dict[str, Callable[[Any, Json, Span], Expression]] = {
    "Null": R.null, "Literal": R.literal, "Quantity": R.quantity, "Ratio": R.ratio, "Code": R.code, "Concept": R.concept,
    "Date": R.moment, "DateTime": R.moment, "Time": R.moment, "Interval": R.interval, "List": R.list_of,
    "Tuple": R.tuple_of, "Instance": R.tuple_of, "Property": R.property, "FunctionRef": R.function, "As": R.cast,
    "Is": R.cast, "Convert": R.convert, "DateTimeComponentFrom": R.component, "Now": R.clock, "Today": R.clock,
    "TimeOfDay": R.clock, "MinValue": R.limit, "MaxValue": R.limit, "If": R.if_then, "Case": R.case,
    "Coalesce": R.coalesce, "Message": R.message, "InValueSet": R.membership, "AnyInValueSet": R.membership,
    "InCodeSystem": R.membership, "AnyInCodeSystem": R.membership, "Descendents": R.descendents, "Children": R.descendents, "Retrieve": R.retrieve,
    "Query": R.query,
    **{f"ConvertsTo{name}": R.converts for name in (
        "Boolean", "Date", "DateTime", "Decimal", "Integer", "Long", "Quantity", "Ratio", "String", "Time",
    )},
}  # fmt: skip
