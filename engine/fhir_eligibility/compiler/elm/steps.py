"""The typed tree: the steps over collections that FHIRPath has beside what ELM knows.

A collection is a list without nulls; a single value is one that may be missing. `Current` of a step's scope is the item that it looks at.
"""

from __future__ import annotations

from typing import ClassVar

from fhir_eligibility.compiler.elm.node import Node
from fhir_eligibility.compiler.elm.traits import (
    AS_FIRST,
    EVERY,
    FIRST,
    LEAF,
    LOOKS,
    NEVER,
    NEVER_LOOKS,
    Missing,
    Traits,
)
from fhir_eligibility.compiler.elm.types import Named

# -- paths


class Property(Node, kw_only=True):
    """An element of an object: its name in JSON and its type, or for a choice all `names` with their types. `targets` are the types that it refers to."""

    path: str
    json: str | None = None
    names: dict[str, str] | None = None
    element_type: str = ""
    repeats: bool = False
    targets: tuple[str, ...] = ()

    about: ClassVar[Traits] = Traits(step="*")


class DynamicProperty(Node, kw_only=True):
    """An element of values whose types are known when they are there; unknown ones are no error where it is `lenient`."""

    path: str
    lenient: bool

    about: ClassVar[Traits] = Traits(step="*")


class ElementId(Node):
    """The id of a primitive."""

    about: ClassVar[Traits] = Traits(step="id")


class PrimitiveExtensions(Node):
    """The extensions of a primitive."""

    about: ClassVar[Traits] = Traits(step="extension")


class Extension(Node):
    """The extensions with a url."""

    about: ClassVar[Traits] = Traits(whole=(1,), step="extension")


class Children(Node):
    """All elements."""

    about: ClassVar[Traits] = Traits(hands_on=(0,), whole=(0,))


class Descendants(Node):
    """All elements, and those below them."""

    about: ClassVar[Traits] = Traits(hands_on=(0,), whole=(0,))


class Resolve(Node):
    """What references refer to."""

    about: ClassVar[Traits] = LEAF


# -- the same items, or some of them


class ItemStep(Node, kw_only=True):
    """A step that looks at each item as `Current` of its scope."""

    scope: int


class Filter(ItemStep):
    """The items for which a condition is true."""

    about: ClassVar[Traits] = FIRST


class First(Node):
    """The first item."""

    about: ClassVar[Traits] = FIRST


class Last(Node):
    """The last item."""

    about: ClassVar[Traits] = FIRST


class Indexer(Node):
    """The item at a position."""

    about: ClassVar[Traits] = FIRST


class Skip(Node):
    """All but the first so many items."""

    about: ClassVar[Traits] = FIRST


class Take(Node):
    """The first so many items."""

    about: ClassVar[Traits] = FIRST


class SingletonFrom(Node):
    """The only item; several are an error."""

    about: ClassVar[Traits] = FIRST


class OfType(Node, kw_only=True):
    """The items of a type."""

    target: Named

    about: ClassVar[Traits] = FIRST


class Let(Node, kw_only=True):
    """`defineVariable`: the items, with the whole collection (`source`) and a value (`number`) known by numbers in what follows."""

    source: int
    number: int

    about: ClassVar[Traits] = FIRST


class Bind(Node, kw_only=True):
    """The second operand, in which the first is known by a number."""

    number: int

    about: ClassVar[Traits] = Traits(hands_on=(1,))


class ToSystem(Node, kw_only=True):
    """FHIR primitives and quantities as System values."""

    target: Named

    about: ClassVar[Traits] = FIRST


class Distinct(Node):
    """The items without repeats."""

    about: ClassVar[Traits] = Traits(hands_on=(0,), compared=(0,))


class Sort(ItemStep, kw_only=True):
    """The items in the order of keys, which are the further operands."""

    directions: tuple[str, ...]

    about: ClassVar[Traits] = Traits(hands_on=(0,), whole=(EVERY,))


class TraceStep(Node, kw_only=True):
    """The items, which are reported under a name; `scope` is that of a projection."""

    scope: int | None = None

    about: ClassVar[Traits] = Traits(hands_on=(0,), whole=(EVERY,))


class GetValue(Node):
    """The System value of an item."""

    about: ClassVar[Traits] = Traits(hands_on=(0,), whole=(0,))


# -- items of several collections


class Combine(Node):
    """All items of both."""

    about: ClassVar[Traits] = Traits(hands_on=(0, 1))


class Union(Node):
    """The items of both without repeats."""

    about: ClassVar[Traits] = Traits(hands_on=(0, 1), compared=(0, 1))


class Intersect(Node):
    """The items that are in both, without repeats."""

    about: ClassVar[Traits] = Traits(hands_on=(0, 1), compared=(0, 1))


class Exclude(Node):
    """The items of the first that are not in the second."""

    about: ClassVar[Traits] = Traits(hands_on=(0, 1), compared=(0, 1))


