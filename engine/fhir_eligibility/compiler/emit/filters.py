"""Conditions, filters and existence: three-valued logic, early exit, and in traced code the record of every row that was tried.

In traced code (criteria over a patient's data) each filter is a numbered site. A row that fails, passes, or cannot be decided is
reported to the environment, which also answers whether an undecided row is to be kept in this pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.compiler.analysis.origins import elements_of
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.conjuncts import conjuncts, tests_code
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.questions import rows_of
from fhir_eligibility.compiler.elm.shapes import short_name
from fhir_eligibility.compiler.emit.emitter import (
    Body,
    Emitter,
    collected,
    emits,
    emits_each,
    only,
    rows_at,
)
from fhir_eligibility.compiler.emit.items import counts, first_item, listing
from fhir_eligibility.compiler.emit.python import FALSE, NONE, TRUE, Emitted, all_of, called, literal, local, py, tupled
from fhir_eligibility.compiler.emit.sites import Site

E = Emitter


def is_resource_row(node: Node) -> bool:
    """Whether the items of a node are resources from a retrieve, untouched."""
    while isinstance(node, (n.Filter, n.OfType, n.First, n.Last, n.Sort, n.Skip, n.Take, n.Let)):
        node = node.operands[0]
    return isinstance(node, n.Retrieve)


@emits_each(n.Filter)
def _each_filter(e: E, node: n.Filter, body: Body) -> None:
    source, condition = node.operands
    scope = node.scope
    counted = counts(e, node)
    if counted:
        e.emit("{0} = -1", local("i", scope))
    site = _site(e, node) if e.traced else NONE

    series = e.traced and source.type == "FHIR.ImagingStudy.series"

    def of(item: Emitted) -> None:
        e.emit("{0} = {1}", local("x", scope), item)
        if counted:
            e.emit("{0} += 1", local("i", scope))
        row = local("x", scope)
        if series:
            _tested(e, site, scope, conjuncts(condition), False, lambda: _kept_series(e, row, body))
        elif e.traced:
            _tested(e, site, scope, conjuncts(condition), is_resource_row(source), lambda: body(row))
        else:
            e.when(condition, lambda: body(row))

    e.each(source, of)


def _kept_series(e: E, row: Emitted, body: Body) -> None:
    e.emit("ev.series({0})", row)
    body(row)


def _site(e: E, node: n.Filter) -> Emitted:
    parts = conjuncts(node.operands[1])
    elements = tuple(elements_of(part, node.scope) for part in parts)
    return e.sites.add(Site("filter", node.span, tuple(part.span for part in parts), elements=elements))


def about(e: E, parts: Sequence[Node], scope: int) -> list[Emitted]:
    """A last argument of `ev.doubt`: the row and all others that conditions on it hang on; none where that is the row alone.

    Of a value that is not an object the data has several alike, so that its number tells it from them.
    """
    rows = {number: row for part in parts for number, row in rows_of(part, e.bound).items() if number != scope}
    names = rows_at(e, rows, local("x", scope))[1]
    if scope in e.counted:
        names.append(local("i", scope))
    return [tupled(names)] if rows or scope in e.counted else []


def _tested(e: E, site: Emitted, scope: int, parts: list[Node], resource: bool, then: Callable[[], None]) -> None:
    """Try the clauses of a filter; where all of them ask for a text, a row that has the texts needs no more than that."""
    row = local("x", scope)

    def kept() -> None:
        if resource:
            e.emit("ev.passed({0}, {1})", site, row)
        then()

    texts = [_text_asked(part, row) for part in parts]
    asked = [text for text in texts if text is not None]
    if len(asked) < len(texts):
        _tried(e, site, scope, parts, resource, kept)
        return
    found = e.name()
    with e.at(parts[0]):
        e.emit("{0} = {1}", found, all_of(asked))
    with e.block("if not {0}:", found):
        _tried(e, site, scope, parts, resource, lambda: e.emit("{0} = True", found))
    with e.block("if {0}:", found):
        kept()


def _text_asked(part: Node, row: Emitted) -> Emitted | None:
    """A test that is true where a clause finds the text that it asks for, at an element of the row; None for other clauses."""
    if not n.is_operation(part, "Equal") or part.overload.inline is None:
        return None
    for value, other in (part.operands, part.operands[::-1]):
        text = other.value if isinstance(other, n.Literal) else None
        if (
            text.__class__ is not str
            or not isinstance(value, n.ToSystem)
            or value.many
            or short_name(value.target) != "String"
        ):
            continue
        (source,) = value.operands
        if not isinstance(source, n.Property) or source.many or source.json is None:
            continue
        (owner,) = source.operands
        if isinstance(owner, n.Current) and local("x", owner.scope) == row:
            return py("{0}.get({1}) == {2}", row, literal(source.json), literal(text))
    return None


def _tried(e: E, site: Emitted, scope: int, parts: list[Node], resource: bool, then: Callable[[], None]) -> None:
    """Try the clauses one after the other; report the one that fails or is unknown."""
    row = local("x", scope)
    unknown = e.name("u")
    if any(e.nullable(part) or part.is_null for part in parts):
        e.emit("{0} = -1", unknown)
    uncertain = False
    with ExitStack() as blocks:
        for index, part in enumerate(parts):
            value = e.temp(e.value(part))
            recorded = resource and not tests_code(part)
            if recorded:
                with e.block("if {0} is False:", value):
                    e.emit("ev.failed({0}, {1}, {2})", site, row, literal(index))
            blocks.enter_context(e.block("else:") if recorded else e.block("if {0} is not False:", value))
            if e.nullable(part) or part.is_null:
                uncertain = True
                with e.block("if {0} is None:", value):
                    e.emit("{0} = {1}", unknown, literal(index))
        if uncertain:
            doubt = called(py("ev.doubt"), [site, row, unknown, *about(e, parts, scope)])
            blocks.enter_context(e.block("if {0} < 0 or {1}:", unknown, doubt))
        then()


@emits(n.Filter)
def _filter(e: E, node: n.Filter) -> Emitted:
    return collected(e, node) if node.many else only(e, node)


@emits(n.Exists)
def _exists(e: E, node: n.Exists) -> Emitted:
    (source,) = node.operands
    if source.is_null:
        return FALSE
    if not source.many and not isinstance(source, (n.Filter, n.ForEach, n.OfType, n.DynamicProperty, n.Resolve)):
        if not e.nullable(source):
            return TRUE
        return py("({0} is not None)", e.value(source))
    return first_item(e, source, FALSE, lambda item: TRUE)


@emits(n.All)
def _all(e: E, node: n.All) -> Emitted:
    source, condition = node.operands
    scope = node.scope
    counted = counts(e, node)
    site = None
    if e.traced:
        site = e.sites.add(Site("all", node.span, (condition.span,), elements=(elements_of(condition, scope),)))
    with e.closure() as name:
        if counted:
            e.emit("{0} = -1", local("i", scope))

        def of(item: Emitted) -> None:
            e.emit("{0} = {1}", local("x", scope), item)
            if counted:
                e.emit("{0} += 1", local("i", scope))
            value = e.temp(e.value(condition))
            test = py("{0} is not True", value)
            if site is not None and e.nullable(condition):
                row = local("x", scope)
                doubt = called(py("ev.doubt"), [site, row, literal(0), *about(e, [condition], scope)])
                test = py("{0} is not True and not ({0} is None and {1})", value, doubt)
            with e.block("if {0}:", test):
                e.emit("return False")

        e.each(source, of)
        e.emit("return True")
    return py("{0}()", name)


@emits(n.Present)
def _present(e: E, node: n.Present) -> Emitted:
    (source,) = node.operands
    if not e.nullable(source):
        return TRUE
    return py("(None if {0} is None else True)", e.value(source))


@emits(n.Condition)
def _condition(e: E, node: n.Condition) -> Emitted:
    return py("as_boolean({0})", e.value(node.operands[0]))


def without_answer(e: E, node: Node, call: Emitted, operands: Sequence[Emitted]) -> Emitted:
    """The value of a comparison; where it is None, the environment is told of it."""
    out = e.temp(call)
    with e.block("if {0} is None:", out):
        e.tell_unknown(node, operands)
    return out


@emits(n.EqualAny)
def _equal_any(e: E, node: n.EqualAny) -> Emitted:
    a, b = (e.temp(e.value(operand)) for operand in node.operands)
    call = py("(None if {0} is None or {1} is None else equal_any({0}, {1}))", a, b)
    if not e.traced:
        return call
    return without_answer(e, node, call, [a, b])


@emits(n.Dynamic)
def _dispatch(e: E, node: n.Dynamic) -> Emitted:
    """An operator whose overload is chosen at run time."""
    operands = [e.temp(e.value(operand)) for operand in node.operands]
    call = called(py("dispatch"), [literal(node.operator), *operands])
    reports = OPERATORS[node.operator].traits.reports
    return without_answer(e, node, call, operands) if e.traced and reports else call


@emits(n.Retrieve)
def _retrieve(e: E, node: n.Retrieve) -> Emitted:
    codes = node.codes
    arguments = [literal(node.data_type)]
    if codes:
        codes = (*codes, *node.spellings)
        arguments += [literal(node.code_property), e.constant(codes)]
    return called(py("ev.retrieve") if node.filtered else py("ev.retrieve_all"), arguments)


@emits(n.Iif)
def _iif(e: E, node: n.Iif) -> Emitted:
    condition, yes, no = node.operands
    out = e.name()
    value = e.value(condition)
    if e.traced and e.nullable(condition):
        rows = rows_of(condition, e.bound)
        elements = tuple(elements_of(condition, scope) for scope in list(rows)[:1])
        site = e.sites.add(Site("if", node.span, (condition.span,), elements=elements))
        row, hangs_on = rows_at(e, rows)
        value = e.temp(value)
        doubt = called(py("ev.doubt"), [site, row, literal(0), tupled(hangs_on)])
        value = py("{0} or ({0} is None and {1})", value, doubt)

    def branch(chosen: Node) -> Emitted:
        return listing(e, chosen) if node.many else e.value(chosen)

    with e.block("if {0}:", value):
        e.emit("{0} = {1}", out, branch(yes))
    with e.block("else:"):
        e.emit("{0} = {1}", out, branch(no))
    return out
