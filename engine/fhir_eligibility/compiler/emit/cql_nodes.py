"""What single nodes turn into: literals, references, properties, selectors, casts and conversions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.temporal import DateTime
from fhir_eligibility.algebra.values import points as p
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.types import ELEMENTS, IntervalType, ListType, Named, Type
from fhir_eligibility.compiler.emit.cql_emitter import CqlEmitter, emits
from fhir_eligibility.compiler.emit.fast_path import FastPath
from fhir_eligibility.compiler.emit.fast_paths import is_of, of_choice
from fhir_eligibility.compiler.emit.module_text import literal
from fhir_eligibility.compiler.emit.reuse import shape

E = CqlEmitter
_LOCAL = ("AliasRef", "QueryLetRef", "OperandRef", "Current")


# -- leaves


@emits("Null")
def _null(e: E, node: Node) -> str:
    return "None"


@emits("Literal")
def _literal(e: E, node: Node) -> str:
    value = node.attrs["value"]
    if value is None or value.__class__ in (bool, str, int):
        return literal(value)
    if value.__class__ is DateTime and value.offset_minutes is None:
        return e.at_request(e.constant(value))
    return e.constant(value)


@emits("MinValue", "MaxValue")
def _limit(e: E, node: Node) -> str:
    point = node.attrs["point"]
    value = p.minimum(point) if node.kind == "MinValue" else p.maximum(point)
    return literal(value) if value.__class__ is int else e.constant(value)


@emits("Now", "Today", "TimeOfDay")
def _clock(e: E, node: Node) -> str:
    return {"Now": "ev.now", "Today": "ev.today", "TimeOfDay": "ev.time_of_day"}[node.kind]


@emits(*_LOCAL)
def _local(e: E, node: Node) -> str:
    return e.names[node.attrs["scope"]]


@emits("ExpressionRef")
def _expression_ref(e: E, node: Node) -> str:
    exported = node.attrs["exported"]
    if exported.value == "context":
        return "ev.subject"
    name = e.definition_name(exported, node.attrs["library"])
    return f"once({'ev' if exported.context is not None else 'ev.run'}, {name})"


@emits("ParameterRef")
def _parameter_ref(e: E, node: Node) -> str:
    return f"once(ev.run, {e.definition_name(node.attrs['exported'], node.attrs['library'])})"


@emits("CodeRef", "ConceptRef", "ValueSetRef", "CodeSystemRef")
def _terminology_ref(e: E, node: Node) -> str:
    return e.constant(node.attrs["exported"].value)


@emits("FunctionRef")
def _function_ref(e: E, node: Node) -> str:
    name = e.definition_name(node.attrs["exported"], node.attrs["library"])
    return f"{name}({', '.join(['ev', *(e.value(o) for o in node.operands)])})"


# -- selectors


@emits("List")
def _list(e: E, node: Node) -> str:
    return f"[{', '.join(e.value(o) for o in node.operands)}]"


@emits("Interval")
def _interval(e: E, node: Node) -> str:
    low, high = (e.value(o) for o in node.operands[:2])
    closed = f"{literal(node.attrs['low_closed'])}, {literal(node.attrs['high_closed'])}"
    text = f"Interval({low}, {high}, {closed}, {literal(point_name(node.result))})"
    bounds = [o.attrs["value"] for o in node.operands[:2] if o.kind == "Literal"]
    return e.once_a_call(text) if len(bounds) == 2 and in_order(*bounds) else text


def in_order(low: Any, high: Any) -> bool:
    """Whether two literals bound an interval: one that is none fails where it is evaluated, if it is."""
    try:
        return low.__class__ is high.__class__ and p.less(low, high) is True
    except (EvaluationError, TypeError):
        return False


def point_name(kind: Type) -> str:
    """The short name of an interval's point type."""
    point = kind.point if isinstance(kind, IntervalType) else kind
    return point.name.removeprefix("System.") if isinstance(point, Named) else "Any"


@emits("Tuple")
def _tuple(e: E, node: Node) -> str:
    pairs = zip(node.attrs["names"], node.operands, strict=True)
    return f"Tuple({{{', '.join(f'{literal(name)}: {e.value(operand)}' for name, operand in pairs)}}})"


