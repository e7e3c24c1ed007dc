"""What single nodes turn into: literals, references, properties, selectors, casts and conversions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.temporal import DateTime
from fhir_eligibility.algebra.values import points as p
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.types import ELEMENTS, IntervalType, ListType, Named, Type
from fhir_eligibility.compiler.emit.cql_emitter import CqlEmitter, emits
from fhir_eligibility.compiler.emit.fast_path import FastPath
from fhir_eligibility.compiler.emit.fast_paths import is_of, of_choice
from fhir_eligibility.compiler.emit.module_text import literal
from fhir_eligibility.compiler.emit.reuse import shape

E = CqlEmitter
_LOCAL = (n.AliasRef, n.QueryLetRef, n.OperandRef, n.Current)


# -- leaves


@emits(n.Null)
def _null(e: E, node: n.Null) -> str:
    return "None"


@emits(n.Literal)
def _literal(e: E, node: n.Literal) -> str:
    value = node.value
    if value is None or value.__class__ in (bool, str, int):
        return literal(value)
    if value.__class__ is DateTime and value.offset_minutes is None:
        return e.at_request(e.constant(value))
    return e.constant(value)


@emits(n.MinValue, n.MaxValue)
def _limit(e: E, node: n.MinValue | n.MaxValue) -> str:
    point = node.point
    value = p.minimum(point) if isinstance(node, n.MinValue) else p.maximum(point)
    return literal(value) if value.__class__ is int else e.constant(value)


@emits(n.Now, n.Today, n.TimeOfDay)
def _clock(e: E, node: n.Now | n.Today | n.TimeOfDay) -> str:
    return {"Now": "ev.now", "Today": "ev.today", "TimeOfDay": "ev.time_of_day"}[node.kind]


@emits(*_LOCAL)
def _local(e: E, node: n.Scoped) -> str:
    return e.names[node.scope]


@emits(n.ExpressionRef)
def _expression_ref(e: E, node: n.ExpressionRef) -> str:
    exported = node.exported
    if exported.value == "context":
        return "ev.subject"
    name = e.definition_name(exported, node.library)
    return f"once({'ev' if exported.context is not None else 'ev.run'}, {name})"


@emits(n.ParameterRef)
def _parameter_ref(e: E, node: n.ParameterRef) -> str:
    return f"once(ev.run, {e.definition_name(node.exported, node.library)})"


@emits(n.CodeRef, n.ConceptRef, n.ValueSetRef, n.CodeSystemRef)
def _terminology_ref(e: E, node: n.CodeRef | n.ConceptRef | n.ValueSetRef | n.CodeSystemRef) -> str:
    return e.constant(node.exported.value)


@emits(n.FunctionRef)
def _function_ref(e: E, node: n.FunctionRef) -> str:
    name = e.definition_name(node.exported, node.library)
    return f"{name}({', '.join(['ev', *(e.value(o) for o in node.operands)])})"


# -- selectors


@emits(n.List)
def _list(e: E, node: n.List) -> str:
    return f"[{', '.join(e.value(o) for o in node.operands)}]"


@emits(n.NewInterval)
def _interval(e: E, node: n.NewInterval) -> str:
    low, high = (e.value(o) for o in node.operands[:2])
    closed = f"{literal(node.low_closed)}, {literal(node.high_closed)}"
    text = f"Interval({low}, {high}, {closed}, {literal(point_name(node.result))})"
    bounds = [o.value for o in node.operands[:2] if isinstance(o, n.Literal)]
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


@emits(n.NewTuple)
def _tuple(e: E, node: n.NewTuple) -> str:
    pairs = zip(node.names, node.operands, strict=True)
    return f"Tuple({{{', '.join(f'{literal(name)}: {e.value(operand)}' for name, operand in pairs)}}})"


@emits(n.Instance)
def _instance(e: E, node: n.Instance) -> str:
    pairs = list(zip(node.names, node.operands, strict=True))
    values = ", ".join(f"{literal(name)}: {e.value(operand)}" for name, operand in pairs)
    return f"new_instance({literal(node.target.name)}, {{{values}}})"


@emits(n.FhirInstance)
def _fhir_instance(e: E, node: n.FhirInstance) -> str:
    values = [e.value(operand) for operand in node.operands]
    if node.primitive:
        return f"json_of({values[0]})" if values else "None"
    pairs = ", ".join(f"({e.constant(n)}, {v})" for n, v in zip(node.json, values, strict=True))
    return f"fhir_instance({literal(node.resource)}, [{pairs}])"


@emits(n.NewDateTime)
def _datetime(e: E, node: n.NewDateTime) -> str:
    return f"make_datetime({', '.join(['ev', *(e.value(o) for o in node.operands)])})"


@emits(n.NewDate)
def _date(e: E, node: n.NewDate) -> str:
    return f"make_date({', '.join(e.value(o) for o in node.operands)})"


@emits(n.NewTime)
def _time(e: E, node: n.NewTime) -> str:
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


@emits(n.ElementOf)
def _property(e: E, node: n.ElementOf) -> str:
    (source,) = node.operands
    path = node.path
    if node.owner == "any":
        return f"element_of({e.value(source)}, {literal(path)})"
    if node.owner == "tuple":
        return guarded(e, source, lambda x: f"{x}[{literal(path)}]")
    if node.owner == "interval":
        return guarded(e, source, lambda x: f"{x}.{_INTERVAL[path]}")
    if node.owner == "system":
        element = _SYSTEM_ELEMENTS[path]
        if isinstance(node.result, ListType):
            return guarded(e, source, lambda x: f"list({x}.{element})")
        return guarded(e, source, lambda x: f"{x}.{element}")
    raise AssertionError(f"the element {path} has no way to be read")


# -- types


@emits("IsNull")
def _is_null(e: E, node: n.Operation) -> str:
    (operand,) = node.operands
    if isinstance(operand, (n.Literal, n.Null)):
        return literal(isinstance(operand, n.Null))
    return f"({e.value(operand)} is None)"


@emits(n.Is)
def _is(e: E, node: n.Is) -> str:
    (operand,) = node.operands
    kind = node.target
    found = of_choice(e, operand, kind)
    if found is not None:
        return FastPath(f"({found} is not None)", found.call)
    return is_of(e, e.value(operand), kind)


@emits(n.As)
def _as(e: E, node: n.As) -> str:
    (operand,) = node.operands
    kind = node.target
    if node.retype and isinstance(kind, IntervalType) and point_name(kind) != "Any":
        return guarded(e, operand, lambda x: f"with_point({x}, {literal(point_name(kind))})")
    if node.retype:
        return e.value(operand)
    if node.unbox and not node.strict:
        found = of_choice(e, operand, kind)
        if found is not None:
            return found
    name = "cast_to" if node.strict else "as_type"
    call = f"{name}({e.value(operand)}, {e.type_test(kind)})"
    return f"unbox({call})" if node.unbox else call


@emits(n.Box)
def _box(e: E, node: n.Box) -> str:
    kind = node.target.name
    if kind == "System.Long":
        if node.each_item:
            return guarded(e, node.operands[0], lambda values: f"[None if x is None else Long(x) for x in {values}]")
        return guarded(e, node.operands[0], lambda value: f"Long({value})")
    name = literal(e.fhir_type(kind))
    if node.each_item:
        return guarded(e, node.operands[0], lambda values: f"[box(x, {name}) for x in {values}]")
    return guarded(e, node.operands[0], lambda value: f"box({value}, {name})")


@emits(n.Unbox)
def _unbox(e: E, node: n.Unbox) -> str:
    return f"unbox({e.value(node.operands[0])})"


@emits(n.ToList)
def _to_list(e: E, node: n.ToList) -> str:
    value = e.temp(e.value(node.operands[0]))
    return f"([] if {value} is None else [{value}])"


@emits(n.CanConvert)
def _can_convert(e: E, node: n.CanConvert) -> str:
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


@emits(n.Members)
def _members(e: E, node: n.Members) -> str:
    """A value of one of several types: what each of them turns into."""
    value = e.temp(e.value(node.operands[0]))
    scope = node.scope
    e.names[scope] = value
    e.sites.bound[scope] = node.operands[0]
    for number, operand in zip(node.bound or (), node.operands[1:], strict=True):
        e.names[number] = e.temp(e.value(operand))
    shapes = tuple((str(kind), shape(inner, lambda below: _named(e, below))) for kind, inner in node.options)
    return e.again((value, shapes), lambda: _member(e, node, value))


def _named(e: E, node: Node) -> str | None:
    """The name of what a node refers to."""
    return e.preset.get(id(node)) or (e.names.get(node.scope) if isinstance(node, _LOCAL) else None)


def _member(e: E, node: n.Members, value: str) -> str:
    out = e.name()
    e.emit(f"{out} = None")
    word = "if"
    for kind, inner in node.options:
        with e.block(f"{word} {is_of(e, value, kind)}:"):
            e.emit(f"{out} = {e.value(inner)}")
        word = "elif"
    otherwise = node.otherwise
    compared = node.compared if e.traced else None
    if otherwise is not None and not isinstance(otherwise, n.Null):
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


@emits(n.ConvertInterval)
def _convert_interval(e: E, node: n.ConvertInterval) -> str:
    (operand,) = node.operands
    function, point = e.name("bound"), e.name("x")
    e.names[node.scope] = point
    with e.block(f"def {function}({point}):"):
        e.emit(f"return {e.value(node.inner)}")
    return guarded(e, operand, lambda x: f"convert_interval({x}, {function}, {literal(point_name(node.result))})")


_COMPONENTS = {name: name for name in ("year", "month", "day", "hour", "minute", "second", "millisecond")}


@emits(n.DateTimeComponentFrom)
def _component(e: E, node: n.DateTimeComponentFrom) -> str:
    component = _COMPONENTS[node.precision]
    if e.certain(node.operands[0]):
        return guarded(e, node.operands[0], lambda x: f"{x}.{component}")
    return guarded(e, node.operands[0], lambda x: f"component({x}, {literal(component)})")


# -- the rest


@emits(n.Message)
def _message(e: E, node: n.Message) -> str:
    return f"ev.message({', '.join(e.value(o) for o in node.operands)})"


@emits(n.Descendents)
def _descendents(e: E, node: n.Descendents) -> str:
    return f"descendents({e.value(node.operands[0])}, {literal(node.deep)})"
