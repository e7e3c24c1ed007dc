"""The syntax tree of a CQL library, as the author wrote it. Nothing is resolved here; what FHIRPath has too is in `compiler.syntax`."""

from __future__ import annotations

import msgspec

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.compiler.syntax.nodes import Expression

# -- types


class NamedType(Expression, frozen=True):
    """`Integer`, `System.Integer`, `FHIR.Patient`."""

    names: tuple[str, ...]


class ListOf(Expression, frozen=True):
    """`List<T>`."""

    element: Expression


class IntervalOf(Expression, frozen=True):
    """`Interval<T>`."""

    point: Expression


class TupleOf(Expression, frozen=True):
    """`Tuple { name T, ... }`."""

    elements: tuple[tuple[str, Expression], ...]


class ChoiceOf(Expression, frozen=True):
    """`Choice<A, B>`."""

    choices: tuple[Expression, ...]


# -- expressions


class NullLiteral(Expression, frozen=True):
    """`null`."""


class Parenthesized(Expression, frozen=True):
    """`( expression )`."""

    inner: Expression


class RatioLiteral(Expression, frozen=True):
    """`1 'mg':2 'mL'`."""

    numerator: Expression
    denominator: Expression


class Prefix(Expression, frozen=True):
    """A word before one operand: `not`, `exists`, `start of`, `year from`, `distinct`, ..."""

    operator: str
    operand: Expression


class IsTest(Expression, frozen=True):
    """`operand is [not] null|true|false`."""

    operand: Expression
    negated: bool
    what: str


class Between(Expression, frozen=True):
    """`operand [properly] between low and high`."""

    operand: Expression
    low: Expression
    high: Expression
    proper: bool


class Elapsed(Expression, frozen=True):
    """`[duration in] years between a and b`, `difference in years between a and b`; of an interval where `high` is missing."""

    kind: str
    precision: str
    low: Expression
    high: Expression | None


class Cast(Expression, frozen=True):
    """`operand is T`, `operand as T` (`is`, `as`) or `cast operand as T` (`cast`)."""

    operator: str
    operand: Expression
    type: Expression


class Convert(Expression, frozen=True):
    """`convert operand to T` or to a unit."""

    operand: Expression
    type: Expression | None
    unit: str | None


class Extent(Expression, frozen=True):
    """`minimum T`, `maximum T`."""

    operator: str
    type: Expression


class Phrase(msgspec.Struct, frozen=True):
    """A timing phrase between two operands: its relation, and what it says of either side (CQL grammar: intervalOperatorPhrase).

    `relation`: same, before, after, includes, included in, within, meets, overlaps, starts, ends. `left` and `right` are `start`, `end` or
    None; `direction` is `before` or `after` of `same ... or before`, `meets before`, `overlaps after`.
    """

    span: Span
    relation: str
    left: str | None = None
    right: str | None = None
    precision: str | None = None
    proper: bool = False
    inclusive: bool = False
    direction: str | None = None
    offset: Expression | None = None
    bound: str | None = None  # `or less`, `or more`, `less than`, `more than`


class Timing(Expression, frozen=True):
    """`left phrase right`."""

    phrase: Phrase
    left: Expression
    right: Expression


class Membership(Expression, frozen=True):
    """`left in [precision of] right`, `left contains [precision of] right`."""

    operator: str
    precision: str | None
    left: Expression
    right: Expression


class IfThenElse(Expression, frozen=True):
    """`if condition then a else b`."""

    condition: Expression
    then: Expression
    otherwise: Expression


class CaseExpression(Expression, frozen=True):
    """`case [comparand] when a then b ... else c end`."""

    comparand: Expression | None
    items: tuple[tuple[Expression, Expression], ...]
    otherwise: Expression


class IntervalSelector(Expression, frozen=True):
    """`Interval[low, high)`."""

    low: Expression
    high: Expression
    low_closed: bool
    high_closed: bool


class InstanceSelector(Expression, frozen=True):
    """`Type { name: value, ... }`; a tuple where `type` is missing."""

    type: Expression | None
    elements: tuple[tuple[str, Expression, Span], ...]


class ListSelector(Expression, frozen=True):
    """`{ a, b }`, `List<T> { a, b }`."""

    type: Expression | None
    elements: tuple[Expression, ...]


class CodeSelector(Expression, frozen=True):
    """`Code 'x' from "System" display 'y'`."""

    code: str
    system: tuple[str, ...]
    display: str | None
    system_span: Span


