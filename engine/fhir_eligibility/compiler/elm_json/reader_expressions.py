"""ELM JSON expressions as CQL syntax: what `elm_reader` puts into definitions (CQL: "Logical Specification")."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.algebra.values.quantity import CALENDAR_WORDS
from fhir_eligibility.compiler.elm_json.fields import MAX_DEPTH, PRECISIONS, Fields, Json, Malformed, operand_names
from fhir_eligibility.compiler.syntax import cql_nodes as c
from fhir_eligibility.compiler.syntax import nodes as s
from fhir_eligibility.compiler.syntax.nodes import Expression

_NAME = re.compile(r"\{([^}]*)\}(.+)")
_REFERENCES = frozenset(
    "AliasRef QueryLetRef OperandRef ExpressionRef ParameterRef CodeRef ConceptRef ValueSetRef CodeSystemRef IdentifierRef".split()
)
_SYSTEM = "urn:hl7-org:elm-types:r1"
_WHOLE, _NUMBER = re.compile(r"-?[0-9]{1,60}"), re.compile(r"-?[0-9]{1,60}(\.[0-9]{1,60})?")
_MAX_STEPS = 50
_RELATIONS = {"With": "with", "Without": "without"}
_DIRECTIONS = {"asc": "asc", "ascending": "asc", "desc": "desc", "descending": "desc"}
_COMPARATORS = {"in": "in", "=": "=", "~": "~"}
# How many operands the operators have that are no registered overloads.
_COUNTS = {"And": 2, "Or": 2, "Xor": 2, "Implies": 2, "Not": 1, "ToList": 1, "Exists": 1}


class ExpressionReader(Fields):
    """Expressions of one library; `namespaces` gives the local name of a model by its uri."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.namespaces: dict[str, str] = {_SYSTEM: "System"}

    def names(self, data: Json, span: Span) -> tuple[str, ...]:
        """The name that a reference gives, after its library."""
        library, name = self.some_name(data, "libraryName", span), self.text(data, "name", span)
        return (library, name) if library else (name,)

    # -- types

    @contextmanager
    def deeper(self, span: Span) -> Iterator[None]:
        """One level further in. Raises Malformed where that is too deep."""
        if self.depth >= MAX_DEPTH:
            self.problem("syntax-depth", f"this is nested more than {MAX_DEPTH} levels deep", span)
            raise Malformed()
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def type_of(self, data: Json, span: Span) -> Expression:
        """A type specifier."""
        kind = data.get("type", "NamedTypeSpecifier")
        with self.deeper(span):
            if kind == "ListTypeSpecifier":
                return c.ListOf(span, self.type_of(self.object(data, "elementType", span), span))
            if kind == "IntervalTypeSpecifier":
                return c.IntervalOf(span, self.type_of(self.object(data, "pointType", span), span))
            if kind == "ChoiceTypeSpecifier":
                return c.ChoiceOf(span, tuple(self.type_of(x, span) for x in self.objects(data, "choice", span)))
            if kind == "TupleTypeSpecifier":
                return c.TupleOf(span, tuple(self.tuple_part(x, span) for x in self.objects(data, "element", span)))
            if kind == "NamedTypeSpecifier":
                return self.named(data, "name", span)
        raise self.wrong(data, "type", "a kind of type specifier", span)

    def tuple_part(self, data: Json, span: Span) -> tuple[str, Expression]:
        """An element of a tuple type."""
        key = "elementType" if data.get("elementType") is not None else "type"
        return self.text(data, "name", span), self.type_of(self.object(data, key, span), span)

    def named(self, data: Json, key: str, span: Span) -> c.NamedType:
        """A type by its qualified name, `{uri}Name`."""
        match = _NAME.fullmatch(self.text(data, key, span))
        if match is None:
            raise self.wrong(data, key, "a qualified type name, {uri}Name", span)
        namespace = self.namespaces.get(match[1])
        if namespace is None:
            raise self.fail(f"no model of the library has the uri {match[1]!r}", span)
        return c.NamedType(span, (namespace, match[2]))

    def type_in(self, data: Json, word: str, span: Span) -> Expression:
        """`asType` or `asTypeSpecifier`, and so on."""
        if data.get(f"{word}Type") is not None:
            return self.named(data, f"{word}Type", span)
        return self.type_of(self.object(data, f"{word}TypeSpecifier", span), span)

    # -- expressions

    def read(self, data: Any) -> Expression:
        """One expression."""
        if not isinstance(data, dict) or not isinstance(data.get("type"), str):
            raise self.fail("an expression is missing or has no type", self.line(f"{self.define}: ?", {}))
        kind = data["type"]
        span = self.line(f"{self.define}: {kind}", data)
        with self.deeper(span):
            if kind in _REFERENCES:
                return self.reference(data, span)
            handler = _READERS.get(kind)
            if handler is not None:
                return handler(self, data, span)
            return self.operation(data, span)

    def under(self, data: Json, key: str) -> Expression:
        """The expression under a key, which has to be there."""
        return self.read(data.get(key))

    def some(self, data: Json, key: str) -> Expression | None:
        """The expression under a key, None where there is none."""
        return self.read(data[key]) if data.get(key) is not None else None

    def or_null(self, data: Json, key: str, span: Span) -> Expression:
        """The expression under a key, null where there is none."""
        return self.some(data, key) or c.NullLiteral(span)

    def all(self, data: Json, key: str, span: Span) -> tuple[Expression, ...]:
        """The expressions under a key."""
        return tuple(self.read(x) for x in self.objects(data, key, span))

    def operands(self, data: Json, span: Span) -> tuple[Expression, ...]:
        return tuple(self.read(x) for x in self.one_or_more(data, "operand", span))

    def operation(self, data: Json, span: Span) -> Expression:
        kind = data["type"]
        if kind not in OPERATORS and kind not in ("And", "Or", "Xor", "Implies", "Not", "ToList"):
            raise self.fail(f"there is no ELM node {kind!r} that is understood", span)
        names = operand_names(kind)
        if not names:
            operands = self.operands(data, span)
        else:
            operands = tuple(self.under(data, name) for name in names if data.get(name) is not None)
        count = _COUNTS.get(kind)
        if count is not None and len(operands) != count:
            raise self.fail(f"{kind} takes {count} operand{'s' if count > 1 else ''}, and has {len(operands)}", span)
        precision = None if names and "precision" in names else self.word(data, "precision", PRECISIONS, span)
        return c.NamedOperator(span, kind, operands, precision)

    def reference(self, data: Json, span: Span) -> Expression:
        name = self.text(data, "name", span)
        if name == "$this":
            return s.Special(span, "this") if data["type"] == "IdentifierRef" else s.Member(span, None, "$this", span)
        return s.Member(span, self.owner(data, span), name, span)

    def owner(self, data: Json, span: Span) -> Expression | None:
        """The library that a reference names."""
        name = self.some_name(data, "libraryName", span)
        return s.Member(span, None, name, span) if name else None

    def converted_interval(self, data: Json, span: Span) -> Expression:
        """An interval made of the bounds of another: a conversion, which is made again where it is needed."""
        stack: list[Any] = [data.get("lowClosedExpression") or data.get("highClosedExpression")]
        while stack:
            item = stack.pop()
            if isinstance(item, dict):
                if item.get("type") == "Property" and item.get("path") in ("lowClosed", "highClosed"):
                    return self.some(item, "source") or self.scoped(item, span)
                stack.extend(item.values())
            elif isinstance(item, list):
                stack.extend(item)
        raise self.fail("an interval whose closedness is computed is not understood", span)

    def scoped(self, data: Json, span: Span) -> Expression:
        return s.Member(span, None, self.text(data, "scope", span), span)

    def steps(self, source: Expression | None, path: str, span: Span) -> s.Member:
        """The elements of a path, one of the other."""
        first, *others = path.split(".")
        if len(others) > _MAX_STEPS:
            raise self.fail(f"a path has more than {_MAX_STEPS} steps", span)
        found = s.Member(span, source, first, span)
        for step in others:
            found = s.Member(span, found, step, span)
        return found

    # -- queries

    def aliased(self, data: Json, outer: Span) -> c.Aliased:
        alias = self.text(data, "alias", outer)
        span = self.line(f"{self.define}: source {alias}", data)
        return c.Aliased(span, self.under(data, "expression"), alias, span)

    def relation(self, data: Json, span: Span) -> c.RelationClause:
        kind = self.word(data, "type", _RELATIONS, span)
        if kind is None:
            raise self.wrong(data, "type", "one of With, Without", span)
        return c.RelationClause(span, kind, self.aliased(data, span), self.under(data, "suchThat"))

    def sort_item(self, data: Json, span: Span) -> c.SortClause:
        direction = self.word(data, "direction", _DIRECTIONS, span) or "asc"
        kind = self.some_text(data, "type", span) or "ByDirection"
        key: Expression | None = None
        if kind == "ByColumn":
            key = self.steps(None, self.text(data, "path", span), span)
        elif kind == "ByExpression":
            key = self.under(data, "expression")
        elif kind != "ByDirection":
            raise self.wrong(data, "type", "one of ByDirection, ByColumn, ByExpression", span)
        return c.SortClause(span, key, direction)


