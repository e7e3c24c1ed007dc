"""What is known of each kind of FHIRPath node before it runs: whether its value can be missing, what it looks at, what it hands on.

The emitter, the analysis of what is read and that of rows in doubt take this from the one table below. A kind that is not in it gets the cautious
answer (`UNKNOWN`): its value may be missing, it hands on any part of any operand, and it looks at all of them as a whole. Registered operators on
single values are not listed: whether their value can be missing stands with their overloads, and they give System values.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

EVERY = -1  # in place of the index of an operand: all operands


class Missing(Enum):
    """Whether the value of a single node can be missing."""

    NEVER = "never"
    AS_FIRST = "where the first operand's is"
    AS_ANY = "where that of some operand is"
    MAYBE = "unknown"


class NodeKind(Struct, frozen=True):
    """What is known of one kind.

    `hands_on` are the operands of which items can be among its own, `compared` those whose items it tells apart by equality, `whole` those whose items
    it looks at in any other way. An operand in none of them is only asked whether, and how many, items there are. Two resources are never equal unless
    type and id are, which are always read (one without an id is read whole): telling them apart takes no more. `step` is the element below the first operand that it goes to (`*`: the one that
    its attribute `path` names).
    """

    missing: Missing = Missing.MAYBE
    hands_on: tuple[int, ...] = ()
    compared: tuple[int, ...] = ()
    whole: tuple[int, ...] = ()
    step: str | None = None


UNKNOWN = NodeKind(Missing.MAYBE, hands_on=(EVERY,), whole=(EVERY,))
_NEVER, _AS_FIRST, _AS_ANY = NodeKind(Missing.NEVER), NodeKind(Missing.AS_FIRST), NodeKind(Missing.AS_ANY)
_LEAF, _FIRST = NodeKind(), NodeKind(hands_on=(0,))
_LOOKS = NodeKind(whole=(EVERY,))
_NEVER_LOOKS = NodeKind(Missing.NEVER, whole=(EVERY,))

KINDS: dict[str, NodeKind] = {
    # leaves
    **dict.fromkeys("Literal Clock Current Iteration".split(), _NEVER),
    **dict.fromkeys("Null Context Parameter Reference Retrieve Total".split(), _LEAF),
    # paths
    **dict.fromkeys("Property DynamicProperty".split(), NodeKind(step="*")),
    "ElementId": NodeKind(step="id"),
    "PrimitiveExtensions": NodeKind(step="extension"),
    "Extension": NodeKind(whole=(1,), step="extension"),
    **dict.fromkeys("Children Descendants".split(), NodeKind(hands_on=(0,), whole=(0,))),
    "Resolve": _LEAF,
    # the same items, or some of them
    **dict.fromkeys("Filter First Last Indexer Skip Take SingletonFrom OfType ToSystem Let".split(), _FIRST),
    "Box": NodeKind(Missing.AS_FIRST, hands_on=(0,)),
    "Distinct": NodeKind(hands_on=(0,), compared=(0,)),
    "Sort": NodeKind(hands_on=(0,), whole=(EVERY,)),
    "Trace": NodeKind(hands_on=(0,), whole=(EVERY,)),
    "GetValue": NodeKind(hands_on=(0,), whole=(0,)),
    # items of several collections
    "Combine": NodeKind(hands_on=(0, 1)),
    **dict.fromkeys("Union Intersect Exclude".split(), NodeKind(hands_on=(0, 1), compared=(0, 1))),
    "Coalesce": NodeKind(hands_on=(EVERY,)),
    "If": NodeKind(hands_on=(1, 2)),
    # items made of each item
    **dict.fromkeys("ForEach Bind".split(), NodeKind(hands_on=(1,))),
    "Repeat": NodeKind(hands_on=(0, 1), compared=(0, 1)),
    "Aggregate": NodeKind(hands_on=(1, 2)),
    # numbers and texts
    "Count": _NEVER,
    "AggregateNumbers": _LOOKS,
    "Join": _NEVER_LOOKS,
    # tests and logic
    **dict.fromkeys("Exists All".split(), _NEVER),
    "IsDistinct": NodeKind(Missing.NEVER, compared=(EVERY,)),
    **dict.fromkeys("AllBoolean EquivalentList HasValue".split(), _NEVER_LOOKS),
    **dict.fromkeys("EqualAny EqualList In SubsetOf".split(), NodeKind(compared=(EVERY,))),
    "Converts": NodeKind(whole=(EVERY,)),
    **dict.fromkeys("And Or Xor Implies Not".split(), _AS_ANY),
    **dict.fromkeys("Is IsStatic Present".split(), _AS_FIRST),
    "Condition": NodeKind(whole=(0,)),
    # any operator whose overload is chosen at run time, terminology, profiles, new values
    **dict.fromkeys("Dynamic MemberOf SubsumesCode ConformsTo HtmlChecks TypeInfo NewPrimitive".split(), _LOOKS),
    "NewObject": _NEVER_LOOKS,
}


def known(kind: str) -> NodeKind:
    """What is known of a kind: the cautious answer where it is not listed."""
    return KINDS.get(kind, UNKNOWN)


def chosen(indexes: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The operands that some indexes mean, of `count`."""
    return tuple(range(count)) if EVERY in indexes else tuple(index for index in indexes if index < count)
