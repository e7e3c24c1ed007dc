"""What the emitter knows of fast paths: text that does for usual values, in place, what a call does for all."""

from __future__ import annotations

from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.types import STRING


class FastPath(str):
    """Text that does for usual values what a call does; lines are broken as they are with the call, so that errors tell the same place."""

    call: str

    def __new__(cls, text: str, call: str) -> FastPath:
        found = super().__new__(cls, text)
        found.call = call
        return found


def unless(missing: str, call: str) -> str:
    """A call that is not made where an operand is null."""
    text = f"(None if {missing} else {call})"
    return FastPath(text, f"(None if {missing} else {call.call})") if isinstance(call, FastPath) else text


def texts_of(node: n.Operation) -> tuple[str, ...] | None:
    """The texts that `in` and `contains` look for a text among, where all of them stand in the library."""
    item, items = node.operands if node.name == "In" else reversed(node.operands)
    if not isinstance(items, n.List) or item.result != STRING or not items.operands:
        return None
    texts = [text.value for text in items.operands if isinstance(text, n.Literal) and text.result == STRING]
    return tuple(texts) if len(texts) == len(items.operands) else None