class ConceptSelector(Expression, frozen=True):
    """`Concept { Code ..., Code ... } display 'y'`."""

    codes: tuple[CodeSelector, ...]
    display: str | None


class SetAggregate(Expression, frozen=True):
    """`expand operand per x`, `collapse operand per x`; `per` is a precision word or an expression."""

    operator: str
    operand: Expression
    per: Expression | str | None


class NamedOperator(Expression, frozen=True):
    """An operator by its ELM name, as ELM JSON gives it."""

    name: str
    operands: tuple[Expression, ...]
    precision: str | None


class RetrieveExpression(Expression, frozen=True):
    """`[context -> Type: path in terminology]`; `template` is the profile that ELM names beside the type."""

    context: Expression | None
    type: NamedType
    path: tuple[str, ...] | None
    comparator: str | None
    terminology: Expression | None
    path_span: Span | None = None
    template: str | None = None


class Aliased(Expression, frozen=True):
    """`source Alias`."""

    source: Expression
    alias: str
    alias_span: Span


class LetClause(Expression, frozen=True):
    """`name: value` of a let clause."""

    name: str
    value: Expression
    name_span: Span


class RelationClause(Expression, frozen=True):
    """`with source Alias such that condition`, `without ...`."""

    kind: str
    source: Aliased
    condition: Expression


class Returned(Expression, frozen=True):
    """`return [all|distinct] value`."""

    value: Expression
    distinct: bool | None


class Aggregated(Expression, frozen=True):
    """`aggregate [all|distinct] name [starting x]: value`."""

    name: str
    starting: Expression | None
    value: Expression
    distinct: bool
    name_span: Span


class SortClause(Expression, frozen=True):
    """`by key [asc|desc]`; no key for `sort asc`."""

    key: Expression | None
    direction: str


class QueryExpression(Expression, frozen=True):
    """A query and its clauses in the order of evaluation."""

    sources: tuple[Aliased, ...]
    lets: tuple[LetClause, ...]
    relations: tuple[RelationClause, ...]
    where: Expression | None
    returned: Returned | None
    aggregate: Aggregated | None
    sort: tuple[SortClause, ...]


# -- definitions


class Using(Expression, frozen=True):
    """`using Model version 'x' called Y`."""

    name: str
    version: str | None
    alias: str | None


class Include(Expression, frozen=True):
    """`include Library version 'x' called Y`."""

    name: str
    version: str | None
    alias: str


class Definition(Expression, frozen=True):
    """What all named definitions share."""

    name: str
    name_span: Span
    private: bool


class ParameterDefinition(Definition, frozen=True):
    """`parameter name T default x`."""

    type: Expression | None
    default: Expression | None


class CodeSystemDefinition(Definition, frozen=True):
    """`codesystem name: 'url' version 'x'`."""

    id: str
    version: str | None


class ValueSetDefinition(Definition, frozen=True):
    """`valueset name: 'url' version 'x' codesystems { ... }`."""

    id: str
    version: str | None
    codesystems: tuple[tuple[tuple[str, ...], Span], ...]


class CodeDefinition(Definition, frozen=True):
    """`code name: 'x' from System display 'y'`."""

    code: str
    system: tuple[str, ...]
    system_span: Span
    display: str | None


class ConceptDefinition(Definition, frozen=True):
    """`concept name: { code, ... } display 'y'`."""

    codes: tuple[tuple[tuple[str, ...], Span], ...]
    display: str | None


class Define(Definition, frozen=True):
    """`define name: expression`, in the context that was last named (None: unfiltered)."""

    context: str | None
    expression: Expression


class Operand(msgspec.Struct, frozen=True):
    """One parameter of a function."""

    name: str
    type: Expression
    span: Span


class Function(Definition, frozen=True):
    """`define [fluent] function name(operands) [returns T]: body`; no body where it is external."""

    context: str | None
    fluent: bool
    operands: tuple[Operand, ...]
    returns: Expression | None
    body: Expression | None


class Library(msgspec.Struct, frozen=True):
    """A whole library. Statements keep the author's order."""

    name: str | None
    version: str | None
    name_span: Span | None
    usings: tuple[Using, ...]
    includes: tuple[Include, ...]
    codesystems: tuple[CodeSystemDefinition, ...]
    valuesets: tuple[ValueSetDefinition, ...]
    codes: tuple[CodeDefinition, ...]
    concepts: tuple[ConceptDefinition, ...]
    parameters: tuple[ParameterDefinition, ...]
    statements: tuple[Define | Function, ...]
