"""What each kind of node turns into: the handlers of the emitter, except those for filters and conditions (`fhirpath_filters`)."""

from __future__ import annotations

from fhir_eligibility.algebra.values.element import SYSTEM_TYPE
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.shapes import namespace_of, short_name
from fhir_eligibility.compiler.emit.fhirpath_emitter import Body, Emitter, emits_each, emits_value
from fhir_eligibility.compiler.emit.module_text import literal, local
from fhir_eligibility.compiler.emit.reuse import shape

_TO_SYSTEM = {
    "String": "to_text",
    "Boolean": "to_boolean",
    "Integer": "to_integer",
    "Long": "to_integer",
    "Decimal": "to_decimal",
    "Date": "to_date",
    "DateTime": "to_datetime",
    "Time": "to_time",
    "Quantity": "to_quantity",
}
E = Emitter
_NAMED = (n.Context, n.Current, n.Iteration, n.Total, n.Reference)


def _primitive(type_name: str) -> bool:
    return type_name in SYSTEM_TYPE and not type_name[0].isupper()


# -- leaves


@emits_value(n.Literal)
def _literal(e: E, node: n.Literal) -> str:
    value = node.value
    return literal(value) if value is None or value.__class__ in (bool, str, int) else e.constant(value)


@emits_value(n.Null)
def _null(e: E, node: n.Null) -> str:
    return "[]" if node.many else "None"


@emits_each(n.Null)
def _each_null(e: E, node: n.Null, body: Body) -> None:
    return None


@emits_value(n.Context)
def _context(e: E, node: n.Context) -> str:
    return "ctx"


@emits_value(n.Current)
def _current(e: E, node: n.Current) -> str:
    return local("x", node.scope)


@emits_value(n.Iteration)
def _iteration(e: E, node: n.Iteration) -> str:
    return local("i", node.scope)


@emits_value(n.Total)
def _total(e: E, node: n.Total) -> str:
    return local("s", node.scope)


@emits_value(n.Reference)
def _reference(e: E, node: n.Reference) -> str:
    return local("v", node.number)


@emits_value(n.Parameter)
def _parameter(e: E, node: n.Parameter) -> str:
    return f"ev.variables[{literal(node.name)}]"


@emits_value(n.Now, n.Today, n.TimeOfDay)
def _clock(e: E, node: n.Now | n.Today | n.TimeOfDay) -> str:
    return {"Now": "ev.now", "Today": "ev.today", "TimeOfDay": "ev.time_of_day"}[node.kind]


# -- paths


@emits_value(n.Property)
def _property(e: E, node: n.Property) -> str:
    if node.many:
        return e.collect(node)
    source = e.temp(e.value(node.operands[0]))
    access = _access(e, node, source)
    if e.nullable(node.operands[0]):
        return f"(None if {source} is None else {access})"
    return access


def _access(e: E, node: n.Property, owner: str) -> str:
    """The value of an element that does not repeat, of one owner."""
    if node.names is not None:
        return f"choice({owner}, {e.constant(node.names, 'N')})"
    key, kind = node.json, node.element_type
    if _primitive(kind):
        return f"primitive({owner}, {literal(key)}, {literal(kind)})"
    return f"{owner}.get({literal(key)})"


@emits_each(n.Property)
def _each_property(e: E, node: n.Property, body: Body) -> None:
    if not node.many:
        e.once(node, body)
        return

    def of(owner: str) -> None:
        if node.repeats:
            key, kind = node.json or node.path, node.element_type
            item = e.name("x")
            if _primitive(kind):
                with e.block(f"for {item} in primitives({owner}, {literal(key)}, {literal(kind)}):"):
                    body(item)
                return
            _loop(e, owner, key, item, body)
        else:
            value = e.temp(_access(e, node, owner))
            with e.block(f"if {value} is not None:"):
                body(value)

    e.each(node.operands[0], of)


def _loop(e: E, owner: str, key: str, item: str, body: Body) -> None:
    """Loop over a repeating element; data with something else than an array there is an error."""
    values = e.temp(f"{owner}.get({literal(key)})")
    with e.block(
        f"for {item} in (() if {values} is None else {values} if {values}.__class__ is list else as_list({values}, {literal(key)})):"
    ):
        body(item)