@emits("Instance")
def _instance(e: E, node: Node) -> str:
    pairs = list(zip(node.attrs["names"], node.operands, strict=True))
    values = ", ".join(f"{literal(name)}: {e.value(operand)}" for name, operand in pairs)
    return f"new_instance({literal(node.attrs['type'].name)}, {{{values}}})"


@emits("FhirInstance")
def _fhir_instance(e: E, node: Node) -> str:
    values = [e.value(operand) for operand in node.operands]
    if node.attrs["primitive"]:
        return f"json_of({values[0]})" if values else "None"
    pairs = ", ".join(f"({e.constant(n)}, {v})" for n, v in zip(node.attrs["json"], values, strict=True))
    return f"fhir_instance({literal(node.attrs['resource'])}, [{pairs}])"


@emits("DateTime")
def _datetime(e: E, node: Node) -> str:
    return f"make_datetime({', '.join(['ev', *(e.value(o) for o in node.operands)])})"


@emits("Date")
def _date(e: E, node: Node) -> str:
    return f"make_date({', '.join(e.value(o) for o in node.operands)})"


@emits("Time")
def _time(e: E, node: Node) -> str:
    return f"make_time({', '.join(e.value(o) for o in node.operands)})"


# -- properties


def guarded(e: E, node: Node, use: Callable[[str], str]) -> str:
    """What `use` makes of the expression for the value of a node; null where that is null."""
    value = e.value(node)
    if not e.nullable(node):
        return use(value)
    value = e.temp(value)
    return "None" if value == "None" else f"(None if {value} is None else {use(value)})"


_INTERVAL = {"low": "low", "high": "high", "lowClosed": "low_closed", "highClosed": "high_closed"}


_SYSTEM_ELEMENTS = {name: name for elements in ELEMENTS.values() for name in elements}


@emits("Property")
def _property(e: E, node: Node) -> str:
    (source,) = node.operands
    path, attrs = node.attrs["path"], node.attrs
    if attrs.get("dynamic"):
        return f"element_of({e.value(source)}, {literal(path)})"
    if attrs.get("tuple"):
        return guarded(e, source, lambda x: f"{x}[{literal(path)}]")
    if attrs.get("interval"):
        return guarded(e, source, lambda x: f"{x}.{_INTERVAL[path]}")
    if attrs.get("system"):
        element = _SYSTEM_ELEMENTS[path]
        if isinstance(node.result, ListType):
            return guarded(e, source, lambda x: f"list({x}.{element})")
        return guarded(e, source, lambda x: f"{x}.{element}")
    raise AssertionError(f"the element {path} has no way to be read")


# -- types


@emits("IsNull")
def _is_null(e: E, node: Node) -> str:
    (operand,) = node.operands
    if operand.kind in ("Literal", "Null"):
        return literal(operand.kind == "Null")
    return f"({e.value(operand)} is None)"


@emits("Is")
def _is(e: E, node: Node) -> str:
    (operand,) = node.operands
    kind = node.attrs["type"]
    found = of_choice(e, operand, kind)
    if found is not None:
        return FastPath(f"({found} is not None)", found.call)
    return is_of(e, e.value(operand), kind)


@emits("As")
def _as(e: E, node: Node) -> str:
    (operand,) = node.operands
    kind = node.attrs["type"]
    if node.attrs.get("retype") and isinstance(kind, IntervalType) and point_name(kind) != "Any":
        return guarded(e, operand, lambda x: f"with_point({x}, {literal(point_name(kind))})")
    if node.attrs.get("retype"):
        return e.value(operand)
    if node.attrs.get("unbox") and not node.attrs.get("strict"):
        found = of_choice(e, operand, kind)
        if found is not None:
            return found
    name = "cast_to" if node.attrs.get("strict") else "as_type"
    call = f"{name}({e.value(operand)}, {e.type_test(kind)})"
    return f"unbox({call})" if node.attrs.get("unbox") else call


