"""What data elements, conversions from FHIR and retrieves turn into."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

from fhir_eligibility.algebra.values.element import SYSTEM_TYPE
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.helpers import Helper
from fhir_eligibility.compiler.elm.models import JsonNames, ModelElement, Target
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.types import ANY, DATETIME, VALUESET, IntervalType, ListType, Named, Type
from fhir_eligibility.compiler.emit.emitter import Emitter, emits
from fhir_eligibility.compiler.emit.module_builder import missing
from fhir_eligibility.compiler.emit.python import (
    NONE,
    Emitted,
    Template,
    any_of,
    called,
    fast_path,
    literal,
    py,
    template,
)
from fhir_eligibility.compiler.emit.values import guarded
from fhir_eligibility.compiler.runtime.retrieving import RetrieveSpec, codes_and_context

E = Emitter

_SYSTEM = {
    "System.String": template("to_text({0})"),
    "System.Boolean": template("to_boolean({0})"),
    "System.Integer": template("to_integer({0})"),
    "System.Long": template("to_integer({0})"),
    "System.Decimal": template("to_decimal({0})"),
    "System.Date": template("to_date({0})"),
    "System.DateTime": template("ev.recorded({0})"),
    "System.Time": template("to_time({0})"),
    "System.Quantity": template("model_quantity({0})"),
    "System.Code": template("to_code({0})"),
    "System.Concept": template("to_concept({0})"),
    "System.Ratio": template("to_ratio({0})"),
}
# What each function of FHIRHelpers is here, and the FHIR types that it takes.
_HELPERS = {
    "ToConcept": (template("to_concept({0})"), ("CodeableConcept",)),
    "ToCode": (template("to_code({0})"), ("Coding", "code")),
    "ToQuantity": (
        template("model_quantity({0})"),
        ("Quantity", "Age", "Duration", "Count", "Distance", "SimpleQuantity", "Money"),
    ),
    "ToRatio": (template("to_ratio({0})"), ("Ratio",)),
    "ToInterval": (template("to_interval(ev, {0})"), ("Period", "Range")),
    "ToValue": (template("to_value(ev, {0})"), ()),
    "ToValueSet": (template("to_value_set({0})"), ()),
}


# The other functions of FHIRHelpers (`fhir_eligibility.compiler.elm.helpers`).
_FUNCTIONS = {
    "quantity_bounds": template("quantity_bounds({0})"),
    "quantity_without_comparator": template("quantity_without_comparator({0})"),
    "calendar_unit": template("calendar_unit({0})"),
    "to_value_set": template("to_value_set({0})"),
    "reference_to": template("reference_to({0})"),
}


def conversion(target: Type) -> Template:
    """What makes a System value of a type of raw JSON."""
    if isinstance(target, IntervalType):
        return template("to_period(ev, {0})") if target.point == DATETIME else template("to_range({0})")
    assert isinstance(target, Named)
    return _SYSTEM[target.name]


@emits(n.ModelConversion)
def _to_system(e: E, node: n.ModelConversion) -> Emitted:
    (operand,) = node.operands
    convert = conversion(node.target)
    if convert is not _SYSTEM["System.String"]:
        return guarded(e, operand, convert)
    value = e.value(operand)
    if not e.nullable(operand):
        return py("to_text({0})", value)
    value = e.temp(value)
    if value == NONE:
        return value
    call = py("(None if {0} is None else to_text({0}))", value)
    return fast_path(py("({0} if {0}.__class__ is str or {0} is None else to_text({0}))", value), call)


@emits(n.FhirHelper)
def _fhir_helper(e: E, node: n.FhirHelper) -> Emitted:
    (operand,) = node.operands
    helper: Helper = node.helper
    return guarded(e, operand, _FUNCTIONS[helper.function])


@emits(n.ModelProperty)
def _model_property(e: E, node: n.ModelProperty) -> Emitted:
    (source,) = node.operands
    element: ModelElement = node.element
    if element.name in ("id", "extension") and _is_primitive(source):
        return _of_primitive(e, source, element)
    if not element.targets:
        return guarded(e, source, lambda x: _plain(e, x, element.json))
    if len(element.targets) == 1:
        return _targeted(e, source, element, *element.targets[0])
    value = e.temp(e.value(source))
    e.preset[id(source)] = value
    out = e.name()
    # of several ways the one from an extension comes first: it is there only where it is meant
    ways = sorted(element.targets, key=lambda way: way[1].own)
    e.emit("{0} = {1}", out, _targeted(e, source, element, *ways[0]))
    for kind, target in ways[1:]:
        with e.block("if {0} is None:", out):
            e.emit("{0} = {1}", out, _targeted(e, source, element, kind, target))
    del e.preset[id(source)]
    return out


def _is_primitive(node: Node) -> TypeGuard[n.ModelProperty]:
    """Whether a node is an element of a FHIR object that is a primitive, whose JSON is no object."""
    if not isinstance(node, n.ModelProperty) or isinstance(node.result, ListType):
        return False
    return all(kind[:1].islower() for _, kind in node.element.json)


def _of_primitive(e: E, primitive: n.ModelProperty, element: ModelElement) -> Emitted:
    """What JSON writes of a primitive beside it (`status`, `_status`): its extensions, or its id."""
    (owner,) = primitive.operands
    calls = []
    for name, _ in primitive.element.json:
        path = e.constant(((f"_{name}", ()), (element.name, ())))
        calls.append(e.temp(guarded(e, owner, _at(path))))
    found = e.temp(any_of(calls))
    return py("({0} or None)", found) if element.many else py("(None if not {0} else {0}[0])", found)


def _at(path: Emitted) -> Callable[[Emitted], Emitted]:
    return lambda owner: py("at_path({0}, {1})", owner, path)


def _plain(e: E, owner: Emitted, names: JsonNames) -> Emitted:
    if len(names) == 1:
        return py("{0}.get({1})", owner, literal(names[0][0]))
    return py("choice_of({0}, {1})", owner, e.constant(names))


def _targeted(e: E, source: Node, element: ModelElement, kind: Type, target: Target) -> Emitted:
    item = kind.element if isinstance(kind, ListType) else kind
    many = isinstance(kind, ListType)
    if not target.own:
        found = e.temp(guarded(e, source, lambda x: py("at_path({0}, {1})", x, e.constant(target.steps))))
        convert = _helper(e, target.function, item)
        if many:
            return py("(None if not {0} else [{1} for x in {0}])", found, convert(py("x")))
        return py("(None if not {0} else {1})", found, convert(py("{0}[0]", found)))
    names, convert = element.json, _helper(e, target.function, item)
    wanted = _HELPERS[target.function][1] if target.function in _HELPERS else ()
    if len(names) > 1 and wanted:
        names = tuple(pair for pair in names if pair[1] in wanted)
    elif len(names) > 1 and target.function == "value":
        system = _root(e, item)
        names = tuple(pair for pair in names if f"System.{SYSTEM_TYPE.get(pair[1])}" == system)
    if not names:
        return NONE
    value = e.temp(guarded(e, source, lambda x: _plain(e, x, names)))
    if element.many:
        return py("(None if {0} is None else [{1} for x in {0}])", value, convert(py("x")))
    return py("(None if {0} is None else {1})", value, convert(value))


def _root(e: E, kind: Type) -> str:
    """The System type that a type of a profile comes down to."""
    while isinstance(kind, Named) and not kind.name.startswith("System."):
        kind = e.types.base(kind)
    return kind.name if isinstance(kind, Named) else ""


def _helper(e: E, function: str | None, kind: Type) -> Template:
    """What converts one value, as `conversion` gives it."""
    if function in (None, "value"):
        root = _root(e, kind)
        if root in _SYSTEM:
            return conversion(Named(root))
        return template("to_value(ev, {0})") if kind == ANY or not isinstance(kind, Named) else template("raw({0})")
    return _HELPERS[function][0]


@emits(n.ModelRetrieve)
def _retrieve(e: E, node: n.ModelRetrieve) -> Emitted:
    spec: RetrieveSpec = node.spec
    name = e.constant(spec)
    unfiltered = e.traced and id(node) not in e.filtered
    codes, context = codes_and_context(node)
    whose, nulls = py("ev"), []
    if context is not None:
        whose = e.temp(e.value(context))
        nulls.append(whose)
        whose = py("ev.related({0})", whose)
    arguments = [name]
    if codes is not None:
        wanted = e.value(codes)
        if codes.result != VALUESET and e.nullable(codes):
            wanted = e.temp(wanted)
            nulls.append(wanted)
        arguments.append(wanted)
    call = called(py("{0}.retrieve_all", whose) if unfiltered else py("{0}.retrieve", whose), arguments)
    return py("([] if {0} else {1})", missing(nulls), call) if nulls else call