@emits_each(n.ToSystem)
def _each_to_system(e: E, node: n.ToSystem, body: Body) -> None:
    (source,) = node.operands
    convert = _TO_SYSTEM[short_name(node.target)]
    if isinstance(source, n.Property) and source.json is not None and _primitive(source.element_type):
        key, kind = source.json, source.element_type

        def of(owner: str) -> None:
            if source.repeats:
                item = e.name("x")

                def one(raw: str) -> None:
                    with e.block(f"if {raw} is not None:"):
                        body(_converted(e, raw, short_name(node.target), kind))

                _loop(e, owner, key, item, one)
            else:
                value = e.temp(f"{owner}.get({literal(key)})")
                with e.block(f"if {value} is not None:"):
                    body(_converted(e, value, short_name(node.target), kind))

        e.each(source.operands[0], of)
        return

    def convert_one(item: str) -> None:
        value = e.temp(f"{convert}({item})")
        with e.block(f"if {value} is not None:"):
            body(value)

    e.each(source, convert_one)


def _converted(e: E, raw: str, system: str, kind: str) -> str:
    """A raw primitive, known to be there, as a System value."""
    return e.temp(f"{_TO_SYSTEM[system]}({raw})") if system != "String" or e.traced else raw


@emits_value(n.ToSystem)
def _to_system(e: E, node: n.ToSystem) -> str:
    if node.many:
        return e.collect(node)
    (source,) = node.operands
    convert = _TO_SYSTEM[short_name(node.target)]
    if isinstance(source, n.Property) and source.json is not None and _primitive(source.element_type):
        owner = e.temp(e.value(source.operands[0]))
        access = f"{owner}.get({literal(source.json)})"
        if short_name(node.target) == "String" and e.traced:
            text = e.name()
            access = f"({text} if ({text} := {access}).__class__ is str else to_text({text}))"
        elif short_name(node.target) != "String":
            access = f"{convert}({access})"
        if e.nullable(source.operands[0]):
            return f"(None if {owner} is None else {access})"
        return access
    return f"{convert}({e.value(source)})"


@emits_value(n.Box)
def _box(e: E, node: n.Box) -> str:
    (source,) = node.operands
    if node.many:
        return f"box_all({e.value(source)}, {literal(short_name(node.target))})"
    value = e.temp(e.value(source))
    return f"box({value}, {literal(short_name(node.target))})"


@emits_each(n.Box)
def _each_box(e: E, node: n.Box, body: Body) -> None:
    e.each(node.operands[0], lambda item: body(e.temp(f"box({item}, {literal(short_name(node.target))})")))


@emits_each(n.DynamicProperty)
def _each_dynamic(e: E, node: n.DynamicProperty, body: Body) -> None:
    def of(owner: str) -> None:
        item = e.name("x")
        lenient = ", True" if node.lenient else ""
        with e.block(f"for {item} in children_named(M, {owner}, {literal(node.path)}{lenient}):"):
            body(f"unbox({item})" if node.type is not None else item)

    e.each(node.operands[0], of)


@emits_value(n.DynamicProperty)
def _dynamic(e: E, node: n.DynamicProperty) -> str:
    return e.collect(node) if node.many else e.only(node)


@emits_each(n.OfType)
def _each_of_type(e: E, node: n.OfType, body: Body) -> None:
    namespace, name = namespace_of(node.target), short_name(node.target)
    (source,) = node.operands

    def of(item: str) -> None:
        item = e.temp(item)
        resource = source.type in ("FHIR.Resource", "FHIR.DomainResource")
        if resource and name not in ("Resource", "DomainResource"):
            head = f"if {item}.get('resourceType') == {literal(name)}:"
        else:
            head = f"if matches_type(M, {item}, {literal(namespace)}, {literal(name)}):"
        with e.block(head):
            body(item if namespace == "System" or resource else e.temp(f"unbox({item})"))

    e.each(source, of)


@emits_value(n.OfType)
def _of_type(e: E, node: n.OfType) -> str:
    return e.collect(node) if node.many else e.only(node)


@emits_each(n.PrimitiveExtensions)
def _each_primitive_extensions(e: E, node: n.PrimitiveExtensions, body: Body) -> None:
    def of(owner: str) -> None:
        item = e.name("x")
        with e.block(f"for {item} in primitive_extensions({owner}):"):
            body(item)

    e.each(node.operands[0], of)


