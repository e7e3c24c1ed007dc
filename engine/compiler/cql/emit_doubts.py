"""What the condition of a row in doubt is about."""

from __future__ import annotations

from collections.abc import Sequence

from engine.compiler.cql.emitter import CqlEmitter
from engine.compiler.elm import Node

E = CqlEmitter


def asked_about(e: E, conditions: Sequence[Node]) -> str:
    """A last argument of `ev.doubt`: all that conditions are about besides the resource at hand, since each combination may turn out another way."""
    scopes = {x.attrs["scope"] for c in conditions for x in c.walk() if x.kind in ("AliasRef", "OperandRef")}
    names = sorted({e.names[scope] for scope in scopes if scope in e.names} - {e.row})
    return f", ({', '.join(names)},)" if names else ""
