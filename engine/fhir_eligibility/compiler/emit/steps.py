"""What FHIRPath's steps over collections turn into, but for filters and conditions (`filters`)."""

from __future__ import annotations

from fhir_eligibility.algebra.values.element import SYSTEM_TYPE
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.shapes import namespace_of, short_name
from fhir_eligibility.compiler.elm.types import LONG
from fhir_eligibility.compiler.emit.emitter import (
    VALUES,
    Body,
    Emitter,
    collected,
    emits,
    emits_each,
    once,
    only,
    single,
)
from fhir_eligibility.compiler.emit.items import counts, first_item, listing
from fhir_eligibility.compiler.emit.keys import key
from fhir_eligibility.compiler.emit.python import (
    CONTEXT,
    MODEL,
    NONE,
    TRUE,
    Emitted,
    called,
    listed,
    literal,
    local,
    py,
    template,
)
from fhir_eligibility.compiler.emit.reuse import shape

_TO_SYSTEM = {
    "String": template("to_text({0})"),
    "Boolean": template("to_boolean({0})"),
    "Integer": template("to_integer({0})"),
    "Long": template("to_integer({0})"),
    "Decimal": template("to_decimal({0})"),
    "Date": template("to_date({0})"),
    "DateTime": template("to_datetime({0})"),
    "Time": template("to_time({0})"),
    "Quantity": template("to_quantity({0})"),
}
E = Emitter
_NAMED = (n.Context, n.Current, n.Iteration, n.Total, n.Reference)


def _primitive(type_name: str) -> bool:
    return type_name in SYSTEM_TYPE and not type_name[0].isupper()


# -- leaves


@emits(n.Empty)
def _null(e: E, node: n.Empty) -> Emitted:
    return py("[]") if node.many else NONE


@emits_each(n.Empty)
def _each_null(e: E, node: n.Empty, body: Body) -> None:
    return None


@emits(n.Context)
def _context(e: E, node: n.Context) -> Emitted:
    return CONTEXT


@emits(n.Current)
def _current(e: E, node: n.Current) -> Emitted:
    return local("x", node.scope)


@emits(n.Iteration)
def _iteration(e: E, node: n.Iteration) -> Emitted:
    return local("i", node.scope)


@emits(n.Total)
def _total(e: E, node: n.Total) -> Emitted:
    return local("s", node.scope)


@emits(n.Reference)
def _reference(e: E, node: n.Reference) -> Emitted:
    return local("v", node.number)


@emits(n.Parameter)
def _parameter(e: E, node: n.Parameter) -> Emitted:
    return py("ev.variables[{0}]", literal(node.name))


# -- paths


@emits(n.Property)
def _property(e: E, node: n.Property) -> Emitted:
    if node.many:
        return collected(e, node)
    source = e.temp(e.value(node.operands[0]))
    access = _access(e, node, source)
    if e.nullable(node.operands[0]):
        return py("(None if {0} is None else {1})", source, access)
    return access


def _access(e: E, node: n.Property, owner: Emitted) -> Emitted:
    """The value of an element that does not repeat, of one owner."""
    if node.names is not None:
        return py("choice({0}, {1})", owner, e.constant(node.names, "N"))
    key, kind = node.json, node.element_type
    if _primitive(kind):
        return py("primitive({0}, {1}, {2})", owner, literal(key), literal(kind))
    return py("{0}.get({1})", owner, literal(key))


@emits_each(n.Property)
def _each_property(e: E, node: n.Property, body: Body) -> None:
    if not node.many:
        once(e, node, body)
        return

    def of(owner: Emitted) -> None:
        if node.repeats:
            key, kind = node.json or node.path, node.element_type
            item = e.name("x")
            if _primitive(kind):
                with e.block("for {0} in primitives({1}, {2}, {3}):", item, owner, literal(key), literal(kind)):
                    body(item)
                return
            _loop(e, owner, key, item, body)
        else:
            value = e.temp(_access(e, node, owner))
            with e.block("if {0} is not None:", value):
                body(value)

    e.each(node.operands[0], of)


def _loop(e: E, owner: Emitted, key: str, item: Emitted, body: Body) -> None:
    """Loop over a repeating element; data with something else than an array there is an error."""
    values = e.temp(py("{0}.get({1})", owner, literal(key)))
    rows = py("(() if {0} is None else {0} if {0}.__class__ is list else as_list({0}, {1}))", values, literal(key))
    with e.block("for {0} in {1}:", item, rows):
        body(item)


