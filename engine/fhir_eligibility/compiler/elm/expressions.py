"""The typed tree: constants, names, logic, values and their elements, types and conversions."""

from __future__ import annotations

from typing import Any, ClassVar
from typing import Literal as OneOf

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.compiler.elm.node import Node
from fhir_eligibility.compiler.elm.traits import AS_ANY, FIRST, HANDS_ON, LEAF, NEVER, Missing, Traits
from fhir_eligibility.compiler.elm.types import Named, Type

# -- leaves


class Literal(Node, kw_only=True):
    """A constant."""

    value: Any

    about: ClassVar[Traits] = NEVER


class LocalDateTime(Literal):
    """A DateTime without an offset from UTC, read at that of the request (CQL: "Timezones")."""

    elm: ClassVar[str] = "Literal"


class Null(Node):
    """Null, or the empty collection."""

    about: ClassVar[Traits] = LEAF

    @property
    def is_null(self) -> bool:
        return True


class Empty(Null):
    """FHIRPath's empty collection, written as such."""

    elm: ClassVar[str] = "Null"


class MinValue(Node, kw_only=True):
    """The smallest value of a type; `point` is its short name."""

    target: Type
    point: str


class MaxValue(Node, kw_only=True):
    """The largest value of a type; `point` is its short name."""

    target: Type
    point: str


class Now(Node):
    """The time of evaluation."""

    about: ClassVar[Traits] = NEVER


class Today(Node):
    """The day of evaluation."""

    about: ClassVar[Traits] = NEVER


class TimeOfDay(Node):
    """The time of day of evaluation."""

    about: ClassVar[Traits] = NEVER


# -- names


class Scoped(Node, kw_only=True):
    """What a name of a scope stands for: the translator numbers the scopes of a text."""

    scope: int = 0
    name: str = ""


class AliasRef(Scoped):
    """A row of a query."""

    about: ClassVar[Traits] = HANDS_ON


class QueryLetRef(Scoped):
    """What a query's `let` defines, or its total so far."""

    about: ClassVar[Traits] = HANDS_ON


class OperandRef(Scoped):
    """An operand of the function that is defined."""


class Current(Scoped):
    """The item at hand: `$this` of FHIRPath."""

    about: ClassVar[Traits] = NEVER


class Chosen(Scoped):
    """The value that a case, a conversion or an expression on one of several types looks at."""

    about: ClassVar[Traits] = LEAF


class Iteration(Scoped):
    """`$index`: how many items came before."""

    about: ClassVar[Traits] = NEVER


class Total(Scoped):
    """`$total` of `aggregate`."""

    about: ClassVar[Traits] = LEAF


class Context(Node):
    """The input of an expression: the patient."""

    about: ClassVar[Traits] = LEAF


class Parameter(Node, kw_only=True):
    """A variable that the environment gives."""

    name: str

    about: ClassVar[Traits] = LEAF


class Reference(Node, kw_only=True):
    """A variable that the author has defined; `meaning` is the expression, which stands elsewhere in the tree."""

    number: int
    meaning: Node | None = None

    about: ClassVar[Traits] = LEAF


class Factory(Node):
    """`%factory`, on which functions make values."""


class DefinitionRef(Node, kw_only=True):
    """A definition by its name, perhaps of an included library (`library`: its alias)."""

    name: str
    library: str | None
    exported: Any


class ExpressionRef(DefinitionRef):
    """The value of a definition."""

    about: ClassVar[Traits] = HANDS_ON


class ParameterRef(DefinitionRef):
    """The value of a parameter."""


class CodeRef(DefinitionRef):
    """A code that a library names."""


class ConceptRef(DefinitionRef):
    """A concept that a library names."""


class ValueSetRef(DefinitionRef):
    """A value set that a library names."""


class CodeSystemRef(DefinitionRef):
    """A code system that a library names."""


class FunctionRef(DefinitionRef, kw_only=True):
    """A call of a function; `fluent` where it is written behind its first operand."""

    fluent: bool = False

    about: ClassVar[Traits] = HANDS_ON


# -- logic and choice


class And(Node):
    """Both."""

    about: ClassVar[Traits] = AS_ANY


class Or(Node):
    """Either, or both."""

    about: ClassVar[Traits] = AS_ANY


class Xor(Node):
    """Either, not both."""

    about: ClassVar[Traits] = AS_ANY


class Implies(Node):
    """The second, if the first."""

    about: ClassVar[Traits] = AS_ANY


class Not(Node, kw_only=True):
    """The opposite. A `guard` tests that a bound is recorded, about which the author did not ask."""

    guard: bool = False

    about: ClassVar[Traits] = AS_ANY


class If(Node, kw_only=True):
    """Conditions and results by turns, and what stands behind the last `else`; `spans` are those of each `if` of a chain."""

    spans: tuple[Span, ...] = ()

    about: ClassVar[Traits] = HANDS_ON


class Case(Node, kw_only=True):
    """As `If`; where there is a `comparand`, conditions compare it as `Chosen` of the scope."""

    comparand: Node | None = None
    scope: int = 0

    about: ClassVar[Traits] = HANDS_ON

    @property
    def children(self) -> tuple[Node, ...]:
        return self.operands if self.comparand is None else (*self.operands, self.comparand)


