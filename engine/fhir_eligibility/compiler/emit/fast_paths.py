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
from fhir_eligibility.compiler.emit.emitter import Emitter, emits, emits_inline
from fhir_eligibility.compiler.emit.python import NONE, Emitted, all_of, called, fast_path, literal, py, template

E = Emitter
_COMPARED = {
    "<": template("{0} < {1}"),
    "<=": template("{0} <= {1}"),
    ">": template("{0} > {1}"),
    ">=": template("{0} >= {1}"),
}
_ORDER = {
    name: _COMPARED[operator.traits.symbol]
    for name, operator in OPERATORS.items()
    if operator.traits.symbol in _COMPARED
}
# Types of which a value is exactly where it is of a class of the same name.
_CLASSES = {
    "System.String": py("str"), "System.Boolean": py("bool"), "System.Decimal": py("Decimal"), "System.Quantity": py("Quantity"),
    "System.Date": py("Date"), "System.DateTime": py("DateTime"), "System.Time": py("Time"),
}  # fmt: skip
_NEAR = 3  # alternatives of a choice that are looked at in place


# -- codes


@emits("Equivalent")
def _equivalent(e: E, node: n.Operation) -> Emitted:
    """A Coding or CodeableConcept against a code that the library names: its texts are compared, no Code is made."""
    left, right = node.operands
    converted, named = (left, right) if isinstance(left, n.ModelConversion) else (right, left)
    code = named.exported.value if isinstance(named, n.CodeRef) else None
    if not isinstance(converted, n.ModelConversion) or code.__class__ is not Code or id(converted) in e.preset:
        return e.operator(node)
    target = converted.target
    if target not in (CODE, CONCEPT):
        return e.operator(node)
    (source,) = converted.operands
    with e.at(converted):
        value = e.temp(e.value(source))
    if value == NONE:
        return e.operator(node)
    # where it was preset, it was to the same value
    preset = id(source) in e.preset
    e.preset[id(source)] = value
    call = e.operator(node)
    if not preset:
        del e.preset[id(source)]
    if target == CODE:
        system = literal(code.system)
        of_system = py("({0}.get('system') == {1} or same_system({0}.get('system'), {1}))", value, system)
        same = py("{0}.get('code') == {1} and {2}", value, literal(code.code), of_system)
        plain = py("{0}.__class__ is dict and {0}.get('code').__class__ is str is {0}.get('system').__class__", value)
    else:
        same = py("has_coding({0}, {1})", value, e.value(named))
        plain = py("{0}.__class__ is dict", value)
    return fast_path(py("({0} if {1} else {2})", same, plain, call), call)


# -- types


def of_choice(e: E, operand: Node, kind: Type) -> Emitted | None:
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
    if owner == NONE:
        return NONE
    found = py("{0}.get({1})", owner, literal(keys[-1]))
    if len(keys) > _NEAR:
        found = py("alternative({0}, {1})", owner, e.constant(keys))
    elif len(keys) > 1:
        others = all_of([py("{0}.get({1}) is None", owner, literal(key)) for key in keys[:-1]])
        found = py("({0} if {1} else None)", found, others)
    # as long as the call, which is only looked at for its size
    call = py("unbox(as_type(choice_of({0}, None), 0))", owner)
    if e.nullable(source):
        found, call = (py("(None if {0} is None else {1})", owner, code) for code in (found, call))
    return fast_path(found, call)


def is_of(e: E, value: Emitted, kind: Type) -> Emitted:
    """A test whether a value is of a type."""
    if not isinstance(kind, Named) or not value.is_plain:
        return py("{0}({1})", e.type_test(kind), value)
    name = _CLASSES.get(kind.name)
    if name is not None:
        return py("({0}.__class__ is {1})", value, name)
    if kind.name.startswith("System."):
        return py("{0}({1})", e.type_test(kind), value)
    wanted = e.fhir_type(kind.name)
    call = py("{0}({1})", e.type_test(kind), value)
    return fast_path(py("({0}.__class__ is Element and {0}.type == {1} or {2})", value, literal(wanted), call), call)


# -- order


@emits_inline(*_ORDER)
def _ordered(e: E, node: n.Operation, operands: list[Emitted]) -> Emitted | None:
    """Two whole points in time by their components, two quantities of one unit by their numbers, else the call."""
    kinds = {operand.result for operand in node.operands}
    if len(kinds) > 1 or node.precision is not None or not all(operand.is_plain for operand in operands):
        return None
    compared, (kind,) = _ORDER[node.name], kinds
    if kind in (DATE, DATETIME):
        if node.overload.language != "cql":  # only there has every DateTime an offset
            return None
        a, b = operands
        name = py("Date") if kind == DATE else py("DateTime")
        whole = py("{0}.__class__ is {1} is {2}.__class__ and {0}.moment is not None is not {2}.moment", a, name, b)
        call = called(e.overload(node.overload), operands)
        order = compared(py("{0}.moment", a), py("{0}.moment", b))
        return fast_path(py("({0} if {1} else {2})", order, whole, call), call)
    if kind != QUANTITY:
        return None
    numbers = []
    shapes = []
    for index, operand in enumerate(node.operands):
        if isinstance(operand, n.Literal):
            numbers.append(e.constant(operand.value.value))
            unit, calendar = operand.value.unit, operand.value.calendar
            continue
        numbers.append(py("{0}.value", operands[index]))
        shapes.append(operands[index])
    if len(shapes) != 1:
        return None
    (value,) = shapes
    alike = py(
        "{0}.__class__ is Quantity and {0}.unit == {1} and {0}.calendar is {2}", value, literal(unit), literal(calendar)
    )
    call = called(e.overload(node.overload), operands)
    return fast_path(py("({0} if {1} else {2})", compared(*numbers), alike, call), call)