_H = TypeVar("_H", bound=Callable[..., Any])
_READERS: dict[str, Callable[..., Expression]] = {}


def reads(*kinds: str) -> Callable[[_H], _H]:
    """Register how nodes of some kinds are read."""

    def register(handler: _H) -> _H:
        _READERS.update(dict.fromkeys(kinds, handler))
        return handler

    return register


@reads("Null")
def _null(r: ExpressionReader, data: Json, span: Span) -> Expression:
    return c.NullLiteral(span)


@reads("Literal")
def _literal(r: ExpressionReader, data: Json, span: Span) -> Expression:
    match = _NAME.fullmatch(r.text(data, "valueType", span))
    kind = match[2] if match is not None and match[1] == _SYSTEM else ""
    if kind not in ("Boolean", "Integer", "Long", "Decimal", "String"):
        raise r.wrong(data, "valueType", "the type of a literal", span)
    text = r.some_text(data, "value", span) or ""
    if kind == "Boolean":
        text = text.lower()
        if text not in ("true", "false"):
            raise r.wrong(data, "value", "true or false as a text", span)
    if kind == "Decimal" and re.fullmatch(r"-?[0-9]+", text):
        text += ".0"
    if kind in ("Integer", "Long", "Decimal"):
        if not (_NUMBER if kind == "Decimal" else _WHOLE).fullmatch(text):
            raise r.wrong(data, "value", f"the digits of a {kind} as a text", span)
        if text.startswith("-"):
            return s.Unary(span, "-", s.LiteralTerm(span, kind, text[1:]))
    return s.LiteralTerm(span, kind, text)


