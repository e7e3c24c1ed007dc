"""What the condition of a row in doubt is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.emit.cql_emitter import CqlEmitter

E = CqlEmitter
_NAMES = frozenset(("AliasRef", "OperandRef"))


def asked_about(e: E, conditions: Sequence[Node]) -> str:
    """A last argument of `ev.doubt`: all that conditions are about, since each combination may turn out another way; none for the row at hand alone."""
    nodes = [below for condition in conditions for below in condition.walk()]
    inside = {scope for below in nodes for scope in _bound(below)}
    scopes = {below.attrs["scope"] for below in nodes if below.kind in _NAMES} - inside
    names = sorted({e.names[scope] for scope in scopes if scope in e.names})
    if names == [e.row]:
        return ""
    return f", ({', '.join(names)},)" if names else ", ()"


def _bound(node: Node) -> Iterator[int]:
    """The scopes that a node opens: what their names mean ends with it."""
    if node.kind == "Query":
        for part in (*node.attrs["sources"], *node.attrs["relations"]):
            yield part["scope"]
    elif node.kind not in _NAMES and "scope" in node.attrs:
        yield node.attrs["scope"]
