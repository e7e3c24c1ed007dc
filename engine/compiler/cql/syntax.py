"""The syntax tree of a CQL library, as the author wrote it. Nothing is resolved here; what FHIRPath has too is in `compiler.syntax`."""

from __future__ import annotations

from dataclasses import dataclass

from engine.algebra.diagnostic import Span
from engine.compiler.syntax import Expression

# -- types


@dataclass(frozen=True, slots=True)
class NamedType(Expression):
    """`Integer`, `System.Integer`, `FHIR.Patient`."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListOf(Expression):
    """`List<T>`."""

    element: Expression


@dataclass(frozen=True, slots=True)
class IntervalOf(Expression):
    """`Interval<T>`."""

    point: Expression


@dataclass(frozen=True, slots=True)
class TupleOf(Expression):
    """`Tuple { name T, ... }`."""

    elements: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True, slots=True)
class ChoiceOf(Expression):
    """`Choice<A, B>`."""

    choices: tuple[Expression, ...]


# -- expressions


@dataclass(frozen=True, slots=True)
class Null(Expression):
    """`null`."""


@dataclass(frozen=True, slots=True)
class Parenthesized(Expression):
    """`( expression )`."""

    inner: Expression


@dataclass(frozen=True, slots=True)
class RatioLiteral(Expression):
    """`1 'mg':2 'mL'`."""

    numerator: Expression
    denominator: Expression


@dataclass(frozen=True, slots=True)
class Prefix(Expression):
    """A word before one operand: `not`, `exists`, `start of`, `year from`, `distinct`, ..."""

    operator: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class IsTest(Expression):
    """`operand is [not] null|true|false`."""

    operand: Expression
    negated: bool
    what: str


@dataclass(frozen=True, slots=True)
class Between(Expression):
    """`operand [properly] between low and high`."""

    operand: Expression
    low: Expression
    high: Expression
    proper: bool


@dataclass(frozen=True, slots=True)
class Elapsed(Expression):
    """`[duration in] years between a and b`, `difference in years between a and b`; of an interval where `high` is missing."""

    kind: str
    precision: str
    low: Expression
    high: Expression | None


@dataclass(frozen=True, slots=True)
class Cast(Expression):
    """`operand is T`, `operand as T` (`is`, `as`) or `cast operand as T` (`cast`)."""

    operator: str
    operand: Expression
    type: Expression


@dataclass(frozen=True, slots=True)
class Convert(Expression):
    """`convert operand to T` or to a unit."""

    operand: Expression
    type: Expression | None
    unit: str | None


@dataclass(frozen=True, slots=True)
class Extent(Expression):
    """`minimum T`, `maximum T`."""

    operator: str
    type: Expression


@dataclass(frozen=True, slots=True)
class Phrase:
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


@dataclass(frozen=True, slots=True)
class Timing(Expression):
    """`left phrase right`."""

    phrase: Phrase
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Membership(Expression):
    """`left in [precision of] right`, `left contains [precision of] right`."""

    operator: str
    precision: str | None
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class If(Expression):
    """`if condition then a else b`."""

    condition: Expression
    then: Expression
    otherwise: Expression


@dataclass(frozen=True, slots=True)
class Case(Expression):
    """`case [comparand] when a then b ... else c end`."""

    comparand: Expression | None
    items: tuple[tuple[Expression, Expression], ...]
    otherwise: Expression


@dataclass(frozen=True, slots=True)
class IntervalSelector(Expression):
    """`Interval[low, high)`."""

    low: Expression
    high: Expression
    low_closed: bool
    high_closed: bool


@dataclass(frozen=True, slots=True)
class Instance(Expression):
    """`Type { name: value, ... }`; a tuple where `type` is missing."""

    type: Expression | None
    elements: tuple[tuple[str, Expression, Span], ...]


@dataclass(frozen=True, slots=True)
class ListSelector(Expression):
    """`{ a, b }`, `List<T> { a, b }`."""

    type: Expression | None
    elements: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class CodeSelector(Expression):
    """`Code 'x' from "System" display 'y'`."""

    code: str
    system: tuple[str, ...]
    display: str | None
    system_span: Span


@dataclass(frozen=True, slots=True)
class ConceptSelector(Expression):
    """`Concept { Code ..., Code ... } display 'y'`."""

    codes: tuple[CodeSelector, ...]
    display: str | None


@dataclass(frozen=True, slots=True)
class SetAggregate(Expression):
    """`expand operand per x`, `collapse operand per x`; `per` is a precision word or an expression."""

    operator: str
    operand: Expression
    per: Expression | str | None


@dataclass(frozen=True, slots=True)
class Operation(Expression):
    """An operator by its ELM name, as ELM JSON gives it."""

    name: str
    operands: tuple[Expression, ...]
    precision: str | None


@dataclass(frozen=True, slots=True)
class Retrieve(Expression):
    """`[context -> Type: path in terminology]`; `template` is the profile that ELM names beside the type."""

    context: Expression | None
    type: NamedType
    path: tuple[str, ...] | None
    comparator: str | None
    terminology: Expression | None
    path_span: Span | None = None
    template: str | None = None


@dataclass(frozen=True, slots=True)
class Aliased(Expression):
    """`source Alias`."""

    source: Expression
    alias: str
    alias_span: Span


@dataclass(frozen=True, slots=True)
class Let(Expression):
    """`name: value` of a let clause."""

    name: str
    value: Expression
    name_span: Span


@dataclass(frozen=True, slots=True)
class Relation(Expression):
    """`with source Alias such that condition`, `without ...`."""

    kind: str
    source: Aliased
    condition: Expression


@dataclass(frozen=True, slots=True)
class Returned(Expression):
    """`return [all|distinct] value`."""

    value: Expression
    distinct: bool | None


@dataclass(frozen=True, slots=True)
class Aggregated(Expression):
    """`aggregate [all|distinct] name [starting x]: value`."""

    name: str
    starting: Expression | None
    value: Expression
    distinct: bool
    name_span: Span


@dataclass(frozen=True, slots=True)
class SortItem(Expression):
    """`by key [asc|desc]`; no key for `sort asc`."""

    key: Expression | None
    direction: str


@dataclass(frozen=True, slots=True)
class Query(Expression):
    """A query and its clauses in the order of evaluation."""

    sources: tuple[Aliased, ...]
    lets: tuple[Let, ...]
    relations: tuple[Relation, ...]
    where: Expression | None
    returned: Returned | None
    aggregate: Aggregated | None
    sort: tuple[SortItem, ...]


# -- definitions


@dataclass(frozen=True, slots=True)
class Using(Expression):
    """`using Model version 'x' called Y`."""

    name: str
    version: str | None
    alias: str | None


@dataclass(frozen=True, slots=True)
class Include(Expression):
    """`include Library version 'x' called Y`."""

    name: str
    version: str | None
    alias: str


@dataclass(frozen=True, slots=True)
class Definition(Expression):
    """What all named definitions share."""

    name: str
    name_span: Span
    private: bool


@dataclass(frozen=True, slots=True)
class Parameter(Definition):
    """`parameter name T default x`."""

    type: Expression | None
    default: Expression | None


@dataclass(frozen=True, slots=True)
class CodeSystemDefinition(Definition):
    """`codesystem name: 'url' version 'x'`."""

    id: str
    version: str | None


@dataclass(frozen=True, slots=True)
class ValueSetDefinition(Definition):
    """`valueset name: 'url' version 'x' codesystems { ... }`."""

    id: str
    version: str | None
    codesystems: tuple[tuple[tuple[str, ...], Span], ...]


@dataclass(frozen=True, slots=True)
class CodeDefinition(Definition):
    """`code name: 'x' from System display 'y'`."""

    code: str
    system: tuple[str, ...]
    system_span: Span
    display: str | None


@dataclass(frozen=True, slots=True)
class ConceptDefinition(Definition):
    """`concept name: { code, ... } display 'y'`."""

    codes: tuple[tuple[tuple[str, ...], Span], ...]
    display: str | None


@dataclass(frozen=True, slots=True)
class Define(Definition):
    """`define name: expression`, in the context that was last named (None: unfiltered)."""

    context: str | None
    expression: Expression


@dataclass(frozen=True, slots=True)
class Operand:
    """One parameter of a function."""

    name: str
    type: Expression
    span: Span


@dataclass(frozen=True, slots=True)
class Function(Definition):
    """`define [fluent] function name(operands) [returns T]: body`; no body where it is external."""

    context: str | None
    fluent: bool
    operands: tuple[Operand, ...]
    returns: Expression | None
    body: Expression | None


@dataclass(frozen=True, slots=True)
class Library:
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
    parameters: tuple[Parameter, ...]
    statements: tuple[Define | Function, ...]