@reads("Quantity")
def _quantity(r: ExpressionReader, data: Json, span: Span) -> Expression:
    number = r.number(data, "value", span)
    if not _NUMBER.fullmatch(number):
        raise r.wrong(data, "value", "a number", span)
    unit = r.some_name(data, "unit", span) or "1"
    calendar = unit in CALENDAR_WORDS
    negative = number.startswith("-")
    tree = s.QuantityLiteral(span, number.lstrip("-"), CALENDAR_WORDS.get(unit, unit), calendar)
    return s.Unary(span, "-", tree) if negative else tree


@reads("Ratio")
def _ratio(r: ExpressionReader, data: Json, span: Span) -> Expression:
    parts = (_quantity(r, r.object(data, name, span), span) for name in ("numerator", "denominator"))
    return c.RatioLiteral(span, *parts)


@reads("Code")
def _code(r: ExpressionReader, data: Json, span: Span) -> c.CodeSelector:
    system = r.names(r.object(data, "system", span), span)
    return c.CodeSelector(span, r.text(data, "code", span), system, r.some_text(data, "display", span), span)


@reads("Concept")
def _concept(r: ExpressionReader, data: Json, span: Span) -> Expression:
    codes = tuple(_code(r, x, span) for x in r.objects(data, "code", span))
    return c.ConceptSelector(span, codes, r.some_text(data, "display", span))