@emits("Box")
def _box(e: E, node: Node) -> str:
    kind = node.attrs["type"].name
    if kind == "System.Long":
        if node.attrs.get("many"):
            return guarded(e, node.operands[0], lambda values: f"[None if x is None else Long(x) for x in {values}]")
        return guarded(e, node.operands[0], lambda value: f"Long({value})")
    name = literal(e.fhir_type(kind))
    if node.attrs.get("many"):
        return guarded(e, node.operands[0], lambda values: f"[box(x, {name}) for x in {values}]")
    return guarded(e, node.operands[0], lambda value: f"box({value}, {name})")


@emits("Unbox")
def _unbox(e: E, node: Node) -> str:
    return f"unbox({e.value(node.operands[0])})"


@emits("ToList")
def _to_list(e: E, node: Node) -> str:
    value = e.temp(e.value(node.operands[0]))
    return f"([] if {value} is None else [{value}])"


@emits("CanConvert")
def _can_convert(e: E, node: Node) -> str:
    (converted,) = node.operands
    source = converted.operands[0]
    value = e.value(source)
    if not e.nullable(source):
        return f"({e.value(converted)} is not None)"
    value = e.temp(value)
    if value == "None":
        return "None"
    e.preset[id(source)] = value
    answer = e.value(converted)
    del e.preset[id(source)]
    return f"(None if {value} is None else {answer} is not None)"


@emits("Members")
def _members(e: E, node: Node) -> str:
    """A value of one of several types: what each of them turns into."""
    value = e.temp(e.value(node.operands[0]))
    scope = node.attrs["scope"]
    e.names[scope] = value
    e.sites.bound[scope] = node.operands[0]
    for number, operand in zip(node.attrs.get("bound", ()), node.operands[1:], strict=True):
        e.names[number] = e.temp(e.value(operand))
    shapes = tuple((str(kind), shape(inner, lambda below: _named(e, below))) for kind, inner in node.attrs["options"])
    return e.again((value, shapes), lambda: _member(e, node, value))


def _named(e: E, node: Node) -> str | None:
    """The name of what a node refers to."""
    return e.preset.get(id(node)) or (e.names.get(node.attrs["scope"]) if node.kind in _LOCAL else None)


def _member(e: E, node: Node, value: str) -> str:
    out = e.name()
    e.emit(f"{out} = None")
    word = "if"
    for kind, inner in node.attrs["options"]:
        with e.block(f"{word} {is_of(e, value, kind)}:"):
            e.emit(f"{out} = {e.value(inner)}")
        word = "elif"
    otherwise = node.attrs.get("otherwise")
    compared = node.attrs.get("compared") if e.traced else None
    if otherwise is not None and otherwise.kind != "Null":
        e.sites.absent.append(node.operands[0])
        with e.block(f"elif {value} is None:"):
            e.emit(f"{out} = {e.value(otherwise)}")
        e.sites.absent.pop()
    if compared is not None:
        index, other, spans = compared
        with e.block("else:"):
            operands = [e.value(other)]
            operands.insert(index, value)
            found = [
                (owner, replace(one, operand=index)) for owner, one in e.sites.origins(node.operands, e.record_type)
            ]
            e.tell_unknown(node.span, operands, tuple(spans), found)
    return out


@emits("ConvertInterval")
def _convert_interval(e: E, node: Node) -> str:
    (operand,) = node.operands
    function, point = e.name("bound"), e.name("x")
    e.names[node.attrs["scope"]] = point
    with e.block(f"def {function}({point}):"):
        e.emit(f"return {e.value(node.attrs['inner'])}")
    return guarded(e, operand, lambda x: f"convert_interval({x}, {function}, {literal(point_name(node.result))})")


_COMPONENTS = {name: name for name in ("year", "month", "day", "hour", "minute", "second", "millisecond")}


@emits("DateTimeComponentFrom")
def _component(e: E, node: Node) -> str:
    component = _COMPONENTS[node.attrs["precision"]]
    if e.certain(node.operands[0]):
        return guarded(e, node.operands[0], lambda x: f"{x}.{component}")
    return guarded(e, node.operands[0], lambda x: f"component({x}, {literal(component)})")


# -- the rest


@emits("Message")
def _message(e: E, node: Node) -> str:
    return f"ev.message({', '.join(e.value(o) for o in node.operands)})"


@emits("Descendents")
def _descendents(e: E, node: Node) -> str:
    return f"descendents({e.value(node.operands[0])}, {literal(node.attrs['deep'])})"
