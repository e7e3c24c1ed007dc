"""Conditions, filters and existence: three-valued logic, early exit, and in traced code the record of every row that was tried.

In traced code (criteria over a patient's data) each filter is a numbered site. A row that fails, passes, or cannot be decided is
reported to the environment, which also answers whether an undecided row is to be kept in this pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.compiler.analysis.origins import elements_of, is_at_hand, origins
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.conjuncts import conjuncts, tests_code
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.questions import rows_of
from fhir_eligibility.compiler.elm.shapes import short_name
from fhir_eligibility.compiler.emit.fhirpath_emitter import Body, Emitter, emits_each, emits_value
from fhir_eligibility.compiler.emit.module_builder import inlined, missing
from fhir_eligibility.compiler.emit.python import FALSE, NONE, TRUE, Emitted, all_of, called, literal, local, py, tupled

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
    counted = e.counts(node)
    if counted:
        e.emit("{0} = -1", local("i", scope))
    site = _site(e, node) if e.traced else -1

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


def _site(e: E, node: n.Filter) -> int:
    parts = conjuncts(node.operands[1])
    resource = is_resource_row(node.operands[0])
    e.sites.append(
        {
            "kind": "filter",
            "span": node.span,
            "resource": resource,
            "clauses": [part.span for part in parts],
            "elements": tuple(elements_of(part, node.scope) for part in parts),
        }
    )
    return len(e.sites) - 1


def about(e: E, parts: Sequence[Node], scope: int) -> list[Emitted]:
    """A last argument of `ev.doubt`: the row and all others that conditions on it hang on; none where that is the row alone.

    Of a value that is not an object the data has several alike, so that its number tells it from them.
    """
    rows = {number: row for part in parts for number, row in rows_of(part, e.bound).items() if number != scope}
    names = e.row(rows, local("x", scope))[1]
    if scope in e.counted:
        names.append(local("i", scope))
    return [tupled(names)] if rows or scope in e.counted else []


def _tested(e: E, site: int, scope: int, parts: list[Node], resource: bool, then: Callable[[], None]) -> None:
    """Try the clauses of a filter; where all of them ask for a text, a row that has the texts needs no more than that."""
    row = local("x", scope)

    def kept() -> None:
        if resource:
            e.emit("ev.passed({0}, {1})", literal(site), row)
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


def _tried(e: E, site: int, scope: int, parts: list[Node], resource: bool, then: Callable[[], None]) -> None:
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
                    e.emit("ev.failed({0}, {1}, {2})", literal(site), row, literal(index))
            blocks.enter_context(e.block("else:") if recorded else e.block("if {0} is not False:", value))
            if e.nullable(part) or part.is_null:
                uncertain = True
                with e.block("if {0} is None:", value):
                    e.emit("{0} = {1}", unknown, literal(index))
        if uncertain:
            doubt = called(py("ev.doubt"), [literal(site), row, unknown, *about(e, parts, scope)])
            blocks.enter_context(e.block("if {0} < 0 or {1}:", unknown, doubt))
        then()


@emits_value(n.Filter)
def _filter(e: E, node: n.Filter) -> Emitted:
    return e.collect(node) if node.many else e.only(node)


@emits_value(n.Exists)
def _exists(e: E, node: n.Exists) -> Emitted:
    (source,) = node.operands
    if source.is_null:
        return FALSE
    if not source.many and not isinstance(source, (n.Filter, n.ForEach, n.OfType, n.DynamicProperty, n.Resolve)):
        if not e.nullable(source):
            return TRUE
        return py("({0} is not None)", e.value(source))
    return e.leave_at_first(source, FALSE, lambda item: TRUE)


@emits_value(n.All)
def _all(e: E, node: n.All) -> Emitted:
    source, condition = node.operands
    scope = node.scope
    counted = e.counts(node)
    site = -1
    if e.traced:
        e.sites.append(
            {
                "kind": "all",
                "span": node.span,
                "resource": False,
                "clauses": [condition.span],
                "elements": (elements_of(condition, scope),),
            }
        )
        site = len(e.sites) - 1
    with e.closure() as name:
        if counted:
            e.emit("{0} = -1", local("i", scope))

        def of(item: Emitted) -> None:
            e.emit("{0} = {1}", local("x", scope), item)
            if counted:
                e.emit("{0} += 1", local("i", scope))
            value = e.temp(e.value(condition))
            test = py("{0} is not True", value)
            if site >= 0 and e.nullable(condition):
                row = local("x", scope)
                doubt = called(py("ev.doubt"), [literal(site), row, literal(0), *about(e, [condition], scope)])
                test = py("{0} is not True and not ({0} is None and {1})", value, doubt)
            with e.block("if {0}:", test):
                e.emit("return False")

        e.each(source, of)
        e.emit("return True")
    return py("{0}()", name)


@emits_value(n.And, n.Or)
def _and_or(e: E, node: n.And | n.Or) -> Emitted:
    left, right = node.operands
    decided, other = (FALSE, TRUE) if isinstance(node, n.And) else (TRUE, FALSE)
    a = e.temp(e.value(left))
    out = e.name()
    e.emit("{0} = {1}", out, a)
    with e.block("if {0} is not {1}:", a, decided):
        b = e.temp(e.value(right))
        if not e.nullable(left):
            e.emit("{0} = {1}", out, b)
        else:
            e.emit(
                "{0} = {1} if {2} is {1} else None if {3} is None or {2} is None else {4}", out, decided, b, a, other
            )
    return out


@emits_value(n.Xor)
def _xor(e: E, node: n.Xor) -> Emitted:
    a, b = (e.temp(e.value(operand)) for operand in node.operands)
    return py("(None if {0} is None or {1} is None else {0} is not {1})", a, b)


@emits_value(n.Implies)
def _implies(e: E, node: n.Implies) -> Emitted:
    left, right = node.operands
    a = e.temp(e.value(left))
    out = e.name()
    e.emit("{0} = True", out)
    with e.block("if {0} is not False:", a):
        b = e.temp(e.value(right))
        e.emit("{0} = {1} if {2} is True or {1} is True else None", out, b, a)
    return out


@emits_value(n.Not)
def _not(e: E, node: n.Not) -> Emitted:
    (source,) = node.operands
    if source.is_null:
        return NONE
    if not e.nullable(source):
        return py("(not {0})", e.value(source))
    value = e.temp(e.value(source))
    return py("(None if {0} is None else not {0})", value)


@emits_value(n.Present)
def _present(e: E, node: n.Present) -> Emitted:
    (source,) = node.operands
    if not e.nullable(source):
        return TRUE
    return py("(None if {0} is None else True)", e.value(source))


@emits_value(n.Condition)
def _condition(e: E, node: n.Condition) -> Emitted:
    return py("as_boolean({0})", e.value(node.operands[0]))


ORDER = tuple(name for name, operator in OPERATORS.items() if operator.traits.symbol in ("<", "<=", ">", ">="))


@emits_value(*ORDER, "Equal")
def _compare(e: E, node: n.Operation) -> Emitted:
    """A comparison; in traced code an unknown answer is reported with its operands."""
    if not e.traced or not e.nullable(node):
        return e.operator(node)
    return _reported(e, node, lambda a, b: _compared(e, node, a, b))


def _compared(e: E, node: n.Operation, a: Emitted, b: Emitted) -> Emitted:
    overload = node.overload
    if overload.inline is not None:
        call = inlined(overload, [a, b])
    else:
        call = called(e.overload(overload), [a, b])
    optional = [name for name, operand in zip((a, b), node.operands, strict=True) if e.nullable(operand)]
    return py("None if {0} else {1}", missing(optional), call) if optional else call


def _reported(e: E, node: n.Operation, call: Callable[[Emitted, Emitted], Emitted]) -> Emitted:
    """A comparison whose missing answer is reported with its operands, quantities as they were written."""
    raw = [e.temp(e.value(operand)) for operand in node.operands]
    out = e.name()
    e.emit("{0} = {1}", out, call(*raw))
    shown = []
    for operand, name in zip(node.operands, raw, strict=True):
        quantity = isinstance(operand, n.ToSystem) and short_name(operand.target) == "Quantity"
        inner = operand.operands[0] if quantity else operand
        written = quantity and isinstance(inner, (n.Current, n.Property, n.Reference))
        shown.append((inner, name) if written else (None, name))
    if any(inner is not None for inner, _ in shown):
        # a quantity of the data may be a bound, which has no value but may decide
        with e.block("if {0} is None:", out):
            names = [e.value(inner) if inner is not None else name for inner, name in shown]
            e.emit("{0} = {1}", out, called(py("ev.bounded"), [literal(node.kind), *names]))
    report_unknown(e, node, out, shown)
    return out


def report_unknown(e: E, node: Node, out: Emitted, shown: Sequence[tuple[Node | None, Emitted]]) -> None:
    """Where `out` is None, tell the environment which comparison it was; a node given is emitted in place of the name."""
    found = origins(node.operands, _record_type)
    e.sites.append(
        {
            "kind": "comparison",
            "span": node.span,
            "operands": [operand.span for operand in node.operands],
            "origins": tuple(origin for _, origin in found),
        }
    )
    site = len(e.sites) - 1
    with e.block("if {0} is None:", out):
        names = [e.value(inner) if inner is not None else name for inner, name in shown]
        owners = [e.value(owner) if is_at_hand(owner) else NONE for owner, _ in found]
        e.do(called(py("ev.unknown"), [literal(site), *names, *owners]))


def _record_type(node: Node) -> str | None:
    """The FHIR type of a record, None where it is not one type."""
    return node.type.removeprefix("FHIR.") if node.type is not None else None


@emits_value(n.EqualAny)
def _equal_any(e: E, node: n.EqualAny) -> Emitted:
    a, b = (e.temp(e.value(operand)) for operand in node.operands)
    call = py("(None if {0} is None or {1} is None else equal_any({0}, {1}))", a, b)
    if not e.traced:
        return call
    out = e.temp(call)
    report_unknown(e, node, out, [(None, a), (None, b)])
    return out


@emits_value(n.Dynamic)
def _dispatch(e: E, node: n.Dynamic) -> Emitted:
    """An operator whose overload is chosen at run time."""
    operands = [e.temp(e.value(operand)) for operand in node.operands]
    call = called(py("dispatch"), [literal(node.operator), *operands])
    if not e.traced or node.operator not in ORDER:
        return call
    out = e.temp(call)
    report_unknown(e, node, out, [(None, operand) for operand in operands])
    return out


@emits_value(n.Retrieve)
def _retrieve(e: E, node: n.Retrieve) -> Emitted:
    codes = node.codes
    arguments = [literal(node.data_type)]
    if codes:
        codes = (*codes, *node.spellings)
        arguments += [literal(node.code_property), e.constant(codes)]
    return called(py("ev.retrieve") if node.filtered else py("ev.bare"), arguments)


@emits_value(n.If)
def _if(e: E, node: n.If) -> Emitted:
    condition, yes, no = node.operands
    out = e.name()
    value = e.value(condition)
    if e.traced and e.nullable(condition):
        rows = rows_of(condition, e.bound)
        elements = tuple(elements_of(condition, scope) for scope in list(rows)[:1])
        e.sites.append(
            {"kind": "if", "span": node.span, "resource": False, "clauses": [condition.span], "elements": elements}
        )
        row, hangs_on = e.row(rows)
        value = e.temp(value)
        doubt = called(py("ev.doubt"), [literal(len(e.sites) - 1), row, literal(0), tupled(hangs_on)])
        value = py("{0} or ({0} is None and {1})", value, doubt)

    def branch(chosen: Node) -> Emitted:
        return e.listing(chosen) if node.many else e.value(chosen)

    with e.block("if {0}:", value):
        e.emit("{0} = {1}", out, branch(yes))
    with e.block("else:"):
        e.emit("{0} = {1}", out, branch(no))
    return out
