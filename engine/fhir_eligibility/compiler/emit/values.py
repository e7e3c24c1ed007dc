"""What single nodes turn into: literals, references, properties, selectors, casts and conversions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.values import points as p
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.types import IntervalType, ListType, Named, Type
from fhir_eligibility.compiler.emit.emitter import Emitter, emits
from fhir_eligibility.compiler.emit.fast_paths import is_of, of_choice
from fhir_eligibility.compiler.emit.python import (
    EV,
    NONE,
    Emitted,
    called,
    element_of_value,
    fast_path,
    listed,
    literal,
    mapped,
    py,
    quiet,
    template,
)
from fhir_eligibility.compiler.emit.reuse import shape

E = Emitter
_LOCAL = (n.AliasRef, n.QueryLetRef, n.OperandRef, n.Chosen)


# -- leaves


@emits(n.Null)
def _null(e: E, node: n.Null) -> Emitted:
    return NONE


@emits(n.Literal)
def _literal(e: E, node: n.Literal) -> Emitted:
    value = node.value
    return literal(value) if value is None or value.__class__ in (bool, str, int) else e.constant(value)


@emits(n.LocalDateTime)
def _local_datetime(e: E, node: n.LocalDateTime) -> Emitted:
    return e.once_a_call(py("ev.at({0})", e.constant(node.value)), "d")


@emits(n.MinValue, n.MaxValue)
def _limit(e: E, node: n.MinValue | n.MaxValue) -> Emitted:
    point = node.point
    value = p.minimum(point) if isinstance(node, n.MinValue) else p.maximum(point)
    return literal(value) if value.__class__ is int else e.constant(value)


_CLOCK = {"Now": template("ev.now"), "Today": template("ev.today"), "TimeOfDay": template("ev.time_of_day")}


@emits(n.Now, n.Today, n.TimeOfDay)
def _clock(e: E, node: n.Now | n.Today | n.TimeOfDay) -> Emitted:
    return _CLOCK[node.kind]()


@emits(*_LOCAL)
def _local(e: E, node: n.Scoped) -> Emitted:
    return e.names[node.scope]


@emits(n.ExpressionRef)
def _expression_ref(e: E, node: n.ExpressionRef) -> Emitted:
    exported = node.exported
    if exported.value == "context":
        return py("ev.subject")
    name = e.definition_name(exported, node.library)
    return py("once(ev, {0})", name) if exported.context is not None else py("once(ev.run, {0})", name)


@emits(n.ParameterRef)
def _parameter_ref(e: E, node: n.ParameterRef) -> Emitted:
    return py("once(ev.run, {0})", e.definition_name(node.exported, node.library))


@emits(n.CodeRef, n.ConceptRef, n.ValueSetRef, n.CodeSystemRef)
def _terminology_ref(e: E, node: n.CodeRef | n.ConceptRef | n.ValueSetRef | n.CodeSystemRef) -> Emitted:
    return e.constant(node.exported.value)


@emits(n.FunctionRef)
def _function_ref(e: E, node: n.FunctionRef) -> Emitted:
    name = e.definition_name(node.exported, node.library)
    call = called(name, [EV, *(e.value(o) for o in node.operands)])
    return quiet(call) if name in e.silent else call


# -- selectors


@emits(n.List)
def _list(e: E, node: n.List) -> Emitted:
    return listed([e.value(o) for o in node.operands])


@emits(n.NewInterval)
def _interval(e: E, node: n.NewInterval) -> Emitted:
    low, high = (e.value(o) for o in node.operands[:2])
    closed = literal(node.low_closed), literal(node.high_closed)
    made = py("Interval({0}, {1}, {2}, {3}, {4})", low, high, *closed, literal(point_name(node.result)))
    bounds = [o.value for o in node.operands[:2] if isinstance(o, n.Literal)]
    return e.once_a_call(made) if len(bounds) == 2 and in_order(*bounds) else made


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
def _tuple(e: E, node: n.NewTuple) -> Emitted:
    pairs = zip(node.names, node.operands, strict=True)
    return py("Tuple({0})", mapped([(literal(name), e.value(operand)) for name, operand in pairs]))


@emits(n.Instance)
def _instance(e: E, node: n.Instance) -> Emitted:
    pairs = list(zip(node.names, node.operands, strict=True))
    values = mapped([(literal(name), e.value(operand)) for name, operand in pairs])
    return py("new_instance({0}, {1})", literal(node.target.name), values)


@emits(n.FhirInstance)
def _fhir_instance(e: E, node: n.FhirInstance) -> Emitted:
    values = [e.value(operand) for operand in node.operands]
    if node.primitive:
        return py("json_of({0})", values[0]) if values else NONE
    pairs = [py("({0}, {1})", e.constant(n), v) for n, v in zip(node.json, values, strict=True)]
    return py("fhir_instance({0}, {1})", literal(node.resource), listed(pairs))


@emits(n.NewDateTime)
def _datetime(e: E, node: n.NewDateTime) -> Emitted:
    return called(py("make_datetime"), [EV, *(e.value(o) for o in node.operands)])


@emits(n.NewDate)
def _date(e: E, node: n.NewDate) -> Emitted:
    return called(py("make_date"), [e.value(o) for o in node.operands])


@emits(n.NewTime)
def _time(e: E, node: n.NewTime) -> Emitted:
    return called(py("make_time"), [e.value(o) for o in node.operands])


# -- properties


def guarded(e: E, node: Node, use: Callable[[Emitted], Emitted]) -> Emitted:
    """What `use` makes of the expression for the value of a node; null where that is null."""
    value = e.value(node)
    if not e.nullable(node):
        return use(value)
    value = e.temp(value)
    return NONE if value == NONE else py("(None if {0} is None else {1})", value, use(value))


_INTERVAL = {
    "low": template("{0}.low"),
    "high": template("{0}.high"),
    "lowClosed": template("{0}.low_closed"),
    "highClosed": template("{0}.high_closed"),
}


@emits(n.ElementOf)
def _property(e: E, node: n.ElementOf) -> Emitted:
    (source,) = node.operands
    path = node.path
    if node.owner == "any":
        return py("element_of({0}, {1})", e.value(source), literal(path))
    if node.owner == "tuple":
        return guarded(e, source, lambda x: py("{0}[{1}]", x, literal(path)))
    if node.owner == "interval":
        return guarded(e, source, _INTERVAL[path])
    if node.owner == "system":
        if isinstance(node.result, ListType):
            return guarded(e, source, lambda x: py("list({0})", element_of_value(x, path)))
        return guarded(e, source, lambda x: element_of_value(x, path))
    raise AssertionError(f"the element {path} has no way to be read")


# -- types


@emits("IsNull")
def _is_null(e: E, node: n.Operation) -> Emitted:
    (operand,) = node.operands
    if isinstance(operand, (n.Literal, n.Null)):
        return literal(isinstance(operand, n.Null))
    return py("({0} is None)", e.value(operand))


@emits(n.Is)
def _is(e: E, node: n.Is) -> Emitted:
    (operand,) = node.operands
    kind = node.target
    found = of_choice(e, operand, kind)
    if found is not None:
        return fast_path(py("({0} is not None)", found), found)
    return is_of(e, e.value(operand), kind)


_CAST, _AS = template("cast_to({0}, {1})"), template("as_type({0}, {1})")


@emits(n.As)
def _as(e: E, node: n.As) -> Emitted:
    (operand,) = node.operands
    kind = node.target
    if node.retype and isinstance(kind, IntervalType) and point_name(kind) != "Any":
        return guarded(e, operand, lambda x: py("with_point({0}, {1})", x, literal(point_name(kind))))
    if node.retype:
        return e.value(operand)
    if node.unbox and not node.strict:
        found = of_choice(e, operand, kind)
        if found is not None:
            return found
    cast = _CAST if node.strict else _AS
    call = cast(e.value(operand), e.type_test(kind))
    return py("unbox({0})", call) if node.unbox else call


@emits(n.Box)
def _box(e: E, node: n.Box) -> Emitted:
    kind = node.target.name
    if kind == "System.Long":
        if node.each_item:
            return guarded(
                e, node.operands[0], lambda values: py("[None if x is None else Long(x) for x in {0}]", values)
            )
        return guarded(e, node.operands[0], lambda value: py("Long({0})", value))
    name = literal(e.fhir_type(kind))
    if node.each_item or node.many:
        return guarded(e, node.operands[0], lambda values: py("[box(x, {0}) for x in {1}]", name, values))
    return guarded(e, node.operands[0], lambda value: py("box({0}, {1})", value, name))


@emits(n.Unbox)
def _unbox(e: E, node: n.Unbox) -> Emitted:
    return py("unbox({0})", e.value(node.operands[0]))


@emits(n.ToList)
def _to_list(e: E, node: n.ToList) -> Emitted:
    value = e.temp(e.value(node.operands[0]))
    return py("([] if {0} is None else [{0}])", value)


@emits(n.CanConvert)
def _can_convert(e: E, node: n.CanConvert) -> Emitted:
    (converted,) = node.operands
    source = converted.operands[0]
    value = e.value(source)
    if not e.nullable(source):
        return py("({0} is not None)", e.value(converted))
    value = e.temp(value)
    if value == NONE:
        return NONE
    e.preset[id(source)] = value
    answer = e.value(converted)
    del e.preset[id(source)]
    return py("(None if {0} is None else {1} is not None)", value, answer)


@emits(n.Members)
def _members(e: E, node: n.Members) -> Emitted:
    """A value of one of several types: what each of them turns into."""
    value = e.temp(e.value(node.operands[0]))
    scope = node.scope
    e.names[scope] = value
    e.sites.bound[scope] = node.operands[0]
    for number, operand in zip(node.bound or (), node.operands[1:], strict=True):
        e.names[number] = e.temp(e.value(operand))
    shapes = tuple((str(kind), shape(inner, lambda below: _named(e, below))) for kind, inner in node.options)
    return e.again((value, shapes), lambda: _member(e, node, value))


def _named(e: E, node: Node) -> Emitted | None:
    """The name of what a node refers to."""
    return e.preset.get(id(node)) or (e.names.get(node.scope) if isinstance(node, _LOCAL) else None)


def _member(e: E, node: n.Members, value: Emitted) -> Emitted:
    out = e.name()
    e.emit("{0} = None", out)
    for index, (kind, inner) in enumerate(node.options):
        test = is_of(e, value, kind)
        with e.block("elif {0}:", test) if index else e.block("if {0}:", test):
            e.emit("{0} = {1}", out, e.value(inner))
    otherwise = node.otherwise
    compared = node.compared if e.traced else None
    if otherwise is not None and not isinstance(otherwise, n.Null):
        e.sites.absent.append(node.operands[0])
        with e.block("elif {0} is None:", value):
            e.emit("{0} = {1}", out, e.value(otherwise))
        e.sites.absent.pop()
    if compared is not None:
        index, other, spans = compared
        with e.block("else:"):
            operands = [e.value(other)]
            operands.insert(index, value)
            found = [
                (owner, replace(one, operand=index)) for owner, one in e.sites.origins(node.operands, e.record_type)
            ]
            e.tell_unknown(node, operands, tuple(spans), found)
    return out


@emits(n.ConvertInterval)
def _convert_interval(e: E, node: n.ConvertInterval) -> Emitted:
    (operand,) = node.operands
    function, point = e.name("bound"), e.name("x")
    e.names[node.scope] = point
    with e.function(function, (point,)):
        e.emit("return {0}", e.value(node.inner))
    return guarded(
        e, operand, lambda x: py("convert_interval({0}, {1}, {2})", x, function, literal(point_name(node.result)))
    )


@emits(n.DateTimeComponentFrom)
def _component(e: E, node: n.DateTimeComponentFrom) -> Emitted:
    component = node.precision
    if e.certain(node.operands[0]):
        return guarded(e, node.operands[0], lambda x: element_of_value(x, component))
    return guarded(e, node.operands[0], lambda x: py("component({0}, {1})", x, literal(component)))


# -- the rest


@emits(n.Message)
def _message(e: E, node: n.Message) -> Emitted:
    return called(py("ev.message"), [e.value(o) for o in node.operands])


@emits(n.Descendents)
def _descendents(e: E, node: n.Descendents) -> Emitted:
    return py("descendents({0}, {1})", e.value(node.operands[0]), literal(node.deep))