@emits_each(n.ToSystem)
def _each_to_system(e: E, node: n.ToSystem, body: Body) -> None:
    (source,) = node.operands
    convert = _TO_SYSTEM[short_name(node.target)]
    if isinstance(source, n.Property) and source.json is not None and _primitive(source.element_type):
        key, kind = source.json, source.element_type

        def of(owner: Emitted) -> None:
            if source.repeats:
                item = e.name("x")

                def one(raw: Emitted) -> None:
                    with e.block("if {0} is not None:", raw):
                        body(_converted(e, raw, short_name(node.target), kind))

                _loop(e, owner, key, item, one)
            else:
                value = e.temp(py("{0}.get({1})", owner, literal(key)))
                with e.block("if {0} is not None:", value):
                    body(_converted(e, value, short_name(node.target), kind))

        e.each(source.operands[0], of)
        return

    def convert_one(item: Emitted) -> None:
        value = e.temp(convert(item))
        with e.block("if {0} is not None:", value):
            body(value)

    e.each(source, convert_one)


def _converted(e: E, raw: Emitted, system: str, kind: str) -> Emitted:
    """A raw primitive, known to be there, as a System value."""
    return e.temp(_TO_SYSTEM[system](raw)) if system != "String" or e.traced else raw


@emits(n.ToSystem)
def _to_system(e: E, node: n.ToSystem) -> Emitted:
    if node.many:
        return collected(e, node)
    (source,) = node.operands
    convert = _TO_SYSTEM[short_name(node.target)]
    if isinstance(source, n.Property) and source.json is not None and _primitive(source.element_type):
        owner = e.temp(e.value(source.operands[0]))
        access = py("{0}.get({1})", owner, literal(source.json))
        if short_name(node.target) == "String" and e.traced:
            text = e.name()
            access = py("({0} if ({0} := {1}).__class__ is str else to_text({0}))", text, access)
        elif short_name(node.target) != "String":
            access = convert(access)
        if e.nullable(source.operands[0]):
            return py("(None if {0} is None else {1})", owner, access)
        return access
    return convert(e.value(source))


@emits_each(n.Box)
def _each_box(e: E, node: n.Box, body: Body) -> bool:
    if node.target == LONG:
        return False
    name = literal(e.fhir_type(node.target.name))
    e.each(node.operands[0], lambda item: body(e.temp(py("box({0}, {1})", item, name))))
    return True


@emits_each(n.DynamicProperty)
def _each_dynamic(e: E, node: n.DynamicProperty, body: Body) -> None:
    def of(owner: Emitted) -> None:
        item = e.name("x")
        lenient = [TRUE] if node.lenient else []
        children = called(py("children_named"), [MODEL, owner, literal(node.path), *lenient])
        with e.block("for {0} in {1}:", item, children):
            body(py("unbox({0})", item) if node.type is not None else item)

    e.each(node.operands[0], of)


@emits(n.DynamicProperty)
def _dynamic(e: E, node: n.DynamicProperty) -> Emitted:
    return collected(e, node) if node.many else only(e, node)


@emits_each(n.OfType)
def _each_of_type(e: E, node: n.OfType, body: Body) -> None:
    namespace, name = namespace_of(node.target), short_name(node.target)
    (source,) = node.operands

    def of(item: Emitted) -> None:
        item = e.temp(item)
        resource = source.type in ("FHIR.Resource", "FHIR.DomainResource")
        if resource and name not in ("Resource", "DomainResource"):
            test = py("{0}.get('resourceType') == {1}", item, literal(name))
        else:
            test = py("matches_type(M, {0}, {1}, {2})", item, literal(namespace), literal(name))
        with e.block("if {0}:", test):
            body(item if namespace == "System" or resource else e.temp(py("unbox({0})", item)))

    e.each(source, of)


@emits(n.OfType)
def _of_type(e: E, node: n.OfType) -> Emitted:
    return collected(e, node) if node.many else only(e, node)


@emits_each(n.PrimitiveExtensions)
def _each_primitive_extensions(e: E, node: n.PrimitiveExtensions, body: Body) -> None:
    def of(owner: Emitted) -> None:
        item = e.name("x")
        with e.block("for {0} in primitive_extensions({1}):", item, owner):
            body(item)

    e.each(node.operands[0], of)


