"""What the nodes for types, trees, references, variables and other utility functions turn into."""

from __future__ import annotations

from typing import Any

from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.shapes import ANY_NAME, namespace_of, shaped, short_name
from fhir_eligibility.compiler.emit.emitter import (
    Body,
    Emitter,
    collected,
    emits,
    emits_each,
)
from fhir_eligibility.compiler.emit.filters import without_answer
from fhir_eligibility.compiler.emit.items import listing
from fhir_eligibility.compiler.emit.python import MODEL, Emitted, called, listed, literal, local, py

E = Emitter

# -- types, tree, utilities


@emits(n.IsStatic)
def _is_static(e: E, node: n.IsStatic) -> Emitted:
    (source,) = node.operands
    if not e.nullable(source):
        return literal(node.answer)
    return py("(None if {0} is None else {1})", e.value(source), literal(node.answer))


@emits(n.ItemIs)
def _is(e: E, node: n.ItemIs) -> Emitted:
    value = e.temp(e.value(node.operands[0]))
    return py(
        "(None if {0} is None else is_type(M, {0}, {1}, {2}))",
        value,
        literal(namespace_of(node.target)),
        literal(short_name(node.target)),
    )


@emits(n.Converts)
def _converts(e: E, node: n.Converts) -> Emitted:
    source, converted = node.operands
    value = e.temp(e.value(source))
    if isinstance(converted, n.Dynamic):
        operands = [e.temp(e.value(operand)) for operand in converted.operands]
        answer = called(py("convertible"), [literal(converted.operator), *operands])
    else:
        answer = py("{0} is not None", e.value(converted))
    if source.type is not None and source.type.startswith("System."):
        return py("(None if {0} is None else {1})", value, answer) if e.nullable(source) else py("({0})", answer)
    return py("(None if to_system({0}) is None else {1})", value, answer)  # an item may have extensions alone


@emits(n.Children, n.Descendants)
def _tree(e: E, node: n.Children | n.Descendants) -> Emitted:
    items = listing(e, node.operands[0])
    return py("children_all(M, {0})", items) if isinstance(node, n.Children) else py("descendants(M, {0})", items)


def _mapped(function: Emitted, *first: Emitted) -> Any:
    """A function of each item, that of an only one: `first` and the values of the other operands stand around it."""

    def handler(e: E, node: Node) -> Emitted:
        (source, *rest) = node.operands
        others = [e.temp(e.value(operand)) for operand in rest]
        if node.many:
            item, values = e.name("x"), e.value(source)
            values = e.temp(values) if values.binds else values  # no names are given inside a comprehension
            return py("[{0} for {1} in {2}]", called(function, [*first, item, *others]), item, values)
        value = e.temp(e.value(source))
        return py("(None if {0} is None else {1})", value, called(function, [*first, value, *others]))

    return handler


emits(n.TypeInfo)(_mapped(py("type_info"), MODEL))
emits(n.GetValue)(_mapped(py("get_value")))
emits(n.ConformsTo)(_mapped(py("conforms_to"), MODEL))
emits(n.HtmlChecks)(_mapped(py("html_checks")))


@emits(n.MemberOf)
def _member_of(e: E, node: n.MemberOf) -> Emitted:
    value, url = (e.temp(e.value(operand)) for operand in node.operands)
    call = py("(None if {0} is None else ev.member_of({0}, {1}))", value, url)
    return without_answer(e, node, call, [value, py("ev.value_set({0})", url)]) if e.traced else call


@emits(n.SubsumesCode)
def _subsumes(e: E, node: n.SubsumesCode) -> Emitted:
    general, special = (e.temp(e.value(operand)) for operand in node.operands)
    call = py("(None if {0} is None or {1} is None else ev.subsumes({0}, {1}))", general, special)
    return without_answer(e, node, call, [general, py("coded({0})", special)]) if e.traced else call


@emits(n.HasValue)
def _has_value(e: E, node: n.HasValue) -> Emitted:
    return py("has_single_value({0})", listing(e, node.operands[0], asked_for=True))


@emits_each(n.Resolve)
def _each_resolve(e: E, node: n.Resolve, body: Body) -> None:
    def of(item: Emitted) -> None:
        found = e.temp(py("ev.resolve({0})", item))
        with e.block("if {0} is not None:", found):
            body(found)

    e.each(node.operands[0], of)


@emits(n.TraceStep)
def _trace(e: E, node: n.TraceStep) -> Emitted:
    source, name = node.operands[:2]
    items = e.temp(listing(e, source))
    shown = items
    if len(node.operands) > 2:
        projection = n.ForEach((source, node.operands[2]), scope=node.scope or 0, result=shaped((ANY_NAME,), True))
        shown = e.temp(collected(e, projection))
    e.emit("ev.trace({0}, {1})", e.value(name), shown)
    return items if node.many else py("({0} or NONE)[0]", items)


@emits(n.AllBoolean)
def _all_boolean(e: E, node: n.AllBoolean) -> Emitted:
    name = node.function
    items = py("booleans({0}, {1})", listing(e, node.operands[0]), literal(name))
    return {
        "allTrue": py("all({0})", items),
        "anyTrue": py("any({0})", items),
        "allFalse": py("(not any({0}))", items),
        "anyFalse": py("(not all({0}))", items),
    }[name]


@emits(n.NewPrimitive)
def _new_primitive(e: E, node: n.NewPrimitive) -> Emitted:
    return py("new_primitive({0})", e.value(node.operands[0]))


@emits(n.NewObject)
def _new_object(e: E, node: n.NewObject) -> Emitted:
    many = {"given", "prefix", "suffix", "line", "coding"}
    parts = []
    for key, operand in zip(node.keys, node.operands, strict=True):
        items = listing(e, operand)
        parts.append(py("({0}, {1}, {2})", literal(key), items, literal(key in many)))
    return py("new_object({0})", listed(parts))


# -- variables and branches


@emits(n.Let)
def _let(e: E, node: n.Let) -> Emitted:
    source, value = node.operands
    whole = local("v", node.source)
    e.emit("{0} = {1}", whole, e.value(source))
    e.emit("{0} = {1}", local("v", node.number), e.value(value))
    return whole


@emits(n.Bind)
def _bind(e: E, node: n.Bind) -> Emitted:
    source, inner = node.operands
    e.emit("{0} = {1}", local("v", node.number), e.value(source))
    return e.value(inner)


@emits(n.FirstCollection)
def _coalesce(e: E, node: n.FirstCollection) -> Emitted:
    out = e.name("l")
    e.emit("{0} = {1}", out, listing(e, node.operands[0], asked_for=True))
    for operand in node.operands[1:]:
        with e.block("if not {0}:", out):
            e.emit("{0} = {1}", out, listing(e, operand, asked_for=True))
    return out if node.many else py("({0} or NONE)[0]", out)