@reads("Date", "DateTime", "Time")
def _moment(r: ExpressionReader, data: Json, span: Span) -> Expression:
    """A constructor of a Date, DateTime or Time from its components."""
    names = ["year", "month", "day", "hour", "minute", "second", "millisecond", "timezoneOffset"]
    names = names[3:7] if data["type"] == "Time" else names[:3] if data["type"] == "Date" else names
    parts = [r.or_null(data, name, span) for name in names]
    while len(parts) > 1 and isinstance(parts[-1], c.NullLiteral):
        parts.pop()
    return s.Call(span, None, data["type"], tuple(parts), span)


@reads("Interval")
def _interval(r: ExpressionReader, data: Json, span: Span) -> Expression:
    for side in ("low", "high"):
        if data.get(f"{side}ClosedExpression") is not None:
            return r.converted_interval(data, span)
    low, high = r.or_null(data, "low", span), r.or_null(data, "high", span)
    closed = r.flag(data, "lowClosed", True, span), r.flag(data, "highClosed", True, span)
    return c.IntervalSelector(span, low, high, *closed)


@reads("List")
def _list_of(r: ExpressionReader, data: Json, span: Span) -> Expression:
    specifier = r.some_object(data, "typeSpecifier", span)
    kind = r.type_of(specifier, span) if specifier is not None else None
    return c.ListSelector(span, kind, r.all(data, "element", span))


@reads("Tuple", "Instance")
def _tuple_of(r: ExpressionReader, data: Json, span: Span) -> Expression:
    kind = r.named(data, "classType", span) if data.get("classType") is not None else None
    parts = r.objects(data, "element", span)
    elements = tuple((r.text(x, "name", span), r.under(x, "value"), span) for x in parts)
    return c.InstanceSelector(span, kind, elements)


@reads("Property")
def _property(r: ExpressionReader, data: Json, span: Span) -> Expression:
    scope = r.some_name(data, "scope", span)
    source = r.scoped(data, span) if scope else r.under(data, "source")
    return r.steps(source, r.text(data, "path", span), span)


@reads("FunctionRef")
def _function(r: ExpressionReader, data: Json, span: Span) -> Expression:
    return s.Call(span, r.owner(data, span), r.text(data, "name", span), r.operands(data, span), span)


@reads("As", "Is")
def _cast(r: ExpressionReader, data: Json, span: Span) -> Expression:
    operand = r.under(data, "operand")
    word = "is" if data["type"] == "Is" else "as"
    kind = r.type_in(data, word, span)
    return c.Cast(span, "cast" if r.flag(data, "strict", False, span) else word, operand, kind)


@reads("Convert")
def _convert(r: ExpressionReader, data: Json, span: Span) -> Expression:
    return c.Convert(span, r.under(data, "operand"), r.type_in(data, "to", span), None)


@reads(
    *(
        f"ConvertsTo{name}"
        for name in ("Boolean", "Date", "DateTime", "Decimal", "Integer", "Long", "Quantity", "Ratio", "String", "Time")
    )
)
def _converts(r: ExpressionReader, data: Json, span: Span) -> Expression:
    return s.Call(span, None, data["type"], (r.under(data, "operand"),), span)


@reads("DateTimeComponentFrom")
def _component(r: ExpressionReader, data: Json, span: Span) -> Expression:
    precision = r.word(data, "precision", PRECISIONS, span)
    if precision is None:
        raise r.wrong(data, "precision", f"one of {', '.join(PRECISIONS)}", span)
    return c.Prefix(span, f"{precision} from", r.under(data, "operand"))


@reads("Now", "Today", "TimeOfDay")
def _clock(r: ExpressionReader, data: Json, span: Span) -> Expression:
    return s.Call(span, None, data["type"], (), span)


@reads("MinValue", "MaxValue")
def _limit(r: ExpressionReader, data: Json, span: Span) -> Expression:
    word = "minimum" if data["type"] == "MinValue" else "maximum"
    return c.Extent(span, word, r.named(data, "valueType", span))