@emits_each(n.ElementId)
def _each_element_id(e: E, node: n.ElementId, body: Body) -> None:
    def of(owner: Emitted) -> None:
        value = e.temp(py("element_id({0})", owner))
        with e.block("if {0} is not None:", value):
            body(value)

    e.each(node.operands[0], of)


@emits_each(n.Extension)
def _each_extension(e: E, node: n.Extension, body: Body) -> None:
    url = e.temp(e.value(node.operands[1]))

    def of(owner: Emitted) -> None:
        item = e.name("x")
        with e.block("for {0} in extensions({1}, {2}):", item, owner, url):
            body(item)

    e.each(node.operands[0], of)


@emits_each(n.ForEach)
def _each_for_each(e: E, node: n.ForEach, body: Body) -> None:
    source, inner = node.operands
    scope = node.scope
    counted = counts(e, node)
    if counted:
        e.emit("{0} = -1", local("i", scope))

    def of(item: Emitted) -> None:
        e.emit("{0} = {1}", local("x", scope), item)
        if counted:
            e.emit("{0} += 1", local("i", scope))
        e.each(inner, body)

    e.each(source, of)


@emits_each(n.Combine)
def _each_combine(e: E, node: n.Combine, body: Body) -> None:
    item = e.name("x")
    left, right = e.temp(listing(e, node.operands[0])), e.temp(listing(e, node.operands[1]))
    with e.block("for {0} in {1} + {2}:", item, left, right):
        body(item)


# -- subsetting and sets


@emits(n.First)
def _first(e: E, node: n.First) -> Emitted:
    (source,) = node.operands
    if not isinstance(source, n.Combine) or any(operand.many for operand in source.operands):
        return first_item(e, source, NONE, lambda item: item)

    def either() -> Emitted:
        out = e.name()
        e.emit("{0} = {1}", out, single(e, source.operands[0]))
        with e.block("if {0} is None:", out):
            e.emit("{0} = {1}", out, single(e, source.operands[1]))
        return out

    return e.again(shape(source, lambda below: _name(e, below)), either)


def _name(e: E, node: Node) -> Emitted | None:
    """The name of what a node stands for, where it only names something; nothing is emitted."""
    return (e.preset.get(id(node)) or VALUES[key(node)](e, node)) if isinstance(node, _NAMED) else None


@emits(n.Last)
def _last(e: E, node: n.Last) -> Emitted:
    (source,) = node.operands
    if not source.many:
        return e.value(source)
    items = e.temp(e.value(source))
    return py("({0}[-1] if {0} else None)", items)


@emits(n.Indexer)
def _indexer(e: E, node: n.Indexer) -> Emitted:
    items = e.temp(listing(e, node.operands[0]))
    index = e.temp(py("check_index({0})", e.value(node.operands[1])))
    return py("({0}[{1}] if 0 <= {1} < len({0}) else None)", items, index)


@emits(n.Skip, n.Take)
def _slice(e: E, node: n.Skip | n.Take) -> Emitted:
    items = e.temp(listing(e, node.operands[0]))
    count = e.temp(py("slice_count({0})", e.value(node.operands[1])))
    part = py("{0}[{1}:]", items, count) if isinstance(node, n.Skip) else py("{0}[:{1}]", items, count)
    return part if node.many else py("({0} or NONE)[0]", part)


@emits(n.SingletonFrom)
def _singleton(e: E, node: n.SingletonFrom) -> Emitted:
    return py("singleton({0})", e.value(node.operands[0]))


@emits(n.Distinct)
def _distinct(e: E, node: n.Distinct) -> Emitted:
    return py("distinct_items({0})", e.value(node.operands[0])) if node.many else e.value(node.operands[0])


_SETS = {
    "Union": template("union({0}, {1})"),
    "Intersect": template("intersect({0}, {1})"),
    "Exclude": template("exclude({0}, {1})"),
}
_LISTS = {
    "SubsetOf": template("subset_of({0}, {1})"),
    "EqualList": template("equal_lists({0}, {1})"),
    "EquivalentList": template("equivalent_lists({0}, {1})"),
}