class Coalesce(Node, kw_only=True):
    """The first operand that has a value, or, `over_list`, the first element of the operand that is not null."""

    over_list: bool = False

    about: ClassVar[Traits] = HANDS_ON


class Message(Node):
    """Report a message, and hand on the first operand."""

    elm_operands: ClassVar[tuple[str, ...]] = ("source", "condition", "code", "severity", "message")


# -- values and their elements


class List(Node):
    """A list of operands."""

    about: ClassVar[Traits] = HANDS_ON


class NewInterval(Node, kw_only=True):
    """An interval between two operands."""

    elm: ClassVar[str] = "Interval"

    low_closed: bool
    high_closed: bool


class NewTuple(Node, kw_only=True):
    """A tuple of named operands."""

    elm: ClassVar[str] = "Tuple"

    names: tuple[str, ...]

    about: ClassVar[Traits] = HANDS_ON


class Instance(Node, kw_only=True):
    """A value of a System class type, of named operands."""

    names: tuple[str, ...]
    target: Named


class FhirInstance(Node, kw_only=True):
    """A value of a FHIR type; `json` are the names and types in JSON that each element may have, `resource` the type's name where it is a resource."""

    names: tuple[str, ...]
    target: Named
    json: tuple[tuple[tuple[str, str], ...], ...]
    resource: str | None
    primitive: bool


class NewDateTime(Node):
    """A date and time of its components."""

    elm: ClassVar[str] = "DateTime"


class NewDate(Node):
    """A date of its components."""

    elm: ClassVar[str] = "Date"


class NewTime(Node):
    """A time of its components."""

    elm: ClassVar[str] = "Time"


class DateTimeComponentFrom(Node, kw_only=True):
    """A component of a point in time."""

    precision: str


class ElementOf(Node, kw_only=True):
    """An element of a tuple, an interval or a System value, or of a value whose type is known when it is there (`any`); ELM's `Property`."""

    path: str
    owner: OneOf["any", "tuple", "interval", "system"]


class ModelProperty(Node, kw_only=True):
    """An element of a value of a data model, as the model defines it."""

    path: str
    element: Any

    about: ClassVar[Traits] = HANDS_ON


class Descendents(Node, kw_only=True):
    """The elements of a value, of System and model types alike; those below them too where it is `deep`."""

    deep: bool

    elm_operands: ClassVar[tuple[str, ...]] = ("source",)


# -- types and conversions


class Is(Node, kw_only=True):
    """Whether a value is of a type: never null."""

    target: Type

    about: ClassVar[Traits] = HANDS_ON


class As(Node, kw_only=True):
    """A value where it is of a type, else null (an error: `strict`). `retype` changes the static type alone; `unbox` gives plain JSON."""

    target: Type
    strict: bool = False
    retype: bool = False
    unbox: bool = False

    about: ClassVar[Traits] = HANDS_ON


class Box(Node, kw_only=True):
    """A value (`each_item`: each element of a list) with its type beside it, so that it can stand among values of other types."""

    target: Named
    each_item: bool = False

    about: ClassVar[Traits] = Traits(Missing.AS_FIRST, hands_on=(0,))


class Unbox(Node):
    """The plain JSON of a value with its type."""

    about: ClassVar[Traits] = HANDS_ON


class ToList(Node):
    """A list of one value, the empty list for null."""

    about: ClassVar[Traits] = HANDS_ON


class ModelConversion(Node, kw_only=True):
    """A value of a model (`source`) as the System value that it stands for; `path` where the author has written it as an element."""

    target: Type
    source: Type | None = None
    path: str | None = None

    about: ClassVar[Traits] = FIRST


class FhirHelper(Node, kw_only=True):
    """A function of FHIRHelpers."""

    helper: Any


class CanConvert(Node, kw_only=True):
    """Whether a conversion, the operand, has a value."""

    to: str


class ConvertInterval(Node, kw_only=True):
    """An interval with its points converted: `inner` converts `Chosen` of the scope."""

    scope: int
    inner: Node

    @property
    def children(self) -> tuple[Node, ...]:
        return (*self.operands, self.inner)


class Members(Node, kw_only=True):
    """A value of one of several types: what `Chosen` of the scope turns into for each, and for null (`otherwise`).

    Other operands are `Chosen` of the scopes in `bound`. `compared` are the index of the value among the operands of a comparison, the other operand, and
    the places of both.
    """

    scope: int
    options: tuple[tuple[Type, Node], ...]
    otherwise: Node | None = None
    bound: tuple[int, ...] | None = None
    compared: tuple[int, Node, tuple[Span | None, ...]] | None = None
    path: str | None = None

    about: ClassVar[Traits] = HANDS_ON

    @property
    def children(self) -> tuple[Node, ...]:
        last = () if self.otherwise is None else (self.otherwise,)
        return (*self.operands, *(node for _, node in self.options), *last)


def constant(node: Node) -> Any:
    """The value of a literal, None of any other expression."""
    return node.value if isinstance(node, Literal) else None
