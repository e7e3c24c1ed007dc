"""What the emitter knows of fast paths before it writes them."""

from __future__ import annotations

from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.types import STRING


def texts_of(node: n.Operation) -> tuple[str, ...] | None:
    """The texts that `in` and `contains` look for a text among, where all of them stand in the library."""
    item, items = node.operands if node.name == "In" else reversed(node.operands)
    if not isinstance(items, n.List) or item.result != STRING or not items.operands:
        return None
    texts = [text.value for text in items.operands if isinstance(text, n.Literal) and text.result == STRING]
    return tuple(texts) if len(texts) == len(items.operands) else None
