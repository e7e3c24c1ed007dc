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
from fhir_eligibility.compiler.emit.cql_emitter import CqlEmitter, emits
from fhir_eligibility.compiler.emit.cql_nodes import guarded
from fhir_eligibility.compiler.emit.fast_path import FastPath, unless
from fhir_eligibility.compiler.emit.module_text import literal
from fhir_eligibility.compiler.runtime.retrieving import RetrieveSpec, codes_and_context

E = CqlEmitter

_SYSTEM = {
    "System.String": "to_text", "System.Boolean": "to_boolean", "System.Integer": "to_integer", "System.Long": "to_integer",
    "System.Decimal": "to_decimal", "System.Date": "to_date", "System.DateTime": "ev.recorded", "System.Time": "to_time",
    "System.Quantity": "to_quantity", "System.Code": "to_code", "System.Concept": "to_concept", "System.Ratio": "to_ratio",
}  # fmt: skip
# What each function of FHIRHelpers is here, and the FHIR types that it takes.
_HELPERS = {
    "ToConcept": ("to_concept(", ("CodeableConcept",)),
    "ToCode": ("to_code(", ("Coding", "code")),
    "ToQuantity": ("to_quantity(", ("Quantity", "Age", "Duration", "Count", "Distance", "SimpleQuantity", "Money")),
    "ToRatio": ("to_ratio(", ("Ratio",)),
    "ToInterval": ("to_interval(ev, ", ("Period", "Range")),
    "ToValue": ("to_value(ev, ", ()),
    "ToValueSet": ("to_value_set(", ()),
}


def conversion(target: Type) -> str:
    """The head of a Python call that makes a System value of a type; behind it stand raw JSON and `)`."""
    if isinstance(target, IntervalType):
        return "to_period(ev, " if target.point == DATETIME else "to_range("
    assert isinstance(target, Named)
    return f"{_SYSTEM[target.name]}("


@emits(n.ToSystem)
def _to_system(e: E, node: n.ToSystem) -> str:
    (operand,) = node.operands
    head = conversion(node.target)
    if head != "to_text(":
        return guarded(e, operand, lambda x: f"{head}{x})")
    value = e.value(operand)
    if not e.nullable(operand):
        return f"to_text({value})"
    value = e.temp(value)
    if value == "None":
        return value
    call = unless(f"{value} is None", f"to_text({value})")
    return FastPath(f"({value} if {value}.__class__ is str or {value} is None else to_text({value}))", call)


@emits(n.FhirHelper)
def _fhir_helper(e: E, node: n.FhirHelper) -> str:
    (operand,) = node.operands
    helper: Helper = node.helper
    return guarded(e, operand, lambda x: f"{helper.function}({x})")


@emits(n.ModelProperty)
def _model_property(e: E, node: n.ModelProperty) -> str:
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
    e.emit(f"{out} = {_targeted(e, source, element, *ways[0])}")
    for kind, target in ways[1:]:
        with e.block(f"if {out} is None:"):
            e.emit(f"{out} = {_targeted(e, source, element, kind, target)}")
    del e.preset[id(source)]
    return out


def _is_primitive(node: Node) -> TypeGuard[n.ModelProperty]:
    """Whether a node is an element of a FHIR object that is a primitive, whose JSON is no object."""
    if not isinstance(node, n.ModelProperty) or isinstance(node.result, ListType):
        return False
    return all(kind[:1].islower() for _, kind in node.element.json)


def _of_primitive(e: E, primitive: n.ModelProperty, element: ModelElement) -> str:
    """What JSON writes of a primitive beside it (`status`, `_status`): its extensions, or its id."""
    (owner,) = primitive.operands
    calls = []
    for name, _ in primitive.element.json:
        path = e.constant(((f"_{name}", ()), (element.name, ())))
        calls.append(e.temp(guarded(e, owner, _at(path))))
    found = e.temp(" or ".join(calls))
    return f"({found} or None)" if element.many else f"(None if not {found} else {found}[0])"


def _at(path: str) -> Callable[[str], str]:
    return lambda owner: f"at_path({owner}, {path})"


def _plain(e: E, owner: str, names: JsonNames) -> str:
    if len(names) == 1:
        return f"{owner}.get({literal(names[0][0])})"
    return f"choice_of({owner}, {e.constant(names)})"


def _targeted(e: E, source: Node, element: ModelElement, kind: Type, target: Target) -> str:
    item = kind.element if isinstance(kind, ListType) else kind
    many = isinstance(kind, ListType)
    if not target.own:
        found = e.temp(guarded(e, source, lambda x: f"at_path({x}, {e.constant(target.steps)})"))
        head = _helper(e, target.function, item)
        if many:
            return f"(None if not {found} else [{head}x) for x in {found}])"
        return f"(None if not {found} else {head}{found}[0]))"
    names, head = element.json, _helper(e, target.function, item)
    wanted = _HELPERS[target.function][1] if target.function in _HELPERS else ()
    if len(names) > 1 and wanted:
        names = tuple(pair for pair in names if pair[1] in wanted)
    elif len(names) > 1 and target.function == "value":
        system = _root(e, item)
        names = tuple(pair for pair in names if f"System.{SYSTEM_TYPE.get(pair[1])}" == system)
    if not names:
        return "None"
    value = e.temp(guarded(e, source, lambda x: _plain(e, x, names)))
    if element.many:
        return f"(None if {value} is None else [{head}x) for x in {value}])"
    return f"(None if {value} is None else {head}{value}))"


def _root(e: E, kind: Type) -> str:
    """The System type that a type of a profile comes down to."""
    while isinstance(kind, Named) and not kind.name.startswith("System."):
        kind = e.types.base(kind)
    return kind.name if isinstance(kind, Named) else ""


def _helper(e: E, function: str | None, kind: Type) -> str:
    """The head of the call that converts one value, as `conversion` gives it."""
    if function in (None, "value"):
        root = _root(e, kind)
        if root in _SYSTEM:
            return conversion(Named(root))
        return "to_value(ev, " if kind == ANY or not isinstance(kind, Named) else "raw("
    return _HELPERS[function][0]


@emits(n.ModelRetrieve)
def _retrieve(e: E, node: n.ModelRetrieve) -> str:
    spec: RetrieveSpec = node.spec
    name = e.constant(spec)
    method = "bare" if e.traced and id(node) not in e.filtered else "retrieve"
    codes, context = codes_and_context(node)
    whose, nulls = "ev", []
    if context is not None:
        whose = e.temp(e.value(context))
        nulls.append(whose)
        whose = f"ev.related({whose})"
    arguments = name
    if codes is not None:
        text = e.value(codes)
        if codes.result != VALUESET and e.nullable(codes):
            text = e.temp(text)
            nulls.append(text)
        arguments += f", {text}"
    call = f"{whose}.{method}({arguments})"
    return f"([] if {' or '.join(f'{text} is None' for text in nulls)} else {call})" if nulls else call


Emitted = Callable[[CqlEmitter, Node], str]
