"""What the nodes for types, trees, references and other utility functions turn into."""

from __future__ import annotations

from typing import Any

from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.shapes import ANY_NAME, namespace_of, shaped, short_name
from fhir_eligibility.compiler.emit.fhirpath_emitter import Body, Emitter, emits_each, emits_value
from fhir_eligibility.compiler.emit.fhirpath_filters import report_unknown
from fhir_eligibility.compiler.emit.module_text import filled, literal

E = Emitter

# -- types, tree, utilities


@emits_value(n.IsStatic)
def _is_static(e: E, node: n.IsStatic) -> str:
    (source,) = node.operands
    if not e.nullable(source):
        return literal(node.answer)
    return f"(None if {e.value(source)} is None else {literal(node.answer)})"


@emits_value(n.ItemIs)
def _is(e: E, node: n.ItemIs) -> str:
    value = e.temp(e.value(node.operands[0]))
    return f"(None if {value} is None else is_type(M, {value}, {literal(namespace_of(node.target))}, {literal(short_name(node.target))}))"


@emits_value(n.Converts)
def _converts(e: E, node: n.Converts) -> str:
    source, converted = node.operands
    value = e.temp(e.value(source))
    if isinstance(converted, n.Dynamic):
        operands = ", ".join(e.temp(e.value(operand)) for operand in converted.operands)
        answer = f"convertible({literal(converted.operator)}, {operands})"
    else:
        answer = f"{e.value(converted)} is not None"
    if source.type is not None and source.type.startswith("System."):
        return f"(None if {value} is None else {answer})" if e.nullable(source) else f"({answer})"
    return f"(None if to_system({value}) is None else {answer})"  # an item may have extensions alone


@emits_value(n.Children, n.Descendants)
def _tree(e: E, node: n.Children | n.Descendants) -> str:
    items = e.listing(node.operands[0])
    name = "children_all" if isinstance(node, n.Children) else "descendants"
    return f"{name}(M, {items})"


def _mapped(call: str) -> Any:
    def handler(e: E, node: Node) -> str:
        (source, *rest) = node.operands
        extra = "".join(", " + e.temp(e.value(operand)) for operand in rest)
        if node.many:
            item, values = e.name("x"), e.value(source)
            values = e.temp(values) if ":=" in values else values  # no names are given inside a comprehension
            return f"[{filled(call, item + extra)} for {item} in {values}]"
        value = e.temp(e.value(source))
        return f"(None if {value} is None else {filled(call, value + extra)})"

    return handler


emits_value(n.TypeInfo)(_mapped("type_info(M, {0})"))
emits_value(n.GetValue)(_mapped("get_value({0})"))
emits_value(n.ConformsTo)(_mapped("conforms_to(M, {0})"))
emits_value(n.HtmlChecks)(_mapped("html_checks({0})"))


@emits_value(n.MemberOf)
def _member_of(e: E, node: n.MemberOf) -> str:
    value, url = (e.temp(e.value(operand)) for operand in node.operands)
    out = e.temp(f"(None if {value} is None else ev.member_of({value}, {url}))")
    if e.traced:
        report_unknown(e, node, out, [(None, value), (None, f"ev.value_set({url})")])
    return out


@emits_value(n.SubsumesCode)
def _subsumes(e: E, node: n.SubsumesCode) -> str:
    general, special = (e.temp(e.value(operand)) for operand in node.operands)
    out = e.temp(f"(None if {general} is None or {special} is None else ev.subsumes({general}, {special}))")
    if e.traced:
        report_unknown(e, node, out, [(None, general), (None, f"coded({special})")])
    return out


@emits_value(n.HasValue)
def _has_value(e: E, node: n.HasValue) -> str:
    return f"has_single_value({e.listing(node.operands[0], asked_for=True)})"


@emits_each(n.Resolve)
def _each_resolve(e: E, node: n.Resolve, body: Body) -> None:
    def of(item: str) -> None:
        found = e.temp(f"ev.resolve({item})")
        with e.block(f"if {found} is not None:"):
            body(found)

    e.each(node.operands[0], of)


@emits_value(n.TraceStep)
def _trace(e: E, node: n.TraceStep) -> str:
    source, name = node.operands[:2]
    items = e.temp(e.listing(source))
    shown = items
    if len(node.operands) > 2:
        projection = n.ForEach((source, node.operands[2]), scope=node.scope or 0, result=shaped((ANY_NAME,), True))
        shown = e.temp(e.collect(projection))
    e.emit(f"ev.trace({e.value(name)}, {shown})")
    return items if node.many else f"({items} or NONE)[0]"


@emits_value(n.AllBoolean)
def _all_boolean(e: E, node: n.AllBoolean) -> str:
    name = node.function
    items = f"booleans({e.listing(node.operands[0])}, {literal(name)})"
    return {
        "allTrue": f"all({items})",
        "anyTrue": f"any({items})",
        "allFalse": f"(not any({items}))",
        "anyFalse": f"(not all({items}))",
    }[name]


@emits_value(n.NewPrimitive)
def _new_primitive(e: E, node: n.NewPrimitive) -> str:
    return f"new_primitive({e.value(node.operands[0])})"


@emits_value(n.NewObject)
def _new_object(e: E, node: n.NewObject) -> str:
    many = {"given", "prefix", "suffix", "line", "coding"}
    parts = []
    for key, operand in zip(node.keys, node.operands, strict=True):
        items = e.listing(operand)
        parts.append(f"({literal(key)}, {items}, {key in many})")
    return f"new_object([{', '.join(parts)}])"
