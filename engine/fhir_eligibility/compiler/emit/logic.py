"""What three-valued logic and choices turn into: and, or, xor, implies, not, if, case, coalesce (CQL reference: "Logical Operators")."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.emit.cql_emitter import CqlEmitter, emits
from fhir_eligibility.compiler.emit.doubts import asked_about
from fhir_eligibility.compiler.emit.sites import Site

E = CqlEmitter
Captured = tuple[list[str], list[Span | None], str]
_ELIFS = 100


@emits(n.And)
def _and(e: E, node: n.And) -> str:
    return _kleene(e, node, "and", "False")


@emits(n.Or)
def _or(e: E, node: n.Or) -> str:
    return _kleene(e, node, "or", "True")


def _kleene(e: E, node: n.And | n.Or, word: str, decisive: str) -> str:
    """`a and b`, `a or b`: the decisive value wins over null; the right side runs only where the left is not decisive."""
    left, right = node.operands
    first = e.value(left)
    captured = e.captured(lambda: e.value(right))
    if not captured[0]:
        second = captured[2]
        if not e.nullable(left):
            return f"({first} {word} {second})"
        if word == "and":
            first = e.temp(first)
            return f"({first} is not False and {second} and {first})"
        if not e.nullable(right):
            first = e.temp(first)
            return f"({first} or {second} or {first})"
    out = e.name()
    e.emit(f"{out} = {first}")
    with e.block(f"if {out} is not {decisive}:"):
        second = e.temp(e.release(captured, 1))
        if not e.nullable(left):
            e.emit(f"{out} = {second}")
        else:
            e.emit(f"{out} = {second} if {out} is not None else {_only(decisive, second)}")
    return out


def _only(decisive: str, value: str) -> str:
    return f"({decisive} if {value} is {decisive} else None)"


@emits(n.Implies)
def _implies(e: E, node: n.Implies) -> str:
    left, right = node.operands
    first = e.temp(e.value(left))
    captured = e.captured(lambda: e.value(right))
    if not captured[0] and captured[2].isidentifier():
        second = captured[2]
        return f"(True if {first} is False else {second} if {first} else {second} or None)"
    out = e.name()
    e.emit(f"{out} = True")
    with e.block(f"if {first} is not False:"):
        second = e.temp(e.release(captured, 1))
        e.emit(f"{out} = {second} if {first} else {_only('True', second)}")
    return out


@emits(n.Xor)
def _xor(e: E, node: n.Xor) -> str:
    left, right = node.operands
    first, second = e.temp(e.value(left)), e.temp(e.value(right))
    missing = [x for x, o in ((first, left), (second, right)) if e.nullable(o)]
    answer = f"({first} is not {second})"
    return f"(None if {' or '.join(f'{x} is None' for x in missing)} else {answer})" if missing else answer


@emits(n.Not)
def _not(e: E, node: n.Not) -> str:
    (operand,) = node.operands
    if e.traced and node.guard:
        value = e.temp(e.value(operand.operands[0]))
        return f"(None if {value} is None else True)" if e.nullable(operand.operands[0]) else "True"
    value = e.value(operand)
    if not e.nullable(operand):
        return f"(not {value})"
    value = e.temp(value)
    return "None" if value == "None" else f"(None if {value} is None else not {value})"


@emits(n.If)
def _if(e: E, node: n.If) -> str:
    return _choose(e, list(zip(node.operands[:-1:2], node.operands[1:-1:2], strict=True)), node.operands[-1])


@emits(n.Case)
def _case(e: E, node: n.Case) -> str:
    comparand = node.comparand
    if comparand is not None:
        e.names[node.scope] = e.temp(e.value(comparand))
        if not e.nullable(comparand):
            e.solid.add(node.scope)
    pairs = list(zip(node.operands[:-1:2], node.operands[1:-1:2], strict=True))
    return _choose(e, pairs, node.operands[-1])


def _choose(e: E, pairs: Sequence[tuple[Node, Node]], otherwise: Node) -> str:
    """The result of the first condition that is true; only that result is computed."""
    condition = _condition(e, pairs[0][0])
    if len(pairs) == 1:
        then, rest = (e.captured(lambda node=node: e.value(node)) for node in (pairs[0][1], otherwise))  # type: ignore[misc]
        if not then[0] and not rest[0]:
            return f"({then[2]} if {condition} else {rest[2]})"
        out = e.name()
        for head, captured in ((f"if {condition}:", then), ("else:", rest)):
            with e.block(head):
                e.emit(f"{out} = {e.release(captured, 1)}")
        return out
    out = e.name()
    _chain(e, out, pairs, otherwise, condition)
    return out


def _condition(e: E, node: Node) -> str:
    """Truthy where a condition is true; in traced code one without an answer is a doubt."""
    if not e.traced or not e.nullable(node):
        return e.test(node)
    value = e.temp(e.value(node))
    site = e.sites.add(Site("if", node.span, (node.span,)))
    return f"{value} or ({value} is None and ev.doubt({site}, {e.row}, 0{asked_about(e, [node])}))"


def _chain(e: E, out: str, pairs: Sequence[tuple[Node, Node]], otherwise: Node, condition: str) -> None:
    """`if ... elif ... else`. A condition that takes statements begins a new chain, at the same depth; and so does every hundredth,

    since Python nests each `elif` in the one before it.
    """

    def chain(start: int, condition: str) -> tuple[int, Captured | None]:
        """Branches from one on; gives the first that needs a chain of its own, with its condition."""
        with e.block(f"if {condition}:"), e.at(pairs[start][1]):
            e.emit(f"{out} = {e.value(pairs[start][1])}")
        for index in range(start + 1, len(pairs)):
            test, result = pairs[index]
            captured = e.captured(lambda test=test: _condition(e, test))  # type: ignore[misc]
            if captured[0] or index - start >= _ELIFS:
                return index, captured
            with e.block(f"elif {captured[2]}:"), e.at(result):
                e.emit(f"{out} = {e.value(result)}")
        with e.block("else:"), e.at(otherwise):
            e.emit(f"{out} = {e.value(otherwise)}")
        return len(pairs), None

    index, following = chain(0, condition)
    if following is None:
        return
    with e.block("else:"):
        e.emit(f"{out} = MISSING")
    deeper = 1
    while following is not None:
        with e.block(f"if {out} is MISSING:"):
            index, following = chain(index, e.release(following, deeper))
        deeper = 0  # it was written inside such a block


@emits(n.Coalesce)
def _coalesce(e: E, node: n.Coalesce) -> str:
    if node.over_list:
        return f"coalesce({e.value(node.operands[0])})"
    first, rest = e.value(node.operands[0]), node.operands[1:]
    if len(rest) == 1:
        captured = e.captured(lambda: e.value(rest[0]))
        if not captured[0]:
            first = e.temp(first)
            return captured[2] if first == "None" else f"({first} if {first} is not None else {captured[2]})"
    out = e.name()  # a name of its own: what holds the first value may be another's variable
    e.emit(f"{out} = {first}")
    for operand in rest:
        with e.block(f"if {out} is None:"):
            e.emit(f"{out} = {e.value(operand)}")
    return out