@emits_each(n.ElementId)
def _each_element_id(e: E, node: n.ElementId, body: Body) -> None:
    def of(owner: str) -> None:
        value = e.temp(f"element_id({owner})")
        with e.block(f"if {value} is not None:"):
            body(value)

    e.each(node.operands[0], of)


@emits_each(n.Extension)
def _each_extension(e: E, node: n.Extension, body: Body) -> None:
    url = e.temp(e.value(node.operands[1]))

    def of(owner: str) -> None:
        item = e.name("x")
        with e.block(f"for {item} in extensions({owner}, {url}):"):
            body(item)

    e.each(node.operands[0], of)


@emits_each(n.ForEach)
def _each_for_each(e: E, node: n.ForEach, body: Body) -> None:
    source, inner = node.operands
    scope = node.scope
    counted = e.counts(node)
    if counted:
        e.emit(f"{local('i', scope)} = -1")

    def of(item: str) -> None:
        e.emit(f"{local('x', scope)} = {item}")
        if counted:
            e.emit(f"{local('i', scope)} += 1")
        e.each(inner, body)

    e.each(source, of)


@emits_each(n.Combine)
def _each_combine(e: E, node: n.Combine, body: Body) -> None:
    item = e.name("x")
    left, right = e.temp(e.listing(node.operands[0])), e.temp(e.listing(node.operands[1]))
    with e.block(f"for {item} in {left} + {right}:"):
        body(item)


# -- subsetting and sets


@emits_value(n.First)
def _first(e: E, node: n.First) -> str:
    (source,) = node.operands
    if not isinstance(source, n.Combine) or any(operand.many for operand in source.operands):
        return e.leave_at_first(source, "None", lambda item: item)

    def either() -> str:
        out = e.name()
        e.emit(f"{out} = {e.single(source.operands[0])}")
        with e.block(f"if {out} is None:"):
            e.emit(f"{out} = {e.single(source.operands[1])}")
        return out

    return e.again(shape(source, lambda below: e.value(below) if isinstance(below, _NAMED) else None), either)


@emits_value(n.Last)
def _last(e: E, node: n.Last) -> str:
    (source,) = node.operands
    if not source.many:
        return e.value(source)
    items = e.temp(e.value(source))
    return f"({items}[-1] if {items} else None)"


@emits_value(n.Indexer)
def _indexer(e: E, node: n.Indexer) -> str:
    items = e.temp(e.listing(node.operands[0]))
    index = e.temp(f"check_index({e.value(node.operands[1])})")
    return f"({items}[{index}] if 0 <= {index} < len({items}) else None)"


@emits_value(n.Skip, n.Take)
def _slice(e: E, node: n.Skip | n.Take) -> str:
    items = e.temp(e.listing(node.operands[0]))
    count = e.temp(f"slice_count({e.value(node.operands[1])})")
    part = f"{items}[{count}:]" if isinstance(node, n.Skip) else f"{items}[:{count}]"
    return part if node.many else f"({part} or NONE)[0]"


@emits_value(n.SingletonFrom)
def _singleton(e: E, node: n.SingletonFrom) -> str:
    return f"singleton({e.value(node.operands[0])})"


@emits_value(n.Distinct)
def _distinct(e: E, node: n.Distinct) -> str:
    return f"distinct({e.value(node.operands[0])})" if node.many else e.value(node.operands[0])


@emits_value(n.Union, n.Intersect, n.Exclude)
def _sets(e: E, node: n.Union | n.Intersect | n.Exclude) -> str:
    left = e.temp(e.listing(node.operands[0]))
    right = e.listing(node.operands[1])
    call = f"{node.kind.lower()}({left}, {right})"
    return call if node.many else f"({call} or NONE)[0]"


@emits_value(n.SubsetOf, n.EqualList, n.EquivalentList)
def _two_lists(e: E, node: n.SubsetOf | n.EqualList | n.EquivalentList) -> str:
    names = {"SubsetOf": "subset_of", "EqualList": "equal_lists", "EquivalentList": "equivalent_lists"}
    left = e.temp(e.listing(node.operands[0]))
    return f"{names[node.kind]}({left}, {e.listing(node.operands[1])})"


def _texts(node: Node) -> list[str] | None:
    """The strings that a union of literals is made of, None for anything else."""
    if isinstance(node, n.Literal) and node.value.__class__ is str and node.types == ("System.String",):
        return [node.value]
    if isinstance(node, (n.Union, n.Combine)):
        left, right = _texts(node.operands[0]), _texts(node.operands[1])
        return left + right if left is not None and right is not None else None
    return None


