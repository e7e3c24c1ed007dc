"""What the condition of a row in doubt is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.emit.emitter import Emitter
from fhir_eligibility.compiler.emit.python import Emitted, tupled

E = Emitter
_NAMES = (n.AliasRef, n.OperandRef)


def asked_about(e: E, conditions: Sequence[Node]) -> list[Emitted]:
    """A last argument of `ev.doubt`: all that conditions are about, since each combination may turn out another way; none for the row at hand alone."""
    nodes = [below for condition in conditions for below in condition.walk()]
    inside = {scope for below in nodes for scope in _bound(below)}
    scopes = {below.scope for below in nodes if isinstance(below, _NAMES)} - inside
    names = sorted({e.names[scope] for scope in scopes if scope in e.names}, key=str)
    return [] if names == [e.row] else [tupled(names)]


def _bound(node: Node) -> Iterator[int]:
    """The scopes that a node opens: what their names mean ends with it."""
    if isinstance(node, n.Query):
        for part in (*node.sources, *node.relations):
            yield part.scope
    elif isinstance(node, (n.Members, n.ConvertInterval, n.Case)):
        yield node.scope
