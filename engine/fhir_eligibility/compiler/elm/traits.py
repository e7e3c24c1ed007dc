"""What is known of a class of nodes before it runs: whether its value can be missing, what it looks at, what it hands on.

The emitter and the analyses of what is read and of rows in doubt take this from the classes. A class that tells nothing gets the cautious answer
(`UNKNOWN`): its value may be missing, it hands on any part of any operand, and it looks at all of them as a whole.
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


class Traits(Struct, frozen=True):
    """What is known of one class.

    `hands_on` are the operands of which items can be among its own, `compared` those whose items it tells apart by equality, `whole` those whose items
    it looks at in any other way. An operand in none of them is only asked whether, and how many, items there are. Two resources are never equal unless
    type and id are, which are always read (one without an id is read whole): telling them apart takes no more. `step` is the element below the first
    operand that it goes to (`*`: the one that its field `path` names).
    """

    missing: Missing = Missing.MAYBE
    hands_on: tuple[int, ...] = ()
    compared: tuple[int, ...] = ()
    whole: tuple[int, ...] = ()
    step: str | None = None


UNKNOWN = Traits(Missing.MAYBE, hands_on=(EVERY,), whole=(EVERY,))
NEVER, AS_FIRST, AS_ANY = Traits(Missing.NEVER), Traits(Missing.AS_FIRST), Traits(Missing.AS_ANY)
LEAF, FIRST, HANDS_ON = Traits(), Traits(hands_on=(0,)), Traits(hands_on=(EVERY,))
LOOKS = Traits(whole=(EVERY,))
NEVER_LOOKS = Traits(Missing.NEVER, whole=(EVERY,))


def chosen(indexes: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The operands that some indexes mean, of `count`."""
    return tuple(range(count)) if EVERY in indexes else tuple(index for index in indexes if index < count)