@emits(n.Union, n.Intersect, n.Exclude)
def _sets(e: E, node: n.Union | n.Intersect | n.Exclude) -> Emitted:
    left = e.temp(listing(e, node.operands[0]))
    right = listing(e, node.operands[1])
    call = _SETS[node.kind](left, right)
    return call if node.many else py("({0} or NONE)[0]", call)


@emits(n.SubsetOf, n.EqualList, n.EquivalentList)
def _two_lists(e: E, node: n.SubsetOf | n.EqualList | n.EquivalentList) -> Emitted:
    left = e.temp(listing(e, node.operands[0]))
    return _LISTS[node.kind](left, listing(e, node.operands[1]))


def _texts(node: Node) -> list[str] | None:
    """The strings that a union of literals is made of, None for anything else."""
    if isinstance(node, n.Literal) and node.value.__class__ is str and node.types == ("System.String",):
        return [node.value]
    if isinstance(node, (n.Union, n.Combine)):
        left, right = _texts(node.operands[0]), _texts(node.operands[1])
        return left + right if left is not None and right is not None else None
    return None


@emits(n.In)
def _in(e: E, node: n.In) -> Emitted:
    texts = _texts(node.operands[1])
    if texts and not node.operands[0].many and node.operands[0].types == ("System.String",):
        one = e.temp(e.value(node.operands[0]))
        return py("(None if {0} is None else {0} in {1})", one, e.constant(frozenset(texts)))
    left = e.temp(listing(e, node.operands[0]))
    return py("member({0}, {1})", left, listing(e, node.operands[1]))


@emits(n.IsDistinct)
def _is_distinct(e: E, node: n.IsDistinct) -> Emitted:
    return py("is_distinct({0})", listing(e, node.operands[0]))


@emits(n.Count)
def _count(e: E, node: n.Count) -> Emitted:
    (source,) = node.operands
    if isinstance(source, (n.Filter, n.Property, n.ForEach)):
        out = e.name("n")
        e.emit("{0} = 0", out)
        e.each(source, lambda item: e.emit("{0} += 1", out))
        return out
    return py("len({0})", listing(e, source, asked_for=True))


@emits(n.Repeat)
def _repeat(e: E, node: n.Repeat) -> Emitted:
    source, inner = node.operands
    scope = node.scope
    step = e.name("f")
    with e.function(step, (local("x", scope),)):
        e.emit("return {0}", listing(e, inner))
    repeat = template("repeat({0}, {1}, {2})") if node.unique else template("repeat_all({0}, {1}, {2})")
    return repeat(listing(e, source), step, literal(node.seeds))


@emits(n.Sort)
def _sort(e: E, node: n.Sort) -> Emitted:
    scope = node.scope
    keys = []
    for operand, direction in zip(node.operands[1:], node.directions, strict=True):
        key = e.name("f")
        with e.function(key, (local("x", scope),)):
            e.emit("return {0}", e.value(operand))
        keys.append(py("({0}, {1})", key, literal(direction)))
    items = listing(e, node.operands[0])
    call = py("sort({0}, {1})", items, listed(keys))
    return call if node.many else py("({0} or NONE)[0]", call)


@emits(n.Aggregate)
def _aggregate(e: E, node: n.Aggregate) -> Emitted:
    source, inner, start = node.operands
    scope = node.scope

    def whole(of: Node) -> Emitted:
        return listing(e, of) if node.many else e.value(of)

    e.emit("{0} = {1}", local("s", scope), whole(start))
    counted = counts(e, node)
    if counted:
        e.emit("{0} = -1", local("i", scope))

    def of(item: Emitted) -> None:
        e.emit("{0} = {1}", local("x", scope), item)
        if counted:
            e.emit("{0} += 1", local("i", scope))
        e.emit("{0} = {1}", local("s", scope), whole(inner))

    e.each(source, of)
    return local("s", scope)


@emits(n.AggregateNumbers)
def _numbers(e: E, node: n.AggregateNumbers) -> Emitted:
    items = listing(e, node.operands[0])
    name = node.function
    if name in ("min", "max"):
        return py("extreme({0}, {1})", items, literal(name == "max"))
    return py("total({0})", items) if name == "sum" else py("mean({0})", items)


@emits(n.Join)
def _join(e: E, node: n.Join) -> Emitted:
    items = e.temp(py("texts({0})", listing(e, node.operands[0])))
    separator = e.value(node.operands[1]) if len(node.operands) > 1 else NONE
    return py("join({0}, {1})", items, separator)
