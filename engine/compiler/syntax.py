"""The syntax tree of an expression, as the author wrote it. Nothing is resolved here."""

from __future__ import annotations

from dataclasses import dataclass

from engine.algebra.diagnostic import Span


@dataclass(frozen=True, slots=True)
class Expression:
    """Base of all nodes: where it stands in the source."""

    span: Span


@dataclass(frozen=True, slots=True)
class Literal(Expression):
    """A constant. `kind` is a System type name (`Boolean`, `Integer`, `Long`, `Decimal`, `String`, `Date`, `DateTime`, `Time`)."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class QuantityLiteral(Expression):
    """A number with a UCUM unit in quotes, or with a calendar unit word (`calendar`)."""

    number: str
    unit: str
    calendar: bool


@dataclass(frozen=True, slots=True)
class Empty(Expression):
    """The empty collection `{}`."""


@dataclass(frozen=True, slots=True)
class Special(Expression):
    """`$this`, `$index` or `$total`."""

    name: str


@dataclass(frozen=True, slots=True)
class Variable(Expression):
    """`%name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Member(Expression):
    """`source.name`, or a bare `name` where there is no source."""

    source: Expression | None
    name: str
    name_span: Span


@dataclass(frozen=True, slots=True)
class Call(Expression):
    """`source.name(arguments)`, or `name(arguments)` on the context."""

    source: Expression | None
    name: str
    arguments: tuple[Expression, ...]
    name_span: Span


@dataclass(frozen=True, slots=True)
class SortKey(Expression):
    """`key asc` or `key desc`, an argument of sort()."""

    key: Expression
    direction: str


@dataclass(frozen=True, slots=True)
class Index(Expression):
    """`source[index]`."""

    source: Expression
    index: Expression


@dataclass(frozen=True, slots=True)
class Unary(Expression):
    """`+x` or `-x`."""

    operator: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary(Expression):
    """`left operator right`."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class TypeTest(Expression):
    """`operand is Type` or `operand as Type`."""

    operator: str
    operand: Expression
    type_name: tuple[str, ...]
    type_span: Span