@reads("If")
def _if_then(r: ExpressionReader, data: Json, span: Span) -> Expression:
    return c.IfThenElse(span, *(r.under(data, name) for name in ("condition", "then", "else")))


@reads("Case")
def _case(r: ExpressionReader, data: Json, span: Span) -> Expression:
    comparand = r.some(data, "comparand")
    items = tuple((r.under(x, "when"), r.under(x, "then")) for x in r.objects(data, "caseItem", span))
    if not items:
        raise r.fail("a case has no items", span)
    return c.CaseExpression(span, comparand, items, r.or_null(data, "else", span))


@reads("Coalesce")
def _coalesce(r: ExpressionReader, data: Json, span: Span) -> Expression:
    return s.Call(span, None, "Coalesce", r.operands(data, span), span)


@reads("Message")
def _message(r: ExpressionReader, data: Json, span: Span) -> Expression:
    names = ("source", "condition", "code", "severity", "message")
    return s.Call(span, None, "Message", tuple(r.or_null(data, x, span) for x in names), span)


@reads("InValueSet", "AnyInValueSet", "InCodeSystem", "AnyInCodeSystem")
def _membership(r: ExpressionReader, data: Json, span: Span) -> Expression:
    code = r.under(data, "code" if data.get("code") is not None else "codes")
    name = "codesystem" if data["type"].endswith("InCodeSystem") else "valueset"
    terminology = r.some(data, f"{name}Expression")
    if terminology is None:
        reference = r.object(data, name, span)
        terminology = s.Member(span, r.owner(reference, span), r.text(reference, "name", span), span)
    return c.Membership(span, "in", None, code, terminology)


@reads("Descendents", "Children")
def _descendents(r: ExpressionReader, data: Json, span: Span) -> Expression:
    return s.Call(span, r.under(data, "source"), data["type"].lower(), (), span)


@reads("Retrieve")
def _retrieve(r: ExpressionReader, data: Json, span: Span) -> Expression:
    kind = r.named(data, "dataType", span)
    codes = r.some_object(data, "codes", span)
    terminology = None
    if codes is not None:
        inner = codes.get("operand")
        if codes.get("type") in ("ToList", "ExpandValueSet") and isinstance(inner, dict):
            codes = inner
        elif codes.get("type") == "Property" and codes.get("path") == "codes" and codes.get("source"):
            codes = r.object(codes, "source", span)
        terminology = r.read(codes)
    path = r.some_name(data, "codeProperty", span)
    return c.RetrieveExpression(
        span,
        r.some(data, "context"),
        kind,
        tuple(path.split(".")) if path else None,
        r.word(data, "codeComparator", _COMPARATORS, span),
        terminology,
        span,
        r.some_text(data, "templateId", span),
    )


@reads("Query")
def _query(r: ExpressionReader, data: Json, span: Span) -> Expression:
    sources = tuple(r.aliased(x, span) for x in r.objects(data, "source", span))
    if not sources:
        raise r.fail("a query has no source", span)
    lets = tuple(
        c.LetClause(span, r.text(x, "identifier", span), r.under(x, "expression"), span)
        for x in r.objects(data, "let", span)
    )
    relations = tuple(r.relation(x, span) for x in r.objects(data, "relationship", span))
    where = r.some(data, "where")
    returned = aggregate = None
    inner = r.some_object(data, "return", span)
    if inner is not None:
        returned = c.Returned(span, r.under(inner, "expression"), r.flag(inner, "distinct", True, span))
    inner = r.some_object(data, "aggregate", span)
    if inner is not None:
        starting = r.some(inner, "starting")
        value = r.under(inner, "expression")
        name, distinct = r.text(inner, "identifier", span), r.flag(inner, "distinct", False, span)
        aggregate = c.Aggregated(span, name, starting, value, distinct, span)
    by = r.objects(r.some_object(data, "sort", span) or {}, "by", span)
    sort = tuple(r.sort_item(x, span) for x in by)
    return c.QueryExpression(span, sources, lets, relations, where, returned, aggregate, sort)
