"""Fast paths for what data usually looks like: comparisons of texts and components in place of calls, which all other values still take.

Codes that are compared with one code, a choice element that is read as one of its types, the type of a value that names it, and the order
of points in time and quantities. `tests/compiler/test_fast_paths_of_cql.py` holds each to the call that it stands for.
"""

from __future__ import annotations

from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.algebra.values.clinical import Code
from fhir_eligibility.algebra.values.element import Element
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.models import ModelElement
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.types import CODE, CONCEPT, DATE, DATETIME, QUANTITY, Named, Type
from fhir_eligibility.compiler.emit.cql_emitter import INLINE, CqlEmitter, emits
from fhir_eligibility.compiler.emit.fast_path import FastPath
from fhir_eligibility.compiler.emit.module_text import literal

E = CqlEmitter
_ORDER = {
    name: operator.traits.symbol
    for name, operator in OPERATORS.items()
    if operator.traits.symbol in ("<", "<=", ">", ">=")
}
# Types of which a value is exactly where it is of a class of the same name.
_CLASSES = {
    "System.String": "str", "System.Boolean": "bool", "System.Decimal": "Decimal", "System.Quantity": "Quantity",
    "System.Date": "Date", "System.DateTime": "DateTime", "System.Time": "Time",
}  # fmt: skip
_NEAR = 3  # alternatives of a choice that are looked at in place


# -- codes


@emits("Equivalent")
def _equivalent(e: E, node: n.Operation) -> str:
    """A Coding or CodeableConcept against a code that the library names: its texts are compared, no Code is made."""
    left, right = node.operands
    converted, named = (left, right) if isinstance(left, n.ToSystem) else (right, left)
    code = named.exported.value if isinstance(named, n.CodeRef) else None
    if not isinstance(converted, n.ToSystem) or code.__class__ is not Code or id(converted) in e.preset:
        return e.operator(node)
    target = converted.target
    if target not in (CODE, CONCEPT):
        return e.operator(node)
    (source,) = converted.operands
    with e.at(converted):
        value = e.temp(e.value(source))
    if value == "None":
        return e.operator(node)
    # where it was preset, it was to the same value
    preset = id(source) in e.preset
    e.preset[id(source)] = value
    call = e.operator(node)
    if not preset:
        del e.preset[id(source)]
    if target == CODE:
        system = literal(code.system)
        of_system = f"({value}.get('system') == {system} or same_system({value}.get('system'), {system}))"
        same = f"{value}.get('code') == {literal(code.code)} and {of_system}"
        plain = f"{value}.__class__ is dict and {value}.get('code').__class__ is str"
    else:
        same = f"has_coding({value}, {e.value(named)})"
        plain = f"{value}.__class__ is dict"
    return FastPath(f"({same} if {plain} else {call})", call)


# -- types


def of_choice(e: E, operand: Node, kind: Type) -> FastPath | None:
    """The JSON of a choice element where it is of a type, null where it is of another; None where that takes a test of its value."""
    if not isinstance(operand, n.ModelProperty) or id(operand) in e.preset:
        return None
    element: ModelElement = operand.element
    if element.many or element.targets or len(element.json) < 2:
        return None
    if not isinstance(kind, Named) or kind.name.startswith("System."):
        return None
    test = e.tested(kind)
    matching = [index for index, (_, name) in enumerate(element.json) if test(Element(None, name))]
    if len(matching) != 1:
        return None
    keys = tuple(name for name, _ in element.json[: matching[0] + 1])
    (source,) = operand.operands
    with e.at(operand):
        owner = e.temp(e.value(source))
    if owner == "None":
        return FastPath("None", "None")
    found = f"{owner}.get({literal(keys[-1])})"
    if len(keys) > _NEAR:
        found = f"alternative({owner}, {e.constant(keys)})"
    elif len(keys) > 1:
        others = " and ".join(f"{owner}.get({literal(key)}) is None" for key in keys[:-1])
        found = f"({found} if {others} else None)"
    # as long as the call, whose text is only looked at for its length
    call = f"unbox(as_type(choice_of({owner}, K0), K0))"
    if e.nullable(source):
        found, call = (f"(None if {owner} is None else {text})" for text in (found, call))
    return FastPath(found, call)


def is_of(e: E, value: str, kind: Type) -> str:
    """A test whether a value is of a type."""
    if not isinstance(kind, Named) or not value.isidentifier():
        return f"{e.type_test(kind)}({value})"
    name = _CLASSES.get(kind.name)
    if name is not None:
        return f"({value}.__class__ is {name})"
    if kind.name.startswith("System."):
        return f"{e.type_test(kind)}({value})"
    wanted = e.fhir_type(kind.name)
    call = f"{e.type_test(kind)}({value})"
    return FastPath(f"({value}.__class__ is Element and {value}.type == {literal(wanted)} or {call})", call)


# -- order


def _ordered(e: E, node: n.Operation, operands: list[str]) -> str | None:
    """Two whole points in time by their components, two quantities of one unit by their numbers, else the call."""
    kinds = {operand.result for operand in node.operands}
    if len(kinds) > 1 or node.precision is not None or not all(map(str.isidentifier, operands)):
        return None
    symbol, (kind,) = _ORDER[node.name], kinds
    if kind in (DATE, DATETIME):
        a, b = operands
        name = "Date" if kind == DATE else "DateTime"
        whole = f"{a}.__class__ is {name} is {b}.__class__ and {a}.moment is not None is not {b}.moment"
        call = _call(e, node, operands)
        return FastPath(f"({a}.moment {symbol} {b}.moment if {whole} else {call})", call)
    if kind != QUANTITY:
        return None
    numbers = []
    shapes = []
    for index, operand in enumerate(node.operands):
        if isinstance(operand, n.Literal):
            numbers.append(e.constant(operand.value.value))
            unit, calendar = operand.value.unit, operand.value.calendar
            continue
        numbers.append(f"{operands[index]}.value")
        shapes.append(operands[index])
    if len(shapes) != 1:
        return None
    (value,) = shapes
    alike = (
        f"{value}.__class__ is Quantity and {value}.unit == {literal(unit)} and {value}.calendar is {literal(calendar)}"
    )
    call = _call(e, node, operands)
    return FastPath(f"({numbers[0]} {symbol} {numbers[1]} if {alike} else {call})", call)


def _call(e: E, node: n.Operation, operands: list[str]) -> str:
    return f"{e.overload(node.overload)}({', '.join(operands)})"


for _kind in _ORDER:
    INLINE[_kind] = _ordered