class FirstCollection(Node):
    """`coalesce`: the items of the first operand that has any."""

    about: ClassVar[Traits] = Traits(hands_on=(EVERY,))


class Iif(Node):
    """The items of the second operand where the first is true, else those of the third."""

    about: ClassVar[Traits] = Traits(hands_on=(1, 2))


# -- items made of each item


class ForEach(ItemStep):
    """All items of what is made of each item."""

    about: ClassVar[Traits] = Traits(hands_on=(1,))


class Repeat(ItemStep, kw_only=True):
    """What is made of each item, again and again; `unique` without repeats, `seeds` where the first operand counts among the items."""

    unique: bool
    seeds: bool

    about: ClassVar[Traits] = Traits(hands_on=(0, 1), compared=(0, 1))


class Aggregate(ItemStep):
    """A total that becomes another with each item."""

    about: ClassVar[Traits] = Traits(hands_on=(1, 2))


# -- numbers and texts


class Count(Node):
    """How many items there are."""

    about: ClassVar[Traits] = NEVER


class AggregateNumbers(Node, kw_only=True):
    """`sum`, `avg`, `min` or `max` (`function`)."""

    function: str

    about: ClassVar[Traits] = LOOKS


class Join(Node):
    """Texts joined to one."""

    about: ClassVar[Traits] = NEVER_LOOKS


# -- tests


class Exists(Node):
    """Whether there is an item."""

    about: ClassVar[Traits] = NEVER


class All(ItemStep):
    """Whether a condition is true for all items."""

    about: ClassVar[Traits] = NEVER


class IsDistinct(Node):
    """Whether no two items are equal."""

    about: ClassVar[Traits] = Traits(Missing.NEVER, compared=(EVERY,))


class AllBoolean(Node, kw_only=True):
    """`allTrue`, `anyTrue`, `allFalse` or `anyFalse` (`function`)."""

    function: str

    about: ClassVar[Traits] = NEVER_LOOKS


class EquivalentList(Node):
    """Whether two collections are equivalent."""

    about: ClassVar[Traits] = NEVER_LOOKS


class HasValue(Node):
    """Whether there is one item, with a value."""

    about: ClassVar[Traits] = NEVER_LOOKS


class EqualAny(Node):
    """Whether two single values of any types are equal."""

    about: ClassVar[Traits] = Traits(compared=(EVERY,))


class EqualList(Node):
    """Whether two collections are equal."""

    about: ClassVar[Traits] = Traits(compared=(EVERY,))


class In(Node):
    """Whether the first operand is an item of the second."""

    about: ClassVar[Traits] = Traits(compared=(EVERY,))


class SubsetOf(Node):
    """Whether all items of the first are items of the second."""

    about: ClassVar[Traits] = Traits(compared=(EVERY,))


class Converts(Node):
    """Whether the first operand has a value of which the second, a conversion, has one."""

    about: ClassVar[Traits] = LOOKS


class ItemIs(Node, kw_only=True):
    """Whether an item is of a type; missing where it is."""

    target: Named

    about: ClassVar[Traits] = AS_FIRST


class IsStatic(Node, kw_only=True):
    """The answer to a test of the type, known before; missing where the item is."""

    answer: bool

    about: ClassVar[Traits] = AS_FIRST


class Present(Node):
    """True; missing where the item is."""

    about: ClassVar[Traits] = AS_FIRST


class Condition(Node):
    """A value of any type as a condition (FHIRPath: "Singleton Evaluation of Collections")."""

    about: ClassVar[Traits] = Traits(whole=(0,))


# -- operators whose overload is chosen at run time, terminology, profiles, new values


class Dynamic(Node, kw_only=True):
    """An operator on values whose types are known when they are there."""

    operator: str

    about: ClassVar[Traits] = LOOKS


class MemberOf(Node):
    """Whether a code is in a value set."""

    about: ClassVar[Traits] = LOOKS


class SubsumesCode(Node):
    """Whether a code subsumes another."""

    about: ClassVar[Traits] = LOOKS


class ConformsTo(Node):
    """Whether a value conforms to a profile."""

    about: ClassVar[Traits] = LOOKS


class HtmlChecks(Node):
    """Whether a text is a narrative as FHIR allows it."""

    about: ClassVar[Traits] = LOOKS


class TypeInfo(Node):
    """The type of each item."""

    about: ClassVar[Traits] = LOOKS


class NewPrimitive(Node, kw_only=True):
    """A FHIR primitive (`type_name`) with a value."""

    type_name: str

    about: ClassVar[Traits] = LOOKS


class NewObject(Node, kw_only=True):
    """An object of a FHIR type (`type_name`) with operands as elements (`keys`)."""

    type_name: str
    keys: tuple[str, ...]

    about: ClassVar[Traits] = NEVER_LOOKS
