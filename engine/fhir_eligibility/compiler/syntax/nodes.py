"""The syntax tree of an expression, as the author wrote it. Nothing is resolved here."""

from __future__ import annotations

import msgspec

from fhir_eligibility.algebra.diagnostic import Span


class Expression(msgspec.Struct, frozen=True):
    """Base of all nodes: where it stands in the source."""

    span: Span


class LiteralTerm(Expression, frozen=True):
    """A constant. `kind` is a System type name (`Boolean`, `Integer`, `Long`, `Decimal`, `String`, `Date`, `DateTime`, `Time`)."""

    kind: str
    text: str


class QuantityLiteral(Expression, frozen=True):
    """A number with a UCUM unit in quotes, or with a calendar unit word (`calendar`)."""

    number: str
    unit: str
    calendar: bool


class EmptyCollection(Expression, frozen=True):
    """The empty collection `{}`."""


class Special(Expression, frozen=True):
    """`$this`, `$index` or `$total`."""

    name: str


class Variable(Expression, frozen=True):
    """`%name`."""

    name: str


class Member(Expression, frozen=True):
    """`source.name`, or a bare `name` where there is no source."""

    source: Expression | None
    name: str
    name_span: Span


class Call(Expression, frozen=True):
    """`source.name(arguments)`, or `name(arguments)` on the context."""

    source: Expression | None
    name: str
    arguments: tuple[Expression, ...]
    name_span: Span


class SortKey(Expression, frozen=True):
    """`key asc` or `key desc`, an argument of sort()."""

    key: Expression
    direction: str


class Index(Expression, frozen=True):
    """`source[index]`."""

    source: Expression
    index: Expression


class Unary(Expression, frozen=True):
    """`+x` or `-x`."""

    operator: str
    operand: Expression


class Binary(Expression, frozen=True):
    """`left operator right`."""

    operator: str
    left: Expression
    right: Expression


class TypeTest(Expression, frozen=True):
    """`operand is Type` or `operand as Type`."""

    operator: str
    operand: Expression
    type_name: tuple[str, ...]
    type_span: Span