@emits_value(n.In)
def _in(e: E, node: n.In) -> str:
    texts = _texts(node.operands[1])
    if texts and not node.operands[0].many and node.operands[0].types == ("System.String",):
        one = e.temp(e.value(node.operands[0]))
        return f"(None if {one} is None else {one} in {e.constant(frozenset(texts))})"
    left = e.temp(e.listing(node.operands[0]))
    return f"member({left}, {e.listing(node.operands[1])})"


@emits_value(n.IsDistinct)
def _is_distinct(e: E, node: n.IsDistinct) -> str:
    return f"is_distinct({e.listing(node.operands[0])})"


@emits_value(n.Count)
def _count(e: E, node: n.Count) -> str:
    (source,) = node.operands
    if isinstance(source, (n.Filter, n.Property, n.ForEach)):
        out = e.name("n")
        e.emit(f"{out} = 0")
        e.each(source, lambda item: e.emit(f"{out} += 1"))
        return out
    return f"len({e.listing(source, asked_for=True)})"


@emits_value(n.Repeat)
def _repeat(e: E, node: n.Repeat) -> str:
    source, inner = node.operands
    scope = node.scope
    step = e.name("f")
    with e.block(f"def {step}({local('x', scope)}):"):
        e.emit(f"return {e.listing(inner)}")
    function = "repeat" if node.unique else "repeat_all"
    return f"{function}({e.listing(source)}, {step}, {literal(node.seeds)})"


@emits_value(n.Sort)
def _sort(e: E, node: n.Sort) -> str:
    scope = node.scope
    keys = []
    for operand, direction in zip(node.operands[1:], node.directions, strict=True):
        key = e.name("f")
        with e.block(f"def {key}({local('x', scope)}):"):
            e.emit(f"return {e.value(operand)}")
        keys.append(f"({key}, {literal(direction)})")
    items = e.listing(node.operands[0])
    call = f"sort({items}, [{', '.join(keys)}])"
    return call if node.many else f"({call} or NONE)[0]"


@emits_value(n.Aggregate)
def _aggregate(e: E, node: n.Aggregate) -> str:
    source, inner, start = node.operands
    scope = node.scope
    whole = e.listing if node.many else e.value
    e.emit(f"{local('s', scope)} = {whole(start)}")
    counted = e.counts(node)
    if counted:
        e.emit(f"{local('i', scope)} = -1")

    def of(item: str) -> None:
        e.emit(f"{local('x', scope)} = {item}")
        if counted:
            e.emit(f"{local('i', scope)} += 1")
        e.emit(f"{local('s', scope)} = {whole(inner)}")

    e.each(source, of)
    return local("s", scope)


@emits_value(n.AggregateNumbers)
def _numbers(e: E, node: n.AggregateNumbers) -> str:
    items = e.listing(node.operands[0])
    name = node.function
    if name in ("min", "max"):
        return f"extreme({items}, {name == 'max'})"
    return f"{'total' if name == 'sum' else 'mean'}({items})"


@emits_value(n.Join)
def _join(e: E, node: n.Join) -> str:
    items = e.temp(f"texts({e.listing(node.operands[0])})")
    separator = e.value(node.operands[1]) if len(node.operands) > 1 else "None"
    return f"join({items}, {separator})"


# -- variables and branches


@emits_value(n.Let)
def _let(e: E, node: n.Let) -> str:
    source, value = node.operands
    whole = local("v", node.source)
    e.emit(f"{whole} = {e.value(source)}")
    e.emit(f"{local('v', node.number)} = {e.value(value)}")
    return whole


@emits_value(n.Bind)
def _bind(e: E, node: n.Bind) -> str:
    source, inner = node.operands
    e.emit(f"{local('v', node.number)} = {e.value(source)}")
    return e.value(inner)


@emits_value(n.Coalesce)
def _coalesce(e: E, node: n.Coalesce) -> str:
    out = e.name("l")
    e.emit(f"{out} = {e.listing(node.operands[0], asked_for=True)}")
    for operand in node.operands[1:]:
        with e.block(f"if not {out}:"):
            e.emit(f"{out} = {e.listing(operand, asked_for=True)}")
    return out if node.many else f"({out} or NONE)[0]"
