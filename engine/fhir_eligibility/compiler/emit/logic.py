"""What three-valued logic and choices turn into: and, or, xor, implies, not, if, case, coalesce (CQL reference: "Logical Operators")."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.emit.doubts import asked_about
from fhir_eligibility.compiler.emit.emitter import Emitter, emits
from fhir_eligibility.compiler.emit.module_builder import Captured, missing
from fhir_eligibility.compiler.emit.python import FALSE, NONE, TRUE, Emitted, Template, called, literal, py, template
from fhir_eligibility.compiler.emit.sites import Site

E = Emitter
_ELIFS = 100


@emits(n.And)
def _and(e: E, node: n.And) -> Emitted:
    return _kleene(e, node, template("({0} and {1})"), FALSE)


@emits(n.Or)
def _or(e: E, node: n.Or) -> Emitted:
    return _kleene(e, node, template("({0} or {1})"), TRUE)


def _kleene(e: E, node: n.And | n.Or, joined: Template, decisive: Emitted) -> Emitted:
    """`a and b`, `a or b`: the decisive value wins over null; the right side runs only where the left is not decisive."""
    left, right = node.operands
    first = e.value(left)
    captured = e.captured(lambda: e.value(right))
    if not captured.statements:
        second = captured.code
        if not e.nullable(left):
            return joined(first, second)
        if decisive == FALSE:
            first = e.temp(first)
            return py("({0} is not False and {1} and {0})", first, second)
        if not e.nullable(right):
            first = e.temp(first)
            return py("({0} or {1} or {0})", first, second)
    out = e.name()
    e.emit("{0} = {1}", out, first)
    with e.block("if {0} is not {1}:", out, decisive):
        second = e.temp(e.release(captured))
        if not e.nullable(left):
            e.emit("{0} = {1}", out, second)
        else:
            e.emit("{0} = {1} if {0} is not None else {2}", out, second, _only(decisive, second))
    return out


def _only(decisive: Emitted, value: Emitted) -> Emitted:
    return py("({0} if {1} is {0} else None)", decisive, value)


@emits(n.Implies)
def _implies(e: E, node: n.Implies) -> Emitted:
    left, right = node.operands
    first = e.temp(e.value(left))
    captured = e.captured(lambda: e.value(right))
    if not captured.statements and captured.code.is_plain:
        second = captured.code
        return py("(True if {0} is False else {1} if {0} else {1} or None)", first, second)
    out = e.name()
    e.emit("{0} = True", out)
    with e.block("if {0} is not False:", first):
        second = e.temp(e.release(captured))
        e.emit("{0} = {1} if {2} else {3}", out, second, first, _only(TRUE, second))
    return out


@emits(n.Xor)
def _xor(e: E, node: n.Xor) -> Emitted:
    left, right = node.operands
    first, second = e.temp(e.value(left)), e.temp(e.value(right))
    optional = [x for x, o in ((first, left), (second, right)) if e.nullable(o)]
    answer = py("({0} is not {1})", first, second)
    return py("(None if {0} else {1})", missing(optional), answer) if optional else answer


@emits(n.Not)
def _not(e: E, node: n.Not) -> Emitted:
    (operand,) = node.operands
    if e.traced and node.guard:
        value = e.temp(e.value(operand.operands[0]))
        return py("(None if {0} is None else True)", value) if e.nullable(operand.operands[0]) else TRUE
    value = e.value(operand)
    if not e.nullable(operand):
        return py("(not {0})", value)
    value = e.temp(value)
    return NONE if value == NONE else py("(None if {0} is None else not {0})", value)


@emits(n.If)
def _if(e: E, node: n.If) -> Emitted:
    return _choose(e, list(zip(node.operands[:-1:2], node.operands[1:-1:2], strict=True)), node.operands[-1])


@emits(n.Case)
def _case(e: E, node: n.Case) -> Emitted:
    comparand = node.comparand
    if comparand is not None:
        e.names[node.scope] = e.temp(e.value(comparand))
        if not e.nullable(comparand):
            e.known.never_null.add(node.scope)
    pairs = list(zip(node.operands[:-1:2], node.operands[1:-1:2], strict=True))
    return _choose(e, pairs, node.operands[-1])


def _choose(e: E, pairs: Sequence[tuple[Node, Node]], otherwise: Node) -> Emitted:
    """The result of the first condition that is true; only that result is computed."""
    condition = _condition(e, pairs[0][0])
    if len(pairs) == 1:
        then, rest = (e.captured(lambda node=node: e.value(node)) for node in (pairs[0][1], otherwise))  # type: ignore[misc]
        if not then.statements and not rest.statements:
            return py("({0} if {1} else {2})", then.code, condition, rest.code)
        out = e.name()
        with e.block("if {0}:", condition):
            e.emit("{0} = {1}", out, e.release(then))
        with e.block("else:"):
            e.emit("{0} = {1}", out, e.release(rest))
        return out
    out = e.name()
    _chain(e, out, pairs, otherwise, condition)
    return out


def _condition(e: E, node: Node) -> Emitted:
    """Truthy where a condition is true; in traced code one without an answer is a doubt."""
    if not e.traced or not e.nullable(node):
        return e.test(node)
    value = e.temp(e.value(node))
    site = e.sites.add(Site("if", node.span, (node.span,)))
    doubt = called(py("ev.doubt"), [site, e.row, literal(0), *asked_about(e, [node])])
    return py("{0} or ({0} is None and {1})", value, doubt)


def _chain(e: E, out: Emitted, pairs: Sequence[tuple[Node, Node]], otherwise: Node, condition: Emitted) -> None:
    """`if ... elif ... else`. A condition that takes statements begins a new chain, at the same depth; and so does every hundredth,

    since Python nests each `elif` in the one before it.
    """

    def chain(start: int, condition: Emitted) -> tuple[int, Captured | None]:
        """Branches from one on; gives the first that needs a chain of its own, with its condition."""
        with e.block("if {0}:", condition), e.at(pairs[start][1]):
            e.emit("{0} = {1}", out, e.value(pairs[start][1]))
        for index in range(start + 1, len(pairs)):
            test, result = pairs[index]
            captured = e.captured(lambda test=test: _condition(e, test))  # type: ignore[misc]
            if captured.statements or index - start >= _ELIFS:
                return index, captured
            with e.block("elif {0}:", captured.code), e.at(result):
                e.emit("{0} = {1}", out, e.value(result))
        with e.block("else:"), e.at(otherwise):
            e.emit("{0} = {1}", out, e.value(otherwise))
        return len(pairs), None

    index, following = chain(0, condition)
    if following is None:
        return
    with e.block("else:"):
        e.emit("{0} = MISSING", out)
    while following is not None:
        with e.block("if {0} is MISSING:", out):
            index, following = chain(index, e.release(following))


@emits(n.Coalesce)
def _coalesce(e: E, node: n.Coalesce) -> Emitted:
    if node.over_list:
        return py("coalesce({0})", e.value(node.operands[0]))
    first, rest = e.value(node.operands[0]), node.operands[1:]
    if len(rest) == 1:
        captured = e.captured(lambda: e.value(rest[0]))
        if not captured.statements:
            first = e.temp(first)
            return captured.code if first == NONE else py("({0} if {0} is not None else {1})", first, captured.code)
    out = e.name()  # a name of its own: what holds the first value may be another's variable
    e.emit("{0} = {1}", out, first)
    for operand in rest:
        with e.block("if {0} is None:", out):
            e.emit("{0} = {1}", out, e.value(operand))
    return out
